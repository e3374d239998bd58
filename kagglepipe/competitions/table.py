"""The table of a competition: one row for each image, found by the competition's layout.

Everything downstream joins on `id`; nothing matches by position.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pandas as pd

from kagglepipe.competitions.filenames import (
    FileNames,
    find_table,
    find_test_folder,
    in_test_folder,
    read_splits,
    spelt,
)
from kagglepipe.competitions.labels import check_alike, check_known, clean_label, sort_classes, spell_as
from kagglepipe.competitions.layout import Layout, guess_layout, is_document
from kagglepipe.competitions.source import SUFFIXES, other_kind
from kagglepipe.competitions.spreadsheet import read_spreadsheet
from kagglepipe.errors import UserError
from kagglepipe.files import expanded, sha256
from kagglepipe.options import CompetitionOptions

TABLE_COLUMNS = (
    "id", "split", "path", "target", "width", "height", "bytes", "format", "mode", "sha256", "phash", "group",
)  # fmt: skip
LABEL_COLUMNS = ("file", "label", "group", "split")


@dataclass(frozen=True)
class Listing:
    """What a layout makes of a folder's files.

    rows: id, split (`train` | `test`), path (relative to the root, posix), target (class name; None in test)
    and the user's own group (None where there is none). outside: files that the layout has no place for.
    notes: what was passed over or understood otherwise than it is written, in words.
    """

    rows: pd.DataFrame
    classes: list[str]
    outside: list[str]
    notes: list[str] = field(default_factory=list)


def list_images(files: Sequence[str], competition: CompetitionOptions, root: Path) -> Listing:
    """The images among `files` (relative posix paths, sorted) by the competition's layout.

    Raises UserError when the layout is not found, a class is empty, two names of classes are too alike, or an id
    repeats.
    """
    if competition.kind == "image" and (hint := other_kind(files, "image")):
        raise UserError(f"no images are among the {len(files)} files of {root}; {hint}")
    if competition.labels is not None:
        rows, outside, notes = _from_labels(files, competition, root)
        where = f"{competition.labels} has the labels"
    else:
        rows, outside, notes = _from_folders(files, competition, root)
        where = f"{root} has the class folders"
    frame = pd.DataFrame(rows, columns=["split", "path", "target", "group"]).astype({"path": str})
    frame.insert(0, "id", [make_id(path, competition.id) for path in frame["path"]])
    _demand_unique(frame)
    found = set(frame.loc[frame.split == "train", "target"])
    if competition.classes:
        spelling = spell_as(competition.classes, found)
        frame["target"] = frame["target"].map(spelling).where(frame["target"].notna(), None)
        check_known(competition.classes, spelling.values(), f"{competition.labels}: " if competition.labels else "")
    else:
        check_alike(found, where)
    classes = competition.classes or sort_classes(found)
    if len(classes) < 2:
        raise UserError(f"only one class was found ({', '.join(classes)}): two or more are needed to tell apart")
    return Listing(frame.sort_values("id", ignore_index=True), classes, outside, notes)


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


# --- class folders ---------------------------------------------------------------------------------------------


def _from_folders(
    files: Sequence[str], competition: CompetitionOptions, root: Path
) -> tuple[list[Row], list[str], list[str]]:
    """(rows, files outside, notes) of a layout that the competition gives or, without one, is guessed."""
    pictures = [file for file in files if competition.kind != "image" or not is_document(file)]
    if competition.layout:
        tests = (competition.test,) if competition.test else ()
        layout = Layout(dict(competition.layout), tests, ())
        check_layout(layout)
    else:
        layout = guess_layout(files, pictures, competition, root)
    place = _Places(layout, pictures)
    rows: list[Row] = []
    known = set(pictures)
    outside = [file for file in files if file not in known]
    for file in pictures:
        split, name = place.of(file)
        if split is None:
            outside.append(file)
        else:
            rows.append((split, file, name, None))
    if not rows:
        wanted = ", ".join((*layout.classes.values(), *layout.tests))
        some = ", ".join(files[:3]) or "no files at all"
        raise UserError(f"the layout was not found: {wanted} are needed, found {some}; see competition.source")
    _demand_classes(rows, layout.classes)
    return rows, sorted(outside), list(layout.notes)


def check_layout(layout: Layout) -> None:
    """Raises UserError if two classes, or a class and the test, lie in one folder."""
    by_folder: dict[str, str] = {folder.casefold(): "the test" for folder in layout.tests}
    for name, folder in layout.classes.items():
        other = by_folder.setdefault(folder.casefold(), name)
        if other != name:
            raise UserError(
                f"competition.layout has {other} and {name} in one folder, {folder}: give each a folder of its own, or "
                "say which file is what, as competition.labels=labels.csv with file,label"
            )


class _Places:
    """Tells the place of a file in a layout: that of the deepest folder around it, whatever lies around all of them."""

    def __init__(self, layout: Layout, files: Sequence[str]) -> None:
        places: list[tuple[str, tuple[str, str | None]]] = [
            *((folder, ("train", name)) for name, folder in layout.classes.items()),
            *((folder, ("test", None)) for folder in layout.tests),
        ]
        self.exact = {tuple(spelt(folder).split("/")): place for folder, place in places}
        self.folded = {tuple(spelt(folder).casefold().split("/")): place for folder, place in places}
        self.prefix = _wrapping_folder(files, list(self.folded))

    def of(self, file: str) -> tuple[str | None, str | None]:
        """(`train` or `test`, class of a training image); None, None outside the layout."""
        parts = tuple(spelt(file).split("/")[:-1])
        folded = tuple(part.casefold() for part in parts)
        start = len(self.prefix)
        if folded[:start] == self.prefix:
            for end in range(len(parts), start, -1):
                place = self.exact.get(parts[start:end]) or self.folded.get(folded[start:end])
                if place is not None:
                    return place
        return None, None


def _wrapping_folder(files: Sequence[str], places: list[tuple[str, ...]]) -> tuple[str, ...]:
    """The folder around the whole layout, as many zips have it: the prefix under which most files find a place."""
    counts: Counter[tuple[str, ...]] = Counter()
    for file in files:
        parts = tuple(spelt(file).casefold().split("/")[:-1])
        for depth in range(min(3, len(parts) + 1)):
            if any(parts[depth : depth + len(place)] == place for place in places):
                counts[parts[:depth]] += 1
    return min(counts, key=lambda prefix: (-counts[prefix], len(prefix), prefix), default=())


# --- labels in a CSV -------------------------------------------------------------------------------------------


def _from_labels(
    files: Sequence[str], competition: CompetitionOptions, root: Path
) -> tuple[list[Row], list[str], list[str]]:
    """(rows, files outside, notes) of images that a CSV labels; those in the test folder are to be classified."""
    name = str(competition.labels)
    own = find_table(name, files)
    labels = _read_labels(root / expanded(own or name), competition)
    options = (name, competition.answers, competition.sample_submission)
    tables = {find_table(option, files) for option in options if option}
    others = [file for file in files if file not in tables]
    test = find_test_folder(others, competition.test)
    in_test = {file for file in others if in_test_folder(file, test)}
    unlikely = {file for file in others if PurePosixPath(file).suffix.lower() not in SUFFIXES["image"]}
    labels["path"] = FileNames(others, last=in_test | unlikely).paths(labels["file"], name, "image")
    labels["split"], notes = read_splits(labels["split"], name) if "split" in labels else (None, [])
    known, repeated = one_row_a_file(labels, name)
    is_test = known["path"].isin(in_test) | (known["split"] == "test")
    train = known[~is_test]
    _check_labels(train, name)
    if known.empty:
        raise UserError(f"{name} has no row below its header: give file and label of each image")
    if train.empty:
        raise UserError(
            f"{name} labels no image to train on, only {len(known)} that are to be classified; label others"
        )
    if is_test.any():
        notes = [*notes, f"{is_test.sum()} labels of {name} are of images to classify, and were not looked at"]
    tests = set(known["path"][is_test]) | {file for file in in_test if not is_document(file)}
    columns = (train[column].tolist() for column in ("path", "label", "group"))
    rows: list[Row] = [("train", *row) for row in zip(*columns, strict=True)]
    placed = {*train["path"], *tests, *tables}
    outside = [file for file in files if file not in placed]
    return [*rows, *(("test", file, None, None) for file in sorted(tests))], outside, [*notes, *repeated]


def one_row_a_file(labels: pd.DataFrame, table: str) -> tuple[pd.DataFrame, list[str]]:
    """(labels with one row for each path, notes). Raises UserError if rows of one file disagree."""
    repeated = labels[labels["path"].duplicated(keep=False)]
    known = labels.drop_duplicates("path").copy()
    for column in ("label", "group", "split"):
        for path, rows in repeated.groupby("path"):
            values = rows[column].dropna()
            if values.nunique() > 1:
                both = f"{values.iloc[0]} (row {values.index[0]}) and"
                other = values[values != values.iloc[0]]
                raise UserError(
                    f"{table} names {path} more than once, with the {column} {both} {other.iloc[0]} (row "
                    f"{other.index[0]}): keep one {column} a file"
                )
        given = repeated.dropna(subset=column).drop_duplicates("path").set_index("path")[column]
        known[column] = known[column].fillna(known["path"].map(given))
    again = len(labels) - len(known)
    return known, [f"{again} rows of {table} name a file a second time, and say the same"] if again else []


def _read_labels(path: Path, competition: CompetitionOptions) -> pd.DataFrame:
    """file, label, group (None where there is none) and, where the CSV has it, split, indexed by row in the file."""
    if not path.is_file():
        raise UserError(f"there is no {path}{where_else(competition.labels)}")
    columns = {ours: competition.columns.get(ours, ours) for ours in LABEL_COLUMNS}
    named = [ours for ours in ("group", "split") if ours in competition.columns]  # which may be missing otherwise
    labels = read_spreadsheet(path, columns, ("file", "label", *named))
    labels["label"] = labels["label"].map(clean_label)
    groups = labels["group"] if "group" in labels else pd.Series("", index=labels.index)
    labels["group"] = groups.astype(object).where(groups != "", None)
    return labels


def where_else(name: str | None, option: str = "labels") -> str:
    """What to do about a CSV that is not in the source; it may lie where the command was typed."""
    here = expanded(name or "").absolute()
    if name and here.is_file():
        return f", where competition.source is: for the one here type competition.{option}={here}"
    return f": add it, or type where it is, as competition.{option}=PATH, absolute or seen from competition.source"


def _check_labels(labels: pd.DataFrame, path: str) -> None:
    """Raises UserError for images to train on that have no label, several or a measurement."""
    empty = labels["label"] == ""
    if empty.any():
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
