"""Paired comparisons of predictions for the same rows: tests, intervals, and which gains are significant.

Probabilities are (N, C); truth (N,) has the indices of the true classes, groups (N,) the numbers of groups of rows.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.errors import UserError
from kagglepipe.predictions.decisions import plain_out_of_fold
from kagglepipe.predictions.evaluation import EvalRows, Groups
from kagglepipe.predictions.frame import Labels, Probs, align, class_columns, labels, probabilities
from kagglepipe.predictions.metrics import find_metric
from kagglepipe.predictions.tasks import row_losses, task_of_truth
from kagglepipe.predictions.uncertainty import (
    LEVEL,
    Gain,
    group_codes,
    jackknife_gain,
    laplace_error,
    mean_gains,
    sign_flip_p,
)
from kagglepipe.text import quoted_three


@dataclass(frozen=True)
class McNemar:
    """only_a, only_b: rows that only one run has right. p: two-sided."""

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
    """Two runs, a and b, on the same rows.

    rows, groups: counts. loss: name of the task's loss. log_loss: its difference a - b, by group; of numbers the
    squared error. right, accuracy: of classes, row by row and a - b by group; of tags and numbers None. score: of those
    a - b in the metric, with the plain decision, above 0 where a is better. differing: rows with different answers, the
    largest gap in the probability of the true class first; of tags and numbers None.
    """

    rows: int
    groups: int
    loss: str
    log_loss: Difference
    right: McNemar | None = None
    accuracy: Difference | None = None
    score: Gain | None = None
    differing: pd.DataFrame | None = None


def mcnemar(right_a: npt.NDArray[np.bool_], right_b: npt.NDArray[np.bool_]) -> McNemar:
    """McNemar's exact test of two runs' right answers to the same independent rows, (N,) each.

    McNemar 1947, "Note on the sampling error of the difference between correlated proportions or percentages".
    """
    from scipy.stats import binomtest

    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    differ = only_a + only_b
    return McNemar(only_a, only_b, float(binomtest(only_a, differ).pvalue) if differ else 1.0)


def paired_difference(per_row_a: npt.ArrayLike, per_row_b: npt.ArrayLike, groups: Sequence[Hashable]) -> Difference:
    """Difference of the means of two numbers per row (N,), with groups (N,) of dependent rows.

    The interval is that of `uncertainty.mean_gains`, p that of `uncertainty.sign_flip_p`.
    Raises ValueError unless all three have the same length, which is not 0.
    """
    gaps = np.asarray(per_row_a, dtype=np.float64) - np.asarray(per_row_b, dtype=np.float64)
    if gaps.shape != (len(groups),) or len(groups) == 0:
        raise ValueError(f"{len(groups)} groups for numbers of shape {gaps.shape}")
    codes = group_codes(groups)
    (gain,) = mean_gains(gaps[:, None], codes)
    return Difference(gain.value, (gain.low, gain.high), sign_flip_p(np.bincount(codes, gaps)))


def compare(a: pd.DataFrame, b: pd.DataFrame, groups: Groups | None = None, metric: str | None = None) -> Comparison:
    """Compare two out-of-fold frames of the same ids, in any order.

    metric: of tags or numbers; None: only their loss is compared. groups: id -> group, a mapping or a Series with ids
    as index; None makes every row a group of its own.
    Raises UserError unless both have the same ids, classes and targets, and each id a group.
    """
    one, other = align({"the first": a, "the second": b}).values()
    classes = class_columns(one)
    truth, probs_a, probs_b = labels(one, classes), probabilities(one, classes), probabilities(other, classes)
    of_row = one["id"] if groups is None else one["id"].map(groups)
    if of_row.isna().any():
        raise UserError(f"the table that is prepared now does not hold {quoted_three(one['id'][of_row.isna()])}")
    of_group, task = of_row.tolist(), task_of_truth(truth)
    losses = paired_difference(row_losses(probs_a, truth), row_losses(probs_b, truth), of_group)
    found = Comparison(rows=len(one), groups=len(set(of_group)), loss=task.loss, log_loss=losses)
    if truth.ndim > 1:
        if metric is None:
            return found
        rows = EvalRows(truth, group_codes(one["fold"]), group_codes(of_group), metric)
        first, second = (plain_out_of_fold(probs, rows) for probs in (probs_a, probs_b))
        return replace(found, score=score_gain(first, second, rows))
    right_a, right_b = probs_a.argmax(axis=1) == truth, probs_b.argmax(axis=1) == truth
    return replace(
        found,
        right=mcnemar(right_a, right_b),
        accuracy=paired_difference(right_a, right_b, of_group),
        differing=_differing(one, probs_a, probs_b, truth, classes),
    )


def _differing(one: pd.DataFrame, probs_a: Probs, probs_b: Probs, truth: Labels, classes: list[str]) -> pd.DataFrame:
    """Rows with different answers: id, fold, target, and either run's answer and probability of the true class."""
    rows, names = np.arange(len(one)), np.array(classes, dtype=object)
    table = one[["id", "fold", "target"]].assign(
        answer_a=names[probs_a.argmax(axis=1)],
        answer_b=names[probs_b.argmax(axis=1)],
        probability_a=probs_a[rows, truth],
        probability_b=probs_b[rows, truth],
    )
    table = table[table["answer_a"] != table["answer_b"]]
    gap = (table["probability_a"] - table["probability_b"]).abs()
    return table.iloc[np.lexsort((table["id"], -gap))].reset_index(drop=True)


def significantly_better(options: Sequence[Probs], rows: EvalRows) -> int:
    """Number of the option (N, C) with the largest significant gain over the first; 0 if there is none.

    The others share the 5 % (Bonferroni). The gain must remain with smoothed labels, since no interval knows of errors
    that have not happened yet, and the metric must not get significantly worse.
    """
    first, *others = options
    task = rows.task

    gains = gains_over(others, first, rows, level=1 - (1 - LEVEL) / max(1, len(others)))
    smoothing = laplace_error(int(rows.groups.max()) + 1)
    significant = [number for number, gain in enumerate(gains) if gain.is_beyond_noise]
    for number in sorted(significant, key=lambda n: -gains[n].value):
        smoothed = [task.smoothed_losses(probs, rows.truth, smoothing).mean() for probs in (others[number], first)]
        is_gain = find_metric(rows.metric).is_of_order or smoothed[0] < smoothed[1]
        if is_gain and not plain_gain(others[number], first, rows).high < 0:
            return number + 1
    return 0


def gains_over(ones: Sequence[Probs], other: Probs, rows: EvalRows, *, level: float = LEVEL) -> list[Gain]:
    """Gain of each over the other, in log loss, or in the metric where that is of the order of the rows."""
    if find_metric(rows.metric).is_of_order:
        return [metric_gain(rows.metric, one, other, rows.truth, rows.groups, level=level) for one in ones]
    if not ones:
        return []
    losses = row_losses(other, rows.truth)
    gaps = np.stack([losses - row_losses(one, rows.truth) for one in ones], axis=1)  # (N, options)
    return mean_gains(gaps, rows.groups, level=level)


def metric_gain(name: str, probs: Probs, other: Probs, truth: Labels, groups: Labels, *, level: float = LEVEL) -> Gain:
    """Gain of `probs` over `other` in a metric that is no mean over rows, with its jackknife interval."""
    metric = find_metric(name)

    def without(blocks: Labels) -> npt.NDArray[np.float64]:
        ones, others = (metric.scores_without(of, truth, blocks) for of in (probs, other))
        return metric.sign * (ones - others)

    whole = metric.sign * (metric.function(probs, truth) - metric.function(other, truth))
    return jackknife_gain(whole, without, groups, level=level)


def score_gain(one: Probs, other: Probs, rows: EvalRows) -> Gain:
    """Gain of `one` over `other` in the metric of the rows."""
    metric = find_metric(rows.metric)
    if metric.rows is None:
        return metric_gain(rows.metric, one, other, rows.truth, rows.groups)
    gaps = metric.sign * (metric.rows(one, rows.truth) - metric.rows(other, rows.truth))
    return mean_gains(gaps[:, None], rows.groups)[0]


def plain_gain(one: Probs, other: Probs, rows: EvalRows) -> Gain:
    """`score_gain` of predictions (N, C), both with the plain decision."""
    return score_gain(plain_out_of_fold(one, rows), plain_out_of_fold(other, rows), rows)
