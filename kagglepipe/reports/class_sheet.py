"""A sheet with a few items of each class, to see whether the labels are what they should be."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from kagglepipe.competitions.labels import sort_classes
from kagglepipe.errors import UserError
from kagglepipe.images.decode import Pixels, decode_picture, inspect
from kagglepipe.images.pixel_table import read_image_bytes
from kagglepipe.options import CompetitionOptions
from kagglepipe.reports.plots import INK, PAPER, Tile, draw_sheet

log = logging.getLogger(__name__)
MOST_CLASSES, COLUMNS, SIDE = 40, 6, 144
COLOURS = ((31, 119, 180), (214, 39, 40), (44, 160, 44), (148, 103, 189), (255, 127, 14), (110, 110, 110))


def draw_classes(path: Path, rows: pd.DataFrame, root: Path, competition: CompetitionOptions) -> None:
    """Write a PNG or JPEG with a row of items for each class, evenly spread over its rows; at most MOST_CLASSES.

    rows: id, path, split, target, as those of `Summary`. Items that cannot be read are left out, and logged.
    """
    train = rows[(rows["split"] == "train") & rows["target"].notna()]
    names = sort_classes(train["target"].unique())
    tiles = []
    for name in names[:MOST_CLASSES]:
        own = train[train["target"] == name].drop_duplicates("path")
        chosen = own.iloc[np.unique(np.linspace(0, len(own) - 1, COLUMNS).astype(int))]
        captioned = [(root / path, f"{name}\n{id}") for path, id in zip(chosen["path"], chosen["id"], strict=True)]
        drawn = [tile for one in captioned if (tile := _tile(*one, competition))]
        tiles += [*drawn, *[_empty()] * (COLUMNS - len(drawn))]
    more = f" (the first {MOST_CLASSES} of {len(names)} classes)" if len(names) > MOST_CLASSES else ""
    draw_sheet(path, tiles, columns=COLUMNS, title=f"{competition.noun} of each class{more}", side=SIDE)


def _tile(path: Path, caption: str, competition: CompetitionOptions) -> Tile | None:
    """A picture of an item; None, and a warning, if it cannot be read."""
    try:
        return Tile(read_picture(path, competition), caption)
    except (UserError, ValueError, OSError) as error:
        log.warning("describe: %s is left out: %s", path, " ".join(str(error).split()))
        return None


def _empty() -> Tile:
    return Tile(np.full((SIDE, SIDE, 3), PAPER, np.uint8))


def read_picture(path: Path, competition: CompetitionOptions, seconds: float | None = None) -> Pixels:
    """An image (H, W, 3), a frame of a video, or the curves of a series.

    seconds: of the frame; None: in the middle. Raises UserError, ValueError or OSError for a file that is none.
    """
    if competition.kind == "image":
        data = read_image_bytes(path)
        return decode_picture(data, inspect(data), short_side=SIDE)[0]
    if competition.kind == "video":
        from kagglepipe.sequences.video import sample_frames
        from kagglepipe.sequences.video_info import inspect as inspect_video

        info = inspect_video(path)
        at = info.seconds / 2 if seconds is None else max(0.0, min(seconds, info.seconds - 0.1))
        frames = sample_frames(path, rate=25, start=at, end=at + 0.1, resize=SIDE, info=info)
        return next(pixels for _, pixels in frames)
    if competition.kind == "audio":
        from kagglepipe.sequences.sound import read_sound

        tones = read_sound(path, rate=50.0).values.T[::-1]  # low ones below
        grey = np.interp(tones, (tones.min(), tones.max() + 1e-6), (0, 255)).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    from kagglepipe.sequences.series import read_series

    columns = competition.columns
    series = read_series(path, values=columns.get("values"), time=columns.get("time"))
    return curves(series.values.reshape(len(series.values), -1))


def curves(values: "np.ndarray[tuple[int, int], np.dtype[np.float32]]", side: int = SIDE) -> Pixels:
    """Draw the channels of a series (T, F) as curves, each scaled to the height: (side, side, 3)."""
    picture = Image.new("RGB", (side, side), PAPER)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 0, side - 1, side - 1), outline=INK)
    for number, channel in enumerate(values.T[: len(COLOURS)]):
        low, high = float(channel.min()), float(channel.max())
        heights = (channel - low) / (high - low or 1)
        xs = np.linspace(3, side - 4, len(channel))
        points = [(float(x), side - 4 - float(y) * (side - 8)) for x, y in zip(xs, heights, strict=True)]
        pen.line(points if len(points) > 1 else [*points, *points], COLOURS[number])
    return np.asarray(picture)
