"""Linear head: multinomial logistic regression on frozen features, regularised by nested cross-validation.

For each fold, C minimises the log loss of inner cross-validation over the training folds and all their views; augmented
views stand for photos from other sources. The inner folds are the outer ones, which keep groups together; a fit without
folds a and b serves the choice for both.
"""

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from kagglepipe.predictions.top_classes import FULL_CLASSES, row_blocks
from kagglepipe.training.features import Features
from kagglepipe.training.links import CLASSES, LINKS

log = logging.getLogger(__name__)
MAX_ITER = 1000  # of scikit-learn's solver, for one head
UNSEEN_BIAS = -1e4  # of a class without training rows: probability 0, and a finite loss
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Head:
    """Linear model: weight (O, F), bias (O,), both float32, and the regularisation of its fit. task: see `links`."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    regularisation: float
    task: str = "multiclass"

    def logits(self, features: Features) -> NDArray[np.float64]:
        """features · weightᵀ + bias: (N, F) -> (N, O)"""
        return features.astype(np.float64) @ self.weight.T.astype(np.float64) + self.bias

    def predict(self, features: Features) -> NDArray[np.float64]:
        """Predictions (N, C) for features (N, F): of classes softmax, of many in float32 and a few rows at a time."""
        if LINKS[self.task] is not CLASSES:
            return np.asarray(LINKS[self.task].predict(torch.from_numpy(self.logits(features))).numpy())
        if len(self.bias) > FULL_CLASSES:
            probs: NDArray[Any] = np.empty((len(features), len(self.bias)), np.float32)
            for rows in row_blocks(len(features)):
                logits = np.matmul(features[rows].astype(np.float32), self.weight.T, out=probs[rows])
                logits += self.bias
                logits -= logits.max(axis=1, keepdims=True)
                np.exp(logits, out=logits)
                logits /= logits.sum(axis=1, keepdims=True)
            return probs
        return np.exp(log_softmax(self.logits(features), axis=-1))


@dataclass(frozen=True)
class ExtraRows:
    """Training rows outside the folds: features of each view (V, M, F) and labels (M,) or (M, O). They choose no C."""

    views: Sequence[Features]
    labels: NDArray[Any]


def training_rows(
    views: Sequence[Features], labels: NDArray[Any], rows: NDArray[np.bool_], extra: ExtraRows | None
) -> tuple[list[Features], NDArray[Any]]:
    """Features of each view and labels of some rows (N,), followed by the extra ones."""
    own, known = [view[rows] for view in views], labels[rows]
    if extra is None:
        return own, known
    joined = [np.concatenate(pair) for pair in zip(own, extra.views, strict=True)]
    return joined, np.concatenate([known, extra.labels])


Solver = Callable[[NDArray[np.bool_], float, ExtraRows | None, bool], Head]
"""(rows (N,) to fit on, C, extra rows, is_inner) -> head; is_inner: the head is only compared with those of other C."""


class HeadFitter:
    """Fit one head per fold on features that all folds share.

    views: features of each view of the training rows, the clean view first, (V, N, F). labels: (N,). folds: (N,).
    grid: candidates for C. clean: sample weight of the clean view, relative to 1 for each other view. solver: fits one
    head; None: scikit-learn.
    """

    def __init__(
        self,
        views: Sequence[Features],
        labels: Labels,
        folds: Labels,
        *,
        grid: Sequence[float],
        classes: int,
        clean: float = 1.0,
        solver: Solver | None = None,
    ) -> None:
        self.views, self.labels, self.folds, self.clean = list(views), labels, folds, clean
        self.grid, self.classes = sorted(grid), classes
        self.solver = solver or self._fit_sklearn
        self._losses_without = cache(self._inner_losses)
        self._has_warned = False

    def fit(self, fold: int, extra: ExtraRows | None = None) -> Head:
        """Fit the head for `fold` on all other folds and the extra rows."""
        with threadpool_limits(1, user_api="blas"):  # faster: the matrices are too small to share among threads
            return self.solver(self.folds != fold, self.choose(fold), extra, False)

    def choose(self, fold: int) -> float:
        """Choose the C of least inner log loss."""
        return min(self.inner_log_loss(fold), key=lambda pair: pair[1])[0]

    def inner_log_loss(self, fold: int) -> list[tuple[float, float]]:
        """(C, mean log loss) of inner cross-validation on the rows outside `fold`.

        With two folds there are no inner folds: the middle of the grid is returned, with NaN.
        """
        if len(self.grid) == 1:
            return [(self.grid[0], float("nan"))]
        others = [int(f) for f in np.unique(self.folds) if f != fold]
        if len(others) < 2:
            return [(self.grid[len(self.grid) // 2], float("nan"))]
        losses = sum(self._losses_without(*sorted((fold, other)))[other] for other in others)
        return list(zip(self.grid, (losses / (self.folds != fold).sum()).tolist(), strict=True))

    def history(self, fold: int) -> list[dict[str, float]]:
        """`inner_log_loss` as rows of log.csv."""
        return [{"regularisation": c, "inner_log_loss": loss} for c, loss in self.inner_log_loss(fold)]

    def _inner_losses(self, a: int, b: int) -> dict[int, NDArray[np.float64]]:
        """Summed log loss (len(grid),) on fold a and on fold b of heads fitted on the other folds."""
        rows = (self.folds != a) & (self.folds != b)
        heads = [self.solver(rows, c, None, True) for c in self.grid]
        return {fold: np.array([self._loss(head, fold) for head in heads]) for fold in (a, b)}

    def _loss(self, head: Head, fold: int) -> float:
        """Log loss summed over the rows of a fold, averaged over their views."""
        rows = self.folds == fold
        own = np.arange(rows.sum()), self.labels[rows]
        return float(-np.mean([log_softmax(head.logits(view[rows]), axis=-1)[own].sum() for view in self.views]))

    def _fit_sklearn(self, rows: NDArray[np.bool_], c: float, extra: ExtraRows | None, is_inner: bool) -> Head:
        views, labels = training_rows(self.views, self.labels, rows, extra)
        x, y = np.concatenate(views), np.tile(labels, len(views))
        weights = np.repeat([self.clean, *[1.0] * (len(views) - 1)], len(labels))
        weight = np.zeros((self.classes, x.shape[1]), np.float32)
        bias = np.full(self.classes, UNSEEN_BIAS, np.float32)
        if (seen := np.unique(y)).size == 1:
            bias[seen] = 0
            return Head(weight, bias, c)
        # C multiplies the summed loss: views of an image must not count as further images
        model = LogisticRegression(C=c / len(self.views), max_iter=MAX_ITER, tol=1e-5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # logged below, once
            model.fit(x, y, weights / weights.mean())
        if np.max(model.n_iter_) >= MAX_ITER and not self._has_warned:
            self._has_warned = True
            log.warning(
                "train: a head with regularisation %g has not converged in %d steps: leave large values out of "
                "training.regularisation if its log loss is poor", c, MAX_ITER,
            )  # fmt: skip
        if len(seen) == 2:  # sklearn fits one logit: half of it for each class
            weight[seen] = np.stack([-model.coef_[0] / 2, model.coef_[0] / 2])
            bias[seen] = [-model.intercept_[0] / 2, model.intercept_[0] / 2]
        else:
            weight[seen], bias[seen] = model.coef_, model.intercept_
        return Head(weight, bias, c)
