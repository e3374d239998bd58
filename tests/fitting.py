"""A problem that a tiny network learns in a second, for the tests of training.

It stands in a module of its own so that processes which tests begin can import it.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray

from kagglepipe.images.augment import Transform
from kagglepipe.images.cache import PixelReader, PixelWriter, write_index
from kagglepipe.images.dataset import TrainingImages
from kagglepipe.models.classifier import Classifier, Preprocessing
from kagglepipe.training.device import Precision
from kagglepipe.training.fit import Conduct, Epoch, Recipe, fit

SIZE, COUNT, CLASSES = 32, 36, 3
FLOAT32 = Precision(torch.float32, False, "tests compare bit by bit")
ROWS = np.arange(COUNT)
TRAIN, VALID = ROWS[:24], ROWS[24:]
RECIPE = Recipe(
    epochs=4,
    lr=3e-3,
    batch_size=8,
    layer_decay=0.9,
    frozen_below=0.0,
    weight_decay=0.01,
    warmup=0.1,
    schedule="cosine",
    clip=1.0,
    label_smoothing=0.0,
    patience=4,
)


def make_images(folder: Path) -> TrainingImages:
    """Thirty-six noisy images of three colours; row n is of class n % 3. Their pixels lie in `folder`."""
    rng = np.random.default_rng(0)
    with (folder / "pixels.bin").open("wb") as file:
        writer = PixelWriter(file, 10**7)
        for label in ROWS % CLASSES:
            image = rng.integers(0, 120, (SIZE, SIZE + 6, 3), dtype=np.uint8)
            image[..., label] += 100
            writer.add(image)
    write_index(folder, writer.index())
    return images_in(folder)


def images_in(folder: Path) -> TrainingImages:
    """What `make_images` has left there."""
    reader = PixelReader([Path(f"{n}.png") for n in ROWS], short_side=SIZE, folder=folder, places=ROWS.tolist())
    return TrainingImages(reader, [f"id{n}" for n in ROWS], ROWS % CLASSES, Transform("light", SIZE), seed=0)


def relabelled(images: TrainingImages, rows: NDArray[np.int64], shift: int = 1) -> TrainingImages:
    """The same images, those of `rows` with a wrong label."""
    labels = images.labels.copy()
    labels[rows] = (labels[rows] + shift) % CLASSES
    return TrainingImages(images.reader, images.ids, labels, images.transform, images.seed)


def network(**options: Any) -> Classifier:
    """A tiny network, the same each time."""
    torch.manual_seed(0)
    backbone = timm.create_model("test_efficientnet", num_classes=0, **options)
    return Classifier(backbone, CLASSES, Preprocessing(SIZE, "squash", 1.0, (0.5,) * 3, (0.5,) * 3, SIZE))


def trained(
    model: Classifier, images: TrainingImages, recipe: Recipe = RECIPE, *, seed: int = 0, workers: int = 0,
    conduct: Conduct | None = None, precision: Precision = FLOAT32,
) -> list[Epoch]:  # fmt: skip
    """The history of a fit in place."""
    return fit(
        model, images, train=TRAIN, valid=VALID, recipe=recipe, seed=seed, precision=precision, workers=workers,
        name="test", conduct=conduct or Conduct(),
    )  # fmt: skip


def untimed(history: list[Epoch]) -> list[Epoch]:
    """A history without the speed, which no two fits share."""
    return [replace(epoch, rate=0.0) for epoch in history]


def assert_same(one: Classifier, other: Classifier) -> None:
    """Equal weights, bit by bit."""
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
