"""Maximum likelihood of softmax(parameters · features): what stacking, temperature and Platt scaling have in common.

The conditional logit model of McFadden 1974, "Conditional logit analysis of qualitative choice behavior", in numpy.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kagglepipe.predictions.frame import Labels, Probs

Features = npt.NDArray[np.floating[Any]]  # (J, N, C): features, rows, classes
Parameters = npt.NDArray[np.float64]  # (J,)

ITERATIONS = 100
ENOUGH = 1e-9  # of expected gain in the penalised mean log loss
AT_ONCE = 4096  # rows of which weighted features are held in memory
CURVED = 10_000  # rows that the curvature is measured on: it only steers the steps, the optimum is that of all rows


def fit_softmax(
    features: Features,
    truth: Labels,
    *,
    centre: Parameters,
    pull: float,
    floor: float = -np.inf,
    use: npt.NDArray[np.bool_] | None = None,
    label_smoothing: float = 0.0,
) -> Parameters:
    """The parameters (J,) that minimise mean log loss + pull / 2 · |parameters − centre|², none below `floor`.

    The minimum is unique where pull > 0. Newton's method, projected on the bound: Bertsekas 1982, "Projected Newton
    methods for optimization problems with simple constraints".

    features: (J, N, C), float32 or float64. use: rows to fit on (N,); None: all.
    label_smoothing: share of each label that the other classes get, in [0, 1). Where all rows are right, log loss
        alone would drive certainty to infinity.

    >>> sure = np.log(np.array([[[0.9, 0.1]] * 4]))  # nine in ten, it says; it is right three times in four
    >>> slope = fit_softmax(sure, np.array([0, 0, 0, 1]), centre=np.ones(1), pull=1e-9)
    >>> bool(abs(slope[0] * np.log(9) - np.log(3)) < 1e-6)
    True
    """
    rows = np.arange(len(truth)) if use is None else np.flatnonzero(use)
    at = np.maximum(centre.astype(np.float64), floor)
    problem = _Problem(features, _targets(truth, features.shape[2], label_smoothing), rows, centre, pull)
    loss, probs = _loss(problem, at)
    for _ in range(ITERATIONS):
        gradient = _gradient(problem, probs) + pull * (at - centre)
        free = (at > floor) | (gradient < 0)
        if not free.any():
            break
        curve = _curvature(features, rows, probs)[np.ix_(free, free)]
        curve += (pull + 1e-12) * np.eye(len(curve))
        step = np.zeros_like(at)
        step[free] = np.linalg.lstsq(curve, gradient[free], rcond=None)[0]
        if float(gradient @ step) < ENOUGH:
            break
        size, found = 1.0, None
        while size > 1e-6 and found is None:
            near = np.maximum(at - size * step, floor)
            now, there = _loss(problem, near)
            found = (near, now, there) if now <= loss - 1e-4 * float(gradient @ (at - near)) else None
            size /= 2
        if found is None:
            break  # rounding is all that is left
        at, loss, probs = found
    return at


def softmax(scores: Probs) -> Probs:
    """Rows (N, C) of any numbers as probabilities.

    >>> softmax(np.log([[1.0, 3.0]]))
    array([[0.25, 0.75]])
    """
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    probs: Probs = raised / raised.sum(axis=1, keepdims=True)
    return probs


@dataclass(frozen=True)
class _Problem:
    """What does not change while parameters are sought."""

    features: Features
    targets: Probs
    rows: Labels
    centre: Parameters
    pull: float


def _targets(truth: Labels, classes: int, label_smoothing: float) -> Probs:
    """What the probabilities should be, (N, C): one-hot but for the smoothing, which the other classes share."""
    targets = np.full((len(truth), classes), label_smoothing / (classes - 1))
    targets[np.arange(len(truth)), truth] = 1 - label_smoothing
    return targets


def _loss(problem: _Problem, at: Parameters) -> tuple[float, Probs]:
    """(penalised mean cross-entropy of the rows that count, probabilities of all rows (N, C))."""
    features = problem.features
    flat = features.reshape(len(features), -1)
    scores = (at.astype(features.dtype) @ flat).reshape(features.shape[1:]).astype(np.float64)
    scores -= scores.max(axis=1, keepdims=True)
    wanted = (scores * problem.targets).sum(axis=1)
    raised = np.exp(scores, out=scores)
    total = raised.sum(axis=1)
    penalty = problem.pull / 2 * float(((at - problem.centre) ** 2).sum())
    return float((np.log(total) - wanted)[problem.rows].mean()) + penalty, raised / total[:, None]


def _gradient(problem: _Problem, probs: Probs) -> Parameters:
    """Of the mean cross-entropy of the rows that count by the parameters, (J,)."""
    features, rows = problem.features, problem.rows
    rest = np.zeros_like(probs)
    rest[rows] = probs[rows] - problem.targets[rows]
    flat = features.reshape(len(features), -1)
    return (flat @ rest.reshape(-1).astype(features.dtype)).astype(np.float64) / len(rows)


def _curvature(features: Features, rows: Labels, probs: Probs) -> npt.NDArray[np.float64]:
    """The matrix of second derivatives of the mean log loss, (J, J), on `rows` or an even part of them."""
    some = rows[:: -(-len(rows) // CURVED)]
    total = np.zeros((len(features), len(features)))
    for part in _parts(some):
        share = probs[part].astype(features.dtype)  # (n, C)
        piece = features.take(part, axis=1)  # (J, n, C)
        weighted = (piece * np.sqrt(share)).reshape(len(features), -1)
        average = (piece * share).sum(axis=2)  # (J, n)
        total += weighted @ weighted.T - average @ average.T
    return total / len(some)


def _parts(rows: Labels) -> Iterator[Labels]:
    """The rows, some at a time."""
    for start in range(0, len(rows), AT_ONCE):
        yield rows[start : start + AT_ONCE]
