"""A download is right or absent, whatever the server and the net do, and goes on where it broke off."""

import errno
import functools
import hashlib
import itertools
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kagglepipe.errors import UserError
from kagglepipe.files import read_json
from kagglepipe.kaggle import download
from kagglepipe.kaggle.client import KaggleClient
from kagglepipe.kaggle.credentials import Credentials
from kagglepipe.kaggle.download import Remote, discard, fetch, finished, remote_of
from kagglepipe.kaggle.errors import KaggleError
from kagglepipe.kaggle.retries import MAX_RETRIES
from kagglepipe.kaggle.transport import CHUNK, chunks
from tests.kaggle.emulator import KaggleEmulator

CONTENT = random.Random(0).randbytes(300_000)
OTHER = random.Random(1).randbytes(250_000)
MD5 = hashlib.md5(CONTENT).hexdigest()
PLENTY = 10**9
Fault = tuple[str, dict[str, Any]]  # of the storage: a key of FAULTS, and its details
NO_MD5: Fault = ("altered", {"x_goog_hash": None})
NO_LENGTH: Fault = ("altered", {"Content_Length": None})
REST, ANEW = "bytes=100000-", None  # what is asked for behind a part of 100,000 bytes


@pytest.fixture
def kaggle(kaggle: KaggleEmulator) -> KaggleEmulator:
    """An emulator with the competition "cats", whose archive is CONTENT."""
    kaggle.add_competition("cats", CONTENT, files={})
    return kaggle


def bring(
    kaggle: KaggleEmulator,
    folder: Path,
    *,
    most: int = PLENTY,
    patience: float = 10**6,
    waited: list[float] | None = None,
) -> Remote:
    client = KaggleClient(Credentials("here", kaggle.token), endpoint=kaggle.endpoint, timeout=0.3)
    pause = (waited if waited is not None else []).append
    opened = functools.partial(client.open_archive, "cats")
    return fetch(opened, folder / "a.zip", max_bytes=most, patience=patience, pause=pause)


def check_brought(kaggle: KaggleEmulator, folder: Path, *, content: bytes = CONTENT, patience: float = 10**6) -> Remote:
    """Brings it, and it is right."""
    found = bring(kaggle, folder, patience=patience)
    assert (folder / "a.zip").read_bytes() == content
    assert names(folder) == {"a.zip", "a.zip.json"}
    return found


def broken_off(kaggle: KaggleEmulator, folder: Path, after: int = 100_000) -> None:
    """A part of that many bytes is there, and the calls are forgotten."""
    kaggle.fault("storage", "drop", after=after)
    with pytest.raises(KaggleError, match="broke off"):
        bring(kaggle, folder, patience=0)
    assert (folder / "a.zip.part").read_bytes() == CONTENT[:after]
    assert names(folder) == {"a.zip.part", "a.zip.json"}
    kaggle.calls.clear()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def ranges(kaggle: KaggleEmulator) -> list[str | None]:
    """What was asked of the storage."""
    return [call.headers.get("Range") for call in kaggle.calls if call.name == "GET storage"]


def sent(kaggle: KaggleEmulator) -> int:
    """Bytes of files that went out."""
    return sum(call.sent for call in kaggle.calls if call.name == "GET storage" and call.status in (200, 206))


# --- without faults -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "fault", "unknown"),
    [(CONTENT, ("trickle", {"piece": 70_000, "pause": 0}), {}), (b"", ("altered", {}), {}),
     (CONTENT, ("no etag", {}), {"etag": None}), (CONTENT, NO_MD5, {"md5": None}), (CONTENT, NO_LENGTH, {"size": None}),
     (CONTENT, ("altered", {"Content_Length": None, "ETag": None, "x_goog_hash": None}),
      {"etag": None, "size": None, "md5": None})],
)  # fmt: skip
def test_a_download_is_the_file_and_what_was_told_of_it(
    kaggle: KaggleEmulator, tmp_path: Path, content: bytes, fault: Fault, unknown: dict[str, None]
) -> None:
    md5, folder = hashlib.md5(content).hexdigest(), tmp_path / "new/one"
    kaggle.set_archive("cats", content)
    kaggle.fault("storage", fault[0], **fault[1])
    told = check_brought(kaggle, folder, content=content)
    assert told == replace(Remote(f'"{md5}"', len(content), md5), **unknown)
    kaggle.calls.clear()  # what is finished is not asked for again
    assert bring(kaggle, folder) == finished(folder / "a.zip") == told
    assert not kaggle.calls


def test_a_file_of_which_nothing_is_known_is_not_finished(kaggle: KaggleEmulator, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"somebody's")
    assert finished(tmp_path / "a.zip") is None
    broken_off(kaggle, tmp_path)
    assert finished(tmp_path / "a.zip") is None  # nor is it taken for what was begun meanwhile
    check_brought(kaggle, tmp_path)
    broken_off(kaggle, tmp_path / "other")
    for _ in range(2):
        for folder in (tmp_path, tmp_path / "other"):
            discard(folder / "a.zip")
    assert (names(tmp_path), names(tmp_path / "other")) == ({"other"}, set())


# --- going on -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "details"), [("drop", {"how": "close"}), ("drop", {"how": "reset"}), ("hang", {})]
)  # fmt: skip
def test_a_download_goes_on_at_the_byte_at_which_it_broke_off(
    kaggle: KaggleEmulator, tmp_path: Path, kind: str, details: dict[str, str]
) -> None:
    for after in (100_001, 99):
        kaggle.fault("storage", kind, after=after, **details)
    check_brought(kaggle, tmp_path)
    assert ranges(kaggle) == [None, "bytes=100001-", "bytes=100100-"]
    assert [call.headers.get("If-Range") for call in kaggle.calls[1::2]] == [None, *[f'"{MD5}"'] * 2]
    assert sent(kaggle) == len(CONTENT)


def test_ctrl_c_keeps_what_has_come(kaggle: KaggleEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(answer: requests.Response) -> Iterator[bytes]:
        yield from itertools.islice(chunks(answer), 1)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(download, "chunks", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bring(kaggle, tmp_path)
    size = (tmp_path / "a.zip.part").stat().st_size
    check_brought(kaggle, tmp_path)
    assert size > 0
    assert ranges(kaggle) == [None, *([f"bytes={size}-"] if size < len(CONTENT) else [])]


@pytest.mark.parametrize(
    ("part", "asked"),
    [
        (CONTENT[:100_000], [REST]),
        (CONTENT, []),  # it only lacks its name
        (bytes(len(CONTENT)), [ANEW]),  # of full length, and not the file
        (bytes(len(CONTENT) + 1), [f"bytes={len(CONTENT) + 1}-"] * 2 + [ANEW]),
        (None, [ANEW]),  # of which nothing is known
    ],
)
def test_the_next_call_goes_on_with_what_is_there_if_it_is_of_the_file(
    kaggle: KaggleEmulator, tmp_path: Path, part: bytes | None, asked: list[str | None]
) -> None:
    broken_off(kaggle, tmp_path)
    (tmp_path / "a.zip.part").write_bytes(part if part is not None else CONTENT[:100_000])
    if part is None:
        (tmp_path / "a.zip.json").unlink()
    check_brought(kaggle, tmp_path)
    assert ranges(kaggle) == asked


@pytest.mark.parametrize("etag", [None, 'W/"weak"', '""', "bare"])
def test_without_a_strong_etag_every_try_starts_anew(kaggle: KaggleEmulator, tmp_path: Path, etag: str | None) -> None:
    for size in (200_000, len(CONTENT)):
        kaggle.fault("storage", "altered", ETag=etag, cut=size)
    assert check_brought(kaggle, tmp_path).etag is None
    assert ranges(kaggle) == [ANEW, ANEW]


NO_PROOF: list[Fault] = [
    *(
        ("altered", {"Content_Range": span})
        for span in (
            None, "bytes 99999-299999/300000", "bytes 100001-299999/300000", "bytes 100000-299999/300001",
            "bytes 100000-299998/300000", "bytes 100000-299999/*", "lines 100000-299999/300000",
            "bytes ¹00000-299999/300000",
        )
    ),
    *(("altered", {"ETag": etag}) for etag in (None, '"other"', f'W/"{MD5}"')),
    ("altered", {"code": 207}),
    *(("answer", {"code": code}) for code in (416, 204)),
]  # fmt: skip


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("fault", NO_PROOF)
def test_nothing_is_appended_without_proof_that_it_is_the_rest(
    kaggle: KaggleEmulator, tmp_path: Path, fault: Fault, times: int
) -> None:
    """A server that does not prove it once is asked again, without a wait; twice, for all of it."""
    broken_off(kaggle, tmp_path)
    kaggle.fault("storage", fault[0], times, **fault[1])
    check_brought(kaggle, tmp_path, patience=0)
    assert ranges(kaggle) == [REST, REST, *[ANEW] * (times - 1)]


@pytest.mark.parametrize("code", [416, 204])
def test_a_server_that_has_no_file_at_all_is_left(kaggle: KaggleEmulator, tmp_path: Path, code: int) -> None:
    kaggle.fault("storage", "answer", None, code=code)
    with pytest.raises(KaggleError, match="does not go on with the same file"):
        bring(kaggle, tmp_path)
    assert ranges(kaggle) == [ANEW] * 3


@pytest.mark.parametrize(
    ("kind", "details", "has_md5", "asked"),
    [
        ("truncated", {"keep": 100_000}, False, [REST, "bytes=200000-"]),  # it is gone on with
        ("altered", {"more": b"more"}, False, [REST, ANEW]),  # the length is what counts
        ("altered", {"more": b"more"}, True, [REST, ANEW]),
        ("corrupt", {}, True, [REST, ANEW]),
        ("wrong bytes", {}, True, [REST, ANEW]),
        ("range ignored", {}, True, [REST]),
    ],
)
def test_a_rest_that_is_not_right_is_not_kept(
    kaggle: KaggleEmulator, tmp_path: Path, kind: str, details: Any, has_md5: bool, asked: list[str | None]
) -> None:
    kaggle.has_md5 = has_md5
    broken_off(kaggle, tmp_path)
    kaggle.fault("storage", kind, **details)
    check_brought(kaggle, tmp_path)
    assert ranges(kaggle) == asked


def test_another_file_in_the_same_place_starts_anew(kaggle: KaggleEmulator, tmp_path: Path) -> None:
    broken_off(kaggle, tmp_path)
    kaggle.set_archive("cats", OTHER)
    kaggle.fault("storage", "drop", after=50_000)
    told = check_brought(kaggle, tmp_path, content=OTHER)
    assert told.md5 == hashlib.md5(OTHER).hexdigest()
    assert read_json(tmp_path / "a.zip.json") == vars(told)
    assert ranges(kaggle) == [REST, "bytes=50000-"]


@pytest.mark.parametrize("fault", ["corrupt", "truncated", "wrong md5"])
def test_other_bytes_than_announced_never_get_the_name(kaggle: KaggleEmulator, tmp_path: Path, fault: str) -> None:
    kaggle.fault("storage", fault, 2)
    with pytest.raises(KaggleError, match="came with another MD5 than announced") as caught:
        bring(kaggle, tmp_path)
    assert caught.value.kind == "damage"
    assert names(tmp_path) == {"a.zip.json"}
    assert ranges(kaggle) == [ANEW, ANEW]  # once more, and then it is told
    check_brought(kaggle, tmp_path)


# --- errors -------------------------------------------------------------------------------------------------------

MISTAKES = ("401", "403 rules", "403 denied", "404", "400 quota")  # of DownloadDataFiles, which no other try mends
ERRORS = ("401", "404", "429", "500", "html", "json", "expired", "reset", "hang", "redirect loop")  # of the storage


@pytest.mark.parametrize(
    ("place", "error"),
    [*(("DownloadDataFiles", error) for error in MISTAKES), *(("storage", error) for error in ERRORS)],
)
def test_an_error_in_answer_to_a_range_never_touches_the_bytes(
    kaggle: KaggleEmulator, tmp_path: Path, place: str, error: str
) -> None:
    broken_off(kaggle, tmp_path)
    kaggle.fault(place, error, None, **({"retry_after": 400} if error == "429" else {}))
    with pytest.raises(KaggleError):
        bring(kaggle, tmp_path, patience=10**6 if error in MISTAKES and place != "storage" else 0)
    assert sum(call.name == "DownloadDataFiles" for call in kaggle.calls) == 1
    assert (tmp_path / "a.zip.part").read_bytes() == CONTENT[:100_000]
    kaggle.faults.clear()
    check_brought(kaggle, tmp_path)
    assert ranges(kaggle)[-1] == REST


@pytest.mark.parametrize(
    ("kind", "details"), [("503", {}), ("html", {}), ("429", {"retry_after": 0}), ("drop", {"after": 0})]
)
def test_a_server_without_a_byte_is_given_up(
    kaggle: KaggleEmulator, tmp_path: Path, kind: str, details: dict[str, int]
) -> None:
    kaggle.fault("storage", kind, None, **details)
    with pytest.raises(KaggleError):
        bring(kaggle, tmp_path)
    assert len(ranges(kaggle)) == MAX_RETRIES + 1
    assert not (tmp_path / "a.zip").exists()


def test_every_new_byte_gives_new_patience_and_bytes_that_were_there_before_none(
    kaggle: KaggleEmulator, tmp_path: Path
) -> None:
    for _ in range(30):
        kaggle.fault("storage", "503", 2)
        kaggle.fault("storage", "drop", after=10_000)
    check_brought(kaggle, tmp_path / "new")
    assert sent(kaggle) == len(CONTENT)
    kaggle.calls.clear()
    kaggle.faults.clear()
    rng = random.Random(0)
    for _ in range(100):
        kaggle.fault("storage", "altered", ETag=None, cut=rng.randrange(100_000))
    with pytest.raises(KaggleError, match="broke off"):
        bring(kaggle, tmp_path / "old")
    assert len(ranges(kaggle)) < 100


@pytest.mark.parametrize(("after", "pause"), [(None, 1), (7.0, 7), (300.0, 300)])
def test_pauses_are_those_that_kaggle_asks_for(
    kaggle: KaggleEmulator, tmp_path: Path, after: float | None, pause: float
) -> None:
    waited: list[float] = []
    kaggle.fault("storage", "429", retry_after=after and int(after))
    bring(kaggle, tmp_path, patience=60, waited=waited)
    assert waited == [pytest.approx(pause, rel=0.25)]


def test_every_try_has_a_fresh_signed_address(kaggle: KaggleEmulator, tmp_path: Path) -> None:
    kaggle.fault("storage", "expired", 2)
    kaggle.fault("storage", "drop", after=1000)
    kaggle.fault("storage", "redirect")  # to a host that knows no ranges
    check_brought(kaggle, tmp_path)
    tries = ["DownloadDataFiles", "GET storage"] * 4
    assert [call.name for call in kaggle.calls] == [*tries, "GET elsewhere"]
    assert [call.headers.get("Range") for call in kaggle.calls[-2:]] == ["bytes=1000-"] * 2


# --- too large ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [("altered", {}), NO_LENGTH])
def test_a_file_larger_than_allowed_is_refused(kaggle: KaggleEmulator, tmp_path: Path, fault: Fault) -> None:
    kaggle.fault("storage", fault[0], **fault[1])
    with pytest.raises(UserError, match=r"allowed are 299,999; if you trust it, type download\.max_gb=1") as caught:
        bring(kaggle, tmp_path, most=len(CONTENT) - 1)
    assert not isinstance(caught.value, KaggleError)
    assert names(tmp_path) == {"a.zip.json"}
    assert len(ranges(kaggle)) == 1
    bring(kaggle, tmp_path, most=len(CONTENT))
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


@pytest.mark.parametrize("here", [0, 100_000])
def test_the_disk_is_asked_first_for_as_much_as_is_missing(
    kaggle: KaggleEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: int
) -> None:
    free = len(CONTENT) - here
    if here:
        broken_off(kaggle, tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free - 1))
    with pytest.raises(UserError, match="make room or type paths"):
        bring(kaggle, tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    check_brought(kaggle, tmp_path)


def test_a_full_disk_keeps_what_has_come(kaggle: KaggleEmulator, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="only Unix can bound the size of files")
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, usual[1]))
    try:
        with pytest.raises(OSError, match="large") as caught:
            bring(kaggle, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert caught.value.errno == errno.EFBIG
    check_brought(kaggle, tmp_path)
    assert ranges(kaggle) == [None, "bytes=150000-"]


# --- the same file? -----------------------------------------------------------------------------------------------

KNOWN = Remote('"e"', 10, "0" * 32)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (KNOWN, True),
        (replace(KNOWN, etag=None), True),
        (replace(KNOWN, md5=None), True),
        (replace(KNOWN, size=None), True),
        (replace(KNOWN, etag=None, md5=None), False),  # many files have 10 bytes
        (Remote(None, None, None), False),
        (replace(KNOWN, etag='"f"'), False),
        (replace(KNOWN, size=11), False),
        (replace(KNOWN, md5="1" * 32), False),
    ],
)
def test_files_are_the_same_where_what_both_tell_is_proof(other: Remote, same: bool) -> None:
    assert KNOWN.is_same(other) is same
    assert other.is_same(KNOWN) is same


@pytest.mark.parametrize("length", ["-1", "1²", "9" * 30])
@pytest.mark.parametrize("hashes", ["crc32c=n03x6A==", "md5=short=="])
def test_odd_headers_tell_nothing(length: str, hashes: str) -> None:
    answer = requests.Response()
    headers = {"ETag": "W/", "Content-Length": length, "x-goog-hash": hashes}
    answer.status_code, answer.headers = 200, requests.structures.CaseInsensitiveDict(headers)
    assert remote_of(answer) == Remote(None, None, None)


# --- anything may happen ------------------------------------------------------------------------------------------

HONEST: list[Fault] = [  # the server does what it says, or says no
    ("503", {}), ("expired", {}), ("429", {"retry_after": 1}), *(("drop", {"after": size}) for size in (0, 1, 7, 40)),
    *(("drop", {"after": size, "how": "reset"}) for size in (0, 3, 20)),
]  # fmt: skip
ODD: list[Fault] = [*NO_PROOF[:-1], ("weak etag", {}), ("range ignored", {}), ("html", {})]
WRONG: list[Fault] = [  # which the MD5 alone tells
    NO_LENGTH, ("corrupt", {}), ("truncated", {"keep": 5}), ("wrong bytes", {}), ("altered", {"more": b"more"})
]  # fmt: skip
anything = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@anything
@given(
    content=st.binary(max_size=120),
    faults=st.lists(st.sampled_from(HONEST), max_size=12),
    restarts=st.lists(st.booleans(), min_size=12, max_size=12),
    has_md5=st.booleans(),
)
@example(content=b"x" * 100, faults=[HONEST[6], HONEST[0], HONEST[8]], restarts=[True] * 12, has_md5=False)
def test_with_an_honest_server_no_byte_comes_twice(
    kaggle: KaggleEmulator,
    tmp_path_factory: pytest.TempPathFactory,
    content: bytes,
    faults: list[Fault],
    restarts: list[bool],
    has_md5: bool,
) -> None:
    folder, kaggle.has_md5 = tmp_path_factory.mktemp("honest"), has_md5
    kaggle.set_archive("cats", content)
    kaggle.calls.clear()
    kaggle.faults.clear()
    for kind, details in faults:
        kaggle.fault("storage", kind, **details)
    for restart in [*restarts, False]:  # another process goes on, or the same
        try:
            bring(kaggle, folder, patience=0 if restart else 10**6)
        except KaggleError:
            assert not (folder / "a.zip").exists()
        else:
            break
    bring(kaggle, folder)
    assert (folder / "a.zip").read_bytes() == content
    assert sent(kaggle) == len(content)


@anything
@given(
    contents=st.lists(st.binary(min_size=1, max_size=120), min_size=1, max_size=3),
    faults=st.lists(st.sampled_from([*HONEST, *ODD, *WRONG, ("changed", {})]), min_size=1, max_size=12),
    has_md5=st.booleans(),
    patience=st.sampled_from([0, 10**6]),
    data=st.data(),
)
def test_whatever_happens_the_file_is_right_or_absent(
    kaggle: KaggleEmulator,
    tmp_path_factory: pytest.TempPathFactory,
    contents: list[bytes],
    faults: list[Fault],
    has_md5: bool,
    patience: float,
    data: st.DataObject,
) -> None:
    folder, kaggle.has_md5 = tmp_path_factory.mktemp("odd"), has_md5
    kaggle.set_archive("cats", contents[0])
    kaggle.faults.clear()
    for kind, details in faults:
        if kind == "changed":  # the file does, under one's hands
            details = {"archive": data.draw(st.sampled_from(contents))}
        if has_md5 or (kind, details) not in WRONG:
            kaggle.fault("storage", kind, **details)
    for _ in range(len(faults) + 1):
        try:
            bring(kaggle, folder, patience=patience)
        except KaggleError:
            assert not (folder / "a.zip").exists()
        else:
            break
    assert (folder / "a.zip").read_bytes() in contents
    assert names(folder) == {"a.zip", "a.zip.json"}


def test_the_bar_is_for_terminals_alone(
    kaggle: KaggleEmulator, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bring(kaggle, tmp_path)
    assert capfd.readouterr() == ("", "")
    assert CHUNK <= 2**20  # so much is lost at most when a process dies
