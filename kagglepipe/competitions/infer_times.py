"""Times of videos, series or sounds: segments or events that the sample asks for, and a column that counts rows."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from kagglepipe.competitions.infer_groups import group_column, stay_together
from kagglepipe.competitions.infer_sources import (
    FIT_SHARE,
    NAMED_SHARE,
    Inference,
    Sources,
    idle_folders,
    is_test,
    series_key,
)
from kagglepipe.competitions.infer_tasks import Task
from kagglepipe.competitions.labels import sort_classes
from kagglepipe.competitions.series_columns import counter_column, has_time
from kagglepipe.competitions.source_tables import SourceTable, read_source_table
from kagglepipe.competitions.timed_columns import ENDS, EVENTS, FRAMES, SCORES, SEGMENTS, STARTS, TIMES, timed_columns
from kagglepipe.errors import UserError
from kagglepipe.options import EVENT_SCORE, SEGMENT_SCORES
from kagglepipe.text import first_three

LABELS = ("event", "label", "action", "activity", "class", "class_name", "behavior", "behaviour", "target", "category")
BOUNDS = ("start", "end")  # labels that begin and end the parts of a video that are annotated
BACKGROUND = "none"
WIDTH_SHARE = 1 / 30  # of the usual time between events of a series: an event's width, around which tolerances lie
TOLERANCES = (0.3, 0.4, 0.5, 0.6, 0.7)  # of it


@dataclass(frozen=True)
class Timed:
    """A table of segments or events. times: columns, `{time: …}` or `{start: …, end: …}`."""

    form: str
    table: SourceTable
    item: str
    label: str
    times: dict[str, str]


def find_timed(sources: Sources) -> Timed | None:
    """Find the table of segments or events; None where whole items are classified.

    Raises UserError where they are asked for, and no table has them.
    """
    form = asked_form(sources)
    if form is None:
        return None
    for table in sources.tables:
        if table.is_sample or table.split == "test":
            continue
        times, item = times_of(table, form, sources), item_column(table, sources)
        label = label_column(table, sources, {item, *times.values()}) if times and item else None
        if item and label:
            return Timed(form, table, item, label, times)
    needed = "a time" if form == "events" else "start and end"
    tables = "; ".join(f"{table.path} has {', '.join(table.columns[:6])}" for table in sources.tables[:3])
    raise UserError(
        f"{form} are asked for, and no table has items, labels and {needed} ({tables or 'there is none'}): type "
        f"competition.labels=FILE and '+competition.columns={{item: NAME, label: NAME, "
        f"{'time: NAME' if form == 'events' else 'start: NAME, end: NAME'}}}'"
    )


def asked_form(sources: Sources) -> str | None:
    """`events` or `segments`, as typed or by the columns of the sample submission; None for neither."""
    form, metric = str(sources.given.get("form", "")), str(sources.given.get("metric", ""))
    if form or sources.holds_pixels or (sources.kind == "image" and sources.items is None):
        return form if form in ("events", "segments") else None
    if metric == EVENT_SCORE or sources.sample is None:
        return "events" if metric == EVENT_SCORE else None
    answers = {target.casefold() for target in sources.targets}
    if answers & set(STARTS) and answers & set(ENDS):
        return "segments"
    frames, parts = sorted(answers & set(FRAMES)), [name for name in answers if name.endswith("_ms")]
    if sources.kind in ("video", "audio") and (frames or parts) and answers & set(SCORES):
        raise UserError(
            f"the sample submission asks for {first_three(frames or parts)}, and times are seconds here: divide those "
            f"of labels and sample submission by {'the frame rate' if frames else '1000'}, as time, or start and end"
        )
    return "events" if answers & set(TIMES) and len(answers) > 1 else None


def times_of(table: SourceTable, form: str, sources: Sources) -> dict[str, str]:
    """The columns of the times of a table, as `competition.columns`: as typed, else as in the sample submission, else
    called as times are; empty without them.
    """
    wanted = {"time": TIMES} if form == "events" else {"start": STARTS, "end": ENDS}
    found = {}
    for ours, names in wanted.items():
        asked = [target for target in sources.targets if target.casefold() in names]
        typed = sources.given_column(ours)
        found[ours] = table.find(*([str(typed)] if typed else [*asked, *names]))
    return {ours: column for ours, column in found.items() if column} if all(found.values()) else {}


def without_row_numbers(sample: SourceTable) -> SourceTable:
    """A sample submission of events or segments without a column that numbers its rows; any other as it is."""
    for ours in (EVENTS, SEGMENTS):
        columns = timed_columns(ours, sample.columns) or {}
        if "row" in columns:
            return replace(sample, rows=sample.rows.drop(columns=columns["row"]))
    return sample


def item_column(table: SourceTable, sources: Sources) -> str | None:
    """The column that names the items, of which each has many rows."""
    if typed := sources.given_column("item"):
        return table.find(typed)
    if sources.items is not None:
        return series_key(sources.items, [sources.items, table])
    first = sources.sample.columns[0] if sources.sample is not None else ""
    called = table.find(first)
    if called and sources.names.share(table.cells(called)) >= FIT_SHARE:
        return called
    shares = {name: sources.names.share(table.cells(name)) for name in table.columns}
    best = max(shares, key=lambda name: shares[name])
    return best if shares[best] >= NAMED_SHARE and table.cells(best).nunique() > 1 else None


def label_column(table: SourceTable, sources: Sources, others: set[str | None]) -> str | None:
    """The column that says what happens: as typed, called as in the sample submission, or as labels are."""
    if typed := sources.given_column("label"):
        return table.find(str(typed))
    return next((name for one in (*sources.targets, *LABELS) if (name := table.find(one)) and name not in others), None)


def set_timed(found: Inference, sources: Sources, timed: Timed) -> Task:
    """Set the fields of segments or events; returns their task."""
    table = timed.table
    columns: dict[str, Any] = {"item": timed.item, "label": timed.label, **timed.times}
    if group := group_column(table, timed.item, [timed.label]):
        columns["group"] = group
        found.notes.append(stay_together(group))
    found.set("labels", table.path, "says what happens when")
    found.set("columns", columns, f"what happens is {timed.label}")
    found.set("form", timed.form, "the sample submission has their times" if sources.sample else "as asked for")
    found.set("background", BACKGROUND, "of the time without a label")
    labels = table.cells(timed.label)
    if timed.form == "events" and set(labels) > set(BOUNDS):
        labels = labels[~labels.isin(BOUNDS)]
        found.set("bounds", list(BOUNDS), "they begin and end the annotated parts")
        found.notes.append(f"time outside start and end of {table.path} is neither learnt nor scored")
    metric = str(sources.given.get("metric", ""))
    if metric not in (EVENT_SCORE, *SEGMENT_SCORES):
        found.set("metric", "accuracy", "of frames; competition.segment_metric scores segments, event_ap events")
    _set_duration(found, sources, timed)
    _exclude_unlabelled(found, sources, table.cells(timed.item))
    if timed.form == "events":
        found.settings["model.temporal.bidirectional"] = True
        found.reasons["model.temporal.bidirectional"] = "what comes after an event tells when it was"
    names = sort_classes({BACKGROUND, *labels})
    return Task("multiclass", "what happens at a time", labels, names)


def _set_duration(found: Inference, sources: Sources, timed: Timed) -> None:
    """Set how long what happens usually takes; events of series, whose unit may be anything, get a width by it."""
    table = timed.table.rows.assign(
        **{one: pd.to_numeric(timed.table.rows[one], "coerce") for one in timed.times.values()}
    )
    if timed.form == "segments":
        found.duration = finite_median(table[timed.times["end"]] - table[timed.times["start"]])
        return
    time = timed.times["time"]
    usual = finite_median(table.sort_values([timed.item, time]).groupby(timed.item)[time].diff())
    if found.fields.get("kind") != "series" or usual is None:
        return
    width = float(f"{usual * WIDTH_SHARE:.2g}")
    why = f"a thirtieth of the usual time between events, {usual:.3g}"
    found.duration = 2 * float(sources.given.get("event_width", width))
    found.set("event_width", width, why)
    found.set("event_tolerances", [float(f"{one * width:.2g}") for one in TOLERANCES], "shares of event_width")


def finite_median(numbers: "pd.Series[float]") -> float | None:
    """The median of those numbers that are above 0; None without any."""
    median = float(numbers[numbers > 0].median())
    return median if math.isfinite(median) else None


def _exclude_unlabelled(found: Inference, sources: Sources, labelled: Iterable[str]) -> None:
    """Set `exclude` to folders that hold neither labelled items nor tests, as further clips."""
    used = {file for cell in {*labelled, *sources.ids} for file in sources.names.all(cell)}
    used |= {file for file in sources.media if is_test(file, sources.test_folders)}
    idle = idle_folders(sources.media, used)
    if idle and "exclude" not in sources.given:
        found.set("exclude", [f"{folder}/*" for folder in idle], "no label and no answer is of them")
        found.notes.append(f"{first_three(idle)}: nothing there is labelled or asked for, so it was left out")


def set_times(found: Inference, sources: Sources) -> None:
    """Set the column of the times to one that numbers the rows, if no other is named as times are."""
    columns, items = found.fields.get("columns", {}), sources.items
    csvs = (read_source_table(sources.root, file) for file in sources.media if file.lower().endswith(".csv"))
    table = items or next(csvs, None)
    if table is None or has_time(table.columns) or "time" in (sources.given.get("columns") or {}):
        return
    counter = counter_column(table.rows, columns.get("item") if items else None)
    if counter and columns.get("time", counter) == counter:
        why = found.reasons.get("columns", "")
        found.set("columns", {**columns, "time": counter}, f"{why}{'; ' * bool(why)}{counter} numbers the samples")
        found.set("unit", "samples", f"{counter} counts them")
