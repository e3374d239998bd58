"""Inference backends: torch or, on a CPU, OpenVINO where it is faster.

Both give an `Encoder`, a function from images to features; their features differ by rounding (TOLERANCE). The compiled
OpenVINO network and the measured speeds are cached beside the pretrained weights.
"""

import io
import logging
import re
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kagglepipe.errors import UserError
from kagglepipe.files import exclusive_lock, read_json, sha256, write_bytes, write_json
from kagglepipe.models.classifier import Classifier, for_inference
from kagglepipe.training.checkpoint import tensors_hash
from kagglepipe.training.device import Precision, choose_device, choose_precision

if TYPE_CHECKING:
    from openvino import CompiledModel

log = logging.getLogger(__name__)
Encoder = Callable[[NDArray[Any]], NDArray[np.float32]]  # images (B, S, S, channels) -> features (B, F)

TOLERANCE = {
    torch.float32: 1e-3,
    torch.bfloat16: 5e-2,
}  # largest difference between backends, relative to the largest feature
MIN_SPEEDUP = 1.1  # of OpenVINO over torch, for `auto` to choose it
PROBE_IMAGES = 16  # one batch, on which both are timed


@dataclass(frozen=True)
class InferenceBackend:
    """Device, precision and library of inference.

    name: `torch`, `openvino`, or `auto` for the faster one. cache_dir: folder of compiled networks and measured speeds;
    None caches nothing, and `auto` is then torch, since each command would have to measure anew.
    """

    device: torch.device
    precision: Precision
    name: str = "torch"
    cache_dir: Path | None = None

    @property
    def uncached(self) -> "InferenceBackend":
        """The same without a cache, for weights that no later command will see."""
        return replace(self, cache_dir=None)

    def resolve(self, model: Classifier) -> str:
        """Choose `torch` or `openvino` for this network on this machine. Raises UserError if it is not available."""
        if self.name == "openvino":
            check_openvino(self.device)
            if model.preprocessing.bits != 8:
                raise UserError(
                    "engine=openvino is not tried with model.in_bits=16: type engine=torch, or leave it out"
                )
        if self.name != "auto":
            return self.name
        can = (
            model.preprocessing.bits == 8
            and self.device.type == "cpu"
            and self.cache_dir is not None
            and self.precision.dtype in TOLERANCE
        )
        return "openvino" if can and has_openvino() and self._openvino_is_faster(model) else "torch"

    def encoder(self, model: Classifier) -> Encoder:
        """Make the function from images (B, S, S, channels) to features (B, F). Raises as `resolve`."""
        if self.resolve(model) == "torch":
            return torch_encoder(model.to(self.device), self.precision.dtype)
        return openvino_encoder(self._compiled(model))

    def _openvino_is_faster(self, model: Classifier) -> bool:
        """Whether OpenVINO gives the same features in less time, measured once for each network and machine."""
        note = self._file(model, "json")
        with exclusive_lock(note, "engine"):
            known = read_json(note) if note.exists() else {}
            if (here := machine()) not in known:
                known[here] = self._measure(model)
                write_json(note, known)
        return bool(known[here]["openvino"] >= MIN_SPEEDUP * known[here]["torch"])

    def _measure(self, model: Classifier) -> dict[str, float]:
        """Measure images/s of both; 0 for OpenVINO if it cannot convert this network or gives other features."""
        size, form = model.preprocessing.size, model.preprocessing.form
        shape = (PROBE_IMAGES, size, size, form.channels)
        images = np.random.default_rng(0).integers(0, 2**form.bits, shape, form.dtype)
        ours = torch_encoder(model, self.precision.dtype)
        try:
            theirs = openvino_encoder(self._compiled(model))
            expected, found = ours(images), theirs(images)
        except (OSError, MemoryError):
            raise  # a full disk is no fault of the network
        except Exception as error:  # its converter raises errors of any class
            log.warning(
                "inference: OpenVINO cannot convert this network (%s): torch is used", str(error).split("\n")[0]
            )
            return {"torch": 1.0, "openvino": 0.0}
        if abs(found - expected).max() > TOLERANCE[self.precision.dtype] * abs(expected).max():
            log.warning("inference: OpenVINO gives other features for this network: torch is used")
            return {"torch": 1.0, "openvino": 0.0}
        rates = {"torch": rate(ours, images), "openvino": rate(theirs, images)}
        log.info("inference: torch %(torch).0f images/s, OpenVINO %(openvino).0f", rates)
        return rates

    def _compiled(self, model: Classifier) -> "CompiledModel":
        """Compile the network for OpenVINO, or load it from the cache."""
        precision = {torch.bfloat16: "bf16"}.get(self.precision.dtype, "f32")
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        core = openvino_core()
        kept = self.cache_dir and self._file(model, f"{sha256(machine())[:8]}.openvino")
        if kept and kept.exists():
            try:
                compiled = core.import_model(stream := io.BytesIO(kept.read_bytes()), "CPU", options)
                compiled.stream = stream  # the stream must live as long as the network
                return compiled
            except RuntimeError as error:
                log.warning("%s cannot be used (%s): it is made anew", kept, str(error).split("\n")[0])
        compiled = core.compile_model(convert(model), "CPU", options)
        if kept:
            write_bytes(kept, compiled.export_model().getvalue())
        return compiled

    def _file(self, model: Classifier, suffix: str) -> Path:
        """Path in the cache, hashed from the network, its weights and input, and the precision."""
        assert self.cache_dir is not None
        layers = re.sub(r" at 0x[0-9a-f]+", "", repr(model.backbone))  # the same weights fit several networks
        what = (
            tensors_hash(model.backbone.state_dict()),
            layers,
            repr(model.preprocessing),
            self.precision.name + model.preprocessing.form.suffix,
        )
        return self.cache_dir / f"engine-{sha256(*what)[:12]}.{suffix}"


def make_backend(device: str = "auto", name: str = "auto", cache_dir: Path | None = None) -> InferenceBackend:
    """Make the backend of the options `device` and `engine`, with the precision that the device is fast in."""
    chosen = choose_device(device)
    return InferenceBackend(chosen, choose_precision(chosen), name, cache_dir)


def has_openvino() -> bool:
    """Whether OpenVINO is installed; a mere folder of that name has no origin."""
    spec = find_spec("openvino")
    return spec is not None and spec.origin is not None


def check_openvino(device: torch.device) -> None:
    """Raises UserError unless OpenVINO is installed and the device a CPU."""
    if not has_openvino():
        raise UserError("engine=openvino is not installed: type pip install 'kagglepipe[openvino]'")
    if device.type != "cpu":
        raise UserError(f"engine=openvino is for CPUs, not {device}: type device=cpu, or leave engine out")


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # as if not installed
    import openvino

    if absl := sys.modules.get("absl.logging"):  # imported by openvino if installed
        # at exit its handler closes the stream that was standard error at import
        absl.get_absl_handler().python_handler.setStream(sys.__stderr__)
    return openvino


@cache
def openvino_core() -> Any:
    """The one `openvino.Core` of this process.

    Each core sets a stack for the signal handlers of its thread, and puts back the one before when it ends. Of two that
    do not end in reverse order, that one is gone, and the next signal to Python (a child's end, after a data loader has
    run) is the end of the process.
    """
    return import_openvino().Core()


def machine() -> str:
    """Describe CPU, threads and library versions: what speeds depend on beside the network."""
    return f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads, " + ", ".join(
        f"{name} {version(name)}" for name in ("torch", "openvino")
    )


def torch_encoder(model: Classifier, dtype: torch.dtype) -> Encoder:
    """Encode with torch, batch norms folded, in `dtype`, on the model's device."""
    device = model.head.weight.device
    with torch.inference_mode():  # tensors made outside of it fail inside
        ready = for_inference(model, dtype)

    @torch.inference_mode()
    def encode(images: NDArray[Any]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = (
            ready.features(torch.from_numpy(images).to(device, non_blocking=True)).cpu().numpy()
        )
        return found

    return encode


def openvino_encoder(compiled: "CompiledModel") -> Encoder:
    """Encode with OpenVINO."""

    def encode(images: NDArray[Any]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = compiled(images)[0].copy()  # the next call overwrites its output
        return found

    return encode


class _Features(nn.Module):
    """`Classifier.features` as `forward`, for OpenVINO's converter."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model.features(images)


def convert(model: Classifier) -> Any:
    """Convert the network in float32 to OpenVINO, for batches of any size."""
    openvino = import_openvino()
    size, form = model.preprocessing.size, model.preprocessing.form
    shape = (size, size, form.channels)
    ready = _Features(for_inference(model.cpu(), torch.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is deprecated, but the converter needs it
        traced = torch.jit.trace(ready, torch.from_numpy(np.zeros((1, *shape), form.dtype)), check_trace=False)
        return openvino.convert_model(traced, input=[openvino.PartialShape([-1, *shape])])


def rate(encode: Encoder, images: NDArray[Any]) -> float:
    """Measure images/s of a warm encoder: the best of three passes."""
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        encode(images)
        taken.append(time.perf_counter() - start)
    return round(len(images) / min(taken), 1)
