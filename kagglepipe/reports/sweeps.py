"""Pictures of a sweep, drawn with matplotlib (extra `sweep`): history, importance, parallel axes, Pareto front.

Optuna's own pictures leave out pruned trials, name no trial on the front, and need a global backend of pyplot.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kagglepipe.files import atomic
from kagglepipe.text import significant

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_TICKS = 8
BLUE, GREEN, RED = "#4a78b0", "#14783c", "#be1e28"


@dataclass(frozen=True)
class Point:
    """A trial: its number, its objectives (empty unless complete), and option -> sampled value."""

    number: int
    values: tuple[float, ...]
    params: Mapping[str, float | str]


@contextmanager
def page(path: Path, width: float = 8, height: float = 4.5) -> "Iterator[Axes]":
    """Axes of a figure (inches) that is written as PNG when the block ends; no window is opened."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    yield axes
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png")


def draw_history(path: Path, points: Sequence[Point], label: str, *, greater_is_better: bool) -> None:
    """Objective of each trial and the best so far; ticks on the axis mark pruned and failed trials."""
    from matplotlib.ticker import MaxNLocator

    done = sorted((point.number, point.values[0]) for point in points if point.values)
    lost = [point.number for point in points if not point.values]
    numbers, values = [number for number, _ in done], [value for _, value in done]
    best = (np.maximum if greater_is_better else np.minimum).accumulate(values)
    last = max(point.number for point in points)
    with page(path) as axes:
        axes.plot(numbers, values, "o", color=BLUE, label="trial")
        axes.step([*numbers, last], [*best, best[-1]], where="post", color=GREEN, label="best so far")
        if lost:
            axes.plot(lost, [0.0] * len(lost), "|", color=RED, markersize=14, transform=axes.get_xaxis_transform(),
                      clip_on=False, label="pruned or failed")  # fmt: skip
        axes.set(xlabel="trial", ylabel=label, title=f"{label} by trial")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.legend(frameon=False)


def draw_importance(path: Path, shares: Mapping[str, float], label: str) -> None:
    """Bar of each option: its share in the variance of the objective, in [0, 1]."""
    names = list(shares)[::-1]
    with page(path, height=1.5 + 0.4 * len(shares)) as axes:
        bars = axes.barh(names, [shares[name] for name in names], color=BLUE)
        axes.bar_label(bars, fmt="%.2f", padding=3)
        axes.set(xlim=(0, 1.1), xlabel="share of the variance (fANOVA)", title=f"What {label} depended on")


def draw_front(path: Path, points: Sequence[Point], labels: Sequence[str], best: Sequence[int]) -> None:
    """Trials by their first two objectives, and the Pareto front `best` with its trials' numbers."""
    done = [point for point in points if point.values]
    front = sorted((point.values[1], point.values[0], point.number) for point in done if point.number in best)
    with page(path) as axes:
        axes.plot(
            [point.values[1] for point in done], [point.values[0] for point in done], "o", color=BLUE, label="trial"
        )
        axes.plot([x for x, _, _ in front], [y for _, y, _ in front], "o-", color=GREEN, label="Pareto front")
        for x, y in dict.fromkeys((x, y) for x, y, _ in front):
            numbers = ", ".join(str(number) for *place, number in front if place == [x, y])
            axes.annotate(numbers, (x, y), textcoords="offset points", xytext=(5, 5), fontsize=8)
        axes.set(xlabel=labels[1], ylabel=labels[0], title=f"{labels[0]} against {labels[1]}")
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.legend(frameon=False)


def draw_parallel(path: Path, points: Sequence[Point], label: str, *, log_axes: Sequence[str] = ()) -> None:
    """Parallel coordinates: an axis for each option and one for the objective, which colours the line of a trial.

    Pruned and failed trials are grey and end before the last axis.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    points = sorted(points, key=lambda point: not point.values)  # complete ones first
    values, names = [point.values[0] for point in points if point.values], list(points[0].params)
    columns = [axis_of([point.params[name] for point in points], log=name in log_axes) for name in names]
    last, low, high = axis_of(values), min(values), max(values)
    colours: Any = ScalarMappable(Normalize(low, high if high > low else low + 1e-9), "viridis")
    with page(path, 2.2 + 1.7 * len(names)) as axes:
        for number, point in enumerate(points):
            heights = [column.places[number] for column in columns]
            if point.values:
                axes.plot([*heights, last.places[number]], color=colours.to_rgba(point.values[0]), alpha=0.75)
            else:
                axes.plot(heights, color="#cccccc", linewidth=1, zorder=1)
        for place, column in enumerate([*columns, last]):
            axes.axvline(place, color="#999999", linewidth=0.8)
            for height, text in column.ticks:
                axes.annotate(text, (place, height), textcoords="offset points", xytext=(4, 2), fontsize=7)
        axes.set_xticks(range(len(names) + 1), [*names, label], fontsize=8)
        axes.set_yticks([])
        axes.set_xlim(-0.2, len(names) + 0.6)
        axes.spines[:].set_visible(False)
        axes.figure.colorbar(colours, ax=axes, label=label, format="%.4g")


@dataclass(frozen=True)
class Column:
    """A parallel axis: the place in [0, 1] of each trial, and (place, text) of its ticks."""

    places: list[float]
    ticks: list[tuple[float, str]]


def axis_of(values: Sequence[float | str], *, log: bool = False) -> Column:
    """Axis of one option: strings equally spaced in order of appearance, numbers to scale.

    Ticks are all strings; of numbers both ends and the middle, or all of a few integers.

    >>> axis_of([1, 100, 10], log=True).places, axis_of(["a", "b", "a"]).ticks
    ([0.0, 1.0, 0.5], [(0.0, 'a'), (1.0, 'b')])
    """
    if any(isinstance(value, str) for value in values):
        words = list(dict.fromkeys(map(str, values)))
        place = {word: number / max(1, len(words) - 1) for number, word in enumerate(words)}
        return Column([place[str(value)] for value in values], [(place[word], word) for word in words])
    numbers = [math.log(float(value)) if log else float(value) for value in values]
    low, high = min(numbers), max(numbers)
    span = high - low or 1.0
    shown = sorted(set(numbers))
    if len(shown) > MAX_TICKS or not all(isinstance(value, int) for value in values):
        shown = [low] if low == high else [low, (low + high) / 2, high]
    return Column(
        [(number - low) / span for number in numbers],
        [((number - low) / span, significant(math.exp(number) if log else number)) for number in shown],
    )
