"""Tables about items, as users and competitions write them: labels, groups and splits in a CSV or JSON."""

from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from kagglepipe.competitions.filenames import FileNames, find_table, read_splits
from kagglepipe.competitions.item_tables import read_columns, read_header
from kagglepipe.competitions.labels import check_one_kind, clean_label
from kagglepipe.competitions.spreadsheet import Cells, column_places, read_cells, select_columns
from kagglepipe.competitions.tag_pairs import by_item
from kagglepipe.competitions.targets import as_flags, join_columns, tag_separator
from kagglepipe.errors import UserError
from kagglepipe.files import expanded
from kagglepipe.options import CompetitionOptions
from kagglepipe.text import first_three, quoted_three

GIVEN = ("group", "split", "fold")  # columns that labels or metadata may have


def read_items(
    root: Path, name: str, file: str | None, competition: CompetitionOptions, item: str, needed: Collection[str]
) -> tuple[pd.DataFrame, list[str]]:
    """Read (a table about items, notes), indexed by row in the file.

    The columns are `item` and those of label, start and end that the table has, group, split (`train` or `test`) and
    fold, None where there is none, `id` for competition.id=column, and `key`, if the table has the column of
    competition.metadata_key. The class of one-hot columns becomes the label.
    name: the table as the competition names it. file: where it is, relative to the root. item: `file` or `video`.
    needed: required columns.
    """
    path = root / expanded(file or name)
    if not path.is_file():
        raise UserError(f"there is no {path}{_advice(competition, name)}")
    cells = by_item(item_cells(root, file or name, competition), path, competition)
    columns = {item: item_column(competition, cells.header, item)}
    times = ("time",) if competition.finds_events else ("start", "end")
    ours = ("label", *GIVEN, *(times if item == "video" else ()))
    ours += ("id",) if competition.id == "column" else ()
    ours += ("answer_id",) if "answer_id" in competition.columns else ()
    columns |= competition.columns_read(ours)
    if competition.metadata_key not in (None, columns[item]):
        columns["key"] = str(competition.metadata_key)
    one_hot = one_hot_columns(competition)
    required = [one for one in needed if one_hot is None or one != "label"]
    table = select_columns(path, cells, columns, required)
    if one_hot is not None and "label" in needed:
        table["label"] = column_labels(path, cells, one_hot, competition)
    if "label" in table:
        table["label"] = table["label"].map(clean_label)
    for column in ("group", "fold"):
        given = table[column] if column in table else pd.Series("", index=table.index)
        table[column] = given.astype(object).where(given != "", None)
    flags = _group_flags(table, cells, competition, name)
    table["group"] = None if flags else with_named_items(table["group"], table[item])
    if "answer_id" in table:
        table["group"] = table["group"].where(table["group"].notna(), table["answer_id"])
    if "id" in table:
        check_ids(table["id"], name, competition)
    table["split"], notes = read_splits(table, name, competition.column("split"))
    return table, [*notes, *flags]


def item_cells(root: Path, file: str, competition: CompetitionOptions) -> Cells:
    """Read the cells of a table about items; of one of all series, whose rows repeat them, a row for those alike."""
    path = root / expanded(file)
    if competition.finds_segments or competition.items is None or file != find_table(competition.items, [file]):
        return read_cells(path)
    ours = [*competition.columns_read(("item", "label", "id", *GIVEN)).values(), *competition.columns.get("labels", ())]
    columns = [name for name in read_header(path)[1] if name in ours]
    rows = read_columns(path, columns).apply(lambda cells: cells.str.strip()).drop_duplicates()
    return Cells(",", columns, {int(row) + 2: list(cells) for row, *cells in rows.itertuples(name=None)})


def _group_flags(table: pd.DataFrame, cells: Cells, competition: CompetitionOptions, name: str) -> list[str]:
    """A note where the column `group`, which nobody has named, is 0 or 1 beside others that are; else none."""
    if "group" in competition.columns or table.empty or not set(table["group"]) <= {"0", "1"}:
        return []
    named = [ours if isinstance(ours, list) else [ours] for ours in competition.columns.values() if ours is not None]
    taken = {"group", competition.column("label").casefold(), *(one.casefold() for ours in named for one in ours)}
    others = [place for place, column in enumerate(cells.header) if column.casefold() not in taken]
    if not any({row[place] for row in cells.rows.values()} <= {"0", "1"} for place in others):
        return []
    words = "has a column group of 0 and 1 beside others such, which is no group: '+competition.columns={group: group}'"
    return [f"{name} {words} makes it one"]


def item_column(competition: CompetitionOptions, header: Sequence[str], item: str) -> str:
    """The column that names the items: that of competition.columns, else `item`, `file` or `video`."""
    if (named := competition.column("item")) != "item":
        return named
    return next((name for name in (item, "item", "file", "video") if column_places(header, name)), item)


def one_hot_columns(competition: CompetitionOptions) -> list[str] | None:
    """The columns of competition.columns.labels; None without it. Raises UserError for fewer than two, or repeated."""
    columns = competition.columns.get("labels")
    if columns is None:
        return None
    if isinstance(columns, str) or len(set(columns)) < max(2, len(columns)):
        raise UserError(
            f"competition.columns.labels={columns} needs two or more columns of 0 and 1, as [cat,dog]; a column of "
            "class names is competition.columns.label"
        )
    if "label" in competition.columns:
        raise UserError("competition.columns has label and labels: leave out the one that does not hold the classes")
    return list(columns)


def column_labels(
    path: Path, cells: Cells, columns: Sequence[str], competition: CompetitionOptions
) -> "pd.Series[str]":
    """The label of each row of a table with a column for each class, tag or number."""
    if competition.task not in ("multilabel", "regression"):
        return one_hot_labels(path, cells, columns)
    table = select_columns(path, cells, {name: name for name in columns}, columns)
    return pd.Series(join_columns(table, columns, str(path), competition), table.index, dtype=str)


def one_hot_labels(path: Path, cells: Cells, columns: Sequence[str]) -> "pd.Series[str]":
    """The one of `columns` that has a 1, for each row; "" where all are empty. Raises UserError for other rows."""
    table = select_columns(path, cells, {name: name for name in columns}, columns)
    numbers = as_flags(table.apply(pd.to_numeric, errors="coerce"))
    empty = (table == "").all(axis=1)
    wrong = ((numbers.sum(axis=1) != 1) | ~numbers.isin([0, 1]).all(axis=1)) & ~empty
    if wrong.any():
        row = wrong.index[int(wrong.to_numpy().argmax())]
        found = ", ".join(f"{name} {table.loc[row, name]!r}" for name in columns[:4])
        raise UserError(
            f"{path}, row {row}, has {found}: competition.columns.labels needs one 1 in each row, beside 0, since "
            "competition.task=multiclass has one class for each item"
        )
    return numbers.fillna(0).idxmax(axis=1).astype(str).where(~empty, "")


def with_named_items(groups: "pd.Series[str]", items: "pd.Series[str]") -> "pd.Series[str]":
    """The groups (None: none), where an item without one, after which the group of others is named, belongs to it.

    items: as they are written, or their paths; a group is named after the one or after the file name.
    """
    named = set(groups.dropna())
    files = items.map(lambda item: PurePosixPath(item).name)
    own = items.where(items.isin(named), files.where(files.isin(named), None))
    return groups.where(groups.notna(), own).astype(object)


def check_ids(ids: "pd.Series[str]", table: str, competition: CompetitionOptions) -> None:
    """Raises UserError for an empty cell among the ids, by row in the file, of competition.id=column."""
    if (empty := ids == "").any():
        raise UserError(
            f"{table}, row {ids.index[int(empty.to_numpy().argmax())]}, has no id in the column "
            f"{competition.column('id')}: competition.id=column needs one in each row"
        )


def _advice(competition: CompetitionOptions, name: str) -> str:
    """Say what to do about a missing table, which may be in the current folder instead of the source."""
    here, option = expanded(name).absolute(), "labels" if name == competition.labels else "files"
    if here.is_file():
        return f", where competition.source is: for the one here type competition.{option}={here}"
    if competition.kind == "video" and competition.finds_segments:
        return "; to begin one, type: python -m kagglepipe annotations input=FOLDER"
    return f": add it, or type where it is, as competition.{option}=PATH, absolute or seen from competition.source"


def with_all_tags(labels: pd.DataFrame, competition: CompetitionOptions, unit: list[str]) -> pd.DataFrame:
    """The labels where each row has the tags of all rows alike in the columns `unit`; of another task as they are."""
    if competition.task != "multilabel":
        return labels
    separator = tag_separator(competition)
    rows = labels.groupby(unit, dropna=False)["label"]
    return labels.assign(label=rows.transform(lambda tags: separator.join(dict.fromkeys(tags))))


def one_row_a_file(labels: pd.DataFrame, table: str, competition: CompetitionOptions) -> tuple[pd.DataFrame, list[str]]:
    """Merge the rows of each path: (labels, notes). Raises UserError if they disagree."""
    repeated = labels[labels["path"].duplicated(keep=False)]
    known = labels.drop_duplicates("path").copy()
    for column in [one for one in ("label", *GIVEN, "id", "key") if one in labels]:
        for path, rows in repeated.groupby("path"):
            values = rows[column].dropna()
            if values.nunique() > 1:
                other = values[values != values.iloc[0]]
                raise UserError(
                    f"{table} names {path} more than once, with the {competition.column(column)} {values.iloc[0]} (row "
                    f"{values.index[0]}) and {other.iloc[0]} (row {other.index[0]}): keep one {column} a file, or "
                    f"{mend_repeated(column)}"
                )
        given = repeated.dropna(subset=column).drop_duplicates("path").set_index("path")[column]
        known[column] = known[column].fillna(known["path"].map(given))
    again = len(labels) - len(known)
    return known, [f"{again} rows of {table} name a file a second time, and say the same"] if again else []


def mend_repeated(column: str) -> str:
    """What to type where the rows of an item have several values in one of our columns."""
    left = f"leave the column out with '+competition.columns={{{column}: null}}'"
    return "type competition.task=multilabel if an item has both" if column == "label" else left


def with_each_part(rows: pd.DataFrame, names: FileNames, item: str, competition: CompetitionOptions) -> pd.DataFrame:
    """The rows, one for each file of several, where the column of the items has the ids of the answers.

    item: the column that names the files.
    """
    if "answer_id" not in competition.columns or competition.column("answer_id") != competition.column("item"):
        return rows
    return rows.assign(**{item: rows[item].map(lambda name: names.parts_of(name) or [name])}).explode(item)


SKIP = ", or leave out such rows with competition.on_bad_image=skip"


def are_needed(items: "pd.Series[str]", names: FileNames, competition: CompetitionOptions) -> "pd.Series[bool]":
    """Whether the file of each item has to be there: of all, but with competition.on_bad_image=skip of those that are.

    Where no file is there, the names are wrong, and all are needed.
    """
    if competition.on_bad_image == "error":
        return pd.Series(True, items.index)
    is_there = names.are_there(items) | (items == "")
    return is_there | (not is_there.any())


def with_files(
    labels: pd.DataFrame, names: FileNames, item: str, table: str, competition: CompetitionOptions
) -> tuple[pd.DataFrame, list[str]]:
    """(the labels with the `path` of each row, notes). item: the column that names the files.

    Raises UserError for a row whose file is missing, which competition.on_bad_image=skip leaves out.
    """
    labels = with_each_part(labels, names, item, competition)
    is_there = are_needed(labels[item], names, competition)
    left, missing = labels[is_there], labels[item][~is_there]
    notes = [f"{len(missing)} rows of {table} have no file and were left out: {first_three(missing)}"]
    left = left.assign(path=names.paths(left[item], table, competition.kind, mend=SKIP))
    left = left if left.index.is_unique else left.reset_index(drop=True)  # several files of a row
    return left, notes if len(missing) else []


def with_labels(labels: pd.DataFrame, table: str, competition: CompetitionOptions) -> tuple[pd.DataFrame, list[str]]:
    """(the rows that have a label, notes); all of them unless competition.on_bad_image=skip leaves such rows out."""
    empty = labels["label"] == ""
    if competition.on_bad_image == "error" or competition.task == "multilabel" or not empty.any() or empty.all():
        return labels, []
    return labels[~empty], [f"{empty.sum()} rows of {table} have no label and were left out"]


def check_labels(labels: pd.DataFrame, path: str, competition: CompetitionOptions) -> None:
    """Raises UserError for training images that have no label or, of a task of classes, faulty ones."""
    one_hot = one_hot_columns(competition)
    column = competition.column("label") if one_hot is None else ", ".join(one_hot)
    empty = labels["label"] == ""
    if empty.any() and competition.task != "multilabel":  # an item may have no tag
        raise UserError(
            f"{path} has no label for {first_three(labels.loc[empty, 'file'])} in its column {column}: add it{SKIP}"
        )
    if competition.task in ("multiclass", "ordinal", "ranking"):
        check_class_labels(labels, f"{path}, column {column}:", competition)
        check_one_kind(labels["label"], f"{path}: column {column} has", are_given=bool(competition.classes))


def check_class_labels(labels: pd.DataFrame, where: str, competition: CompetitionOptions) -> None:
    """Raises UserError for several labels of an image, or a measurement."""
    separators = labels["label"].str.contains(r"[|;]")
    if separators.any() and one_hot_columns(competition) is None:
        raise UserError(
            f"{where} {first_three(labels.loc[separators, 'label'])} looks like several labels for one image: type "
            "competition.task=multilabel 'competition.label_separator=|', or give one label a file"
        )
    number = pd.to_numeric(labels["label"], errors="coerce")
    if (measured := number.notna() & (number % 1 != 0)).any():
        others = labels["label"][number.isna()]
        mend = f"mend {quoted_three(others)} among them, then " if len(others) else ""
        raise UserError(
            f"{where} {first_three(labels['label'][measured])} look like measurements: {mend}type "
            "competition.task=regression, or give one class name a file"
        )
