"""Tables with a row for each item and tag, `ID_12_epidural,0`: both are joined by the last underscore (form=pairs).

They are read as tables with a row an item and a column a tag, and written as they are.
"""

from collections.abc import Sequence
from pathlib import Path

from kagglepipe.competitions.spreadsheet import Cells, pivoted, split_pair
from kagglepipe.options import CompetitionOptions

MAX_TAGS = 50
WHOLE_SHARE = 0.9  # of the items of which all tags have a row: tables may be cut, or repeat rows


def by_item(cells: Cells, path: Path, competition: CompetitionOptions) -> Cells:
    """Cells with a row an item and a column a tag, where the competition's form is `pairs`; else as they are.

    Raises UserError as `pivoted`.
    """
    return pivoted(cells, path) if competition.form == "pairs" else cells


def are_pairs(ids: Sequence[str]) -> bool:
    """Whether ids are those of items, each with all of two or more tags.

    >>> are_pairs(["a_1_x", "a_1_y", "b_2_x", "b_2_y"]), are_pairs(["a_1", "b_2", "c_3"])
    (True, False)
    """
    pairs = {split_pair(pair) for pair in ids}
    items, tags = {item for item, _ in pairs}, {tag for _, tag in pairs}
    is_like = 2 <= len(tags) <= MAX_TAGS and len(items) > 1 and "" not in items
    return is_like and len(pairs) >= WHOLE_SHARE * len(items) * len(tags)
