"""Fitting of a lesson's network by the training loop of the competitions."""

from typing import Any

import torch
from torch import nn

from kagglepipe.options import TrainingOptions
from kagglepipe.training.device import Precision
from kagglepipe.training.loop import Batches, Budget, Evaluate, FitRuntime, train_epochs
from kagglepipe.training.losses import CROSS_ENTROPY, Loss
from kagglepipe.training.optimise import param_groups
from kagglepipe.training.resume import Epoch

FLOAT32 = Precision(torch.float32, False, "lessons are compared bit by bit")


def fit(
    model: nn.Module,
    batches: Batches,
    *,
    name: str,
    epochs: int,
    lr: float,
    batch_size: int,
    seed: int,
    seconds: float | None = None,
    weight_decay: float = 0.0,
    clip: float = 1.0,
    evaluate: Evaluate | None = None,
    loss: Loss = CROSS_ENTROPY,
    precision: Precision = FLOAT32,
    **options: Any,
) -> list[Epoch]:
    """Train `model` in place with AdamW for so many epochs, and return its history.

    seconds: time limit, by which the learning rate then falls; None: no limit. evaluate: see `train_epochs`, which
    restores the weights of the best epoch. options: further ones of `TrainingOptions`, as schedule or label_smoothing.
    """
    given: dict[str, Any] = {"warmup": 0.05, "label_smoothing": 0.0, "patience": epochs, "from_scratch": True} | options
    return train_epochs(
        model,
        batches,
        torch.optim.AdamW(param_groups(model, lr=lr, weight_decay=weight_decay), fused=True),
        options=TrainingOptions(
            epochs=epochs, lr=lr, batch_size=batch_size, weight_decay=weight_decay, clip=clip, **given
        ),
        seed=seed,
        precision=precision,
        name=name,
        unit="row",
        evaluate=evaluate,
        lr_option="lr",
        runtime=FitRuntime(budget=Budget(seconds) if seconds else None),
        metric="log_loss",
        loss=loss,
    )
