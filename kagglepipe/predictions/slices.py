"""Where a model fails: its score on parts of the rows that the table's metadata tells apart."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from kagglepipe.predictions.frame import Labels, Probs
from kagglepipe.predictions.metrics import find_metric, log_loss

NAMED = ("format", "mode", "source", "group")  # columns whose values are a slice each
MOST = 20  # values; of a column with more, each has too few rows to say anything
FEWEST = 20  # rows that a slice has to have
PARTS = 4  # of the images by size


def slice_scores(table: pd.DataFrame, probs: Probs, truth: Labels, metric: str) -> list[dict[str, Any]]:
    """Rows, score and log loss of every slice with at least 20 rows, the one with the highest log loss first.

    table: the rows (N,) with what is known of them; columns that it lacks, or that are the same everywhere, tell
    nothing apart. The score is NaN where it is undefined (ROC AUC on one class).
    """
    function = find_metric(metric).function
    found = [
        {
            "by": by,
            "value": value,
            "rows": int(own.sum()),
            "score": function(probs[own], truth[own]),
            "log_loss": log_loss(probs[own], truth[own]),
        }
        for by, value, own in _slices(table)
        if own.sum() >= FEWEST
    ]
    return sorted(found, key=lambda one: -one["log_loss"])


def _slices(table: pd.DataFrame) -> Iterator[tuple[str, str, Any]]:
    """(what tells them apart, its value, the rows that have it (N,))."""
    for name in NAMED:
        if name not in table:
            continue
        values = table[name].astype(str).to_numpy()
        kinds = np.unique(values)
        if 1 < len(kinds) <= MOST:
            yield from ((name, str(kind), values == kind) for kind in kinds)
    if {"width", "height"} <= set(table):
        yield from _by_size(np.sqrt(table["width"].to_numpy(float) * table["height"].to_numpy(float)))


def _by_size(sides: "np.ndarray[Any, np.dtype[np.float64]]") -> Iterator[tuple[str, str, Any]]:
    """Four parts as even as equal sizes allow; sides (N,) are those of a square with as many pixels."""
    bounds = np.unique(np.quantile(sides, np.arange(1, PARTS) / PARTS))
    place = np.searchsorted(bounds, sides)
    if len(np.unique(place)) < 2:
        return
    for part in np.unique(place):
        own = place == part
        yield "size", f"{sides[own].min():.0f}-{sides[own].max():.0f} px", own
