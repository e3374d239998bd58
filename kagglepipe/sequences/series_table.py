"""Series of one CSV that holds many: the series 7 is the virtual file `X_train.csv/series_id/7.csv`.

It reads as a CSV of the rows with 7 in the column `series_id`, without this column and without columns of text.
"""

import csv
import io
import logging
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv

from kagglepipe.competitions.item_tables import read_header
from kagglepipe.errors import UserError

log = logging.getLogger(__name__)
MISSING = ("", "na", "n/a", "null", "none")  # cells without a number, beside nan and inf
SAMPLED = 1000  # rows by which a column of text is known
_lock = threading.Lock()  # threads that ask for the first series at once parse one table


@dataclass(frozen=True)
class SeriesTable:
    """A table of series.

    rows: cells of the columns of numbers as text, series after series. spans: value of the key -> (first row, number).
    """

    rows: pa.Table
    spans: dict[str, tuple[int, int]]


def read_series_bytes(path: Path) -> bytes:
    """Read a file, or a series of a table at `TABLE/COLUMN/VALUE.csv`, as bytes. Raises OSError for a missing one."""
    try:
        return path.read_bytes()
    except NotADirectoryError:
        table = _table(path.parent.parent, path.parent.name)
        if path.stem not in table.spans:
            raise FileNotFoundError(2, "there is no such series", str(path)) from None
        rows = table.rows.slice(*table.spans[path.stem])
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(rows.column_names)
        writer.writerows(zip(*(column.to_pylist() for column in rows.columns), strict=True))
        return text.getvalue().encode()


def read_series_table(path: Path, key: str) -> SeriesTable:
    """Read a table whose rows with the same value of the column `key` are a series, in their order.

    Raises UserError for a table that cannot be read, or holds no numbers.
    """
    separator, header = read_header(path)
    cells = _read_cells(path, separator, header)
    texts = [name for name in header if name != key and _is_text(cells[name], has_decimal_commas=separator != ",")]
    columns = [name for name in header if name not in (key, *texts)]
    if not columns:
        raise UserError(f"{path} has no column of numbers beside {key}: is competition.items right?")
    if texts:
        log.info("series of %s: left out %s, which hold text", path, ", ".join(texts))
    keys = cells[key].combine_chunks().dictionary_encode()  # numbered as they first appear
    codes = keys.indices.to_numpy(zero_copy_only=False)
    rows = cells.select(columns)
    if (np.diff(codes) < 0).any():  # series that are not one after another
        rows = rows.take(np.argsort(codes, kind="stable"))
    if separator != ",":  # decimal commas
        rows = pa.table([pa.compute.replace_substring(column, ",", ".") for column in rows.columns], columns)
    counts = np.bincount(codes, minlength=len(keys.dictionary))
    firsts = np.cumsum(counts) - counts
    names = keys.dictionary.to_pylist()
    return SeriesTable(rows, dict(zip(names, zip(firsts.tolist(), counts.tolist(), strict=True), strict=True)))


def _read_cells(path: Path, separator: str, header: list[str]) -> pa.Table:
    """All cells as text. Raises UserError for rows of another length, or text that is not UTF-8."""
    types = dict.fromkeys(header, pa.large_string())
    try:
        cells = pyarrow.csv.read_csv(
            path,
            parse_options=pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(column_types=types),
        )
    except (pa.ArrowInvalid, UnicodeError) as error:
        raise UserError(f"{path} cannot be read ({str(error).splitlines()[0]}): mend that row") from error
    if cells.column_names != header:
        twice = [name for name in cells.column_names if cells.column_names.count(name) > 1]
        raise UserError(f"{path} has the column {(*twice, '(without a name)')[0]} twice: rename one")
    return cells


def _is_text(column: pa.ChunkedArray, *, has_decimal_commas: bool) -> bool:
    """Whether most cells of a column are no numbers; a wrong cell among numbers is named when its series is read."""
    cells = column.slice(0, SAMPLED).to_pandas().astype(str).str.strip()
    cells = cells[~cells.str.lower().isin(MISSING)]
    numbers = pd.to_numeric(cells.str.replace(",", ".") if has_decimal_commas else cells, errors="coerce")
    is_wrong = numbers.isna() & (cells.str.lower() != "nan")
    return len(cells) > 0 and bool(is_wrong.mean() > 0.5)


def _table(path: Path, key: str) -> SeriesTable:
    """The series of a table, parsed once for each state of the file."""
    with _lock:
        return _parsed(path, key, path.stat().st_mtime_ns, path.stat().st_size)


@lru_cache(maxsize=4)
def _parsed(path: Path, key: str, _mtime_ns: int, _size: int) -> SeriesTable:
    return read_series_table(path, key)
