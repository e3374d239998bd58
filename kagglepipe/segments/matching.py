"""Overlapping pairs of predicted and true segments.

A segments frame has the columns video (str), start, end (start < end, any unit) and label (str); predictions also have
score in [0, 1], and are all equal without it.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from kagglepipe.predictions.frame import Labels
from kagglepipe.predictions.uncertainty import Floats
from kagglepipe.text import quoted_three

SEGMENT_COLUMNS = ("video", "start", "end", "label")


@dataclass(frozen=True, eq=False)
class Segments:
    """Segments as arrays (S,); video and label are indices shared by predictions and truth."""

    video: Labels
    label: Labels
    start: Floats
    end: Floats
    score: Floats


@dataclass(frozen=True, eq=False)
class Pairs:
    """Overlapping predictions and truths (indices) of one video and label, and their tIoU in (0, 1], (P,) each.

    Sorted by prediction, falling tIoU, truth.
    """

    prediction: Labels
    truth: Labels
    overlap: Floats


@dataclass(frozen=True, eq=False)
class Matching:
    """Predictions by falling score, truth by (video, label, start), and all overlapping pairs."""

    videos: list[str]
    labels: list[str]
    predicted: Segments
    truth: Segments
    pairs: Pairs


def match_segments(predicted: pd.DataFrame, truth: pd.DataFrame, background: str | None) -> Matching:
    """Find the overlapping pairs of two segments frames, of segments other than `background`."""
    frames = [_foreground(frame, background) for frame in (predicted, truth)]
    videos, labels = (sorted({name for frame in frames for name in frame[of].unique()}) for of in ("video", "label"))
    found, wanted = (_arrays(frame, videos, labels) for frame in frames)
    found = _ordered(found, np.lexsort((found.label, found.end, found.start, found.video, -found.score)))
    wanted = _ordered(wanted, np.lexsort((wanted.end, wanted.start, wanted.label, wanted.video)))
    return Matching(videos, labels, found, wanted, _find_pairs(found, wanted, len(labels)))


def _foreground(frame: pd.DataFrame, background: str | None) -> pd.DataFrame:
    """Rows other than background. Raises ValueError unless all rows are segments."""
    if missing := set(SEGMENT_COLUMNS) - set(frame.columns):
        raise ValueError(f"segments without the column {quoted_three(missing)}")
    if not ((frame["start"] < frame["end"]) & np.isfinite(frame["end"] - frame["start"])).all():
        raise ValueError("a segment must end after it starts")
    return frame if background is None else frame[frame["label"] != background]


def _arrays(frame: pd.DataFrame, videos: list[str], labels: list[str]) -> Segments:
    return Segments(
        video=pd.Index(videos).get_indexer(pd.Index(frame["video"])),
        label=pd.Index(labels).get_indexer(pd.Index(frame["label"])),
        start=frame["start"].to_numpy(dtype=np.float64),
        end=frame["end"].to_numpy(dtype=np.float64),
        score=np.asarray(frame["score"] if "score" in frame else np.ones(len(frame)), dtype=np.float64),
    )


def _ordered(segments: Segments, order: Labels) -> Segments:
    return Segments(**{name: values[order] for name, values in vars(segments).items()})


def _find_pairs(predicted: Segments, truth: Segments, labels: int) -> Pairs:
    """Pairs of positive overlap; `truth` is sorted by (video, label)."""
    wanted, keys = (side.video * labels + side.label for side in (predicted, truth))
    first, stop = (np.searchsorted(keys, wanted, side) for side in ("left", "right"))
    counts = stop - first  # of truths with the video and label of each prediction
    one = np.repeat(np.arange(len(wanted)), counts)
    other = np.arange(len(one)) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    shared = np.minimum(predicted.end[one], truth.end[other]) - np.maximum(predicted.start[one], truth.start[other])
    whole = np.maximum(predicted.end[one], truth.end[other]) - np.minimum(predicted.start[one], truth.start[other])
    touch = np.flatnonzero(shared > 0)
    one, other, overlap = one[touch], other[touch], shared[touch] / whole[touch]
    order = np.lexsort((other, -overlap, one))
    return Pairs(one[order], other[order], overlap[order])
