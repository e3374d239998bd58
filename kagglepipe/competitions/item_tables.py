"""Tables that hold the items themselves: an image in each row, or all series one after another.

Their items are virtual files, in a format that the rows can be written in: row 12 of a table of pixels is
`train.csv/12.pgm`, the series 7 is `X_train.csv/series_id/7.csv`, below a file, where no folder can be.
"""

import csv
import math
import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from kagglepipe.competitions.filenames import find_table, read_splits
from kagglepipe.competitions.labels import clean_label
from kagglepipe.competitions.spreadsheet import column_places, separator_of
from kagglepipe.errors import UserError
from kagglepipe.options import CompetitionOptions

MIN_PIXELS = 49
IN_ONE_CELL = "pixels"  # a column whose cells have all pixels of a grey image, separated by blanks
TIME_NAMES = ("time", "times", "t", "frame", "frames", "timestamp")  # the first that exists holds the times


def pixel_columns(columns: Sequence[str]) -> list[str]:
    """The columns of a table of pixels that are pixels, in order: those that share a prefix and end in a number.

    Empty unless there are 49 or more and they fill a square, in grey or in three colours; or one column `pixels`.

    >>> len(pixel_columns(["label", *(f"pixel{n}" for n in range(784))])), pixel_columns(["id", "x1", "x2"])
    (784, [])
    >>> pixel_columns(["emotion", "pixels", "Usage"])
    ['pixels']
    """
    prefixes: dict[str, list[str]] = {}
    for column in columns:
        if match := re.fullmatch(r"(.*?)\d+(?:x\d+)?", column):
            prefixes.setdefault(match[1], []).append(column)
    found = max(prefixes.values(), key=len, default=[])
    is_square = any(len(found) == channels * math.isqrt(len(found) // channels) ** 2 for channels in (1, 3))
    if len(found) >= MIN_PIXELS and is_square:
        return found
    return [column for column in columns if column.strip().casefold() == IN_ONE_CELL]


def tables_of_items(files: Sequence[str], competition: CompetitionOptions) -> list[str]:
    """The tables among `files` that hold items: `competition.items` and, with it, `competition.test`."""
    if competition.items is None:
        return []
    named = [find_table(name, files) for name in (competition.items, competition.test) if name]
    return [name for name in named if name]


def table_items(root: Path, files: Sequence[str], competition: CompetitionOptions) -> list[str]:
    """The items in tables, as virtual files: `train.csv/1.pgm` for a row, `X_train.csv/series_id/7.csv` for a series.

    Raises UserError if `competition.items` names no table that is there.
    """
    if competition.items is None:
        return []
    tables = tables_of_items(files, competition)
    if find_table(competition.items, files) is None:
        raise UserError(f"there is no {root / competition.items}: type where it is, as competition.items=PATH")
    names = [name for table in tables for name in _names_in(root / table, table, competition)]
    return list(dict.fromkeys(names))


def _names_in(path: Path, table: str, competition: CompetitionOptions) -> list[str]:
    """Virtual files of a table. Raises UserError for the name of a series that no file can have."""
    if competition.kind == "image":
        return row_files(table, pixel_suffix(read_header(path)[1]), len(read_columns(path, [])))
    key = competition.column("item")
    names = [str(name) for name in read_columns(path, [key])[key].unique()]
    if odd := [name for name in (key, *names) if not name or "/" in name or name in (".", "..")]:
        raise UserError(f"{path} has {odd[0]!r} in its column {key}: give the series names without a slash")
    return [f"{table}/{key}/{name}.csv" for name in names]


def row_files(table: str, suffix: str, count: int) -> list[str]:
    """Virtual files of the rows of a table of pixels.

    >>> row_files("train.csv", ".pgm", 2)
    ['train.csv/1.pgm', 'train.csv/2.pgm']
    """
    return [f"{table}/{number}{suffix}" for number in range(1, count + 1)]


def pixel_suffix(header: Sequence[str]) -> str:
    """`.pgm` for a table of grey images, `.ppm` for one of coloured ones."""
    return ".pgm" if math.isqrt(count := len(pixel_columns(header))) ** 2 == count else ".ppm"


def read_labelled_rows(root: Path, file: str, competition: CompetitionOptions) -> tuple[pd.DataFrame, list[str]]:
    """Read (labels of a table of pixels, notes), as `label_tables.read_items` does, by row in the file.

    `file` is the virtual one. Group, split and fold are read from the columns that competition.columns names, id from
    the table that has it.
    """
    header = read_header(root / file)[1]
    named = ["label", *(one for one in ("group", "split", "fold") if competition.columns.get(one))]
    if competition.id == "column" and column_places(header, competition.column("id")):
        named.append("id")
    cells = read_columns(root / file, [competition.column(one) for one in named])
    labels = pd.DataFrame({one: cells[competition.column(one)] for one in named})
    labels = labels.set_axis(range(2, len(labels) + 2))
    labels["file"] = [f"{file}/{number}" for number in range(1, len(labels) + 1)]
    labels["label"] = labels["label"].map(clean_label)
    for column in ("group", "fold"):
        labels[column] = labels[column].where(labels[column] != "", None) if column in labels else None
    labels["split"], notes = read_splits(labels, file, competition.column("split"))
    return labels, notes


def read_columns(
    path: Path, columns: Sequence[str], *, mend: str = "another name is typed as '+competition.columns={label: NAME}'"
) -> pd.DataFrame:
    """Read some columns of a large CSV as text; without any, its first column. Raises UserError for a missing one."""
    separator, names = read_header(path)
    places = [found[0] for one in columns if (found := column_places(names, one))] if columns else [0]
    if len(places) < len(columns):
        raise UserError(f"{path} has the columns {', '.join(names[:5])}, …: {', '.join(columns)} are needed; {mend}")
    options: Any = {"sep": separator, "usecols": places, "dtype": str, "keep_default_na": False}
    try:
        rows = pd.read_csv(path, encoding="utf-8-sig", **options)
    except (ValueError, EOFError, zlib.error, zipfile.BadZipFile, OSError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"{path} is damaged or cut short ({reason}): download it again, or save it anew") from error
    known = dict(zip(sorted(set(places)), rows.columns, strict=True))  # as the file spells them, with blanks
    return rows.rename(columns={known[place]: ours for place, ours in zip(places, columns, strict=False)})


def read_header(path: Path) -> tuple[str, list[str]]:
    """Read (separator, names of the columns) of a CSV, also gzipped, without its rows.

    Raises UserError for a file that is no CSV, or damaged.
    """
    options: Any = {"nrows": 0, "encoding": "utf-8-sig", "engine": "python", "quoting": csv.QUOTE_NONE}
    try:
        first = pd.read_csv(path, sep="\x01", **options).columns[0]
        separator = separator_of(first)
        names = pd.read_csv(path, sep=separator, nrows=0, encoding="utf-8-sig").columns
        return separator, [name.strip() for name in names]
    except (ValueError, IndexError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"{path} cannot be read as a CSV ({reason}): download it again, or save it anew") from error
