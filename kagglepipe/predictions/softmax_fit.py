"""Penalised maximum likelihood of softmax(parameters · features), for stacking, temperature and Platt scaling.

The conditional logit model of McFadden 1974, "Conditional logit analysis of qualitative choice behavior".
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from kagglepipe.predictions.frame import Labels, Probs

Features = npt.NDArray[np.floating[Any]]  # (J, N, C): features, rows, classes
Parameters = npt.NDArray[np.float64]  # (J,)


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
    """Minimise mean cross-entropy + penalty / 2 · |parameters − centre|², none below `floor`, by L-BFGS-B: (J,).

    features: (J, N, C), float32 or float64. truth: class indices (N,). use: rows to fit on (N,); None: all.
    label_smoothing: share of each label that the other classes get, in [0, 1). Where all rows are right, cross-entropy
        alone would drive certainty to infinity.

    >>> probs = np.log(np.array([[[0.9, 0.1]] * 4]))  # confidence 0.9, accuracy 0.75
    >>> slope = fit_softmax(probs, np.array([0, 0, 0, 1]), centre=np.ones(1), penalty=1e-9)
    >>> bool(abs(slope[0] * np.log(9) - np.log(3)) < 1e-6)
    True
    """
    from scipy.optimize import minimize

    rows = np.arange(len(truth)) if use is None else np.flatnonzero(use)
    flat = features.reshape(len(features), -1)  # (J, N·C)
    targets = _smoothed_one_hot(truth, features.shape[2], label_smoothing)

    def loss_and_gradient(at: Parameters) -> tuple[float, Parameters]:
        scores = (at.astype(features.dtype) @ flat).reshape(features.shape[1:]).astype(np.float64)  # (N, C)
        scores -= scores.max(axis=1, keepdims=True)
        wanted = (scores * targets).sum(axis=1)
        probs = np.exp(scores, out=scores)
        total = probs.sum(axis=1)
        loss = float((np.log(total) - wanted)[rows].mean()) + penalty / 2 * float(((at - centre) ** 2).sum())
        residual = np.zeros(probs.shape, features.dtype)
        residual[rows] = probs[rows] / total[rows, None] - targets[rows]
        return loss, (flat @ residual.reshape(-1)).astype(np.float64) / len(rows) + penalty * (at - centre)

    start, options = np.maximum(centre, floor), {"ftol": 1e-12, "gtol": 1e-8}
    bounds = [(floor, None)] * len(start)
    found = minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return np.asarray(found.x, dtype=np.float64)


def _smoothed_one_hot(truth: Labels, classes: int, label_smoothing: float) -> Probs:
    """Target probabilities (N, C): 1 - label_smoothing for the true class, the rest shared by the others."""
    targets = np.full((len(truth), classes), label_smoothing / (classes - 1))
    targets[np.arange(len(truth)), truth] = 1 - label_smoothing
    return targets
