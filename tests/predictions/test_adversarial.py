"""Adversarial validation: rows drawn alike are at chance, shifted ones are told apart, twins tell nothing."""

import numpy as np

from kagglepipe.predictions.adversarial import tell_apart


def drawn(shift: float, rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    is_test = np.arange(rows) % 3 == 0
    features = rng.normal(size=(rows, 8))
    features[is_test, 2] += shift
    return features, is_test


def test_alike_rows_are_at_chance_and_shifted_ones_are_not() -> None:
    features, is_test = drawn(0)
    alike = tell_apart(features, is_test, np.arange(300))
    assert alike is not None
    assert alike.low < 0.5 < alike.high
    features, is_test = drawn(2)
    other = tell_apart(features, is_test, np.arange(300))
    assert other is not None
    assert 0.85 < other.low < other.auc < other.high
    assert other.scores[is_test].mean() > 0.2 > 0 > -0.2 > other.scores[~is_test].mean()


def test_twins_do_not_tell_each_other() -> None:
    """Each row is there three times, of one split; without groups the copies would tell it."""
    rng = np.random.default_rng(1)
    features = np.repeat(rng.normal(size=(60, 200)), 3, axis=0)
    is_test = np.repeat(np.arange(60) % 2 == 0, 3)
    found = tell_apart(features, is_test, np.repeat(np.arange(60), 3))
    assert found is not None
    assert found.low < 0.5 < found.high


def test_few_groups_tell_nothing() -> None:
    features, is_test = drawn(2, 12)
    assert tell_apart(features, is_test, np.arange(12)) is None
