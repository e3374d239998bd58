"""Intervals: by hand, at their limits, and how often they hold what is true."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagglepipe.kaggle.ledger import four_digits
from kagglepipe.options import CompetitionOptions
from kagglepipe.predictions.ensemble_table import table_cells
from kagglepipe.predictions.evaluation import Summary, format_summary, score_interval
from kagglepipe.predictions.metrics import METRICS, fitting_metrics
from kagglepipe.predictions.uncertainty import (
    accuracy_interval,
    format_difference,
    format_interval,
    format_score,
    format_two,
    jackknife_gain,
    leave_out,
    loss_interval,
    mean_gains,
    share_interval,
    wilson,
)
from kagglepipe.runs.scores import scores_of
from kagglepipe.segments.metrics import group_intervals, segment_scorer


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (741, 741, 741 / (741 + 1.96**2), 1),  # = 0.99484
        (0, 10, 0, 1.96**2 / (10 + 1.96**2)),  # = 0.27755
        (5, 10, 0.5 - 0.98 / math.sqrt(10 + 1.96**2), 0.5 + 0.98 / math.sqrt(10 + 1.96**2)),  # = 0.23659, 0.76341
    ],
)
def test_wilson_intervals_worked_by_hand(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=1e-12)


def test_intervals_hold_what_is_true_where_two_groups_hold_most_rows() -> None:
    """With the quantile of all 52 groups they would hold it in 77 of 100 worlds."""
    random, groups = np.random.default_rng(0), np.repeat(np.arange(52), [200, 200, *[1] * 50])
    held = {"share": 0, "loss": 0, "gain": 0}
    for _ in range(300):
        ease = random.beta(4, 1.5, 52)[groups]
        right = random.random(len(groups)) < ease
        (gain,) = mean_gains((ease - 4 / 5.5)[:, None], groups)
        low, high = loss_interval(ease, groups)
        held["loss"] += low <= 4 / 5.5 <= high
        held["gain"] += gain.low <= 0 <= gain.high
        low, high = accuracy_interval(right, groups)
        held["share"] += low <= 4 / 5.5 <= high
    assert all(count >= 270 for count in held.values()), held


@given(n=st.integers(1, 10_000), data=st.data())
def test_a_wilson_interval_holds_the_share_and_mirrors(n: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, n))
    low, high = wilson(successes, n)
    assert 0 <= low <= successes / n + 1e-12
    assert successes / n - 1e-12 <= high <= 1
    assert wilson(n - successes, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_what_is_no_share(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="no proportion"):
        wilson(successes, n)


# --- how often they hold what is true --------------------------------------------------------------------------------


def world(random: np.random.Generator, groups: int, rows: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(probabilities, truth, groups): two classes in turn; how easy rows are differs from group to group."""
    group = np.repeat(np.arange(groups), rows)
    truth = np.tile([0, 1], groups * rows // 2)
    ease = 1.2 + random.normal(0, 1.0, groups)[group] + random.normal(0, 1.0, len(group))
    own = 1 / (1 + np.exp(-ease))
    second = np.where(truth == 1, own, 1 - own)
    return np.column_stack([1 - second, second]), truth, group


@pytest.fixture(scope="module")
def worlds() -> dict[int, list[tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """Number of groups -> worlds."""
    random = np.random.default_rng(0)
    return {groups: [world(random, groups) for _ in range(count)] for groups, count in ((6, 300), (40, 120))}


@pytest.fixture(scope="module")
def true_scores() -> dict[str, float]:
    """Metric -> its value in a world without end."""
    probs, truth, _ = world(np.random.default_rng(1), 25_000)
    return {name: METRICS[name].function(probs, truth) for name in fitting_metrics(classes=2)}


@pytest.mark.parametrize("groups", [6, 40])
@pytest.mark.parametrize("name", fitting_metrics(classes=2))
def test_an_interval_of_95_percent_holds_the_truth_in_95_worlds_of_100(
    name: str,
    groups: int,
    worlds: dict[int, list[tuple[np.ndarray, np.ndarray, np.ndarray]]],
    true_scores: dict[str, float],
) -> None:
    """Two and a half deviations of these worlds are 0.03 and 0.05; few groups cannot show how skew they are.

    Average precision is skew: a few rows at its head decide.
    """
    intervals = np.array([score_interval(name, *one) for one in worlds[groups]])
    covered = ((intervals[:, 0] <= true_scores[name]) & (true_scores[name] <= intervals[:, 1])).mean()
    assert (0.85 if name == "average_precision" else 0.89) <= covered <= 0.995


def test_the_interval_of_photos_of_persons_is_by_person() -> None:
    """All photos of a person are right or all are wrong: by photo, 95 % would hold the truth in 13 worlds of 100."""
    random, true, persons, photos = np.random.default_rng(0), 0.8, 40, 25
    ids = [f"i{k:04}" for k in range(persons * photos)]
    groups = pd.Series(np.repeat([f"g{k}" for k in range(persons)], photos), index=ids)

    def covers() -> bool:
        right = np.repeat(random.random(persons) < true, photos)
        oof = pd.DataFrame({"id": ids, "fold": np.arange(len(ids)) % 5, "target": "a", "a": np.where(right, 0.9, 0.1)})
        low, high = scores_of(oof.assign(b=1 - oof["a"]), CompetitionOptions(slug="x"), ["a", "b"], groups)["interval"]
        return bool(low <= true <= high)

    assert np.mean([covers() for _ in range(40)]) >= 0.85


@pytest.mark.parametrize("groups", [6, 40])
def test_intervals_of_segments_hold_the_truth(groups: int) -> None:
    """Two videos a group with two segments each; a group finds as many of them as it is easy."""
    random, hits, worlds = np.random.default_rng(2), [], 50
    names = [f"v{k}" for k in range(2 * groups)]
    truth = pd.DataFrame({"video": np.repeat(names, 2), "start": [0.0, 5.0] * len(names), "label": "wave"})
    truth["end"] = truth["start"] + 4
    of_group = {name: k // 2 for k, name in enumerate(names)}
    for _ in range(worlds):
        found = random.random(len(truth)) < np.repeat(random.beta(3, 1, groups), 4)
        predicted = truth.assign(start=truth["start"] + np.where(found, 0.0, 3.5), score=0.5)
        low, high = group_intervals(segment_scorer(predicted, truth, keys=["f1_50"]), of_group)["f1_50"]
        hits.append(low <= 0.75 <= high)
    assert np.mean(hits) >= 0.86


# --- by hand and at their limits --------------------------------------------------------------------------------------


def test_rows_of_their_own_have_wilsons_interval() -> None:
    right = np.arange(20) < 17
    assert accuracy_interval(right, np.arange(20)) == wilson(17, 20)
    probs = np.column_stack([right, ~right])
    assert score_interval("accuracy", probs, np.zeros(20, int), np.arange(20)) == wilson(17, 20)


def test_groups_of_one_more_row_hardly_change_it() -> None:
    right = np.arange(200) < 160
    alone = accuracy_interval(right, np.arange(200))
    assert accuracy_interval(right, np.append(np.arange(199), 198)) == pytest.approx(alone, abs=2e-3)


def test_where_all_is_right_each_group_counts_as_one_answer() -> None:
    groups = np.arange(60) % 12
    probs, truth = np.tile([0.9, 0.1], (60, 1)), np.zeros(60, int)
    assert score_interval("accuracy", probs, truth, groups) == wilson(12, 12)
    assert score_interval("f1_macro", probs, truth, groups) == wilson(12, 12)


@pytest.mark.parametrize("groups", [1, 2])
def test_one_or_two_groups_tell_nothing(groups: int) -> None:
    of_row, losses = np.arange(12) % groups, np.linspace(0.1, 0.4, 12)
    found = [
        accuracy_interval(np.arange(12) < 9, of_row),
        loss_interval(losses, of_row),
        share_interval(0.5, 0.1, groups),
    ]
    assert np.isnan(found).all()
    (gain,) = mean_gains(losses[:, None], of_row)
    assert math.isnan(gain.low)
    assert not gain.is_beyond_noise


def test_a_loss_has_an_interval_above_0_that_reaches_further_up() -> None:
    losses = np.random.default_rng(0).exponential(0.2, 30) ** 2
    low, high = loss_interval(losses, np.arange(30) // 3)
    mean = losses.mean()
    assert 0 < low < mean < high
    assert high - mean > mean - low
    assert low * high == pytest.approx(mean**2)


def means_without(gaps: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return partial(leave_out, lambda rows: float(gaps[rows].mean()))


def test_the_jackknife_of_a_mean_is_the_mean_s_own_error() -> None:
    gaps = np.random.default_rng(0).normal(0.3, 1, 24)
    (gain,) = mean_gains(gaps[:, None], np.arange(24))
    assert gain.high - gain.value == pytest.approx(2.0687 * gaps.std(ddof=1) / math.sqrt(24), rel=1e-4)
    again = jackknife_gain(gaps.mean(), means_without(gaps), np.arange(24))
    assert (again.low, again.high) == pytest.approx((gain.low, gain.high))
    (copied,) = mean_gains(np.repeat(gaps, 50)[:, None], np.arange(1200) // 50)  # rows of one group count once
    assert (copied.low, copied.high) == pytest.approx((gain.low, gain.high))


def test_of_many_groups_blocks_are_left_out() -> None:
    gaps = np.random.default_rng(0).normal(0.3, 1, 4000)
    (gain,) = mean_gains(gaps[:, None], np.arange(4000) // 2)
    again = jackknife_gain(gaps.mean(), means_without(gaps), np.arange(4000) // 2)
    assert again.high - again.value == pytest.approx(gain.high - gain.value, rel=0.15)


# --- in words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("limits", [(math.nan, math.nan), (0.1, math.nan), (math.nan, 0.1)])
def test_an_unknown_interval_is_said_in_words(limits: tuple[float, float], signed: bool) -> None:
    assert format_interval(*limits, signed=signed) == "too few groups to tell"
    assert format_difference(0.1, *limits, 0.25) == "+0.1000 (too few groups to tell, p = 0.25)"


def test_a_number_that_rounds_to_zero_has_no_minus() -> None:
    assert format_score(-0.00004) == "0.0000"
    assert format_score(-0.00006) == "-0.0001"
    assert format_difference(-0.00004, -0.00004, 0.00004) == "+0.0000 (+0.0000 to +0.0000)"
    assert format_interval(-0.00004, 0.5) == "0.0000-0.5000"
    assert four_digits("-4e-5") == "0.0000"
    right = Summary(score=1.0, interval=(0.9, 1.0), correct=4, rows=4, log_loss=-math.log(1.0), fold_scores={0: 1.0},
                    fold_mean=1.0, fold_sd=0.0)  # fmt: skip
    assert "log loss 0.0000, " in format_summary(right, "accuracy")
    assert table_cells([tied(-4e-5)])[0][4:] == ("0.5000", "+0.0000 to +0.0000", "1", "+0.0000 to +0.0000", "1")


def tied(gain: float) -> dict[str, Any]:
    """A row of the table of an ensemble, whose blend is as good as equal weights and the best run."""
    difference = {"log_loss": {"gain": gain, "interval": [gain, gain], "p": 1.0}, "right": None}
    scores = {"score": 0.9, "interval": [0.8, 0.95], "log_loss": 0.5}
    return {"method": "mean", "in_sample": scores, "cross_fitted": scores, "over_equal_weights": difference,
            "over_best_run": difference}  # fmt: skip


def test_two_numbers_that_differ_read_differently() -> None:
    assert format_two(0.450004, 0.45, most=4) == ("0.4500", "0.4500")
    assert format_two(0.450004, 0.45) == ("0.450004", "0.450000")
