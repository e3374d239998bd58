"""Times k/rate, k = 0, 1, 2, …, at which frames of a video and samples of a series are read and labelled."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe.competitions.dataset import Dataset, frame_rows
from kagglepipe.competitions.event_labels import UNANNOTATED, labelled_spans
from kagglepipe.options import CompetitionOptions

ROUNDING = 1e-6  # of a sample: times in a CSV are decimal fractions
TOLERANCE = 1.01e-3  # Matroska and FLV round time stamps to a millisecond, and two of them are subtracted


def tolerance(rate: float) -> float:
    """Largest distance in seconds of a time stamp from its grid time: less than half a step of the grid.

    >>> tolerance(8), tolerance(1000)
    (0.00101, 0.00049)
    """
    return min(TOLERANCE, 0.49 / rate)


def samples_before(time: float, rate: float) -> int:
    """Count the times 0, 1/rate, 2/rate, … before `time`, without one that is less than `tolerance` before it.

    >>> samples_before(0.5, 10), samples_before(0.5004, 10), samples_before(0.51, 10)
    (5, 5, 6)
    """
    return max(0, math.ceil((time - tolerance(rate)) * rate))


def grid_length(seconds: float, rate: float) -> int:
    """Number of samples of a video of `seconds` at `rate` samples/s; at least 1.

    >>> grid_length(2.0, 10), grid_length(2.05, 10), grid_length(0.01, 10)
    (20, 21, 1)
    """
    return max(1, samples_before(seconds, rate))


def first_positions(items: pd.DataFrame, rate: float) -> dict[str, int]:
    """video -> k of its first frame or sample, on the grid k/rate: the first not before it begins.

    items: video, and begins and ends in seconds (or the unit of a series).
    """
    begins = dict(zip(items["video"], items["begins"], strict=True))
    before = {video: math.floor(time * rate) for video, time in begins.items()}
    return {video: k + (k / rate < begins[video]) for video, k in before.items()}


def item_lengths(items: pd.DataFrame, rate: float) -> dict[str, int]:
    """video -> number of its frames or samples on the grid k/rate; at least 1."""
    origin, ends = first_positions(items, rate), zip(items["video"], items["ends"], strict=True)
    return {video: max(1, math.ceil((end - tolerance(rate)) * rate) - origin[video]) for video, end in ends}


def segment_positions(start: float, end: float, rate: float, *, origin: int, length: int) -> tuple[int, int]:
    """(position of the first frame with start <= time < end, number of frames) within an item; NaN: no limit.

    origin, length: of the item, as `first_positions` and `item_lengths` give them. A segment between two frames gets
    the earlier one.

    >>> segment_positions(1.0, 1.5, 4, origin=0, length=20), segment_positions(1.1, 1.2, 4, origin=2, length=20)
    ((4, 2), (2, 1))
    """
    first = 0 if math.isnan(start) else math.ceil(start * rate - ROUNDING) - origin
    stop = length if math.isnan(end) else min(length, math.ceil(end * rate - ROUNDING) - origin)
    first = max(0, min(first, stop - 1))
    return first, max(1, stop - first)


class SampleGrid:
    """Numbers k of the grid times k/rate, assigned to the frames of a video in display order, each to one frame.

    start: seconds; earlier times are left out. stop: the first number that is too large; None: no end.
    Raises ValueError unless the rate is above 0.
    """

    def __init__(self, rate: float, start: float = 0.0, stop: int | None = None) -> None:
        if not 0 < rate < math.inf:
            raise ValueError(f"a rate of {rate} samples a second is not above 0")
        self.rate, self.next, self.stop = rate, samples_before(start, rate), stop

    def take_before(self, time: float) -> range:
        """Take the remaining numbers of times before `time`: those of the frame that is shown until then."""
        first, number = self.next, samples_before(time, self.rate)
        self.next = max(first, number if self.stop is None else min(number, self.stop))
        return range(first, self.next)

    def remaining(self) -> range:
        """Numbers not taken yet; none for a grid without an end."""
        return range(self.next, self.next if self.stop is None else max(self.next, self.stop))


# --- frames as rows ---------------------------------------------------------------------------------------------


def frame_labels(times: NDArray[np.float64], segments: pd.DataFrame, background: str | None) -> NDArray[np.object_]:
    """Label of the segment with start <= time < end for each time (T,), rising; `background` where there is none.

    Of overlapping segments of the one video the latest start wins, then the shortest; UNANNOTATED wins over all.

    >>> walk = pd.DataFrame({"video": "v", "start": [0.0, 2.0], "end": [4.0, 3.0], "label": ["walk", "wave"]})
    >>> frame_labels(np.arange(6.0), walk, "nothing").tolist()
    ['walk', 'walk', 'wave', 'walk', 'nothing', 'nothing']
    """
    labels = np.full(len(times), background, dtype=object)
    ordered = segments.assign(last=segments["label"] == UNANNOTATED)
    ordered = ordered.sort_values(["last", "start", "end", "label"], ascending=[True, True, False, True])
    limits = np.searchsorted(times, ordered[["start", "end"]].to_numpy(dtype=np.float64))
    for (first, stop), label in zip(limits, ordered["label"], strict=True):
        labels[first:stop] = label
    return labels


def at_rate(dataset: Dataset, rate: float, competition: CompetitionOptions) -> Dataset:
    """Convert the rows of a dataset of video or series to frames, `rate` a second.

    Rows get `position`, the first frame, and `frames`, their number. Where segments are found a row is a
    frame, not a clip, and is labelled `background` outside the annotated segments. Of events the frames to train on are
    those of the annotated parts. A dataset at another rate is resampled.
    """
    items, annotations = dataset.items, dataset.annotations
    assert items is not None
    assert annotations is not None
    origin, length = first_positions(items, rate), item_lengths(items, rate)
    if not competition.finds_segments:
        spans = [
            segment_positions(start, end, rate, origin=origin[video], length=length[video])
            for video, start, end in zip(*(dataset.table[name] for name in ("video", "start", "end")), strict=True)
        ]
        first, count = [first for first, _ in spans], [count for _, count in spans]
        return replace(dataset, table=dataset.table.assign(position=first, frames=count), rate=rate)
    times = {video: (origin[video] + np.arange(n)) / rate for video, n in length.items()}
    annotations = labelled_spans(annotations, competition)
    of_video = dict(iter(annotations.groupby("video")))
    labels = {
        video: frame_labels(own, of_video.get(video, annotations[:0]), competition.background or "")
        for video, own in times.items()
    }
    frames = frame_rows(items, times, labels).merge(items[["video", "sha256"]], on="video")
    if competition.bounds:
        frames = frames[(frames["split"] == "test") | (frames["target"] != UNANNOTATED)].reset_index(drop=True)
    fold_of = dataset.train.drop_duplicates("video").set_index("video")["fold"]
    train = frames[frames["split"] == "train"]
    folds = pd.DataFrame({"id": train["id"], "fold": train["video"].map(fold_of)})
    return replace(dataset, table=frames.assign(frames=1), folds=folds, rate=rate, per_frame=True)
