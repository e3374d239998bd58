"""Files of a competition: list them, hash them, notice that they have changed."""

import errno
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kagglepipe.competitions.filenames import MEDIA, SUFFIXES, suffix_of
from kagglepipe.errors import UserError
from kagglepipe.files import file_sha256, file_state, read_json, sha256
from kagglepipe.parallel import parallel_chunks
from kagglepipe.text import first_three

log = logging.getLogger(__name__)
FOLDER_OF = {"image": "image_folder", "video": "video_folder"}  # the competition for a folder of them
# leftovers of file managers, in lower case
IGNORED = {"desktop.ini", "thumbs.db", "ehthumbs.db", "picasa.ini", "icon\r"}
IGNORED_FOLDERS = {
    "__macosx", "@eadir", "#recycle", "#snapshot", "@recycle", "@__thumb", "lost+found", "$recycle.bin", "recycler",
    "system volume information", "__pycache__", ".ipynb_checkpoints",
}  # fmt: skip
MAX_LINKED = 1_000_000  # files and folders below symbolic links, which may lead anywhere
HASHED_FILES = 64  # hashed in one task
UNREADABLE = "unreadable"  # hash of a file that on_bad_image=skip leaves out


@dataclass(frozen=True)
class Source:
    """A source at the time of the download.

    kind: `zip`, `folder`, `packed` (a folder with zips, unpacked into raw/), `kaggle` or `sample`. path: "" for the
    sample. stat: hash of names, sizes, times and inodes, or Kaggle's `transfer.Remote` as JSON. content: hash of the
    bytes.
    """

    kind: str
    path: str
    stat: str
    content: str

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Source":
        """Make a source from a file of any version; unknown fields are ignored."""
        return cls(**{name: str(fields.get(name, "")) for name in cls.__dataclass_fields__})


def describe(path: Path, known: Source | None = None, *, skip_bad: bool = False) -> Source:
    """Hash the zip or folder at `path`; its bytes are read only if its stat differs from that of `known`.

    skip_bad: leave out files that cannot be read.
    Raises UserError if there is nothing at `path`, or for a file in it that cannot be read.
    """
    check_name(path)
    if not path.exists():
        raise UserError(f"nothing is at {path}: give a zip or a folder, as competition.source=PATH")
    kind = "folder" if path.is_dir() else "zip"
    names = list_names(path, skip_bad=skip_bad)[0] if kind == "folder" else ["."]
    files = [path / name for name in names]
    states = map(file_state, files)
    stat = sha256(*("\0".join(map(str, (name, *state))) for name, state in zip(names, states, strict=True)))
    if known is not None and known.stat == stat and (known.kind == "zip") == (kind == "zip"):
        return replace(known, path=str(path))
    if known is not None:
        log.info("download: files of %s may have changed, by their times: reading their bytes", path)
    if kind == "zip":
        return Source(kind, str(path), stat, _content(path))

    def contents(part: Sequence[Path]) -> list[str]:
        return [_content(file, skip_bad=skip_bad) for file in part]

    hashes = parallel_chunks(contents, files, chunk=HASHED_FILES)
    content = sha256(*(part for pair in zip(names, hashes, strict=True) for part in pair))
    return Source(kind, str(path), stat, content)


def source_root(folder: Path) -> Path:
    """The folder with the files of a downloaded source: a folder in place, else raw/. folder: data/<slug>/."""
    known = Source.from_json(read_json(folder / "source.json"))
    return Path(known.path) if known.kind == "folder" else folder / "raw"


def _content(path: Path, *, skip_bad: bool = False) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        if skip_bad:
            return UNREADABLE
        raise unreadable(path, error) from error


def list_files(folder: Path, *, skip_bad: bool = False) -> tuple[list[Path], list[Path]]:
    """List (files, ignored files) below `folder`, as `list_names` does, as paths."""
    files, ignored = list_names(folder, skip_bad=skip_bad)
    return [folder / name for name in files], [folder / name for name in ignored]


def list_names(folder: Path, *, skip_bad: bool = False) -> tuple[list[str], list[str]]:
    """List (files, ignored files) below `folder` as relative posix paths, each sorted folder by folder.

    Ignored are leftovers of file managers. Symbolic links are followed; a link to a folder that contains it is ignored.
    skip_bad: ignore broken links and unreadable folders too, but list a broken link with the suffix of an image, video
    or series, since it may be a row of the test.
    Raises UserError for these, for a name that is not UTF-8 and for links that lead to more than MAX_LINKED files.
    """
    files: list[str] = []
    ignored: list[str] = []
    check_name(folder)
    try:
        resolved = folder.resolve()
        above = frozenset(_identity(path) for path in (resolved, *resolved.parents))
        for name, is_left_out in _Walk(folder, skip_bad=skip_bad).entries("", above, is_linked=False):
            (ignored if is_left_out else files).append(name)
    except PermissionError as error:
        raise unreadable(Path(str(error.filename or folder)), error) from error
    files.sort(key=_by_folder)
    check_names(files)
    return files, sorted(ignored, key=_by_folder)


def _by_folder(name: str) -> str:
    """Sort key of relative posix paths that compares them part by part, as `Path` does: `a/b` before `a-b`."""
    return name.replace("/", "\0")


class _Walk:
    """Recursive listing of a folder, through symbolic links, by names: a `Path` for each file would take longer."""

    def __init__(self, folder: Path, *, skip_bad: bool) -> None:
        self.folder, self.skip_bad, self.linked = folder, skip_bad, 0

    def entries(self, base: str, above: frozenset[tuple[int, int]], *, is_linked: bool) -> Iterator[tuple[str, bool]]:
        """Yield (relative path, is ignored) of what is below the folder `base`, "" or ending in `/`.

        above: the identity of the folder and of those that contain it.
        """
        folder = self.folder / base
        is_left_out = ignored_folder(Path(f"{base}any")) is not None
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            if not self.is_ignored(folder):
                raise unreadable(folder, error) from error
            yield base.removesuffix("/"), True
            return
        for entry in entries:
            inside = is_linked or entry.is_symlink()
            self.linked += inside
            name = base + entry.name
            if self.linked > MAX_LINKED:
                raise UserError(
                    f"{folder / entry.name} lies behind a link to more than {MAX_LINKED:,} files: remove that link"
                )
            try:
                is_folder, is_file = entry.is_dir(), entry.is_file()
                here = _identity(folder / entry.name) if is_folder or not is_file else (0, 0)  # a broken link has none
            except OSError as error:
                if not self.is_ignored(folder / entry.name):
                    raise self.broken(folder / entry.name, error) from error
                yield name, is_left_out or _is_leftover(entry.name) or suffix_of(entry.name) not in MEDIA
                continue
            if is_folder and here not in above:
                yield from self.entries(f"{name}/", above | {here}, is_linked=inside)
            else:  # a link to a folder above, a pipe or a socket has nothing to read
                yield name, not is_file or is_left_out or _is_leftover(entry.name)

    def is_ignored(self, path: Path) -> bool:
        """Whether a path may be unreadable."""
        return self.skip_bad or (path != self.folder and is_ignored(path.relative_to(self.folder) / "any"))

    def broken(self, path: Path, error: OSError) -> UserError:
        """Make the error for a path whose `stat` fails."""
        if path.is_symlink() and error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
            what = f"{path} is a broken link: nothing is at {path.readlink()}"
            return UserError(f"{what}; mend or remove it, or leave such files out with competition.on_bad_image=skip")
        return unreadable(path, error)


def other_kind(files: Sequence[str], kind: str) -> str | None:
    """Say which other kind of files there is and what to type; None if some are of this kind, or of no known one.

    >>> other_kind(["cat/1.mp4", "dog/2.mp4"], "image")
    '2 videos are there: type competition=video_folder'
    """
    suffixes = Counter(map(suffix_of, files))
    counts = {one: sum(suffixes[suffix] for suffix in SUFFIXES[one]) for one in FOLDER_OF}
    if any(suffixes[suffix] for suffix in SUFFIXES[kind]) or not any(counts.values()):
        return None
    found = max(counts, key=lambda one: counts[one])
    return f"{counts[found]} {found}s are there: type competition={FOLDER_OF[found]}"


def _identity(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino


def unreadable(path: Path, error: OSError) -> UserError:
    is_forbidden = error.errno in (errno.EACCES, errno.EPERM)
    advice = f"type chmod -R u+rX '{path}', or ask its owner" if is_forbidden else "copy it anew"
    skip = "leave such files out with competition.on_bad_image=skip"
    return UserError(f"{path} cannot be read ({error.strerror}): {advice}, or {skip}")


def check_name(path: Path) -> None:
    """Raises UserError for a path that is not UTF-8, as old zips and Windows shares have them."""
    check_names([str(path)])


def check_names(names: list[str]) -> None:
    """Raises UserError if some of the paths are not UTF-8."""
    strange = [n for n in names if not n.isascii() and any("\ud800" <= letter <= "\udfff" for letter in n)]
    if strange:
        some = first_three(os.fsencode(name).decode("utf-8", "backslashreplace") for name in strange)
        raise UserError(
            f"{some}: not UTF-8, as file names must be; rename them, as with "
            "convmv -r -f latin1 -t utf8 --notest FOLDER"
        )


def is_ignored(path: Path) -> bool:
    """Whether a file is a leftover of a file manager, by its name.

    >>> is_ignored(Path("Train/Pistol/desktop.ini")), is_ignored(Path("a.jpg"))
    (True, False)
    """
    return _is_leftover(path.name) or ignored_folder(path) is not None


def _is_leftover(name: str) -> bool:
    """Whether the name of a file is that of a leftover, in whatever folder."""
    name = name.lower()
    hidden = name.startswith(".") and suffix_of(name) not in MEDIA  # .gitkeep, .DS_Store; not .a.jpg
    return name in IGNORED or name.startswith(("._", "~$")) or hidden


def ignored_folder(path: Path) -> str | None:
    """Find the folder that makes a file ignored, if there is one.

    >>> ignored_folder(Path("cat/@eaDir/a.jpg")), ignored_folder(Path(".ipynb_checkpoints/a.jpg"))
    ('@eaDir', '.ipynb_checkpoints')
    """
    parts = path.parts[:-1]
    return next((part for part in parts if part.startswith(".") or part.lower() in IGNORED_FOLDERS), None)


def find_items(source: Path, kind: str, *, skip_bad: bool = False) -> tuple[Path, list[str]]:
    """(folder that names are relative to, the files of that kind in it). Raises UserError if there are none."""
    check_name(source)
    if not source.exists():
        raise UserError(f"input={source}: nothing is there; give a {kind} or a folder of them")
    if source.is_file():
        return source.parent, [source.name]
    files, _ = list_names(source, skip_bad=skip_bad)
    names = [file for file in files if suffix_of(file) in SUFFIXES[kind]]
    if not names:
        raise UserError(f"input={source} holds {len(files)} files and no {kind} ({', '.join(SUFFIXES[kind][:6])} …)")
    return source, names
