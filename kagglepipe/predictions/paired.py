"""Whether one run is better than another on the same rows, or only luckier: paired tests of two out-of-fold frames.

Two scores with an interval each say little about their difference, since both runs stumble over the same rows. What
counts is the rows on which they differ.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import binomtest

from kagglepipe.errors import UserError
from kagglepipe.predictions.frame import Labels, Probs, align, class_columns, labels, name_three, probabilities
from kagglepipe.predictions.metrics import Groups, row_losses
from kagglepipe.predictions.uncertainty import mean_gains, sign_flip_p


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
    thrown = successes + failures
    return float(binomtest(successes, thrown).pvalue) if thrown else 1.0


def paired_difference(per_row_a: npt.ArrayLike, per_row_b: npt.ArrayLike, groups: Sequence[Hashable]) -> Difference:
    """The difference of two means over the same rows, when rows of a group share their luck.

    per_row_a, per_row_b: a number for each row (N,), such as its log loss. groups: the group of each row (N,).

    The interval is `uncertainty.mean_gains`', NaN twice where too few groups differ for it to be known; p is that of
    changing signs of whole groups (`uncertainty.sign_flip_p`), 1 where the runs never differ.
    Raises ValueError unless all three have the same length, which is not 0.

    >>> paired_difference([0.5, 0.5], [0.5, 0.5], ["x", "y"])
    Difference(value=0.0, interval=(0.0, 0.0), p=1.0)
    """
    gaps = np.asarray(per_row_a, dtype=np.float64) - np.asarray(per_row_b, dtype=np.float64)
    if gaps.shape != (len(groups),) or len(groups) == 0:
        raise ValueError(f"{len(groups)} groups for numbers of shape {gaps.shape}")
    codes = np.asarray(pd.factorize(pd.Series(list(groups), dtype=object))[0], dtype=np.intp)
    (found,) = mean_gains(gaps[:, None], codes)
    return Difference(found.value, (found.low, found.high), sign_flip_p(np.bincount(codes, gaps)))


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
        accuracy=paired_difference(right_a, right_b, of_group),
        log_loss=paired_difference(row_losses(probs_a, truth), row_losses(probs_b, truth), of_group),
        differing=_differing(one, probs_a, probs_b, truth, classes),
    )


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
