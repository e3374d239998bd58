"""Export the networks of a run of images to ONNX, one graph for all folds, checked against torch.

Input: images of the network's size (B, S, S, channels) of uint8; normalisation is in the graph. Output: predictions
(B, C), the mean over folds and turned views, as `training.inference.run_probabilities` gives them.
"""

import logging
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kagglepipe.errors import UserError
from kagglepipe.files import atomic
from kagglepipe.training.checkpoint import Checkpoint, class_orders, load_classifier
from kagglepipe.training.links import LINKS

TOLERANCE = 1e-4  # largest difference to torch, of predictions, or of the largest where that is above 1
TURNS: dict[str, Callable[[Tensor], Tensor]] = {  # as `images.views.TURNS`, of a batch
    "flip": lambda images: images.flip(2),
    "vertical": lambda images: images.flip(1),
    "transpose": lambda images: images.transpose(1, 2),
}


class MeanOfFolds(nn.Module):
    """Mean prediction of the networks of the folds, over turned views: images (B, S, S, channels) -> (B, C).

    Folds that share a backbone share its pass. tta: names of TURNS.
    """

    def __init__(self, checkpoints: Sequence[Checkpoint], tta: Sequence[str] = ()) -> None:
        super().__init__()
        networks = [load_classifier(one) for one in checkpoints]
        self.encoders = nn.ModuleList(networks[:1] if checkpoints[0].meta["shared_backbone"] else networks)
        self.heads = nn.ModuleList(one.head for one in networks)
        self.orders, self.tta = class_orders(checkpoints), tta
        self.predict = LINKS[checkpoints[0].meta.get("task", "multiclass")].predict

    def forward(self, images: Tensor) -> Tensor:
        found = []
        for view in [images, *(TURNS[name](images) for name in self.tta)]:
            features = [encoder.features(view) for encoder in self.encoders]
            for number, (head, order) in enumerate(zip(self.heads, self.orders, strict=True)):
                found.append(self.predict(head(features[number % len(features)]))[:, order])
        return torch.stack(found).mean(dim=0)


def check_onnx() -> None:
    """Raises UserError unless the packages that write ONNX are installed."""
    if missing := [name for name in ("onnx", "onnxscript") if find_spec(name) is None]:
        raise UserError(f"export needs {' and '.join(missing)}: type pip install 'kagglepipe[onnx]'")


def export_onnx(network: nn.Module, examples: NDArray[np.uint8], path: Path, metadata: dict[str, str]) -> float:
    """Write the network as an ONNX file for batches of any size; returns the largest difference to torch.

    examples: images (B, S, S, channels), B at least 3, on which both are compared. Raises UserError if the network
    cannot be converted or gives other predictions; no file is left then.
    """
    import onnx

    images = torch.from_numpy(examples)
    for name in ("onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.WARNING)  # which tell of each constant that they fold
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of torch's own deprecations
            program = torch.onnx.export(
                network.eval(), (images[:2],), input_names=["images"], output_names=["predictions"], dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},), verbose=False,
            )  # fmt: skip
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise UserError(f"this network cannot be converted to ONNX: {reason}") from error
    model: Any = program.model_proto
    for name, value in metadata.items():
        model.metadata_props.add(key=name, value=value)
    with atomic(path) as temporary:
        onnx.save(model, temporary)
        with torch.no_grad():
            expected = network(images).numpy()
        difference = float(abs(evaluate(temporary, examples) - expected).max())
        if difference > TOLERANCE * max(1.0, abs(expected).max()):
            raise UserError(
                f"the ONNX network differs from torch by {difference:.2g}, {TOLERANCE} is allowed: none is kept"
            )
    return difference


def evaluate(path: Path, images: NDArray[Any]) -> NDArray[np.float32]:
    """Predictions (B, C) of an ONNX file, by onnxruntime or, where it is not installed, onnx's reference evaluator."""
    if find_spec("onnxruntime") is None:
        from onnx.reference import ReferenceEvaluator

        found: list[Any] = ReferenceEvaluator(str(path)).run(None, {"images": images})
    else:
        from onnxruntime import InferenceSession

        found = InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"images": images})
    predictions: NDArray[np.float32] = found[0]
    return predictions
