"""Post-processing of frame probabilities into segments, and its settings chosen by cross-fitting.

Segments frames are as in `segments.matching`. `background` is the class of frames without an action, or None.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.predictions.frame import Labels
from kagglepipe.predictions.uncertainty import Floats
from kagglepipe.segments.matching import SEGMENT_COLUMNS
from kagglepipe.segments.metrics import segment_scorer
from kagglepipe.text import quoted_three

ROUNDING = 1e-6  # of a sample: 0.3 / 0.1 is a little less than 3
SEPARATOR = -1.0  # value behind each track, below all thresholds
THRESHOLDS = ((0.5, 0.5), (0.3, 0.3), (0.7, 0.7), (0.5, 0.3), (0.7, 0.4), (0.9, 0.5), (0.3, 0.15), (0.15, 0.05))


@dataclass(frozen=True)
class DetectionSettings:
    """Post-processing parameters; lengths are in the unit of the times.

    smoothing: width of a centred moving average over the largest odd number of samples that fits; 0: none.
    high, low: hysteresis thresholds, 0 <= low <= high <= 1.
    max_gap: segments of one class at most so far apart are joined. min_length: shorter ones are dropped after that.
    Raises ValueError for thresholds or lengths out of range.
    """

    smoothing: float = 0.0
    high: float = 0.5
    low: float = 0.5
    min_length: float = 0.0
    max_gap: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= 1:
            raise ValueError(f"thresholds must be 0 <= low <= high <= 1, not low={self.low} and high={self.high}")
        lengths = {name: value for name, value in asdict(self).items() if name not in ("high", "low")}
        if wrong := [f"{name}={value}" for name, value in lengths.items() if not 0 <= value < math.inf]:
            raise ValueError(f"{', '.join(wrong)} must be a length of 0 or more")


@dataclass(frozen=True, eq=False)
class FrameProbs:
    """Class probabilities of the frames of one video, or the samples of a series.

    times: (T,) on a regular grid, T >= 1; a sample lasts until the next. step: of the grid, > 0. probs: (T, C).
    Raises ValueError for shapes that disagree, and for a sample more than half a step from its place in the grid.
    """

    times: Floats
    step: float
    probs: npt.NDArray[np.floating]

    def __post_init__(self) -> None:
        count = len(self.times)
        if count == 0 or np.ndim(self.probs) != 2 or len(self.probs) != count:
            raise ValueError(f"{count} times for probabilities of shape {np.shape(self.probs)}: one row a time")
        grid = self.times[0] + self.step * np.arange(count)
        if not (self.step > 0 and np.abs(self.times - grid).max() <= self.step / 2):
            raise ValueError(f"times are no regular grid of step {self.step}")


# --- detection ----------------------------------------------------------------------------------------------


def detect_segments(
    video: str,
    times: Floats,
    step: float,
    probs: npt.NDArray[np.floating],
    classes: Sequence[str],
    background: str | None,
    settings: DetectionSettings,
) -> pd.DataFrame:
    """Detect the segments of one video: video, start, end, label and score, sorted by start.

    Each class but `background` on its own, so that segments of different classes may overlap: smoothing; hysteresis
    (Canny 1986), with probabilities of at least `low` throughout and `high` somewhere; joining; dropping. The score is
    the mean smoothed probability from start to end, filled gaps included.

    times, step, probs: (T,), > 0, (T, C), as in FrameProbs, with a column for each of `classes`.
    Raises ValueError for shapes that disagree, times off the grid, or a background that is no class.

    >>> probs = np.array([[0.1], [0.75], [1.0], [0.5], [0.1]])
    >>> settings = DetectionSettings(high=0.9, low=0.5)
    >>> detect_segments("v", 2.0 * np.arange(5), 2.0, probs, ["wave"], None, settings)
      video  start  end label  score
    0     v    2.0  8.0  wave   0.75
    """
    tracks = _lay_out({video: FrameProbs(times, step, probs)}, classes, background, settings.smoothing)
    return _detect(tracks, settings).sort_values(list(SEGMENT_COLUMNS), ignore_index=True)


@dataclass(frozen=True, eq=False)
class _Tracks:
    """Probabilities of each class of each video (a track), concatenated so that one pass over N samples detects all.

    values: (N,) smoothed probabilities, with one SEPARATOR behind each track, at the time of its end. times: (N,).
    begins, video, label, step: (L,), of each track.
    """

    values: Floats
    times: Floats
    begins: Labels
    video: npt.NDArray[np.object_]
    label: npt.NDArray[np.object_]
    step: Floats


def _lay_out(
    probs: Mapping[str, FrameProbs], classes: Sequence[str], background: str | None, smoothing: float
) -> _Tracks:
    """Smooth and concatenate, video by video and class by class."""
    if background is not None and background not in classes:
        raise ValueError(f"background {background!r} is none of the classes {', '.join(classes)}")
    shown = [k for k, name in enumerate(classes) if name != background]
    values, times = [np.empty(0)], [np.empty(0)]
    for own in probs.values():
        if own.probs.shape[1] != len(classes):
            raise ValueError(f"{len(classes)} classes for probabilities of shape {own.probs.shape}")
        smoothed = smooth(own.probs[:, shown], smoothing_radius(smoothing, own.step))
        values.append(np.pad(smoothed, ((0, 1), (0, 0)), constant_values=SEPARATOR).T.ravel())
        times.append(np.tile(np.append(own.times, own.times[-1] + own.step), len(shown)))
    lengths = np.repeat([len(own.times) + 1 for own in probs.values()], len(shown)).astype(np.intp)
    return _Tracks(
        values=np.concatenate(values), times=np.concatenate(times), begins=np.cumsum(lengths) - lengths,
        video=np.repeat(np.array(list(probs), dtype=object), len(shown)),
        label=np.tile(np.array([classes[k] for k in shown], dtype=object), len(probs)),
        step=np.repeat([float(own.step) for own in probs.values()], len(shown)),
    )  # fmt: skip


def smoothing_radius(width: float, step: float) -> int:
    """Number of samples on either side that a moving average of this width takes in.

    >>> smoothing_radius(0.3, 0.1), smoothing_radius(0.4, 0.1), smoothing_radius(0.0, 0.1)
    (1, 1, 0)
    """
    return max(0, int(width / step + ROUNDING) - 1) // 2


def smooth(probs: npt.NDArray[np.floating], radius: int) -> Floats:
    """Centred moving average, (T, C) -> (T, C); at the ends of the samples that there are."""
    if radius == 0:
        return probs.astype(np.float64)
    numbers = np.arange(len(probs))
    sums = np.concatenate([np.zeros((1, probs.shape[1])), np.cumsum(probs, axis=0, dtype=np.float64)])
    first, stop = np.maximum(numbers - radius, 0), np.minimum(numbers + radius + 1, len(probs))
    means = (sums[stop] - sums[first]) / (stop - first)[:, None]
    return np.clip(means, 0, 1)  # differences of sums may miss 0 and 1 by rounding


def _detect(tracks: _Tracks, settings: DetectionSettings) -> pd.DataFrame:
    """Detect the segments of all tracks, track by track."""
    starts, stops = _runs(tracks.values >= settings.low)
    peaks = _reduce(np.maximum, tracks.values, starts, stops)
    starts, stops = starts[peaks >= settings.high], stops[peaks >= settings.high]
    starts, stops = _join(tracks, starts, stops, settings.max_gap)
    track = _track_of(tracks, starts)
    long = stops - starts >= settings.min_length / tracks.step[track] - ROUNDING
    starts, stops, track = starts[long], stops[long], track[long]
    return pd.DataFrame(
        {
            "video": pd.Series(tracks.video[track], dtype="str"),
            "start": tracks.times[starts],
            "end": tracks.times[stops],
            "label": pd.Series(tracks.label[track], dtype="str"),
            "score": np.minimum(_reduce(np.add, tracks.values, starts, stops) / (stops - starts), 1.0),
        }
    )


def _runs(inside: npt.NDArray[np.bool_]) -> tuple[Labels, Labels]:
    """Start and stop (R,) of each run of True in a mask (N,)."""
    framed = np.concatenate([[False], inside, [False]])
    changes = np.flatnonzero(framed[1:] != framed[:-1])
    return changes[::2], changes[1::2]


def _reduce(function: np.ufunc, values: Floats, starts: Labels, stops: Labels) -> Floats:
    """Reduce each values[start:stop], (R,), of runs that lie apart and end before the values do."""
    limits = np.column_stack([starts, stops]).ravel()
    return function.reduceat(values, limits)[::2]


def _track_of(tracks: _Tracks, positions: Labels) -> Labels:
    """Track of each position (R,) in the concatenated values, (R,)."""
    return np.searchsorted(tracks.begins, positions, side="right") - 1


def _join(tracks: _Tracks, starts: Labels, stops: Labels, max_gap: float) -> tuple[Labels, Labels]:
    """Join runs (R,) of one track that are at most `max_gap` apart."""
    track = _track_of(tracks, starts)
    near = starts[1:] - stops[:-1] <= max_gap / tracks.step[track[1:]] + ROUNDING
    is_new = (track[1:] != track[:-1]) | ~near
    first, last = np.append(True, is_new)[: len(starts)], np.append(is_new, True)[: len(starts)]
    return starts[first], stops[last]


# --- choosing settings --------------------------------------------------------------------------------------


class CrossFit(NamedTuple):
    """Cross-fitted segments.

    segments: a segments frame with `fold`. settings: fold -> chosen on the other folds. final: chosen on all folds, for
    new videos.
    """

    segments: pd.DataFrame
    settings: dict[int, DetectionSettings]
    final: DetectionSettings


def settings_grid(step: float, typical_length: float) -> list[DetectionSettings]:
    """144 settings to choose from; the first is the default.

    step: of the grid of times. typical_length: such as the median length of annotated segments; smoothing, max_gap and
    min_length are fractions of it, no less than what makes a difference at this step.
    Raises ValueError unless both are more than 0.
    """
    if not (step > 0 and typical_length > 0):
        raise ValueError(f"step {step} and typical length {typical_length} must be more than 0")
    step, quarter, half = float(step), float(typical_length / 4), float(typical_length / 2)
    smoothings = (0.0, max(3 * step, quarter), max(5 * step, half))
    max_gaps = (0.0, max(step, quarter))
    min_lengths = (0.0, max(2 * step, quarter), max(3 * step, half))
    return [
        DetectionSettings(smoothing, high, low, min_length, max_gap)
        for smoothing, max_gap, min_length, (high, low) in itertools.product(
            smoothings, max_gaps, min_lengths, THRESHOLDS
        )
    ]


def cross_fit(
    probs: Mapping[str, FrameProbs],
    folds: Mapping[str, int],
    truth: pd.DataFrame,
    classes: Sequence[str],
    background: str | None,
    grid: Sequence[DetectionSettings],
    metric: str,
) -> CrossFit:
    """Detect the segments of each fold's videos with the settings that score best on the other folds' videos.

    Ties (to twelve decimals) and undefined scores take the first of the grid, as does a single fold.

    probs: video -> out-of-fold probabilities. folds: video -> fold. truth: a segments frame; other videos in it are
    ignored. metric: a key of `segments.metrics.SEGMENT_SCORES`.
    Raises ValueError for a video without a fold, an unknown metric, an empty grid, and as `detect_segments`.
    """
    if missing := set(probs) - set(folds):
        raise ValueError(f"no fold for video {quoted_three(missing)}")
    if not grid:
        raise ValueError("an empty grid leaves nothing to choose from")
    numbers = sorted({folds[video] for video in probs})
    weights = pd.DataFrame({video: [int(folds[video] != fold) for fold in numbers] + [1] for video in probs})
    known = truth[truth["video"].isin(list(probs))]
    smoothed = {width: _lay_out(probs, classes, background, width) for width in {s.smoothing for s in grid}}
    scorers = (
        segment_scorer(_detect(smoothed[settings.smoothing], settings), known, background=background, keys=[metric])
        for settings in grid
    )
    scores = np.array([scorer(weights)[metric] for scorer in scorers])  # (settings, folds + 1), NaN where undefined
    *chosen, final = (grid[n] for n in np.nan_to_num(scores).round(12).argmax(axis=0))
    settings = dict(zip(numbers, chosen, strict=True))
    parts = []
    for fold in numbers:
        part = {video: own for video, own in probs.items() if folds[video] == fold}
        tracks = _lay_out(part, classes, background, settings[fold].smoothing)
        parts.append(_detect(tracks, settings[fold]).assign(fold=fold))
    segments = pd.concat(parts, ignore_index=True).sort_values(list(SEGMENT_COLUMNS), ignore_index=True)
    return CrossFit(segments, settings, final)
