"""Paired tests against scipy, known answers, and what must not matter: the order of rows, who is called first."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagglepipe.errors import UserError
from kagglepipe.predictions import uncertainty
from kagglepipe.predictions.frame import oof_frame
from kagglepipe.predictions.metrics import accuracy, log_loss, row_losses
from kagglepipe.predictions.paired import compare, mcnemar, paired_difference
from kagglepipe.predictions.uncertainty import sign_flip_p

CLASSES = ["cat", "dog"]


def frame(right: Sequence[bool], sure: float = 0.8) -> pd.DataFrame:
    """An out-of-fold frame of cats that are named rightly or not, each with the probability `sure`."""
    given = [sure if hit else 1 - sure for hit in right]
    ids = [f"img{n}" for n in range(len(right))]
    return oof_frame(ids, 0, ["cat"] * len(right), [[p, 1 - p] for p in given], CLASSES)


# --- right and wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [(0, 0, 1.0), (1, 1, 1.0), (5, 0, 2 / 2**5), (0, 5, 2 / 2**5), (3, 1, 10 / 16), (2600, 2400, 0.00489)],
)
def test_only_rows_on_which_runs_differ_count(only_a: int, only_b: int, p: float) -> None:
    for both, neither in ((0, 1), (7, 20)):
        right_a = np.repeat([True, False, True, False], [only_a, only_b, both, neither])
        right_b = np.repeat([False, True, True, False], [only_a, only_b, both, neither])
        found = mcnemar(right_a, right_b)
        assert (found.only_a, found.only_b, found.p) == (only_a, only_b, pytest.approx(p, rel=2e-3))


# --- by group -----------------------------------------------------------------------------------------------------


def test_the_interval_is_that_of_the_normal_approximation_where_rows_are_many() -> None:
    gaps = np.random.default_rng(0).normal(0.1, 1, 2000)
    found = paired_difference(gaps, np.zeros(2000), range(2000))
    half = 1.96 * gaps.std() / math.sqrt(2000)
    assert found.value == pytest.approx(gaps.mean())
    assert found.interval == pytest.approx((gaps.mean() - half, gaps.mean() + half), abs=1e-3)
    z = gaps.mean() / (gaps.std() / math.sqrt(2000))
    assert found.p == pytest.approx(math.erfc(z / math.sqrt(2)), abs=0.002)


def test_rows_of_one_group_are_one_piece_of_evidence() -> None:
    gaps = np.random.default_rng(1).normal(0.2, 1, 50)
    alone = paired_difference(gaps, np.zeros(50), range(50))
    repeated = paired_difference(np.repeat(gaps, 20), np.zeros(1000), np.repeat(np.arange(50), 20).tolist())
    assert repeated.interval == pytest.approx(alone.interval)
    assert repeated.p == alone.p
    torn = paired_difference(np.repeat(gaps, 20), np.zeros(1000), range(1000))
    assert torn.interval[1] - torn.interval[0] < (alone.interval[1] - alone.interval[0]) / 3


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=12))
def test_changing_places_changes_the_sign_alone(gaps: list[float]) -> None:
    zeros = [0.0] * len(gaps)
    one = paired_difference(gaps, zeros, range(len(gaps)))
    other = paired_difference(zeros, gaps, range(len(gaps)))
    assert other.value == pytest.approx(-one.value)
    assert other.interval == pytest.approx((-one.interval[1], -one.interval[0]), abs=1e-12, nan_ok=True)
    assert other.p == one.p


@pytest.mark.parametrize(("count", "is_known"), [(1, False), (2, False), (5, False), (6, True)])
def test_few_groups_that_gain_alike_tell_nothing(count: int, is_known: bool) -> None:
    """However alike: heads five times in a row are no sign of a false coin."""
    found = paired_difference(np.ones(2 * count), np.zeros(2 * count), np.repeat(np.arange(count), 2).tolist())
    assert (found.value, found.p) == (1, 2.0 ** (1 - count))
    assert found.interval == pytest.approx((1, 1) if is_known else (math.nan, math.nan), nan_ok=True)


@pytest.mark.parametrize("count", [6, 8, 12, 30])
def test_groups_that_differ_by_chance_are_beyond_noise_as_seldom_as_promised(count: int) -> None:
    """Ten rows a group, which share their luck; drawing groups again would find it in one draw in six of few."""
    random, outside, significant = np.random.default_rng(count), 0, 0
    for _ in range(400):
        gaps = np.repeat(random.normal(size=count), 10) + random.normal(size=10 * count)
        found = paired_difference(gaps, np.zeros(10 * count), np.repeat(np.arange(count), 10).tolist())
        outside += not found.interval[0] <= 0 <= found.interval[1]
        significant += found.p < 0.05
    assert outside / 400 < 0.085  # 0.05, and three times its error
    assert 0.01 < significant / 400 < 0.085  # of six groups, the smallest p is 1/32


def test_groups_without_a_difference_leave_p_exact() -> None:
    assert sign_flip_p(np.array([1.0, 1.0, 1.0, *[0.0] * 30])) == 2 / 2**3


@given(st.lists(st.sampled_from([-1, -0.3, -0.1, 0, 0.1, 0.2, 0.7]), min_size=1, max_size=6))
def test_p_is_that_of_all_changes_of_sign(sums: list[float]) -> None:
    changed = [abs(np.dot(signs, sums)) for signs in itertools.product([1, -1], repeat=len(sums))]
    expected = np.mean(np.array(changed) >= abs(sum(sums)) - 1e-9)
    assert sign_flip_p(np.array(sums, dtype=float)) == pytest.approx(expected)


def test_sampled_changes_of_sign_come_close_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = np.random.default_rng(0).normal(0.3, 1, 12)
    exact = sign_flip_p(sums)
    monkeypatch.setattr(uncertainty, "EXACT_GROUPS", 3)
    sampled = sign_flip_p(sums)
    assert 0.01 < exact < 0.9
    assert sampled == pytest.approx(exact, abs=0.02)
    assert sampled != exact
    assert sign_flip_p(np.ones(60), draws=99) == pytest.approx(1 / 100)  # never 0


@pytest.mark.parametrize(("gaps", "groups"), [([], []), ([1.0], ["a", "b"])])
def test_numbers_without_a_group_each_are_refused(gaps: list[float], groups: list[str]) -> None:
    with pytest.raises(ValueError, match="groups for numbers"):
        paired_difference(gaps, gaps, groups)


# --- two frames ---------------------------------------------------------------------------------------------------


def test_differences_are_those_of_the_metrics() -> None:
    random = np.random.default_rng(3)
    truth = random.integers(0, 2, 40)
    probs = [random.dirichlet((1, 1), 40) for _ in range(2)]
    ids, names = [f"{n:02}" for n in range(40)], [CLASSES[k] for k in truth]
    a, b = (oof_frame(ids, 0, names, p, CLASSES) for p in probs)
    found = compare(a, b)
    assert found.accuracy.value == pytest.approx(accuracy(probs[0], truth) - accuracy(probs[1], truth))
    assert found.log_loss.value == pytest.approx(log_loss(probs[0], truth) - log_loss(probs[1], truth))
    assert row_losses(probs[0], truth).mean() == pytest.approx(log_loss(probs[0], truth))
    differ = probs[0].argmax(axis=1) != probs[1].argmax(axis=1)
    assert sorted(found.differing["id"]) == [id for id, yes in zip(ids, differ, strict=True) if yes]
    shuffled = compare(a.sample(frac=1, random_state=0), b.sample(frac=1, random_state=1))
    pd.testing.assert_frame_equal(shuffled.differing, found.differing)
    assert (shuffled.right, shuffled.log_loss) == (found.right, found.log_loss)


def test_what_differs_most_is_named_first() -> None:
    a, b = frame([True, True, False]), frame([False, True, True])
    a.loc[2, CLASSES] = [0.4, 0.6]  # which is closer
    found = compare(a, b).differing
    assert found.to_dict("list") == {
        "id": ["img0", "img2"],
        "fold": [0, 0],
        "target": ["cat", "cat"],
        "answer_a": ["cat", "dog"],
        "answer_b": ["dog", "cat"],
        "probability_a": [0.8, 0.4],
        "probability_b": [pytest.approx(0.2), 0.8],
    }


def test_the_same_run_twice_differs_nowhere() -> None:
    found = compare(frame([True, False]), frame([True, False]))
    assert (found.right.p, found.log_loss.p, found.accuracy.value, len(found.differing)) == (1.0, 1.0, 0.0, 0)


def test_groups_are_counted_and_demanded() -> None:
    a, b = frame([True, False, True]), frame([False, False, True])
    assert compare(a, b, {"img0": "x", "img1": "x", "img2": "y"}).groups == 2
    with pytest.raises(UserError, match="does not hold 'img2'"):
        compare(a, b, {"img0": "x", "img1": "x"})


def test_runs_of_other_rows_are_refused() -> None:
    with pytest.raises(UserError, match="the second does not hold the ids of the first: missing 'img2'"):
        compare(frame([True] * 3), frame([True] * 2))
