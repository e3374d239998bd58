"""From a folder of videos or series to a table and folds: what is in it is told, what is wrong with it is one line.

Frame number n of a video has the brightness 20 + 9 n; videos have 8 frames a second, one second unless said.
"""

import json
import shutil
import wave
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from kagglepipe.cli.errors import errors_in_one_line
from kagglepipe.competitions.dataset import Dataset, read_folds
from kagglepipe.config import CONF, Config
from kagglepipe.errors import UserError
from kagglepipe.options import CompetitionOptions, FoldOptions, PathsOptions
from kagglepipe.runs.configured import read_data
from kagglepipe.sequences.series import Series
from kagglepipe.sequences.table import Item, alike, reading_of, sequences_hash
from kagglepipe.sequences.video import sample_frames
from kagglepipe.sequences.video_writer import VideoWriter
from kagglepipe.tools.commands import run_command
from tests.composing import changed
from tests.films import film_with_sound

LONG = ("stage=prepare", "competition=video_folder_untrimmed", "folds.count=2")
ABOUT = "video,start,end,label\n"
Command = Callable[..., Any]  # the fixture `command` of conftest, which gives an Outcome
Prepare = Callable[..., Dataset]
Refusal = Callable[..., str]
Told = Callable[[], str]


def film(path: Path, *, frames: int = 8, size: int = 32, own: int | None = None) -> Path:
    """A video like no other: `own` (None: by its name) is how many of its pixels are white."""
    path.parent.mkdir(parents=True, exist_ok=True)
    own = sum(path.stem.encode()) % 97 if own is None else own
    with VideoWriter(path, size, size, 8) as writer:
        for number in range(frames):
            picture = np.full((size, size, 3), 20 + 9 * number, np.uint8)
            picture.reshape(-1, 3)[:own] = 255
            writer.write(picture)
    return path


@pytest.fixture(scope="session")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of `videos` and `clips`, filmed once."""
    root = tmp_path_factory.mktemp("footage")
    for name in ("a", "b", "c", "d", "test/t"):
        film(root / "videos" / f"{name}.mp4")
    rows = [f"{name}.mp4,0.25,0.5,walk\n{name}.mp4,0.625,1,fall\n" for name in "abcd"]
    (root / "videos" / "annotations.csv").write_text(ABOUT + "".join(rows))
    for index in range(4):
        film(root / "clips" / "walk" / f"{index}.mp4", own=index)
        film(root / "clips" / "fall" / f"{index}.mp4", own=100 + index)
    film(root / "clips" / "test" / "t.mp4", own=500)
    return root


@pytest.fixture
def videos(footage: Path, tmp_path: Path) -> Path:
    """Four long videos a to d, each with two things that happen in it, and one to search."""
    return Path(shutil.copytree(footage / "videos", tmp_path / "videos"))


@pytest.fixture
def clips(footage: Path, tmp_path: Path) -> Path:
    """Class folders of four clips each, and one clip to classify."""
    return Path(shutil.copytree(footage / "clips", tmp_path / "clips"))


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """Four series of two channels, sampled 8 times a second from the second 2 on, and a table of theirs."""
    folder = tmp_path / "series"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in "abcd":
        save(folder, name, 2 + np.arange(16) / 8, rng.normal(size=(16, 2)))
    rows = [f"{name},2.5,3,walk\n{name},3.5,4,fall\n" for name in "abcd"]
    (folder / "annotations.csv").write_text(ABOUT + "".join(rows))
    return folder


def save(folder: Path, name: str, times: Any, values: Any) -> None:
    """An .npz with these times and values."""
    np.savez(folder / f"{name}.npz", time=np.asarray(times), values=np.asarray(values, np.float32))


def tone(path: Path, pitch: float) -> None:
    """A second of a tone as a WAV file."""
    path.parent.mkdir(exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes((9000 * np.sin(2 * np.pi * pitch * np.arange(8000) / 8000)).astype("<i2").tobytes())


def configured(root: Path, source: Path, name: str, overrides: tuple[str, ...]) -> Config:
    """The configuration of `competition=name`, in a tenth of the time of composing conf/; folds.count is 2."""
    competition = OmegaConf.load(CONF / "competition" / f"{name}.yaml").competition
    basis = Config(
        "prepare", paths=PathsOptions(str(root)), competition=CompetitionOptions(**competition), folds=FoldOptions(2)
    )
    return changed(basis, f"competition.source='{source}'", *overrides)


@pytest.fixture
def prepare(tmp_path: Path) -> Prepare:
    """prepare(folder, "sequences.rate=4", …, to="video_folder") -> what stage=prepare left; `to` is the competition."""

    def run(source: Path, *overrides: str, to: str = "video_folder_untrimmed") -> Dataset:
        config = configured(tmp_path, source, to, overrides)
        run_command(config)
        return read_data(config)

    return run


@pytest.fixture
def refusal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """As `prepare`, for what ends as every command does that meets a mistake: the one line on standard error."""

    def run(source: Path, *overrides: str, to: str = "video_folder_untrimmed") -> str:
        with pytest.raises(SystemExit) as stopped, errors_in_one_line():
            run_command(configured(tmp_path, source, to, overrides))
        assert stopped.value.code == 2
        (line,) = capfd.readouterr().err.splitlines()
        assert line.startswith("kagglepipe: ")
        return str(line.removeprefix("kagglepipe: "))

    return run


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """told() -> what has been logged so far."""
    caplog.set_level("INFO")
    return lambda: caplog.text


SERIES = ("competition.kind=series", "competition.id=stem")


def report(tmp_path: Path, slug: str = "videos") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "data" / slug / "prepared.json").read_text())
    return found


def state(folder: Path) -> dict[Path, int]:
    """Every file and when it was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def add(folder: Path, *rows: str) -> None:
    with (folder / "annotations.csv").open("a") as file:
        file.write("".join(f"{row}\n" for row in rows))


# --- what is left ------------------------------------------------------------------------------------------------


def test_frames_and_their_labels(videos: Path, prepare: Prepare) -> None:
    found = prepare(videos)
    assert found.classes == ["none", "fall", "walk"]
    a = found.table[found.table["video"] == "a.mp4"]
    assert a["id"].tolist() == [f"a.mp4@{k / 8:g}" for k in range(8)]
    # 0.25–0.5 has the frames at 0.25 and 0.375; 0.625–1 those at 0.625, 0.75 and 0.875
    assert a["target"].tolist() == ["none", "none", "walk", "walk", "none", "fall", "fall", "fall"]
    assert a["position"].tolist() == list(range(8))
    assert found.train["fold"].notna().all()
    assert found.train.groupby("video")["fold"].nunique().tolist() == [1, 1, 1, 1]
    assert found.test["video"].unique().tolist() == ["test/t.mp4"]
    assert found.test["target"].isna().all()


def test_the_rate_needs_no_new_table(videos: Path, prepare: Prepare, tmp_path: Path) -> None:
    prepare(videos)
    before = state(tmp_path / "data")
    a = (table := prepare(videos, "sequences.rate=4").table)[table["video"] == "a.mp4"]
    assert state(tmp_path / "data") == before
    assert a["target"].tolist() == ["none", "walk", "none", "fall"]
    assert a["start"].tolist() == [0, 0.25, 0.5, 0.75]


def test_whole_clips(clips: Path, prepare: Prepare) -> None:
    found = prepare(clips, "sequences.rate=4", to="video_folder")
    assert found.classes == ["fall", "walk"]
    assert found.table["id"].tolist() == sorted(p.relative_to(clips).as_posix() for p in clips.rglob("*.mp4"))
    assert found.train["target"].tolist() == ["fall"] * 4 + ["walk"] * 4
    assert set(zip(found.table["position"], found.table["frames"], strict=True)) == {(0, 4)}
    assert found.train["fold"].value_counts().tolist() == [4, 4]


@pytest.mark.parametrize("rate", [2, 3, 8])
def test_pieces_get_their_own_frames(rate: int, videos: Path, prepare: Prepare) -> None:
    found = prepare(videos, "competition.labels=annotations.csv", f"sequences.rate={rate}", to="video_folder")
    piece = found.train.set_index("id").loc["a.mp4@0.625-1"]
    shown = list(sample_frames(videos / "a.mp4", rate=rate))[piece.position : piece.position + piece.frames]
    expected = [k / rate for k in range(rate) if 0.625 <= k / rate < 1] or [0.5]
    assert [time for time, _ in shown] == expected
    numbers = [round((float(picture[16:].mean()) - 20) / 9) for _, picture in shown]
    assert numbers == [int(time * 8 + 1e-9) for time in expected]


def test_series_that_do_not_begin_at_0(series: Path, prepare: Prepare) -> None:
    found = prepare(series, *SERIES, "sequences.rate=4")
    a = found.table[found.table["video"] == "a"]
    assert a["start"].tolist() == [2 + k / 4 for k in range(8)]
    assert a["position"].tolist() == list(range(8))
    assert a["target"].tolist() == ["none", "none", "walk", "walk", "none", "none", "fall", "fall"]
    pieces = prepare(series, *SERIES, "competition.labels=annotations.csv", "folds.remake=true", to="video_folder")
    assert pieces.train.set_index("id").loc["a@2.5-3", ["position", "frames"]].tolist() == [4, 4]
    assert pieces.train.set_index("id").loc["a@3.5-4", ["position", "frames"]].tolist() == [12, 4]


def test_a_second_time_nothing_is_written(
    videos: Path, prepare: Prepare, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, before = prepare(videos), state(tmp_path / "data")
    with caplog.at_level("INFO"):
        again = prepare(videos)
    assert state(tmp_path / "data") == before
    assert "table.parquet is here already" in caplog.text
    pd.testing.assert_frame_equal(again.table, first.table)


@pytest.mark.parametrize("lost", ["prepared.json", "table.parquet", "items.parquet", "annotations.csv", "folds.csv"])
def test_what_was_lost_is_made_again_and_comes_out_the_same(
    lost: str, videos: Path, prepare: Prepare, tmp_path: Path
) -> None:
    first, place = prepare(videos), tmp_path / "data" / "videos"
    kept = {path: path.read_bytes() for path in place.glob("*.csv")}
    (place / lost).unlink()
    again = prepare(videos)
    assert (again.table_hash, again.folds_hash) == (first.table_hash, first.folds_hash)
    assert {path: path.read_bytes() for path in place.glob("*.csv")} == kept


def test_workers_do_not_change_the_table(videos: Path, prepare: Prepare, tmp_path: Path) -> None:
    one = prepare(videos, "workers=1").table
    three = prepare(videos, "workers=3", f"paths.root='{tmp_path / 'else'}'").table
    pd.testing.assert_frame_equal(one, three)


def test_edited_labels_are_taken_on_request(videos: Path, refusal: Refusal, prepare: Prepare) -> None:
    first = prepare(videos)
    add(videos, "a.mp4,0,0.125,walk")
    line = refusal(videos)
    assert "differ from those prepared" in line
    assert "competition.refresh=true" in line
    again = prepare(videos, "competition.refresh=true")
    assert again.table_hash != first.table_hash
    assert again.folds_hash == first.folds_hash
    assert again.table["target"][0] == "walk"


def test_labels_outside_the_source_are_watched(clips: Path, prepare: Prepare, tmp_path: Path) -> None:
    names = [f"{name}/{index}.mp4" for name in ("walk", "fall") for index in range(4)]
    rows = [f"{file},{'ab'[number % 2]}" for number, file in enumerate(names)]
    labels = tmp_path / "mine.csv"
    labels.write_text("\n".join(["video,label", *rows]))
    first = prepare(clips, f"competition.labels='{labels}'", to="video_folder")
    labels.write_text("\n".join(["video,label", *rows[:-1], rows[-1][:-1] + "a"]))
    again = prepare(clips, f"competition.labels='{labels}'", to="video_folder")
    assert again.table_hash != first.table_hash
    assert again.train["target"].tolist().count("a") == 5


def test_the_command_line(videos: Path, command: Command) -> None:
    add(videos, "c.mp4,,,")
    film(videos / "e.mp4")
    done = command(*LONG, "competition.source=videos")
    assert done.code == 0, done
    out = " ".join(done.out.split())
    assert "4 to train on, 1 to classify, 5 s in all; labels: 4 fall, 4 walk; 4 groups in training" in out
    assert "1 rows of annotations.csv have no label yet and were passed over" in out
    assert "left out 1 files without a label in annotations.csv: e.mp4" in out
    assert "2 folds of 2, 2 videos in" in out
    (videos / "b.mp4").write_bytes(b"")
    done = command(*LONG, "competition.source=videos", "competition.refresh=true")
    assert done.code == 2
    (line,) = done.err
    assert line.startswith("kagglepipe: b.mp4: the file is empty (0 bytes); mend or remove it, or ")


def test_few_labels_a_class(clips: Path, prepare: Prepare) -> None:
    found = prepare(clips, "competition.per_class=2", to="video_folder")
    assert found.train["target"].tolist() == ["fall", "fall", "walk", "walk"]
    assert len(found.test) == 4
    assert (found.table["frames"] == 8).all()


# --- copies and groups -------------------------------------------------------------------------------------------


def test_copies_are_in_one_group_whatever_they_are_called(clips: Path, prepare: Prepare, told: Told) -> None:
    shutil.copy(clips / "walk/0.mp4", clips / "walk/again.mp4")
    shutil.copy(clips / "walk/0.mp4", clips / "fall/mistaken.mp4")
    shutil.copy(clips / "walk/1.mp4", clips / "test/seen.mp4")
    found = prepare(clips, to="video_folder")
    assert "3 files are copies of another, byte for byte; each is in its twin's group" in told()
    assert "1 groups hold several classes" in told()
    group = found.table.set_index("id")["group"]
    assert group["walk/0.mp4"] == group["walk/again.mp4"] == group["fall/mistaken.mp4"] != group["walk/1.mp4"]
    assert group["test/seen.mp4"] == group["walk/1.mp4"]
    assert found.train[found.train["group"] == group["walk/0.mp4"]]["fold"].nunique() == 1


def test_a_copy_joins_the_groups_of_two_people(clips: Path, prepare: Prepare, tmp_path: Path) -> None:
    shutil.copy(clips / "walk/0.mp4", clips / "fall/0.mp4")
    lines = [f"{name}/{index}.mp4,{name},{name}{index // 2}" for name in ("walk", "fall") for index in range(4)]
    (clips / "labels.csv").write_text("\n".join(["video,label,group", *lines]))
    group = prepare(clips, "competition.labels=labels.csv", to="video_folder").table.set_index("id")["group"]
    assert group.nunique() == 4
    assert group["walk/1.mp4"] == group["fall/1.mp4"]
    assert group["walk/2.mp4"] == group["walk/3.mp4"] != group["fall/2.mp4"]


def with_groups(videos: Path, groups: str) -> None:
    """The annotations of `videos`, a to d in these groups."""
    rows = [f"{v},0.25,0.5,{label},{g}\n" for v, g in zip("abcd", groups, strict=True) for label in ("walk", "fall")]
    rows = [row if "fall" not in row else row.replace("0.25,0.5", "0.625,1") for row in rows]
    (videos / "annotations.csv").write_text("video,start,end,label,group\n" + "".join(rows))


def test_one_group_at_a_time(videos: Path, prepare: Prepare, refusal: Refusal, tmp_path: Path) -> None:
    with_groups(videos, "yxyz")
    prepare(videos, "folds.count=groups")
    folds = read_folds(tmp_path / "data/videos/folds.csv")
    assert folds["fold"].tolist() == [1, 0, 1, 2]
    assert set(folds["count"]) == {3}
    before = state(tmp_path / "data")
    prepare(videos, "folds.count=groups")
    assert state(tmp_path / "data") == before
    assert "was made with folds.count=3, the configuration says 2" in refusal(videos)


@pytest.mark.parametrize(
    ("groups", "count", "line"),
    [
        *(("xxxx", count, "all videos to train on are in one group, and folds need two: add others, or mend the groups")
          for count in ("groups", "2")),
        ("xyyz", "5", "3 groups of videos are too few for folds.count=5: type folds.count=3"),
    ],
)  # fmt: skip
def test_too_few_groups(groups: str, count: str, line: str, videos: Path, refusal: Refusal) -> None:
    with_groups(videos, groups)
    assert refusal(videos, f"folds.count={count}") == line


def test_own_folds(videos: Path, prepare: Prepare, refusal: Refusal, tmp_path: Path) -> None:
    own = f"folds.file={tmp_path / 'own.csv'}"
    (tmp_path / "own.csv").write_text("id,fold\na.mp4,0\nb.mp4,0\nc.mp4,1\nd.mp4,1\n")
    assert prepare(videos, own).train.groupby("video")["fold"].first().tolist() == [0, 0, 1, 1]
    add(videos, "c.mp4,0,0.1,wave")
    line = refusal(videos, own, "competition.refresh=true")
    assert line.endswith("own.csv: class wave lies only in fold 1, whose model never sees it; spread it")
    (tmp_path / "own.csv").write_text("id,fold\na.mp4,0\nb.mp4,1\n")
    assert "own.csv lacks c.mp4, d.mp4;" in refusal(videos, own, "competition.refresh=true")


# --- files that are no good --------------------------------------------------------------------------------------


def test_a_video_that_cannot_be_used(
    videos: Path, prepare: Prepare, refusal: Refusal, told: Told, tmp_path: Path
) -> None:
    (videos / "b.mp4").write_text("not a video at all")
    reason = "b.mp4: not a video that can be read"
    mend = "mend or remove it, or leave such files out with competition.on_bad_image=skip"
    assert refusal(videos) == f"{reason}; {mend}"
    assert not (tmp_path / "data/videos/prepared.json").exists()
    found = prepare(videos, "competition.on_bad_image=skip")
    assert f"left out 1 files that cannot be used: {reason}" in told()
    assert report(tmp_path)["skipped"] == [reason]
    assert sorted(set(found.train["video"])) == ["a.mp4", "c.mp4", "d.mp4"]


@pytest.mark.parametrize("suffix", ["npz", "mp4", "wav"])
def test_an_item_of_the_test_without_a_file_is_answered_where_that_is_typed(
    suffix: str, prepare: Prepare, refusal: Refusal, tmp_path: Path
) -> None:
    """Videos, series and sounds: a missing file is one that cannot be read."""
    source = tmp_path / "source"
    for number, name in enumerate("abcdt"):
        if suffix == "mp4":
            film(source / f"{name}.mp4", own=number)
        elif suffix == "wav":
            tone(source / f"{name}.wav", 300.0 + 50 * number)
        else:
            source.mkdir(exist_ok=True)
            save(source, name, np.arange(16) / 8, np.full((16, 2), number))
    (source / "labels.csv").write_text("item,label\na,walk\nb,walk\nc,fall\nd,fall\n")
    (source / "list.csv").write_text("item\nt\n../gone\n")
    kind = {"npz": "series", "mp4": "video", "wav": "audio"}[suffix]
    options = (f"competition.kind={kind}", "competition.labels=labels.csv", "competition.test=list.csv",
               "competition.id=stem", "competition.columns={item: item}", "competition.background=null")  # fmt: skip
    line = refusal(source, *options, to="video_folder")
    assert "names ../gone, and no such file is there" in line
    assert line.endswith("or answer such rows by the class shares with competition.on_bad_image=skip")
    found = prepare(source, *options, "competition.on_bad_image=skip", to="video_folder")
    assert found.test["id"].tolist() == ["t"]
    assert [one.id for one in found.unreadable] == ["gone"]


EMPTY = "the file is empty (0 bytes)"


@pytest.mark.parametrize(
    ("to", "files", "on_bad", "line"),
    [
        ("video_folder", ["*/1.mp4", "test/t.mp4"], "error", f"fall/1.mp4: {EMPTY} (and 2 more); "),
        ("video_folder", ["*/*.mp4"], "skip", f"no file can be used: fall/0.mp4: {EMPTY} (and 8 more)"),
        (
            "video_folder",
            ["walk/*.mp4"],
            "skip",
            f"class walk has no usable label: walk/0.mp4: {EMPTY}; label",
        ),
        ("video_folder_untrimmed", ["?.mp4"], "skip", f"no video to train on is usable: a.mp4: {EMPTY}; label some"),
    ],
)
def test_several_bad_files(
    to: str, files: list[str], on_bad: str, line: str, clips: Path, videos: Path, refusal: Refusal
) -> None:
    source = clips if to == "video_folder" else videos
    for path in (path for pattern in files for path in source.glob(pattern)):
        path.write_bytes(b"")
    assert refusal(source, f"competition.on_bad_image={on_bad}", to=to).startswith(line)


# --- labels that are no good -------------------------------------------------------------------------------------


def test_labels_that_are_repaired_are_counted(videos: Path, prepare: Prepare, told: Told) -> None:
    add(videos, "a.mp4,0.75,1.5,walk", "a.mp4,0.8,0.9,walk")
    found = prepare(videos)
    assert "1 labels reach beyond their video and were cut, as in a.mp4" in told()
    assert "2 labels overlap: the one that starts later counts, as in a.mp4" in told()
    assert found.annotations is not None
    assert found.annotations[found.annotations["video"] == "a.mp4"]["end"].max() == 1.0
    assert found.table["target"][:8].tolist() == ["none", "none", "walk", "walk", "none", "fall", "walk", "walk"]


def test_a_class_without_a_label(videos: Path, refusal: Refusal) -> None:
    classes = "competition.classes=[none,walk,fall,jump]"
    line = refusal(videos, classes)
    assert line == "class jump has no usable label; label some, or take it out of competition.classes"


def test_a_class_called_like_a_column(videos: Path, refusal: Refusal) -> None:
    add(videos, "a.mp4,0,1,fold")
    assert "class name 'fold' is reserved" in refusal(videos)


# --- series ------------------------------------------------------------------------------------------------------


def test_repairs_of_series_are_counted(series: Path, prepare: Prepare, told: Told, tmp_path: Path) -> None:
    values = np.ones((16, 2))
    values[3:5, 0] = np.nan
    save(series, "b", 2 + np.arange(16) / 8, values)
    save(series, "c", np.repeat(2 + np.arange(8) / 4, 2), np.ones((16, 2)))
    prepare(series, *SERIES)
    assert report(tmp_path, "series")["repaired"] == {
        "b": ["2 values not finite: interpolated in time"],
        "c": ["8 rows at a time that was there already: dropped"],
    }
    assert "repaired while reading: 2 files: " in told()


def test_a_series_that_cannot_be_used(series: Path, refusal: Refusal) -> None:
    save(series, "b", [2.0, np.nan], np.ones((2, 2)))
    assert refusal(series, *SERIES).startswith("b.npz: row 2 has no time; mend or remove it")


def test_series_of_other_channels(series: Path, refusal: Refusal) -> None:
    save(series, "b", 2 + np.arange(16) / 8, np.ones((16, 3)))
    line = refusal(series, *SERIES)
    assert line == "b.npz has 3 channels, most files have 2; mend or remove it (there are 1)"


def test_series_without_the_joints_of_the_skeleton(series: Path, prepare: Prepare, refusal: Refusal) -> None:
    joints = [f"competition.skeleton.{name}={n}" for name, n in (("hip", 0), ("neck", 1), ("left_hip", 2))]
    line = refusal(series, *SERIES, *joints, "competition.skeleton.right_hip=3")
    assert line.startswith("a.npz: no skeleton {'hip': 0, 'neck': 1, 'left_hip': 2, 'right_hip': 3} is in it: ")
    assert "its values are (2,), needed is (joints, 3)" in line
    for name in "abcd":
        save(series, name, 2 + np.arange(16) / 8, np.random.default_rng(ord(name)).normal(size=(16, 4, 3)))
    again = (*SERIES, *joints, "competition.refresh=true")
    assert "its values are (4, 3), needed" in refusal(series, *again, "competition.skeleton.right_hip=4")
    assert "its values are (4, 3), needed" in refusal(series, *again, "competition.skeleton.right_hip=-1")
    prepare(series, *again, "competition.skeleton.right_hip=3")
    save(series, "b", 2 + np.arange(16) / 8, np.ones((16, 6, 2)))
    line = refusal(series, *again, "competition.skeleton.right_hip=3")
    assert line.startswith("b.npz: no skeleton ")
    assert "its values are (6, 2), needed" in line


def item(channels: tuple[str, ...], kind: str = "csv", width: int = 2) -> Item:
    """A series of these columns."""
    return Item("0" * 64, 1, 0.0, 1.0, 9, width, 1, kind, (), channels=channels)


def test_columns_are_read_in_the_order_of_the_first_file_that_has_the_usual_ones() -> None:
    names = [("x", "q"), ("b", "a"), ("a", "b"), ("a", "b", "c")]
    with pytest.raises(UserError, match=r"0.csv has no column b, which most files have, only x, q; rename it"):
        alike([f"{n}.csv" for n in range(4)], [item(one) for one in names])
    first, second, third = alike(["1.csv", "2.csv", "3.csv"], [item(one) for one in names[1:]])
    assert first == item(("b", "a"))
    assert second == replace(item(("b", "a")), reading="columns b, a")
    assert (third.channels, third.width, third.reading) == (("b", "a"), 2, "columns b, a")
    assert third.repairs == ("columns left out, since most files or all tests lack them: c",)
    train, asked = alike(["1.csv", "2.csv"], [item(("a", "phase")), item(("a",), width=1)], {"2.csv"})
    assert (train.channels, train.width, asked.channels) == (("a",), 1, ("a",))  # phase is known in training alone


def test_arrays_are_matched_by_name_and_files_without_names_by_their_number_of_channels() -> None:
    with pytest.raises(UserError, match=r"2.npz has no array x, which most files have, only y"):
        alike(["1.npz", "2.npz", "3.npz"], [item((name,), "npz") for name in "xyx"])
    assert len(alike(["1.npz", "2.npy"], [item(("x",), "npz"), item((), "npy")])) == 2
    with pytest.raises(
        UserError, match=r"3.npy has 50 channels, .*the second axis is time, type competition.time_axis"
    ):
        alike(["1.npy", "2.npy", "3.npy", "4.npy"], [item((), "npy", width) for width in (40, 40, 50, 60)])
    with pytest.raises(UserError, match=r"there are 2\)$"):  # their second axis is taken for time already
        alike([f"{n}.npy" for n in range(4)], [replace(item((), "npy", w), axis=1) for w in (40, 40, 50, 60)])


def test_only_what_is_read_otherwise_than_before_changes_the_hash() -> None:
    table = pd.DataFrame({"id": ["a", "b"], "split": "train", "target": ["x", "y"], "sha256": ["0" * 64, "1" * 64]})
    before = sequences_hash(table, b"")
    assert sequences_hash(table.assign(reading=""), b"") == before
    assert sequences_hash(table.assign(reading=["", "delay 2.000"]), b"") != before


def test_channels_are_matched_by_name_and_answers_are_none(series: Path, prepare: Prepare, told: Told) -> None:
    for name in "abcd":
        (series / f"{name}.npz").unlink()
        times = 2 + np.arange(16) / 8
        columns = pd.DataFrame({"time": times, "x": times * ord(name), "y": 0.0, "label": 1})
        columns[["y", "x", "time", "label"] if name == "c" else list(columns)].to_csv(
            series / f"{name}.csv", index=False
        )
    found = prepare(series, *SERIES)
    assert found.items is not None
    assert [list(names) for names in found.items["channels"]] == [["x", "y"]] * 4
    assert found.items[["video", "width", "begins", "ends"]].to_numpy().tolist() == [[v, 2, 2.0, 4.0] for v in "abcd"]
    assert found.items["reading"].tolist() == [*["without answers"] * 2, "columns x, y", "without answers"]
    assert "columns left out because they hold labels: label (4 files)" in told()


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Six recordings of two classes in CSVs, in which a column numbers the classes, and one to classify."""
    folder, rng = tmp_path / "recordings", np.random.default_rng(0)
    for name, code in (("walk", 3), ("fall", 7), ("test", 0)):
        (folder / name).mkdir(parents=True)
        for number in range(3 if code else 1):
            columns = pd.DataFrame(rng.normal(size=(9, 2)), columns=["x", "y"]).assign(rate=9, kind=code)
            columns.to_csv(folder / name / f"{name}{number}.csv", index=False)
    return folder


def test_a_column_that_numbers_the_classes_is_no_channel_whatever_it_is_called(
    recordings: Path, prepare: Prepare, refusal: Refusal, told: Told
) -> None:
    found = prepare(recordings, "competition.kind=series", to="video_folder")
    assert found.items is not None
    assert {tuple(names) for names in found.items["channels"]} == {("x", "y", "rate")}
    assert set(found.items["width"]) == {3}
    assert "columns left out, since they number the classes: kind (7 files)" in told()
    for path in recordings.rglob("*.csv"):
        pd.read_csv(path)[["kind"]].to_csv(path, index=False)
    line = refusal(recordings, "competition.kind=series", "competition.refresh=true", to="video_folder")
    assert line == "all columns of the series number the classes (kind): add some to learn from"


@pytest.mark.parametrize(
    ("answers", "reading"),
    [
        ((), ""),
        (("label",), "without answers"),
        (("Class_ID",), "without answers"),
        (("label", "rate"), "columns x, y"),
    ],
)
def test_a_reading_tells_of_answers_that_only_the_user_knows(answers: tuple[str, ...], reading: str) -> None:
    assert reading_of(Series(np.arange(2.0), np.zeros((2, 2)), (), ("x", "y"), answers)) == reading


@pytest.mark.parametrize("named", ["competition.target_column=rate", "competition.columns.label=rate"])
def test_a_column_that_turns_out_to_hold_answers_makes_another_table(
    recordings: Path, prepare: Prepare, named: str
) -> None:
    before = prepare(recordings, "competition.kind=series", to="video_folder")
    after = prepare(recordings, "competition.kind=series", named, to="video_folder")
    assert after.items is not None
    assert {tuple(names) for names in after.items["channels"]} == {("x", "y")}
    assert after.table_hash != before.table_hash
    other = prepare(recordings, "competition.kind=series", "competition.target_column=answer", to="video_folder")
    assert other.table_hash == before.table_hash


def test_the_longer_axis_of_arrays_is_time_where_it_is_much_longer(series: Path, prepare: Prepare, told: Told) -> None:
    for name in "abcd":
        (series / f"{name}.npz").unlink()
        np.save(series / f"{name}.npy", np.random.default_rng(ord(name)).normal(size=(2, 16)))
    (series / "annotations.csv").write_text(ABOUT + "".join(f"{name},2,9,walk\n{name},9,16,fall\n" for name in "abcd"))
    found = prepare(series, *SERIES, "competition.refresh=true")
    assert found.items is not None
    assert found.items[["ends", "frames", "width", "axis"]].drop_duplicates().to_numpy().tolist() == [[16, 16, 2, 1]]
    assert "axis 1 of the arrays is time, 8 times the others or more; else type competition.time_axis=0" in told()


def test_a_video_whose_pictures_begin_later_has_the_players_clock(videos: Path, prepare: Prepare, told: Told) -> None:
    """A second of sound before the pictures, so that what happens does so a second later."""
    before = prepare(videos).table_hash
    film_with_sound(videos / "a.mp4", pictures=1)
    text = (videos / "annotations.csv").read_text()
    moved = text.replace("a.mp4,0.25,0.5", "a.mp4,1.25,1.5").replace("a.mp4,0.625,1,", "a.mp4,1.625,2,")
    (videos / "annotations.csv").write_text(moved)
    found = prepare(videos, "competition.refresh=true", "sequences.rate=8")
    assert found.items is not None
    assert found.items[["ends", "reading"]].to_numpy().tolist()[:2] == [[3, "delay 1.000"], [1, ""]]
    own = found.table[found.table["video"] == "a.mp4"]
    assert own["target"].tolist() == [*["none"] * 10, *["walk"] * 2, "none", *["fall"] * 3, *["none"] * 8]
    assert "first frame 1 s after the start of the file: shown from the start" in told()
    assert found.table_hash != before


def test_clocks_that_count_from_1970(series: Path, prepare: Prepare) -> None:
    begins = 1_700_000_000
    for name in "abcd":
        save(series, name, begins + np.arange(16) / 8, np.random.default_rng(ord(name)).normal(size=(16, 2)))
    rows = [f"{v},{begins}.5,{begins + 1},walk\n{v},{begins}.25,{begins}.5,fall\n" for v in "abcd"]
    (series / "annotations.csv").write_text(ABOUT + "".join(rows))
    found = prepare(series, *SERIES)
    assert found.table["id"].is_unique
    assert found.table["target"][:8].tolist() == ["none", "none", "fall", "fall", *["walk"] * 4]
    pieces = prepare(
        series, *SERIES, "competition.labels=annotations.csv", "folds.remake=true", to="video_folder"
    ).train
    assert pieces["id"].tolist()[:2] == [f"a@{begins}.25-{begins}.5", f"a@{begins}.5-{begins + 1}"]
    assert pieces["position"].tolist()[:2] == [2, 4]
