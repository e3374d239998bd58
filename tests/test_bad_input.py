"""What goes wrong in people's hands: one line that names the culprit, exit code 2, and nothing half-written."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from kagglepipe.competitions.dataset import read_folds
from kagglepipe.images.cache import PixelWriter

FOLDER = ("competition=image_folder", "experiment=quick", "training.views=0")
PREPARE = ("stage=prepare", *FOLDER)
FINISHED = {"table.parquet", "prepared.json", "folds.csv", "source.json", "metrics.json", "index.npy", "pixels.bin"}
Command = Callable[..., Any]  # the fixture `command` of conftest, which gives an Outcome


def zipped(folder: Path) -> Path:
    """The folder's files as a zip beside it."""
    return Path(shutil.make_archive(str(folder), "zip", folder))


def finished(root: Path) -> list[str]:
    """Files under `root` that stand for finished work, or that were to be temporary."""
    places = [path for name in ("data", "outputs", "submissions") for path in (root / name).rglob("*")]
    return sorted(p.name for p in places if p.name in FINISHED or ".tmp" in p.name or p.name.startswith(".raw"))


def told(done: Any) -> str:
    """The one line of a command that failed."""
    assert done.code == 2, done
    assert len(done.err) == 1, done.err
    assert done.err[0].startswith("kagglepipe: ")
    return done.err[0].removeprefix("kagglepipe: ")


# --- sources --------------------------------------------------------------------------------------------------


def cut(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 3])


@pytest.mark.parametrize(
    ("spoil", "options", "words"),
    [
        (Path.unlink, (), "nothing is at {}: give a zip or a folder, as competition.source=PATH"),
        (cut, (), "{} is a zip cut short or damaged; download it again"),
        (zipped, ("download.max_gb=0.0001",), "if you trust it, type download.max_gb=1"),
        (zipped, ("download.max_entries=5",), "if you trust it, type download.max_entries="),
    ],
    ids=["missing", "truncated", "too large", "too many"],
)
def test_a_zip_that_cannot_be_taken(
    spoil: Callable[[Path], object], options: tuple[str, ...], words: str, toy: Path, command: Command, tmp_path: Path
) -> None:
    archive = zipped(toy).rename(tmp_path / "it's (1).zip")
    if spoil is not zipped:
        spoil(archive)
    line = told(command(*PREPARE, "competition.source=it's (1).zip", *options))
    assert words.format(archive) in line
    assert str(archive) in line
    assert finished(tmp_path) == []
    assert command(*PREPARE, f"competition.source={zipped(toy)}").code == 0


# --- sources that must not be hurt ----------------------------------------------------------------------------


def test_images_that_lie_where_archives_are_unpacked_are_not_deleted(
    toy: Path, command: Command, tmp_path: Path
) -> None:
    raw = tmp_path / "data/pistolas-vs-smartphones-con-deep-learning/raw"
    for name, place in (("red", "Train/Pistol"), ("blue", "Train/Smartphone"), ("test", "Test")):
        shutil.copytree(toy / name, raw / place)
    before = sorted(raw.rglob("*"))
    assert "competition.source" in told(command("stage=prepare", "experiment=quick", f"competition.source={raw}"))
    assert sorted(raw.rglob("*")) == before


def test_a_source_above_the_root_leaves_the_users_own_folders_alone(
    toy: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = toy / "work"
    (work / "raw").mkdir(parents=True)
    (work / "raw/mine.txt").write_text("mine")
    (work / "table.parquet").write_text("mine too")
    monkeypatch.chdir(work)
    command(*PREPARE, "competition.source=..", f"paths.root={work}")
    assert (work / "raw/mine.txt").read_text() == "mine"
    assert (work / "table.parquet").read_text() == "mine too"


def test_a_source_that_holds_the_root_is_refused_since_results_would_be_taken_for_images(
    toy: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toy)
    assert "paths.root" in told(command(*PREPARE, "competition.source=."))
    assert finished(toy) == []
    assert command(*PREPARE, "competition.source=.", f"paths.root={tmp_path}").code == 0
    assert len(pd.read_parquet(tmp_path / "data/toy/table.parquet")) == 42


# --- classes and ids ------------------------------------------------------------------------------------------


def test_an_empty_class_folder_and_only_one_class(toy: Path, command: Command, tmp_path: Path) -> None:
    (toy / "yellow").mkdir()
    assert "yellow" in told(command(*PREPARE, "competition.source=toy"))
    for name in ("red", "green", "yellow"):
        shutil.rmtree(toy / name)
    line = told(command(*PREPARE, "competition.source=toy", "competition.refresh=true"))
    assert line.startswith("found 1 class folders (blue)")
    assert "table.parquet" not in finished(tmp_path)


# --- files that are no usable image ---------------------------------------------------------------------------


BAD = {  # what it holds, what it is called
    "cut.png": (cv2.imencode(".png", np.zeros((50, 60), np.uint8))[1].tobytes()[:-20], "damaged"),
    "empty.jpg": (b"", "the file is empty (0 bytes)"),
    "letter.jpg": (b"Dear all, please find attached", "not an image that can be read"),
    "wide.png": (cv2.imencode(".png", np.zeros((2, 40_000)))[1].tobytes(), "40000×2 pixels; the limit is 200"),
}


@pytest.mark.parametrize("names", [["cut.png"], ["empty.jpg", "letter.jpg", "wide.png"]])
def test_a_file_that_is_no_usable_image_is_named(names: list[str], toy: Path, command: Command, tmp_path: Path) -> None:
    for name in names:
        (toy / "red" / name).write_bytes(BAD[name][0])
    line = told(command(*PREPARE, "competition.source=toy"))
    assert line.startswith(f"red/{names[0]}: {BAD[names[0]][1]}")
    assert (" (and 2 more); " in line) is (len(names) == 3)
    assert line.endswith("mend or remove it, or leave such files out with competition.on_bad_image=skip")
    assert finished(tmp_path) == ["source.json"]
    for name in names:
        (toy / "red" / name).unlink()
    assert command(*PREPARE, "competition.source=toy").code == 0


def test_such_files_can_be_left_out_and_are_listed(toy: Path, command: Command, tmp_path: Path) -> None:
    for name, (data, _) in BAD.items():
        (toy / "red" / name).write_bytes(data)
    (toy / "test/empty.jpg").touch()
    done = command(*PREPARE, "competition.source=toy", "competition.on_bad_image=skip")
    assert done.code == 0, done.err
    assert f"left out {len(BAD) + 1} files that cannot be decoded: red/cut.png: damaged" in done.out
    skipped = json.loads((tmp_path / "data/toy/prepared.json").read_text())["skipped"]
    reasons = {f"red/{name}": reason for name, (_, reason) in BAD.items()} | {"test/empty.jpg": "the file is empty"}
    told_of = dict(line.split(": ", 1) for line in skipped)
    assert {name: told_of[name].startswith(reason) for name, reason in reasons.items()} == dict.fromkeys(told_of, True)
    table = pd.read_parquet(tmp_path / "data/toy/table.parquet")
    assert table["split"].value_counts().to_dict() == {"train": 36, "test": 6}
    assert len(read_folds(tmp_path / "data/toy/folds.csv")) == 36


@pytest.mark.parametrize("classes", [["red"], ["red", "green", "blue", "test"]])
def test_a_class_of_which_nothing_is_left_is_an_error_too(
    classes: list[str], toy: Path, command: Command, tmp_path: Path
) -> None:
    for name in classes:
        for image in (toy / name).iterdir():
            image.write_bytes(b"")
    line = told(command(*PREPARE, "competition.source=toy", "competition.on_bad_image=skip"))
    assert any(name in line for name in classes)
    assert not {"table.parquet", "prepared.json", "folds.csv"} & set(finished(tmp_path))


def test_a_larger_limit_takes_the_wide_image_through_training(toy: Path, command: Command, tmp_path: Path) -> None:
    (toy / "red/wide.png").write_bytes(BAD["wide.png"][0])
    done = command("stage=train", *FOLDER, "competition.source=toy", "prepare.max_side=50000", "cache.max_gb=0")
    assert done.code == 0, done.err
    (metrics,) = tmp_path.glob("outputs/toy/*/metrics.json")
    assert json.loads(metrics.read_text())["rows"] == 37


def test_a_file_that_goes_bad_after_it_was_prepared_is_named(
    toy: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [*FOLDER, "competition.source=toy", "cache.max_gb=0"]
    # a failing disk does not tell
    monkeypatch.setattr("kagglepipe.competitions.source.file_state", lambda path: (path.stat().st_size,))
    assert command("stage=prepare", *options).code == 0
    image = toy / "red/red0.png"
    image.write_bytes(b"\0" * image.stat().st_size)
    line = told(command("stage=train", *options))
    assert line.startswith(f"{image} is not the file that was prepared; add competition.refresh=true")
    assert finished(tmp_path) == ["folds.csv", "prepared.json", "source.json", "table.parquet"]


def test_a_file_that_must_not_be_read_is_named_and_can_be_left_out(
    toy: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.open

    def forbid(path: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        if path.name == "red1.png" and "r" in mode:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return read(path, mode, *rest, **more)

    monkeypatch.setattr(Path, "open", forbid)
    line = told(command(*PREPARE, "competition.source=toy"))
    assert line.startswith(f"{toy / 'red/red1.png'} cannot be read (Permission denied): type chmod")
    done = command(*PREPARE, "competition.source=toy", "competition.on_bad_image=skip")
    assert "left out 1 files that cannot be decoded: red/red1.png: cannot be read (Permission denied)" in done.out


# --- places that cannot be written ----------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["root", "root/outputs", "root/data"])
def test_a_file_where_a_folder_is_needed(place: str, toy: Path, command: Command, tmp_path: Path) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("a file")
    line = told(command(*PREPARE, "competition.source=toy", "paths.root=root"))
    assert place in line
    assert "cannot be written" in line
    assert line.endswith("choose another place with paths.root=FOLDER")
    assert (tmp_path / place).read_text() == "a file"
    done = command("-m", *PREPARE, "competition.source=toy", "paths.root=root", "seed=0,1")
    assert done.code == 2
    assert "cannot be written" in done.err[-1]


def half_a_table(frame: pd.DataFrame, path: Path, **options: object) -> None:
    path.write_bytes(b"PAR1 and no more")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def some_pixels(writer: PixelWriter, digest: str, image: object) -> None:
    writer.file.write(b"some pixels")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("owner", "name", "full"), [(pd.DataFrame, "to_parquet", half_a_table), (PixelWriter, "add", some_pixels)]
)
def test_no_space_for_the_table_or_the_pixels(
    owner: type, name: str, full: Callable[..., None], toy: Path, command: Command, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, full)
        line = told(command(*PREPARE, "competition.source=toy"))
    assert line.startswith("no space left for ")
    assert ("table.parquet" in line) == (full is half_a_table)
    assert line.endswith("choose another place with paths.root=FOLDER")
    assert finished(tmp_path) == ["source.json"]
    assert command(*PREPARE, "competition.source=toy").code == 0
    assert len(pd.read_parquet(tmp_path / "data/toy/table.parquet")) == 42


# --- sources that change --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_changed_bytes_are_an_error_until_they_are_wanted(
    kind: str, toy: Path, command: Command, tmp_path: Path
) -> None:
    source = toy if kind == "folder" else zipped(toy)
    options = [*PREPARE, f"competition.source={source}"]
    assert command(*options).code == 0
    place = tmp_path / "data/toy"
    before = (place / "table.parquet").read_bytes()
    cv2.imwrite(str(toy / "red/new.png"), np.full((48, 56, 3), (20, 30, 200), np.uint8))
    if kind == "zip":
        zipped(toy)
    line = told(command(*options))
    assert line.startswith(f"the bytes of {source} differ from those prepared in {place}")
    assert "competition.refresh=true" in line
    assert (place / "table.parquet").read_bytes() == before
    done = command(*options, "competition.refresh=true")
    assert done.code == 0, done.err
    assert "prepare: 37 training images" in done.out
    assert "prepare: 2 folds of 19, 18 images" in done.out
    assert "red/new.png" in pd.read_parquet(place / "table.parquet")["id"].tolist()
    assert "red/new.png" in read_folds(place / "folds.csv")["id"].tolist()
    assert command(*options).code == 0


def test_unpacked_files_that_were_removed_are_unpacked_again(toy: Path, command: Command, tmp_path: Path) -> None:
    zipped(toy)
    assert command(*PREPARE, "competition.source=toy.zip").code == 0
    shutil.rmtree(tmp_path / "data/toy/raw")
    assert command(*PREPARE, "competition.source=toy.zip", "prepare.near_bits=9").code == 0
    assert len(list((tmp_path / "data/toy/raw").rglob("*.png"))) == 42
