"""Links from the outputs of a network to predictions, by task, and the targets that the outputs are fitted to.

A network of C classes has C outputs, of C ordered classes C - 1: the logit of being above each but the last. A network
of tags has one for each tag, of numbers one for each number.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kagglepipe.competitions.targets import Truth

EPSILON = torch.finfo(torch.float32).eps  # least probability, as scikit-learn's log_loss takes of float32


@dataclass(frozen=True)
class Link:
    """Link of a task.

    outputs: number of classes, tags or numbers -> outputs O. predict: outputs (..., O) -> predictions (..., C).
    targets: truth and C -> what the outputs are fitted to, class indices (N,) or columns (N, O) of float32.
    has_unit: whether the outputs are numbers of any size, which networks learn standardised.
    """

    outputs: Callable[[int], int]
    predict: Callable[[Tensor], Tensor]
    targets: Callable[[Truth, int], NDArray[np.number]]
    has_unit: bool = False


def cumulative(logits: Tensor) -> Tensor:
    """Probabilities of ordered classes (..., K) from the logits of being above each but the last (..., K - 1).

    Where the probability of being above a class is larger than of a lower one, the smaller counts for both. Frank and
    Hall 2001, "A simple approach to ordinal classification". A class in between would have probability 0 and a true row
    of it an infinite loss: none has less than 1.2e-7.

    >>> [round(share, 3) for share in cumulative(torch.tensor([0.0, -50.0])).tolist()]
    [0.5, 0.5, 0.0]
    """
    above = torch.stack(list(accumulate(logits.sigmoid().unbind(-1), torch.minimum)), dim=-1)  # ONNX has no cummin
    edge = torch.ones_like(above[..., :1])
    found = torch.cat([edge, above], dim=-1) - torch.cat([above, torch.zeros_like(edge)], dim=-1)
    found = found.clamp(min=EPSILON)
    return found / found.sum(dim=-1, keepdim=True)


def of_tags(logits: Tensor) -> Tensor:
    """Probability of each tag, at least 1.2e-7 from 0 and 1, which float32 would reach at a logit of 17."""
    return logits.sigmoid().clamp(EPSILON, 1 - EPSILON)


def above_each(truth: Truth, classes: int) -> NDArray[np.float32]:
    """Whether a class (N,) is above each but the last, (N, K - 1).

    >>> above_each(np.array([0, 2]), 3).tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    """
    return (truth[:, None] > np.arange(classes - 1)).astype(np.float32)


def as_columns(truth: Truth, classes: int) -> NDArray[np.float32]:
    """Tags or numbers as float32, (N, C)."""
    return truth.astype(np.float32)


def as_indices(truth: Truth, classes: int) -> NDArray[np.int64]:
    """Class indices, (N,)."""
    return truth.astype(np.int64)


def same(count: int) -> int:
    """As many outputs as classes."""
    return count


CLASSES = Link(same, lambda logits: logits.softmax(dim=-1), as_indices)
LINKS: dict[str, Link] = {
    "multiclass": CLASSES,
    "ranking": CLASSES,
    "ordinal": Link(lambda classes: classes - 1, cumulative, above_each),
    "multilabel": Link(same, of_tags, as_columns),
    "regression": Link(same, lambda outputs: outputs, as_columns, has_unit=True),
}
