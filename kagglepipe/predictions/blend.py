"""Blending members' predictions, given fitted weights and calibration maps, which metrics.json holds."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.predictions.decisions import DECISIONS
from kagglepipe.predictions.frame import Probs, labels, own_columns
from kagglepipe.predictions.questions import as_questions, as_tags
from kagglepipe.predictions.tasks import CLASSES, Task
from kagglepipe.predictions.top_classes import has_top_classes, keep_top, top_columns

LOG_FLOOR = 1e-15  # keeps log(0) finite; a higher floor would change confident members

Stack = npt.NDArray[np.float64]  # (M, N, C): members, rows, classes
Weights = npt.NDArray[np.float64]  # (M,), summing to 1 save those of `logistic`
Map = dict[str, Any]  # of plain numbers


def mean(stack: Stack, weights: Weights) -> Probs:
    """Weighted arithmetic mean over members, (M, N, C) -> (N, C)."""
    return np.asarray(np.tensordot(weights, stack, axes=1))


def rank_mean(stack: Stack, weights: Weights) -> Probs:
    """Weighted mean over members of ranks within each column, rows renormalised, (M, N, C) -> (N, C).

    Ranks run from 1/N to 1, ties share their mean. The result suits ROC AUC and means nothing for a single row.
    """
    ranks = (pd.DataFrame(member).rank(pct=True).to_numpy() for member in stack)  # M times (N, C)
    return _renormalise(_weighted_sum(ranks, weights))


def geometric_mean(stack: Stack, weights: Weights) -> Probs:
    """Weighted geometric mean over members, rows renormalised, (M, N, C) -> (N, C).

    Weights that sum to more than 1 sharpen as an inverse temperature does. The logarithmic opinion pool of Genest and
    Zidek 1986, "Combining probability distributions".
    """
    logs = np.zeros(stack.shape[1:]) + _weighted_sum(map(log_probabilities, stack), weights)  # `logistic` may have 0
    return _renormalise(np.exp(logs - logs.max(axis=1, keepdims=True)))  # else all of a row could come to 0


def power_mean(stack: Stack, weights: Weights, power: float) -> Probs:
    """Weighted mean over members of probability ** power, its root, rows renormalised, (M, N, C) -> (N, C)."""
    raised = _weighted_sum((np.maximum(member, LOG_FLOOR) ** power for member in stack), weights)
    return _renormalise(raised ** (1 / power))


def rank_mean_of_tags(stack: Stack, weights: Weights) -> Probs:
    """`rank_mean` of tags, whose rows need not sum to 1."""
    return _weighted_sum((pd.DataFrame(member).rank(pct=True).to_numpy() for member in stack), weights)


def geometric_mean_of_tags(stack: Stack, weights: Weights) -> Probs:
    """`geometric_mean` of yes and no for each tag, (M, N, C) -> (N, C)."""
    return as_tags(geometric_mean(as_questions(stack), weights), stack.shape[2])


def median(stack: Stack, weights: Weights) -> Probs:
    """Median over members, whatever their weights, (M, N, C) -> (N, C)."""
    return np.asarray(np.median(stack, axis=0))


Pool = Callable[[Stack, Weights], Probs]
METHODS: dict[str, Pool] = {"mean": mean, "geometric_mean": geometric_mean, "rank_mean": rank_mean}
METHODS_OF: dict[str, dict[str, Pool]] = {  # by name of the task
    "multiclass": METHODS,
    "multilabel": {"mean": mean, "geometric_mean": geometric_mean_of_tags, "rank_mean": rank_mean_of_tags},
    "regression": {"mean": mean, "median": median},
}
# fitted method of predictions.weights -> the blend that its weights are for
POOLS = {"hill_climb": "mean", "nnls": "mean", "logistic": "geometric_mean"}


def combine(
    stack: Stack, weights: Weights, method: str, maps: Sequence[Map] = (), power: float = 2.0, task: Task = CLASSES
) -> Probs:
    """Blend members by any method, given its weights, and apply calibration maps, (M, N, C) -> (N, C) within limits.

    power: of `power_mean`, in ensembles of older versions.

    >>> combine(np.array([[[0.9, 0.1]], [[0.5, 0.5]]]), np.array([0.5, 0.5]), "nnls")
    array([[0.7, 0.3]])
    """
    if method == "power_mean":
        probs = power_mean(stack, weights, power)
    else:
        probs = METHODS_OF[task.name][POOLS.get(method, method)](stack, weights)
    probs = np.clip(probs, *task.limits)  # weights that sum to 1 + 2e-16 must not make a probability above 1
    for step in maps:
        probs = apply_map(step, probs)
    return probs


def apply_map(step: Map, probs: Probs) -> Probs:
    """Apply a fitted map to probabilities, (N, C) -> (N, C); one with `each_tag` to yes and no of each tag.

    >>> apply_map({"kind": "temperature", "slope": 0.5}, np.array([[0.9, 0.1]])).round(3)
    array([[0.75, 0.25]])
    """
    from scipy.special import softmax

    if step.get("each_tag"):
        return as_tags(apply_map({**step, "each_tag": False}, as_questions(probs)), probs.shape[1])
    if step["kind"] in DECISIONS:
        return DECISIONS[step["kind"]](step, probs)
    if step["kind"] == "isotonic":
        return _apply_isotonic(step["curves"], probs)
    scores = step.get("slope", 1.0) * log_probabilities(probs) + np.array(step.get("offsets", 0.0))
    return np.asarray(softmax(scores, axis=1), dtype=np.float64)


def log_probabilities(probs: Probs) -> npt.NDArray[np.float64]:
    """Logarithms (N, C), finite for probabilities of 0."""
    return np.log(np.maximum(probs, LOG_FLOOR))


def _apply_isotonic(curves: list[dict[str, list[float]]], probs: Probs) -> Probs:
    if len(curves) == 1:
        second = np.interp(probs[:, 1], curves[0]["x"], curves[0]["y"])
        return np.stack([1 - second, second], axis=1)
    values = [np.interp(probs[:, k], curve["x"], curve["y"]) for k, curve in enumerate(curves)]
    return _renormalise(np.stack(values, axis=1))


def with_probabilities(frame: pd.DataFrame, classes: Sequence[str], probs: Probs) -> pd.DataFrame:
    """Replace the probabilities of a frame by others (N, C), keeping id, and fold and target if any."""
    kept = frame[own_columns(frame)]
    if has_top_classes(frame):
        truth = labels(frame, classes) if "target" in frame else None
        return pd.concat([kept, top_columns(keep_top(probs, truth), classes).set_index(kept.index)], axis=1)
    return pd.concat([kept, pd.DataFrame(probs, columns=list(classes), index=kept.index)], axis=1)


def equal_weights(members: int) -> Weights:
    """1 / M for each of M members, (M,)."""
    return np.full(members, 1 / members)


def _weighted_sum(members: Iterable[Probs], weights: Weights) -> Probs:
    """Sum of weight times member, (N, C), with one member in memory at a time."""
    return sum((weight * member for member, weight in zip(members, weights, strict=True) if weight), np.zeros(()))


def _renormalise(values: Probs) -> Probs:
    """Divide positive rows (N, C) by their sums."""
    return np.asarray(values / values.sum(axis=1, keepdims=True))
