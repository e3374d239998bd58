"""Scores of segments worked by hand, against their definitions written as loops, and against scikit-learn."""

import math
from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from kagglepipe.segments.matching import match_segments
from kagglepipe.segments.metrics import (
    DRAWS_AT_ONCE,
    SEGMENT_SCORES,
    Weighted,
    edit,
    f1,
    frame_average_precision,
    group_intervals,
    mean_average_precision,
    segment_scorer,
    segment_scores,
)

COLUMNS = ["video", "start", "end", "label", "score"]
TIOUS = [k / 10 for k in range(1, 10)]


def make_segments(text: str) -> pd.DataFrame:
    """Lines of `video start end label score`; a score that is left out is 1."""
    rows = [[*line.split(), "1"][:5] for line in text.strip().splitlines()]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.astype({"video": "str", "start": float, "end": float, "label": "str", "score": float})


NONE = make_segments("")


@st.composite
def segments(draw: st.DrawFn, *, least: int = 0, apart: bool = False) -> pd.DataFrame:
    """Segments of two videos and two classes with whole limits and distinct scores.

    apart: those of one video and class share no time.
    """
    count = draw(st.integers(least, 9))
    starts = draw(st.lists(st.integers(0, 20), min_size=count, max_size=count))
    lengths = draw(st.lists(st.integers(1, 6), min_size=count, max_size=count))
    of = draw(st.lists(st.sampled_from([("a", "sit"), ("a", "walk"), ("b", "sit")]), min_size=count, max_size=count))
    if apart:
        starts = (np.cumsum([0, *lengths])[:-1] + np.sort(np.array(starts, dtype=int))).tolist()
    scores = draw(st.permutations(range(1, count + 1)))
    rows = [(v, s, s + n, k, p / 10) for (v, k), s, n, p in zip(of, starts, lengths, scores, strict=True)]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.astype({"video": "str", "start": float, "end": float, "label": "str", "score": float})


def tiou(one: tuple[float, float], other: tuple[float, float]) -> float:
    shared = min(one[1], other[1]) - max(one[0], other[0])
    return max(shared, 0) / ((one[1] - one[0]) + (other[1] - other[0]) - max(shared, 0))


def evaluate(
    metric: Callable[..., Weighted], predicted: pd.DataFrame, truth: pd.DataFrame, background: str | None = None
) -> float:
    matching = match_segments(predicted, truth, background)
    return float(metric(matching)(np.ones((1, len(matching.videos))))[0])


def f1_at(predicted: pd.DataFrame, truth: pd.DataFrame, overlap: float) -> float:
    return evaluate(partial(f1, overlap=overlap), predicted, truth)


def average_precision(predicted: pd.DataFrame, truth: pd.DataFrame, *tious: float) -> float:
    return evaluate(partial(mean_average_precision, tious=tious), predicted, truth)


# --- edit -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("predicted", "truth", "background", "expected"),
    [
        # a: ABCA without B is ACA, 1 of 4; b: AB and BA are two replacements apart, 2 of 2
        (
            "a 0 2 A\na 2 3 C\na 3 4 A\nb 0 3 B\nb 3 6 A",
            "a 0 1 A\na 1 2 B\na 2 3 C\na 3 4 A\nb 0 5 A\nb 5 6 B",
            None,
            (3 / 4 + 0) / 2,
        ),
        ("a 7 9 A\nc 0 1 A", "a 0 1 A\nb 0 1 A", None, 1 / 3),  # videos with segments on either side count
        ("a 0 3 A", "a 0 1 A\na 1 2 nothing\na 2 3 A", "nothing", 0.5),  # background parts two segments
        ("a 0 3 A", "a 0 1 A\na 1 2 nothing\na 2 3 A", None, 1 / 3),
    ],
)
def test_edit_score_worked_by_hand(predicted: str, truth: str, background: str | None, expected: float) -> None:
    one, other = make_segments(predicted), make_segments(truth)
    assert evaluate(edit, one, other, background) == pytest.approx(expected)
    assert evaluate(edit, other, one, background) == pytest.approx(expected)


def distance(one: str, other: str) -> int:
    """Levenshtein's distance by its recursive definition."""

    @lru_cache(None)
    def between(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        return min(between(i - 1, j) + 1, between(i, j - 1) + 1, between(i - 1, j - 1) + (one[i - 1] != other[j - 1]))

    return between(len(one), len(other))


@given(one=st.text("ABC", max_size=9), other=st.text("ABC", min_size=1, max_size=9))
def test_edit_score_is_levenshteins(one: str, other: str) -> None:
    frames = [make_segments("\n".join(f"v {k} {k + 1} {name}" for k, name in enumerate(text))) for text in (one, other)]
    expected = 1 - distance(one, other) / max(len(one), len(other))
    assert evaluate(edit, *frames) == pytest.approx(expected, abs=1e-12)


# --- F1 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("predicted", "truth", "expected"),
    [
        # tIoU .5 and .5 with the first truth, a wrong class, .8, .4
        ("a 0 5 A\na 5 10 A\na 20 30 A\na 21 29 B\nb 0 4 A", "a 0 10 A\na 20 30 B\nb 0 10 A", {0.5: 4 / 8, 0.6: 2 / 8}),
        ("a 0 1 A", "a 0 10 A", {0.1: 1.0}),  # equality
        ("a 0 10 A", "a 0 4 A\na 4 10 A", {0.25: 2 / 3}),  # compared with its best truth only
        ("a 7 10 A", "a 0 10 A", {0.3: 1.0}),
        ("a 10 20 A", "a 0 10 A", {0.1: 0.0}),
    ],
)
def test_f1_worked_by_hand(predicted: str, truth: str, expected: dict[float, float]) -> None:
    found = {overlap: f1_at(make_segments(predicted), make_segments(truth), overlap) for overlap in expected}
    assert found == pytest.approx(expected)


@given(predicted=segments(), truth=segments(least=1), overlap=st.sampled_from([0.1, 0.25, 0.5]))
def test_f1_is_as_defined(predicted: pd.DataFrame, truth: pd.DataFrame, overlap: float) -> None:
    truths = sorted(truth[COLUMNS[:4]].itertuples(index=False, name=None))
    found: set[int] = set()
    for video, start, end, label, _ in predicted.itertuples(index=False):
        shares = [tiou((start, end), t[1:3]) if t[0] == video and t[3] == label else 0.0 for t in truths]
        best = int(np.argmax(shares))
        if shares[best] >= overlap:
            found.add(best)
    assert f1_at(predicted, truth, overlap) == pytest.approx(2 * len(found) / (len(predicted) + len(truths)))


# --- average precision ----------------------------------------------------------------------------------------


def test_average_precision_worked_by_hand() -> None:
    """Right, wrong, right, wrong, right, wrong (taken): precision 1, 1/2, 2/3, 1/2, 3/5, 1/2 at recalls 1/4 … 3/4.

    At .95 the third and fifth fail, the last is right: precision 1 and then 2/6.
    """
    truth = make_segments("a 0 10 A\na 20 30 A\nb 0 10 A\nb 20 30 A")
    found = make_segments("a 0 10 A .9\nb 50 60 A .8\nb 0 9 A .7\na 40 50 A .6\na 21 30 A .5\na 20 30 A .4")
    assert average_precision(found, truth, 0.5) == pytest.approx((1 + 2 / 3 + 3 / 5) / 4)
    assert average_precision(found, truth, 0.95) == pytest.approx((1 + 2 / 6) / 4)


def test_equal_scores_are_one_step_whatever_the_names() -> None:
    truth = make_segments("b 0 1 A\nb 2 3 A")
    predicted = make_segments("a 0 1 A .5\nb 0 1 A .5\nc 0 1 A .5\nb 2 3 A .4")
    renamed = predicted.assign(video=predicted["video"].map({"a": "x", "b": "b", "c": "y"}))
    assert average_precision(predicted, truth, 0.5) == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert average_precision(renamed, truth, 0.5) == average_precision(predicted, truth, 0.5)
    unscored = predicted.drop(columns="score")
    assert average_precision(unscored, truth, 0.5) == 0.5


def test_classes_without_truth_are_left_out_and_those_without_predictions_have_0() -> None:
    truth = make_segments("a 0 1 A\na 2 3 B")
    predicted = make_segments("a 0 1 A\na 2 3 C")
    assert average_precision(predicted, truth, 0.5) == (1.0 + 0.0) / 2
    assert f1_at(predicted, truth, 0.5) == 0.5  # here they are false positives


def area(right: list[bool], truths: int) -> float:
    """Interpolated average precision, recall step by recall step."""
    precisions = [sum(right[: k + 1]) / (k + 1) for k in range(len(right))]
    return sum(max(precisions[k:]) for k in range(len(right)) if right[k]) / truths


@given(predicted=segments(), truth=segments(least=1), threshold=st.sampled_from(TIOUS))
def test_average_precision_is_as_defined(predicted: pd.DataFrame, truth: pd.DataFrame, threshold: float) -> None:
    expected = []
    for label, truths in truth.groupby("label"):
        left = sorted(truths[COLUMNS[:3]].itertuples(index=False, name=None))
        right = []
        for row in predicted[predicted["label"] == label].sort_values("score", ascending=False).itertuples():
            shares = [tiou((row.start, row.end), t[1:]) if t[0] == row.video else 0.0 for t in left]
            right.append(max(shares, default=0) >= threshold)
            if right[-1]:
                del left[int(np.argmax(shares))]
        expected.append(area(right, len(truths)))
    assert average_precision(predicted, truth, threshold) == pytest.approx(np.mean(expected), abs=1e-12)


def test_the_activitynet_average_holds_its_limits() -> None:
    truth = make_segments("a 0 20 A")
    found = [segment_scores(make_segments(f"a 0 {end} A"), truth) for end in (9, 10, 11, 18, 19, 20)]
    values = [scores["map_activitynet"] for scores in found]
    assert values == pytest.approx([0, 0.1, 0.2, 0.9, 1, 1])


# --- all scores -------------------------------------------------------------------------------------------------


def test_all_scores_worked_by_hand_without_background() -> None:
    truth = make_segments("a 0 10 A\na 20 30 B\nb 0 10 A\nb 10 12 nothing")
    predicted = make_segments("a 0 4 A .9\na 20 30 B .8\nb 2 10 B .3")
    scores = segment_scores(predicted, truth, background="nothing")
    assert list(scores) == [
        *("f1_10", "f1_25", "f1_50", "edit"),
        *(f"map_{k}0" for k in range(1, 8)),
        "map_activitynet",
    ]
    assert [scores[key] for key in ("edit", "map_40", "map_70", "map_activitynet")] == [0.5, 0.75, 0.5, 0.5]
    assert scores["f1_25"] == pytest.approx(4 / 6)


@given(truth=segments(least=1, apart=True))
def test_the_truth_itself_is_perfect(truth: pd.DataFrame) -> None:
    assert set(segment_scores(truth, truth).values()) == {1.0}


def test_nothing_predicted_scores_0_and_nothing_at_all_is_undefined() -> None:
    truth = make_segments("a 0 1 A")
    assert set(segment_scores(NONE, truth).values()) == {0.0}
    assert all(math.isnan(value) for value in segment_scores(NONE, NONE).values())
    assert all(math.isnan(value) for value in segment_scores(truth, truth, background="A").values())
    false_alarm = segment_scores(truth, NONE)
    assert {key for key, value in false_alarm.items() if value == 0} == {"f1_10", "f1_25", "f1_50", "edit"}
    assert all(math.isnan(value) for key, value in false_alarm.items() if key.startswith("map"))


@given(
    predicted=segments(),
    truth=segments(least=1),
    shift=st.integers(-50, 50),
    scale=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_scores_know_neither_units_nor_the_order_of_rows(
    predicted: pd.DataFrame, truth: pd.DataFrame, shift: int, scale: int, seed: int
) -> None:
    def moved(frame: pd.DataFrame) -> pd.DataFrame:
        times = frame[["start", "end"]] * scale + shift
        return frame.assign(start=times["start"], end=times["end"]).sample(frac=1, random_state=seed)

    expected = segment_scores(predicted, truth)
    assert segment_scores(moved(predicted), moved(truth)) == pytest.approx(expected, abs=1e-12)
    assert all(0 <= value <= 1 for value in expected.values())


@pytest.mark.parametrize("fault", [{"end": 0.0}, {"start": math.nan}, {"end": math.inf}])
def test_rows_that_are_no_segments_are_refused(fault: dict[str, float]) -> None:
    truth = make_segments("a 0 1 A")
    with pytest.raises(ValueError, match="must end after it starts"):
        segment_scores(truth.assign(**fault), truth)


def test_missing_columns_and_unknown_scores_are_named() -> None:
    truth = make_segments("a 0 1 A")
    with pytest.raises(ValueError, match="without the column 'end', 'label'"):
        evaluate(edit, truth[["video", "start"]], truth)
    with pytest.raises(ValueError, match=r"no score is called 'f1_33'; there are f1_10, .*map_activitynet"):
        segment_scorer(truth, truth, keys=["edit", "f1_33"])


# --- frames -----------------------------------------------------------------------------------------------------


@given(data=st.data(), classes=st.integers(2, 4))
def test_average_precision_of_frames_equals_that_of_sklearn(data: st.DataObject, classes: int) -> None:
    labels = np.array(data.draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=30)))
    values = data.draw(
        st.lists(st.integers(0, 4), min_size=len(labels) * classes, max_size=len(labels) * classes)
    )  # few values, so that ties abound
    probs = np.array(values, dtype=float).reshape(len(labels), classes) / 4
    present = [k for k in range(classes) if (labels == k).any()]
    expected = [sklearn.metrics.average_precision_score(labels == k, probs[:, k]) for k in present]
    assert frame_average_precision(probs, labels) == pytest.approx(np.mean(expected), abs=1e-12)


def test_background_and_classes_without_frames_do_not_count() -> None:
    probs = np.array([[0.6, 0.4, 0.0], [0.5, 0.1, 0.4], [0.1, 0.9, 0.0]])
    labels = np.array([0, 1, 1])
    # of class 1 the frames rank right, wrong, right: 1/2 · 1 + 1/2 · 2/3
    assert frame_average_precision(probs, labels, background=0) == pytest.approx(5 / 6)
    assert frame_average_precision(probs, labels) == pytest.approx((1 + 5 / 6) / 2)
    assert math.isnan(frame_average_precision(probs, np.zeros(3, dtype=int), background=0))


# --- how far to believe them --------------------------------------------------------------------------------------


@given(predicted=segments(), truth=segments(least=1), counts=st.tuples(st.integers(0, 3), st.integers(0, 3)))
def test_a_video_that_counts_twice_is_two_videos(
    predicted: pd.DataFrame, truth: pd.DataFrame, counts: tuple[int, int]
) -> None:
    copies = [(video, f"{video}{k}") for video, count in zip("ab", counts, strict=True) for k in range(count)]

    def drawn(frame: pd.DataFrame) -> pd.DataFrame:
        return pd.concat([frame[:0], *(frame[frame["video"] == old].assign(video=new) for old, new in copies)])

    scores = segment_scorer(predicted, truth)(pd.DataFrame([counts], columns=["a", "b"]))
    expected = segment_scores(drawn(predicted), drawn(truth))
    assert {key: float(values[0]) for key, values in scores.items()} == pytest.approx(expected, abs=1e-12, nan_ok=True)


def many_videos(count: int, *, sources: int = 1) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, str]]:
    """Predictions of which about two in three are right, truth, and groups; each video is there `sources` times."""
    random = np.random.default_rng(5)
    start = 20.0 * np.arange(4)
    truths, found = [], []
    for v in range(count):
        truth = pd.DataFrame({"start": start, "end": start + 10, "label": list("ABAB")})
        wrong = random.random(4) < 0.35
        predicted = truth.assign(start=start + 8.0 * wrong, score=random.random(4))
        for copy in range(sources):
            truths.append(truth.assign(video=f"v{v}_{copy}"))
            found.append(predicted.assign(video=f"v{v}_{copy}"))
    groups = {f"v{v}_{copy}": f"g{v}" for v in range(count) for copy in range(sources)}
    return pd.concat(found), pd.concat(truths), groups


def test_copies_in_one_group_tell_nothing_new() -> None:
    alone, copied = many_videos(12), many_videos(12, sources=3)
    keys = ["edit", "f1_50", "map_50"]
    expected = group_intervals(segment_scorer(*alone[:2], keys=keys), alone[2])
    grouped = group_intervals(segment_scorer(*copied[:2], keys=keys), copied[2])
    for key in keys:
        assert grouped[key] == pytest.approx(expected[key])
    low, high = group_intervals(segment_scorer(*copied[:2], keys=keys), {v: v for v in copied[2]})["f1_50"]
    assert high - low < 0.75 * (expected["f1_50"][1] - expected["f1_50"][0])


def test_every_score_lies_in_its_interval() -> None:
    predicted, truth, groups = many_videos(24)
    scorer, scores = segment_scorer(predicted, truth), segment_scores(predicted, truth)
    intervals = group_intervals(scorer, groups)
    assert list(intervals) == list(SEGMENT_SCORES)
    assert all(low < scores[key] < high for key, (low, high) in intervals.items() if scores[key] not in (0, 1))
    shuffled = dict(sorted(groups.items(), key=lambda item: item[0][::-1]))
    again = group_intervals(scorer, shuffled)
    assert all(again[key] == pytest.approx(interval) for key, interval in intervals.items())


def test_whole_groups_are_left_out_in_parts_that_memory_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[np.ndarray] = []

    def count(_: object) -> Weighted:
        return lambda weights: parts.append(weights) or weights.sum(axis=1)  # type: ignore[func-returns-value]

    monkeypatch.setitem(SEGMENT_SCORES, "count", count)
    groups = {f"{g}{v}": g for g in range(150) for v in "ab"}
    truth = pd.DataFrame({"video": sorted(groups), "start": 0.0, "end": 1.0, "label": "A"})
    group_intervals(segment_scorer(truth, truth, keys=["count"]), groups)
    assert max(map(len, parts)) == DRAWS_AT_ONCE
    times = pd.DataFrame(np.concatenate(parts), columns=sorted(groups))
    assert (times[[f"{g}a" for g in range(150)]].to_numpy() == times[[f"{g}b" for g in range(150)]].to_numpy()).all()
    assert times.sum(axis=1).tolist() == [300.0, *[298.0] * 150]


def test_two_groups_leave_intervals_unknown() -> None:
    predicted, truth, _ = many_videos(2)
    one = group_intervals(segment_scorer(predicted, truth, keys=["edit"]), {"v0_0": 0, "v1_0": 1})
    assert [math.isnan(value) for value in one["edit"]] == [True, True]
    with pytest.raises(ValueError, match="no weight for video 'a'"):
        group_intervals(segment_scorer(make_segments("a 0 1 A"), make_segments("a 0 1 A")), {"b": 1, "c": 2, "d": 3})
