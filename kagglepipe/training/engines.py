"""What looks through a network that is not being trained: torch or, on a CPU, OpenVINO where that is faster.

Both are an `Encoder`, a function from images to features, and differ by rounding (TOLERANCE). What OpenVINO makes of a
network is kept beside the first weights, and so is which of the two was faster on this machine.
"""

import io
import logging
import re
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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
from kagglepipe.models.classifier import Classifier
from kagglepipe.models.folding import for_inference
from kagglepipe.training.checkpoint import tensors_hash
from kagglepipe.training.device import Precision

if TYPE_CHECKING:
    from openvino import CompiledModel

log = logging.getLogger(__name__)
Encoder = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # images (B, size, size, 3) -> features (B, F)

TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2}  # of the largest feature: the most by which engines may differ
GAIN = 1.1  # how much faster OpenVINO must be than torch to be chosen
TRIED = 16  # images on which both are tried, as many as they get at a time


@dataclass(frozen=True)
class Engine:
    """Where and by what networks are looked through.

    wanted: `torch`, `openvino`, or `auto` for the faster one. kept_in: folder for what is made of a network and found
    out about it; None keeps nothing, and `auto` is then torch, since OpenVINO would have to be asked anew each time.
    """

    device: torch.device
    precision: Precision
    wanted: str = "torch"
    kept_in: Path | None = None

    def name_for(self, model: Classifier) -> str:
        """`torch` or `openvino`, for this network on this machine. Raises UserError if the one wanted cannot be had."""
        if self.wanted == "openvino":
            demand_openvino(self.device)
        if self.wanted != "auto":
            return self.wanted
        can = self.device.type == "cpu" and self.kept_in is not None and self.precision.dtype in TOLERANCE
        return "openvino" if can and is_installed() and self._is_faster(model) else "torch"

    def encoder(self, model: Classifier) -> Encoder:
        """The function from images to features; `model` stays as it is. Raises as `name_for`."""
        if self.name_for(model) == "torch":
            return torch_encoder(model.to(self.device), self.precision.dtype)
        return openvino_encoder(self._compiled(model))

    def _is_faster(self, model: Classifier) -> bool:
        """Whether OpenVINO gives the same features in less time; asked once a network and machine, then kept."""
        note = self._file(model, "json")
        with exclusive_lock(note, "engine"):
            known = read_json(note) if note.exists() else {}
            if (here := machine()) not in known:
                known[here] = self._compared(model)
                write_json(note, known)
        return bool(known[here]["openvino"] >= GAIN * known[here]["torch"])

    def _compared(self, model: Classifier) -> dict[str, float]:
        """Images a second of both; 0 for OpenVINO if it cannot do this network, or does it otherwise."""
        size = model.preprocessing.size
        images = np.random.default_rng(0).integers(0, 256, (TRIED, size, size, 3), np.uint8)
        ours = torch_encoder(model, self.precision.dtype)
        try:
            theirs = openvino_encoder(self._compiled(model))
            expected, found = ours(images), theirs(images)
        except (OSError, MemoryError):
            raise  # a full disk says nothing of the network
        except Exception as error:  # whatever its converter raises: torch does the work then
            log.warning("engine: OpenVINO does not take this network (%s); torch does", str(error).split("\n")[0])
            return {"torch": 1.0, "openvino": 0.0}
        if abs(found - expected).max() > TOLERANCE[self.precision.dtype] * abs(expected).max():
            log.warning("engine: OpenVINO gives other features of this network; torch does it")
            return {"torch": 1.0, "openvino": 0.0}
        rates = {"torch": rate(ours, images), "openvino": rate(theirs, images)}
        log.info("engine: torch %(torch).0f images/s, OpenVINO %(openvino).0f", rates)
        return rates

    def _compiled(self, model: Classifier) -> "CompiledModel":
        """OpenVINO's form of the network, from the folder where it is kept if it is there."""
        openvino = silent_openvino()
        precision = {torch.bfloat16: "bf16"}.get(self.precision.dtype, "f32")
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        core = openvino.Core()
        kept = self.kept_in and self._file(model, f"{sha256(machine())[:8]}.openvino")
        if kept and kept.exists():
            try:
                compiled = core.import_model(stream := io.BytesIO(kept.read_bytes()), "CPU", options)
                compiled.stream = stream  # which has to live as long
                return compiled
            except RuntimeError as error:
                log.warning("%s cannot be used (%s): it is made anew", kept, str(error).split("\n")[0])
        compiled = core.compile_model(converted(model), "CPU", options)
        if kept:
            write_bytes(kept, compiled.export_model().getvalue())
        return compiled

    def _file(self, model: Classifier, suffix: str) -> Path:
        """A file for what depends on the network, its weights and input, and the precision."""
        assert self.kept_in is not None
        layers = re.sub(r" at 0x[0-9a-f]+", "", repr(model.backbone))  # which the same weights may fill otherwise
        what = tensors_hash(model.backbone.state_dict()), layers, repr(model.preprocessing), self.precision.name
        return self.kept_in / f"engine-{sha256(*what)[:12]}.{suffix}"


def is_installed() -> bool:
    """Whether OpenVINO is; a folder of that name has no origin."""
    spec = find_spec("openvino")
    return spec is not None and spec.origin is not None


def demand_openvino(device: torch.device) -> None:
    """Raises UserError unless OpenVINO is installed and the device a CPU."""
    if not is_installed():
        raise UserError("engine=openvino is not installed: type pip install 'kagglepipe[openvino]'")
    if device.type != "cpu":
        raise UserError(f"engine=openvino is for CPUs, not {device}: type device=cpu, or leave engine away")


def silent_openvino() -> Any:
    """The library, without the one beside it that tells its makers of every conversion."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # as if it were not installed
    import openvino

    if absl := sys.modules.get("absl.logging"):  # which openvino imports where it is there
        # its handler closes, with all others, a stream that was standard error when it was imported and is not any more
        absl.get_absl_handler().python_handler.setStream(sys.__stderr__)
    return openvino


def machine() -> str:
    """What the speed of an engine depends on, beside the network."""
    return f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads, " + ", ".join(
        f"{name} {version(name)}" for name in ("torch", "openvino")
    )


def torch_encoder(model: Classifier, dtype: torch.dtype) -> Encoder:
    """Batch norms folded, in `dtype`, on the model's device."""
    device = model.head.weight.device
    with torch.inference_mode():  # what is made outside of it fails in it
        ready = for_inference(model, dtype)

    @torch.inference_mode()
    def encode(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = (
            ready.features(torch.from_numpy(images).to(device, non_blocking=True)).cpu().numpy()
        )
        return found

    return encode


def openvino_encoder(compiled: "CompiledModel") -> Encoder:
    """The same from OpenVINO."""

    def encode(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = compiled(images)[0].copy()  # what it returns is overwritten by the next call
        return found

    return encode


class _Features(nn.Module):
    """`Classifier.features` as a network of its own, which is what a converter asks for."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model.features(images)


def converted(model: Classifier) -> Any:
    """The network in float32 as OpenVINO's, for batches of any size."""
    openvino = silent_openvino()
    size = model.preprocessing.size
    ready = _Features(for_inference(model.cpu(), torch.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is on its way out, and warns; it is what the converter wants
        traced = torch.jit.trace(ready, torch.zeros(1, size, size, 3, dtype=torch.uint8), check_trace=False)
        return openvino.convert_model(traced, input=[openvino.PartialShape([-1, size, size, 3])])


def rate(encode: Encoder, images: NDArray[np.uint8]) -> float:
    """Images a second: the best of three times, after one that does not count."""
    run = partial(encode, images)
    run()
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return round(len(images) / min(taken), 1)
