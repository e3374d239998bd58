"""Data-parallel training: ranks, collectives and DistributedDataParallel, for `torchrun` and `accelerate launch`.

With a single process every function returns its input or does nothing. torch and numpy are imported where they are
used, so that importing this module costs nothing.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from kagglepipe.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

TIMEOUT = timedelta(days=7)  # rank 0 downloads and prepares while the other ranks wait at a barrier


def world_size() -> int:
    """Number of processes. Without RANK, WORLD_SIZE comes from something else and is ignored."""
    return int(os.environ["WORLD_SIZE"]) if os.environ.get("WORLD_SIZE") and os.environ.get("RANK") else 1


def rank() -> int:
    """Rank of this process, 0 … world_size() - 1."""
    return int(os.environ.get("RANK", "0")) if world_size() > 1 else 0


def local_rank() -> int:
    """Rank among the processes of this machine: the index of this process' GPU."""
    return int(os.environ.get("LOCAL_RANK", "0")) if world_size() > 1 else 0


def local_world_size() -> int:
    """Number of processes that share this machine's cores and memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or 1) if world_size() > 1 else 1


def is_rank_zero() -> bool:
    """Whether this process downloads, prepares, writes files and logs."""
    return rank() == 0


@contextmanager
def single_process() -> Iterator[None]:
    """Set the world size to 1 within the block, for work of one rank only."""
    before = os.environ.pop("WORLD_SIZE", None)
    try:
        yield
    finally:
        if before is not None:
            os.environ["WORLD_SIZE"] = before


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Initialise the process group for the block. Raises UserError if another process ends within it.

    device: as in the configuration, see `init_process_group`.
    """
    init_process_group(device)
    try:
        yield
    except RuntimeError as error:
        if world_size() > 1 and is_peer_lost(error):
            raise UserError(f"another of the {world_size()} processes has ended; its output has the error") from error
        raise  # the group is not destroyed: that would wait for peers, which the launcher ends
    destroy_process_group()


def init_process_group(device: str) -> None:
    """Initialise torch's process group, unless there is one process or the group exists.

    device: as in the configuration; `cpu` selects gloo even beside a GPU. Raises UserError unless each process has a
    device of its own.
    """
    if world_size() == 1:
        return
    import torch
    from torch import distributed

    if distributed.is_initialized():
        return
    on_gpu = torch.cuda.is_available() and not device.startswith(("cpu", "mps"))
    if on_gpu:
        if ":" in device:
            raise UserError(f"device={device} is one GPU for {world_size()} processes: leave it away, each has its own")
        if local_rank() >= (count := torch.cuda.device_count()):
            raise UserError(f"process {local_rank()} of this machine has no GPU: type --nproc-per-node={count}")
        torch.cuda.set_device(local_rank())
    elif device != "cpu" and torch.backends.mps.is_available():
        raise UserError(f"{world_size()} processes cannot share an Apple GPU: type device=cpu")
    distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=TIMEOUT)


def destroy_process_group() -> None:
    """Destroy the process group, if there is one."""
    if world_size() > 1:
        from torch import distributed

        if distributed.is_initialized():
            distributed.destroy_process_group()


def is_peer_lost(error: RuntimeError) -> bool:
    """Whether an error of torch, gloo or NCCL means that another process has ended."""
    return bool(re.search(r"(closed|reset) by peer|Broken pipe|remote process exited", str(error)))


def barrier() -> None:
    """Wait until all processes have called it."""
    if world_size() > 1:
        from torch import distributed

        distributed.barrier()


def shard(rows: "Sequence[Any] | NDArray[Any]") -> Any:
    """This rank's part of `rows` (N, …): every world_size()-th, from rank() on."""
    return rows[rank() :: world_size()]


def all_reduce_sum(values: Sequence[float], device: Any = "cpu") -> list[float]:
    """Sum each value over all processes, in float64 (MPS: float32)."""
    if world_size() == 1:
        return list(values)
    import torch
    from torch import distributed

    dtype = torch.float32 if getattr(device, "type", device) == "mps" else torch.float64
    sums = torch.tensor(values, dtype=dtype, device=device)
    distributed.all_reduce(sums)
    found: list[float] = sums.tolist()
    return found


def broadcast_object(value: Any) -> Any:
    """Return rank 0's value on every rank."""
    if world_size() == 1:
        return value
    from torch import distributed

    values = [value]
    distributed.broadcast_object_list(values)
    return values[0]


def broadcast_buffers(model: "nn.Module") -> None:
    """Give the model rank 0's buffers on every rank, such as the running statistics of its batch norms."""
    if world_size() > 1:
        from torch import distributed

        for buffer in model.buffers():
            distributed.broadcast(buffer, 0)


def map_and_gather(compute: "Callable[[Sequence[int]], NDArray[Any]]", rows: Sequence[int]) -> "NDArray[Any]":
    """Compute each rank's shard of compute(rows) (N, …) and return all of it on every rank, in the order of `rows`."""
    if world_size() == 1 or len(rows) == 0:
        return compute(rows)
    import numpy as np
    from torch import distributed

    shards: list[Any] = [None] * world_size()
    distributed.all_gather_object(shards, compute(shard(rows)) if len(shard(rows)) else None)
    some = next(part for part in shards if part is not None)
    whole = np.empty((len(rows), *some.shape[1:]), some.dtype)
    for number, part in enumerate(shards):
        if part is not None:
            whole[number :: world_size()] = part
    return whole


def wrap_ddp(model: "nn.Module") -> "nn.Module":
    """Wrap the model in DistributedDataParallel, which averages gradients and starts from rank 0's weights."""
    if world_size() == 1:
        return model
    from inspect import signature

    from torch.nn.parallel import DistributedDataParallel

    # batch norms keep their statistics, or `broadcast_buffers` shares them; later torch versions renamed the option
    renamed = "forward_sync_buffers" in signature(DistributedDataParallel.__init__).parameters
    return DistributedDataParallel(model, **{"forward_sync_buffers" if renamed else "broadcast_buffers": False})
