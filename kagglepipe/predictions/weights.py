"""What each member of an ensemble should count, fitted on out-of-fold predictions and never on the fold they judge.

Each method returns weights, a row (M,) for each set of folds that is left out: by default (K + 1, M), row k fitted on
all folds but k and the last on all rows. They are fitted together, so that what the folds share is computed once.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from kagglepipe.predictions.blend import SMALLEST, Stack, equal_weights
from kagglepipe.predictions.frame import Labels
from kagglepipe.predictions.gains import laplace_error
from kagglepipe.predictions.metrics import ROUNDED
from kagglepipe.predictions.softmax_fit import fit_softmax

FoldWeights = npt.NDArray[np.float64]  # (K + 1, M), or a row for each set of folds that is left out
LeftOut = Sequence[tuple[int, ...]]
STEPS = 100  # members drawn by hill climbing: weights are multiples of a hundredth or more
PATIENCE = 20  # steps without a gain after which it ends
ROUNDING = 1e-6  # of a mean of float32 logarithms: what is less is no gain


def hill_climb(
    stack: Stack, truth: Labels, folds: Labels, without: LeftOut | None = None, groups: Labels | None = None
) -> FoldWeights:
    """Weights of the greedy ensemble: again and again the member that lowers log loss most is added, with replacement.

    Of all the ensembles on the way the best is taken. Caruana, Niculescu-Mizil, Crew and Ksikes 2004, "Ensemble
    selection from libraries of models". Only the probability of the true class matters for log loss of a mean.

    stack: (M, N, C). truth: class indices (N,). folds: 0 … K - 1, (N,). without: the sets of folds that are left out,
    one for each row of weights; None: each fold, then none. groups: of the rows (N,), which only `logistic` asks for.

    >>> stack = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.5, 0.5], [0.5, 0.5]]])
    >>> hill_climb(stack, np.array([0, 1]), np.array([0, 1]))[-1]
    array([1., 0.])
    """
    own = np.stack([member[np.arange(len(truth)), truth] for member in stack])  # (M, N)
    own = np.maximum(own, ROUNDED).astype(np.float32)
    return np.stack([_climb(own.take(rows, axis=1)) for rows in _training_rows(folds, without)])


def nnls(
    stack: Stack, truth: Labels, folds: Labels, without: LeftOut | None = None, groups: Labels | None = None
) -> FoldWeights:
    """Weights whose weighted mean is nearest to one-hot targets in squares, none negative, scaled to sum to 1.

    Breiman 1996, "Stacked regressions". Everything needed is in the members' products, which add up over folds.

    >>> stack = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.5, 0.5], [0.5, 0.5]]])
    >>> nnls(stack, np.array([0, 1]), np.array([0, 1]))[-1]
    array([1., 0.])
    """
    products, hits = [], []
    for fold in range(int(folds.max()) + 1):
        rows = np.flatnonzero(folds == fold)
        part = stack.take(rows, axis=1)  # (M, n, C)
        flat = part.reshape(len(stack), -1)
        products.append(flat @ flat.T)
        hits.append(part[:, np.arange(part.shape[1]), truth[rows]].sum(axis=1))
    grams, sums = np.array(products), np.array(hits)
    kept = [[fold for fold in range(len(grams)) if fold not in left] for left in _left_out(folds, without)]
    return np.stack([_solve_nnls(grams[some].sum(axis=0), sums[some].sum(axis=0)) for some in kept])


def logistic(
    stack: Stack, truth: Labels, folds: Labels, without: LeftOut | None = None, groups: Labels | None = None
) -> FoldWeights:
    """Weights of the log-linear pool by log loss, none negative; they need not sum to 1: see `geometric_mean`.

    Labels are smoothed as Platt does, by `gains.laplace_error` of the groups. A normal prior draws each weight to 1 / M
    with standard deviation 1 / sqrt(M), which settles what few groups cannot tell.
    Wolpert 1992, "Stacked generalization", with one weight a member for all classes, so that few rows are enough.

    >>> stack = np.array([[[0.6, 0.4], [0.4, 0.6]], [[0.5, 0.5], [0.5, 0.5]]])
    >>> weights = logistic(stack, np.array([0, 1]), np.array([0, 1]))[-1]
    >>> bool(weights[0] > weights[1])
    True
    """
    members = len(stack)
    logs = np.empty(stack.shape, np.float32)
    for number, member in enumerate(stack):
        np.log(np.maximum(member, SMALLEST), out=logs[number], casting="same_kind")
    fits = []
    for rows in _training_rows(folds, without):
        use = np.zeros(len(truth), np.bool_)
        use[rows] = True
        count = len(rows) if groups is None else len(np.unique(groups[rows]))
        centre, pull = equal_weights(members), members / count
        fits.append(
            fit_softmax(logs, truth, centre=centre, pull=pull, floor=0.0, use=use, label_smoothing=laplace_error(count))
        )
    return np.stack(fits)


class Fit(Protocol):
    """Weights (len(without), M), as `hill_climb` tells."""

    def __call__(
        self, stack: Stack, truth: Labels, folds: Labels, without: LeftOut | None = None, groups: Labels | None = None
    ) -> FoldWeights:
        """See `hill_climb`."""


FITTED: dict[str, Fit] = {
    "hill_climb": hill_climb,
    "nnls": nnls,
    "logistic": logistic,
}


def _left_out(folds: Labels, without: LeftOut | None) -> LeftOut:
    """What is left out of each fit: each fold, then none, if nothing else is asked for."""
    return [*((fold,) for fold in range(int(folds.max()) + 1)), ()] if without is None else without


def _training_rows(folds: Labels, without: LeftOut | None) -> list[Labels]:
    """The rows that each fit is of."""
    return [np.flatnonzero(~np.isin(folds, left)) for left in _left_out(folds, without)]


def _climb(own: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Shares (M,) by hill climbing on the true class' probabilities (M, n)."""
    counts = np.zeros(len(own), np.intp)
    total, sums = np.zeros(own.shape[1], np.float32), np.empty(own.shape[1], np.float32)
    best_loss, best, since = np.inf, counts.copy(), 0
    for step in range(1, STEPS + 1):
        losses = [_mean_loss(np.add(total, member, out=sums), step) for member in own]
        chosen = int(np.argmin(losses))
        counts[chosen] += 1
        total += own[chosen]
        since += 1
        if losses[chosen] < best_loss - ROUNDING:
            best_loss, best, since = losses[chosen], counts.copy(), 0
        if since == PATIENCE:
            break
    return best / best.sum()


def _mean_loss(sums: npt.NDArray[np.float32], members: int) -> float:
    """The mean log loss of `sums` / members, (n,), which are overwritten.

    Logarithms cost most of hill climbing: one of a product stands for those of four rows, which float32 can hold.
    """
    quarter = len(sums) // 4
    fours = sums[: 4 * quarter].reshape(4, quarter)
    np.multiply(fours[0], fours[1], out=fours[0])
    np.multiply(fours[2], fours[3], out=fours[2])
    logs = np.log(fours[0] * fours[2]).sum(dtype=np.float64) + np.log(sums[4 * quarter :]).sum(dtype=np.float64)
    return math.log(members) - float(logs) / len(sums)


def _solve_nnls(gram: npt.NDArray[np.float64], hits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Shares (M,) that minimise w·gram·w − 2 w·hits, none negative; Lawson and Hanson 1974, by scipy.

    Members that say the same have a singular gram: a billionth on its diagonal shares the weight among them.
    """
    from scipy.optimize import nnls as lawson_hanson

    steady = gram + 1e-9 * np.trace(gram) / len(gram) * np.eye(len(gram))
    root = np.linalg.cholesky(steady)  # gram = root · rootᵀ
    weights = lawson_hanson(root.T, np.linalg.solve(root, hits))[0]
    return weights / weights.sum() if weights.sum() > 0 else equal_weights(len(gram))
