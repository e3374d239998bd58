"""Columns about the items beside the pictures: age, place, quality, as a source's tables hold them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.competitions.filenames import FileNames
from kagglepipe.competitions.label_tables import item_column, one_hot_columns
from kagglepipe.competitions.source import list_names
from kagglepipe.competitions.source_tables import SourceTable, read_source_tables
from kagglepipe.errors import UserError
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
    root = dataset.images_root
    tables = [table for table in read_source_tables(root, _tables(root)) if not table.is_sample]
    frames = []
    for rows, other in ((dataset.train, "test"), (dataset.test, "train")):
        names = FileNames(rows["path"].tolist())
        found = pd.DataFrame(index=range(len(rows)))
        for table in [table for table in tables if table.split != other]:  # ids may be the same in both splits
            own = _cells_of(table, names, rows["path"], competition)
            found = found.join(own[[name for name in own if name not in found]])
        frames.append(found.fillna(""))
    train, test = frames
    both = [str(name) for name in train if name in test]
    filled = [name for name in both if min((one[name] != "").mean() for one in frames if len(one)) >= MIN_SHARE]
    return _chosen(train, test, filled, competition, asked, [table.path for table in tables])


def _tables(root: Path) -> list[str]:
    names, _ = list_names(root, skip_bad=True)
    return list(names)


def _cells_of(
    table: SourceTable, names: FileNames, paths: "pd.Series[str]", competition: CompetitionOptions
) -> pd.DataFrame:
    """Cells of a table for items (N,), by position; NaN where it has no row. Empty unless it names half of them."""
    empty = pd.DataFrame(index=range(len(paths)))
    key = item_column(competition, list(table.rows.columns), "item")
    key = key if key in table.columns else (table.find("id") or (table.columns[0] if table.columns else ""))
    if not key or not table.is_whole:
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
    filled: Sequence[str],
    competition: CompetitionOptions,
    asked: Sequence[str],
    tables: Sequence[str],
) -> ItemColumns:
    """The columns that are asked for or, if none is, all that say something without being the answer."""
    there = ", ".join(map(str, train.columns[:8])) or "none"
    if missing := [name for name in asked if name not in filled]:
        raise UserError(
            f"columns.names={missing[0]} is no column of training and test items alike in {first_three(tables)}: "
            f"there are {there}"
        )
    answers = {competition.column("label"), competition.target_column, *(one_hot_columns(competition) or ())}
    given = {competition.column(name) for name in ("item", "id", "group", "split", "fold")}
    names = list(asked) or [name for name in filled if name not in answers | given]
    notes, kept = [], []
    for name in names:
        values = train[name].nunique()
        if not is_numeric(train[name]) and values > MAX_VALUES:
            notes.append(f"column {name} has {values} values and is left out")
        elif values > 1:
            kept.append(name)
    if not kept:
        raise UserError(
            f"no column about training and test items alike is in {first_three(tables) or 'the source'}: there are "
            f"{there}; columns.names=[…] names some"
        )
    return ItemColumns(train[kept], test[kept], notes)


def is_numeric(cells: "pd.Series[str]") -> bool:
    """Whether nearly all cells that are not empty are numbers."""
    own = cells[cells != ""]
    return bool(len(own)) and bool(pd.to_numeric(own, errors="coerce").notna().mean() >= NUMERIC)


def encode(columns: ItemColumns) -> tuple[NDArray[np.float64], NDArray[np.float64], list[bool], list[str]]:
    """(training cells (N, D), test cells (M, D), whether each column is of categories, notes).

    Numbers stay; categories are numbered in the order of the training cells' names. NaN: an empty cell, text in a
    column of numbers, or a category that no training item has.
    """
    parts: tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]] = ([], [])
    kinds, notes = [], list(columns.notes)
    for name in columns.train:
        is_number = is_numeric(columns.train[name])
        known = sorted(set(columns.train[name]) - {""})
        for side, cells in zip(parts, (columns.train[name], columns.test[name]), strict=True):
            if is_number:
                side.append(pd.to_numeric(cells, errors="coerce").to_numpy(np.float64))
            else:
                codes = pd.Index(known).get_indexer(pd.Index(cells)).astype(np.float64)
                side.append(np.where(codes < 0, np.nan, codes))
        kinds.append(not is_number)
        empty = [int((cells == "").sum()) for cells in (columns.train[name], columns.test[name])]
        if any(empty):
            notes.append(f"column {name} is empty for {empty[0]} training and {empty[1]} test items")
        if not is_number and (strange := sorted(set(columns.test[name]) - {"", *known})):
            notes.append(f"column {name} has {first_three(strange)} in the test alone: taken as empty")
    train, test = (np.stack(side, axis=1) for side in parts)
    return train, test, kinds, notes
