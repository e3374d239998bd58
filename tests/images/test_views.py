"""The clean view is always the same square, with the contents that its crop promises."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagglepipe.images.decode import Pixels
from kagglepipe.images.views import clean_view, resize
from kagglepipe.options import CROPS

GREY = 127


def columns(*values: int, height: int = 1) -> Pixels:
    """A picture whose columns have the given grey values."""
    return np.broadcast_to(np.array(values, np.uint8)[None, :, None], (height, len(values), 3)).copy()


@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(1, 64),
    st.sampled_from(CROPS),
    st.sampled_from([1.0, 0.95, 0.875, 0.5]),
)
def test_the_view_is_a_square_of_bytes(height: int, width: int, size: int, crop: str, crop_pct: float) -> None:
    view = clean_view(np.full((height, width, 3), 9, np.uint8), size, crop=crop, crop_pct=crop_pct)
    assert view.shape == (size, size, 3)
    assert view.dtype == np.uint8


@given(st.integers(1, 100), st.integers(1, 100), st.integers(1, 40), st.sampled_from(["squash", "center"]))
def test_one_colour_stays_one_colour(height: int, width: int, size: int, crop: str) -> None:
    view = clean_view(np.full((height, width, 3), (10, 200, 90), np.uint8), size, crop=crop, crop_pct=0.9)
    np.testing.assert_array_equal(view, np.full((size, size, 3), (10, 200, 90)))


@pytest.mark.parametrize("crop", CROPS)
def test_an_image_of_the_right_size_is_left_as_it_is(crop: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(clean_view(image, 32, crop=crop), image)


def tall(image: Pixels) -> Pixels:
    return image.transpose(1, 0, 2)


CHECKS = np.repeat((np.indices((8, 8)).sum(axis=0) % 2 * 200)[..., None], 3, axis=2).astype(np.uint8)


@pytest.mark.parametrize(
    ("image", "size", "options", "expected"),
    [
        # the whole image: each pixel of the view is the mean of two columns
        (columns(10, 20, 100, 200, height=2), 2, {"crop": "squash"}, columns(15, 150, height=2)),
        # the middle
        (columns(1, 2, 3, 4, 5, 6, height=2), 2, {"crop": "center"}, columns(3, 4, height=2)),
        (tall(columns(1, 2, 3, 4, 5, 6, height=2)), 2, {"crop": "center"}, tall(columns(3, 4, height=2))),
        # half the side of a 4-pixel square: its 2 middle columns
        (columns(1, 2, 3, 4, height=4), 2, {"crop": "center", "crop_pct": 0.5}, columns(2, 3, height=2)),
        # grey above and below, left and right; an odd remainder goes to the right
        (columns(10, 20, 30, 40, height=2), 4, {"crop": "border"},
         np.concatenate([columns(*[GREY] * 4), columns(10, 20, 30, 40, height=2), columns(*[GREY] * 4)])),
        (columns(10, 20, height=5), 5, {"crop": "border"}, columns(GREY, 10, 20, GREY, GREY, height=5)),
    ],
)  # fmt: skip
def test_views_worked_by_hand(image: Pixels, size: int, options: dict[str, Any], expected: Pixels) -> None:
    image.setflags(write=False)
    np.testing.assert_array_equal(clean_view(image, size, **options), expected)


def test_resizing_averages_one_side_at_a_time() -> None:
    """The width is averaged 4 -> 2 although the height grows."""
    np.testing.assert_array_equal(resize(CHECKS, 4, 4), np.full((4, 4, 3), 100))
    np.testing.assert_array_equal(resize(columns(10, 30, 100, 120), 2, 5), columns(20, 110, height=5))


def test_a_crop_share_matters_to_center_alone() -> None:
    image = columns(1, 2, 3, 4, height=4)
    for crop in ("squash", "border"):
        np.testing.assert_array_equal(
            clean_view(image, 2, crop=crop, crop_pct=0.5), clean_view(image, 2, crop=crop, crop_pct=1.0)
        )


@pytest.mark.parametrize("crop", CROPS)
def test_a_strip_of_29_pixels_is_shown(crop: str) -> None:
    """Its height grows while its width shrinks; the black half stays on the left, the white one on the right."""
    strip = np.zeros((29, 600, 3), np.uint8)
    strip[:, 300:] = 255
    view = clean_view(strip, 64, crop=crop)
    assert view.shape == (64, 64, 3)
    middle = view[32, :, 0].astype(int)
    assert middle[:28].max() < 10
    assert middle[36:].min() > 245


@pytest.mark.parametrize(
    ("height", "width", "size", "rows"), [(29, 600, 64, 3), (1, 300, 16, 1)]
)  # 64 · 29 / 600 = 3.1
def test_border_keeps_the_aspect_of_a_strip(height: int, width: int, size: int, rows: int) -> None:
    view = clean_view(np.zeros((height, width, 3), np.uint8), size, crop="border")
    assert int((view[:, 0, 0] == 0).sum()) == rows


def test_the_middle_of_a_strip_is_cut_before_it_grows() -> None:
    """Scaled whole, this strip of 24 kB would take 25 MB, and one of the greatest length allowed gigabytes."""
    strip = np.zeros((2, 4000, 3), np.uint8)
    tracemalloc.start()
    try:
        clean_view(strip, 64, crop="center")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000
