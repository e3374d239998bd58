"""Items with a time axis as a temporal model wants them: padded batches that carry their lengths.

What is drawn depends on (seed, epoch, id) alone, never on a generator that is carried along.
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
    """One item: features (T, F), memory-mapped or not, and its label: () for a clip, (T,) where each frame has one."""

    id: str
    features: NDArray[np.floating]
    label: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.features)


class Batch(NamedTuple):
    """features (B, T, F) float32, zero where padded; lengths (B,); labels (B,) or (B, T), IGNORE_INDEX where padded."""

    features: Tensor
    lengths: Tensor
    labels: Tensor


def collate(items: Sequence[tuple[NDArray[Any], NDArray[np.int64]]]) -> Batch:
    """A batch of (features (t, F), label () or (t,)) of several lengths."""
    lengths = [len(features) for features, _ in items]
    first, label = items[0]
    padded = np.zeros((len(items), max(lengths), *first.shape[1:]), np.float32 if first.dtype != np.uint8 else np.uint8)
    labels = np.full((len(items), max(lengths)) if label.ndim else len(items), IGNORE_INDEX, np.int64)
    for row, (features, label) in enumerate(items):
        padded[row, : len(features)] = features
        labels[(row, slice(len(features))) if label.ndim else row] = label
    return Batch(torch.from_numpy(padded), torch.tensor(lengths), torch.from_numpy(labels))


class TrainingBatches:
    """The augmented batches of an epoch: `batches(epoch)`; items longer than `window` give a piece for each window."""

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
        self.pieces = [
            (row, piece)
            for row, example in enumerate(self.examples)
            for piece in range(1 if window is None else -(-len(example) // window))
        ]

    def __len__(self) -> int:
        return -(-len(self.pieces) // self.batch_size)

    def __call__(self, epoch: int) -> Iterator[Batch]:
        for pieces in self.epoch(epoch):
            yield collate([self.piece(row, piece, epoch) for row, piece in pieces])

    def contents(self, epoch: int, number: int) -> list[str]:
        """Ids of the items of one batch."""
        batch = next(islice(self.epoch(epoch), number, None))
        return [self.examples[row].id for row, _ in batch]

    def epoch(self, epoch: int) -> Iterator[list[tuple[int, int]]]:
        """(row, piece) of each batch of an epoch."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.pieces))
        for start in range(0, len(order), self.batch_size):
            yield [self.pieces[n] for n in order[start : start + self.batch_size]]

    def positions(self, row: int, piece: int, epoch: int) -> NDArray[np.int64]:
        """The frames of one augmented look at an item."""
        example = self.examples[row]
        rng = np.random.default_rng(draw_seed(self.seed, epoch, f"{example.id}/{piece}"))
        return draw_positions(len(example), self.options, rng, window=self.window)

    def piece(self, row: int, piece: int, epoch: int) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
        """(features (t, F), label) of one augmented look at an item."""
        example, at = self.examples[row], self.positions(row, piece, epoch)
        return example.features[at], example.label[at] if example.label.ndim else example.label


class ClipBatches:
    """As TrainingBatches, but of frames, which `read` fetches: (example, positions, epoch) -> frames.

    frames: most frames of a piece; positions are thinned evenly to so many. Threads read ahead of the network.
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
        self.order = TrainingBatches(examples, options, batch_size=batch_size, window=window, seed=seed)
        self.read, self.frames, self.workers = read, frames, workers

    def __len__(self) -> int:
        return len(self.order)

    def __call__(self, epoch: int) -> Iterator[Batch]:
        def make(pieces: list[tuple[int, int]]) -> Batch:
            return collate([self.piece(*piece, epoch) for piece in pieces])

        return parallel_map(make, self.order.epoch(epoch), workers=self.workers, ahead=2)

    def contents(self, epoch: int, number: int) -> list[str]:
        """Ids of the items of one batch."""
        return self.order.contents(epoch, number)

    def piece(self, row: int, piece: int, epoch: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """(frames (t, size, size, 3), label) of one augmented look at an item."""
        example, at = self.order.examples[row], self.order.positions(row, piece, epoch)
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
    kept[0] = True
    return positions[np.maximum.accumulate(np.where(kept, np.arange(count), 0))]
