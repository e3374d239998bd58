"""Penalised maximum likelihood of softmax(parameters · features), for stacking, temperature and Platt scaling.

The conditional logit model of McFadden 1974, "Conditional logit analysis of qualitative choice behavior".
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from kagglepipe.predictions.frame import Labels, Probs

Features = npt.NDArray[np.floating[Any]]  # (J, N, C): features, rows, classes
Parameters = npt.NDArray[np.float64]  # (J,)

MAX_ITERATIONS = 100
MIN_GAIN = 1e-9  # expected, of the penalised mean cross-entropy, below which the fit has converged
CURVATURE_ROWS = 10_000  # for second derivatives, which only steer the steps
NUMBERS_AT_ONCE = 4_000_000  # of features, in memory for second derivatives


def fit_softmax(
    features: Features,
    truth: Labels,
    *,
    centre: Parameters,
    penalty: float,
    floor: float = -np.inf,
    use: npt.NDArray[np.bool_] | None = None,
    label_smoothing: float = 0.0,
) -> Parameters:
    """Minimise mean cross-entropy + penalty / 2 · |parameters − centre|², none below `floor`, by Newton's method: (J,).

    features: (J, N, C), float32 or float64. truth: class indices (N,). use: rows to fit on (N,); None: all.
    label_smoothing: share of each label that the other classes get, in [0, 1).
    """
    from scipy.optimize import lsq_linear

    rows = np.arange(len(truth)) if use is None else np.flatnonzero(use)
    flat = features.reshape(len(features), -1)  # (J, N·C)
    targets = _smoothed_one_hot(truth, features.shape[2], label_smoothing)

    def evaluate(at: Parameters) -> tuple[float, Probs]:
        """Penalised loss, and probabilities (N, C)."""
        scores = (at.astype(features.dtype) @ flat).reshape(features.shape[1:]).astype(np.float64)
        scores -= scores.max(axis=1, keepdims=True)
        wanted = (scores * targets).sum(axis=1)
        probs = np.exp(scores, out=scores)
        total = probs.sum(axis=1)
        loss = float((np.log(total) - wanted)[rows].mean()) + penalty / 2 * float(((at - centre) ** 2).sum())
        probs /= total[:, None]
        return loss, probs

    at = np.maximum(centre.astype(np.float64), floor)
    loss, probs = evaluate(at)
    for _ in range(MAX_ITERATIONS):
        residual = np.zeros(probs.shape, features.dtype)
        residual[rows] = probs[rows] - targets[rows]
        gradient = (flat @ residual.reshape(-1)).astype(np.float64) / len(rows) + penalty * (at - centre)
        curvature = _curvature(features, rows, probs) + (penalty + 1e-12) * np.eye(len(at))
        root = np.linalg.cholesky(curvature)  # curvature = root · rootᵀ
        step = lsq_linear(root.T, root.T @ at - np.linalg.solve(root, gradient), (floor, np.inf), method="bvls").x - at
        size, slope = 1.0, float(gradient @ step)
        if slope > -MIN_GAIN:
            break
        found = evaluate(at + step)
        while found[0] > loss + 1e-4 * size * slope and size > 1e-6:
            size /= 2
            found = evaluate(at + size * step)
        if found[0] >= loss:
            break  # only rounding is left
        at, (loss, probs) = at + size * step, found
    return at


def _curvature(features: Features, rows: Labels, probs: Probs) -> npt.NDArray[np.float64]:
    """Second derivatives (J, J) of the mean cross-entropy, on an even part of `rows`."""
    some = rows[:: -(-len(rows) // CURVATURE_ROWS)]
    total = np.zeros((len(features), len(features)))
    for part in np.array_split(some, 1 + len(some) * len(features) * probs.shape[1] // NUMBERS_AT_ONCE):
        share, own = probs[part].astype(features.dtype), features.take(part, axis=1)  # (n, C), (J, n, C)
        weighted = (own * np.sqrt(share)).reshape(len(features), -1)
        average = (own * share).sum(axis=2)  # (J, n)
        total += weighted @ weighted.T - average @ average.T
    return total / len(some)


def _smoothed_one_hot(truth: Labels, classes: int, label_smoothing: float) -> Probs:
    """Target probabilities (N, C): 1 - label_smoothing for the true class, the rest shared by the others."""
    targets = np.full((len(truth), classes), label_smoothing / (classes - 1))
    targets[np.arange(len(truth)), truth] = 1 - label_smoothing
    return targets
