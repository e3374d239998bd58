"""Every metric against scikit-learn where metrics differ: unused classes, one class, ties, constants, 0 and 1, one row.

Run with `python -m pytest tests/predictions/test_metrics_at_the_edge.py`.
"""

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import sklearn.metrics as sk

from kagglepipe.predictions.metrics import METRICS, find_metric

Oracle = Callable[[np.ndarray, np.ndarray], float]  # (truth, predictions) -> score
CLIP = 1e-15  # of competition.log_loss_clip, where scikit-learn has 2.2e-16
THREE = np.array([[0.7, 0.2, 0.1, 0, 0, 0, 0], [0.2, 0.5, 0.3, 0, 0, 0, 0], [0.1, 0.1, 0.8, 0, 0, 0, 0]])

CLASSES = {  # what is special -> truth, probabilities
    "usual": (np.array([0, 1, 2, 3, 4, 5, 6] * 2), np.random.default_rng(0).dirichlet(np.ones(7), 14)),
    "classes that nobody names": (np.array([0, 2, 2]), THREE),
    "a class between that neither truth nor prediction has": (np.array([0, 2, 0]), THREE[[0, 2, 2]]),
    "one class, all right": (np.array([2, 2]), THREE[[2, 2]]),
    "one class, all wrong": (np.array([2, 2]), THREE[[0, 0]]),
    "one class, some right": (np.array([2, 2, 2]), THREE),
    "ties": (np.array([0, 3, 6, 1]), np.full((4, 7), 1 / 7)),
    "constant predictions": (np.array([0, 1, 2, 3]), THREE[[0, 0, 0, 0]]),
    "0 and 1, all right": (np.array([0, 1, 2]), np.eye(7)[[0, 1, 2]]),
    "0 and 1, all wrong": (np.array([0, 1, 2]), np.eye(7)[[1, 2, 0]]),
    "a single row": (np.array([1]), THREE[[1]]),
}
TWO = {  # the same of two classes
    "usual": (np.array([0, 1, 1, 0]), np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3], [0.2, 0.8]])),
    "negatives alone": (np.array([0, 0]), np.array([[0.9, 0.1], [0.4, 0.6]])),
    "positives alone": (np.array([1, 1]), np.array([[0.9, 0.1], [0.4, 0.6]])),
    "no positive is named": (np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]])),
    "ties": (np.array([0, 1, 1]), np.full((3, 2), 0.5)),
    "0 and 1, all wrong": (np.array([0, 1]), np.eye(2)[[1, 0]]),
    "a single row": (np.array([1]), np.array([[0.3, 0.7]])),
}
TAGS = {
    "usual": (np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0]], bool), np.random.default_rng(1).random((3, 3))),
    "a tag that no row has": (np.array([[1, 0], [0, 0]], bool), np.array([[0.9, 0.6], [0.2, 0.1]])),
    "a tag that each row has": (np.array([[1, 1], [0, 1]], bool), np.array([[0.9, 0.6], [0.2, 0.1]])),
    "rows without tags": (np.zeros((3, 2), bool), np.array([[0.9, 0.6], [0.2, 0.1], [0.1, 0.7]])),
    "nothing is named": (np.array([[1, 0], [0, 1]], bool), np.full((2, 2), 0.2)),
    "nothing is there or named": (np.zeros((2, 2), bool), np.full((2, 2), 0.2)),
    "one half": (np.array([[1, 0], [0, 1]], bool), np.full((2, 2), 0.5)),
    "0 and 1, all wrong": (np.eye(2, dtype=bool), 1 - np.eye(2)),
    "a single row": (np.array([[1, 0]], bool), np.array([[0.6, 0.7]])),
}
NUMBERS = {
    "usual": (np.array([[1.0, 4.0], [2.0, 0.0], [5.0, 1.0]]), np.array([[1.5, 3.0], [2.0, 1.0], [4.0, 2.0]])),
    "a constant column that is hit": (np.array([[1.0, 4.0], [1.0, 2.0]]), np.array([[1.0, 3.0], [1.0, 3.0]])),
    "a constant column that is missed": (np.array([[1.0, 4.0], [1.0, 2.0]]), np.array([[1.0, 3.0], [2.0, 3.0]])),
    "constant predictions": (np.array([[1.0], [2.0], [6.0]]), np.full((3, 1), 3.0)),
    "zeros": (np.zeros((3, 1)), np.zeros((3, 1))),
    "a single row": (np.array([[1.0, 2.0]]), np.array([[1.0, 3.0]])),
}


def mean_of_defined(of_column: Callable[..., float], *, needs_negative: bool) -> Oracle:
    """Mean over the columns with positive (and negative) rows; NaN without any."""

    def expected(truth: np.ndarray, probs: np.ndarray) -> float:
        columns = truth.T if truth.ndim == 2 else [truth == k for k in range(probs.shape[1])]
        pairs = list(zip(columns, probs.T, strict=True))[1 if truth.ndim == 1 and probs.shape[1] == 2 else 0 :]
        used = [pair for pair in pairs if pair[0].any() and not (needs_negative and pair[0].all())]
        return float(np.mean([of_column(*pair) for pair in used])) if used else math.nan

    return expected


def of_labels(metric: Callable[..., float], **options: object) -> Oracle:
    """A metric of named classes or tags."""
    return lambda truth, probs: metric(truth, probs >= 0.5 if truth.ndim == 2 else probs.argmax(axis=1), **options)


def log_loss(truth: np.ndarray, probs: np.ndarray) -> float:
    """Clipped as Kaggle clips; scikit-learn's own clip is that of the floating type."""
    return sk.log_loss(truth, np.clip(probs, CLIP, 1 - CLIP), labels=range(probs.shape[1]))


def columnwise_log_loss(truth: np.ndarray, probs: np.ndarray) -> float:
    columns = zip(truth.T, probs.T, strict=True)
    return float(np.mean([log_loss(own.astype(int), np.stack([1 - p, p], axis=1)) for own, p in columns]))


def kappa(truth: np.ndarray, probs: np.ndarray) -> float:
    """Of all classes of the competition; 1 where scikit-learn has none: all truths and predictions are one class."""
    labels = range(probs.shape[1])
    found = sk.cohen_kappa_score(truth, probs.argmax(axis=1), labels=labels, weights="quadratic")
    return 1.0 if math.isnan(found) else found


def top(k: int) -> Oracle:
    return lambda truth, probs: sk.top_k_accuracy_score(truth, probs, k=k, labels=range(probs.shape[1]))


def reciprocal_rank(truth: np.ndarray, probs: np.ndarray) -> float:
    """map_3, of ties the first class first, as classes are written."""
    leading = np.argsort(-probs, axis=1, kind="stable")[:, :3].tolist()
    ranks = [row.index(own) + 1 if own in row else math.inf for own, row in zip(truth.tolist(), leading, strict=True)]
    return float(np.mean([1 / rank for rank in ranks]))


def probabilistic_f1(truth: np.ndarray, probs: np.ndarray) -> float:
    """F1 with sums of probabilities in the place of counts; scikit-learn has none."""
    size = (truth == 1).sum() + probs[:, 1].sum()
    return float(2 * probs[truth == 1, 1].sum() / size) if size else 0.0


def divergence(truth: np.ndarray, values: np.ndarray) -> float:
    """Of shares; scikit-learn has none. Those without a row of zeros only."""
    true, shares = (one / one.sum(axis=1, keepdims=True) for one in (truth, np.maximum(values, 1e-300)))
    shares = np.maximum(shares, np.finfo(np.float32).eps)
    shares /= shares.sum(axis=1, keepdims=True)
    return float(np.mean([(t[t > 0] * np.log(t[t > 0] / p[t > 0])).sum() for t, p in zip(true, shares, strict=True)]))


F1 = {"zero_division": 0}
ORACLES: list[tuple[str, dict[str, tuple[np.ndarray, np.ndarray]], Oracle]] = [
    ("accuracy", CLASSES, of_labels(sk.accuracy_score)),
    ("balanced_accuracy", CLASSES, of_labels(sk.balanced_accuracy_score)),
    ("f1_micro", CLASSES, of_labels(sk.f1_score, average="micro", **F1)),
    ("f1_macro", CLASSES, of_labels(sk.f1_score, average="macro", **F1)),
    ("matthews", CLASSES, of_labels(sk.matthews_corrcoef)),
    ("roc_auc", CLASSES, mean_of_defined(sk.roc_auc_score, needs_negative=True)),
    ("average_precision", CLASSES, mean_of_defined(sk.average_precision_score, needs_negative=False)),
    ("log_loss", CLASSES, log_loss),
    ("top_3_accuracy", CLASSES, top(3)),
    ("top_5_accuracy", CLASSES, top(5)),
    ("map_3", CLASSES, reciprocal_rank),
    ("quadratic_weighted_kappa", CLASSES, kappa),
    ("accuracy", TWO, of_labels(sk.accuracy_score)),
    ("f1_binary", TWO, of_labels(sk.f1_score, average="binary", **F1)),
    ("matthews", TWO, of_labels(sk.matthews_corrcoef)),
    ("roc_auc", TWO, mean_of_defined(sk.roc_auc_score, needs_negative=True)),
    ("average_precision", TWO, mean_of_defined(sk.average_precision_score, needs_negative=False)),
    ("log_loss", TWO, log_loss),
    ("pf1", TWO, probabilistic_f1),
    ("f1_samples", TAGS, of_labels(sk.f1_score, average="samples", zero_division=1)),
    ("f2_samples", TAGS, of_labels(sk.fbeta_score, beta=2, average="samples", zero_division=1)),
    ("f1_micro", TAGS, of_labels(sk.f1_score, average="micro", **F1)),
    ("f1_macro", TAGS, of_labels(sk.f1_score, average="macro", **F1)),
    ("roc_auc", TAGS, mean_of_defined(sk.roc_auc_score, needs_negative=True)),
    ("average_precision", TAGS, mean_of_defined(sk.average_precision_score, needs_negative=False)),
    ("mean_columnwise_log_loss", TAGS, columnwise_log_loss),
    ("rmse", NUMBERS, sk.root_mean_squared_error),
    ("rmsle", NUMBERS, sk.root_mean_squared_log_error),
    ("mae", NUMBERS, sk.mean_absolute_error),
    ("r2", NUMBERS, sk.r2_score),
    ("kl_divergence", {name: NUMBERS[name] for name in ("usual", "a single row")}, divergence),
]


def test_every_metric_of_the_table_is_here() -> None:
    assert {name for name, _, _ in ORACLES} == {*METRICS, "map_3"}


@pytest.mark.parametrize(
    ("name", "case", "cases", "oracle"),
    [
        pytest.param(name, case, cases, oracle, id=f"{name}-{cases[case][1].shape[1]} columns-{case}")
        for name, cases, oracle in ORACLES
        for case in cases
    ],
)
def test_a_metric_at_the_edge_is_that_of_scikit_learn(
    name: str, case: str, cases: dict[str, tuple[np.ndarray, np.ndarray]], oracle: Oracle
) -> None:
    truth, predictions = cases[case]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's, of what is undefined
        expected = oracle(truth, predictions)
    assert find_metric(name).function(predictions, truth) == pytest.approx(expected, nan_ok=True)
