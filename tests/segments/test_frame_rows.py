"""Where the frames of a row lie among those of its item, by arithmetic that agrees with the readers'."""

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.options import CompetitionOptions
from kagglepipe.segments.postprocess import FrameProbs
from kagglepipe.sequences.grid import at_rate, first_positions, grid_length, item_lengths, segment_positions
from kagglepipe.sequences.series import Series, resample
from kagglepipe.sequences.series_file import SeriesError

rates = st.one_of(st.integers(1, 60).map(float), st.sampled_from([0.25, 0.5, 23.976, 29.97, 1000.0]))
times = st.floats(0, 1000).map(lambda time: round(time, 3))


def items(begins: float = 0.0, ends: float = 1.0) -> pd.DataFrame:
    """One item."""
    row = {"video": "a", "path": "a.mp4", "split": "train", "group": "g", "sha256": "0" * 64}
    return pd.DataFrame([{**row, "begins": begins, "ends": ends}])


# --- as the readers have it -------------------------------------------------------------------------------------


@given(st.one_of(times, st.floats(0, 10**5)), rates)
@example(2.001005, 10.0)  # between the two tolerances that it could have been
@example(0.0, 8.0)
def test_lengths_are_those_of_the_reader_of_videos(seconds: float, rate: float) -> None:
    assert item_lengths(items(ends=seconds), rate) == {"a": grid_length(seconds, rate)}
    assert first_positions(items(ends=seconds), rate) == {"a": 0}


@given(st.floats(-1000, 1000), st.floats(0.5, 30), st.sampled_from([0.25, 1.0, 3.0, 8.0, 10.0, 29.97]))
@example(float(np.float32(0.1)), 5.0, 10.0)  # a little more than 0.1
@example(float(np.float32(0.7)), 5.0, 10.0)  # a little less than 0.7
@example(0.29, 5.0, 100.0)
def test_the_first_position_is_that_of_the_reader_of_series(begins: float, lasts: float, rate: float) -> None:
    series = Series(np.array([begins, begins + lasts]), np.zeros((2, 1), np.float32))
    try:
        grid, _ = resample(series, rate=rate)
    except SeriesError:
        return  # shorter than from one sample to the next
    table = items(begins, begins + lasts)
    assert first_positions(table, rate)["a"] / rate == grid[0]
    last = (first_positions(table, rate)["a"] + item_lengths(table, rate)["a"] - 1) / rate
    assert last <= begins + lasts


# --- pieces -----------------------------------------------------------------------------------------------------


@given(
    st.integers(0, 40),
    st.integers(0, 100),
    st.integers(0, 60),
    st.sampled_from([1.0, 3.0, 8.0, 30.0]),
    st.integers(1, 50),
)
def test_a_piece_has_the_frames_from_its_start_to_before_its_end(
    origin: int, start: int, more: int, rate: float, length: int
) -> None:
    """start and more: in tenths of a frame, so that pieces begin on frames and between them."""
    begins, ends = (10 * origin + start) / (10 * rate), (10 * origin + start + more + 1) / (10 * rate)
    first, count = segment_positions(begins, ends, rate, origin=origin, length=length)
    assert 0 <= first < first + count <= length
    inside = [k for k in range(length) if start <= 10 * k < start + more + 1]
    if inside:
        assert list(range(first, first + count)) == inside
    else:  # the frame on display meanwhile, or the last there is
        assert (first, count) == (min(start // 10, length - 1), 1)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (math.nan, math.nan, (0, 16)),
        (2.5, math.nan, (4, 12)),
        (math.nan, 2.5, (0, 4)),
        (2.0, 4.0, (0, 16)),
        (1.0, 9.0, (0, 16)),
        (2.25, 2.5, (2, 2)),
        (2.2, 2.5, (2, 2)),
        (2.25, 2.51, (2, 3)),
        (2.3, 2.31, (2, 1)),
        (3.99, 4.0, (15, 1)),
        (2.0, 2.01, (0, 1)),
    ],
)
def test_pieces_of_a_series_from_2_to_4(start: float, end: float, expected: tuple[int, int]) -> None:
    assert segment_positions(start, end, 8, origin=16, length=16) == expected


@pytest.mark.parametrize("rate", [1, 3, 7, 10, 24, 25, 30, 60])
def test_neighbouring_pieces_share_no_frame_and_leave_none_out(rate: int) -> None:
    limits = [round(k / 10, 1) for k in range(0, 101, 7)]
    seen: list[int] = []
    for start, end in itertools.pairwise(limits):
        first, count = segment_positions(start, end, rate, origin=0, length=20 * rate)
        seen += range(first, first + count)
    assert sorted(set(seen)) == list(range(math.ceil(limits[-1] * rate - 1e-9)))
    assert len(seen) == len(set(seen)) or rate == 1  # a piece of 0.7 s may lie between two seconds


# --- frames -----------------------------------------------------------------------------------------------------


def labelled(*pieces: tuple[float, float, str]) -> pd.DataFrame:
    rows = [("a", start, end, label) for start, end, label in pieces]
    return pd.DataFrame(rows, columns=["video", "start", "end", "label"])


FOLDS = pd.DataFrame({"id": ["a"], "fold": [1]})


def dataset(files: pd.DataFrame, annotations: pd.DataFrame, table: pd.DataFrame | None = None) -> Dataset:
    """Items, whose rows are the items themselves unless a table is given."""
    rows = files.assign(id=files["video"]) if table is None else table
    return Dataset(rows, FOLDS, [], Path(), "the table", "the folds", items=files, annotations=annotations)


def frames_of(
    rate: float, annotations: pd.DataFrame, begins: float = 0.0, ends: float = 1.0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    return rows_at(rate, dataset(items(begins, ends), annotations))


def rows_at(rate: float, whole: Dataset) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(table, folds) of all frames at a rate; the same once they have been at another rate."""
    competition = CompetitionOptions(kind="video", form="segments", background="none")
    found = at_rate(whole, rate, competition)
    again = at_rate(at_rate(whole, 2 * rate, competition), rate, competition)
    pd.testing.assert_frame_equal(again.table, found.table)
    pd.testing.assert_frame_equal(again.folds, found.folds)
    return found.table, found.folds


def test_a_long_video_becomes_a_row_a_frame() -> None:
    table, folds = frames_of(4, labelled((0.25, 0.75, "walk")))
    assert table["id"].tolist() == ["a@0", "a@0.25", "a@0.5", "a@0.75"]
    assert table["target"].tolist() == ["none", "walk", "walk", "none"]
    assert table["position"].tolist() == [0, 1, 2, 3]
    assert set(table["frames"]) == {1}
    assert folds["id"].tolist() == table["id"].tolist()
    assert set(folds["fold"]) == {1}


@pytest.mark.parametrize("rate", [3, 7, 10, 24, 25, 29.97, 30, 60])
def test_starts_are_included_and_ends_are_not(rate: float) -> None:
    """Whatever frame a label starts or ends at, to the last bit of its time."""
    for first in range(12):
        table, _ = frames_of(rate, labelled((first / rate, (first + 5) / rate, "walk")), ends=20 / rate)
        assert table["target"].eq("walk").to_numpy().nonzero()[0].tolist() == list(range(first, first + 5))


def test_times_as_people_write_them_meet_frames() -> None:
    for tenth in range(10):  # 0.7 is no sum of tenths, but 7/10
        table, _ = frames_of(10, labelled((float(f"0.{tenth}"), float(f"0.{tenth}5"), "walk")))
        assert table["target"].tolist().index("walk") == tenth


def test_a_video_without_labels_is_background() -> None:
    table, _ = frames_of(2, labelled())
    assert table["target"].tolist() == ["none", "none"]


def test_a_series_begins_where_it_begins() -> None:
    table, _ = frames_of(0.25, labelled((100.0, 108.0, "walk")), begins=97.0, ends=120.0)
    assert table["start"].tolist() == [100.0, 104.0, 108.0, 112.0, 116.0]
    assert table["position"].tolist() == [0, 1, 2, 3, 4]
    assert table["target"].tolist() == ["walk", "walk", "none", "none", "none"]


def test_frames_to_classify_have_no_target_and_no_fold() -> None:
    two = pd.concat([items(), items().assign(video="t", split="test", group="t")], ignore_index=True)
    table, folds = rows_at(2, dataset(two, labelled((0, 1, "walk"))))
    assert table[table["video"] == "t"]["target"].isna().all()
    assert folds["id"].tolist() == ["a@0", "a@0.5"]


@given(rates, st.floats(0, 100), st.floats(0.01, 60))
def test_times_of_frames_are_a_grid(rate: float, begins: float, lasts: float) -> None:
    """As those who look for segments in it demand."""
    if rate * lasts > 2000:
        return
    table, _ = frames_of(rate, labelled(), begins=begins, ends=begins + lasts)
    assert table["id"].is_unique
    FrameProbs(table["start"].to_numpy(), 1 / rate, np.full((len(table), 2), 0.5))


def test_pieces_of_clips_keep_their_rows_and_folds() -> None:
    table = pd.DataFrame({"id": ["a@0.5-1", "a"], "video": "a", "start": [0.5, np.nan], "end": [1.0, np.nan]})
    found = at_rate(dataset(items(), labelled(), table), 8, CompetitionOptions(kind="video"))
    assert found.table[["id", "position", "frames"]].to_numpy().tolist() == [["a@0.5-1", 4, 4], ["a", 0, 8]]
    assert found.folds is FOLDS
