"""Labels of videos and series: files, groups, and what happens when.

A unit, one row of the table, is what is scored: a whole clip, an annotated segment of one, or a frame of a long video.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.competitions.filenames import FileNames, find_table, find_test_folder, in_test_folder
from kagglepipe.competitions.labels import check_alike, sort_classes, spell_as, spelling_hint
from kagglepipe.competitions.source import SUFFIXES, other_kind
from kagglepipe.competitions.spreadsheet import read_cells
from kagglepipe.competitions.table import check_two_classes, list_images, make_id, read_items
from kagglepipe.errors import UserError
from kagglepipe.files import expanded, sha256
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
    item. outside: files that belong to no part of the competition. notes: what was repaired or left out, for the log.
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
    tables = (competition.labels, competition.files, competition.answers, competition.sample_submission)
    special = {find_table(name, files) for name in tables if name}
    others = [f for f in files if f not in special]
    found = [f for f in others if PurePosixPath(f).suffix.lower() in suffixes]
    outside = [f for f in others if PurePosixPath(f).suffix.lower() not in suffixes]
    if not found:
        wanted = f"{'videos' if competition.kind == 'video' else 'series'} ({', '.join(suffixes[:6])})"
        hint = other_kind(others, competition.kind) or "is competition.source right?"
        raise UserError(f"no {wanted} are among the {len(files)} files of {root}; {hint}")
    if competition.labels is None:
        return _from_folders(found, outside, competition, root)
    own = {name: find_table(name, files) or name for name in tables[:2] if name}
    return _from_tables(found, outside, competition, root, own)


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
    found: list[str], outside: list[str], competition: CompetitionOptions, root: Path, tables: Mapping[str, str]
) -> Catalogue:
    """Label items by CSVs; those in the test folder, or with that split, are the test.

    tables: name of a CSV in the competition -> its path.
    """
    test = find_test_folder(found, competition.test)
    names = FileNames(found, last={path for path in found if in_test_folder(path, test)})
    labels, split_notes = _read_labels(root, competition, tables)
    empty = labels["label"] == ""
    labels = labels[~empty]
    labels = labels.assign(path=names.paths(labels["video"], str(competition.labels)))
    known, file_notes = _read_files(root, competition, names, tables)
    _check_columns(root, competition, tables)
    files, unlisted = _files(found, labels, competition, known, test)
    labels = labels.assign(video=labels["path"].map(dict(zip(files["path"], files["video"], strict=True))))
    groups = _one_each(labels, "group", competition)
    files["group"] = [groups.get(path, group) for path, group in zip(files["path"], files["group"], strict=True)]
    in_test = labels["video"].isin(files.loc[files["split"] == "test", "video"])
    unlabelled = (files["split"] == "train") & ~files["video"].isin(labels["video"])
    taken = f": taken as {competition.background} from start to end"
    counts = {
        f"rows of {competition.labels} have no label yet and were passed over": empty,
        f"labels of {competition.labels} are of videos to classify, and were not looked at": in_test,
        f"videos to train on have no label{taken if competition.finds_segments else ' and were left out'}": unlabelled,
    }
    idle = (labels["label"] == competition.background) & competition.finds_segments  # the default
    labels = labels[~in_test & ~idle]
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
    test: str | None,
) -> tuple[pd.DataFrame, list[str]]:
    """(video, path, split and group of the items that are listed, labelled or in the test; the other paths).

    known: path -> split and group in the CSV of files; None without one. test: the test folder.
    """
    labelled = set(labels["path"])
    split_of_label = _one_each(labels, "split", competition)
    listed = {} if known is None else known.to_dict("index")
    rows: list[tuple[str, str, str, str | None]] = []
    unlisted = []
    for path in found:
        entry = listed.get(path)
        split = split_of_label.get(path) or ("test" if in_test_folder(path, test) else "train")
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


def content_key(sha256_of_file: str, reading: str) -> str:
    """Key of a file's content in caches: its hash, with `reading` where decoding has changed since older versions."""
    return sha256(sha256_of_file, reading) if reading else sha256_of_file


# --- on disk -----------------------------------------------------------------------------------------------


def read_annotations(path: Path) -> pd.DataFrame:
    """Read annotations.csv as written by `prepare`: video, start, end (NaN: the whole item), label."""
    return pd.read_csv(
        path,
        dtype={"video": str, "label": str},
        keep_default_na=False,
        na_values={"start": [""], "end": [""]},
    )


def classes_of(videos: pd.DataFrame, labels: pd.DataFrame, background: str | None) -> pd.DataFrame:
    """List id, group and target of long videos, a row for each class in one; the background is in all.

    videos: id, group. labels: video, label; those of other videos are ignored.
    """
    found = labels.rename(columns={"video": "id", "label": "target"})[["id", "target"]]
    pairs = pd.concat([videos[["id"]].assign(target=background), found]).drop_duplicates()
    return videos[["id", "group"]].merge(pairs, on="id")


# --- compared with the files -----------------------------------------------------------------------------------


def clip_labels(catalogue: Catalogue, spans: Mapping[str, tuple[float, float]], *, finds_segments: bool) -> Catalogue:
    """Clip the labels to the spans of the items; notes count what was cut or overlaps.

    spans: video -> (first time, end) in the competition's unit; labels of other videos are dropped.
    Raises UserError for a label wholly outside its item.
    """
    labels = catalogue.labels[catalogue.labels["video"].isin(list(spans))].reset_index(drop=True)
    first, last = (labels["video"].map({v: span[n] for v, span in spans.items()}).astype(float) for n in (0, 1))
    if finds_segments:  # a label without times is of the whole item
        labels["start"], labels["end"] = labels["start"].fillna(first), labels["end"].fillna(last)
    timed = labels["start"].notna()
    if (outside := timed & ((labels["start"] >= last) | (labels["end"] <= first))).any():
        row = labels[outside].iloc[0]
        begins, ends = spans[row["video"]]
        raise UserError(
            f"a label of {row['video']} lies at {row['start']:g}–{row['end']:g}, but all that is there lies at "
            f"{begins:g}–{ends:g}; mend it (there are {outside.sum()})"
        )
    cut = timed & ((labels["start"] < first) | (labels["end"] > last + 1e-6))
    notes = list(catalogue.notes)
    if cut.any():
        notes.append(f"{cut.sum()} labels reach beyond their video and were cut, as in {labels['video'][cut].iloc[0]}")
    labels["start"] = labels["start"].where(~timed, np.maximum(labels["start"], first))
    labels["end"] = labels["end"].where(~timed, np.minimum(labels["end"], last))
    if finds_segments and (crossing := overlapping(labels)):
        notes.append(f"{len(crossing)} labels overlap: the one that starts later counts, as in {crossing[0]}")
    files = catalogue.files[catalogue.files["video"].isin(list(spans))].reset_index(drop=True)
    return replace(catalogue, files=files, labels=labels, notes=notes)


def overlapping(labels: pd.DataFrame) -> list[str]:
    """List the video of each label that starts before an earlier one of its video ends.

    >>> overlapping(pd.DataFrame({"video": ["a", "a", "b"], "start": [0.0, 1.0, 0.0], "end": [2.0, 3.0, 1.0]}))
    ['a']
    """
    crossing = []
    for video, rows in labels.dropna(subset=["start"]).sort_values("start", kind="stable").groupby("video"):
        reached = rows["end"].cummax().shift(fill_value=-np.inf)
        crossing += [str(video)] * int((rows["start"] < reached - 1e-9).sum())
    return crossing


def clip_rows(catalogue: Catalogue) -> pd.DataFrame:
    """Make a row for each labelled item or segment of one, and for each test item.

    Columns: id (the item's, with `@start-end` for a segment), video, path, split, target, group, start, end.
    Raises UserError if an item has several labels without times.
    """
    labels = catalogue.labels.copy()
    labels["id"] = [
        video if np.isnan(start) else f"{frame_id(video, start)}-{_written(end)}"
        for video, start, end in zip(labels["video"], labels["start"], labels["end"], strict=True)
    ]
    if twice := [name for name, times in Counter(labels["id"]).items() if times > 1]:
        raise UserError(f"{twice[0]} has more than one label; keep one of them")
    train = catalogue.files[catalogue.files["split"] == "train"].merge(labels, on="video")
    test = catalogue.files[catalogue.files["split"] == "test"].assign(start=np.nan, end=np.nan, label=None)
    rows = pd.concat([train, test.assign(id=test["video"])], ignore_index=True).rename(columns={"label": "target"})
    rows["group"] = rows["group"].where(rows["group"].notna(), rows["video"])
    return rows[["id", "video", "path", "split", "target", "group", "start", "end"]].sort_values(
        "id", ignore_index=True
    )


def frame_rows(
    files: pd.DataFrame, times: Mapping[str, npt.NDArray[np.float64]], targets: Mapping[str, npt.NDArray[np.object_]]
) -> pd.DataFrame:
    """Make a row for each frame of each item of `files` (video, path, split, group).

    times, targets: video -> (T,) the time and the class of each frame; classes of the test are ignored.
    Columns as those of `clip_rows`, with start = end = the frame's time, and `position`, its number.
    """
    parts = []
    for item in files.itertuples():
        video, at = str(item.video), np.asarray(times[str(item.video)], np.float64)
        target = targets[video] if item.split == "train" else None
        rows: dict[str, Any] = {
            "id": [frame_id(video, t) for t in at],
            "video": video,
            "path": item.path,
            "split": item.split,
        }
        rows |= {"target": target, "group": item.group or video, "start": at, "end": at, "position": range(len(at))}
        parts.append(pd.DataFrame(rows))
    return pd.concat(parts, ignore_index=True)


def frame_id(video: str, time: float) -> str:
    """Make the id of a frame.

    >>> frame_id("a.mp4", 1 / 8)
    'a.mp4@0.125'
    """
    return f"{video}@{_written(time)}"


def _written(time: float) -> str:
    """Format a time to a microsecond, also where times count from 1970."""
    return f"{round(time, 6):.15g}"
