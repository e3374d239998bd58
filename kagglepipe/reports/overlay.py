"""Draw the segments of a video into its frames: class names with probabilities, and a strip with a cursor."""

import functools
import math
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from kagglepipe.console import progress
from kagglepipe.images.decode import Pixels
from kagglepipe.predictions.frame import Probs
from kagglepipe.reports.plots import fit_text
from kagglepipe.reports.timeline import WHITE, Colour, check_labels, class_colours, strip_accents
from kagglepipe.sequences.grid import ROUNDING
from kagglepipe.sequences.video import sample_frames
from kagglepipe.sequences.video_info import inspect
from kagglepipe.sequences.video_writer import VideoWriter

STRIP, TRACK, UNNAMED = (38, 38, 38), (110, 110, 110), (200, 200, 200)  # strip, bar, class without colour
SIDE, MAX_RATE = 360, 15.0  # of the drawn video: pixels of the short side, frames/s
MIN_FONT = 10
MIN_FONTS_WIDE = 8  # font sizes that a frame must be wide to get text


def draw_video(
    source: Path,
    target: Path,
    probs: Probs,
    rate: float,
    classes: Sequence[str],
    background: str | None,
    segments: pd.DataFrame,
) -> None:
    """Write a video as an MP4 with its segments drawn into it. probs: (T, C) at `rate` samples/s from time 0."""
    info = inspect(source)
    drawn_rate = min(MAX_RATE, info.rate or MAX_RATE)
    frames = sample_frames(source, rate=drawn_rate, resize=SIDE, info=info, threads=0)
    first = next(frames)
    height, width = first[1].shape[:2]
    colours, strip = class_colours(classes, background), make_strip(width, info.seconds, segments, classes, background)
    with VideoWriter(target, width, height, drawn_rate) as writer:
        count = max(1, math.ceil(info.seconds * drawn_rate))
        for time, pixels in progress(chain([first], frames), "drawing", total=count, unit="frame"):
            at = probs[min(int(time * rate + ROUNDING), len(probs) - 1)]  # a sample lasts until the next
            now = segments.loc[(segments["start"] <= time) & (segments["end"] > time), "label"]
            labels = [(name, float(at[classes.index(name)])) for name in now]
            writer.write(annotate(pixels, time=time, total=info.seconds, labels=labels, colours=colours, strip=strip))


def make_strip(
    width: int, total: float, segments: pd.DataFrame, classes: Sequence[str], background: str | None
) -> Pixels:
    """Draw the segments of a whole video as a strip (H, width, 3) uint8 in the colours of their classes.

    H is 10 for width 640. total: length of the video in the unit of the segments, > 0. Of overlapping segments the one
    that starts later is visible, of those that start together the shorter one, as in `frame_labels`. A segment is at
    least one column wide. Raises ValueError for an unknown background or label, or a total that is not above 0.
    """
    if not total > 0:
        raise ValueError(f"a video of length {total} has no timeline")
    colours = class_colours(classes, background)
    check_labels(segments, classes)
    strip = np.full((max(6, width // 64), width, 3), STRIP, np.uint8)
    shown = segments[segments["label"] != background]
    shown = shown.sort_values(["start", "end", "label"], ascending=[True, False, True])
    for start, end, label in zip(shown["start"], shown["end"], shown["label"], strict=True):
        begin = min(max(round(start / total * width), 0), width - 1)
        strip[1:-1, begin : max(round(end / total * width), begin + 1)] = colours[label]
    return strip


def annotate(
    frame: Pixels,
    *,
    time: float,
    total: float,
    labels: Sequence[tuple[str, float]],
    colours: Mapping[str, Colour],
    strip: Pixels | None = None,
) -> Pixels:
    """Copy a frame (H, W, 3) and draw its labels into it, with probabilities as numbers and bars.

    Below them is the strip, with a cursor at `time`. Frames too small for text get only the strip.

    time, total: of the frame and the video, in one unit. labels: (name, probability in [0, 1]), the most important
    first; they take at most half of the height. colours: of `class_colours`; a label without one is grey. strip: of
    `make_strip` for this width, or None. Raises ValueError for a strip of another width.
    """
    picture = np.array(frame)
    height, width = picture.shape[:2]
    floor = height if strip is None else max(0, height - len(strip))
    if strip is not None:
        if strip.shape[1] != width:
            raise ValueError(f"a strip of width {strip.shape[1]} for a frame of width {width}")
        picture[floor:] = strip[: height - floor]
        _draw_cursor(picture[floor:], time / total)
    size = max(MIN_FONT, min(height, width) // 25)
    line = size * 3 // 2
    rows = labels[: min(height // 2, floor) // line] if width >= MIN_FONTS_WIDE * size else []
    if rows:
        panel = picture[floor - line * len(rows) : floor]
        panel[:] = _panel(panel, rows, colours, size)
    return picture


def _draw_cursor(strip: Pixels, share: float) -> None:
    """Draw a white line with dark sides into a strip (H, W, 3), at a share of the video in 0 … 1."""
    width = strip.shape[1]
    half = width // 640
    at = min(max(int(share * width), 0), width - 1)
    strip[:, max(0, at - half - 1) : at + half + 2] = STRIP
    strip[:, max(0, at - half) : at + half + 1] = WHITE


def _panel(under: Pixels, rows: Sequence[tuple[str, float]], colours: Mapping[str, Colour], size: int) -> Pixels:
    """Darken a part of a frame (H, W, 3) and draw a row of name, bar and number for each label."""
    panel = Image.fromarray(under // 3)
    pen, font, line, pad = ImageDraw.Draw(panel), ImageFont.load_default(size), size * 3 // 2, size // 2
    left, right = int(under.shape[1] * 0.4), under.shape[1] - 2 * pad - int(font.getlength("0.00"))
    for number, (name, probability) in enumerate(rows):
        middle, thick = number * line + line // 2, max(1, size // 5)
        length = round(min(max(probability, 0.0), 1.0) * (right - left))
        pen.text((pad, middle), _fitted(name, size, left - 2 * pad), WHITE, font, anchor="lm")
        pen.rectangle((left, middle - thick, right - 1, middle + thick), TRACK)
        if length:
            pen.rectangle((left, middle - thick, left + length - 1, middle + thick), colours.get(name, UNNAMED))
        pen.text((under.shape[1] - pad, middle), f"{probability:.2f}", WHITE, font, anchor="rm")
    return np.asarray(panel)


@functools.lru_cache(maxsize=256)
def _fitted(name: str, size: int, width: int) -> str:
    """Fit a name into a width; cached, since fitting takes longer than drawing, and all frames have the same names."""
    return fit_text(strip_accents(name), ImageFont.load_default(size), width)
