"""Blending members' probabilities, given fitted weights and calibration maps.

A calibration map is a dictionary of plain numbers, kept in metrics.json beside the weights.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.competitions.labels import RESERVED
from kagglepipe.options import check_choice
from kagglepipe.predictions.frame import Probs

LOG_FLOOR = 1e-15  # keeps log(0) finite; a higher floor would change confident members

Stack = npt.NDArray[np.float64]  # (M, N, C): members, rows, classes
Weights = npt.NDArray[np.float64]  # (M,), summing to 1 save those of `logistic`


Map = dict[str, Any]


def mean(stack: Stack, weights: Weights) -> Probs:
    """Weighted arithmetic mean over members, (M, N, C) -> (N, C).

    >>> mean(np.array([[[1.0, 0.0]], [[0.5, 0.5]]]), np.array([0.5, 0.5]))
    array([[0.75, 0.25]])
    """
    averaged: Probs = np.tensordot(weights, stack, axes=1)
    return averaged


def rank_mean(stack: Stack, weights: Weights) -> Probs:
    """Weighted mean over members of ranks within each column, rows renormalised, (M, N, C) -> (N, C).

    Ranks run from 1/N to 1, ties share their mean. Only the order of a member's rows counts, which suits ROC AUC. The
    result is no calibrated probability: it depends on all rows of the frame, and means nothing for a single row.

    >>> rank_mean(np.array([[[0.9, 0.1], [0.8, 0.2]]]), np.array([1.0])).round(2)
    array([[0.67, 0.33],
           [0.33, 0.67]])
    """
    ranks = (pd.DataFrame(member).rank(pct=True).to_numpy() for member in stack)  # M times (N, C)
    return _renormalise(_weighted_sum(ranks, weights))


def geometric_mean(stack: Stack, weights: Weights) -> Probs:
    """Weighted geometric mean over members, rows renormalised, (M, N, C) -> (N, C).

    A probability near 0 of one member all but vetoes the class. Weights that sum to more than 1 sharpen the result as
    an inverse temperature does. The logarithmic opinion pool of Genest and Zidek 1986, "Combining probability
    distributions".

    >>> geometric_mean(np.array([[[0.8, 0.2]], [[0.5, 0.5]]]), np.array([0.5, 0.5])).round(2)
    array([[0.67, 0.33]])
    """
    logs = _weighted_sum((np.log(np.maximum(member, LOG_FLOOR)) for member in stack), weights)
    return _renormalise(np.exp(logs - logs.max(axis=1, keepdims=True)))  # else all of a row could come to 0


def power_mean(stack: Stack, weights: Weights, power: float) -> Probs:
    """Weighted mean over members of probability ** power, its root, rows renormalised, (M, N, C) -> (N, C).

    Only for ensembles of older versions, whose metrics.json says `method: power_mean` and the `power`.

    >>> power_mean(np.array([[[0.8, 0.2]], [[0.5, 0.5]]]), np.array([0.5, 0.5]), 2).round(2)
    array([[0.64, 0.36]])
    """
    raised = _weighted_sum((np.maximum(member, LOG_FLOOR) ** power for member in stack), weights)
    return _renormalise(raised ** (1 / power))


METHODS: dict[str, Callable[[Stack, Weights], Probs]] = {
    "mean": mean,
    "rank_mean": rank_mean,
    "geometric_mean": geometric_mean,
}
# fitted method of predictions.weights -> the blend that its weights are for
POOLS = {"hill_climb": "mean", "nnls": "mean", "logistic": "geometric_mean"}


def pool(stack: Stack, weights: Weights, method: str) -> Probs:
    """Blend the members by any method, fitted or not, given its weights, (M, N, C) -> (N, C) within [0, 1].

    Raises UserError for an unknown method.

    >>> pool(np.array([[[1.0, 0.0]], [[0.5, 0.5]]]), np.array([0.5, 0.5]), "nnls")
    array([[0.75, 0.25]])
    """
    check_choice("ensemble.method", method, (*METHODS, *POOLS))
    pooled = METHODS[POOLS.get(method, method)](stack, weights)
    return np.clip(pooled, 0, 1)  # weights that sum to 1 + 2e-16 must not make a probability above 1


def combine(stack: Stack, weights: Weights, method: str, maps: Sequence[Map] = (), power: float = 2.0) -> Probs:
    """Blend members by fitted weights and apply calibration maps, (M, N, C) -> (N, C).

    power: of `power_mean`, in ensembles of older versions.

    >>> combine(np.array([[[0.9, 0.1]], [[0.5, 0.5]]]), np.array([0.0, 1.0]), "nnls")
    array([[0.5, 0.5]])
    """
    probs: Probs
    if not weights.any():  # `logistic` may give every member 0
        probs = np.full(stack.shape[1:], 1 / stack.shape[2])
    elif method == "power_mean":
        probs = np.clip(power_mean(stack, weights, power), 0, 1)
    else:
        probs = pool(stack, weights, method)
    for step in maps:
        probs = apply_map(step, probs)
    return probs


def apply_map(step: Map, probs: Probs) -> Probs:
    """Apply a fitted map to probabilities, (N, C) -> (N, C).

    >>> apply_map({"kind": "temperature", "slope": 0.5}, np.array([[0.9, 0.1]])).round(3)
    array([[0.75, 0.25]])
    """
    from scipy.special import softmax

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
    values = np.stack([np.interp(probs[:, k], curve["x"], curve["y"]) for k, curve in enumerate(curves)], axis=1)
    renormalised: Probs = values / values.sum(axis=1, keepdims=True)
    return renormalised


def with_probabilities(frame: pd.DataFrame, classes: Sequence[str], probs: Probs) -> pd.DataFrame:
    """Replace the probabilities of a frame by others (N, C), keeping id, and fold and target if any."""
    kept = frame[[name for name in RESERVED if name in frame]]
    return pd.concat([kept, pd.DataFrame(probs, columns=list(classes), index=kept.index)], axis=1)


def equal_weights(members: int) -> Weights:
    """1 / M for each of M members, (M,)."""
    return np.full(members, 1 / members)


def _weighted_sum(members: Iterable[Probs], weights: Weights) -> Probs:
    """Sum of weight times member, (N, C), with one member in memory at a time; weights of 0 are skipped."""
    total: Probs | None = None
    for member, weight in zip(members, weights, strict=True):
        if total is None:
            total = weight * member
        elif weight:
            total += weight * member
    assert total is not None
    return total


def _renormalise(values: Probs) -> Probs:
    """Divide positive rows (N, C) by their sums."""
    shares: Probs = values / values.sum(axis=1, keepdims=True)
    return shares
