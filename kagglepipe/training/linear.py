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


def principal_axes(x: NDArray[np.floating]) -> NDArray[np.float32]:
    """An orthonormal basis (F, R) of the space of rows (N, F), along their principal axes; R = min(N, F)."""
    x = np.ascontiguousarray(x, dtype=np.float32)
    if len(x) < x.shape[1]:
        span, triangle = np.linalg.qr(x.T)  # x = triangleᵀ spanᵀ
        _, turned = eigh(triangle @ triangle.T / np.float32(len(x)), driver="evd", overwrite_a=True, check_finite=False)
        return np.asarray(span @ turned, np.float32)
    some = x[:: max(1, len(x) // (AXES_FROM * x.shape[1]))]
    _, turned = eigh(some.T @ some / np.float32(len(some)), driver="evd", overwrite_a=True, check_finite=False)
    return np.asarray(turned, np.float32)


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
        self.axes = principal_axes(np.concatenate(views))
        turned = [view.astype(np.float32) @ self.axes for view in views]
        super().__init__(turned, labels, folds, grid=grid, classes=classes)
        self._before: tuple[NDArray[np.bool_], Fit] | None = None
        self._enough = EXACT

    def fit(self, fold: int, more: Labelled | None = None) -> Head:
        """The head for `fold`, of inputs as they were given; see `HeadFitter.fit`."""
        head = super().fit(fold, more)
        return head if more is not None else replace(head, weight=head.weight @ self.axes.T)

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
        x = np.concatenate([part for view, other in pairs for part in (view[rows] @ self.axes.T, other)])
        axes = principal_axes(x)
        labels = np.tile(np.concatenate([self.labels[rows], more.labels]), len(self.views))
        _, head = self._head(x.astype(np.float32) @ axes, labels, c, None)
        return replace(head, weight=head.weight @ axes.T)

    def _head(self, z: NDArray[np.float32], labels: Labels, c: float, start: Fit | None) -> tuple[Fit, Head]:
        known, numbered = np.unique(labels, return_inverse=True)
        fit = fit_logistic(z, numbered, np.ones(len(z)), c / len(self.views), start, enough=self._enough)
        weight = np.zeros((self.classes, z.shape[1]), np.float32)
        bias = np.full(self.classes, UNSEEN, np.float32)
        weight[known], bias[known] = fit.weight, fit.bias
        return fit, Head(weight, bias, c)
