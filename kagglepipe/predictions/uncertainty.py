"""How far a score, or the difference of two, may be believed: every 95 % interval of the package, and how it is told.

Rows of a group (photos of a person, near-duplicates, frames of one video) share their luck, so that the unit is the
group. The error is the jackknife's: how the number moves when each group in turn is left out. With G groups it has
G - 1 degrees of freedom, and Student's quantile makes up for an error that is itself estimated from few groups.
Drawing groups again and again (the bootstrap) would promise too much: its 95 % intervals cover 80 to 90 % with four
to ten groups. Where few groups hold most of the rows these decide, and the quantile is that of fewer groups
(`effective_groups`). A number in [0, 1] has Wilson's interval, a loss that of its logarithm, a difference a symmetric
one.

Efron and Stein 1981, "The jackknife estimate of variance"; MacKinnon, Nielsen and Webb 2023, "Fast and reliable
jackknife and bootstrap methods for cluster-robust inference"; Carter, Schnepel and Steigerwald 2017, "Asymptotic
behavior of a t-test robust to cluster heterogeneity".
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kagglepipe.predictions.frame import Labels

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]

LEVEL = 0.95
NORMAL = 1.96  # the quantile of LEVEL
ROUNDING = 1e-9
BLOCKS = 200  # of groups that are left out together, where there are more
EXACT_GROUPS = 14  # 2**14 sign vectors are all tried; more groups are sampled
NORMAL_GROUPS = 5000  # of so many the sum is normal
SIGN_DRAWS_AT_ONCE = 100
MIN_GROUPS = 3  # two groups tell nothing of how groups differ
UNKNOWN: Interval = (math.nan, math.nan)
TOO_FEW = "too few groups to tell"


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


# --- errors -------------------------------------------------------------------------------------------------------


def group_blocks(groups: Labels) -> Labels:
    """The block of each row (N,), from 0: its group or, of more than BLOCKS groups, a random set of them."""
    count = int(groups.max()) + 1
    return groups if count <= BLOCKS else np.random.default_rng(0).permutation(count)[groups] % BLOCKS


def jackknife_error(without: Floats) -> Floats:
    """The standard error from the values without each of U units: (U,) -> (), (U, K) -> (K,); NaN where one is NaN."""
    count = len(without)
    error: Floats = np.sqrt((count - 1) / count * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    return error


def leave_groups_out(value: Callable[[Labels], float], groups: Labels) -> Floats:
    """(U,) what `value` gives for the row numbers that are left without each block of groups."""
    blocks, rows = group_blocks(groups), np.arange(len(groups))
    return np.array([value(rows[blocks != block]) for block in range(int(blocks.max()) + 1)])


def effective_groups(groups: Labels) -> float:
    """How many groups of one size tell as much of the error as groups of these sizes, which the largest decide.

    >>> effective_groups(np.array([0, 0, 1, 1, 2, 2])), effective_groups(np.array([0] * 8 + [1, 2]))
    (3.0, 1.5151515151515151)
    """
    sizes = np.bincount(groups)
    return float(sizes.sum() ** 2 / (sizes.astype(np.float64) ** 2).sum())


def mean_error(columns: Floats, groups: Labels) -> Floats:
    """(K,) the jackknife's error of the mean of each column (N, K), by leaving out each group; 0 for a single group."""
    count = int(groups.max()) + 1
    if count == 1:
        return np.zeros(columns.shape[1])
    sums = np.stack([np.bincount(groups, column, minlength=count) for column in columns.T], axis=1)  # (G, K)
    rows = np.bincount(groups, minlength=count)
    return jackknife_error((sums.sum(axis=0) - sums) / (len(columns) - rows)[:, None])


# --- scores -------------------------------------------------------------------------------------------------------


def wilson(successes: float, n: float, z: float = NORMAL) -> Interval:
    """The score interval (low, high) of a proportion, within [0, 1] and of use at 0 and at n successes too.

    z: normal quantile; 1.96 makes it a 95 % interval. Raises ValueError unless 0 <= successes <= n and n > 0.
    Wilson 1927, "Probable inference, the law of succession, and statistical inference".

    >>> low, high = wilson(741, 741)
    >>> round(low, 5), high
    (0.99484, 1.0)
    """
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"{successes} successes of {n} is no proportion")
    share = successes / n
    centre = share + z**2 / (2 * n)
    reach = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    return max(0.0, (centre - reach) / scale), min(1.0, (centre + reach) / scale)


def share_interval(
    value: float, error: float, groups: int, *, effective: float | None = None, rows: float = math.inf
) -> Interval:
    """The 95 % interval of a score in [0, 1] with that standard error, which `groups` groups have told.

    Wilson's, of as many right and wrong answers as would have the same error, fewer where Student's quantile asks for
    it: Korn and Graubard 1998, "Confidence intervals for proportions with small expected number of positive counts".
    Without any error, as where all is right, each group counts as one answer. NaN twice for fewer than MIN_GROUPS
    groups, or where value or error are not known.

    effective: how many groups these are worth (see `effective_groups`); None: as many as there are. rows: the most
    answers that there can be, where the score is a share of so many.

    >>> [round(limit, 3) for limit in share_interval(0.8, 0.1, 6)]
    [0.488, 0.944]
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
    """The 95 % interval of the share of right answers (N,): Wilson's, of as many rows as groups make them worth.

    groups: 0 … G - 1, (N,). Where each row is a group of its own it is Wilson's of N rows.

    >>> low, high = accuracy_interval(np.array([True] * 8), np.arange(8) // 2)
    >>> round(low, 4), high
    (0.5101, 1.0)
    """
    count, rows = int(groups.max()) + 1, len(right)
    if count == rows:
        return wilson(int(right.sum()), rows)
    (error,) = mean_error(right[:, None].astype(np.float64), groups)
    return share_interval(float(right.mean()), float(error), count, effective=effective_groups(groups), rows=rows)


def loss_interval(losses: Floats, groups: Labels) -> Interval:
    """The 95 % interval of the mean of losses (N,) above 0: that of its logarithm, since large losses are rare.

    >>> [round(limit, 2) for limit in loss_interval(np.array([0.1, 0.2, 0.3, 0.2]), np.arange(4))]
    [0.1, 0.38]
    """
    count, mean = int(groups.max()) + 1, float(losses.mean())
    if count < MIN_GROUPS or not mean > 0:
        return UNKNOWN
    (error,) = mean_error(losses[:, None], groups)
    factor = math.exp(min(_quantile(effective_groups(groups), LEVEL) * float(error) / mean, 700.0))
    return mean / factor, mean * factor


def jackknife_interval(value: Callable[[Labels], float], groups: Labels) -> Interval:
    """The 95 % interval of a score in [0, 1]; value: row numbers -> their score, NaN where it is undefined."""
    count, rows = int(groups.max()) + 1, np.arange(len(groups))
    if count < MIN_GROUPS:
        return UNKNOWN
    error = float(jackknife_error(leave_groups_out(value, groups)))
    return share_interval(value(rows), error, count, effective=effective_groups(groups))


# --- differences --------------------------------------------------------------------------------------------------


def mean_gains(gaps: Floats, groups: Labels, *, level: float = LEVEL) -> list[Gain]:
    """The mean of each column of `gaps` (N, K) with its t interval, rows of a group taken as one.

    groups: 0 … G - 1, (N,). Not known (NaN twice) where those groups in which anything differs are too few for any
    order of signs to be rarer than the level: six for 95 %. Two groups that gain the same say nothing, however alike
    they are.

    >>> mean_gains(np.array([[1.0], [2.0], [1.0], [2.0], [1.0], [2.0]]), np.arange(6))[0].is_beyond_noise
    True
    >>> mean_gains(np.ones((5, 1)), np.arange(5))
    [Gain(value=1.0, low=nan, high=nan)]
    """
    count = int(groups.max()) + 1
    means, errors = gaps.mean(axis=0), mean_error(gaps, groups)
    sums = np.stack([np.bincount(groups, column, minlength=count) for column in gaps.T], axis=1)  # (G, K)
    differing, units = (np.abs(sums) > ROUNDING).sum(axis=0), effective_groups(groups)
    return [
        _difference(float(mean), float(error), units, level, int(differ))
        for mean, error, differ in zip(means, errors, differing, strict=True)
    ]


def jackknife_gain(value: Callable[[Labels], float], groups: Labels, *, level: float = LEVEL) -> Gain:
    """A difference and its interval; value: row numbers -> the difference on them. As `mean_gains` of any number."""
    whole, without = value(np.arange(len(groups))), np.zeros(1)
    if int(groups.max()) > 0:
        without = leave_groups_out(value, groups)
    error = float(jackknife_error(without))
    differ = 0 if whole == error == 0 else len(without)
    return _difference(whole, error, effective_groups(group_blocks(groups)), level, differ)


def _difference(value: float, error: float, units: float, level: float, differ: int) -> Gain:
    """The t interval of so many effective groups; not known if the groups that are no tie could say nothing."""
    if differ == 0:
        return Gain(value, value, value)
    if 2.0 ** (1 - differ) > 1 - level or math.isnan(error):
        return Gain(value, math.nan, math.nan)
    reach = _quantile(units, level) * error
    return Gain(value, value - reach, value + reach)


def _quantile(units: float, level: float) -> float:
    """Student's quantile of a two-sided interval with `units` - 1 degrees of freedom, one at least."""
    from scipy.special import stdtrit  # not above: what only tells scores need not wait for it

    return float(stdtrit(max(units - 1, 1.0), (1 + level) / 2))


def _parts(draws: int) -> list[int]:
    """How many draws to do at once, again and again.

    >>> _parts(2 * SIGN_DRAWS_AT_ONCE + 1)
    [100, 100, 1]
    """
    return [min(SIGN_DRAWS_AT_ONCE, draws - done) for done in range(0, draws, SIGN_DRAWS_AT_ONCE)]


def sign_flip_p(sums: npt.NDArray[Any], *, seed: int = 0, draws: int = 10_000) -> float:
    """The share of sign vectors that make the sum of `sums` (groups,) as far from 0 as it is; 1 where all are 0.

    All vectors for up to 14 groups with a sum; `draws` random ones for more, as (1 + as far) / (1 + draws); for very
    many the normal distribution, which the sum then has. It is never below 2 / 2**groups: five groups cannot tell less
    than 0.0625. Fisher 1935, "The design of experiments", section 21; Phipson and Smyth 2010, "Permutation p-values
    should never be zero".
    """
    sums, random = sums[sums != 0], np.random.default_rng(seed)
    if len(sums) > NORMAL_GROUPS:
        return math.erfc(abs(float(sums.sum())) / math.sqrt(2 * float((sums**2).sum())))
    limit = abs(sums.sum()) - 1e-9 * np.abs(sums).sum()  # equal sums differ by rounding
    if len(sums) <= EXACT_GROUPS:
        flips = np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums)) & 1
        return float((np.abs((1 - 2 * flips) @ sums) >= limit).mean())
    large = sum(
        int((np.abs((1 - 2 * random.integers(2, size=(size, len(sums)))) @ sums) >= limit).sum())
        for size in _parts(draws)
    )
    return (1 + large) / (1 + draws)


# --- in words -----------------------------------------------------------------------------------------------------


def format_score(value: float, digits: int = 4) -> str:
    """A score, `undefined` for NaN.

    >>> format_score(0.98765), format_score(math.nan)
    ('0.9877', 'undefined')
    """
    return "undefined" if math.isnan(value) else f"{value:.{digits}f}"


def format_interval(low: float, high: float, *, digits: int = 4, signed: bool = False) -> str:
    """An interval; signed: that of a difference.

    >>> format_interval(0.3, 0.95), format_interval(-0.1, 0.2, signed=True), format_interval(math.nan, math.nan)
    ('0.3000-0.9500', '-0.1000 to +0.2000', 'too few groups to tell')
    """
    if math.isnan(low) or math.isnan(high):
        return TOO_FEW
    return f"{low:+.{digits}f} to {high:+.{digits}f}" if signed else f"{low:.{digits}f}-{high:.{digits}f}"


def format_difference(value: float, low: float, high: float, p: float | None = None) -> str:
    """A difference with its interval and, where there is one, its p.

    >>> format_difference(0.0123, -0.004, 0.029, 0.13), format_difference(0.0123, math.nan, math.nan)
    ('+0.0123 (-0.0040 to +0.0290, p = 0.13)', '+0.0123 (too few groups to tell)')
    """
    told = "" if p is None else f", p = {p:.2g}"
    return f"{value:+.4f} ({format_interval(low, high, signed=True)}{told})"


def format_two(one: float, other: float, *, digits: int = 4, most: int = 9) -> tuple[str, str]:
    """Two numbers with as many digits as it takes to tell them apart, `most` of them; else both read alike.

    >>> format_two(0.45, 0.4), format_two(0.45001, 0.45), format_two(0.45, 0.45)
    (('0.4500', '0.4000'), ('0.45001', '0.45000'), ('0.4500', '0.4500'))
    """
    for more in range(digits, most + 1):
        told = format_score(one, more), format_score(other, more)
        if told[0] != told[1]:
            return told
    return format_score(one, digits), format_score(other, digits)
