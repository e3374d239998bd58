"""Padded batches of items with a time axis, and their temporal augmentation: random crop, speed and dropped frames.

Random draws depend only on (seed, epoch, id), never on the state of a generator.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kagglepipe.images.dataset import IGNORE_INDEX
from kagglepipe.images.views import draw_seed
from kagglepipe.options import SequenceOptions
from kagglepipe.parallel import parallel_map


@dataclass(frozen=True)
class Example:
    """Item with features (T, F), possibly memory-mapped, and a label: () of a clip, or (T,) of its frames."""

    id: str
    features: NDArray[np.floating]
    label: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.features)


class Batch(NamedTuple):
    """Features (B, T, F) float32, padded by 0; lengths (B,); labels (B,) or (B, T), padded by IGNORE_INDEX."""

    features: Tensor
    lengths: Tensor
    labels: Tensor


def collate(items: Sequence[tuple[NDArray[Any], NDArray[np.int64]]]) -> Batch:
    """Pad and stack (features (t, F), label () or (t,)) of different lengths; frames (t, H, W, 3) stay uint8."""
    lengths = [len(features) for features, _ in items]
    first, label = items[0]
    padded = np.zeros((len(items), max(lengths), *first.shape[1:]), np.float32 if first.dtype != np.uint8 else np.uint8)
    labels = np.full((len(items), max(lengths)) if label.ndim else len(items), IGNORE_INDEX, np.int64)
    for row, (features, label) in enumerate(items):
        padded[row, : len(features)] = features
        labels[(row, slice(len(features))) if label.ndim else row] = label
    return Batch(torch.from_numpy(padded), torch.tensor(lengths), torch.from_numpy(labels))


class TrainingBatches:
    """Augmented batches of an epoch: `batches(epoch)`. Of longer items than `window` it draws several windows.

    window: maximum number of frames (None: no limit); an item has one window for each so many frames.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        options: SequenceOptions,
        *,
        batch_size: int,
        window: int | None,
        seed: int,
    ) -> None:
        self.examples, self.options = list(examples), options
        self.batch_size, self.window, self.seed = batch_size, window, seed
        self.windows = [
            (row, number)
            for row, example in enumerate(self.examples)
            for number in range(1 if window is None else -(-len(example) // window))
        ]

    def __len__(self) -> int:
        return -(-len(self.windows) // self.batch_size)

    def __call__(self, epoch: int) -> Iterator[Batch]:
        for windows in self.order(epoch):
            yield collate([self.load(row, number, epoch) for row, number in windows])

    def contents(self, epoch: int, number: int) -> list[str]:
        """Ids of the items of one batch."""
        batch = next(islice(self.order(epoch), number, None))
        return [self.examples[row].id for row, _ in batch]

    def order(self, epoch: int) -> Iterator[list[tuple[int, int]]]:
        """Yield the (row, window) pairs of each batch of an epoch, in random order."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.windows))
        for start in range(0, len(order), self.batch_size):
            yield [self.windows[n] for n in order[start : start + self.batch_size]]

    def positions(self, row: int, number: int, epoch: int) -> NDArray[np.int64]:
        """Draw the frame indices (t,) of a window of an item."""
        example = self.examples[row]
        rng = np.random.default_rng(draw_seed(self.seed, epoch, f"{example.id}/{number}"))
        return draw_positions(len(example), self.options, rng, window=self.window)

    def load(self, row: int, number: int, epoch: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Load an augmented window: features (t, F), label () or (t,)."""
        example, at = self.examples[row], self.positions(row, number, epoch)
        return example.features[at], example.label[at] if example.label.ndim else example.label


class ClipBatches(TrainingBatches):
    """Augmented batches of frames (B, T, size, size, 3) uint8, decoded by threads ahead of the network.

    read: function from (example, frame indices (t,), epoch) to frames (t, size, size, 3). frames: maximum number of
    frames of a window, which are thinned evenly to so many.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        options: SequenceOptions,
        read: Callable[[Example, NDArray[np.int64], int], NDArray[np.uint8]],
        *,
        batch_size: int,
        frames: int,
        window: int | None,
        seed: int,
        workers: int | None = None,
    ) -> None:
        super().__init__(examples, options, batch_size=batch_size, window=window, seed=seed)
        self.read, self.frames, self.workers = read, frames, workers

    def __call__(self, epoch: int) -> Iterator[Batch]:
        def make(windows: list[tuple[int, int]]) -> Batch:
            return collate([self.load(*window, epoch) for window in windows])

        return parallel_map(make, self.order(epoch), workers=self.workers, ahead=2)

    def load(self, row: int, number: int, epoch: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Load an augmented window: frames (t, size, size, 3), label () or (t,)."""
        example, at = self.examples[row], self.positions(row, number, epoch)
        if len(at) > self.frames:
            at = at[np.linspace(0, len(at) - 1, self.frames).round().astype(int)]
        return self.read(example, at, epoch), example.label[at] if example.label.ndim else example.label


def draw_positions(
    length: int, options: SequenceOptions, rng: np.random.Generator, *, window: int | None = None
) -> NDArray[np.int64]:
    """Draw frame indices (t,), never decreasing, out of 0 … length - 1, by `options.crop`, `speed` and `drop`.

    window: maximum number of indices (None: no limit). From a longer item a window of exactly this length is cut at a
    random place, without `crop`: a batch of equal lengths needs no packing, which is seven times slower on a CPU.
    """
    share = rng.uniform(options.crop, 1.0)
    speed = options.speed ** rng.uniform(-1.0, 1.0)
    span = length * share
    count = max(1, round(span / speed))
    if window is not None and max(length, count) > window:
        span, count = min(float(length), window * speed), window
    start = rng.uniform(0.0, length - span)
    positions = np.floor(start + (np.arange(count) + 0.5) * span / count).astype(np.int64)
    kept = rng.random(count) >= options.drop
    return positions[np.maximum.accumulate(np.where(kept, np.arange(count), 0))]
