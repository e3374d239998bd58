"""Confident learning: labels that out-of-fold probabilities contradict.

Northcutt, Jiang and Chuang 2021, "Confident learning: estimating uncertainty in dataset labels". The threshold of a
class is the mean probability of that class in the rows labelled so. A row is suspected where another class than its own
reaches its threshold. Wrong labels lower the probabilities, and with them who reaches a threshold, so that rows with
another answer than their label follow. Folds that keep groups together keep a copy with the same wrong label from
vouching for it.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.competitions.targets import SEPARATOR, Truth

COLUMNS = ("rank", "id", "given", "suggested", "p_given", "p_suggested", "decision")
Probs = npt.NDArray[np.float64]


def suspects(ids: Sequence[str], probs: Probs, truth: Truth, classes: Sequence[str]) -> pd.DataFrame:
    """Rank the rows whose label is doubtful, the most doubtful first; columns are COLUMNS, `decision` is empty.

    probs: out-of-fold (N, C). truth: class indices (N,), or tags (N, C) of bool, each of which is a question of two
    classes; the suggestion then has all doubtful tags of the row changed.
    """
    if truth.ndim == 1:
        rows, others = doubtful(probs, truth)
        found = [
            (ids[row], classes[truth[row]], classes[other], probs[row, truth[row]], probs[row, other])
            for row, other in zip(rows.tolist(), others.tolist(), strict=True)
        ]
    else:
        found = doubtful_tags(ids, probs, truth, classes)
    table = pd.DataFrame(found, columns=list(COLUMNS[1:6]))
    table.insert(0, "rank", range(1, len(table) + 1))
    return table.round(4).assign(decision="")


def doubtful(probs: Probs, truth: Truth) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """(rows, suggested class of each): those that reach a threshold, then the others that are answered otherwise.

    Both by the margin p(given) - p(suggested), the least first.

    >>> probs = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.95, 0.05]])
    >>> rows, others = doubtful(probs, np.array([0, 0, 1, 1, 1]))
    >>> rows.tolist(), others.tolist()
    ([4], [0])
    """
    every = np.arange(len(truth))
    own = probs[every, truth]
    counts = np.bincount(truth, minlength=probs.shape[1])
    sums = np.bincount(truth, own, minlength=probs.shape[1])
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    reached = np.where(probs >= thresholds, probs, -1.0)
    is_sure = (best := reached.argmax(axis=1)) != truth
    is_sure &= (reached.max(axis=1) >= 0) & (probs[every, best] > own)
    best = np.where(is_sure, best, probs.argmax(axis=1))
    rows = np.flatnonzero(probs[every, best] > own)
    order = np.lexsort((own[rows] - probs[rows, best[rows]], ~is_sure[rows]))
    return rows[order], best[rows][order]


def doubtful_tags(
    ids: Sequence[str], probs: Probs, truth: Truth, classes: Sequence[str]
) -> list[tuple[str, str, str, float, float]]:
    """`suspects` of tags: a tuple a row of COLUMNS[1:6]; probabilities are those of its most doubtful tag."""
    changed: dict[int, list[tuple[float, int]]] = {}
    for tag in range(truth.shape[1]):
        pair = np.stack([1 - probs[:, tag], probs[:, tag]], axis=1)
        given = truth[:, tag].astype(np.intp)
        for row, other in zip(*(one.tolist() for one in doubtful(pair, given)), strict=True):
            changed.setdefault(row, []).append((float(pair[row, given[row]] - pair[row, other]), tag))
    names, found = np.array(classes, dtype=object), []
    for row, tags in sorted(changed.items(), key=lambda one: (min(one[1]), one[0])):
        suggested = truth[row].copy()
        for _, tag in tags:
            suggested[tag] = ~suggested[tag]
        worst = probs[row, min(tags)[1]]
        own = float(worst if truth[row, min(tags)[1]] else 1 - worst)
        found.append((ids[row], SEPARATOR.join(names[truth[row]]), SEPARATOR.join(names[suggested]), own, 1 - own))
    return found
