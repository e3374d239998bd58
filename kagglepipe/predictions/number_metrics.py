"""Metrics of numbers. Arguments: values (N, C), the predictions; truth (N, C). Of several columns the mean counts."""

import math

import numpy as np
import numpy.typing as npt

from kagglepipe.competitions.targets import Truth

Values = npt.NDArray[np.float64]  # (N, C)
Rows = npt.NDArray[np.float64]  # (N,)
LEAST_SHARE = float(np.finfo(np.float32).eps)  # as of float32 probabilities in scikit-learn's log_loss


def squared_errors(values: Values, truth: Truth) -> Rows:
    """Mean squared error over the numbers of each row, (N,).

    >>> squared_errors(np.array([[1.0], [2.0]]), np.array([[1.0], [4.0]]))
    array([0., 4.])
    """
    return np.asarray(((values - truth) ** 2).mean(axis=1), np.float64)


def absolute_errors(values: Values, truth: Truth) -> Rows:
    """Mean absolute error over the numbers of each row, (N,)."""
    return np.asarray(np.abs(values - truth).mean(axis=1), np.float64)


def mae(values: Values, truth: Truth) -> float:
    """Mean absolute error."""
    return float(absolute_errors(values, truth).mean())


def rmse(values: Values, truth: Truth) -> float:
    """Root mean squared error of a column.

    >>> rmse(np.array([[1.0], [2.0]]), np.array([[1.0], [4.0]])).__round__(4)
    1.4142
    """
    return float(np.sqrt(((values - truth) ** 2).mean(axis=0)).mean())


def rmsle(values: Values, truth: Truth) -> float:
    """Root mean squared error of log(1 + x); predictions below 0 count as 0."""
    return rmse(np.log1p(np.maximum(values, 0)), np.log1p(truth))


def r2(values: Values, truth: Truth) -> float:
    """Coefficient of determination, at most 1; of a constant column 1 if it is hit, else 0; NaN of a single row.

    As scikit-learn's.
    """
    if len(truth) < 2:
        return math.nan
    errors = ((values - truth) ** 2).sum(axis=0)
    spread = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    exact = np.where(errors > 0, 0.0, 1.0)
    return float(np.where(spread > 0, 1 - errors / np.where(spread > 0, spread, 1), exact).mean())


def kl_divergences(values: Values, truth: Truth) -> Rows:
    """Kullback–Leibler divergence of each row's predicted shares from its true ones, in nats, (N,).

    Rows are divided by their sums, as votes for classes are; predicted shares as in `positive_shares`.

    >>> kl_divergences(np.array([[1.0, 1.0]]), np.array([[3.0, 0.0]])).round(4)
    array([0.6931])
    """
    shares, true = positive_shares(values), shares_of(truth)
    return np.asarray((true * np.log(np.where(true > 0, true, 1) / shares)).sum(axis=1))


def kl_divergence(values: Values, truth: Truth) -> float:
    """Mean Kullback–Leibler divergence, see `kl_divergences`."""
    return float(kl_divergences(values, truth).mean())


def positive_shares(values: Values) -> Values:
    """`shares_of` predictions, none below 1.2e-7: the divergence from a share of 0 would be infinite.

    >>> positive_shares(np.array([[4.0, -1.0]])).round(9)
    array([[9.99999881e-01, 1.19000000e-07]])
    """
    shares = np.maximum(shares_of(values), LEAST_SHARE)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def shares_of(values: Values) -> Values:
    """Rows (N, C) divided by their sums, what is below 0 counting as 0; equal shares for a row of zeros.

    >>> shares_of(np.array([[3.0, 1.0], [0.0, -1.0]]))
    array([[0.75, 0.25],
           [0.5 , 0.5 ]])
    """
    values = np.maximum(values, 0)
    sums = values.sum(axis=1, keepdims=True)
    return np.asarray(np.where(sums > 0, values / np.where(sums > 0, sums, 1), 1 / values.shape[1]))
