"""How much better a model is than another on the same rows, with what noise alone could do: for many models at once.

`paired` has the tests of two runs, which this builds on.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kagglepipe.predictions.frame import Labels, Probs
from kagglepipe.predictions.metrics import LOG_LOSS_CLIP, find_metric
from kagglepipe.predictions.paired import row_losses

Floats = npt.NDArray[np.float64]
DRAWS = 1000
ROUNDING = 1e-9
CELLS = 4_000_000  # draws times groups that are held in memory at once
MOST, FEWEST = 20_000_000, 200  # rows, and draws, for a metric that has to be computed anew for each draw


@dataclass(frozen=True)
class Gain:
    """A mean difference, above 0 where the first is better, and its interval; NaN where one group is all there is."""

    value: float
    low: float
    high: float

    @property
    def is_beyond_noise(self) -> bool:
        """Whether the interval lies above 0, by more than rounding."""
        return self.low > ROUNDING


def doubt(count: int) -> float:
    """The share by which labels are doubted for all that `count` rows can tell: the next may be the first to go wrong.

    Laplace's rule of succession, as Platt 1999 has it. It is next to nothing where there are many rows.

    >>> doubt(48)
    0.02
    """
    return 1 / (count + 2)


def doubted_losses(probs: Probs, truth: Labels, share: float) -> Floats:
    """The losses (N,) to be expected if a row's label were another one, any of them, with the chance `share`.

    A model that has made no error loses nothing by certainty in `row_losses`, and much here.

    >>> doubted_losses(np.array([[0.5, 0.5]]), np.array([0]), 0.1).round(4)
    array([0.6931])
    """
    own = row_losses(probs, truth)
    every = -np.log(np.clip(probs, LOG_LOSS_CLIP, 1 - LOG_LOSS_CLIP)).sum(axis=1)
    losses: Floats = (1 - share) * own + share * (every - own) / (probs.shape[1] - 1)
    return losses


def mean_gains(gaps: Floats, groups: Labels, *, level: float = 0.95, draws: int = DRAWS, seed: int = 0) -> list[Gain]:
    """The mean of each column of `gaps` (N, K) with its percentile interval, whole groups drawn with replacement.

    groups: 0 … G - 1, (N,). All columns share the draws. Efron 1979; Davison and Hinkley 1997, section 3.8.

    >>> mean_gains(np.array([[1.0], [1.0], [1.0]]), np.array([0, 1, 2]))
    [Gain(value=1.0, low=1.0, high=1.0)]
    """
    count, random = int(groups.max()) + 1, np.random.default_rng(seed)
    sums = np.stack([np.bincount(groups, column, minlength=count) for column in gaps.T], axis=1)  # (G, K)
    rows = np.bincount(groups, minlength=count).astype(np.float64)
    means = gaps.mean(axis=0)
    if count == 1:
        return [Gain(float(mean), math.nan, math.nan) for mean in means]
    found, at_once = [], max(1, CELLS // count)
    for start in range(0, draws, at_once):
        drawn = range(start, min(start + at_once, draws))
        times = np.stack([np.bincount(random.integers(count, size=count), minlength=count) for _ in drawn])
        weighing = times.astype(np.float64)  # (D, G)
        found.append(weighing @ sums / (weighing @ rows)[:, None])
    lows, highs = np.quantile(np.concatenate(found), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return [Gain(*map(float, one)) for one in zip(means, lows, highs, strict=True)]


def metric_gain(
    name: str, probs: Probs, other: Probs, truth: Labels, groups: Labels, *, level: float = 0.95, seed: int = 0
) -> Gain:
    """How much better `probs` is than `other` by a metric, with its interval by the paired bootstrap over groups.

    For metrics that are no mean over rows. Draws in which the metric is undefined do not count.
    """
    metric, rows = find_metric(name), np.arange(len(truth))
    sign = 1.0 if metric.greater_is_better else -1.0

    def gain(some: Labels) -> float:
        return sign * (metric.function(probs[some], truth[some]) - metric.function(other[some], truth[some]))

    low, high = _interval(gain, groups, level, seed)
    return Gain(gain(rows), low, high)


def metric_interval(name: str, probs: Probs, truth: Labels, groups: Labels, *, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval (low, high) of a metric by the bootstrap over groups; NaN twice where there is but one."""
    function = find_metric(name).function
    return _interval(lambda some: function(probs[some], truth[some]), groups, 0.95, seed)


def _interval(value: Callable[[Labels], float], groups: Labels, level: float, seed: int) -> tuple[float, float]:
    """The middle `level` of what `value` gives for the rows of each draw of whole groups."""
    count, random, rows = int(groups.max()) + 1, np.random.default_rng(seed), np.arange(len(groups))
    found = []
    for _ in range(max(FEWEST, min(DRAWS, MOST // len(groups))) if count > 1 else 0):
        times = np.bincount(random.integers(count, size=count), minlength=count)
        found.append(value(np.repeat(rows, times[groups])))
    defined = np.array([one for one in found if not math.isnan(one)])
    if defined.size == 0:
        return math.nan, math.nan
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
