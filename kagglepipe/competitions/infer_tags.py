"""Which cells, or rows, of a table are the tags of an item."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from kagglepipe.competitions.infer_sources import NAMED_SHARE, Names
from kagglepipe.competitions.labels import WHOLE, sort_classes
from kagglepipe.competitions.source_tables import SourceTable
from kagglepipe.competitions.spreadsheet import Cells, pivoted, split_pair
from kagglepipe.competitions.tag_pairs import are_pairs

TAG_NAMES = ("labels", "classes", "categories", "genres")
SURE_NAMES = ("tags", "attributes", "attribute_ids")
RECURRING = 0.8  # of the words of cells with several, for these to be tags
REPEATED = 0.1  # of the items have rows with several labels, for these to be tags


def tag_separator(values: "pd.Series[str]", column: str) -> str | None:
    """What separates the tags of the cells of a column; None if they have one label each.

    >>> tag_separator(pd.Series(["scab rust", "rust", "scab"]), "labels"), tag_separator(pd.Series(["big cat"]), "name")
    (' ', None)
    """
    distinct = list(values.unique())
    for separator in ("|", ";"):
        if any(separator in value for value in distinct):
            return separator
    return next((one for one in (",", " ") if _are_tags(distinct, one, column)), None)


def _are_tags(distinct: Sequence[str], separator: str, column: str) -> bool:
    """Whether values are made of words that recur in others, as `scab rust`, `rust`."""
    parts = [[part.strip() for part in value.split(separator)] for value in distinct]
    several = [words for words in parts if len(words) > 1]
    counts = Counter(word for words in parts for word in set(words))
    words = {word for one in several for word in one}
    recurring = sum(counts[word] > 1 for word in words)
    if several and recurring and column.casefold() in SURE_NAMES:
        return True
    are_numbers = bool(words) and all(WHOLE.fullmatch(word) for word in words)
    if are_numbers:  # boxes have as many in each cell, and repeat them
        are_sets = all(len(set(one)) == len(one) for one in several)
        return are_sets and len({len(one) for one in parts}) > 1 and recurring > 0
    if not several or recurring < RECURRING * len(words):
        return False
    is_alone = recurring == len(words) and bool(set(distinct) & words)
    return is_alone or column.casefold() in TAG_NAMES or len(distinct) >= 2 * len(counts)


def are_repeated_items(table: SourceTable, item: str, column: str) -> bool:
    """Whether items have several rows, with a label each: a tenth of them or more, so that it is no mistake."""
    rows = table.rows[table.rows[column] != ""]
    return bool((rows.groupby(item)[column].nunique() > 1).mean() >= REPEATED) if len(rows) else False


def long_separator(table: SourceTable, column: str) -> str:
    """A separator that no tag of a table with a row for each has."""
    cells = table.rows[column]
    return next((one for one in (" ", ",", ";") if not cells.str.contains(one, regex=False).any()), "|")


def tags_of(labels: "pd.Series[str]", separator: str) -> list[str]:
    """All tags of cells, sorted."""
    return sort_classes({tag for label in labels.unique() for part in label.split(separator) if (tag := part.strip())})


def with_pairs_by_item(tables: Sequence[SourceTable], media: Sequence[str]) -> list[SourceTable]:
    """The tables, those of pairs with a row an item, if some of them are labels and one asks for pairs."""
    names = Names(media)
    found = {table.path: _by_item(table) for table in tables if media and _is_of_pairs(table, names)}
    if {table.is_sample for table in tables if table.path in found} != {True, False}:
        return list(tables)
    return [found.get(table.path, table) for table in tables]


def _is_of_pairs(table: SourceTable, names: Names) -> bool:
    if len(table.rows.columns) != 2 or not are_pairs(table.rows.iloc[:, 0].tolist()):
        return False
    pairs = table.rows.iloc[:, 0]
    values = pd.to_numeric(table.rows.iloc[:, 1], errors="coerce")
    is_named = names.share(pairs) < NAMED_SHARE <= names.share(pairs.map(lambda pair: split_pair(pair)[0]))
    return is_named and bool(values.between(0, 1).all())


def _by_item(table: SourceTable) -> SourceTable:
    cells = Cells(",", list(table.rows.columns), dict(enumerate(table.rows.to_numpy().tolist(), 2)))
    _, header, rows = pivoted(cells, Path(table.path))
    own = pd.DataFrame(list(rows.values()), columns=header, dtype=str)
    return replace(table, rows=own, value_column=str(table.rows.columns[1]))
