"""Parquet files of a source, which are read as CSVs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from kagglepipe.competitions.parquet_tables import convert_parquets
from kagglepipe.errors import UserError

LARGE = 10**6


def test_values_are_those_of_the_table(tmp_path: Path) -> None:
    table = pd.DataFrame({
        "series_id": pd.Categorical(["a", "a", "b"]), "step": np.array([0, 1, 2**31], "uint32"),
        "text": ["x, y", "", None], "value": np.array([0.1, np.nan, 3], "float32"),
        "flag": [True, False, True], "when": pd.to_datetime(["2018-08-14"] * 3),
    })  # fmt: skip
    table.to_parquet(tmp_path / "train.parquet", row_group_size=2)
    assert convert_parquets(tmp_path, ["train.parquet", "labels.csv"], max_bytes=LARGE) == ["labels.csv", "train.csv"]
    read = pd.read_csv(tmp_path / "train.csv", parse_dates=["when"])
    assert read["step"].tolist() == [0, 1, 2**31]
    assert read["value"].astype("float32").equals(table["value"])
    assert read["series_id"].tolist() == ["a", "a", "b"]
    assert read["text"].fillna("").tolist() == ["x, y", "", ""]
    assert (read["when"] == table["when"]).all()
    assert not (tmp_path / "train.parquet").exists()


def test_parts_of_a_table_have_the_name_of_their_value(tmp_path: Path) -> None:
    pd.DataFrame({"id": ["7", "8"], "x": [1.5, 2.5]}).to_parquet(tmp_path / "series.parquet", partition_cols=["id"])
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.parquet") if path.is_file())
    assert convert_parquets(tmp_path, names, max_bytes=LARGE) == ["series.parquet/7.csv", "series.parquet/8.csv"]
    assert (tmp_path / "series.parquet/8.csv").read_text() == '"x"\n2.5\n'


def test_a_csv_beside_it_is_read_instead(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "train.csv").write_text("id\n7\n")
    pd.DataFrame({"id": [8]}).to_parquet(tmp_path / "train.parquet")
    with caplog.at_level("INFO"):
        assert convert_parquets(tmp_path, ["train.csv", "train.parquet"], max_bytes=LARGE) == [
            "train.csv",
            "train.parquet",
        ]
    assert (tmp_path / "train.csv").read_text() == "id\n7\n"
    assert "train.parquet is not read, since train.csv is there" in caplog.text


def test_columns_of_lists_and_bytes_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = pa.table({"id": [1, 2], "pixels": [[1, 2], [3]], "png": [b"\x89", b"\x00"]})
    pa.parquet.write_table(table, tmp_path / "train.parquet")
    convert_parquets(tmp_path, ["train.parquet"], max_bytes=LARGE)
    assert (tmp_path / "train.csv").read_text() == '"id"\n1\n2\n'
    assert "train.parquet: left out pixels, png, which hold lists or bytes" in caplog.text


def test_damaged_and_too_large_files_are_refused(tmp_path: Path) -> None:
    pd.DataFrame({"x": np.arange(1000)}).to_parquet(tmp_path / "large.parquet")
    (tmp_path / "torn.parquet").write_bytes((tmp_path / "large.parquet").read_bytes()[:-9])
    (tmp_path / "text.parquet").write_text("id\n7\n")
    for name in ("torn.parquet", "text.parquet"):
        with pytest.raises(UserError, match=rf"^{name} cannot be read \(.*\): download it again, save it anew"):
            convert_parquets(tmp_path, [name], max_bytes=LARGE)
    with pytest.raises(UserError, match=r"large\.parquet is larger as a CSV than download\.max_gb allows"):
        convert_parquets(tmp_path, ["large.parquet"], max_bytes=2000)


def test_a_file_that_is_excluded_stays(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("id")
    assert convert_parquets(tmp_path, ["text.parquet"], max_bytes=LARGE, exclude=["*.parquet"]) == ["text.parquet"]


def test_a_second_part_of_a_value_is_no_lost_rows(tmp_path: Path) -> None:
    (tmp_path / "id=7").mkdir()
    names = [f"id=7/part-{number}.parquet" for number in range(2)]
    for number, name in enumerate(names):
        pd.DataFrame({"x": [number]}).to_parquet(tmp_path / name)
    with pytest.raises(UserError, match=r"^id=7/part-1\.parquet is a second part of 7\.csv, which would lack its rows"):
        convert_parquets(tmp_path, names, max_bytes=LARGE)
