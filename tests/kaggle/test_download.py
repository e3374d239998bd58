"""A download is right or absent, whatever the server and the net do, and goes on where it broke off."""

import base64
import errno
import functools
import hashlib
import io
import random
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st
from urllib3 import HTTPResponse

from kagglepipe.errors import UserError
from kagglepipe.files import read_json
from kagglepipe.kaggle.client import KaggleClient
from kagglepipe.kaggle.credentials import Credentials
from kagglepipe.kaggle.download import Remote, discard, fetch, finished, remote_of
from kagglepipe.kaggle.errors import KaggleError
from kagglepipe.kaggle.retries import MAX_RETRIES
from kagglepipe.kaggle.transport import CHUNK
from tests.kaggle.emulator import KaggleEmulator

CONTENT = random.Random(0).randbytes(300_000)
OTHER = random.Random(1).randbytes(250_000)
PLENTY = 10**9


# --- a storage without a net --------------------------------------------------------------------------------------


class Stream(io.RawIOBase):
    """Bytes that come a few at a time, and what happens after them."""

    def __init__(self, data: bytes, piece: int, error: BaseException | None = None) -> None:
        self.data, self.piece, self.error = data, piece, error
        self.sent = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), self.piece, len(self.data) - self.sent)
        if not size and self.error:
            raise self.error
        buffer[:size] = self.data[self.sent : self.sent + size]
        self.sent += size
        return size


@dataclass
class Reply:
    """What is about to be sent, which a fault may alter."""

    status: int
    headers: dict[str, str]
    data: bytes
    error: BaseException | None = None


Fault = Callable[[Reply], Reply]


@dataclass
class Storage:
    """Serves `content` as Google's does, but for the faults, one a request. asked: the headers of each request."""

    content: bytes = CONTENT
    has_etag: bool = True
    has_md5: bool = True
    has_length: bool = True
    piece: int = 50_000
    faults: list[Fault] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)

    def __call__(self, asked: dict[str, str]) -> requests.Response:
        self.asked.append(asked)
        fault = self.faults.pop(0) if self.faults else lambda reply: reply
        reply = fault(self.true_reply(asked))
        self.streams.append(Stream(reply.data, self.piece, reply.error))
        answer = requests.Response()
        answer.status_code, answer.headers = reply.status, requests.structures.CaseInsensitiveDict(reply.headers)
        answer.raw = HTTPResponse(
            io.BufferedReader(self.streams[-1]), reply.headers, reply.status, preload_content=False
        )
        return answer

    def true_reply(self, asked: dict[str, str]) -> Reply:
        etag, size = f'"{hashlib.sha1(self.content).hexdigest()}"', len(self.content)
        headers = {"Content-Type": "application/zip"}
        headers |= {"ETag": etag} if self.has_etag else {}
        headers |= {"x-goog-hash": f"crc32c=AAAAAA==,md5={md5_of(self.content)}"} if self.has_md5 else {}
        start = int(asked["Range"].removeprefix("bytes=").removesuffix("-")) if "Range" in asked else 0
        status = 206 if start and asked.get("If-Range") == etag else 200
        if status == 206 and start >= size:
            return Reply(416, {"Content-Range": f"bytes */{size}"}, b"")
        data = self.content[start:] if status == 206 else self.content
        headers |= {"Content-Range": f"bytes {start}-{size - 1}/{size}"} if status == 206 else {}
        headers |= {"Content-Length": str(len(data))} if self.has_length else {}
        return Reply(status, headers, data)

    @property
    def sent(self) -> int:
        """Bytes of the content that went out."""
        return sum(stream.sent for stream in self.streams)

    @property
    def ranges(self) -> list[str | None]:
        return [asked.get("Range") for asked in self.asked]


def md5_of(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def true(reply: Reply) -> Reply:
    return reply


def cut(after: int, error: BaseException | None = None) -> Fault:
    """The connection ends after so many bytes, with a farewell unless there is an error."""
    return lambda reply: replace(reply, data=reply.data[:after], error=error)


def header(name: str, value: str | None, *, ranged: bool = True) -> Fault:
    """Another header, or none. ranged: in answers to a Range alone."""

    def fault(reply: Reply) -> Reply:
        headers = {key: text for key, text in reply.headers.items() if key != name}
        return replace(reply, headers=headers | ({name: value} if value is not None else {}))

    return lambda reply: fault(reply) if reply.status == 206 or not ranged else reply


def refusal(kind: str = "server", after: float | None = None) -> Fault:
    def fault(reply: Reply) -> Reply:
        raise KaggleError("no", kind, retry_after=after)

    return fault


def flipped(reply: Reply) -> Reply:
    """As long, but one byte is another."""
    middle = len(reply.data) // 2
    return replace(reply, data=reply.data[:middle] + bytes([reply.data[middle] ^ 1]) + reply.data[middle + 1 :])


def shortened(reply: Reply) -> Reply:
    """Half of it, announced as all."""
    data = reply.data[: len(reply.data) // 2]
    return replace(reply, data=data, headers={**reply.headers, "Content-Length": str(len(data))})


def lengthened(reply: Reply) -> Reply:
    """More than the range that is announced."""
    data = reply.data + b"more"
    return replace(reply, data=data, headers={**reply.headers, "Content-Length": str(len(data))})


def page(reply: Reply) -> Reply:
    """Another body under the headers of the rest."""
    return replace(reply, data=b"<html>no</html>", headers={**reply.headers, "Content-Length": "15"})


def bring(storage: Storage, folder: Path, *, most: int = PLENTY, patience: float = 10**6) -> Remote:
    return fetch(storage, folder / "a.zip", max_bytes=most, patience=patience, pause=lambda seconds: None)


def check_brought(storage: Storage, folder: Path, *, content: bytes = CONTENT, patience: float = 10**6) -> Remote:
    """Brings it, and it is right."""
    found = bring(storage, folder, patience=patience)
    assert (folder / "a.zip").read_bytes() == content
    assert names(folder) == {"a.zip", "a.zip.json"}
    return found


def broken_off(storage: Storage, folder: Path, after: int = 100_000) -> None:
    """A part of that many bytes is there."""
    storage.faults = [cut(after)]
    with pytest.raises(KaggleError):
        bring(storage, folder, patience=0)
    assert (folder / "a.zip.part").stat().st_size == after
    assert names(folder) == {"a.zip.part", "a.zip.json"}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- without faults -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "has_etag", "has_md5", "has_length"),
    [(CONTENT, True, True, True), (CONTENT, False, True, True), (CONTENT, True, False, True),
     (CONTENT, True, True, False), (CONTENT, False, False, False), (b"", True, True, True)],
)  # fmt: skip
def test_a_download_is_the_file_and_what_was_told_of_it(
    tmp_path: Path, content: bytes, has_etag: bool, has_md5: bool, has_length: bool
) -> None:
    storage = Storage(content, has_etag=has_etag, has_md5=has_md5, has_length=has_length)
    folder = tmp_path / "new/one"
    assert check_brought(storage, folder, content=content) == Remote(
        f'"{hashlib.sha1(content).hexdigest()}"' if has_etag else None,
        len(content) if has_length else None,
        hashlib.md5(content).hexdigest() if has_md5 else None,
    )
    assert storage.asked == [{}]
    again = Storage(OTHER)  # what is finished is not asked for again
    assert bring(again, folder) == finished(folder / "a.zip") == finished(folder / "a.zip")
    assert not again.asked


def test_a_file_of_which_nothing_is_known_is_not_finished(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"somebody's")
    assert finished(tmp_path / "a.zip") is None
    storage = Storage()
    broken_off(storage, tmp_path)
    assert finished(tmp_path / "a.zip") is None  # nor is it taken for what was begun meanwhile
    check_brought(storage, tmp_path)


def test_discard_leaves_nothing(tmp_path: Path) -> None:
    storage = Storage()
    broken_off(storage, tmp_path)
    discard(tmp_path / "a.zip")
    assert not names(tmp_path)
    bring(storage, tmp_path)
    for _ in range(2):
        discard(tmp_path / "a.zip")
    assert not names(tmp_path)
    assert finished(tmp_path / "a.zip") is None


# --- going on -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [None, ConnectionResetError(), TimeoutError(), OSError("gone")])
def test_a_download_goes_on_at_the_byte_at_which_it_broke_off(tmp_path: Path, error: BaseException | None) -> None:
    storage = Storage(piece=777, faults=[cut(100_001, error), cut(99, error)])
    check_brought(storage, tmp_path)
    assert storage.ranges == [None, "bytes=100001-", "bytes=100100-"]
    assert {asked["If-Range"] for asked in storage.asked[1:]} == {f'"{hashlib.sha1(CONTENT).hexdigest()}"'}
    assert storage.sent == len(CONTENT)


def test_ctrl_c_keeps_what_has_come(tmp_path: Path) -> None:
    storage = Storage(faults=[cut(100_000, KeyboardInterrupt())])
    with pytest.raises(KeyboardInterrupt):
        bring(storage, tmp_path)
    check_brought(storage, tmp_path)
    assert storage.ranges == [None, "bytes=100000-"]


@pytest.mark.parametrize(
    ("part", "ranges"),
    [
        (CONTENT[:100_000], ["bytes=100000-"]),
        (CONTENT, []),  # it only lacks its name
        (bytes(len(CONTENT)), [None]),  # of full length, and not the file
        (bytes(len(CONTENT) + 1), [f"bytes={len(CONTENT) + 1}-"] * 2 + [None]),
    ],
)
def test_the_next_call_goes_on_with_what_is_there_if_it_is_of_the_file(
    tmp_path: Path, part: bytes, ranges: list[str | None]
) -> None:
    storage = Storage()
    broken_off(storage, tmp_path)
    (tmp_path / "a.zip.part").write_bytes(part)
    check_brought(storage, tmp_path)
    assert storage.ranges == [None, *ranges]


def test_a_part_of_which_nothing_is_known_starts_anew(tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(b"x" * 1000)
    storage = Storage()
    check_brought(storage, tmp_path)
    assert storage.asked == [{}]


@pytest.mark.parametrize("etag", [None, 'W/"weak"', '""', "bare"])
def test_without_a_strong_etag_every_try_starts_anew(tmp_path: Path, etag: str | None) -> None:
    other = header("ETag", etag, ranged=False)
    storage = Storage(faults=[lambda reply: cut(200_000)(other(reply)), other])
    assert check_brought(storage, tmp_path).etag is None
    assert storage.asked == [{}, {}]


NO_PROOF: dict[str, Fault] = {
    "no Content-Range": header("Content-Range", None),
    "an earlier start": header("Content-Range", f"bytes 99999-299999/{len(CONTENT)}"),
    "a later start": header("Content-Range", f"bytes 100001-299999/{len(CONTENT)}"),
    "another size": header("Content-Range", "bytes 100000-299999/300001"),
    "an earlier end": header("Content-Range", "bytes 100000-299998/300000"),
    "an unknown size": header("Content-Range", "bytes 100000-299999/*"),
    "another unit": header("Content-Range", "lines 100000-299999/300000"),
    "digits of elsewhere": header("Content-Range", "bytes ¹00000-299999/300000"),
    "another ETag": header("ETag", '"other"'),
    "no ETag": header("ETag", None),
    "a weak ETag": header("ETag", f'W/"{hashlib.sha1(CONTENT).hexdigest()}"'),
    "416": lambda reply: Reply(416, {"Content-Range": "bytes */300000"}, b"<Error/>"),
    "204": lambda reply: Reply(204, {}, b""),
    "207": lambda reply: replace(reply, status=207),
}


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("fault", NO_PROOF)
def test_nothing_is_appended_without_proof_that_it_is_the_rest(tmp_path: Path, fault: str, times: int) -> None:
    """A server that does not prove it once is asked again, without a wait; twice, for all of it."""
    storage = Storage()
    broken_off(storage, tmp_path)
    storage.faults = [NO_PROOF[fault]] * times
    check_brought(storage, tmp_path, patience=0)
    assert storage.ranges == [None, *["bytes=100000-"] * 2, *[None] * (times - 1)]
    if times == 1:
        assert storage.streams[0].sent + storage.streams[2].sent == len(CONTENT)


@pytest.mark.parametrize("fault", ["416", "204"])
def test_a_server_that_has_no_file_at_all_is_left(tmp_path: Path, fault: str) -> None:
    storage = Storage(faults=[NO_PROOF[fault]] * 100)
    with pytest.raises(KaggleError, match="does not go on with the same file"):
        bring(storage, tmp_path)
    assert storage.asked == [{}] * 3


@pytest.mark.parametrize(
    ("fault", "options", "ranges"),
    [
        (shortened, {"has_md5": False}, ["bytes=100000-", "bytes=200000-"]),  # it is gone on with
        (lengthened, {"has_md5": False}, ["bytes=100000-", None]),  # the length is what counts
        (lengthened, {}, ["bytes=100000-", None]),
        (flipped, {}, ["bytes=100000-", None]),
        (true, {"has_length": False}, [None]),  # the MD5 is what counts
    ],
)
def test_a_rest_that_is_not_right_is_not_kept(
    tmp_path: Path, fault: Fault, options: dict[str, bool], ranges: list[str | None]
) -> None:
    storage = Storage(**options, faults=[cut(100_000), fault])  # type: ignore[arg-type]
    check_brought(storage, tmp_path)
    assert storage.ranges == [None, *ranges]


def test_a_server_that_ignores_the_range_starts_the_file_anew(tmp_path: Path) -> None:
    storage = Storage()
    storage.faults = [cut(100_000), lambda reply: storage.true_reply({})]
    check_brought(storage, tmp_path)
    assert storage.sent == 100_000 + len(CONTENT)


def test_another_file_in_the_same_place_starts_anew(tmp_path: Path) -> None:
    storage = Storage()
    broken_off(storage, tmp_path)
    storage.content, storage.faults = OTHER, [cut(50_000)]
    told = check_brought(storage, tmp_path, content=OTHER)
    assert told.md5 == hashlib.md5(OTHER).hexdigest()
    assert read_json(tmp_path / "a.zip.json") == vars(told)
    assert storage.ranges == [None, "bytes=100000-", "bytes=50000-"]


@pytest.mark.parametrize("fault", [flipped, shortened, header("x-goog-hash", "md5=" + "A" * 22 + "==", ranged=False)])
def test_other_bytes_than_announced_never_get_the_name(tmp_path: Path, fault: Fault) -> None:
    storage = Storage(faults=[fault, fault])
    with pytest.raises(KaggleError, match="came with another MD5 than announced") as caught:
        bring(storage, tmp_path)
    assert caught.value.kind == "damage"
    assert names(tmp_path) == {"a.zip.json"}
    assert len(storage.asked) == 2  # once more, and then it is told
    check_brought(storage, tmp_path)


# --- giving up ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["auth", "rules", "denied", "missing", "rejected"])
def test_what_the_user_must_mend_is_told_at_once(tmp_path: Path, kind: str) -> None:
    storage = Storage()
    broken_off(storage, tmp_path)
    storage.faults = [refusal(kind)]
    with pytest.raises(KaggleError, match="no"):
        bring(storage, tmp_path)
    assert len(storage.asked) == 2
    assert (tmp_path / "a.zip.part").read_bytes() == CONTENT[:100_000]


@pytest.mark.parametrize("fault", [refusal("server"), refusal("odd"), refusal("limit", 0), cut(0)])
def test_a_server_without_a_byte_is_given_up(tmp_path: Path, fault: Fault) -> None:
    storage = Storage(faults=[fault] * 100)
    with pytest.raises(KaggleError):
        bring(storage, tmp_path)
    assert len(storage.asked) == MAX_RETRIES + 1
    assert not (tmp_path / "a.zip").exists()


def test_every_new_byte_gives_new_patience_and_bytes_that_were_there_before_none(tmp_path: Path) -> None:
    storage = Storage(faults=[refusal(), refusal(), cut(10_000)] * 100)
    check_brought(storage, tmp_path / "new")
    assert storage.sent == len(CONTENT)
    rng = random.Random(0)
    storage = Storage(has_etag=False, faults=[cut(rng.randrange(100_000)) for _ in range(1000)])
    with pytest.raises(KaggleError, match="broke off"):
        bring(storage, tmp_path / "old")
    assert len(storage.asked) < 100


@pytest.mark.parametrize(("after", "pauses"), [(None, 1), (7.0, 7), (300.0, 300)])
def test_pauses_are_those_that_kaggle_asks_for(tmp_path: Path, after: float | None, pauses: float) -> None:
    waited: list[float] = []
    storage = Storage(faults=[refusal("limit", after)])
    fetch(storage, tmp_path / "a.zip", max_bytes=PLENTY, patience=60, pause=waited.append)
    assert waited == [pytest.approx(pauses, rel=0.25)]


# --- too large ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_length", [True, False])
def test_a_file_larger_than_allowed_is_refused(tmp_path: Path, has_length: bool) -> None:
    storage = Storage(has_length=has_length)
    with pytest.raises(UserError, match=r"allowed are 299,999; if you trust it, type download\.max_gb=1") as caught:
        bring(storage, tmp_path, most=len(CONTENT) - 1)
    assert not isinstance(caught.value, KaggleError)
    assert names(tmp_path) == {"a.zip.json"}
    assert len(storage.asked) == 1
    assert (storage.sent == 0) == has_length
    bring(storage, tmp_path, most=len(CONTENT))
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


@pytest.mark.parametrize("here", [0, 100_000])
def test_the_disk_is_asked_first_for_as_much_as_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: int
) -> None:
    free, storage = len(CONTENT) - here, Storage()
    if here:
        broken_off(storage, tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free - 1))
    with pytest.raises(UserError, match="make room or type paths"):
        bring(storage, tmp_path)
    assert storage.sent == here
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    check_brought(storage, tmp_path)


def test_a_full_disk_keeps_what_has_come(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="only Unix can bound the size of files")
    storage, usual = Storage(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, usual[1]))
    try:
        with pytest.raises(OSError, match="large") as caught:
            bring(storage, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert caught.value.errno == errno.EFBIG
    check_brought(storage, tmp_path)
    assert storage.ranges == [None, "bytes=150000-"]


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


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({}, Remote(None, None, None)),
        ({"ETag": '"a"', "Content-Length": "12"}, Remote('"a"', 12, None)),
        ({"ETag": 'W/"a"', "Content-Length": "-1"}, Remote(None, None, None)),
        ({"Content-Length": "1²"}, Remote(None, None, None)),
        ({"Content-Length": "9" * 30}, Remote(None, None, None)),
        ({"x-goog-hash": "crc32c=n03x6A=="}, Remote(None, None, None)),
        ({"x-goog-hash": f"crc32c=n03x6A==, md5={md5_of(b'a')}"}, Remote(None, None, hashlib.md5(b"a").hexdigest())),
        ({"x-goog-hash": "md5=short=="}, Remote(None, None, None)),
    ],
)
def test_what_the_headers_tell(headers: dict[str, str], told: Remote) -> None:
    answer = requests.Response()
    answer.status_code, answer.headers = 200, requests.structures.CaseInsensitiveDict(headers)
    assert remote_of(answer) == told


# --- anything may happen ------------------------------------------------------------------------------------------

HONEST: dict[str, Fault] = {  # the server does what it says, or says no
    "503": refusal("server"),
    "web page": refusal("odd"),
    "429": refusal("limit", 1),
    **{f"cut {size}": cut(size) for size in (0, 1, 7, 40)},
    **{f"reset {size}": cut(size, ConnectionResetError()) for size in (0, 3, 20)},
    "silence": cut(5, TimeoutError()),
}
ODD: dict[str, Fault] = {
    **{name: fault for name, fault in NO_PROOF.items() if name not in ("204", "207")},
    "weak": header("ETag", 'W/"x"', ranged=False),
    "no length": header("Content-Length", None, ranged=False),
    "longer": lambda reply: lengthened(reply) if reply.status == 206 else reply,
}
WRONG: dict[str, Fault] = {  # which the MD5 alone tells
    "flipped": lambda reply: flipped(reply) if reply.data else reply,
    "shortened": shortened,
    "page": lambda reply: page(reply) if reply.status == 206 else reply,
    "more": lengthened,
}


@given(
    content=st.binary(max_size=120),
    piece=st.integers(1, 50),
    faults=st.lists(st.sampled_from(sorted(HONEST)), max_size=12),
    restarts=st.lists(st.booleans(), min_size=12, max_size=12),
    has_md5=st.booleans(),
)
@example(content=b"x" * 100, piece=10, faults=["cut 40", "503", "reset 3"], restarts=[True] * 12, has_md5=False)
def test_with_an_honest_server_no_byte_comes_twice(
    tmp_path_factory: pytest.TempPathFactory,
    content: bytes,
    piece: int,
    faults: list[str],
    restarts: list[bool],
    has_md5: bool,
) -> None:
    folder = tmp_path_factory.mktemp("honest")
    storage = Storage(content, piece=piece, has_md5=has_md5, faults=[HONEST[name] for name in faults])
    for restart in [*restarts, False]:  # another process goes on, or the same
        try:
            bring(storage, folder, patience=0 if restart else 10**6)
        except KaggleError:
            assert not (folder / "a.zip").exists()
        else:
            break
    bring(storage, folder)
    assert (folder / "a.zip").read_bytes() == content
    assert storage.sent == len(content)


@given(
    contents=st.lists(st.binary(min_size=1, max_size=120), min_size=1, max_size=3),
    piece=st.integers(1, 50),
    faults=st.lists(
        st.lists(st.sampled_from(sorted(HONEST | ODD | WRONG)), min_size=1, max_size=2), min_size=1, max_size=10
    ),
    options=st.fixed_dictionaries({"has_etag": st.booleans(), "has_length": st.booleans(), "has_md5": st.booleans()}),
    patience=st.sampled_from([0, 10**6]),
    data=st.data(),
)
def test_whatever_happens_the_file_is_right_or_absent(
    tmp_path_factory: pytest.TempPathFactory,
    contents: list[bytes],
    piece: int,
    faults: list[list[str]],
    options: dict[str, bool],
    patience: float,
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("odd")
    every, storage = HONEST | ODD | WRONG, Storage(contents[0], piece=piece, **options)
    if not storage.has_md5:
        storage.has_length = True
        faults = [[name for name in names if name not in (*WRONG, "no length")] for names in faults]

    def at_once(names: Iterable[str], reply: Reply) -> Reply:
        if data.draw(st.booleans()):  # the file changes under one's hands
            storage.content = data.draw(st.sampled_from(contents))
        return functools.reduce(lambda reply, name: every[name](reply), names, reply)

    storage.faults = [functools.partial(at_once, names) for names in faults]
    for _ in range(len(faults) + 1):
        try:
            bring(storage, folder, patience=patience)
        except KaggleError:
            assert not (folder / "a.zip").exists()
        else:
            break
    assert (folder / "a.zip").read_bytes() in contents
    assert (folder / "a.zip.json").exists()
    assert not (folder / "a.zip.part").exists()


# --- with the client, over the emulator ---------------------------------------------------------------------------


@pytest.fixture
def archive(kaggle: KaggleEmulator) -> bytes:
    """That of the competition "cats"."""
    kaggle.hashes = ("md5",)  # the other takes a while
    kaggle.add_competition("cats", CONTENT, files={})
    return CONTENT


def download(kaggle: KaggleEmulator, folder: Path, patience: float = 10**6) -> Remote:
    who = Credentials("here", kaggle.token)
    client = KaggleClient(who, endpoint=kaggle.endpoint, timeout=0.5, pause=lambda seconds: None)
    return fetch(
        lambda headers: client.open_archive("cats", headers),
        folder / "a.zip",
        max_bytes=PLENTY,
        patience=patience,
        pause=lambda seconds: None,
    )


def gets(kaggle: KaggleEmulator) -> list[tuple[str | None, int | None]]:
    return [(call.headers.get("Range"), call.status) for call in kaggle.calls if call.name == "GET storage"]


ERRORS = ["401", "403 denied", "404", "429", "500", "503", "html", "json", "expired", "reset", "hang", "redirect loop"]


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_in_answer_to_a_range_never_touches_the_bytes(
    kaggle: KaggleEmulator, archive: bytes, tmp_path: Path, error: str
) -> None:
    kaggle.fault("storage", "drop", after=200_000)
    with pytest.raises(KaggleError):
        download(kaggle, tmp_path, patience=0)
    before = (tmp_path / "a.zip.part").read_bytes()
    assert before == archive[:200_000]
    kaggle.fault("storage", error, None, ranged=True, **({"retry_after": 400} if error == "429" else {}))
    with pytest.raises(KaggleError):
        download(kaggle, tmp_path, patience=0)
    assert (tmp_path / "a.zip.part").read_bytes() == before
    kaggle.faults.clear()
    download(kaggle, tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == archive
    assert gets(kaggle)[-1] == ("bytes=200000-", 206)


def test_every_try_has_a_fresh_signed_address(kaggle: KaggleEmulator, archive: bytes, tmp_path: Path) -> None:
    kaggle.fault("storage", "expired", 2)
    kaggle.fault("storage", "drop", after=1000)
    download(kaggle, tmp_path)
    assert [call.name for call in kaggle.calls] == ["DownloadDataFiles", "GET storage"] * 4


def test_a_redirect_to_another_host_keeps_the_range(kaggle: KaggleEmulator, archive: bytes, tmp_path: Path) -> None:
    kaggle.fault("storage", "drop", after=1000)
    kaggle.fault("storage", "redirect")  # to a host that knows no ranges
    download(kaggle, tmp_path)
    assert [call.headers.get("Range") for call in kaggle.calls if call.name.startswith("GET")] == [
        None,
        "bytes=1000-",
        "bytes=1000-",
    ]
    assert (tmp_path / "a.zip").read_bytes() == archive


@pytest.mark.parametrize("how", ["close", "reset"])
def test_over_a_net_no_byte_comes_twice_either(
    kaggle: KaggleEmulator, archive: bytes, tmp_path: Path, how: str
) -> None:
    ends = [1, 70_000, 123_457]
    for end in ends:
        kaggle.fault("storage", "drop", after=end, how=how)
    download(kaggle, tmp_path)
    starts = [sum(ends[: number + 1]) for number in range(len(ends))]
    assert gets(kaggle) == [(None, 200), *((f"bytes={start}-", 206) for start in starts)]
    assert (tmp_path / "a.zip").read_bytes() == archive


def test_pieces_are_passed_on_as_they_arrive(kaggle: KaggleEmulator, archive: bytes, tmp_path: Path) -> None:
    kaggle.fault("storage", "hang", after=5)
    with pytest.raises(KaggleError, match="no answer in time"):
        download(kaggle, tmp_path, patience=0)
    assert (tmp_path / "a.zip.part").read_bytes() == archive[:5]


def test_the_bar_is_for_terminals_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bring(Storage(), tmp_path)
    assert capfd.readouterr() == ("", "")
    assert CHUNK <= 2**20  # so much is lost at most when a process dies
