"""Sounds: bands of known pitch, the same sound in several files, what is repaired and what refused."""

import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from kagglepipe.sequences import sound
from kagglepipe.sequences.series_file import SeriesError
from kagglepipe.sequences.sound import (
    MELS,
    RANGE,
    SAMPLE_RATE,
    draw_warp,
    inspect_sound,
    less_means,
    mel_filters,
    read_sound,
)
from kagglepipe.sequences.video_writer import VideoWriter

Samples = NDArray[np.float64]  # (N,) or (N, channels), in [-1, 1]


def tone(hertz: float, *, seconds: float = 1.0, rate: int = SAMPLE_RATE, volume: float = 0.5) -> Samples:
    return volume * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def wav(folder: Path, samples: Samples, *, rate: int = SAMPLE_RATE, bits: int = 16, name: str = "a.wav") -> Path:
    whole = np.round(samples * (2 ** (bits - 1) - 1)).astype("<i4")
    data = {
        8: lambda: (whole + 128).astype("u1").tobytes(),
        16: lambda: whole.astype("<i2").tobytes(),
        24: lambda: whole.view("u1").reshape(-1, 4)[:, :3].tobytes(),
    }[bits]()
    with wave.open(str(folder / name), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(bits // 8)
        file.setframerate(rate)
        file.writeframes(data)
    return folder / name


def encoded(folder: Path, samples: Samples, codec: str, name: str) -> Path:
    with av.open(str(folder / name), "w") as container:
        stream = container.add_stream(codec, rate=SAMPLE_RATE)
        whole = np.round(samples * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(whole, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
        stream.layout = "mono"
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return folder / name


def loudest_band(path: Path, **options: float) -> int:
    values = read_sound(path, rate=50, **options).values
    return int(values[len(values) // 2].argmax())


def band_of(hertz: float) -> int:
    """By the definition of the scale: which of 64 middles, evenly spaced in mel from 50 Hz to 8 kHz, is nearest."""
    mels = 2595 * np.log10(1 + np.array([50, 8000, hertz]) / 700)
    return round(float((mels[2] - mels[0]) / (mels[1] - mels[0]) * (MELS + 1))) - 1


# --- what is read --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hertz", [440, 1000, 3000])
@pytest.mark.parametrize(("rate", "bits"), [(16_000, 16), (44_100, 16), (8_000, 8), (48_000, 24)])
def test_a_tone_is_loudest_in_its_band_whatever_the_rate_and_depth(
    tmp_path: Path, hertz: int, rate: int, bits: int
) -> None:
    path = wav(tmp_path, tone(hertz, rate=rate), rate=rate, bits=bits)
    facts = inspect_sound(path)
    assert (loudest_band(path), facts.samples, facts.repairs) == (band_of(hertz), SAMPLE_RATE, ())


def test_a_resampled_tone_has_the_frames_of_one_that_was_drawn_at_16_khz(tmp_path: Path) -> None:
    read = [
        read_sound(wav(tmp_path, tone(700, rate=rate), rate=rate, name=f"{rate}.wav"), rate=100).values
        for rate in (16_000, 44_100)
    ]
    near = slice(band_of(700) - 1, band_of(700) + 2)
    np.testing.assert_allclose(read[1][5:-5, near], read[0][5:-5, near], atol=0.01)


def test_flac_has_the_frames_of_the_wav_and_lossy_files_nearly(tmp_path: Path) -> None:
    samples = tone(500, seconds=2.0) + tone(1500, seconds=2.0, volume=0.2)
    plain = read_sound(wav(tmp_path, samples), rate=100)
    flac = read_sound(encoded(tmp_path, samples, "flac", "a.flac"), rate=100)
    np.testing.assert_allclose(flac.values, plain.values, rtol=0, atol=1e-6)
    for codec, name in (("libopus", "a.ogg"), ("libmp3lame", "a.mp3")):
        if codec in av.codecs_available:
            lossy = read_sound(encoded(tmp_path, samples, codec, name), rate=100)
            loud = [band_of(500), band_of(1500)]
            np.testing.assert_allclose(lossy.values[100, loud], plain.values[100, loud], atol=0.1)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = tone(600), tone(2000)
    stereo = read_sound(wav(tmp_path, np.stack([left, right], axis=1), name="stereo.wav"), rate=50).values
    mono = read_sound(wav(tmp_path, (left + right) / 2, name="mono.wav"), rate=50).values
    np.testing.assert_allclose(stereo, mono, atol=0.02)
    opposite = wav(tmp_path, np.stack([left, -left], axis=1), name="opposite.wav")
    assert inspect_sound(opposite).repairs == ("silent throughout",)


def test_frames_are_at_k_over_the_rate_to_the_end(tmp_path: Path) -> None:
    click = np.zeros(SAMPLE_RATE)
    click[8000] = 0.9  # at 0.5 s
    path = wav(tmp_path, click)
    for rate, count in ((100, 100), (33.3, 34), (8, 8), (1000, 1000)):
        read = read_sound(path, rate=rate)
        loudest = read.values.max(axis=1)
        assert (len(read.values), read.values.shape[1], read.times[1]) == (count, MELS, 1 / rate)
        assert abs(read.times[np.flatnonzero(loudest == loudest.max())].mean() - 0.5) <= 0.5 / rate + 1e-9


def test_pieces_do_not_change_the_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.random.default_rng(0).normal(size=30_000).astype(np.float32)
    whole = np.concatenate(list(sound.mel_powers([samples], rate=90)))
    monkeypatch.setattr(sound, "BLOCK", 7)
    cut = np.concatenate(list(sound.mel_powers(iter(np.array_split(samples, 41)), rate=90)))
    np.testing.assert_allclose(cut, whole, rtol=1e-5)


def test_a_view_is_at_another_pitch(tmp_path: Path) -> None:
    path = wav(tmp_path, tone(1000))
    assert loudest_band(path, warp=1.2) == band_of(1000 / 1.2)
    warps = [draw_warp(seed) for seed in range(200)]
    assert 1 / 1.15 <= min(warps) < 0.9 < 1.1 < max(warps) <= 1.15


def test_loudness_does_not_count_and_silence_is_not_made_loud(tmp_path: Path) -> None:
    loud, quiet = (read_sound(wav(tmp_path, tone(800, volume=v), bits=24), rate=50).values for v in (0.8, 0.08))
    bands = slice(band_of(800) - 2, band_of(800) + 3)
    np.testing.assert_allclose(quiet[:, bands], loud[:, bands], atol=0.01)
    silent = wav(tmp_path, np.zeros(4000))
    assert (inspect_sound(silent).repairs, set(read_sound(silent, rate=100).values.ravel())) == (
        ("silent throughout",),
        {-RANGE},
    )


def test_a_centred_sound_has_lost_what_is_steady_in_it(tmp_path: Path) -> None:
    steady = wav(tmp_path, tone(800))
    assert np.abs(read_sound(steady, rate=50, centred=True).values[2:-2]).max() < 0.3
    changing = wav(tmp_path, np.concatenate([tone(500), tone(2000)]))
    plain, centred = (read_sound(changing, rate=50, centred=own).values for own in (False, True))
    np.testing.assert_allclose(centred, plain - plain.mean(axis=0), atol=1e-5)


def test_bands_that_a_file_cannot_have_are_silent(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 8000)
    values = read_sound(wav(tmp_path, noise, rate=8000), rate=50).values
    assert (values[:, band_of(4000) + 1 :] == -RANGE).all()
    assert (values[5:-5, : band_of(4000) - 1] > -RANGE).all()


def test_filters_have_a_sum_of_one_also_where_frequencies_are_sparse() -> None:
    for size in (128, 512, 4096):
        np.testing.assert_allclose(mel_filters(size).sum(axis=0), 1, rtol=1e-5)


# --- what is damaged -----------------------------------------------------------------------------------------------


def test_a_file_that_breaks_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = encoded(tmp_path, np.random.default_rng(0).uniform(-0.5, 0.5, 2 * SAMPLE_RATE), "flac", "a.flac")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    facts = inspect_sound(path)
    assert 0.7 < facts.seconds < 1.1
    assert "cut off after" in facts.repairs[-1]
    assert "of 2.0 s" in facts.repairs[-1]


def test_the_sound_of_a_video_is_read_and_a_silent_film_refused(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "film.mp4", 32, 32, 8) as writer:
        writer.write(np.zeros((32, 32, 3), np.uint8))
    (tmp_path / "film.mp4").rename(tmp_path / "film.wav")
    with pytest.raises(SeriesError, match="there is no sound in it, only video"):
        inspect_sound(tmp_path / "film.wav")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "the file is empty"),
        (b"hello, this is text" * 20, "not a sound that can be read"),
        (b"RIFF", "not a sound that can be read"),
        (b"#EXTM3U\nother.wav\n", "not a sound that can be read"),
    ],
)
def test_what_is_no_sound_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    for read in (inspect_sound, lambda path: read_sound(path, rate=100)):
        with pytest.raises(SeriesError, match=why):
            read(path)


def test_no_samples_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path, why in (
        (wav(tmp_path, np.zeros(0)), "no sound in it that can be decoded"),
        (tmp_path / "none.wav", "no such file"),
        (tmp_path, "not a file"),
    ):
        with pytest.raises(SeriesError, match=why):
            inspect_sound(path)


def test_silence_is_cut_off_both_ends_alone(tmp_path):
    """Before, between and after two tones: times go on counting from the begin of the file."""
    quiet = np.zeros(SAMPLE_RATE // 2)
    whole = np.concatenate([quiet, tone(500), 1e-3 * tone(2000, seconds=0.5), tone(500), quiet])
    path = wav(tmp_path, whole)
    frames, cut = read_sound(path, rate=50), read_sound(path, rate=50, silence=3.0)
    assert (cut.times[0], cut.times[-1]) == (pytest.approx(0.5, abs=0.02), pytest.approx(3.0, abs=0.02))
    first = round(cut.times[0] * 50)
    np.testing.assert_array_equal(cut.values, frames.values[first : first + len(cut.values)])
    assert cut.values[len(cut.values) // 2].max() < -4


def test_of_a_silent_sound_nothing_is_cut(tmp_path):
    assert read_sound(wav(tmp_path, np.zeros(SAMPLE_RATE)), rate=50, silence=3.0).values.shape == (50, MELS)


def test_less_means_of_sound_and_group():
    rng = np.random.default_rng(0)
    sounds = [rng.normal(size=(length, 3)).astype(np.float32) for length in (5, 9, 4, 7)]
    for values in sounds:
        values[:, 2] = -4.5  # a band above half of the sampling rate
    groups, own = ["a", "b", "a", "b"], [1.0, 0.0, 0.3, 0.74]
    found = less_means(sounds, groups, own)
    for number, (first, second) in enumerate(((0, 2), (1, 3), (0, 2), (1, 3))):
        mean = (sounds[first].mean(axis=0) + sounds[second].mean(axis=0)) / 2
        wanted = sounds[number] - own[number] * sounds[number].mean(axis=0) - (1 - own[number]) * mean
        np.testing.assert_allclose(found[number], wanted, atol=1e-6)
    for values in found:  # noise of 1e-7 there, standardised, would be louder than all else
        np.testing.assert_array_equal(values[:, 2], 0)
