"""Labels of frames from annotated segments."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.predictions.uncertainty import Floats


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
