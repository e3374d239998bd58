"""Folders in which images or clips are still packed, as Kaggle's older competitions have train.zip and test.zip."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from kagglepipe.competitions.archive import Limits, unpack_inner
from kagglepipe.competitions.filenames import MEDIA, split_of, suffix_of
from kagglepipe.errors import UserError

TABLES = {".csv", ".npz", ".npy"}  # of series, but also tables of labels
OTHER_ARCHIVES = (".7z", ".rar", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tbz2", ".txz")


def packed(files: Sequence[str], suffixes: Sequence[str] = (".zip",)) -> list[str]:
    """The archives among files that hold what a folder lacks: all media, or a split whose sibling has a folder.

    >>> packed(["train.csv", "train.zip", "test.zip"]), packed(["train/1.jpg", "test.zip"])
    (['train.zip', 'test.zip'], ['test.zip'])
    >>> packed(["cat/1.jpg", "dog/1.jpg", "everything.zip"]), packed(["train/1.jpg", "test/2.jpg", "test.zip"])
    ([], [])
    """
    archives = [file for file in files if file.lower().endswith(tuple(suffixes))]
    if not archives:
        return []
    kinds = MEDIA - TABLES
    media = [PurePosixPath(file) for file in files if suffix_of(file) in kinds]
    if not media:
        return archives
    splits = {split for path in media for part in path.parts[:-1] if (split := split_of(part))}
    named = {file: split_of(PurePosixPath(file).name.split(".")[0]) for file in archives}
    return [file for file in archives if splits and named[file] and named[file] not in splits]


def check_unpacked(files: Sequence[str]) -> None:
    """Raise UserError for an archive that holds what is needed and was not unpacked."""
    if others := packed(files, OTHER_ARCHIVES):
        raise UserError(
            f"{others[0]} is packed in a way that is not read: unpack it beside the others, and give the folder as "
            "competition.source=FOLDER"
        )
    if zips := packed(files):
        raise UserError(
            f"{zips[0]} was not unpacked, since it is encrypted or no zip: unpack it beside the others, and give the "
            "folder as competition.source=FOLDER"
        )


def unpack_folder(source: Path, names: Sequence[str], folder: Path, limits: Limits) -> list[str]:
    """Link the files of `source` into `folder`, new, and unpack the zips among them there; returns all names.

    names: of the files, relative to `source`.
    Raises ArchiveError and UserError as `extract_zip`.
    """
    folder.mkdir(parents=True)
    for name in names:
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((source / name).absolute())
    zips = packed(names)
    others = [name for name in names if name not in zips]
    return others + unpack_inner(source, zips, folder, limits)
