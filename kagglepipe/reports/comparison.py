"""The page that compares the runs of a competition: scores with intervals, networks, times, differing settings."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from kagglepipe.predictions.uncertainty import format_interval, format_score
from kagglepipe.reports.blocks import Chart, Section, Table, Text
from kagglepipe.reports.charts import Interval, interval_chart

MOST_DRAWN = 20  # runs in the chart
COUNTS = (("rows", 0), ("folds", 0), ("parameters", 0), ("seconds", 1))  # columns of numbers, and their decimals
PAIRED = (
    "Runs are scored on the same rows, so that intervals that overlap may belong to runs that differ significantly. "
    "Compare two by a paired test:"
)
OF_OTHER_ROWS = (
    "The runs are of different tables, as with and without competition.labels_patch: each is scored on its own labels, "
    "and those that a model has changed itself flatter it. Compare two on the rows that have the same label in both:"
)
HEADER = ("run", "score", "95 % interval", *(name for name, _ in COUNTS), "network", "finished")


def comparison(metric: str, facts: Sequence[Mapping[str, Any]], typed: str, *, have_one_table: bool) -> list[Section]:
    """Make the sections.

    facts: of each run, the best first, as `runs.summary.facts_of`, with rows, folds, network, finished, is_ensemble
    and settings. typed: command that compares two. have_one_table: whether all are scored on the same rows and labels.
    """
    drawn = [interval_of(row) for row in facts if row["metric"] == metric and row["score"] is not None][:MOST_DRAWN]
    words = f"{metric} out of fold with its 95 % interval"
    blocks: list[Any] = [Chart(words, interval_chart(words, drawn))] if drawn else []
    blocks.append(Table("All runs, the best first", HEADER, [cells_of(row, metric) for row in facts]))
    look = Section("look", "Scores", blocks)
    if len(facts) < 2:
        return [look]
    blocks += [Text(PAIRED if have_one_table else OF_OTHER_ROWS), Text(typed, is_code=True)]
    settings = Table("Settings in which runs differ", ("run", "settings"), own_settings(facts))
    return [look, Section("settings", "Settings", [settings])]


def own_settings(facts: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(run, its values of the settings in which trained runs differ) of each; of a blend its method and members.

    settings: name -> value as text.
    """
    trained = [row["settings"] for row in facts if not row["is_ensemble"]]
    same = set.intersection(*(set(one.items()) for one in trained)) if trained else set()
    texts = ("; ".join(f"{name}={value}" for name, value in row["settings"].items() if (name, value) not in same)
             for row in facts)  # fmt: skip
    return [(row["run"], text or "as the others") for row, text in zip(facts, texts, strict=True)]


def interval_of(row: Mapping[str, Any]) -> Interval:
    """A score to draw; NaN where it is unknown."""
    return Interval(row["run"], *(math.nan if row[name] is None else row[name] for name in ("score", "low", "high")))


def cells_of(row: Mapping[str, Any], metric: str) -> tuple[str, ...]:
    """Cells of a run; a score by another metric says which."""
    one = interval_of(row)
    of = "" if row["metric"] == metric else f" {row['metric']}"
    counts = (f"{row[name]:,.{digits}f}" if row[name] is not None else "" for name, digits in COUNTS)
    return (
        row["run"],
        format_score(one.value) + of,
        format_interval(one.low, one.high),
        *counts,
        row["network"],
        row["finished"],
    )
