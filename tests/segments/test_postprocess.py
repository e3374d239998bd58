"""Segments of probs worked by hand and against the definition written as loops; settings against all of a grid."""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kagglepipe.segments.metrics import segment_scores
from kagglepipe.segments.postprocess import (
    CrossFit,
    DetectionSettings,
    FrameProbs,
    cross_fit,
    detect_segments,
    settings_grid,
)
from kagglepipe.sequences.grid import frame_labels

CLASSES = ["nothing", "sit", "walk"]
Row = tuple[float, float, str, float]


def detect(
    probs: list[float], settings: DetectionSettings, *, step: float = 1.0, start: float = 0.0
) -> list[tuple[float, float, float]]:
    """(start, end, score) of the segments of one class."""
    times = start + step * np.arange(len(probs))
    found = detect_segments("v", times, step, np.array(probs)[:, None], ["sit"], None, settings)
    return list(found[["start", "end", "score"]].itertuples(index=False, name=None))


# --- detection ----------------------------------------------------------------------------------------------


def test_two_thresholds_worked_by_hand() -> None:
    probs = [0.3, 0.5, 0.9, 0.5, 0.2, 0.5, 0.5, 0.2, 0.9]
    found = detect(probs, DetectionSettings(high=0.8, low=0.4))
    assert found == [(1, 4, pytest.approx(1.9 / 3)), (8, 9, 0.9)]  # 5 to 7 never reaches 0.8; the last lasts one step
    assert detect(probs, DetectionSettings(high=0.95, low=0.4)) == []
    assert detect(probs, DetectionSettings(high=0.9, low=0.9)) == [(2, 3, 0.9), (8, 9, 0.9)]  # reached by equality


def test_lengths_are_in_units_of_time_and_not_off_by_rounding() -> None:
    probs = [0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    found = detect(probs, DetectionSettings(min_length=0.3), step=0.1, start=5.0)
    assert [row[:2] for row in found] == [(pytest.approx(5.1), pytest.approx(5.4))]
    assert 0.1 * 3 > 0.3
    assert detect(probs, DetectionSettings(min_length=0.1 * 3), step=0.1, start=5.0) == found
    assert len(detect(probs, DetectionSettings(max_gap=0.3), step=0.1)) == 1
    assert len(detect(probs, DetectionSettings(max_gap=0.29), step=0.1)) == 2


def test_smoothing_is_centred_and_at_the_ends_the_mean_of_what_is_there() -> None:
    probs = [1.0, 0.0, 0.5, 0.0, 0.0, 1.0]
    every = DetectionSettings(smoothing=3, high=0, low=0)
    assert detect(probs, every) == [(0, 6, pytest.approx((1 / 2 + 1 / 2 + 1 / 6 + 1 / 6 + 1 / 3 + 1 / 2) / 6))]
    assert detect(probs, replace(every, smoothing=4)) == detect(probs, every)  # no more than three samples fit
    assert detect(probs, replace(every, smoothing=99, high=0.4, low=0.4)) == [(0, 6, pytest.approx(2.5 / 6))]


def test_classes_are_detected_by_themselves_and_sorted_by_start() -> None:
    probs = np.array([[0.9, 0.0, 0.6], [0.9, 0.6, 0.6], [0.9, 0.6, 0.0]])
    found = detect_segments("v", np.arange(3.0), 1.0, probs, CLASSES, "nothing", DetectionSettings())
    rows = list(found.itertuples(index=False, name=None))
    assert rows == [("v", 0, 2, "walk", pytest.approx(0.6)), ("v", 1, 3, "sit", pytest.approx(0.6))]
    every = detect_segments("v", np.arange(3.0), 1.0, probs, CLASSES, None, DetectionSettings())
    assert every["label"].tolist() == ["walk", "nothing", "sit"]  # of those that start together the first to end


def test_nothing_found_is_a_frame_with_the_same_columns() -> None:
    some, none, background_only = (
        detect_segments("v", np.arange(2.0), 1.0, np.full((2, 1), prob), ["sit"], background, DetectionSettings())
        for prob, background in ((1.0, None), (0.0, None), (1.0, "sit"))
    )
    assert (len(some), len(none), len(background_only)) == (1, 0, 0)
    assert none.dtypes.to_dict() == background_only.dtypes.to_dict() == some.dtypes.to_dict()


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, float, DetectionSettings]:
    """Probabilities (T, 3) in quarters, a step, and settings whose lengths are whole or half steps."""
    count, step = draw(st.integers(1, 25)), draw(st.sampled_from([0.1, 1.0, 40.0]))
    quarters = draw(st.lists(st.integers(0, 4), min_size=3 * count, max_size=3 * count))
    low, high = sorted(draw(st.tuples(*[st.sampled_from([0.1, 0.25, 0.4, 0.5, 0.75, 0.9])] * 2)))
    halves = [draw(st.integers(0, 9)) * step / 2 for _ in range(3)]
    chosen = DetectionSettings(halves[0], high, low, halves[1], halves[2])
    return np.array(quarters).reshape(count, 3) / 4, step, chosen


def smoothed(column: np.ndarray, samples: int) -> list[float]:
    reach = max(samples - 1, 0) // 2
    return [float(np.mean(column[max(0, k - reach) : k + reach + 1])) for k in range(len(column))]


def detected(probs: np.ndarray, step: float, settings: DetectionSettings) -> list[Row]:
    """The definition, sample by sample; positions in samples."""
    rows: list[Row] = []
    for column, label in zip(probs.T, CLASSES, strict=True):
        values = smoothed(column, int(settings.smoothing / step + 1e-6))
        inside = [value >= settings.low - 1e-9 for value in values]
        runs = []
        for k in range(len(values)):
            if inside[k] and (k == 0 or not inside[k - 1]):
                runs.append([k, k])
            if inside[k]:
                runs[-1][1] = k + 1
        sure = [run for run in runs if max(values[run[0] : run[1]]) >= settings.high - 1e-9]
        joined: list[list[int]] = []
        for begin, end in sure:
            if joined and (begin - joined[-1][1]) * step <= settings.max_gap + 1e-6 * step:
                joined[-1][1] = end
            else:
                joined.append([begin, end])
        long = [run for run in joined if (run[1] - run[0]) * step >= settings.min_length - 1e-6 * step]
        rows += [(begin, end, label, float(np.mean(values[begin:end]))) for begin, end in long]
    return sorted(rows)


def threshold_is_met(probs: np.ndarray, step: float, settings: DetectionSettings) -> bool:
    """Whether a smoothed value equals a threshold but for rounding, so that either answer is right."""
    values = [smoothed(column, int(settings.smoothing / step + 1e-6)) for column in probs.T]
    return any(np.any(np.abs(np.array(values) - limit) < 1e-9) for limit in (settings.low, settings.high))


@given(case=cases())
def test_detection_is_as_defined(case: tuple[np.ndarray, float, DetectionSettings]) -> None:
    probs, step, chosen = case
    assume(not (chosen.smoothing and threshold_is_met(probs, step, chosen)))
    found = detect_segments("v", step * np.arange(len(probs)), step, probs, CLASSES, None, chosen)
    rows = [(r.start / step, r.end / step, r.label, r.score) for r in found.itertuples()]
    assert [row[2] for row in rows] == [row[2] for row in detected(probs, step, chosen)]
    for row, expected in zip(rows, detected(probs, step, chosen), strict=True):
        assert (row[0], row[1], row[3]) == pytest.approx((expected[0], expected[1], expected[3]), abs=1e-9)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"low": 0.6}, "low=0.6 and high=0.5"),
        ({"high": 1.1}, "high=1.1"),
        ({"low": -0.1}, "low=-0.1"),
        ({"high": math.nan}, "high=nan"),
        ({"min_length": -1.0, "max_gap": math.inf}, "min_length=-1.0, max_gap=inf must be a length"),
        ({"smoothing": math.nan}, "smoothing=nan must be"),
    ],
)
def test_settings_that_mean_nothing_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DetectionSettings(**values)


def test_settings_go_through_json() -> None:
    for chosen in settings_grid(float(np.float32(0.04)), 1.3)[::10]:
        assert DetectionSettings(**json.loads(json.dumps(asdict(chosen)))) == chosen


@pytest.mark.parametrize(
    ("times", "step", "shape", "message"),
    [
        ([0.0, 1.0], 1.0, (3, 2), r"2 times for probabilities of shape \(3, 2\)"),
        ([0.0, 1.0], 1.0, (2,), "one row a time"),
        ([], 1.0, (0, 2), "0 times"),
        ([0.0, 1.0, 3.0], 1.0, (3, 2), "no regular grid of step 1.0"),
        ([1.0, 0.0], 1.0, (2, 2), "no regular grid"),
        ([0.0, 0.0], 0.0, (2, 2), "no regular grid"),
        ([0.0, math.nan], 1.0, (2, 2), "no regular grid"),
    ],
)
def test_timelines_that_fit_no_grid_are_refused(
    times: list[float], step: float, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        FrameProbs(np.array(times), step, np.zeros(shape))


def test_classes_must_fit_the_probabilities() -> None:
    with pytest.raises(ValueError, match=r"2 classes for probabilities of shape \(3, 1\)"):
        detect_segments("v", np.arange(3.0), 1.0, np.ones((3, 1)), ["sit", "walk"], None, DetectionSettings())
    with pytest.raises(ValueError, match="background 'none' is none of the classes sit"):
        detect_segments("v", np.arange(3.0), 1.0, np.ones((3, 1)), ["sit"], "none", DetectionSettings())


# --- labels of frames ---------------------------------------------------------------------------------------


def make_segments(*rows: tuple[str, float, float, str]) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows), columns=["video", "start", "end", "label"])
    return frame.astype({"video": "str", "start": float, "end": float, "label": "str"})


def test_labels_of_frames_worked_by_hand() -> None:
    segments = make_segments(("v", 4, 6, "walk"), ("v", 1, 5, "sit"), ("v", 8, 8.5, "sit"), ("v", 9, 99, "walk"))
    expected = ["-", "sit", "sit", "sit", "walk", "walk", "-", "-", "sit", "walk"]
    assert frame_labels(np.arange(10.0), segments, "-").tolist() == expected
    assert frame_labels(np.arange(10.0) + 0.5, segments, None).tolist()[7:] == [None, None, "walk"]
    assert frame_labels(np.arange(2.0), segments[:0], "-").tolist() == ["-", "-"]


def test_the_later_start_wins_and_then_the_shorter_segment() -> None:
    nested = make_segments(("v", 0, 3, "short"), ("v", 0, 6, "long"), ("v", 1, 2, "late"))
    expected = ["short", "late", "short", "long", "long", "long"]
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        assert frame_labels(np.arange(6.0), nested.iloc[order], None).tolist() == expected


@given(labels=st.lists(st.sampled_from(CLASSES), min_size=1, max_size=30), step=st.sampled_from([0.1, 1.0, 3.0]))
def test_labels_survive_the_way_through_probabilities_and_segments(labels: list[str], step: float) -> None:
    times = step * np.arange(len(labels))
    probs = (np.array(labels)[:, None] == np.array(CLASSES)).astype(float)
    found = detect_segments("v", times, step, probs, CLASSES, "nothing", DetectionSettings())
    assert frame_labels(times, found, "nothing").tolist() == labels


# --- choosing settings --------------------------------------------------------------------------------------


def make_world(videos: int = 8, frames: int = 120) -> tuple[dict[str, FrameProbs], pd.DataFrame, dict[str, int]]:
    """Noisy probs of unlike steps, their truth, and four folds."""
    random = np.random.default_rng(4)
    probs, truths, folds = {}, [], {}
    for v in range(videos):
        name, step = f"v{v}", [0.5, 1.0][v % 2]
        edges = np.sort(random.choice(np.arange(1, frames - 1), 8, replace=False)) * step
        spans = [(name, edges[k], edges[k + 1], CLASSES[1 + k // 2 % 2]) for k in range(0, 8, 2)]
        truth = make_segments(*spans)
        times = step * np.arange(frames)
        hits = frame_labels(times, truth, "nothing")[:, None] == np.array(CLASSES, dtype=object)
        scores = np.exp(2 * hits + random.normal(0, 1, hits.shape))
        probs[name] = FrameProbs(times, step, scores / scores.sum(axis=1, keepdims=True))
        truths.append(truth)
        folds[name] = v % 4
    return probs, pd.concat(truths, ignore_index=True), folds


GRID = settings_grid(0.5, 8.0)[::9]


def detect_all(probs: dict[str, FrameProbs], settings: DetectionSettings) -> pd.DataFrame:
    parts = [
        detect_segments(v, line.times, line.step, line.probs, CLASSES, "nothing", settings) for v, line in probs.items()
    ]
    return pd.concat(parts, ignore_index=True)


def best(
    probs: dict[str, FrameProbs], truth: pd.DataFrame, grid: list[DetectionSettings] = GRID, metric: str = "f1_50"
) -> DetectionSettings:
    """Chosen on all of these videos."""
    return cross_fit(probs, dict.fromkeys(probs, 0), truth, CLASSES, "nothing", grid, metric).final


@pytest.mark.parametrize("metric", ["f1_50", "edit", "map_50"])
def test_the_chosen_settings_are_the_first_of_the_best(metric: str) -> None:
    probs, truth, _ = make_world(4, 60)
    scores = [segment_scores(detect_all(probs, s), truth, background="nothing")[metric] for s in GRID]
    assert best(probs, truth, metric=metric) == GRID[int(np.argmax(scores))]
    assert len(set(scores)) > 3


def test_of_equal_and_undefined_scores_the_first_of_the_grid_is_chosen() -> None:
    probs, truth, _ = make_world(2, 60)
    equal = [DetectionSettings(max_gap=0.1), DetectionSettings(), DetectionSettings(max_gap=0.2)]  # less than a step
    unlike = [DetectionSettings(), DetectionSettings(min_length=1e6)]  # much and nothing
    for grid in (equal, equal[::-1]):
        assert best(probs, truth, grid) == grid[0]
    for grid in (unlike, unlike[::-1]):
        for metric in ("f1_50", "map_50"):
            assert best(probs, truth[:0], grid, metric) == grid[0]


def test_truth_of_other_videos_and_of_background_is_ignored() -> None:
    probs, truth, _ = make_world(2, 60)
    more = pd.concat([truth, make_segments(("elsewhere", 0, 9, "sit"), ("v0", 0, 1, "nothing"))])
    for metric in ("f1_50", "edit"):
        assert best(probs, more, metric=metric) == best(probs, truth, metric=metric)


def fit_world(probs: dict[str, FrameProbs], truth: pd.DataFrame, folds: dict[str, int]) -> CrossFit:
    return cross_fit(probs, folds, truth, CLASSES, "nothing", GRID, "f1_50")


def test_each_fold_is_detected_with_what_the_others_chose() -> None:
    probs, truth, folds = make_world()
    fit = fit_world(probs, truth, folds)
    parts = []
    for fold in range(4):
        others = {v: line for v, line in probs.items() if folds[v] != fold}
        chosen = best(others, truth)
        assert fit.settings[fold] == chosen
        own = {v: line for v, line in probs.items() if folds[v] == fold}
        parts.append(detect_all(own, chosen).assign(fold=fold))
    expected = pd.concat(parts).sort_values(["video", "start", "end", "label"], ignore_index=True)
    pd.testing.assert_frame_equal(fit.segments, expected)
    assert fit.final == best(probs, truth)
    assert len(set(fit.settings.values())) > 1


def test_a_fold_has_no_say_in_its_own_settings() -> None:
    probs, truth, folds = make_world()
    fit = fit_world(probs, truth, folds)
    own = truth["video"].map(folds) == 2
    changed = fit_world(probs, truth.assign(label=truth["label"].where(~own, "walk")), folds)
    assert changed.settings[2] == fit.settings[2]
    pd.testing.assert_frame_equal(
        changed.segments[changed.segments["fold"] == 2].reset_index(drop=True),
        fit.segments[fit.segments["fold"] == 2].reset_index(drop=True),
    )
    flat = {v: replace(line, probs=np.full_like(line.probs, 1 / 3)) for v, line in probs.items() if folds[v] == 2}
    assert fit_world(probs | flat, truth, folds).settings[2] == fit.settings[2]


def test_the_order_of_videos_and_rows_does_not_matter() -> None:
    probs, truth, folds = make_world()
    fit, turned = fit_world(probs, truth, folds), fit_world(dict(reversed(probs.items())), truth[::-1], folds)
    assert turned.settings == fit.settings
    pd.testing.assert_frame_equal(turned.segments, fit.segments)


def test_a_single_fold_gets_the_first_of_the_grid_and_a_video_needs_a_fold() -> None:
    probs, truth, folds = make_world(2, 60)
    fit = fit_world(probs, truth, dict.fromkeys(folds, 3))
    assert fit.settings == {3: GRID[0]}
    assert fit.final == best(probs, truth)
    with pytest.raises(ValueError, match="no fold for video 'v1'"):
        fit_world(probs, truth, {"v0": 0})
    with pytest.raises(ValueError, match="no score is called 'f1'"):
        best(probs, truth, metric="f1")


@settings(max_examples=20)
@given(step=st.floats(0.01, 50), typical=st.floats(0.01, 1e4), scale=st.sampled_from([0.5, 2.0, 64.0]))
def test_the_grid_is_modest_begins_with_the_default_and_scales(step: float, typical: float, scale: float) -> None:
    grid = settings_grid(step, typical)
    assert len(grid) == len(set(grid)) == 144
    assert grid[0] == DetectionSettings()
    lengths = ("smoothing", "min_length", "max_gap")
    scaled = [replace(s, **{name: getattr(s, name) * scale for name in lengths}) for s in grid]
    assert settings_grid(step * scale, typical * scale) == scaled


def test_a_grid_needs_lengths() -> None:
    with pytest.raises(ValueError, match="typical length nan must be more than 0"):
        settings_grid(0.2, math.nan)
    with pytest.raises(ValueError, match="step 0"):
        settings_grid(0, 3)
    with pytest.raises(ValueError, match="empty grid"):
        best(*make_world(1, 40)[:2], [])
