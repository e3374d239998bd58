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
        return discriminant(sums, c, sharpness)

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
        return [(*self._best_sharpness(sums, rows, c), c) for c in self.grid]

    def _best_sharpness(self, sums: Sums, rows: Labels, c: float) -> tuple[float, float]:
        """(log loss, sharpness) where the log loss of `rows`, averaged over their views, is least."""
        if not len(rows):  # each class has one row: there is nothing to choose by
            return 0.0, 1.0
        head, prior = discriminant(sums, c, 1.0), log_shares(sums.count)
        scores = [head.logits(view[rows]) - prior for view in self.views]

        def loss(power: float) -> float:
            return float(np.mean([log_loss_of(2.0**power * one + prior, self.labels[rows]) for one in scores]))

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
                np.add.at(total, labels[rows], weight * block)
        return Sums(np.bincount(labels[chosen], minlength=self.classes).astype(np.float64), total, gram)


def discriminant(sums: Sums, c: float, sharpness: float) -> Head:
    """Head of discriminants x·Σ⁻¹m - m·Σ⁻¹m / 2, times `sharpness`, and logarithms of the classes' shares.

    m: difference of a class' mean and that of all rows. Σ: covariance within the classes, shrunk by 1 / (1 + c).
    """
    seen, rows = np.flatnonzero(sums.count), sums.count.sum()
    features, centre = sums.total.shape[1], sums.total.sum(axis=0) / rows
    means = sums.total[seen] / sums.count[seen, None]
    within = (sums.gram - (means * sums.count[seen, None]).T @ means) / rows
    spread = np.trace(sums.gram / rows - np.outer(centre, centre)) if len(seen) == rows else np.trace(within)
    shrinkage = 1 / (1 + c)
    within *= 1 - shrinkage
    within[np.diag_indices(features)] += shrinkage * spread / features + np.finfo(np.float32).eps
    away = means - centre
    solved = cho_solve(cho_factor(within), away.T).T  # (seen, F)
    weight = np.zeros((len(sums.count), features), np.float32)
    bias = np.full(len(sums.count), UNSEEN_BIAS, np.float32)
    weight[seen] = sharpness * solved
    bias[seen] = -sharpness * (solved * (away / 2 + centre)).sum(axis=1) + log_shares(sums.count)[seen]
    return Head(weight, bias, c)


def log_shares(count: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of each class' share of the rows, (C,); 0 for a class without any."""
    return np.log(np.where(count > 0, count, count.sum()) / count.sum())


def log_loss_of(logits: NDArray[np.float64], truth: Labels) -> float:
    """Mean log loss of logits (N, C)."""
    top = logits.max(axis=1)
    return float(
        (np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top - logits[np.arange(len(truth)), truth]).mean()
    )
