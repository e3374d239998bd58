"""The linear head: multinomial logistic regression on frozen features, its regularisation chosen inside.

How strongly to regularise is chosen, for each fold, by log loss on the other folds of its own training rows, on all
their views: what holds on augmented photos is more likely to hold on photos from elsewhere. These
inner folds are the outer ones: group-disjoint already, and a fit without folds a and b serves both a and b.
"""

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from kagglepipe.training.features import Features

log = logging.getLogger(__name__)
MOST_STEPS = 1000  # of the optimiser of one head
Labels = NDArray[np.int64]
UNSEEN = -1e4  # the bias of a class that a head has not seen: no probability, and a finite loss


@dataclass(frozen=True)
class Head:
    """weight (classes, F) and bias (classes,) of logits = features · weightᵀ + bias; C as chosen."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    regularisation: float

    def logits(self, features: Features) -> NDArray[np.float64]:
        """(N, F) -> (N, classes)"""
        return features.astype(np.float64) @ self.weight.T.astype(np.float64) + self.bias


@dataclass(frozen=True)
class Labelled:
    """Rows that every inner fold leaves alone: features of each of their views, (V, M, F), and labels (M,)."""

    views: Sequence[Features]
    labels: Labels


class HeadFitter:
    """Fits heads fold by fold on features that all folds share.

    views: features of each view of the training rows, the clean view first: (V, N, F). labels (N,), folds (N,).
    grid: the values of C to choose from. clean: what the clean view weighs beside each of the others.
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
    ) -> None:
        self.views, self.labels, self.folds, self.clean = list(views), labels, folds, clean
        self.grid, self.classes = sorted(grid), classes
        self._losses_without = cache(self._inner_losses)
        self.is_unsettled = False  # whether a head has not converged, which is said once

    def fit(self, fold: int, more: Labelled | None = None) -> Head:
        """The head for `fold`, trained on every other fold; more: and on these rows, by which C is not chosen."""
        with threadpool_limits(1, user_api="blas"):  # matrices this small cost more to share out than to multiply
            return self._fit(self.folds != fold, self.choose(fold), more)

    def choose(self, fold: int) -> float:
        """The C of least inner log loss."""
        return min(self.inner_log_loss(fold), key=lambda pair: pair[1])[0]

    def inner_log_loss(self, fold: int) -> list[tuple[float, float]]:
        """(C, mean log loss over the rows outside `fold` and their views, by heads that saw none of a row's).

        With two folds there is nothing to choose by: the middle of the grid is returned, with NaN.
        """
        if len(self.grid) == 1:
            return [(self.grid[0], float("nan"))]
        others = [int(f) for f in np.unique(self.folds) if f != fold]
        if len(others) < 2:
            return [(self.grid[len(self.grid) // 2], float("nan"))]
        losses = sum(self._losses_without(*sorted((fold, other)))[other] for other in others)
        return list(zip(self.grid, (losses / (self.folds != fold).sum()).tolist(), strict=True))

    def _inner_losses(self, a: int, b: int) -> dict[int, NDArray[np.float64]]:
        """For each C, the summed log loss on fold a and on fold b of a head that saw neither."""
        rows = (self.folds != a) & (self.folds != b)
        heads = [self._fit(rows, c) for c in self.grid]
        return {fold: np.array([self._loss(head, fold) for head in heads]) for fold in (a, b)}

    def _loss(self, head: Head, fold: int) -> float:
        """Summed over the rows of a fold, each the mean over its views: photos from elsewhere are like any of them."""
        rows = self.folds == fold
        own = np.arange(rows.sum()), self.labels[rows]
        return float(-np.mean([log_softmax(head.logits(view[rows]))[own].sum() for view in self.views]))

    def _fit(self, rows: NDArray[np.bool_], c: float, more: Labelled | None = None) -> Head:
        views, labels = [view[rows] for view in self.views], self.labels[rows]
        if more is not None:
            views = [np.concatenate(pair) for pair in zip(views, more.views, strict=True)]
            labels = np.concatenate([labels, more.labels])
        x, y = np.concatenate(views), np.tile(labels, len(views))
        weights = np.repeat([self.clean, *[1.0] * (len(views) - 1)], len(labels))
        weight = np.zeros((self.classes, x.shape[1]), np.float32)
        bias = np.full(self.classes, UNSEEN, np.float32)
        if (seen := np.unique(y)).size == 1:  # nothing to tell apart
            bias[seen] = 0
            return Head(weight, bias, c)
        # C weighs the data term by the number of rows: views are looks at one image, not more images
        model = LogisticRegression(C=c / len(self.views), max_iter=MOST_STEPS, tol=1e-5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # said below, once
            model.fit(x, y, weights / weights.mean())
        if np.max(model.n_iter_) >= MOST_STEPS and not self.is_unsettled:
            self.is_unsettled = True
            log.warning(
                "train: a head with regularisation %g has not converged in %d steps: leave large values out of "
                "training.regularisation if its log loss is poor", c, MOST_STEPS,
            )  # fmt: skip
        if len(model.classes_) == 2:  # one logit for two classes: shared between them
            weight[seen] = np.stack([-model.coef_[0] / 2, model.coef_[0] / 2])
            bias[seen] = [-model.intercept_[0] / 2, model.intercept_[0] / 2]
        else:
            weight[model.classes_], bias[model.classes_] = model.coef_, model.intercept_
        return Head(weight, bias, c)


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithms of the softmax over the last axis, stable for any finite logits."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    logarithms: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return logarithms


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities over the last axis."""
    return np.exp(log_softmax(logits))
