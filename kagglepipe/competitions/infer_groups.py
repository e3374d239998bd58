"""What the items come from (patients, drivers, scenes), whose rows stay in one fold."""

from collections.abc import Sequence

import pandas as pd

from kagglepipe.competitions.filenames import words_of
from kagglepipe.competitions.infer_sources import Inference, Names, Sources
from kagglepipe.competitions.source_tables import SourceTable

GROUP_WORDS = {"patient", "subject", "driver", "person", "speaker", "user", "group", "scene", "original", "source",
               "participant", "individual", "session", "player", "rider", "owner", "animal", "match", "game", "slide",
               "case", "recording", "location", "author", "recordist"}  # fmt: skip
MIN_GROUPS = 5  # fewer do not make folds
MAX_GROUPED = 0.9  # groups a row: more are no groups


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


def set_metadata(found: Inference, sources: Sources, names: Names, labels: SourceTable | None) -> None:
    """Set `metadata` for groups in a second table, if the labels have none."""
    columns = found.fields.get("columns", {})
    if "group" in columns or sources.items is not None or sources.given_column("group"):
        return
    for table in sources.tables:
        if table is labels or table.is_sample or table.split == "test":
            continue
        item = names.column(table)
        if item and (group := group_column(table, item, [])):
            found.set("metadata", table.path, f"has {group} for the items")
            own = columns or {"item": item}
            found.set("columns", {**own, "group": group}, found.reasons.get("columns", f"the groups are {group}"))
            if own.get("item") != item:
                found.set("metadata_key", item, "names the items there")
            found.notes.append(stay_together(group))
            return
