"""The head of ranked classes ranks by cosine similarity to class means, its scale is chosen without the fold."""

import logging

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.metrics.pairwise import cosine_similarity

from kagglepipe.training.cosine_head import USUAL_SCALE, CosineFitter
from kagglepipe.training.head import ExtraRows

CLASSES = 12
Arrays = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]


def problem(count: int = 36) -> Arrays:
    """Three rows a class around its centre, as features of a network: of norm √F. One row of each in each fold."""
    rng, labels = np.random.default_rng(0), np.arange(count) % CLASSES
    x = rng.normal(size=(CLASSES, 20))[labels] + 1.2 * rng.normal(size=(count, 20)) + 2
    x /= np.sqrt((x**2).mean(axis=1, keepdims=True))
    return x.astype(np.float32), labels, np.arange(count) // CLASSES


def similarities(x: NDArray[np.float32], labels: NDArray[np.int64], rows: NDArray[np.bool_]) -> NDArray[np.float64]:
    """scikit-learn's, of all rows to the class means of some, both from the centre of these."""
    means, centre = np.stack([x[rows & (labels == one)].mean(axis=0) for one in range(CLASSES)]), x[rows].mean(axis=0)
    return np.asarray(cosine_similarity(x - centre, means - centre))


def test_ranks_are_those_of_cosine_similarity() -> None:
    x, labels, folds = problem()
    found = CosineFitter([x], labels, folds, classes=CLASSES).fit(0).predict(x)
    expected = similarities(x, labels, folds != 0)
    np.testing.assert_array_equal(np.argsort(found, axis=1), np.argsort(expected, axis=1))
    assert (found[folds == 0].argmax(axis=1) == labels[folds == 0]).mean() > 0.6


def test_the_scale_has_the_least_log_loss_on_the_next_fold() -> None:
    x, labels, folds = problem()
    fitter = CosineFitter([x], labels, folds, classes=CLASSES)
    centre, held = x[folds == 2].mean(axis=0), folds == 1
    size = np.linalg.norm(x - centre, axis=1, keepdims=True)
    cosines = similarities(x, labels, folds == 2) * size / np.sqrt((size[folds == 2] ** 2).mean())
    own = np.arange(held.sum()), labels[held]
    losses = {scale: -log_softmax(scale * cosines[held], axis=1)[own].mean() for scale in np.geomspace(1, 128, 300)}
    assert fitter.scale(0)[0] == pytest.approx(min(losses, key=lambda scale: losses[scale]), rel=0.05)
    assert fitter.history(0)[0]["inner_log_loss"] == pytest.approx(min(losses.values()), rel=1e-3)


def test_a_class_that_is_all_held_out_has_no_probability_and_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    x, labels, folds = problem()
    folds = np.where(labels == 3, 0, folds)
    with caplog.at_level(logging.INFO):
        fitter = CosineFitter([x], labels, folds, classes=CLASSES)
    assert "3 of 36 rows have one of the 1 classes with rows in a single fold" in caplog.text
    assert fitter.fit(0).predict(x)[:, 3].max() == 0
    np.testing.assert_allclose(fitter.fit(0).predict(x).sum(axis=1), 1)


def test_classes_of_one_image_each_are_ranked_by_their_image() -> None:
    """There is nothing to choose a scale by, and each image of another fold is its own class."""
    x, labels, folds = problem(CLASSES)
    folds = labels % 3
    fitter = CosineFitter([x], labels, folds, classes=CLASSES)
    assert fitter.scale(0)[0] == USUAL_SCALE
    assert (fitter.fit(0).predict(x).argmax(axis=1) == labels)[folds != 0].all()


def test_repeated_views_change_nothing_and_extra_rows_are_rows() -> None:
    x, labels, folds = problem()
    one = CosineFitter([x], labels, folds, classes=CLASSES)
    many = CosineFitter([x] * 3, labels, folds, classes=CLASSES, clean=2.0)
    np.testing.assert_allclose(many.fit(0).weight, one.fit(0).weight, rtol=1e-3, atol=1e-6)
    extra = one.fit(0, ExtraRows([x[folds == 0]], labels[folds == 0]))
    expected = similarities(x, labels, np.ones(len(x), bool))
    np.testing.assert_array_equal(np.argsort(extra.logits(x), axis=1), np.argsort(expected, axis=1))
