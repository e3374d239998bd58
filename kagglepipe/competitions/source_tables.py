"""The CSVs and JSONs of a source as frames of text, for the inference of a competition's fields."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from kagglepipe.competitions.filenames import SPLIT_WORDS, words_of
from kagglepipe.competitions.spreadsheet import json_cells, separator_of

MAX_BYTES = 64_000_000  # of a table that is read whole
HEAD = 2000  # rows that are read of a larger one
WIDE = 200  # columns, of tables of pixels, that are not read whole
MANY = 20  # CSVs in one folder that are items, not tables
SUFFIXES = (".csv", ".tsv", ".csv.gz", ".csv.zip", ".tsv.gz")


@dataclass(frozen=True)
class SourceTable:
    """A table of a source.

    path: relative to the root. rows: cells as stripped text, "" where empty; the first HEAD rows of a large file.
    is_whole: whether these are all rows.
    """

    path: str
    rows: pd.DataFrame
    is_whole: bool

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return [str(name) for name in self.rows.columns]

    @property
    def name(self) -> str:
        """File name in lower case, without its suffix."""
        return PurePosixPath(self.path).name.lower().split(".")[0]

    @property
    def split(self) -> str | None:
        """`train`, `valid` or `test` if the file's name has the word, as `X_test.csv` has."""
        found = {SPLIT_WORDS[word] for word in words_of(self.name) if word in SPLIT_WORDS}
        return found.pop() if len(found) == 1 else None

    @property
    def is_sample(self) -> bool:
        """Whether it is a sample submission by its name."""
        return "submission" in self.name or self.name.startswith("sample_sub")

    def find(self, *names: str) -> str | None:
        """The first of these columns that is there, in any case."""
        spelt = {column.casefold(): column for column in self.columns}
        return next((spelt[name.casefold()] for name in names if name.casefold() in spelt), None)


def read_source_tables(root: Path, files: Sequence[str]) -> list[SourceTable]:
    """Read the tables among `files` (relative posix paths), those nearest to the root first.

    CSVs of which a folder has more than MANY are series, not tables; files that are no tables are passed over.
    """
    csvs = [file for file in files if file.lower().endswith(SUFFIXES)]
    per_folder = Counter(PurePosixPath(file).parent for file in csvs)
    tables = [file for file in csvs if per_folder[PurePosixPath(file).parent] <= MANY]
    tables += [file for file in files if file.lower().endswith(".json")]
    found = [_read(root, file) for file in sorted(tables, key=lambda file: (file.count("/"), file))]
    return [table for table in found if table is not None]


def _read(root: Path, file: str) -> SourceTable | None:
    """Read a table; None if it holds no rows."""
    path = root / file
    if file.lower().endswith(".json"):
        rows, is_whole = _read_json(path), True
    else:
        rows, is_whole = _read_csv(path, is_large=path.stat().st_size > MAX_BYTES)
    return None if rows is None or rows.empty or not len(rows.columns) else SourceTable(file, rows, is_whole)


def _read_csv(path: Path, *, is_large: bool) -> tuple[pd.DataFrame | None, bool]:
    """Read (the cells as text or None, whether these are all rows)."""
    try:
        header = pd.read_csv(path, sep="\x01", nrows=0, encoding="utf-8-sig", engine="python").columns[0]
        is_large = is_large or len(header.split(separator_of(header))) > WIDE
        rows = pd.read_csv(
            path, sep=separator_of(header), dtype=str, keep_default_na=False, nrows=HEAD if is_large else None,
            encoding="utf-8-sig", index_col=False, skipinitialspace=True,
        )  # fmt: skip
    except (ValueError, OSError, IndexError):  # whoever reads its rows says what is wrong with the file
        return None, False
    return rows.rename(columns=str.strip), not is_large


def _read_json(path: Path) -> pd.DataFrame | None:
    """Read the records of a JSON; None for one that holds none."""
    if path.stat().st_size > MAX_BYTES:
        return None
    try:
        cells = json_cells(path.read_bytes())
    except (ValueError, OSError):
        return None
    return pd.DataFrame(list(cells.rows.values()), columns=cells.header, dtype=str)
