"""Frame probabilities of each video, from frames of predictions."""

import numpy as np
import pandas as pd

from kagglepipe.segments.postprocess import FrameProbs


def timelines_of(rows: pd.DataFrame, frame: pd.DataFrame, classes: list[str], rate: float) -> dict[str, FrameProbs]:
    """Probabilities (T, C), by video, of its frames, from predictions for `rows` at `rate` frames a second.

    They are 0 for frames between the first and last that have no row, as those outside the annotated parts.
    """
    probs, found = frame.set_index("id"), {}
    for video, own in rows.sort_values(["video", "position"]).groupby("video"):
        at = own["position"].to_numpy() - own["position"].iloc[0]
        times = own["start"].iloc[0] + np.arange(at[-1] + 1) / rate
        values = np.zeros((len(times), len(classes)))
        times[at], values[at] = own["start"], probs.loc[own["id"], classes].to_numpy(np.float64)
        found[str(video)] = FrameProbs(times, 1 / rate, values)
    return found
