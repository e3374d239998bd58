"""A second table about the items, with groups, splits and folds that the labels do not have."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from kagglepipe.competitions.filenames import FileNames, find_table, read_splits
from kagglepipe.competitions.label_tables import GIVEN, item_column, mend_repeated, with_named_items
from kagglepipe.competitions.spreadsheet import column_places, read_cells, select_columns
from kagglepipe.errors import UserError
from kagglepipe.files import expanded
from kagglepipe.options import CompetitionOptions


def join_metadata(
    rows: pd.DataFrame, files: Sequence[str], competition: CompetitionOptions, root: Path
) -> tuple[pd.DataFrame, list[str]]:
    """Fill group, split and fold of `rows`, where they are None, by the table `competition.metadata`: (rows, notes).

    rows: path, the columns to be filled and, where the labels have the column `metadata_key`, its cells as `key`: else
    that column names the items. Rows of the table that are about others are ignored.
    Raises UserError for a table that is missing, has none of these columns or of the items, or contradicts itself.
    """
    name = competition.metadata
    if name is None:
        return rows, []
    table, key = _read(name, files, competition, root)
    _check_columns(rows, table, name, competition)
    table["split"], notes = read_splits(table, name, competition.column("split"))
    if "key" in rows:
        keys = rows["key"].where(rows["key"] != "", None)
    else:
        names = FileNames(rows["path"])
        table["key"] = [names.find(one) for one in table["key"]]
        keys = rows["path"]
    table = table[table["key"].isin(set(keys))]
    if table.empty:
        found = "value" if "key" in rows else "item"
        raise UserError(f"no {found} is among the {key} of {name}: type competition.metadata_key=COLUMN")
    rows = rows.copy()
    for column in [one for one in GIVEN if one in table]:
        of_key = _one_each(table, column, key, name)
        own = rows[column] if column in rows else pd.Series(None, index=rows.index, dtype=object)
        rows[column] = own.where(own.notna(), keys.map(of_key)).astype(object).where(lambda cells: cells.notna(), None)
    rows["group"] = with_named_items(rows["group"], rows["path"])
    left = int((~keys.isin(set(table["key"]))).sum())
    return rows, [*notes, *([f"{left} items are not in {name}"] if left else [])]


def _read(name: str, files: Sequence[str], competition: CompetitionOptions, root: Path) -> tuple[pd.DataFrame, str]:
    """(key, group, split and fold, as far as the table has them, by row in the file; the name of the key)."""
    path = root / expanded(find_table(name, files) or name)
    if not path.is_file():
        raise UserError(f"there is no {path}: type where it is, as competition.metadata=PATH")
    cells = read_cells(path)
    key = competition.metadata_key or item_column(competition, cells.header, "item")
    if not column_places(cells.header, key):
        raise UserError(
            f"{path} has the columns {', '.join(cells.header)}, and no {key} that names the items: type "
            "competition.metadata_key=COLUMN"
        )
    columns = {"key": key, **competition.columns_read(GIVEN)}
    return select_columns(path, cells, columns, ["key"]), key


def _check_columns(rows: pd.DataFrame, table: pd.DataFrame, name: str, competition: CompetitionOptions) -> None:
    """Raises UserError for a column of `competition.columns` that neither table has, and a table without any."""
    for column in GIVEN:
        known = column in table or (column in rows and rows[column].notna().any())
        if competition.columns.get(column) is not None and not known:
            where = f"neither {competition.labels} nor {name}" if competition.labels else f"no column of {name}"
            has = "has the column" if competition.labels else "is called"
            raise UserError(f"{where} {has} {competition.columns[column]}, which competition.columns.{column} names")
    if not set(GIVEN) & set(table.columns):
        raise UserError(
            f"{name}, which competition.metadata names, has no column group, split or fold: type which it has, as "
            "'+competition.columns={group: NAME}'"
        )


def _one_each(table: pd.DataFrame, column: str, key: str, name: str) -> "pd.Series[str]":
    """key -> the value of a column, where there is one. Raises UserError if rows of one key disagree."""
    given = table[table[column].notna() & (table[column] != "")]
    values = given.groupby("key")[column]
    if (several := values.nunique() > 1).any():
        one = given[given["key"] == several.idxmax()]
        other = one[one[column] != one[column].iloc[0]].iloc[:1]
        raise UserError(
            f"{name} gives {key} {several.idxmax()} the {column} {one[column].iloc[0]} (row "
            f"{one.index[0]}) and {other[column].iloc[0]} (row {other.index[0]}): keep one, or {mend_repeated(column)}"
        )
    return values.first()
