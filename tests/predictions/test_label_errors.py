"""Confident learning finds planted label errors."""

import numpy as np
import pytest

from kagglepipe.predictions.label_errors import suspects


def drawn(rows: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Separable probabilities (N, C) and their true classes (N,)."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, rows)
    logits = rng.normal(0, 1, (rows, classes))
    logits[np.arange(rows), truth] += 5
    probs = np.exp(logits)
    return probs / probs.sum(axis=1, keepdims=True), truth


@pytest.mark.parametrize("classes", [2, 5])
def test_swapped_labels_are_among_the_first_suspects(classes: int) -> None:
    probs, truth = drawn(1000, classes, classes)
    swapped = np.random.default_rng(1).choice(1000, 50, replace=False)
    given = truth.copy()
    given[swapped] = (given[swapped] + 1) % classes
    names = [f"c{k}" for k in range(classes)]
    table = suspects([str(k) for k in range(1000)], probs, given, names)
    first = set(table["id"].head(80))  # 8 %
    assert len(first & {str(k) for k in swapped}) >= 40
    found = table[table["id"].isin([str(k) for k in swapped])]
    right = [names[truth[int(id)]] for id in found["id"]]
    assert np.mean(np.array(right) == found["suggested"].to_numpy()) > 0.9
    assert (np.diff(table["p_given"] - table["p_suggested"]) >= -2e-4).all()  # but for rounding


def test_labels_that_are_surely_wrong_come_before_those_that_are_answered_otherwise() -> None:
    # thresholds: a: mean of 0.9, 0.3 = 0.6; b: mean of 0.97, 0.97, 0.97, 0.38 = 0.8225. Row x, labelled a, has
    # p(b) = 0.7, below it; row z, labelled b, has p(a) = 0.62, above that of a, though its margin is the smaller one
    probs = np.array([[0.9, 0.1], [0.3, 0.7], [0.03, 0.97], [0.03, 0.97], [0.03, 0.97], [0.62, 0.38]])
    found = suspects(list("wxabcz"), probs, np.array([0, 0, 1, 1, 1, 1]), ["a", "b"])
    assert found[["id", "given", "suggested"]].to_numpy().tolist() == [["z", "b", "a"], ["x", "a", "b"]]


def test_a_wrong_tag_is_suggested_away() -> None:
    probs = np.tile([[0.95, 0.05], [0.05, 0.95]], (10, 1))
    truth = probs > 0.5
    truth[3] = [True, True]
    probs[3] = [0.03, 0.95]
    (row,) = suspects([str(k) for k in range(20)], probs, truth, ["rust", "scab"]).itertuples()
    assert (row.id, row.given, row.suggested, row.p_given, row.p_suggested) == ("3", "rust|scab", "scab", 0.03, 0.97)
