"""Labels of frames from annotated segments, and datasets with a row a frame."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.competitions.dataset import Dataset, frame_rows
from kagglepipe.options import CompetitionOptions
from kagglepipe.predictions.uncertainty import Floats
from kagglepipe.sequences.grid import first_positions, item_lengths, segment_positions


def frame_labels(times: Floats, segments: pd.DataFrame, background: str | None) -> npt.NDArray[np.object_]:
    """Label of the segment with start <= time < end for each time (T,), rising; `background` where there is none.

    Of overlapping segments of the one video the latest start wins, then the shortest.

    >>> walk = pd.DataFrame({"video": "v", "start": [0.0, 2.0], "end": [4.0, 3.0], "label": ["walk", "wave"]})
    >>> frame_labels(np.arange(6.0), walk, "nothing").tolist()
    ['walk', 'walk', 'wave', 'walk', 'nothing', 'nothing']
    """
    labels = np.full(len(times), background, dtype=object)
    ordered = segments.sort_values(["start", "end", "label"], ascending=[True, False, True])
    limits = np.searchsorted(times, ordered[["start", "end"]].to_numpy(dtype=np.float64))
    for (first, stop), label in zip(limits, ordered["label"], strict=True):
        labels[first:stop] = label
    return labels


def at_rate(dataset: Dataset, rate: float, competition: CompetitionOptions) -> Dataset:
    """The dataset of video or series with its rows in frames, `rate` a second.

    Rows get `position`, the first frame, and `frames`, their number. Where segments are found a row is a
    frame, not a clip, and is labelled `background` outside the annotated segments. A dataset at another rate is
    resampled.
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
    of_video = dict(iter(annotations.groupby("video")))
    labels = {
        video: frame_labels(own, of_video.get(video, annotations[:0]), competition.background or "")
        for video, own in times.items()
    }
    frames = frame_rows(items, times, labels).merge(items[["video", "sha256"]], on="video")
    fold_of = dataset.train.drop_duplicates("video").set_index("video")["fold"]
    train = frames[frames["split"] == "train"]
    folds = pd.DataFrame({"id": train["id"], "fold": train["video"].map(fold_of)})
    return replace(dataset, table=frames.assign(frames=1), folds=folds, rate=rate, per_frame=True)
