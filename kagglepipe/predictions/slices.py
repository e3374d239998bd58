"""Scores on slices of the rows by metadata."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from kagglepipe.competitions.targets import Truth
from kagglepipe.predictions.frame import Probs
from kagglepipe.predictions.metrics import find_metric
from kagglepipe.predictions.tasks import row_losses

COLUMNS = ("format", "mode", "source", "group")  # each value is a slice
MAX_VALUES = 20  # of a column
MIN_ROWS = 20  # of a slice
SIZE_QUANTILES = 4


def slice_scores(
    table: pd.DataFrame, probs: Probs, truth: Truth, metric: str, answers: Probs | None = None
) -> list[dict[str, Any]]:
    """Rows, score and loss of every slice with at least MIN_ROWS rows, by falling loss.

    table: metadata of the rows (N,); constant and missing columns make no slices. answers: predictions with the
    decision, which the metric scores; None: probs. The score is NaN where it is undefined (ROC AUC on one class).
    """
    function, decided = find_metric(metric).function, probs if answers is None else answers
    found = [
        {
            "by": by,
            "value": value,
            "rows": int(own.sum()),
            "score": function(decided[own], truth[own]),
            "log_loss": float(row_losses(probs[own], truth[own]).mean()),
        }
        for by, value, own in _slices(table)
        if own.sum() >= MIN_ROWS
    ]
    return sorted(found, key=lambda one: -one["log_loss"])


def _slices(table: pd.DataFrame) -> Iterator[tuple[str, str, Any]]:
    """(column, value, mask of its rows (N,))."""
    for name in COLUMNS:
        if name not in table:
            continue
        values = table[name].astype(str).to_numpy()
        kinds = np.unique(values)
        if 1 < len(kinds) <= MAX_VALUES:
            yield from ((name, str(kind), values == kind) for kind in kinds)
    if {"width", "height"} <= set(table):
        sides = np.sqrt(table["width"].to_numpy(float) * table["height"].to_numpy(float))  # of squares
        bounds = np.unique(np.quantile(sides, np.arange(1, SIZE_QUANTILES) / SIZE_QUANTILES))
        parts = [part for part in (np.searchsorted(bounds, sides) == k for k in range(SIZE_QUANTILES)) if part.any()]
        for own in parts if len(parts) > 1 else ():
            yield "size", f"{sides[own].min():.0f}-{sides[own].max():.0f} px", own
