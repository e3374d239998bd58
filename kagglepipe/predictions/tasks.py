"""What differs between classes, tags and numbers once their predictions are arrays (N, C).

The truth says which of them it is, as in scikit-learn: class indices (N,), tags (N, C) of bool, or numbers (N, C) of
float64.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kagglepipe.competitions.targets import Truth
from kagglepipe.predictions import metrics
from kagglepipe.predictions.baseline import class_shares, means, tag_shares
from kagglepipe.predictions.number_metrics import squared_errors
from kagglepipe.predictions.questions import QUESTIONS, SAME, View
from kagglepipe.predictions.tag_metrics import columnwise_log_losses

Rows = npt.NDArray[np.float64]  # (N,)
Predictions = npt.NDArray[np.float64]  # (N, C)


@dataclass(frozen=True)
class Task:
    """Functions of predictions (N, C) and truth.

    name: as competition.task, of all tasks of classes `multiclass`. row_losses: the loss of each row (N,), as fitted.
    loss: its name. smoothed_losses: the same with a share of each label given to the others; of numbers without. hits:
    1.0 for each row that is right (N,); None for numbers. constant: the prediction (C,) without features, of the truth
    and C. sums: whether rows sum to 1. limits: least and largest prediction. view: how fits of classes see it.
    """

    name: str
    loss: str
    row_losses: Callable[[Predictions, Truth], Rows]
    smoothed_losses: Callable[[Predictions, Truth, float], Rows]
    hits: Callable[[Predictions, Truth], Rows] | None
    constant: Callable[[Truth, int], Rows]
    sums: bool
    limits: tuple[float, float] = (0.0, 1.0)
    view: View = SAME

    @property
    def is_probability(self) -> bool:
        """Whether predictions are probabilities."""
        return self.limits == (0.0, 1.0)


def tag_hits(probs: Predictions, truth: Truth) -> Rows:
    """1.0 for each row all of whose tags, and no other, have a probability of one half or more, (N,)."""
    return np.asarray(((probs >= 0.5) == truth).all(axis=1), np.float64)


def smoothed_losses(probs: Predictions, truth: Truth, share: float) -> Rows:
    """Cross-entropy of each row (N,) with label smoothing: `share` of each label goes to the other classes.

    A model without an error loses nothing by certainty in `row_losses`, and much here.

    >>> smoothed_losses(np.array([[0.5, 0.5]]), np.array([0]), 0.1).round(4)
    array([0.6931])
    """
    logs = -np.log(np.clip(probs, metrics.ROUNDED, 1 - metrics.ROUNDED))
    own, every = logs[np.arange(len(truth)), truth], logs.sum(axis=1)
    losses: Rows = (1 - share) * own + share * (every - own) / (probs.shape[1] - 1)
    return losses


def smoothed_tag_losses(probs: Predictions, truth: Truth, share: float) -> Rows:
    """`smoothed_losses` of tags: the mean over the tags of a row, each a question of two classes."""
    losses = smoothed_losses(QUESTIONS.open(probs), QUESTIONS.truth(truth), share)
    return np.asarray(losses.reshape(truth.shape).mean(axis=1))


def unsmoothed(values: Predictions, truth: Truth, share: float) -> Rows:
    """Squared errors of numbers, (N,): a number that is wrong by much already costs much."""
    return squared_errors(values, truth)


CLASSES = Task("multiclass", "log loss", metrics.row_losses, smoothed_losses, metrics.row_hits, class_shares, sums=True)
TAGS = Task(
    "multilabel", "log loss", columnwise_log_losses, smoothed_tag_losses, tag_hits, tag_shares, sums=False,
    view=QUESTIONS,
)  # fmt: skip
NUMBERS = Task(
    "regression", "squared error", squared_errors, unsmoothed, None, means, sums=False, limits=(-math.inf, math.inf)
)
TASKS = {"multiclass": CLASSES, "ordinal": CLASSES, "ranking": CLASSES, "multilabel": TAGS, "regression": NUMBERS}


def task_of_truth(truth: Truth) -> Task:
    """Task of a truth.

    >>> task_of_truth(np.array([0, 1])) is CLASSES, task_of_truth(np.array([[0.5], [1.5]])) is NUMBERS
    (True, True)
    """
    if truth.ndim == 1:
        return CLASSES
    return TAGS if truth.dtype == np.bool_ else NUMBERS


def row_losses(predictions: Any, truth: Truth) -> Rows:
    """Loss of each row (N,) by the task of the truth."""
    return task_of_truth(truth).row_losses(predictions, truth)
