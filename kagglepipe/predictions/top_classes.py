"""Predictions of many classes: a row keeps its most probable classes, and the others share the rest equally.

100,000 rows of 5,000 classes would take 4 GB, in memory and on disk. A frame has `class_1`, `class_2`, … (the most
probable class first) and `probability_1`, … instead of a column for each class.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

FULL_CLASSES = 500  # up to so many classes, a frame has a column for each
KEPT = 100  # classes of a row above it; out of fold the true one is always among them
ROWS_AT_ONCE = 1024
CLASS, PROBABILITY = "class_", "probability_"  # columns, numbered from 1


@dataclass(frozen=True)
class TopClasses:
    """Probabilities (N, C) as K of each row; has what metrics use of an array.

    columns: class numbers (N, K), the most probable first, of ties the first class. values: their probabilities (N, K).
    classes: C. Every other class of a row has its `rest`.
    """

    columns: npt.NDArray[np.integer]
    values: npt.NDArray[np.floating]
    classes: int

    @property
    def shape(self) -> tuple[int, int]:
        """(N, C)"""
        return len(self.columns), self.classes

    def __len__(self) -> int:
        return len(self.columns)

    @cached_property
    def rest(self) -> npt.NDArray[np.float64]:
        """Probability of each class that is not kept, (N,)."""
        left = np.maximum(1 - self.values.sum(axis=1, dtype=np.float64), 0)
        return np.asarray(left / max(1, self.classes - self.columns.shape[1]))

    def argmax(self, axis: int = 1) -> npt.NDArray[np.intp]:
        """The most probable class of each row, (N,); ties go to the first class."""
        return self.columns[:, 0].astype(np.intp)

    def max(self, axis: int = 1) -> npt.NDArray[np.floating]:
        """The largest probability of each row, (N,)."""
        return self.values[:, 0]

    def hits_in_top(self, truth: npt.NDArray[np.intp], k: int) -> npt.NDArray[np.bool_]:
        """Whether the true class, which is kept, is among the k most probable, (N,); of ties the last classes are."""
        own = self.values[self.columns == truth[:, None]][:, None]
        ahead = (self.values > own) | ((self.values == own) & (self.columns > truth[:, None]))
        return np.asarray(ahead.sum(axis=1) < k)

    def __getitem__(self, key: Any) -> Any:
        """Rows, as another TopClasses; of `[arange(N), truth]` a probability of each row, (N,)."""
        if not isinstance(key, tuple):
            return TopClasses(self.columns[key], self.values[key], self.classes)
        rows, columns = key
        is_asked = self.columns[rows] == np.asarray(columns)[:, None]
        found = np.where(is_asked, self.values[rows], 0).sum(axis=1)
        return np.where(is_asked.any(axis=1), found, self.rest[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """All probabilities, (N, C)."""
        full = np.repeat(self.rest[:, None], self.classes, axis=1)
        np.put_along_axis(full, self.columns.astype(np.intp), self.values.astype(np.float64), axis=1)
        return full if dtype is None else full.astype(dtype, copy=False)


def keep_top(probs: npt.NDArray[np.floating], truth: npt.NDArray[np.intp] | None = None) -> TopClasses:
    """Keep the KEPT most probable classes of each row of (N, C), the last of them for the true one if it is not there.

    >>> keep_top(np.array([[0.2, 0.5, 0.3]])).columns
    array([[1, 2, 0]])
    """
    return join_top([_top_of(probs[rows], None if truth is None else truth[rows]) for rows in row_blocks(len(probs))])


def join_top(parts: Sequence[TopClasses]) -> TopClasses:
    """Concatenate rows of the same classes, at least one part."""
    columns, values = np.concatenate([one.columns for one in parts]), np.concatenate([one.values for one in parts])
    return TopClasses(columns, values, parts[0].classes)


def row_blocks(rows: int) -> Iterator[slice]:
    """Slices of ROWS_AT_ONCE rows; an empty one for none."""
    return (slice(start, start + ROWS_AT_ONCE) for start in range(0, max(1, rows), ROWS_AT_ONCE))


def _top_of(probs: npt.NDArray[np.floating], truth: npt.NDArray[np.intp] | None) -> TopClasses:
    """`keep_top` of a few rows."""
    count = min(KEPT, probs.shape[1])
    found = np.argpartition(-probs, count - 1, axis=1)[:, :count]
    least = np.take_along_axis(probs, found, axis=1).min(axis=1, keepdims=True, initial=np.inf)
    tied = (probs >= least).sum(axis=1) > count  # which of them are first is not defined in a partition
    found[tied] = np.argsort(-probs[tied], axis=1, kind="stable")[:, :count]
    found.sort(axis=1)
    values = np.take_along_axis(probs, found, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    found, values = np.take_along_axis(found, order, axis=1), np.take_along_axis(values, order, axis=1)
    if truth is not None:
        lost = (found != truth[:, None]).all(axis=1)
        found[lost, -1], values[lost, -1] = truth[lost], probs[lost, truth[lost]]
    return TopClasses(found, values, probs.shape[1])


# --- as columns of a frame -----------------------------------------------------------------------------------------


def has_top_classes(frame: pd.DataFrame) -> bool:
    """Whether a frame of predictions keeps only the most probable classes."""
    return isinstance(frame.dtypes.get(f"{CLASS}1"), pd.CategoricalDtype)


def top_columns(top: TopClasses, classes: Sequence[str]) -> pd.DataFrame:
    """Columns of a frame: the kept classes, by name, and their probabilities."""
    names = pd.CategoricalDtype(list(classes), ordered=False)
    numbers = range(1, top.columns.shape[1] + 1)
    of_class = {f"{CLASS}{k}": pd.Categorical.from_codes(top.columns[:, k - 1], dtype=names) for k in numbers}
    return pd.DataFrame(of_class | {f"{PROBABILITY}{k}": top.values[:, k - 1] for k in numbers})


def top_names(frame: pd.DataFrame) -> list[str]:
    """All classes of such a frame, in order."""
    return frame[f"{CLASS}1"].cat.categories.tolist()


def top_of_frame(frame: pd.DataFrame, classes: Sequence[str]) -> TopClasses:
    """The probabilities of such a frame, numbered by `classes`; KeyError for a class that it does not know."""
    numbers = range(1, sum(name.startswith(CLASS) for name in frame.columns) + 1)
    own = pd.Index(list(classes)).get_indexer(pd.Index(top_names(frame)))
    if (own < 0).any():
        raise KeyError(f"{top_names(frame)[int((own < 0).argmax())]} is none of the classes")
    codes = np.stack([frame[f"{CLASS}{k}"].cat.codes.to_numpy() for k in numbers], axis=1)
    values = np.stack([frame[f"{PROBABILITY}{k}"].to_numpy() for k in numbers], axis=1)
    return TopClasses(own[codes], values, len(classes))
