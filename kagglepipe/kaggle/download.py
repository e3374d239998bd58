"""A large file from the net to the disk: interrupted anywhere, it goes on there, and is either right or absent.

The bytes gather in `<name>.part`; `<name>.json` says which file they are a part of. They are appended to only where the
server proves that it goes on with the same file at the same place, and the file gets its name when its length and
checksum are those that were announced.
"""

import base64
import hashlib
import json
import math
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import requests

from kagglepipe.console import Progress
from kagglepipe.errors import UserError
from kagglepipe.files import write_json
from kagglepipe.kaggle.errors import TEMPORARY, KaggleError, Patience, network_errors

CHUNK = 2**20  # most bytes to read at once
MB, GB = 10**6, 10**9
WHOLE, PARTIAL = 200, 206  # HTTP statuses

Open = Callable[[dict[str, str]], requests.Response]


@dataclass(frozen=True)
class Remote:
    """What a server tells of a file; None: it does not. etag: only a strong one. size: bytes. md5: hexadecimal."""

    etag: str | None
    size: int | None
    md5: str | None

    def is_same(self, other: "Remote") -> bool:
        """Whether both surely are one file: alike in all that both tell, an ETag or MD5 among it."""
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in ("etag", "size", "md5")}
        told = {name for name, pair in pairs.items() if None not in pair}
        return bool(told & {"etag", "md5"}) and all(pairs[name][0] == pairs[name][1] for name in told)


def remote_of(answer: requests.Response) -> Remote:
    """What an answer with a file, or with the rest of one, tells of the whole."""
    headers, etag = answer.headers, answer.headers.get("ETag", "")
    span = _span(answer)
    size = span[2] if span else headers.get("Content-Length", "") if answer.status_code == WHOLE else None
    found = re.search(r"\bmd5=([A-Za-z0-9+/]{22}==)", headers.get("x-goog-hash", ""))
    return Remote(
        etag if re.fullmatch(r'"[^"]+"', etag) else None,
        int(size) if isinstance(size, str) and re.fullmatch(r"\d{1,18}", size, re.A) else None,
        base64.b64decode(found[1]).hex() if found else None,
    )


def fetch(
    open_file: Open, path: Path, *, max_bytes: int, patience: float = 60.0, pause: Callable[[float], None] = time.sleep
) -> Remote:
    """Downloads to `path` what is not there yet, going on where an earlier call stopped; what the server told of it.

    open_file: asks for the file with such headers (a Range, or none); its answer is unread and 200, 206 or 416.
    max_bytes: a larger file is refused. patience: seconds without a new byte after which it gives up. pause: how
    waiting is done.
    Raises KaggleError, after which the next call goes on, and UserError where limit or disk are too small.
    """
    if done := finished(path):
        return done
    path.unlink(missing_ok=True)  # the facts that are about to be written are not its own
    part, told = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.json")
    most, doubts, damages, borne = _length(part), 0, 0, Patience(patience, pause)
    while True:
        try:
            _go_on(open_file, part, told, max_bytes=max_bytes, from_start=doubts > 1)
        except KaggleError as error:
            doubts += error.kind == "doubt"
            damages += error.kind == "damage"
            if _length(part) > most:  # than ever in this call, or a server that always starts anew would have no end
                most, doubts = _length(part), 0
                borne.renew()
            if error.kind in TEMPORARY:
                borne.bear(error)
            elif error.kind not in ("doubt", "damage") or doubts > 2 or damages > 1:
                raise
        else:
            part.replace(path)
            return read_remote(told) or Remote(None, None, None)


def finished(path: Path) -> Remote | None:
    """What the server told of the file that `fetch` has brought to `path`; None if that is not finished."""
    told = path.with_name(f"{path.name}.json")
    return read_remote(told) if path.exists() else None


def read_remote(told: Path) -> Remote | None:
    """What the server told, as it was kept; None if that is not there or was written by something else."""
    try:
        return Remote(**json.loads(told.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def discard(path: Path) -> None:
    """Removes a download, finished or not."""
    for file in (path, path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.json")):
        file.unlink(missing_ok=True)


def _go_on(open_file: Open, part: Path, told: Path, *, max_bytes: int, from_start: bool) -> None:
    """One connection's worth: appends to `part`, and returns when it is whole and right. Raises KaggleError if not."""
    known = read_remote(told)
    start = _length(part) if known and known.etag and not from_start else 0
    if known and start and start == known.size:  # a kill came between the last byte and the new name
        if known.md5 and _md5_of(part, start).hexdigest() != known.md5:
            raise _damage(part, "another MD5")
        return
    asked = {"Range": f"bytes={start}-", "If-Range": str(known and known.etag)} if start else {}
    with open_file(asked) as answer:
        if answer.status_code == WHOLE:
            start, known = 0, remote_of(answer)
            part.unlink(missing_ok=True)
            write_json(told, asdict(known))
        elif known is None or not start or not _continues(answer, start, known):
            raise KaggleError("the server does not go on with the same file; type the same command again", "doubt")
        _demand_room(part, start, known, max_bytes)
        _append(answer, part, start, known, max_bytes)


def _continues(answer: requests.Response, start: int, known: Remote) -> bool:
    """Whether an answer is the rest, from byte `start` on, of the file that is known."""
    span = _span(answer)
    if span is None or answer.status_code != PARTIAL or remote_of(answer).etag != known.etag:
        return False
    first, last, size = span
    return int(first) == start and {int(last) + 1, int(size)} == {known.size or int(size)}


def _span(answer: requests.Response) -> tuple[str, str, str] | None:
    """(first byte, last byte, size) of an answer's Content-Range; None without one."""
    value = answer.headers.get("Content-Range", "")
    found = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", value, re.A)
    return (found[1], found[2], found[3]) if found else None


def _demand_room(part: Path, start: int, known: Remote, max_bytes: int) -> None:
    """Raises UserError if the file would be larger than the limit or the disk allow."""
    if known.size is None:
        return
    if known.size > max_bytes:
        raise _too_large(known.size, max_bytes)
    free = shutil.disk_usage(part.parent).free
    if known.size - start > free:
        found = f"the archive takes {known.size / MB:,.0f} MB more than is here, the disk has {free / MB:,.0f} MB free"
        raise UserError(f"{found}; make room or type paths.root=FOLDER with one on another disk")


def _append(answer: requests.Response, part: Path, start: int, known: Remote, max_bytes: int) -> None:
    """Writes what comes behind the first `start` bytes. Raises KaggleError unless the file is whole and right then."""
    most, length = max_bytes if known.size is None else known.size, start
    md5 = _md5_of(part, start) if known.md5 else None
    bar: Progress[None] = Progress("download", total=known.size, done=start, unit="B")
    with bar, part.open("ab") as file, network_errors("the download"):
        for piece in pieces(answer):
            length += len(piece)
            if length > most:
                break
            file.write(piece)
            if md5:
                md5.update(piece)  # 400 MB/s or more: no network waits for it
            bar.update(len(piece))
    if length > most and known.size is None:
        part.unlink()
        raise _too_large(length, max_bytes)
    if known.size is not None and length < known.size:
        raise KaggleError(f"the connection broke off at {length / MB:,.1f} of {known.size / MB:,.1f} MB", "network")
    if length > most:
        raise _damage(part, "more bytes")
    if md5 and md5.hexdigest() != known.md5:
        raise _damage(part, "another MD5")


def pieces(answer: requests.Response) -> Iterator[bytes]:
    """The body as it arrives; requests' own iterator waits for full pieces, and loses one to a break."""
    while piece := answer.raw.read1(CHUNK, decode_content=True):
        yield piece


def _damage(part: Path, fault: str) -> KaggleError:
    """The error for a part that is worthless, and has gone now."""
    part.unlink()
    return KaggleError(f"the archive came with {fault} than announced; type the same command again", "damage")


def _md5_of(part: Path, length: int) -> "hashlib._Hash":
    """The MD5 of the first `length` bytes of `part`, to be gone on with."""
    md5 = hashlib.md5(usedforsecurity=False)
    if length:
        with part.open("rb") as file:
            while chunk := file.read(CHUNK):
                md5.update(chunk)
    return md5


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _too_large(size: int, max_bytes: int) -> UserError:
    return UserError(
        f"the archive has {size:,} bytes or more, allowed are {max_bytes:,}; if you trust it, type "
        f"download.max_gb={math.ceil(size / GB)}"
    )
