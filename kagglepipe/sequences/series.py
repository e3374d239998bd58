"""Series: numbers over time, read and repaired, resampled to a regular grid, as the inputs of a model."""

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe.errors import UserError
from kagglepipe.files import check_sha256
from kagglepipe.sequences.grid import item_lengths, tolerance
from kagglepipe.sequences.series_file import RawSeries, SeriesError, first_six, read_raw
from kagglepipe.sequences.series_table import read_series_bytes
from kagglepipe.sequences.skeleton import LAGS, lag_differences, skeleton_inputs
from kagglepipe.text import significant

log = logging.getLogger(__name__)
Times = NDArray[np.float64]  # (T,)
Values = NDArray[np.float32]  # (T, F) or (T, J, D)

MAX_SAMPLES = 10**7  # of a grid
LEFT_OUT = 1.5  # samples to each of the grid, from which on some are left out


@dataclass(frozen=True)
class Series:
    """Numbers over time.

    times: (T,) strictly increasing, in the unit of the file. values: (T, F) channels or (T, J, D) joints, finite.
    repairs: kinds and numbers of repairs, as text. names: channels of a .csv, array of an .npz.
    labels: columns of a .csv that were left out because they hold labels.
    """

    times: Times
    values: Values
    repairs: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    @property
    def step(self) -> float:
        """Median time between samples, 1 for a single one; the last sample lasts as long."""
        return float(np.median(np.diff(self.times))) if len(self.times) > 1 else 1.0


def read_series(
    path: Path,
    *,
    values: str | None = None,
    time: str | None = None,
    channels: Sequence[str] = (),
    labels: Collection[str] = (),
    axis: int = 0,
) -> Series:
    """Read and repair the series in an .npz, .npy or .csv file of at least one row.

    values: name of the array in an .npz; None: its only float array of two or three dimensions. One dimension is one
    channel. time: name of the times, an array of an .npz or a column of a .csv; None: the first of `TIME_NAMES`, else
    rows are at 0, 1, 2, …, as in an .npy. channels: columns of a .csv to read, in this order, or array of an .npz;
    empty: all columns but the times and those named like one of `labels` (see `is_label_column`). axis: time axis of
    the array.

    Repairs, listed in `repairs`: rows out of order are sorted by time; of rows at one time the first is kept; values
    that are not finite are interpolated linearly in time within their channel, and beyond its first and last number
    these are repeated; a channel without any number becomes 0.
    Raises SeriesError if nothing usable is in it. Python objects are never unpickled.
    """
    return _repair(read_raw(path, values, time, channels, labels, axis))


def _repair(raw: RawSeries) -> Series:
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
    filled, more = _interpolate_missing(times, values, names)
    for columns, why in ((raw.labels, "hold labels"), (raw.ignored, "are no channels")):
        if columns:
            more.append(f"columns left out because they {why}: {first_six(columns)}")
    return Series(times, filled, (*repairs, *more), tuple(raw.names), tuple(raw.labels))


def _rows(count: int) -> str:
    return "row" if count == 1 else "rows"


def _as_values(values: NDArray[Any]) -> Values:
    """Convert to (T, F) or (T, J, D) float32, at least one finite; values too large become infinite."""
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


def _interpolate_missing(times: Times, values: Values, names: Sequence[str]) -> tuple[Values, list[str]]:
    """Fill the gaps of each channel of values (T, F) or (T, J, D); return the values and the gaps as text."""
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
        repairs.append(f"no number in {'channel' if len(empty) == 1 else 'channels'} {first_six(empty)}: set to 0")
    return channels.reshape(values.shape), repairs


# --- a regular grid -----------------------------------------------------------------------------------------


def resample(series: Series, *, rate: float, end: float | None = None) -> tuple[Times, Values]:
    """Interpolate linearly to the times k/rate within the series; return (N,) times and (N, …) values.

    rate: samples per unit of time. end: last time, included; None: that of the series. There is no extrapolation.
    Raises SeriesError for no sample, or too many.

    >>> series = Series(np.array([0.0, 3.0]), np.array([[0.0], [6.0]], np.float32))
    >>> times, values = resample(series, rate=0.5)
    >>> times.tolist(), values.ravel().tolist()
    ([0.0, 2.0], [0.0, 4.0])
    """
    if not (rate > 0 and math.isfinite(rate)):
        raise ValueError(f"rate must be positive, not {rate}")
    last = float(series.times[-1])
    times = _grid_times(float(series.times[0]), last if end is None else min(last, end), rate)
    after = np.clip(np.searchsorted(series.times, times), 1, max(len(series.times) - 1, 1))
    before = after - 1
    if len(series.times) == 1:
        return times, np.repeat(series.values, len(times), axis=0)
    share = (times - series.times[before]) / (series.times[after] - series.times[before])
    weight = share.reshape(-1, *[1] * (series.values.ndim - 1))
    values = series.values[before] * (1 - weight) + series.values[after] * weight
    return times, values.astype(np.float32)


def _grid_times(first: float, last: float, rate: float) -> Times:
    """Times k/rate (T,) with first <= k/rate <= last; products are rounded, so the ends are compared themselves."""
    if (last - first) * rate > MAX_SAMPLES:
        raise SeriesError(f"from {first:.10g} to {last:.10g} a rate of {rate:g} gives more than {MAX_SAMPLES} samples")
    times: Times = np.arange(math.floor(first * rate), math.ceil(last * rate) + 1) / rate
    times = times[(times >= first) & (times <= last)]
    if not len(times):
        raise SeriesError(f"a rate of {rate:g} has no sample from {first:.10g} to {last:.10g}")
    return times


# --- inputs of a model --------------------------------------------------------------------------------------


class SeriesInputs(NamedTuple):
    """Inputs (T, F) of a model at times (T,), and descriptions of the repairs in the file."""

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
    """Read the inputs of a model at the times k/rate: the channels of a series, or the features of a skeleton.

    columns: names of `values` and `time` in the file. skeleton: joints as for `skeleton_inputs`; None: no skeleton.
    channels: columns to read, in order, or array, by type of file, such as `csv`. axis: as for `read_series`.
    Raises SeriesError as `read_series` and `resample`, and for a skeleton whose joints are missing.
    """
    named = columns or {}
    own = (channels or {}).get(path.suffix[1:].lower(), ())
    series = read_series(path, values=named.get("values"), time=named.get("time"), channels=own, axis=axis)
    stop = series.times[-1] + series.step  # the last sample lasts until the next; `prepare` counts samples so as well
    held = np.append(series.times, stop), np.concatenate([series.values, series.values[-1:]])
    end = max(stop - tolerance(rate), series.times[-1])  # a grid time just before its end has no sample
    times, values = resample(replace(series, times=held[0], values=held[1]), rate=rate, end=float(end))
    if not skeleton:
        return SeriesInputs(times, values.reshape(len(values), -1), series.repairs)
    if values.ndim != 3 or values.shape[2] != 3 or max(skeleton.values()) >= values.shape[1]:
        raise SeriesError(f"no skeleton: joints {dict(skeleton)} are not in an array of shape {values.shape}")
    body = skeleton_inputs(values, **skeleton)
    inputs = np.concatenate([body, *(lag_differences(body, lag) for lag in LAGS)], axis=1)
    return SeriesInputs(times, inputs, series.repairs)


def log_left_out(items: pd.DataFrame, rate: float) -> None:
    """Log how many samples a grid of `rate` leaves out. items: frames, begins and ends of each series."""
    own = float((items["frames"] / (items["ends"] - items["begins"])).median())
    if own >= LEFT_OUT * rate:
        log.info(
            "train: sequences.rate=%g reads one of about %s samples of a series, and no mean of those between: what "
            "changes fast is lost, or seen as slow; sequences.rate=%.6g reads all", rate,
            significant(own / rate, 2), own,
        )  # fmt: skip


def item_inputs(items: pd.DataFrame, paths: Sequence[Path], *, rate: float, **layout: Any) -> dict[str, NDArray[Any]]:
    """Inputs (T, F) of each series by its `video`, as long on the grid as its row says. layout: of `series_inputs`.

    Raises UserError for a file that has changed, or has no sample.
    """
    log_left_out(items, rate)
    found, lengths = {}, item_lengths(items, rate)
    for row, path in zip(items.to_dict("records"), paths, strict=True):
        check_sha256(path, row["sha256"], read_series_bytes)
        try:
            values = series_inputs(path, rate=rate, **layout).values
        except SeriesError as error:
            raise UserError(f"{row['path']}: {error}; raise sequences.rate={rate:g}, or leave it out") from error
        found[row["video"]] = values[np.minimum(np.arange(lengths[row["video"]]), len(values) - 1)]
    return found
