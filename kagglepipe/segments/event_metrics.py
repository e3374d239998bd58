"""Average precision of point events in videos, over tolerances of time.

An events frame has the columns video (str), time (in any unit) and label (str); predictions also have score.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.predictions.uncertainty import Floats

EVENT_COLUMNS = ("video", "time", "label")


def event_average_precision(predicted: pd.DataFrame, truth: pd.DataFrame, tolerances: Sequence[float]) -> float:
    """Mean over classes with events, and over tolerances, of average precision; NaN without any event.

    By falling score, a prediction is right if the nearest event of its video and label that no other prediction has is
    less than the tolerance away, as in the metric of Kaggle's "DFL - Bundesliga Data Shootout" (2022). Equal scores are
    one step of the curve, and precision is not interpolated.

    >>> truth = pd.DataFrame({"video": "v", "time": [10.0, 20.0], "label": "pass"})
    >>> found = pd.DataFrame({"video": "v", "time": [10.2, 15.0, 20.4], "label": "pass", "score": [0.9, 0.8, 0.7]})
    >>> round(event_average_precision(found, truth, [0.3, 0.5]), 4)  # (1/2 + (1/2 + 2/3 / 2)) / 2
    0.6667
    """
    videos = sorted({*predicted["video"], *truth["video"]})
    ones = pd.DataFrame(np.ones((1, len(videos))), columns=videos)
    return float(event_scorer(predicted, truth, tolerances)(ones)["event_ap"][0])


def event_scorer(
    predicted: pd.DataFrame, truth: pd.DataFrame, tolerances: Sequence[float]
) -> Callable[[pd.DataFrame], dict[str, Floats]]:
    """Return a function from weights of videos, a frame (D, V), to `event_ap` and that of each tolerance, (D,) each.

    A video with weight 2 counts as two equal videos. Scores are NaN where undefined.
    """
    ordered = predicted.sort_values(["score", "video", "time"], ascending=[False, True, True], ignore_index=True)
    parts = [
        (ordered[ordered["label"] == label], own, [match_events(ordered[ordered["label"] == label], own, t) for t in
         tolerances])
        for label, own in truth.groupby("label", sort=True)
    ]  # fmt: skip

    def scores(weights: pd.DataFrame) -> dict[str, Floats]:
        found = [[_precision(own, known, right, weights) for right in hits] for own, known, hits in parts]
        by_tolerance = np.array(found).reshape(len(parts), len(tolerances), len(weights))
        defined = (~np.isnan(by_tolerance)).sum(axis=0)
        means = np.divide(
            np.nansum(by_tolerance, axis=0), defined, out=np.full(defined.shape, np.nan), where=defined > 0
        )
        each = {f"event_ap_{tolerance:g}": own for tolerance, own in zip(tolerances, means, strict=True)}
        return {"event_ap": means.mean(axis=0), **each}

    return scores


def match_events(predicted: pd.DataFrame, truth: pd.DataFrame, tolerance: float) -> npt.NDArray[np.bool_]:
    """Which predictions of one label (P,), by falling score, have an event of their own, as above."""
    known = {str(video): own["time"].to_numpy(np.float64) for video, own in truth.groupby("video")}
    is_taken = {video: np.zeros(len(times), np.bool_) for video, times in known.items()}
    right = np.zeros(len(predicted), np.bool_)
    for number, (video, time) in enumerate(zip(predicted["video"], predicted["time"], strict=True)):
        if video not in known:
            continue
        errors = np.where(is_taken[video], np.inf, np.abs(known[video] - time))
        nearest = int(errors.argmin())
        if errors[nearest] < tolerance:
            right[number] = is_taken[video][nearest] = True
    return right


def _precision(
    predicted: pd.DataFrame, truth: pd.DataFrame, right: npt.NDArray[np.bool_], weights: pd.DataFrame
) -> Floats:
    """Average precision of one label for weights (D, V), (D,); NaN without an event."""
    events = weights[truth["video"]].to_numpy(np.float64).sum(axis=1)
    if predicted.empty:
        return np.where(events > 0, 0.0, np.nan)
    own, scores = weights[predicted["video"]].to_numpy(np.float64), predicted["score"].to_numpy()
    ends = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # equal scores are one step
    hits, count = np.cumsum(own * right, axis=1)[:, ends], np.cumsum(own, axis=1)[:, ends]
    precision = np.divide(hits, count, out=np.zeros_like(hits), where=count > 0)
    total = (np.diff(hits, axis=1, prepend=0) * precision).sum(axis=1)
    return np.divide(total, events, out=np.full(len(total), np.nan), where=events > 0)
