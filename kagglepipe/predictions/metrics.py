"""The table of metrics, and all that is known of each: direction, range, what it needs.

Arguments of every function: probs (N, C), the probabilities; truth (N,), indices of the true classes. Whoever must
know of a metric asks `find_metric`. To add a metric is a function and its line in METRICS. In numpy, since importing
scikit-learn takes a second; the tests hold every metric equal to scikit-learn's.
"""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.errors import UserError
from kagglepipe.options import LOG_LOSS_CLIP, is_own_metric
from kagglepipe.predictions.frame import Labels, Probs
from kagglepipe.predictions.top_classes import FULL_CLASSES, TopClasses

ROUNDED = 1e-7  # probabilities are stored as float32, whose last step below 1 is 6e-8

Score = Callable[[Probs, Labels], float]  # (probabilities (N, C), true class indices (N,)) -> score
Rows = npt.NDArray[np.float64]  # (N,)


@dataclass(frozen=True)
class Needs:
    """What a metric is computed from.

    answers: `labels` if of a row only the most probable class counts; `order` if only the order of the rows by a
    probability; `probabilities`; `any` of these for a metric of the user's own. classes: the least and the largest
    number of classes. task: as in `competition.task`. positive: whether of two classes the second is the positive one,
    so that the score changes where they are swapped.
    """

    answers: str
    classes: tuple[int, float] = (2, math.inf)
    task: str = "multiclass"
    positive: bool = False


@dataclass(frozen=True)
class Metric:
    """A metric; NaN where it is undefined, as ROC AUC of a single class.

    limits: its least and largest value. rows: a number for each row, of which the score is the mean, if it is one.
    file: of a metric of the user's own.
    """

    function: Score
    needs: Needs
    greater_is_better: bool = True
    limits: tuple[float, float] = (0.0, 1.0)
    rows: Callable[[Probs, Labels], Rows] | None = None
    file: Path | None = None

    @property
    def sign(self) -> int:
        """1 if greater is better, else -1."""
        return 1 if self.greater_is_better else -1

    @property
    def is_of_labels(self) -> bool:
        """Whether of a row only the most probable class counts, so that thresholds can be tuned."""
        return self.needs.answers == "labels"

    @property
    def is_of_order(self) -> bool:
        """Whether only the order of the rows counts: then gains are measured by the metric itself, not log loss."""
        return self.needs.answers == "order"

    @property
    def perfect(self) -> float | None:
        """The best possible score; None if there is none."""
        best = self.limits[self.greater_is_better]
        return best if math.isfinite(best) else None


# --- metrics of the most probable class; ties go to the first class ------------------------------------------------


def accuracy(probs: Probs, truth: Labels) -> float:
    """Share of rows whose most probable class is the true one.

    >>> accuracy(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1]))
    0.5
    """
    return float(row_hits(probs, truth).mean())


def balanced_accuracy(probs: Probs, truth: Labels) -> float:
    """Mean recall over the classes that have rows."""
    hits, actual, _ = _counts(probs, truth)
    present = actual > 0
    return float((hits[present] / actual[present]).mean())


def f1_binary(probs: Probs, truth: Labels) -> float:
    """F1 = 2 TP / (2 TP + FP + FN) of the second class; 0 where it is neither a truth nor a prediction."""
    hits, actual, named = _counts(probs, truth)
    either = actual[1] + named[1]  # 2 TP + FP + FN
    return float(2 * hits[1] / either) if either else 0.0


def f1_macro(probs: Probs, truth: Labels) -> float:
    """Mean F1 of the classes that occur as truth or as prediction."""
    hits, actual, named = _counts(probs, truth)
    either = actual + named  # 2 TP + FP + FN
    present = either > 0
    return float((2 * hits[present] / either[present]).mean())


def matthews(probs: Probs, truth: Labels) -> float:
    """Matthews correlation coefficient, in [-1, 1]; 0 where all truths, or all predictions, are one class.

    Gorodkin 2004, "Comparing two K-category assignments by a K-category correlation coefficient".
    """
    hits, actual, named = (counts.astype(np.float64) for counts in _counts(probs, truth))
    rows = float(len(truth))
    spread = math.sqrt((rows**2 - (actual**2).sum()) * (rows**2 - (named**2).sum()))
    return float((hits.sum() * rows - (actual * named).sum()) / spread) if spread else 0.0


# --- metrics of the order of the rows ------------------------------------------------------------------------------


def roc_auc(probs: Probs, truth: Labels) -> float:
    """Area under the ROC curve by ranks (Hanley and McNeil 1982).

    Two classes: the second is the positive one. More: the mean of one-vs-rest over the classes that have both
    positive and negative rows; NaN where none has.

    >>> roc_auc(np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]), np.array([0, 1, 0]))
    1.0
    """
    return _mean_of_columns(_area, probs, truth)


def average_precision(probs: Probs, truth: Labels) -> float:
    """Average precision: the mean over positive rows of the precision at their probability, without interpolation.

    Two classes: the second is the positive one. More: the mean of one-vs-rest over the classes that have rows; NaN
    where there is no positive row.

    >>> average_precision(np.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9]]), np.array([0, 1, 0]))
    0.5
    """
    return _mean_of_columns(_precision, probs, truth)


# --- metrics of probabilities --------------------------------------------------------------------------------------


def log_loss(probs: Probs, truth: Labels, clip: float = LOG_LOSS_CLIP) -> float:
    """Mean negative log probability of the true class, in nats; `clip`: see `row_losses`."""
    return float(row_losses(probs, truth, clip).mean())


def top_k_accuracy(probs: Probs, truth: Labels, k: int) -> float:
    """Share of rows whose true class is among the k most probable ones."""
    return float(row_hits_in_top(probs, truth, k).mean())


# --- a number for each row, of which a metric is the mean ----------------------------------------------------------


def row_hits(probs: Probs, truth: Labels) -> Rows:
    """1.0 for each row whose most probable class is the true one, (N,)."""
    return (probs.argmax(axis=1) == truth).astype(np.float64)


def row_hits_in_top(probs: Probs, truth: Labels, k: int) -> Rows:
    """1.0 for each row whose true class is among the k most probable, (N,); of ties the last classes, as scikit-learn.

    >>> row_hits_in_top(np.array([[0.4, 0.3, 0.3]] * 2), np.array([1, 2]), 2)
    array([0., 1.])
    """
    if isinstance(probs, TopClasses):
        return probs.hits_in_top(truth, k).astype(np.float64)
    own = probs[np.arange(len(truth)), truth][:, None]
    ahead = (probs > own) | ((probs == own) & (np.arange(probs.shape[1]) > truth[:, None]))
    return (ahead.sum(axis=1) < k).astype(np.float64)


def row_losses(probs: Probs, truth: Labels, clip: float = LOG_LOSS_CLIP) -> Rows:
    """Negative log probability of the true class of each row, (N,), of which `log_loss` is the mean.

    clip: probabilities are moved at least so far from 0 and 1.

    >>> row_losses(np.array([[0.5, 0.5]]), np.array([0])).round(4)
    array([0.6931])
    """
    given = probs[np.arange(len(truth)), truth].astype(np.float64)
    losses: Rows = -np.log(np.clip(given, clip, 1 - clip))
    return losses


# --- the table -----------------------------------------------------------------------------------------------------

LABELS = Needs("labels")
METRICS: dict[str, Metric] = {
    "accuracy": Metric(accuracy, LABELS, rows=row_hits),
    "balanced_accuracy": Metric(balanced_accuracy, LABELS),
    "log_loss": Metric(
        log_loss, Needs("probabilities"), greater_is_better=False, limits=(0.0, math.inf), rows=row_losses
    ),
    "roc_auc": Metric(roc_auc, Needs("order", (2, FULL_CLASSES))),
    "average_precision": Metric(average_precision, Needs("order", (2, FULL_CLASSES), positive=True)),
    "f1_binary": Metric(f1_binary, Needs("labels", (2, 2), positive=True)),
    "f1_micro": Metric(accuracy, LABELS, rows=row_hits),  # they are equal where each row has one class
    "f1_macro": Metric(f1_macro, LABELS),
    "matthews": Metric(matthews, LABELS, limits=(-1.0, 1.0)),
    "top_3_accuracy": Metric(
        partial(top_k_accuracy, k=3), Needs("probabilities", (4, math.inf)), rows=partial(row_hits_in_top, k=3)
    ),
    "top_5_accuracy": Metric(
        partial(top_k_accuracy, k=5), Needs("probabilities", (6, math.inf)), rows=partial(row_hits_in_top, k=5)
    ),
}
OWN_METRICS: dict[str, Metric] = {}  # of the files that this command names, by `own_metric.name_metric` alone


def find_metric(name: str) -> Metric:
    """Look up a metric, as METRICS or `own_metric.name_metric` names it, or `log_loss#CLIP`.

    Raises UserError, with the known names and the nearest one, for any other; never reads a file.

    >>> find_metric("log_loss").greater_is_better
    False
    """
    if known := METRICS.get(name) or OWN_METRICS.get(name):
        return known
    plain, _, clip = name.partition("#")
    if plain == "log_loss" and _is_clip(clip):
        loss, rows = partial(log_loss, clip=float(clip)), partial(row_losses, clip=float(clip))
        return Metric(loss, METRICS[plain].needs, greater_is_better=False, limits=(0.0, math.inf), rows=rows)
    if is_own_metric(name):
        hashed = f", of SHA-256 {name.partition('#')[2]}…" if "#" in name else ""
        raise UserError(
            f"competition.metric={name} needs its file{hashed}: type its path, as competition.metric=FOLDER/"
            f"{Path(plain).name}, or a metric that needs none, as competition.metric=accuracy"
        )
    near = difflib.get_close_matches(name, METRICS, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UserError(
        f"competition.metric={name} is unknown; {hint}choose one of: {', '.join(METRICS)}; or type FILE.py:FUNCTION"
    )


def is_metric(name: str) -> bool:
    """Whether a name is of a metric of rows, not of segments.

    >>> is_metric("roc_auc"), is_metric("pairs.py:score"), is_metric("map_50")
    (True, True, False)
    """
    return name in METRICS or is_own_metric(name) or name.startswith("log_loss#")


# --- parts ---------------------------------------------------------------------------------------------------------


def _is_clip(text: str) -> bool:
    try:
        return 0 < float(text) < 0.5
    except ValueError:
        return False


def _counts(probs: Probs, truth: Labels) -> tuple[Labels, Labels, Labels]:
    """Rows of each class, (C,) each: truly and predicted so, truly so, predicted so."""
    predicted, count = probs.argmax(axis=1), probs.shape[1]
    hits, actual, named = (np.bincount(of, minlength=count) for of in (truth[predicted == truth], truth, predicted))
    return hits, actual, named


def _mean_of_columns(of_column: Callable[[Rows, npt.NDArray[np.bool_]], float], probs: Probs, truth: Labels) -> float:
    """Compute it for the second of two classes, else the mean of one-vs-rest over the classes where it is defined."""
    classes = [1] if probs.shape[1] == 2 else range(probs.shape[1])
    values = [of_column(probs[:, k], truth == k) for k in classes]
    defined = [value for value in values if not math.isnan(value)]
    return float(np.mean(defined)) if defined else math.nan


def _area(values: Rows, positive: npt.NDArray[np.bool_]) -> float:
    """Area under the ROC curve of one column (N,), by the positives' rank sum; NaN for a single class."""
    hits, misses = int(positive.sum()), int((~positive).sum())
    if hits == 0 or misses == 0:
        return math.nan
    ranks = pd.Series(values).rank().to_numpy()  # ties share their mean rank
    return float((ranks[positive].sum() - hits * (hits + 1) / 2) / (hits * misses))


def _precision(values: Rows, positive: npt.NDArray[np.bool_]) -> float:
    """Average precision of one column (N,); rows of equal values count together; NaN without a positive row."""
    if not positive.any():
        return math.nan
    order = np.argsort(-values, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)  # the last row of each value
    hits = np.cumsum(positive[order])[ends]
    return float((np.diff(hits, prepend=0) / hits[-1] * hits / (ends + 1)).sum())
