"""Video and series as a competition has them: which files there are, whose, and what happens in them when.

A unit, one row of the table, is what is scored: a whole clip, an annotated piece of one, or a frame of a long video.
"""

import csv
import difflib
import io
import itertools
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.competitions.contract import Competition
from kagglepipe.competitions.table import list_images, make_id
from kagglepipe.errors import UserError

SUFFIXES = {
    "video": (
        ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".m2ts", ".mts", ".ts", ".wmv", ".asf",
        ".flv", ".3gp", ".3g2", ".ogv", ".mxf", ".vob", ".y4m", ".h264", ".264", ".hevc", ".265", ".mjpeg", ".gif",
    ),
    "series": (".npz", ".npy", ".csv"),
}  # fmt: skip
SEGMENT_COLUMNS = ["video", "start", "end", "label"]
TABLE_COLUMNS = (*SEGMENT_COLUMNS, "group", "split")


@dataclass(frozen=True)
class Catalogue:
    """The items of a competition with a time axis.

    files: one row an item, sorted: video (its id), path (relative to the root, posix), split (`train` | `test`), group
    (None where there is none).
    labels: video, start, end, label; start and end are NaN where a label stands for the whole item.
    outside: files that belong to no part of it. notes: what was repaired or passed over, in words.
    """

    files: pd.DataFrame
    labels: pd.DataFrame
    classes: list[str]
    outside: list[str]
    notes: list[str]


def list_items(files: Sequence[str], competition: Competition, root: Path) -> Catalogue:
    """The items among `files` (relative posix paths, sorted) with their labels, by the competition's layout.

    Raises UserError if no file is of the kind, for a CSV or a row in it that cannot be meant (no such file, two such
    files, times reversed or not numbers, unknown labels, groups that disagree), and as `list_images` for class folders.
    """
    suffixes = SUFFIXES[competition.kind]
    tables = (competition.labels, competition.files, competition.answers, competition.sample_submission)
    special = {PurePosixPath(name).as_posix() for name in tables if name}
    others = [f for f in files if f not in special]
    found = [f for f in others if PurePosixPath(f).suffix.lower() in suffixes]
    outside = [f for f in others if PurePosixPath(f).suffix.lower() not in suffixes]
    if not found:
        wanted = f"{'videos' if competition.kind == 'video' else 'series'} ({', '.join(suffixes[:6])})"
        raise UserError(f"no {wanted} are among the {len(files)} files of {root}; see competition.source")
    if competition.labels is None:
        return _from_folders(found, outside, competition, root)
    return _from_tables(found, outside, competition, root)


def _from_folders(found: list[str], outside: list[str], competition: Competition, root: Path) -> Catalogue:
    """Whole clips in class folders."""
    listing = list_images(found, competition, root)
    files = listing.rows.rename(columns={"id": "video"})
    train = files[files["split"] == "train"]
    labels = pd.DataFrame({"video": train["video"], "start": np.nan, "end": np.nan, "label": train["target"]})
    columns = ["video", "path", "split", "group"]
    return Catalogue(files[columns], labels.reset_index(drop=True), listing.classes, outside + listing.outside, [])


def _from_tables(found: list[str], outside: list[str], competition: Competition, root: Path) -> Catalogue:
    """Items that CSVs describe; those in the folder `test`, or with that split, are to be classified."""
    names = _Names(found)
    labels = _read_labels(root, competition)
    empty = labels["label"] == ""
    labels = labels[~empty]
    labels = labels.assign(path=names.paths(labels["video"], str(competition.labels)))
    files, unlisted = _files(found, labels, competition, _read_files(root, competition, names))
    labels = labels.assign(video=labels["path"].map(dict(zip(files["path"], files["video"], strict=True))))
    if "group" in labels:
        files["group"] = files["video"].map(_groups(labels, competition)).fillna(files["group"])
    in_test = labels["video"].isin(files.loc[files["split"] == "test", "video"])
    told = {
        f"rows of {competition.labels} have no label yet and were passed over": empty,
        f"labels of {competition.labels} are of videos to classify, and were not looked at": in_test,
        f"videos to train on have no label{_unlabelled_means(competition)}": (files["split"] == "train")
        & ~files["video"].isin(labels["video"]),
    }
    idle = (labels["label"] == competition.background) & competition.finds_segments  # as all time without a label is
    labels = labels[~in_test & ~idle]
    return Catalogue(
        files.sort_values("video", ignore_index=True),
        labels[SEGMENT_COLUMNS].reset_index(drop=True),
        _classes(labels["label"], competition),
        sorted(outside + unlisted),
        [f"{rows.sum()} {words}" for words, rows in told.items() if rows.any()],
    )


def _files(
    found: list[str], labels: pd.DataFrame, competition: Competition, known: pd.DataFrame | None
) -> tuple[pd.DataFrame, list[str]]:
    """(video, path, split and group of the items that are listed, labelled or to classify; the other paths).

    known: path -> split and group of the listed ones; None: nothing is listed, and labels alone make an item.
    """
    labelled = set(labels["path"])
    listed = {} if known is None else known.to_dict("index")
    rows: list[tuple[str, str, str, str | None]] = []
    unlisted = []
    for path in found:
        entry = listed.get(path)
        split = "test" if in_test_folder(path, competition.test) else "train"
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


def in_test_folder(path: str, test: str | None) -> bool:
    """Whether a relative posix path lies in a folder `test`, in any case and at any depth.

    >>> in_test_folder("day 1/Test/a.mp4", "test"), in_test_folder("latest/a.mp4", "test")
    (True, False)
    """
    return bool(test) and f"/{str(test).strip('/')}/".lower() in f"/{path}".lower()


def _unlabelled_means(competition: Competition) -> str:
    if competition.finds_segments:
        return f": taken as {competition.background} from start to end"
    return " and were left out"


class _Names:
    """Finds the file that a CSV means: by relative path or by file name, with or without the extension."""

    def __init__(self, files: Sequence[str]) -> None:
        self.by_path = {_spelt(file): file for file in files}
        self.by_name: dict[str, list[str]] = {}
        for file in files:
            path = PurePosixPath(file)
            for name in {path.name, path.stem, str(path.with_suffix(""))}:
                self.by_name.setdefault(_spelt(name), []).append(file)

    def paths(self, names: "pd.Series[str]", table: str) -> list[str]:
        """The relative path of each name; `names` is indexed by the row of the table, for the messages.

        Raises UserError if a name is empty, or no file or several files are called so.
        """
        return [self._path(name, f"{table}, row {row},") for row, name in names.items()]

    def _path(self, name: str, where: str) -> str:
        if not name:
            raise UserError(f"{where} names no video; give its file name, or take the row out")
        spelt = _spelt(name)
        found = [self.by_path[spelt]] if spelt in self.by_path else self.by_name.get(spelt, [])
        if len(found) == 1:
            return found[0]
        if found:
            raise UserError(f"{where} names {name}, which may be {found[0]} or {found[1]}: write the path there")
        near = difflib.get_close_matches(spelt, [*self.by_path, *self.by_name], 1)
        hint = f" (there is {near[0]})" if near else ""
        raise UserError(f"{where} names {name}, and no such file is there{hint}: add the file, or mend the row")


def _spelt(name: str) -> str:
    """A name as all systems can agree on: Windows writes `\\` between folders, macOS takes é apart."""
    return unicodedata.normalize("NFC", name).replace("\\", "/").removeprefix("./")


# --- the CSVs --------------------------------------------------------------------------------------------------


def _read_table(name: str, root: Path, competition: Competition, needed: Sequence[str]) -> pd.DataFrame:
    """A CSV as text, its columns called by the names of the contract, others left out, indexed by row in the file.

    As spreadsheets write it: with or without a byte order mark, separated by comma, semicolon or tab; decimal commas
    are points where commas do not separate. Rows without anything in them are left out.
    """
    path = root / Path(name).expanduser()
    if not path.is_file():
        raise UserError(f"there is no {path}{_begin_one(competition)}")
    try:
        text = path.read_text("utf-8-sig")
        separator = max(",;\t", key=text.split("\n")[0].count)
        header, rows = _cells(text, separator)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a CSV in UTF-8 ({str(error).splitlines()[0]})") from error
    theirs = {ours: competition.columns.get(ours, ours) for ours in TABLE_COLUMNS}
    if missing := [theirs[ours] for ours in needed if theirs[ours] not in header]:
        raise UserError(f"{path} has the columns {', '.join(header)}: {', '.join(missing)} is needed too")
    places = {ours: header.index(column) for ours, column in theirs.items() if column in header}
    columns = {ours: [row[place] for row in rows.values()] for ours, place in places.items()}
    table = pd.DataFrame(columns, index=pd.Index(list(rows), dtype=np.int64), dtype=str)
    if separator != ",":
        times = [column for column in ("start", "end") if column in table]
        table[times] = table[times].replace(r"^([+-]?\d*),(\d+)$", r"\1.\2", regex=True)
    return table


def _cells(text: str, separator: str) -> tuple[list[str], dict[int, list[str]]]:
    """(the header, line -> cells, as many as the header has). Raises ValueError for a line with more, and csv.Error."""
    reader = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True, strict=True)
    header = [cell.strip() for cell in next(reader, [])]
    rows = {}
    for row in reader:
        cells = [cell.strip() for cell in row] + [""] * (len(header) - len(row))
        if any(cells[len(header) :]):
            raise ValueError(f"row {reader.line_num} has {len(row)} cells, the header {len(header)}")
        if any(cells):
            rows[reader.line_num] = cells
    return header, rows


def _begin_one(competition: Competition) -> str:
    if competition.kind == "video" and competition.finds_segments:
        return "; to begin one, type: python -m kagglepipe annotations input=FOLDER"
    return ": add it, or type where it is, as competition.labels=PATH"


def _read_labels(root: Path, competition: Competition) -> pd.DataFrame:
    """video, start, end (NaN: the whole item), label, and group where there is one, indexed by row in the file."""
    name = str(competition.labels)
    table = _read_table(name, root, competition, ("video", "label"))
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
    return table


def _first(rows: "pd.Series[bool]") -> int:
    """The row in the file of the first that is true."""
    return int(rows.index[int(rows.to_numpy().argmax())])


def _read_files(root: Path, competition: Competition, names: _Names) -> pd.DataFrame | None:
    """path -> split and group, None where the files' CSV has none; None without such a CSV."""
    if competition.files is None:
        return None
    table = _read_table(competition.files, root, competition, ("video",))
    table = table.assign(path=names.paths(table["video"], competition.files))
    if (twice := table["path"].duplicated()).any():
        row = _first(twice)
        raise UserError(f"{competition.files}, row {row}, names {table['video'][row]} a second time; keep one row")
    for name in ("group", "split"):
        cells = table[name] if name in table else pd.Series("", index=table.index)
        table[name] = cells.astype(object).where(cells != "", None)
    strange = table["split"].notna() & ~table["split"].isin(["train", "test"])
    if strange.any():
        row = _first(strange)
        raise UserError(f"{competition.files}, row {row}: the split {table['split'][row]} is neither train nor test")
    return table.set_index("path")[["split", "group"]]


def _groups(labels: pd.DataFrame, competition: Competition) -> "pd.Series[str]":
    """video -> group. Raises UserError if rows of one video disagree."""
    known = labels[labels["group"] != ""].groupby("video")["group"]
    if (several := known.nunique() > 1).any():
        raise UserError(f"{competition.labels} gives {several.idxmax()} several groups; keep one")
    return known.first()


def _classes(found: "pd.Series[str]", competition: Competition) -> list[str]:
    """The classes in order, the background first where there is one. found: indexed by row in the file."""
    if found.empty:
        raise UserError(f"{competition.labels} says nothing yet of what happens in a video to train on; fill it in")
    if competition.classes:
        unknown = ~found.isin(competition.classes)
        if unknown.any():
            row, known = _first(unknown), ", ".join(competition.classes)
            raise UserError(
                f"{competition.labels}, row {row}: label {found[row]} is not in competition.classes: {known}"
            )
        return list(competition.classes)
    names = sorted(set(found) - {competition.background})
    if competition.background is not None and (competition.finds_segments or competition.background in set(found)):
        names = [competition.background, *names]
    for name, other in itertools.combinations(names, 2):
        if name.casefold() == other.casefold():
            raise UserError(f"{competition.labels} has the labels {name} and {other}: spell them alike")
    if len(names) < 2:
        raise UserError(f"only one class was found ({', '.join(names)}): two or more are needed to tell apart")
    return names


# --- as `prepare` keeps them -----------------------------------------------------------------------------------


def read_annotations(path: Path) -> pd.DataFrame:
    """video, start, end (NaN: the whole item) and label, as `prepare` has written them."""
    return pd.read_csv(
        path,
        dtype={"video": str, "label": str},
        keep_default_na=False,
        na_values={"start": [""], "end": [""]},
    )


def classes_of(videos: pd.DataFrame, labels: pd.DataFrame, background: str | None) -> pd.DataFrame:
    """id, group and target of long videos: a row for each class that occurs in one; the background does in all.

    videos: id, group. labels: video, label; those of other videos do not count.
    """
    found = labels.rename(columns={"video": "id", "label": "target"})[["id", "target"]]
    pairs = pd.concat([videos[["id"]].assign(target=background), found]).drop_duplicates()
    return videos[["id", "group"]].merge(pairs, on="id")


# --- against the files themselves ------------------------------------------------------------------------------


def within(catalogue: Catalogue, spans: Mapping[str, tuple[float, float]], *, finds_segments: bool) -> Catalogue:
    """The catalogue with its labels cut to what the items hold, and notes of what was cut or overlaps.

    spans: video -> (first time, end) in the competition's unit; labels of other videos are dropped.
    Raises UserError for a label that lies wholly outside its item.
    """
    labels = catalogue.labels[catalogue.labels["video"].isin(list(spans))].reset_index(drop=True)
    first, last = (labels["video"].map({v: span[n] for v, span in spans.items()}).astype(float) for n in (0, 1))
    if finds_segments:  # a label without times is about the whole of it
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
    """The video of each label that starts before an earlier one of its video has ended.

    >>> overlapping(pd.DataFrame({"video": ["a", "a", "b"], "start": [0.0, 1.0, 0.0], "end": [2.0, 3.0, 1.0]}))
    ['a']
    """
    crossing = []
    for video, rows in labels.dropna(subset=["start"]).sort_values("start", kind="stable").groupby("video"):
        reached = rows["end"].cummax().shift(fill_value=-np.inf)
        crossing += [str(video)] * int((rows["start"] < reached - 1e-9).sum())
    return crossing


def clip_rows(catalogue: Catalogue) -> pd.DataFrame:
    """One row for each labelled item or piece of one, and for each item to classify.

    Columns: id (the item's, with `@start-end` for a piece), video, split, target, group, start, end.
    Raises UserError if an item has several labels for the whole of it.
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
    """One row for each frame of each item of `files` (video, path, split, group).

    times, targets: video -> the time, and the class, of each of its frames; in test the class is not looked at.
    Columns as those of `clip_rows`, with start = end = the frame's time, and `position`, its number.
    """
    parts = []
    for item in files.itertuples():
        at = np.asarray(times[str(item.video)], np.float64)
        rows = {
            "id": [frame_id(str(item.video), t) for t in at],
            "video": item.video,
            "path": item.path,
            "split": item.split,
            "target": targets[str(item.video)] if item.split == "train" else None,
            "group": item.group or item.video,
            "start": at,
            "end": at,
            "position": np.arange(len(at)),
        }
        parts.append(pd.DataFrame(rows))
    return pd.concat(parts, ignore_index=True)


def frame_id(video: str, time: float) -> str:
    """The id of a frame.

    >>> frame_id("a.mp4", 1 / 8)
    'a.mp4@0.125'
    """
    return f"{video}@{_written(time)}"


def _written(time: float) -> str:
    """A time to a microsecond, also where times count from 1970."""
    return f"{round(time, 6):.15g}"
