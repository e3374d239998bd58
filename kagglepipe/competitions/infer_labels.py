"""Which table, column or name holds the labels of the items, and their groups."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import pandas as pd

from kagglepipe.competitions.filenames import label_regex, words_of
from kagglepipe.competitions.folder_names import are_parts
from kagglepipe.competitions.infer_groups import (
    fold_column,
    group_column,
    is_flag,
    is_group,
    is_split,
    note_few_groups,
    split_column,
    stay_together,
)
from kagglepipe.competitions.infer_sources import (
    NAMED_SHARE,
    Inference,
    Names,
    Sources,
    find_named,
    has_own_labels,
    is_test,
    series_key,
)
from kagglepipe.competitions.infer_tasks import MEASURES, Task, are_many_numbers, column_words, find_task
from kagglepipe.competitions.item_tables import pixel_columns
from kagglepipe.competitions.labels import WHOLE
from kagglepipe.competitions.layout import FolderIndex, guess_layout, is_document
from kagglepipe.competitions.source_tables import SourceTable
from kagglepipe.competitions.targets import as_flags
from kagglepipe.errors import UserError
from kagglepipe.options import CompetitionOptions
from kagglepipe.text import first_three

LABEL_NAMES = ("label", "labels", "target", "class", "class_name", "classname", "class_id", "label_name", "category",
               "category_id", "species", "diagnosis", "dx", "breed", "variety", "type", "y", "tag", "tags")  # fmt: skip
ABOUT_FILES = {"width", "height", "url", "fold", "kfold", "file", "filename", "path", "filepath", "bbox", "x", "y", "w",
               "h", "xmin", "ymin", "xmax", "ymax", "date", "time", "license", "latitude", "longitude", "age", "size",
               "md", "sha", "hash", "index", "source", "split", "set", "subset", "usage"}  # fmt: skip
ANY_LABEL = {"has", "is", "label", "labels", "class", "target", "type", "category"}  # words of columns of labels
BINARY = {"0", "1", "0.0", "1.0"}, {"-1", "1", "-1.0", "1.0"}  # cells of columns that are each a class or a tag
GIVEN, CALLED, NAMED, GUESSED = 3, 2, 1, 0  # how sure the column of the labels is


@dataclass(frozen=True)
class Labels:
    """A table of labels: the column of the items (None: its rows are the items), of the labels (several: one-hot).

    of_parts: whether an item is several images, see `Sources.asks_for_parts`.
    """

    table: SourceTable
    item: str | None
    columns: Sequence[str]
    why: str
    sure: int
    of_parts: bool = False


def find_labels(sources: Sources, names: Names) -> Labels | None:
    """Find the table that labels the items; None where their folders or names do.

    Raises UserError for a table or column that is given, and is not there or names no items.
    """
    if sources.given.get("label_from") or sources.given.get("layout"):
        return None
    if (path := sources.given.get("labels")) is not None:
        return _in_table(sources, find_named(sources.tables, "labels", path), names, is_given=True)
    if sources.items is not None and sources.holds_pixels:
        return _in_table(sources, sources.items, names, is_given=True)
    if sources.items is not None and sources.sample is not None and has_own_labels(sources.items, sources.sample):
        return _in_table(sources, sources.items, names)
    tables = [table for table in sources.tables if not table.is_sample and table is not sources.items]
    found = [labels for table in tables if (labels := _in_table(sources, table, names))]
    given = sources.given_column("label") or sources.given_column("labels")
    if given and not found:
        there = "; ".join(f"{table.path} has {', '.join(table.columns[:8])}" for table in tables[:3]) or "there is none"
        raise UserError(f"no table that names the items has the column {given} of competition.columns: {there}")
    if len(found) < 2:
        return found[0] if found else None
    return min(found, key=lambda labels: _unlikeliness(labels, names))


def _unlikeliness(labels: Labels, names: Names) -> tuple[bool, bool, int, bool, bool, int, int]:
    """Sort key: the likeliest table of labels comes first, as train.csv before train_folds.csv and validation.csv."""
    table = labels.table
    words = words_of(table.name)
    is_called = table.split == "train" or bool({"label", "labels"} & set(words))
    others = len(set(words) - {"train", "label", "labels"})
    is_last = table.split == "test", lists_classes(labels)
    return *is_last, -labels.sure, table.split == "valid", not is_called, others, -names.count(table)


def lists_classes(labels: Labels) -> bool:
    """Whether a table has each class once, in a row of its own, so that its numbers are no names of items."""
    if len(labels.columns) != 1 or labels.table.split == "train":
        return False
    cells = labels.table.cells(labels.columns[0])
    return cells.is_unique and bool(pd.to_numeric(cells, errors="coerce").isna().all())


def _in_table(sources: Sources, table: SourceTable, names: Names, *, is_given: bool = False) -> Labels | None:
    """The labels of a table; None if it names no items, or has no column of labels.

    is_given: raise UserError then.
    """
    if (item := sources.given_column("item")) is not None:
        item = table.find(item)
    elif sources.items is not None and not sources.holds_pixels:
        item = series_key(sources.items, [one for one in (sources.items, table, sources.sample) if one is not None])
    elif not sources.holds_pixels:
        first = sources.sample.columns[0] if sources.sample else None
        item = names.column(table, first)
    of_parts = item is None and sources.asks_for_parts
    if of_parts and sources.sample is not None:
        item = table.find(sources.sample.columns[0])
    if item is None and not (sources.holds_pixels and table is sources.items):
        if is_given:
            raise UserError(
                f"no column of {table.path} ({', '.join(table.columns[:8])}) names the items: type "
                "'+competition.columns={item: NAME}'"
            )
        return None
    columns, why, sure = _label_columns(sources, table, item)
    if not columns and is_given:
        raise UserError(
            f"no column of {table.path} ({', '.join(table.columns[:8])}) can be the labels: type "
            "'+competition.columns={label: NAME}'"
        )
    sure = GUESSED if table.path.lower().endswith(".txt") and not is_given else sure  # folders count first
    return Labels(table, item, columns, why, sure, of_parts) if columns else None


def _label_columns(sources: Sources, table: SourceTable, item: str | None) -> tuple[list[str], str, int]:
    """(the columns of the labels, why, how sure): several are one-hot; none where no column can be one."""
    given = sources.given_column("label") or sources.given_column("labels")
    if given:
        wished = [given] if isinstance(given, str) else list(given)
        there = [column for name in wished if (column := table.find(name))]
        return (there, "as given", GIVEN) if len(there) == len(wished) else ([], "", GUESSED)
    targets = sources.targets
    own = [column for target in targets if (column := table.find(target, f"{target}_mean")) and column != item]
    if own and len(own) == len(targets):
        return own, "called as in the sample submission", CALLED
    pixels = set(pixel_columns(table.columns))
    others = [name for name in table.columns if name != item and name not in pixels and not is_split(table, name)]
    wanted = {target.casefold() for target in targets}
    for name in others:
        folded = {value.casefold() for value in table.cells(name)}
        if len(wanted) > 1 and len(folded & wanted) > 1 and folded <= wanted:
            return [name], "its values are the columns of the sample submission", CALLED
    words = {word for cell in sources.answers for word in cell.split()}
    if len(words) > 1 and any(len(cell.split()) > 1 for cell in sources.answers):
        shares = {name: len(words & set(table.cells(name))) / len(words) for name in others}
        if shares and shares[best := max(others, key=lambda name: shares[name])] > NAMED_SHARE:
            return [best], "its values are in the answers of the sample submission", CALLED
    likely = [name for name in LABEL_NAMES if name != "y" or not table.find("x", "w", "width")]  # y of a box
    named = [column for name in likely if (column := table.find(name)) and column in others]
    answers = set(sources.answers)
    holding = [name for name in others if answers and not is_group(name) and answers <= set(table.cells(name))]
    for name in named:
        if not holding or name in holding or pd.to_numeric(pd.Series(sorted(answers)), errors="coerce").notna().all():
            if held := [one for one in holding if _have_gaps(table, one) and _names_of_numbers(table, one, [name])]:
                return held[:1], f"it has the answers of the sample submission, the numbers of {name}", NAMED
            names = None if targets else _names_of_numbers(table, name, others)
            return ([names], f"the names of the numbers in {name}", NAMED) if names else ([name], "by its name", NAMED)
    if binary := _binary_columns(table, others):
        return binary, "they are of 0 and 1", NAMED
    return _guessed_column(table, others, holding)


def _have_gaps(table: SourceTable, column: str) -> bool:
    """Whether whole numbers of a column are no positions, counted from 0 or 1."""
    numbers = sorted({int(cell) for cell in table.cells(column) if WHOLE.fullmatch(cell)})
    return bool(numbers) and all(numbers != [*range(first, first + len(numbers))] for first in (0, 1))


def _names_of_numbers(table: SourceTable, column: str, others: Sequence[str]) -> str | None:
    """The column of names that has one for each whole number of a column of labels; None without one."""
    numbers = table.rows[column]
    if not numbers.map(lambda cell: bool(WHOLE.fullmatch(cell))).all():
        return None
    for name in others:
        pairs = table.rows[[column, name]].drop_duplicates()
        is_words = name != column and not is_group(name) and not table.rows[name].str.contains(r"[/.]|^[\W\d]*$").any()
        if is_words and len(pairs) == numbers.nunique() == table.rows[name].nunique():
            return name
    return None


def _binary_columns(table: SourceTable, columns: Sequence[str]) -> list[str]:
    """Three columns or more of 0 and 1, or −1 and 1: with one 1 in each row, or all there are but groups; else none."""
    binary = [name for name in columns if any(set(table.rows[name]) <= values for values in BINARY)]
    if len(binary) < 3:
        return []
    is_one_hot = (as_flags(table.rows[binary].astype(float)).sum(axis=1) == 1).all()
    are_all = all(name in binary or is_group(name) for name in columns)
    return binary if is_one_hot or are_all else []


def _guessed_column(table: SourceTable, columns: Sequence[str], holding: Sequence[str]) -> tuple[list[str], str, int]:
    """A column that can be the labels: one that holds the sample's answers, is called so, or the last."""
    most = max(2, len(table.rows) // 2)
    likely = [
        name
        for name in columns
        if 2 <= table.cells(name).nunique() <= most
        and not is_group(name)
        and not ABOUT_FILES & {*words_of(name), name.casefold()}
    ]
    if measured := _measured_columns(table, columns, likely):
        return measured, "numbers, by a word of its name", GUESSED
    if not likely:
        return [], "", GUESSED
    called = [name for name in likely if ANY_LABEL & set(re.split(r"[\W_]+", name.casefold()))]
    if held := [name for name in likely if name in holding and not set(table.cells(name)) <= {"0", "1"}]:
        return [held[-1]], "it has the answers of the sample submission", GUESSED
    why = "the last column that can be one" if len(likely) > 1 else "the one that can be one"
    bare = [re.sub(r"\d+", "#", name) for name in called or likely]  # of noise_0, noise_5 and noise_50 the first
    return [(called or likely)[bare.index(bare[-1])]], "by a word of its name" if called else why, GUESSED


def _measured_columns(table: SourceTable, columns: Sequence[str], likely: Sequence[str]) -> list[str]:
    """The last column of numbers that is called as measurements are; of what may be about the items only if no other.

    likely: columns that can be classes.
    """
    called = [name for name in columns if MEASURES & column_words(name) and not is_group(name)]
    numbers = [name for name in called if pd.to_numeric(table.cells(name), errors="coerce").notna().all()]
    own = [name for name in numbers if not ABOUT_FILES & {*words_of(name), name.casefold()}]
    return own[-1:] or ([] if likely else numbers[-1:])


def set_table_labels(found: Inference, sources: Sources, labels: Labels) -> Task:
    """Set the fields of a table of labels; returns its task."""
    table, item, columns = labels.table, labels.item, list(labels.columns)
    task = find_task(sources, table, columns, item)
    found.set("labels", table.path, "labels the items")
    ours: dict[str, object] = {} if item is None else {"item": item}
    ours |= {"answer_id": item} if labels.of_parts else {}
    ours |= {"labels": columns} if len(columns) > 1 else {"label": columns[0]}
    if labels.sure == GUESSED:
        other = "'+competition.columns={label: NAME}' names another"
        found.notes.append(f"{columns[0]} of {table.path} was taken for the labels: {other}")
    if split := split_column(table, [*columns, item]):
        ours["split"] = split
    if group := group_column(table, item, columns, task.labels):
        ours["group"] = group
        found.notes.append(stay_together(group))
    if fold := fold_column(table, group):
        ours["fold"] = fold
        found.notes.append(f"the folds are those of the column {fold} of {table.path}")
    ours |= _times(found, sources, labels)
    ours |= unread_columns(found, sources, table, ours)
    found.set("columns", ours, f"the labels are {', '.join(columns[:4])}: {labels.why}")
    note_few_groups(found, sources, table, [item, *columns])
    if are_many_numbers(task, columns[0]):
        found.notes.append(
            f"the {len(task.names)} whole numbers of {columns[0]} were taken for classes: competition.task=regression "
            "takes them as numbers, competition.task=ordinal as an order"
        )
    return task


def _times(found: Inference, sources: Sources, labels: Labels) -> dict[str, object]:
    """The columns of the times of pieces, of which a file has several; a row a file may be about one that was cut."""
    table = labels.table
    start, end = table.find("start", "begin", "onset"), table.find("end", "stop", "offset")
    if sources.kind == "image" or not start or not end or labels.item is None:
        return {}
    if table.cells(labels.item).is_unique:
        found.notes.append(
            f"{start} and {end} of {table.path} are not used, since each file has one row and may be that piece of a "
            f"longer one: '+competition.columns={{start: {start}, end: {end}}}' takes such a piece of each file"
        )
        return {}
    return {"start": start, "end": end}


def unread_columns(
    found: Inference, sources: Sources, table: SourceTable, ours: Mapping[str, object]
) -> dict[str, None]:
    """The columns that would be read by their names alone, and are not what these say, as null."""
    named = {name: theirs for name in ("group", "fold", "start", "end") if (theirs := table.find(name))}
    unread: dict[str, None] = {}
    if "group" in named and "group" not in ours and is_flag(table, named["group"], ours):
        unread["group"] = None
        found.notes.append(f"{named['group']} of {table.path} is 0 or 1, and no group")
    if "fold" in named and "fold" not in ours:
        unread["fold"] = None
        found.notes.append(
            f"{named['fold']} of {table.path} does not number folds from 0 or 1, or tears groups: it is not used"
        )
    if sources.kind != "image":
        unread |= {name: None for name in ("start", "end") if name in named and name not in ours}
    return unread


def note_other_labels(found: Inference, sources: Sources, names: Names, labels: Labels) -> None:
    """Say which other tables label items that the table of labels does not."""
    own = set(labels.table.cells(labels.item)) if labels.item else set()
    for table in sources.tables:
        other = None if table.is_sample or table.split == "test" or table is labels.table else names.column(table)
        if other and all(table.find(name) for name in labels.columns):
            more = len(set(table.cells(other)) - own)
            if more:
                found.notes.append(
                    f"{table.path} labels {more} others, which are not used: competition.labels=PATH takes one table "
                    "with all of them"
                )


def set_named_labels(found: Inference, sources: Sources) -> "pd.Series[str]":
    """The label of each training file by its name or its folder; sets `label_from`, if it is its name.

    Raises UserError where neither says it.
    """
    train = [file for file in sources.media if not is_test(file, sources.test_folders)]
    pattern = sources.given.get("label_from")
    if pattern is None and len({PurePosixPath(file).parent for file in train}) == 1 and "layout" not in sources.given:
        pattern = name_pattern(train)
    if pattern is not None:
        regex = label_regex(pattern)
        labels = {file: match["label"] for file in train if (match := regex.fullmatch(PurePosixPath(file).name))}
        found.set("label_from", pattern, f"as {first_three([PurePosixPath(file).name for file in train])}")
        return pd.Series(labels, dtype=str)
    named = folder_labels(sources)
    if "layout" not in sources.given and are_parts(sorted(set(named))):
        found.notes.append(
            f"{first_three(sorted(set(named)))}, the classes, may be what items come from: "
            "competition.label_from='*_{label}_*' takes labels from names of files"
        )
    return named


def folder_labels(sources: Sources) -> "pd.Series[str]":
    """The label of each training file, its index, by its folder. Raises UserError for fewer than two class folders."""
    given = {name: sources.given[name] for name in ("test", "layout") if sources.given.get(name)}
    kind = sources.kind if sources.kind in ("image", "video") else "series"
    items = [file for file in sources.media if kind != "image" or not is_document(file)]
    layout = guess_layout(sources.files, items, CompetitionOptions(kind=kind, **given), sources.root)
    index = FolderIndex(layout, items)
    return pd.Series({file: name for file in items if (name := index.find(file)[1]) is not None}, dtype=str)


def name_pattern(files: Sequence[str]) -> str | None:
    """The pattern of names such as `cat.0.jpg` or `0001_cat.jpg`, if all have it and it gives two labels or more.

    >>> name_pattern(["cat.0.jpg", "cat.1.jpg", "dog.0.jpg", "dog.1.jpg"])
    '{label}.{number}.jpg'
    """
    names = [PurePosixPath(file) for file in files]
    suffixes = {path.suffix for path in names}
    suffix = suffixes.pop() if len(suffixes) == 1 else ".{any}"
    for regex, form in (
        (r"(?P<label>\D*[^\W\d_])(?P<gap>[\W_]*)\d+", "{{label}}{gap}{{number}}"),
        (r"\d+(?P<gap>[\W_]+)(?P<label>[^\W\d_]\D*)", "{{number}}{gap}{{label}}"),
    ):
        matches = [re.fullmatch(regex, path.stem) for path in names]
        found = [match for match in matches if match is not None]
        labels = Counter(match["label"] for match in found)
        if (
            len(found) == len(names)
            and len({match["gap"] for match in found}) == 1
            and 2 <= len(labels) <= len(names) // 2
        ):
            return form.format(gap=found[0]["gap"]) + suffix
    return None
