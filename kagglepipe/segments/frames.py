"""Rows of a dataset in frames: which frames a clip has, and a row a frame where every frame is classified."""

from dataclasses import replace

import numpy as np
import pandas as pd

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.competitions.units import frame_rows
from kagglepipe.segments.labels import frame_labels
from kagglepipe.sequences.grid import first_positions, item_lengths, segment_positions


def at_rate(dataset: Dataset, rate: float, *, per_frame: bool, background: str | None) -> Dataset:
    """The dataset of video or series with its rows in frames, `rate` a second.

    Rows get `position`, the first frame, and `frames`, their number. per_frame: a row a frame instead of a row a clip,
    labelled `background` outside the annotated segments. A dataset that is at another rate is resampled.
    """
    items, annotations = dataset.items, dataset.annotations
    assert items is not None
    assert annotations is not None
    origin, length = first_positions(items, rate), item_lengths(items, rate)
    if not per_frame:
        spans = [
            segment_positions(start, end, rate, origin=origin[video], length=length[video])
            for video, start, end in zip(*(dataset.table[name] for name in ("video", "start", "end")), strict=True)
        ]
        first, count = [first for first, _ in spans], [count for _, count in spans]
        return replace(dataset, table=dataset.table.assign(position=first, frames=count), rate=rate)
    times = {video: (origin[video] + np.arange(n)) / rate for video, n in length.items()}
    of_video = dict(iter(annotations.groupby("video")))
    labels = {
        video: frame_labels(own, of_video.get(video, annotations[:0]), background or "") for video, own in times.items()
    }
    frames = frame_rows(items, times, labels).merge(items[["video", "sha256"]], on="video")
    fold_of = dataset.train.drop_duplicates("video").set_index("video")["fold"]
    train = frames[frames["split"] == "train"]
    folds = pd.DataFrame({"id": train["id"], "fold": train["video"].map(fold_of)})
    return replace(dataset, table=frames.assign(frames=1), folds=folds, rate=rate, per_frame=True)
