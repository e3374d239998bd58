"""The table of a competition: one row for each image, found by the competition's layout.

Everything downstream joins on `id`; nothing matches by position.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from kagglepipe.competitions.contract import Competition
from kagglepipe.competitions.source import is_ignored
from kagglepipe.errors import UserError
from kagglepipe.files import sha256

TABLE_COLUMNS = (
    "id", "split", "path", "target", "width", "height", "bytes", "format", "mode", "sha256", "phash", "group",
)  # fmt: skip


@dataclass(frozen=True)
class Listing:
    """What a layout makes of a folder's files.

    rows: id, split (`train` | `test`), path (relative to the root, posix), target (class name; None in test)
    and the user's own group (None where there is none). outside: files that the layout has no place for.
    """

    rows: pd.DataFrame
    classes: list[str]
    outside: list[str]


def list_images(files: Sequence[str], competition: Competition, root: Path) -> Listing:
    """The images among `files` (relative posix paths, sorted) by the competition's layout.

    Raises UserError when the layout is not found, a class is empty, or an id repeats.
    """
    if competition.labels is not None:
        rows, outside = _from_labels(files, competition, root)
    else:
        layout, test = competition.layout, competition.test
        if not layout:
            wrapping, layout = _guess_layout(files, competition, root)
            test = test and wrapping + test
        rows, outside = _from_folders(files, layout, test)
        _demand_classes(rows, layout)
    frame = pd.DataFrame(rows, columns=["split", "path", "target", "group"]).astype({"path": str})
    frame.insert(0, "id", [make_id(path, competition.id) for path in frame["path"]])
    _demand_unique(frame)
    found = sorted(frame.loc[frame.split == "train", "target"].unique())
    classes = competition.classes or list(found)
    if unknown := sorted(set(found) - set(classes)):
        raise UserError(f"labels {unknown[:3]} are not among competition.classes={classes}")
    if len(classes) < 2:
        raise UserError(f"only one class was found ({', '.join(classes)}): two or more are needed to tell apart")
    return Listing(frame.sort_values("id", ignore_index=True), classes, outside)


def make_id(path: str, form: str) -> str:
    """The id of the image at a relative posix path.

    >>> [make_id("Train/a.jpg", form) for form in ("name", "stem", "path")]
    ['a.jpg', 'a', 'Train/a.jpg']
    """
    pure = PurePosixPath(path)
    return {"name": pure.name, "stem": pure.stem, "path": path}[form]


def table_hash(table: pd.DataFrame) -> str:
    """Hash of what the images are (ids, bytes, labels, splits), not of where they lie."""
    table = table.sort_values("id")
    columns = (table[name].fillna("").astype(str) for name in ("id", "split", "target", "sha256"))
    return sha256(*("\0".join(row) for row in zip(*columns, strict=True)))


Row = tuple[str, str, str | None, str | None]  # split, path, target, group


def _guess_layout(files: Sequence[str], competition: Competition, root: Path) -> tuple[str, dict[str, str]]:
    """(folder around all files, class folders): those in `train/` if there is one, else those in the root."""
    tops = {f.split("/")[0] if "/" in f else "" for f in files}
    wrapping = ""
    if len(tops) == 1 and (top := tops.pop()) and top.lower() != "train" and all(f.count("/") > 1 for f in files):
        wrapping = top + "/"
    base = next((f[: len(wrapping) + 6] for f in files if f[len(wrapping) :].lower().startswith("train/")), wrapping)
    test = (competition.test or "").lower()
    below = [f[len(base) :] for f in files if f.startswith(base)]
    names = {f.split("/")[0] for f in below if "/" in f}
    if (root / base).is_dir():  # a class folder without a file shows only there
        names |= {p.name for p in (root / base).iterdir() if p.is_dir() and not p.name.startswith(".") and is_empty(p)}
    folders = sorted(name for name in names if name.lower() != test)
    if len(folders) < 2:
        raise UserError(
            f"found {len(folders)} class folders ({', '.join(folders) or 'none'}): put each class into a folder of "
            "its own, or give competition.labels=labels.csv with file,label"
        )
    return wrapping, {name: base + name for name in folders}


def is_empty(folder: Path) -> bool:
    """Whether nothing is in a folder save what file managers leave behind."""
    return all(is_ignored(Path(path.name)) for path in folder.iterdir())


def _from_folders(files: Sequence[str], layout: dict[str, str], test: str | None) -> tuple[list[Row], list[str]]:
    places: dict[tuple[str, ...], tuple[str, str | None]] = {
        tuple(folder.lower().split("/")): ("train", name) for name, folder in layout.items()
    }
    if test is not None:
        places[tuple(test.lower().split("/"))] = ("test", None)
    prefix = _wrapping_folder(files, list(places))
    rows: list[Row] = []
    outside: list[str] = []
    for file in files:
        parts = tuple(file.lower().split("/")[:-1])
        place = next((places[key] for key in places if parts[: len(prefix) + len(key)] == prefix + key), None)
        if place is None:
            outside.append(file)
        else:
            rows.append((place[0], file, place[1], None))
    if not rows:
        wanted = ", ".join((*layout.values(), *([test] if test else [])))
        some = ", ".join(files[:3]) or "no files at all"
        raise UserError(f"the layout was not found: {wanted} are needed, found {some}; see competition.source")
    return rows, outside


def _wrapping_folder(files: Sequence[str], places: list[tuple[str, ...]]) -> tuple[str, ...]:
    """The folder around the whole layout, as many zips have it: the prefix under which most files find a place."""
    counts: Counter[tuple[str, ...]] = Counter()
    for file in files:
        parts = tuple(file.lower().split("/")[:-1])
        for depth in range(min(3, len(parts) + 1)):
            if any(parts[depth : depth + len(place)] == place for place in places):
                counts[parts[:depth]] += 1
    return min(counts, key=lambda prefix: (-counts[prefix], len(prefix), prefix), default=())


def _from_labels(files: Sequence[str], competition: Competition, root: Path) -> tuple[list[Row], list[str]]:
    labels = _read_labels(root / Path(str(competition.labels)).expanduser(), competition)
    known = set(files)
    if twice := sorted(set(labels["file"][labels["file"].duplicated()])):
        raise UserError(f"{competition.labels} names {_some(twice)} more than once: keep one label a file")
    missing = [file for file in labels["file"] if file not in known]
    if missing:
        raise UserError(f"{competition.labels} names {len(missing)} files that are not there: {_some(missing)}")
    groups = [name.strip() or None for name in labels["group"]] if "group" in labels else [None] * len(labels)
    rows: list[Row] = [
        ("train", file, label, group)
        for file, label, group in zip(labels["file"], labels["label"], groups, strict=True)
    ]
    test = f"{(competition.test or '').lower()}/"
    named = {*labels["file"], competition.labels}
    rest = [file for file in files if file not in named]
    is_test = {file: len(test) > 1 and file.lower().startswith(test) for file in rest}
    tests: list[Row] = [("test", file, None, None) for file in rest if is_test[file]]
    return rows + tests, [file for file in rest if not is_test[file]]


def _read_labels(path: Path, competition: Competition) -> pd.DataFrame:
    try:
        labels = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a CSV of file,label ({error})") from error
    if not {"file", "label"} <= set(labels.columns):
        raise UserError(f"{path} has the columns {', '.join(labels.columns)}: file and label are needed")
    empty = labels.index[labels["label"].str.strip() == ""]
    if len(empty):
        raise UserError(f"{path} has no label for {_some(labels.loc[empty, 'file'])}")
    separators = labels["label"].str.contains(r"[|;]")
    if separators.any():
        raise UserError(
            f"{path}: {_some(labels.loc[separators, 'label'])} looks like several labels for one image; "
            "multi-label competitions are not supported, give one label a file"
        )
    number = pd.to_numeric(labels["label"], errors="coerce")
    if (number.notna() & (number % 1 != 0)).any():
        raise UserError(
            f"{path}: {_some(labels['label'][number % 1 != 0])} look like measurements; regression is not "
            "supported, give one class name a file"
        )
    return labels


def _demand_classes(rows: list[Row], layout: dict[str, str]) -> None:
    found = {target for _, _, target, _ in rows}
    for name, folder in layout.items():
        if name not in found:
            raise UserError(f"class {name} has no images in {folder}: put some there, or leave the class out")


def _demand_unique(frame: pd.DataFrame) -> None:
    repeated = frame[frame["id"].duplicated(keep=False)].sort_values("id")
    if len(repeated):
        first = repeated[repeated["id"] == repeated["id"].iloc[0]]
        raise UserError(
            f"{repeated['id'].nunique()} ids repeat: {first['id'].iloc[0]} is both {' and '.join(first['path'][:2])}; "
            "rename the files, or take the path as id with competition.id=path"
        )


def _some(values: Sequence[str] | pd.Series) -> str:
    values = list(values)
    return ", ".join(map(str, values[:3])) + (f" and {len(values) - 3} more" if len(values) > 3 else "")
