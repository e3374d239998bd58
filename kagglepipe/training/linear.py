"""Multinomial logistic regression with a preconditioner, for many correlated inputs such as pooled frame features.

It finds scikit-learn's minimum in fewer steps. A few directions of such inputs carry nearly all of their variance, so
plain L-BFGS takes hundreds of steps. The L2 penalty is invariant to rotation: along principal axes each weight can be
scaled by its expected curvature, and a few dozen steps suffice. Nocedal and Wright 2006, "Numerical optimization",
section 5.1 (preconditioning).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax
from threadpoolctl import threadpool_limits

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.competitions.targets import Truth
from kagglepipe.predictions.baseline import class_shares
from kagglepipe.predictions.frame import merge_folds, oof_frame
from kagglepipe.training.column_heads import SOLVERS, ColumnHeadFitter
from kagglepipe.training.features import Features
from kagglepipe.training.head import UNSEEN_BIAS, ExtraRows, Head, HeadFitter, Labels
from kagglepipe.training.links import LINKS
from kagglepipe.training.principal_axes import FTOL, FTOL_INNER, Rotated, rotate

Floats = NDArray[np.float64]
MAX_BASELINE_ROWS = 1000  # to fit the baseline on


@dataclass(frozen=True)
class Fit:
    """Solution along principal axes: weight (K, R) and bias (K,) of the K classes that occur."""

    weight: Floats
    bias: Floats


def fit_logistic(
    z: NDArray[np.float32], labels: Labels, weights: Floats, c: float, start: Fit | None = None, *, ftol: float = FTOL
) -> Fit:
    """Minimise the loss of scikit-learn's LogisticRegression(C=c) on rows (N, R) along principal axes.

    labels: (N,), 0 … K - 1, each of which occurs. weights: (N,), of samples, with mean 1. start: initial solution, such
    as the fit of the next smaller C. ftol: relative decrease of the loss at which L-BFGS stops.
    """
    rows, classes = len(z), int(labels.max()) + 1
    penalty = 1 / (c * rows * (0.5 if classes == 2 else 1.0))  # for two classes scikit-learn penalises the difference
    at, own = start or Fit(np.zeros((classes, z.shape[1])), np.zeros(classes)), (np.arange(rows), labels)
    probs = np.exp(log_softmax(_logits(z, at), axis=-1))
    curve = max(float((probs * (1 - probs)).mean()), 1e-3)
    scale = 1 / np.sqrt(curve * np.einsum("nr,nr->r", z, z) / rows + penalty)  # (R,)

    def objective(scaled: Floats) -> tuple[float, Floats]:
        moved = scaled.reshape(classes, -1)
        weight = moved[:, :-1] * scale
        log_probs = log_softmax(_logits(z, Fit(weight, moved[:, -1])), axis=-1)
        loss = float(-(weights * log_probs[own]).mean()) + penalty / 2 * float((weight**2).sum())
        residual = np.exp(log_probs)
        residual[own] -= 1
        residual *= weights[:, None] / rows
        gradient = (residual.T.astype(np.float32) @ z).astype(np.float64) + penalty * weight
        return loss, np.column_stack([gradient * scale, residual.sum(axis=0)]).ravel()

    began = np.column_stack([at.weight / scale, at.bias]).ravel()
    options = {"maxiter": 2000, "gtol": 1e-7, "ftol": ftol, "maxcor": 20}
    found = minimize(objective, began, jac=True, method="L-BFGS-B", options=options).x.reshape(classes, -1)
    return Fit(found[:, :-1] * scale, found[:, -1])


def _logits(z: NDArray[np.float32], fit: Fit) -> Floats:
    return (z @ fit.weight.T.astype(np.float32)).astype(np.float64) + fit.bias


class PrincipalAxisSolver:
    """Solver of `HeadFitter` along the principal axes of all rows and views; each head starts from that of the last C.

    Inner heads are for rotated rows (N, R), others for the given features.
    """

    def __init__(self, rotated: Rotated, views: int, labels: Labels, classes: int) -> None:
        self.rotated, self.views = rotated, np.split(rotated.rows, views)
        self.labels, self.classes = labels, classes
        self._before: tuple[NDArray[np.bool_], Fit] | None = None

    def __call__(self, rows: NDArray[np.bool_], c: float, extra: ExtraRows | None, is_inner: bool) -> Head:
        if extra is not None:
            return self._fit_with(rows, c, extra)
        start = self._before[1] if self._before is not None and self._before[0] is rows else None
        z = np.concatenate([view[rows] for view in self.views])
        labels = np.tile(self.labels[rows], len(self.views))
        fit, head = self._head(z, labels, c, start, FTOL_INNER if is_inner else FTOL)
        self._before = (rows, fit)
        return head if is_inner else replace(head, weight=self.rotated.back(head.weight))

    def _fit_with(self, rows: NDArray[np.bool_], c: float, extra: ExtraRows) -> Head:
        """Fit on extra rows too, along principal axes of their own: those of `rotated` may not span them."""
        pairs = zip(self.views, extra.views, strict=True)
        x = np.concatenate([part for view, other in pairs for part in (self.rotated.back(view[rows]), other)])
        rotated = rotate(x)
        labels = np.tile(np.concatenate([self.labels[rows], extra.labels]), len(self.views))
        _, head = self._head(rotated.rows, labels, c, None, FTOL)
        return replace(head, weight=rotated.back(head.weight))

    def _head(
        self, z: NDArray[np.float32], labels: Labels, c: float, start: Fit | None, ftol: float
    ) -> tuple[Fit, Head]:
        known, numbered = np.unique(labels, return_inverse=True)
        fit = fit_logistic(z, numbered, np.ones(len(z)), c / len(self.views), start, ftol=ftol)
        weight = np.zeros((self.classes, z.shape[1]), np.float32)
        bias = np.full(self.classes, UNSEEN_BIAS, np.float32)
        weight[known], bias[known] = fit.weight, fit.bias
        return fit, Head(weight, bias, c)


def linear_fitter(
    views: Sequence[Features],
    labels: NDArray[Any],
    folds: Labels,
    *,
    grid: Sequence[float],
    classes: int,
    task: str = "multiclass",
) -> HeadFitter | ColumnHeadFitter:
    """Make a HeadFitter that solves along principal axes or, of a task with labels in columns (N, O), a
    ColumnHeadFitter; arguments as of these.
    """
    if task in SOLVERS:
        return ColumnHeadFitter(views, labels, folds, task=task, grid=grid)
    rotated = rotate(np.concatenate(views))
    solver = PrincipalAxisSolver(rotated, len(views), labels, classes)
    return HeadFitter(solver.views, labels, folds, grid=grid, classes=classes, solver=solver)


# --- baseline of videos and series, without the order of frames --------------------------------------------------


def cross_validate_linear(
    x: NDArray[np.floating], truth: Truth, folds: NDArray[np.int64], classes: int, task: str = "multiclass"
) -> NDArray[np.float64]:
    """Out-of-fold predictions (N, C) of a linear model on standardised features x (N, D).

    truth: class indices (N,), tags or numbers (N, C). folds: (N,).
    """
    z, probs, targets = rotate(x).rows, np.empty((len(x), classes)), LINKS[task].targets(truth, classes)
    predict = partial(column_predictions, task=task) if task in SOLVERS else linear_probabilities
    for fold in np.unique(folds):
        valid = folds == fold
        probs[valid] = predict(z[~valid], targets[~valid], z[valid], classes, c=25 / x.shape[1])
    return probs


def linear_baseline(x: NDArray[np.floating], dataset: Dataset, folds: NDArray[np.int64]) -> pd.DataFrame:
    """Out-of-fold frame of a linear model on features x (N, F) of the labelled rows.

    folds: fold of each row (N,), which need not be that of the dataset.
    """
    train, classes, task, frames = dataset.train, dataset.classes, dataset.task, []
    probs = cross_validate_linear(x, dataset.labels(train), folds, len(classes), task)
    for fold in np.unique(folds):
        rows, own = train[folds == fold], probs[folds == fold]
        frames.append(oof_frame(rows["id"].tolist(), int(fold), rows["target"].tolist(), own, classes, task))
    return merge_folds(frames, train["id"])


def linear_probabilities(
    z: NDArray[np.floating], labels: NDArray[np.int64], valid: NDArray[np.floating], classes: int, *, c: float
) -> NDArray[np.float64]:
    """Predict probabilities (M, C) of rows `valid` (M, R) by a logistic regression with C=c on z (N, R).

    Both along principal axes. At most MAX_BASELINE_ROWS rows at equal distances are fitted: adjacent frames are alike.
    A class without a fitted row gets its share of all rows, by `class_shares`.
    """
    some = slice(None, None, -(-len(z) // MAX_BASELINE_ROWS))
    known, numbered = np.unique(labels[some], return_inverse=True)
    shares = class_shares(labels, classes)
    probs = np.tile(shares, (len(valid), 1))
    with threadpool_limits(1, user_api="blas"):
        fit = fit_logistic(z[some], numbered, np.ones(len(numbered)), c)
    probs[:, known] = np.exp(log_softmax(valid @ fit.weight.T + fit.bias, axis=-1)) * shares[known].sum()
    return probs


def column_predictions(
    z: NDArray[np.floating], targets: NDArray[Any], valid: NDArray[np.floating], classes: int, *, c: float, task: str
) -> NDArray[np.float64]:
    """Predict (M, C) tags, numbers or ordered classes of rows `valid` (M, R) by a linear model of each column.

    As `linear_probabilities`, with targets (N, O). c: of logistic regression; the penalty of a ridge regression is
    4 / c, which is as strong, since the curvature of a log loss is at most a quarter.
    """
    some = slice(None, None, -(-len(z) // MAX_BASELINE_ROWS))
    strength = c * z.shape[1] / 4 if LINKS[task].has_unit else c  # a ridge regression's penalty is R / C
    rows, wanted = z[some], targets[some].astype(np.float64)
    with threadpool_limits(1, user_api="blas"):
        weight, bias = SOLVERS[task].fit(rows, wanted, np.ones(len(rows)), np.full(wanted.shape[1], strength))
    return Head(weight.astype(np.float32), bias.astype(np.float32), strength, task).predict(valid)
