"""Metrics of tags. Arguments: probs (N, C), a probability for each tag; truth (N, C) of bool.

A tag is named where its probability is one half or more: thresholds are moved there before (`decisions`).
"""

import numpy as np
import numpy.typing as npt

from kagglepipe.competitions.targets import Truth

Probs = npt.NDArray[np.float64]  # (N, C)
Rows = npt.NDArray[np.float64]  # (N,)
CLIP = 1e-15


def fbeta_rows(probs: Probs, truth: Truth, beta: float) -> Rows:
    """F-beta of the tags of each row, (N,); 1 for a row without tags of which none is named.

    Van Rijsbergen 1979, "Information retrieval".

    >>> fbeta_rows(np.array([[0.9, 0.1], [0.2, 0.3]]), np.array([[True, True], [False, False]]), 1.0).round(4)
    array([0.6667, 1.    ])
    """
    named = probs >= 0.5
    hits = (named & truth).sum(axis=1)
    weight = beta**2
    size = weight * truth.sum(axis=1) + named.sum(axis=1)
    return np.asarray(np.divide((1 + weight) * hits, size, out=np.ones(len(hits)), where=size > 0))


def fbeta_samples(probs: Probs, truth: Truth, beta: float) -> float:
    """Mean over the rows of `fbeta_rows`."""
    return float(fbeta_rows(probs, truth, beta).mean())


def columnwise_log_losses(probs: Probs, truth: Truth) -> Rows:
    """Mean over the tags of a row of -log p where it has the tag, of -log(1 - p) where not, in nats, (N,)."""
    own = np.where(truth, probs, 1 - probs).astype(np.float64)
    return np.asarray(-np.log(np.clip(own, CLIP, 1)).mean(axis=1))


def mean_columnwise_log_loss(probs: Probs, truth: Truth) -> float:
    """Mean over the columns of their binary log losses, in nats."""
    return float(columnwise_log_losses(probs, truth).mean())
