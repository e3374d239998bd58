"""Series: what a file holds, what is repaired and what refused; the grid; a body's own coordinates."""

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kagglepipe.files import file_sha256
from kagglepipe.sequences import series_file
from kagglepipe.sequences.series import Series, item_inputs, read_series, resample, series_inputs
from kagglepipe.sequences.series_file import SeriesError, array_shape, infer_time_axis
from kagglepipe.sequences.skeleton import LAGS, SkeletonNormalizer, skeleton_inputs

NAN = float("nan")
KINECT = {"hip": 0, "neck": 2, "left_hip": 12, "right_hip": 16}
UTKINECT = Path(__file__).parents[3] / "shared" / "data" / "utkinect-actions" / "sequences"


def npz(folder: Path, **arrays: Any) -> Path:
    path = folder / "series.npz"
    np.savez_compressed(path, **arrays)
    return path


def text(folder: Path, content: str, encoding: str = "utf-8") -> Path:
    path = folder / "series.csv"
    path.write_text(content, encoding=encoding)
    return path


def series_of(times: list[float], values: list[float]) -> Series:
    return Series(np.array(times, np.float64), np.array(values, np.float32)[:, None])


# --- reading: what is found --------------------------------------------------------------------------------------


def test_the_arrays_of_an_npz_are_found_by_name(tmp_path: Path) -> None:
    joints = np.random.default_rng(0).normal(size=(4, 2, 3))
    path = npz(tmp_path, joints=joints, other=joints[:, 0], frame=np.array([2, 6, 8, 20], np.int32))
    read = read_series(path, values="joints", time="frame")
    assert read.times.tolist() == [2, 6, 8, 20]
    np.testing.assert_array_equal(read.values, joints.astype(np.float32))
    assert (read.times.dtype, read.values.dtype, read.repairs) == (np.float64, np.float32, ())
    other = read_series(path, channels=["other"])
    assert (other.values.shape, other.names) == ((4, 3), ("other",))


def test_time_and_values_are_found_where_there_is_no_choice(tmp_path: Path) -> None:
    arrays = {"x": np.ones((3, 2)), "label": np.array(["a", "b", "c"]), "count": np.ones((3, 2), int)}
    assert read_series(npz(tmp_path, x=arrays["x"])).times.tolist() == [0, 1, 2]
    for name in ("time", "times", "t", "frame", "frames", "timestamp"):
        assert read_series(npz(tmp_path, **arrays, **{name: np.arange(5, 8)})).times.tolist() == [5, 6, 7]


def test_an_npy_has_no_times_and_its_one_dimension_is_one_channel(tmp_path: Path) -> None:
    for array in (np.arange(3), np.arange(3.0), np.array([False, True, True])):
        np.save(tmp_path / "x.npy", array)
        read = read_series(tmp_path / "x.npy")
        assert (read.times.tolist(), read.values.tolist()) == ([0, 1, 2], [[float(number)] for number in array])


def test_a_csv_has_a_time_column_and_channels(tmp_path: Path) -> None:
    read = read_series(text(tmp_path, "Time,x,y\n0.5,1,2\n\n 0.75 ,3,-4e1\n", "utf-8-sig"))
    assert (read.times.tolist(), read.values.tolist(), read.repairs) == ([0.5, 0.75], [[1, 2], [3, -40]], ())


def test_the_channels_of_a_csv_are_found_by_name_in_any_order(tmp_path: Path) -> None:
    read = read_series(text(tmp_path, "b,time,c,a\n2,0.5,9,1\n4,1.5,9,3\n"), channels=["a", "b"])
    assert (read.times.tolist(), read.values.tolist(), read.names) == ([0.5, 1.5], [[1, 2], [3, 4]], ("a", "b"))
    assert read.repairs == ("columns left out because they are no channels: c",)


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("Label", "1", "0"), ("Label", "walk", "run"), ("class_id", "0", "0"), ("Label ID", "0", "1"),
        ("LABELS", "0", "1"), ("label-index", "0", "1"), ("targetcode", "0", "1"),
    ],
)  # fmt: skip
def test_a_column_of_labels_or_of_their_numbers_is_no_channel(
    tmp_path: Path, name: str, first: str, second: str
) -> None:
    content = f"x,classic,{name}\n1,5,{first}\n2,6,{second}\n"
    read = read_series(text(tmp_path, content), labels={"class", "label", "labels", "target"})
    assert (read.values.tolist(), read.names, read.labels) == ([[1, 5], [2, 6]], ("x", "classic"), (name,))
    assert read.repairs == (f"columns left out because they hold labels: {name}",)


def test_columns_may_be_called_by_numbers_beside_others(tmp_path: Path) -> None:
    assert read_series(text(tmp_path, "time,0.5,NA\n0,1,\n1,2,4\n")).names == ("0.5", "NA")


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ("time;x;y\n0,5;1;2,25\n1,5;3;4\n", "utf-8-sig"),
        ("time\tx\ty\n0.5\t1\t2.25\n1.5\t3\t4\n", "utf-16"),
        ("time,x,y,\n0.5,1,2.25,\n1.5,3,4,,\n", "utf-8"),
    ],
)
def test_a_csv_may_be_as_spreadsheets_write_it(tmp_path: Path, content: str, encoding: str) -> None:
    read = read_series(text(tmp_path, content, encoding))
    assert (read.names, read.times.tolist(), read.values.tolist()) == (("x", "y"), [0.5, 1.5], [[1, 2.25], [3, 4]])


def test_another_axis_of_an_array_may_be_time(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(6.0).reshape(2, 3))
    assert read_series(tmp_path / "x.npy", axis=1).values.tolist() == [[0, 3], [1, 4], [2, 5]]
    with pytest.raises(SeriesError, match=r"the shape \(2, 3\), which has no axis 2"):
        read_series(tmp_path / "x.npy", axis=2)
    assert array_shape(tmp_path / "x.npy") == ((2, 3), None)
    assert array_shape(npz(tmp_path, x=np.zeros((2, 3)), t=np.arange(3))) == ((2, 3), 3)


@pytest.mark.parametrize(
    ("arrays", "axis"),
    [
        ([((6, 48), None), ((6, 500), None)], 1),
        ([((6, 47), None), ((6, 500), None)], 0),  # in one file it is not eight times as long
        ([((500, 6), None)], 0),
        ([((14, 256), None), ((15, 256), None)], 0),  # 256 channels at 14 and 15 times
        ([((6, 10), 10), ((6, 6), 6)], 1),  # as many as there are times
        ([((10, 6), 10), ((6, 6), None)], 0),
        ([((3, 200, 25), None)], 1),
        ([((100, 20, 3), None)], 0),
        ([((3, 20, 3), None), ((4, 40), None)], 0),
        ([((9,), None)], 0),
        ([], 0),
    ],
)
def test_the_axis_that_is_time_is_told_by_all_arrays_together(
    arrays: list[tuple[tuple[int, ...], int | None]], axis: int
) -> None:
    assert infer_time_axis(arrays) == axis


def test_the_time_column_can_be_named_and_one_row_is_enough(tmp_path: Path) -> None:
    path = text(tmp_path, "t,clock\n7,1\n8,2\n")
    assert read_series(path, time="clock").values.tolist() == [[7], [8]]
    assert read_series(path).values.tolist() == [[1], [2]]
    assert read_series(text(tmp_path, "a,b\n7,1\n8,2\n")).times.tolist() == [0, 1]
    read = read_series(text(tmp_path, "t,x\n3,4\n"))
    assert (read.times.tolist(), read.values.tolist()) == ([3], [[4]])


# --- reading: what is repaired ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
def test_what_is_not_finite_is_interpolated_in_time_within_its_channel(tmp_path: Path) -> None:
    values = np.array([[NAN, 0], [10, 1], [1e300, 2], [40, 3], [-np.inf, 4]])  # 1e300 is infinite as float32
    read = read_series(npz(tmp_path, x=values, t=np.array([0, 1, 2, 4, 5])))
    assert read.values[:, 0].tolist() == [10, 10, 20, 40, 40]
    assert read.values[:, 1].tolist() == [0, 1, 2, 3, 4]
    assert read.repairs == ("3 values not finite: interpolated in time",)


def test_cells_without_a_number_are_missing_and_a_channel_without_any_becomes_zero(tmp_path: Path) -> None:
    read = read_series(text(tmp_path, "x,y\n1,0\n,NaN\nNA,inf\n4,3\n"))
    assert read.values.tolist() == [[1, 0], [2, 1], [3, 2], [4, 3]]
    assert read.repairs == ("4 values not finite: interpolated in time",)
    read = read_series(text(tmp_path, "x,lost,y\n1,,2\n3,nan,\n"))
    assert read.values.tolist() == [[1, 0, 2], [3, 0, 2]]
    assert read.repairs == ("1 value not finite: interpolated in time", "no number in channel lost: set to 0")
    joints = np.ones((2, 3, 2))
    joints[:, 1] = NAN
    assert read_series(npz(tmp_path, j=joints)).repairs == ("no number in channels 1,0, 1,1: set to 0",)


def test_rows_out_of_order_are_sorted_and_the_first_of_a_time_is_kept(tmp_path: Path) -> None:
    path = npz(tmp_path, x=np.array([[1.0], [2], [3], [4], [5]]), t=np.array([3.0, 1, 3, 2, 2]))
    read = read_series(path)
    assert (read.times.tolist(), read.values.ravel().tolist()) == ([1, 2, 3], [2, 4, 1])
    assert read.repairs == (
        "2 rows earlier than the one before: sorted",
        "2 rows at a time that was there already: dropped",
    )


@given(st.lists(st.tuples(st.integers(-5, 5), st.one_of(st.integers(-99, 99), st.just(NAN))), min_size=1, max_size=12))
def test_whatever_comes_in_times_increase_and_values_are_finite(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, float]]
) -> None:
    times, values = np.array([row[0] for row in rows]), np.array([[row[1]] for row in rows], float)
    path = npz(tmp_path_factory.mktemp("any"), x=values, t=times)
    if np.isnan(values).all():
        with pytest.raises(SeriesError, match="none of its values"):
            read_series(path)
        return
    read = read_series(path)
    assert read.times.tolist() == sorted(set(times.tolist()))
    assert np.isfinite(read.values).all()
    firsts = dict(reversed(rows))
    for time, value in zip(read.times, read.values[:, 0], strict=True):
        assert np.isnan(firsts[int(time)]) or firsts[int(time)] == value


# --- reading: what is refused -------------------------------------------------------------------------------------


HEADERLESS = r"it has no header, its first row is numbers .*add a row of column names"


@pytest.mark.parametrize(
    ("content", "names", "words"),
    [
        ("", {}, "no rows"),
        ("t,x\n", {}, "no rows"),
        ("time,0.5\n", {}, "it has no rows"),
        ("t\n1\n2\n", {}, "no channels"),
        ("t,x\n1,nan\n2,\n", {}, "none of its values is a number"),
        ("t,x\n1,2\n2,high\n", {}, "column x, row 2: 'high' is not a number"),
        ("t,x\n1,1_000\n", {}, "column x, row 1: '1_000' is not a number"),
        ("t,x\n2020-01-01,2\n", {}, "column t, row 1: '2020-01-01' is not a number"),
        ("t,x\n1,2\n,3\n", {}, "row 2 has no time"),
        ("t,x\ninf,2\n", {}, "row 1 has no time"),
        ("t,x\n1,2\n3\n", {}, "row 2 has 1 cells, the header 2"),
        ("t,x\n1,2,3\n", {}, "row 1 has 3 cells, the header 2"),
        (",x\n0,2\n", {}, "column 1 has no name"),
        ("x,x\n0,2\n", {}, "column x is there twice"),
        ("t,x\n0,1\n", {"time": "y"}, "no column y; there are t, x"),
        ("t,x\n0,1\n", {"values": "x"}, "values=x names an array"),
        ("a,q\n1,2\n", {"channels": ["a", "b"]}, "has no column b, which is a channel of others; there are a, q"),
        *(
            (f"{header}\n1,2,3\n", {}, HEADERLESS)
            for header in ("0.5,1,2", "0,1,2", "1,nan,-3e4", "0.5,NA,2", "0.5,,2")
        ),
        ("0.5,1,walk\n2,3,walk\n", {}, HEADERLESS),
    ],
)
def test_a_csv_that_is_no_series_is_refused(tmp_path: Path, content: str, names: dict[str, Any], words: str) -> None:
    with pytest.raises(SeriesError, match=words):
        read_series(text(tmp_path, content), **names)


@pytest.mark.parametrize("data", [b"\xff\xfe\x00\x81", b"t,x\n1,\x00\n", b't,x\n1,"' + b"9" * 200_000 + b'"\n'])
def test_a_csv_of_other_bytes_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.csv").write_bytes(data)
    with pytest.raises(SeriesError):
        read_series(tmp_path / "x.csv")


def test_a_header_that_promises_too_much_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 4)})
    (tmp_path / "x.npy").write_bytes(buffer.getvalue() + b"\0" * 64)
    with pytest.raises(SeriesError, match="array values is damaged"):
        read_series(tmp_path / "x.npy")


PAIR = np.ones((2, 2))
NAMED = {"x": PAIR, "words": np.array(["a", "b"]), "deep": np.ones((2, 2, 2, 2)), "when": np.ones((2, 1))}


@pytest.mark.parametrize(
    ("arrays", "names", "words"),
    [
        ({"x": np.ones((0, 2))}, {}, "no rows"),
        ({"x": np.ones((2, 0))}, {}, "no channels"),
        ({"x": np.full((2, 2), NAN)}, {}, "none of its values"),
        ({"x": np.ones((2, 2, 2, 2))}, {}, "none of x looks like the values"),
        ({"x": np.ones((2, 2), int)}, {}, "none of x looks like the values"),
        ({"x": PAIR, "y": PAIR}, {}, "x, y could be the values"),
        ({}, {}, "none of nothing"),
        ({"x": np.array([[1], [2, 3]], object)}, {}, "array x holds Python objects"),
        ({"x": PAIR, "t": np.arange(3)}, {}, r"times have the shape \(3,\); its values have 2 rows"),
        ({"x": PAIR, "t": np.array([0, NAN])}, {}, "row 2 has no time"),
        ({"x": PAIR, "t": np.array(["a", "b"])}, {}, "times are <U1, not numbers"),
        ({"x": PAIR, "t": np.array([0, 1], object)}, {}, "array t holds Python objects"),
        (NAMED, {"values": "y"}, "no array y; there are x, words, deep, when"),
        (NAMED, {"time": "y"}, "no array y"),
        (NAMED, {"values": "words"}, "values are <U1, not numbers"),
        (NAMED, {"values": "deep"}, r"shape \(2, 2, 2, 2\)"),
        (NAMED, {"values": "x", "time": "when"}, r"times have the shape \(2, 1\)"),
        (NAMED, {"channels": ["skeleton"]}, "no array skeleton; there are x, words, deep, when"),
    ],
)
def test_an_npz_that_is_no_series_is_refused(
    tmp_path: Path, arrays: dict[str, Any], names: dict[str, Any], words: str
) -> None:
    with pytest.raises(SeriesError, match=words):
        read_series(npz(tmp_path, **arrays), **names)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "opened",))

    np.save(tmp_path / "objects.npy", np.array([Bomb()], object), allow_pickle=True)
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(Bomb()))
    with zipfile.ZipFile(tmp_path / "pickle.npz", "w") as archive:
        archive.writestr("x.npy", pickle.dumps(Bomb()))
    for name in ("objects.npy", "pickle.npy", "pickle.npz"):
        with pytest.raises(SeriesError):
            read_series(tmp_path / name)
    assert not (tmp_path / "opened").exists()


def test_an_archive_of_zeros_is_not_unpacked_beyond_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = npz(tmp_path, x=np.zeros((1000, 1000)))
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(series_file, "MAX_BYTES", 2**20)
    with pytest.raises(SeriesError, match="it holds 8 MiB; the limit is 1"):
        read_series(path)
    np.save(tmp_path / "x.npy", np.zeros((1000, 1000)))
    with pytest.raises(SeriesError, match="it holds 8 MiB"):
        read_series(tmp_path / "x.npy")


def test_an_archive_that_understates_its_size_is_cut_off(tmp_path: Path) -> None:
    path = npz(tmp_path, x=np.zeros((1000, 1000)))
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", 4096)  # what unpacking would come to
    path.write_bytes(data)
    with pytest.raises(SeriesError, match="damaged"):
        read_series(path)


@pytest.mark.parametrize("save", [np.save, np.savez])
def test_half_a_file_is_refused(tmp_path: Path, save: Callable[..., None]) -> None:
    path = tmp_path / ("part.npy" if save is np.save else "part.npz")
    save(path, np.random.default_rng(0).normal(size=(40, 2)))
    whole = path.read_bytes()
    for kept in (0, 1, 30, 200, 400):
        path.write_bytes(whole[:kept])
        with pytest.raises(SeriesError):
            read_series(path)


def test_other_endings_are_refused_and_case_does_not_matter(tmp_path: Path) -> None:
    for name in ("x.txt", "x"):
        (tmp_path / name).touch()
        with pytest.raises(SeriesError, match=r"is not one of \.npz, \.npy, \.csv"):
            read_series(tmp_path / name)
    (tmp_path / "X.CSV").write_text("x\n1\n")
    assert read_series(tmp_path / "X.CSV").values.tolist() == [[1]]
    with pytest.raises(FileNotFoundError):
        read_series(tmp_path / "missing.csv")


# --- a regular grid -----------------------------------------------------------------------------------------------


def test_joints_keep_their_shape_and_one_row_is_a_grid_of_at_most_one() -> None:
    values = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    times, at = resample(Series(np.array([0.0, 1.0]), values), rate=2)
    np.testing.assert_allclose(at, [values[0], values.mean(axis=0), values[1]])
    assert (times.dtype, at.dtype) == (np.float64, np.float32)
    assert resample(series_of([0.5], [7]), rate=2)[1].tolist() == [[7]]
    with pytest.raises(SeriesError, match=r"a rate of 4 has no sample from 0\.3 to 0\.3"):
        resample(series_of([0.3], [7]), rate=4)
    for end, last in ((3, 3), (99, 10)):  # the end cuts, and nothing is extrapolated
        assert resample(series_of([0, 10], [0, 10]), rate=1, end=end)[0].tolist() == list(range(last + 1))


def test_grids_without_end_or_sense_are_refused() -> None:
    with pytest.raises(SeriesError, match="more than 10000000 samples"):
        resample(series_of([0, 1e12], [0, 1]), rate=30)
    with pytest.raises(SeriesError, match=r"no sample from 0\.5 to 0\.4"):
        resample(series_of([0.5, 1], [0, 1]), rate=30, end=0.4)
    for rate in (0, -1, NAN, np.inf):
        with pytest.raises(ValueError, match="rate must be positive"):
            resample(series_of([0, 1], [0, 1]), rate=rate)


@given(
    st.lists(st.integers(-4000, 4000), min_size=2, max_size=20, unique=True),
    st.sampled_from([1, 4, 8, 15, 29.97, 30, 0.25, 1 / 3]),
    st.sampled_from([1.0, 0.1, 1 / 15, 1 / 30]),
)
def test_the_grid_is_every_multiple_within_and_lines_stay_lines(whole: list[int], rate: float, unit: float) -> None:
    times = np.sort(np.array(whole)) * unit
    near = range(int(times[0] * rate) - 2, int(times[-1] * rate) + 3)
    expected = [k / rate for k in near if times[0] <= k / rate <= times[-1]]
    try:
        grid, values = resample(Series(times, (2 * times + 1).astype(np.float32)[:, None]), rate=rate)
    except SeriesError:
        assert not expected
        return
    assert grid.tolist() == expected
    assert times[0] <= grid[0] < times[0] + 1 / rate * 1.001
    assert times[-1] >= grid[-1] > times[-1] - 1 / rate * 1.001
    np.testing.assert_allclose(np.diff(grid), 1 / rate)
    np.testing.assert_allclose(values[:, 0], 2 * grid + 1, atol=2e-3)


def test_times_on_the_grid_are_found_exactly() -> None:
    for rate in (10, 15, 25, 30, 60):
        times = np.array([float(Fraction(k, rate)) for k in range(5000)])
        values = np.random.default_rng(0).normal(size=(5000, 2)).astype(np.float32)
        grid, at = resample(Series(times, values), rate=rate)
        np.testing.assert_array_equal(grid, times)
        np.testing.assert_array_equal(at, values)


# --- skeletons ----------------------------------------------------------------------------------------------------


def walker(frames: int = 40, seed: int = 0) -> NDArray[np.float64]:
    """(T, 20, 3) a body like Kinect's whose joints wander; its right is x, y up."""
    rng = np.random.default_rng(seed)
    body = rng.normal(size=(20, 3)) * (0.3, 0.6, 0.2)
    body[[0, 2, 12, 16]] = [[0, 0.9, 0], [0, 1.4, 0], [-0.1, 0.85, 0], [0.1, 0.85, 0]]
    return body + np.cumsum(rng.normal(0, 0.01, (frames, 20, 3)), axis=0) + np.linspace(0, 1, frames)[:, None, None]


def about_the_vertical(degrees: float) -> NDArray[np.float64]:
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])


def test_turning_moving_and_scaling_a_body_changes_nothing_but_leaning_does() -> None:
    joints = walker()
    inputs = skeleton_inputs(joints, **KINECT)
    for degrees in (30, 90, 180, -137):
        elsewhere = 1.7 * joints @ about_the_vertical(degrees) + (3, -2, 5)
        np.testing.assert_allclose(skeleton_inputs(elsewhere, **KINECT), inputs, atol=2e-5)
    lean = joints[:, :, [0, 2, 1]]  # y and z exchanged
    assert np.abs(skeleton_inputs(lean, **KINECT) - inputs).max() > 0.5


def test_earlier_frames_do_not_know_later_ones_and_a_stream_gives_what_the_recording_gives() -> None:
    joints = walker().astype(np.float32)
    whole = skeleton_inputs(joints, **KINECT)
    for frames in (1, 2, 17):
        np.testing.assert_array_equal(skeleton_inputs(joints[:frames], **KINECT), whole[:frames])
    body = SkeletonNormalizer(**KINECT)
    np.testing.assert_array_equal([body.update(frame) for frame in joints], whole)


def test_a_body_worked_by_hand() -> None:
    """Hip, neck, left hip, right hip; it looks along +x, its right is +z; it steps forward and up, then stands."""
    still = np.array([[2, 1, 4], [2, 1.5, 4], [2, 1, 3.9], [2, 1, 4.1]])
    after = still + np.array([0.25, 0.1, 0])
    inputs = skeleton_inputs(np.stack([still, after, after]), hip=0, neck=1, left_hip=2, right_hip=3)
    sideways = [0, 1, 0, -0.2, 0, 0, 0.2, 0, 0]  # neck up, left hip to the left, right hip to the right
    np.testing.assert_allclose(inputs[0], [0, 0, 0, *sideways, 0], atol=1e-6)
    np.testing.assert_allclose(inputs[1], [0, 0.2, -0.5, *sideways, 0.2], atol=1e-6)  # forward is -z
    np.testing.assert_allclose(inputs[2], [0, 0, 0, *sideways, 0.2], atol=1e-6)
    assert inputs.dtype == np.float32


def test_the_turn_follows_a_body_slowly() -> None:
    still = np.array([[0, 1, 0], [0, 2, 0], [-0.1, 1, 0], [0.1, 1, 0]])
    turned = still @ about_the_vertical(90)
    inputs = skeleton_inputs(np.stack([still] + [turned] * 60), hip=0, neck=1, left_hip=2, right_hip=3)
    across = inputs[:, 9]  # of the right hip
    assert across[0] == pytest.approx(0.1)
    assert 0 < across[1] < 0.02
    assert np.all(np.diff(across[1:]) > -1e-6)
    assert across[-1] == pytest.approx(0.1, abs=1e-3)


def test_joints_in_one_point_give_finite_inputs_and_those_of_another_shape_none() -> None:
    assert skeleton_inputs(np.zeros((3, 20, 3)), **KINECT).tolist() == np.zeros((3, 61)).tolist()
    for shape in ((4, 20, 2), (4, 60), (0, 20, 3)):
        with pytest.raises(ValueError, match="joints must be"):
            skeleton_inputs(np.zeros(shape), **KINECT)


# --- what a model is given --------------------------------------------------------------------------------------


def test_without_a_skeleton_the_inputs_are_the_channels_on_the_grid(tmp_path: Path) -> None:
    """Channels are named by the type of file."""
    path = npz(
        tmp_path, other=np.zeros((3, 9)), x=np.array([[0.0, 5.0], [2.0, 5.0], [4.0, 9.0]]), t=np.array([0, 1, 2])
    )
    times, inputs, _ = series_inputs(path, rate=2, columns={"values": "x", "time": "t", "group": "subject"})
    assert times.tolist() == [0, 0.5, 1, 1.5, 2, 2.5]  # the last row holds until the next would come
    assert inputs.tolist() == [[0, 5], [1, 5], [2, 5], [3, 7], [4, 9], [4, 9]]
    joints = npz(tmp_path, x=np.arange(12.0).reshape(2, 3, 2))
    assert series_inputs(joints, rate=1)[1].tolist() == np.arange(12.0).reshape(2, 6).tolist()
    path = text(tmp_path, "b,t,a\n2,0,1\n2,1,1\n")
    assert series_inputs(path, rate=1, channels={"csv": ["a", "b"], "npz": ["x"]}).values.tolist() == [[1, 2]] * 2
    assert series_inputs(path, rate=1, channels={"npz": ["x"]}).values.tolist() == [[2, 1]] * 2
    assert series_inputs(path, rate=1, channels={"csv": ["a"]}).repairs


@pytest.mark.parametrize(("rate", "said"), [(10, "one of about 5 samples"), (40, None), (50, None), (100, None)])
def test_samples_that_a_rate_leaves_out_are_said(
    rate: float, said: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    path = npz(tmp_path, values=np.arange(100.0)[:, None], time=np.arange(100) / 50)
    row = {"video": "a", "path": path.name, "sha256": file_sha256(path), "frames": 100, "begins": 0.0, "ends": 2.0}
    found = item_inputs(pd.DataFrame([row]), [path], rate=rate)
    assert len(found["a"]) == 2 * rate
    assert ("sequences.rate=50 reads all" in caplog.text) == (said is not None)
    assert (said or "") in caplog.text


def test_of_a_skeleton_the_inputs_are_the_body_and_its_changes(tmp_path: Path) -> None:
    joints = walker()
    path = npz(tmp_path, joints=joints)
    times, inputs, _ = series_inputs(path, rate=1, skeleton=KINECT)
    body = skeleton_inputs(joints.astype(np.float32), **KINECT)
    assert times.tolist() == list(range(len(joints)))
    assert inputs.dtype == np.float32
    expected = [body, *(body - np.concatenate([np.repeat(body[:1], lag, axis=0), body[:-lag]]) for lag in LAGS)]
    np.testing.assert_allclose(inputs, np.concatenate(expected, axis=1), atol=1e-5)
    np.testing.assert_allclose(series_inputs(npz(tmp_path, joints=joints[:9]), rate=1, skeleton=KINECT)[1], inputs[:9])
    for shape in ((5, 60), (5, 20, 2), (5, 16, 3)):
        with pytest.raises(SeriesError, match=r"no skeleton: joints .*right_hip.*are not in an array of shape"):
            series_inputs(npz(tmp_path, x=np.zeros(shape)), rate=1, skeleton=KINECT)


@pytest.mark.real
def test_utkinect_sequences_are_read_and_face_the_sensor() -> None:
    """Most of the time the performers look at the sensor: their back is away from it, their head above."""
    if not UTKINECT.exists():
        pytest.skip("the sequences are not at ../shared/data")
    for path in sorted(UTKINECT.glob("*.npz")):
        read = read_series(path, values="joints", time="frame")
        assert read.values.shape[1:] == (20, 3)
        assert read.repairs == ()
        _, joints = resample(read, rate=0.25)
        inputs = skeleton_inputs(joints, **KINECT)[:, :60].reshape(-1, 20, 3)
        assert np.isfinite(inputs).all()
        assert np.median(inputs[:, 3, 1]) > 1
        assert np.median(inputs[:, [15, 19], 2] - inputs[:, [14, 18], 2]) < 0  # feet point to the front
