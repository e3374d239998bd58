"""Where a competition's bytes come from, and whether they are still the bytes that were prepared."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kagglepipe.errors import UserError
from kagglepipe.files import file_sha256, sha256

IGNORED = {"desktop.ini", "thumbs.db", ".ds_store"}  # what file managers leave behind, in lower case
IGNORED_FOLDER = "__macosx"


@dataclass(frozen=True)
class Source:
    """A source as it was when it was taken.

    kind: `zip`, `folder`, `kaggle` or `sample`. path: where it was, "" for the sample. stat: quick to compare: hash of
    names, sizes and times; of Kaggle's what its storage tells (transfer.Remote as JSON). content: hash of the bytes.
    """

    kind: str
    path: str
    stat: str
    content: str

    @classmethod
    def read(cls, fields: dict[str, Any]) -> "Source":
        """A source as it was kept, by whatever version: what else is there is left aside."""
        return cls(**{name: str(fields.get(name, "")) for name in cls.__dataclass_fields__})

    def as_json(self) -> dict[str, Any]:
        """The fields as a dictionary."""
        return asdict(self)


def describe(path: Path, known: Source | None = None) -> Source:
    """The source at `path`, a zip or a folder; its bytes are read only if its stat differs from `known`'s.

    Raises UserError if there is nothing at `path`.
    """
    if not path.exists():
        raise UserError(f"nothing is at {path}: give a zip or a folder, as competition.source=PATH")
    kind = "folder" if path.is_dir() else "zip"
    files = image_files(path)[0] if kind == "folder" else [path]
    rows = [(file.relative_to(path).as_posix(), file.stat()) for file in files]
    stat = sha256(*(f"{name}\0{s.st_size}\0{s.st_mtime_ns}" for name, s in rows))
    if known is not None and (known.kind, known.stat) == (kind, stat):
        return replace(known, path=str(path))
    if kind == "zip":
        return Source(kind, str(path), stat, file_sha256(path))
    content = sha256(*(part for file, (name, _) in zip(files, rows, strict=True) for part in (name, file_sha256(file))))
    return Source(kind, str(path), stat, content)


def image_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """(files, ignored files) below `folder`, each sorted; ignored are those that file managers leave behind."""
    files: list[Path] = []
    ignored: list[Path] = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            (ignored if is_ignored(path.relative_to(folder)) else files).append(path)
    return files, ignored


def is_ignored(path: Path) -> bool:
    """Whether a file is a file manager's leftover, judged by its name alone.

    >>> is_ignored(Path("Train/Pistol/desktop.ini")), is_ignored(Path("a.jpg"))
    (True, False)
    """
    name = path.name.lower()
    parts = [part.lower() for part in path.parts]
    hidden = any(part.startswith(".") for part in parts[:-1])  # .ipynb_checkpoints is no class
    return name in IGNORED or name.startswith("._") or IGNORED_FOLDER in parts or hidden
