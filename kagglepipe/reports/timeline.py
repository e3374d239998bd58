"""Draw the timeline of a video: probabilities, detected and true segments.

Segments are frames of one video as in `segments.matching`. `background` is the class of times without an action, which
gets no row and no colour; None without such a class.
"""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from kagglepipe.files import atomic
from kagglepipe.predictions.uncertainty import Floats
from kagglepipe.reports.plots import GAP, INK, PAPER, fit_text
from kagglepipe.segments.postprocess import FrameProbs
from kagglepipe.text import quoted_three

Colour = tuple[int, int, int]

PALETTE: tuple[Colour, ...] = (  # for the colour-blind: six by Okabe and Ito 2008, two by Tol 2021
    (0x00, 0x72, 0xB2),  # blue
    (0xD5, 0x5E, 0x00),  # vermilion
    (0x00, 0x9E, 0x73),  # green
    (0xCC, 0x79, 0xA7),  # pink
    (0xE6, 0x9F, 0x00),  # orange
    (0x56, 0xB4, 0xE9),  # sky
    (0x88, 0x22, 0x55),  # wine
    (0x99, 0x99, 0x33),  # olive
)
WHITE, GREY, PANEL, GRID = (255, 255, 255), (105, 105, 105), (241, 241, 238), (222, 222, 218)
OUTLINE, TRUE = (140, 140, 140), (205, 205, 205)

WIDTH, HEAD, FOOT, MARGIN = 1200, 62, 30, 30  # pixels of the picture; the margin is on the right
MIN_NAMES, MAX_NAMES = 110, 170  # pixels of the column of names
BAR, TRUTH_BAR, BETWEEN = 14, 8, 3  # heights of a detected segment, a true segment, and a gap
FILL = 0.35  # opacity below a curve
MAX_TICKS = (12, 6, 3, 1)
CLOCK_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
DAY, ROUNDING = 86400, 1e-6
MIN_CLOCK_TIME = 120.0  # seconds from which on times are written as m:ss


def class_colours(classes: Sequence[str], background: str | None) -> dict[str, Colour]:
    """Colour of each class but the background, the same in every picture; from the ninth class on they repeat.

    Raises ValueError for a background that is no class.

    >>> class_colours(["nothing", "walk", "wave"], "nothing")
    {'walk': (0, 114, 178), 'wave': (213, 94, 0)}
    """
    if background is not None and background not in classes:
        raise ValueError(f"background {background!r} is none of the classes {', '.join(classes)}")
    shown = [name for name in classes if name != background]
    return {name: PALETTE[k % len(PALETTE)] for k, name in enumerate(shown)}


# --- the picture of a timeline ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scale:
    """Linear scale from times `first` … `last` to pixel columns left <= column < right."""

    first: float
    last: float
    left: int
    right: int

    def at(self, time: float) -> int:
        """Column whose left edge is nearest to a time."""
        return self.left + round((time - self.first) / (self.last - self.first) * (self.right - self.left))

    def bar(self, start: float, end: float) -> tuple[int, int]:
        """First and last column of a segment, at least two columns."""
        begin = min(self.at(start), self.right - 2)
        return begin, max(self.at(end), begin + 2) - 1


def draw_timeline(
    path: Path,
    times: Floats,
    step: float,
    probs: npt.NDArray[np.floating],
    classes: Sequence[str],
    background: str | None,
    segments: pd.DataFrame,
    *,
    title: str,
    unit: str = "s",
    truth: pd.DataFrame | None = None,
) -> None:
    """Draw the probabilities and segments of one video as a PNG, 1200 pixels wide.

    Each class but the background has a row: a curve of its probability, each sample held until the next and the
    maximum of those in one pixel; below it the detected segments with scores, and the true segments if given. The time
    axis covers samples, segments and truth.

    times, step, probs: (T,), and (T, C) for the C classes, as in `FrameProbs`. segments: detected ones, with `score`;
    those of one class do not overlap. unit: of all times; long times in "s" are written as m:ss.
    Raises ValueError for probabilities that are not finite, shapes that differ, times off the grid, an unknown
    background or label, and segments of several videos.
    """
    frames = [segments] if truth is None else [segments, truth]
    _check(FrameProbs(times, step, probs), classes, frames)
    colours = class_colours(classes, background)
    names = ImageFont.load_default(13)
    widest = max((names.getlength(strip_accents(name)) for name in colours), default=0)
    scale = Scale(*_limits(times, step, frames), 3 * GAP + int(np.clip(widest, MIN_NAMES, MAX_NAMES)), WIDTH - MARGIN)
    curve = 40 if len(colours) <= 12 else 26
    pitch = curve + BETWEEN + BAR + (BETWEEN + TRUTH_BAR if truth is not None else 0) + 2 * GAP
    bottom = HEAD + pitch * len(colours)
    sheet = Image.new("RGB", (WIDTH, bottom + FOOT), PAPER)
    pen = ImageDraw.Draw(sheet)
    _draw_head(sheet, scale, title, next(iter(colours.values()), INK), truth is not None)
    for top in range(HEAD, bottom, pitch):
        pen.rectangle((scale.left, top, scale.right - 1, top + curve - 1), PANEL)
    _draw_axis(pen, scale, unit, bottom)
    heights = column_maxima(times, step, probs, scale)
    for top, (name, colour) in zip(range(HEAD, bottom, pitch), colours.items(), strict=True):
        text = fit_text(strip_accents(name), names, scale.left - 3 * GAP)
        pen.text((scale.left - 2 * GAP, top + curve // 2), text, INK, names, anchor="rm")
        sheet.paste(colour, (scale.left, top), curve_mask(heights[:, classes.index(name)], curve))
        found = top + curve + BETWEEN
        _draw_found(pen, scale, segments[segments["label"] == name], found, colour)
        if truth is not None:
            _draw_truth(pen, scale, truth[truth["label"] == name], found + BAR + BETWEEN)
    with atomic(path) as temporary:
        sheet.save(temporary, "PNG")


def _check(timeline: FrameProbs, classes: Sequence[str], frames: Sequence[pd.DataFrame]) -> None:
    """Raise ValueError for inputs that would make a wrong picture."""
    if timeline.probs.shape[1] != len(classes):
        raise ValueError(f"{len(classes)} classes for probabilities of shape {timeline.probs.shape}")
    if wrong := int((~np.isfinite(timeline.probs)).sum()):
        raise ValueError(f"{wrong} of {timeline.probs.size} probabilities are not finite")
    for frame in frames:
        check_labels(frame, classes)
    if len(videos := set().union(*(frame["video"] for frame in frames))) > 1:
        raise ValueError(f"segments of {len(videos)} videos, {quoted_three(videos)}, in one timeline")


def check_labels(segments: pd.DataFrame, classes: Sequence[str]) -> None:
    if unknown := set(segments["label"]) - set(classes):
        raise ValueError(f"label {quoted_three(unknown)} is none of the classes {', '.join(classes)}")


def _limits(times: Floats, step: float, frames: Sequence[pd.DataFrame]) -> tuple[float, float]:
    """Start of the first sample or segment, and end of the last."""
    starts, ends = (np.concatenate([frame[key].to_numpy(np.float64) for frame in frames]) for key in ("start", "end"))
    return float(min([times[0], *starts])), float(max([times[-1] + step, *ends]))


def column_maxima(times: Floats, step: float, probs: npt.NDArray[np.floating], scale: Scale) -> Floats:
    """Maximum probability (columns, C) of the samples in each pixel column, 0 without samples."""
    edges = np.linspace(scale.first, scale.last, scale.right - scale.left + 1)
    slack = ROUNDING * (edges[1] - edges[0])
    ends = np.append(times, times[-1] + step)
    begin = np.searchsorted(ends, edges[:-1] + slack, side="right")
    stop = np.searchsorted(ends, edges[1:] - slack, side="left") + 1
    padded = np.pad(probs.astype(np.float64), ((1, 2), (0, 0)))  # 0 before the first sample and after the last
    return np.maximum.reduceat(padded, np.column_stack([begin, stop]).ravel(), axis=0)[::2]


def curve_mask(heights: Floats, height: int) -> Image.Image:
    """Opacity mask (height, columns) of a curve (columns,) in [0, 1]: full along the curve, FILL below it."""
    tall = np.clip(heights, 0, 1) * height
    around = np.pad(tall, 1, mode="edge")
    line = np.maximum(1.5, tall - np.minimum(around[:-2], around[2:]))  # a jump is drawn down to the lower neighbour
    depth = tall - np.arange(height)[::-1, None]  # of the lower edge of each pixel below the curve
    inside, beyond = np.clip(depth, 0, 1), np.clip(depth - line, 0, 1)
    return Image.fromarray(np.round(255 * (inside - (1 - FILL) * beyond)).astype(np.uint8))


def _draw_head(sheet: Image.Image, scale: Scale, title: str, colour: Colour, with_truth: bool) -> None:
    """Draw the title, and the legend below it."""
    pen, heading, small = ImageDraw.Draw(sheet), ImageFont.load_default(17), ImageFont.load_default(12)
    pen.text((scale.left, 8), fit_text(strip_accents(title), heading, scale.right - scale.left), INK, heading)
    x, middle = scale.left, HEAD - 18
    for text in ("probability from 0 to 1", "found, with its score", "truth")[: 3 if with_truth else 2]:
        if text == "truth":
            pen.rectangle((x, middle - TRUTH_BAR // 2, x + 27, middle + TRUTH_BAR // 2 - 1), TRUE, OUTLINE)
        elif text.startswith("found"):
            pen.rectangle((x, middle - 6, x + 27, middle + 5), colour)
        else:
            sheet.paste(colour, (x, middle - 6), curve_mask(np.sin(np.linspace(0.3, 2.8, 28)), 12))
        pen.text((x + 34, middle), text, GREY, small, anchor="lm")
        x += 34 + int(small.getlength(text)) + 28


def _draw_axis(pen: ImageDraw.ImageDraw, scale: Scale, unit: str, bottom: int) -> None:
    """Draw a line through all rows and a label at each tick, as many as their labels leave room for."""
    font = ImageFont.load_default(12)
    for most in MAX_TICKS:
        ticks, reads = round_ticks(scale.first, scale.last, unit, most)
        widest = max(map(font.getlength, ticks.values()), default=0)
        if (widest + 2 * GAP) * len(ticks) <= scale.right - scale.left:
            break
    for time, label in ticks.items():
        pen.line((scale.at(time), HEAD, scale.at(time), bottom), GRID)
        middle = min(scale.at(time), WIDTH - GAP - font.getlength(label) / 2)
        pen.text((middle, bottom + 15), label, GREY, font, anchor="ms")
    end = scale.left - 2 * GAP - int(widest / 2)
    pen.text((end, bottom + 15), fit_text(f"time ({reads})", font, end - GAP), GREY, font, anchor="rs")


def round_ticks(first: float, last: float, unit: str, most: int) -> tuple[dict[float, str], str]:
    """Choose round times from `first` to `last`, about `most` at most: labels by time, and the unit of the labels.

    >>> round_ticks(0.0, 1.2, "s", 4)
    ({0.0: '0.0', 0.5: '0.5', 1.0: '1.0'}, 's')
    >>> round_ticks(0.0, 150.0, "s", 3)
    ({0.0: '0:00', 60.0: '1:00', 120.0: '2:00'}, 'm:ss')
    """
    wanted = (last - first) / most * (1 - ROUNDING)
    long = unit == "s" and last >= MIN_CLOCK_TIME and wanted >= 0.5
    if long:
        step = float(next((s for s in CLOCK_STEPS if s >= wanted), math.ceil(wanted / DAY) * DAY))
    else:
        power = 10.0 ** math.floor(math.log10(wanted))
        step = next(power * k for k in (1, 2, 5, 10) if power * k >= wanted)
    decimals = max(0, -math.floor(math.log10(step) + ROUNDING))
    times = step * np.arange(math.ceil(first / step - ROUNDING), math.floor(last / step + ROUNDING) + 1)
    labels = {float(t): clock(t) if long else f"{t:.{decimals}f}" for t in times}
    return labels, ("h:mm:ss" if last >= 3600 else "m:ss") if long else unit


def clock(seconds: float) -> str:
    """Format seconds as m:ss or h:mm:ss.

    >>> clock(75.2), clock(3600), clock(-5)
    ('1:15', '1:00:00', '-0:05')
    """
    minutes, rest = divmod(round(abs(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    shown = f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
    return f"-{shown}" if seconds <= -0.5 else shown


def _draw_found(pen: ImageDraw.ImageDraw, scale: Scale, found: pd.DataFrame, top: int, colour: Colour) -> None:
    """Draw a bar for each detected segment, with its score where there is room."""
    font = ImageFont.load_default(11)
    for start, end, score in zip(found["start"], found["end"], found["score"], strict=True):
        left, right = scale.bar(start, end)
        pen.rectangle((left, top, right, top + BAR - 1), colour)
        if font.getlength(text := f"{score:.2f}") + GAP <= right - left + 1:
            pen.text(((left + right + 1) / 2, top + BAR / 2), text, text_colour(colour), font, anchor="mm")


def _draw_truth(pen: ImageDraw.ImageDraw, scale: Scale, truth: pd.DataFrame, top: int) -> None:
    """Draw a grey bar for each true segment, and their name on the left."""
    font = ImageFont.load_default(10)
    pen.text((scale.left - 2 * GAP, top + TRUTH_BAR / 2), "truth", GREY, font, anchor="rm")
    for start, end in zip(truth["start"], truth["end"], strict=True):
        left, right = scale.bar(start, end)
        pen.rectangle((left, top, right, top + TRUTH_BAR - 1), TRUE, OUTLINE)


def text_colour(colour: Colour) -> Colour:
    """Choose dark or white text for a background colour, by its luma as in ITU-R BT.601."""
    return INK if 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140 else WHITE


def strip_accents(text: str) -> str:
    """Put a text on one line, without accents, which Pillow's own font does not have.

    >>> strip_accents("señal\\n de  tráfico")
    'senal de trafico'
    """
    parts = unicodedata.normalize("NFKD", " ".join(text.split()))
    return "".join(part for part in parts if not unicodedata.combining(part))
