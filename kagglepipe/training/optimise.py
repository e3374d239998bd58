"""Optimiser with layer-wise learning rates, learning rate schedules, frozen batch norm statistics."""

import math
from collections.abc import Callable
from typing import Any

import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from kagglepipe.models.classifier import Classifier
from kagglepipe.models.temporal import CnnLstm
from kagglepipe.options import TrainingOptions


def make_optimiser(model: Classifier | CnnLstm, options: TrainingOptions) -> torch.optim.AdamW:
    """Make AdamW with layer-wise learning rates: factor `layer_decay` for each layer towards the input.

    Head and last layer have rate `lr`. Layers below `frozen_below` of it are frozen: they would hardly move, yet the
    first ones, on large feature maps, take half of the backward pass. Biases, norms and what the network exempts have
    no weight decay. Howard & Ruder 2018, "Universal language model fine-tuning" (discriminative fine-tuning).
    """
    groups = param_groups_layer_decay(
        model.backbone,
        weight_decay=options.weight_decay,
        no_weight_decay_list=exempt_from_decay(model.backbone),
        layer_decay=options.layer_decay,
        no_opt_scale=options.frozen_below or None,
    )
    for group in groups:
        group["lr"] = options.lr * group.pop("lr_scale")
    return torch.optim.AdamW([*groups, *param_groups(model.head, lr=options.lr, weight_decay=options.weight_decay)])


def exempt_from_decay(module: nn.Module) -> list[str]:
    """Names, or patterns, of parameters in timm's `no_weight_decay()` of the network and its submodules, sorted."""
    names: set[str] = set()
    for prefix, part in module.named_modules():
        if callable(listed := getattr(part, "no_weight_decay", None)):
            names |= {f"{prefix}.{name}" if prefix else name for name in listed()}
    return sorted(names)


def param_groups(module: nn.Module, *, lr: float, weight_decay: float) -> list[dict[str, Any]]:
    """Two parameter groups at one rate: matrices with weight decay, vectors without."""
    matrices = [parameter for parameter in module.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in module.parameters() if parameter.ndim < 2]
    return [
        {"params": matrices, "lr": lr, "weight_decay": weight_decay},
        {"params": vectors, "lr": lr, "weight_decay": 0.0},
    ]


def cosine(progress: float, warmup: float) -> float:
    """Linear warm-up from 0 to 1, then half a cosine down to 0 (Loshchilov & Hutter 2017). All in 0…1.

    >>> [round(cosine(p, 0.5), 2) for p in (0, 0.25, 0.5, 0.75, 1)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / max(1 - warmup, 1e-9)))


def onecycle(progress: float, warmup: float) -> float:
    """Half a cosine up from 1/25 over `warmup`, then half a cosine down to 1/10,000 (Smith & Topin 2018).

    >>> [round(onecycle(p, 0.5), 2) for p in (0, 0.5, 1)]
    [0.04, 1.0, 0.0]
    """
    if progress < warmup:
        return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * progress / warmup))
    down = 0.5 * (1 + math.cos(math.pi * (progress - warmup) / max(1 - warmup, 1e-9)))
    return 1e-4 + (1 - 1e-4) * down


SCHEDULES: dict[str, Callable[[float, float], float]] = {"cosine": cosine, "onecycle": onecycle}


def make_schedule(optimiser: torch.optim.Optimizer, name: str, *, warmup: float) -> Callable[[float, float], None]:
    """Make a function (progress in 0…1, factor) that sets each group's rate to its initial rate · schedule · factor.

    Unlike torch's schedulers it has no state: resume, roll-back and a time budget may set any progress.
    """
    shape, rates = SCHEDULES[name], [group["lr"] for group in optimiser.param_groups]

    def set_rates(progress: float, factor: float) -> None:
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * shape(progress, warmup) * factor

    return set_rates


def freeze_statistics(model: nn.Module) -> None:
    """Set training mode, but batch norms to evaluation mode, so that they keep their pretrained statistics.

    The batches of a small competition are too few to estimate them again, and with frozen statistics neither the size
    of a batch nor its split over ranks matters.
    """
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
