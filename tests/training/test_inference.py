"""The folds of a run answer together, each by the names of its own classes."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from kagglepipe.errors import UserError
from kagglepipe.models.classifier import Classifier, Preprocessing
from kagglepipe.runs.run import Run
from kagglepipe.training.backends import InferenceBackend
from kagglepipe.training.checkpoint import read_checkpoints, save_backbone, save_checkpoint
from kagglepipe.training.device import Precision
from kagglepipe.training.inference import run_probabilities

CLASSES = ["cat", "dog", "eel"]
TORCH = InferenceBackend(torch.device("cpu"), Precision(torch.float32, False, "orders are compared"))
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 32, 40, 3), np.uint8)


def answers(run: Path) -> np.ndarray:
    """(4, classes) of the run for the images."""
    return run_probabilities(
        read_checkpoints(Run(run).model_folders()), IMAGES, range(len(IMAGES)), backend=TORCH, workers=1
    )


def test_the_order_of_classes_in_a_fold_and_of_the_rows_changes_nothing(tmp_path: Path) -> None:
    torch.manual_seed(0)
    preprocessing = Preprocessing(32, "squash", 1.0, (0.5,) * 3, (0.5,) * 3, 32)
    model = Classifier(timm.create_model("test_efficientnet", num_classes=0), len(CLASSES), preprocessing).eval()
    save_backbone(model, tmp_path, None)
    heads = {fold: torch.nn.Linear(model.head.in_features, len(CLASSES)).state_dict() for fold in (0, 1)}

    def save(fold: int, order: tuple[int, ...]) -> None:
        model.head.load_state_dict({name: value[list(order)] for name, value in heads[fold].items()})
        meta = {"model": "test_efficientnet", "kwargs": {}, "classes": [CLASSES[n] for n in order]}
        save_checkpoint(tmp_path / f"fold_{fold}", model, shared_backbone=True, meta=meta)

    save(0, (0, 1, 2))
    save(1, (0, 1, 2))
    expected = answers(tmp_path)
    for order in permutations(range(3)):
        save(1, order)
        np.testing.assert_allclose(answers(tmp_path), expected, atol=1e-12)
    back = run_probabilities(read_checkpoints(Run(tmp_path).model_folders()), IMAGES, [3, 1], backend=TORCH, workers=1)
    np.testing.assert_allclose(back, expected[[3, 1]], atol=1e-6)
    save_checkpoint(tmp_path / "fold_1", model, shared_backbone=True, meta={"classes": ["cat", "dog", "owl"]})
    with pytest.raises(UserError, match="fold_1 knows the classes cat, dog, owl, fold_0 cat, dog, eel: delete it"):
        answers(tmp_path)
