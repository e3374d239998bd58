"""Tags as questions of yes and no, one for each tag of each row, so that what is made for classes serves tags too."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kagglepipe.competitions.targets import Truth

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """How fits of classes see the predictions of a task.

    open: predictions (…, N, C) -> probabilities of classes (…, R, K). close: these (R, K) and C -> (N, C). truth: truth
    -> class indices (R,). rows: numbers of the rows (N,) and C -> those of R.
    """

    open: Callable[[Floats], Floats]
    close: Callable[[Floats, int], Floats]
    truth: Callable[[Truth], Truth]
    rows: Callable[[npt.NDArray[Any], int], npt.NDArray[Any]]


def as_questions(probs: Floats) -> Floats:
    """Probabilities of no and yes, (…, N, C) -> (…, N·C, 2).

    >>> as_questions(np.array([[0.25, 1.0]])).tolist()
    [[0.75, 0.25], [0.0, 1.0]]
    """
    both = np.stack([1 - probs, probs], axis=-1)
    return both.reshape(*probs.shape[:-2], -1, 2)


def as_tags(probs: Floats, tags: int) -> Floats:
    """Probabilities of the tags from those of no and yes, (N·C, 2) -> (N, C)."""
    return np.asarray(probs[:, 1].reshape(-1, tags))


SAME = View(lambda probs: probs, lambda probs, _: probs, lambda truth: truth, lambda rows, _: rows)
QUESTIONS = View(as_questions, as_tags, lambda truth: truth.reshape(-1).astype(np.intp), np.repeat)
