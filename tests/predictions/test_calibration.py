"""Calibration against scikit-learn and by hand; paired tests and slices by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from kagglepipe.predictions.blend import apply_map
from kagglepipe.predictions.calibration import (
    CALIBRATIONS,
    calibration_error,
    fit_isotonic,
    fit_platt,
    fit_shares,
    fit_temperature,
    fit_thresholds,
    reliability,
)
from kagglepipe.predictions.metrics import METRICS, fitting_metrics, log_loss, row_losses
from kagglepipe.predictions.paired import metric_gain
from kagglepipe.predictions.slices import slice_scores
from kagglepipe.predictions.tasks import smoothed_losses
from kagglepipe.predictions.uncertainty import laplace_error


def unsure(rows: int, *, seed: int = 0, classes: int = 2, slope: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """(probabilities, truth) of a model that is `slope` times as sure as it may be."""
    random = np.random.default_rng(seed)
    scores = random.normal(size=(rows, classes))
    honest = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    truth = np.array([random.choice(classes, p=row) for row in honest])
    said = honest**slope
    return said / said.sum(axis=1, keepdims=True), truth


def test_temperature_finds_how_much_too_sure_a_model_is() -> None:
    for slope in (0.5, 2.0, 4.0):
        probs, truth = unsure(6000, classes=4, slope=slope)
        assert fit_temperature(probs, truth)["slope"] == pytest.approx(1 / slope, rel=0.07)


@pytest.mark.parametrize("kind", ["temperature", "platt", "isotonic"])
@pytest.mark.parametrize("classes", [2, 4])
def test_calibration_mends_what_it_was_fitted_on(kind: str, classes: int) -> None:
    probs, truth = unsure(3000, classes=classes, slope=3.0)
    mended = apply_map(CALIBRATIONS[kind](probs, truth), probs)
    np.testing.assert_allclose(mended.sum(axis=1), 1)
    assert ((mended >= 0) & (mended <= 1)).all()
    assert log_loss(mended, truth) < log_loss(probs, truth)
    assert calibration_error(mended, truth) < calibration_error(probs, truth) / 2


def test_platt_of_two_classes_equals_logistic_regression_on_the_logit() -> None:
    probs, truth = unsure(500, slope=3.0)
    share = laplace_error(len(truth))
    logit = np.log(probs[:, 1] / probs[:, 0])[:, None]
    both, weights = np.r_[truth, 1 - truth], np.r_[np.full(500, 1 - share), np.full(500, share)]  # labels smoothed
    model = LogisticRegression(C=np.inf, tol=1e-10).fit(np.r_[logit, logit], both, weights)
    found = apply_map(fit_platt(probs, truth), probs)
    np.testing.assert_allclose(found[:, 1], model.predict_proba(logit)[:, 1], atol=1e-4)


@pytest.mark.parametrize("classes", [2, 3])
def test_isotonic_equals_that_of_sklearn(classes: int) -> None:
    probs, truth = unsure(300, classes=classes)
    model = IsotonicRegression(y_min=1 / 302, y_max=301 / 302)
    columns = np.stack([model.fit(own, truth == k).predict(own) for k, own in enumerate(probs.T)], axis=1)
    np.testing.assert_allclose(
        apply_map(fit_isotonic(probs, truth), probs), columns / columns.sum(axis=1, keepdims=True)
    )


@settings(max_examples=20)
@given(seed=st.integers(0, 1000))
@pytest.mark.parametrize("kind", ["temperature", "platt", "isotonic"])
def test_the_order_of_rows_changes_no_calibration(kind: str, seed: int) -> None:
    probs, truth = unsure(80, seed=seed, classes=3)
    order = np.random.default_rng(seed).permutation(80)
    one, two = (CALIBRATIONS[kind](probs[rows], truth[rows]) for rows in (np.arange(80), order))
    np.testing.assert_allclose(apply_map(one, probs), apply_map(two, probs), atol=1e-4)


@pytest.mark.parametrize("kind", ["temperature", "platt"])
def test_a_model_without_an_error_does_not_become_certain(kind: str) -> None:
    truth = np.arange(50) % 2
    probs = np.where(np.eye(2)[truth] > 0, 0.9, 0.1)
    mended = apply_map(CALIBRATIONS[kind](probs, truth), probs)
    np.testing.assert_allclose(mended[np.arange(50), truth], 51 / 52, atol=1e-3)  # the rule of succession


def test_the_calibration_error_by_hand() -> None:
    probs = np.array([[0.9, 0.1], [0.92, 0.08], [0.4, 0.6], [0.65, 0.35]])
    truth = np.array([0, 1, 1, 0])
    # bins of a fifteenth: 0.9 and 0.92 share one (half are right), 0.6 and 0.65 another (both are)
    assert calibration_error(probs, truth) == pytest.approx((2 * (0.91 - 0.5) + 2 * (1 - 0.625)) / 4)
    curve = reliability(probs, truth)
    assert curve["rows"].tolist() == [2, 2]
    assert curve["accuracy"].tolist() == [1.0, 0.5]
    assert calibration_error(np.eye(2)[truth], truth) == 0


def test_thresholds_are_at_least_as_good_on_what_they_were_fitted_on() -> None:
    for classes in (2, 4):
        for metric in [name for name in fitting_metrics(classes=classes) if METRICS[name].is_of_labels]:
            probs, truth = unsure(200, seed=classes, classes=classes)
            truth = np.where(truth == 1, 0, truth)  # so that there is something to move
            moved = apply_map(fit_thresholds(probs, truth, metric), probs)
            assert METRICS[metric].function(moved, truth) >= METRICS[metric].function(probs, truth)
    with pytest.raises(ValueError, match="log_loss does not depend"):
        fit_thresholds(probs, truth, "log_loss")


# --- paired tests ------------------------------------------------------------------------------------------------


def test_the_gain_of_a_metric_has_its_sign() -> None:
    probs, truth = unsure(300)
    worse = np.full_like(probs, 0.5)
    for metric in fitting_metrics(classes=2):
        gain = metric_gain(
            metric, apply_map({"kind": "temperature", "slope": 0.5}, probs), worse, truth, np.arange(300)
        )
        assert gain.is_beyond_noise, metric
        assert gain.low <= gain.value <= gain.high


def test_smoothed_losses_are_losses_with_labels_changed_at_random() -> None:
    probs, truth = unsure(50, classes=3)
    expected = sum(0.1 / 2 * row_losses(probs, (truth + k) % 3) for k in (1, 2)) + 0.9 * row_losses(probs, truth)
    np.testing.assert_allclose(smoothed_losses(probs, truth, 0.1), expected)


# --- slices ------------------------------------------------------------------------------------------------------


def test_the_slice_that_fails_comes_first() -> None:
    truth = np.zeros(100, int)
    probs = np.tile([0.9, 0.1], (100, 1))
    probs[:25] = [0.2, 0.8]
    table = pd.DataFrame({
        "format": ["PNG"] * 25 + ["JPEG"] * 75, "mode": "RGB", "group": [f"g{n}" for n in range(100)],
        "width": np.r_[np.full(50, 40), np.full(50, 160)], "height": np.r_[np.full(50, 10), np.full(50, 10)],
    })  # fmt: skip
    found = slice_scores(table, probs, truth, "accuracy")
    assert [(one["by"], one["value"], one["rows"], one["score"]) for one in found] == [
        ("format", "PNG", 25, 0.0),
        ("size", "20-20 px", 50, 0.5),
        ("format", "JPEG", 75, 1.0),
        ("size", "40-40 px", 50, 1.0),
    ]
    assert found[0]["log_loss"] == pytest.approx(-math.log(0.2))


def test_a_table_that_tells_nothing_apart_has_no_slices() -> None:
    probs, truth = unsure(50)
    assert slice_scores(pd.DataFrame({"id": range(50), "format": "PNG"}), probs, truth, "accuracy") == []
    few = pd.DataFrame({"format": ["PNG"] * 5 + ["JPEG"] * 45, "width": 1, "height": 1})
    assert [one["value"] for one in slice_scores(few, probs, truth, "accuracy")] == ["JPEG"]


def test_shares_are_met_by_weights_of_classes() -> None:
    rng = np.random.default_rng(0)
    shares, probs = np.array([0.2, 0.3, 0.5]), rng.dirichlet([1.0, 1.0, 8.0], 60)
    found = apply_map(fit_shares(probs, shares), probs)
    np.testing.assert_allclose(found.mean(axis=0), shares, atol=1e-9)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    odds = found / probs
    np.testing.assert_allclose(odds[:, 0] / odds[:, 1], odds[0, 0] / odds[0, 1])  # the same in every row
    biased = probs * [1.0, 5.0, 0.1]  # by a network that prefers a class
    biased /= biased.sum(axis=1, keepdims=True)
    again = apply_map(fit_shares(biased, shares), biased)
    np.testing.assert_allclose(again, found, atol=1e-6)
