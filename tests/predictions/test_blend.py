"""Blends against scipy and against what must hold of any of them.

Run with `python -m pytest tests/predictions`.
"""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from kagglepipe.errors import UserError
from kagglepipe.predictions import blend as blends
from kagglepipe.predictions.frame import oof_frame, probabilities

CLASSES = ["cat", "dog", "eel"]
IDS = [f"r{row}" for row in range(12)]


def members(count: int, *, seed: int = 0) -> list[pd.DataFrame]:
    """Aligned out-of-fold frames; the first row of each is as sure as can be, the last two are tied."""
    random = np.random.default_rng(seed)
    target = random.choice(CLASSES, len(IDS)).tolist()
    draws = [random.dirichlet(np.ones(3), len(IDS)) for _ in range(count)]
    for probs in draws:
        probs[0], probs[-1] = np.eye(3)[0], probs[-2]
    return [oof_frame(IDS, fold, target, probs, CLASSES) for fold, probs in enumerate(draws)]


def values(frames: list[pd.DataFrame]) -> np.ndarray:
    return np.stack([probabilities(frame, CLASSES) for frame in frames])  # (M, N, C)


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), order=st.permutations(range(4)), data=st.data())
@pytest.mark.parametrize("method", blends.METHODS)
def test_the_order_of_members_changes_nothing(method: str, seed: int, order: list[int], data: st.DataObject) -> None:
    frames = members(4, seed=seed)
    weights = data.draw(st.lists(st.floats(0.1, 10), min_size=4, max_size=4))
    one = blends.blend(frames, CLASSES, method, weights)
    two = blends.blend([frames[k] for k in order], CLASSES, method, [weights[k] for k in order])
    np.testing.assert_allclose(probabilities(one, CLASSES), probabilities(two, CLASSES), rtol=0, atol=1e-12)


@settings(max_examples=15)
@given(seed=st.integers(0, 1000))
@pytest.mark.parametrize("method", blends.METHODS)
def test_a_blend_is_a_frame_like_its_members(method: str, seed: int) -> None:
    frames = members(3, seed=seed)
    blended = blends.blend(frames, CLASSES, method)
    assert blended.columns.tolist() == frames[0].columns.tolist()
    assert_frame_equal(blended[["id", "fold", "target"]], frames[0][["id", "fold", "target"]])
    probs = probabilities(blended, CLASSES)
    assert ((probs >= 0) & (probs <= 1)).all()
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize("method", ["mean", "geometric_mean"])
def test_one_member_comes_back_as_it_is(method: str) -> None:
    (frame,) = members(1)
    assert_frame_equal(blends.blend([frame], CLASSES, method), frame, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", blends.METHODS)
def test_test_frames_are_blended_too_and_members_left_alone(method: str) -> None:
    frames = [frame[["id", *CLASSES]] for frame in members(2)]
    before = [frame.copy() for frame in frames]
    assert blends.blend(frames, CLASSES, method).columns.tolist() == ["id", *CLASSES]
    for frame, copy in zip(frames, before, strict=True):
        assert_frame_equal(frame, copy)


def test_the_geometric_mean_equals_that_of_scipy() -> None:
    frames, weights = members(3), [1.0, 2.0, 0.5]
    stack = np.maximum(values(frames), 1e-15)
    expected = scipy.stats.gmean(stack, axis=0, weights=np.array(weights)[:, None, None])
    blended = blends.blend(frames, CLASSES, "geometric_mean", weights)
    np.testing.assert_allclose(probabilities(blended, CLASSES), expected / expected.sum(axis=1, keepdims=True))


def test_the_rank_mean_equals_ranks_by_scipy() -> None:
    frames = members(3)
    expected = scipy.stats.rankdata(values(frames), axis=1).mean(axis=0)
    blended = blends.blend(frames, CLASSES, "rank_mean")
    np.testing.assert_allclose(probabilities(blended, CLASSES), expected / expected.sum(axis=1, keepdims=True))


def test_the_rank_mean_does_not_care_how_sure_a_member_is() -> None:
    frames = members(2)
    bold = frames[0].copy()
    bold[CLASSES] = bold[CLASSES] ** 3  # keeps the order within each column
    np.testing.assert_allclose(
        probabilities(blends.blend([bold, frames[1]], CLASSES, "rank_mean"), CLASSES),
        probabilities(blends.blend(frames, CLASSES, "rank_mean"), CLASSES),
    )


def test_weights_in_any_scale_and_classes_in_any_order() -> None:
    one, two = members(2)
    blended = blends.blend([one, two[["eel", "id", "cat", "dog", "fold", "target"]]], CLASSES, "mean", [30, 10])
    expected = np.average(values([one, two]), axis=0, weights=[3, 1])
    np.testing.assert_allclose(probabilities(blended, CLASSES), expected)


def test_a_member_without_weight_has_no_say() -> None:
    one, two = members(2)
    for method in ("mean", "geometric_mean"):
        assert_frame_equal(blends.blend([one, two], CLASSES, method, [1, 0]), one, rtol=0, atol=1e-12)


def test_weights_that_round_to_more_than_one_make_no_probability_above_one() -> None:
    sure = [frame[:1] for frame in members(3)]  # 9/28 + 18/28 + 1/28 is 1 + 2e-16 in binary
    assert probabilities(blends.blend(sure, CLASSES, "mean", [9, 18, 1]), CLASSES).tolist() == [[1, 0, 0]]


def test_frames_that_are_not_aligned_are_refused() -> None:
    one, two = members(2)
    with pytest.raises(ValueError, match="frame 1 has not the ids of frame 0"):
        blends.blend([one, two[::-1]], CLASSES, "mean")
    with pytest.raises(ValueError, match="frame 1"):
        blends.blend([one, two[:5]], CLASSES, "mean")
    with pytest.raises(ValueError, match="no frame"):
        blends.blend([], CLASSES, "mean")


@pytest.mark.parametrize("weights", [[1], [1, -1], [0, 0], [1, float("nan")]])
def test_weights_that_do_not_fit_are_refused(weights: list[float]) -> None:
    with pytest.raises(UserError, match="give 2 numbers"):
        blends.blend(members(2), CLASSES, "mean", weights)


def test_an_unknown_method_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"ensemble.method=vote.*mean, rank_mean, geometric_mean"):
        blends.blend(members(2), CLASSES, "vote")


def test_the_power_mean_is_that_of_scipy_and_lies_between_its_neighbours() -> None:
    frames = members(3)
    stack = np.maximum(values(frames), 1e-15)
    raised = scipy.stats.pmean(stack, 3, axis=0)
    expected = raised / raised.sum(axis=1, keepdims=True)
    found = probabilities(blends.blend(frames, CLASSES, "power_mean", power=3), CLASSES)
    np.testing.assert_allclose(found, expected)
    one = blends.blend(frames, CLASSES, "power_mean", power=1)
    assert_frame_equal(one, blends.blend(frames, CLASSES, "mean"), atol=1e-12)
    near = blends.blend(frames[:2], CLASSES, "power_mean", power=1e-3)
    rows = ~(values(frames[:2]) == 0).any(axis=(0, 2))  # there the geometric mean is all or nothing
    geometric = blends.blend(frames[:2], CLASSES, "geometric_mean")
    np.testing.assert_allclose(probabilities(near, CLASSES)[rows], probabilities(geometric, CLASSES)[rows], atol=2e-3)


def test_weights_of_a_log_linear_pool_are_not_scaled() -> None:
    (frame,) = members(1)
    sharper = probabilities(blends.blend([frame], CLASSES, "logistic", [2.0]), CLASSES)
    squared = values([frame])[0] ** 2
    np.testing.assert_allclose(sharper, squared / squared.sum(axis=1, keepdims=True), atol=1e-12)
