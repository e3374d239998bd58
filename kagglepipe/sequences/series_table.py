"""Series of one CSV that holds many: the series 7 is the virtual file `X_train.csv/series_id/7.csv`.

It reads as a CSV of the rows with 7 in the column `series_id`, without this column and without columns of text.
"""

import csv
import io
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from kagglepipe.competitions.item_tables import read_header

SAMPLED = 1000  # rows by which a column of text is known
_lock = threading.Lock()  # threads that ask for the first series at once parse one table


@dataclass(frozen=True)
class SeriesTable:
    """A table of series: its columns of numbers, and value of the key -> their cells as text, a row a frame."""

    columns: list[str]
    series: dict[str, pd.DataFrame]


def read_series_bytes(path: Path) -> bytes:
    """Read a file, or a series of a table at `TABLE/COLUMN/VALUE.csv`, as bytes. Raises OSError for a missing one."""
    try:
        return path.read_bytes()
    except NotADirectoryError:
        table = _table(path.parent.parent, path.parent.name)
        if path.stem not in table.series:
            raise FileNotFoundError(2, "there is no such series", str(path)) from None
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(table.columns)
        writer.writerows(table.series[path.stem].itertuples(index=False))
        return text.getvalue().encode()


def read_series_table(path: Path, key: str) -> SeriesTable:
    """Read a table whose rows with the same value of the column `key` are a series, in their order."""
    separator, header = read_header(path)
    rows = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    numbers = rows.iloc[:SAMPLED].replace("", np.nan).apply(pd.to_numeric, errors="coerce")
    is_text = (numbers.isna() & (rows.iloc[:SAMPLED] != "")).any()
    columns = [name for name in header if name != key and not is_text[name]]
    series = {str(name): part[columns] for name, part in rows.groupby(key, sort=False)}
    return SeriesTable(columns, series)


def _table(path: Path, key: str) -> SeriesTable:
    """The series of a table, parsed once for each state of the file."""
    with _lock:
        return _parsed(path, key, path.stat().st_mtime_ns, path.stat().st_size)


@lru_cache(maxsize=4)
def _parsed(path: Path, key: str, _mtime_ns: int, _size: int) -> SeriesTable:
    return read_series_table(path, key)
