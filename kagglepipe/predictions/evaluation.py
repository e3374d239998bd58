"""Scores of out-of-fold frames by any metric, with intervals and by fold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.competitions.targets import Truth
from kagglepipe.errors import UserError
from kagglepipe.predictions.frame import Labels, Probs, labels, probabilities, scorable
from kagglepipe.predictions.metrics import class_fault, find_metric
from kagglepipe.predictions.tasks import Task, task_of_truth
from kagglepipe.predictions.uncertainty import (
    Interval,
    accuracy_interval,
    format_interval,
    format_score,
    group_codes,
    jackknife_interval,
    loss_interval,
)
from kagglepipe.text import quoted_three

Groups = Mapping[str, object] | pd.Series


class Summary(TypedDict):
    """Scores of a frame as plain numbers, as in metrics.json.

    score: of all rows. interval: 95 %, NaN twice where it cannot be estimated.
    correct: rows whose most probable class is the target, or whose tags all are right, of `rows`; of numbers None.
    log_loss: mean loss as fitted, of numbers the mean squared error.
    fold_scores: fold -> the metric on its rows, NaN where it is undefined there (ROC AUC on one class).
    fold_mean, fold_sd: of those; the divisor of the deviation is F - 1, and one fold has 0.
    """

    score: float
    interval: tuple[float, float]
    correct: int | None
    rows: int
    log_loss: float
    fold_scores: dict[int, float]
    fold_mean: float
    fold_sd: float


def score(name: str, frame: pd.DataFrame, classes: Sequence[str]) -> float:
    """Metric `name` on all rows of an out-of-fold frame.

    Raises UserError for an unknown metric or one of another number of classes, ValueError for a frame without rows.

    >>> frame = pd.DataFrame({"target": ["cat", "dog"], "cat": [0.9, 0.2], "dog": [0.1, 0.8]})
    >>> score("accuracy", frame, ["cat", "dog"])
    1.0
    """
    metric = find_metric(name)
    if fault := class_fault(name, len(classes)):
        raise UserError(fault)
    if frame.empty:
        raise ValueError("a frame without rows has no score")
    return metric.function(_probs_of(frame, classes, name), labels(frame, classes))


def score_interval(name: str, probs: Probs, truth: Labels, groups: Labels) -> Interval:
    """95 % interval (low, high) of a metric by groups 0 … G - 1 (N,): see `uncertainty`.

    NaN twice for too few groups, or a metric undefined without one of them, as ROC AUC with a class in a single group.
    """
    metric = find_metric(name)
    if metric.rows is None:
        without = partial(metric.scores_without, probs, truth)
        return jackknife_interval(metric.function(probs, truth), without, groups, metric.limits)
    rows = metric.rows(probs, truth)
    if metric.limits == (0, 1) and np.isin(rows, (0, 1)).all():
        return accuracy_interval(rows == 1, groups)
    low, high = loss_interval(rows, groups)
    return max(low, metric.limits[0]), min(high, metric.limits[1])


def summarise(name: str, frame: pd.DataFrame, classes: Sequence[str], groups: Groups | None) -> Summary:
    """Score an out-of-fold frame, with interval and by fold; see Summary.

    groups: id -> group, a mapping or a Series with ids as index; None makes every row a group of its own.
    Raises UserError for an unknown metric, ValueError for an empty frame or an id without a group.
    """
    value = score(name, frame, classes)
    probs, truth = _probs_of(frame, classes, name), labels(frame, classes)
    task = task_of_truth(truth)
    numbers = frame["fold"].to_numpy(dtype=np.int64)
    fold_scores = {int(k): score(name, frame[numbers == k], classes) for k in np.unique(numbers)}
    values = np.array(list(fold_scores.values()))
    return Summary(
        score=value,
        interval=score_interval(name, probs, truth, _codes_by_id(frame["id"], groups)),
        correct=int(task.hits(probs, truth).sum()) if task.hits else None,
        rows=len(frame),
        log_loss=value if name.startswith("log_loss") else float(task.row_losses(probs, truth).mean()),
        fold_scores=fold_scores,
        fold_mean=float(values.mean()),
        fold_sd=float(values.std(ddof=1)) if len(values) > 1 else 0.0,
    )


def format_summary(summary: Summary, name: str) -> str:
    """Format a summary in one line.

    >>> summary = Summary(score=0.75, interval=(0.3, 0.95), correct=3, rows=4, log_loss=0.4,
    ...                   fold_scores={0: 1.0, 1: 0.5}, fold_mean=0.75, fold_sd=0.3536)
    >>> format_summary(summary, "accuracy")
    'accuracy 0.7500 (3/4), 95 % interval 0.3000-0.9500, log loss 0.4000, folds 0.7500 ± 0.3536'
    """
    correct, loss = summary["correct"], "log loss"
    counted = f"{correct}/{summary['rows']}" + ("" if name == "accuracy" else " correct")
    if correct is None or correct != correct:  # None is NaN once it is read from JSON
        counted, loss = f"{summary['rows']} rows", "squared error"
    parts = [
        f"{name} {format_score(summary['score'])} ({counted})",
        f"95 % interval {format_interval(*summary['interval'])}",
        f"{loss} {summary['log_loss']:z.4f}",
        f"folds {format_score(summary['fold_mean'])} ± {format_score(summary['fold_sd'])}",
    ]
    return ", ".join(parts)


def _probs_of(frame: pd.DataFrame, classes: Sequence[str], name: str) -> Probs:
    """Probabilities for a metric: of one of the user's own, which knows arrays alone, all of them."""
    return scorable(frame, classes) if find_metric(name).file is None else probabilities(frame, classes)


def _codes_by_id(ids: pd.Series, groups: Groups | None) -> Labels:
    """Group of each row as an integer from 0, (N,)."""
    if groups is None:
        return np.arange(len(ids))
    named = ids.map(groups)
    if named.isna().any():
        raise ValueError(f"no group for id {quoted_three(ids[named.isna()])}")
    return group_codes(named)


MAX_BLOCKS = 5  # of folds, in selections: each pair of blocks is a fit


@dataclass(frozen=True)
class EvalRows:
    """Rows (N,) to evaluate on: truth, folds and groups, both numbered from 0; and the metric."""

    truth: Truth
    folds: Labels
    groups: Labels
    metric: str

    @property
    def task(self) -> Task:
        """What the rows are to be predicted as: classes, tags or numbers."""
        return task_of_truth(self.truth)

    @property
    def fold_count(self) -> int:
        """K: folds are 0 … K - 1."""
        return int(self.folds.max()) + 1

    @property
    def block_count(self) -> int:
        """B: number of blocks that folds are dealt to."""
        return min(MAX_BLOCKS, self.fold_count)

    @cached_property
    def blocks(self) -> Labels:
        """Block of each row, (N,)."""
        return self.folds % self.block_count

    def part(self, some: npt.NDArray[np.bool_]) -> "EvalRows":
        """Select rows by a mask (N,)."""
        groups = np.unique(self.groups[some], return_inverse=True)[1]
        return EvalRows(self.truth[some], self.folds[some], groups, self.metric)
