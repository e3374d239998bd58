"""Sheets of captioned images, and reliability diagrams, drawn with Pillow."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kagglepipe.errors import UserError
from kagglepipe.files import atomic
from kagglepipe.images.decode import Pixels
from kagglepipe.images.depth import as_picture
from kagglepipe.images.views import clean_view
from kagglepipe.predictions.frame import labels, scorable
from kagglepipe.predictions.tasks import task_of_truth
from kagglepipe.text import shortened, significant

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
INK, PAPER, RIGHT, WRONG = (30, 30, 30), (250, 250, 248), (20, 120, 60), (190, 30, 40)
GAP = 6


@dataclass(frozen=True)
class Tile:
    """One image of a sheet: (H, W, C), caption of one or more lines, RGB colour of the caption."""

    image: Pixels
    caption: str = ""
    colour: tuple[int, int, int] = INK


def draw_sheet(path: Path, tiles: Sequence[Tile], *, columns: int, title: str, side: int = 144) -> None:
    """Write a PNG or JPEG, by its name, of the tiles, row by row, each fitted into a square of `side` pixels."""
    lines = max((tile.caption.count("\n") + 1 for tile in tiles if tile.caption), default=0)
    cell = (side + GAP, side + GAP + 15 * lines)
    rows = -(-len(tiles) // columns)
    font, heading = ImageFont.load_default(12), ImageFont.load_default(17)
    sheet = Image.new("RGB", (columns * cell[0] + GAP, rows * cell[1] + GAP + 30), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, 5), title, INK, heading)
    for number, tile in enumerate(tiles):
        left, top = GAP + number % columns * cell[0], 30 + number // columns * cell[1]
        sheet.paste(Image.fromarray(fit_square(as_picture(tile.image), side)), (left, top))
        text = "\n".join(fit_text(line, font, side) for line in tile.caption.split("\n"))
        pen.multiline_text((left, top + side + 1), text, tile.colour, font, spacing=2)
    with atomic(path) as temporary:
        sheet.save(temporary, "JPEG" if path.suffix.lower() in (".jpg", ".jpeg") else "PNG")


def draw_hardest(
    path: Path, oof: "pd.DataFrame", classes: Sequence[str], image: Callable[[int], Pixels], count: int = 24
) -> None:
    """Write a sheet of the images of the largest loss out of fold: true class and its probability, or the error.

    image: row of `oof` -> its pixels (H, W, 3); images that raise UserError are left out.
    """
    predictions, truth = scorable(oof, classes), labels(oof, classes)
    task, tiles = task_of_truth(truth), []
    losses = task.row_losses(predictions, truth)
    hits = task.hits(predictions, truth) if task.hits else np.ones(len(oof))
    for row in np.argsort(-losses, kind="stable")[:count].tolist():
        shown = f"{losses[row]:.3g}" if truth.ndim == 2 else f"{predictions[[row], truth[[row]]][0]:.3f}"
        caption = f"{oof['id'].iloc[row]}\n{oof['target'].iloc[row]}: {shown}"
        try:
            tiles.append(Tile(image(row), caption, INK if hits[row] else WRONG))
        except UserError as error:  # no reason to lose a trained run
            log.warning("train: %s lacks a photo: %s", path, error)
    what = f"target and {task.loss}" if truth.ndim == 2 else "true class and its probability"
    draw_sheet(path, tiles, columns=8, title=f"Least sure out of fold: {what} (red: wrong)")


def fit_square(image: Pixels, side: int) -> Pixels:
    """Fit an image (H, W, 3) into a square (side, side, 3) with its aspect ratio kept and paper colour around."""
    square = clean_view(image, side, crop="border")
    height, width = image.shape[:2]
    scale = side / max(height, width)
    h, w = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (side - h) // 2, (side - w) // 2
    framed = np.full_like(square, PAPER)
    framed[top : top + h, left : left + w] = square[top : top + h, left : left + w]
    return framed


def fit_text(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Shorten the text in its middle until it is at most `width` pixels wide."""
    if font.getlength(text) <= width:
        return text
    fits = (most for most in range(len(text), 3, -1) if font.getlength(shortened(text, most)) <= width)
    return shortened(text, next(fits, 3))


def draw_reliability(path: Path, curve: "pd.DataFrame", *, title: str, side: int = 420) -> None:
    """Write a reliability diagram as PNG: accuracy over confidence, calibrated on the diagonal.

    curve: `rows`, `confidence` and `accuracy` of each bin (see predictions.calibration.reliability). The area of a dot
    grows with its rows; red is overconfident, green underconfident.
    """
    margin = 46
    font, heading = ImageFont.load_default(12), ImageFont.load_default(15)
    sheet = Image.new("RGB", (side + 2 * margin, side + 2 * margin), PAPER)
    pen = ImageDraw.Draw(sheet)

    def place(confidence: float, accuracy: float) -> tuple[float, float]:
        return margin + confidence * side, margin + (1 - accuracy) * side

    pen.text((margin, 14), title, INK, heading)
    pen.rectangle((*place(0, 1), *place(1, 0)), outline=INK)
    pen.line((*place(0, 0), *place(1, 1)), fill=INK)
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = place(tick, tick)
        pen.text((x - 8, margin + side + 5), significant(tick, 6), INK, font)
        pen.text((10, y - 7), significant(tick, 6), INK, font)
    pen.text((margin + side / 2 - 30, margin + side + 22), "confidence", INK, font)
    pen.text((margin + 6, margin + 6), "accuracy", INK, font)
    share = curve["rows"] / curve["rows"].sum()
    for rows, sure, right in zip(share, curve["confidence"], curve["accuracy"], strict=True):
        x, y = place(float(sure), float(right))
        radius = 3 + 15 * float(rows) ** 0.5
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=WRONG if sure > right else RIGHT, width=3)
    with atomic(path) as temporary:
        sheet.save(temporary, "PNG")
