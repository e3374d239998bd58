"""Metrics of an out-of-fold frame, with intervals.

In numpy, since importing scikit-learn takes a second; the tests hold every metric equal to scikit-learn's.
"""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.errors import UserError
from kagglepipe.predictions.frame import Labels, Probs, labels, probabilities
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

LOG_LOSS_CLIP = 1e-15  # Kaggle's
ROUNDED = 1e-7  # probabilities are stored as float32, whose last step below 1 is 6e-8

Groups = Mapping[str, object] | pd.Series


@dataclass(frozen=True)
class Metric:
    """function: (probabilities (N, C), true class indices (N,)) -> score."""

    function: Callable[[Probs, Labels], float]
    greater_is_better: bool


class Summary(TypedDict):
    """Scores of a frame as plain numbers, as in metrics.json.

    score: of all rows. interval: 95 %, NaN twice where it cannot be estimated.
    correct: rows whose most probable class is the target, of `rows`.
    fold_scores: fold -> the metric on its rows, NaN where it is undefined there (ROC AUC on one class).
    fold_mean, fold_sd: of those; the divisor of the deviation is F - 1, and one fold has 0.
    """

    score: float
    interval: tuple[float, float]
    correct: int
    rows: int
    log_loss: float
    fold_scores: dict[int, float]
    fold_mean: float
    fold_sd: float


def accuracy(probs: Probs, truth: Labels) -> float:
    """Share of rows whose most probable class is the true one, in [0, 1]; ties go to the first class.

    >>> accuracy(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1]))
    0.5
    """
    return float((probs.argmax(axis=1) == truth).mean())


def balanced_accuracy(probs: Probs, truth: Labels) -> float:
    """Mean recall over the classes that have rows, in [0, 1].

    >>> balanced_accuracy(np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]]), np.array([0, 0, 1]))
    0.5
    """
    counts = _confusion(probs, truth)
    actual = counts.sum(axis=1)
    present = actual > 0
    return float((counts.diagonal()[present] / actual[present]).mean())


def f1_macro(probs: Probs, truth: Labels) -> float:
    """Mean F1 = 2 TP / (2 TP + FP + FN) of the classes that occur as truth or as prediction, in [0, 1].

    >>> f1_macro(np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([0, 1]))
    1.0
    """
    counts = _confusion(probs, truth)
    named = counts.sum(axis=0) + counts.sum(axis=1)  # 2 TP + FP + FN
    present = named > 0
    return float((2 * counts.diagonal()[present] / named[present]).mean())


def log_loss(probs: Probs, truth: Labels) -> float:
    """Mean negative log probability of the true class, in nats, clipped at 1e-15 as on Kaggle.

    >>> round(log_loss(np.array([[0.5, 0.5]]), np.array([0])), 4)
    0.6931
    """
    return float(row_losses(probs, truth).mean())


def roc_auc(probs: Probs, truth: Labels) -> float:
    """Area under the ROC curve, in [0, 1], by ranks (Hanley and McNeil 1982).

    Two classes: the second is the positive one. More: the mean of one-vs-rest over the classes that have both
    positive and negative rows; NaN where none has.

    >>> roc_auc(np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]), np.array([0, 1, 0]))
    1.0
    """
    classes = [1] if probs.shape[1] == 2 else range(probs.shape[1])
    areas = [_area(probs[:, k], truth == k) for k in classes]
    defined = [area for area in areas if not math.isnan(area)]
    return float(np.mean(defined)) if defined else math.nan


METRICS: dict[str, Metric] = {
    "accuracy": Metric(accuracy, greater_is_better=True),
    "balanced_accuracy": Metric(balanced_accuracy, greater_is_better=True),
    "f1_macro": Metric(f1_macro, greater_is_better=True),
    "log_loss": Metric(log_loss, greater_is_better=False),
    "roc_auc": Metric(roc_auc, greater_is_better=True),
}


def find_metric(name: str) -> Metric:
    """Look up a metric. Raises UserError with the known names, and the nearest one, for any other.

    >>> find_metric("log_loss").greater_is_better
    False
    """
    if name in METRICS:
        return METRICS[name]
    near = difflib.get_close_matches(name, METRICS, n=1)
    hint = f"did you mean competition.metric={near[0]}? " if near else ""
    raise UserError(f"competition.metric={name} is unknown; {hint}known are: {', '.join(METRICS)}")


def score(name: str, frame: pd.DataFrame, classes: Sequence[str]) -> float:
    """Metric `name` on all rows of an out-of-fold frame.

    Raises UserError for an unknown metric, ValueError for a frame without rows.

    >>> frame = pd.DataFrame({"target": ["cat", "dog"], "cat": [0.9, 0.2], "dog": [0.1, 0.8]})
    >>> score("accuracy", frame, ["cat", "dog"])
    1.0
    """
    metric = find_metric(name)
    if frame.empty:
        raise ValueError("a frame without rows has no score")
    return metric.function(probabilities(frame, classes), labels(frame, classes))


def row_losses(probs: Probs, truth: Labels) -> npt.NDArray[np.float64]:
    """Negative log probability of the true class of each row, (N,), clipped as in `log_loss`, which is the mean.

    >>> row_losses(np.array([[0.5, 0.5]]), np.array([0])).round(4)
    array([0.6931])
    """
    given = probs[np.arange(len(truth)), truth].astype(np.float64)
    losses: npt.NDArray[np.float64] = -np.log(np.clip(given, LOG_LOSS_CLIP, 1 - LOG_LOSS_CLIP))
    return losses


def smoothed_losses(probs: Probs, truth: Labels, share: float) -> npt.NDArray[np.float64]:
    """Cross-entropy of each row (N,) with label smoothing: `share` of each label goes to the other classes.

    A model without an error loses nothing by certainty in `row_losses`, and much here.

    >>> smoothed_losses(np.array([[0.5, 0.5]]), np.array([0]), 0.1).round(4)
    array([0.6931])
    """
    logs = -np.log(np.clip(probs, ROUNDED, 1 - ROUNDED))
    own, every = logs[np.arange(len(truth)), truth], logs.sum(axis=1)
    losses: npt.NDArray[np.float64] = (1 - share) * own + share * (every - own) / (probs.shape[1] - 1)
    return losses


def score_interval(name: str, probs: Probs, truth: Labels, groups: Labels) -> Interval:
    """95 % interval (low, high) of a metric by groups 0 … G - 1 (N,): see `uncertainty`.

    NaN twice for too few groups, or a metric undefined without one of them, as ROC AUC with a class in a single group.
    """
    if name == "accuracy":
        return accuracy_interval(probs.argmax(axis=1) == truth, groups)
    if name == "log_loss":
        return loss_interval(row_losses(probs, truth), groups)
    function = find_metric(name).function
    return jackknife_interval(lambda rows: function(probs[rows], truth[rows]), groups)


def summarise(name: str, frame: pd.DataFrame, classes: Sequence[str], groups: Groups | None) -> Summary:
    """Score an out-of-fold frame, with interval and by fold; see Summary.

    groups: id -> group, a mapping or a Series with ids as index; None makes every row a group of its own.
    Raises UserError for an unknown metric, ValueError for an empty frame or an id without a group.
    """
    value = score(name, frame, classes)
    probs, truth = probabilities(frame, classes), labels(frame, classes)
    numbers = frame["fold"].to_numpy(dtype=np.int64)
    fold_scores = {int(k): score(name, frame[numbers == k], classes) for k in np.unique(numbers)}
    values = np.array(list(fold_scores.values()))
    return Summary(
        score=value,
        interval=score_interval(name, probs, truth, _codes_by_id(frame["id"], groups)),
        correct=int((probs.argmax(axis=1) == truth).sum()),
        rows=len(frame),
        log_loss=score("log_loss", frame, classes),
        fold_scores=fold_scores,
        fold_mean=float(values.mean()),
        fold_sd=float(values.std(ddof=1)) if len(values) > 1 else 0.0,
    )


def format_summary(summary: Summary, name: str) -> str:
    """A summary in one line.

    >>> summary = Summary(score=0.75, interval=(0.3, 0.95), correct=3, rows=4, log_loss=0.4,
    ...                   fold_scores={0: 1.0, 1: 0.5}, fold_mean=0.75, fold_sd=0.3536)
    >>> format_summary(summary, "accuracy")
    'accuracy 0.7500 (3/4), 95 % interval 0.3000-0.9500, log loss 0.4000, folds 0.7500 ± 0.3536'
    """
    counted = f"{summary['correct']}/{summary['rows']}" + ("" if name == "accuracy" else " correct")
    parts = [
        f"{name} {format_score(summary['score'])} ({counted})",
        f"95 % interval {format_interval(*summary['interval'])}",
        f"log loss {summary['log_loss']:.4f}",
        f"folds {format_score(summary['fold_mean'])} ± {format_score(summary['fold_sd'])}",
    ]
    return ", ".join(parts)


def _confusion(probs: Probs, truth: Labels) -> npt.NDArray[np.intp]:
    """Counts (C, C): row = true class, column = most probable class."""
    count = probs.shape[1]
    cells = np.bincount(truth * count + probs.argmax(axis=1), minlength=count * count)
    return cells.reshape(count, count)


def _area(values: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]) -> float:
    """Area under the ROC curve of one column (N,), by the positives' rank sum; NaN for a single class."""
    hits, misses = int(positive.sum()), int((~positive).sum())
    if hits == 0 or misses == 0:
        return math.nan
    ranks = pd.Series(values).rank().to_numpy()  # ties share their mean rank
    return float((ranks[positive].sum() - hits * (hits + 1) / 2) / (hits * misses))


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
    """Rows (N,) to evaluate on: class indices, folds and groups, both numbered from 0; and the metric."""

    truth: Labels
    folds: Labels
    groups: Labels
    metric: str

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
