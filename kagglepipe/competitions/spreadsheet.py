"""CSVs as spreadsheets write them: UTF-8 or UTF-16, separated by comma, semicolon or tab, ragged, with blank rows."""

import codecs
import csv
import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from kagglepipe.errors import UserError

SEPARATORS = ",;\t"
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_spreadsheet(path: Path, columns: Mapping[str, str], needed: Sequence[str]) -> pd.DataFrame:
    """A CSV as stripped text, indexed by row in the file; columns that `columns` does not name are left out.

    columns: name in the result -> name in the file, where case and blanks around do not matter. needed: those of the
    result that must be there. Rows without anything in them are left out; where commas do not separate, decimal
    commas in `start` and `end` are points.
    Raises UserError for a file that cannot be read, that lacks a needed column or has one twice, or has a row with
    more cells than the header.
    """
    separator, header, rows = read_cells(path)
    places = {ours: _places(header, theirs) for ours, theirs in columns.items()}
    if missing := [columns[ours] for ours in needed if not places[ours]]:
        raise UserError(f"{path} has the columns {', '.join(header)}: {', '.join(missing)} is needed too")
    if twice := [columns[ours] for ours, found in places.items() if len(found) > 1]:
        raise UserError(f"{path} has more than one column {twice[0]}: take one out, or rename it")
    cells = {ours: [row[found[0]] for row in rows.values()] for ours, found in places.items() if found}
    table = pd.DataFrame(cells, index=pd.Index(list(rows), dtype=np.int64), dtype=str)
    if separator != ",":
        times = [column for column in ("start", "end") if column in table]
        table[times] = table[times].replace(r"^([+-]?\d*),(\d+)$", r"\1.\2", regex=True)
    return table


def read_cells(path: Path) -> tuple[str, list[str], dict[int, list[str]]]:
    """(the separator, the header, row in the file -> stripped cells, as many as the header has) of a CSV or zipped CSV.

    Raises UserError for a file that cannot be read, or has a row with more cells than the header.
    """
    try:
        data = path.read_bytes()
        if zipfile.is_zipfile(io.BytesIO(data)):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                data = archive.read(archive.namelist()[0])
        separator, text = _separator(decoded(data))
        header, rows = _cells(text, separator)
    except (OSError, ValueError, csv.Error, zipfile.BadZipFile) as error:
        reason = str(error.strerror if isinstance(error, OSError) else error).splitlines()[0]
        reason += "; save it as CSV UTF-8" if isinstance(error, UnicodeError) else ""
        raise UserError(f"{path} cannot be read as a CSV in UTF-8 ({reason})") from error
    return separator, header, rows


def decoded(data: bytes) -> str:
    """The text of a file in UTF-8 or, with a byte order mark, UTF-16. Raises ValueError for another encoding."""
    return data.decode("utf-16") if data.startswith(UTF16) else data.decode("utf-8-sig")


def _separator(text: str) -> tuple[str, str]:
    """(what separates cells, the text after a line `sep=;`, by which Excel is told of it)."""
    if told := re.match(r"sep=(.)\r?\n", text, re.IGNORECASE):
        return told[1], text[told.end() :]
    return separator_of(re.split(r"[\r\n]", text.lstrip("\r\n"), maxsplit=1)[0]), text


def separator_of(header: str) -> str:
    """What separates the cells of a header, as far as it tells: a comma where nothing does.

    >>> separator_of("time;x;y"), separator_of('"a;b",c'), separator_of("time")
    (';', ',', ',')
    """
    bare = re.sub(r'"[^"]*"', "", header)
    return max(SEPARATORS, key=bare.count)


def _cells(text: str, separator: str) -> tuple[list[str], dict[int, list[str]]]:
    """(the header, line -> cells, as many as the header has). Raises ValueError for a line with more, and csv.Error."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    lines = ([cell.strip() for cell in row] for row in reader)
    header = next((cells for cells in lines if any(cells)), [])
    rows = {}
    for cells in lines:
        if any(cells[len(header) :]):
            raise ValueError(f"row {reader.line_num} has {len(cells)} cells, the header {len(header)}")
        if any(cells):
            rows[reader.line_num] = cells + [""] * (len(header) - len(cells))
    return header, rows


def _places(header: Sequence[str], name: str) -> list[int]:
    """Where in the header a column stands: as it is written, else whatever its case."""
    exact = [place for place, column in enumerate(header) if column == name.strip()]
    return exact or [place for place, column in enumerate(header) if column.casefold() == name.strip().casefold()]
