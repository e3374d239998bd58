"""Answers as text, for readers: the class, the tags or the numbers of each row."""

from collections.abc import Sequence

import numpy as np

from kagglepipe.competitions.targets import SEPARATOR
from kagglepipe.predictions.frame import Probs
from kagglepipe.predictions.tasks import CLASSES, TAGS, Task


def answer_texts(decided: Probs, classes: Sequence[str], task: Task, separator: str = SEPARATOR) -> list[str]:
    """Text of each row's answer, (N,). decided: predictions (N, C) with the decision. separator: between
    tags; between numbers it is `|`, as in tables.

    >>> answer_texts(np.array([[0.9, 0.6], [0.2, 0.3]]), ["rust", "scab"], TAGS), answer_texts(
    ...     np.array([[0.9, 0.1]]), ["cat", "dog"], CLASSES)
    (['rust|scab', ''], ['cat'])
    """
    names = np.array(classes, dtype=object)
    if task is CLASSES:
        return [str(names[index]) for index in decided.argmax(axis=1)]
    if task is TAGS:
        return [separator.join(names[row]) for row in decided >= 0.5]
    return [SEPARATOR.join(f"{value:.6g}" for value in row) for row in decided]
