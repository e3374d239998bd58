"""What differs between classes, tags and numbers once their predictions are arrays (N, C).

The truth says which of them it is, as in scikit-learn: class indices (N,), tags (N, C) of bool, or numbers (N, C) of
float64. Nothing else in this package asks for the task.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kagglepipe.competitions.targets import Truth
from kagglepipe.predictions import metrics
from kagglepipe.predictions.baseline import class_shares, means, tag_shares
from kagglepipe.predictions.number_metrics import squared_errors
from kagglepipe.predictions.tag_metrics import columnwise_log_losses

Rows = npt.NDArray[np.float64]  # (N,)
Predictions = npt.NDArray[np.float64]  # (N, C)


@dataclass(frozen=True)
class Task:
    """Functions of predictions (N, C) and truth.

    row_losses: the loss of each row (N,), as fitted. loss: its name. hits: 1.0 for each row that is right (N,); None
    for numbers. constant: the prediction (C,) without features, of the truth and C. sums: whether rows sum to 1.
    """

    loss: str
    row_losses: Callable[[Predictions, Truth], Rows]
    hits: Callable[[Predictions, Truth], Rows] | None
    constant: Callable[[Truth, int], Rows]
    sums: bool


def tag_hits(probs: Predictions, truth: Truth) -> Rows:
    """1.0 for each row all of whose tags, and no other, have a probability of one half or more, (N,)."""
    return np.asarray(((probs >= 0.5) == truth).all(axis=1), np.float64)


CLASSES = Task("log loss", metrics.row_losses, metrics.row_hits, class_shares, sums=True)
TAGS = Task("log loss", columnwise_log_losses, tag_hits, tag_shares, sums=False)
NUMBERS = Task("squared error", squared_errors, None, means, sums=False)


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
