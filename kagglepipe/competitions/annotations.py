"""Labels of videos and series: files, groups, and what happens when.

A unit, one row of the table, is scored: a whole clip, an annotated segment of one, or a frame of a long video.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from kagglepipe.competitions.filenames import SUFFIXES, FileNames, find_table, find_test_folder, in_test_folder, make_id
from kagglepipe.competitions.item_tables import table_items, tables_of_items
from kagglepipe.competitions.label_tables import join_metadata, read_items, read_test_list, test_list
from kagglepipe.competitions.labels import check_alike, sort_classes, spell_as, spelling_hint
from kagglepipe.competitions.source import other_kind
from kagglepipe.competitions.spreadsheet import read_cells
from kagglepipe.competitions.table import check_two_classes, list_images
from kagglepipe.errors import UserError
from kagglepipe.files import expanded
from kagglepipe.options import CompetitionOptions

SEGMENT_COLUMNS = ["video", "start", "end", "label"]
LABEL_COLUMNS = (*SEGMENT_COLUMNS, "group", "split")
ANSWERS = (  # columns of a series that are no channels
    "label", "labels", "target", "targets", "class", "classes", "ytrue", "groundtruth", "group", "split", "fold",
    "video",
)  # fmt: skip


@dataclass(frozen=True)
class Catalogue:
    """Videos or series of a competition, with their labels.

    files: one row an item, sorted: video (its id), path (relative to the root, posix), split (`train` | `test`), group
    (None where there is none). labels: video, start, end, label; start and end are NaN where a label is of the whole
    item. outside: files that belong to no part of the competition. notes: repairs and omissions, for the log.
    """

    files: pd.DataFrame
    labels: pd.DataFrame
    classes: list[str]
    outside: list[str]
    notes: list[str]


def list_items(files: Sequence[str], competition: CompetitionOptions, root: Path) -> Catalogue:
    """Find the items among `files` (relative posix paths, sorted) and their labels.

    Raises UserError if no file is of the kind, for a wrong row of a CSV (no such file, two such files, times reversed
    or not numbers, unknown labels, groups that disagree), and as `list_images` for class folders.
    """
    suffixes = SUFFIXES[competition.kind]
    stored = tables_of_items(files, competition)
    files = [*files, *table_items(root, files, competition)]
    listed = None if stored else test_list(competition.test, files)
    tables = (competition.labels, competition.files, competition.answers, competition.sample_submission,
              competition.metadata, listed)  # fmt: skip
    special = {*(find_table(name, files) for name in tables if name), *stored}
    others = [f for f in files if f not in special]
    found = [f for f in others if PurePosixPath(f).suffix.lower() in suffixes]
    outside = [f for f in others if PurePosixPath(f).suffix.lower() not in suffixes]
    if not found:
        wanted = f"{competition.noun} ({', '.join(suffixes[:6])})"
        hint = other_kind(others, competition.kind) or "is competition.source right?"
        raise UserError(f"no {wanted} are among the {len(files)} files of {root}; {hint}")
    if competition.labels is None:
        return _from_folders(found, outside, competition, root)
    own = {name: find_table(name, files) or name for name in tables[:2] if name}
    catalogue = _from_tables(found, outside, competition, root, own, listed)
    joined, notes = join_metadata(catalogue.files.assign(fold=None), files, competition, root)
    return replace(catalogue, files=joined.drop(columns="fold"), notes=[*catalogue.notes, *notes])


def _from_folders(found: list[str], outside: list[str], competition: CompetitionOptions, root: Path) -> Catalogue:
    """Label whole clips by the folder they are in."""
    listing = list_images(found, competition, root)
    files = listing.rows.rename(columns={"id": "video"})
    train = files[files["split"] == "train"]
    labels = pd.DataFrame({"video": train["video"], "start": np.nan, "end": np.nan, "label": train["target"]})
    columns = ["video", "path", "split", "group"]
    outside = outside + listing.outside
    return Catalogue(files[columns], labels.reset_index(drop=True), listing.classes, outside, listing.notes)


def _from_tables(
    found: list[str],
    outside: list[str],
    competition: CompetitionOptions,
    root: Path,
    tables: Mapping[str, str],
    listed: str | None,
) -> Catalogue:
    """Label items by CSVs; those in the test folder or list, or with that split, are the test.

    tables: name of a CSV in the competition -> its path. listed: the list of test items, if there is one.
    """
    if listed is not None:
        asked = read_test_list(root, listed, competition, FileNames(found), "video")
        in_test = set(asked["path"])
    else:
        test = find_test_folder(found, competition.test)
        in_test = {path for path in found if in_test_folder(path, test)}
    names = FileNames(found, last=in_test)
    labels, split_notes = _read_labels(root, competition, tables)
    empty = labels["label"] == ""
    labels = labels[~empty]
    labels = labels.assign(path=names.paths(labels["video"], str(competition.labels)))
    known, file_notes = _read_files(root, competition, names, tables)
    _check_columns(root, competition, tables)
    files, unlisted = _files(found, labels, competition, known, in_test)
    labels = labels.assign(video=labels["path"].map(dict(zip(files["path"], files["video"], strict=True))))
    groups = _one_each(labels, "group", competition)
    files["group"] = [groups.get(path, group) for path, group in zip(files["path"], files["group"], strict=True)]
    is_test = labels["video"].isin(files.loc[files["split"] == "test", "video"])
    unlabelled = (files["split"] == "train") & ~files["video"].isin(labels["video"])
    taken = f": taken as {competition.background} from start to end"
    counts = {
        f"rows of {competition.labels} have no label yet and were passed over": empty,
        f"labels of {competition.labels} are of videos to classify, and were not looked at": is_test,
        f"videos to train on have no label{taken if competition.finds_segments else ' and were left out'}": unlabelled,
    }
    idle = (labels["label"] == competition.background) & competition.finds_segments  # the default
    labels = labels[~is_test & ~idle]
    labels = labels.assign(label=labels["label"].map(spell_as(competition.classes, labels["label"])))
    return Catalogue(
        files.sort_values("video", ignore_index=True),
        labels[SEGMENT_COLUMNS].reset_index(drop=True),
        _classes(labels["label"], competition),
        sorted(outside + unlisted),
        [*split_notes, *file_notes, *(f"{rows.sum()} {words}" for words, rows in counts.items() if rows.any())],
    )


def _files(
    found: list[str],
    labels: pd.DataFrame,
    competition: CompetitionOptions,
    known: pd.DataFrame | None,
    in_test: Collection[str],
) -> tuple[pd.DataFrame, list[str]]:
    """(video, path, split and group of the items that are listed, labelled or in the test; the other paths).

    known: path -> split and group in the CSV of files; None without one. in_test: paths of the test items.
    """
    labelled = set(labels["path"])
    split_of_label = _one_each(labels, "split", competition)
    listed = {} if known is None else known.to_dict("index")
    rows: list[tuple[str, str, str, str | None]] = []
    unlisted = []
    for path in found:
        entry = listed.get(path)
        split = split_of_label.get(path) or ("test" if path in in_test else "train")
        if entry is not None:
            rows.append((make_id(path, competition.id), path, entry["split"] or split, entry["group"]))
        elif split == "test" or (path in labelled and known is None):
            rows.append((make_id(path, competition.id), path, split, None))
        elif path in labelled:
            raise UserError(f"{competition.files} does not list {path}, which {competition.labels} labels; add it")
        else:
            unlisted.append(path)
    files = pd.DataFrame(rows, columns=["video", "path", "split", "group"]).astype({"video": str, "path": str})
    if twice := sorted(files["video"][files["video"].duplicated()]):
        raise UserError(f"id {twice[0]} stands for more than one file: type competition.id=path")
    return files, unlisted


# --- the CSVs --------------------------------------------------------------------------------------------------


def _check_columns(root: Path, competition: CompetitionOptions, tables: Mapping[str, str]) -> None:
    """Raises UserError for a column of `competition.columns` that none of the CSVs has."""
    found = [column for file in tables.values() for column in read_cells(root / expanded(file))[1]]
    known = {column.casefold() for column in found}
    for ours in LABEL_COLUMNS:
        theirs = competition.columns.get(ours)
        if theirs is not None and theirs.strip().casefold() not in known:
            has = f"{' and '.join(tables)} {'have' if len(tables) > 1 else 'has'} the columns {', '.join(found)}"
            raise UserError(f"{has}: {theirs} is needed too, which competition.columns.{ours} names")


def _read_labels(
    root: Path, competition: CompetitionOptions, tables: Mapping[str, str]
) -> tuple[pd.DataFrame, list[str]]:
    """Read (labels by row in the file, notes): video, start, end (NaN: the whole item), label, group, split."""
    name = str(competition.labels)
    table, notes = read_items(root, name, tables[name], competition, "video", ("video", "label"))
    if competition.finds_segments and not {"start", "end"} <= set(table.columns):
        raise UserError(f"{name} has no start and end: segments need them; whole clips are competition.form=name")
    for column in ("start", "end"):
        cells = table[column] if column in table else pd.Series("", index=table.index, dtype=str)
        numbers = pd.to_numeric(cells, errors="coerce").astype(float)
        wrong = ~(numbers.abs() < np.inf) & (cells != "")
        if wrong.any():
            what = f"{name}, row {_first(wrong)}: {column} {cells[_first(wrong)]!r} is no number"
            raise UserError(f"{what}; give it in {competition.unit}, as 83.5")
        table[column] = numbers
    half = table["start"].isna() != table["end"].isna()
    reversed_ = table["start"] >= table["end"]
    for fault, words in ((half, "has a start or an end but not both"), (reversed_, "does not end after its start")):
        if fault.any():
            row = _first(fault)
            raise UserError(f"{name}, row {row} ({table['video'][row]}) {words}; mend it (there are {fault.sum()})")
    return table, notes


def _first(rows: "pd.Series[bool]") -> int:
    """Row in the file of the first True."""
    return int(rows.index[int(rows.to_numpy().argmax())])


def _read_files(
    root: Path, competition: CompetitionOptions, names: FileNames, tables: Mapping[str, str]
) -> tuple[pd.DataFrame | None, list[str]]:
    """Read (path -> split and group or None, notes); the frame is None without such a CSV."""
    name = competition.files
    if name is None:
        return None, []
    table, notes = read_items(root, name, tables[name], competition, "video", ("video",))
    table = table.assign(path=names.paths(table["video"], name))
    if (twice := table["path"].duplicated()).any():
        row = _first(twice)
        raise UserError(f"{name}, row {row}, names {table['video'][row]} a second time; keep one row")
    return table.set_index("path")[["split", "group"]], notes


def _one_each(labels: pd.DataFrame, column: str, competition: CompetitionOptions) -> dict[str, str]:
    """path -> the value of a column, where there is one. Raises UserError if rows of one item disagree."""
    given = labels[labels[column].notna()].groupby("path")[column]
    if (several := given.nunique() > 1).any():
        raise UserError(f"{competition.labels} gives {several.idxmax()} several {column}s; keep one")
    return {str(path): str(value) for path, value in given.first().items()}


def _classes(found: "pd.Series[str]", competition: CompetitionOptions) -> list[str]:
    """List the classes in order, the background first where there is one. found: labels by row in the file."""
    if found.empty:
        raise UserError(f"{competition.labels} says nothing yet of what happens in a video to train on; fill it in")
    if competition.classes:
        unknown = ~found.isin(competition.classes)
        if unknown.any():
            row, known = _first(unknown), ", ".join(competition.classes[:8])
            raise UserError(
                f"{competition.labels}, row {row}: label {found[row]} is not in competition.classes: {known}"
                f"{spelling_hint(competition.classes, found[row])}"
            )
        return list(competition.classes)
    own = {competition.background} if competition.background else set()
    check_alike({*found, *own}, f"{competition.labels} has the labels")
    names = sort_classes(set(found) - {competition.background})
    if competition.background is not None and (competition.finds_segments or competition.background in set(found)):
        names = [competition.background, *names]
    check_two_classes(names)
    return names


def answer_columns(competition: CompetitionOptions) -> set[str]:
    """Names, in lower case, of columns of a series that hold answers and are no channels."""
    names = {*ANSWERS, competition.target_column, competition.columns.get("label", "label")}
    return {name.casefold() for name in names}


# --- on disk -----------------------------------------------------------------------------------------------
