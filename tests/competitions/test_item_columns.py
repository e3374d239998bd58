"""Columns about items: what is read of which table, and what is said of cells that are empty, strange or left out."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.competitions.item_columns import ItemColumns, encode, read_item_columns
from kagglepipe.errors import UserError
from kagglepipe.options import CompetitionOptions

COUNT = 8  # to train on, as many to classify
TRAIN, TEST = ([f"{name}{number}.png" for number in range(COUNT)] for name in ("a", "b"))


def written(root: Path, **columns: list[Any]) -> Dataset:
    """A dataset with train.csv and test.csv, each with these columns."""
    for file, names in (("train", TRAIN), ("test", TEST)):
        pd.DataFrame({"id": names, **columns}).to_csv(root / f"{file}.csv", index=False)
    table = pd.DataFrame({"id": TRAIN + TEST, "path": TRAIN + TEST, "split": ["train"] * COUNT + ["test"] * COUNT})
    folds = pd.DataFrame({"id": TRAIN, "fold": 0})
    return Dataset(table.assign(target="x", group="g"), folds, ["x", "y"], root, "", "")


def read(dataset: Dataset, asked: tuple[str, ...] = (), **options: Any) -> ItemColumns:
    return read_item_columns(dataset, CompetitionOptions(columns={"item": "id"}, **options), asked)


def test_what_is_left_out_is_said_and_taken_if_it_is_named(tmp_path: Path) -> None:
    dataset = written(tmp_path, age=[*range(COUNT)], weight=["", "", "", "", "", "7", "8", "9"], place=["x"] * COUNT)
    found = read(dataset)
    assert list(found.train) == ["age"]
    assert found.notes == [
        "column weight is left out: it is empty for 62% of the items: columns.names=[weight] takes it",
        "column place is left out: it has one value, 'x'",
    ]
    named = read(dataset, ("weight",))
    assert list(named.train) == ["weight"]
    cells, others, kinds, notes = encode(named)
    np.testing.assert_array_equal(cells[:, 0], [np.nan] * 5 + [7, 8, 9])
    np.testing.assert_array_equal(others, cells)
    assert (kinds, notes) == ([False], ["column weight is empty for 5 training and 5 test items"])
    with pytest.raises(UserError, match=r"columns\.names=height is no column of training and test items alike"):
        read(dataset, ("height",))


def test_without_any_left_the_reasons_are_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"column place is left out: it has one value, 'x'; columns\.names="):
        read(written(tmp_path, place=["x"] * COUNT))


def test_text_in_a_column_of_numbers_is_empty_and_said() -> None:
    train = pd.DataFrame({"age": [str(number) for number in range(30)] + ["unknown"]})
    _, test, kinds, notes = encode(ItemColumns(train, pd.DataFrame({"age": ["4", "?", ""]}), []))
    assert kinds == [False]
    np.testing.assert_array_equal(test[:, 0], [4, np.nan, np.nan])
    assert notes == [
        "column age is empty for 0 training and 1 test items",
        "column age is of numbers and has unknown, ?: 2 cells are taken as empty",
    ]


def test_a_table_of_metadata_is_joined_by_a_column_of_the_others(tmp_path: Path) -> None:
    """Patients 0 to 3 have two items each in training and test; the first row of patient 3 counts."""
    dataset = written(tmp_path, patient=[n // 2 for n in range(COUNT)], view=["l", "r"] * 4)
    (tmp_path / "patients.csv").write_text("Patient,age\n3,63\n0,60\n2,62\n1,61\n3,99\n")
    found = read(dataset, metadata="patients.csv", metadata_key="patient")
    assert list(found.train) == ["view", "age"]  # the key is no column about an item
    assert found.train["age"].tolist() == ["60", "60", "61", "61", "62", "62", "63", "63"] == found.test["age"].tolist()


def test_a_table_of_metadata_that_names_the_items_in_a_column_of_its_own(tmp_path: Path) -> None:
    dataset = written(tmp_path, view=["l", "r"] * 4)
    rows = pd.DataFrame({"number": range(2 * COUNT), "img": [*TRAIN, *TEST], "age": range(2 * COUNT)})
    rows.to_csv(tmp_path / "info.csv", index=False)
    found = read(dataset, ("age",), metadata="info.csv", metadata_key="img")
    assert found.train["age"].tolist() == [str(number) for number in range(COUNT)]
    assert found.test["age"].tolist() == [str(number + COUNT) for number in range(COUNT)]


def test_infinity_is_taken_as_empty_and_said() -> None:
    cells = pd.DataFrame({"area": [*map(str, range(39)), "inf"]})
    train, _, kinds, notes = encode(ItemColumns(cells, cells[:5], []))
    assert kinds == [False]
    np.testing.assert_array_equal(train[:, 0], [*range(39), np.nan])
    assert notes == ["column area is of numbers and has inf: 1 cells are taken as empty"]
