"""Section "Where it fails": confusion, scores of classes, calibration, curves, thresholds, residuals, a gallery."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from kagglepipe.competitions.targets import SEPARATOR, Truth
from kagglepipe.predictions.blend import apply_map
from kagglepipe.predictions.calibration import BINS, calibration_error, reliability
from kagglepipe.predictions.frame import labels, scorable
from kagglepipe.predictions.slices import slice_scores
from kagglepipe.predictions.tasks import Task, task_of_truth
from kagglepipe.predictions.top_classes import FULL_CLASSES
from kagglepipe.predictions.uncertainty import wilson
from kagglepipe.reports.blocks import Bar, Card, Chart, Explorer, Gallery, Matrix, Section, Table, Text
from kagglepipe.reports.charts import Line, line_chart, scatter_chart
from kagglepipe.reports.thumbnails import Album
from kagglepipe.text import significant

MOST_IN_MATRIX = 25  # classes
MOST_LISTED = 100  # rows of a table
MOST_CURVES = 6
MOST_CARDS = 600
MOST_NUMBERS = 4  # charts of residuals
MORE = "report.images=1000 shows most"  # rows in the gallery
STEPS = 101  # thresholds
UNIT = (0.0, 1.0)


@dataclass(frozen=True)
class Predicted:
    """Out-of-fold predictions: the frame, its classes, and the decision of metrics.json (None: the usual one)."""

    oof: pd.DataFrame
    classes: list[str]
    decision: Mapping[str, Any] | None = None

    @cached_property
    def probs(self) -> Any:
        """Predictions (N, C), with many classes a TopClasses."""
        return scorable(self.oof, self.classes)

    @cached_property
    def truth(self) -> Truth:
        """Targets, (N,) or (N, C)."""
        return labels(self.oof, self.classes)

    @property
    def task(self) -> Task:
        """Task of the truth."""
        return task_of_truth(self.truth)

    @cached_property
    def decided(self) -> Any:
        """Predictions (N, C) after the decision: the largest, or those of one half and more, are the answer."""
        return self.probs if self.decision is None else apply_map(dict(self.decision["map"]), np.asarray(self.probs))

    @cached_property
    def answers(self) -> Truth:
        """Answers in the form of the truth."""
        if self.task.name == "multiclass":
            return np.asarray(self.decided.argmax(axis=1), np.intp)
        return np.asarray(self.decided >= 0.5) if self.task.name == "multilabel" else np.asarray(self.decided)

    def named(self, answers: Truth) -> list[str]:
        """Answers, or the truth, as texts (N,)."""
        names = np.array(self.classes, dtype=object)
        if answers.ndim == 1:
            return [str(name) for name in names[answers]]
        if answers.dtype == np.bool_:
            return [SEPARATOR.join(map(str, names[row])) for row in answers]
        return [SEPARATOR.join(map(significant, row.tolist())) for row in answers]


def failures(found: Predicted, album: Album, rows: pd.DataFrame | None = None, metric: str | None = None) -> Section:
    """Make the section. Its gallery takes pictures first, up to the half of the album.

    rows: of the table, with metadata to slice by; metric: of the slices. None for neither.
    """
    cards = gallery(found, album)
    if found.task.name == "multiclass":
        parts = of_classes(found, cards.cells)
    else:
        parts = of_tags(found) if found.task.name == "multilabel" else of_numbers(found)
    if found.decision is not None:
        words = "Answers are by the decision fitted on all rows, the score above is by decisions fitted on other folds."
        parts.insert(0, Text(words))
    if rows is not None and metric is not None and len(found.classes) <= FULL_CLASSES:
        parts += slices(found, rows, metric)
    return Section("failures", "Where it fails", [*parts, cards])


# --- classes -------------------------------------------------------------------------------------------------------


def of_classes(found: Predicted, shown: Set[tuple[str, str]]) -> list[Any]:
    """Blocks of a task of one class an item. shown: cells of the confusion matrix that the gallery has rows of."""
    truth, answers, classes = found.truth, found.answers, found.classes
    counts = confusion(truth, answers, len(classes))
    if len(classes) <= MOST_IN_MATRIX:
        left = int((counts > 0).sum()) - len(shown)
        words = "Confusion matrix: rows are true classes, columns answers. A cell shows its rows in the gallery"
        words += f"; {left} with few rows, in brackets, have none on this page: {MORE}" if left else ""
        parts: list[Any] = [Matrix(f"{words}.", classes, counts.tolist(), shown)]
    else:
        parts = [confused_pairs(counts, classes)]
    whole = np.asarray(found.probs) if len(classes) <= FULL_CLASSES else None
    scored = None if whole is None else (whole, np.eye(len(classes), dtype=bool)[truth])
    parts.append(scores_table(classes, (counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)), scored))
    parts.append(calibration_chart(reliability(found.probs, truth), calibration_error(found.probs, truth)))
    if len(classes) == 2 and whole is not None:
        parts += curves(whole[:, 1:], (truth == 1)[:, None], classes[1:])
        parts.append(explorer(whole[:, 1:], (truth == 1)[:, None], classes[1:]))
    return parts


def confusion(truth: Truth, answers: Truth, count: int) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Confusion matrix (C, C): rows are true classes, columns answers.

    >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    return np.bincount(truth * count + answers, minlength=count**2).reshape(count, count)


def confused_pairs(counts: np.ndarray[Any, Any], classes: Sequence[str]) -> Table:
    """Pairs of classes that are confused most."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_LISTED]
    pairs = [(int(k) // len(classes), int(k) % len(classes)) for k in order]
    rows = [(classes[i], classes[j], str(wrong[i, j]), str(counts[i].sum())) for i, j in pairs if wrong[i, j]]
    words = f"Classes that are confused most, of {len(classes)}"
    return Table(words, ("true class", "answer", "rows", "of"), rows)


def scores_table(classes: Sequence[str], counts: tuple[Any, Any, Any], scored: tuple[Any, Any] | None) -> Table:
    """Precision, recall, F1 and average precision of classes, the least F1 first.

    counts: of hits, true and named rows, (C,) each. scored: probabilities and truth, (N, C) each, for average
    precision; None leaves it out.
    """
    from sklearn.metrics import average_precision_score

    rows = []
    for k, (hit, true, named) in enumerate(zip(*(one.tolist() for one in counts), strict=True)):
        f1 = 2 * hit / (true + named) if true + named else math.nan
        ap = []
        if scored is not None:
            probs, own = scored[0][:, k], scored[1][:, k]
            ap = [share_of(average_precision_score(own, probs) * true, true) if true else "–"]
        shares = (share_of(hit, named), share_of(hit, true), f1_cell(hit, true + named))
        rows.append((f1, (classes[k], str(true), *shares, *ap)))
    rows.sort(key=lambda one: (math.isnan(one[0]), one[0]))
    most = f", the {MOST_LISTED} with the least F1 of {len(rows)}" if len(rows) > MOST_LISTED else ""
    header = ("class", "rows", "precision", "recall", "F1", *(["average precision"] if scored is not None else []))
    words = f"Scores of classes{most}, with 95 % intervals that take rows for independent"
    return Table(words, header, [cells for _, cells in rows[:MOST_LISTED]])


def share_of(hits: float, rows: int) -> str:
    """A share with Wilson's interval; of average precision the rows are the true ones (Boyd et al. 2013).

    >>> share_of(1, 2), share_of(0, 0)
    ('0.500 (0.095–0.905)', '–')
    """
    if not rows:
        return "–"
    low, high = wilson(hits, rows)
    return f"{hits / rows:.3f} ({low:.3f}–{high:.3f})"


def f1_cell(hits: int, both: int) -> Bar:
    """F1 with its interval. both: true and named rows together.

    F1 is 2·J / (1 + J) of the share J = hits / (both - hits) of the rows that are true or named, whose interval is
    Wilson's.

    >>> f1_cell(1, 3).words
    '0.667 (0.173–0.950)'
    """
    if not both:
        return Bar("–", 0.0)
    f1 = 2 * hits / both
    low, high = (2 * one / (1 + one) for one in wilson(hits, both - hits))
    return Bar(f"{f1:.3f} ({low:.3f}–{high:.3f})", f1)


# --- probabilities -------------------------------------------------------------------------------------------------


def calibration_chart(curve: pd.DataFrame, error: float) -> Chart:
    """Reliability diagram. curve: `rows`, `confidence` and `accuracy` of bins."""
    words = f"Below the diagonal probabilities are too high. Expected calibration error {error:.4f}, {BINS} bins"
    line = Line("out of fold", curve["confidence"].tolist(), curve["accuracy"].tolist())
    axes = ("probability", "share that is right")
    return Chart(words, line_chart("Reliability diagram", [line], axes, x=UNIT, y=UNIT, diagonal=True, dots=True))


def curves(probs: Any, truth: Any, names: Sequence[str]) -> list[Any]:
    """ROC and precision-recall curves of columns (N, C) that have rows of both kinds, the first MOST_CURVES."""
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

    both = [k for k in range(len(names)) if 0 < truth[:, k].sum() < len(truth)][:MOST_CURVES]
    roc, recalls = [], []
    for place, k in enumerate(both):
        one, own = truth[:, k], probs[:, k]
        false, true, _ = roc_curve(one, own)
        roc.append(Line(f"{names[k]}: AUC {roc_auc_score(one, own):.4f}", false.tolist(), true.tolist(), place))
        precision, recall, _ = precision_recall_curve(one, own)
        words = f"{names[k]}: AP {average_precision_score(one, own):.4f}"
        recalls.append(Line(words, recall.tolist(), precision.tolist(), place))
    axes = {
        "ROC curve": ("false positive rate", "true positive rate"),
        "Precision-recall curve": ("recall", "precision"),
    }
    return [
        Chart(f"{title}; {'; '.join(one.name for one in lines)}",
              line_chart(title, lines, axes[title], x=UNIT, y=UNIT, diagonal=title == "ROC curve"))
        for title, lines in zip(axes, (roc, recalls), strict=True)
        if lines
    ]  # fmt: skip


def explorer(probs: Any, truth: Any, names: Sequence[str]) -> Explorer:
    """Counts at thresholds, of columns (N, C)."""
    most = min(len(names), MOST_LISTED)
    counts = [threshold_counts(probs[:, k], truth[:, k]) for k in range(most)]
    return Explorer("Threshold: what counts as positive from this probability on", list(names[:most]), counts)


def threshold_counts(probs: Any, truth: Any) -> list[list[int]]:
    """True and false positives, false and true negatives at thresholds 0, 0.01, … 1: (101, 4).

    >>> threshold_counts(np.array([0.2, 0.9]), np.array([False, True]))[50]
    [1, 0, 0, 1]
    """
    at = np.linspace(0, 1, STEPS) - 1e-12
    positive, negative = np.sort(probs[truth]), np.sort(probs[~truth])
    fn, tn = np.searchsorted(positive, at), np.searchsorted(negative, at)
    return np.stack([len(positive) - fn, len(negative) - tn, fn, tn], axis=1).tolist()


# --- tags and numbers ----------------------------------------------------------------------------------------------


def of_tags(found: Predicted) -> list[Any]:
    """Blocks of a task of tags."""
    truth, answers, probs = found.truth, found.answers, np.asarray(found.probs)
    counts = ((truth & answers).sum(axis=0), truth.sum(axis=0), answers.sum(axis=0))
    flat = np.stack([1 - probs.ravel(), probs.ravel()], axis=1)
    each = truth.ravel().astype(np.intp)
    return [
        scores_table(found.classes, counts, (probs, truth)),
        calibration_chart(reliability(flat, each), calibration_error(flat, each)),
        *curves(probs, truth, found.classes),
        explorer(probs, truth, found.classes),
    ]


def of_numbers(found: Predicted) -> list[Any]:
    """Blocks of a task of numbers: errors, and residuals."""
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    rows, charts = [], []
    for k, name in enumerate(found.classes):
        true, own = found.truth[:, k], found.answers[:, k]
        r2 = f"{r2_score(true, own):z.4f}" if len(true) > 1 else "–"
        errors = (mean_absolute_error(true, own), root_mean_squared_error(true, own), float((own - true).mean()))
        rows.append((name, *map(significant, errors), r2))
        if k < MOST_NUMBERS:
            words = (f"{name}: predicted over true", f"{name}: residual (predicted less true) over predicted")
            x, y, left = true.tolist(), own.tolist(), (own - true).tolist()
            charts.append(Chart(words[0], scatter_chart(words[0], x, y, ("true", "predicted"), diagonal=True)))
            charts.append(Chart(words[1], scatter_chart(words[1], y, left, ("predicted", "residual"))))
    header = ("number", "mean absolute error", "root mean squared error", "mean residual", "R²")
    return [Table("Errors", header, rows), *charts]


def slices(found: Predicted, rows: pd.DataFrame, metric: str) -> list[Any]:
    """Scores on slices of the rows by the table's metadata, the largest loss first; nothing where there are none."""
    own = rows[rows["split"] == "train"].drop_duplicates("id").set_index("id").reindex(found.oof["id"])
    scores = slice_scores(own, np.asarray(found.probs), found.truth, metric, np.asarray(found.decided))
    cells = [(one["by"], one["value"], str(one["rows"]), f"{one['score']:z.4f}", f"{one['log_loss']:z.4f}")
             for one in scores[:MOST_LISTED]]  # fmt: skip
    header = ("by", "value", "rows", metric, found.task.loss)
    return [Table("Slices by metadata, the largest loss first", header, cells)] if cells else []


# --- the gallery ---------------------------------------------------------------------------------------------------


def gallery(found: Predicted, album: Album) -> Gallery:
    """Cards of the wrong rows, of the largest loss first, then of the unsure; a few of each cell of the confusion."""
    losses = np.asarray(found.task.row_losses(found.probs, found.truth), np.float64)
    wrong = is_wrong(found)
    confidence = confidence_of(found)
    given, answers = found.named(found.truth), found.named(found.answers)
    has_matrix = found.task.name == "multiclass" and len(found.classes) <= MOST_IN_MATRIX
    cells = list(zip(given, answers, strict=True)) if has_matrix else []
    chosen = choose(losses, wrong, confidence, cells, max(24, album.most // 2))
    own = own_probability(found)
    ids, folds = found.oof["id"].astype(str).tolist(), found.oof["fold"].tolist()
    cards = []
    for row in chosen:
        state = "wrong" if wrong[row] else ("unsure" if confidence[row] < 0.9 else "right")
        cards.append(
            Card(album.tile(ids[row]), given[row], answers[row], int(folds[row]), round(float(own[row]), 4),
                 round(float(confidence[row]), 4), round(float(losses[row]), 4), state)
        )  # fmt: skip
    cards.sort(key=lambda card: -card.loss)
    has_probabilities = found.task.is_probability
    words = f"{int(wrong.sum()):,} of {len(wrong):,} rows are wrong; shown are {len(cards):,}, the largest loss first"
    if not has_probabilities:
        words = f"The {len(cards):,} rows of {len(wrong):,} with the largest error"
    names = list(found.classes) if found.task.name != "regression" else []
    return Gallery(words, cards, names[:FULL_CLASSES], sorted(set(map(int, folds))), has_probabilities)


def is_wrong(found: Predicted) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Whether the answer of each row is wrong (N,); of numbers none is."""
    if found.task.name == "regression":
        return np.zeros(len(found.oof), np.bool_)
    differs = found.answers != found.truth
    return differs if differs.ndim == 1 else differs.any(axis=1)


def confidence_of(found: Predicted) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Probability of the answer (N,), of tags that of the least sure one; of numbers 1."""
    if found.task.name == "regression":
        return np.ones(len(found.oof))
    if found.task.name == "multilabel":
        probs = np.asarray(found.probs)
        return np.asarray(np.maximum(probs, 1 - probs).min(axis=1))
    return np.asarray(found.probs[np.arange(len(found.oof)), found.answers], np.float64)


def own_probability(found: Predicted) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Probability of the true answer (N,), of tags that of the worst tag; of numbers the absolute error."""
    if found.task.name == "regression":
        return np.asarray(np.abs(found.answers - found.truth).mean(axis=1))
    if found.task.name == "multilabel":
        probs = np.asarray(found.probs)
        return np.asarray(np.where(found.truth, probs, 1 - probs).min(axis=1))
    return np.asarray(found.probs[np.arange(len(found.oof)), found.truth], np.float64)


def choose(
    losses: np.ndarray[Any, Any], wrong: np.ndarray[Any, Any], confidence: np.ndarray[Any, Any],
    cells: Sequence[tuple[str, str]], most: int,
) -> list[int]:  # fmt: skip
    """Rows to show, at most `most`: one of each cell of the confusion matrix, then the wrong, then the unsure.

    cells: of each row; empty without a matrix. Those with the most rows come first, of a cell the row of largest loss.
    """
    most = min(most, MOST_CARDS)
    order = np.argsort(-losses, kind="stable").tolist()
    first: dict[tuple[str, str], int] = {}
    for row in order if cells else ():
        first.setdefault(cells[row], row)
    counts = Counter(cells)
    firsts = sorted(first.values(), key=lambda row: (-counts[cells[row]], -losses[row]))
    unsure = sorted((row for row in order if not wrong[row]), key=lambda row: (float(confidence[row]), -losses[row]))
    return list(dict.fromkeys([*firsts, *(row for row in order if wrong[row]), *unsure]))[:most]
