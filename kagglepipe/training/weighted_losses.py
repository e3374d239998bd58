"""Losses of fine-tuning that weigh rows: balanced classes, focal loss, Huber loss. Each is off by default."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from kagglepipe.errors import UserError
from kagglepipe.images.dataset import IGNORE_INDEX
from kagglepipe.options import TrainingOptions
from kagglepipe.training.links import LINKS
from kagglepipe.training.losses import LOSSES, Loss


def check_loss(task: str, options: TrainingOptions) -> None:
    """Raises UserError for a loss that means nothing for a task."""
    of_numbers = LINKS[task].has_unit
    if options.huber is not None and not of_numbers:
        raise UserError(f"training.huber is a loss of numbers, not of competition.task={task}: leave it out")
    if of_numbers and (options.focal or options.class_weights != "none"):
        raise UserError(
            "training.focal and training.class_weights are of probabilities, which competition.task=regression has "
            "none of: leave them out, or type training.huber=1 against outliers"
        )


def loss_of_options(task: str, targets: NDArray[Any], classes: int, options: TrainingOptions) -> Loss:
    """Loss of a task as options have it. targets: of the training rows, (N,) or (N, O). classes: C."""
    if options.huber is not None:
        return scaled_huber(targets.std(axis=0), options.huber)
    if not options.focal and options.class_weights == "none":
        return LOSSES[task](targets)
    make = focal_columns if targets.ndim > 1 else focal_classes
    is_balanced = options.class_weights == "balanced"
    return make(options.focal, balanced_weights(targets, classes) if is_balanced else None)


def balanced_weights(targets: NDArray[Any], classes: int) -> NDArray[np.float32]:
    """Weights of classes (C,), or of the absence and presence of tags (2, O), of mean 1 over the rows of each.

    As scikit-learn's `class_weight="balanced"`: N / (number of classes · rows of the class), 1 without rows.

    >>> [round(weight, 3) for weight in balanced_weights(np.array([0, 0, 0, 1]), 3).tolist()]
    [0.667, 2.0, 1.0]
    """
    if targets.ndim > 1:
        return np.stack([balanced_weights(own.astype(np.int64), 2) for own in targets.T], axis=1)
    count = np.bincount(targets, minlength=classes)
    return np.where(count > 0, len(targets) / (np.maximum(count, 1) * (count > 0).sum()), 1).astype(np.float32)


def focal_classes(gamma: float, weights: NDArray[np.float32] | None) -> Loss:
    """Cross-entropy of softmax times (1 - p)^gamma, p the probability of the label; weights: of classes (C,).

    Lin, Goyal, Girshick, He and Dollár 2017, "Focal loss for dense object detection". gamma 0: weights alone.
    """
    own = None if weights is None else torch.from_numpy(weights)

    def compute(logits: Tensor, labels: Tensor, smoothing: float) -> tuple[Tensor, int]:
        weight = None if own is None else own.to(logits.device)
        losses = F.cross_entropy(
            logits, labels, weight=weight, label_smoothing=smoothing, reduction="none", ignore_index=IGNORE_INDEX
        )
        sure = logits.softmax(dim=1).gather(1, labels.clamp(min=0)[:, None])[:, 0]
        hits = int((logits.detach().argmax(dim=1) == labels).sum())
        return (losses * _power(1 - sure, gamma)).sum(), hits

    return Loss(compute)


def focal_columns(gamma: float, weights: NDArray[np.float32] | None) -> Loss:
    """Binary cross-entropy times (1 - p)^gamma, p the probability of the label; weights: of labels 0 and 1, (2, O)."""
    own = None if weights is None else torch.from_numpy(weights)

    def compute(logits: Tensor, labels: Tensor, smoothing: float) -> tuple[Tensor, int]:
        counted = ~labels.isnan().any(dim=1)
        found, wanted = logits[counted], labels[counted]
        smooth = wanted * (1 - smoothing) + smoothing / 2
        losses = F.binary_cross_entropy_with_logits(found, smooth, reduction="none")
        losses = losses * _power((wanted - found.sigmoid()).abs(), gamma)
        if own is not None:
            absent, present = own.to(logits.device)
            losses = losses * torch.where(wanted > 0.5, present, absent)
        hits = int(((found.detach() > 0) == (wanted > 0.5)).all(dim=1).sum())
        return losses.sum() / max(1, logits.shape[1]), hits

    return Loss(compute, in_columns=True)


def scaled_huber(scale: NDArray[np.floating], delta: float) -> Loss:
    """Twice Huber's loss of errors in standard deviations: squared below `delta`, linear above. scale: (O,).

    Huber 1964, "Robust estimation of a location parameter".
    """
    inverse = torch.from_numpy(1 / np.maximum(scale, 1e-12)).float()

    def compute(logits: Tensor, labels: Tensor, smoothing: float) -> tuple[Tensor, int]:
        counted = ~labels.isnan().any(dim=1)
        errors = (logits[counted] - labels[counted]) * inverse.to(logits.device)
        losses = F.huber_loss(errors, torch.zeros_like(errors), reduction="none", delta=delta)
        return 2 * losses.mean(dim=1).sum(), 0

    return Loss(compute, in_columns=True)


def _power(base: Tensor, gamma: float) -> Tensor:
    """base^gamma, with a finite gradient at 0."""
    return torch.ones_like(base) if gamma == 0 else base.clamp(min=1e-6) ** gamma
