"""Digits: the same images for a network of 1998 and one of today, few and many of them, as they are and distorted.

course.source=FOLDER|CSV: digits of your own, a column a pixel. course.heldout=CSV: others, to be tested on.
"""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kagglepipe.course.fitting import fit
from kagglepipe.course.handwriting import DigitBatches, Digits, probabilities, read_digits, split
from kagglepipe.course.lesson import Lesson
from kagglepipe.course.pictures import picture
from kagglepipe.models.small_cnn import SmallCnn
from kagglepipe.training.device import choose_precision

SIZES = (100, 1000, 10_000)  # digits to learn from, or as many as there are
EPOCHS = {100: 120, 1000: 40, 10_000: 15}  # so that few are seen more often
WIDTH = 16  # of the network of today; 32 in competition=digit_recognizer
COLUMNS, SHOWN = 9, 36  # of wrong digits


def lenet5() -> nn.Sequential:
    """Make LeNet-5 as LeCun et al. 1998 drew it, but for its full connections between the maps: 61,706 weights.

    1×28×28 → C1 6×28×28 → S2 6×14×14 → C3 16×10×10 → S4 16×5×5 → C5 120 → F6 84 → 10
    """
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(16, 120, 5), nn.Tanh(), nn.Flatten(),
        nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
    )  # fmt: skip


def modern() -> nn.Sequential:
    """Make the small network of competition=digit_recognizer: 3×3 convolutions, ReLU and maxima."""
    features = SmallCnn(in_chans=1, width=WIDTH)
    return nn.Sequential(features, nn.Linear(features.num_features, 10))


NETWORKS: dict[str, Callable[[], nn.Sequential]] = {"LeNet-5": lenet5, "modern": modern}
RATES = {"LeNet-5": 2e-3, "modern": 2e-3}  # learning rates


def as_image(x: Tensor) -> Tensor:
    """Images (B, 28, 28) with one channel, (B, 1, 28, 28)."""
    return x[:, None]


def draw_curves(errors: dict[str, dict[int, float]], path: Path) -> None:
    """Draw the share of wrong digits against the number that was learnt from, both logarithmic."""
    with picture(path, width=5.5, height=3.6) as (_, axes):
        for name, of_size in errors.items():
            style = "-" if name.endswith("augmented") else "--"
            axes[0, 0].loglog(list(of_size), list(of_size.values()), style, marker="o", label=name)
        axes[0, 0].set_xlabel("digits to learn from")
        axes[0, 0].set_ylabel("share of wrong digits")
        axes[0, 0].legend(fontsize=8)


def draw_wrong(test: Digits, probs: NDArray[np.float64], path: Path) -> None:
    """Draw the wrong digits, those first that the network was surest of: what they are → what it said."""
    said, sure = probs.argmax(axis=1), probs.max(axis=1)
    wrong = np.flatnonzero(said != test.labels)
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")][:SHOWN]
    with picture(path, max(1, -(-len(wrong) // COLUMNS)), COLUMNS, width=0.85, height=1.1) as (_, axes):
        for axis in axes.flat:
            axis.axis("off")
        for axis, row in zip(axes.flat, wrong.tolist(), strict=False):
            axis.imshow(test.images[row], cmap="gray_r", vmin=0, vmax=255)
            axis.set_title(f"{test.labels[row]} → {said[row]}  {sure[row]:.2f}", fontsize=7)


def run(lesson: Lesson) -> dict[str, Any]:
    """Train both networks on few and many digits, plain and augmented; test each on digits that none has seen."""
    train, test = split(read_digits(lesson.options.source), lesson.options.heldout, lesson.seed)
    sizes = dict[int, int]()
    for size in SIZES[: lesson.size(3, 1)]:
        sizes.setdefault(min(size, len(train.labels)), EPOCHS[size])
    accuracy: dict[str, dict[int, float]] = {}
    for (name, make), way in product(NETWORKS.items(), ("plain", "augmented")):
        row = accuracy.setdefault(f"{name}, {way}", {})
        for size, epochs in sizes.items():
            torch.manual_seed(lesson.seed)
            network, some = make().to(lesson.device), train.rows(np.arange(size))
            batch_size = min(64, max(8, size // 20))
            batches = DigitBatches(some, as_image, batch_size=batch_size, augmented=way != "plain", seed=lesson.seed)
            fit(
                network, batches, name=f"{name}, {way}, {size} digits", epochs=lesson.size(epochs, 3), lr=RATES[name],
                batch_size=batch_size, seed=lesson.seed, weight_decay=0.05, label_smoothing=0.1,
                precision=choose_precision(lesson.device, training=True),
            )  # fmt: skip
            probs = probabilities(network, test, as_image, lesson.device)  # the last are drawn: of the best network
            row[size] = float((probs.argmax(axis=1) == test.labels).mean())
    draw_curves({name: {n: 1 - right for n, right in row.items()} for name, row in accuracy.items()},
                lesson.folder / "curves.png")  # fmt: skip
    draw_wrong(test, probs, lesson.folder / "wrong.png")
    parameters = {name: sum(one.numel() for one in make().parameters()) for name, make in NETWORKS.items()}
    return {"tested_on": len(test.labels), "parameters": parameters, "accuracy": accuracy}
