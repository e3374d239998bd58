"""Linear heads with a column for each tag, number or step of an order: one-vs-rest logistic and ridge regression.

Each column has its own regularisation, chosen as in `head` by the inner loss on the other outer folds.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from kagglepipe.training.features import Features
from kagglepipe.training.head import MAX_ITER, ExtraRows, Head, Labels

Columns = NDArray[np.float64]  # (N, O)
Path = list[tuple[NDArray[np.float64], NDArray[np.float64]]]  # weights (O, F) and biases (O,) of each value of C


def fit_logistic(x: Features, y: Columns, weights: NDArray[np.float64], grid: Sequence[float]) -> Path:
    """Fit a binary logistic regression for each column of `y` (N, O), for each C of the grid."""
    path = [(np.zeros((y.shape[1], x.shape[1])), np.zeros(y.shape[1])) for _ in grid]
    for column in range(y.shape[1]):
        own = y[:, column] > 0.5
        if own.all() or not own.any():  # nothing to tell apart: the share, smoothed by Laplace's rule
            for _, bias in path:
                bias[column] = np.log((own.sum() + 1) / (len(own) - own.sum() + 1))
            continue
        model = LogisticRegression(max_iter=MAX_ITER, tol=1e-4, warm_start=True)
        for number, c in enumerate(grid):
            model.set_params(C=c).fit(x, own, weights)
            path[number][0][column], path[number][1][column] = model.coef_[0], model.intercept_[0]
    return path


def fit_ridge(x: Features, y: Columns, weights: NDArray[np.float64], grid: Sequence[float]) -> Path:
    """Fit a ridge regression of each column of `y` (N, O), for each C of the grid; its penalty is F / C.

    Hoerl and Kennard 1970, "Ridge regression: biased estimation for nonorthogonal problems". One eigendecomposition of
    the centred features' Gram matrix serves all penalties.
    """
    share = weights / weights.sum()
    centre, mean = share @ x.astype(np.float64), share @ y
    root = np.sqrt(weights)[:, None]
    a, b = (x - centre) * root, (y - mean) * root
    wide = a.shape[1] > a.shape[0]  # fewer rows than features: the Gram matrix of the rows is smaller
    values, vectors = np.linalg.eigh(a @ a.T if wide else a.T @ a)
    projected = vectors.T @ (b if wide else a.T @ b)
    path = []
    for c in grid:
        solved = vectors @ (projected / (np.maximum(values, 0) + x.shape[1] / c)[:, None])
        weight = ((a.T @ solved) if wide else solved).T  # (O, F)
        path.append((weight, mean - weight @ centre))
    return path


def log_losses(outputs: Columns, y: Columns) -> Columns:
    """Binary log loss of each cell from its logit, (N, O)."""
    return np.asarray(np.logaddexp(0, outputs) - y * outputs)


def squared_losses(outputs: Columns, y: Columns) -> Columns:
    """Squared error of each cell, (N, O)."""
    return np.asarray((outputs - y) ** 2)


SOLVERS: dict[str, tuple[Callable[..., Path], Callable[[Columns, Columns], Columns]]] = {
    "multilabel": (fit_logistic, log_losses),
    "ordinal": (fit_logistic, log_losses),
    "regression": (fit_ridge, squared_losses),
}


class ColumnHeadFitter:
    """Fit one head per fold on features that all folds share; as `head.HeadFitter`, with targets in columns.

    views: features of each view of the training rows, the clean view first, (V, N, F). targets: (N, O). folds: (N,).
    grid: candidates for C. clean: sample weight of the clean view, relative to 1 for each other view. task: of SOLVERS.
    """

    def __init__(
        self,
        views: Sequence[Features],
        targets: NDArray[Any],
        folds: Labels,
        *,
        task: str,
        grid: Sequence[float],
        clean: float = 1.0,
    ) -> None:
        self.views, self.targets, self.folds = list(views), targets.astype(np.float64), folds
        self.task, self.grid, self.clean = task, sorted(grid), clean
        self.solve, self.losses = SOLVERS[task]
        self._losses_without = cache(self._inner_losses)

    def fit(self, fold: int, extra: ExtraRows | None = None) -> Head:
        """Fit the head for `fold` on all other folds and the extra rows."""
        with threadpool_limits(1, user_api="blas"):
            chosen = self.choose(fold)
            path = self._path(self.folds != fold, extra)
        columns = np.arange(len(chosen))
        weights, biases = (np.stack(parts) for parts in zip(*path, strict=True))  # (G, O, F), (G, O)
        weight, bias = weights[chosen, columns], biases[chosen, columns]
        c = float(np.exp(np.log(np.array(self.grid)[chosen]).mean()))
        return Head(weight.astype(np.float32), bias.astype(np.float32), c, self.task)

    def choose(self, fold: int) -> NDArray[np.intp]:
        """Choose the number in the grid of the C of least inner loss, for each column (O,)."""
        return np.asarray(self._mean_losses(fold).argmin(axis=0), np.intp)

    def history(self, fold: int) -> list[dict[str, float]]:
        """Mean inner loss over the columns for each C, as rows of log.csv."""
        means = self._mean_losses(fold).mean(axis=1).tolist()
        return [{"regularisation": c, "inner_log_loss": loss} for c, loss in zip(self.grid, means, strict=True)]

    def _mean_losses(self, fold: int) -> NDArray[np.float64]:
        """Mean inner losses (G, O) on the rows outside `fold`; the least is in the middle without inner folds."""
        others = [int(f) for f in np.unique(self.folds) if f != fold]
        if len(self.grid) == 1 or len(others) < 2:
            steps = np.abs(np.arange(len(self.grid)) - len(self.grid) // 2).astype(np.float64)
            return np.repeat(steps[:, None], self.targets.shape[1], axis=1)
        total = sum(self._losses_without(*sorted((fold, other)))[other] for other in others)
        return np.asarray(total / (self.folds != fold).sum())

    def _inner_losses(self, a: int, b: int) -> dict[int, NDArray[np.float64]]:
        """Summed losses (G, O) on fold a and on fold b of heads fitted on the other folds."""
        path = self._path((self.folds != a) & (self.folds != b), None)
        return {fold: np.stack([self._loss(*one, self.folds == fold) for one in path]) for fold in (a, b)}

    def _loss(self, weight: Columns, bias: NDArray[np.float64], rows: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Losses (O,) summed over rows, averaged over their views."""
        found = [self.losses(view[rows] @ weight.T + bias, self.targets[rows]).sum(axis=0) for view in self.views]
        return np.asarray(np.mean(found, axis=0))

    def _path(self, rows: NDArray[np.bool_], extra: ExtraRows | None) -> Path:
        views, targets = [view[rows] for view in self.views], self.targets[rows]
        if extra is not None:
            views = [np.concatenate(pair) for pair in zip(views, extra.views, strict=True)]
            targets = np.concatenate([targets, extra.labels])
        weights = np.repeat([self.clean, *[1.0] * (len(views) - 1)], len(targets))
        weights = weights / weights.mean() / len(views)  # views of an image do not count as further images
        return self.solve(np.concatenate(views), np.tile(targets, (len(views), 1)), weights, self.grid)
