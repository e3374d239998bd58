"""A network is tested on voices that it has not heard; wrong tables are refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kagglepipe.course import spoken_digits
from kagglepipe.course.lesson import Lesson
from kagglepipe.course.sounds import Sounds, draw_sounds, read_sounds
from kagglepipe.course.spoken_digits import accuracy, leave_out, run
from kagglepipe.errors import UserError
from kagglepipe.options import CourseOptions
from kagglepipe.samples.voices import draw_voice, speak, write_wav


def lesson(folder: Path, **options) -> Lesson:
    return Lesson(CourseOptions(quick=True, **options), folder, torch.device("cpu"))


def spoken(folder: Path, table: str = "audio,label,speaker\n") -> Path:
    """A folder with train.csv and ten digits by each of two voices."""
    folder.mkdir(exist_ok=True)
    for number in range(2):
        voice = draw_voice(np.random.default_rng(number))
        for digit in range(10):
            name = f"{number}{digit}.wav"
            write_wav(folder / name, speak(digit, voice, np.random.default_rng(digit)))
            table += f"{name},{digit},{'ab'[number]}\n"
    (folder / "train.csv").write_text(table)
    return folder


def test_each_speaker_is_left_out_of_training_once(tmp_path, monkeypatch):
    sounds, learnt = draw_sounds(lesson(tmp_path)), []

    def learn(lesson, sounds, rows, name, what):
        learnt.append({example.id.split("_")[0] for example in sounds.examples(rows, 0)})
        return what

    monkeypatch.setattr(spoken_digits, "learn", learn)
    tested = []

    def accuracy(model, sounds, rows):
        tested.append(set(sounds.speakers[rows]))
        return len(tested) / 4, len(tested) / 2

    monkeypatch.setattr(spoken_digits, "accuracy", accuracy)
    found = leave_out(lesson(tmp_path), sounds, "LSTM")
    assert tested == [{f"voice {n}"} for n in (1, 2, 3)]
    assert found == {"voice 1": 0.25, "voice 2": 0.5, "voice 3": 0.75, "mean": 0.5, "mean with equal shares": 1.0}
    assert learnt == [{"1", "2"}, {"0", "2"}, {"0", "1"}]


def test_the_lesson_and_what_it_saved_agree_on_other_sounds(tmp_path, monkeypatch):
    monkeypatch.setattr(spoken_digits, "STEPS", 2)
    source = spoken(tmp_path)
    first = run(lesson(tmp_path, source=str(source), heldout=str(source / "train.csv")))
    assert all((tmp_path / name).is_file() for name in ("speakers.png", "listening.png", "model.json"))
    loaded = run(lesson(tmp_path, model=str(tmp_path), heldout=str(source / "train.csv")))
    names = ("heldout_accuracy", "heldout_accuracy_with_equal_shares")
    assert loaded == {name: first[name] for name in names}
    about = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({name: about[name] for name in ("lesson", "temporal")}))
    with pytest.raises(UserError, match=r"is not what lesson=spoken_digits saves \('means'\)"):  # of an older version
        run(lesson(tmp_path, model=str(tmp_path), heldout=str(source / "train.csv")))
    assert first["LSTM"]["mean"] == pytest.approx((first["LSTM"]["a"] + first["LSTM"]["b"]) / 2)


@pytest.mark.parametrize(
    ("table", "what"),
    [("audio,label,speaker\n99.wav,1,a\n", "row 2, names 99.wav, and no such file"),
     ("audio,label,speaker\n00.wav,ten,a\n", "has 'ten'"), ("audio,label,speaker\n", "has no rows"),
     ("audio,label\n00.wav,1\n", "audio, label, speaker are needed; name its columns so"),
     ("audio,label,speaker\ntrain.csv,1,a\n", "leave it out"),
     ("audio,label,speaker\n00.wav,1,a\n01.wav,1, \n", "row 3, column speaker, is empty")],
)  # fmt: skip
def test_what_is_wrong_with_a_table_is_said(tmp_path, table, what):
    (spoken(tmp_path) / "train.csv").write_text(table)
    with pytest.raises(UserError, match=what):
        read_sounds(str(tmp_path))


def test_names_are_paths_and_one_of_two_files_is_never_guessed(tmp_path):
    for number in range(2):
        spoken(tmp_path / "ab"[number])
    table = "audio,label,speaker\na/00.wav,0,a\nb/11.wav,1,b\n"
    (tmp_path / "train.csv").write_text(table.replace("\n", "\r\n"))
    one, other = read_sounds(str(tmp_path)).views[0]
    np.testing.assert_array_equal(one, read_sounds(str(tmp_path / "a")).views[0][0])
    np.testing.assert_array_equal(other, read_sounds(str(tmp_path / "b")).views[0][11])
    (tmp_path / "train.csv").write_text(table.replace("a/", ""))
    with pytest.raises(UserError, match=r"names 00\.wav, which may be a/00\.wav or b/00\.wav"):
        read_sounds(str(tmp_path))


def test_a_silent_sound_is_said(tmp_path, caplog):
    write_wav(spoken(tmp_path) / "03.wav", np.zeros(8000, np.float32))
    assert len(read_sounds(str(tmp_path)).views[0]) == 20
    assert caplog.messages == ["spoken_digits: what is damaged or silent is kept: 03.wav: silent"]


def test_sounds_of_other_digits_than_those_of_the_picture_are_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(spoken_digits, "STEPS", 1)
    rows = (spoken(tmp_path) / "train.csv").read_text().splitlines()
    (tmp_path / "train.csv").write_text("\n".join(row for row in rows if row.split(",")[1] in ("label", "0", "1")))
    run(lesson(tmp_path, source=str(tmp_path)))
    assert (tmp_path / "listening.png").is_file()


def test_what_is_tested_on_is_read_before_anything_is_learnt(tmp_path, monkeypatch):
    monkeypatch.setattr(spoken_digits, "learn", lambda *_: pytest.fail("it learns"))
    (tmp_path / "other.csv").write_text("audio,label\n9.wav,1\n")
    with pytest.raises(UserError, match=r"names 9\.wav"):
        run(lesson(tmp_path, heldout=str(tmp_path / "other.csv")))
    for options in ({}, {"heldout": str(tmp_path / "other.csv"), "source": str(tmp_path)}):
        with pytest.raises(UserError, match=r"add course\.heldout=CSV, and leave course\.source out"):
            run(lesson(tmp_path, model=str(tmp_path), **options))


def test_views_are_less_the_mean_of_the_sound_and_of_the_speaker_and_of_other_pitch(tmp_path):
    table = (spoken(tmp_path) / "train.csv").read_text()
    (tmp_path / "train.csv").write_text(table.replace(",a\n", ", a \n"))
    sounds = read_sounds(str(tmp_path))
    assert set(sounds.speakers) == {"a", "b"}
    assert len(sounds.views) == 2 + 4
    assert all(view[3].shape == sounds.views[0][3].shape for view in sounds.views[:2])
    own, speaker = (np.stack([frames.mean(axis=0) for frames in view]) for view in sounds.views[:2])
    np.testing.assert_allclose(own, 0, atol=1e-5)
    assert np.abs(speaker).max() > 0.1
    for name in "ab":
        np.testing.assert_allclose(speaker[sounds.speakers == name].mean(axis=0), 0, atol=1e-5)
    assert len({frames.tobytes() for frames in (view[3] for view in sounds.views)}) == 6
    assert [(one.id, one.label) for one in sounds.examples(np.array([3]), 5)] == [("03.wav", 3)]


def test_a_quick_run_takes_two_of_each_digit_by_three_speakers(tmp_path):
    rows = (spoken(tmp_path) / "train.csv").read_text().splitlines()[1:]
    again = [row.replace(",b", f",{name}") for name in "cd" for row in rows[10:]] + rows + rows
    (tmp_path / "train.csv").write_text("\n".join(["audio,label,speaker", *rows, *again]) + "\n")
    some = read_sounds(str(tmp_path), quick=True)
    assert sorted(set(some.speakers)) == ["a", "b", "c"]
    assert [int((some.speakers == name).sum()) for name in "abc"] == [20, 20, 10]
    assert (len(some.views), len(some.views[2])) == (3, 50)
    assert len(read_sounds(str(tmp_path), quick=True, to_learn=False).views) == 2


def test_sounds_to_be_tested_on_are_of_one_speaker_unless_a_column_says_so(tmp_path):
    source = spoken(tmp_path)
    both = read_sounds(str(source), to_learn=False)
    (source / "train.csv").write_text((source / "train.csv").read_text().replace(",speaker", ",voice"))
    one = read_sounds(str(source), to_learn=False)
    assert len(both.views) == len(one.views) == 2
    np.testing.assert_array_equal(both.views[0][3], one.views[0][3])
    means = {name: np.mean([frames.mean(axis=0) for frames in sounds.views[1]], axis=0)
             for name, sounds in (("both", both), ("one", one))}  # fmt: skip
    np.testing.assert_allclose(means["one"], 0, atol=1e-5)
    assert not np.allclose(both.views[1][3], one.views[1][3])
    (source / "other.csv").write_bytes(b"audio,label\n\xff\xfe\x00,1\n")
    with pytest.raises(UserError, match=r"other\.csv"):
        read_sounds(str(source / "other.csv"), to_learn=False)


def test_the_answer_is_by_both_ways_of_listening(tmp_path, monkeypatch):
    sounds = draw_sounds(lesson(tmp_path))
    said = {0: np.eye(10)[1] * 0.6 + 0.04, 1: np.eye(10)[2] * 0.8 + 0.02}
    views = {id(view[0]): number for number, view in enumerate(sounds.views)}
    monkeypatch.setattr(
        spoken_digits, "temporal_probabilities",
        lambda _, examples: [said[views[id(examples[0].features)]]] * len(examples),
    )  # fmt: skip
    rows = np.flatnonzero(sounds.speakers == "voice 1")
    assert accuracy(None, sounds, rows)[0] == pytest.approx((sounds.digits[rows] == 2).mean())


def test_equal_shares_find_the_digit_that_is_never_the_likeliest(tmp_path, monkeypatch):
    """Sounds of 1 seem more like 0 than like 1, but less so than those of 0."""
    digits = np.array([0, 0, 1, 1])
    sounds = Sounds(list("abcd"), digits, np.array(list("aaaa")), [[np.zeros((3, 64), np.float32)] * 4] * 2)
    said = np.full((4, 10), 1e-9)
    said[:, :2] = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    monkeypatch.setattr(spoken_digits, "temporal_probabilities", lambda *_: list(said))
    assert accuracy(None, sounds, np.arange(4)) == (0.5, 1.0)


def test_one_speaker_cannot_be_left_out(tmp_path):
    sounds = read_sounds(str(spoken(tmp_path)))._replace(speakers=np.full(20, "a"))
    with pytest.raises(UserError, match="two or more"):
        leave_out(lesson(tmp_path), sounds, "LSTM")
