"""What the items come from (patients, drivers, scenes), whose rows stay in one fold, and which are the test."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from kagglepipe.competitions.filenames import SPLIT_NAMES, cell_splits, flagged_split, words_of
from kagglepipe.competitions.group_names import GROUP_WORDS, MAX_GROUPED, MIN_GROUPS, group_pattern
from kagglepipe.competitions.infer_sources import Inference, Names, Sources
from kagglepipe.competitions.infer_tasks import Task
from kagglepipe.competitions.source_tables import SourceTable

MAX_FOLDS = 20


def is_group(name: str) -> bool:
    """Whether a column is named for what its items come from.

    >>> is_group("patient_id"), is_group("PatientID"), is_group("sex")
    (True, True, False)
    """
    return bool(GROUP_WORDS & set(words_of(name)))


def stay_together(group: str) -> str:
    """The note about groups."""
    return f"rows with the same {group} stay in one fold, since it may be what they come from"


def group_column(
    table: SourceTable, item: str | None, labels: Sequence[str], values: "pd.Series[str] | None" = None
) -> str | None:
    """The column that names what the rows come from: called so, with values that repeat in more than one class.

    values: the label of each row, where the table has them.
    """
    for name in table.columns:
        cells = table.rows[name]
        if name in (item, *labels) or not is_group(name):
            continue
        several = values is None or (pd.crosstab(values, cells) > 0).sum(axis=1).max() > 1
        if MIN_GROUPS <= table.cells(name).nunique() <= MAX_GROUPED * len(cells) and several:
            return name
    return None


def note_few_groups(found: Inference, sources: Sources, table: SourceTable, others: Sequence[str | None]) -> None:
    """Say of each column that is called as groups are, and has fewer values than folds.count is, why it is none.

    others: columns that hold something else.
    """
    if "group" in {*found.fields.get("columns", {}), *(sources.given.get("columns") or {})}:
        return
    for name in [name for name in table.columns if name not in others and is_group(name)]:
        values = set(table.cells(name))
        if 2 <= len(values) < MIN_GROUPS and not values <= {"0", "1"}:
            where = "" if table.path == found.fields.get("labels") else f" competition.metadata={table.path}"
            found.notes.append(
                f"{name} of {table.path} has {len(values)} values, fewer than the {MIN_GROUPS} folds, and is no group: "
                f"'+competition.columns={{group: {name}}}'{where} folds.count={len(values)} keeps each in one fold"
            )


def is_flag(table: SourceTable, column: str, ours: Mapping[str, object]) -> bool:
    """Whether a column is 0 or 1 beside others that are, so that it says what is in the item, not where it is from.

    ours: the columns that hold something else.
    """
    taken = {column, *(one for name in ours.values() for one in (name if isinstance(name, list) else [name]))}
    others = [name for name in table.columns if name not in taken]
    flags = [name for name in (column, *others) if set(table.cells(name)) <= {"0", "1"}]
    return column in flags and len(flags) > 1


def fold_column(table: SourceTable, group: str | None) -> str | None:
    """The column `fold` that numbers the folds from 0 or 1, if no group of the column `group` is torn by them."""
    fold = table.find("fold", "kfold")
    if fold is None or len(table.cells(fold)) < len(table.rows):
        return None
    numbers = sorted(set(pd.to_numeric(table.rows[fold], errors="coerce")))
    first = numbers[0] if numbers else None
    if first not in (0, 1) or not 2 <= len(numbers) <= MAX_FOLDS or numbers != [first + n for n in range(len(numbers))]:
        return None
    is_torn = group is not None and (table.rows.groupby(group)[fold].nunique() > 1).any()
    return None if is_torn else fold


def is_split(table: SourceTable, column: str) -> bool:
    """Whether a column says which items are for training, validation or test, so that it is no label."""
    return bool(flagged_split(column)) or column.casefold() in SPLIT_NAMES or len(_splits(table, column)) > 1


def _splits(table: SourceTable, column: str) -> set[str]:
    """What the cells of a column say of `train`, `valid` and `test`; none if one says something else."""
    said = {*cell_splits(table.cells(column), column).values()}
    return {split for split in said if split is not None and None not in said}


def split_column(table: SourceTable, others: Sequence[str | None]) -> str | None:
    """The column whose cells say training, validation or test: called so, or of several such words or flags."""
    said = {name: splits for name in table.columns if name not in others and (splits := _splits(table, name))}
    called = table.find(*SPLIT_NAMES)
    several = [name for name in said if len(said[name]) > 1]
    is_less = {name: ("test" not in said[name], flagged_split(name) == "train") for name in several}
    return called if called in said else min(several, key=lambda name: is_less[name], default=None)


def set_metadata(found: Inference, sources: Sources, names: Names, labels: SourceTable | None) -> None:
    """Set `metadata` for groups, or the test, in a second table, if nothing else says them."""
    columns = found.fields.get("columns", {})
    has_group, has_split = (name in columns or bool(sources.given_column(name)) for name in ("group", "split"))
    has_split |= "test" in found.fields
    if has_group and has_split:
        return
    if sources.items is not None:
        if not has_group:
            _set_group_of_series(found, sources, sources.items)
        return
    for table in sources.tables:
        if table is labels or table.is_sample or table.split == "test":
            continue
        item = names.column(table)
        group = group_column(table, item, []) if item and not has_group else None
        split = split_column(table, [item]) if item and not has_split else None
        split = split if split and "test" in _splits(table, split) else None
        if item and (group or split):
            found.set("metadata", table.path, f"has {' and '.join(filter(None, (group, split)))} for the items")
            own = columns or {"item": item}
            ours = {**own, **({"group": group} if group else {}), **({"split": split} if split else {})}
            why = f"the groups are {group}" if group else f"the test is by {split}"
            found.set("columns", ours, found.reasons.get("columns", why))
            if own.get("item") != item:
                found.set("metadata_key", item, "names the items there")
            found.notes += [stay_together(group)] if group else []
            found.notes += [f"{split} of {table.path} says which items are the test"] if split else []
            return
        if item and not has_group:
            note_few_groups(found, sources, table, [item])


def set_named_groups(
    found: Inference, sources: Sources, task: Task, item: str | None, labels: SourceTable | None
) -> None:
    """Set `group_from`, if no column has groups or folds, and the names of the training files tell of them.

    item: the column of the table of labels that names the files; None where folders or names label them.
    """
    if {"group", "fold"} & {*found.fields.get("columns", {}), *(sources.given.get("columns") or {})}:
        return
    values = task.labels
    if labels is not None and item is not None:
        files = labels.rows[item].map(lambda cell: next(iter(sources.names.all(cell)), ""))
        values = pd.Series(task.labels.to_numpy(), files)
        values = values[(values.index != "") & ~values.index.duplicated()]
    if pattern := group_pattern(values, several=task.name != "regression"):
        found.set("group_from", pattern, "by the names of the files")
        found.notes.append(
            f"files with the same {{group}} in {pattern} stay in one fold, since it may be what they come from: "
            "competition.group_from=null takes each alone"
        )


def _set_group_of_series(found: Inference, sources: Sources, items: SourceTable) -> None:
    """Set `metadata` to the table of all series itself, if it has a group that is the same in all rows of a series."""
    columns = found.fields.get("columns", {})
    if (key := columns.get("item")) is None:
        return
    series = items.rows.groupby(key)
    constant = [name for name in items.columns if name != key and (series[name].nunique() == 1).all()]
    if name := group_column(replace(items, rows=series[constant].first()), key, []):
        found.set("metadata", items.path, f"has {name} for the series")
        found.set("columns", {**columns, "group": name}, found.reasons.get("columns", f"the groups are {name}"))
        found.notes.append(stay_together(name))
        return
    note_few_groups(found, sources, items, [key])
