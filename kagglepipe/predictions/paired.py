"""Whether one run is better than another on the same rows, or only luckier: paired tests of two out-of-fold frames.

Two scores with an interval each say little about their difference, since both runs stumble over the same rows. What
counts is the rows on which they differ.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.errors import UserError
from kagglepipe.predictions.frame import Labels, Probs, align, class_columns, labels, name_three, probabilities
from kagglepipe.predictions.metrics import LOG_LOSS_CLIP, Groups

Floats = npt.NDArray[np.float64]
DRAWS = 10_000
AT_ONCE = 2_000_000  # numbers that the draws of groups may take in memory


@dataclass(frozen=True)
class McNemar:
    """only_a, only_b: rows that one run alone has right. p: two-sided, of as uneven a split by chance."""

    only_a: int
    only_b: int
    p: float


@dataclass(frozen=True)
class Difference:
    """mean(a) - mean(b) over rows, its 95 % interval, and a two-sided p."""

    value: float
    interval: tuple[float, float]
    p: float


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same rows.

    rows, groups: how many there are. right: of right and wrong answers, row by row. accuracy, log_loss: the
    difference a - b, by group (more is better of the one, less of the other). differing: the rows that they answer
    differently, those first whose true class they judge most differently.
    """

    rows: int
    groups: int
    right: McNemar
    accuracy: Difference
    log_loss: Difference
    differing: pd.DataFrame


def mcnemar(right_a: npt.ArrayLike, right_b: npt.ArrayLike) -> McNemar:
    """The exact test of two runs' right (true) and wrong answers to the same rows, (N,) each.

    Under chance each row that one of them alone has right is as likely the one's as the other's, so that their number
    is binomial; p sums both tails and is 1 where they never differ. Rows have to be independent: those of groups are
    not.

    McNemar 1947, "Note on the sampling error of the difference between correlated proportions or percentages"; the
    exact form is the sign test. Raises ValueError for arrays of other shapes.

    >>> mcnemar([True, True, True, False], [False, False, True, False])
    McNemar(only_a=2, only_b=0, p=0.5)
    """
    a, b = np.asarray(right_a, dtype=bool), np.asarray(right_b, dtype=bool)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"answers of shape {a.shape} and {b.shape} are no pairs")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    return McNemar(only_a, only_b, sign_test(only_a, only_b))


def sign_test(successes: int, failures: int) -> float:
    """How often a fair coin falls at least as unevenly as this, in [0, 1]; 1 if it was never thrown.

    >>> sign_test(5, 0), sign_test(1, 1), sign_test(0, 0)
    (0.0625, 1.0, 1.0)
    """
    n, fewer = successes + failures, min(successes, failures)
    if n == 0:
        return 1.0
    tail, term = 0, 1  # whole numbers: n over k, which floats cannot hold for large n
    for k in range(fewer + 1):
        tail += term
        term = term * (n - k) // (k + 1)
    return min(1.0, 2 * tail / 2**n)


def paired_bootstrap(
    per_row_a: npt.ArrayLike,
    per_row_b: npt.ArrayLike,
    groups: Sequence[Hashable],
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> Difference:
    """The difference of two means over the same rows, when whole groups are drawn again with replacement.

    per_row_a, per_row_b: a number for each row (N,), such as its log loss. groups: the group of each row (N,).

    The interval holds the middle 95 % of the draws (NaN twice with one group). p is twice the share of draws on the
    smaller side of zero, both numbers one larger than counted, so that it is never 0; it is below 0.05 about where the
    interval leaves zero out. It is 1 where the runs never differ, and with one group.

    Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 13; Davison and Hinkley 1997, section 3.8,
    for groups. Raises ValueError unless all three have the same length, which is not 0.

    >>> paired_bootstrap([0.5, 0.5], [0.5, 0.5], ["x", "y"])
    Difference(value=0.0, interval=(0.0, 0.0), p=1.0)
    """
    gaps = np.asarray(per_row_a, dtype=np.float64) - np.asarray(per_row_b, dtype=np.float64)
    if gaps.shape != (len(groups),) or len(groups) == 0:
        raise ValueError(f"{len(groups)} groups for numbers of shape {gaps.shape}")
    codes = pd.factorize(pd.Series(list(groups), dtype=object))[0]
    sums: Floats = np.bincount(codes, gaps).astype(np.float64)
    sizes: Floats = np.bincount(codes).astype(np.float64)
    value = float(gaps.mean())
    if len(sizes) == 1:
        return Difference(value, (math.nan, math.nan), 1.0)
    drawn = _drawn_means(sums, sizes, seed, draws)
    low, high = np.quantile(drawn, [0.025, 0.975])
    beyond = 1 + min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return Difference(value, (float(low), float(high)), min(1.0, 2 * beyond / (1 + draws)))


def compare(a: pd.DataFrame, b: pd.DataFrame, groups: Groups | None = None) -> Comparison:
    """Two out-of-fold frames of the same ids, in whatever order, held against each other.

    groups: id -> group, a mapping or a Series with ids as index; None makes every row a group of its own.
    Raises UserError unless both have the same ids, classes and targets, and each id a group.
    """
    one, other = align({"the first": a, "the second": b}).values()
    classes = class_columns(one)
    truth, probs_a, probs_b = labels(one, classes), probabilities(one, classes), probabilities(other, classes)
    of_row = one["id"] if groups is None else one["id"].map(groups)
    if of_row.isna().any():
        raise UserError(f"the table that is prepared now does not hold {name_three(one['id'][of_row.isna()])}")
    right_a, right_b = probs_a.argmax(axis=1) == truth, probs_b.argmax(axis=1) == truth
    of_group = of_row.tolist()
    return Comparison(
        rows=len(one),
        groups=len(set(of_group)),
        right=mcnemar(right_a, right_b),
        accuracy=paired_bootstrap(right_a, right_b, of_group),
        log_loss=paired_bootstrap(row_losses(probs_a, truth), row_losses(probs_b, truth), of_group),
        differing=_differing(one, probs_a, probs_b, truth, classes),
    )


def row_losses(probs: Probs, truth: Labels) -> Floats:
    """-log(probability of the true class) of each row, (N,), clipped as in `metrics.log_loss`, whose mean it has.

    >>> row_losses(np.array([[0.5, 0.5]]), np.array([0])).round(4)
    array([0.6931])
    """
    given = probs[np.arange(len(truth)), truth].astype(np.float64)
    losses: Floats = -np.log(np.clip(given, LOG_LOSS_CLIP, 1 - LOG_LOSS_CLIP))
    return losses


def _drawn_means(sums: Floats, sizes: Floats, seed: int, draws: int) -> Floats:
    """(draws,) the mean over rows of each draw of groups; in parts that memory can hold."""
    random, count = np.random.default_rng(seed), len(sizes)
    means, size = [], max(1, AT_ONCE // count)
    for done in range(0, draws, size):
        times = random.multinomial(count, np.full(count, 1 / count), size=min(size, draws - done))
        means.append((times @ sums) / (times @ sizes))
    return np.concatenate(means)


def _differing(one: pd.DataFrame, probs_a: Probs, probs_b: Probs, truth: Labels, classes: list[str]) -> pd.DataFrame:
    """The rows with different answers: id, fold, target, and either run's answer and probability of the true class."""
    rows = np.arange(len(one))
    names = np.array(classes, dtype=object)
    table = one[["id", "fold", "target"]].assign(
        answer_a=names[probs_a.argmax(axis=1)],
        answer_b=names[probs_b.argmax(axis=1)],
        probability_a=probs_a[rows, truth],
        probability_b=probs_b[rows, truth],
    )
    table = table[table["answer_a"] != table["answer_b"]]
    gap = (table["probability_a"] - table["probability_b"]).abs()
    return table.iloc[np.lexsort((table["id"], -gap))].reset_index(drop=True)
