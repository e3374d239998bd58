"""One optimiser step: gradients of a batch, accumulated over micro-batches and ranks, then clipping and update."""

import math
import re
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kagglepipe import distributed
from kagglepipe.errors import UserError
from kagglepipe.images.dataset import IGNORE_INDEX
from kagglepipe.training.device import Precision


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a torch error means that the memory of any device is exhausted."""
    return isinstance(error, torch.OutOfMemoryError) or bool(
        re.search(r"out of memory|can't allocate memory|not enough memory|ALLOC_FAILED", str(error))
    )


def check_halvable(error: RuntimeError, rows: int, name: str, unit: str) -> None:
    """Re-raise an error other than out of memory; raise UserError where a micro-batch of `rows` cannot be halved."""
    if not is_out_of_memory(error):
        raise error
    if rows == 1:
        raise UserError(
            f"{name}: no memory for a single {unit}: type a smaller model.image_size or another model"
        ) from error
    if distributed.world_size() > 1:  # other ranks may be in the middle of the step
        raise UserError(f"{name}: out of memory: type training.micro_batch={rows // 2}") from error


def gradients(
    model: nn.Module,
    inputs: Sequence[Tensor],
    labels: Tensor,
    scaler: torch.amp.GradScaler,
    precision: Precision,
    *,
    label_smoothing: float,
    micro_batch: int | None = None,
) -> tuple[float, int, int]:
    """Accumulate the gradients of one batch: (mean loss, correct labels, labels), over all ranks.

    Logits are (B, C) or (B, T, C), labels (B,) or (B, T); labels below 0 are padding and do not count. micro_batch:
    rows per forward pass; the gradients add up to those of the whole batch, since nothing in the network mixes rows.
    """
    device = next(model.parameters()).device
    model.zero_grad(set_to_none=True)
    rows = micro_batch or len(labels)
    whole = int(distributed.all_reduce_sum([int((labels >= 0).sum())], device)[0])
    loss_sum, right = 0.0, 0
    for start in range(0, len(labels), rows):
        last = start + rows >= len(labels)
        with nullcontext() if last or distributed.world_size() == 1 else model.no_sync():
            some = [tensor[start : start + rows].to(device, non_blocking=True) for tensor in inputs]
            truth = labels[start : start + rows].to(device, non_blocking=True).flatten()
            with autocast(device, precision):
                logits = model(*some).flatten(0, -2)
            loss = F.cross_entropy(
                logits.float(), truth, label_smoothing=label_smoothing, reduction="sum", ignore_index=IGNORE_INDEX
            )
            scaler.scale(loss * (distributed.world_size() / max(whole, 1))).backward()  # DDP averages over ranks
        loss_sum += float(loss.detach())
        right += int((logits.detach().argmax(dim=1) == truth).sum())
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


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Mixed precision: float32 weights, matrix products in `precision`."""
    return torch.autocast(device.type, precision.dtype, enabled=precision.dtype != torch.float32)
