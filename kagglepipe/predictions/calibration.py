"""Probabilities that mean what they say, and answers that suit the metric: maps fitted on other folds.

A map is a dictionary of plain numbers, kept in metrics.json beside the weights; `apply_map` does what it says.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.predictions.blend import SMALLEST
from kagglepipe.predictions.frame import Labels, Probs
from kagglepipe.predictions.gains import laplace_error
from kagglepipe.predictions.metrics import find_metric
from kagglepipe.predictions.softmax_fit import fit_softmax, softmax

Map = dict[str, Any]
BINS = 15
ARGMAX_METRICS = ("accuracy", "balanced_accuracy", "f1_macro")  # which depend on the most probable class alone
REACH = np.linspace(-3, 3, 49)  # what is tried for a class' logit, in steps of an eighth


def fit_temperature(probs: Probs, truth: Labels, count: int | None = None) -> Map:
    """One number that all logarithms are multiplied by, below 1 where a model is surer than it may be.

    count: groups among the rows, for label smoothing (`gains.laplace_error`); None: each row is one.
    Guo, Pleiss, Sun and Weinberger 2017, "On calibration of modern neural networks"; the slope is 1 / temperature.

    >>> round(fit_temperature(np.array([[0.9, 0.1]] * 400), np.array([0, 0, 0, 1] * 100))["slope"], 2)
    0.5
    """
    logs = _logs(probs)[None]  # (1, N, C)
    slope = fit_softmax(
        logs, truth, centre=np.ones(1), pull=1e-6, floor=0.0, label_smoothing=laplace_error(count or len(truth))
    )
    return {"kind": "temperature", "slope": float(slope[0])}


def fit_platt(probs: Probs, truth: Labels, count: int | None = None) -> Map:
    """A slope for all logarithms, and something added for each class: for two classes a sigmoid of their logit.

    Platt 1999, "Probabilistic outputs for support vector machines", with labels smoothed as there; for more classes
    the same with one slope. count: as for `fit_temperature`.
    """
    logs, classes = _logs(probs), probs.shape[1]
    planes = np.broadcast_to(np.eye(classes)[:, None, :], (classes, len(probs), classes))  # (C, N, C): 1 in its column
    features = np.concatenate([logs[None], planes])  # (1 + C, N, C)
    centre = np.array([1.0] + [0.0] * classes)
    found = fit_softmax(features, truth, centre=centre, pull=1e-6, label_smoothing=laplace_error(count or len(truth)))
    return {"kind": "platt", "slope": float(found[0]), "offsets": found[1:].tolist()}


def fit_isotonic(probs: Probs, truth: Labels, count: int | None = None) -> Map:
    """For each class the rising steps that fit its rows best in squares, rows renormalised.

    Steps that end at 0 or 1, where all of some rows agree, are held one in `count` + 2 away, since a step says no more
    than its rows do (None: N). Zadrozny and Elkan 2002, "Transforming classifier scores into accurate multiclass
    probability estimates". Two classes need one.
    """
    from sklearn.isotonic import IsotonicRegression

    least, curves = laplace_error(count or len(probs)), []
    for column in range(1, 2) if probs.shape[1] == 2 else range(probs.shape[1]):
        steps = IsotonicRegression(y_min=least, y_max=1 - least).fit(probs[:, column], truth == column)
        curves.append({"x": steps.X_thresholds_.tolist(), "y": steps.y_thresholds_.tolist()})
    return {"kind": "isotonic", "curves": curves}


CALIBRATIONS: dict[str, Callable[[Probs, Labels, int], Map]] = {
    "temperature": fit_temperature,
    "platt": fit_platt,
    "isotonic": fit_isotonic,
}


def fit_thresholds(probs: Probs, truth: Labels, metric: str) -> Map:
    """What to add to each class' logarithm so that the most probable class serves the metric best.

    One class at a time, twice round; of equal values the least change. For two classes that is a threshold, for
    balanced accuracy something near the removal of the classes' shares in training (their prior).
    Raises ValueError for a metric on which the most probable class has no bearing.

    >>> fit_thresholds(np.array([[0.9, 0.1], [0.7, 0.3]]), np.array([0, 1]), "accuracy")["offsets"]
    [-0.875, 0.0]
    """
    if metric not in ARGMAX_METRICS:
        raise ValueError(f"{metric} does not depend on the most probable class")
    function, logs, classes = find_metric(metric).function, _logs(probs), probs.shape[1]
    offsets = np.zeros(classes)
    tried = REACH[np.argsort(np.abs(REACH), kind="stable")]
    for _ in range(2):
        for column in range(1 if classes == 2 else classes):
            shifted = logs + offsets
            values = []
            for offset in tried:
                shifted[:, column] = logs[:, column] + offset
                values.append(function(shifted, truth))
            now = offsets[column]
            shifted[:, column] = logs[:, column] + now
            best = int(np.argmax(values))
            offsets[column] = tried[best] if values[best] > function(shifted, truth) else now
    return {"kind": "threshold", "metric": metric, "offsets": offsets.tolist()}


def apply_map(step: Map, probs: Probs) -> Probs:
    """Other probabilities (N, C) by a fitted map.

    >>> apply_map({"kind": "temperature", "slope": 0.5}, np.array([[0.9, 0.1]])).round(3)
    array([[0.75, 0.25]])
    """
    if step["kind"] == "isotonic":
        return _apply_isotonic(step["curves"], probs)
    offsets = np.array(step.get("offsets", 0.0))
    return softmax(step.get("slope", 1.0) * _logs(probs) + offsets)


def calibration_error(probs: Probs, truth: Labels, bins: int = BINS) -> float:
    """The expected calibration error: how far confidence and accuracy lie apart in bins of confidence, by rows.

    Naeini, Cooper and Hauskrecht 2015, "Obtaining well calibrated probabilities using Bayesian binning". Bins are of
    equal width; the figure is above 0 by chance alone, the more so the fewer rows there are.

    >>> calibration_error(np.array([[0.75, 0.25]] * 2), np.array([0, 1]))
    0.25
    """
    curve = reliability(probs, truth, bins)
    return float((curve["rows"] * (curve["confidence"] - curve["accuracy"]).abs()).sum() / curve["rows"].sum())


def reliability(probs: Probs, truth: Labels, bins: int = BINS) -> pd.DataFrame:
    """A row a bin that has any: `rows`, their mean `confidence` (the greatest probability) and `accuracy`."""
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == truth
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    told = pd.DataFrame({"bin": place, "confidence": confidence, "accuracy": right.astype(float)})
    bins_of = told.groupby("bin")
    return bins_of.mean().assign(rows=bins_of.size()).reset_index(drop=True)


def _logs(probs: Probs) -> npt.NDArray[np.float64]:
    return np.log(np.maximum(probs, SMALLEST))


def _apply_isotonic(curves: list[dict[str, list[float]]], probs: Probs) -> Probs:
    if len(curves) == 1:
        second = np.interp(probs[:, 1], curves[0]["x"], curves[0]["y"])
        return np.stack([1 - second, second], axis=1)
    columns = [np.interp(probs[:, k], curve["x"], curve["y"]) for k, curve in enumerate(curves)]
    values = np.stack(columns, axis=1)
    renormalised: Probs = values / values.sum(axis=1, keepdims=True)
    return renormalised
