"""Heads of tags, numbers and orders beside scikit-learn's own estimators, on the same features and folds.

    python benchmarks/tasks.py [--seeds 10] [--pictures 240] [--only diabetes]

Both search the same regularisation by the other folds of the training rows, and fit thresholds of tags and cut points
of an order by the same code on other folds; all scores are out of fold. *linear*: hidden factors with noise, seen
through 200 correlated features. *pictures*: features of the frozen Lite0 of drawn pictures (noise, and one to six
kinds of shapes): which there are, how much they cover, and that in four steps. *diabetes*: scikit-learn's table.
"""

import warnings
from collections.abc import Callable

import cv2
import numpy as np
from measure import make_parser
from photos import C_GRID, make_classifier
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import cohen_kappa_score, fbeta_score, roc_auc_score, root_mean_squared_error
from sklearn.model_selection import GridSearchCV, KFold, PredefinedSplit
from sklearn.preprocessing import StandardScaler

from kagglepipe.predictions.decisions import FITS, apply_decision, plain_decision
from kagglepipe.training.backends import InferenceBackend
from kagglepipe.training.column_heads import ColumnHeadFitter, ridge_grid
from kagglepipe.training.device import choose_device, choose_precision
from kagglepipe.training.features import compute_features
from kagglepipe.training.links import LINKS

Array = np.ndarray
Problem = tuple[Array, dict[str, Array]]  # features (N, F), and the truth of each task
METRICS = {"multilabel": "f2_samples", "ordinal": "quadratic_weighted_kappa"}
KINDS = 6  # of shapes


def linear(seed: int, rows: int = 500, factors: int = 20, features: int = 200) -> Problem:
    """Six tags of 8 to 50 %, a number, and that number in five unequal steps."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(rows, factors))
    x = (hidden * np.geomspace(2, 0.3, factors)) @ rng.normal(size=(factors, features))
    scores = hidden @ rng.normal(size=(factors, 7)) / np.sqrt(factors) + 0.7 * rng.logistic(size=(rows, 7))
    number, shares = scores[:, :1], np.linspace(0.5, 0.92, 6)
    tags = scores[:, 1:] > np.quantile(scores[:, 1:], shares, axis=0).diagonal()
    order = np.digitize(number[:, 0], np.quantile(number, [0.5, 0.6, 0.85, 0.93]))
    return scaled(x + rng.normal(size=x.shape)), {"multilabel": tags, "regression": number, "ordinal": order}


def pictures(seed: int, rows: int) -> Problem:
    """Shapes on noise, as the network of the built-in samples sees them."""
    rng, side = np.random.default_rng(seed), 128
    images, tags, covered = [], rng.random((rows, KINDS)) < np.linspace(0.5, 0.15, KINDS), np.zeros((rows, 1))
    for row in range(rows):
        image, mask = rng.integers(0, 160, (side, side, 3), dtype=np.uint8), np.zeros((side, side), np.uint8)
        for kind in np.flatnonzero(tags[row]):
            own = shape(int(kind), rng, side)
            image[own > 0] = rng.integers(60, 256, 3)
            mask |= own
        images.append(image)
        covered[row] = (mask > 0).mean() + rng.normal(0, 0.02)
    model, device = make_classifier("tf_efficientnet_lite0", image_size=side), choose_device()
    backend = InferenceBackend(device, choose_precision(device), "torch")
    x = compute_features(model, model.preprocessing.views(images), range(rows), backend=backend, progress="pictures")
    order = np.digitize(covered[:, 0], np.quantile(covered, [0.4, 0.7, 0.9]))
    return x.astype(np.float32), {"multilabel": tags, "regression": covered * 100, "ordinal": order}


def shape(kind: int, rng: np.random.Generator, side: int) -> Array:
    """A mask (side, side) of a disc, ring, square, frame, cross or triangle."""
    mask, radius = np.zeros((side, side), np.uint8), int(rng.integers(8, 25))
    x, y = (int(one) for one in rng.integers(radius, side - radius, 2))
    width, low, high = (-1 if kind in (0, 2) else 4), (x - radius, y - radius), (x + radius, y + radius)
    if kind < 2:
        cv2.circle(mask, (x, y), radius, 1, width)
    elif kind < 4:
        cv2.rectangle(mask, low, high, 1, width)
    elif kind == 4:
        cv2.line(mask, low, high, 1, 4)
        cv2.line(mask, (low[0], high[1]), (high[0], low[1]), 1, 4)
    else:
        cv2.fillPoly(mask, [np.array([(x, low[1]), high, (low[0], high[1])])], 1)
    return mask


def diabetes(seed: int) -> Problem:
    """Progression after a year, and that in five unequal steps; the folds differ by seed."""
    x, y = load_diabetes(return_X_y=True)
    order = np.digitize(y, np.quantile(y, [0.4, 0.6, 0.8, 0.92]))
    return StandardScaler().fit_transform(x).astype(np.float32), {"regression": y[:, None], "ordinal": order}


def scaled(x: Array) -> Array:
    """Features of root mean square 1, as those of networks are."""
    return (x / np.sqrt((x**2).mean())).astype(np.float32)


def ours(x: Array, truth: Array, folds: Array, task: str) -> Array:
    """Out-of-fold predictions (N, C) of kagglepipe's head."""
    classes = int(truth.max()) + 1 if truth.ndim == 1 else truth.shape[1]
    fitter = ColumnHeadFitter([x], LINKS[task].targets(truth, classes), folds, task=task, grid=C_GRID)
    found = np.zeros((len(x), classes))
    for fold in np.unique(folds):
        found[folds == fold] = fitter.fit(int(fold)).predict(x[folds == fold])
    return found


def theirs(x: Array, truth: Array, folds: Array, task: str) -> Array:
    """Of scikit-learn: one-vs-rest logistic regressions, or a ridge regression; of an order, of the rank."""
    columns = truth[:, None] if truth.ndim == 1 else truth
    found = np.zeros(columns.shape)
    for fold in np.unique(folds):
        rows, held = folds != fold, folds == fold
        inner = PredefinedSplit(folds[rows])
        for column in range(columns.shape[1]):
            if task == "multilabel":
                estimator, grid = LogisticRegression(max_iter=1000), {"C": C_GRID}
                own = GridSearchCV(estimator, grid, cv=inner, scoring="neg_log_loss")
                found[held, column] = own.fit(x[rows], columns[rows, column]).predict_proba(x[held])[:, 1]
            else:
                penalties = x.shape[1] / np.array(ridge_grid(sorted(C_GRID)))
                own = RidgeCV(penalties, cv=inner, scoring="neg_mean_squared_error")
                found[held, column] = own.fit(x[rows], columns[rows, column]).predict(x[held])
    return as_probabilities(found[:, 0], int(truth.max()) + 1) if task == "ordinal" else found


def multinomial(x: Array, truth: Array, folds: Array, task: str) -> Array:
    """Of scikit-learn, for an order: one logistic regression of its classes, of which the expected one counts."""
    found = np.zeros((len(x), int(truth.max()) + 1))
    for fold in np.unique(folds):
        rows = folds != fold
        inner = PredefinedSplit(folds[rows])
        own = GridSearchCV(LogisticRegression(max_iter=1000), {"C": C_GRID}, cv=inner, scoring="neg_log_loss")
        found[~rows] = own.fit(x[rows], truth[rows]).predict_proba(x[~rows])
    return found


def as_probabilities(ranks: Array, classes: int) -> Array:
    """Probabilities (N, K) of the two classes next to each rank, of which it is the expected one."""
    ranks = np.clip(ranks, 0, classes - 1)
    low = np.minimum(ranks.astype(int), classes - 2)
    return np.eye(classes)[low] * (low + 1 - ranks)[:, None] + np.eye(classes)[low + 1] * (ranks - low)[:, None]


def decided(found: Array, truth: Array, folds: Array, task: str) -> Array:
    """Predictions after decisions that are fitted on the other folds."""
    answers = np.zeros(found.shape)
    for fold in np.unique(folds):
        decision = FITS[task](found[folds != fold], truth[folds != fold], METRICS[task])
        answers[folds == fold] = apply_decision(decision, found[folds == fold])
    return answers


def scores(found: Array, truth: Array, folds: Array, task: str) -> dict[str, float]:
    """What each task is scored by, as scikit-learn computes it."""
    if task == "regression":
        return {"RMSE of a number": root_mean_squared_error(truth, found)}
    fitted = decided(found, truth, folds, task)
    if task == "multilabel":
        f2 = fbeta_score(truth, fitted >= 0.5, beta=2, average="samples", zero_division=1)
        return {"macro ROC AUC of tags": roc_auc_score(truth, found, average="macro"), "F2 of tags": f2}

    def kappa(answers: Array) -> float:
        return cohen_kappa_score(truth, answers.argmax(axis=1), weights="quadratic")

    plain = apply_decision(plain_decision(truth, task, METRICS[task]), found)
    return {"kappa of an order, rounded": kappa(plain), "kappa of an order, cut points": kappa(fitted)}


def main(seeds: int, rows: int, only: str | None) -> None:
    """Prints a markdown table of means over seeds, and differences with their standard error."""
    makers: dict[str, Callable[[int], Problem]] = {
        "linear": linear, "pictures": lambda seed: pictures(seed, rows), "diabetes": diabetes,
    }  # fmt: skip
    warnings.simplefilter("ignore")  # of solvers of scikit-learn that stop early
    print("| features | score | kagglepipe | scikit-learn | difference |\n|---|---|---|---|---|")
    for name, make in makers.items() if only is None else [(only, makers[only])]:
        found: dict[str, list[tuple[float, float]]] = {}
        for seed in range(seeds):
            x, targets = make(seed)
            folds = np.zeros(len(x), np.int64)
            for fold, (_, held) in enumerate(KFold(5, shuffle=True, random_state=seed).split(x)):
                folds[held] = fold
            for task, truth in targets.items():
                mine = scores(ours(x, truth, folds, task), truth, folds, task)
                for fit in (theirs, multinomial)[: 1 + (task == "ordinal")]:
                    what = ", to multinomial" if fit is multinomial else ""
                    for score, other in scores(fit(x, truth, folds, task), truth, folds, task).items():
                        found.setdefault(score + what, []).append((mine[score], other))
        for score, pairs in found.items():
            one, other = np.mean(pairs, axis=0)
            apart = np.subtract(*np.transpose(pairs))
            error = np.std(apart, ddof=1) / np.sqrt(seeds)
            print(f"| {name} | {score} | {one:.4f} | {other:.4f} | {apart.mean():+.4f} ± {error:.4f} |", flush=True)


if __name__ == "__main__":
    parser = make_parser(__doc__, seeds=10, pictures=240)
    parser.add_argument("--only", choices=["linear", "pictures", "diabetes"])
    options = parser.parse_args()
    main(options.seeds, options.pictures, options.only)
