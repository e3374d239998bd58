"""Probabilities of a trained run for any images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kagglepipe.images.views import Images
from kagglepipe.training.backends import InferenceBackend
from kagglepipe.training.checkpoint import Checkpoint, class_orders, load_classifier, load_head
from kagglepipe.training.features import Features, compute_features
from kagglepipe.training.head import Head


def run_probabilities(
    checkpoints: Sequence[Checkpoint],
    images: Images,
    rows: Sequence[int],
    *,
    backend: InferenceBackend,
    workers: int | None = None,
) -> NDArray[np.float64]:
    """Predict probabilities (len(rows), C) for rows of `images`: the mean over the folds.

    Classes are in the first fold's order. Folds that share a backbone share one pass over the images.
    """
    features: dict[Path, Features] = {}
    total = np.zeros(())
    for number, (checkpoint, order) in enumerate(zip(checkpoints, class_orders(checkpoints), strict=True), 1):
        file = checkpoint.backbone_file
        if file not in features:
            name = "predict" if checkpoint.meta["shared_backbone"] else f"predict {number}/{len(checkpoints)}"
            features[file] = compute_features(
                load_classifier(checkpoint).to(backend.device),
                checkpoint.preprocessing.views(images),
                rows,
                backend=backend if checkpoint.meta["shared_backbone"] else backend.uncached,
                workers=workers,
                progress=name,
            )
        weight, bias = load_head(checkpoint)
        total = total + Head(weight.numpy()[order], bias.numpy()[order], 0.0).probabilities(features[file])
    return total / len(checkpoints)
