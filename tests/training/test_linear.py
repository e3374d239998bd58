"""Heads along principal axes are those of scikit-learn, for few rows and for many, and cost a fraction of the steps."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from kagglepipe.training import linear
from kagglepipe.training.head import ExtraRows, HeadFitter
from kagglepipe.training.linear import fit_logistic, linear_fitter
from kagglepipe.training.principal_axes import rotate


def rows_of(count: int, inputs: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(x, labels): standardised inputs that a few directions nearly explain, as of neighbouring frames."""
    random = np.random.default_rng(seed)
    few = random.normal(size=(count, 8))
    x = few @ random.normal(size=(8, inputs)) + 0.1 * random.normal(size=(count, inputs))
    labels = (few[:, :classes] + random.normal(size=(count, classes))).argmax(axis=1)
    return ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32), labels


@pytest.mark.parametrize(("count", "inputs"), [(60, 150), (200, 40)])
def test_rows_along_their_axes_have_the_same_lengths_and_come_back(count: int, inputs: int) -> None:
    x, _ = rows_of(count, inputs, 3)
    rotated = rotate(x)
    z = rotated.rows
    assert z.shape == (count, min(count, inputs))
    np.testing.assert_allclose(z @ z.T, x @ x.T, atol=2e-3)
    np.testing.assert_allclose(rotated.back(z), x, atol=1e-4)
    strength = (z**2).mean(axis=0)
    assert strength[-8:].sum() > 0.9 * strength.sum()  # the strongest last


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize(("count", "inputs"), [(60, 150), (200, 40)])
@pytest.mark.parametrize("c", [1e-3, 0.1])
def test_the_fit_is_that_of_sklearn(count: int, inputs: int, classes: int, c: float) -> None:
    x, labels = rows_of(count, inputs, classes)
    weights = np.random.default_rng(1).uniform(0.5, 1.5, count)
    weights /= weights.mean()
    z = rotate(x).rows
    start = fit_logistic(z, labels, weights, c / 10)
    for began in (None, start):
        fit = fit_logistic(z, labels, weights, c, began)
        found = softmax(z @ fit.weight.T + fit.bias, axis=-1)
        model = LogisticRegression(C=c, tol=1e-8, max_iter=5000).fit(x.astype(float), labels, weights)
        np.testing.assert_allclose(found, model.predict_proba(x.astype(float)), atol=1e-3)


def test_few_steps_lead_there(monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = rows_of(200, 150, 4)
    steps, minimize = [], linear.minimize

    def counted(*arguments: object, **options: object) -> object:
        found = minimize(*arguments, **options)
        steps.append(found.nit)
        return found

    monkeypatch.setattr(linear, "minimize", counted)
    z = rotate(x).rows
    fit_logistic(z, labels, np.ones(200), 1.0)
    plain = LogisticRegression(C=1.0, tol=1e-6, max_iter=5000).fit(x.astype(float), labels)
    assert sum(steps) < plain.n_iter_[0] / 2


@pytest.mark.parametrize("views", [1, 2])
def test_heads_are_those_of_the_other_fitter(views: int) -> None:
    x, labels = rows_of(90, 60, 3)
    looks = [x, x + np.random.default_rng(2).normal(0, 0.3, x.shape).astype(np.float32)][:views]
    folds, grid = np.arange(90) % 3, [1e-3, 1e-2]
    other, found = (kind(looks, labels, folds, grid=grid, classes=4) for kind in (HeadFitter, linear_fitter))
    for fold in range(3):
        expected, head = other.fit(fold), found.fit(fold)
        assert head.regularisation == expected.regularisation
        held = x[folds == fold]
        np.testing.assert_allclose(head.predict(held), expected.predict(held), atol=2e-3)
        assert (head.predict(held)[:, 3] == 0).all()  # which no row has
        np.testing.assert_allclose(found.inner_log_loss(fold), other.inner_log_loss(fold), rtol=1e-2)


def test_rows_that_a_teacher_has_labelled_may_lie_outside_the_axes() -> None:
    x, labels = rows_of(40, 60, 3)
    folds = np.arange(40) % 2
    strange = np.random.default_rng(3).normal(size=(20, 60)).astype(np.float32)
    more = ExtraRows([strange], np.arange(20) % 3)
    other, found = (kind([x], labels, folds, grid=[1e-2], classes=3) for kind in (HeadFitter, linear_fitter))
    expected, head = other.fit(0, more), found.fit(0, more)
    np.testing.assert_allclose(head.predict(strange), expected.predict(strange), atol=2e-3)
