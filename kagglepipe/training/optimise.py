"""What fine-tuning may change, how fast, and when."""

import math
from collections.abc import Callable
from typing import Any

import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from kagglepipe.models.classifier import Classifier
from kagglepipe.models.temporal import CnnLstm


def make_optimiser(
    model: Classifier | CnnLstm, *, lr: float, layer_decay: float, weight_decay: float, frozen_below: float = 0.0
) -> torch.optim.AdamW:
    """AdamW whose rate shrinks by `layer_decay` a layer towards the input.

    Biases and norms do not decay, nor does what the network exempts (see `exempt_from_decay`).

    The head and the backbone's last layer learn at `lr`. Layers whose rate would be less than `frozen_below` of
    it are frozen: they would hardly move, yet the first ones, on large maps, take half of the backward pass.
    (Rates by layer: Howard & Ruder 2018, ULMFiT.)
    """
    groups = param_groups_layer_decay(
        model.backbone,
        weight_decay=weight_decay,
        no_weight_decay_list=exempt_from_decay(model.backbone),
        layer_decay=layer_decay,
        no_opt_scale=frozen_below or None,
    )
    for group in groups:
        group["lr"] = lr * group.pop("lr_scale")
    return torch.optim.AdamW([*groups, *decayed(model.head, lr=lr, weight_decay=weight_decay)])


def exempt_from_decay(module: nn.Module) -> list[str]:
    """Names, or patterns, of the parameters that timm's `no_weight_decay()` exempts, as `pos_embed`, sorted.

    A network may be wrapped in another, or be made of several: names of each part get the part's prefix.
    """
    names: set[str] = set()
    for prefix, part in module.named_modules():
        if callable(listed := getattr(part, "no_weight_decay", None)):
            names |= {f"{prefix}.{name}" if prefix else name for name in listed()}
    return sorted(names)


def decayed(module: nn.Module, *, lr: float, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups of a module's parameters at one rate: matrices, which decay, and vectors, which do not."""
    matrices = [parameter for parameter in module.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in module.parameters() if parameter.ndim < 2]
    return [
        {"params": matrices, "lr": lr, "weight_decay": weight_decay},
        {"params": vectors, "lr": lr, "weight_decay": 0.0},
    ]


def cosine(progress: float, warmup: float) -> float:
    """Linear from 0 to 1 over `warmup`, then half a cosine down to 0. `progress` and `warmup` in 0…1.

    >>> [round(cosine(p, 0.5), 2) for p in (0, 0.25, 0.5, 0.75, 1)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / max(1 - warmup, 1e-9)))


def onecycle(progress: float, warmup: float) -> float:
    """Half a cosine up from 1/25 over `warmup`, then half a cosine down to 1/10,000 (Smith 2018).

    >>> [round(onecycle(p, 0.5), 2) for p in (0, 0.5, 1)]
    [0.04, 1.0, 0.0]
    """
    if progress < warmup:
        return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * progress / warmup))
    down = 0.5 * (1 + math.cos(math.pi * (progress - warmup) / max(1 - warmup, 1e-9)))
    return 1e-4 + (1 - 1e-4) * down


SCHEDULES: dict[str, Callable[[float, float], float]] = {"cosine": cosine, "onecycle": onecycle}


def make_schedule(optimiser: torch.optim.Optimizer, name: str, *, warmup: float) -> Callable[[float, float], None]:
    """(progress in 0…1, factor) -> sets every group's rate to what it is now, times the schedule, times the factor.

    It has no state: where a training stands decides its rate, however it came there.
    """
    shape, rates = SCHEDULES[name], [group["lr"] for group in optimiser.param_groups]

    def set_rates(progress: float, factor: float) -> None:
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * shape(progress, warmup) * factor

    return set_rates


def freeze_statistics(model: nn.Module) -> None:
    """Training mode, but batch norms keep the means and variances they came with.

    Batches of a small competition are too few to estimate them again, and frozen ones make a batch's size and
    its split over processes irrelevant.
    """
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
