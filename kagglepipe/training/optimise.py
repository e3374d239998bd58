"""Optimiser with layer-wise learning rates, its schedules, and its steps: gradients of a batch, clipping, update."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn

from kagglepipe import distributed
from kagglepipe.models.classifier import Classifier
from kagglepipe.models.temporal import CnnLstm
from kagglepipe.options import TrainingOptions
from kagglepipe.training.device import Precision, autocast
from kagglepipe.training.losses import CROSS_ENTROPY, Loss


def make_optimiser(model: Classifier | CnnLstm, options: TrainingOptions) -> torch.optim.AdamW:
    """Make AdamW with layer-wise learning rates: factor `layer_decay` for each layer towards the input.

    Head and last layer have rate `lr`. Layers below `frozen_below` of it are frozen: they would hardly move, yet the
    first ones, on large feature maps, take half of the backward pass. Biases, norms and what the network exempts have
    no weight decay. Howard & Ruder 2018, "Universal language model fine-tuning" (discriminative fine-tuning). All
    layers have one rate with `from_scratch`.
    """
    groups = param_groups_layer_decay(
        model.backbone,
        weight_decay=options.weight_decay,
        no_weight_decay_list=exempt_from_decay(model.backbone),
        layer_decay=1.0 if options.from_scratch else options.layer_decay,
        no_opt_scale=None if options.from_scratch else options.frozen_below or None,
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


@contextmanager
def running_statistics_of_one(model: nn.Module, rows: int) -> Iterator[None]:
    """Normalise a single row by the running statistics of batch norms that learn: it has no variance of its own."""
    norms = [one for one in model.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm) and one.training]
    for norm in norms if rows == 1 else ():
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()


# --- one step ------------------------------------------------------------------------------------------------------


def gradients(
    model: nn.Module,
    inputs: Sequence[Tensor],
    labels: Tensor,
    scaler: torch.amp.GradScaler,
    precision: Precision,
    *,
    label_smoothing: float,
    micro_batch: int | None = None,
    loss_of: Loss = CROSS_ENTROPY,
) -> tuple[float, int, int]:
    """Accumulate the gradients of one batch: (mean loss, correct labels, labels), over all ranks.

    Logits are (B, C) or (B, T, C), labels (B,) or (B, T), or columns as `losses` has them. micro_batch:
    rows per forward pass; the gradients add up to those of the whole batch, since nothing in the network mixes rows.
    """
    device = next(model.parameters()).device
    model.zero_grad(set_to_none=True)
    rows = micro_batch or len(labels)
    whole = int(distributed.all_reduce_sum([int(loss_of.is_counted(loss_of.rows(labels)).sum())], device)[0])
    loss_sum, right = 0.0, 0
    for start in range(0, len(labels), rows):
        last = start + rows >= len(labels)
        with nullcontext() if last or distributed.world_size() == 1 else model.no_sync():
            some = [tensor[start : start + rows].to(device, non_blocking=True) for tensor in inputs]
            truth = loss_of.rows(labels[start : start + rows].to(device, non_blocking=True))
            with autocast(device, precision), running_statistics_of_one(model, len(some[0])):
                logits = model(*some).flatten(0, -2)
            loss, hits = loss_of.compute(logits.float(), truth, label_smoothing)
            scaler.scale(loss * (distributed.world_size() / max(whole, 1))).backward()  # DDP averages over ranks
        loss_sum += float(loss.detach())
        right += hits
    loss_sum, right_sum = distributed.all_reduce_sum([loss_sum, right], device)
    return loss_sum / max(whole, 1), int(right_sum), whole


def update(
    model: nn.Module, loss: float, optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler, *, clip: float
) -> float:
    """Clip the gradients to the norm `clip` and update the weights, unless loss or gradients are not finite.

    Returns the loss; NaN if a gradient is not finite.
    """
    scaler.unscale_(optimiser)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    if not math.isfinite(loss):
        return loss
    if not (scaler.is_enabled() or bool(norm.isfinite())):
        return math.nan
    scaler.step(optimiser)  # skips a step whose gradients overflow, and lowers the scale
    scaler.update()
    return loss
