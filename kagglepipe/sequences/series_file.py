"""Read a file of numbers over time (.npz, .npy, .csv) as it is, or raise one clear error."""

import csv
import io
import itertools
import lzma
import math
import re
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kagglepipe.competitions.item_tables import TIME_NAMES
from kagglepipe.competitions.spreadsheet import UTF16, separator_of
from kagglepipe.sequences.series_table import MISSING, read_series_bytes

SUFFIXES = (".npz", ".npy", ".csv")
MAX_BYTES = 2**30  # of a file, or of all arrays of an .npz
INDEX_SUFFIX = re.compile(r"(?:id|idx|index|no|nr|num|number|code|name)$")  # class_id is a label as much as class
MIN_TIME_RATIO = 8  # an axis at least this many times as long as the others is time
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, ValueError)


class SeriesError(ValueError):
    """A file is not a usable series; the message gives the reason."""


@dataclass(frozen=True)
class RawSeries:
    """Content of a file: values, time first, of any shape; times, or None. names, labels: as in Series.

    ignored: columns of a .csv that are neither channels nor labels.
    """

    values: NDArray[Any]
    times: NDArray[Any] | None = None
    names: Sequence[str] = ()
    labels: Sequence[str] = ()
    ignored: Sequence[str] = ()


def read_raw(
    path: Path, values: str | None, time: str | None, channels: Sequence[str], labels: Collection[str], axis: int
) -> RawSeries:
    """Read a file; arguments as of `read_series`. Raises SeriesError."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise SeriesError(f"{path.suffix or 'a file without ending'} is not one of {', '.join(SUFFIXES)}")
    if suffix != ".npz" and values is not None:
        raise SeriesError(f"values={values} names an array of an .npz, which a {suffix} is not")
    try:
        if suffix == ".csv":
            return _read_csv(path, time, channels, labels)
        raw = _read_array(path, values, time, channels)
    except SeriesError:
        raise
    except (*DAMAGE, csv.Error) as error:
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise SeriesError(f"damaged, or not a {suffix} ({reason})") from error
    if axis and axis >= raw.values.ndim:
        raise SeriesError(f"its values have the shape {raw.values.shape}, which has no axis {axis}")
    return replace(raw, values=np.moveaxis(raw.values, axis, 0)) if axis else raw


def array_shape(
    path: Path, *, values: str | None = None, time: str | None = None
) -> tuple[tuple[int, ...], int | None]:
    """Read the shape of the array in an .npz or .npy, and the number of its times (None without times).

    Raises SeriesError as `read_series`.
    """
    try:
        raw = _read_array(path, values, time, ())
    except SeriesError:
        raise
    except DAMAGE as error:
        raise SeriesError(f"damaged, or not a {path.suffix.lower()}") from error
    return raw.values.shape, None if raw.times is None else len(raw.times)


def infer_time_axis(arrays: Sequence[tuple[tuple[int, ...], int | None]]) -> int:
    """Infer which axis of some arrays is time: by their times, else an axis much longer than all others, else 0.

    arrays: (shape, number of times or None) of each. An axis is long enough if in all arrays it is at least
    `MIN_TIME_RATIO` times each other axis; the others must not vary from array to array, as time does.

    >>> infer_time_axis([((6, 200), None), ((6, 48), None)]), infer_time_axis([((6, 200), None), ((6, 40), None)])
    (1, 0)
    >>> infer_time_axis([((14, 256), None), ((15, 256), None)])
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
        is_fixed = len(set(others)) == 1
        if is_fixed and all(shape[axis] >= MIN_TIME_RATIO * max(others[0], default=0) for shape, _ in arrays):
            return axis
    return 0


# --- arrays -------------------------------------------------------------------------------------------------


def _read_array(path: Path, values: str | None, time: str | None, channels: Sequence[str]) -> RawSeries:
    _check_size(path.stat().st_size)
    if path.suffix.lower() == ".npz":
        return _read_npz(path, values or next(iter(channels), None), time)
    if time is not None:
        raise SeriesError(f"time={time} names an array of an .npz or a column of a .csv, which an .npy is not")
    return RawSeries(_array(path.read_bytes(), "values"))


def _read_npz(path: Path, values: str | None, time: str | None) -> RawSeries:
    members = _unpack(path)
    for name in (values, time):
        if name is not None and name not in members:
            raise SeriesError(f"no array {name}; there are {first_six(members)}")
    if values is None:
        values = _only_values({name: _array(data, name) for name, data in members.items()})
    if time is None:
        time = next((name for name in TIME_NAMES if name in members and name != values), None)
    times = None if time is None else _array(members[time], time)
    return RawSeries(_array(members[values], values), times, [values])


def _unpack(path: Path) -> dict[str, bytes]:
    """Unpack an .npz to name -> bytes of each array, no more of them than it declares."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        _check_size(sum(member.file_size for member in members))
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
        what = f"{first_six(found)} could be" if found else f"none of {first_six(arrays)} looks like"
        raise SeriesError(f"{what} the values (floats in two or three dimensions); name one with values=")
    return found[0]


# --- tables -------------------------------------------------------------------------------------------------


def _read_csv(path: Path, time: str | None, channels: Sequence[str], labels: Collection[str]) -> RawSeries:
    data = read_series_bytes(path)
    _check_size(len(data))
    encoding = "utf-16" if data.startswith(UTF16) else "utf-8-sig"
    with io.TextIOWrapper(io.BytesIO(data), newline="", encoding=encoding) as file:
        separator = separator_of(file.readline())
        file.seek(0)
        rows = (row for row in csv.reader(file, delimiter=separator) if row)
        header, first = [name.strip() for name in next(rows, [])], next(rows, [])
        header = header[: max((place for place, name in enumerate(header, 1) if name), default=0)]
        _check_header(header, first)
        if time is not None and time not in header:
            raise SeriesError(f"no column {time}; there are {first_six(header)}")
        lower = [name.lower() for name in header]
        time = time or next((header[lower.index(name)] for name in TIME_NAMES if name in lower), None)
        found = [name for name in header if is_label_column(name, labels) and name != time]
        names = list(channels) or [name for name in header if name != time and name not in found]
        if missing := [name for name in names if name not in header]:
            raise SeriesError(
                f"it has no column {missing[0]}, which is a channel of others; there are {first_six(header)}"
            )
        read = [*names, *([] if time is None else [time])]
        filled = itertools.chain([first] if first else [], rows)
        table = list(_numbers(filled, header, read, has_decimal_commas=separator != ","))
    cells = np.array(table, np.float64).reshape(len(table), len(read))
    ignored = [name for name in header if name not in read and name not in found]
    times = None if time is None else cells[:, -1]
    return RawSeries(cells[:, : len(names)], times, names, found, ignored)


def is_label_column(name: str, labels: Collection[str]) -> bool:
    """Whether a column is named like one of `labels`, or like its index, whatever its case and punctuation.

    >>> [is_label_column(name, {"class", "label"}) for name in ("Class", "class_id", "LABEL", "classic")]
    [True, True, True, False]
    """
    plain = re.sub(r"[\W_]+", "", name.casefold())
    return name.casefold() in labels or plain in labels or INDEX_SUFFIX.sub("", plain) in labels


def _check_header(header: Sequence[str], first: Sequence[str]) -> None:
    numbers = [_is_number(cell) for cell in header]
    names = [  # text, unless it stands above a number
        cell.lower() not in MISSING and not is_number and (place >= len(first) or _is_number(first[place].strip()))
        for place, (cell, is_number) in enumerate(zip(header, numbers, strict=True))
    ]
    if any(numbers) and not any(names):
        raise SeriesError(
            f"it has no header, its first row is numbers ({first_six(header)}): add a row of column names"
        )
    if "" in header:
        raise SeriesError(f"column {header.index('') + 1} has no name")
    if twice := [name for name in header if header.count(name) > 1]:
        raise SeriesError(f"column {twice[0]} is there twice")


def _numbers(
    rows: Iterable[list[str]], header: Sequence[str], read: Sequence[str], *, has_decimal_commas: bool
) -> Iterator[list[float]]:
    """Yield the C numbers of each row in the C columns `read`; empty cells after the last are ignored."""
    places = [header.index(name) for name in read]
    for number, row in enumerate(rows, 1):
        if len(row) < len(header) or any(cell.strip() for cell in row[len(header) :]):
            raise SeriesError(f"row {number} has {len(row)} cells, the header {len(header)}")
        cells = [row[place].replace(",", ".") if has_decimal_commas else row[place] for place in places]
        yield _row(cells, read, number)


def _row(cells: Sequence[str], read: Sequence[str], number: int) -> list[float]:
    """Convert cells to numbers, all at once where each is one."""
    with suppress(ValueError):
        if "_" not in "".join(cells):  # float would accept 1_000
            return [float(cell) for cell in cells]
    return [_number(cell, name, number) for cell, name in zip(cells, read, strict=True)]


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
        return float(cell.replace("_", "?"))  # float would accept 1_000
    except ValueError:
        raise SeriesError(f"column {column}, row {row}: {cell[:40]!r} is not a number") from None


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise SeriesError(f"it holds {size / 2**20:.0f} MiB; the limit is {MAX_BYTES / 2**20:.0f}")


def first_six(names: Mapping[str, Any] | Sequence[str]) -> str:
    return ", ".join(list(names)[:6]) + ", …" * (len(names) > 6) if names else "nothing"
