"""What the networks of a run looked at in the images of their own folds."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from kagglepipe.images.decode import Pixels
from kagglepipe.models.activation_maps import activation_maps, last_map
from kagglepipe.models.classifier import for_inference
from kagglepipe.training.checkpoint import Checkpoint, load_classifier, load_head

BATCH = 16  # images: gradients need room


def class_maps(
    checkpoints: Mapping[int, Checkpoint], folds: Sequence[int], views: Sequence[Pixels],
    coefficients: NDArray[np.float32], device: torch.device, dtype: torch.dtype = torch.float32,
) -> tuple[list[NDArray[np.float32]], bool]:  # fmt: skip
    """(map (H, W) of each of N images, whether they are exact), by the network of its fold.

    views: clean views (S, S, C). coefficients: what the map is of, as a sum of the head's outputs, (N, O).
    dtype: of the network up to its last map.
    """
    maps: list[NDArray[np.float32]] = [np.zeros((1, 1), np.float32)] * len(views)
    is_exact = True
    files = {fold: checkpoint.backbone_file for fold, checkpoint in checkpoints.items()}
    for file in sorted({files[fold] for fold in folds}):
        own = [row for row, fold in enumerate(folds) if files[fold] == file]
        model = load_classifier(checkpoints[folds[own[0]]]).to(device)
        ready = for_inference(model, dtype)
        heads = {fold: load_head(checkpoints[fold])[0] for fold in {folds[row] for row in own}}
        for rows in (own[start : start + BATCH] for start in range(0, len(own), BATCH)):
            weight = torch.stack([torch.from_numpy(coefficients[row]) @ heads[folds[row]] for row in rows])
            images = torch.from_numpy(np.stack([views[row] for row in rows]))
            found = activation_maps(model, last_map(ready, images.to(device)), weight.to(device))
            is_exact &= found.is_exact
            for row, one in zip(rows, found.maps.cpu().numpy(), strict=True):
                maps[row] = one
    return maps, is_exact
