"""From a file of numbers over time to a regular grid, and from joints to what a body does wherever it stands.

A series is read whole and repaired in documented ways; what cannot be repaired is refused in a few words.
"""

import csv
import io
import itertools
import lzma
import math
import re
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kagglepipe.competitions.spreadsheet import UTF16, separator_of
from kagglepipe.sequences.grid import tolerance

Times = NDArray[np.float64]  # (T,)
Values = NDArray[np.float32]  # (T, F) or (T, J, D)

MAX_BYTES = 2**30  # of a file, or of all that an .npz unpacks to
MAX_SAMPLES = 10**7  # of a grid
TIME_NAMES = ("time", "times", "t", "frame", "frames", "timestamp")  # the first that is there tells the time
NUMBER_OF = re.compile(r"(?:id|idx|index|no|nr|num|number|code|name)$")  # class_id is as much of an answer as class
MISSING = ("", "na", "n/a", "null", "none")  # cells without a number, beside nan and inf
LONGER = 8  # times: an axis that is so much longer than the others is time
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, ValueError)


class SeriesError(ValueError):
    """A file that is not a usable series; the message says why."""


@dataclass(frozen=True)
class Series:
    """Numbers over time.

    times: (T,) strictly increasing, in the file's unit. values: (T, F) channels or (T, J, D) joints, all finite.
    repairs: what was repaired and how often, in words; empty where nothing was. names: of a .csv its channels, of an
    .npz the array that was read. labels: columns of a .csv that were passed over since they hold answers.
    """

    times: Times
    values: Values
    repairs: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


# --- reading ------------------------------------------------------------------------------------------------


def read_series(
    path: Path,
    *,
    values: str | None = None,
    time: str | None = None,
    channels: Sequence[str] = (),
    labels: Collection[str] = (),
    axis: int = 0,
) -> Series:
    """The series in an .npz, .npy or .csv file; one row is enough.

    values: the array of an .npz; None: its only float array of two or three dimensions. One dimension is one channel.
    time: the array of an .npz or column of a .csv that tells the time; None: the one called as in `TIME_NAMES`,
    else rows are at 0, 1, 2, … An .npy has no time.
    channels: of a .csv the columns to read, in this order, whatever theirs is; others are left out, which `repairs`
    tells. Empty: all but the time and those called as one of `labels` (see `is_answer`). Of an .npz its array.
    axis: of the array, which is time.

    Repairs, all told in `repairs`: rows out of order are sorted by time; of rows at one time the first is kept;
    what is not finite is interpolated linearly in time within its channel, beyond the channel's first and last
    number held; a channel without any number becomes 0.
    Raises SeriesError if nothing usable is in it. Python objects are never unpickled.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise SeriesError(f"{path.suffix or 'a file without ending'} is not one of {', '.join(SUFFIXES)}")
    if suffix != ".npz" and values is not None:
        raise SeriesError(f"values={values} names an array of an .npz, which a {suffix} is not")
    try:
        raw = _read_csv(path, time, channels, labels) if suffix == ".csv" else _read_array(path, values, time, channels)
    except SeriesError:
        raise
    except (*DAMAGE, csv.Error) as error:
        raise SeriesError(
            f"damaged, or not a {suffix} ({str(error).splitlines()[0] if str(error) else error!r})"
        ) from error
    if axis and suffix != ".csv":
        raw = replace(raw, values=_with_time_first(raw.values, axis))
    return _repaired(raw)


@dataclass(frozen=True)
class _Raw:
    """What a file holds. times: None where it tells none; the others as of Series."""

    values: NDArray[Any]
    times: NDArray[Any] | None = None
    names: Sequence[str] = ()
    labels: Sequence[str] = ()
    left_out: Sequence[str] = ()


def array_shape(
    path: Path, *, values: str | None = None, time: str | None = None
) -> tuple[tuple[int, ...], int | None]:
    """(the shape of the array in an .npz or .npy, the number of its times, None where it tells none).

    Raises SeriesError as `read_series`.
    """
    try:
        raw = _read_array(path, values, time, ())
    except SeriesError:
        raise
    except DAMAGE as error:
        raise SeriesError(f"damaged, or not a {path.suffix.lower()}") from error
    return raw.values.shape, None if raw.times is None else len(raw.times)


def time_axis(arrays: Sequence[tuple[tuple[int, ...], int | None]]) -> int:
    """Which axis of arrays is time: the first one, unless another one has as many rows as there are times or, in all
    arrays, is at least `LONGER` times as long as each other axis; these have one length then, as channels have.

    arrays: (shape, number of times, None where none are told) of each.

    >>> time_axis([((6, 200), None), ((6, 48), None)]), time_axis([((6, 200), None), ((6, 40), None)])
    (1, 0)
    >>> time_axis([((14, 256), None), ((15, 256), None)])
    0
    """
    dimensions = {len(shape) for shape, _ in arrays}
    if len(dimensions) != 1:
        return 0
    axes = range(dimensions.pop())
    if any(times is not None for _, times in arrays):
        fits = [axis for axis in axes if all(shape[axis] == times for shape, times in arrays if times is not None)]
        return fits[0] if fits else 0
    for axis in axes:
        others = [shape[:axis] + shape[axis + 1 :] for shape, _ in arrays]
        is_one = len(set(others)) == 1  # what varies from file to file is no number of channels
        if is_one and all(shape[axis] >= LONGER * max(others[0], default=0) for shape, _ in arrays):
            return axis
    return 0


def _with_time_first(values: NDArray[Any], axis: int) -> NDArray[Any]:
    if axis >= values.ndim:
        raise SeriesError(f"its values have the shape {values.shape}, which has no axis {axis}")
    return np.moveaxis(values, axis, 0)


def _read_array(path: Path, values: str | None, time: str | None, channels: Sequence[str]) -> _Raw:
    _demand_small(path.stat().st_size)
    if path.suffix.lower() == ".npz":
        return _read_npz(path, values or next(iter(channels), None), time)
    if time is not None:
        raise SeriesError(f"time={time} names an array of an .npz or a column of a .csv, which an .npy is not")
    return _Raw(_array(path.read_bytes(), "values"))


def _read_npz(path: Path, values: str | None, time: str | None) -> _Raw:
    members = _unpack(path)
    for name in (values, time):
        if name is not None and name not in members:
            raise SeriesError(f"no array {name}; there are {_some(members)}")
    if values is None:
        values = _only_values({name: _array(data, name) for name, data in members.items()})
    if time is None:
        time = next((name for name in TIME_NAMES if name in members and name != values), None)
    times = None if time is None else _array(members[time], time)
    return _Raw(_array(members[values], values), times, [values])


def _unpack(path: Path) -> dict[str, bytes]:
    """name -> bytes of each array; no more is unpacked than the archive declares."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        _demand_small(sum(member.file_size for member in members))
        unpacked = {}
        for member in members:
            with archive.open(member) as file:
                unpacked[member.filename.removesuffix(".npy")] = file.read(member.file_size)
    return unpacked


def _array(data: bytes, name: str) -> NDArray[Any]:
    try:
        return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, MemoryError) as error:
        words = "holds Python objects, which are not read" if "Object arrays" in str(error) else "is damaged"
        raise SeriesError(f"array {name} {words}") from error


def _only_values(arrays: Mapping[str, NDArray[Any]]) -> str:
    found = [name for name, array in arrays.items() if array.dtype.kind == "f" and array.ndim in (2, 3)]
    if len(found) != 1:
        what = f"{_some(found)} could be" if found else f"none of {_some(arrays)} looks like"
        raise SeriesError(f"{what} the values (floats in two or three dimensions); name one with values=")
    return found[0]


def _read_csv(path: Path, time: str | None, channels: Sequence[str], labels: Collection[str]) -> _Raw:
    _demand_small(path.stat().st_size)
    with path.open(newline="", encoding=_encoding(path)) as file:
        separator = separator_of(file.readline())
        file.seek(0)
        rows = (row for row in csv.reader(file, delimiter=separator) if row)
        header, first = [name.strip() for name in next(rows, [])], next(rows, [])
        header = header[: max((place for place, name in enumerate(header, 1) if name), default=0)]
        _demand_names(header, first)
        time = _time_column(header, time)
        answers = [name for name in header if is_answer(name, labels) and name != time]
        names = list(channels) or [name for name in header if name != time and name not in answers]
        if missing := [name for name in names if name not in header]:
            raise SeriesError(f"it has no column {missing[0]}, which is a channel of others; there are {_some(header)}")
        read = [*names, *([] if time is None else [time])]
        filled = itertools.chain([first] if first else [], rows)
        table = list(_numbers(filled, header, read, has_decimal_commas=separator != ","))
    cells = np.array(table, np.float64).reshape(len(table), len(read))
    left_out = [name for name in header if name not in read and name not in answers]
    times = None if time is None else cells[:, -1]
    return _Raw(cells[:, : len(names)], times, names, answers, left_out)


def _time_column(header: Sequence[str], time: str | None) -> str | None:
    """The column that tells the time; None: there is none. Raises SeriesError for one that is asked for in vain."""
    if time is not None and time not in header:
        raise SeriesError(f"no column {time}; there are {_some(header)}")
    lower = [name.lower() for name in header]
    return time or next((header[lower.index(name)] for name in TIME_NAMES if name in lower), None)


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        return "utf-16" if file.read(2) in UTF16 else "utf-8-sig"


def is_answer(name: str, labels: Collection[str]) -> bool:
    """Whether a column is called like one of `labels`, whatever its case and signs, or like the number of one.

    >>> [is_answer(name, {"class", "label"}) for name in ("Class", "class_id", "LABEL", "classic")]
    [True, True, True, False]
    """
    plain = re.sub(r"[\W_]+", "", name.casefold())
    return name.casefold() in labels or plain in labels or NUMBER_OF.sub("", plain) in labels


def _is_data(header: Sequence[str], first: Sequence[str]) -> bool:
    """Whether the first row is none of names: it has numbers, and no text that stands over a number.

    first: the row after it.
    """
    numbers = [_is_number(cell) for cell in header]
    names = [
        cell.lower() not in MISSING and not is_number and (place >= len(first) or _is_number(first[place].strip()))
        for place, (cell, is_number) in enumerate(zip(header, numbers, strict=True))
    ]
    return any(numbers) and not any(names)


def _demand_names(header: Sequence[str], first: Sequence[str]) -> None:
    if _is_data(header, first):
        raise SeriesError(f"it has no header, its first row is numbers ({_some(header)}): add a row of column names")
    if "" in header:
        raise SeriesError(f"column {header.index('') + 1} has no name")
    if twice := [name for name in header if header.count(name) > 1]:
        raise SeriesError(f"column {twice[0]} is there twice")


def _numbers(
    rows: Iterable[list[str]], header: Sequence[str], read: Sequence[str], *, has_decimal_commas: bool
) -> Iterator[NDArray[np.float64]]:
    """The numbers of each row in the columns `read`, in that order; empty cells behind the last column count not."""
    places = [header.index(name) for name in read]
    for number, row in enumerate(rows, 1):
        if len(row) < len(header) or any(cell.strip() for cell in row[len(header) :]):
            raise SeriesError(f"row {number} has {len(row)} cells, the header {len(header)}")
        cells = [row[place].replace(",", ".") if has_decimal_commas else row[place] for place in places]
        yield np.array([_number(cell, name, number) for cell, name in zip(cells, read, strict=True)])


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace("_", "?").replace(",", "."))
    except ValueError:
        return False
    return True


def _number(cell: str, column: str, row: int) -> float:
    if cell.strip().lower() in MISSING:
        return math.nan
    try:
        return float(cell.replace("_", "?"))  # Python alone reads 1_000 as a number
    except ValueError:
        raise SeriesError(f"column {column}, row {row}: {cell[:40]!r} is not a number") from None


SUFFIXES = (".npz", ".npy", ".csv")


def _demand_small(size: int) -> None:
    if size > MAX_BYTES:
        raise SeriesError(f"it holds {size / 2**20:.0f} MiB; the limit is {MAX_BYTES / 2**20:.0f}")


def _some(names: Mapping[str, Any] | Sequence[str]) -> str:
    return ", ".join(list(names)[:6]) + ", …" * (len(names) > 6) if names else "nothing"


# --- repairing ----------------------------------------------------------------------------------------------


def _repaired(raw: _Raw) -> Series:
    values = _as_values(raw.values)
    times = _as_times(raw.times, len(values))
    repairs = []
    if backwards := int((np.diff(times) < 0).sum()):
        order = np.argsort(times, kind="stable")
        times, values = times[order], values[order]
        repairs.append(f"{backwards} {_rows(backwards)} earlier than the one before: sorted")
    first = np.diff(times, prepend=-np.inf) > 0
    if repeated := int((~first).sum()):
        times, values = times[first], values[first]
        repairs.append(f"{repeated} {_rows(repeated)} at a time that was there already: dropped")
    names = raw.names if len(raw.names) == np.prod(values.shape[1:]) else ()
    filled, more = _filled(times, values, names)
    for columns, why in ((raw.labels, "hold answers"), (raw.left_out, "are no channels")):
        if columns:
            more.append(f"columns left out, since they {why}: {_some(columns)}")
    return Series(times, filled, (*repairs, *more), tuple(raw.names), tuple(raw.labels))


def _rows(count: int) -> str:
    return "row" if count == 1 else "rows"


def _as_values(values: NDArray[Any]) -> Values:
    """(T, F) or (T, J, D), not empty, with at least one number; too large for float32 is infinite."""
    if values.dtype.kind not in "biuf":
        raise SeriesError(f"its values are {values.dtype}, not numbers")
    if values.ndim not in (1, 2, 3):
        raise SeriesError(
            f"its values have the shape {values.shape}; (rows, channels) or (rows, joints, axes) are read"
        )
    if not values.size:
        raise SeriesError("it has no rows" if not len(values) else "it has no channels")
    with np.errstate(over="ignore"):
        small = values.astype(np.float32)
    if not np.isfinite(small).any():
        raise SeriesError("none of its values is a number")
    return small[:, None] if small.ndim == 1 else small


def _as_times(times: NDArray[Any] | None, rows: int) -> Times:
    if times is None:
        return np.arange(rows, dtype=np.float64)
    if times.dtype.kind not in "iuf":
        raise SeriesError(f"its times are {times.dtype}, not numbers")
    if times.shape != (rows,):
        raise SeriesError(f"its times have the shape {times.shape}; its values have {rows} rows")
    exact = times.astype(np.float64)
    if (bad := ~np.isfinite(exact)).any():
        raise SeriesError(f"row {int(bad.argmax()) + 1} has no time")
    return exact


def _filled(times: Times, values: Values, names: Sequence[str]) -> tuple[Values, list[str]]:
    """The values without gaps, and what was filled. A channel is a column, or an axis of a joint."""
    channels = values.reshape(len(values), -1).copy()
    finite = np.isfinite(channels)
    count, empty = 0, []
    for channel in np.flatnonzero(~finite.all(axis=0)).tolist():
        known = finite[:, channel]
        if known.any():
            count += int((~known).sum())
            channels[~known, channel] = np.interp(times[~known], times[known], channels[known, channel])
        else:
            channels[:, channel] = 0
            at = np.unravel_index(channel, values.shape[1:])
            empty.append(names[channel] if names else ",".join(str(index) for index in at))
    repairs = [f"{count} {'value' if count == 1 else 'values'} not finite: interpolated in time"] if count else []
    if empty:
        repairs.append(f"no number in {'channel' if len(empty) == 1 else 'channels'} {_some(empty)}: set to 0")
    return channels.reshape(values.shape), repairs


# --- a regular grid -----------------------------------------------------------------------------------------


def resample(
    series: Series, *, rate: float, start: float | None = None, end: float | None = None
) -> tuple[Times, Values]:
    """(N,) the times k/rate for whole k within the series, and (N, …) its values there, interpolated linearly.

    rate: samples in a unit of the series' time. start, end: cut the grid further, both included; None: no cut.
    Nothing is extrapolated: outside the series there are no samples. `largest_gap` tells what was bridged.
    Raises SeriesError if no k/rate lies within, or too many do.

    >>> series = Series(np.array([0.0, 3.0]), np.array([[0.0], [6.0]], np.float32))
    >>> times, values = resample(series, rate=0.5)
    >>> times.tolist(), values.ravel().tolist()
    ([0.0, 2.0], [0.0, 4.0])
    """
    if not (rate > 0 and math.isfinite(rate)):
        raise ValueError(f"rate must be positive, not {rate}")
    first, last = _span(series, start, end)
    times = _grid(first, last, rate)
    after = np.clip(np.searchsorted(series.times, times), 1, max(len(series.times) - 1, 1))
    before = after - 1
    if len(series.times) == 1:
        return times, np.repeat(series.values, len(times), axis=0)
    share = (times - series.times[before]) / (series.times[after] - series.times[before])
    weight = share.reshape(-1, *[1] * (series.values.ndim - 1))
    values = series.values[before] * (1 - weight) + series.values[after] * weight
    return times, values.astype(np.float32)


def largest_gap(series: Series, *, start: float | None = None, end: float | None = None) -> float:
    """The longest time between neighbouring rows that `resample` bridges from `start` to `end`; 0 for one row.

    >>> largest_gap(Series(np.array([0.0, 1.0, 9.0]), np.zeros((3, 1), np.float32)), end=0.5)
    1.0
    """
    first, last = _span(series, start, end)
    gaps = np.diff(series.times)
    bridged = (series.times[:-1] < last) & (series.times[1:] > first)
    return float(gaps[bridged].max(initial=0))


def _span(series: Series, start: float | None, end: float | None) -> tuple[float, float]:
    first, last = float(series.times[0]), float(series.times[-1])
    return first if start is None else max(first, start), last if end is None else min(last, end)


def _grid(first: float, last: float, rate: float) -> Times:
    """k/rate for every whole k with first <= k/rate <= last; products round, so the ends are looked at themselves."""
    if (last - first) * rate > MAX_SAMPLES:
        raise SeriesError(f"from {first:g} to {last:g} a rate of {rate:g} gives more than {MAX_SAMPLES} samples")
    times: Times = np.arange(math.floor(first * rate), math.ceil(last * rate) + 1) / rate
    times = times[(times >= first) & (times <= last)]
    if not len(times):
        raise SeriesError(f"a rate of {rate:g} has no sample from {first:g} to {last:g}")
    return times


# --- skeletons ----------------------------------------------------------------------------------------------

TURNING = 0.1  # share of each frame's hip line in the smoothed one: the last ten frames or so count


@dataclass
class Body:
    """Turns joints into numbers that do not depend on where a body stands, which way it faces and how tall it is.

    Frames are given one at a time, in order, and each result depends on the frames so far alone: a live stream gives
    what the whole recording gives.

    hip, neck, left_hip, right_hip: which joint is which; hip is the middle of the hips.
    Joints are x, y, z with y upwards, in a right-handed system, as Kinect's skeletons have them: there x points to the
    sensor's left, z away from it, and y leaves the vertical as far as the sensor is tilted (some 9° in UTKinect).
    Results have x to the body's right, y up and z to its back, in torso lengths.
    """

    hip: int
    neck: int
    left_hip: int
    right_hip: int
    _across: NDArray[np.float64] | None = field(default=None, init=False, repr=False)  # (2,) hip line in x and z
    _torso: float = field(default=0.0, init=False, repr=False)  # sum over the frames so far
    _frames: int = field(default=0, init=False, repr=False)
    _first: NDArray[np.float64] | None = field(default=None, init=False, repr=False)  # (3,) the hip at first
    _last: NDArray[np.float64] | None = field(default=None, init=False, repr=False)  # (3,) the hip a frame ago

    def follow(self, joints: NDArray[Any]) -> NDArray[np.float32]:
        """(F,) the inputs of the next frame, joints (J, 3); F = 3 J + 1.

        In order: each joint's x, y, z from the hip, save that the hip's own three are its step since the frame
        before (0 in the first); then the hip's height over that in the first frame.
        The turn is that of a smoothed hip line, since one frame's is short and noisy; the scale is the mean torso
        length (hip to neck) so far. Both keep to what is known: a hip line of no length turns nothing.
        """
        joints = joints.astype(np.float64)
        hip = joints[self.hip]
        if self._first is None or self._last is None:
            self._first = self._last = hip
        body = joints - hip
        body[self.hip] = hip - self._last
        height = hip[1] - self._first[1]
        turn, torso = self._turn(joints), self._length(joints)
        self._last = hip
        inputs = np.append(body @ turn, height) / torso
        return inputs.astype(np.float32)

    def _turn(self, joints: NDArray[np.float64]) -> NDArray[np.float64]:
        """(3, 3) what turns row vectors about y until the smoothed hip line points along x."""
        line = (joints[self.right_hip] - joints[self.left_hip])[[0, 2]]
        self._across = line if self._across is None else (1 - TURNING) * self._across + TURNING * line
        length = math.hypot(*self._across)
        cos, sin = self._across / length if length > 0 else (1.0, 0.0)
        return np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])

    def _length(self, joints: NDArray[np.float64]) -> float:
        """The mean torso so far, 1 where there is none."""
        self._torso += float(np.linalg.norm(joints[self.neck] - joints[self.hip]))
        self._frames += 1
        return self._torso / self._frames or 1.0


def skeleton_inputs(joints: NDArray[Any], *, hip: int, neck: int, left_hip: int, right_hip: int) -> NDArray[np.float32]:
    """(T, F) what `Body.follow` makes of joints (T, J, 3), frame by frame; frames are evenly spaced in time.

    Turning all joints about the vertical axis, moving or scaling them changes nothing, and the first n rows are
    those of the first n frames.
    """
    if joints.ndim != 3 or joints.shape[2] != 3 or not len(joints):
        raise ValueError(f"joints must be (frames, joints, 3), not {joints.shape}")
    body = Body(hip, neck, left_hip, right_hip)
    return np.stack([body.follow(frame) for frame in joints])


class SeriesInputs(NamedTuple):
    """times (T,), inputs (T, F) of a model, and what was repaired in the file, in words."""

    times: Times
    values: NDArray[np.float32]
    repairs: tuple[str, ...]


def series_inputs(
    path: Path,
    *,
    rate: float,
    columns: Mapping[str, str] | None = None,
    skeleton: Mapping[str, int] | None = None,
    channels: Mapping[str, Sequence[str]] | None = None,
    axis: int = 0,
) -> SeriesInputs:
    """What a model is given of a series at the times k/rate: its channels or, of a skeleton, its body.

    columns: what the file calls `values` and `time`. skeleton: joints as for `skeleton_inputs`; none: no skeleton.
    channels: of a type of file, as `csv`, the columns to read, in order, or the array; axis: as for `read_series`.
    Raises SeriesError as `read_series` and `resample`, and for a skeleton whose joints are not there.
    """
    named = columns or {}
    own = (channels or {}).get(path.suffix[1:].lower(), ())
    series = read_series(path, values=named.get("values"), time=named.get("time"), channels=own, axis=axis)
    held = held_to_its_end(series)
    end = max(held.times[-1] - tolerance(rate), series.times[-1])  # one a hair after a grid time has no sample there
    times, values = resample(held, rate=rate, end=float(end))
    if not skeleton:
        return SeriesInputs(times, values.reshape(len(values), -1), series.repairs)
    if values.ndim != 3 or values.shape[2] != 3 or max(skeleton.values()) >= values.shape[1]:
        raise SeriesError(f"no skeleton: joints {dict(skeleton)} are not in an array of shape {values.shape}")
    body = skeleton_inputs(values, **skeleton)
    inputs = np.concatenate([body, *(lagged(body, lag) for lag in LAGS)], axis=1)
    return SeriesInputs(times, inputs, series.repairs)


def held_to_its_end(series: Series) -> Series:
    """The series with its last row once more where the next would have been: a sample lasts until the next.

    The step is the median one, and 1 for a single row; `prepare` counts an item's samples in the same way.
    """
    step = float(np.median(np.diff(series.times))) if len(series.times) > 1 else 1.0
    times = np.append(series.times, series.times[-1] + step)
    return replace(series, times=times, values=np.concatenate([series.values, series.values[-1:]]))


LAGS = (2, 8)  # samples over which a body's motion is taken: a stroke of the hand, a step


def lagged(values: NDArray[np.float32], lag: int) -> NDArray[np.float32]:
    """(T, F) -> (T, F): how much each number has changed in the last `lag` samples, or since the first.

    >>> lagged(np.array([[0], [1], [3], [6]], np.float32), 2).ravel().tolist()
    [0.0, 1.0, 3.0, 5.0]
    """
    return values - values[np.maximum(np.arange(len(values)) - lag, 0)]
