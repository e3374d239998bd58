"""What lies in a source, as the inference of a competition's fields sees it: media, tables and names of items."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kagglepipe.competitions.filenames import (
    SUFFIXES,
    FileNames,
    as_number,
    name_of,
    siblings_split,
    spelt,
    split_of,
    stem_of,
    words_of,
)
from kagglepipe.competitions.item_tables import pixel_columns
from kagglepipe.competitions.layout import pictures_of
from kagglepipe.competitions.source_tables import SourceTable
from kagglepipe.competitions.timed_columns import STARTS, TIMES
from kagglepipe.errors import UserError
from kagglepipe.text import first_three

LABELLED_SHARE = 0.9  # of the rows of a table of series are of series that another table labels
KINDS = {kind: SUFFIXES[kind] for kind in ("image", "video", "audio", "series")}  # the first of equal ones counts
NAMED_SHARE = 0.5  # of the cells of a column of items name a file
FIT_SHARE = 0.9  # of the ids of the sample submission are those of items
REPEATS = 10  # rows about one item, of a table about items
UNLABELLED = {"pred", "predict", "prediction", "unlabelled", "unlabeled", "inference"}  # words of a folder
MIN_SIDE = 16  # of an array that may be a picture


@dataclass
class Inference:
    """fields: of CompetitionOptions, name -> value. settings: other options, dotted name -> value. reasons: field or
    setting -> why. notes: what is uncertain, for the log. duration: of what happens in an item, usually, in the unit of
    its times; None for whole items.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    duration: float | None = None

    def set(self, name: str, value: Any, why: str) -> None:
        """Set a field with its reason."""
        self.fields[name], self.reasons[name] = value, why


@dataclass(frozen=True)
class Sources:
    """Files of a source (relative posix paths), its tables, the sample submission, and the fields that are given.

    kind: of the items. media: the files that may be items. items: the table that holds the items, where no files do.
    array: the first of arrays that may be images or series.
    """

    root: Path
    files: Sequence[str]
    tables: Sequence[SourceTable]
    sample: SourceTable | None
    given: Mapping[str, Any]
    kind: str = "image"
    media: Sequence[str] = ()
    items: SourceTable | None = None
    array: "ArrayFile | None" = None

    @cached_property
    def names(self) -> "Names":
        """The media by their names."""
        return Names(self.media)

    @cached_property
    def test_folders(self) -> set[str]:
        """The folders that say `test`, see `find_test_folders`."""
        return find_test_folders(self.media, self.ids)

    @cached_property
    def asks_for_parts(self) -> bool:
        """Whether nearly all ids of the sample submission are of several images: their folder, or how names begin."""
        if self.kind != "image" or not len(self.ids) or self.names.share(self.ids) >= NAMED_SHARE:
            return False
        names = FileNames(self.media)
        return bool(self.ids.map(lambda id: bool(names.parts_of(id))).mean() >= FIT_SHARE)

    @property
    def targets(self) -> list[str]:
        """Columns of the sample submission beside the ids."""
        return self.sample.columns[1:] if self.sample is not None else []

    @property
    def ids(self) -> "pd.Series[str]":
        """Ids that the sample submission asks for."""
        return self.sample.cells(self.sample.columns[0]) if self.sample is not None else pd.Series(dtype=str)

    @property
    def answers(self) -> "pd.Series[str]":
        """The cells of a sample submission with one column of answers; empty for another, or none."""
        return self.sample.cells(self.targets[0]) if self.sample and len(self.targets) == 1 else pd.Series(dtype=str)

    @property
    def holds_pixels(self) -> bool:
        """Whether the items are rows of pixels in a table."""
        return self.items is not None and bool(pixel_columns(self.items.columns))

    def given_column(self, name: str) -> Any:
        """The column that the user has typed for one of ours; None for none."""
        columns = self.given.get("columns") or {}
        return columns.get(name) or (columns.get("video") or columns.get("file") if name == "item" else None)


class Names:
    """Items by their names as people write them: paths, file names and stems, in any case, `1`, `1.0` for 0001.png."""

    def __init__(self, files: Iterable[str]) -> None:
        self._files: dict[str, list[str]] = {}
        for file in files:
            path, stem = spelt(file), stem_of(spelt(file))
            for name in {path, name_of(path), stem, as_number(stem), as_number(name_of(path))}:
                self._files.setdefault(name.casefold(), []).append(file)

    def all(self, cell: str) -> list[str]:
        """The files that a cell may mean."""
        return self._files.get(self._key(cell), [])

    def _key(self, cell: str) -> str:
        name = spelt(cell).casefold()
        return next((one for one in (name, name_of(name)) if one in self._files), as_number(name))

    def has(self, cell: str) -> bool:
        """Whether a cell names an item."""
        return self._key(cell) in self._files

    def share(self, cells: "pd.Series[str]") -> float:
        """Share of the different cells that name an item, in [0, 1]."""
        distinct = cells.unique()
        return sum(map(self.has, distinct)) / max(len(distinct), 1)

    def column(self, table: SourceTable, likely: str | None = None) -> str | None:
        """The column of a table that names the items; None if no column does. likely: its name elsewhere."""
        ranks = {}
        for place, name in enumerate(table.columns):
            cells = table.cells(name)
            count = cells.nunique()
            if count > 1 and count * REPEATS >= len(cells) and (share := self.share(cells)) >= NAMED_SHARE:
                ranks[name] = (round(share * count), name == likely, -place)
        return max(ranks, key=lambda name: ranks[name], default=None)

    def count(self, table: SourceTable) -> int:
        """How many items a table names."""
        column = self.column(table)
        return 0 if column is None else round(self.share(table.cells(column)) * table.cells(column).nunique())


@dataclass(frozen=True)
class ArrayFile:
    """The first .npy of a source with three dimensions of which two are MIN_SIDE or more: an image or a series.

    is_picture: whether its numbers are those of images.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def is_picture(self) -> bool:
        return self.dtype in ("uint8", "uint16")


def find_array(root: Path, files: Sequence[str]) -> ArrayFile | None:
    """Find an `ArrayFile`; None where the first .npy is none, or pictures are there."""
    if not (arrays := [file for file in pictures_of(files) if file.lower().endswith(".npy")]):
        return None
    try:
        array = np.load(root / arrays[0], mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError):  # stage=prepare says what is wrong with the file
        return None
    is_one = array.ndim == 3 and sorted(array.shape)[1] >= MIN_SIDE
    return ArrayFile(arrays[0], array.shape, array.dtype.name) if is_one else None


def find_kind(
    files: Sequence[str], tables: Sequence[SourceTable], given: Mapping[str, Any], array: ArrayFile | None
) -> tuple[str, list[str]]:
    """(the kind of the items, the files that are of it): the kind that most tables name, else of which most files are.

    Without any media, that of items in tables: `image`.
    """
    paths = {table.path for table in tables}
    media = {
        kind: [file for file in files if file.lower().endswith(suffixes) and file not in paths]
        for kind, suffixes in KINDS.items()
    }
    if given.get("kind", "image" if array and array.is_picture else "") == "image":
        media["image"] = media["image"] or [file for file in media["series"] if file.lower().endswith(".npy")]
        media["series"] = [file for file in media["series"] if file not in {*media["image"]}]
    kinds = [given["kind"]] if given.get("kind") in KINDS else [kind for kind in KINDS if media[kind]]
    if len(kinds) > 1:
        named = {kind: max((Names(media[kind]).count(table) for table in tables), default=0) for kind in kinds}
        kinds.sort(key=lambda kind: (named[kind], len(media[kind])), reverse=True)
    kind = kinds[0] if kinds else "image"
    return kind, media[kind]


def without_illustrations(media: list[str], tables: Sequence[SourceTable]) -> list[str]:
    """The media, or none where tables hold more images as pixels, and no table names a file: a picture of the signs."""
    pixels = max((len(table.rows) for table in tables if pixel_columns(table.columns)), default=0)
    is_beside = len(media) < pixels and not any(Names(media).column(table) for table in tables)
    return [] if is_beside else media


def find_items(tables: Sequence[SourceTable], given: Mapping[str, Any]) -> SourceTable | None:
    """Find the table that holds the training items, where no media lie in the source; None without one."""
    if (named := given.get("items")) is not None:
        return find_named(tables, "items", named)
    train = sorted(
        (table for table in tables if not table.is_sample and table.split != "test"),
        key=lambda table: (table.split != "train", -len(table.rows)),
    )
    pixels = [table for table in train if pixel_columns(table.columns)]
    long = [table for table in train if series_key(table, tables)]
    return next(iter(pixels + long), None)


def find_named(tables: Sequence[SourceTable], option: str, name: str) -> SourceTable:
    """The table that an option names. Raises UserError if it is not there, or holds no rows."""
    wanted = spelt(name).casefold()
    found = [table for table in tables if f"/{spelt(table.path)}".casefold().endswith(f"/{wanted}")]
    if not found:
        there = first_three([table.path for table in tables]) or "none"
        raise UserError(f"competition.{option}={name} is no table with rows in the source; there is {there}")
    return found[0]


def series_key(table: SourceTable, tables: Sequence[SourceTable]) -> str | None:
    """The column of a table of series that repeats there; its rows, or another table, label them or have events."""
    others = [other for other in tables if other is not table]
    if asked := [other for other in others if other.is_sample and has_own_labels(table, other)]:
        return asked[0].columns[0]
    for name in table.columns:
        values = table.rows[name].map(as_number)
        if len(values) >= 2 * values.nunique() and (values.nunique() > 1 or not table.is_whole):
            known = [other for other in others if name in other.columns and not other.is_sample]
            keys = [one.rows[name] for one in known if one.rows[name].is_unique or _has_events_of(table, one)]
            if any(values.isin(set(key.map(as_number))).mean() >= LABELLED_SHARE for key in keys):
                return name
    return None


def has_own_labels(series: SourceTable, sample: SourceTable) -> bool:
    """Whether a table of series has what a sample submission asks for in its rows, the same in all rows of a series."""
    asked = sample.columns
    if len(asked) < 2 or not set(asked) <= set(series.columns):
        return False
    keys, pairs = series.rows[asked[0]], series.rows[asked].drop_duplicates()
    return len(keys) >= 2 * keys.nunique() == 2 * len(pairs)


def _has_events_of(series: SourceTable, table: SourceTable) -> bool:
    """Whether a table says what happens when in series: it has far fewer rows, and a column of times."""
    is_short = not series.is_whole or len(table.rows) * REPEATS <= len(series.rows)
    return is_short and bool({column.casefold() for column in table.columns} & {*TIMES, *STARTS})


def folders_of(file: str) -> list[str]:
    """The folders around a file, the outermost first.

    >>> folders_of("imgs/test/1.jpg")
    ['imgs', 'imgs/test']
    """
    parts = file.split("/")[:-1]
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def idle_folders(files: Iterable[str], used: Iterable[str]) -> list[str]:
    """The outermost folders around some files in which none is used, sorted.

    >>> idle_folders(["a/b/1.mp4", "a/c/2.mp4", "d/e/3.mp4"], ["a/c/2.mp4"])
    ['a/b', 'd']
    """
    held = {folder for file in used for folder in folders_of(file)}
    return sorted({next((one for one in folders_of(file) if one not in held), "") for file in files} - {""})


def find_test_folders(media: Sequence[str], ids: "pd.Series[str]") -> set[str]:
    """The folders that say `test`: alone, or as cars_test beside cars_train, or among words, with all `ids` inside.

    >>> sorted(find_test_folders(["cars_test/1.jpg", "cars_train/1.jpg"], pd.Series([], dtype=str)))
    ['cars_test']
    """
    folders = {folder: name_of(folder) for file in media for folder in folders_of(file)}
    found = {one for one, name in folders.items() if split_of(name) == "test"}
    for one in [one for one, name in folders.items() if one not in found and "test" in words_of(name)]:
        beside = [name for other, name in folders.items() if other.rpartition("/")[0] == one.rpartition("/")[0]]
        is_sibling = siblings_split(beside).get(folders[one]) == "test"
        own = [file for file in media if file.startswith(f"{one}/")]
        is_asked = len(ids) and len(own) < len(media) and Names(own).share(ids) >= FIT_SHARE
        if is_asked or (is_sibling and not any(UNLABELLED & set(words_of(name)) for name in beside)):
            found.add(one)
    return found


def is_test(file: str, folders: Collection[str]) -> bool:
    """Whether one of these folders is around a file."""
    return any(folder in folders for folder in folders_of(file))
