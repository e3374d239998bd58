"""Augmented bands of a sound: a warp is what the warped filters read, masks are no wider than asked."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagglepipe.options import SequenceOptions
from kagglepipe.sequences.dataset import (
    MASKS,
    BandBatches,
    Example,
    augment_bands,
    augments_bands,
    mask_bands,
    warp_bands,
)
from kagglepipe.sequences.sound import MELS, read_sound
from tests.sequences.test_sound import tone, wav

FRAMES = np.random.default_rng(0).normal(size=(40, MELS)).astype(np.float32)


@pytest.mark.parametrize("factor", [0.85, 0.92, 1.1, 1.2])
def test_a_warp_moves_a_tone_as_warped_filters_do(factor: float, tmp_path: Path) -> None:
    file = wav(tmp_path, tone(2000.0))
    plain, warped = read_sound(file, rate=50).values, read_sound(file, rate=50, warp=factor).values
    found = warp_bands(plain, factor)
    assert abs(int(found[25].argmax()) - int(warped[25].argmax())) <= 1
    assert found[25].argmax() != plain[25].argmax()


def test_no_warp_changes_nothing_and_a_warp_repeats_the_outermost_band() -> None:
    np.testing.assert_allclose(warp_bands(FRAMES, 1.0), FRAMES, atol=1e-6)
    np.testing.assert_array_equal(warp_bands(FRAMES, 1.3)[:, -1], FRAMES[:, -1])
    np.testing.assert_array_equal(warp_bands(FRAMES, 0.5)[:, 0], FRAMES[:, 0])


@given(widest=st.integers(0, 80), longest=st.integers(0, 60), length=st.integers(1, 40), seed=st.integers(0, 10**6))
def test_masks_are_the_mean_of_each_band_and_no_wider_than_asked(
    widest: int, longest: int, length: int, seed: int
) -> None:
    values = FRAMES[:length]
    masked = mask_bands(values, np.random.default_rng(seed), widest=widest, longest=longest)
    mean = values.mean(axis=0)
    changed = masked != values
    np.testing.assert_array_equal(masked[changed], np.broadcast_to(mean, values.shape)[changed])
    if length > 1:
        bands, times = changed.all(axis=0), changed.all(axis=1)
        assert bands.sum() <= MASKS * widest
        assert times.sum() <= (MASKS * min(longest, length // 3) if bands.sum() < MELS else length)
        assert not changed[np.ix_(~times, ~bands)].any()


def test_masks_of_both_kinds_are_drawn() -> None:
    draws = [mask_bands(FRAMES, np.random.default_rng(n), widest=8, longest=5) != FRAMES for n in range(20)]
    assert sum(bool(draw.all(axis=0).any()) for draw in draws) > 15
    assert sum(bool(draw.all(axis=1).any()) for draw in draws) > 15


def test_options_at_their_defaults_augment_nothing() -> None:
    usual = SequenceOptions(rate=50)
    assert not augments_bands(usual)
    np.testing.assert_array_equal(augment_bands(FRAMES, usual, np.random.default_rng(0)), FRAMES)


def test_batches_are_of_masked_frames_with_their_differences_and_the_same_again() -> None:
    """Inputs are a frame and its difference from the one before, as of the whole sound."""
    options = SequenceOptions(rate=50, crop=1.0, speed=1.0, drop=0.0, time_mask=0.1, freq_mask=6, vtlp=1.1)
    sounds = [Example(str(n), FRAMES[: 20 + n], np.array(n)) for n in range(5)]

    def inputs(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values, np.abs(np.diff(values, axis=0, prepend=values[:1]))], axis=1)

    batches = BandBatches(sounds, options, inputs, batch_size=5, window=None, seed=3)
    (batch,), (again,), (later,) = list(batches(0)), list(batches(0)), list(batches(1))
    assert batch.features.shape == (5, 24, 2 * MELS)
    assert batch.features.equal(again.features)
    assert not batch.features[0].equal(later.features[0])
    values = batch.features[0, : batch.lengths[0]].numpy()
    np.testing.assert_array_equal(inputs(values[:, :MELS]), values)


def test_a_window_begins_with_the_difference_from_the_frame_before_it() -> None:
    options = SequenceOptions(rate=50, crop=1.0, speed=1.0, drop=0.0, vtlp=1.2)
    ramp = np.repeat(np.arange(100, dtype=np.float32)[:, None] ** 2, MELS, axis=1)

    def inputs(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values, np.diff(values, axis=0, prepend=values[:1])], axis=1)

    batches = BandBatches([Example("a", ramp, np.arange(100))], options, inputs, batch_size=1, window=10, seed=0)
    for batch in batches(0):
        at = batch.labels[0].numpy()
        np.testing.assert_allclose(batch.features[0, :, -1].numpy(), np.where(at == 0, 0, 2 * at - 1), rtol=1e-4)
