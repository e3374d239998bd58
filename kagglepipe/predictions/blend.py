"""Several models' opinions made into one, given what each counts; equal counts are the ensemble to beat.

Works on frames that `frame.align` has put in one order; what comes out is a frame like those that went in.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.errors import UserError
from kagglepipe.options import check_choice
from kagglepipe.predictions.frame import RESERVED, Probs, probabilities

# Keeps log(0) finite and nothing more: a higher floor would change members that are sure of themselves.
SMALLEST = 1e-15

Stack = npt.NDArray[np.float64]  # (M, N, C): members, rows, classes
Weights = npt.NDArray[np.float64]  # (M,), summing to 1 save those of `logistic`


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
    ranks = (pd.DataFrame(member).rank(pct=True).to_numpy() for member in stack)  # M times (N, C)
    return _renormalise(_weighted_sum(ranks, weights))


def geometric_mean(stack: Stack, weights: Weights) -> Probs:
    """The weighted geometric mean over members, rows renormalised, (M, N, C) -> (N, C).

    A member that is sure a class is wrong all but vetoes it. The logarithmic opinion pool of Genest and Zidek
    1986, "Combining probability distributions". Weights that sum to more than 1 make the result surer, to less
    make it less sure, as an inverse temperature does.

    >>> geometric_mean(np.array([[[0.8, 0.2]], [[0.5, 0.5]]]), np.array([0.5, 0.5])).round(2)
    array([[0.67, 0.33]])
    """
    logs = _weighted_sum((np.log(np.maximum(member, SMALLEST)) for member in stack), weights)
    return _renormalise(np.exp(logs - logs.max(axis=1, keepdims=True)))  # else all of a row could come to 0


def power_mean(stack: Stack, weights: Weights, power: float) -> Probs:
    """The weighted mean over members of probability ** power, its root, rows renormalised, (M, N, C) -> (N, C).

    power: 1 is the mean, towards 0 the geometric mean, above 1 whoever is surest has more of a say. The generalised
    mean of Hardy, Littlewood and Polya 1934, "Inequalities", chapter II.

    >>> power_mean(np.array([[[0.8, 0.2]], [[0.5, 0.5]]]), np.array([0.5, 0.5]), 2).round(2)
    array([[0.64, 0.36]])
    """
    raised = _weighted_sum((np.maximum(member, SMALLEST) ** power for member in stack), weights)
    return _renormalise(raised ** (1 / power))


METHODS: dict[str, Callable[[Stack, Weights], Probs]] = {
    "mean": mean,
    "rank_mean": rank_mean,
    "geometric_mean": geometric_mean,
}
# What the weights of a fitted method weigh; predictions.weights fits them.
POOLS = {"hill_climb": "mean", "nnls": "mean", "logistic": "geometric_mean"}


def pool(stack: Stack, weights: Weights, method: str, power: float = 2.0) -> Probs:
    """The members' probabilities made into one by any method, fitted or not, given its weights, within [0, 1].

    power: of `power_mean` alone. Raises UserError for an unknown method.

    >>> pool(np.array([[[1.0, 0.0]], [[0.5, 0.5]]]), np.array([0.5, 0.5]), "nnls")
    array([[0.75, 0.25]])
    """
    check_choice("ensemble.method", method, (*METHODS, "power_mean", *POOLS))
    if method == "power_mean":
        pooled = power_mean(stack, weights, power)
    else:
        pooled = METHODS[POOLS.get(method, method)](stack, weights)
    return np.clip(pooled, 0, 1)  # weights that sum to 1 + 2e-16 must not make a probability above 1


def blend(
    frames: Sequence[pd.DataFrame],
    classes: Sequence[str],
    method: str,
    weights: Sequence[float] | None = None,
    power: float = 2.0,
) -> pd.DataFrame:
    """One frame from aligned ones: probabilities blended; id, and fold and target if any, the first frame's.

    weights: one per frame, in any scale (their sum counts for `logistic` alone), none negative; None: all alike.
    power: of `power_mean` alone.

    Raises ValueError if there is no frame or ids differ in any row (see `frame.align`), UserError for an
    unknown method or weights that do not fit.

    >>> one = pd.DataFrame({"id": ["a"], "cat": [0.9], "dog": [0.1]})
    >>> blend([one, one.assign(cat=0.6, dog=0.4)], ["cat", "dog"], "mean", [2, 1])
      id  cat  dog
    0  a  0.8  0.2
    """
    _demand_aligned(frames)
    stack = np.stack([probabilities(frame, classes) for frame in frames])  # (M, N, C)
    return with_probabilities(frames[0], classes, pool(stack, _scaled(weights, len(frames), method), method, power))


def with_probabilities(frame: pd.DataFrame, classes: Sequence[str], probs: Probs) -> pd.DataFrame:
    """The frame's id, and fold and target if any, with other probabilities (N, C)."""
    kept = frame[[name for name in RESERVED if name in frame]]
    return pd.concat([kept, pd.DataFrame(probs, columns=list(classes), index=kept.index)], axis=1)


def equal_weights(members: int) -> Weights:
    """What nothing has been fitted for: the same share for everyone, (M,)."""
    return np.full(members, 1 / members)


def _scaled(weights: Sequence[float] | None, members: int, method: str) -> Weights:
    """The weights scaled to sum to 1, (M,), unless their sum means something; equal ones for None."""
    raw = np.ones(members) if weights is None else np.asarray(weights, dtype=np.float64)
    if raw.shape != (members,) or not np.isfinite(raw).all() or (raw < 0).any() or raw.sum() == 0:
        raise UserError(
            f"weights {weights} do not fit; give {members} numbers, one per member, none negative, not all 0"
        )
    return raw if method == "logistic" and weights is not None else raw / raw.sum()


def _demand_aligned(frames: Sequence[pd.DataFrame]) -> None:
    """Raises ValueError unless there are frames and all have the first one's ids, row by row."""
    if not frames:
        raise ValueError("no frame to blend")
    for number, frame in enumerate(frames):
        if frame["id"].tolist() != frames[0]["id"].tolist():
            raise ValueError(f"frame {number} has not the ids of frame 0 row by row; align them first")


def _weighted_sum(members: Iterable[Probs], weights: Weights) -> Probs:
    """The sum of weight times member, one member in memory at a time; a member that does not count costs no sum."""
    total: Probs | None = None
    for member, weight in zip(members, weights, strict=True):
        if total is None:
            total = weight * member
        elif weight:
            total += weight * member
    assert total is not None
    return total


def _renormalise(values: Probs) -> Probs:
    """Rows (N, C) of positive numbers, divided by their sums."""
    shares: Probs = values / values.sum(axis=1, keepdims=True)
    return shares
