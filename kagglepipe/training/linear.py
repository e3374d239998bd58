"""Multinomial logistic regression where inputs are many and alike, as the pooled features of video frames are.

The minimum is scikit-learn's; the way there is shorter. Neighbouring frames say nearly the same, so that a few
directions of the inputs carry nearly all of their variance, and L-BFGS takes hundreds of steps. The penalty does not
change when inputs are rotated: along their principal axes each weight can be scaled by the curvature to be expected,
and a few dozen steps do. Nocedal and Wright 2006, "Numerical optimization", section 5.1 (preconditioning).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.optimize import minimize

from kagglepipe.training.features import Features
from kagglepipe.training.head import UNSEEN, Head, HeadFitter, Labelled, Labels, log_softmax

Floats = NDArray[np.float64]
EXACT = 1e-8  # of the mean loss: a step that gains less ends the search for a head that is kept
NEAR = 5e-6  # … for one by which only the regularisation is chosen, of values that are far apart
AXES_FROM = 2  # rows for each input that principal axes are measured on: they only steer the search


@dataclass(frozen=True)
class Fit:
    """weight (C, R) along the axes and bias (C,) of the classes that occur."""

    weight: Floats
    bias: Floats


@dataclass(frozen=True)
class Rotated:
    """Rows (N, R) along their principal axes, the weakest first, R = min(N, F), and the way back.

    span: (F, R), orthonormal, of all rows; None where they span everything. turn: (R, R), orthonormal. For rows x that
    were given, rows = x · span · turn.
    """

    rows: NDArray[np.float32]
    span: NDArray[np.float32] | None
    turn: NDArray[np.float32]

    def back(self, rows: NDArray[np.floating]) -> NDArray[np.float32]:
        """Rows, or weights, (K, R) along the axes -> (K, F) as inputs were given."""
        turned = rows @ self.turn.T
        return np.asarray(turned if self.span is None else turned @ self.span.T, np.float32)


def rotate(x: NDArray[np.floating]) -> Rotated:
    """Rows (N, F) along their principal axes."""
    x = np.ascontiguousarray(x, dtype=np.float32)
    span = None
    if len(x) < x.shape[1]:
        span, triangle = np.linalg.qr(x.T)
        x = np.ascontiguousarray(triangle.T)  # (N, N), which has the same inner products
    some = x[:: max(1, len(x) // (AXES_FROM * x.shape[1]))]
    _, turn = eigh(some.T @ some / np.float32(len(some)), driver="evd", overwrite_a=True, check_finite=False)
    return Rotated(x @ turn, span, turn)


def fit_logistic(
    z: NDArray[np.float32],
    labels: Labels,
    weights: Floats,
    c: float,
    start: Fit | None = None,
    *,
    enough: float = EXACT,
) -> Fit:
    """The softmax regression that scikit-learn's LogisticRegression(C=c) finds, on rows (N, R) along principal axes.

    labels: 0 … C - 1 (N,), each of which occurs. weights: of the rows (N,), with mean 1. start: where to begin, such as
    the fit of the next smaller C. enough: gain of a step in the mean loss that ends the search.
    """
    rows, classes = len(z), int(labels.max()) + 1
    pull = 1 / (c * rows * (0.5 if classes == 2 else 1.0))  # of two classes scikit-learn penalises the difference
    at, own = start or Fit(np.zeros((classes, z.shape[1])), np.zeros(classes)), (np.arange(rows), labels)
    probs = np.exp(log_softmax(_logits(z, at)))
    curve = max(float((probs * (1 - probs)).mean()), 1e-3)
    scale = 1 / np.sqrt(curve * np.einsum("nr,nr->r", z, z) / rows + pull)  # (R,)

    def objective(scaled: Floats) -> tuple[float, Floats]:
        moved = scaled.reshape(classes, -1)
        weight = moved[:, :-1] * scale
        logarithms = log_softmax(_logits(z, Fit(weight, moved[:, -1])))
        loss = float(-(weights * logarithms[own]).mean()) + pull / 2 * float((weight**2).sum())
        rest = np.exp(logarithms)
        rest[own] -= 1
        rest *= weights[:, None] / rows
        slope = (rest.T.astype(np.float32) @ z).astype(np.float64) + pull * weight
        return loss, np.column_stack([slope * scale, rest.sum(axis=0)]).ravel()

    began = np.column_stack([at.weight / scale, at.bias]).ravel()
    options = {"maxiter": 2000, "gtol": 1e-7, "ftol": enough, "maxcor": 20}
    found = minimize(objective, began, jac=True, method="L-BFGS-B", options=options).x.reshape(classes, -1)
    return Fit(found[:, :-1] * scale, found[:, -1])


def _logits(z: NDArray[np.float32], fit: Fit) -> Floats:
    return (z @ fit.weight.T.astype(np.float32)).astype(np.float64) + fit.bias


class LinearFitter(HeadFitter):
    """As HeadFitter: the same heads, each found along the principal axes of all rows and views."""

    def __init__(
        self, views: Sequence[Features], labels: Labels, folds: Labels, *, grid: Sequence[float], classes: int
    ) -> None:
        self.rotated = rotate(np.concatenate(views))
        super().__init__(np.split(self.rotated.rows, len(views)), labels, folds, grid=grid, classes=classes)
        self._before: tuple[NDArray[np.bool_], Fit] | None = None
        self._enough = EXACT

    def fit(self, fold: int, more: Labelled | None = None) -> Head:
        """The head for `fold`, of inputs as they were given; see `HeadFitter.fit`."""
        head = super().fit(fold, more)
        return head if more is not None else replace(head, weight=self.rotated.back(head.weight))

    def _inner_losses(self, a: int, b: int) -> dict[int, Floats]:
        self._enough = NEAR
        try:
            return super()._inner_losses(a, b)
        finally:
            self._enough = EXACT

    def _fit(self, rows: NDArray[np.bool_], c: float, more: Labelled | None = None) -> Head:
        if more is not None:
            return self._fit_with(rows, c, more)
        labels = np.tile(self.labels[rows], len(self.views))
        start = self._before[1] if self._before is not None and self._before[0] is rows else None
        z = np.concatenate([view[rows] for view in self.views])
        fit, head = self._head(z, labels, c, start)
        self._before = (rows, fit)
        return head

    def _fit_with(self, rows: NDArray[np.bool_], c: float, more: Labelled) -> Head:
        """The head of inputs as they were given, fitted on rows outside the axes too."""
        pairs = zip(self.views, more.views, strict=True)
        x = np.concatenate([part for view, other in pairs for part in (self.rotated.back(view[rows]), other)])
        rotated = rotate(x)
        labels = np.tile(np.concatenate([self.labels[rows], more.labels]), len(self.views))
        _, head = self._head(rotated.rows, labels, c, None)
        return replace(head, weight=rotated.back(head.weight))

    def _head(self, z: NDArray[np.float32], labels: Labels, c: float, start: Fit | None) -> tuple[Fit, Head]:
        known, numbered = np.unique(labels, return_inverse=True)
        fit = fit_logistic(z, numbered, np.ones(len(z)), c / len(self.views), start, enough=self._enough)
        weight = np.zeros((self.classes, z.shape[1]), np.float32)
        bias = np.full(self.classes, UNSEEN, np.float32)
        weight[known], bias[known] = fit.weight, fit.bias
        return fit, Head(weight, bias, c)
