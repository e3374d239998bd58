"""Colours and filled outlines, and the CSVs that go with drawn pictures."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

T = TypeVar("T")
Colour = tuple[int, ...]  # RGB, 0..255
Points = NDArray[np.float64]  # (n, 2) x to the right, y down
Path2D = Sequence[tuple[float, float]] | Points
Shape = tuple[Points, Colour]  # an outline and what fills it


def colours(codes: str) -> list[Colour]:
    """Parse hexadecimal colours.

    >>> colours("000000 d2d5dc")
    [(0, 0, 0), (210, 213, 220)]
    """
    return [tuple(bytes.fromhex(code)) for code in codes.split()]


SKINS = colours("f4d0b4 e2b492 c6926c 966444 62402c")
WOODS = colours("ba8c5e 966842 704a2e ceb28c 60544c")
BLACK, GLASS, SILVER, WHITE = colours("000000 0e0e10 d2d5dc f2f2f6")


def pick(rng: Generator, options: Sequence[T]) -> T:
    """Draw one of `options`."""
    return options[int(rng.integers(len(options)))]


def vivid(rng: Generator) -> Colour:
    """Draw a saturated colour."""
    return tuple(int(level) for level in rng.permutation([rng.integers(20, 110), *rng.integers(60, 245, 2)]))


def blend(start: Colour, end: Colour, share: float) -> Colour:
    """Mix two colours: `start` at share 0, `end` at 1."""
    return tuple(int(a + (b - a) * share) for a, b in zip(start, end, strict=True))


def shade(colour: Colour, factor: float) -> Colour:
    """Darken a colour, or lighten it where `factor` is above 1."""
    return tuple(min(255, int(level * factor)) for level in colour)


STEPS = np.linspace(0, 1, 24)


def arc(x: float, y: float, radius: float, start: float = 0, stop: float = 360) -> Points:
    """Outline of a circle around (x, y), or the part of it between two angles in degrees."""
    angles = np.radians(start + (stop - start) * STEPS)
    return radius * np.array([np.cos(angles), np.sin(angles)]).T + (x, y)


ROUND = np.concatenate([arc(0, 0, 1, start, start + 90)[::5] for start in (0, 90, 180, 270)])


def box(left: float, top: float, right: float, bottom: float, radius: float = 0) -> Points:
    """Outline of a rectangle with round corners."""
    x, y = (left + radius, right - radius), (top + radius, bottom - radius)
    centres = [(x[1], y[1]), (x[0], y[1]), (x[0], y[0]), (x[1], y[0])]
    return np.repeat(centres, len(ROUND) // 4, axis=0) + radius * ROUND


def soft(corners: Path2D) -> Points:
    """Round an outline by cutting its corners off twice (Chaikin's algorithm)."""
    points = np.asarray(corners, dtype=np.float64)
    for _ in range(2):
        after = np.roll(points, -1, axis=0)
        points = np.stack([0.75 * points + 0.25 * after, 0.25 * points + 0.75 * after], axis=1).reshape(-1, 2)
    return points


def stroke(path: Path2D, width: float) -> Points:
    """Outline of a line of this width with round ends."""
    points = np.asarray(path, dtype=np.float64)
    way = np.concatenate([points[1:], points[-1:]]) - np.concatenate([points[:1], points[:-1]])
    aside = way[:, ::-1] * (-1, 1) / np.hypot(way[:, :1], way[:, 1:]) * width / 2
    angles = np.degrees(np.arctan2(way[:, 1], way[:, 0]))
    (x, y), (u, v) = points[0], points[-1]
    begin = arc(x, y, width / 2, angles[0] - 90, angles[0] - 270)
    end = arc(u, v, width / 2, angles[-1] + 90, angles[-1] - 90)
    return np.concatenate([(points + aside)[1:-1], end, (points - aside)[-2:0:-1], begin])


def check_empty(folder: Path) -> None:
    """Raises FileExistsError if `folder` holds anything."""
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"the sample needs a new or empty folder, but this one holds files: {folder}")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV with the same bytes on every system."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
