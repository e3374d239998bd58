"""The table of an image competition: one row for each image. Everything downstream joins on `id`, never by position."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from kagglepipe.competitions.filenames import (
    IMAGES,
    SUFFIXES,
    FileNames,
    find_table,
    find_test_folder,
    format_rank,
    in_test_folder,
    label_regex,
    make_id,
)
from kagglepipe.competitions.group_names import with_named_groups
from kagglepipe.competitions.item_tables import read_labelled_rows, table_items
from kagglepipe.competitions.label_tables import (
    GIVEN,
    check_labels,
    one_row_a_file,
    read_items,
    with_all_tags,
    with_files,
    with_labels,
)
from kagglepipe.competitions.labels import absent_note, check_order, clean_label, known_classes
from kagglepipe.competitions.layout import FolderIndex, Layout, check_layout, guess_layout, pictures_of
from kagglepipe.competitions.metadata import join_metadata
from kagglepipe.competitions.source import other_kind
from kagglepipe.competitions.targets import names_in, read_targets, spell_targets, target_names
from kagglepipe.competitions.test_lists import read_tests, tables_of
from kagglepipe.errors import UserError
from kagglepipe.files import read_json, sha256
from kagglepipe.options import CompetitionOptions
from kagglepipe.text import first_three

log = logging.getLogger(__name__)
TABLE_COLUMNS = (
    "id", "split", "path", "target", "width", "height", "bytes", "format", "mode", "sha256", "phash", "group",
)  # fmt: skip
ROW_COLUMNS = ["id", "split", "path", "target", "group", "fold", "answer_id"]
Found = tuple[pd.DataFrame, list[str], list[str]]  # rows with some of ROW_COLUMNS, files outside, notes


@dataclass(frozen=True)
class Listing:
    """Images of a competition.

    rows: id, split (`train` | `test`), path (relative to the root, posix), target (class name; None in test) and the
    user's own group (None where there is none) and, where there are any, fold, as it is written, and answer_id, the
    row of the submission. outside: files that belong to no part of the competition. notes: what was left out or
    interpreted, for the log.
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
    frame = rows.reindex(columns=ROW_COLUMNS).astype({"path": str})
    frame["id"] = item_ids(frame, competition)
    is_train = frame["split"] == "train"
    frame["group"] = with_named_groups(frame["group"], frame["path"].where(is_train, ""), competition)
    frame, copies = _without_other_formats(frame)
    _check_unique(frame, competition)
    frame = frame.drop(columns=[one for one in ("fold", "answer_id") if frame[one].isna().all()])
    is_train = frame["split"] == "train"
    name = str(competition.labels or root)
    frame["target"] = read_targets(frame.loc[is_train, "target"], name, competition).reindex(frame.index)
    frame["target"] = frame["target"].astype(object).where(is_train, None)
    classes = target_names(frame.loc[is_train, "target"], where, competition)
    if competition.classes and competition.task != "regression":
        frame["target"] = spell_targets(frame["target"], competition.classes, competition.task)
        where = f"{competition.labels}: " if competition.labels else ""
        found = names_in(frame.loc[is_train, "target"], competition.task)
        classes = known_classes(competition.classes, found, where, form=competition.form)
        notes = [*notes, *absent_note(competition.classes, classes)]
    check_outputs(classes, frame.loc[is_train, "target"], competition)
    if copies:
        notes = [*notes, f"{len(copies)} images to classify are there in a second format: {first_three(copies)}"]
    return Listing(frame.sort_values(["id", "split"], ignore_index=True), classes, [*outside, *copies], notes)


def item_ids(rows: pd.DataFrame, competition: CompetitionOptions) -> list[str]:
    """The id of each row (path and id): by competition.id or, where a table gives none, the stem."""
    if competition.id == "column":
        return [
            id if isinstance(id, str) else make_id(path, "stem")
            for id, path in zip(rows["id"], rows["path"], strict=True)
        ]
    return [make_id(path, competition.id) for path in rows["path"]]


def check_outputs(classes: Sequence[str], targets: "pd.Series[str]", competition: CompetitionOptions) -> None:
    """Raises UserError for fewer than two classes, numbers that are all the same, and an order that is not known."""
    if competition.task == "regression":
        if targets.nunique() < 2:
            raise UserError(f"all numbers to learn are {targets.iloc[0]}: two or more different ones are needed")
    elif len(classes) < 2:
        raise UserError(f"only one class was found ({', '.join(classes)}): two or more are needed")
    if competition.task == "ordinal" and not competition.classes:
        check_order(classes)


def table_hash(table: pd.DataFrame) -> str:
    """Hash ids, bytes, labels and splits of the images, not their paths."""
    table = table.sort_values(["id", "split"])  # an id may be in both
    columns = (table[name].fillna("").astype(str) for name in ("id", "split", "target", "sha256"))
    return sha256(*("\0".join(row) for row in zip(*columns, strict=True)))


def _without_other_formats(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """(the rows without test images whose id an image in a better format has, too; the paths of those)."""
    ranks = frame["path"].map(format_rank)
    best = ranks.groupby([frame["split"], frame["id"]]).transform("min")
    is_copy = (frame["split"] == "test") & (ranks > best)
    return frame[~is_copy], sorted(frame["path"][is_copy])


def _check_unique(frame: pd.DataFrame, competition: CompetitionOptions) -> None:
    repeated = frame[frame.duplicated(["split", "id"], keep=False)].sort_values(["split", "id"])
    if len(repeated):
        first = repeated[repeated["id"] == repeated["id"].iloc[0]]
        mend = "rename the files, or take the path as id with competition.id=path"
        if competition.id == "column":
            mend = f"mend the column {competition.column('id')}, or type competition.id=path"
        both = " and ".join(first["path"][:2])
        raise UserError(f"{repeated['id'].nunique()} ids repeat: {first['id'].iloc[0]} is both {both}; {mend}")


def _from_folders(files: Sequence[str], competition: CompetitionOptions, root: Path) -> Found:
    """Label images by the folder they are in; the layout is the competition's or, without one, guessed."""
    pictures, asked = _items_and_tests(files, competition, root)
    if competition.layout:
        folders = (competition.test,) if competition.test and asked.empty else ()
        layout = Layout(dict(competition.layout), folders)
        check_layout(layout)
    else:
        layout = guess_layout(files, pictures, competition, root)
    index = FolderIndex(layout, pictures)
    found = [(file, *index.find(file)) for file in pictures]
    places = [(split, file, name) for file, split, name in found if split is not None]
    if not places:
        wanted = ", ".join((*layout.classes.values(), *layout.tests))
        some = first_three(files) or "no files at all"
        raise UserError(f"the layout was not found: {wanted} are needed, found {some}; see competition.source")
    filled = {target for _, _, target in places}
    for name, folder in layout.classes.items():
        if name not in filled:
            raise UserError(f"class {name} has no images in {folder}: put some there, or leave the class out")
    rows, outside, notes = _with_metadata(places, asked, files, competition, root)
    return rows, outside, [*layout.notes, *notes]


def _items_and_tests(
    files: Sequence[str], competition: CompetitionOptions, root: Path
) -> tuple[list[str], pd.DataFrame]:
    """(the items among `files` that no list of the test names, the list: path and, for competition.id=column, id)."""
    tables = set(tables_of(files, competition))
    items = [file for file in files if file not in tables]
    items = pictures_of(items) if competition.kind == "image" else items
    suffixes = IMAGES if competition.kind == "image" else SUFFIXES[competition.kind]
    asked = read_tests(root, files, competition, FileNames(items, suffixes=suffixes))
    if asked is None:
        return items, pd.DataFrame({"path": pd.Series([], dtype=str)})
    listed = set(asked["path"])
    return [file for file in items if file not in listed], asked


def _with_metadata(
    rows: list[tuple[str, str, str | None]],
    asked: pd.DataFrame,
    files: Sequence[str],
    competition: CompetitionOptions,
    root: Path,
) -> Found:
    """Rows with group and fold of competition.metadata, which may also move them to the test, and the listed tests.

    rows: split, path and target of each item. asked: as of `_items_and_tests`.
    """
    frame = pd.DataFrame(rows, columns=["split", "path", "target"]).assign(group=None, fold=None)
    is_train = frame["split"] == "train"
    train, notes = join_metadata(frame[is_train].assign(split=None), files, competition, root)
    moved = train["split"] == "test"
    train["split"], train["target"] = np.where(moved, "test", "train"), train["target"].where(~moved, None)
    found = pd.concat([train, frame[~is_train], asked.assign(split="test")], ignore_index=True)
    placed = {*found["path"], *tables_of(files, competition)}
    return found, sorted(file for file in files if file not in placed), notes


def _from_labels(files: Sequence[str], competition: CompetitionOptions, root: Path) -> Found:
    """Label images by a table; those in the test folder or list, or with that split, are the test."""
    name = str(competition.labels)
    table = find_table(name, files)
    if competition.items is not None and table == find_table(competition.items, files):
        labels, notes = read_labelled_rows(root, str(table), competition)
    else:
        own = [one for one in GIVEN if competition.columns.get(one) and competition.metadata is None]
        labels, notes = read_items(root, name, table, competition, "file", ("file", "label", *own))
    tables = set(tables_of(files, competition))
    others = [file for file in files if file not in tables]
    asked = read_tests(root, files, competition, FileNames(others, suffixes=IMAGES))
    if asked is None:
        test = find_test_folder(others, competition.test)
        asked = pd.DataFrame({"path": [file for file in pictures_of(others) if in_test_folder(file, test)]}, dtype=str)
    names = FileNames(others, last=set(asked["path"]), suffixes=IMAGES)
    labels, missing = with_files(labels, names, "file", name, competition)
    known, repeated = one_row_a_file(with_all_tags(labels, competition, ["path"]), name, competition)
    known, without = join_metadata(known, files, competition, root)
    is_test = known["path"].isin(asked["path"]) | (known["split"] == "test")
    train, unlabelled = with_labels(known[~is_test], name, competition)
    check_labels(train, name, competition)
    if known.empty:
        raise UserError(f"{name} has no row below its header: give file and label of each image")
    if train.empty:
        raise UserError(f"{name} labels no image to train on, only {len(known)} to be classified; label others")
    if is_test.any():
        notes = [*notes, f"{is_test.sum()} labels of {name} are of images to classify, and were not looked at"]
    tests = pd.concat([asked, known[is_test]]).drop_duplicates("path")
    train, tests = train.assign(split="train", target=train["label"]), tests.assign(split="test", target=None)
    rows = pd.concat([train, tests.assign(group=None, fold=None)]).reindex(columns=ROW_COLUMNS)
    placed = {*rows["path"], *tables}
    return rows, [file for file in files if file not in placed], [*notes, *missing, *repeated, *unlabelled, *without]


def _from_patterns(files: Sequence[str], competition: CompetitionOptions, root: Path) -> Found:
    """Label images by `competition.label_from`, a pattern of their names; those of the test folder are the test."""
    pattern = label_regex(str(competition.label_from))
    pictures, asked = _items_and_tests(files, competition, root)
    test = find_test_folder(pictures, competition.test) if asked.empty else None
    rows: list[tuple[str, str, str | None]] = []
    for file in pictures:
        match = pattern.fullmatch(PurePosixPath(file).name)
        if in_test_folder(file, test):
            rows.append(("test", file, None))
        elif match is not None:
            rows.append(("train", file, clean_label(match["label"])))
    if not any(split == "train" for split, *_ in rows):
        some = first_three(PurePosixPath(file).name for file in pictures) or "no files at all"
        raise UserError(f"no file is called as competition.label_from={competition.label_from}: there are {some}")
    return _with_metadata(rows, asked, files, competition, root)


def unreadable_rows(listed: pd.DataFrame, usable: "pd.Series[str]", reasons: list[str]) -> list[dict[str, str]]:
    """List id, path and reason of the test items that cannot be read; a submission needs an answer for each.

    listed: id, path and split of all files. usable: paths of the readable ones. reasons: `<path>: why` of the others,
    in their order.
    """
    are_usable = set(usable)
    lost = listed[[path not in are_usable for path in listed["path"]]]
    ids = lost["answer_id"] if "answer_id" in lost else lost["id"]
    rows = zip(ids, lost["path"], lost["split"], reasons, strict=True)
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
    pairs = {name: (known.get(name), settings.get(name)) for name in {**known, **settings} if name != "decoder"}
    if other := {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}:
        changed = first_three(f"{name} {a} then, {b} now" for name, (a, b) in other.items())
        log.warning(
            "prepare: %s was prepared with other settings (%s) and is made again; two competitions over one folder "
            "stay side by side with competition.slug=NAME for each", folder, changed,
        )  # fmt: skip


def bad_files(bad: list[str]) -> UserError:
    """Make an error about files that cannot be decoded."""
    mend = "mend or remove it, or leave such files out with competition.on_bad_image=skip"
    return UserError(f"{first_with_count(bad)}; {mend}")


def first_with_count(bad: list[str]) -> str:
    """Name the first, and how many more: `a.mp4: no frames (and 3 more)`."""
    return bad[0] + (f" (and {len(bad) - 1} more)" if len(bad) > 1 else "")
