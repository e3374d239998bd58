"""Weights of members that predict numbers, fitted on out-of-fold predictions by squared error.

Arguments as in `weights`, with the truth (N, C) of numbers. Weights sum to 1, so that all that the squared error of a
blend depends on are the products of the members' errors, which sum over folds.
"""

import numpy as np
import numpy.typing as npt

from kagglepipe.competitions.targets import Truth
from kagglepipe.predictions.blend import Stack
from kagglepipe.predictions.frame import Labels
from kagglepipe.predictions.weights import MAX_STEPS, PATIENCE, FoldWeights, LeftOut, left_out, solve_nnls

Gram = npt.NDArray[np.float64]  # (M, M)
LEAST_GAIN = 1e-9  # of the squared error, as a share of it; less is rounding


def hill_climb(
    stack: Stack, truth: Truth, folds: Labels, without: LeftOut | None = None, groups: Labels | None = None
) -> FoldWeights:
    """Greedy ensemble selection with replacement, as `weights.hill_climb`, by squared error.

    >>> stack, truth = np.array([[[1.0], [3.0]], [[3.0], [5.0]]]), np.array([[2.0], [4.0]])
    >>> hill_climb(stack, truth, np.array([0, 1]))[-1]
    array([0.5, 0.5])
    """
    return np.stack([_climb(gram) for gram in _error_products(stack, truth, folds, without)])


def nnls(
    stack: Stack, truth: Truth, folds: Labels, without: LeftOut | None = None, groups: Labels | None = None
) -> FoldWeights:
    """Non-negative weights with the sum 1 of least squared error.

    The minimum of w·gram·w − 2 Σw has the same direction, since both have gram·w constant where w > 0. Breiman 1996,
    "Stacked regressions".

    >>> stack, truth = np.array([[[1.0], [3.0]], [[5.0], [7.0]]]), np.array([[2.0], [4.0]])
    >>> nnls(stack, truth, np.array([0, 1]))[-1].round(6)
    array([0.75, 0.25])
    """
    return np.stack([solve_nnls(gram, np.ones(len(gram))) for gram in _error_products(stack, truth, folds, without)])


def _error_products(stack: Stack, truth: Truth, folds: Labels, without: LeftOut | None) -> list[Gram]:
    """Mean products (M, M) of the members' errors on the rows outside each set of folds left out."""
    products, sizes = [], []
    for fold in range(int(folds.max()) + 1):
        rows = np.flatnonzero(folds == fold)
        errors = (stack.take(rows, axis=1) - truth[rows]).reshape(len(stack), -1)
        products.append(errors @ errors.T)
        sizes.append(errors.shape[1])
    kept = [[fold for fold in range(len(products)) if fold not in left] for left in left_out(folds, without)]
    sums, counts = np.array(products), np.array(sizes)  # (K, M, M), (K,)
    return [sums[some].sum(axis=0) / counts[some].sum() for some in kept]


def _climb(gram: Gram) -> npt.NDArray[np.float64]:
    """Weights (M,) by hill climbing on the mean products of the members' errors."""
    counts, best, best_loss, since = np.zeros(len(gram)), np.zeros(len(gram)), np.inf, 0
    for step in range(1, MAX_STEPS + 1):
        losses = (counts @ gram @ counts + 2 * gram @ counts + np.diag(gram)) / step**2  # with one of each member more
        chosen = int(np.argmin(losses))
        counts[chosen] += 1
        since += 1
        if losses[chosen] < best_loss * (1 - LEAST_GAIN) and best_loss > 0:
            best_loss, best, since = float(losses[chosen]), counts.copy(), 0
        if since == PATIENCE:
            break
    return best / best.sum()
