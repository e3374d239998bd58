"""The CSVs and JSONs of a source as frames of text, for the inference of a competition's fields."""

import gzip
import re
import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import pandas as pd

from kagglepipe.competitions.filenames import SPLIT_WORDS, words_of
from kagglepipe.competitions.filenames import SUFFIXES as MEDIA_SUFFIXES
from kagglepipe.competitions.spreadsheet import GZIP, UNNAMED, are_counted, list_cells, read_cells, separator_of
from kagglepipe.errors import UserError

MAX_BYTES = 64_000_000  # of a CSV that is read whole
MAX_JSON = 512_000_000  # bytes; a JSON is read whole or not at all
HEAD = 2000  # rows that are read of a larger one
WIDE = 200  # columns, of tables of pixels, that are not read whole
MANY = 20  # CSVs in one folder that are items, not tables
ALIKE = 3  # CSVs in one folder that are items if they have the same header
SUFFIXES = (".csv", ".tsv", ".csv.gz", ".csv.zip", ".tsv.gz")
MEDIA = tuple(suffix for kind in ("image", "video", "audio") for suffix in MEDIA_SUFFIXES[kind])
SAMPLE_WORDS = {"submission", "submissions", "submit", "benchmark"}
NUMBERING = ("index", "row_id")  # and those that do if their cells are 0, 1, 2, … or 1, 2, 3, …


class LargeJsonError(UserError):
    """A JSON that is too large to be read, and may hold the labels."""


@dataclass(frozen=True)
class SourceTable:
    """A table of a source.

    path: relative to the root. rows: cells as stripped text, "" where empty; the first HEAD rows of a large file.
    is_whole: whether these are all rows. value_column: of a table of pairs (see `tag_pairs`), which has a row an item
    and a column a tag here, its second column.
    """

    path: str
    rows: pd.DataFrame
    is_whole: bool = True
    value_column: str | None = None

    @cached_property
    def columns(self) -> list[str]:
        """Names of the columns that have one, each once, without those that number the rows.

        The first column of a sample submission is that of the ids, whatever it is called.
        """
        names = [str(name) for name in self.rows.columns]
        own = [name for name in names if names.count(name) == 1 and name.casefold() not in UNNAMED]
        ids = own[:1] if self._is_called_sample else []
        return [
            name
            for name in own
            if name in ids or name.casefold() not in NUMBERING or not are_counted(self.rows[name].tolist())
        ]

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
        """Whether it is a sample submission by its name, and asks for answers.

        >>> [SourceTable(name, pd.DataFrame({"id": ["1"], "label": ["a"]})).is_sample
        ...  for name in ("sampleSubmission.csv", "submission_format.csv", "sample.csv", "train.csv")]
        [True, True, True, False]
        """
        return self._is_called_sample and len(self.columns) > 1

    @property
    def _is_called_sample(self) -> bool:
        words = set(words_of(PurePosixPath(self.path).name.split(".")[0]))
        return bool(words & SAMPLE_WORDS) or "submission" in self.name or self.name in ("sample", "sample_sub")

    def find(self, *names: str) -> str | None:
        """The first of these columns that is there, in any case; also one that numbers the rows."""
        spelt = {str(column).casefold(): str(column) for column in [*self.rows.columns, *self.columns]}
        return next((spelt[name.casefold()] for name in names if name.casefold() in spelt), None)

    def cells(self, column: str) -> "pd.Series[str]":
        """The cells of a column that are not empty."""
        cells: pd.Series[str] = self.rows[column]
        return cells[cells != ""]


def read_source_tables(root: Path, files: Sequence[str]) -> list[SourceTable]:
    """Read the tables among `files` (relative posix paths), those nearest to the root first.

    CSVs of which a folder has more than MANY, or ALIKE with one header, are series, as are ALIKE whose names differ in
    their number alone, unless there are more pictures, videos or sounds; what is no table is passed over.
    """
    csvs = [file for file in files if file.lower().endswith(SUFFIXES)]
    others = sum(file.lower().endswith(MEDIA) for file in files)
    numbered = {
        file for same in _numbered(csvs) if len(same) >= others and _have_one_header(root, same) for file in same
    }
    in_folder: dict[PurePosixPath, list[str]] = defaultdict(list)
    for file in csvs:
        if file not in numbered:
            in_folder[PurePosixPath(file).parent].append(file)
    found = [file for own in in_folder.values() if not _are_series(root, own) for file in own]
    found += [file for file in files if file.lower().endswith(".json")]
    texts = [file for file in files if file.lower().endswith(".txt")]
    found += texts if len(texts) <= MANY else []  # else annotations, one a picture
    tables = [read_source_table(root, file) for file in sorted(found, key=lambda file: (file.count("/"), file))]
    return [table for table in tables if table is not None]


def _numbered(csvs: Sequence[str]) -> list[list[str]]:
    """The CSVs of which ALIKE or more differ in their number alone, as train0.csv, train1.csv and train2.csv.

    >>> _numbered(["a/train0.csv", "a/train1.csv", "a/train12.csv", "a/labels.csv", "b/train1.csv"])
    [['a/train0.csv', 'a/train1.csv', 'a/train12.csv']]
    """
    found: dict[str, list[str]] = defaultdict(list)
    for file in csvs:
        folder, _, name = file.rpartition("/")
        if (bare := re.sub(r"\d+", "#", name)) != name:
            found[f"{folder}/{bare}"].append(file)
    return [same for same in found.values() if len(same) >= ALIKE]


def _are_series(root: Path, files: Sequence[str]) -> bool:
    """Whether the CSVs of a folder are series, one a file, not tables about items."""
    if len(files) > MANY:
        return True
    words = {word for file in files for word in words_of(PurePosixPath(file).stem)}
    if len(files) < ALIKE or words & {*SPLIT_WORDS, *SAMPLE_WORDS, "label", "labels"}:
        return False
    return _have_one_header(root, files)


def _have_one_header(root: Path, files: Sequence[str]) -> bool:
    return len({_first_line(root / file) for file in files}) == 1


def _first_line(path: Path) -> bytes:
    """The first line of a file, also of a gzipped one; empty for one that cannot be read."""
    try:
        with path.open("rb") as file:
            is_gzipped = file.read(len(GZIP)) == GZIP
        with gzip.open(path) if is_gzipped else path.open("rb") as file:
            return file.readline(1_000_000).strip()
    except (OSError, EOFError, zlib.error):
        return b""


def read_source_table(root: Path, file: str) -> SourceTable | None:
    """Read a table, whole or its first HEAD rows; None if it holds no rows, or is none, as most texts are."""
    path = root / file
    try:
        is_json = file.lower().endswith(".json")
        is_small = path.stat().st_size <= MAX_BYTES
        if file.lower().endswith(".txt"):
            cells = list_cells(path.read_text("utf-8-sig", errors="replace")) if is_small else None
            return SourceTable(file, pd.DataFrame(list(cells.rows.values()), columns=cells.header)) if cells else None
        if is_json and (size := path.stat().st_size / 1e6) > MAX_JSON / 1e6:
            raise LargeJsonError(
                f"{file} has {size:.0f} MB, and JSONs are read up to {MAX_JSON / 1e6:.0f}: write its labels as a CSV, "
                f"or leave it out by 'competition.exclude=[{file}]'"
            )
        head = _first_line(path).decode("utf-8", "replace")
        is_whole = is_json or (is_small and head.count(separator_of(head)) < WIDE)
        rows = _read_whole(path) if is_whole else _read_head(path, separator_of(head))
    except LargeJsonError:
        raise
    except (OSError, ValueError, UserError):  # the reader of its rows says what is wrong with the file
        return None
    return None if rows.empty or not len(rows.columns) else SourceTable(file, rows, is_whole)


def _read_whole(path: Path) -> pd.DataFrame:
    """Read all rows as text. Raises UserError as `read_cells`."""
    cells = read_cells(path)
    return pd.DataFrame(list(cells.rows.values()), columns=cells.header, dtype=str)


def _read_head(path: Path, separator: str) -> pd.DataFrame:
    """Read HEAD rows as text. Raises ValueError for a file that is no CSV."""
    rows = pd.read_csv(
        path, sep=separator, dtype=str, keep_default_na=False, nrows=HEAD,
        encoding="utf-8-sig", index_col=False, skipinitialspace=True,
    )  # fmt: skip
    return rows.rename(columns=str.strip)
