"""Several processes that train one network: the few things that they tell each other.

`torchrun` or `accelerate launch` starts them (kagglepipe.launch). In a process that is alone, every function here is
the plain thing that its name says.
"""

import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kagglepipe.errors import UserError
from kagglepipe.launch import is_first, local_rank, rank, size

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "from_first", "is_first", "is_loss_of_company", "join", "leave", "rank", "replicated", "share", "size", "spread",
    "total", "wait",
]  # fmt: skip

PATIENCE = timedelta(days=7)  # for the first process, which downloads and prepares while the others wait


def join(device: str) -> None:
    """Meets the other processes; returns at once where there are none, or where they have met.

    device: as in the configuration: `cpu` speaks gloo even beside a GPU. Raises UserError unless each has its own.
    """
    if size() == 1:
        return
    import torch
    from torch import distributed

    if distributed.is_initialized():
        return
    on_gpu = torch.cuda.is_available() and not device.startswith(("cpu", "mps"))
    if on_gpu:
        if ":" in device:
            raise UserError(f"device={device} is one GPU for {size()} processes: leave it away, each takes its own")
        if local_rank() >= (count := torch.cuda.device_count()):
            raise UserError(f"process {local_rank()} of this machine has no GPU: type --nproc-per-node={count}")
        torch.cuda.set_device(local_rank())
    elif device != "cpu" and torch.backends.mps.is_available():
        raise UserError(f"{size()} processes cannot share an Apple GPU: type device=cpu")
    distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=PATIENCE)


def leave() -> None:
    """Takes leave of the other processes, if they have met."""
    if size() > 1:
        from torch import distributed

        if distributed.is_initialized():
            distributed.destroy_process_group()


def is_loss_of_company(error: RuntimeError) -> bool:
    """Whether an error of torch's, gloo's or NCCL's says that another process is gone."""
    return bool(re.search(r"(closed|reset) by peer|Broken pipe|remote process exited", str(error)))


def wait() -> None:
    """Returns when all processes have come here."""
    if size() > 1:
        from torch import distributed

        distributed.barrier()


def share(rows: Sequence[Any] | NDArray[Any]) -> Any:
    """This process' part of `rows`: every size()-th, from rank() on."""
    return rows[rank() :: size()]


def total(values: Sequence[float], device: Any = "cpu") -> list[float]:
    """Sums over the processes, each value by itself."""
    if size() == 1:
        return list(values)
    import torch
    from torch import distributed

    dtype = torch.float32 if getattr(device, "type", device) == "mps" else torch.float64
    sums = torch.tensor(values, dtype=dtype, device=device)
    distributed.all_reduce(sums)
    found: list[float] = sums.tolist()
    return found


def from_first(value: Any) -> Any:
    """The first process' value, in all of them."""
    if size() == 1:
        return value
    from torch import distributed

    box = [value]
    distributed.broadcast_object_list(box)
    return box[0]


def spread(compute: Callable[[Sequence[int]], NDArray[Any]], rows: Sequence[int]) -> NDArray[Any]:
    """compute(rows), (N, …), of which every process does its share and gets the whole."""
    if size() == 1 or len(rows) == 0:
        return compute(rows)
    from torch import distributed

    parts: list[Any] = [None] * size()
    distributed.all_gather_object(parts, compute(share(rows)) if len(share(rows)) else None)
    some = next(part for part in parts if part is not None)
    whole = np.empty((len(rows), *some.shape[1:]), some.dtype)
    for number, part in enumerate(parts):
        if part is not None:
            whole[number :: size()] = part
    return whole


def replicated(model: "nn.Module") -> "nn.Module":
    """The model, whose gradients are averaged over the processes; all begin with the first one's weights."""
    if size() == 1:
        return model
    from torch.nn.parallel import DistributedDataParallel

    # batch norms keep their statistics: there are no buffers to pass on
    renamed = "forward_sync_buffers" in signature(DistributedDataParallel.__init__).parameters  # by later versions
    return DistributedDataParallel(model, **{"forward_sync_buffers" if renamed else "broadcast_buffers": False})
