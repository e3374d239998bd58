"""Tables with a row for each item and tag, where both the labels and the sample submission are so."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from kagglepipe.competitions.infer_sources import NAMED_SHARE, Names
from kagglepipe.competitions.source_tables import SourceTable
from kagglepipe.competitions.spreadsheet import Cells, pivoted, split_pair
from kagglepipe.competitions.tag_pairs import are_pairs


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
