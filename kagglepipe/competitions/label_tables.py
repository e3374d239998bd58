"""Tables about items, as users and competitions write them: labels, groups and splits in a CSV or JSON."""

from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from kagglepipe.competitions.filenames import FileNames, find_table, read_splits
from kagglepipe.competitions.labels import clean_label
from kagglepipe.competitions.spreadsheet import Cells, column_places, read_cells, select_columns
from kagglepipe.errors import UserError
from kagglepipe.files import expanded
from kagglepipe.options import CompetitionOptions
from kagglepipe.text import first_three

GIVEN = ("group", "split", "fold")  # columns that labels or metadata may have


def read_items(
    root: Path, name: str, file: str | None, competition: CompetitionOptions, item: str, needed: Collection[str]
) -> tuple[pd.DataFrame, list[str]]:
    """Read (a table about items, notes), indexed by row in the file.

    The columns are `item` and those of label, id, start and end that the table has, and group, split (`train` or
    `test`) and fold, None where there is none. The class of one-hot columns becomes the label.
    name: the table as the competition names it. file: where it is, relative to the root. item: `file` or `video`.
    needed: required columns.
    """
    path = root / expanded(file or name)
    if not path.is_file():
        raise UserError(f"there is no {path}{_advice(competition, name)}")
    cells = read_cells(path)
    columns = {item: item_column(competition, cells.header, item)}
    ours = ("label", "id", *GIVEN, *(("start", "end") if item == "video" else ()))
    columns |= {one: competition.column(one) for one in ours}
    one_hot = competition.columns.get("labels")
    required = [one for one in needed if one_hot is None or one != "label"]
    table = select_columns(path, cells, columns, required)
    if one_hot is not None and "label" in needed:
        table["label"] = one_hot_labels(path, cells, one_hot)
    if "label" in table:
        table["label"] = table["label"].map(clean_label)
    for column in ("group", "fold"):
        given = table[column] if column in table else pd.Series("", index=table.index)
        table[column] = given.astype(object).where(given != "", None)
    table["group"] = with_named_items(table["group"], table[item])
    table["split"], notes = read_splits(table["split"], name) if "split" in table else (None, [])
    return table, notes


def item_column(competition: CompetitionOptions, header: Sequence[str], item: str) -> str:
    """The column that names the items: that of competition.columns, else `item`, `file` or `video`."""
    if (named := competition.column("item")) != "item":
        return named
    return next((name for name in (item, "item", "file", "video") if column_places(header, name)), item)


def one_hot_labels(path: Path, cells: Cells, columns: Sequence[str]) -> "pd.Series[str]":
    """The one of `columns` that has a 1, for each row. Raises UserError for a row without exactly one."""
    table = select_columns(path, cells, {name: name for name in columns}, columns)
    numbers = table.apply(pd.to_numeric, errors="coerce")
    wrong = (numbers.sum(axis=1) != 1) | ~numbers.isin([0, 1]).all(axis=1)
    if wrong.any():
        row = int(wrong.idxmax())
        found = ", ".join(f"{name} {table.loc[row, name]!r}" for name in columns[:4])
        raise UserError(
            f"{path}, row {row}, has {found}: competition.columns.labels needs one 1 in each row, beside 0, since "
            "competition.task=multiclass has one class for each item"
        )
    return numbers.idxmax(axis=1).astype(str)


def with_named_items(groups: "pd.Series[str]", items: "pd.Series[str]") -> "pd.Series[str]":
    """The groups (None: none), where an item without one, after which the group of others is named, belongs to it."""
    return groups.where(groups.notna() | ~items.isin(set(groups.dropna())), items)


def read_test_list(root: Path, file: str, competition: CompetitionOptions, names: FileNames, item: str) -> pd.DataFrame:
    """Read a CSV, JSON or text file of the test items: `path` of each and, for competition.id=column, `id`.

    Text files hold a name a line. Of a CSV without a column of the items, the first column names them.
    """
    path = root / file
    if path.suffix.lower() == ".txt":
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
        listed = pd.DataFrame({item: lines}, index=range(1, len(lines) + 1), dtype=str)
        listed = listed[listed[item] != ""]
    else:
        cells = read_cells(path)
        column = item_column(competition, cells.header, item)
        column = column if column_places(cells.header, column) else cells.header[0]
        listed = select_columns(path, cells, {item: column, "id": competition.column("id")}, [item])
    listed["path"] = names.paths(listed[item], str(competition.test), competition.kind)
    return listed.drop_duplicates("path")


def join_metadata(
    rows: pd.DataFrame, files: Sequence[str], competition: CompetitionOptions, root: Path
) -> tuple[pd.DataFrame, list[str]]:
    """Fill group, split and fold of `rows` (path, …) by the table `competition.metadata`; returns (rows, notes).

    Rows of that table that are about other files are ignored.
    """
    name = competition.metadata
    if name is None:
        return rows, []
    path = root / expanded(find_table(name, files) or name)
    if not path.is_file():
        raise UserError(f"there is no {path}: type where it is, as competition.metadata=PATH")
    cells = read_cells(path)
    key = competition.metadata_key or item_column(competition, cells.header, "item")
    columns = {"key": key, **{one: competition.column(one) for one in GIVEN}}
    table = select_columns(path, cells, columns, ["key"])
    names = FileNames(rows["path"])
    table["path"] = [names.find(one) for one in table["key"]]
    table = table.dropna(subset="path").drop_duplicates("path").set_index("path")
    if table.empty:
        raise UserError(f"no item is among the {key} of {name}: type competition.metadata_key=COLUMN")
    rows = rows.copy()
    for column in [one for one in GIVEN if one in table and one in rows]:
        found = table[column].where(table[column] != "", None)
        rows[column] = rows[column].where(rows[column].notna(), rows["path"].map(found))
    left = int((~rows["path"].isin(table.index)).sum())
    return rows, [f"{left} items are not in {name}"] if left else []


def _advice(competition: CompetitionOptions, name: str) -> str:
    """Say what to do about a missing table, which may be in the current folder instead of the source."""
    here, option = expanded(name).absolute(), "labels" if name == competition.labels else "files"
    if here.is_file():
        return f", where competition.source is: for the one here type competition.{option}={here}"
    if competition.kind == "video" and competition.finds_segments:
        return "; to begin one, type: python -m kagglepipe annotations input=FOLDER"
    return f": add it, or type where it is, as competition.{option}=PATH, absolute or seen from competition.source"


def one_row_a_file(labels: pd.DataFrame, table: str) -> tuple[pd.DataFrame, list[str]]:
    """Merge the rows of each path: (labels, notes). Raises UserError if they disagree."""
    repeated = labels[labels["path"].duplicated(keep=False)]
    known = labels.drop_duplicates("path").copy()
    for column in ("label", *GIVEN):
        for path, rows in repeated.groupby("path"):
            values = rows[column].dropna()
            if values.nunique() > 1:
                other = values[values != values.iloc[0]]
                raise UserError(
                    f"{table} names {path} more than once, with the {column} {values.iloc[0]} (row {values.index[0]}) "
                    f"and {other.iloc[0]} (row {other.index[0]}): keep one {column} a file"
                )
        given = repeated.dropna(subset=column).drop_duplicates("path").set_index("path")[column]
        known[column] = known[column].fillna(known["path"].map(given))
    again = len(labels) - len(known)
    return known, [f"{again} rows of {table} name a file a second time, and say the same"] if again else []


def check_labels(labels: pd.DataFrame, path: str) -> None:
    """Raises UserError for training images that have no label, several or a measurement."""
    empty = labels["label"] == ""
    if empty.any():
        raise UserError(f"{path} has no label for {first_three(labels.loc[empty, 'file'])}")
    separators = labels["label"].str.contains(r"[|;]")
    if separators.any():
        raise UserError(
            f"{path}: {first_three(labels.loc[separators, 'label'])} looks like several labels for one image; "
            "multi-label competitions are not supported, give one label a file"
        )
    number = pd.to_numeric(labels["label"], errors="coerce")
    if (number.notna() & (number % 1 != 0)).any():
        raise UserError(
            f"{path}: {first_three(labels['label'][number % 1 != 0])} look like measurements; regression is not "
            "supported, give one class name a file"
        )


def test_list(test: str | None, files: Sequence[str]) -> str | None:
    """The file that lists the test items, if `competition.test` names one that is there; else None."""
    if test is None or PurePosixPath(test).suffix.lower() not in (".csv", ".tsv", ".txt", ".json"):
        return None
    return find_table(test, files)
