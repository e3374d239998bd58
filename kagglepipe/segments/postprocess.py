"""From the probabilities of frames to segments of video, and which settings do that best.

A segments frame is as in `segments.metrics`. A timeline is one video on a regular grid: each sample stands for the time
from it to the next. `background` is the class that means that nothing happens; None where there is no such class.
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
from kagglepipe.segments.metrics import SEGMENT_COLUMNS, Floats, segment_scorer
from kagglepipe.text import quoted_three

SLACK = 1e-6  # of a sample: 0.3 / 0.1 is a little less than 3
CLOSED = -1.0  # stands behind a lane: no threshold lies so low
THRESHOLDS = ((0.5, 0.5), (0.3, 0.3), (0.7, 0.7), (0.5, 0.3), (0.7, 0.4), (0.9, 0.5), (0.3, 0.15), (0.15, 0.05))


@dataclass(frozen=True)
class DetectionSettings:
    """How probabilities become segments; lengths are in the unit of the timeline.

    smoothing: width of a centred moving average over the largest odd number of samples that fits; 0 does without.
    high, low: a segment holds at least one sample of `high` or more, and none below `low`; 0 <= low <= high <= 1.
    max_gap: segments of one class that are no further apart become one.
    min_length: shorter segments are dropped, after that.

    The defaults take the probabilities as they are: what is more likely than not, of any length. Lengths that suit
    depend on the unit and on the actions, so they have no other default; `choose_settings` finds them.
    Raises ValueError for anything else.
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
    """The class probabilities of one video.

    times: (T,) on a regular grid, T >= 1. step: from one sample to the next, > 0. probs: (T, C) in [0, 1].
    Raises ValueError for shapes that disagree, and for a sample more than half a step from its place in the grid.
    """

    times: Floats
    step: float
    probs: npt.NDArray[np.floating]

    def __post_init__(self) -> None:
        count = len(self.times)
        if count == 0 or np.ndim(self.probs) != 2 or len(self.probs) != count:
            raise ValueError(
                f"{count} times for probabilities of shape {np.shape(self.probs)}; one row a time is needed"
            )
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
    """The segments of one video, sorted by start: video, start, end, label and score.

    Each class but `background` by itself, so that segments of different classes may overlap. Smoothed probabilities
    are cut by two thresholds, as Canny 1986 cuts edges (hysteresis): a segment lasts while they are at least `low`
    and reaches `high` somewhere. Segments at most `max_gap` apart are joined, then those shorter than `min_length`
    dropped. Its score is the mean of the smoothed probabilities from its start to its end, filled gaps included.

    times, step, probs: as in FrameProbs; probs has a column for each of `classes`.
    Raises ValueError for shapes that disagree, times off the grid, or a background that is no class.

    >>> probs = np.array([[0.1], [0.75], [1.0], [0.5], [0.1]])
    >>> settings = DetectionSettings(high=0.9, low=0.5)
    >>> detect_segments("v", 2.0 * np.arange(5), 2.0, probs, ["wave"], None, settings)
      video  start  end label  score
    0     v    2.0  8.0  wave   0.75
    """
    lanes = _lay_out({video: FrameProbs(times, step, probs)}, classes, background, settings.smoothing)
    return _detect(lanes, settings).sort_values(list(SEGMENT_COLUMNS), ignore_index=True)


@dataclass(frozen=True, eq=False)
class _Lanes:
    """Every class of every video end to end, so that one pass over (N,) samples detects in all of them.

    values: smoothed probabilities; behind each lane stands one sample more, CLOSED, at the time when it ends.
    times: (N,). begins: where each of the L lanes begins. video, label, step: (L,) what the lane is.
    """

    values: Floats
    times: Floats
    begins: Labels
    video: npt.NDArray[np.object_]
    label: npt.NDArray[np.object_]
    step: Floats


def _lay_out(
    timelines: Mapping[str, FrameProbs], classes: Sequence[str], background: str | None, smoothing: float
) -> _Lanes:
    """The timelines smoothed, video by video and class by class."""
    if background is not None and background not in classes:
        raise ValueError(f"background {background!r} is none of the classes {', '.join(classes)}")
    shown = [k for k, name in enumerate(classes) if name != background]
    values, times = [np.empty(0)], [np.empty(0)]
    for timeline in timelines.values():
        if timeline.probs.shape[1] != len(classes):
            raise ValueError(f"{len(classes)} classes for probabilities of shape {timeline.probs.shape}")
        smooth = _smooth(timeline.probs[:, shown], _reach(smoothing, timeline.step))
        values.append(np.pad(smooth, ((0, 1), (0, 0)), constant_values=CLOSED).T.ravel())
        times.append(np.tile(np.append(timeline.times, timeline.times[-1] + timeline.step), len(shown)))
    lengths = np.repeat([len(timeline.times) + 1 for timeline in timelines.values()], len(shown)).astype(np.intp)
    return _Lanes(
        values=np.concatenate(values),
        times=np.concatenate(times),
        begins=np.cumsum(lengths) - lengths,
        video=np.repeat(np.array(list(timelines), dtype=object), len(shown)),
        label=np.tile(np.array([classes[k] for k in shown], dtype=object), len(timelines)),
        step=np.repeat([float(timeline.step) for timeline in timelines.values()], len(shown)),
    )


def _reach(width: float, step: float) -> int:
    """How many samples on either side a moving average of that width takes in.

    >>> _reach(0.3, 0.1), _reach(0.4, 0.1), _reach(0.0, 0.1)
    (1, 1, 0)
    """
    return max(0, int(width / step + SLACK) - 1) // 2


def _smooth(probs: npt.NDArray[np.floating], reach: int) -> Floats:
    """(T, C) the mean of each sample and `reach` samples on either side, at the ends of those that there are."""
    if reach == 0:
        return probs.astype(np.float64)
    count = len(probs)
    sums = np.concatenate([np.zeros((1, probs.shape[1])), np.cumsum(probs, axis=0, dtype=np.float64)])
    first = np.maximum(np.arange(count) - reach, 0)
    stop = np.minimum(np.arange(count) + reach + 1, count)
    means = (sums[stop] - sums[first]) / (stop - first)[:, None]
    return np.clip(means, 0, 1)  # differences of sums may miss 0 and 1 by rounding


def _detect(lanes: _Lanes, settings: DetectionSettings) -> pd.DataFrame:
    """The segments of all lanes, lane by lane."""
    starts, stops = _runs(lanes.values >= settings.low)
    peaks = _reduce(np.maximum, lanes.values, starts, stops)
    starts, stops = starts[peaks >= settings.high], stops[peaks >= settings.high]
    starts, stops = _join(lanes, starts, stops, settings.max_gap)
    lane = _lane_of(lanes, starts)
    long = stops - starts >= settings.min_length / lanes.step[lane] - SLACK
    starts, stops, lane = starts[long], stops[long], lane[long]
    return pd.DataFrame(
        {
            "video": pd.Series(lanes.video[lane], dtype="str"),
            "start": lanes.times[starts],
            "end": lanes.times[stops],
            "label": pd.Series(lanes.label[lane], dtype="str"),
            "score": np.minimum(_reduce(np.add, lanes.values, starts, stops) / (stops - starts), 1.0),
        }
    )


def _runs(inside: npt.NDArray[np.bool_]) -> tuple[Labels, Labels]:
    """Where each run of True begins, and the position behind its end.

    >>> [ends.tolist() for ends in _runs(np.array([True, True, False, True, False]))]
    [[0, 3], [2, 4]]
    """
    framed = np.concatenate([[False], inside, [False]])
    changes = np.flatnonzero(framed[1:] != framed[:-1])
    return changes[::2], changes[1::2]


def _reduce(function: np.ufunc, values: Floats, starts: Labels, stops: Labels) -> Floats:
    """`function` over each values[start:stop], for runs that lie apart and end before the values do."""
    limits = np.column_stack([starts, stops]).ravel()
    return function.reduceat(values, limits)[::2]


def _lane_of(lanes: _Lanes, positions: Labels) -> Labels:
    return np.searchsorted(lanes.begins, positions, side="right") - 1


def _join(lanes: _Lanes, starts: Labels, stops: Labels, max_gap: float) -> tuple[Labels, Labels]:
    """The runs, with those of one lane made one where they are at most `max_gap` apart."""
    lane = _lane_of(lanes, starts)
    near = starts[1:] - stops[:-1] <= max_gap / lanes.step[lane[1:]] + SLACK
    apart = (lane[1:] != lane[:-1]) | ~near
    first, last = np.append(True, apart)[: len(starts)], np.append(apart, True)[: len(starts)]
    return starts[first], stops[last]


# --- choosing settings --------------------------------------------------------------------------------------


class CrossFit(NamedTuple):
    """Segments found with settings that never saw them.

    segments: a segments frame with `fold`. settings: fold -> those chosen on the other folds. final: those chosen on
    all folds, for new videos.
    """

    segments: pd.DataFrame
    settings: dict[int, DetectionSettings]
    final: DetectionSettings


def settings_grid(step: float, typical_length: float) -> list[DetectionSettings]:
    """144 settings to choose from, the simplest first; that one is the default.

    step: of the timelines. typical_length: such as the median length of the annotated segments; smoothing, gaps and
    least lengths are parts of it, but no less than what makes a difference at this step.
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


def choose_settings(
    timelines: Mapping[str, FrameProbs],
    truth: pd.DataFrame,
    classes: Sequence[str],
    background: str | None,
    grid: Sequence[DetectionSettings],
    metric: str,
) -> tuple[DetectionSettings, float]:
    """The settings of the grid whose segments score best on these videos, and their score.

    Of equal ones (to twelve decimals) the first in the grid; without any truth that is the first of all, and its
    score is 0 or undefined (NaN).

    timelines: video -> its probabilities, out-of-fold ones. truth: a segments frame; other videos in it do not count.
    metric: a key of `segments.metrics.SEGMENT_SCORES`.
    Raises ValueError for an unknown metric or an empty grid, and as `detect_segments`.
    """
    everything = pd.DataFrame(1, index=[0], columns=list(timelines))
    scores = _grid_scores(timelines, truth, classes, background, grid, metric, everything)[:, 0]
    best = _first_best(scores)
    return grid[best], float(scores[best])


def cross_fit(
    timelines: Mapping[str, FrameProbs],
    folds: Mapping[str, int],
    truth: pd.DataFrame,
    classes: Sequence[str],
    background: str | None,
    grid: Sequence[DetectionSettings],
    metric: str,
) -> CrossFit:
    """The segments of each fold's videos with the settings that suit the other folds' videos best.

    A score of these segments is as honest as the out-of-fold probabilities are: no video had a say in its own settings.
    With a single fold there are no others, and it gets the first of the grid.

    folds: video -> fold, for each of the timelines. Everything else as in `choose_settings`.
    Raises ValueError for a video without a fold, and as `choose_settings`.
    """
    if missing := set(timelines) - set(folds):
        raise ValueError(f"no fold for video {quoted_three(missing)}")
    numbers = sorted({folds[video] for video in timelines})
    others = {video: [int(folds[video] != fold) for fold in numbers] + [1] for video in timelines}
    scores = _grid_scores(timelines, truth, classes, background, grid, metric, pd.DataFrame(others))
    *chosen, final = (grid[_first_best(column)] for column in scores.T)
    settings = dict(zip(numbers, chosen, strict=True))
    parts = []
    for fold in numbers:
        own = {video: timeline for video, timeline in timelines.items() if folds[video] == fold}
        lanes = _lay_out(own, classes, background, settings[fold].smoothing)
        parts.append(_detect(lanes, settings[fold]).assign(fold=fold))
    segments = pd.concat(parts, ignore_index=True).sort_values(list(SEGMENT_COLUMNS), ignore_index=True)
    return CrossFit(segments, settings, final)


def _grid_scores(
    timelines: Mapping[str, FrameProbs],
    truth: pd.DataFrame,
    classes: Sequence[str],
    background: str | None,
    grid: Sequence[DetectionSettings],
    metric: str,
    times: pd.DataFrame,
) -> Floats:
    """(G, D) the score of each of the settings, for each row of how often each video counts."""
    if not grid:
        raise ValueError("an empty grid leaves nothing to choose from")
    known = truth[truth["video"].isin(list(timelines))]
    lanes = {width: _lay_out(timelines, classes, background, width) for width in {s.smoothing for s in grid}}
    scorers = (
        segment_scorer(_detect(lanes[settings.smoothing], settings), known, background=background, keys=[metric])
        for settings in grid
    )
    return np.array([scorer(times)[metric] for scorer in scorers])


def _first_best(scores: Floats) -> int:
    """Where the highest score (G,) is, the first of equal ones; what is undefined is no better than 0."""
    return int(np.nan_to_num(scores).round(12).argmax())
