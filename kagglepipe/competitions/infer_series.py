"""The time of series, inferred: a column that numbers the rows of each."""

from kagglepipe.competitions.infer_sources import Inference, Sources
from kagglepipe.competitions.series_columns import counter_column, has_time
from kagglepipe.competitions.source_tables import read_source_table


def set_times(found: Inference, sources: Sources) -> None:
    """Set the column of the times to one that numbers the rows, if no other is named as times are."""
    columns, items = found.fields.get("columns", {}), sources.items
    csvs = (read_source_table(sources.root, file) for file in sources.media if file.lower().endswith(".csv"))
    table = items or next(csvs, None)
    if table is None or has_time(table.columns) or "time" in (sources.given.get("columns") or {}):
        return
    if counter := counter_column(table.rows, columns.get("item") if items else None):
        why = found.reasons.get("columns", "")
        found.set("columns", {**columns, "time": counter}, f"{why}{'; ' * bool(why)}{counter} numbers the samples")
        found.set("unit", "samples", f"{counter} counts them")
