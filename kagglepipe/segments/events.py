"""Point events from frame probabilities by peak picking, with settings chosen by cross-fitting.

Events frames are as in `segments.event_metrics`.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from kagglepipe.segments.event_metrics import event_scorer
from kagglepipe.segments.postprocess import FrameProbs, smooth, smoothing_radius

FLOOR = 0.01  # a peak below is none: more of them change the average precision by nothing
DECIMALS = 9  # of probabilities: moving averages of equal ones differ by rounding, and would be no plateau


@dataclass(frozen=True)
class EventSettings:
    """Peak picking. smoothing: width of a centred moving average, 0 for none. distance: least time between two events
    of a class; of nearer ones the higher stays.
    """

    smoothing: float = 0.0
    distance: float = 0.0


def event_grid(width: float) -> list[EventSettings]:
    """Nine settings to choose from, by the width of the labels of an event, in time to either side."""
    return [EventSettings(*pair) for pair in itertools.product((width, 0.0, 2 * width), (2 * width, width, 4 * width))]


def pick_events(
    probs: Mapping[str, FrameProbs], classes: Sequence[str], background: str | None, settings: EventSettings
) -> pd.DataFrame:
    """Events of some videos: video, time, label and score, the smoothed probability of a local maximum.

    Its time is that of the sample, as in the labels, or the middle of a plateau.

    >>> line = FrameProbs(np.arange(5.0), 1.0, np.array([[0.1], [0.9], [0.2], [0.4], [0.3]]))
    >>> pick_events({"v": line}, ["pass"], None, EventSettings())
      video  time label  score
    0     v   1.0  pass    0.9
    1     v   3.0  pass    0.4
    """
    from scipy.signal import find_peaks  # takes half a second to import

    parts = []
    for video, own in probs.items():
        values = smooth(own.probs, smoothing_radius(settings.smoothing, own.step)).round(DECIMALS)
        least = max(1.0, settings.distance / own.step)
        for column, label in enumerate(classes):
            if label == background:
                continue
            framed = np.pad(values[:, column], 1, constant_values=-1)  # the first and last sample may be peaks
            peaks, about = find_peaks(framed, height=FLOOR, distance=least, plateau_size=1)
            time = (own.times[about["left_edges"] - 1] + own.times[about["right_edges"] - 1]) / 2
            parts.append(pd.DataFrame({"video": video, "time": time, "label": label, "score": framed[peaks]}))
    found = pd.concat(parts, ignore_index=True).astype({"video": "str", "label": "str"})
    return found.sort_values(["video", "time", "label"], ignore_index=True)


class EventCrossFit(NamedTuple):
    """Cross-fitted events, and the settings chosen on all folds, for new videos."""

    events: pd.DataFrame
    final: EventSettings


def cross_fit_events(
    probs: Mapping[str, FrameProbs],
    folds: Mapping[str, int],
    truth: pd.DataFrame,
    classes: Sequence[str],
    background: str | None,
    grid: Sequence[EventSettings],
    tolerances: Sequence[float],
) -> EventCrossFit:
    """Pick the events of each fold's videos with the settings of the best average precision on the other folds.

    Ties and undefined scores take the first of the grid. folds: video -> fold. truth: an events frame.
    """
    numbers = sorted({folds[video] for video in probs})
    weights = pd.DataFrame({video: [int(folds[video] != fold) for fold in numbers] + [1] for video in probs})
    known = truth[truth["video"].isin(list(probs))]
    picked = [pick_events(probs, classes, background, settings) for settings in grid]
    scores = np.array([event_scorer(found, known, tolerances)(weights)["event_ap"] for found in picked])
    *chosen, final = np.nan_to_num(scores).round(12).argmax(axis=0).tolist()
    parts = [picked[best][picked[best]["video"].map(folds) == fold] for fold, best in zip(numbers, chosen, strict=True)]
    events = pd.concat(parts, ignore_index=True).sort_values(["video", "time", "label"], ignore_index=True)
    return EventCrossFit(events, grid[final])
