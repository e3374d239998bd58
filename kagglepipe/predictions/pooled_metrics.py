"""Metrics that are no mean over the rows, of all rows and without each of many blocks of them.

The truth is class indices (N,), or tags (N, C) of bool, which are named where their probability is one half or more.

Those of the most probable class need the number of rows of each class, those of the order of the rows the number of
rows at or above each distinct value of the positive ones. Such numbers add up over blocks, so that no row is sorted
again, and no array of probabilities copied, for a block that is left out.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.competitions.targets import Truth
from kagglepipe.predictions.frame import Labels, Probs
from kagglepipe.predictions.uncertainty import leave_out

CELLS_AT_ONCE = 2**20  # values of positive rows times blocks

Column = npt.NDArray[np.float64]  # (N,)
Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]


# --- of the most probable class ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Counts:
    """Rows of each class, (C,) each: truly and predicted so, truly so, predicted so. of_tags: whether of each tag."""

    hits: npt.NDArray[np.integer]
    actual: npt.NDArray[np.integer]
    named: npt.NDArray[np.integer]
    of_tags: bool = False


CountScore = Callable[[Counts], float]


def count_rows(probs: Probs, truth: Truth) -> Counts:
    """Count the rows (N, C) of each class, of which ties go to the first, or tag."""
    if truth.ndim == 2:
        tags = probs >= 0.5
        return Counts((tags & truth).sum(axis=0), truth.sum(axis=0), tags.sum(axis=0), of_tags=True)
    predicted, count = probs.argmax(axis=1), probs.shape[1]
    hits, actual, named = (np.bincount(of, minlength=count) for of in (truth[predicted == truth], truth, predicted))
    return Counts(hits, actual, named)


def counts_without(of_counts: CountScore, probs: Probs, truth: Truth, blocks: Labels) -> Column:
    """Score of the rows without each block 0 … U - 1 (N,) of them, (U,)."""
    if truth.ndim == 2:
        return leave_out(lambda rows: of_counts(count_rows(probs[rows], truth[rows])), blocks)
    whole, predicted = count_rows(probs, truth), probs.argmax(axis=1)

    def left(all_rows: npt.NDArray[np.integer], own: Labels) -> npt.NDArray[np.integer]:
        return all_rows - np.bincount(own, minlength=len(all_rows))

    found = []
    for block in range(int(blocks.max()) + 1):
        true, named = truth[blocks == block], predicted[blocks == block]
        own = left(whole.hits, true[true == named]), left(whole.actual, true), left(whole.named, named)
        found.append(of_counts(Counts(*own)))
    return np.array(found)


def balanced_accuracy(counts: Counts) -> float:
    """Mean recall over the classes that have rows."""
    present = counts.actual > 0
    return float((counts.hits[present] / counts.actual[present]).mean())


def f1_binary(counts: Counts) -> float:
    """F1 = 2 TP / (2 TP + FP + FN) of the second class; 0 where it is neither a truth nor a prediction."""
    either = counts.actual[1] + counts.named[1]  # 2 TP + FP + FN
    return float(2 * counts.hits[1] / either) if either else 0.0


def f1_macro(counts: Counts) -> float:
    """Mean F1 of the classes that occur as truth or as prediction, or of all tags: 0 for one that never occurs."""
    either = counts.actual + counts.named  # 2 TP + FP + FN
    present = either > 0
    scores = 2 * counts.hits[present] / either[present]
    return float(scores.sum() / len(either)) if counts.of_tags else float(scores.mean())


def f1_micro(counts: Counts) -> float:
    """F1 of all answers together; 0 without any."""
    either = counts.actual.sum() + counts.named.sum()
    return float(2 * counts.hits.sum() / either) if either else 0.0


def matthews(counts: Counts) -> float:
    """Matthews correlation coefficient, in [-1, 1]; 0 where all truths, or all predictions, are one class.

    Gorodkin 2004, "Comparing two K-category assignments by a K-category correlation coefficient".
    """
    hits, actual, named = (of.astype(np.float64) for of in (counts.hits, counts.actual, counts.named))
    rows = float(actual.sum())
    spread = math.sqrt((rows**2 - (actual**2).sum()) * (rows**2 - (named**2).sum()))
    return float((hits.sum() * rows - (actual * named).sum()) / spread) if spread else 0.0


# --- of the order of the rows by the probability of a class --------------------------------------------------------


def roc_auc(probs: Probs, truth: Truth) -> float:
    """Area under the ROC curve by ranks (Hanley and McNeil 1982).

    Two classes: the second is the positive one. More: the mean of one-vs-rest over the classes that have both
    positive and negative rows; NaN where none has.

    >>> roc_auc(np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]), np.array([0, 1, 0]))
    1.0
    """
    return _mean_where_defined(np.array([_area(*column) for column in _columns(probs, truth)]))


def average_precision(probs: Probs, truth: Truth) -> float:
    """Average precision: the mean over positive rows of the precision at their probability, without interpolation.

    Two classes: the second is the positive one. More: the mean of one-vs-rest over the classes that have rows; NaN
    where there is no positive row.

    >>> average_precision(np.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9]]), np.array([0, 1, 0]))
    0.5
    """
    return _mean_where_defined(np.array([_precision(*column) for column in _columns(probs, truth)]))


def roc_auc_without(probs: Probs, truth: Truth, blocks: Labels) -> Column:
    """ROC AUC of the rows without each block 0 … U - 1 (N,) of them, (U,)."""
    return _without(_areas, probs, truth, blocks)


def average_precision_without(probs: Probs, truth: Truth, blocks: Labels) -> Column:
    """Average precision of the rows without each block 0 … U - 1 (N,) of them, (U,)."""
    return _without(_precisions, probs, truth, blocks)


# --- of one column, of all rows ------------------------------------------------------------------------------------


def _columns(probs: Probs, truth: Truth) -> Iterator[tuple[Column, Mask]]:
    """Probabilities and whether rows are positive, of the second of two classes, else of each class or tag."""
    if truth.ndim == 2:
        yield from zip(probs.T, truth.T, strict=True)
        return
    for k in [1] if probs.shape[1] == 2 else range(probs.shape[1]):
        yield probs[:, k], truth == k


def _mean_where_defined(values: Column) -> float:
    """Mean of the values that are not NaN; NaN where all are."""
    defined = values[~np.isnan(values)]
    return float(np.mean(defined)) if len(defined) else math.nan


def _area(values: Column, positive: Mask) -> float:
    """Area under the ROC curve of one column (N,), by the positives' rank sum; NaN for a single class."""
    hits, misses = int(positive.sum()), int((~positive).sum())
    if hits == 0 or misses == 0:
        return math.nan
    ranks = pd.Series(values).rank().to_numpy()  # ties share their mean rank
    return float((ranks[positive].sum() - hits * (hits + 1) / 2) / (hits * misses))


def _precision(values: Column, positive: Mask) -> float:
    """Average precision of one column (N,); rows of equal values count together; NaN without a positive row."""
    if not positive.any():
        return math.nan
    order = np.argsort(-values, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)  # the last row of each value
    hits = np.cumsum(positive[order])[ends]
    return float((np.diff(hits, prepend=0) / hits[-1] * hits / (ends + 1)).sum())


# --- of one column, without each block -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Ranking:
    """Numbers of rows at the T distinct values of the positive rows, of U sets of rows.

    hits: positive rows at a value, (T, U). level, above: negative rows at and above it, (T, U). misses: negative rows
    (U,).
    """

    hits: Numbers
    level: Numbers
    above: Numbers
    misses: Numbers

    def __sub__(self, other: "Ranking") -> "Ranking":
        return Ranking(
            self.hits - other.hits, self.level - other.level, self.above - other.above, self.misses - other.misses
        )


def _without(of_ranking: Callable[[Ranking], Column], probs: Probs, truth: Truth, blocks: Labels) -> Column:
    """Mean over the classes of what `of_ranking` finds for the rows without each block, (U,)."""
    columns = [
        np.concatenate([of_ranking(left) for left in _leave_out(values, positive, blocks)])
        for values, positive in _columns(probs, truth)
    ]
    return np.array([_mean_where_defined(values) for values in np.stack(columns, axis=1)])


def _leave_out(values: Column, positive: Mask, blocks: Labels) -> Iterator[Ranking]:
    """Rankings of the rows without each block, of as many blocks at a time as CELLS_AT_ONCE allows."""
    thresholds = np.unique(values[positive])
    places = [np.searchsorted(thresholds, values, side) for side in ("left", "right")]
    whole, count = _ranking(places, positive, np.zeros_like(blocks), len(thresholds), 1), int(blocks.max()) + 1
    at_once = max(1, CELLS_AT_ONCE // max(1, len(thresholds)))
    for start in range(0, count, at_once):
        own = (blocks >= start) & (blocks < start + at_once)
        size = min(at_once, count - start)
        part = _ranking([place[own] for place in places], positive[own], blocks[own] - start, len(thresholds), size)
        yield whole - part


def _ranking(places: list[Labels], positive: Mask, sets: Labels, thresholds: int, count: int) -> Ranking:
    """Rank rows by the number of thresholds below their values, and of those at or below: `places`, (N,) each."""
    below, reached = places

    def from_each(place: Labels) -> Numbers:
        """Rows of each set that have more places than 0 … T - 1, (T, U)."""
        table = np.bincount(place * count + sets[~positive], minlength=(thresholds + 1) * count)
        return np.asarray(table.reshape(-1, count)[::-1].cumsum(axis=0)[::-1][1:])

    above, least = from_each(below[~positive]), from_each(reached[~positive])
    hits = np.bincount(below[positive] * count + sets[positive], minlength=thresholds * count)
    misses = np.bincount(sets[~positive], minlength=count)
    return Ranking(hits.reshape(-1, count), least - above, above, misses)


def _areas(rows: Ranking) -> Column:
    """Area under the ROC curve, (U,); NaN for a single class."""
    pairs = rows.hits.sum(axis=0) * rows.misses
    beaten = (rows.hits * (2 * (rows.misses - rows.above) - rows.level)).sum(axis=0) / 2  # a tie is half of a pair
    return np.where(pairs > 0, beaten / np.maximum(pairs, 1), math.nan)


def _precisions(rows: Ranking) -> Column:
    """Average precision, (U,); NaN without a positive row."""
    hits = rows.hits.sum(axis=0)
    reached = rows.hits[::-1].cumsum(axis=0)[::-1]
    precision = reached / np.maximum(reached + rows.level + rows.above, 1)
    return np.where(hits > 0, (rows.hits * precision).sum(axis=0) / np.maximum(hits, 1), math.nan)
