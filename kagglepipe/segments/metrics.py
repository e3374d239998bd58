"""Metrics of temporal segments in videos, with intervals by groups of videos.

Segments frames are as in `segments.matching`. All metrics are in [0, 1], more is better, and segments labelled
`background` are ignored.

Matching predictions to truths is slow and done once for each pair of frames. Each metric is then a function of weights
of videos (D, V): ones for the score itself, 0 or 1 to leave groups out, counts for a drill's draws.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.predictions.frame import Labels, Probs
from kagglepipe.predictions.uncertainty import (
    Floats,
    Interval,
    effective_groups,
    group_blocks,
    group_codes,
    jackknife_error,
    share_interval,
)
from kagglepipe.segments.matching import Matching, Segments, match_segments
from kagglepipe.text import quoted_three

ACTIVITYNET_TIOUS = tuple(k / 20 for k in range(10, 20))  # 0.5, 0.55, … 0.95, each the double nearest to it
DRAWS_AT_ONCE = 100  # rows of weights, which limits memory

Flags = npt.NDArray[np.bool_]
Weighted = Callable[[Floats], Floats]  # weights of videos (D, V) -> scores (D,), NaN where undefined


# --- scores of two frames ---------------------------------------------------------------------------------------


def segment_scores(predicted: pd.DataFrame, truth: pd.DataFrame, *, background: str | None = None) -> dict[str, float]:
    """Compute all of SEGMENT_SCORES: f1_10, f1_25, f1_50, edit, map_10 … map_70 and map_activitynet.

    Truth without predictions scores 0. Predictions without any truth score 0 for F1 and edit, NaN for precision.
    Two empty frames score NaN. Raises ValueError for segments that lack a column or do not end after they start.

    >>> truth = pd.DataFrame({"video": ["v"], "start": [0.0], "end": [10.0], "label": ["walk"]})
    >>> scores = segment_scores(truth.assign(end=4.0, score=0.9), truth)
    >>> scores["edit"], scores["f1_25"], scores["f1_50"], scores["map_40"], scores["map_50"]
    (1.0, 1.0, 0.0, 1.0, 0.0)
    """
    matching = match_segments(predicted, truth, background)
    ones = np.ones((1, len(matching.videos)))
    return {key: float(metric(matching)(ones)[0]) for key, metric in SEGMENT_SCORES.items()}


def segment_scorer(
    predicted: pd.DataFrame, truth: pd.DataFrame, *, background: str | None = None, keys: Iterable[str] | None = None
) -> Callable[[pd.DataFrame], dict[str, Floats]]:
    """Return a function from weights of videos, a frame (D, V), to the scores `keys` (None: all), (D,) each.

    A video with weight 2 counts as two equal videos. Scores are NaN where undefined.
    Raises ValueError for unknown keys and as `segment_scores`; the function, for a video without a column.

    >>> truth = pd.DataFrame({"video": ["a", "b"], "start": 0.0, "end": 4.0, "label": "wave"})
    >>> scorer = segment_scorer(truth[:1].assign(score=0.9), truth, keys=["edit"])
    >>> scorer(pd.DataFrame({"a": [1, 2, 0], "b": [1, 0, 1]}))["edit"].tolist()
    [0.5, 1.0, 0.0]
    """
    chosen = list(SEGMENT_SCORES if keys is None else keys)
    if unknown := set(chosen) - set(SEGMENT_SCORES):
        raise ValueError(f"no score is called {quoted_three(unknown)}; there are {', '.join(SEGMENT_SCORES)}")
    matching = match_segments(predicted, truth, background)
    metrics = {key: SEGMENT_SCORES[key](matching) for key in chosen}

    def scores(weights: pd.DataFrame) -> dict[str, Floats]:
        if missing := set(matching.videos) - set(weights.columns):
            raise ValueError(f"no weight for video {quoted_three(missing)}")
        firsts = range(0, len(weights), DRAWS_AT_ONCE)
        parts = [weights[first : first + DRAWS_AT_ONCE][matching.videos].to_numpy(np.float64) for first in firsts]
        return {key: np.concatenate([metric(part) for part in parts]) for key, metric in metrics.items()}

    return scores


def frame_average_precision(probs: Probs, labels: Labels, *, background: int | None = None) -> float:
    """Mean over classes of one-vs-rest average precision of frames, as scikit-learn's average_precision_score.

    Without class number `background` and classes without frames; NaN if none is left. probs: (N, C). labels: (N,).
    """
    values = np.array([_frame_precision(probs[:, k], labels == k) for k in range(probs.shape[1])])
    if background is not None:
        values[background] = math.nan
    return float(_mean_of_defined(values[None])[0])


def _frame_precision(values: Floats, positive: Flags) -> float:
    """Average precision of one column (N,); NaN without positives."""
    order = np.argsort(-values, kind="stable")
    last = _last_of_equal(values[order])
    found = np.cumsum(positive[order])[last]
    gained = np.diff(found, prepend=0)
    return float((gained * found / (last + 1)).sum() / found[-1]) if positive.any() else math.nan


# --- metrics as functions of the weights of videos ---------------------------------------------------------------


def edit(matching: Matching) -> Weighted:
    """Edit score: 1 - Levenshtein distance / length of the longer sequence of labels, mean over videos.

    Videos without a segment in either frame do not count. Lea, Reiter, Vidal and Hager 2016, "Segmental spatiotemporal
    CNNs for fine-grained action segmentation".

    >>> truth = pd.DataFrame({"video": "v", "start": [0, 5, 9], "end": [4, 8, 12], "label": ["sit", "walk", "sit"]})
    >>> round(segment_scores(truth[:2], truth)["edit"], 4)
    0.6667
    """
    scores = np.full(len(matching.videos), math.nan)
    sequences = [_label_sequences(side, len(scores)) for side in (matching.predicted, matching.truth)]
    for video, (found, wanted) in enumerate(zip(*sequences, strict=True)):
        scores[video] = 1 - _levenshtein(found, wanted) / max(len(found), len(wanted))
    return lambda weights: _ratio(weights @ scores, weights.sum(axis=1))


def f1(matching: Matching, overlap: float) -> Weighted:
    """Segmental F1 = 2 TP / (predictions + truths), over all videos and classes; overlap: of tIoU, in (0, 1].

    As in the authors' programs a prediction is compared only with its best truth, and a second one for the same truth
    is a false positive, so F1 is not symmetric below 0.5. Lea, Flynn, Vidal, Reiter and Hager 2017, "Temporal
    convolutional networks for action segmentation and detection"; summed over videos as by Abu Farha and Gall 2019,
    "MS-TCN".

    >>> truth = pd.DataFrame({"video": "v", "start": [0.0, 10.0], "end": [4.0, 20.0], "label": "wave"})
    >>> [segment_scores(truth.assign(end=[4.0, end]), truth)["f1_50"] for end in (15.0, 14.0)]
    [1.0, 0.5]
    """
    count, pairs = len(matching.videos), matching.pairs
    _, best = np.unique(pairs.prediction, return_index=True)  # the first pair of each prediction
    found = np.unique(pairs.truth[best][pairs.overlap[best] >= overlap])
    right = np.bincount(matching.truth.video[found], minlength=count)
    segments = np.bincount(np.concatenate([matching.predicted.video, matching.truth.video]), minlength=count)
    return lambda weights: _ratio(2 * weights @ right, weights @ segments)


def mean_average_precision(matching: Matching, tious: Sequence[float]) -> Weighted:
    """Mean over classes with truths, then over `tious` in (0, 1], of interpolated average precision.

    By falling score over all videos, a prediction is right if an unmatched truth of its label and video has
    tIoU >= tiou with it; it is matched with the best one. Precision is the best at this recall or a higher one. Equal
    scores are one step of the curve.

    Caba Heilbron et al. 2015, "ActivityNet", whose evaluation program this follows; Idrees et al. 2017, "The THUMOS
    challenge on action recognition for videos in the wild", asks for tIoU > tiou and does not interpolate.

    >>> truth = pd.DataFrame({"video": "v", "start": [0.0, 10.0], "end": [4.0, 20.0], "label": "wave"})
    >>> found = truth.assign(start=[5.0, 10.0], end=[9.0, 20.0], score=[0.9, 0.8])
    >>> segment_scores(found, truth)["map_50"]
    0.25
    """
    precisions = [_class_precisions(matching, tiou) for tiou in tious]
    return lambda weights: np.mean([_mean_of_defined(precision(weights)) for precision in precisions], axis=0)


def _class_precisions(matching: Matching, tiou: float) -> Weighted:
    """Average precision of each class, (D, C) for weights (D, V)."""
    right = _right_predictions(matching, tiou)
    classes = [_precision_of(matching, label, right) for label in range(len(matching.labels))]
    return lambda weights: np.array([precision(weights) for precision in classes]).reshape(-1, len(weights)).T


def _precision_of(matching: Matching, label: int, right: Flags) -> Weighted:
    """Average precision of one class, (D,) for weights (D, V). right: (S,) of all predictions."""
    chosen = np.flatnonzero(matching.predicted.label == label)
    video, hits = matching.predicted.video[chosen], right[chosen]
    last = _last_of_equal(matching.predicted.score[chosen])
    # precision falls at wrong predictions, so that its maximum is at the other steps of the curve
    ends = np.unique(last[np.searchsorted(last, np.flatnonzero(hits))])
    last_hits = np.searchsorted(np.flatnonzero(hits), ends, side="right") - 1
    truths = np.bincount(matching.truth.video[matching.truth.label == label], minlength=len(matching.videos))

    def precision(weights: Floats) -> Floats:
        reached = np.cumsum(weights[:, video[hits]], axis=1)[:, last_hits]  # (D, steps)
        share = np.nan_to_num(_ratio(reached, np.cumsum(weights[:, video], axis=1)[:, ends]))
        best = np.maximum.accumulate(share[:, ::-1], axis=1)[:, ::-1]
        return _ratio((np.diff(reached, axis=1, prepend=0) * best).sum(axis=1), weights @ truths)

    return precision


SEGMENT_SCORES: dict[str, Callable[[Matching], Weighted]] = {
    "f1_10": partial(f1, overlap=0.1),
    "f1_25": partial(f1, overlap=0.25),
    "f1_50": partial(f1, overlap=0.5),
    "edit": edit,
    **{f"map_{10 * k}": partial(mean_average_precision, tious=(k / 10,)) for k in range(1, 8)},
    "map_activitynet": partial(mean_average_precision, tious=ACTIVITYNET_TIOUS),
}


def _ratio(part: Floats, whole: Floats) -> Floats:
    """Divide part (D,) or (D, S) by whole of the same shape; NaN where whole is 0."""
    return np.divide(part, whole, out=np.full(whole.shape, math.nan), where=whole > 0)


def _mean_of_defined(values: Floats) -> Floats:
    """Mean of each row without its NaN, (D, C) -> (D,); NaN for a row of NaN only."""
    return _ratio(np.nansum(values, axis=1), (~np.isnan(values)).sum(axis=1).astype(np.float64))


def _last_of_equal(values: npt.NDArray[np.generic]) -> Labels:
    """Index of the last of each run of equal values in a sorted array (N,)."""
    return np.flatnonzero(np.append(values[1:] != values[:-1], True))[: len(values)]


def _right_predictions(matching: Matching, tiou: float) -> Flags:
    """Which predictions (S,) take a truth, by falling score and each the best that is left."""
    close = matching.pairs.overlap >= tiou
    right = np.zeros(len(matching.predicted.video), dtype=np.bool_)
    taken: set[int] = set()
    pairs = zip(matching.pairs.prediction[close].tolist(), matching.pairs.truth[close].tolist(), strict=True)
    for one, other in pairs:
        if not right[one] and other not in taken:
            right[one] = True
            taken.add(other)
    return right


def _label_sequences(segments: Segments, videos: int) -> list[Labels]:
    """Labels (n,) of the n segments of each video, by start."""
    order = np.lexsort((segments.label, segments.end, segments.start, segments.video))
    limits = np.searchsorted(segments.video[order], np.arange(1, videos))
    return np.split(segments.label[order], limits) if videos else []


def _levenshtein(one: Labels, other: Labels) -> int:
    """Levenshtein distance of two sequences, (A,) and (B,)."""
    steps = np.arange(len(other) + 1)
    row = steps  # distances of the empty sequence from each prefix of `other`
    for done, item in enumerate(one, start=1):
        kept = np.minimum(row[1:] + 1, row[:-1] + (other != item))
        row = np.minimum.accumulate(np.concatenate([[done], kept]) - steps) + steps
    return int(row[-1])


def video_scorer(
    metric: str, segments: pd.DataFrame, truth: pd.DataFrame, background: str | None, codes: Mapping[str, int]
) -> Callable[[npt.NDArray[np.int64]], Floats]:
    """Return a function from weights of groups of videos (D, G) to scores (D,), by one of SEGMENT_SCORES.

    segments, truth: segments frames. codes: video -> number of its group in [0, G), also of videos without a segment.
    """
    score = segment_scorer(segments, truth, background=background, keys=[metric])
    groups = np.array(list(codes.values()), dtype=np.intp)
    return lambda weights: score(pd.DataFrame(weights[:, groups], columns=list(codes)))[metric]


# --- intervals ----------------------------------------------------------------------------------------------------


def group_intervals(
    scorer: Callable[[pd.DataFrame], Mapping[str, Floats]], groups: Mapping[str, Hashable]
) -> dict[str, Interval]:
    """95 % interval (low, high) of each score of a `segment_scorer`, by the jackknife over groups of videos.

    groups: video -> group (source, subject, scene), of all videos, also those without a segment.
    NaN twice for too few groups, or a score that is undefined without one of them.
    """
    videos = sorted(groups)
    codes = group_codes(groups[video] for video in videos)
    blocks = group_blocks(codes)
    weights = np.concatenate([np.ones((1, len(videos))), blocks != np.arange(blocks.max() + 1)[:, None]])  # (1 + U, V)
    count, effective = int(codes.max()) + 1, effective_groups(codes)
    return {
        key: share_interval(float(values[0]), float(jackknife_error(values[1:])), count, effective=effective)
        for key, values in scorer(pd.DataFrame(weights, columns=videos)).items()
    }
