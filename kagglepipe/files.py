"""Atomic writes, JSON, hashes and locks between processes.

A file is written to a temporary name in the same folder and renamed, so that a kill, a full disk or a second process
never leaves a partial file under its real name.
"""

import hashlib
import json
import logging
import math
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from kagglepipe.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
LOCKS = ".locks"
READ_AT_ONCE = 1 << 16  # bytes
REPLACED = "add competition.refresh=true to take the files as they are"


def expanded(path: str) -> Path:
    """Expand `~` and `~user`; a name that is no user's stays as it is.

    >>> expanded("~photos")
    PosixPath('~photos')
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111  # Path.expanduser raises RuntimeError


def absolute(path: str) -> Path:
    """Expand `~` and make the path absolute, from the working directory."""
    return Path(os.path.abspath(expanded(path)))  # noqa: PTH100  # `..` goes, symbolic links stay


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, and rename it to `path` at the end of the block.

    Makes the folder if needed. If the block raises, the temporary file is removed and `path` is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")  # process numbers repeat between containers
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinity become null."""
    text = json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def write_parquet(path: Path, frame: "pd.DataFrame") -> None:
    """Write a frame as parquet without its index, atomically."""
    with atomic(path) as temporary:
        frame.to_parquet(temporary, index=False)


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` a hard link to `source`, or a copy where the disk has no links; for files that are only read."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises UserError if it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): delete it, and the same command writes it again") from error


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def sha256(*parts: bytes | str) -> str:
    """Hexadecimal SHA-256 of the parts and their lengths, so that ("a", "b") differs from ("ab",).

    >>> sha256("a", "b") == sha256("ab")
    False
    """
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while part := file.read(READ_AT_ONCE):  # `hashlib.file_digest` takes longer for a small file
            digest.update(part)
    return digest.hexdigest()


def check_sha256(path: Path, digest: str, read: Callable[[Path], bytes] | None = None) -> None:
    """Raise UserError unless the file has the bytes that it had when it was prepared.

    read: reads files that are parts of others; None: as any file.
    """
    try:
        found = file_sha256(path) if read is None else hashlib.sha256(read(path)).hexdigest()
    except OSError as error:
        raise UserError(f"{path}: {error}; {REPLACED}") from error
    if found != digest:
        raise UserError(f"{path} is not the file that was prepared; {REPLACED}")


def file_state(path: Path) -> tuple[int, ...]:
    """Size, modification time, change time and inode: they differ after a file was replaced or written to.

    Only size and modification time would not, after `mv`. Of a broken link, those of the link.
    """
    try:
        found = path.stat()
    except OSError:
        found = path.lstat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


@contextmanager
def exclusive_lock(path: Path, what: str) -> Iterator[None]:
    """Hold the lock of `path` for the block; logs, with the label `what`, that it waits for another process."""
    lock = locked(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("%s: another process is running; waiting until it is done", what)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def locked(path: Path) -> FileLock:
    """Hold the lock between processes, such as parallel sweep jobs, for `path`.

    It is a file in the nearest `.locks` above (`keep_locks_in`), else in one in the folder of `path`, links resolved,
    so that processes with different roots find the same one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path = path.parent.resolve() / path.name
    root = next((parent for parent in path.parents if (parent / LOCKS).is_dir()), path.parent)
    keep_locks_in(root)
    place = path.relative_to(root).as_posix()
    return FileLock(root / LOCKS / f"{path.name[:60]}-{sha256(place)[:8]}.lock")


def keep_locks_in(root: Path) -> None:
    """Make the folder for the locks of all paths below `root`."""
    (root / LOCKS).mkdir(parents=True, exist_ok=True)
