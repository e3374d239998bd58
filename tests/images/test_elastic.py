"""Characters are moved as told, by one resampling, whatever their channels and depth."""

import cv2
import numpy as np
import pytest

from kagglepipe.images import elastic
from kagglepipe.images.elastic import distorted, from_middle, resampled

SIZE = 28


class Given(np.random.Generator):
    """A generator whose uniform draws are given, and whose normal ones are 0."""

    def __init__(self, *draws: float) -> None:
        super().__init__(np.random.PCG64(0))
        self.draws = np.array(draws)

    def uniform(self, *arguments: object) -> np.ndarray:  # type: ignore[override]
        return self.draws

    def standard_normal(self, shape: tuple[int, ...], dtype: type) -> np.ndarray:  # type: ignore[override]
        return np.zeros(shape, dtype)


def drawing(channels: int = 1, dtype: type = np.uint8) -> np.ndarray:
    """A smooth stroke (28, 28, channels) on black."""
    image = np.zeros((SIZE, SIZE), np.float32)
    cv2.ellipse(image, (13, 15), (6, 9), 20, 0, 300, 1.0, 3)
    white = np.iinfo(dtype).max
    stroke = (cv2.GaussianBlur(image, (0, 0), 1.5) * white).astype(dtype)
    return np.stack([np.roll(stroke, n, axis=1) for n in range(channels)], axis=2)


def test_without_draws_the_image_is_as_it_was() -> None:
    np.testing.assert_array_equal(distorted(drawing(), SIZE, Given(0, 0, 0, 0, 0, 0)), drawing())


@pytest.mark.parametrize("n", [(1, 0, 0, 0, 0, 0), (0, 0, 0, 0, 1, 0), (0, 0, 0, 1, 0, -0.5), (-0.5, 1, 1, -1, 0.3, 0)])
def test_turn_shear_scale_and_shift_are_those_of_opencv(n: tuple[float, ...]) -> None:
    """cv2.warpAffine reads the point A p + b; A is turn · shear · scale, about the middle."""
    angle, shear, wide, high, right, down = n
    c, s = np.cos(angle * elastic.TURN), np.sin(angle * elastic.TURN)
    turn, slant = np.array([[c, -s], [s, c]]), np.array([[1, shear * elastic.SHEAR], [0, 1]])
    matrix = turn @ slant @ np.diag(np.exp([wide * elastic.SCALE, high * elastic.SCALE]))
    middle = np.full(2, (SIZE - 1) / 2)
    shift = middle - matrix @ middle + np.array([right, down]) * elastic.SHIFT * SIZE
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    wanted = cv2.warpAffine(
        drawing(), np.column_stack([matrix, shift]), (SIZE, SIZE), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    found = distorted(drawing(), SIZE, Given(*n))
    np.testing.assert_allclose(found[..., 0], wanted, atol=12)  # OpenCV's positions are rounded to 1/32 pixel
    assert np.abs(found.astype(int) - drawing()).mean() > 3


@pytest.mark.parametrize(("channels", "dtype"), [(3, np.uint8), (5, np.uint8), (1, np.uint16), (6, np.uint16)])
def test_all_channels_move_alike_at_any_depth(channels: int, dtype: type) -> None:
    image = drawing(channels, dtype)
    found = distorted(image, SIZE, np.random.default_rng(3))
    assert (found.shape, found.dtype) == ((SIZE, SIZE, channels), np.dtype(dtype))
    for n in range(channels):
        alone = distorted(image[..., n : n + 1], SIZE, np.random.default_rng(3))
        np.testing.assert_allclose(found[..., n : n + 1], alone, atol=np.iinfo(dtype).max / 200)  # of rounded weights


def test_paper_of_one_colour_stays_so_at_the_border() -> None:
    paper = np.full((40, 20, 1), 201, np.uint8)
    assert set(distorted(paper, SIZE, np.random.default_rng(0)).ravel().tolist()) == {201}


def test_an_image_is_read_between_its_pixels() -> None:
    ramp = np.arange(0, 40, 10, dtype=np.uint8)[None].repeat(4, axis=0)[..., None]
    at = from_middle(4) + np.float32(1.5) + np.array([0.5, 0], np.float32)
    assert resampled(ramp, at)[0, :, 0].tolist() == [5, 15, 25, 30]
