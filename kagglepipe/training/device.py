"""Device and precision, each with its reason. torch is imported inside functions."""

import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kagglepipe.distributed import local_rank, world_size
from kagglepipe.errors import UserError
from kagglepipe.parallel import cpu_count

if TYPE_CHECKING:
    import torch

GPU_DEVICES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")  # NVIDIA, AMD, Windows' Linux


@dataclass(frozen=True)
class Precision:
    """dtype of the network's arithmetic, whether gradients need a loss scale (float16), and the reason."""

    dtype: "torch.dtype"
    scaled: bool
    reason: str

    @property
    def name(self) -> str:
        """As in `bfloat16`."""
        return str(self.dtype).removeprefix("torch.")


def gpu_is_possible() -> bool:
    """Whether there may be a GPU, without importing torch: on Linux its driver has a device file."""
    return not sys.platform.startswith("linux") or any(Path(name).exists() for name in GPU_DEVICES)


def choose_device(wanted: str = "auto") -> "torch.device":
    """Choose CUDA, else MPS, else CPU; or the device asked for. Raises UserError if there is none."""
    import torch

    if wanted == "auto":
        wanted = f"cuda:{local_rank()}" if torch.cuda.is_available() and world_size() > 1 else wanted
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    elif wanted.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"device={wanted}, but torch {torch.__version__} finds no CUDA device: type device=cpu")
    elif wanted == "mps" and not torch.backends.mps.is_available():
        raise UserError("device=mps, but torch finds no Apple GPU: type device=cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise UserError(f"device={wanted} is unknown; choose auto, cpu, cuda, cuda:1 or mps") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device={wanted}, but there are {torch.cuda.device_count()}: the first is cuda:0")
    return device


def device_of_job(number: int) -> str:
    """Choose the device for job `number` of a sweep: the GPUs in turn, `auto` where there are fewer than two.

    Jobs side by side then do not share one; jobs one after another lose nothing.
    """
    import torch

    count = torch.cuda.device_count()
    return f"cuda:{number % count}" if count > 1 else "auto"


def use_fast_kernels() -> None:
    """Let a GPU multiply float32 in TF32, and cuDNN choose kernels without benchmarking.

    It would try them for every number of rows, and an epoch's last batch has one of its own: on one H200 the first step
    of each then took 12 to 18 s instead of 6, as long as hundreds of steps (docs/gpu.md).
    """
    import torch

    torch.use_deterministic_algorithms(False)  # an earlier job of a sweep may have asked for it
    if torch.cuda.is_available():
        torch.backends.cudnn.benchmark = False
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True


def make_deterministic() -> None:
    """Make GPU results reproducible bit for bit, slower. torch names operations that it cannot make deterministic."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS first works
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    torch.set_float32_matmul_precision("highest")  # whatever an earlier job of a sweep has used
    torch.backends.cudnn.allow_tf32 = False


def choose_precision(device: "torch.device", *, training: bool = False, recurrent: bool = False) -> Precision:
    """Choose bfloat16 where the hardware computes it, else float16 on CUDA, else float32.

    training: for the backward pass too, which on a CPU without matrix units (AMX) is slower in bfloat16 for
    convolutions. recurrent: for products of matrices only, whose backward pass gains on such a CPU too: a step of the
    lesson translation took 0.10 to 0.12 s instead of 0.16 to 0.17 (two EPYC cores, 29 November 2026).
    """
    import torch

    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Precision(torch.bfloat16, False, "this GPU computes bfloat16")
        return Precision(torch.float16, training, "this GPU has no bfloat16")
    if device.type == "mps":
        return Precision(torch.float32, False, "half precision gains little on Apple GPUs")
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    if known.get("amx_bf16") or (known.get("avx512_bf16") and (recurrent or not training)):
        return Precision(torch.bfloat16, False, "this CPU multiplies bfloat16")
    if known.get("avx512_bf16"):
        return Precision(torch.float32, False, "this CPU is slower at bfloat16 gradients")
    return Precision(torch.float32, False, "this CPU is not known to multiply bfloat16")


def autocast(device: "torch.device", precision: Precision) -> "torch.autocast":
    """Mixed precision: float32 weights, matrix products in `precision`."""
    import torch

    return torch.autocast(device.type, precision.dtype, enabled=precision.dtype != torch.float32)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a torch error means that the memory of any device is exhausted."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or bool(
        re.search(r"out of memory|can't allocate memory|not enough memory|ALLOC_FAILED", str(error))
    )


def images_at_a_time(device: "torch.device") -> int | None:
    """Fastest number of images per forward pass: on a CPU what fits its cache; None: no limit.

    On two AMD EPYC cores without AVX-512 EfficientNet-Lite0 trained at 18 and 25 images/s 16 at a time, at 14 and 16
    images/s 64 at a time (27 November 2026).
    """
    return 16 if device.type == "cpu" else None


def describe_device(device: "torch.device") -> str:
    """As in `cuda (NVIDIA A100)` or `cpu (2 threads)`."""
    import torch

    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} threads)" if device.type == "cpu" else str(device)


def describe_machine(device: "torch.device") -> dict[str, Any]:
    """Facts of the machine that decide the last bits of sums, and the cost, for a run's metrics.json.

    device: `cpu`, `cuda` or `mps`. devices: number of GPUs or, on a CPU, of cores.
    """
    import torch

    on_gpu = device.type != "cpu"
    return {
        "device": device.type,
        "devices": world_size() if on_gpu else cpu_count(),
        "name": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def peak_memory() -> float | None:
    """Peak memory of this process in GB; None where the system does not report it."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9, 2)


def processor() -> str:
    """Model name of the processor, or its family where the system does not report it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@contextmanager
def use_threads(count: int | None) -> Iterator[None]:
    """Set torch's number of threads, by which sums are rounded, within the block; None: leave it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
