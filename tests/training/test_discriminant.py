"""The head for many classes is scikit-learn's linear discriminant analysis, made as sharp as held-out rows want it."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from kagglepipe.predictions import top_classes
from kagglepipe.training.discriminant import DiscriminantFitter, Discriminants, log_loss_of
from kagglepipe.training.head import ExtraRows

CLASSES, FEATURES = 20, 12
Arrays = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]


def problem(count: int = 400, spread: float = 1.0, folds: int = 4) -> Arrays:
    """Overlapping classes of unequal size: features (N, F), labels (N,), folds (N,)."""
    random = np.random.default_rng(0)
    labels = np.concatenate([np.arange(CLASSES), random.geometric(0.15, count - CLASSES) % CLASSES])
    centres = random.normal(size=(CLASSES, FEATURES))
    x = centres[labels] + spread * random.normal(size=(count, FEATURES)) * np.linspace(0.3, 1.5, FEATURES)
    return x.astype(np.float32), labels, random.permutation(np.arange(count) % folds)


def fitter(x: NDArray[np.float32], labels: NDArray[np.int64], folds: NDArray[np.int64]) -> DiscriminantFitter:
    return DiscriminantFitter([x], labels, folds, grid=[0.1, 1.0, 10.0], classes=CLASSES + 1)


@pytest.mark.parametrize("c", [0.1, 9.0])
def test_the_head_is_scikit_learns_discriminant_analysis(c: float) -> None:
    x, labels, folds = problem()
    sums = fitter(x, labels, folds)._sums([x], labels, np.ones(len(x), bool))
    found = Discriminants(sums).head(c, 1.0).predict(x)
    within = x - np.stack([x[labels == k].mean(axis=0) for k in range(CLASSES)])[labels]
    covariance = within.T @ within / len(x)
    shrunk = covariance * c / (1 + c) + np.eye(FEATURES) * np.trace(covariance) / FEATURES / (1 + c)
    model = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=Fixed(shrunk)).fit(x, labels)
    np.testing.assert_allclose(found[:, :CLASSES], model.predict_proba(x), atol=2e-3)
    assert (found[:, CLASSES] == 0).all()  # a class without rows


class Fixed:
    """A covariance estimator of scikit-learn's that has its answer already; it is asked for each class."""

    def __init__(self, covariance: NDArray[np.float64]) -> None:
        self.covariance_ = covariance

    def fit(self, x: NDArray[np.float64]) -> "Fixed":
        return self


def test_log_loss_is_that_of_the_logits_a_few_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    scores, prior = random.normal(size=(50, 8)).astype(np.float32), random.normal(size=8).astype(np.float32)
    truth = random.integers(8, size=50)
    monkeypatch.setattr(top_classes, "ROWS_AT_ONCE", 16)
    expected = -log_softmax(100 * scores.astype(np.float64) + prior, axis=1)[np.arange(50), truth].mean()
    assert log_loss_of(scores, 100.0, prior, truth) == pytest.approx(expected, rel=1e-6)


def test_c_and_sharpness_are_chosen_without_the_fold() -> None:
    x, labels, folds = problem()
    plain = fitter(x, labels, folds)
    changed = x.copy()
    changed[folds == 2] = 100
    for one in (plain.fit(2), fitter(changed, labels, folds).fit(2)):
        np.testing.assert_array_equal(one.weight, plain.fit(2).weight)
    rows = plain.history(2)
    assert [row["regularisation"] for row in rows] == [0.1, 1.0, 10.0]
    assert plain.fit(2).regularisation == min(rows, key=lambda row: row["inner_log_loss"])["regularisation"]


@pytest.mark.parametrize("folds", [2, 4])
def test_probabilities_are_as_sure_as_they_are_right(folds: int) -> None:
    """On rows that are few for the number of features, where discriminant analysis alone is far too sure."""
    x, labels, fold_of = problem(spread=2.0, folds=folds)
    own = fold_of == 0
    probs = fitter(x, labels, fold_of).fit(0).predict(x[own])
    accuracy = (probs.argmax(axis=1) == labels[own]).mean()
    assert probs.max(axis=1).mean() == pytest.approx(accuracy, abs=0.15)


def test_extra_rows_and_views_count_as_rows_do() -> None:
    x, labels, folds = problem()
    both = DiscriminantFitter([x, x], labels, folds, grid=[1.0], classes=CLASSES, clean=3.0)
    one = DiscriminantFitter([x], labels, folds, grid=[1.0], classes=CLASSES)
    np.testing.assert_allclose(both.fit(1).weight, one.fit(1).weight, rtol=1e-3, atol=1e-4)
    extra = one.fit(1, ExtraRows([x[:0]], labels[:0]))
    np.testing.assert_array_equal(extra.weight, one.fit(1).weight)
    assert np.abs(one.fit(1, ExtraRows([x], labels)).weight - extra.weight).max() > 0


def test_classes_of_one_row_each_can_be_fitted() -> None:
    x, labels, folds = problem(count=40)
    labels = np.arange(40)
    found = DiscriminantFitter([x], labels, folds, grid=[1.0], classes=40)
    assert np.isfinite(found.fit(0).weight).all()
