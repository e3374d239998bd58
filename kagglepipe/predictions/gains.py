"""How much better a model is than another on the same rows, with what noise alone could do: for many models at once.

Rows of a group share their luck, so that everything here counts groups.
"""

import numpy as np

from kagglepipe.predictions.frame import Labels, Probs
from kagglepipe.predictions.metrics import ROUNDED, find_metric
from kagglepipe.predictions.uncertainty import (
    LEVEL,
    Floats,
    Gain,
    accuracy_interval,
    jackknife_gain,
    mean_gains,
)

__all__ = ["Gain", "accuracy_interval", "laplace_error", "mean_gains", "metric_gain", "smoothed_losses"]


def laplace_error(count: int) -> float:
    """The error rate that `count` rows without an error leave possible: the next may be the first.

    Laplace's rule of succession, as Platt 1999 has it. It is next to nothing where there are many rows.

    >>> laplace_error(48)
    0.02
    """
    return 1 / (count + 2)


def smoothed_losses(probs: Probs, truth: Labels, share: float) -> Floats:
    """The losses (N,) to be expected if a row's label were another one, any of them, with the chance `share`.

    A model that has made no error loses nothing by certainty in `row_losses`, and much here.

    >>> smoothed_losses(np.array([[0.5, 0.5]]), np.array([0]), 0.1).round(4)
    array([0.6931])
    """
    own = -np.log(np.clip(probs[np.arange(len(truth)), truth], ROUNDED, 1 - ROUNDED))
    every = -np.log(np.clip(probs, ROUNDED, 1 - ROUNDED)).sum(axis=1)
    losses: Floats = (1 - share) * own + share * (every - own) / (probs.shape[1] - 1)
    return losses


def metric_gain(name: str, probs: Probs, other: Probs, truth: Labels, groups: Labels, *, level: float = LEVEL) -> Gain:
    """How much better `probs` is than `other` by a metric that is no mean over rows, with its interval.

    By the jackknife, as `uncertainty.jackknife_gain`.
    """
    metric = find_metric(name)
    sign = 1.0 if metric.greater_is_better else -1.0

    def gain(some: Labels) -> float:
        return sign * (metric.function(probs[some], truth[some]) - metric.function(other[some], truth[some]))

    return jackknife_gain(gain, groups, level=level)
