"""What `prepare` left of a competition: rows, folds, classes and the files that they are made of."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe.competitions.annotations import read_annotations
from kagglepipe.competitions.folds import read_folds
from kagglepipe.errors import UserError
from kagglepipe.files import file_sha256, read_json, sha256
from kagglepipe.text import first_three

REPORT = "prepared.json"


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
    unreadable: test items that are not in the table but need an answer. rate: frames a second, where rows are told in
    frames. per_frame: whether they are frames. folder: data/<slug>/.
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

    def labels(self, rows: pd.DataFrame) -> NDArray[np.int64]:
        """Class indices (N,) of rows with a `target`."""
        return rows["target"].map(self.classes.index).to_numpy(np.int64)

    def paths(self, rows: pd.DataFrame) -> list[Path]:
        """The image files of `rows`."""
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
    )


def read_fold_file(path: Path) -> tuple[pd.DataFrame, str]:
    """(folds, SHA-256) of a CSV of id and fold. Raises UserError if it changes while it is read."""
    digest = file_sha256(path) if path.is_file() else ""  # read_folds tells what to do without one
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
