"""How good segments of video are, and how far to believe the difference between two models.

A segments frame has the columns video (str), start, end (start < end, any unit) and label (str); predictions also have
score in [0, 1]. Every score is in [0, 1] and more is better. Segments that bear the label `background` do not count.

Whatever is slow (which prediction overlaps which truth) is done once for each pair of frames. A score is then a
function of how often each video counts: once for the score itself, 0 or 1 to leave a fold or a group out, 0 to G times
in a drill's draws. So a thousand draws of all scores take about ten times as long as the scores alone.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.predictions.frame import Labels, Probs
from kagglepipe.predictions.uncertainty import (
    Interval,
    effective_groups,
    group_blocks,
    jackknife_error,
    share_interval,
)
from kagglepipe.text import quoted_three

SEGMENT_COLUMNS = ("video", "start", "end", "label")
ACTIVITYNET_TIOUS = tuple(k / 20 for k in range(10, 20))  # 0.5, 0.55, … 0.95, each the double nearest to it
DRAWS_AT_ONCE = 100  # a draw needs a number for each group, and for each truth that is found

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Weigh = Callable[[Floats], Floats]  # how often each video counts (D, V) -> scores (D,), NaN where undefined


@dataclass(frozen=True, eq=False)
class _Segments:
    """Segments as arrays (S,); video and label are numbers that predictions and truth share."""

    video: Labels
    label: Labels
    start: Floats
    end: Floats
    score: Floats


@dataclass(frozen=True, eq=False)
class _Pairs:
    """A prediction and a truth (by position), same video and label, that share time; overlap is their tIoU in (0, 1].

    Sorted by prediction, then by falling overlap, then by truth.
    """

    prediction: Labels
    truth: Labels
    overlap: Floats


@dataclass(frozen=True, eq=False)
class _Compared:
    """Predictions by falling score and truth by (video, label, start), and every pair that overlaps."""

    videos: list[str]
    labels: list[str]
    predicted: _Segments
    truth: _Segments
    pairs: _Pairs


# --- scores -------------------------------------------------------------------------------------------------


def edit_score(predicted: pd.DataFrame, truth: pd.DataFrame, background: str | None = None) -> float:
    """1 - Levenshtein distance / length of the longer one of the two sequences of labels, by start; mean over videos.

    It asks for the right actions in the right order, whatever their limits are. A video counts if it has a segment
    in either frame; NaN if none has. Lea, Reiter, Vidal and Hager 2016, "Segmental spatiotemporal CNNs for
    fine-grained action segmentation", and Lea et al. 2017 (see f1_at), who write it in per cent.

    >>> truth = pd.DataFrame({"video": "v", "start": [0, 5, 9], "end": [4, 8, 12], "label": ["sit", "walk", "sit"]})
    >>> round(edit_score(truth[:2], truth), 4)
    0.6667
    """
    return _score(_edit, predicted, truth, background)


def f1_at(predicted: pd.DataFrame, truth: pd.DataFrame, overlap: float, background: str | None = None) -> float:
    """Segmental F1 = 2 TP / (predictions + truths), counted over all videos and classes.

    A truth is found (one TP) if a prediction whose highest tIoU with a truth of its label and video is with this one
    reaches `overlap` (0 < overlap <= 1); a second such prediction is a false positive. As in the authors' programs a
    prediction never makes do with its second-best truth, so that below 0.5 it may matter which frame is the truth.
    NaN if both frames are empty. Lea, Flynn, Vidal, Reiter and Hager 2017, "Temporal convolutional networks for action
    segmentation and detection"; summed over videos as by Abu Farha and Gall 2019, "MS-TCN".

    >>> truth = pd.DataFrame({"video": "v", "start": [0.0, 10.0], "end": [4.0, 20.0], "label": "wave"})
    >>> f1_at(truth.assign(end=[4.0, 15.0]), truth, 0.5), f1_at(truth.assign(end=[4.0, 14.0]), truth, 0.5)
    (1.0, 0.5)
    """
    return _score(partial(_f1, overlap=overlap), predicted, truth, background)


def average_precision(
    predicted: pd.DataFrame, truth: pd.DataFrame, tiou: float, background: str | None = None
) -> dict[str, float]:
    """The average precision of each class that has truths: label -> area under the interpolated precision.

    By falling score over all videos, a prediction is right if a truth of its label and video that is not taken yet has
    tIoU >= `tiou` (0 < tiou <= 1) with it, and takes the one with the highest. Precision is the best at this recall
    or a higher one. Equal scores are one step of the curve, so that no order of rows or names has a say; predictions
    without the column `score` are all equal. A class without predictions has 0.

    Caba Heilbron et al. 2015, "ActivityNet", whose evaluation program this follows; Idrees et al. 2017, "The THUMOS
    challenge on action recognition for videos in the wild", asks for tIoU > `tiou` and does not interpolate.

    >>> truth = pd.DataFrame({"video": "v", "start": [0.0, 10.0], "end": [4.0, 20.0], "label": "wave"})
    >>> average_precision(truth.assign(start=[5.0, 10.0], end=[9.0, 20.0], score=[0.9, 0.8]), truth, 0.5)
    {'wave': 0.25}
    """
    compared = _compare(predicted, truth, background)
    values = _class_precisions(compared, tiou)(_once(compared))[0]
    return {label: float(value) for label, value in zip(compared.labels, values, strict=True) if not math.isnan(value)}


def mean_average_precision(
    predicted: pd.DataFrame, truth: pd.DataFrame, tiou: float, background: str | None = None
) -> float:
    """The mean `average_precision` of the classes that have truths; NaN if there is no truth.

    >>> truth = pd.DataFrame({"video": "v", "start": [0.0, 10.0], "end": [4.0, 20.0], "label": ["sit", "walk"]})
    >>> mean_average_precision(truth[:1].assign(score=0.7), truth, 0.5)
    0.5
    """
    return _score(partial(_mean_precision, tious=(tiou,)), predicted, truth, background)


def activitynet_average(predicted: pd.DataFrame, truth: pd.DataFrame, background: str | None = None) -> float:
    """The mean of `mean_average_precision` at tIoU 0.5, 0.55, … 0.95; NaN if there is no truth.

    >>> truth = pd.DataFrame({"video": ["v"], "start": [0.0], "end": [10.0], "label": ["walk"]})
    >>> activitynet_average(truth.assign(end=7.0, score=0.9), truth)
    0.5
    """
    return _score(partial(_mean_precision, tious=ACTIVITYNET_TIOUS), predicted, truth, background)


def segment_scores(predicted: pd.DataFrame, truth: pd.DataFrame, *, background: str | None = None) -> dict[str, float]:
    """All of SEGMENT_SCORES: f1_10, f1_25, f1_50, edit, map_10 … map_70 and map_activitynet, each in [0, 1].

    Truth without predictions scores 0. Predictions without any truth score 0 for F1 and edit, NaN for precision.
    Two empty frames score NaN. Raises ValueError for segments that lack a column or do not end after they start.

    >>> truth = pd.DataFrame({"video": ["v"], "start": [0.0], "end": [10.0], "label": ["walk"]})
    >>> scores = segment_scores(truth.assign(end=4.0, score=0.9), truth)
    >>> scores["edit"], scores["f1_25"], scores["f1_50"], scores["map_40"], scores["map_50"]
    (1.0, 1.0, 0.0, 1.0, 0.0)
    """
    compared = _compare(predicted, truth, background)
    times = _once(compared)
    return {key: float(prepare(compared)(times)[0]) for key, prepare in SEGMENT_SCORES.items()}


def segment_scorer(
    predicted: pd.DataFrame,
    truth: pd.DataFrame,
    *,
    background: str | None = None,
    keys: Iterable[str] | None = None,
) -> Callable[[pd.DataFrame], dict[str, Floats]]:
    """A function from how often each video counts to the scores `keys` (None: all of SEGMENT_SCORES).

    It takes a frame of D rows with a column for each video, and gives an array (D,) for each key, NaN where a score is
    undefined. A video that counts twice is two different videos that happen to be the same.

    Raises ValueError for unknown keys and as `segment_scores`; the function, for a video without a column.

    >>> truth = pd.DataFrame({"video": ["a", "b"], "start": 0.0, "end": 4.0, "label": "wave"})
    >>> scorer = segment_scorer(truth[:1].assign(score=0.9), truth, keys=["edit"])
    >>> scorer(pd.DataFrame({"a": [1, 2, 0], "b": [1, 0, 1]}))["edit"].tolist()
    [0.5, 1.0, 0.0]
    """
    chosen = list(SEGMENT_SCORES if keys is None else keys)
    if unknown := set(chosen) - set(SEGMENT_SCORES):
        raise ValueError(f"no score is called {quoted_three(unknown)}; there are {', '.join(SEGMENT_SCORES)}")
    compared = _compare(predicted, truth, background)
    weigh = {key: SEGMENT_SCORES[key](compared) for key in chosen}

    def scores(times: pd.DataFrame) -> dict[str, Floats]:
        if missing := set(compared.videos) - set(times.columns):
            raise ValueError(f"nothing says how often video {quoted_three(missing)} counts")
        counts = times[compared.videos].to_numpy(dtype=np.float64)
        return {key: function(counts) for key, function in weigh.items()}

    return scores


def frame_average_precision(probs: Probs, labels: Labels, *, background: int | None = None) -> float:
    """The mean of `class_average_precisions` over the classes that have frames, without class number `background`.

    NaN if no such class has frames.

    >>> probs = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
    >>> frame_average_precision(probs, np.array([0, 0, 1])), frame_average_precision(probs, np.array([0, 0, 1]),
    ...                                                                              background=0)
    (0.6666666666666666, 0.5)
    """
    values = class_average_precisions(probs, labels)
    if background is not None:
        values[background] = math.nan
    return float(_mean_of_defined(values[None])[0])


def class_average_precisions(probs: Probs, labels: Labels) -> Floats:
    """(C,) one-against-the-rest average precision of frames, in [0, 1]; NaN for classes without frames.

    The sum of precision × gain in recall from one distinct probability to the next, not interpolated: what
    scikit-learn calls average_precision_score.

    probs: (N, C). labels: true class numbers (N,).

    >>> class_average_precisions(np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]]), np.array([0, 0, 1])).round(4)
    array([0.8333, 0.5   ])
    """
    return np.array([_frame_precision(probs[:, k], labels == k) for k in range(probs.shape[1])])


def _frame_precision(values: Floats, positive: Flags) -> float:
    """The average precision of one column (N,); NaN without positives."""
    order = np.argsort(-values, kind="stable")
    last = _last_of_equal(values[order])
    found = np.cumsum(positive[order])[last]
    gained = np.diff(found, prepend=0)
    return float((gained * found / (last + 1)).sum() / found[-1]) if positive.any() else math.nan


# --- scores as functions of how often each video counts --------------------------------------------------------


def _edit(compared: _Compared) -> Weigh:
    scores = np.full(len(compared.videos), math.nan)
    sequences = [_label_sequences(side, len(scores)) for side in (compared.predicted, compared.truth)]
    for video, (found, wanted) in enumerate(zip(*sequences, strict=True)):
        scores[video] = 1 - _levenshtein(found, wanted) / max(len(found), len(wanted))
    return lambda times: _ratio(times @ scores, times.sum(axis=1))


def _f1(compared: _Compared, overlap: float) -> Weigh:
    count, pairs = len(compared.videos), compared.pairs
    best = _first_of_equal(pairs.prediction)
    found = np.unique(pairs.truth[best][pairs.overlap[best] >= overlap])
    right = np.bincount(compared.truth.video[found], minlength=count)
    segments = np.bincount(np.concatenate([compared.predicted.video, compared.truth.video]), minlength=count)
    return lambda times: _ratio(2 * times @ right, times @ segments)


def _mean_precision(compared: _Compared, tious: Sequence[float]) -> Weigh:
    precisions = [_class_precisions(compared, tiou) for tiou in tious]

    def mean(times: Floats) -> Floats:
        return np.mean([_mean_of_defined(precision(times)) for precision in precisions], axis=0)

    return mean


def _class_precisions(compared: _Compared, tiou: float) -> Weigh:
    """Like the others, but (D, C): the average precision of each class."""
    right = _matched(compared, tiou)
    classes = [_precision_of(compared, label, right) for label in range(len(compared.labels))]
    return lambda times: np.array([precision(times) for precision in classes]).reshape(len(classes), len(times)).T


def _precision_of(compared: _Compared, label: int, right: Flags) -> Weigh:
    """The average precision of one class, given which predictions are right."""
    chosen = np.flatnonzero(compared.predicted.label == label)
    video, hits = compared.predicted.video[chosen], right[chosen]
    last = _last_of_equal(compared.predicted.score[chosen])
    # precision only falls where nothing is right, so that its best is found at the other steps of the curve
    ends = np.unique(last[np.searchsorted(last, np.flatnonzero(hits))])
    last_hits = np.searchsorted(np.flatnonzero(hits), ends, side="right") - 1
    truths = np.bincount(compared.truth.video[compared.truth.label == label], minlength=len(compared.videos))

    def precision(times: Floats) -> Floats:
        reached = np.cumsum(times[:, video[hits]], axis=1)[:, last_hits]  # (D, steps)
        share = np.nan_to_num(_ratio(reached, np.cumsum(times[:, video], axis=1)[:, ends]))
        best = np.maximum.accumulate(share[:, ::-1], axis=1)[:, ::-1]
        return _ratio((np.diff(reached, axis=1, prepend=0) * best).sum(axis=1), times @ truths)

    return precision


SEGMENT_SCORES: dict[str, Callable[[_Compared], Weigh]] = {
    "f1_10": partial(_f1, overlap=0.1),
    "f1_25": partial(_f1, overlap=0.25),
    "f1_50": partial(_f1, overlap=0.5),
    "edit": _edit,
    **{f"map_{10 * k}": partial(_mean_precision, tious=(k / 10,)) for k in range(1, 8)},
    "map_activitynet": partial(_mean_precision, tious=ACTIVITYNET_TIOUS),
}


def _score(
    prepare: Callable[[_Compared], Weigh], predicted: pd.DataFrame, truth: pd.DataFrame, background: str | None
) -> float:
    compared = _compare(predicted, truth, background)
    return float(prepare(compared)(_once(compared))[0])


def _once(compared: _Compared) -> Floats:
    """Every video counts once."""
    return np.ones((1, len(compared.videos)))


def _ratio(part: Floats, whole: Floats) -> Floats:
    """part / whole, NaN where whole is 0."""
    return np.divide(part, whole, out=np.full(whole.shape, math.nan), where=whole > 0)


def _mean_of_defined(values: Floats) -> Floats:
    """(D,) the mean of each row's numbers; NaN for a row that has none."""
    return _ratio(np.nansum(values, axis=1), (~np.isnan(values)).sum(axis=1).astype(np.float64))


def _first_of_equal(values: npt.NDArray[np.generic]) -> Labels:
    """Where in a sorted array (N,) each run of equal values begins."""
    return np.flatnonzero(np.append(True, values[1:] != values[:-1]))[: len(values)]


def _last_of_equal(values: npt.NDArray[np.generic]) -> Labels:
    """Where in a sorted array (N,) each run of equal values ends."""
    return np.flatnonzero(np.append(values[1:] != values[:-1], True))[: len(values)]


# --- which prediction belongs to which truth --------------------------------------------------------------------


def _compare(predicted: pd.DataFrame, truth: pd.DataFrame, background: str | None) -> _Compared:
    frames = [_foreground(frame, background) for frame in (predicted, truth)]
    videos, labels = (sorted({name for frame in frames for name in frame[of].unique()}) for of in ("video", "label"))
    found, wanted = (_segments(frame, videos, labels) for frame in frames)
    found = _ordered(found, np.lexsort((found.label, found.end, found.start, found.video, -found.score)))
    wanted = _ordered(wanted, np.lexsort((wanted.end, wanted.start, wanted.label, wanted.video)))
    return _Compared(videos, labels, found, wanted, _find_pairs(found, wanted, len(labels)))


def _foreground(frame: pd.DataFrame, background: str | None) -> pd.DataFrame:
    """The rows that are not background. Raises ValueError unless all rows are segments."""
    if missing := set(SEGMENT_COLUMNS) - set(frame.columns):
        raise ValueError(f"segments without the column {quoted_three(missing)}")
    if not ((frame["start"] < frame["end"]) & np.isfinite(frame["end"] - frame["start"])).all():
        raise ValueError("a segment must end after it starts")
    return frame if background is None else frame[frame["label"] != background]


def _segments(frame: pd.DataFrame, videos: list[str], labels: list[str]) -> _Segments:
    return _Segments(
        video=pd.Index(videos).get_indexer(pd.Index(frame["video"])),
        label=pd.Index(labels).get_indexer(pd.Index(frame["label"])),
        start=frame["start"].to_numpy(dtype=np.float64),
        end=frame["end"].to_numpy(dtype=np.float64),
        score=np.asarray(frame["score"] if "score" in frame else np.ones(len(frame)), dtype=np.float64),
    )


def _ordered(segments: _Segments, order: Labels) -> _Segments:
    return _Segments(**{name: values[order] for name, values in vars(segments).items()})


def _find_pairs(predicted: _Segments, truth: _Segments, labels: int) -> _Pairs:
    """All pairs that share time; `truth` is sorted by (video, label)."""
    wanted, keys = (side.video * labels + side.label for side in (predicted, truth))
    first, stop = (np.searchsorted(keys, wanted, side) for side in ("left", "right"))
    counts = stop - first  # of the truths that each prediction could mean
    one = np.repeat(np.arange(len(wanted)), counts)
    other = np.arange(len(one)) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    shared = np.minimum(predicted.end[one], truth.end[other]) - np.maximum(predicted.start[one], truth.start[other])
    whole = np.maximum(predicted.end[one], truth.end[other]) - np.minimum(predicted.start[one], truth.start[other])
    touch = np.flatnonzero(shared > 0)
    one, other, overlap = one[touch], other[touch], shared[touch] / whole[touch]
    order = np.lexsort((other, -overlap, one))
    return _Pairs(one[order], other[order], overlap[order])


def _matched(compared: _Compared, tiou: float) -> Flags:
    """(predictions,) whether each takes a truth, where each takes the best that is left, the surest first."""
    close = compared.pairs.overlap >= tiou
    right = np.zeros(len(compared.predicted.video), dtype=np.bool_)
    taken: set[int] = set()
    pairs = zip(compared.pairs.prediction[close].tolist(), compared.pairs.truth[close].tolist(), strict=True)
    for one, other in pairs:
        if not right[one] and other not in taken:
            right[one] = True
            taken.add(other)
    return right


def _label_sequences(segments: _Segments, videos: int) -> list[Labels]:
    """The labels of each video in the order of their starts."""
    order = np.lexsort((segments.label, segments.end, segments.start, segments.video))
    limits = np.searchsorted(segments.video[order], np.arange(1, videos))
    return np.split(segments.label[order], limits) if videos else []


def _levenshtein(one: Labels, other: Labels) -> int:
    """How many insertions, deletions and replacements make one sequence the other. Levenshtein 1966.

    >>> _levenshtein(np.array([1, 2, 3]), np.array([2, 3, 4]))
    2
    """
    steps = np.arange(len(other) + 1)
    row = steps  # the distances of nothing from each beginning of `other`
    for done, item in enumerate(one, start=1):
        kept = np.minimum(row[1:] + 1, row[:-1] + (other != item))
        row = np.minimum.accumulate(np.concatenate([[done], kept]) - steps) + steps
    return int(row[-1])


def video_scorer(
    metric: str, segments: pd.DataFrame, truth: pd.DataFrame, background: str | None, codes: Mapping[str, int]
) -> Callable[[npt.NDArray[np.int64]], Floats]:
    """Scores a run by the segments that it has found. metric: one of SEGMENT_SCORES.

    segments, truth: segments frames. codes: video -> its group, also for videos in which nothing is found or true.
    What is found is compared with the truth once; a draw weighs the videos.

    >>> truth = pd.DataFrame({"video": ["a", "b"], "start": 0.0, "end": 4.0, "label": "wave"})
    >>> scorer = video_scorer("edit", truth[:1].assign(score=0.9), truth, None, {"a": 0, "b": 1})
    >>> scorer(np.array([[1, 1], [3, 1]])).tolist()
    [0.5, 0.75]
    """
    score = segment_scorer(segments, truth, background=background, keys=[metric])
    groups = np.array(list(codes.values()), dtype=np.intp)

    def weighed(times: npt.NDArray[np.int64]) -> Floats:
        parts = (times[first : first + DRAWS_AT_ONCE] for first in range(0, len(times), DRAWS_AT_ONCE))
        return np.concatenate([score(pd.DataFrame(part[:, groups], columns=list(codes)))[metric] for part in parts])

    return weighed


# --- how far to believe them ------------------------------------------------------------------------------------


def group_intervals(
    function: Callable[[pd.DataFrame], Mapping[str, Floats]], groups: Mapping[str, Hashable]
) -> dict[str, Interval]:
    """The 95 % interval (low, high) of each score, by leaving out whole groups of videos: see `uncertainty`.

    function: how often each video counts, a row a draw and a column a video, -> scores (D,) by name; such as
    `segment_scorer` makes.
    groups: video -> group (source, subject, scene); all videos, also those in which nothing is found or true.
    NaN twice where groups are too few, or a score is undefined without one of them.

    >>> truth = pd.DataFrame({"video": list("abcd"), "start": 0.0, "end": 4.0, "label": "wave"})
    >>> scorer = segment_scorer(truth[:2].assign(score=0.9), truth, keys=["edit"])
    >>> [round(limit, 2) for limit in group_intervals(scorer, dict(zip("abcd", "abcd")))["edit"]]
    [0.08, 0.92]
    """
    videos = sorted(groups)
    codes = _codes([groups[video] for video in videos])
    blocks = group_blocks(codes)
    times = np.concatenate([np.ones((1, len(videos))), blocks != np.arange(blocks.max() + 1)[:, None]])  # (1 + U, V)
    parts = np.split(times, range(DRAWS_AT_ONCE, len(times), DRAWS_AT_ONCE))
    found = [function(pd.DataFrame(part, columns=videos)) for part in parts]
    scores = {key: np.concatenate([part[key] for part in found]) for key in found[0]}
    count, effective = int(codes.max()) + 1, effective_groups(codes)
    return {
        key: share_interval(float(values[0]), float(jackknife_error(values[1:])), count, effective=effective)
        for key, values in scores.items()
    }


def _codes(groups: Sequence[Hashable]) -> Labels:
    """Groups as numbers from 0, (N,)."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.intp)
