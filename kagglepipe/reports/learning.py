"""Section "How it learned": losses and scores by fold and epoch, learning rate, time, regularisation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from kagglepipe.reports.blocks import Chart, Section, Table, Text
from kagglepipe.reports.charts import Line, line_chart
from kagglepipe.text import significant

Cells = tuple[str, ...]
RATE = "Learning rate of the first fold"
CURVES = {  # title -> columns of log.csv and their names
    "Loss of each fold": {"train_loss": "training", "valid_loss": "validation"},
    "Validation accuracy of each fold": {"valid_accuracy": "accuracy"},
    RATE: {"lr": "rate"},
}


@dataclass(frozen=True)
class FoldFacts:
    """A fold: its number, rows of log.csv (empty without one), content of metrics.json."""

    number: int
    log: pd.DataFrame
    metrics: Mapping[str, Any]


def learning(folds: Sequence[FoldFacts], facts: Sequence[tuple[str, str]]) -> Section:
    """Make the section. facts: names and values of the run's time, memory and machine."""
    blocks: list[Any] = [Table("Cost", ("what", "value"), facts)] if facts else []
    if not folds:
        return Section("learning", "How it learned", [*blocks, Text("An ensemble has no folds of its own to train.")])
    blocks.append(Table("Folds", *fold_rows(folds)))
    epochs = [fold for fold in folds if "epoch" in fold.log]
    if epochs:
        blocks += epoch_charts(epochs)
    elif heads := [fold for fold in folds if "regularisation" in fold.log]:
        blocks += regularisation(heads)
    else:
        blocks.append(Text("There is no log of epochs in this run."))
    return Section("learning", "How it learned", blocks)


def fold_rows(folds: Sequence[FoldFacts]) -> tuple[Cells, list[Cells]]:
    """Header and cells of the table of folds."""
    rows: list[Cells] = []
    for fold in folds:
        found = fold.metrics
        seconds, cut = found.get("seconds"), found.get("cut_by_budget")
        last = str(int(fold.log["epoch"].max())) if "epoch" in fold.log and len(fold.log) else "–"
        ended = next((str(one) for one in fold.log.get("ended_by", []) if isinstance(one, str) and one), "")
        rows.append((str(fold.number), digits(found.get("score")), digits(found.get("log_loss")),
                     str(found.get("rows", "–")), last, "–" if seconds is None else f"{seconds:.1f}",
                     f"budget {cut}" if cut else ended or "–"))  # fmt: skip
    return ("fold", "score", "loss", "rows", "epochs", "seconds", "ended early by"), rows


def regularisation(folds: Sequence[FoldFacts]) -> list[Any]:
    """What heads have chosen: the least inner loss of each fold, and a curve where there was a choice."""
    loss = next((str(name) for name in folds[0].log.columns if str(name).startswith("inner")), None)
    if loss is None or any(loss not in fold.log for fold in folds):
        return []
    rows, lines = [], []
    for fold in folds:
        tried = fold.log[["regularisation", loss]].groupby("regularisation")[loss].mean()
        losses, tries = tried.tolist(), [float(one) for one in tried.index]
        best = int(np.nanargmin(losses)) if tried.notna().any() else 0
        rows.append((str(fold.number), digits(tries[best]), digits(losses[best])))
        x = [math.log10(one) if one > 0 else math.nan for one in tries]
        lines.append(Line(f"fold {fold.number}", x, losses, fold.number))
    words = loss.replace("_", " ")
    table = Table("Regularisation chosen by the inner folds", ("fold", "regularisation", words), rows)
    if max(len(one.x) for one in lines) < 2:
        return [table]
    title = "Inner loss over regularisation"
    return [table, Chart(title, line_chart(title, lines, ("log10 of the regularisation", words), dots=True))]


def epoch_charts(folds: Sequence[FoldFacts]) -> list[Any]:
    """Curves of loss, accuracy and learning rate over epochs, a colour a fold; of several members the mean."""
    means = [(fold.number, fold.log.groupby("epoch").mean(numeric_only=True)) for fold in folds]
    charts = []
    for title, names in CURVES.items():
        lines = [
            Line(f"fold {number}, {words}", log.index.tolist(), log[name].tolist(), number, words == "training")
            for number, log in means[: 1 if title == RATE else None]
            for name, words in names.items()
            if name in log and log[name].notna().any()
        ]
        if lines:
            axes = ("epoch", title.partition(" of")[0].lower())
            charts.append(Chart(title, line_chart(title, lines, axes, dots=len(lines[0].x) < 20)))
    return charts


def digits(value: Any) -> str:
    """A number as text; – for none.

    >>> digits(0.25), digits(12345.6), digits(None), digits(float("nan"))
    ('0.25', '12,346', '–', '–')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return significant(value) if isinstance(value, float) else str(value)
