"""Calibration of probabilities, and decision thresholds for a metric; `blend.apply_map` applies these maps.

Arguments of every function: probs (N, C), the probabilities; truth (N,), indices of the true classes.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from kagglepipe.predictions.blend import Map, log_probabilities
from kagglepipe.predictions.frame import Labels, Probs
from kagglepipe.predictions.metrics import find_metric
from kagglepipe.predictions.softmax_fit import fit_softmax
from kagglepipe.predictions.uncertainty import laplace_error

BINS = 15  # of equal width
OFFSETS = np.linspace(-3, 3, 49)  # candidates for a class' logit offset, in steps of 1/8
WEAK_PENALTY = 1e-6  # makes the minimum unique


def fit_temperature(probs: Probs, truth: Labels, count: int | None = None) -> Map:
    """Fit temperature scaling of probabilities (N, C): one factor for all logarithms, 1 / temperature.

    count: independent groups among the rows, for label smoothing (`uncertainty.laplace_error`); None: N.
    Guo, Pleiss, Sun and Weinberger 2017, "On calibration of modern neural networks".
    """
    logs, smoothing = log_probabilities(probs)[None], laplace_error(count or len(truth))  # (1, N, C)
    slope = fit_softmax(logs, truth, centre=np.ones(1), penalty=WEAK_PENALTY, floor=0.0, label_smoothing=smoothing)
    return {"kind": "temperature", "slope": float(slope[0])}


def fit_platt(probs: Probs, truth: Labels, count: int | None = None) -> Map:
    """Fit Platt scaling of probabilities (N, C): a slope for all logarithms and an offset for each class.

    Platt 1999, "Probabilistic outputs for support vector machines". count: as in `fit_temperature`.
    """
    classes = probs.shape[1]
    planes = np.broadcast_to(np.eye(classes)[:, None, :], (classes, *probs.shape))  # (C, N, C): 1 in its column
    features = np.concatenate([log_probabilities(probs)[None], planes])  # (1 + C, N, C)
    smoothing, centre = laplace_error(count or len(truth)), np.array([1.0] + [0.0] * classes)
    found = fit_softmax(features, truth, centre=centre, penalty=WEAK_PENALTY, label_smoothing=smoothing)
    return {"kind": "platt", "slope": float(found[0]), "offsets": found[1:].tolist()}


def fit_shares(probs: Probs, shares: Probs) -> Map:
    """Fit an offset for each class after which probabilities (N, C) have the mean `shares` (C,): Sinkhorn 1967."""
    from scipy.special import softmax

    scores, offsets = log_probabilities(probs), np.zeros(len(shares))
    for _ in range(200):
        offsets += np.log(shares / softmax(scores + offsets, axis=1).mean(axis=0))
    return {"kind": "shares", "offsets": offsets.tolist()}


def fit_isotonic(probs: Probs, truth: Labels, count: int | None = None) -> Map:
    """Fit isotonic regression on probabilities (N, C), one class against the rest; of two classes only the second.

    Steps stay `laplace_error(count)` away from 0 and 1. Zadrozny and Elkan 2002, "Transforming classifier scores into
    accurate multiclass probability estimates".
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
    """Fit a logit offset for each class by coordinate ascent on the metric, two rounds; ties take the smallest change.

    Two classes need one offset. Raises ValueError unless the metric is of labels.

    >>> fit_thresholds(np.array([[0.9, 0.1], [0.7, 0.3]]), np.array([0, 1]), "accuracy")["offsets"]
    [-0.875, 0.0]
    """
    scored, logs, classes = find_metric(metric), log_probabilities(probs), probs.shape[1]
    if not scored.is_of_labels:
        raise ValueError(f"{metric} does not depend on the most probable class alone")
    offsets = np.zeros(classes)
    smallest_first = OFFSETS[np.argsort(np.abs(OFFSETS), kind="stable")]
    for _ in range(2):
        for column in range(1 if classes == 2 else classes):
            shifted = logs + offsets
            values = []
            for offset in (offsets[column], *smallest_first):  # the present one wins ties
                shifted[:, column] = logs[:, column] + offset
                values.append(scored.sign * scored.function(shifted, truth))
            best = int(np.argmax(values))
            offsets[column] = smallest_first[best - 1] if best else offsets[column]
    return {"kind": "threshold", "metric": metric, "offsets": offsets.tolist()}


def calibration_error(probs: Probs, truth: Labels) -> float:
    """Expected calibration error: mean |confidence - accuracy| over bins of confidence, weighted by rows.

    Naeini, Cooper and Hauskrecht 2015, "Obtaining well calibrated probabilities using Bayesian binning".
    """
    curve = reliability(probs, truth)
    return float((curve["rows"] * (curve["confidence"] - curve["accuracy"]).abs()).sum() / curve["rows"].sum())


def reliability(probs: Probs, truth: Labels) -> pd.DataFrame:
    """Reliability curve: `rows`, mean `confidence` (the greatest probability) and `accuracy` of each non-empty bin."""
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == truth
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    rows = pd.DataFrame({"bin": place, "confidence": confidence, "accuracy": right.astype(float)}).groupby("bin")
    return rows.mean().assign(rows=rows.size()).reset_index(drop=True)
