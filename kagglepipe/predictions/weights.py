"""Weights of ensemble members, fitted on out-of-fold predictions.

Arguments of each method: stack: (M, N, C). truth: class indices (N,). folds: 0 … K - 1, (N,). without: the sets of
folds left out, one for each row of weights that is returned; None: each fold, then none, (K + 1, M). groups: of the
rows (N,), used only by `logistic`.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from kagglepipe.predictions.blend import LOG_FLOOR, Stack, equal_weights
from kagglepipe.predictions.frame import Labels
from kagglepipe.predictions.metrics import ROUNDED
from kagglepipe.predictions.softmax_fit import fit_softmax
from kagglepipe.predictions.uncertainty import laplace_error

FoldWeights = npt.NDArray[np.float64]  # (K + 1, M), or a row for each set of folds left out
LeftOut = Sequence[tuple[int, ...]]
MAX_STEPS = 100  # of hill climbing: weights are multiples of 1/100 or more
PATIENCE = 20  # steps without a gain after which it ends
MIN_GAIN = 1e-6  # of a mean of float32 logarithms; less is rounding


def hill_climb(
    stack: Stack, truth: Labels, folds: Labels, without: LeftOut | None = None, groups: Labels | None = None
) -> FoldWeights:
    """Greedy ensemble selection with replacement: add the member that lowers log loss most, keep the best ensemble.

    Caruana, Niculescu-Mizil, Crew and Ksikes 2004, "Ensemble selection from libraries of models".

    >>> stack = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.5, 0.5], [0.5, 0.5]]])
    >>> hill_climb(stack, np.array([0, 1]), np.array([0, 1]))[-1]
    array([1., 0.])
    """
    own = np.stack([member[np.arange(len(truth)), truth] for member in stack])  # (M, N), all that log loss needs
    own = np.maximum(own, ROUNDED).astype(np.float32)
    return np.stack([_climb(own.take(rows, axis=1)) for rows in _training_rows(folds, without)])


def nnls(
    stack: Stack, truth: Labels, folds: Labels, without: LeftOut | None = None, groups: Labels | None = None
) -> FoldWeights:
    """Non-negative least squares of the weighted mean to one-hot targets, weights scaled to sum to 1.

    Breiman 1996, "Stacked regressions".
    """
    products, hits = [], []
    for fold in range(int(folds.max()) + 1):
        rows = np.flatnonzero(folds == fold)
        part = stack.take(rows, axis=1)  # (M, n, C)
        flat = part.reshape(len(stack), -1)
        products.append(flat @ flat.T)
        hits.append(part[:, np.arange(part.shape[1]), truth[rows]].sum(axis=1))
    grams, sums = np.array(products), np.array(hits)  # (K, M, M), (K, M)
    kept = [[fold for fold in range(len(grams)) if fold not in left] for left in left_out(folds, without)]
    return np.stack([solve_nnls(grams[some].sum(axis=0), sums[some].sum(axis=0)) for some in kept])


def logistic(
    stack: Stack, truth: Labels, folds: Labels, without: LeftOut | None = None, groups: Labels | None = None
) -> FoldWeights:
    """Stacking by logistic regression: non-negative weights of `geometric_mean` that minimise log loss.

    They need not sum to 1. Labels are smoothed by `laplace_error` of the groups, and a normal prior draws each weight
    to 1 / M with standard deviation 1 / sqrt(M). Wolpert 1992, "Stacked generalization".
    """
    logs = np.empty(stack.shape, np.float32)
    for number, member in enumerate(stack):
        np.log(np.maximum(member, LOG_FLOOR), out=logs[number], casting="same_kind")
    centre, fits = equal_weights(len(stack)), []
    for rows in _training_rows(folds, without):
        use = np.zeros(len(truth), np.bool_)
        use[rows] = True
        count = len(rows) if groups is None else len(np.unique(groups[rows]))
        penalty, smoothing = len(stack) / count, laplace_error(count)
        fits.append(
            fit_softmax(logs, truth, centre=centre, penalty=penalty, floor=0.0, use=use, label_smoothing=smoothing)
        )
    return np.stack(fits)


FITTED: dict[str, Callable[..., FoldWeights]] = {"hill_climb": hill_climb, "nnls": nnls, "logistic": logistic}


def left_out(folds: Labels, without: LeftOut | None) -> LeftOut:
    """Return `without`; if None, each of the K folds of the rows (N,), then none: K + 1 sets."""
    return [*((fold,) for fold in range(int(folds.max()) + 1)), ()] if without is None else without


def _training_rows(folds: Labels, without: LeftOut | None) -> list[Labels]:
    """List the numbers (n,) of the rows that are not in each set of folds left out. folds: of the rows (N,)."""
    return [np.flatnonzero(~np.isin(folds, left)) for left in left_out(folds, without)]


def _climb(own: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Weights (M,) by hill climbing on the true class' probabilities (M, n)."""
    counts = np.zeros(len(own), np.intp)
    total, sums = np.zeros(own.shape[1], np.float32), np.empty(own.shape[1], np.float32)
    best_loss, best, since = np.inf, counts.copy(), 0
    for step in range(1, MAX_STEPS + 1):
        losses = [_mean_loss(np.add(total, member, out=sums), step) for member in own]
        chosen = int(np.argmin(losses))
        counts[chosen] += 1
        total += own[chosen]
        since += 1
        if losses[chosen] < best_loss - MIN_GAIN:
            best_loss, best, since = losses[chosen], counts.copy(), 0
        if since == PATIENCE:
            break
    return best / best.sum()


def _mean_loss(sums: npt.NDArray[np.float32], members: int) -> float:
    """Mean log loss of `sums` / members, (n,), overwriting `sums`."""
    quarter = len(sums) // 4  # one logarithm is taken of the product of four rows, which float32 can hold: it is faster
    fours = sums[: 4 * quarter].reshape(4, quarter)
    np.multiply(fours[0], fours[1], out=fours[0])
    np.multiply(fours[2], fours[3], out=fours[2])
    logs = np.log(fours[0] * fours[2]).sum(dtype=np.float64) + np.log(sums[4 * quarter :]).sum(dtype=np.float64)
    return math.log(members) - float(logs) / len(sums)


def solve_nnls(gram: npt.NDArray[np.float64], hits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Weights (M,) that minimise w·gram·w − 2 w·hits, none negative, scaled to sum to 1."""
    from scipy.optimize import nnls as scipy_nnls

    # identical members have a singular gram: a billionth on its diagonal shares the weight among them
    steady = gram + 1e-9 * np.trace(gram) / len(gram) * np.eye(len(gram))
    root = np.linalg.cholesky(steady)  # gram = root · rootᵀ
    weights = scipy_nnls(root.T, np.linalg.solve(root, hits))[0]
    return weights / weights.sum() if weights.sum() > 0 else equal_weights(len(gram))
