"""A prepared competition, read from disk: rows, folds, classes and the files that they are made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.competitions.targets import Truth, parse_targets
from kagglepipe.errors import UserError
from kagglepipe.files import file_sha256, read_json, sha256
from kagglepipe.text import first_three

REPORT = "prepared.json"


FOLD_COLUMNS = ("id", "fold", "count", "seed")


MEND = "mend it or, to have folds made, type folds.file=null folds.remake=true"


@dataclass(frozen=True)
class Unreadable:
    """A test item that cannot be read: its id, its path as in the table, and why."""

    id: str
    path: str
    why: str


@dataclass(frozen=True)
class Dataset:
    """Rows, folds and classes of a prepared competition.

    table: a row an item; where every frame is classified and `rate` is set, a row a frame. folds: id, fold.
    images_root: folder that paths start from. decoder: version of the image decoder. bits: depth of images of more than
    8 bits (None: there are none). items: a row a video or series (None for images). annotations: labelled segments.
    unreadable: test items that are not in the table but need an answer. rate: frames a second, where rows are given in
    frames. per_frame: whether they are frames. folder: data/<slug>/. task: as competition.task when it was prepared.
    """

    table: pd.DataFrame
    folds: pd.DataFrame
    classes: list[str]
    images_root: Path
    table_hash: str
    folds_hash: str
    decoder: str = ""
    bits: int | None = None
    items: pd.DataFrame | None = None
    annotations: pd.DataFrame | None = None
    unreadable: tuple[Unreadable, ...] = ()
    rate: float | None = None
    per_frame: bool = False
    folder: Path = Path()
    task: str = "multiclass"

    @property
    def nothing_to_classify(self) -> bool:
        """Whether the test set is empty, unreadable items included."""
        return self.test.empty and not self.unreadable

    @property
    def train(self) -> pd.DataFrame:
        """The labelled rows with their fold, sorted by id."""
        rows: pd.DataFrame = self.table[self.table.split == "train"].merge(self.folds[["id", "fold"]], on="id")
        return rows.sort_values("id")

    @property
    def test(self) -> pd.DataFrame:
        """The test rows, sorted by id."""
        rows: pd.DataFrame = self.table[self.table.split == "test"].sort_values("id")
        return rows

    @property
    def data_hash(self) -> str:
        """Eight hexadecimal digits of the table and the folds: scores on the same data can be compared."""
        return sha256(self.table_hash, self.folds_hash)[:8]

    def labels(self, rows: pd.DataFrame) -> Truth:
        """Targets of rows: class indices (N,) or, by task, tags or numbers (N, C); see `targets`."""
        return parse_targets(rows["target"], self.classes, self.task)

    def paths(self, rows: pd.DataFrame) -> list[Path]:
        """List the image files of `rows`."""
        return [self.images_root / path for path in rows["path"]]


def read_dataset(folder: Path, folds_file: Path, items_dir: Path | None = None) -> Dataset:
    """Read data/<slug>/ as `prepare` left it; long videos have a row a video.

    items_dir: folder of items.parquet and annotations.csv; None for images.
    Raises UserError if `prepare` has not run, or runs meanwhile: it removes prepared.json first and writes it last, so
    that one which has not changed proves the rest.
    """
    file = folder / REPORT
    if not file.exists():
        raise UserError(f"{folder} is not prepared: run stage=prepare first")
    try:
        report = read_json(file)
        dataset = _read_tables(folder, report, folds_file, items_dir)
        is_same = read_json(file) == report
    except FileNotFoundError:
        is_same = False
    if not is_same:
        raise UserError(f"{folder} was prepared by another command while it was read: type the same command again")
    return dataset


def _read_tables(folder: Path, report: dict[str, Any], folds_file: Path, items_dir: Path | None) -> Dataset:
    table = pd.read_parquet(folder / "table.parquet")
    folds, folds_hash = read_fold_file(folds_file)
    check_folds(table, folds, folds_file)
    return Dataset(
        table=table,
        folds=folds,
        classes=report["classes"],
        images_root=Path(folder / report["images_root"]),
        table_hash=report["table_hash"],
        folds_hash=folds_hash,
        decoder=report.get("decoder", ""),
        bits=report.get("bits"),
        items=None if items_dir is None else pd.read_parquet(items_dir / "items.parquet"),
        annotations=None if items_dir is None else read_annotations(items_dir / "annotations.csv"),
        unreadable=tuple(Unreadable(**one) for one in report.get("unreadable", [])),
        folder=folder,
        task=report.get("task", "multiclass"),
    )


def read_fold_file(path: Path) -> tuple[pd.DataFrame, str]:
    """(folds, SHA-256) of a CSV of id and fold. Raises UserError if it changes while it is read."""
    digest = file_sha256(path) if path.is_file() else ""  # read_folds raises an error without one
    folds = read_folds(path)
    if file_sha256(path) != digest:
        raise UserError(f"{path} was written by another command while it was read: type the same command again")
    return folds, digest


def check_folds(table: pd.DataFrame, folds: pd.DataFrame, path: Path) -> None:
    """Raises UserError unless every labelled row has a fold."""
    if missing := set(table.loc[table["split"] == "train", "id"]) - set(folds["id"]):
        raise UserError(
            f"{path} has no fold for {len(missing)} labelled items, such as {first_three(sorted(missing))}: type "
            "stage=prepare, or again if another command prepares them"
        )


def content_key(sha256_of_file: str, reading: str) -> str:
    """Key of a file's content in caches: its hash, with `reading` where decoding has changed since older versions."""
    return sha256(sha256_of_file, reading) if reading else sha256_of_file


def read_annotations(path: Path) -> pd.DataFrame:
    """Read annotations.csv as written by `prepare`: video, start, end (NaN: the whole item), label."""
    return pd.read_csv(
        path, dtype={"video": str, "label": str}, keep_default_na=False, na_values={"start": [""], "end": [""]}
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
    return f"{video}@{format_time(time)}"


def format_time(time: float) -> str:
    """Format a time to a microsecond, also where times count from 1970."""
    return f"{round(time, 6):.15g}"


def read_folds(path: Path) -> pd.DataFrame:
    """Read id (str, "007" and "NA" stay as they are), fold (int) and, if there, count and seed (int) of a CSV.

    Raises UserError if there is no such file, it is no CSV with these columns, or a number in it is none.
    """
    if not path.is_file():
        raise UserError(f"there is no folds file at {path}; type folds.file=PATH or stage=prepare")
    try:
        cells = pd.read_csv(path, dtype=str, keep_default_na=False, index_col=False, encoding="utf-8-sig")
    except (ValueError, pd.errors.ParserError) as error:
        raise UserError(f"{path} is not a CSV in UTF-8 ({str(error).splitlines()[0]}); {MEND}") from error
    if missing := [name for name in ("id", "fold") if name not in cells]:
        raise UserError(f"{path} has columns {list(cells)}, needed is also {', '.join(missing)}; {MEND}")
    columns = [name for name in FOLD_COLUMNS if name in cells]
    numbers = {name: _integers(cells, name, path) for name in columns[1:]}
    return pd.DataFrame({"id": cells["id"], **numbers})


def _integers(cells: pd.DataFrame, name: str, path: Path) -> "pd.Series[int]":
    """Parse whole numbers; "3.0" is one, as pandas writes a 3 beside missing values."""
    numbers = pd.to_numeric(cells[name], errors="coerce")
    wrong = numbers.isna() | (numbers % 1 != 0)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        found = f"{name} {cells[name][row]!r} for id {cells['id'][row]!r}"
        raise UserError(f"{path} has {found}, needed is a whole number; {MEND}")
    return numbers.astype(np.int64)
