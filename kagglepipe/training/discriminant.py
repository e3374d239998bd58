"""Linear head for many classes: linear discriminant analysis on frozen features, in closed form.

Logistic regression of 5,000 classes on 100,000 × 1,280 features takes half a minute an iteration on two cores, and
hundreds of iterations for each C and fold. Discriminant analysis needs sums of the features of each class, their Gram
matrix (F, F) and one solution of F equations. Hastie, Tibshirani and Friedman 2009,
"The Elements of Statistical Learning", section 4.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize_scalar
from scipy.sparse import csr_array

from kagglepipe.predictions.top_classes import row_blocks
from kagglepipe.training.features import Features
from kagglepipe.training.head import UNSEEN_BIAS, ExtraRows, Head, Labels

ROWS_AT_ONCE = 8192
CHECKED_ROWS = 2000  # that choose shrinkage and sharpness
SHARPNESS = (-8.0, 1.0)  # binary logarithms of the factor of the discriminants: a few rows a class make them too large


@dataclass(frozen=True)
class Sums:
    """Weighted sums over rows: their number (C,), features (C, F) and products of features (F, F)."""

    count: NDArray[np.float64]
    total: NDArray[np.float64]
    gram: NDArray[np.float64]

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(self.count + other.count, self.total + other.total, self.gram + other.gram)


class DiscriminantFitter:
    """Fits one head per fold on features that all folds share. Arguments and methods as of `HeadFitter`.

    grid: of C, where the covariance is shrunk by 1 / (1 + C) towards a multiple of the identity. C and the sharpness of
    the probabilities have the least log loss on rows of the next fold, by a head that has seen neither fold.
    """

    def __init__(
        self, views: Sequence[Features], labels: Labels, folds: Labels, *, grid: Sequence[float], classes: int,
        clean: float = 1.0,
    ) -> None:  # fmt: skip
        self.views, self.labels, self.folds = list(views), labels, folds
        self.grid, self.classes = sorted(grid), classes
        weights = np.array([clean, *[1.0] * (len(self.views) - 1)])
        self.weights = weights / weights.sum()
        self.sums_of_fold = cache(lambda fold: self._sums(self.views, labels, self.folds == fold))
        self.losses = cache(self._losses)

    def fit(self, fold: int, extra: ExtraRows | None = None) -> Head:
        """Fit the head for `fold` on all other folds and the extra rows."""
        _, sharpness, c = min(self.losses(fold))
        sums = self._sums_without(fold)
        if extra is not None:
            sums = sums + self._sums(extra.views, extra.labels, np.ones(len(extra.labels), bool))
        return Discriminants(sums).head(c, sharpness)

    def history(self, fold: int) -> list[dict[str, float]]:
        """Inner log loss of each C, as rows of log.csv."""
        return [
            {"regularisation": c, "sharpness": sharpness, "inner_log_loss": loss}
            for loss, sharpness, c in self.losses(fold)
        ]

    def _losses(self, fold: int) -> list[tuple[float, float, float]]:
        """(inner log loss, best sharpness, C) for each C."""
        others = [int(one) for one in np.unique(self.folds) if one != fold]
        if len(others) > 1:
            inner = next((one for one in others if one > fold), others[0])
            sums, rows = self._sums_without(fold, inner), np.flatnonzero(self.folds == inner)
        else:  # two folds: every fifth row of the other one
            is_inner = (self.folds != fold) & (np.cumsum(self.folds != fold) % 5 == 0)
            sums, rows = self._sums(self.views, self.labels, (self.folds != fold) & ~is_inner), np.flatnonzero(is_inner)
        rows = rows[sums.count[self.labels[rows]] > 0]  # a class that is not seen has no finite loss
        rows = rows[:: max(1, len(rows) // CHECKED_ROWS)]
        if not len(rows):  # each class has one row: there is nothing to choose by
            return [(0.0, 1.0, c) for c in self.grid]
        discriminants = Discriminants(sums)
        return [(*self._best_sharpness(discriminants.head(c, 1.0), sums, rows), c) for c in self.grid]

    def _best_sharpness(self, head: Head, sums: Sums, rows: Labels) -> tuple[float, float]:
        """(log loss, sharpness) where the log loss of `rows`, averaged over their views, is least."""
        prior = log_shares(sums.count).astype(np.float32)
        scores = [view[rows].astype(np.float32) @ head.weight.T + (head.bias - prior) for view in self.views]

        def loss(power: float) -> float:
            return float(np.mean([log_loss_of(one, 2.0**power, prior, self.labels[rows]) for one in scores]))

        best = minimize_scalar(loss, bounds=SHARPNESS, method="bounded", options={"xatol": 0.05})
        return float(best.fun), float(2.0**best.x)

    def _sums_without(self, *folds: int) -> Sums:
        kept = [int(one) for one in np.unique(self.folds) if one not in folds]
        found = self.sums_of_fold(kept[0])
        for one in kept[1:]:
            found = found + self.sums_of_fold(one)
        return found

    def _sums(self, views: Sequence[Features], labels: Labels, mask: NDArray[np.bool_]) -> Sums:
        """Sums over the rows of a mask (N,); an image counts once, whatever its views."""
        chosen, features = np.flatnonzero(mask), views[0].shape[1]
        total, gram = np.zeros((self.classes, features)), np.zeros((features, features))
        for view, weight in zip(views, self.weights, strict=True):
            for start in range(0, len(chosen), ROWS_AT_ONCE):
                rows = chosen[start : start + ROWS_AT_ONCE]
                block = view[rows].astype(np.float32)
                gram += weight * (block.T @ block)
                seen, of_row = np.unique(labels[rows], return_inverse=True)
                members = csr_array((np.full(len(rows), weight), (of_row, np.arange(len(rows)))))
                total[seen] += members @ block
        return Sums(np.bincount(labels[chosen], minlength=self.classes).astype(np.float64), total, gram)


class Discriminants:
    """Linear discriminants of the classes that have rows, for any C."""

    def __init__(self, sums: Sums) -> None:
        self.count, self.seen, rows = sums.count, np.flatnonzero(sums.count), sums.count.sum()
        size = sums.count[self.seen, None]
        means, self.centre = sums.total[self.seen] / size, sums.total.sum(axis=0) / rows
        self.away, scaled = means - self.centre, means * np.sqrt(size)
        self.within = (sums.gram - scaled.T @ scaled) / rows  # a matrix times its transpose takes half of a product
        centred = sums.gram / rows - np.outer(self.centre, self.centre)
        self.spread = np.trace(centred if len(self.seen) == rows else self.within) / len(self.centre)

    def head(self, c: float, sharpness: float) -> Head:
        """Head of discriminants x·Σ⁻¹m - m·Σ⁻¹m / 2, times `sharpness`, and logarithms of the classes' shares.

        m: difference of a class' mean and that of all rows. Σ: covariance within the classes, shrunk by 1 / (1 + c).
        """
        shrinkage = 1 / (1 + c)
        shrunk = (1 - shrinkage) * self.within
        shrunk[np.diag_indices(len(shrunk))] += shrinkage * self.spread + np.finfo(np.float32).eps
        solved = cho_solve(cho_factor(shrunk, overwrite_a=True), self.away.T).T  # (seen, F)
        weight = np.zeros((len(self.count), len(shrunk)), np.float32)
        bias = np.full(len(self.count), UNSEEN_BIAS, np.float32)
        weight[self.seen] = sharpness * solved
        offset = (solved * (self.away / 2 + self.centre)).sum(axis=1)
        bias[self.seen] = log_shares(self.count)[self.seen] - sharpness * offset
        return Head(weight, bias, c)


def log_shares(count: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of each class' share of the rows, (C,); 0 for a class without any."""
    return np.log(np.where(count > 0, count, count.sum()) / count.sum())


def log_loss_of(scores: NDArray[np.float32], sharpness: float, prior: NDArray[np.float32], truth: Labels) -> float:
    """Mean log loss of the logits sharpness · scores (N, C) + prior (C,), a few rows at a time."""
    loss = 0.0
    for rows in row_blocks(len(scores)):
        logits = np.float32(sharpness) * scores[rows]
        logits += prior
        logits -= logits.max(axis=1, keepdims=True)
        own = logits[np.arange(len(logits)), truth[rows]]
        loss += float((np.log(np.exp(logits, out=logits).sum(axis=1)) - own).sum(dtype=np.float64))
    return loss / len(scores)
