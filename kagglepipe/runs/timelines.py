"""Frame probabilities of each video, from frames of predictions."""

import numpy as np
import pandas as pd

from kagglepipe.segments.postprocess import FrameProbs


def timelines_of(rows: pd.DataFrame, frame: pd.DataFrame, classes: list[str], rate: float) -> dict[str, FrameProbs]:
    """Probabilities (T, C), by video, of its frames, from predictions for `rows` at `rate` frames a second."""
    probs = frame.set_index("id")
    return {
        str(video): FrameProbs(own["start"].to_numpy(), 1 / rate, probs.loc[own["id"], classes].to_numpy(np.float64))
        for video, own in rows.sort_values(["video", "position"]).groupby("video")
    }
