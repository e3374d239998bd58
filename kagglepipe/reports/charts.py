"""Charts as inline SVG: lines, points, and scores with their intervals. Names in them are escaped.

Colours are classes (`s0` … `s5`) of the page's style sheet, so that charts follow light and dark.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from kagglepipe.text import shortened, significant

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 460, 300, 54, 12, 12, 44
COLOURS = 6
MOST_POINTS = 400  # of a line or cloud: more cannot be told apart at this size
Range = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A named line through points (x, y); those that are not finite are left out."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int = 0
    is_dashed: bool = False


@dataclass(frozen=True)
class Interval:
    """A score with its 95 % interval; NaN where it is unknown."""

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Axes:
    """A frame with ticks; places values in it."""

    x: Range
    y: Range

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of a point."""
        right = LEFT + (x - self.x[0]) / (self.x[1] - self.x[0]) * (WIDTH - LEFT - RIGHT)
        return round(right, 1), round(HEIGHT - BOTTOM - (y - self.y[0]) / (self.y[1] - self.y[0]) * INNER, 1)


INNER = HEIGHT - TOP - BOTTOM


def line_chart(
    title: str, lines: Sequence[Line], labels: tuple[str, str], *, x: Range | None = None, y: Range | None = None,
    diagonal: bool = False, dots: bool = False,
) -> Markup:  # fmt: skip
    """Draw lines with a legend. labels: of the axes. x, y: ranges; None: those of the points. dots: mark the points."""
    points = [finite_points(one.x, one.y) for one in lines]
    every = [point for some in points for point in some]
    axes = Axes(x or span([one for one, _ in every]), y or span([one for _, one in every]))
    parts = [frame(axes, labels)]
    if diagonal:
        parts.append(polyline([axes.at(axes.x[0], axes.y[0]), axes.at(axes.x[1], axes.y[1])], "guide"))
    for one, some in zip(lines, points, strict=True):
        places = [axes.at(*point) for point in thinned(some)]
        style = f"line s{one.colour % COLOURS}" + " dashed" * one.is_dashed
        parts.append(polyline(places, style))
        if dots or len(places) == 1:
            parts += [circle(place, 3.5, f"dot s{one.colour % COLOURS}") for place in places]
    return svg(title, parts, HEIGHT) + legend(lines)


def scatter_chart(
    title: str, x: Sequence[float], y: Sequence[float], labels: tuple[str, str], *, diagonal: bool = False
) -> Markup:
    """Draw points (x, y); with a diagonal both axes have one range."""
    points = finite_points(x, y)
    xs, ys = [one for one, _ in points], [one for _, one in points]
    axes = Axes(span(xs + ys), span(xs + ys)) if diagonal else Axes(span(xs), span(ys))
    parts = [frame(axes, labels)]
    if diagonal:
        parts.append(polyline([axes.at(axes.x[0], axes.y[0]), axes.at(axes.x[1], axes.y[1])], "guide"))
    parts += [circle(axes.at(*point), 3, "cloud s0") for point in thinned(points)]
    return svg(title, parts, HEIGHT)


def interval_chart(title: str, scores: Sequence[Interval]) -> Markup:
    """Draw a row for each score: its name, a dot on a scale, a line over its interval, the number."""
    height = 30 * len(scores) + BOTTOM
    known = [v for one in scores for v in (one.value, one.low, one.high) if math.isfinite(v)]
    low, high = span(known)
    left, right = 190, WIDTH - 70

    def place(value: float) -> float:
        return round(left + (value - low) / (high - low) * (right - left), 1)

    parts = [text(place(tick), height - 14, significant(tick, 6), "middle") for tick in ticks((low, high))]
    for number, one in enumerate(scores):
        y = 20 + 30 * number
        parts.append(text(left - 12, y + 4, shortened(one.name, 28), "end"))
        if math.isfinite(one.low) and math.isfinite(one.high):
            parts.append(polyline([(place(one.low), y), (place(one.high), y)], f"line s{min(number, 1)}"))
        if math.isfinite(one.value):
            parts.append(circle((place(one.value), y), 5, f"dot s{min(number, 1)}"))
            parts.append(text(WIDTH - 4, y + 4, f"{one.value:z.4f}", "end"))
    return svg(title, parts, height)


# --- parts ---------------------------------------------------------------------------------------------------------


def svg(title: str, parts: Sequence[Markup], height: int, *, width: int = WIDTH) -> Markup:
    """An SVG that is read out by its title."""
    whole = '<svg class="chart" role="img" aria-label="{0}" viewBox="0 0 {1} {2}"><title>{0}</title>{3}</svg>'
    return Markup(whole).format(title, width, height, Markup("").join(parts))


def frame(axes: Axes, labels: tuple[str, str]) -> Markup:
    """Grid, ticks and names of the axes."""
    parts = []
    for tick in ticks(axes.x):
        x, y = axes.at(tick, axes.y[0])
        parts += [polyline([(x, TOP), (x, HEIGHT - BOTTOM)], "grid"), text(x, y + 16, significant(tick, 6), "middle")]
    for tick in ticks(axes.y):
        x, y = axes.at(axes.x[0], tick)
        parts += [polyline([(LEFT, y), (WIDTH - RIGHT, y)], "grid"), text(x - 6, y + 4, significant(tick, 6), "end")]
    parts.append(text((LEFT + WIDTH) / 2, HEIGHT - 6, labels[0], "middle"))
    turned = Markup('<text class="tick" text-anchor="middle" transform="translate(12 {}) rotate(-90)">{}</text>')
    return Markup("").join([*parts, turned.format(round(TOP + INNER / 2), labels[1])])


def legend(lines: Sequence[Line]) -> Markup:
    """Names of the lines, where there are several."""
    if len(lines) < 2:
        return Markup("")
    item = Markup('<li><span class="key s{}{}"></span>{}</li>')
    names = [item.format(one.colour % COLOURS, " dashed" if one.is_dashed else "", one.name) for one in lines]
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(names))


def polyline(places: Sequence[tuple[float, float]], style: str) -> Markup:
    """A line through pixels."""
    return Markup('<polyline class="{}" points="{}"/>').format(style, " ".join(f"{x:g},{y:g}" for x, y in places))


def circle(place: tuple[float, float], radius: float, style: str) -> Markup:
    """A dot at a pixel."""
    return Markup('<circle class="{}" cx="{:g}" cy="{:g}" r="{:g}"/>').format(style, *place, radius)


def text(x: float, y: float, words: str, anchor: str) -> Markup:
    """Words at a pixel. anchor: start, middle or end."""
    return Markup('<text class="tick" x="{:g}" y="{:g}" text-anchor="{}">{}</text>').format(x, y, anchor, escape(words))


def finite_points(x: Sequence[float], y: Sequence[float]) -> list[tuple[float, float]]:
    """Points of which both numbers are finite."""
    pairs = ((float(a), float(b)) for a, b in zip(x, y, strict=True))
    return [(a, b) for a, b in pairs if math.isfinite(a) and math.isfinite(b)]


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most MOST_POINTS of the points, evenly spread, with the first and the last."""
    if len(points) <= MOST_POINTS:
        return list(points)
    return [points[round(n * (len(points) - 1) / (MOST_POINTS - 1))] for n in range(MOST_POINTS)]


def span(values: Sequence[float]) -> Range:
    """Range of values, widened by a twentieth; (0, 1) for none.

    >>> span([]), span([2.0, 2.0])
    ((0.0, 1.0), (1.5, 2.5))
    """
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    if high - low <= 1e-12 * max(1.0, abs(high)):
        return low - 0.5, high + 0.5
    return low - (high - low) / 20, high + (high - low) / 20


def ticks(limits: Range, count: int = 5) -> list[float]:
    """Round numbers within a range, about `count` of them.

    >>> ticks((0.0, 1.0)), ticks((-3.0, 41.0))
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 10.0, 20.0, 30.0, 40.0])
    """
    rough = (limits[1] - limits[0]) / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * one for one in (1, 2, 5, 10) if unit * one >= rough * 0.999)
    first, last = math.ceil(limits[0] / step - 1e-9), math.floor(limits[1] / step + 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)]
