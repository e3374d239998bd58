"""Many series in one table: virtual files with the same numbers as files of their own, and what is refused."""

import gzip
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kagglepipe.competitions.item_tables import table_items
from kagglepipe.competitions.series_columns import counter_column
from kagglepipe.errors import UserError
from kagglepipe.options import CompetitionOptions
from kagglepipe.sequences import series_table
from kagglepipe.sequences.series import read_series
from kagglepipe.sequences.series_file import SeriesError
from kagglepipe.sequences.series_table import read_series_bytes
from kagglepipe.sequences.usual_rate import usual_rate


def drawn(lengths: dict[str, int]) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {"row": f"{name}_{n}", "series": name, "n": n, "x": rng.normal() * 1e3, "y": rng.normal()}
        for name, length in lengths.items()
        for n in range(length)
    ]
    return pd.DataFrame(rows)


def test_a_series_of_a_table_equals_the_same_rows_in_a_file_of_their_own(tmp_path: Path) -> None:
    rows = drawn({"7": 9, "a b": 1, "07": 30}).sample(frac=1, random_state=1)  # one among the other, out of order
    rows.to_csv(tmp_path / "all.csv", index=False)
    for name, own in rows.groupby("series"):
        own[["n", "x", "y"]].to_csv(tmp_path / f"{name}.csv", index=False)
        virtual = tmp_path / "all.csv" / "series" / f"{name}.csv"
        assert read_series_bytes(virtual) == (tmp_path / f"{name}.csv").read_bytes()
        read, expected = (read_series(path, time="n") for path in (virtual, tmp_path / f"{name}.csv"))
        assert read.times.tolist() == expected.times.tolist() == sorted(own["n"])
        np.testing.assert_array_equal(read.values, expected.values)


@pytest.mark.parametrize("kind", ["semicolons", "gzip", "bom", "quotes"])
def test_tables_are_written_in_many_ways(tmp_path: Path, kind: str) -> None:
    rows = pd.DataFrame({"s": ["u", "u", "v"], "x": [1.5, 2.5, -3.0], "note": ["a", "b,\nc", "d"]})
    path = tmp_path / ("all.csv.gz" if kind == "gzip" else "all.csv")
    text = rows.to_csv(index=False, quoting=1 if kind == "quotes" else 0)
    if kind == "semicolons":
        text = rows.to_csv(index=False, sep=";", decimal=",")
    data = text.encode("utf-8-sig" if kind == "bom" else "utf-8")
    path.write_bytes(gzip.compress(data) if kind == "gzip" else data)
    read = read_series(path / "s" / "u.csv")
    assert (read.names, read.values.ravel().tolist()) == (("x",), [1.5, 2.5])


def test_a_table_is_parsed_once_and_its_text_left_out_aloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    drawn({"1": 5, "2": 5}).to_csv(tmp_path / "all.csv", index=False)
    calls: list[Path] = []
    read = series_table.read_series_table

    def counted(path: Path, key: str) -> series_table.SeriesTable:
        calls.append(path)
        return read(path, key)

    monkeypatch.setattr(series_table, "read_series_table", counted)
    with caplog.at_level(logging.INFO):
        for name in ("1", "2", "1"):
            read_series_bytes(tmp_path / "all.csv" / "series" / f"{name}.csv")
    assert len(calls) == 1
    assert "left out row, which hold text" in caplog.text
    (tmp_path / "all.csv").write_text("series,x\n1,5\n")  # another state of the file
    assert read_series_bytes(tmp_path / "all.csv" / "series" / "1.csv") == b"x\n5\n"


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ("1,0.5\n1,\n1,2.5\n", [0.5, 1.5, 2.5]),  # a missing value
        ("1,0.5\n1,abc\n1,2.5\n", "column x, row 2: 'abc' is not a number"),
        ("1,\n1,NA\n", "none of its values is a number"),
    ],
)
def test_cells_of_a_channel_are_read_as_in_a_file_of_their_own(
    tmp_path: Path, rows: str, found: list[float] | str
) -> None:
    (tmp_path / "all.csv").write_text(f"s,x\n{rows}")
    path = tmp_path / "all.csv" / "s" / "1.csv"
    if isinstance(found, str):
        with pytest.raises(SeriesError, match=found):
            read_series(path)
    else:
        assert read_series(path).values.ravel().tolist() == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("s,x\na/b,1\n", "give the series names without a slash"),
        ("s,x\n,1\n", "give the series names"),
        ("s,x\n..,1\n", "give the series names"),
        ("s,x\n1,1\n1,1,1\n", "cannot be read"),
        ("s,x,x\n1,1,1\n", "has the column x twice"),
        ("s,x\n1,a\n1,b\n", "no column of numbers beside s"),
        ("key,x\n1,1\n", "has the columns key, x, …: s are needed"),
    ],
)
def test_tables_that_cannot_be_read_are_refused_in_one_line(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "all.csv").write_text(text)
    competition = CompetitionOptions(kind="series", items="all.csv", columns={"item": "s"})

    def read_all() -> None:
        for name in table_items(tmp_path, ["all.csv"], competition):
            read_series_bytes(tmp_path / name)

    with pytest.raises(UserError, match=why) as error:
        read_all()
    assert "\n" not in str(error.value)


def test_a_series_that_is_not_there_is_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text("s,x\n1,1\n")
    with pytest.raises(FileNotFoundError):
        read_series_bytes(tmp_path / "all.csv" / "s" / "2.csv")


# --- times and rates -----------------------------------------------------------------------------------------------


def gaps(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["n"] != 3]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda rows: rows, "n"),
        (lambda rows: rows.sample(frac=1, random_state=0), "n"),
        (lambda rows: rows.assign(n=rows["n"] + 100), "n"),
        (gaps, None),
        (lambda rows: gaps(rows).rename(columns={"n": "measurement_number"}), "measurement_number"),
        (lambda rows: rows.assign(n=rows["n"] // 2), None),
        (lambda rows: rows.assign(n=rows["n"] / 2), None),
        (lambda rows: rows[rows["n"] < 3], None),  # too short to tell
    ],
)
def test_a_column_that_numbers_the_rows_is_found(
    change: Callable[[pd.DataFrame], pd.DataFrame], found: str | None
) -> None:
    rows = change(drawn({"a": 12, "b": 20}))
    assert counter_column(rows.astype(str), "series") == found
    one = rows[rows["series"] == "a"].drop(columns="series")
    assert counter_column(one.astype(str), None) == found


@pytest.mark.parametrize(
    ("times", "rate"),
    [(None, 1.0), (np.arange(20) * 0.02, 50.0), (np.arange(20) * 3, 0.333333), (np.arange(2048), 0.25)],
)
def test_the_usual_rate_is_that_of_the_samples_but_of_long_series(
    tmp_path: Path, times: np.ndarray | None, rate: float
) -> None:
    for n in range(3):
        rows = pd.DataFrame({"x": np.arange(20 if times is None else len(times), dtype=float) + n})
        (rows if times is None else rows.assign(time=times)).to_csv(tmp_path / f"{n}.csv", index=False)
    files = [f"{n}.csv" for n in range(3)]
    found = usual_rate(tmp_path, files, CompetitionOptions(kind="series"))
    assert found is not None
    assert found[0] == rate
