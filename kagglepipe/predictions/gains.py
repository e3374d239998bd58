"""How much better a model is than another on the same rows, with what noise alone could do: for many models at once.

Rows of a group share their luck, so that everything here counts groups.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t

from kagglepipe.predictions.frame import Labels, Probs
from kagglepipe.predictions.metrics import LOG_LOSS_CLIP, find_metric, row_losses, wilson

Floats = npt.NDArray[np.float64]
LEVEL = 0.95
ROUNDING = 1e-9
BLOCKS = 200  # of groups that are left out together, where there are more


@dataclass(frozen=True)
class Gain:
    """A difference, above 0 where the first is better, and its interval; NaN twice where groups are too few."""

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


def mean_gains(gaps: Floats, groups: Labels, *, level: float = LEVEL) -> list[Gain]:
    """The mean of each column of `gaps` (N, K) with its t interval, rows of a group taken as one.

    groups: 0 … G - 1, (N,). The error is that of clusters, with G - 1 degrees of freedom: Cameron and Miller 2015, "A
    practitioner's guide to cluster-robust inference". Drawing groups again and again would promise too much where they
    are few: of five groups, one difference in six that is not there.

    Not known (NaN twice) where those groups in which anything differs are too few for any order of signs to be
    rarer than the level: six for 95 %. Two groups that gain the same say nothing, however alike they are.

    >>> mean_gains(np.array([[1.0], [2.0], [1.0], [2.0], [1.0], [2.0]]), np.arange(6))[0].is_beyond_noise
    True
    >>> mean_gains(np.ones((5, 1)), np.arange(5))
    [Gain(value=1.0, low=nan, high=nan)]
    """
    count = int(groups.max()) + 1
    sums = np.stack([np.bincount(groups, column, minlength=count) for column in gaps.T], axis=1)  # (G, K)
    means, rows = gaps.mean(axis=0), np.bincount(groups, minlength=count).astype(np.float64)
    off = sums - rows[:, None] * means
    errors = np.sqrt(count / max(1, count - 1) * (off**2).sum(axis=0)) / len(gaps)
    differing = (np.abs(sums) > ROUNDING).sum(axis=0)
    return [
        _interval(float(mean), float(error), count, level, int(differ))
        for mean, error, differ in zip(means, errors, differing, strict=True)
    ]


def metric_gain(name: str, probs: Probs, other: Probs, truth: Labels, groups: Labels, *, level: float = LEVEL) -> Gain:
    """How much better `probs` is than `other` by a metric that is no mean over rows, with its interval.

    By the jackknife, as `metric_interval`.
    """
    metric = find_metric(name)
    sign = 1.0 if metric.greater_is_better else -1.0

    def gain(some: Labels) -> float:
        return sign * (metric.function(probs[some], truth[some]) - metric.function(other[some], truth[some]))

    return _jackknife(gain, groups, level)


def metric_interval(name: str, probs: Probs, truth: Labels, groups: Labels) -> tuple[float, float]:
    """The 95 % interval (low, high) of a metric by the jackknife over groups, or over BLOCKS blocks of them.

    Efron and Stein 1981, "The jackknife estimate of variance". NaN twice where groups are few, or where the metric is
    undefined without one of them, as ROC AUC is if a class is in one group alone.
    """
    function = find_metric(name).function
    found = _jackknife(lambda some: function(probs[some], truth[some]), groups, LEVEL)
    if found.low == found.high == 1:  # which shows no luck at all
        return wilson(int(groups.max()) + 1, int(groups.max()) + 1)
    return found.low, found.high


def accuracy_interval(right: npt.NDArray[np.bool_], groups: Labels) -> tuple[float, float]:
    """Wilson's 95 % interval of the share of right answers (N,), of as many rows as groups make them worth.

    Rows of a group share their luck: their number is divided by how much that widens the error (Korn and Graubard
    1998, "Confidence intervals for proportions with small expected number of positive counts"). Where all or none
    are right, which shows no luck at all, each group counts as one row.

    >>> low, high = accuracy_interval(np.array([True] * 8), np.arange(8) // 2)
    >>> round(low, 4), high
    (0.5101, 1.0)
    """
    share, count = float(right.mean()), int(groups.max()) + 1
    off = np.bincount(groups, right - share, minlength=count)
    error = count / max(1, count - 1) * float((off**2).sum()) / len(right) ** 2
    worth = min(float(len(right)), share * (1 - share) / error) if error > 0 else float(count)
    return wilson(share * worth, worth)


def _jackknife(value: Callable[[Labels], float], groups: Labels, level: float) -> Gain:
    """What `value` gives for all rows, and its interval by leaving out each group, or each of BLOCKS blocks of them."""
    count, rows = int(groups.max()) + 1, np.arange(len(groups))
    blocks = np.random.default_rng(0).permutation(count)[groups] % BLOCKS
    numbers = np.unique(blocks)
    without = np.array([value(rows[blocks != number]) for number in numbers]) if len(numbers) > 1 else np.zeros(1)
    error = math.sqrt((len(numbers) - 1) / len(numbers) * float(((without - without.mean()) ** 2).sum()))
    whole = value(rows)
    differ = 0 if whole == error == 0 else len(numbers)
    return _interval(whole, error, len(numbers), level, differ)


def _interval(value: float, error: float, count: int, level: float, differ: int) -> Gain:
    """The t interval of `count` units, `differ` of which are no tie; not known if these could say nothing."""
    if differ == 0:
        return Gain(value, value, value)
    if 2.0 ** (1 - differ) > 1 - level or math.isnan(error):
        return Gain(value, math.nan, math.nan)
    reach = float(t.ppf((1 + level) / 2, count - 1)) * error
    return Gain(value, value - reach, value + reach)
