"""An augmentation over time looks at real frames, in order, and as the defaults at all of them."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagglepipe.options import SequenceOptions
from kagglepipe.sequences.dataset import draw_positions

augmentations = st.builds(SequenceOptions, crop=st.floats(0.01, 1), speed=st.floats(1, 4), drop=st.floats(0, 0.99))
windows = st.none() | st.integers(1, 40)


def drawn(length: int, seed: int = 0, window: int | None = None, **changes: Any) -> list[int]:
    """The positions of one draw."""
    options = SequenceOptions(**{"crop": 1.0, "speed": 1.0, "drop": 0.0, **changes})
    return draw_positions(length, options, np.random.default_rng(seed), window=window).tolist()


@given(augmentations, st.integers(1, 300), windows, st.integers(0, 10**6))
def test_positions_are_of_frames_that_are_there_in_order(
    options: SequenceOptions, length: int, window: int | None, seed: int
) -> None:
    at = draw_positions(length, options, np.random.default_rng(seed), window=window)
    assert at.dtype == np.int64
    assert len(at) >= 1
    assert at.min() >= 0
    assert at.max() < length
    assert (np.diff(at) >= 0).all()
    if window is not None:
        assert len(at) == window if length > window else len(at) <= window


@given(st.integers(1, 500), st.integers(0, 10**6), windows)
def test_the_defaults_change_nothing_but_cut_what_is_too_long(length: int, seed: int, window: int | None) -> None:
    at = drawn(length, seed, window)
    if window is None or length <= window:
        assert at == list(range(length))
    else:
        assert at == list(range(at[0], at[0] + window))


def test_a_cut_may_lie_anywhere() -> None:
    starts = {drawn(10, seed, window=8)[0] for seed in range(50)}
    assert starts == {0, 1, 2} or starts == {0, 1}
    assert {drawn(200, seed, window=8)[0] // 64 for seed in range(50)} == {0, 1, 2}


@given(st.integers(1, 300), st.floats(0.01, 1), st.integers(0, 10**6))
def test_a_crop_is_a_stretch_of_its_share_or_longer(length: int, crop: float, seed: int) -> None:
    at = drawn(length, seed, crop=crop)
    assert len(at) >= max(1, round(crop * length) - 1)
    assert len(at) <= length
    steps = np.diff(at)
    assert set(steps) <= {0, 1, 2}  # a share of frames is not a whole number of them
    assert np.ptp(at) + 1 >= len(at) - 1
    assert ((steps != 1).sum() if len(at) > 1 else 0) <= 1


def test_crops_of_all_lengths_are_drawn() -> None:
    lengths = [len(drawn(100, seed, crop=0.5)) for seed in range(300)]
    assert min(lengths) <= 53
    assert max(lengths) >= 97
    assert np.mean(lengths) == pytest.approx(75, abs=3)


@given(st.integers(1, 300), st.floats(1, 4), st.integers(0, 10**6))
def test_a_change_of_speed_goes_over_the_whole_item_evenly(length: int, speed: float, seed: int) -> None:
    at = drawn(length, seed, speed=speed)
    assert length / speed - 1 <= len(at) <= length * speed + 1
    steps = set(np.diff(at).tolist())
    assert not steps or max(steps) - min(steps) <= 1
    assert at[0] <= speed
    assert at[-1] >= length - 1 - speed


def test_half_and_double_speed_are_as_likely() -> None:
    counts = [len(drawn(1000, seed, speed=2.0)) for seed in range(400)]
    assert min(counts) < 520
    assert max(counts) > 1900
    assert np.mean([count > 1000 for count in counts]) == pytest.approx(0.5, abs=0.08)
    assert any(len(set(drawn(10, seed, speed=2.0))) < len(drawn(10, seed, speed=2.0)) for seed in range(20))


def test_at_a_higher_speed_a_window_covers_more() -> None:
    reach = [np.ptp(drawn(1000, seed, window=64, speed=2.0)) / 64 for seed in range(200)]
    assert min(reach) == pytest.approx(0.5, abs=0.1)
    assert max(reach) == pytest.approx(2.0, abs=0.1)


def test_for_a_lost_frame_the_one_before_stands_in() -> None:
    found = [drawn(100, seed, drop=0.3) for seed in range(200)]
    for at in found:
        assert len(at) == 100
        assert at[0] == 0
        assert all(later in (earlier, n) for n, (earlier, later) in enumerate(itertools.pairwise(at), 1))
    kept = [len(set(at)) for at in found]
    assert np.mean(kept) == pytest.approx(70, abs=2)
    assert len(set(kept)) > 5
