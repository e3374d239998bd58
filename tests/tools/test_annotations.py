"""The empty table for a folder of long videos: begun once, filled in by hand, read as it was meant."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import read_json
from kagglepipe.options import PathsOptions
from kagglepipe.sequences.video_writer import VideoWriter
from kagglepipe.tools.annotations import run

Command = Callable[..., Any]  # the fixture `command` of conftest, which gives an Outcome


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five videos in two folders, one to search, and what lies about in folders. The videos are only named."""
    here = tmp_path / "my videos"
    names = (
        "IMG_2.MOV",
        "IMG_10.MOV",
        "day 2/a, b.mp4",
        "day 2/caída.mp4",
        "latest.avi",
        "test/t.mp4",
        "set/Test/u.mp4",
    )
    for name in (*names, "notes.txt", "photo.jpg", "sound.mp3", ".DS_Store", "._IMG_2.MOV", "Thumbs.db"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).touch()
    return here


def begin(folder: Path, tmp_path: Path) -> None:
    run(Config("annotations", input=str(folder), paths=PathsOptions(str(tmp_path))))


def test_every_video_has_an_empty_row(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        begin(folder, tmp_path)
    text = (folder / "annotations.csv").read_text()
    assert text == (
        "video,start,end,label,group\n"
        "IMG_10.MOV,,,,\n"
        "IMG_2.MOV,,,,\n"
        '"day 2/a, b.mp4",,,,\n'
        "day 2/caída.mp4,,,,\n"
        "latest.avi,,,,\n"
    )
    assert f"5 videos in {folder / 'annotations.csv'}" in caplog.text
    assert f"competition.source='{folder}'" in caplog.text


def test_what_is_there_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (folder / "annotations.csv").write_text("my work")
    with pytest.raises(UserError, match=r"annotations\.csv exists and is not changed; rename it to begin again"):
        begin(folder, tmp_path)
    assert (folder / "annotations.csv").read_text() == "my work"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ((), "annotations needs a folder of videos: add input=FOLDER"),
        (("input=empty",), "input={here}/empty holds 0 files and no video (.mp4, .m4v, .mov, .avi, .mkv, .webm …)"),
        (("input=photos",), "input={here}/photos holds 1 files and no video (.mp4, .m4v, .mov, .avi, .mkv, .webm …)"),
        (("input=a.mp4",), "input={here}/a.mp4 is no folder: give the one that holds the videos"),
        (("input=nowhere",), "input={here}/nowhere is no folder: give the one that holds the videos"),
    ],
)
def test_folders_without_videos(given: tuple[str, ...], line: str, command: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").touch()
    (tmp_path / "a.mp4").touch()
    done = command("annotations", *given)
    assert done.code == 2
    assert done.err == ["kagglepipe: " + line.format(here=tmp_path)]
    assert not list(tmp_path.rglob("annotations.csv"))


def film(path: Path, grey: int) -> None:
    """A video of a second, at 8 frames a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, 32, 32, 8) as writer:
        for _ in range(8):
            writer.write(np.full((32, 32, 3), grey, np.uint8))


def test_from_the_template_to_folds(command: Command, tmp_path: Path) -> None:
    """As a student fills it in: rows added and left empty, groups once a video, saved by a Spanish Excel."""
    source = tmp_path / "filmed"
    for number, name in enumerate(("IMG_1.MOV", "IMG_2.MOV", "IMG_3.MOV", "IMG_4.MOV", "IMG_5.MOV", "test/IMG_6.MOV")):
        film(source / name, 20 * number)
    assert command("annotations", "input=filmed").code == 0
    table = pd.read_csv(source / "annotations.csv", dtype=str, keep_default_na=False)
    assert table["video"].tolist() == [f"IMG_{n}.MOV" for n in range(1, 6)]
    filled = ["IMG_1.MOV;0,25;0,5;fall;ana", "IMG_1.MOV;0,75;1;fall;", "IMG_2.MOV;0;0,5;fall;luis"]
    filled += ["IMG_3.MOV;;;none;luis", "IMG_4.MOV;;;;", ";;;;"]
    text = "\r\n".join(["video;start;end;label;group", *filled, ""])  # IMG_5 was deleted
    (source / "annotations.csv").write_bytes(text.encode("utf-8-sig"))

    done = command("prepare", "competition=video_folder_untrimmed", "competition.source=filmed", "folds.count=groups")
    assert (done.code, done.err) == (0, []), done
    out = " ".join(done.out.split())
    assert "3 to train on, 1 to classify" in out
    assert "labels: 3 fall; 2 groups in training" in out
    assert "1 rows of annotations.csv have no label yet and were passed over" in out
    assert "left out 2 files without a label in annotations.csv: IMG_4.MOV; IMG_5.MOV" in out
    data = tmp_path / "data/filmed"
    assert read_json(data / "prepared.json")["classes"] == ["none", "fall"]
    assert pd.read_csv(data / "annotations.csv").to_numpy().tolist() == [
        ["IMG_1.MOV", 0.25, 0.5, "fall"],
        ["IMG_1.MOV", 0.75, 1.0, "fall"],
        ["IMG_2.MOV", 0.0, 0.5, "fall"],
    ]
    assert pd.read_csv(data / "folds.csv")[["id", "fold"]].to_numpy().tolist() == [
        ["IMG_1.MOV", 0],
        ["IMG_2.MOV", 1],
        ["IMG_3.MOV", 1],
    ]


def test_a_template_as_it_was_begun(command: Command, tmp_path: Path) -> None:
    film(tmp_path / "filmed/a.mp4", 20)
    assert command("annotations", "input=filmed").code == 0
    done = command("prepare", "competition=video_folder_untrimmed", "competition.source=filmed")
    assert done.code == 2
    assert done.err == [
        "kagglepipe: annotations.csv says nothing yet of what happens in a video to train on; fill it in"
    ]
