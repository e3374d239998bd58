"""Models of columns about the items beside a run's predictions: scikit-learn's boosted trees, or linear ones.

Inputs are the logits of a run, out of fold for training rows, and the columns (N, D), NaN where a cell is empty.
Wolpert 1992, "Stacked generalization".
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from kagglepipe.competitions.targets import Truth
from kagglepipe.predictions.evaluation import EvalRows
from kagglepipe.predictions.tasks import task_of_truth

Matrix = npt.NDArray[np.float64]
CLIP = 1e-6  # of probabilities, for finite logits


def logits_of(predictions: Matrix, truth: Truth) -> Matrix:
    """Inputs from predictions (N, C): of classes logarithms, of two one logit, of tags logits, numbers as they are."""
    if truth.ndim == 2 and truth.dtype != np.bool_:
        return predictions
    probs = np.clip(predictions, CLIP, 1 - CLIP)
    if truth.ndim == 2:
        return np.log(probs / (1 - probs))
    logs = np.log(probs)
    return logs[:, 1:] - logs[:, :1]


def make_boosting(is_number: bool, categorical: list[bool]) -> Any:
    """Make shallow boosted trees, which take NaN and numbered categories."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    make = HistGradientBoostingRegressor if is_number else HistGradientBoostingClassifier
    return make(
        max_iter=100, learning_rate=0.05, max_depth=3, min_samples_leaf=20, l2_regularization=1.0,
        categorical_features=categorical, early_stopping=False, random_state=0,
    )  # fmt: skip


def make_linear(is_number: bool, categorical: list[bool]) -> Any:
    """Make a linear model of standardised numbers, with a column for empty cells, and one-hot categories."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    places = np.arange(len(categorical))
    is_category = np.array(categorical)
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    columns = ColumnTransformer([
        ("numbers", numbers, places[~is_category]),
        ("categories", OneHotEncoder(handle_unknown="ignore"), places[is_category]),
    ])  # fmt: skip
    model = RidgeCV(np.logspace(-2, 4, 13)) if is_number else LogisticRegression(C=1.0, max_iter=1000)
    return make_pipeline(columns, model)


MODELS: dict[str, Callable[[bool, list[bool]], Any]] = {"boosting": make_boosting, "linear": make_linear}


def fit_predict(name: str, x: Matrix, truth: Truth, others: Matrix, categorical: list[bool]) -> Matrix:
    """Fit a model of MODELS on rows (N, D) and predict others (M, D) -> (M, C).

    As in the heads, a tag that all rows have, or none, gets the probability of Laplace's rule, and a class without a
    row 0.
    """
    if truth.ndim == 1:
        return _class_probabilities(name, x, truth, others, categorical)
    is_number, found = truth.dtype != np.bool_, np.zeros((len(others), truth.shape[1]))
    for column in range(truth.shape[1]):
        own = truth[:, column]
        if len(np.unique(own)) == 1:
            found[:, column] = own[0] if is_number else (own.sum() + 1) / (len(own) + 2)
            continue
        model = MODELS[name](is_number, categorical).fit(x, own)
        found[:, column] = model.predict(others) if is_number else model.predict_proba(others)[:, 1]
    return found


def _class_probabilities(name: str, x: Matrix, truth: Truth, others: Matrix, categorical: list[bool]) -> Matrix:
    found = np.zeros((len(others), int(truth.max()) + 1))
    seen = np.unique(truth)
    if len(seen) == 1:
        found[:, seen] = 1.0
        return found
    found[:, seen] = MODELS[name](False, categorical).fit(x, truth).predict_proba(others)
    return found


def cross_predict(
    name: str, x: Matrix, rows: EvalRows, test: Matrix, categorical: list[bool], classes: int
) -> tuple[Matrix, Matrix]:
    """(out-of-fold predictions (N, C), predictions of the test (M, C): the mean over the folds' models)."""
    oof, total = np.zeros((len(x), classes)), np.zeros((len(test), classes))
    for fold in range(rows.fold_count):
        train = rows.folds != fold
        is_filled = ~np.isnan(x[train]).all(axis=0)  # scikit-learn takes no column without a cell
        own, others = x[train][:, is_filled], np.concatenate([x[~train], test])[:, is_filled]
        found = fit_predict(name, own, rows.truth[train], others, list(np.array(categorical)[is_filled]))
        held = int((~train).sum())
        oof[~train, : found.shape[1]] = found[:held]
        total[:, : found.shape[1]] += found[held:]
    return oof, total / rows.fold_count


def choose_model(x: Matrix, rows: EvalRows, categorical: list[bool], classes: int) -> str:
    """Choose the model of MODELS of least cross-validated loss. The choice among two flatters their score hardly."""
    nothing = np.zeros((0, x.shape[1]))
    losses = {}
    for name in MODELS:
        oof, _ = cross_predict(name, x, rows, nothing, categorical, classes)
        losses[name] = float(task_of_truth(rows.truth).row_losses(oof, rows.truth).mean())
    return min(losses, key=losses.__getitem__)
