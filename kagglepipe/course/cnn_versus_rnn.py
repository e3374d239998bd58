"""CNN versus RNN: a digit as an image, as rows one after another, as pixels one after another, in order or not.

A convolution uses one set of weights at every place, a recurrent network one at every time. Each is at home where
neighbours belong together: what a fixed shuffle of the pixels takes away shows how much a network lives on that.

course.source=FOLDER|CSV: digits of your own, a column a pixel. course.heldout=CSV: others, to be tested on.
"""

from collections.abc import Callable
from itertools import product
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kagglepipe.course.fitting import FLOAT32, fit
from kagglepipe.course.handwriting import DigitBatches, Prepare, as_tensor, probabilities, read_digits, split
from kagglepipe.course.lesson import Lesson
from kagglepipe.course.pictures import COLOURS, picture
from kagglepipe.models.recurrent import Recurrent
from kagglepipe.models.small_cnn import SmallCnn
from kagglepipe.training.device import choose_precision

HIDDEN, WIDTH = 128, 16
PIXELS = 14 * 14  # means of four: 784 steps would take four times as long
ORDER = torch.randperm(PIXELS, generator=torch.Generator().manual_seed(0))


def rows(images: Tensor) -> Tensor:
    """Row by row: images (B, 28, 28) -> 28 steps of 28 numbers."""
    return images


def pixels(images: Tensor) -> Tensor:
    """Pixel by pixel: images (B, 28, 28) -> (B, 196, 1), means of four pixels each."""
    return F.avg_pool2d(images[:, None], 2).flatten(1)[:, :, None]


def permuted(images: Tensor) -> Tensor:
    """The pixels in another order, the same for all images."""
    return pixels(images)[:, ORDER]


class Cnn(nn.Module):
    """Fold the steps (B, T, F) into an image again, and convolve: (B, 10)."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.features = SmallCnn(in_chans=1, width=WIDTH)
        self.V = nn.Linear(self.features.num_features, 10)

    def forward(self, x: Tensor) -> Tensor:
        side = isqrt(x[0].numel())
        return self.V(self.features(x.reshape(len(x), 1, side, side)))


class Rnn(nn.Module):
    """Read the steps (B, T, F) one after another, and answer from the mean of the states and the last: (B, 10)."""

    def __init__(self, cell: str, inputs: int) -> None:
        super().__init__()
        self.recurrent, self.V = Recurrent(inputs, HIDDEN, cell=cell), nn.Linear(2 * HIDDEN, 10)

    def forward(self, x: Tensor) -> Tensor:
        states = self.recurrent.encode(x)
        return self.V(torch.cat([states.mean(dim=1), states[:, -1]], dim=1))


NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "CNN": Cnn,
    "Elman": lambda inputs: Rnn("elman", inputs),
    "LSTM": lambda inputs: Rnn("lstm", inputs),
}
RATES = {"CNN": 2e-3, "Elman": 1e-3, "LSTM": 4e-3}  # learning rates
WAYS: dict[str, tuple[Prepare, int]] = {  # what a network is given, and for how many epochs
    "row by row": (rows, 40),
    "pixel by pixel": (pixels, 12),
    "permuted pixels": (permuted, 12),
}
BATCH = 64


def draw_ways(image: Tensor, path: Path) -> None:
    """Draw one digit (28, 28) as it is given to a network, time from left to right."""
    with picture(path, 3, 1, width=8, height=1.5) as (_, axes):
        for axis, (name, (prepare, _)) in zip(axes[:, 0], WAYS.items(), strict=True):
            steps = prepare(image[None])[0].numpy()
            if steps.shape[1] > 1:
                axis.imshow(steps.T, cmap="gray_r", aspect="auto")
            else:
                axis.plot(steps, linewidth=0.8)
            axis.set_ylabel(name, fontsize=8)
        axis.set_xlabel("step")


def draw_accuracy(accuracy: dict[str, dict[str, float]], path: Path) -> None:
    """Draw the share of wrong digits of each network given in each way, logarithmic."""
    with picture(path, width=5.5, height=3) as (_, axes):
        for n, (name, row) in enumerate(accuracy.items()):
            places = [k + 0.27 * (n - 1) for k in range(len(row))]
            axes[0, 0].bar(places, [1 - right for right in row.values()], 0.25, label=name, color=COLOURS[n])
        axes[0, 0].set_xticks(range(len(WAYS)), WAYS)
        axes[0, 0].set_yscale("log")
        axes[0, 0].set_ylabel("share of wrong digits")
        axes[0, 0].legend(fontsize=8)


def run(lesson: Lesson) -> dict[str, Any]:
    """Train each network on distorted digits given in each way; test them on digits that none has seen."""
    train, test = split(read_digits(lesson.options.source), lesson.options.heldout, lesson.seed)
    train = train.rows(np.arange(len(train.labels))[: lesson.size(len(train.labels), 200)])
    accuracy: dict[str, dict[str, float]] = {name: {} for name in NETWORKS}
    parameters: dict[str, dict[str, int]] = {name: {} for name in NETWORKS}
    for (way, (prepare, epochs)), (name, make) in product(WAYS.items(), NETWORKS.items()):
        torch.manual_seed(lesson.seed)
        network = make(prepare(as_tensor(train.images[:1])).shape[2]).to(lesson.device)
        fit(
            network, DigitBatches(train, prepare, batch_size=BATCH, augmented=True, seed=lesson.seed),
            name=f"{name}, {way}", epochs=lesson.size(epochs, 1), lr=RATES[name], batch_size=BATCH, seed=lesson.seed,
            weight_decay=0.01, label_smoothing=0.05,
            precision=choose_precision(lesson.device, training=True) if name == "CNN" else FLOAT32,
        )  # fmt: skip
        said = probabilities(network, test, prepare, lesson.device).argmax(axis=1)
        accuracy[name][way] = float((said == test.labels).mean())
        parameters[name][way] = sum(one.numel() for one in network.parameters())
    draw_ways(as_tensor(test.images[:1])[0], lesson.folder / "ways.png")
    draw_accuracy(accuracy, lesson.folder / "accuracy.png")
    return {"tested_on": len(test.labels), "accuracy": accuracy, "parameters": parameters}
