"""Objects are cut out of an even ground, and put before photos of their own fold alone."""

import pickle

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kagglepipe.images.augment import Transform
from kagglepipe.images.paste import SHARE, SIDE, Backgrounds, cut_out, framed, pasted, trimmed, turned

RED, GREEN, WHITE = (200, 20, 20), (20, 160, 40), (250, 250, 250)
Pixels = NDArray[np.uint8]


def even(colour: tuple[int, int, int], height: int = 120, width: int = 160) -> Pixels:
    return np.full((height, width, 3), colour, np.uint8)


def thing(ground: tuple[int, int, int] = WHITE) -> Pixels:
    """A red box of 60 × 80 in the middle."""
    image = even(ground)
    image[30:90, 40:120] = RED
    return image


class Photos:
    """Stands for a reader: photo n is even, of the colour (n, n, n)."""

    def __getitem__(self, row: int) -> Pixels:
        return even((row, row, row))


# --- cutting out ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ground", [WHITE, (0, 0, 0), (90, 90, 200)])
def test_what_stands_before_an_even_ground_is_cut_out(ground: tuple[int, int, int]) -> None:
    """All of it but a seam of one pixel."""
    mask = cut_out(thing(ground))
    assert mask is not None
    expected = np.zeros((120, 160), np.uint8)
    expected[31:89, 41:119] = 1
    np.testing.assert_array_equal(mask, expected)


def test_a_ground_of_compression_noise_is_even_all_the_same() -> None:
    noisy = thing().astype(int) + np.random.default_rng(0).integers(-8, 9, (120, 160, 3))
    mask = cut_out(np.clip(noisy, 0, 255).astype(np.uint8))
    assert mask is not None
    assert mask.mean() == pytest.approx(58 * 78 / (120 * 160), abs=0.005)


def test_what_looks_like_the_ground_inside_stays() -> None:
    """A white screen in a dark frame is part of the phone."""
    image = thing()
    image[50:70, 60:100] = WHITE
    mask = cut_out(image)
    assert mask is not None
    assert mask[60, 80] == 1


@pytest.mark.parametrize("image", [
    np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8),  # a scene
    even(WHITE),  # nothing
    np.concatenate([even(WHITE, width=80), even(RED, width=80)], axis=1),  # two grounds
])  # fmt: skip
def test_what_cannot_be_cut_out_cleanly_is_not(image: Pixels) -> None:
    assert cut_out(image) is None


# --- pasting -------------------------------------------------------------------------------------------------------


def test_the_object_stands_before_the_other_photo_without_its_ground() -> None:
    for seed in range(20):
        found = pasted(thing(), even(GREEN), np.random.default_rng(seed)).astype(int)
        reddish = (found[..., 0] > found[..., 1] + 60).mean()
        greenish = (abs(found - GREEN).max(axis=2) <= 1).mean()
        assert reddish > 0.1
        assert greenish > 0.1
        assert reddish + greenish > 0.93  # the rest is the soft edge: nothing of the white
        assert max(found.shape[:2]) == SIDE


def test_a_photo_that_cannot_be_cut_is_pasted_whole() -> None:
    stripes = np.tile(np.array([[0], [255]], np.uint8).repeat(10, 0), (6, 160))[..., None].repeat(3, 2)
    found = pasted(stripes, even(GREEN), np.random.default_rng(0)).astype(int)
    grey = abs(found - found.mean(axis=2, keepdims=True)).max(axis=2) < 20
    assert 0.1 < grey.mean() < 0.95
    assert (abs(found - GREEN).max(axis=2) <= 1).mean() > 0.03


@given(
    st.tuples(st.integers(1, 300), st.integers(1, 300)), st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.integers(0, 10**6),
)  # fmt: skip
def test_any_two_photos_give_a_photo(one: tuple[int, int], other: tuple[int, int], seed: int) -> None:
    """Strips and single pixels too; neither is changed, and the same draw gives the same picture."""
    rng = np.random.default_rng(seed)
    image, background = (rng.integers(0, 256, (*shape, 3), np.uint8) for shape in (one, other))
    for array in (image, background):
        array.setflags(write=False)
    found = pasted(image, background, np.random.default_rng(seed))
    assert (found.dtype, found.shape[2:], max(found.shape[:2])) == (np.uint8, (3,), SIDE)
    np.testing.assert_array_equal(pasted(image, background, np.random.default_rng(seed)), found)


@pytest.mark.parametrize("shape", [0.7, 1.0, 1.4])
def test_a_frame_has_the_shape_asked_for(shape: float) -> None:
    height, width = framed(even(RED, 240, 400), shape).shape[:2]
    assert width / height == pytest.approx(shape, rel=0.02)


def test_a_quarter_turn_swaps_the_sides() -> None:
    image, mask = trimmed(thing(), (thing()[..., 1] < 100).astype(np.uint8))
    assert image.shape == (60, 80, 3)
    image, mask = turned(image, mask, angle=90, mirrored=False)
    assert image.shape == (80, 60, 3)
    assert mask.mean() > 0.97


def test_turning_by_nothing_mirrors_at_most() -> None:
    image = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8), (80, 60))
    for mirrored, expected in ((False, image), (True, image[:, ::-1])):
        found, _ = turned(image, np.ones((60, 80), np.uint8), angle=0, mirrored=mirrored)
        np.testing.assert_array_equal(found, expected)


# --- as a policy ---------------------------------------------------------------------------------------------------


def backgrounds() -> Backgrounds:
    return Backgrounds(Photos(), [f"id{n}" for n in range(30)], np.arange(30) % 3)  # type: ignore[arg-type]


def test_a_photo_is_put_before_those_of_its_own_fold() -> None:
    """So that no fold's views hold anything of another's photos."""
    behind = backgrounds()
    seen = {int(behind(f"id{n}", number)[0, 0, 0]) % 3 == n % 3 for n in range(30) for number in range(100)}
    assert seen == {True}
    assert {int(behind("id4", number)[0, 0, 0]) for number in range(10)} == set(range(1, 30, 3))


def test_one_policy_pastes_most_views_and_always_the_same() -> None:
    plain, pasting = Transform("strong", 48), Transform("paste", 48, backgrounds=backgrounds())
    other, copy = Transform("strong", 48, backgrounds=backgrounds()), pickle.loads(pickle.dumps(pasting))
    alike = []
    for id in (f"id{n}" for n in range(30)):
        view, expected = pasting(thing(), 0, 1, id), plain(thing(), 0, 1, id)
        np.testing.assert_array_equal(copy(thing(), 0, 1, id), view)  # as processes that augment get it
        np.testing.assert_array_equal(other(thing(), 0, 1, id), expected)
        alike.append(np.array_equal(view, expected))
    assert np.mean(alike) == pytest.approx(1 - SHARE, abs=0.2)


def test_nothing_is_pasted_mirrored_where_mirroring_is_off() -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    image[:, :40] = 255  # no object stands before an even ground: the whole is pasted
    left, right = image, np.ascontiguousarray(image[:, ::-1])
    for seed in range(6):
        one, other = (
            pasted(x, even((128, 128, 128)), np.random.default_rng(seed), mirror=False) for x in (left, right)
        )
        flipped = pasted(left, even((128, 128, 128)), np.random.default_rng(seed))
        assert not np.array_equal(one, other)
        assert np.array_equal(flipped, one) or np.array_equal(flipped, other)
