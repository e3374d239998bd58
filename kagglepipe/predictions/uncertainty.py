"""Confidence intervals of scores and of differences of scores, with groups of rows as the sampling unit.

The standard error is the jackknife's over groups, with Student's quantile of `effective_groups` - 1 degrees of freedom
(docs/ensembles.md).

Efron and Stein 1981, "The jackknife estimate of variance"; MacKinnon, Nielsen and Webb 2023, "Fast and reliable
jackknife and bootstrap methods for cluster-robust inference"; Carter, Schnepel and Steigerwald 2017, "Asymptotic
behavior of a t-test robust to cluster heterogeneity".
"""

import math
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.predictions.frame import Labels

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]
Without = Callable[[Labels], Floats]  # blocks 0 … U - 1 (N,) of rows -> the value without each, (U,)

LEVEL = 0.95
NORMAL = 1.96  # the quantile of LEVEL
ROUNDING = 1e-9
BLOCKS = 200  # left out at a time, where there are more groups
EXACT_GROUPS = 14  # all 2**14 sign vectors are tried; for more groups they are sampled
NORMAL_GROUPS = 5000  # above it the sum is taken for normal
DRAWS_AT_ONCE = 100
MIN_GROUPS = 3  # two groups say nothing of the variance between groups
UNKNOWN: Interval = (math.nan, math.nan)
TOO_FEW = "too few groups to tell"


@dataclass(frozen=True)
class Gain:
    """A difference of scores, above 0 where the first is better, and its interval; NaN twice for too few groups."""

    value: float
    low: float
    high: float

    @property
    def is_beyond_noise(self) -> bool:
        """Whether the interval lies above 0, by more than rounding."""
        return self.low > ROUNDING


def group_codes(groups: Iterable[Hashable]) -> Labels:
    """Number the groups of N rows from 0 in order of appearance, (N,)."""
    return np.asarray(pd.factorize(pd.Series(list(groups), dtype=object))[0], dtype=np.intp)


def group_blocks(groups: Labels) -> Labels:
    """Block of each row (N,), from 0: its group or, of more than BLOCKS groups, a random set of them."""
    count = int(groups.max()) + 1
    return groups if count <= BLOCKS else np.random.default_rng(0).permutation(count)[groups] % BLOCKS


def jackknife_error(without: Floats) -> Floats:
    """Standard error from the values without each of U units, (U,) -> (), (U, K) -> (K,); NaN where one is NaN."""
    count = len(without)
    return np.asarray(np.sqrt((count - 1) / count * ((without - without.mean(axis=0)) ** 2).sum(axis=0)))


def leave_out(value: Callable[[Labels], float], blocks: Labels) -> Floats:
    """Evaluate `value`, a function of row numbers, without each block 0 … U - 1 (N,) of rows, (U,)."""
    rows = np.arange(len(blocks))
    return np.array([value(rows[blocks != block]) for block in range(int(blocks.max()) + 1)])


def effective_groups(groups: Labels) -> float:
    """How many groups of equal size have the same variance as these (N,): (Σ size)² / Σ size²."""
    sizes = np.bincount(groups)
    return float(sizes.sum() ** 2 / (sizes.astype(np.float64) ** 2).sum())


def mean_error(columns: Floats, groups: Labels) -> Floats:
    """Jackknife error of the mean of each column, (N, K) -> (K,), by leaving out each group; 0 for a single group."""
    if int(groups.max()) == 0:
        return np.zeros(columns.shape[1])
    sums = _group_sums(columns, groups)
    return jackknife_error((sums.sum(axis=0) - sums) / (len(columns) - np.bincount(groups))[:, None])


def _group_sums(columns: Floats, groups: Labels) -> Floats:
    """(N, K) -> (G, K)."""
    return np.stack([np.bincount(groups, column) for column in columns.T], axis=1)


def wilson(successes: float, n: float) -> Interval:
    """95 % Wilson score interval of a proportion, within [0, 1]. Raises ValueError unless 0 <= successes <= n, n > 0.

    Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"{successes} successes of {n} is no proportion")
    share, z = successes / n, NORMAL
    centre = share + z**2 / (2 * n)
    reach = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    return max(0.0, (centre - reach) / scale), min(1.0, (centre + reach) / scale)


def share_interval(
    value: float, error: float, groups: int, *, effective: float | None = None, rows: float = math.inf
) -> Interval:
    """95 % interval of a score in [0, 1] with this standard error: Wilson's, with the effective sample size.

    Korn and Graubard 1998, "Confidence intervals for proportions with small expected number of positive counts". With
    error 0 each group counts as one answer. NaN twice for fewer than MIN_GROUPS groups, or a value or error of NaN.

    effective: `effective_groups`; None: as many as there are. rows: upper bound of the sample size.
    """
    if groups < MIN_GROUPS or math.isnan(value) or math.isnan(error):
        return UNKNOWN
    value = min(max(value, 0.0), 1.0)
    if error < ROUNDING:
        return wilson(value * groups, groups)
    usual = NORMAL if math.isinf(rows) else _quantile(rows, LEVEL)
    worth = min(rows, value * (1 - value) / error**2 + 1) * (usual / _quantile(effective or groups, LEVEL)) ** 2
    return wilson(value * worth, worth)


def accuracy_interval(right: npt.NDArray[np.bool_], groups: Labels) -> Interval:
    """95 % interval of the share of right answers (N,), with groups 0 … G - 1 (N,); Wilson's where G = N."""
    count, rows = int(groups.max()) + 1, len(right)
    if count == rows:
        return wilson(int(right.sum()), rows)
    (error,) = mean_error(right[:, None].astype(np.float64), groups)
    return share_interval(float(right.mean()), float(error), count, effective=effective_groups(groups), rows=rows)


def loss_interval(losses: Floats, groups: Labels) -> Interval:
    """95 % interval of the mean of losses (N,) above 0, on a log scale since large losses are rare."""
    count, mean = int(groups.max()) + 1, float(losses.mean())
    if count < MIN_GROUPS or not mean > 0:
        return UNKNOWN
    (error,) = mean_error(losses[:, None], groups)
    factor = math.exp(min(_quantile(effective_groups(groups), LEVEL) * float(error) / mean, 700.0))
    return mean / factor, mean * factor


def jackknife_interval(
    whole: float, without: Without, groups: Labels, limits: tuple[float, float] = (0.0, 1.0)
) -> Interval:
    """95 % interval of a score `whole`, with groups 0 … G - 1 (N,) of rows; NaN where it is undefined without some.

    limits: the least and the largest score. Where one of them is infinite the interval is Student's, symmetric.
    """
    count, (least, largest) = int(groups.max()) + 1, limits
    if count < MIN_GROUPS:
        return UNKNOWN
    width, units = largest - least, effective_groups(groups)
    error = float(jackknife_error(without(group_blocks(groups))))
    if math.isinf(width):
        reach = _quantile(units, LEVEL) * error
        return whole - reach, whole + reach
    low, high = share_interval((whole - least) / width, error / width, count, effective=units)
    return least + width * low, least + width * high


def laplace_error(count: int) -> float:
    """Error rate that `count` rows without an error leave possible, by Laplace's rule of succession."""
    return 1 / (count + 2)


def mean_gains(gaps: Floats, groups: Labels, *, level: float = LEVEL) -> list[Gain]:
    """Mean of each column of `gaps` (N, K) with its t interval by groups 0 … G - 1 (N,).

    NaN twice where so few groups differ that no sign pattern of theirs is rarer than 1 - level: under six for 95 %.
    """
    means, errors, units = gaps.mean(axis=0), mean_error(gaps, groups), effective_groups(groups)
    differing = (np.abs(_group_sums(gaps, groups)) > ROUNDING).sum(axis=0)
    return [
        _gain(float(mean), float(error), units, level, int(differ))
        for mean, error, differ in zip(means, errors, differing, strict=True)
    ]


def jackknife_gain(whole: float, without: Without, groups: Labels, *, level: float = LEVEL) -> Gain:
    """Difference, which need not be a mean, with its t interval by groups 0 … G - 1 (N,)."""
    blocks = group_blocks(groups)
    values = without(blocks) if int(groups.max()) else np.zeros(1)
    error = float(jackknife_error(values))
    differ = 0 if whole == error == 0 else len(values)
    return _gain(whole, error, effective_groups(blocks), level, differ)


def _gain(value: float, error: float, units: float, level: float, differ: int) -> Gain:
    """Compute the t interval with `units` effective groups, of which `differ` are no ties."""
    if differ == 0:
        return Gain(value, value, value)
    if 2.0 ** (1 - differ) > 1 - level or math.isnan(error):
        return Gain(value, *UNKNOWN)
    reach = _quantile(units, level) * error
    return Gain(value, value - reach, value + reach)


def _quantile(units: float, level: float) -> float:
    """Student's quantile of a two-sided interval with max(units - 1, 1) degrees of freedom."""
    from scipy.special import stdtrit  # at the top it would slow every command

    return float(stdtrit(max(units - 1, 1.0), (1 + level) / 2))


def sign_flip_p(sums: npt.NDArray[Any], *, draws: int = 10_000) -> float:
    """Two-sided p of a sign-flip permutation test on sums by group (G,); 1 where all are 0.

    Fisher 1935, "The design of experiments", section 21; where sampled, Phipson and Smyth 2010, "Permutation p-values
    should never be zero".
    """
    sums, random = sums[sums != 0], np.random.default_rng(0)
    if len(sums) > NORMAL_GROUPS:
        return math.erfc(abs(float(sums.sum())) / math.sqrt(2 * float((sums**2).sum())))
    limit = abs(sums.sum()) - 1e-9 * np.abs(sums).sum()  # equal sums differ by rounding
    if len(sums) <= EXACT_GROUPS:
        flips = np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums)) & 1
        return float((np.abs((1 - 2 * flips) @ sums) >= limit).mean())
    extreme = 0
    for done in range(0, draws, DRAWS_AT_ONCE):
        flips = random.integers(2, size=(min(DRAWS_AT_ONCE, draws - done), len(sums)))
        extreme += int((np.abs((1 - 2 * flips) @ sums) >= limit).sum())
    return (1 + extreme) / (1 + draws)


def format_score(value: float, digits: int = 4) -> str:
    """Format a score, `undefined` for NaN."""
    return "undefined" if math.isnan(value) else f"{value:z.{digits}f}"


def format_interval(low: float, high: float, *, digits: int = 4, signed: bool = False) -> str:
    """Format an interval; signed: of a difference.

    >>> format_interval(0.3, 0.95), format_interval(-0.1, 0.2), format_interval(-0.1, 0.2, signed=True)
    ('0.3000-0.9500', '-0.1000 to 0.2000', '-0.1000 to +0.2000')
    """
    if math.isnan(low) or math.isnan(high):
        return TOO_FEW
    if signed:
        return f"{low:+z.{digits}f} to {high:+z.{digits}f}"
    shown = format_score(low, digits)
    return f"{shown}{' to ' if shown.startswith('-') else '-'}{format_score(high, digits)}"


def format_difference(value: float, low: float, high: float, p: float | None = None) -> str:
    """Format a difference, with its interval and p if there is one.

    >>> format_difference(0.0123, -0.004, 0.029, 0.13)
    '+0.0123 (-0.0040 to +0.0290, p = 0.13)'
    """
    shown_p = "" if p is None else f", p = {p:.2g}"
    return f"{value:+z.4f} ({format_interval(low, high, signed=True)}{shown_p})"


def format_two(one: float, other: float, *, most: int = 9) -> tuple[str, str]:
    """Two numbers as text with as many digits as distinguish them, four at least and `most` at most; else with four.

    >>> format_two(0.45001, 0.45), format_two(0.45, 0.45)
    (('0.45001', '0.45000'), ('0.4500', '0.4500'))
    """
    pairs = [(format_score(one, n), format_score(other, n)) for n in range(4, most + 1)]
    return next((pair for pair in pairs if pair[0] != pair[1]), pairs[0])
