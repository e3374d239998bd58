"""A source is known by its bytes: neither its place nor its times make it another one, and one byte does."""

import hashlib
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from kagglepipe.competitions.source import Source, describe, is_ignored, list_files
from kagglepipe.errors import UserError
from kagglepipe.files import sha256

LATER = (2_000_000_000 * 10**9, 2_000_000_000 * 10**9)  # times of access and change


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of a few files, as good as images here."""
    folder = tmp_path / "photos"
    for name in ("cat/a.jpg", "cat/b.JPG", "dog/c.png", "readme.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() * 10)
    return folder


@pytest.fixture
def archive(photos: Path) -> Path:
    """The same as a zip."""
    return Path(shutil.make_archive(str(photos), "zip", photos))


def fail(*_: object) -> str:
    raise AssertionError("the bytes were read")


# --- describing -----------------------------------------------------------------------------------------------


def test_a_source_is_described_once_while_its_times_stay(
    photos: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, packed = describe(photos), describe(archive)
    assert (packed.kind, packed.path) == ("zip", str(archive))
    assert packed.content == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert (folder.kind, folder.path) == ("folder", str(photos))
    assert Source.from_json(asdict(folder) | {"a later version's": "field"}) == folder
    assert describe(archive, folder) == packed  # neither is taken for the other
    assert describe(photos, packed) == folder
    monkeypatch.setattr("kagglepipe.competitions.source.file_sha256", fail)
    assert (describe(photos, folder), describe(archive, packed)) == (folder, packed)
    with pytest.raises(UserError, match=r"nothing is at .*none\.zip: give .* competition\.source=PATH"):
        describe(photos / "none.zip")


@pytest.mark.parametrize("kind", ["photos", "archive"])
def test_other_times_are_the_same_source_and_a_changed_byte_another(kind: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(kind)
    before, file = describe(path), path / "cat/a.jpg" if path.is_dir() else path
    os.utime(file, ns=LATER)
    after = describe(path, before)
    assert after.content == before.content
    assert after.stat != before.stat
    data = bytearray(file.read_bytes())
    data[5] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(0, 0))
    assert describe(path, after).content != before.content


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        (lambda folder: (folder / "cat/z.jpg").touch(), False),
        (lambda folder: (folder / "cat/a.jpg").unlink(), False),
        (lambda folder: (folder / "cat/a.jpg").rename(folder / "cat/a2.jpg"), False),
        (shutil.rmtree, False),
        (lambda folder: (folder / "cat/Thumbs.db").touch(), True),
        (lambda folder: (folder / ".DS_Store").touch(), True),
    ],
    ids=["add", "remove", "rename", "empty", "Thumbs.db", ".DS_Store"],
)
def test_files_decide_what_a_source_is_and_leftovers_do_not(
    photos: Path, change: Callable[[Path], object], is_same: bool
) -> None:
    before = describe(photos)
    change(photos)
    photos.mkdir(exist_ok=True)
    assert (describe(photos, before).content == before.content) is is_same


def test_files_that_were_exchanged_are_another_source_though_size_and_time_are_the_same(photos: Path) -> None:
    """As `mv` leaves them, where an archive gave all files one time."""
    first, second, aside = (photos / name for name in ("cat/a.jpg", "cat/b.JPG", "cat/c.jpg"))
    for file in (first, second):
        file.write_bytes(file.name[0].encode() * 100)
        os.utime(file, ns=LATER)
    before = describe(photos)
    first.rename(aside)
    second.rename(first)
    aside.rename(second)
    assert describe(photos, before).content != before.content


def test_a_source_as_an_older_version_knew_it_is_the_same(photos: Path) -> None:
    """Whose stat had names, sizes and times alone: the bytes are read once more."""
    now = describe(photos)
    rows = [(path.relative_to(photos).as_posix(), path.stat()) for path in list_files(photos)[0]]
    older = sha256(*(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}" for name, stat in rows))
    assert describe(photos, replace(now, stat=older)) == now


@pytest.mark.parametrize("kind", ["photos", "archive"])
def test_a_source_that_was_moved_is_the_same_at_its_new_place(kind: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(kind)
    before, there = describe(path), path.with_name("moved")
    path.rename(there)
    after = describe(there, before)
    assert (after.content, after.path) == (before.content, str(there))


# --- files and leftovers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paths", "are_ignored"),
    [
        (("desktop.ini", "Desktop.ini", "DESKTOP.INI", "Train/Pistol/desktop.ini", "Thumbs.db", "a/b/c/THUMBS.DB",
          "cat/@eaDir/a.jpg", "lost+found/a.jpg", "$RECYCLE.BIN/a.jpg", ".gitkeep", "cat/.nomedia",
          ".DS_Store", "cat/.ds_store", "._a.jpg", "cat/._a.jpg", "__MACOSX/cat/a.jpg", "x/__macosx/a.jpg",
          ".ipynb_checkpoints/a.jpg"), True),
        (("a.jpg", "desktop.ini.jpg", "thumbs.db/a.jpg", "_.jpg", "cat/macosx/a.jpg", ".a.jpg", "photos/.a.jpg"),
         False),
    ],
)  # fmt: skip
def test_leftovers_are_ignored_at_any_depth_and_in_any_case(paths: tuple[str, ...], are_ignored: bool) -> None:
    assert [path for path in paths if is_ignored(Path(path)) is not are_ignored] == []


def names(folder: Path, *, skip_bad: bool = False) -> tuple[list[str], list[str]]:
    """(files, leftovers) as listed."""
    files, ignored = list_files(folder, skip_bad=skip_bad)
    return [f.relative_to(folder).as_posix() for f in files], [f.relative_to(folder).as_posix() for f in ignored]


def test_files_are_listed_sorted_and_leftovers_apart(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("__MACOSX", "empty", "lost+found"):
        (photos / name).mkdir()
    for name in ("cat/desktop.ini", "__MACOSX/a.jpg"):
        (photos / name).touch()
    forbid(monkeypatch, "lost+found")
    assert names(photos) == (
        ["cat/a.jpg", "cat/b.JPG", "dog/c.png", "readme.txt"], ["__MACOSX/a.jpg", "cat/desktop.ini", "lost+found"]
    )  # fmt: skip


def test_files_are_sorted_folder_by_folder_as_paths_are(tmp_path: Path) -> None:
    for name in ("a/b.jpg", "a-c.jpg", "a.jpg", "A/z.jpg", "a/b/c.jpg", "a/b.d/e.jpg", "ab/c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name if name != "a/b.jpg" else tmp_path / "a/b .jpg").touch()
    files, _ = list_files(tmp_path)
    assert len(files) == 7
    assert files == sorted(files)


def test_a_zip_of_a_folder_unpacks_to_what_the_folder_holds(photos: Path, archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        file.extractall(tmp_path / "again")
    assert names(tmp_path / "again") == names(photos)
    assert describe(tmp_path / "again").content == describe(photos).content


# --- links, and what cannot be read -----------------------------------------------------------------------------


def test_linked_folders_and_files_are_followed(photos: Path) -> None:
    elsewhere = photos.with_name("elsewhere")
    (elsewhere / "deep").mkdir(parents=True)
    (elsewhere / "deep/o.jpg").write_bytes(b"owl")
    before = describe(photos)
    (photos / "owl").symlink_to(elsewhere)
    (photos / "cat/linked.jpg").symlink_to(elsewhere / "deep/o.jpg")
    assert names(photos)[0] == ["cat/a.jpg", "cat/b.JPG", "cat/linked.jpg", "dog/c.png", "owl/deep/o.jpg", "readme.txt"]
    after = describe(photos)
    assert after.content != before.content
    (elsewhere / "deep/o.jpg").write_bytes(b"another owl")
    assert describe(photos, after).content != after.content


def test_two_links_that_lead_to_one_another_end(photos: Path, tmp_path: Path) -> None:
    for here, there in (("x", "y"), ("y", "x")):
        (tmp_path / here).mkdir()
        (tmp_path / here / f"{here}.jpg").touch()
        (tmp_path / here / there).symlink_to(tmp_path / there)
    (photos / "x").symlink_to(tmp_path / "x")
    assert names(photos)[0] == ["cat/a.jpg", "cat/b.JPG", "dog/c.png", "readme.txt", "x/x.jpg", "x/y/y.jpg"]


@pytest.mark.parametrize("target", [".", "..", "/", "cat", "../photos/cat"])
def test_links_into_a_folder_that_holds_them_end(photos: Path, target: str) -> None:
    (photos / "cat/round").symlink_to(photos / "cat" / ".." / target if target != "/" else target)
    (photos / ".#notes").symlink_to("me@here.1234")  # of an editor
    assert names(photos) == (["cat/a.jpg", "cat/b.JPG", "dog/c.png", "readme.txt"], [".#notes", "cat/round"])


def test_a_link_to_too_many_files_is_named(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kagglepipe.competitions.source.MAX_LINKED", 3)
    (photos / "z").symlink_to(photos / "cat")
    assert len(names(photos)[0]) == 6
    (photos / "zz").symlink_to(photos / "cat")
    with pytest.raises(UserError, match=r"zz lies behind a link to more than 3 files: remove that link"):
        list_files(photos)


@pytest.mark.parametrize("link", ["owl", "cat/lost.jpg", "ring"])
def test_broken_links_are_named_or_skipped(photos: Path, link: str) -> None:
    (photos / link).symlink_to("ring" if link == "ring" else "nowhere")
    with pytest.raises(UserError, match=rf"{link} is a broken link: nothing is at .*on_bad_image=skip"):
        describe(photos)
    files, ignored = names(photos, skip_bad=True)
    assert link in (files if link.endswith(".jpg") else ignored)  # which is an image that cannot be read
    assert describe(photos, skip_bad=True, known=describe(photos, skip_bad=True)).content


def forbid(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Reading whatever is called so fails, also for root."""
    scandir, opened = os.scandir, Path.open

    def check(path: object) -> None:
        if Path(str(path)).name == name:
            raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", lambda path: (check(path), scandir(path))[1])
    monkeypatch.setattr(Path, "open", lambda path, *rest, **more: (check(path), opened(path, *rest, **more))[1])


@pytest.mark.parametrize("name", ["cat", "c.png"])
def test_what_must_not_be_read_is_named_with_advice_or_skipped(
    photos: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid(monkeypatch, name)
    with pytest.raises(
        UserError, match=rf"{name} cannot be read \(Permission denied\): type chmod -R u\+rX '.*{name}'"
    ):
        describe(photos)
    assert describe(photos, skip_bad=True).content


@pytest.mark.parametrize("place", ["cat/jalape\udcf1o.png", "ni\udcf1o/a.png"])
def test_names_that_are_not_utf8_are_told_in_one_line(photos: Path, place: str) -> None:
    try:
        (photos / place).parent.mkdir(exist_ok=True)
        (photos / place).touch()
    except OSError:
        pytest.skip("this disk takes no such names")
    with pytest.raises(UserError, match=r"ni\\xf1o: not UTF-8"):  # its own name
        describe(photos / "ni\udcf1o")
    with pytest.raises(UserError) as caught:
        describe(photos)
    assert str(caught.value).startswith(place.replace("\udcf1", r"\xf1"))
    assert str(caught.value).encode()
