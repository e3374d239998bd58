"""Metrics of ordered and of ranked classes. Arguments: probs (N, C); truth (N,), indices of the true classes."""

import numpy as np
import numpy.typing as npt

from kagglepipe.predictions.frame import Labels, Probs
from kagglepipe.predictions.top_classes import TopClasses

Rows = npt.NDArray[np.float64]  # (N,)


def quadratic_weighted_kappa(probs: Probs, truth: Labels) -> float:
    """Cohen's kappa of the most probable classes, with squared distances between classes as weights, in [-1, 1].

    1 where all truths and predictions are one class. Cohen 1968, "Weighted kappa".

    >>> quadratic_weighted_kappa(np.eye(3)[[0, 1, 1]], np.array([0, 1, 2])).__round__(4)
    0.6667
    """
    count, predicted = probs.shape[1], probs.argmax(axis=1)
    table = np.bincount(truth * count + predicted, minlength=count**2).reshape(count, count).astype(np.float64)
    weights = np.subtract.outer(np.arange(count), np.arange(count)) ** 2.0
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    apart = (weights * expected).sum()
    return float(1 - (weights * table).sum() / apart) if apart else 1.0


def reciprocal_ranks(probs: Probs, truth: Labels, k: int) -> Rows:
    """1 / rank of the true class if it is among the k most probable ones, else 0, (N,); of ties the first class leads.

    >>> reciprocal_ranks(np.array([[0.5, 0.3, 0.2]] * 3), np.array([0, 1, 2]), 2)
    array([1. , 0.5, 0. ])
    """
    if isinstance(probs, TopClasses):  # of many classes: only the kept ones can be among the first k
        places = np.argmax(probs.columns == truth[:, None], axis=1)
        is_kept = (probs.columns == truth[:, None]).any(axis=1) & (places < k)
        return np.where(is_kept, 1 / (places + 1), 0.0)
    full = np.asarray(probs)
    own = full[np.arange(len(truth)), truth][:, None]
    ahead = (full > own) | ((full == own) & (np.arange(full.shape[1]) < truth[:, None]))
    rank = ahead.sum(axis=1) + 1
    return np.where(rank <= k, 1 / rank, 0.0)


def mean_average_precision(probs: Probs, truth: Labels, k: int) -> float:
    """Mean average precision at k, where each row has one true class: the mean reciprocal rank up to k."""
    return float(reciprocal_ranks(probs, truth, k).mean())


def probabilistic_f1(probs: Probs, truth: Labels) -> float:
    """F1 of two classes with probabilities of the second in the place of counts; 0 where both have none.

    Yacouby and Axman 2020, "Probabilistic extension of precision, recall, and F1 score".
    """
    second = np.asarray(probs)[:, 1]
    hits, actual = float(second[truth == 1].sum()), int((truth == 1).sum())
    size = actual + float(second.sum())
    return 2 * hits / size if size else 0.0
