"""Cells of a submission with several tags, ranked classes or numbers an item."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.predictions.frame import SUM_TOLERANCE, Probs
from kagglepipe.predictions.number_metrics import positive_shares
from kagglepipe.predictions.top_classes import TopClasses
from kagglepipe.text import quoted_three

SEVERAL = ("tags", "ranking", "numbers")  # the forms of this file


@dataclass(frozen=True)
class Writing:
    """How answers are written.

    separator: between tags, or ranked classes. ranks: classes of an answer of form=ranking. needs_tag: whether each row
    has one tag or more, as all rows to train on have. sums: whether rows of probabilities sum to 1. shares: whether
    numbers are written as shares of their row, which are above 0 and sum to 1. least: of the numbers. first: number of
    the first class, for form=index.
    """

    separator: str = " "
    ranks: int = 5
    needs_tag: bool = False
    sums: bool = True
    shares: bool = False
    least: float = -math.inf
    first: int = 0


def several_answers(
    predictions: Probs, form: str, classes: Sequence[str], target_column: str, writing: Writing
) -> dict[str, npt.NDArray[Any]]:
    """Columns of a form of SEVERAL, name -> (N,), from predictions (N, C).

    >>> several_answers(np.array([[0.9, 0.6], [0.2, 0.3]]), "tags", ["a", "b"], "labels", Writing(needs_tag=True))
    {'labels': array(['a b', 'b'], dtype=object)}
    """
    if form == "numbers":
        names = [target_column] if len(classes) == 1 else list(classes)
        numbers = positive_shares(predictions) if writing.shares else np.asarray(predictions)
        return dict(zip(names, numbers.T, strict=True))
    labels = np.array(classes, dtype=object)
    if form == "ranking":
        rows: npt.NDArray[Any] = leading(predictions, writing.ranks)
    else:
        rows = np.asarray(predictions >= 0.5)
        if writing.needs_tag:
            rows[np.arange(len(rows)), predictions.argmax(axis=1)] = True
    return {target_column: np.array([writing.separator.join(labels[row]) for row in rows], dtype=object)}


def leading(predictions: Any, ranks: int) -> npt.NDArray[np.integer]:
    """Numbers of the most probable classes of each row, the first first, (N, K); of ties the first class leads."""
    if isinstance(predictions, TopClasses):
        return predictions.columns[:, :ranks]
    return np.argsort(-np.asarray(predictions), axis=1, kind="stable")[:, :ranks]


def several_fault(
    ids: pd.Series, cells: pd.DataFrame, form: str, classes: Sequence[str], writing: Writing
) -> str | None:
    """Why cells of a form of SEVERAL are invalid; None if they are valid. cells: (N, columns)."""
    if form == "numbers":
        return _number_fault(ids, cells.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64), writing)
    known, least = set(classes), 1 if form == "ranking" or writing.needs_tag else 0
    for id, cell in zip(ids, cells.iloc[:, 0].astype(str), strict=True):
        names = cell.split(writing.separator) if cell else []
        if strange := [name for name in names if name not in known]:
            return f"has {quoted_three(strange)} for id {quoted_three([id])}, which is no class"
        if len(names) < least or len(set(names)) < len(names):
            return f"has {cell!r} for id {quoted_three([id])}: each class once, and {least} or more, are needed"
    return None


def _number_fault(ids: pd.Series, numbers: npt.NDArray[np.float64], writing: Writing) -> str | None:
    """Why numbers (N, columns) are invalid; None if they are valid."""
    least = 0.0 if writing.shares else writing.least
    faults = {
        "has cells that are no finite numbers": ~np.isfinite(numbers).all(axis=1),
        f"has numbers below {least:g}, for which the metric is not defined,": (numbers < least).any(axis=1),
        "has shares that do not sum to 1": writing.shares & (np.abs(numbers.sum(axis=1) - 1) > SUM_TOLERANCE),
    }
    return next((f"{fault} for id {quoted_three(ids[rows])}" for fault, rows in faults.items() if rows.any()), None)
