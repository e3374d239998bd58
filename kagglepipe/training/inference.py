"""Probabilities of a trained run for any images: the same arithmetic for test photos and for someone's own."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kagglepipe.images.decode import Pixels
from kagglepipe.images.view import clean_view
from kagglepipe.models.classifier import Preprocessing
from kagglepipe.training.backends import InferenceBackend
from kagglepipe.training.checkpoint import Checkpoint, in_first_order, load_classifier, load_head
from kagglepipe.training.features import Features, compute_features
from kagglepipe.training.head import Head


def clean_views(read: Callable[[int], Pixels], preprocessing: Preprocessing) -> Callable[[int], Pixels]:
    """row -> the square that the network sees of the image `read(row)`."""
    p = preprocessing
    return lambda row: clean_view(read(row), p.size, crop=p.crop, crop_pct=p.crop_pct)


def run_probabilities(
    checkpoints: Sequence[Checkpoint],
    read: Callable[[int], Pixels],
    rows: Sequence[int],
    *,
    backend: InferenceBackend,
    workers: int | None = None,
) -> NDArray[np.float64]:
    """(len(rows), classes): the mean over the folds of each one's probabilities for the images `read(row)`.

    Classes are in the order of the first fold's; the others' are put into it by name.
    Folds that share a backbone share its one pass over the images.
    """
    features: dict[Path, Features] = {}
    total = np.zeros(())
    for number, (checkpoint, order) in enumerate(zip(checkpoints, in_first_order(checkpoints), strict=True), 1):
        file = checkpoint.backbone_file
        if file not in features:
            name = "predict" if checkpoint.meta["shared_backbone"] else f"predict {number}/{len(checkpoints)}"
            features[file] = compute_features(
                load_classifier(checkpoint).to(backend.device),
                clean_views(read, checkpoint.preprocessing),
                rows,
                backend=backend if checkpoint.meta["shared_backbone"] else backend.uncached,
                workers=workers,
                progress=name,
            )
        weight, bias = load_head(checkpoint)
        total = total + Head(weight.numpy()[order], bias.numpy()[order], 0.0).probabilities(features[file])
    return total / len(checkpoints)
