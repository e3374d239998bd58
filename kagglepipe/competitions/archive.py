"""Unpack a competition's zip completely, or refuse it and leave nothing behind.

An archive from the net is not to be trusted: its names may lead out of the folder, its headers may lie, half of it may
be missing, or it may be a login page. The folder exists only when every byte of every file is in it.
"""

import math
import re
import secrets
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kagglepipe.console import Progress
from kagglepipe.errors import UserError

CHUNK = 2**20  # bytes
MB, GB = 10**6, 10**9
ENCRYPTED, UTF8 = 0x1, 0x800  # flag bits of a member; UTF8: its name is
UNICODE_PATH = 0x7075  # extra field of Info-ZIP: the name in UTF-8
MAX_DEPTH = 3  # nested zips
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # zipfile bounds no memory for others
DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError)
INSTEAD = "download it again, or unpack it yourself and type competition.source=FOLDER"

Members = dict[PurePosixPath, zipfile.ZipInfo]


@dataclass
class Limits:
    """Limits of all files together, and how much is used. encoding: of names that are not marked as UTF-8."""

    max_bytes: int
    max_entries: int
    encoding: str | None
    written: int = 0
    entries: int = 0


class ArchiveError(UserError):
    """The archive is damaged, no zip, or has a member that must not be written."""


def extract_zip(
    archive: Path, folder: Path, *, max_bytes: int, max_entries: int, encoding: str | None = None
) -> list[str]:
    """Unpack into `folder`, new or empty, atomically; returns the relative posix paths of the files.

    Empty folders are left out. Nested zips are unpacked too, into a folder of their name, unless they are encrypted or
    their contents lie beside them.

    max_bytes: of all files together, by their headers and as written. max_entries: of files and folders. encoding: of
    names that are not UTF-8.
    Raises ArchiveError if `archive` is not a whole zip or a member is damaged, encrypted, a link, of another method
    than METHODS, leads out of the folder, clashes with another or is nested too deep; UserError if it exceeds the
    limits or the disk, or the encoding of a name is unknown.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"the archive needs a new or empty folder, but {folder} holds files")
    limits = Limits(max_bytes, max_entries, encoding)
    with _opened(archive) as source:
        members = _checked_members(source, limits)
        total = _check_bytes(source, members, limits)
        with _atomic_folder(folder) as temporary:
            _check_space(source, total, temporary)
            _write_members(source, members, temporary, limits)
            names = [str(path) for path in members]
            return unpack_inner(archive, names, temporary, limits)


def unpack_inner(archive: Path, names: list[str], folder: Path, limits: Limits, *, depth: int = 1) -> list[str]:
    """Unpack the zips among `names`, files in `folder`, and remove them there; returns all names.

    archive: what they came from, as messages call it. Raises as `extract_zip`.
    """
    found: list[str] = []
    for name in names:
        inner = folder / name
        if not name.lower().endswith(".zip") or not zipfile.is_zipfile(inner):
            found.append(name)
            continue
        with _opened(inner) as source:
            source.filename = f"{archive} ({name})"  # as messages call it
            if any(info.flag_bits & ENCRYPTED for info in source.infolist()):
                found.append(name)
                continue
            if depth > MAX_DEPTH:
                raise ArchiveError(f"{source.filename} lies in more than {MAX_DEPTH} other zips; {INSTEAD}")
            members = _checked_members(source, limits)
            place = _inner_folder(PurePosixPath(name), members)
            if any((folder / place / path).exists() for path in members) or (folder / place).is_file():
                found.append(name)  # its contents lie beside it
                continue
            _check_space(source, _check_bytes(source, members, limits), folder)
            _write_members(source, members, folder / place, limits)
        inner.unlink()
        unpacked = [str(place / path) for path in members]
        found += unpack_inner(archive, unpacked, folder, limits, depth=depth + 1)
    return found


def _inner_folder(name: PurePosixPath, members: Members) -> PurePosixPath:
    """Folder for a nested zip: one of its name, or the folder that it lies in if the zip has one of its name."""
    tops = {path.parts[0].lower() for path in members} - {"__macosx"}
    return name.parent if tops == {name.stem.lower()} else name.with_suffix("")


@contextmanager
def _atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder that becomes `folder` if the block succeeds, and is removed if not."""
    temporary = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if folder.exists():
            folder.rmdir()
        temporary.rename(folder)
    except OSError as error:
        raise UserError(f"cannot write {folder} ({error}); mend that or type paths.root=FOLDER") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _opened(archive: Path) -> zipfile.ZipFile:
    if not archive.is_file():
        raise UserError(f"found no zip at {archive}; type competition.source=PATH with the path of one")
    try:
        return zipfile.ZipFile(archive)
    except DAMAGE as error:
        raise ArchiveError(f"{archive} is {_describe(archive)}; {INSTEAD}") from error


def _describe(archive: Path) -> str:
    """Describe a file that is no readable zip by its first bytes."""
    with archive.open("rb") as file:
        start = file.read(512).lstrip().lower()
    if not start:
        return "empty"
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page and no zip, such as sites send to those who are not logged in"
    return "a zip cut short or damaged" if start.startswith(b"pk") else "not a zip"


def _checked_members(source: zipfile.ZipFile, limits: Limits) -> Members:
    """List the files by path. Raises UserError for none, too many, or one that must not be written."""
    entries = source.infolist()
    limits.entries += len(entries)
    if limits.entries > limits.max_entries:
        found = f"{source.filename} holds {limits.entries:,} entries, allowed are {limits.max_entries:,}"
        raise UserError(f"{found}; if you trust it, type download.max_entries={limits.entries}")
    files: Members = {}
    folders: set[PurePosixPath] = set()
    for info in entries:
        name = _member_name(source, info, limits.encoding).replace("\\", "/")  # of old Windows programs
        path = PurePosixPath(name)
        if fault := _fault(name, info) or ("is there twice" if path in files else None):
            raise _refusal(source, info, fault)
        if name.endswith("/"):
            folders.add(path)
        else:
            files[path] = info
            folders.update(path.parents)
    for path in sorted(files.keys() & folders):
        raise _refusal(source, files[path], "is a file and also a folder")
    if not files:
        raise ArchiveError(f"{source.filename} holds no files; {INSTEAD}")
    return files


def _member_name(source: zipfile.ZipFile, info: zipfile.ZipInfo, encoding: str | None) -> str:
    """Decode a member's name. Raises UserError for an unknown encoding."""
    if info.flag_bits & UTF8 or info.orig_filename.isascii():
        return info.filename
    raw = info.orig_filename.encode("cp437")  # undoes the decoding of zipfile
    try:
        name = _unicode_path(info, raw) or raw.decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        readings = {word: raw.decode(word, "replace") for word in ("cp437", "cp1252")}
        found = ", ".join(f"{name} in {word}" for word, name in readings.items())
        raise UserError(
            f"{source.filename} has names in an encoding that it does not name (not {encoding or 'utf-8'}): one is "
            f"{found}; type download.encoding=cp437, cp1252, cp932, gbk or whatever makes them readable"
        ) from error
    return name.split("\0")[0]


def _unicode_path(info: zipfile.ZipInfo, raw: bytes) -> str | None:
    """Find Info-ZIP's UTF-8 name in the extra field, if its checksum fits the name in the header."""
    extra = info.extra
    while len(extra) >= 4:
        kind, length = struct.unpack("<HH", extra[:4])
        data, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == UNICODE_PATH and data[:5] == b"\1" + struct.pack("<I", zlib.crc32(raw)):
            return data[5:].decode("utf-8")
    return None


def _fault(name: str, info: zipfile.ZipInfo) -> str | None:
    """Say why a member must not be written, by its name and header; None if it may."""
    if name.startswith("/") or re.match("[a-zA-Z]:", name):
        return "has an absolute path"
    if ".." in name.split("/"):
        return "leads out of the folder"
    if not name.endswith("/") and not PurePosixPath(name).parts:
        return "has no name"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "is a link"
    if info.flag_bits & ENCRYPTED:
        return "is encrypted"
    if info.compress_type not in METHODS:
        return f"is packed by method {info.compress_type}, which is not supported"
    return None


def _check_bytes(source: zipfile.ZipFile, members: Members, limits: Limits) -> int:
    """Sum up the bytes of members by their headers. Raises UserError if they exceed the limit."""
    total = sum(info.file_size for info in members.values())
    if limits.written + total > limits.max_bytes:
        raise _too_large(source, limits.written + total, limits.max_bytes)
    return total


def _check_space(source: zipfile.ZipFile, total: int, folder: Path) -> None:
    """Raises UserError if the disk of `folder` has less than `total` bytes free."""
    free = shutil.disk_usage(folder).free
    if total > free:
        found = f"{source.filename} unpacks to {total / MB:,.0f} MB, the disk has {free / MB:,.0f} MB free"
        raise UserError(f"{found}; make room or type paths.root=FOLDER with one on another disk")


def _write_members(source: zipfile.ZipFile, members: Members, folder: Path, limits: Limits) -> None:
    """Write all members. Raises UserError if one is damaged or they exceed the limits."""
    total = sum(info.file_size for info in members.values())
    with Progress[None]("unpack", total=total, unit="B") as bar:
        for path, info in members.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:  # x: two names may be one to a disk that ignores case
                for chunk in _chunks(source, info):
                    limits.written += len(chunk)
                    if limits.written > limits.max_bytes:
                        raise _too_large(source, limits.written, limits.max_bytes)
                    file.write(chunk)
                    bar.update(len(chunk))


def _chunks(source: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """Yield the bytes of a member. Raises UserError if they do not match its header."""
    size = 0
    try:
        with source.open(info) as member:
            while chunk := member.read(CHUNK):
                size += len(chunk)
                yield chunk
    except DAMAGE as error:
        raise _refusal(source, info, f"is damaged ({error})") from error
    if size != info.file_size:
        raise _refusal(source, info, f"is damaged (it has {size:,} of {info.file_size:,} bytes)")


def _refusal(source: zipfile.ZipFile, info: zipfile.ZipInfo, fault: str) -> ArchiveError:
    return ArchiveError(f"{source.filename} is refused: its member {info.filename!r} {fault}; {INSTEAD}")


def _too_large(source: zipfile.ZipFile, size: int, max_bytes: int) -> UserError:
    found = f"{source.filename} unpacks to {size:,} bytes or more, allowed are {max_bytes:,}"
    return UserError(f"{found}; if you trust it, type download.max_gb={math.ceil(size / GB)}")
