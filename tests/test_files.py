"""Every write is whole or absent, and hashes tell apart what they should."""

import hashlib
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import Timeout
from hypothesis import given
from hypothesis import strategies as st

from kagglepipe.errors import UserError
from kagglepipe.files import (
    atomic,
    check_sha256,
    file_sha256,
    file_state,
    keep_locks_in,
    link_or_copy,
    locked,
    read_json,
    sha256,
    write_bytes,
    write_json,
    write_parquet,
)


def names(folder: Path) -> list[str]:
    """What lies in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def test_atomic_replaces_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("old", [["old"], []])
@pytest.mark.parametrize("error", [OSError("no space"), KeyboardInterrupt("no more")])
def test_a_failing_block_leaves_the_old_file_and_no_temporary(
    old: list[str], error: BaseException, tmp_path: Path
) -> None:
    path = tmp_path / "new" / "a.txt"
    for text in old:
        write_bytes(path, text.encode())
    with pytest.raises(type(error), match="no"), atomic(path) as temporary:  # noqa: PT012
        temporary.write_text("half of it")
        raise error
    assert [file.read_text() for file in path.parent.iterdir()] == old


def test_the_temporary_lies_in_the_same_folder_for_the_rename(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "a.txt"
    with atomic(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.name.startswith(".")
        temporary.write_text("")
    assert path.exists()


def test_two_writers_of_one_file_have_temporaries_of_their_own(tmp_path: Path) -> None:
    """Also in two containers, whose process numbers are alike."""
    path = tmp_path / "a.txt"
    with atomic(path) as first, atomic(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"
    assert names(tmp_path) == ["a.txt"]


def test_a_file_is_told_from_one_in_its_place_and_not_from_its_bytes(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for file in (one, other):
        file.write_bytes(b"same")
    digest, state = file_sha256(one), file_state(one)
    other.replace(one)
    assert file_state(one) != state
    check_sha256(one, digest)
    one.write_bytes(b"else")
    with pytest.raises(UserError, match=r"one is not the file that was prepared; add competition\.refresh=true"):
        check_sha256(one, digest)
    with pytest.raises(UserError, match=r"No such file.*competition\.refresh=true"):
        check_sha256(other, digest)


def test_a_block_that_writes_nothing_is_an_error_not_an_empty_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic(tmp_path / "a.txt"):
        pass
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, np.float64("nan")])
def test_json_is_strict_readable_text_with_null_for_what_is_not_finite(tmp_path: Path, number: float) -> None:
    write_json(tmp_path / "a.json", {"loss": number, "in": [1.5, (number, 2)]})
    assert read_json(tmp_path / "a.json") == {"loss": None, "in": [1.5, [None, 2]]}
    write_json(tmp_path / "a.json", {"a": number, "name": "é"})
    assert (tmp_path / "a.json").read_bytes() == '{\n  "a": null,\n  "name": "é"\n}\n'.encode()


def test_parquet_comes_back_without_an_index(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": ["b", "a"], "p": [0.1, float("nan")]}, index=[7, 3])
    write_parquet(tmp_path / "new" / "a.parquet", frame)
    back = pd.read_parquet(tmp_path / "new" / "a.parquet")
    pd.testing.assert_frame_equal(back, frame.reset_index(drop=True), check_dtype=False)
    assert names(tmp_path / "new") == ["a.parquet"]


@given(st.binary(min_size=1, max_size=12), st.data())
def test_moving_the_cut_changes_the_hash(whole: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert sha256(whole[:cut], whole[cut:]) != sha256(whole[: cut + 1], whole[cut + 1 :])


def test_text_is_hashed_as_utf8() -> None:
    assert sha256("é") == sha256("é".encode())


def test_a_file_is_hashed_as_its_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(data)
    assert file_sha256(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_locks_lie_in_one_folder_of_the_root(tmp_path: Path) -> None:
    keep_locks_in(tmp_path)
    paths = [tmp_path / name for name in ("data/cats", "outputs/cats/run", "outputs/cats/run/fold_0", "data/dogs/cats")]
    for path in paths:
        with locked(path), pytest.raises(Timeout):
            locked(path).acquire(timeout=0)
    with locked(paths[0]), locked(paths[3]).acquire(timeout=0):  # of one name, in other folders
        pass
    assert {path.parent for path in tmp_path.rglob("*.lock")} == {tmp_path / ".locks"}
    assert len(list(tmp_path.rglob("*.lock"))) <= len(paths)  # some systems leave none behind


def test_a_lock_is_the_same_by_whatever_link_one_comes(tmp_path: Path) -> None:
    """Two roots may share data that lie elsewhere."""
    (tmp_path / "disk").mkdir()
    for name in ("one", "two"):
        keep_locks_in(tmp_path / name)
        (tmp_path / name / "data").symlink_to(tmp_path / "disk")
    with locked(tmp_path / "one/data/cats"), pytest.raises(Timeout):
        locked(tmp_path / "two/data/cats").acquire(timeout=0)


def test_a_lock_keeps_the_second_out_until_the_first_is_done(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "cache"
    with locked(path):
        assert not path.exists(), "the lock lies beside the file, not in its place"
        with pytest.raises(Timeout):
            locked(path).acquire(timeout=0)
    with locked(path).acquire(timeout=0):
        pass


def test_a_link_or_else_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"1")
    link_or_copy(tmp_path / "a", tmp_path / "deep/b")
    assert (tmp_path / "deep/b").samefile(tmp_path / "a")

    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refuse)
    link_or_copy(tmp_path / "a", tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == b"1"
    assert not (tmp_path / "c").samefile(tmp_path / "a")
