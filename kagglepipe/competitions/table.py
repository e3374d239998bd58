"""The table of an image competition: one row for each image. Everything downstream joins on `id`, never by position."""

import logging
from collections.abc import Sequence
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
    label_regex,
    make_id,
)
from kagglepipe.competitions.item_tables import read_labelled_rows, table_items, tables_of_items
from kagglepipe.competitions.label_tables import (
    GIVEN,
    check_labels,
    join_metadata,
    one_row_a_file,
    read_items,
    read_test_list,
    test_list,
)
from kagglepipe.competitions.labels import check_alike, check_known, clean_label, sort_classes, spell_as
from kagglepipe.competitions.layout import FolderIndex, Layout, check_layout, guess_layout, is_document
from kagglepipe.competitions.source import other_kind
from kagglepipe.errors import UserError
from kagglepipe.files import read_json, sha256
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
    files = [*files, *table_items(root, files, competition)]
    if competition.labels is not None:
        rows, outside, notes = _from_labels(files, competition, root)
        where = f"{competition.labels} has the labels"
    elif competition.label_from is not None:
        rows, outside, notes = _from_patterns(files, competition, root)
        where = f"competition.label_from={competition.label_from} gives the labels"
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
    repeated = frame[frame.duplicated(["split", "id"], keep=False)].sort_values(["split", "id"])
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


# --- labels in a table, or in the names of the files --------------------------------------------------------------


def _from_labels(files: Sequence[str], competition: CompetitionOptions, root: Path) -> Found:
    """Label images by a table; those in the test folder or list, or with that split, are the test."""
    name = str(competition.labels)
    table, notes = find_table(name, files), list[str]()
    if competition.items is not None and table == find_table(competition.items, files):
        labels = read_labelled_rows(root, str(table), competition)
    else:
        own = [one for one in GIVEN if one in competition.columns and competition.metadata is None]
        labels, notes = read_items(root, name, table, competition, "file", ("file", "label", *own))
    stored = tables_of_items(files, competition)
    listed = None if stored else test_list(competition.test, files)
    options = (name, competition.answers, competition.sample_submission, competition.metadata)
    tables = {*(find_table(option, files) for option in options if option), *stored, *([listed] if listed else [])}
    others = [file for file in files if file not in tables]
    test = None if listed else find_test_folder(others, competition.test)
    in_test = {file for file in others if in_test_folder(file, test)}
    unlikely = {file for file in others if PurePosixPath(file).suffix.lower() not in SUFFIXES["image"]}
    asked = read_test_list(root, listed, competition, FileNames(others, last=unlikely), "file") if listed else None
    if asked is not None:
        in_test = set(asked["path"])
    labels["path"] = FileNames(others, last=in_test | unlikely).paths(labels["file"], name, "image")
    known, repeated = one_row_a_file(labels, name)
    known, without = join_metadata(known, files, competition, root)
    is_test = known["path"].isin(in_test) | (known["split"] == "test")
    train = known[~is_test]
    check_labels(train, name)
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
    return [*rows, *(("test", file, None, None) for file in sorted(tests))], outside, [*notes, *repeated, *without]


def _from_patterns(files: Sequence[str], competition: CompetitionOptions, root: Path) -> Found:
    """Label images by `competition.label_from`, a pattern of their names; those of the test folder are the test."""
    pattern = label_regex(str(competition.label_from))
    pictures = [file for file in files if competition.kind != "image" or not is_document(file)]
    test = find_test_folder(pictures, competition.test)
    rows: list[Row] = []
    for file in pictures:
        match = pattern.fullmatch(PurePosixPath(file).name)
        if in_test_folder(file, test):
            rows.append(("test", file, None, None))
        elif match is not None:
            rows.append(("train", file, clean_label(match["label"]), None))
    if not any(split == "train" for split, *_ in rows):
        some = first_three(PurePosixPath(file).name for file in pictures) or "no files at all"
        raise UserError(f"no file is called as competition.label_from={competition.label_from}: there are {some}")
    placed = {path for _, path, _, _ in rows}
    return rows, [file for file in files if file not in placed], []


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
