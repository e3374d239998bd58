"""Events by hand: their average precision, the peaks of probabilities, and settings chosen on other folds."""

import numpy as np
import pandas as pd
import pytest

from kagglepipe.competitions.event_labels import widened
from kagglepipe.segments.event_metrics import event_average_precision, event_scorer, match_events
from kagglepipe.segments.events import EventSettings, cross_fit_events, event_grid, pick_events
from kagglepipe.segments.postprocess import FrameProbs
from kagglepipe.sequences.grid import frame_labels


def events(*rows: tuple[object, ...]) -> pd.DataFrame:
    """Rows of video, time, label and, of predictions, score."""
    names = ["video", "time", "label", "score"]
    return pd.DataFrame(rows, columns=names[: len(rows[0])] if rows else names)


def test_the_nearest_free_event_is_taken_by_falling_score() -> None:
    truth = events(("v", 10.0, "pass"), ("v", 10.5, "pass"), ("w", 10.0, "pass"))
    guesses = [("v", 10.3, "pass", 0.9), ("v", 10.4, "pass", 0.8), ("v", 10.4, "pass", 0.7), ("x", 10.0, "pass", 0.6)]
    found = events(*guesses)
    assert match_events(found, truth, 0.5).tolist() == [True, True, False, False]  # 10.5 first, then what is left
    assert match_events(found, truth, 0.25).tolist() == [True, False, False, False]
    assert not match_events(events(("v", 9.5, "pass", 1.0)), truth, 0.5).any()  # less than the tolerance, not as much


def test_an_example_by_hand() -> None:
    """Pass: right, wrong, right: 1/2 · 1 + 1/2 · 2/3. Throw: the one event is not found; foul has no event."""
    truth = events(("v", 10.0, "pass"), ("v", 20.0, "pass"), ("w", 5.0, "throw"))
    found = events(
        ("v", 10.2, "pass", 0.9), ("v", 15.0, "pass", 0.8), ("v", 20.4, "pass", 0.7), ("v", 5.0, "throw", 0.9),
        ("v", 1.0, "foul", 0.9),
    )  # fmt: skip
    assert event_average_precision(found, truth, [0.5]) == pytest.approx((1 / 2 + 1 / 3 + 0) / 2)
    assert event_average_precision(found, truth, [0.3, 0.5]) == pytest.approx((1 / 4 + (1 / 2 + 1 / 3) / 2) / 2)
    assert event_average_precision(truth.assign(score=1.0), truth, [0.3]) == 1
    assert event_average_precision(found[:0], truth, [0.3]) == 0
    assert np.isnan(event_average_precision(found, truth[:0], [0.3]))


def test_equal_scores_are_one_step() -> None:
    truth = events(("v", 1.0, "pass"), ("v", 2.0, "pass"))
    found = events(("v", 1.0, "pass", 0.5), ("v", 7.0, "pass", 0.5), ("v", 2.0, "pass", 0.1))
    assert event_average_precision(found, truth, [0.3]) == pytest.approx(1 / 2 * 1 / 2 + 1 / 2 * 2 / 3)


def test_weights_of_videos_count_them_so_often() -> None:
    truth = events(("v", 1.0, "pass"), ("w", 1.0, "pass"))
    found = events(("w", 5.0, "pass", 0.9), ("v", 1.0, "pass", 0.8))
    scorer = event_scorer(found, truth, [0.3])
    scores = scorer(pd.DataFrame({"v": [1, 1, 2, 0], "w": [1, 0, 1, 1]}))
    assert scores["event_ap"].tolist() == pytest.approx([1 / 4, 1, 2 / 3 * 2 / 3, 0])
    assert list(scores) == ["event_ap", "event_ap_0.3"]


def line(values: list[float]) -> FrameProbs:
    """Half a second a sample, of one class beside the background."""
    probs = np.array(values)
    return FrameProbs(np.arange(len(values)) / 2, 0.5, np.stack([1 - probs, probs], axis=1))


def test_peaks_at_the_ends_on_plateaus_and_too_near_to_another() -> None:
    probs = {"v": line([0.9, 0.1, 0.5, 0.7, 0.7, 0.7, 0.2, 0.6, 0.0, 0.8])}
    all_of_them = pick_events(probs, ["none", "pass"], "none", EventSettings())
    assert all_of_them["time"].tolist() == [0.0, 2.0, 3.5, 4.5]
    assert all_of_them["score"].tolist() == pytest.approx([0.9, 0.7, 0.6, 0.8])
    apart = pick_events(probs, ["none", "pass"], "none", EventSettings(distance=1.6))
    assert apart["time"].tolist() == [0.0, 2.0, 4.5]
    assert pick_events({"v": line([0.0] * 5)}, ["none", "pass"], "none", EventSettings()).empty


@pytest.mark.parametrize(
    ("step", "width", "times"),
    [
        (1.0, 0.5, [10.0, 25.0]),
        (1.0, 3.0, [10.0, 25.0]),
        (0.1, 0.2, [1.3, 3.1]),
        (0.1, 0.25, [1.3, 3.1]),
        (60, 90, [600, 1500]),
    ],
    ids=["one sample each", "of a series", "frames at the ends of the width", "and between them", "whole minutes"],
)
def test_events_on_the_grid_are_found_where_they_are_labelled(step: float, width: float, times: list[float]) -> None:
    """Certain frames of an event lie around it, so that nothing but its own time is found, however it is smoothed."""
    truth = events(*(("v", time, "pass") for time in times))
    grid = np.arange(40) / (1 / step)
    labelled = frame_labels(grid, widened(truth.assign(start=truth["time"], end=truth["time"]), width), "none")
    probs = np.eye(2)[(labelled == "pass").astype(int)] * 0.98 + 0.01
    for settings in event_grid(width):
        found = pick_events({"v": FrameProbs(grid, step, probs)}, ["none", "pass"], "none", settings)
        found = found[found["score"] > 0.1]
        assert found["time"].tolist() == pytest.approx(times)
        assert event_average_precision(found, truth, [0.4 * step]) == 1


def test_a_plateau_has_its_middle_as_time() -> None:
    probs = {"v": line([0, 0.7, 0.7, 0, 0.6, 0.6])}
    assert pick_events(probs, ["none", "pass"], "none", EventSettings())["time"].tolist() == [0.75, 2.25]


def test_smoothing_makes_one_peak_of_two() -> None:
    probs = {"v": line([0, 0, 0.8, 0.5, 0.8, 0, 0])}
    smooth = pick_events(probs, ["none", "pass"], "none", EventSettings(smoothing=1.5))
    assert smooth["time"].tolist() == [1.5]
    assert smooth["score"].tolist() == pytest.approx([0.7])


def test_the_order_of_videos_and_the_numbers_of_folds_change_no_event() -> None:
    random, videos = np.random.default_rng(0), list("abcdef")
    probs = {video: line(random.random(24).tolist()) for video in videos}
    truth = events(*((video, 3.0 * n + 1.25, "pass") for video in videos for n in range(4)))
    folds, grid = {video: n % 3 for n, video in enumerate(videos)}, event_grid(0.5)
    one = cross_fit_events(probs, folds, truth, ["none", "pass"], "none", grid, [0.3, 0.6])
    turned = {video: 2 - fold for video, fold in folds.items()}
    other = cross_fit_events(
        {video: probs[video] for video in videos[::-1]}, turned, truth[::-1], ["none", "pass"], "none", grid, [0.3, 0.6]
    )
    pd.testing.assert_frame_equal(one.events, other.events)
    assert one.final == other.final


def test_settings_are_those_of_the_other_folds() -> None:
    """In a and b a second peak beside each event is wrong; in c both are events, which only fold 1 may not know."""
    double = line([0, 0, 0.8, 0.5, 0.7, 0, 0, 0])
    single = events(("a", 1.25, "pass"), ("b", 1.25, "pass"), ("c", 1.25, "pass"), ("c", 2.25, "pass"))
    probs = {"a": double, "b": double, "c": double}
    grid = [EventSettings(distance=2.0), EventSettings()]
    found = cross_fit_events(probs, {"a": 0, "b": 0, "c": 1}, single, ["none", "pass"], "none", grid, [0.3])
    assert found.events.groupby("video").size().to_dict() == {"a": 2, "b": 2, "c": 1}  # chosen on c, and on a and b
    assert found.final in grid
    assert len(set(event_grid(0.5))) == 9
