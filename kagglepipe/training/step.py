"""One batch into the weights: in parts where memory is short, over all processes where there are several."""

import math
import re
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kagglepipe import distributed
from kagglepipe.images.dataset import IGNORE_INDEX
from kagglepipe.training.device import Precision


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of torch's says that there is no memory left, on whatever device."""
    return isinstance(error, torch.OutOfMemoryError) or bool(
        re.search(r"out of memory|can't allocate memory|not enough memory|ALLOC_FAILED", str(error))
    )


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
    """One batch forward and backward: (its mean loss, how many labels it had right, of how many).

    Logits are (B, C) or (B, T, C), labels (B,) or (B, T); labels below 0 stand for padding and do not count.
    micro_batch: rows that go through the network at a time; gradients add up to those of the whole, since nothing in
    the network mixes rows. Where several processes train, loss and counts are those of all their parts together.
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
            scaler.scale(
                loss * (distributed.world_size() / max(whole, 1))
            ).backward()  # several processes average theirs
        loss_sum += float(loss.detach())
        right += int((logits.detach().argmax(dim=1) == truth).sum())
    loss_sum, right_sum = distributed.all_reduce_sum([loss_sum, right], device)
    return loss_sum / max(whole, 1), int(right_sum), whole


def update(
    model: nn.Module, loss: float, optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler, *, clip: float
) -> float:
    """The gradients, clipped to a norm of `clip`, into the weights. Returns the loss, or NaN if a gradient is none.

    If loss or gradient is no finite number, the weights stay as they are.
    """
    scaler.unscale_(optimiser)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    if not math.isfinite(loss):
        return loss
    if not (scaler.is_enabled() or bool(norm.isfinite())):
        return math.nan
    scaler.step(optimiser)  # a scaler leaves out a step whose gradients overflow, and lowers its scale
    scaler.update()
    return loss


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Mixed precision: the weights stay float32, products are taken in `precision`."""
    return torch.autocast(device.type, precision.dtype, enabled=precision.dtype != torch.float32)
