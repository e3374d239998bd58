"""Fitted weights against scipy and scikit-learn, and against what must hold of any of them."""

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from kagglepipe.predictions.blend import combine
from kagglepipe.predictions.metrics import log_loss
from kagglepipe.predictions.softmax_fit import fit_softmax
from kagglepipe.predictions.weights import FITTED

METHODS = sorted(FITTED)


def problem(members: int, rows: int, *, seed: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(probabilities (M, N, C), truth, folds): members that know something, the first of them the most."""
    random = np.random.default_rng(seed)
    truth = random.integers(classes, size=rows)
    scores = random.normal(size=(members, rows, classes))
    for member in range(members):
        scores[member, np.arange(rows), truth] += 2 / (1 + member)
    stack = np.exp(scores)
    return stack / stack.sum(axis=2, keepdims=True), truth, np.arange(rows) % 3


@pytest.mark.parametrize("method", METHODS)
def test_one_member_is_all_there_is(method: str) -> None:
    stack, truth, folds = problem(1, 60, seed=0)
    weights = FITTED[method](stack, truth, folds)
    assert weights.shape == (4, 1)
    if method != "logistic":  # which may make it surer or less sure
        assert weights.tolist() == [[1.0]] * 4
        np.testing.assert_array_equal(combine(stack, weights[-1], method), stack[0])


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), order=st.permutations(range(4)))
@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_members_changes_nothing(method: str, seed: int, order: list[int]) -> None:
    stack, truth, folds = problem(4, 90, seed=seed)
    one = FITTED[method](stack, truth, folds)
    two = FITTED[method](stack[order], truth, folds)
    np.testing.assert_allclose(one[:, order], two, atol=2e-3)  # members that say nearly the same share as it comes
    for fold in range(4):
        np.testing.assert_allclose(
            log_loss(combine(stack, one[fold], method), truth),
            log_loss(combine(stack[order], two[fold], method), truth), atol=1e-4,  # where the fits stop, in float32
        )  # fmt: skip


@settings(max_examples=15)
@given(seed=st.integers(0, 1000))
def test_nnls_equals_that_of_scipy_on_all_cells(seed: int) -> None:
    stack, truth, folds = problem(4, 60, seed=seed)
    found = FITTED["nnls"](stack, truth, folds)
    for fold, weights in enumerate(found):
        rows = folds != fold
        cells, wanted = stack[:, rows].reshape(4, -1).T, np.eye(3)[truth[rows]].ravel()
        expected = scipy.optimize.nnls(cells, wanted)[0]
        np.testing.assert_allclose(weights, expected / expected.sum(), atol=1e-6)


def test_nnls_shares_among_members_that_say_the_same() -> None:
    stack, truth, folds = problem(2, 60, seed=0)
    weights = FITTED["nnls"](np.concatenate([stack, stack[:1]]), truth, folds)[-1]
    assert weights.min() >= 0
    assert weights[[0, 2]].sum() == pytest.approx(FITTED["nnls"](stack, truth, folds)[-1][0], abs=1e-6)


@settings(max_examples=10)
@given(seed=st.integers(0, 1000))
def test_logistic_weights_are_the_minimum_that_scipy_finds(seed: int) -> None:
    stack, truth, folds = problem(3, 80, seed=seed)
    found = FITTED["logistic"](stack, truth, folds)[-1]
    logs, smoothing = np.log(stack), 1 / 82
    targets = np.full((80, 3), smoothing / 2)
    targets[np.arange(80), truth] = 1 - smoothing

    def loss(weights: np.ndarray) -> float:
        scores = np.tensordot(weights, logs, axes=1)
        surprise = np.logaddexp.reduce(scores, axis=1) - (scores * targets).sum(axis=1)
        return float(surprise.mean() + 3 / 80 / 2 * ((weights - 1 / 3) ** 2).sum())

    best = scipy.optimize.minimize(loss, np.full(3, 1 / 3), bounds=[(0, None)] * 3, tol=1e-12)
    np.testing.assert_allclose(found, best.x, atol=2e-3)
    assert loss(found) <= best.fun + 1e-6


def test_hill_climbing_takes_at_each_step_what_lowers_log_loss_most() -> None:
    stack, truth, folds = problem(3, 41, seed=2)
    own = stack[:, np.arange(41), truth]
    total, counts, best, kept = np.zeros(41), np.zeros(3), np.inf, np.zeros(3)
    for step in range(1, 101):
        losses = [-np.log((total + member) / step).mean() for member in own]
        chosen = int(np.argmin(losses))
        total, counts[chosen] = total + own[chosen], counts[chosen] + 1
        if losses[chosen] < best - 1e-9:
            best, kept = losses[chosen], counts.copy()
    found = FITTED["hill_climb"](stack, truth, folds)[-1]
    assert log_loss(combine(stack, found, "mean"), truth) == pytest.approx(best, abs=1e-4)
    np.testing.assert_allclose(found, kept / kept.sum(), atol=0.03)


def test_members_that_are_certain_and_wrong_break_nothing() -> None:
    stack, truth, folds = problem(3, 60, seed=1)
    stack[1] = np.eye(3)[(truth + 1) % 3]
    for method in METHODS:
        weights = FITTED[method](stack, truth, folds)
        assert np.isfinite(weights).all()
        assert weights[-1][1] == pytest.approx(0, abs=1e-6)


def test_a_bound_is_kept_and_what_lies_inside_is_free() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(2, 200, 2))
    truth = (features[0, :, 1] - features[0, :, 0] - 0.5 * (features[1, :, 1] - features[1, :, 0]) > 0).astype(int)
    free = fit_softmax(features, truth, centre=np.zeros(2), penalty=0.1)
    bound = fit_softmax(features, truth, centre=np.zeros(2), penalty=0.1, floor=0.0)
    assert free[0] > 0 > free[1]
    assert bound[0] > 0
    assert bound[1] == 0
