"""Labels of videos and series: files, groups, and what happens when.

A unit, one row of the table, is scored: a whole clip, an annotated segment of one, or a frame of a long video.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from kagglepipe.competitions.event_labels import outside_parts, with_event_times
from kagglepipe.competitions.filenames import SUFFIXES, FileNames, find_table, find_test_folder, in_test_folder
from kagglepipe.competitions.group_names import with_named_groups
from kagglepipe.competitions.item_tables import table_items
from kagglepipe.competitions.label_tables import GIVEN, item_cells, mend_repeated, read_items, with_all_tags, with_files
from kagglepipe.competitions.labels import (
    absent_note,
    check_alike,
    check_one_kind,
    known_classes,
    sort_classes,
    spelling_hint,
)
from kagglepipe.competitions.metadata import join_metadata
from kagglepipe.competitions.source import other_kind
from kagglepipe.competitions.table import check_outputs, item_ids, list_images
from kagglepipe.competitions.targets import IN_COLUMNS, read_targets, spell_targets, target_names
from kagglepipe.competitions.test_lists import read_tests, tables_of
from kagglepipe.errors import UserError
from kagglepipe.options import CompetitionOptions

SEGMENT_COLUMNS = ["video", "start", "end", "label"]
ANSWERS = (  # columns of a series that are no channels
    "label", "labels", "target", "targets", "class", "classes", "ytrue", "groundtruth", "group", "split", "fold",
    "video",
)  # fmt: skip


@dataclass(frozen=True)
class Catalogue:
    """Videos or series of a competition, with their labels.

    files: one row an item, sorted: video (its id), path (relative to the root, posix), split (`train` | `test`), group
    (None where there is none) and, where there are any, fold, as it is written. labels: video, start, end, label;
    start and end are NaN where a label is of the whole item. outside: files that belong to no part of the competition.
    notes: repairs and omissions, for the log. unannotated: of events, labels of the time outside the annotated parts.
    """

    files: pd.DataFrame
    labels: pd.DataFrame
    classes: list[str]
    outside: list[str]
    notes: list[str]
    unannotated: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=SEGMENT_COLUMNS))


def list_items(files: Sequence[str], competition: CompetitionOptions, root: Path) -> Catalogue:
    """Find the items among `files` (relative posix paths, sorted) and their labels.

    Raises UserError if no file is of the kind, for a wrong row of a CSV (no such file, two such files, times reversed
    or not numbers, unknown labels, groups that disagree), and as `list_images` for class folders.
    """
    suffixes = SUFFIXES[competition.kind]
    files = [*files, *table_items(root, files, competition)]
    special = tables_of(files, competition)
    others = [f for f in files if f not in set(special)]
    found = [f for f in others if PurePosixPath(f).suffix.lower() in suffixes]
    outside = [f for f in others if PurePosixPath(f).suffix.lower() not in suffixes]
    if not found:
        wanted = f"{competition.noun} ({', '.join(suffixes[:6])})"
        hint = other_kind(others, competition.kind) or "is competition.source right?"
        raise UserError(f"no {wanted} are among the {len(files)} files of {root}; {hint}")
    if competition.labels is None:
        return _from_folders([*found, *special], outside, competition, root)
    return _from_tables(found, files, outside, competition, root)


def _from_folders(found: list[str], outside: list[str], competition: CompetitionOptions, root: Path) -> Catalogue:
    """Label whole clips by the folder they are in."""
    listing = list_images(found, replace(competition, items=None), root)
    files = listing.rows.rename(columns={"id": "video"})
    _check_unique(files)
    train = files[files["split"] == "train"]
    labels = pd.DataFrame({"video": train["video"], "start": np.nan, "end": np.nan, "label": train["target"]})
    columns = ["video", "path", "split", "group", *(["fold"] if "fold" in files else [])]
    outside = outside + listing.outside
    return Catalogue(files[columns], labels.reset_index(drop=True), listing.classes, outside, listing.notes)


def _from_tables(
    found: list[str], all_files: Sequence[str], outside: list[str], competition: CompetitionOptions, root: Path
) -> Catalogue:
    """Label items by CSVs; those in the test folder or list, or with that split, are the test.

    found: those of `all_files` that are items.
    """
    tables = {name: find_table(name, all_files) or name for name in (competition.labels, competition.files) if name}
    asked = read_tests(root, all_files, competition, FileNames(found))
    if asked is None:
        test = find_test_folder(found, competition.test)
        asked = pd.DataFrame({"path": [path for path in found if in_test_folder(path, test)]}, dtype=str)
    names = FileNames(found, last=set(asked["path"]))
    labels, split_notes = _read_labels(root, competition, tables)
    empty = (labels["label"] == "") & (competition.task != "multilabel")  # an item may have no tag
    labels = labels[~empty]
    labels, missing = with_files(labels, names, "video", str(competition.labels), competition)
    known, file_notes = _read_files(root, competition, names, tables)
    _check_columns(root, competition, tables)
    items = [*found, *asked["path"][~asked["path"].isin(found)]]  # also those that have no file
    facts, left = join_metadata(_facts(items, labels, known, competition), all_files, competition, root)
    files, unlisted = _files(facts, labels, competition, known, asked)
    labels = labels.assign(video=labels["path"].map(dict(zip(files["path"], files["video"], strict=True))))
    labels = with_all_tags(labels, competition, ["path", "start", "end"])
    again = labels.duplicated(["path", "start", "end", "label"]) & (not competition.finds_segments)
    is_test = labels["video"].isin(files.loc[files["split"] == "test", "video"])
    unlabelled = (files["split"] == "train") & ~files["video"].isin(labels["video"])
    taken = f": taken as {competition.background} from start to end"
    counts = {
        f"rows of {competition.labels} have no label yet and were passed over": empty,
        f"rows of {competition.labels} have an item once more, with the same label or all its tags": again,
        f"labels of {competition.labels} are of videos to classify, and were not looked at": is_test,
        f"videos to train on have no label{taken if competition.finds_segments else ' and were left out'}": unlabelled,
    }
    labels = labels[~is_test & ~again]
    unannotated = outside_parts(labels, competition.bounds, str(competition.labels))
    no_class = [competition.background, *competition.ignore_labels, *competition.bounds]
    labels = labels[~(labels["label"].isin(no_class) & competition.finds_segments)]
    targets = read_targets(labels["label"], str(competition.labels), competition)
    labels = labels.assign(label=spell_targets(targets, competition.classes, competition.task))
    classes = _classes(labels["label"], competition)
    absent = absent_note(competition.classes, classes)
    counted = (f"{rows.sum()} {words}" for words, rows in counts.items() if rows.any())
    return Catalogue(
        files.sort_values("video", ignore_index=True),
        labels[SEGMENT_COLUMNS].reset_index(drop=True),
        classes,
        sorted(outside + unlisted),
        [*split_notes, *missing, *file_notes, *counted, *left, *absent],
        unannotated,
    )


def _facts(
    found: list[str], labels: pd.DataFrame, known: pd.DataFrame | None, competition: CompetitionOptions
) -> pd.DataFrame:
    """Path, group, split and fold (None: not said), and id and key as far as the labels have them, of all items.

    known: path -> split, group and fold in the CSV of files, whose split comes before that of the labels.
    """
    facts = pd.DataFrame({"path": found}, dtype=str)
    for column in [one for one in (*GIVEN, "id", "key") if one in labels]:
        own = facts["path"].map(_one_each(labels, column, competition)).astype(object)
        listed = facts["path"].map(known[column]) if known is not None and column in known else own
        first, second = (listed, own) if column == "split" else (own, listed)
        facts[column] = first.where(first.notna(), second)
        facts[column] = facts[column].astype(object).where(facts[column].notna(), None)
    return facts.assign(group=with_named_groups(facts["group"], facts["path"], competition))


def _files(
    facts: pd.DataFrame,
    labels: pd.DataFrame,
    competition: CompetitionOptions,
    known: pd.DataFrame | None,
    asked: pd.DataFrame,
) -> tuple[pd.DataFrame, list[str]]:
    """(video, path, split and group of the items that are listed, labelled or in the test; the other paths).

    facts: of `_facts`. known: of the items in the CSV of files; None without one. asked: path and, for
    competition.id=column, id of the test items.
    """
    labelled, listed = set(labels["path"]), None if known is None else set(known.index)
    is_asked = facts["path"].isin(asked["path"])
    split = facts["split"].where(facts["split"].notna(), np.where(is_asked, "test", "train"))
    is_labelled = facts["path"].isin(labelled)
    is_listed = is_labelled if listed is None else facts["path"].isin(listed)
    unknown = is_labelled & ~is_listed & (split == "train")
    if unknown.any():
        path = facts["path"][unknown].iloc[0]
        raise UserError(f"{competition.files} does not list {path}, which {competition.labels} labels; add it")
    files = facts.assign(split=split)[is_listed | (split == "test")]
    own = files["id"] if "id" in files else pd.Series(None, index=files.index, dtype=object)
    if "id" in asked:
        of_test = files["path"].map(asked.set_index("path")["id"])
        own = of_test.where(of_test.notna(), own)
    files = files.assign(video=item_ids(files.assign(id=own), competition)).astype({"video": str})
    _check_unique(files)
    folds = ["fold"] if files["fold"].notna().any() else []
    unlisted = facts["path"][~facts.index.isin(files.index)].tolist()
    return files[["video", "path", "split", "group", *folds]].reset_index(drop=True), unlisted


def _check_unique(files: pd.DataFrame) -> None:
    """Raises UserError for an id of several items, also of one to train on and one to classify: it keys the labels."""
    if twice := sorted(files["video"][files["video"].duplicated()]):
        raise UserError(f"id {twice[0]} stands for more than one file: type competition.id=path")


def _check_columns(root: Path, competition: CompetitionOptions, tables: Mapping[str, str]) -> None:
    """Raises UserError for a column of `competition.columns` that none of the CSVs has."""
    found = [column for file in tables.values() for column in item_cells(root, file, competition)[1]]
    known = {column.casefold() for column in found}
    for ours in (*SEGMENT_COLUMNS, *(GIVEN if competition.metadata is None else ())):
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
    if competition.finds_events:
        table, untimed = with_event_times(table, name, competition)
        notes = [*notes, *untimed]
    elif competition.finds_segments and not {"start", "end"} <= set(table.columns):
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
    reversed_ = (table["start"] >= table["end"]) & (not competition.finds_events)
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
    """Read (path -> group, split and fold or None, notes); the frame is None without such a CSV."""
    name = competition.files
    if name is None:
        return None, []
    table, notes = read_items(root, name, tables[name], competition, "video", ("video",))
    table = table.assign(path=names.paths(table["video"], name))
    if (twice := table["path"].duplicated()).any():
        row = _first(twice)
        raise UserError(
            f"{name}, row {row}, names {table['video'][row]} a second time: keep one row, or type "
            "competition.files=null"
        )
    return table.set_index("path")[list(GIVEN)], notes


def _one_each(labels: pd.DataFrame, column: str, competition: CompetitionOptions) -> dict[str, str]:
    """path -> the value of a column, where there is one. Raises UserError if rows of one item disagree."""
    given = labels[labels[column].notna()].groupby("path")[column]
    if (several := given.nunique() > 1).any():
        mend = f"keep one, or {mend_repeated(column)}"
        raise UserError(f"{competition.labels} gives {several.idxmax()} several {column}s: {mend}")
    return {str(path): str(value) for path, value in given.first().items()}


def _classes(found: "pd.Series[str]", competition: CompetitionOptions) -> list[str]:
    """List the classes in order, the background first where there is one. found: labels by row in the file."""
    if found.empty:
        raise UserError(f"{competition.labels} says nothing yet of what happens in a video to train on; fill it in")
    if competition.task in IN_COLUMNS:
        return _outputs(found, competition)
    if competition.classes:
        _check_known(found, competition)
        filled = set(found)
        is_lenient = competition.form == "probabilities"
        return [name for name in competition.classes if name in filled or not is_lenient]
    check_one_kind(found, f"{competition.labels}: column {competition.column('label')} has", are_given=False)
    own = {competition.background} if competition.background else set()
    check_alike({*found, *own}, f"{competition.labels} has the labels")
    names = sort_classes(set(found) - {competition.background})
    if competition.background is not None and (competition.finds_segments or competition.background in set(found)):
        names = [competition.background, *names]
    check_outputs(names, found, competition)
    return names


def _outputs(found: "pd.Series[str]", competition: CompetitionOptions) -> list[str]:
    """Names of the tags or numbers of items, in order. found: targets by row in the file."""
    names = target_names(found, f"{competition.labels} has the labels", competition)
    if competition.classes and competition.task == "multilabel":
        names = known_classes(competition.classes, names, f"{competition.labels}: ", form=competition.form)
    check_outputs(names, found, competition)
    return names


def _check_known(found: "pd.Series[str]", competition: CompetitionOptions) -> None:
    """Raises UserError for a label, by row in the file, that is not among `competition.classes`."""
    unknown = ~found.isin(competition.classes)
    if unknown.any():
        row, known = _first(unknown), ", ".join(competition.classes[:8])
        raise UserError(
            f"{competition.labels}, row {row}: label {found[row]} is not in competition.classes: {known}"
            f"{spelling_hint(competition.classes, found[row])}"
        )


def answer_columns(competition: CompetitionOptions) -> set[str]:
    """Names, in lower case, of columns of a series that hold answers and are no channels."""
    names = {*ANSWERS, competition.target_column, competition.columns.get("label", "label")}
    names |= set(competition.columns.get("labels", ()))
    return {name.casefold() for name in names}
