"""Drawn voices have the pitch, the resonances and the hisses that they were drawn with."""

import numpy as np
import pytest

from kagglepipe.samples.voices import HISSES, RATE, WORDS, Voice, draw_voice, hiss, speak


def power(sound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies and the power at each of them."""
    return np.fft.rfftfreq(len(sound), 1 / RATE), np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2


def share(sound: np.ndarray, lowest: float, highest: float) -> float:
    frequencies, powers = power(sound)
    return float(powers[(frequencies >= lowest) & (frequencies < highest)].sum() / powers.sum())


def test_a_hiss_has_its_frequencies_and_its_time():
    t = np.arange(RATE) / RATE
    sound = hiss(2800, 3900, 0.25, t, (0.2, 0.6), np.random.default_rng(0))
    assert share(sound, 2750, 3950) > 0.99
    assert not sound[t < 0.2].any()
    assert not sound[t > 0.6].any()
    assert sound[(t > 0.25) & (t < 0.55)].std() > 0.05


@pytest.mark.parametrize("pitch", [110.0, 180.0])
def test_harmonics_are_those_of_the_pitch(pitch):
    """The distance of the peaks: the first of the autocorrelation after its decline."""
    sound = speak(2, Voice(pitch, 1.0, 2.0), np.random.default_rng(1))[int(0.3 * RATE) :]  # the u of "tu"
    lags = np.correlate(sound, sound, "full")[len(sound) - 1 :]
    least, most = int(RATE / pitch / 1.3), int(RATE / pitch * 1.3)
    assert RATE / (least + lags[least:most].argmax()) == pytest.approx(pitch, rel=0.15)


def test_a_shorter_vocal_tract_is_brighter():
    bright, dark = (speak(4, Voice(120, tract, 1.0), np.random.default_rng(0)) for tract in (1.25, 0.9))
    assert share(bright, 0, 900) < share(dark, 0, 900)


def test_sounds_are_short_in_range_and_the_same_for_the_same_seed():
    voice = draw_voice(np.random.default_rng(0))
    for digit in range(len(WORDS)):
        one, same = (speak(digit, voice, np.random.default_rng(digit)) for _ in range(2))
        assert np.array_equal(one, same)
        assert one.dtype == np.float32
        assert 0.1 < len(one) / RATE < 1.2
        assert 0.05 < np.abs(one).max() <= 1


def test_words_that_begin_with_a_hiss_are_told_from_those_that_do_not():
    rng = np.random.default_rng(0)
    begins = {word: share(speak(n, Voice(120, 1.0, 1.0), rng)[: int(0.06 * RATE)], 1700, 4000)
              for n, word in enumerate(WORDS)}  # fmt: skip
    hissing = {word for word in WORDS if word[0] in HISSES}
    assert min(begins[word] for word in hissing) > max(begins[word] for word in set(WORDS) - hissing)
