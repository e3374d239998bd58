"""Archives that people have, archives that nobody should open, and what is left on the disk after each."""

import io
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections import namedtuple
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagglepipe.competitions.archive import extract_zip
from kagglepipe.errors import UserError

FILES = {"Train/Pistol/a.jpg": b"a" * 3000, "Train/Smartphone/B.JPG": bytes(range(256)) * 9, "Test/ñ (1).jpg": b""}
CENTRAL, LOCAL = b"PK\x01\x02", b"PK\x03\x04"
FLAGS = {CENTRAL: 8, LOCAL: 6}  # where a field lies behind its record's signature
CHECKSUM = {CENTRAL: 16, LOCAL: 14}
SIZE = {CENTRAL: 24, LOCAL: 22}


def zip_of(path, members, *, method=zipfile.ZIP_DEFLATED):
    """Writes (name or ZipInfo, data) pairs, or a dictionary of them, as a zip."""
    pairs = members.items() if isinstance(members, dict) else members
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in pairs:
            archive.writestr(name, data)
    return path


def packed(members):
    """The bytes of a zip."""
    return zip_of(io.BytesIO(), members).getvalue()


LINK = zipfile.ZipInfo("Train/link")
LINK.external_attr = (stat.S_IFLNK | 0o777) << 16


def patch(path, field, layout, value):
    """Overwrites one field of the first member, in both of its headers."""
    data = bytearray(path.read_bytes())
    for signature, offset in field.items():
        struct.pack_into(layout, data, data.index(signature) + offset, value)
    path.write_bytes(data)


def unpack(archive, *, max_bytes=10**6, max_entries=100):
    folder = archive.parent / "raw"
    return extract_zip(archive, folder, max_bytes=max_bytes, max_entries=max_entries)


def refusal(archive, **limits):
    """The message of the refusal, once it is sure that nothing but the archive is left."""
    with pytest.raises(UserError) as caught:
        unpack(archive, **limits)
    left = list(archive.parent.iterdir())
    assert left == [archive]
    assert str(archive) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- good archives ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_very_bytes_arrive_within_the_limits_themselves(tmp_path, method):
    archive = zip_of(tmp_path / "x (1).zip", FILES, method=method)
    names = unpack(archive, max_bytes=sum(map(len, FILES.values())), max_entries=len(FILES))
    assert names == list(FILES)
    assert {name: (tmp_path / "raw" / name).read_bytes() for name in names} == FILES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw", "x (1).zip"]


def test_folder_entries_and_backslashes_are_understood(tmp_path):
    files = [("Train/a.jpg", b"1"), ("Train/A.jpg", b"1"), ("Test\\b.jpg", b"2")]
    members = [("./", b""), ("Train/", b""), *files, ("empty/", b"")]
    assert unpack(zip_of(tmp_path / "x.zip", members)) == ["Train/a.jpg", "Train/A.jpg", "Test/b.jpg"]
    assert (tmp_path / "raw/Test/b.jpg").read_bytes() == b"2"


def test_an_empty_folder_is_filled_and_a_full_one_is_left_alone(tmp_path):
    archive, raw = zip_of(tmp_path / "x.zip", FILES), tmp_path / "raw"
    raw.mkdir()
    assert unpack(archive) == list(FILES)
    before = {path: path.stat().st_mtime_ns for path in raw.rglob("*")}
    with pytest.raises(FileExistsError, match="raw holds files"):
        unpack(archive)
    assert {path: path.stat().st_mtime_ns for path in raw.rglob("*")} == before


# --- no zip at all ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><html><title>Kaggle: log in", "is a web page"),
        (b"Rar!\x1a\x07", "is not a zip"),
        (LOCAL + b"\x14\0" * 40, "cut short or damaged"),
    ],
)
def test_what_is_no_zip_is_called_by_its_name(tmp_path, content, words):
    archive = tmp_path / "x.zip"
    with pytest.raises(UserError, match=r"found no zip at .*x\.zip; type competition\.source=PATH"):
        unpack(archive)
    archive.write_bytes(content)
    assert words in refusal(archive)


# --- hostile names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("/etc/passwd", "absolute"),
        ("\\\\server\\share", "absolute"),
        ("C:\\Windows\\x.dll", "absolute"),
        ("d:x.jpg", "absolute"),
        ("../evil.jpg", "leads out"),
        ("Train/../../evil.jpg", "leads out"),
        ("Train\\..\\..\\evil.jpg", "leads out"),
        ("..", "leads out"),
        (".", "has no name"),
        ("/", "absolute"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path, name, words):
    message = refusal(zip_of(tmp_path / "x.zip", [("a.jpg", b"fine"), (name, b"evil")]))
    assert words in message
    assert repr(name) in message


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a.jpg", "b.jpg", "a.jpg"], "twice"),
        (["Train/a.jpg", "Train//a.jpg"], "twice"),
        (["Train/a.jpg", "Train\\a.jpg"], "twice"),
        (["Train", "Train/a.jpg"], "is a file and also a folder"),
        (["Train/a.jpg/b.jpg", "Train/a.jpg"], "is a file and also a folder"),
        (["Train/", "Train"], "is a file and also a folder"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_clash_are_refused(tmp_path, names, words):
    assert words in refusal(zip_of(tmp_path / "x.zip", [(name, name.encode()) for name in names]))


# --- hostile content ----------------------------------------------------------------------------------------


def overwrite(start, data):
    """A change of the bytes from `start` of a file."""
    return lambda path: path.write_bytes(path.read_bytes()[:start] + data + path.read_bytes()[start + len(data) :])


def cut(share):
    return lambda path: path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


BOMB = {"bomb": bytes(10**7)}


@pytest.mark.parametrize(
    ("members", "spoil", "limits", "words"),
    [
        ({"Train/": b""}, None, {}, "holds no files"),
        ([(LINK, b"/etc"), ("a.jpg", b"")], None, {}, "'Train/link' is a link"),
        *((FILES, cut(share), {}, "cut short or damaged") for share in (0.1, 0.5, 0.9, 0.99)),
        (FILES, lambda path: patch(path, FLAGS, "<H", 1), {}, "'Train/Pistol/a.jpg' is encrypted"),
        (FILES, lambda path: zip_of(path, FILES, method=zipfile.ZIP_BZIP2), {}, "packed by method 12"),
        (FILES, lambda path: zip_of(path, FILES, method=zipfile.ZIP_LZMA), {}, "packed by method 14"),
        ({"a.jpg": bytes(range(256)) * 40}, overwrite(60, b"\xff" * 10), {}, "'a.jpg' is damaged"),
        ({"a.jpg": b"12345"}, lambda path: patch(path, SIZE, "<I", 6), {}, "'a.jpg' is damaged (it has 5 of 6 bytes)"),
        ({"a.jpg": b"12345"}, lambda path: patch(path, CHECKSUM, "<I", 7), {}, "'a.jpg' is damaged (Bad CRC-32"),
        (BOMB, lambda path: patch(path, SIZE, "<I", 1000), {}, "'bomb' is damaged"),
        (BOMB, None, {}, "10,000,000 bytes or more, allowed are 1,000,000; if you trust it, type download.max_gb=1"),
        (FILES, None, {"max_entries": 2}, "holds 3 entries, allowed are 2; if you trust it, type download.max_entries"),
    ],
)
def test_bad_content_and_too_much_of_it_are_refused(tmp_path, members, spoil, limits, words):
    archive = zip_of(tmp_path / "x.zip", members)
    if spoil is not None:
        spoil(archive)
    assert words in refusal(archive, **limits)


def test_a_bomb_with_a_forged_checksum_writes_no_more_than_it_said(tmp_path):
    archive = zip_of(tmp_path / "x.zip", {"bomb": bytes(10**7)})
    patch(archive, SIZE, "<I", 1000)
    patch(archive, CHECKSUM, "<I", zipfile.crc32(bytes(1000)))
    assert unpack(archive, max_bytes=1000) == ["bomb"]
    assert (tmp_path / "raw/bomb").stat().st_size == 1000


def test_bytes_are_counted_as_they_are_written(tmp_path, monkeypatch):
    archive = zip_of(tmp_path / "x.zip", {"a.jpg": b"small"})
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: io.BytesIO(bytes(3 * 2**20)))
    assert "bytes or more, allowed are 1,000,000" in refusal(archive)


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=3), st.integers(0, 400))
def test_no_damage_escapes_as_anything_but_a_user_error(flips, cut):
    with tempfile.TemporaryDirectory() as folder:
        archive = zip_of(Path(folder) / "x.zip", {"a/b.jpg": b"hello" * 50, "c.txt": b"x", "d/": b""})
        data = bytearray(archive.read_bytes())
        for place, value in flips:
            data[place % len(data)] = value
        archive.write_bytes(data[: len(data) - max(0, cut - 300)])
        try:
            names = unpack(archive)
        except UserError:
            assert list(archive.parent.iterdir()) == [archive]
        else:
            assert all((archive.parent / "raw" / name).is_file() for name in names)


# --- the disk and the keyboard ------------------------------------------------------------------------------


def test_a_disk_that_is_too_small_or_fails_is_reported(tmp_path, monkeypatch):
    archive = zip_of(tmp_path / "x.zip", FILES)

    def full(path, _):
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as small:
        usage = namedtuple("usage", "total used free")(10**7, 10**7 - 10, 10)
        small.setattr(shutil, "disk_usage", lambda _: usage)
        assert "the disk has 0 MB free" in refusal(archive)
    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(UserError, match=r"cannot write .*No space left"):
        unpack(archive)
    assert list(tmp_path.iterdir()) == [archive]


def test_an_interrupt_leaves_nothing(tmp_path, monkeypatch):
    archive = zip_of(tmp_path / "x.zip", FILES)
    read, calls = zipfile.ZipExtFile.read, []

    def interrupted(member, size):
        calls.append(sorted(path.name for path in tmp_path.rglob("*")))
        if len(calls) > 2:
            raise KeyboardInterrupt
        return read(member, size)

    monkeypatch.setattr(zipfile.ZipExtFile, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        unpack(archive)
    assert "a.jpg" in calls[-1]  # it was at work
    assert list(tmp_path.iterdir()) == [archive]


# --- zips in a zip ----------------------------------------------------------------------------------------------


def test_zips_in_the_zip_are_unpacked_where_they_belong(tmp_path):
    members = {
        "train.zip": packed({"train/cat/1.jpg": b"1", "train/dog/2.jpg": b"2"}),
        "test.zip": packed({"3.jpg": b"3"}),
        "train.csv.zip": packed({"train.csv": b"file,label"}),
        "deep/a.ZIP": packed({"b.zip": packed({"4.jpg": b"4"})}),
        "readme.txt": b"",
    }
    names = unpack(zip_of(tmp_path / "x.zip", members))
    assert names == [
        "train/cat/1.jpg", "train/dog/2.jpg", "test/3.jpg", "train.csv", "deep/a/b/4.jpg", "readme.txt",
    ]  # fmt: skip
    found = [path.relative_to(tmp_path / "raw").as_posix() for path in (tmp_path / "raw").rglob("*") if path.is_file()]
    assert sorted(found) == sorted(names)
    assert (tmp_path / "raw/test/3.jpg").read_bytes() == b"3"


def test_a_zip_beside_what_is_in_it_and_one_that_is_none_stay_as_they_are(tmp_path):
    locked = bytearray(packed({"secret.jpg": b"?"}))
    locked[6] |= 1
    locked[locked.index(CENTRAL) + 8] |= 1
    members = {
        "train/1.jpg": b"1", "train.zip": packed({"train/1.jpg": b"1"}), "x.zip": b"no zip", "y.zip": bytes(locked),
    }  # fmt: skip
    assert unpack(zip_of(tmp_path / "x.zip", members)) == list(members)


@pytest.mark.parametrize(
    ("inner", "limits", "words"),
    [
        (packed({"../evil.jpg": b""}), {}, "x.zip (in.zip) is refused: its member '../evil.jpg' leads out"),
        (packed({"a": bytes(900)}), {"max_bytes": 1000}, "or more, allowed are 1,000"),
        (packed({str(n): b"" for n in range(5)}), {"max_entries": 5}, "holds 6 entries, allowed are 5"),
        (packed({"a.zip": packed({"b.zip": packed({"c.zip": packed({"d": b""})})})}), {}, "in more than 3 other zips"),
    ],
)
def test_an_inner_zip_is_trusted_no_more_than_the_outer_one(tmp_path, inner, limits, words):
    assert words in refusal(zip_of(tmp_path / "x.zip", {"in.zip": inner}), **limits)


# --- names in another encoding ----------------------------------------------------------------------------------


def named(path, raw, extra=b"", *, encoding=None):
    """A zip of one member whose name is these bytes, without a word on what they mean; what it unpacks to."""
    info = zipfile.ZipInfo("n" * len(raw))
    info.extra = extra
    zip_of(path, [(info, b"1")])
    path.write_bytes(path.read_bytes().replace(b"n" * len(raw), raw))
    folder = path.parent / "raw"
    return extract_zip(path, folder, max_bytes=10**6, max_entries=10, encoding=encoding)


def test_names_in_utf8_are_known_without_a_flag_and_by_the_field_of_info_zip(tmp_path):
    (tmp_path / "utf8").mkdir()
    assert named(tmp_path / "utf8/x.zip", "niño.jpg".encode()) == ["niño.jpg"]
    raw, name = b"ni\xa4o.jpg", "niño.jpg".encode()
    data = b"\1" + struct.pack("<I", zlib.crc32(raw)) + name
    assert named(tmp_path / "x.zip", raw, struct.pack("<HH", 0x7075, len(data)) + data) == ["niño.jpg"]


def test_names_in_an_unknown_encoding_are_asked_about(tmp_path):
    archive = tmp_path / "x.zip"
    with pytest.raises(UserError, match=r"ni\ufffdo.jpg in cp437|ni±o.jpg in cp437, niño.jpg in cp1252; type download"):
        named(archive, "niño.jpg".encode("latin-1"))
    assert list(tmp_path.iterdir()) == [archive]
    assert named(archive, "niño.jpg".encode("latin-1"), encoding="cp1252") == ["niño.jpg"]
