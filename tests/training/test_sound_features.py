"""The frames of sounds are read once for each rate and pitch, and are those of the reader."""

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kagglepipe.errors import UserError
from kagglepipe.files import file_sha256
from kagglepipe.options import SequenceOptions
from kagglepipe.sequences.sound import inspect_sound, read_sound
from kagglepipe.training.sound_features import check_whole_sounds, sound_features

RATE = 50.0


@pytest.fixture
def items(tmp_path: Path) -> pd.DataFrame:
    """Three sounds of noise, 0.3 to 0.5 s of 8 kHz."""
    names = [f"{n}.wav" for n in range(3)]
    for n, name in enumerate(names):
        noise = np.random.default_rng(n).integers(-9000, 9000, 2400 + 800 * n, dtype=np.int16)
        with wave.open(str(tmp_path / name), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(noise.tobytes())
    ends = [inspect_sound(tmp_path / name).seconds for name in names]
    digests = [file_sha256(tmp_path / name) for name in names]
    return pd.DataFrame({"video": names, "path": names, "begins": 0.0, "ends": ends, "sha256": digests})


def features(items: pd.DataFrame, root: Path, view: int = 0, **options: Any) -> dict[str, Any]:
    """Frames of all sounds, with a store below `root`."""
    paths, sequences = [root / name for name in items["path"]], SequenceOptions(**{"rate": RATE, **options})
    return dict(sound_features(items, paths, sequences, view=view, seed=0, folder=root / "cache", workers=1))


def test_they_are_what_the_reader_gives(items: pd.DataFrame, tmp_path: Path) -> None:
    for options in ({}, {"centred": True}, {"centred": True, "silence": 0.3}):
        for name, frames in features(items, tmp_path, **options).items():
            wanted = read_sound(tmp_path / name, rate=RATE, **options).values
            np.testing.assert_allclose(frames, wanted, atol=1e-6)


def test_a_second_run_reads_no_file_again(items: pd.DataFrame, tmp_path: Path) -> None:
    first = [features(items, tmp_path, view) for view in (0, 1)]
    for name in items["path"]:
        (tmp_path / name).unlink()
    again = [features(items, tmp_path, view) for view in (0, 1)]
    for view in (0, 1):
        for name, frames in first[view].items():
            np.testing.assert_array_equal(again[view][name], frames)
    assert all(np.abs(first[0][name] - first[1][name]).max() > 0.1 for name in first[0])  # another pitch


def test_another_rate_is_another_reading_and_a_changed_file_is_an_error(items: pd.DataFrame, tmp_path: Path) -> None:
    slow, fast = (features(items, tmp_path, rate=rate)["0.wav"] for rate in (RATE, 2 * RATE))
    assert abs(len(fast) - 2 * len(slow)) <= 1
    (tmp_path / "1.wav").write_bytes((tmp_path / "0.wav").read_bytes())
    assert features(items, tmp_path).keys() == set(items["video"])
    with pytest.raises(UserError, match=r"1\.wav is not the file that was prepared"):
        features(items, tmp_path, rate=25.0)


@pytest.mark.parametrize(("position", "frames"), [(1, 24), (0, 24)])
def test_silence_is_not_cut_off_sounds_of_which_rows_are_parts(position: int, frames: int) -> None:
    rows = pd.DataFrame(
        {"id": ["a", "b"], "video": ["a.wav", "b.wav"], "position": [0, position], "frames": [9, frames]}
    )
    check_whole_sounds(rows[:1], {"a.wav": 9})
    with pytest.raises(UserError, match=r"b is a part of b\.wav: type sequences\.silence=null"):
        check_whole_sounds(rows, {"a.wav": 9, "b.wav": 25})


def test_groups_have_a_mean_and_the_test_is_one_of_them(items: pd.DataFrame, tmp_path: Path) -> None:
    items = items.assign(group=["a", "a", "b"], split=["train", "train", "test"])
    raw = {name: frames.mean(axis=0) for name, frames in features(items, tmp_path).items()}
    own, group, mixed = (features(items, tmp_path, view, centred=True, group_mean=True) for view in range(3))
    plain = features(items, tmp_path, centred=True)
    for name in raw:
        np.testing.assert_allclose(own[name], plain[name], atol=1e-6)
    for name, mean in (("0.wav", raw["0.wav"] + raw["1.wav"]), ("2.wav", 2 * raw["2.wav"])):
        np.testing.assert_allclose(group[name].mean(axis=0), raw[name] - mean / 2, atol=1e-5)
    of_pitch = features(items, tmp_path, view=1)  # the first of other pitch, less no mean
    first, second, left = (one.mean(axis=0) for one in (of_pitch["0.wav"], of_pitch["1.wav"], mixed["0.wav"]))
    share = np.median((first - left - second)[:32] / (first - second)[:32])  # of the first sound's mean in what is less
    np.testing.assert_allclose(left, first - share * first - (1 - share) * second, atol=1e-4)
    assert 0.5 < share < 1


def test_the_mean_of_a_sound_alone_is_no_mean_of_a_group(items: pd.DataFrame, tmp_path: Path) -> None:
    items = items.assign(group=["a", "b", "c"], split="train")
    with pytest.raises(UserError, match="needs groups of several sounds"):
        features(items, tmp_path, centred=True, group_mean=True)
    with pytest.raises(UserError, match=r"type sequences\.centred=true"):
        SequenceOptions(group_mean=True)
