"""Decisions: from predictions to the answers that a metric scores, as thresholds of tags and cut points of an order.

A decision is a map of plain numbers, which `blend.apply_map` applies. The plain decision needs no fit. Arguments of the
fits: predictions (N, C), truth, name of the metric.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from kagglepipe.competitions.targets import Truth
from kagglepipe.predictions.evaluation import EvalRows
from kagglepipe.predictions.frame import Probs
from kagglepipe.predictions.metrics import find_metric

Map = dict[str, Any]  # of plain numbers
COMMON, OWN = 60, 20  # candidates for the threshold of all tags, and of each
SHRUNK = 20  # rows of a tag whose threshold is half its own, half that of all
LEAST = 1e-6  # threshold, and its distance from 1
STEPS = 40  # candidates for a cut point between two classes
ROUNDS = 2
FLOORS = (0.001, 0.003, 0.01, 0.03, 0.1)  # least shares of a row to try


def plain_decision(truth: Truth, task: str, metric: str) -> Map:
    """The decision without a fit: one half for tags, the most probable class, numbers as they are.

    truth: of other rows than those to decide. Where each of them has a tag, each answer gets one; where no number of a
    column is below 0, none is; without a row neither. Of an order whose errors count by their square it is the class
    nearest to the expected one.
    """
    if task == "multilabel":
        needs_tag = len(truth) > 0 and bool(truth.any(axis=1).all())
        return {"kind": "tags", "thresholds": [0.5] * truth.shape[1], "needs_tag": needs_tag}
    if task == "regression":
        low = [0.0 if len(own) and own.min() >= 0 else None for own in truth.T]
        return {"kind": "numbers", "low": low, "high": [None] * len(low), "round": [False] * len(low)}
    return {"kind": "rounded" if metric == "quadratic_weighted_kappa" else "classes"}


def fit_tags(probs: Probs, truth: Truth, metric: str) -> Map:
    """Fit thresholds of tags: one for all, then each tag's own, drawn to that of all as fewer rows have the tag.

    In logits, the own one of a tag of n rows has the weight n / (n + SHRUNK). Thresholds lie between probabilities that
    occur, so that those of rare tags can be as low as need be; of equal ones the nearest to 0.5 is taken. The order of
    rows and tags changes nothing.

    >>> fit_tags(np.full((40, 2), 0.3), np.ones((40, 2), bool), "f1_samples")["thresholds"]
    [0.15, 0.15]
    """
    from scipy.special import expit, logit

    scored, plain = find_metric(metric), plain_decision(truth, "multilabel", metric)

    def worth(thresholds: npt.NDArray[np.float64]) -> float:
        named = named_tags(thresholds, probs, needs_tag=plain["needs_tag"]).astype(np.float64)
        return round(scored.sign * scored.function(named, truth), 12)  # sums in another order are as good

    tags = truth.shape[1]
    tries = thresholds_between(probs.ravel(), COMMON)
    common = np.full(tags, tries[int(np.argmax([worth(np.full(tags, one)) for one in tries]))])
    own, reached = common.copy(), worth(common)
    for tag in range(tags):
        tries = thresholds_between(probs[:, tag], OWN)
        values = [worth(np.where(np.arange(tags) == tag, one, common)) for one in tries]
        if max(values) > reached + 1e-12:
            own[tag] = tries[int(np.argmax(values))]
    rows = truth.sum(axis=0)
    weight = rows / (rows + SHRUNK)
    thresholds = expit(weight * logit(own) + (1 - weight) * logit(common))
    return {**plain, "thresholds": [float(f"{one:.6g}") for one in thresholds]}


def thresholds_between(values: npt.NDArray[np.floating], count: int) -> npt.NDArray[np.float64]:
    """0.5, then by their distance to it thresholds that name none and 1, …, N of `values` (N,), `count` at most.

    >>> thresholds_between(np.array([0.1, 0.3, 0.3]), 3)
    array([0.5 , 0.65, 0.2 , 0.05])
    """
    distinct, rows = np.unique(values, return_counts=True)
    named = rows[::-1].cumsum()  # by the largest value alone, by the two largest, …
    wanted = np.geomspace(1, len(values), count).round()
    at = np.unique(len(distinct) - 1 - np.searchsorted(named, wanted))
    edges = np.concatenate([[0], distinct, [1]])
    middles = (edges[1:] + edges[:-1]) / 2
    tries = np.clip([0.5, middles[-1], *middles[at]], LEAST, 1 - LEAST)
    return np.asarray(tries[np.argsort(np.abs(tries - 0.5), kind="stable")], np.float64)


def fit_cut_points(probs: Probs, truth: Truth, metric: str) -> Map:
    """Fit cut points of the expected class Σ k p_k between ordered classes, by coordinate ascent on the metric.

    >>> fit_cut_points(np.eye(3)[[0, 1, 2]], np.array([0, 1, 2]), "quadratic_weighted_kappa")["cuts"]
    [0.5, 1.5]
    """
    scored, classes = find_metric(metric), probs.shape[1]
    values, cuts = expected_class(probs), np.arange(classes - 1) + 0.5

    def worth(points: npt.NDArray[np.float64]) -> float:
        return scored.sign * scored.function(np.eye(classes)[np.searchsorted(points, values)], truth)

    reached = worth(cuts)
    for _ in range(ROUNDS):
        for cut in range(classes - 1):
            low = cuts[cut - 1] if cut else 0.0
            high = cuts[cut + 1] if cut + 2 < classes else classes - 1.0
            tries = np.linspace(low, high, STEPS + 2)[1:-1]
            for one in tries[np.argsort(np.abs(tries - cuts[cut]), kind="stable")]:
                moved = cuts.copy()
                moved[cut] = one
                if (value := worth(moved)) > reached + 1e-12:
                    cuts, reached = moved, value
    return {"kind": "cut_points", "cuts": cuts.tolist()}


def fit_numbers(values: Probs, truth: Truth, metric: str) -> Map:
    """Fit whether numbers are clipped to the range of their column of the truth, and rounded where all of it is whole.

    Of shares, as of votes, a least one is tried too: those near 0 cost most where they are wrong.
    """
    scored, plain = find_metric(metric), plain_decision(truth, "regression", metric)
    tries = [plain, {**plain, "low": truth.min(axis=0).tolist(), "high": truth.max(axis=0).tolist()}]
    is_whole = (truth % 1 == 0).all(axis=0)
    if is_whole.any():
        tries += [{**one, "round": is_whole.tolist()} for one in tries]
    if scored.needs.least == 0 and truth.shape[1] > 1:
        whole = float(truth.sum(axis=1).mean())
        tries += [{**plain, "low": [floor * whole] * truth.shape[1]} for floor in FLOORS]
    scores = [scored.sign * scored.function(apply_decision(one, values), truth) for one in tries]
    return tries[int(np.argmax(scores))]


FITS: dict[str, Callable[[Probs, Truth, str], Map]] = {
    "multilabel": fit_tags,
    "ordinal": fit_cut_points,
    "regression": fit_numbers,
}


def is_decided(metric: str, task: str) -> bool:
    """Whether a decision can change the score: of tags and order if the metric is of labels, of numbers always."""
    return task in FITS and (task == "regression" or find_metric(metric).is_of_labels)


def plain_answers(predictions: Probs, others: Truth, metric: str, task: str) -> Probs:
    """Predictions (N, C) with the plain decision where the metric scores decisions, else as they are.

    others: truth of other rows.
    """
    is_scored = task == "regression" or find_metric(metric).is_of_labels
    return apply_decision(plain_decision(others, task, metric), predictions) if is_scored else predictions


def plain_out_of_fold(predictions: Probs, rows: EvalRows) -> Probs:
    """`plain_answers` of predictions (N, C), each row by the truth of the other folds."""
    if rows.truth.ndim == 1:  # of classes it depends on no truth
        return plain_answers(predictions, rows.truth, rows.metric, rows.task.name)
    answers = np.array(predictions)
    for fold in np.unique(rows.folds):
        is_own = rows.folds == fold
        answers[is_own] = plain_answers(predictions[is_own], rows.truth[~is_own], rows.metric, rows.task.name)
    return answers


def apply_decision(decision: Map, predictions: Probs) -> Probs:
    """Apply a decision: predictions (N, C) whose tags are above one half, whose most probable class is the answer.

    >>> apply_decision({"kind": "cut_points", "cuts": [0.2]}, np.array([[0.7, 0.3]]))
    array([[0., 1.]])
    >>> apply_decision({"kind": "rounded"}, np.array([[0.4, 0.3, 0.3]]))
    array([[0., 1., 0.]])
    """
    return DECISIONS[str(decision["kind"])](decision, predictions)


def expected_class(probs: Probs) -> npt.NDArray[np.float64]:
    """Σ k p_k of each row, (N, K) -> (N,)."""
    return np.asarray(np.asarray(probs) @ np.arange(probs.shape[1]), np.float64)


def _as_they_are(decision: Map, predictions: Probs) -> Probs:
    return predictions


def named_tags(thresholds: npt.NDArray[np.float64], probs: Probs, *, needs_tag: bool) -> npt.NDArray[np.bool_]:
    """Which tags (N, C) reach their thresholds (C,); needs_tag: a row without any gets the first of largest ratio."""
    named = np.asarray(probs >= thresholds)
    if needs_tag:
        empty = np.flatnonzero(~named.any(axis=1))
        named[empty, (probs[empty] / thresholds).argmax(axis=1)] = True
    return named


def _above_thresholds(decision: Map, probs: Probs) -> Probs:
    """Move each threshold to one half, piecewise linearly, so that order and 0 and 1 stay."""
    thresholds = np.asarray(decision["thresholds"], np.float64)
    below, above = probs / (2 * thresholds), 1 - (1 - probs) / (2 * (1 - thresholds))
    named = named_tags(thresholds, probs, needs_tag=decision["needs_tag"])
    moved = np.where(probs < thresholds, np.minimum(below, np.nextafter(0.5, 0)), np.maximum(above, 0.5))
    return np.asarray(np.clip(np.where(named, np.maximum(moved, 0.5), moved), 0, 1), np.float64)


def _cut(decision: Map, probs: Probs) -> Probs:
    return np.eye(probs.shape[1])[np.searchsorted(np.asarray(decision["cuts"], np.float64), expected_class(probs))]


def _round(decision: Map, probs: Probs) -> Probs:
    return _cut({"cuts": np.arange(probs.shape[1] - 1) + 0.5}, probs)


def _clip(decision: Map, values: Probs) -> Probs:
    """Clip and round, by column; older runs have one low, high and round for all columns."""
    low, high = (np.array(decision[name], np.float64) for name in ("low", "high"))  # None becomes NaN
    found = np.clip(values, np.nan_to_num(low, nan=-np.inf), np.nan_to_num(high, nan=np.inf))
    return np.asarray(np.where(decision["round"], np.round(found), found), np.float64)


DECISIONS: dict[str, Callable[[Map, Probs], Probs]] = {
    "classes": _as_they_are,
    "tags": _above_thresholds,
    "cut_points": _cut,
    "rounded": _round,
    "numbers": _clip,
}
