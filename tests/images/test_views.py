"""The clean view is always the same square, with the contents that its crop promises."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagglepipe.images.decode import Pixels
from kagglepipe.images.views import CROPS, clean_view, resize

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


def test_the_image_itself_is_never_changed() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 40, 3), dtype=np.uint8)
    image.setflags(write=False)
    for crop in CROPS:
        clean_view(image, 10, crop=crop)


def test_squash_shows_the_whole_image() -> None:
    """Each pixel of the view is the mean of its part of the image: here of two columns."""
    view = clean_view(columns(10, 20, 100, 200, height=2), 2, crop="squash")
    np.testing.assert_array_equal(view, columns(15, 150, height=2))


def test_center_takes_the_middle() -> None:
    view = clean_view(columns(1, 2, 3, 4, 5, 6, height=2), 2, crop="center")
    np.testing.assert_array_equal(view, columns(3, 4, height=2))


def test_center_takes_the_middle_of_a_tall_image() -> None:
    tall = columns(1, 2, 3, 4, 5, 6, height=2).transpose(1, 0, 2)
    np.testing.assert_array_equal(clean_view(tall, 2, crop="center"), columns(3, 4, height=2).transpose(1, 0, 2))


def test_center_leaves_out_a_rim_with_a_crop_share() -> None:
    """Half the side of a 4-pixel square: its 2 middle columns."""
    view = clean_view(columns(1, 2, 3, 4, height=4), 2, crop="center", crop_pct=0.5)
    np.testing.assert_array_equal(view, columns(2, 3, height=2))


def test_a_crop_share_matters_to_center_alone() -> None:
    image = columns(1, 2, 3, 4, height=4)
    for crop in ("squash", "border"):
        np.testing.assert_array_equal(
            clean_view(image, 2, crop=crop, crop_pct=0.5), clean_view(image, 2, crop=crop, crop_pct=1.0)
        )


def test_border_fills_above_and_below_with_grey() -> None:
    view = clean_view(columns(10, 20, 30, 40, height=2), 4, crop="border")
    expected = np.full((4, 4, 3), GREY)
    expected[1:3] = columns(10, 20, 30, 40)
    np.testing.assert_array_equal(view, expected)


def test_border_fills_left_and_right_with_grey() -> None:
    """An odd remainder goes to the right."""
    view = clean_view(columns(10, 20, height=5), 5, crop="border")
    assert view[0, :, 0].tolist() == [GREY, 10, 20, GREY, GREY]


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


def test_border_keeps_the_aspect_of_a_strip() -> None:
    view = clean_view(np.zeros((29, 600, 3), np.uint8), 64, crop="border")
    assert int((view[:, 0, 0] == 0).sum()) == 3  # 64 · 29 / 600 = 3.1


def test_a_strip_of_one_pixel_is_not_lost() -> None:
    view = clean_view(np.zeros((1, 300, 3), np.uint8), 16, crop="border")
    assert int((view[:, 0, 0] == 0).sum()) == 1


def test_resize_averages_where_it_shrinks() -> None:
    checks = np.indices((8, 8)).sum(axis=0) % 2 * 200
    image = np.stack([checks] * 3, axis=-1).astype(np.uint8)
    np.testing.assert_array_equal(resize(image, 4, 4), np.full((4, 4, 3), 100))


def test_resize_does_one_side_at_a_time() -> None:
    """The width is averaged 4 -> 2 although the height grows."""
    view = resize(columns(10, 30, 100, 120), 2, 5)
    np.testing.assert_array_equal(view, columns(20, 110, height=5))


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
