"""Several models' opinions made into one, with nothing fitted: the ensemble to beat by anything cleverer.

Works on frames that `frame.align` has put in one order; what comes out is a frame like those that went in.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.competitions.contract import demand
from kagglepipe.errors import UserError
from kagglepipe.predictions.frame import RESERVED, Probs, probabilities

# Keeps log(0) finite and nothing more: a higher floor would change members that are sure of themselves.
SMALLEST = 1e-15

Stack = npt.NDArray[np.float64]  # (M, N, C): members, rows, classes
Weights = npt.NDArray[np.float64]  # (M,), summing to 1


def mean(stack: Stack, weights: Weights) -> Probs:
    """The weighted arithmetic mean over members, (M, N, C) -> (N, C).

    >>> mean(np.array([[[1.0, 0.0]], [[0.5, 0.5]]]), np.array([0.5, 0.5]))
    array([[0.75, 0.25]])
    """
    averaged: Probs = np.tensordot(weights, stack, axes=1)
    return averaged


def rank_mean(stack: Stack, weights: Weights) -> Probs:
    """The weighted mean over members of ranks within each column, rows renormalised, (M, N, C) -> (N, C).

    Ranks run from 1/N to 1, ties share their mean. Only the order of a member's rows counts, so members of
    different calibration have an equal say where the order is all that is scored (ROC AUC). The result is no
    calibrated probability. A test frame is ranked within itself: a row's value depends on the rows beside it,
    is not on one scale with out-of-fold values, and means nothing for one row alone.

    >>> rank_mean(np.array([[[0.9, 0.1], [0.8, 0.2]]]), np.array([1.0])).round(2)
    array([[0.67, 0.33],
           [0.33, 0.67]])
    """
    ranks = np.stack([pd.DataFrame(member).rank(pct=True).to_numpy() for member in stack])  # (M, N, C)
    return _renormalise(mean(ranks, weights))


def geometric_mean(stack: Stack, weights: Weights) -> Probs:
    """The weighted geometric mean over members, rows renormalised, (M, N, C) -> (N, C).

    A member that is sure a class is wrong all but vetoes it. The logarithmic opinion pool of Genest and Zidek
    1986, "Combining probability distributions".

    >>> geometric_mean(np.array([[[0.8, 0.2]], [[0.5, 0.5]]]), np.array([0.5, 0.5])).round(2)
    array([[0.67, 0.33]])
    """
    return _renormalise(np.exp(mean(np.log(np.maximum(stack, SMALLEST)), weights)))


METHODS: dict[str, Callable[[Stack, Weights], Probs]] = {
    "mean": mean,
    "rank_mean": rank_mean,
    "geometric_mean": geometric_mean,
}


def blend(
    frames: Sequence[pd.DataFrame],
    classes: Sequence[str],
    method: str,
    weights: Sequence[float] | None = None,
) -> pd.DataFrame:
    """One frame from aligned ones: probabilities blended; id, and fold and target if any, the first frame's.

    weights: one per frame, in any scale, none negative; None weighs all alike.

    Raises ValueError if there is no frame or ids differ in any row (see `frame.align`), UserError for an
    unknown method or weights that do not fit.

    >>> one = pd.DataFrame({"id": ["a"], "cat": [0.9], "dog": [0.1]})
    >>> blend([one, one.assign(cat=0.6, dog=0.4)], ["cat", "dog"], "mean", [2, 1])
      id  cat  dog
    0  a  0.8  0.2
    """
    demand("ensemble.method", method, tuple(METHODS))
    _demand_aligned(frames)
    stack = np.stack([probabilities(frame, classes) for frame in frames])  # (M, N, C)
    blended = METHODS[method](stack, _shares(weights, len(frames)))  # (N, C)
    bounded = np.clip(blended, 0, 1)  # weights that sum to 1 + 2e-16 must not make a probability above 1
    kept = frames[0][[name for name in RESERVED if name in frames[0]]]
    return pd.concat([kept, pd.DataFrame(bounded, columns=list(classes), index=kept.index)], axis=1)


def _shares(weights: Sequence[float] | None, members: int) -> Weights:
    """The weights scaled to sum to 1, (M,); equal ones for None."""
    raw = np.ones(members) if weights is None else np.asarray(weights, dtype=np.float64)
    if raw.shape != (members,) or not np.isfinite(raw).all() or (raw < 0).any() or raw.sum() == 0:
        raise UserError(
            f"weights {weights} do not fit; give {members} numbers, one per member, none negative, not all 0"
        )
    shares: Weights = raw / raw.sum()
    return shares


def _demand_aligned(frames: Sequence[pd.DataFrame]) -> None:
    """Raises ValueError unless there are frames and all have the first one's ids, row by row."""
    if not frames:
        raise ValueError("no frame to blend")
    for number, frame in enumerate(frames):
        if frame["id"].tolist() != frames[0]["id"].tolist():
            raise ValueError(f"frame {number} has not the ids of frame 0 row by row; align them first")


def _renormalise(values: Probs) -> Probs:
    """Rows (N, C) of positive numbers, divided by their sums."""
    shares: Probs = values / values.sum(axis=1, keepdims=True)
    return shares
