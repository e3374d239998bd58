"""How often the wrong run is chosen, where that is known beforehand; and Kaggle's medals."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from kagglepipe.predictions.drill import medal, medal_ranks, rank_among, shake_up
from kagglepipe.predictions.frame import oof_frame

CLASSES = ["cat", "dog"]


def frame(probs: Sequence[float]) -> pd.DataFrame:
    """Cats that are thought so with these probabilities."""
    p = np.asarray(probs)
    return oof_frame([f"{n:04}" for n in range(len(p))], 0, ["cat"] * len(p), np.stack([p, 1 - p], 1), CLASSES)


def noisy(seed: int, rows: int = 200, gain: float = 0.0) -> pd.DataFrame:
    """A run whose log losses are noise of its own around 1 - gain."""
    losses = np.random.default_rng(seed).uniform(0.5, 1.5, rows)
    return frame(np.exp(-(losses - losses.mean() + 1 - gain)))


def normal(z: float) -> float:
    return (1 + math.erf(z / math.sqrt(2))) / 2


def test_of_two_equal_runs_the_wrong_one_is_chosen_half_of_the_time() -> None:
    found = shake_up("log_loss", [noisy(0), noisy(1)], CLASSES, range(200), [1.0, 1.0], draws=4000)
    assert found.by_public.wrong == pytest.approx(0.5, abs=0.03)
    assert found.by_cv.wrong == pytest.approx(0.5, abs=0.03)
    assert found.ranks.tolist() == [[1, 2], [1, 2]]


def test_of_five_equal_runs_four_times_of_five() -> None:
    runs = [noisy(seed) for seed in range(5)]
    found = shake_up("log_loss", runs, CLASSES, range(200), [1.0] * 5, draws=4000)
    assert found.by_public.wrong == pytest.approx(0.8, abs=0.03)


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
    found = shake_up(metric, frames, CLASSES, range(120), scores, draws=200)
    assert (found.by_public.wrong, found.by_public.lost, found.by_cv.wrong) == (0, 0, 0)
    assert found.ranks.tolist() == [[2, 2], [1, 1]]
    astray = shake_up(metric, frames, CLASSES, range(120), scores[::-1], draws=200)
    assert astray.by_cv.wrong == 1
    assert astray.by_cv.lost == pytest.approx(2.4 if metric == "log_loss" else 0.5, abs=1.4)


def test_between_the_two_it_is_what_the_normal_distribution_says() -> None:
    a, b = noisy(0, 400), noisy(1, 400, gain=0.04)
    gaps = np.log(b["cat"]) - np.log(a["cat"])
    z = gaps.mean() / (gaps.std() / math.sqrt(200))
    found = shake_up("log_loss", [a, b], CLASSES, range(400), [1.0, 0.96], draws=20_000)
    assert found.by_public.wrong == pytest.approx(2 * normal(z) * normal(-z), abs=0.015)
    assert found.by_cv.wrong == pytest.approx(normal(-z), abs=0.015)


def test_the_same_run_twice_is_never_wrong() -> None:
    found = shake_up("accuracy", [noisy(0)] * 2, CLASSES, range(200), [0.5, 0.5])
    assert (found.by_public.wrong, found.by_public.lost) == (0, 0)
    assert found.ranks.tolist() == [[1, 1], [1, 1]]


def test_few_groups_shake_more_than_as_many_rows() -> None:
    a, b = noisy(0, 400), noisy(1, 400, gain=0.1)
    alone = shake_up("log_loss", [a, b], CLASSES, range(400), [1, 0.9]).by_public.wrong
    again = [pd.concat([one.iloc[:10]] * 40, ignore_index=True) for one in (a, b)]
    again = [one.assign(id=[f"{n:04}" for n in range(400)]) for one in again]
    assert shake_up("log_loss", again, CLASSES, [n % 10 for n in range(400)], [1, 0.9]).by_public.wrong > alone


def test_one_run_and_one_group_have_no_order() -> None:
    found = shake_up("log_loss", [noisy(0)], CLASSES, ["one"] * 200, [1.0], draws=50)
    assert (found.by_public.wrong, found.ranks.tolist()) == (0, [[1, 1]])


def test_draws_without_both_classes_do_not_count() -> None:
    probs = [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]]
    one = oof_frame(list("abcd"), 0, ["cat", "dog", "dog", "cat"], probs, CLASSES)
    found = shake_up("roc_auc", [one], CLASSES, list("abcd"), [1.0], draws=200)
    assert 0 < found.draws < 100
    with pytest.raises(ValueError, match="undefined in every draw"):
        shake_up("roc_auc", [one.assign(target="cat")], CLASSES, list("abcd"), [1.0], draws=20)


def test_other_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="the same rows"):
        shake_up("accuracy", [noisy(0), noisy(0).iloc[::-1]], CLASSES, range(200), [0, 0])


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
