"""Pictures of a sweep, drawn with matplotlib (part of the extra `sweep`): history, importance, parallel axes, front."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kagglepipe.files import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_TICKS = 8
DONE, BEST, LOST = "#4a78b0", "#14783c", "#be1e28"


@dataclass(frozen=True)
class Shown:
    """A trial: its number, its values (none if it is not complete), and its options, as numbers where they are."""

    number: int
    values: tuple[float, ...]
    options: Mapping[str, float | str]


def figure(width: float = 8, height: float = 4.5) -> "Figure":
    """An empty page, in inches; no window is ever opened."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def save(page: "Figure", path: Path) -> None:
    """Writes a page as PNG, atomically."""
    with atomic(path) as temporary:
        page.savefig(temporary, format="png")


def draw_history(path: Path, trials: Sequence[Shown], label: str, *, greater_is_better: bool) -> None:
    """Each trial's value in the order they ran, and the best until then; ticks at the foot: not complete."""
    from matplotlib.ticker import MaxNLocator

    page = figure()
    axes = page.subplots()
    done = sorted((trial.number, trial.values[0]) for trial in trials if trial.values)
    lost = [trial.number for trial in trials if not trial.values]
    best = running_best([value for _, value in done], greater_is_better=greater_is_better)
    axes.plot([n for n, _ in done], [v for _, v in done], "o", color=DONE, label="trial")
    last = max(trial.number for trial in trials)
    axes.step([*(n for n, _ in done), last], [*best, best[-1]], where="post", color=BEST, label="best so far")
    if lost:
        axes.plot(lost, [0.0] * len(lost), "|", color=LOST, markersize=14, transform=axes.get_xaxis_transform(),
                  clip_on=False, label="stopped or failed")  # fmt: skip
    axes.set(xlabel="trial", ylabel=label, title=f"{label} by trial")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    plain_numbers(axes)
    axes.legend(frameon=False)
    save(page, path)


def running_best(values: Sequence[float], *, greater_is_better: bool) -> list[float]:
    """The best of the values up to each.

    >>> running_best([1, 3, 2], greater_is_better=True)
    [1, 3, 3]
    """
    best: list[float] = []
    for value in values:
        best.append(value if not best else (max if greater_is_better else min)(best[-1], value))
    return best


def draw_importance(path: Path, shares: Mapping[str, float], label: str) -> None:
    """A bar for each option: its share of what made trials differ."""
    page = figure(height=1.5 + 0.4 * len(shares))
    axes = page.subplots()
    names = list(shares)[::-1]
    bars = axes.barh(names, [shares[name] for name in names], color=DONE)
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set(xlim=(0, 1.1), xlabel="share of the variance (fANOVA)", title=f"What {label} depended on")
    axes.spines[["top", "right"]].set_visible(False)
    save(page, path)


def draw_parallel(path: Path, trials: Sequence[Shown], label: str, *, logs: Sequence[str] = ()) -> None:
    """A line a trial across an axis for each option and one for its value, which gives it its colour.

    Trials that are not complete have no value: they are grey, and end before it.
    """
    done = [trial for trial in trials if trial.values]
    lost = [trial for trial in trials if not trial.values]
    names = list(done[0].options)
    columns = [axis_of([trial.options[name] for trial in [*done, *lost]], log=name in logs) for name in names]
    lost_heights = [[column.places[number] for column in columns] for number in range(len(done), len(trials))]
    columns.append(axis_of([trial.values[0] for trial in done]))
    page = figure(2.2 + 1.7 * len(names))
    axes = page.subplots()
    low, high = min(trial.values[0] for trial in done), max(trial.values[0] for trial in done)
    paint = colours(low, high)
    for heights in lost_heights:
        axes.plot(range(len(names)), heights, color="#cccccc", linewidth=1)
    for number, trial in enumerate(done):
        heights = [column.places[number] for column in columns]
        axes.plot(range(len(columns)), heights, color=paint.to_rgba(trial.values[0]), alpha=0.75)
    for place, column in enumerate(columns):
        axes.axvline(place, color="#999999", linewidth=0.8)
        for height, text in column.ticks:
            axes.annotate(text, (place, height), textcoords="offset points", xytext=(4, 2), fontsize=7)
    axes.set_xticks(range(len(columns)), [*names, label], fontsize=8)
    axes.set_yticks([])
    axes.set_xlim(-0.2, len(columns) - 0.4)
    axes.spines[:].set_visible(False)
    page.colorbar(paint, ax=axes, label=label, format="%.4g")
    save(page, path)


@dataclass(frozen=True)
class Column:
    """An axis: the place in 0…1 of each trial, and (place, text) of what is written beside it."""

    places: list[float]
    ticks: list[tuple[float, str]]


def axis_of(values: Sequence[float | str], *, log: bool = False) -> Column:
    """Words stand one above the other in the order they first came, numbers where they belong.

    Beside it stand the words; of numbers both ends and the middle or, of a few whole ones, all.

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
    if len(shown) > MOST_TICKS or not all(isinstance(value, int) for value in values):
        shown = [low] if low == high else [low, (low + high) / 2, high]
    return Column(
        [(number - low) / span for number in numbers],
        [((number - low) / span, f"{math.exp(number) if log else number:.4g}") for number in shown],
    )


def draw_front(path: Path, trials: Sequence[Shown], labels: Sequence[str], best: Sequence[int]) -> None:
    """The trials by their first two values, those that none beats in all joined."""
    page = figure()
    axes = page.subplots()
    done = [trial for trial in trials if trial.values]
    front = sorted((trial.values[1], trial.values[0], trial.number) for trial in done if trial.number in best)
    axes.plot([trial.values[1] for trial in done], [trial.values[0] for trial in done], "o", color=DONE, label="trial")
    axes.plot([x for x, _, _ in front], [y for _, y, _ in front], "o-", color=BEST, label="beaten by none in all")
    for x, y in dict.fromkeys((x, y) for x, y, _ in front):
        numbers = ", ".join(str(number) for *place, number in front if place == [x, y])
        axes.annotate(numbers, (x, y), textcoords="offset points", xytext=(5, 5), fontsize=8)
    axes.set(xlabel=labels[1], ylabel=labels[0], title=f"{labels[0]} against {labels[1]}")
    plain_numbers(axes)
    axes.legend(frameon=False)
    save(page, path)


def plain_numbers(axes: "Axes") -> None:
    """Numbers along the axis as they are, not as differences from one that is written in a corner."""
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.spines[["top", "right"]].set_visible(False)


def colours(low: float, high: float) -> Any:
    """value -> colour."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(low, high if high > low else low + 1e-9), "viridis")
