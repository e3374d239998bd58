"""What `prepare` left of a competition: rows, folds, classes and the files that they are made of."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd


@dataclass(frozen=True)
class Unreadable:
    """An item to classify that cannot be read: its id, its path as in the table, and why."""

    id: str
    path: str
    why: str


@dataclass(frozen=True)
class Dataset:
    """What `prepare` left: the table, its folds, the classes in order and the folder that paths start from.

    decoder: what the pixels of images are decoded by. bits: that those of 16 bits use (None: there are no such).
    items, annotations: of video and series: one row a file, and what happens when in them; of images None.
    Where every frame is classified, `table` has a row a frame at the configuration's rate, `folds` too.
    unreadable: items to classify that are not in the table, and are asked for all the same.
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

    @property
    def nothing_to_classify(self) -> bool:
        """Whether no row, not even an unreadable one, asks for an answer."""
        return self.test.empty and not self.unreadable

    @property
    def train(self) -> pd.DataFrame:
        """The rows with a label, with their fold, sorted by id."""
        rows: pd.DataFrame = self.table[self.table.split == "train"].merge(self.folds[["id", "fold"]], on="id")
        return rows.sort_values("id")

    @property
    def test(self) -> pd.DataFrame:
        """The rows to classify, sorted by id."""
        rows: pd.DataFrame = self.table[self.table.split == "test"].sort_values("id")
        return rows

    def paths(self, rows: pd.DataFrame) -> list[Path]:
        """The image files of `rows`."""
        return [self.images_root / path for path in rows["path"]]
