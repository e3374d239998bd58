"""Columns of tables of series that are no channels: times, and counters of the rows."""

from collections.abc import Sequence

import pandas as pd

from kagglepipe.competitions.filenames import words_of
from kagglepipe.competitions.item_tables import TIME_NAMES

COUNTER_WORDS = {"number", "index", "idx", "step", "timestep", "seq", "sequence", "order", "counter", "tick", "row"}
MIN_ROWS = 8  # of a series, by which a counter is known


def has_time(columns: Sequence[str]) -> bool:
    """Whether a column is named as times are."""
    return any(column.casefold() in TIME_NAMES for column in columns)


def counter_column(rows: pd.DataFrame, key: str | None) -> str | None:
    """The column that numbers the rows of each series, in any order; None if no column does.

    rows: cells as text, perhaps the first of many. key: column that names the series; None: all rows are one. Whole
    numbers that do not repeat in a series count as numbers of its rows if they have no gaps, or are named as such.
    """
    keys = pd.Series(0, rows.index) if key is None else rows[key]
    if keys.value_counts().median() < MIN_ROWS:
        return None
    for name in rows.columns.drop(key or []):
        numbers = pd.to_numeric(rows[name], errors="coerce")
        if numbers.isna().any() or (numbers % 1 != 0).any() or pd.DataFrame({0: keys, 1: numbers}).duplicated().any():
            continue
        series = numbers.groupby(keys)
        is_full = (series.max() - series.min() + 1 == series.size()).all()
        if is_full or set(words_of(name)) & COUNTER_WORDS:
            return str(name)
    return None
