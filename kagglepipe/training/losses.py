"""Losses of fine-tuning, by task.

Logits are (N, O); labels class indices (N,), below 0 for padding, or columns (N, O) of float32, NaN for padding.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from kagglepipe.images.dataset import IGNORE_INDEX


@dataclass(frozen=True)
class Loss:
    """compute: (logits, labels, label smoothing) -> (summed loss, number of right rows); padding does not count."""

    compute: Callable[[Tensor, Tensor, float], tuple[Tensor, int]]
    in_columns: bool = False

    def rows(self, labels: Tensor) -> Tensor:
        """Labels without the dimension of time: (N,) or (N, O)."""
        return labels.flatten(0, -2) if self.in_columns else labels.flatten()

    def is_counted(self, labels: Tensor) -> Tensor:
        """Which rows of `rows` are no padding, (N,)."""
        return ~labels.isnan().any(dim=1) if self.in_columns else labels >= 0


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float) -> tuple[Tensor, int]:
    """Cross-entropy of softmax."""
    loss = F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="sum", ignore_index=IGNORE_INDEX)
    return loss, int((logits.detach().argmax(dim=1) == labels).sum())


def binary_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float) -> tuple[Tensor, int]:
    """Mean over columns of binary cross-entropy; smoothing moves targets towards one half."""
    counted = ~labels.isnan().any(dim=1)
    own, wanted = logits[counted], labels[counted]
    target = wanted * (1 - smoothing) + smoothing / 2
    loss = F.binary_cross_entropy_with_logits(own, target, reduction="sum") / max(1, logits.shape[1])
    return loss, int(((own.detach() > 0) == (wanted > 0.5)).all(dim=1).sum())


def scaled_squared_error(scale: NDArray[np.floating]) -> Loss:
    """Squared error in units of each column's variance. scale: standard deviations (O,) of the training rows."""
    inverse = torch.from_numpy(1 / np.maximum(scale, 1e-12)).float()

    def compute(logits: Tensor, labels: Tensor, smoothing: float) -> tuple[Tensor, int]:
        counted = ~labels.isnan().any(dim=1)
        errors = (logits[counted] - labels[counted]) * inverse.to(logits.device)
        return (errors**2).mean(dim=1).sum(), 0

    return Loss(compute, in_columns=True)


CROSS_ENTROPY = Loss(cross_entropy)
BINARY = Loss(binary_cross_entropy, in_columns=True)
LOSSES: dict[str, Callable[[NDArray[np.floating]], Loss]] = {  # of the targets of the training rows
    "multiclass": lambda targets: CROSS_ENTROPY,
    "ranking": lambda targets: CROSS_ENTROPY,
    "ordinal": lambda targets: BINARY,
    "multilabel": lambda targets: BINARY,
    "regression": lambda targets: scaled_squared_error(targets.std(axis=0)),
}
