"""How often the wrong run is chosen, where that is known beforehand; and Kaggle's medals."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from kagglepipe.predictions.drill import ShakeUp, medal, medal_ranks, rank_among, row_scorer, shake_up
from kagglepipe.predictions.evaluation import score
from kagglepipe.predictions.frame import oof_frame
from kagglepipe.predictions.metrics import METRICS, fitting_metrics
from kagglepipe.segments.metrics import SEGMENT_SCORES, segment_scores, video_scorer

CLASSES = ["cat", "dog"]


def frame(probs: Sequence[float]) -> pd.DataFrame:
    """Cats that are thought so with these probabilities."""
    p = np.asarray(probs)
    return oof_frame([f"{n:04}" for n in range(len(p))], 0, ["cat"] * len(p), np.stack([p, 1 - p], 1), CLASSES)


def noisy(seed: int, rows: int = 200, gain: float = 0.0) -> pd.DataFrame:
    """A run whose log losses are noise of its own around 1 - gain."""
    losses = np.random.default_rng(seed).uniform(0.5, 1.5, rows)
    return frame(np.exp(-(losses - losses.mean() + 1 - gain)))


def shaken(
    metric: str, frames: Sequence[pd.DataFrame], groups: Sequence[object], cv: Sequence[float], draws: int = 2000
) -> ShakeUp:
    """`shake_up` of runs that are scored by rows."""
    codes = pd.factorize(pd.Series(list(groups)))[0]
    scorers = [row_scorer(metric, frame, CLASSES, codes) for frame in frames]
    return shake_up(scorers, codes.max() + 1, cv, greater_is_better=METRICS[metric].greater_is_better, draws=draws)


def normal(z: float) -> float:
    return (1 + math.erf(z / math.sqrt(2))) / 2


@pytest.mark.parametrize(("runs", "wrong"), [(2, 0.5), (5, 0.8)])
def test_of_equal_runs_the_wrong_one_is_chosen_as_chance_has_it(runs: int, wrong: float) -> None:
    found = shaken("log_loss", [noisy(seed) for seed in range(runs)], range(200), [1.0] * runs, draws=4000)
    assert found.by_public.wrong == pytest.approx(wrong, abs=0.03)
    assert found.by_cv.wrong == pytest.approx(wrong, abs=0.03)
    assert found.ranks.tolist() == [[1, runs]] * runs


@pytest.mark.slow
@pytest.mark.parametrize(("runs", "truth", "told"), [(2, 0.5, 0.39), (5, 0.8, 0.67)])
def test_of_runs_that_are_equal_in_truth_alone_less_is_told(runs: int, truth: float, told: float) -> None:
    """What the hidden rows happen to say of them passes for the truth, in every draw."""
    found = []
    for seed in range(150):
        rows = np.random.default_rng(seed).normal(size=(runs, 400))
        scorers = [lambda times, own=own: (times @ own) / times.sum(axis=1) for own in rows]
        shake = shake_up(scorers, 400, [0.0] * runs, greater_is_better=True, draws=200)
        found.append(shake.by_public.wrong)
    assert np.mean(found) == pytest.approx(told, abs=0.03)
    assert np.mean(found) < truth


@pytest.mark.parametrize("metric", ["log_loss", "accuracy", "balanced_accuracy", "roc_auc"])
def test_a_run_that_is_clearly_better_is_always_chosen(metric: str) -> None:
    targets, right = ["cat", "dog"] * 60, np.full(120, 0.9)
    bad = np.where(np.random.default_rng(0).random(120) < 0.5, 0.9, 0.1)
    frames = []
    for sure in (bad, right):
        probs = np.stack([sure, 1 - sure], axis=1)
        probs[1::2] = probs[1::2, ::-1]
        frames.append(oof_frame([f"{n:03}" for n in range(120)], 0, targets, probs, CLASSES))
    scores = [1.0, 0.1] if metric == "log_loss" else [0.5, 1.0]
    found = shaken(metric, frames, range(120), scores, draws=200)
    assert (found.by_public.wrong, found.by_public.lost, found.by_cv.wrong) == (0, 0, 0)
    assert found.ranks.tolist() == [[2, 2], [1, 1]]
    astray = shaken(metric, frames, range(120), scores[::-1], draws=200)
    assert astray.by_cv.wrong == 1
    assert astray.by_cv.lost == pytest.approx(2.4 if metric == "log_loss" else 0.5, abs=1.4)


def test_between_the_two_it_is_what_the_normal_distribution_says() -> None:
    a, b = noisy(0, 400), noisy(1, 400, gain=0.04)
    gaps = np.log(b["cat"]) - np.log(a["cat"])
    z = gaps.mean() / (gaps.std() / math.sqrt(200))
    found = shaken("log_loss", [a, b], range(400), [1.0, 0.96], draws=20_000)
    assert found.by_public.wrong == pytest.approx(2 * normal(z) * normal(-z), abs=0.015)
    assert found.by_cv.wrong == pytest.approx(normal(-z), abs=0.015)


def test_the_same_run_twice_is_never_wrong() -> None:
    found = shaken("accuracy", [noisy(0)] * 2, range(200), [0.5, 0.5])
    assert (found.by_public.wrong, found.by_public.lost) == (0, 0)
    assert found.ranks.tolist() == [[1, 1], [1, 1]]
    alone = shaken("log_loss", [noisy(0)], ["one"] * 200, [1.0], draws=50)
    assert (alone.by_public.wrong, alone.ranks.tolist()) == (0, [[1, 1]])


def test_few_groups_shake_more_than_as_many_rows() -> None:
    a, b = noisy(0, 400), noisy(1, 400, gain=0.1)
    alone = shaken("log_loss", [a, b], range(400), [1, 0.9]).by_public.wrong
    again = [pd.concat([one.iloc[:10]] * 40, ignore_index=True) for one in (a, b)]
    again = [one.assign(id=[f"{n:04}" for n in range(400)]) for one in again]
    assert shaken("log_loss", again, [n % 10 for n in range(400)], [1, 0.9]).by_public.wrong > alone


def test_draws_without_both_classes_do_not_count() -> None:
    probs = [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]]
    one = oof_frame(list("abcd"), 0, ["cat", "dog", "dog", "cat"], probs, CLASSES)
    found = shaken("roc_auc", [one], list("abcd"), [1.0], draws=200)
    assert 0 < found.draws < 100
    with pytest.raises(ValueError, match="undefined in every draw"):
        shaken("roc_auc", [one.assign(target="cat")], list("abcd"), [1.0], draws=20)


# --- what scores a run ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", fitting_metrics(classes=2))
def test_a_group_that_counts_twice_is_there_twice(metric: str) -> None:
    random = np.random.default_rng(0)
    probs, targets = random.dirichlet([1, 1], 30), ["cat", "dog"] * 15
    rows, codes = oof_frame([f"{n:02}" for n in range(30)], 0, targets, probs, CLASSES), np.arange(30) // 10
    times = np.array([[1, 1, 1], [2, 0, 1], [0, 3, 0]])
    twice = pd.concat([rows[codes == 0]] * 2 + [rows[codes == 2]])
    expected = [score(metric, frame, CLASSES) for frame in (rows, twice, rows[codes == 1])]
    assert row_scorer(metric, rows, CLASSES, codes)(times) == pytest.approx(expected)


@pytest.mark.parametrize("metric", SEGMENT_SCORES)
def test_videos_of_a_group_are_drawn_together(metric: str) -> None:
    random, videos = np.random.default_rng(0), [f"v{n}" for n in range(6)]
    start = np.tile(10.0 * np.arange(4), 6)
    truth = pd.DataFrame({"video": np.repeat(videos, 4), "start": start, "end": start + 5, "label": ["sit", "go"] * 12})
    found = truth.assign(start=start + random.uniform(0, 4, 24), score=random.uniform(0, 1, 24))[::-1][:20]
    codes = {video: n // 2 for n, video in enumerate(videos)} | {"idle": 2}
    draws = [[1, 1, 1], [2, 0, 1], [0, 0, 1]]

    def drawn(frame: pd.DataFrame, times: list[int]) -> pd.DataFrame:
        """Each video as often as its group counts, under another name each time."""
        copies = [(video, k) for video in videos for k in range(times[codes[video]])]
        parts = [frame[frame["video"] == video].assign(video=f"{video} {k}") for video, k in copies]
        return pd.concat(parts, ignore_index=True)

    expected = [segment_scores(drawn(found, times), drawn(truth, times))[metric] for times in draws]
    many = np.repeat(np.array(draws), 70, axis=0)  # more than are weighed at a time
    values = video_scorer(metric, found, truth, None, codes)(many)
    assert values == pytest.approx(np.repeat(expected, 70))


def test_of_two_runs_that_know_a_camera_each_either_half_shows_one() -> None:
    truth = pd.DataFrame({"video": list("abcd"), "start": 0.0, "end": 4.0, "label": "wave"})
    codes = {"a": 0, "b": 0, "c": 1, "d": 1}
    runs = [
        video_scorer("f1_50", truth[truth["video"].isin(list(own))].assign(score=0.9), truth, None, codes)
        for own in ("ab", "cd")
    ]
    found = shake_up(runs, 2, [0.6, 0.5], greater_is_better=True, draws=4000)
    # either half is one of the two cameras: one run has 1 there, the other 0
    assert found.by_public.wrong == pytest.approx(0.5, abs=0.03)
    assert found.by_public.lost == found.by_public.wrong
    assert found.by_cv.wrong == pytest.approx(0.5, abs=0.03)
    assert found.ranks.tolist() == [[1, 2], [1, 2]]


@pytest.mark.parametrize(
    ("teams", "expected"),
    [
        (1, (1, 1, 1)),
        (99, (9, 19, 39)),
        (100, (10, 20, 40)),
        (249, (10, 49, 99)),
        (250, (10, 50, 100)),
        (500, (11, 50, 100)),
        (999, (11, 50, 100)),
        (1000, (12, 50, 100)),
        (5000, (20, 250, 500)),
    ],
)
def test_medals_are_kaggles(teams: int, expected: tuple[int, int, int]) -> None:
    assert medal_ranks(teams) == expected
    gold, silver, bronze = expected
    assert medal(gold, teams) == "gold"
    assert medal(bronze + 1, teams) == ""
    if gold < silver < bronze:
        assert (medal(gold + 1, teams), medal(silver + 1, teams)) == ("silver", "bronze")


@pytest.mark.parametrize("runs", [1, 3, 10])
def test_runs_keep_their_order_and_place_among_teams(runs: int) -> None:
    assert [rank_among(rank, runs, runs) for rank in range(1, runs + 1)] == list(range(1, runs + 1))
    places = [rank_among(rank, runs, 1000) for rank in range(1, runs + 1)]
    assert places == sorted(places)
    assert np.mean(places) == pytest.approx(500, abs=1)
