"""Sheets have room for every tile, show each at its place, and keep captions inside their column."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFont

from kagglepipe.images.decode import Pixels
from kagglepipe.reports.plots import (
    GAP,
    INK,
    PAPER,
    RIGHT,
    WRONG,
    Tile,
    draw_reliability,
    draw_sheet,
    fit_square,
    fit_text,
)
from kagglepipe.reports.timeline import draw_timeline
from kagglepipe.text import shortened

TITLE, LINE, SIDE = 30, 15, 40
FONT = ImageFont.load_default(12)


def flat(colour: tuple[int, int, int], height: int = 20, width: int = 20) -> Pixels:
    """A picture of one colour."""
    return np.full((height, width, 3), colour, np.uint8)


def sheet(folder: Path, tiles: list[Tile], columns: int) -> NDArray[np.uint8]:
    """The pixels of a sheet (H, W, 3)."""
    draw_sheet(folder / "sheet.png", tiles, columns=columns, title="a title", side=SIDE)
    with Image.open(folder / "sheet.png") as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return np.asarray(image)


@pytest.mark.parametrize(
    ("count", "columns", "rows", "caption", "lines"),
    [
        *((*shape, "", 0) for shape in ((1, 1, 1), (4, 4, 1), (5, 4, 2), (8, 4, 2), (9, 4, 3), (2, 5, 1), (0, 3, 0))),
        (2, 1, 2, "one", 1), (2, 1, 2, "one\ntwo", 2),
    ],
)  # fmt: skip
def test_a_sheet_has_room_for_every_tile(
    tmp_path: Path, count: int, columns: int, rows: int, caption: str, lines: int
) -> None:
    """Captions make rows higher, by the longest of them."""
    tiles = [Tile(flat((200, 0, 0)), caption), *[Tile(flat((0, 0, 0)))] * 9][:count]
    expected = (rows * (SIDE + GAP + LINE * lines) + GAP + TITLE, columns * (SIDE + GAP) + GAP, 3)
    assert sheet(tmp_path, tiles, columns).shape == expected


def test_tiles_lie_row_by_row_at_their_places(tmp_path: Path) -> None:
    colours = [(10 * n, 255 - 10 * n, 7 * n) for n in range(5)]
    image = sheet(tmp_path, [Tile(flat(colour), "x") for colour in colours], 2)
    for number, colour in enumerate(colours):
        left, top = GAP + number % 2 * (SIDE + GAP), TITLE + number // 2 * (SIDE + GAP + LINE)
        tile = image[top : top + SIDE, left : left + SIDE]
        np.testing.assert_array_equal(tile, flat(colour, SIDE, SIDE))
    empty = image[TITLE + 2 * (SIDE + GAP + LINE) :, GAP + SIDE + GAP :]
    np.testing.assert_array_equal(np.unique(empty.reshape(-1, 3), axis=0), [PAPER])


def test_a_caption_is_drawn_under_its_tile_in_its_colour(tmp_path: Path) -> None:
    tiles = [Tile(flat((0, 0, 0)), "mmmm", WRONG), Tile(flat((0, 0, 0)), "mmmm")]
    image = sheet(tmp_path, tiles, 2)
    under = image[TITLE + SIDE + 1 : TITLE + SIDE + LINE]
    for number, colour in enumerate((WRONG, INK)):
        column = under[:, GAP + number * (SIDE + GAP) :][:, :SIDE].reshape(-1, 3)
        assert (column == colour).all(axis=1).any()
        assert not (column == (INK if number == 0 else WRONG)).all(axis=1).any()


def test_long_captions_stay_in_their_column(tmp_path: Path) -> None:
    image = sheet(tmp_path, [Tile(flat((0, 0, 0)), "a very long name of a file.jpg\n" + "m" * 99)] * 2, 2)
    gap = image[TITLE:, GAP + SIDE : GAP + SIDE + GAP]
    np.testing.assert_array_equal(np.unique(gap.reshape(-1, 3), axis=0), [PAPER])


@given(st.text(st.characters(codec="latin-1", exclude_categories=["C"]), max_size=60), st.integers(30, 200))
def test_a_text_fits_or_is_left_as_it_is(text: str, width: int) -> None:
    fitted = fit_text(text, FONT, width)
    assert FONT.getlength(fitted) <= width
    if FONT.getlength(text) <= width:
        assert fitted == text
    else:
        start, end = fitted.split("…") if "…" not in text else (fitted[:1], fitted[-1:])
        assert text.startswith(start)
        assert text.endswith(end)


def test_a_shortened_text_keeps_as_much_as_fits() -> None:
    text, width = "Train/Pistol/a_long_name_0001.jpg", 100
    fitted = fit_text(text, FONT, width)
    assert fitted == shortened(text, len(fitted))
    assert FONT.getlength(shortened(text, len(fitted) + 1)) > width


@pytest.mark.parametrize(("most", "short"), [(3, "a…h"), (4, "a…gh"), (7, "abc…fgh"), (8, "abcdefgh")])
def test_a_text_loses_its_middle(most: int, short: str) -> None:
    assert shortened("abcdefgh", most) == short


@given(st.integers(1, 120), st.integers(1, 120), st.integers(8, 60))
def test_a_picture_in_a_square_keeps_its_aspect_on_paper(height: int, width: int, side: int) -> None:
    """Its own colour fills the middle, the paper's the rest; none of the grey of the network's view is seen."""
    square = fit_square(flat((1, 2, 3), height, width), side)
    assert square.shape == (side, side, 3)
    own, paper = ((square == colour).all(axis=2) for colour in ((1, 2, 3), PAPER))
    assert (own ^ paper).all()
    h, w = own.any(axis=1).sum(), own.any(axis=0).sum()
    assert own.sum() == h * w
    scale = side / max(height, width)
    assert (h, w) == (max(1, round(height * scale)), max(1, round(width * scale)))
    top, left = np.argmax(own.any(axis=1)), np.argmax(own.any(axis=0))
    assert (top, left) == ((side - h) // 2, (side - w) // 2)


def timeline(folder: Path) -> None:
    segments = pd.DataFrame({"video": [], "start": [], "end": [], "label": [], "score": []})
    draw_timeline(folder / "t.png", np.arange(2.0), 1.0, np.zeros((2, 1)), ["a"], None, segments, title="a title")


@pytest.mark.parametrize("draw", [lambda folder: sheet(folder, [Tile(flat((9, 9, 9)))], 1), timeline])
def test_a_failing_picture_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draw: Callable[[Path], object]
) -> None:
    def half(_: Image.Image, file: Path, format: str) -> None:
        file.write_bytes(b"half of a " + format.encode())
        raise OSError("no space left")

    draw(tmp_path)
    (before,) = (path.read_bytes() for path in tmp_path.iterdir())
    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OSError, match="no space"):
        draw(tmp_path)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]


def test_a_reliability_plot_marks_who_is_too_sure_in_red_and_who_is_not_sure_enough_in_green(tmp_path: Path) -> None:
    curve = pd.DataFrame({"rows": [10, 10], "confidence": [0.25, 0.75], "accuracy": [0.75, 0.25]})
    draw_reliability(tmp_path / "trust.png", curve, title="a title", side=200)
    with Image.open(tmp_path / "trust.png") as image:
        pixels = np.asarray(image).astype(int)
    middle = pixels.shape[0] / 2
    for colour, is_upper_left in ((RIGHT, True), (WRONG, False)):
        ys, xs = np.nonzero((pixels == colour).all(axis=2))
        assert len(xs) > 20
        assert bool(xs.max() < middle) is bool(ys.max() < middle) is is_upper_left
