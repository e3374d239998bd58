"""Columns about the items beside the pictures: age, place, quality, as a source's tables hold them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.competitions.filenames import FileNames, find_table
from kagglepipe.competitions.label_tables import item_column, one_hot_columns
from kagglepipe.competitions.source import list_names
from kagglepipe.competitions.source_tables import SourceTable, read_source_table, read_source_tables
from kagglepipe.errors import UserError
from kagglepipe.files import expanded
from kagglepipe.options import CompetitionOptions
from kagglepipe.text import first_three

NUMERIC = 0.95  # share of cells with a number from which a column is one of numbers
MAX_VALUES = 200  # of a column of text; with more its values are names
MIN_SHARE = 0.5  # of the items whose cells a column must have


@dataclass(frozen=True)
class ItemColumns:
    """Cells of the items, as text, "" where there is none: of the training rows and the test rows, in their order."""

    train: pd.DataFrame
    test: pd.DataFrame
    notes: list[str]


def read_item_columns(dataset: Dataset, competition: CompetitionOptions, asked: Sequence[str]) -> ItemColumns:
    """Read the columns that the tables of a source have for training and test items.

    asked: names of columns; empty for all but labels, groups and ids. Raises UserError if there are none, or one that
    is asked for is not there for both.
    """
    root, name = dataset.images_root, competition.metadata
    files = list(list_names(root, skip_bad=True)[0])
    tables = [table for table in read_source_tables(root, files) if not table.is_sample]
    second = None if name is None else read_source_table(root, str(expanded(find_table(name, files) or name)))
    frames = []
    for rows, other in ((dataset.train, "test"), (dataset.test, "train")):
        names = FileNames(rows["path"].tolist())
        found = pd.DataFrame(index=range(len(rows)))
        for table in [table for table in tables if table.split != other]:  # ids may be the same in both splits
            if second is None or table.path != second.path:
                found = _joined(found, _cells_of(table, names, rows["path"], _key_of(table, competition)))
        if second is not None:
            found = _joined(found, _cells_of_second(second, found, names, rows["path"], competition))
        frames.append(found.fillna(""))
    notes = [
        f"{one.path} is too large or has too many columns: they are not read" for one in tables if not one.is_whole
    ]
    train, test = frames
    return _chosen(train, test, competition, asked, [table.path for table in tables], notes)


def _joined(found: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    """`found` with the columns of `own` that it has not."""
    return found.join(own[[name for name in own if name not in found]])


def _key_of(table: SourceTable, competition: CompetitionOptions) -> str:
    """The column of a table that names the items."""
    key = item_column(competition, list(table.rows.columns), "item")
    return key if key in table.columns else (table.find("id") or (table.columns[0] if table.columns else ""))


def _cells_of_second(
    table: SourceTable, found: pd.DataFrame, names: FileNames, paths: "pd.Series[str]", competition: CompetitionOptions
) -> pd.DataFrame:
    """Cells of the table `competition.metadata` for items (N,), by `metadata_key`.

    found: cells of the other tables; where they have that column, it joins them, else it names the items. Of several
    rows with one key the first counts.
    """
    asked = competition.metadata_key
    key = _key_of(table, competition) if asked is None else table.find(asked) or asked
    ours = next((name for name in found if str(name).casefold() == key.casefold()), None)
    if asked is None or ours is None or key not in table.columns:
        return _cells_of(table, names, paths, key)
    cells = table.rows[table.columns].drop_duplicates(key).set_index(key).reindex(found[ours])
    return cells.set_axis(found.index)


def _cells_of(table: SourceTable, names: FileNames, paths: "pd.Series[str]", key: str) -> pd.DataFrame:
    """Cells of a table for items (N,), by position; NaN where it has no row. Empty unless it names half of them."""
    empty = pd.DataFrame(index=range(len(paths)))
    if key not in table.columns or not table.is_whole:
        return empty
    found = pd.Series([names.find(cell) for cell in table.rows[key]], table.rows.index, dtype=object)
    rows = table.rows[table.columns].assign(path=found).dropna(subset=["path"]).drop_duplicates("path")
    if len(rows) < MIN_SHARE * len(paths):
        return empty
    cells = rows.set_index("path").reindex(paths)
    cells.index = empty.index
    return cells.drop(columns=[key])


def _chosen(
    train: pd.DataFrame,
    test: pd.DataFrame,
    competition: CompetitionOptions,
    asked: Sequence[str],
    tables: Sequence[str],
    notes: list[str],
) -> ItemColumns:
    """The columns that are asked for or, if none is, all that say something without being the answer."""
    there = ", ".join(map(str, train.columns[:8])) or "none"
    both = [str(name) for name in train if name in test]
    if missing := [name for name in asked if name not in both]:
        raise UserError(
            f"columns.names={missing[0]} is no column of training and test items alike in {first_three(tables)}: "
            f"there are {there}"
        )
    answers = {competition.column("label"), competition.target_column, *(one_hot_columns(competition) or ())}
    given = {competition.column(name) for name in ("item", "id", "group", "split", "fold")} | {competition.metadata_key}
    notes, kept = list(notes), []
    for name in list(asked) or [name for name in both if name not in answers | given]:
        values = train[name].nunique()
        has_text = not is_numeric(train[name])
        filled = min((one[name] != "").mean() for one in (train, test) if len(one))
        if filled < MIN_SHARE and not asked:
            why = f"is empty for {1 - filled:.0%} of the items: columns.names=[{name}] takes it"
        elif has_text and values > MAX_VALUES:
            why = f"has {values} values"
        elif values < 2:
            why = f"has one value, {train[name].iloc[0]!r}"
        else:
            kept.append(name)
            continue
        notes.append(f"column {name} is left out: it {why}")
    if not kept:
        raise UserError(
            f"no column about training and test items alike is in {first_three(tables) or 'the source'}: there are "
            f"{'; '.join([there, *notes[:2]])}; columns.names=[…] names some"
        )
    return ItemColumns(train[kept], test[kept], notes)


def numbers_of(cells: "pd.Series[str]") -> "pd.Series[float]":
    """Cells as finite numbers; NaN for what is none."""
    return pd.to_numeric(cells, errors="coerce").replace([np.inf, -np.inf], np.nan)


def is_numeric(cells: "pd.Series[str]") -> bool:
    """Whether nearly all cells that are not empty are numbers."""
    own = cells[cells != ""]
    return bool(len(own)) and bool(numbers_of(own).notna().mean() >= NUMERIC)


def encode(columns: ItemColumns) -> tuple[NDArray[np.float64], NDArray[np.float64], list[bool], list[str]]:
    """(training cells (N, D), test cells (M, D), whether each column is of categories, notes).

    Numbers stay; categories are numbered in the order of the training cells' names. NaN: an empty cell, text or
    infinity in a column of numbers, or a category that no training item has.
    """
    parts: tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]] = ([], [])
    kinds, notes = [], list(columns.notes)
    for name in columns.train:
        is_number = is_numeric(columns.train[name])
        known = sorted(set(columns.train[name]) - {""})
        for side, cells in zip(parts, (columns.train[name], columns.test[name]), strict=True):
            if is_number:
                side.append(np.asarray(numbers_of(cells), np.float64))
            else:
                codes = pd.Index(known).get_indexer(pd.Index(cells)).astype(np.float64)
                side.append(np.where(codes < 0, np.nan, codes))
        kinds.append(not is_number)
        notes += _cell_notes(str(name), columns.train[name], columns.test[name], is_number)
    train, test = (np.stack(side, axis=1) for side in parts)
    return train, test, kinds, notes


def _cell_notes(name: str, train: "pd.Series[str]", test: "pd.Series[str]", is_number: bool) -> list[str]:
    """What is empty in a column, or taken as empty."""
    notes, empty = [], [int((cells == "").sum()) for cells in (train, test)]
    if any(empty):
        notes.append(f"column {name} is empty for {empty[0]} training and {empty[1]} test items")
    if not is_number and (strange := sorted(set(test) - {"", *train})):
        notes.append(f"column {name} has {first_three(strange)} in the test alone: taken as empty")
    cells = pd.concat([train, test])
    text = cells[(cells != "") & numbers_of(cells).isna()]
    if is_number and len(text):
        notes.append(
            f"column {name} is of numbers and has {first_three(text.unique())}: {len(text)} cells are taken as empty"
        )
    return notes
