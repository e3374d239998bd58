"""The table of an image competition: one row for each image. Everything downstream joins on `id`, never by position."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from kagglepipe.competitions.filenames import (
    SUFFIXES,
    FileNames,
    find_table,
    find_test_folder,
    in_test_folder,
    make_id,
    read_splits,
)
from kagglepipe.competitions.labels import check_alike, check_known, clean_label, sort_classes, spell_as
from kagglepipe.competitions.layout import FolderIndex, Layout, check_layout, guess_layout, is_document
from kagglepipe.competitions.source import other_kind
from kagglepipe.competitions.spreadsheet import read_spreadsheet
from kagglepipe.errors import UserError
from kagglepipe.files import expanded, read_json, sha256
from kagglepipe.options import CompetitionOptions
from kagglepipe.text import first_three

log = logging.getLogger(__name__)
TABLE_COLUMNS = (
    "id", "split", "path", "target", "width", "height", "bytes", "format", "mode", "sha256", "phash", "group",
)  # fmt: skip
Row = tuple[str, str, str | None, str | None]  # split, path, target, group
Found = tuple[list[Row], list[str], list[str]]  # rows, files outside, notes


@dataclass(frozen=True)
class Listing:
    """Images of a competition.

    rows: id, split (`train` | `test`), path (relative to the root, posix), target (class name; None in test) and the
    user's own group (None where there is none). outside: files that belong to no part of the competition. notes: what
    was left out or interpreted, for the log.
    """

    rows: pd.DataFrame
    classes: list[str]
    outside: list[str]
    notes: list[str] = field(default_factory=list)


def list_images(files: Sequence[str], competition: CompetitionOptions, root: Path) -> Listing:
    """Find the images among `files` (relative posix paths, sorted), with labels from a CSV or from class folders.

    Raises UserError when the layout is not found, a class is empty, two class names are too alike, or an id repeats.
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
    _check_unique(frame)
    found = set(frame.loc[frame.split == "train", "target"])
    if competition.classes:
        spelling = spell_as(competition.classes, found)
        frame["target"] = frame["target"].map(spelling).where(frame["target"].notna(), None)
        check_known(competition.classes, spelling.values(), f"{competition.labels}: " if competition.labels else "")
    else:
        check_alike(found, where)
    classes = competition.classes or sort_classes(found)
    check_two_classes(classes)
    return Listing(frame.sort_values("id", ignore_index=True), classes, outside, notes)


def check_two_classes(classes: Sequence[str]) -> None:
    """Raises UserError for fewer than two classes."""
    if len(classes) < 2:
        raise UserError(f"only one class was found ({', '.join(classes)}): two or more are needed")


def table_hash(table: pd.DataFrame) -> str:
    """Hash ids, bytes, labels and splits of the images, not their paths."""
    table = table.sort_values("id")
    columns = (table[name].fillna("").astype(str) for name in ("id", "split", "target", "sha256"))
    return sha256(*("\0".join(row) for row in zip(*columns, strict=True)))


def _check_unique(frame: pd.DataFrame) -> None:
    repeated = frame[frame["id"].duplicated(keep=False)].sort_values("id")
    if len(repeated):
        first = repeated[repeated["id"] == repeated["id"].iloc[0]]
        raise UserError(
            f"{repeated['id'].nunique()} ids repeat: {first['id'].iloc[0]} is both {' and '.join(first['path'][:2])}; "
            "rename the files, or take the path as id with competition.id=path"
        )


# --- class folders ---------------------------------------------------------------------------------------------


def _from_folders(files: Sequence[str], competition: CompetitionOptions, root: Path) -> Found:
    """Label images by the folder they are in; the layout is the competition's or, without one, guessed."""
    pictures = [file for file in files if competition.kind != "image" or not is_document(file)]
    if competition.layout:
        layout = Layout(dict(competition.layout), (competition.test,) if competition.test else ())
        check_layout(layout)
    else:
        layout = guess_layout(files, pictures, competition, root)
    index = FolderIndex(layout, pictures)
    places = [(file, *index.find(file)) for file in pictures]
    rows: list[Row] = [(split, file, name, None) for file, split, name in places if split is not None]
    if not rows:
        wanted = ", ".join((*layout.classes.values(), *layout.tests))
        some = first_three(files) or "no files at all"
        raise UserError(f"the layout was not found: {wanted} are needed, found {some}; see competition.source")
    found = {target for _, _, target, _ in rows}
    for name, folder in layout.classes.items():
        if name not in found:
            raise UserError(f"class {name} has no images in {folder}: put some there, or leave the class out")
    placed = {path for _, path, _, _ in rows}
    return rows, sorted(file for file in files if file not in placed), list(layout.notes)


# --- labels in a CSV -------------------------------------------------------------------------------------------


def _from_labels(files: Sequence[str], competition: CompetitionOptions, root: Path) -> Found:
    """Label images by a CSV; those in the test folder, or with that split, are the test."""
    name = str(competition.labels)
    named = [ours for ours in ("group", "split") if ours in competition.columns]
    labels, notes = read_items(root, name, find_table(name, files), competition, "file", ("file", "label", *named))
    options = (name, competition.answers, competition.sample_submission)
    tables = {find_table(option, files) for option in options if option}
    others = [file for file in files if file not in tables]
    test = find_test_folder(others, competition.test)
    in_test = {file for file in others if in_test_folder(file, test)}
    unlikely = {file for file in others if PurePosixPath(file).suffix.lower() not in SUFFIXES["image"]}
    labels["path"] = FileNames(others, last=in_test | unlikely).paths(labels["file"], name, "image")
    known, repeated = _one_row_a_file(labels, name)
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


def read_items(
    root: Path, name: str, file: str | None, competition: CompetitionOptions, item: str, needed: Collection[str]
) -> tuple[pd.DataFrame, list[str]]:
    """Read (a CSV about items, notes), indexed by row in the file.

    The columns are `item` and those of label, start and end that the CSV has, group (None where there is none) and
    split (`train`, `test` or None). name: the CSV as the competition names it. file: where it is, relative to the root.
    item: `file` or `video`. needed: required columns.
    """
    path = root / expanded(file or name)
    if not path.is_file():
        raise UserError(f"there is no {path}{_advice(competition, name)}")
    ours = (item, "label", "group", "split", *(("start", "end") if item == "video" else ()))
    table = read_spreadsheet(path, {one: competition.columns.get(one, one) for one in ours}, list(needed))
    if "label" in table:
        table["label"] = table["label"].map(clean_label)
    groups = table["group"] if "group" in table else pd.Series("", index=table.index)
    table["group"] = groups.astype(object).where(groups != "", None)
    table["split"], notes = read_splits(table["split"], name) if "split" in table else (None, [])
    return table, notes


def _advice(competition: CompetitionOptions, name: str) -> str:
    """Say what to do about a missing CSV, which may be in the current folder instead of the source."""
    here, option = expanded(name).absolute(), "labels" if name == competition.labels else "files"
    if here.is_file():
        return f", where competition.source is: for the one here type competition.{option}={here}"
    if competition.kind == "video" and competition.finds_segments:
        return "; to begin one, type: python -m kagglepipe annotations input=FOLDER"
    return f": add it, or type where it is, as competition.{option}=PATH, absolute or seen from competition.source"


def _one_row_a_file(labels: pd.DataFrame, table: str) -> tuple[pd.DataFrame, list[str]]:
    """Merge the rows of each path: (labels, notes). Raises UserError if they disagree."""
    repeated = labels[labels["path"].duplicated(keep=False)]
    known = labels.drop_duplicates("path").copy()
    for column in ("label", "group", "split"):
        for path, rows in repeated.groupby("path"):
            values = rows[column].dropna()
            if values.nunique() > 1:
                other = values[values != values.iloc[0]]
                raise UserError(
                    f"{table} names {path} more than once, with the {column} {values.iloc[0]} (row {values.index[0]}) "
                    f"and {other.iloc[0]} (row {other.index[0]}): keep one {column} a file"
                )
        given = repeated.dropna(subset=column).drop_duplicates("path").set_index("path")[column]
        known[column] = known[column].fillna(known["path"].map(given))
    again = len(labels) - len(known)
    return known, [f"{again} rows of {table} name a file a second time, and say the same"] if again else []


def _check_labels(labels: pd.DataFrame, path: str) -> None:
    """Raises UserError for training images that have no label, several or a measurement."""
    empty = labels["label"] == ""
    if empty.any():
        raise UserError(f"{path} has no label for {first_three(labels.loc[empty, 'file'])}")
    separators = labels["label"].str.contains(r"[|;]")
    if separators.any():
        raise UserError(
            f"{path}: {first_three(labels.loc[separators, 'label'])} looks like several labels for one image; "
            "multi-label competitions are not supported, give one label a file"
        )
    number = pd.to_numeric(labels["label"], errors="coerce")
    if (number.notna() & (number % 1 != 0)).any():
        raise UserError(
            f"{path}: {first_three(labels['label'][number % 1 != 0])} look like measurements; regression is not "
            "supported, give one class name a file"
        )


def unreadable_rows(listed: pd.DataFrame, usable: "pd.Series[str]", reasons: list[str]) -> list[dict[str, str]]:
    """List id, path and reason of the test items that cannot be read; a submission needs an answer for each.

    listed: id, path and split of all files. usable: paths of the readable ones. reasons: `<path>: why` of the others,
    in their order.
    """
    lost = listed[~listed["path"].isin(usable)]
    rows = zip(lost["id"], lost["path"], lost["split"], reasons, strict=True)
    return [
        {"id": id, "path": path, "why": why.removeprefix(f"{path}: ")}
        for id, path, split, why in rows
        if split == "test"
    ]


def warn_of_unreadable(rows: list[dict[str, str]], competition: CompetitionOptions) -> None:
    """Log test items that cannot be read, and their answer in a submission."""
    if rows:
        some = first_three(one["path"] for one in rows)
        answer = "have no segment" if competition.finds_segments else "get the class shares of those to train on"
        log.warning("prepare: %d of them are to classify, and will %s: %s", len(rows), answer, some)


def warn_of_other_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Log that a table of other settings, or of another competition, is replaced."""
    file = folder / "prepared.json"
    if not file.exists():
        return
    known = read_json(file)["settings"]
    other = [name for name, value in settings.items() if name in known and known[name] != value and name != "decoder"]
    if other:
        changed = first_three(f"{name} {known[name]} then, {settings[name]} now" for name in other)
        log.warning(
            "prepare: %s was prepared with other settings (%s) and is made again; two competitions over one folder "
            "stay side by side with competition.slug=NAME for each", folder, changed,
        )  # fmt: skip


def bad_files(bad: list[str]) -> UserError:
    """An error about files that cannot be decoded."""
    mend = "mend or remove it, or leave such files out with competition.on_bad_image=skip"
    return UserError(f"{first_with_count(bad)}; {mend}")


def first_with_count(bad: list[str]) -> str:
    """The first, and how many more: `a.mp4: no frames (and 3 more)`."""
    return bad[0] + (f" (and {len(bad) - 1} more)" if len(bad) > 1 else "")
