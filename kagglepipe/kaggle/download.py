"""Download of one large file: interrupted anywhere it is resumed there, and the file is either right or absent.

The bytes gather in `<name>.part`; `<name>.json` says which file they are a part of. They are appended to only where the
server proves that it continues the same file at the same place, and the file gets its name when its length and MD5 are
those that were announced.
"""

import base64
import hashlib
import json
import math
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import requests

from kagglepipe.console import Progress
from kagglepipe.errors import UserError
from kagglepipe.files import write_json
from kagglepipe.kaggle.errors import KaggleError
from kagglepipe.kaggle.retries import TEMPORARY, RetryPolicy
from kagglepipe.kaggle.transport import chunks, network_errors

MB, GB = 10**6, 10**9
OK, PARTIAL = 200, 206  # HTTP statuses

Open = Callable[[dict[str, str]], requests.Response]


@dataclass(frozen=True)
class Remote:
    """A file by its headers; None: not given. etag: a strong one. size: bytes. md5: hexadecimal."""

    etag: str | None
    size: int | None
    md5: str | None

    def is_same(self, other: "Remote") -> bool:
        """Whether both are one file: equal in all that both know, an ETag or MD5 among it."""
        pairs = {name: (value, asdict(other)[name]) for name, value in asdict(self).items()}
        known = {name for name, pair in pairs.items() if None not in pair}
        return bool(known & {"etag", "md5"}) and all(pairs[name][0] == pairs[name][1] for name in known)


def remote_of(answer: requests.Response) -> Remote:
    """Read from the headers of a file, or of a range of one, what the whole is."""
    headers, etag = answer.headers, answer.headers.get("ETag", "")
    content_range = _content_range(answer)
    size = content_range[2] if content_range else headers.get("Content-Length", "") if answer.status_code == OK else ""
    md5 = re.search(r"\bmd5=([A-Za-z0-9+/]{22}==)", headers.get("x-goog-hash", ""))
    return Remote(
        etag if re.fullmatch(r'"[^"]+"', etag) else None,
        int(size) if re.fullmatch(r"\d{1,18}", size, re.A) else None,
        base64.b64decode(md5[1]).hex() if md5 else None,
    )


def fetch(
    open_file: Open, path: Path, *, max_bytes: int, patience: float = 60.0, pause: Callable[[float], None] = time.sleep
) -> Remote:
    """Download a file to `path`, resuming an earlier call's part; returns what the server said of the file.

    open_file: requests the file with the given headers (a Range, or none); its answer is unread and 200, 206 or 416.
    max_bytes: a larger file is refused. patience: seconds of retries without a new byte. pause: how waiting is done.
    Raises KaggleError, after which the next call resumes, and UserError where limit or disk are too small.
    """
    if done := finished(path):
        return done
    path.unlink(missing_ok=True)  # the facts that are about to be written are not its own
    part, facts = _beside(path)
    longest, mismatches, damages, policy = _length(part), 0, 0, RetryPolicy(patience, pause)
    while True:
        try:
            _resume(open_file, part, facts, max_bytes=max_bytes, from_start=mismatches > 1)
        except KaggleError as error:
            mismatches += error.kind == "mismatch"
            damages += error.kind == "damage"
            if _length(part) > longest:  # than ever in this call; a server that always starts anew would have no end
                longest, mismatches = _length(part), 0
                policy.reset()
            if error.kind in TEMPORARY:
                policy.wait(error)
            elif error.kind not in ("mismatch", "damage") or mismatches > 2 or damages > 1:
                raise
        else:
            part.replace(path)
            return _read_remote(facts) or Remote(None, None, None)


def _beside(path: Path) -> tuple[Path, Path]:
    """Name the files of an unfinished download: its bytes, and what the server said of it."""
    return path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.json")


def finished(path: Path) -> Remote | None:
    """Return what the server said of the file that `fetch` has brought to `path`; None if it is not finished."""
    return _read_remote(_beside(path)[1]) if path.exists() else None


def _read_remote(facts: Path) -> Remote | None:
    try:
        return Remote(**json.loads(facts.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):  # or written by something else
        return None


def discard(path: Path) -> None:
    """Remove a download, finished or not."""
    for file in (path, *_beside(path)):
        file.unlink(missing_ok=True)


def _resume(open_file: Open, part: Path, facts: Path, *, max_bytes: int, from_start: bool) -> None:
    """Append to `part` over one connection. Raises KaggleError unless it is whole and right then."""
    known = _read_remote(facts)
    start = _length(part) if known and known.etag and not from_start else 0
    if known and start and start == known.size:  # a kill came between the last byte and the new name
        if known.md5 and _md5_of(part, start).hexdigest() != known.md5:
            raise _damage(part, "another MD5")
        return
    headers = {"Range": f"bytes={start}-", "If-Range": str(known and known.etag)} if start else {}
    with open_file(headers) as answer:
        if answer.status_code == OK:
            start, known = 0, remote_of(answer)
            part.unlink(missing_ok=True)
            write_json(facts, asdict(known))
        elif known is None or not start or not _continues(answer, start, known):
            raise KaggleError("the server does not go on with the same file; type the same command again", "mismatch")
        _check_room(part, start, known, max_bytes)
        _append(answer, part, start, known, max_bytes)


def _continues(answer: requests.Response, start: int, known: Remote) -> bool:
    """Whether an answer is the rest, from byte `start`, of the known file."""
    found = _content_range(answer)
    if found is None or answer.status_code != PARTIAL or remote_of(answer).etag != known.etag:
        return False
    first, last, size = map(int, found)
    return first == start and {last + 1, size} == {known.size or size}


def _content_range(answer: requests.Response) -> tuple[str, str, str] | None:
    """Read (first byte, last byte, size) from the header Content-Range; None without one."""
    value = answer.headers.get("Content-Range", "")
    found = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", value, re.A)
    return (found[1], found[2], found[3]) if found else None


def _check_room(part: Path, start: int, known: Remote, max_bytes: int) -> None:
    """Raises UserError if the file is larger than the limit or the disk allow."""
    if known.size is None:
        return
    if known.size > max_bytes:
        raise _too_large(known.size, max_bytes)
    free = shutil.disk_usage(part.parent).free
    if known.size - start > free:
        raise UserError(
            f"the archive has {known.size / MB:,.0f} MB, of which {start / MB:,.0f} MB are here; the disk has "
            f"{free / MB:,.0f} MB free; make room or type paths.root=FOLDER with one on another disk"
        )


def _append(answer: requests.Response, part: Path, start: int, known: Remote, max_bytes: int) -> None:
    """Write the body behind the first `start` bytes. Raises KaggleError unless the file is whole and right then."""
    most, length = max_bytes if known.size is None else known.size, start
    md5 = _md5_of(part, start) if known.md5 else None
    bar: Progress[None] = Progress("download", total=known.size, done=start, unit="B")
    with bar, part.open("ab") as file, network_errors("the download"):
        for chunk in chunks(answer):
            length += len(chunk)
            if length > most:
                break
            file.write(chunk)
            if md5:
                md5.update(chunk)  # 400 MB/s or more: no network waits for it
            bar.update(len(chunk))
    if length > most and known.size is None:
        part.unlink()
        raise _too_large(length, max_bytes)
    if known.size is not None and length < known.size:
        raise KaggleError(f"the connection broke off at {length / MB:,.1f} of {known.size / MB:,.1f} MB", "network")
    if length > most:
        raise _damage(part, "more bytes")
    if md5 and md5.hexdigest() != known.md5:
        raise _damage(part, "another MD5")


def _damage(part: Path, fault: str) -> KaggleError:
    """Make the error for a worthless part, and remove it."""
    part.unlink()
    return KaggleError(f"the archive came with {fault} than announced; type the same command again", "damage")


def _md5_of(part: Path, length: int) -> "hashlib._Hash":
    """Hash the first `length` bytes of `part`, which are all it has; to be updated."""
    if not length:
        return hashlib.md5(usedforsecurity=False)
    with part.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _too_large(size: int, max_bytes: int) -> UserError:
    return UserError(
        f"the archive has {size:,} bytes or more, allowed are {max_bytes:,}; if you trust it, type "
        f"download.max_gb={math.ceil(size / GB)}"
    )
