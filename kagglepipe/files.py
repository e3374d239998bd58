"""Every write of the package: whole or not at all.

A file is written to a temporary name beside its place and renamed, so a kill, a full disk or a second process
never leaves half of one under its real name.
"""

import hashlib
import json
import logging
import math
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from kagglepipe.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
LOCKS = ".locks"
REPLACED = "add competition.refresh=true to take the files as they are"


def expanded(path: str) -> Path:
    """`path` with the folder of a user for `~` or `~user`; what begins so and is no user's stays as it is.

    >>> expanded("~photos")
    PosixPath('~photos')
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111  # Path.expanduser raises RuntimeError


def absolute(path: str) -> Path:
    """`path` with `~` expanded, seen from the shell's folder."""
    return Path(os.path.abspath(expanded(path)))  # noqa: PTH100  # `..` goes, symbolic links stay


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the folder of `path`; renames it to `path` when the block ends well.

    The folder is made if needed. If the block raises, the temporary file is removed and `path` is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")  # process numbers repeat between containers
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Writes `data` to `path` atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically; a number that is not finite becomes null, since JSON has none."""
    text = json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def write_parquet(path: Path, frame: "pd.DataFrame") -> None:
    """Writes a frame without its index as parquet, atomically."""
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
    """The value stored in the JSON file `path`. Raises UserError if it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): delete it, and the same command makes it anew") from error


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def sha256(*parts: bytes | str) -> str:
    """The hexadecimal SHA-256 of the parts, joined with a separator that keeps ("a", "b") from being ("ab",).

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
    """The hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def demand_sha256(path: Path, digest: str) -> None:
    """Raises UserError unless the file at `path` has the bytes that it had when it was prepared."""
    try:
        found = file_sha256(path)
    except OSError as error:
        raise UserError(f"{path}: {error}; {REPLACED}") from error
    if found != digest:
        raise UserError(f"{path} is not the file that was prepared; {REPLACED}")


def file_state(path: Path) -> tuple[int, ...]:
    """What tells, without reading it, that a file was replaced or written to: size, times and inode.

    `mv` leaves size and time of writing as they were; a copy has other numbers, though its bytes are the same.
    Of a broken link it is the link's own.
    """
    try:
        found = path.stat()
    except OSError:
        found = path.lstat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


@contextmanager
def exclusive_lock(path: Path, what: str) -> Iterator[None]:
    """Holds the lock of `path` for the block; says so, as `what`, when another process makes it wait."""
    lock = locked(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("%s: another process is at it; waiting until it is done", what)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def locked(path: Path) -> FileLock:
    """A lock between processes for what lies at `path`; sweep jobs that run side by side wait for it.

    It is a file in the nearest `.locks` above (`keep_locks_in`), else in one beside `path`: where both processes find
    it, whatever root, or link, they have come by.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path = path.parent.resolve() / path.name
    root = next((parent for parent in path.parents if (parent / LOCKS).is_dir()), path.parent)
    keep_locks_in(root)
    place = path.relative_to(root).as_posix()
    return FileLock(root / LOCKS / f"{path.name[:60]}-{sha256(place)[:8]}.lock")


def keep_locks_in(root: Path) -> None:
    """Makes the folder for the locks of all that lies below `root`."""
    (root / LOCKS).mkdir(parents=True, exist_ok=True)
