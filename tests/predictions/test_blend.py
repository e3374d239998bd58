"""Blends against scipy and numpy, and their invariances."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from kagglepipe.predictions.blend import METHODS, combine, with_probabilities
from kagglepipe.predictions.frame import oof_frame, probabilities

ROWS = 12
CLASSES = ["cat", "dog", "eel"]


def members(count: int, *, seed: int = 0) -> np.ndarray:
    """(M, N, 3); the first row of each member is as confident as can be, the last two are tied."""
    stack = np.random.default_rng(seed).dirichlet(np.ones(3), (count, ROWS))
    stack[:, 0], stack[:, -1] = np.eye(3)[0], stack[:, -2]
    return stack


def normalised(values: np.ndarray) -> np.ndarray:
    return values / values.sum(axis=1, keepdims=True)


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), order=st.permutations(range(4)), data=st.data())
@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_members_changes_nothing(method: str, seed: int, order: list[int], data: st.DataObject) -> None:
    stack = members(4, seed=seed)
    before = stack.copy()
    weights = normalised(np.array([data.draw(st.lists(st.floats(0.1, 10), min_size=4, max_size=4))]))[0]
    probs = combine(stack, weights, method)
    np.testing.assert_allclose(probs, combine(stack[order], weights[order], method), rtol=0, atol=1e-12)
    assert ((probs >= 0) & (probs <= 1)).all()
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_array_equal(stack, before)


WEIGHTS = np.array([1.0, 2.0, 0.5]) / 3.5


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("mean", lambda stack: np.average(stack, axis=0, weights=WEIGHTS)),
        (
            "geometric_mean",
            lambda stack: scipy.stats.gmean(np.fmax(stack, 1e-15), axis=0, weights=WEIGHTS[:, None, None]),
        ),
        ("rank_mean", lambda stack: np.average(scipy.stats.rankdata(stack, axis=1), axis=0, weights=WEIGHTS)),
    ],
)
def test_blends_equal_those_of_scipy(method: str, expected: Callable[[np.ndarray], np.ndarray]) -> None:
    stack = members(3)
    np.testing.assert_allclose(combine(stack, WEIGHTS, method), normalised(expected(stack)), atol=1e-12)


@pytest.mark.parametrize("method", ["mean", "geometric_mean"])
def test_one_member_or_one_with_weight_comes_back_as_it_is(method: str) -> None:
    stack = members(2)
    np.testing.assert_allclose(combine(stack[:1], np.ones(1), method), stack[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(combine(stack, np.array([1.0, 0.0]), method), stack[0], rtol=0, atol=1e-12)


def test_weights_of_a_log_linear_pool_sharpen() -> None:
    (member,) = members(1)
    np.testing.assert_allclose(combine(member[None], np.array([2.0]), "logistic"), normalised(member**2), atol=1e-12)


def test_weights_that_round_to_more_than_one_make_no_probability_above_one() -> None:
    weights = np.array([9, 18, 1]) / 28  # which sum to 1 + 2e-16 in binary
    assert combine(members(3)[:, :1], weights, "mean").tolist() == [[1, 0, 0]]


def test_a_power_mean_of_an_older_version_is_applied() -> None:
    """0.25 * 0.8 ** 3 + 0.75 * 0.2 ** 3 = 0.134; the same of 0.2 and 0.8: 0.386; cube roots over their sum."""
    stack = np.array([[[0.8, 0.2]], [[0.2, 0.8]]])
    first, second = 0.134 ** (1 / 3), 0.386 ** (1 / 3)
    found = combine(stack, np.array([0.25, 0.75]), "power_mean", power=3)
    np.testing.assert_allclose(found, [[first / (first + second), second / (first + second)]], atol=1e-12)


def test_a_frame_with_other_probabilities_keeps_the_rest() -> None:
    one, two = members(2)
    frame = oof_frame([f"r{row}" for row in range(ROWS)], 1, ["dog"] * ROWS, one, CLASSES)
    changed = with_probabilities(frame, CLASSES, two)
    assert changed[["id", "fold", "target"]].equals(frame[["id", "fold", "target"]])
    np.testing.assert_array_equal(probabilities(changed, CLASSES), two)
    assert with_probabilities(frame[["id", *CLASSES]], CLASSES, two).columns.tolist() == ["id", *CLASSES]
