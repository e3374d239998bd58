"""Linear heads with a column for each tag, number or step of an order: one-vs-rest logistic and ridge regression.

Each column has its own regularisation, chosen as in `head` by the inner loss on the other outer folds. The steps of an
order have one, and largely the same weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.optimize import minimize
from scipy.special import expit
from threadpoolctl import threadpool_limits

from kagglepipe.training.features import Features
from kagglepipe.training.head import ExtraRows, Head, Labels, training_rows
from kagglepipe.training.principal_axes import FTOL, FTOL_INNER, Rotated, rotate

Columns = NDArray[np.float64]  # (N, O), (O, F) or, of one value for each column, (O,)
Fit = tuple[Columns, Columns]  # weights (O, F) and biases (O,)


def fit_logistic(
    x: Features,
    y: Columns,
    weights: Columns,
    grid: Sequence[Columns],
    *,
    ftol: float = FTOL_INNER,
    deviation: float | None = None,
) -> list[Fit]:
    """Fit a binary logistic regression for each column of `y` (N, O), for each C (O,) of the grid, from small to large.

    All columns are minimised at once, from the solution of the C before. Each weight is scaled by its expected
    curvature, as in `linear`; rows `x` (N, F) should lie along principal axes and be centred. ftol: relative decrease
    of the loss at which L-BFGS stops. A column without both values has no weights, and the bias of Laplace's rule.
    deviation: see `precision_of_weights`; None: the penalty of each column is its own.
    """
    z, total = np.ascontiguousarray(x, np.float32), float(weights.sum())
    share = (weights @ y + 1) / (total + 2)
    varies = (y.min(axis=0) < y.max(axis=0))[:, None]
    precision = None if deviation is None else precision_of_weights(varies[:, 0], deviation)
    strength = np.ones((len(share), 1)) if precision is None else precision.diagonal()[:, None]
    weight, bias = np.zeros((y.shape[1], z.shape[1])), np.log(share / (1 - share))
    size = np.einsum("n,nf,nf->f", weights.astype(np.float32), z, z).astype(np.float64)
    curve = (share * (1 - share))[:, None]  # (O, 1)
    path = []
    for c in grid:
        scale = varies / np.sqrt(curve * size + strength / c[:, None])  # (O, F)
        steps = np.column_stack([scale, varies / np.sqrt(curve * total)])

        def objective(moved: Columns, c: Columns = c, steps: Columns = steps, start: Fit = (weight, bias)) -> Any:
            at = moved.reshape(steps.shape) * steps + np.column_stack(start)
            logits = (z @ at[:, :-1].T.astype(np.float32)).astype(np.float64) + at[:, -1]
            pull = (at[:, :-1] if precision is None else precision @ at[:, :-1]) / c[:, None]
            loss = weights @ log_losses(logits, y).sum(axis=1) + (pull * at[:, :-1]).sum() / 2
            residual = (expit(logits) - y) * weights[:, None]
            slope = (residual.T.astype(np.float32) @ z).astype(np.float64) + pull
            gradient = np.column_stack([slope, residual.sum(axis=0)]) * steps
            return loss / total, gradient.ravel() / total

        options = {"maxiter": 2000, "gtol": 1e-9, "ftol": ftol, "maxcor": 20}
        found = minimize(objective, np.zeros(steps.size), jac=True, method="L-BFGS-B", options=options).x
        moved = found.reshape(steps.shape) * steps
        weight, bias = weight + moved[:, :-1], bias + moved[:, -1]
        path.append((weight, bias))
    return path


def precision_of_weights(varies: NDArray[np.bool_], deviation: float) -> Columns:
    """Penalty A of weights W (O, F) that are similar, tr(Wᵀ A W) / 2C, (O, O). varies: which of them are fitted, (O,).

    Those of a column are a common part, penalised by |w|² / 2C, and a deviation of its own, by |d|² / 2C `deviation`.
    Of the steps of an order 0 makes a model of proportional odds, of which only the biases differ; infinitely many
    make independent questions. Evgeniou and Pontil 2004, "Regularized multi-task learning".
    """
    precision, count = np.eye(len(varies)), int(varies.sum())
    precision[np.ix_(varies, varies)] = np.linalg.inv(deviation * np.eye(count) + 1)
    return precision


def fit_ridge(x: Features, y: Columns, weights: Columns, grid: Sequence[Columns]) -> list[Fit]:
    """Fit a ridge regression of each column of `y` (N, O), for each C (O,) of the grid; its penalty is F / C.

    Hoerl and Kennard 1970, "Ridge regression: biased estimation for nonorthogonal problems". One eigendecomposition of
    the centred features' Gram matrix, or that of the rows where these are fewer, serves all penalties.
    """
    share = weights / weights.sum()
    centre, mean = share @ x.astype(np.float64), share @ y
    root = np.sqrt(weights)[:, None]
    a, b = (x - centre) * root, (y - mean) * root
    is_wide = a.shape[1] > a.shape[0]
    values, vectors = eigh(a @ a.T if is_wide else a.T @ a, driver="evd", overwrite_a=True, check_finite=False)
    projected = vectors.T @ (b if is_wide else a.T @ b)
    path = []
    for c in grid:
        solved = vectors @ (projected / (np.maximum(values, 0)[:, None] + x.shape[1] / c))
        weight = (a.T @ solved if is_wide else solved).T
        path.append((weight, mean - weight @ centre))
    return path


def log_losses(outputs: Columns, y: Columns) -> Columns:
    """Binary log loss of each cell from its logit, (N, O)."""
    return np.asarray(np.logaddexp(0, outputs) - y * outputs)


def squared_losses(outputs: Columns, y: Columns) -> Columns:
    """Squared error of each cell, (N, O)."""
    return np.asarray((outputs - y) ** 2)


def along_axes(x: Features) -> tuple[Rotated, Columns]:
    """Rows (N, F), centred and rotated to their principal axes, and their centre (F,)."""
    centre = x.mean(axis=0, dtype=np.float64)
    return rotate(x - centre.astype(np.float32)), centre


def fit_logistic_once(x: Features, y: Columns, weights: Columns, c: Columns, *, deviation: float | None = None) -> Fit:
    """Fit `fit_logistic` on rows as they are, (N, F), with one C (O,)."""
    rotated, centre = along_axes(x)
    [(weight, bias)] = fit_logistic(rotated.rows, y, weights, [c], ftol=FTOL, deviation=deviation)
    back = rotated.back(weight).astype(np.float64)
    return back, bias - back @ centre


def fit_ridge_once(x: Features, y: Columns, weights: Columns, c: Columns) -> Fit:
    """Fit `fit_ridge` with one C (O,)."""
    return fit_ridge(x, y, weights, [c])[0]


def ridge_grid(grid: Sequence[float]) -> list[float]:
    """Half decades from a tenth of the least C of a sorted grid to 10,000 times the largest; a single one stays.

    How little penalty is best depends on how exactly numbers follow from features. All values cost one decomposition.

    >>> len(ridge_grid([0.01, 0.1, 1.0, 10.0])), ridge_grid([0.5])
    (17, [0.5])
    """
    if len(grid) == 1:
        return list(grid)
    low, high = np.log10(grid[0]) - 1, np.log10(grid[-1]) + 4
    return np.logspace(low, high, round(2 * (high - low)) + 1).tolist()


@dataclass(frozen=True)
class Solver:
    """Fit of columns.

    prepare: all rows, views below one another, (V·N, F) -> rows that serve to choose C. path: fits of these for each C,
    from small to large. fit: rows as they are, one C for each column. losses: outputs and targets (N, O) -> (N, O).
    widen: sorted grid -> values of C to try. is_joint: whether all columns have one C.
    """

    prepare: Callable[[Features], Features]
    path: Callable[[Features, Columns, Columns, Sequence[Columns]], list[Fit]]
    fit: Callable[[Features, Columns, Columns, Columns], Fit]
    losses: Callable[[Columns, Columns], Columns]
    widen: Callable[[Sequence[float]], list[float]] = list
    is_joint: bool = False


DEVIATION = 0.1  # of the steps of an order: the least log loss among 0, 0.03, 0.1, 0.3, 1
LOGISTIC = Solver(lambda x: along_axes(x)[0].rows, fit_logistic, fit_logistic_once, log_losses)
STEPS = replace(
    LOGISTIC,
    path=partial(fit_logistic, deviation=DEVIATION),
    fit=partial(fit_logistic_once, deviation=DEVIATION),
    is_joint=True,
)
RIDGE = Solver(lambda x: x, fit_ridge, fit_ridge_once, squared_losses, ridge_grid)
SOLVERS = {"multilabel": LOGISTIC, "ordinal": STEPS, "regression": RIDGE}


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
        self.task, self.clean, self.solver = task, clean, SOLVERS[task]
        self.grid = self.solver.widen(sorted(grid))
        self._losses_without = cache(self._inner_losses)

    @cached_property
    def prepared(self) -> list[Features]:
        """Rows of each view by which C is chosen, (V, N, R)."""
        return np.split(self.solver.prepare(np.concatenate(self.views)), len(self.views))

    def fit(self, fold: int, extra: ExtraRows | None = None) -> Head:
        """Fit the head for `fold` on all other folds and the extra rows."""
        views, targets = training_rows(self.views, self.targets, self.folds != fold, extra)
        with threadpool_limits(1, user_api="blas"):
            c = np.array(self.grid)[self.choose(fold)]
            x, y, weights = np.concatenate(views), np.tile(targets, (len(views), 1)), self._weights(len(targets))
            weight, bias = self.solver.fit(x, y, weights, c)
        return Head(weight.astype(np.float32), bias.astype(np.float32), float(np.exp(np.log(c).mean())), self.task)

    def choose(self, fold: int) -> NDArray[np.intp]:
        """Choose the number in the grid of the C of least inner loss, for each column (O,) or all together."""
        losses = self._mean_losses(fold)
        if self.solver.is_joint:
            losses = np.broadcast_to(losses.mean(axis=1, keepdims=True), losses.shape)
        return np.asarray(losses.argmin(axis=0), np.intp)

    def history(self, fold: int) -> list[dict[str, float]]:
        """Mean inner loss over the columns for each C, as rows of log.csv; without inner folds the C taken, and NaN."""
        if not self._has_inner_folds(fold):
            return [{"regularisation": self.grid[len(self.grid) // 2], "inner_loss": np.nan}]
        means = self._mean_losses(fold).mean(axis=1).tolist()
        return [{"regularisation": c, "inner_loss": loss} for c, loss in zip(self.grid, means, strict=True)]

    def _has_inner_folds(self, fold: int) -> bool:
        """Whether there is a choice, and two other folds to make it by."""
        return len(self.grid) > 1 and len(np.unique(self.folds[self.folds != fold])) > 1

    def _mean_losses(self, fold: int) -> Columns:
        """Mean inner losses (G, O) on the rows outside `fold`; the least is in the middle without inner folds."""
        others = [int(f) for f in np.unique(self.folds) if f != fold]
        if not self._has_inner_folds(fold):
            steps = np.abs(np.arange(len(self.grid)) - len(self.grid) // 2).astype(np.float64)
            return np.repeat(steps[:, None], self.targets.shape[1], axis=1)
        total = sum(self._losses_without(*sorted((fold, other)))[other] for other in others)
        return np.asarray(total / (self.folds != fold).sum())

    def _inner_losses(self, a: int, b: int) -> dict[int, Columns]:
        """Summed losses (G, O) on fold a and on fold b of heads fitted on the other folds."""
        rows = (self.folds != a) & (self.folds != b)
        x = np.concatenate([view[rows] for view in self.prepared])
        y = np.tile(self.targets[rows], (len(self.views), 1))
        grid = [np.full(y.shape[1], c) for c in self.grid]
        with threadpool_limits(1, user_api="blas"):
            path = self.solver.path(x, y, self._weights(int(rows.sum())), grid)
        return {fold: np.stack([self._loss(*one, self.folds == fold) for one in path]) for fold in (a, b)}

    def _loss(self, weight: Columns, bias: Columns, rows: NDArray[np.bool_]) -> Columns:
        """Losses (O,) summed over rows, averaged over their views."""
        targets = self.targets[rows]
        found = [self.solver.losses(view[rows] @ weight.T + bias, targets).sum(axis=0) for view in self.prepared]
        return np.asarray(np.mean(found, axis=0))

    def _weights(self, rows: int) -> Columns:
        """Weights (V · rows,) whose sum is `rows`: views of an image do not count as further images."""
        weights = np.repeat([self.clean, *[1.0] * (len(self.views) - 1)], rows)
        return np.asarray(weights / weights.mean() / len(self.views))
