"""Training images for torch's DataLoader; order and augmentation depend only on their keys."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kagglepipe import distributed
from kagglepipe.errors import UserError
from kagglepipe.images.decode import Pixels
from kagglepipe.images.views import Views

IGNORE_INDEX = -100  # label of padding, which the loss ignores: the default of torch.nn.CrossEntropyLoss
Order = Callable[[int, int], NDArray[np.int64]]  # (seed, epoch) -> rows
Key = tuple[int, int]  # (epoch, row): the loader asks for these, so that workers need no state


class TrainingImages(Dataset[tuple[Pixels, Any]]):
    """(epoch, row) -> (view (size, size, C), label); row ~n is image n as padding.

    labels: (N,) class indices of the rows of `views`, or columns (N, O) of float32.
    """

    def __init__(self, views: Views, labels: NDArray[Any]) -> None:
        self.views, self.labels = views, labels

    def __getitem__(self, key: Key) -> tuple[Pixels, Any]:
        epoch, row = key
        label: Any
        if self.labels.ndim == 1:
            label = int(self.labels[row]) if row >= 0 else IGNORE_INDEX
        else:
            label = self.labels[row] if row >= 0 else np.full_like(self.labels[0], np.nan)
        pixels = self.views[row if row >= 0 else ~row, epoch]
        return (pixels if pixels.flags.writeable else pixels.copy()), label  # torch warns of read-only cache pages


class EpochBatches:
    """Batches of (epoch, row) for one epoch, shuffled by (seed, epoch); the last one may be smaller.

    rank, ranks: each of several processes gets its part of every batch. A process without any row gets the first one
    as padding, marked by a negative row, so that all do the same number of steps. draw: as many rows for each epoch, of
    which some may come several times; None: all, shuffled.
    """

    def __init__(
        self,
        rows: NDArray[np.int64],
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
        draw: Order | None = None,
    ) -> None:
        self.rows, self.batch_size, self.seed, self.epoch = rows, batch_size, seed, 0
        self.rank, self.ranks, self.draw = rank, ranks, draw

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        order = self.order(self.epoch)
        for start in range(0, len(order), self.batch_size):
            whole = order[start : start + self.batch_size]
            yield [(self.epoch, int(row)) for row in whole[self.rank :: self.ranks]] or [(self.epoch, ~int(whole[0]))]

    def rows_of(self, epoch: int, number: int) -> NDArray[np.int64]:
        """Find the rows (B,) of one batch, of all processes together."""
        return self.order(epoch)[number * self.batch_size : (number + 1) * self.batch_size]

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Rows (N,) in the order of an epoch."""
        if self.draw is not None:
            return self.draw(self.seed, epoch)
        order: NDArray[np.int64] = np.random.default_rng([self.seed, epoch]).permutation(self.rows)
        return order


def training_loader(
    images: TrainingImages, batches: EpochBatches, *, workers: int, pinned: bool
) -> DataLoader[tuple[Pixels, Any]]:
    """Make a loader of one epoch at a time: set `batches.epoch` before iterating. workers: processes, 0 for none."""
    return DataLoader(
        images,
        batch_sampler=batches,
        num_workers=workers,
        pin_memory=pinned,
        persistent_workers=workers > 0,  # keys carry the epoch, so that workers can stay
        prefetch_factor=4 if workers else None,
    )


class ImageBatches:
    """Batches of augmented images (B, S, S, C) and labels (B,), this rank's shard of each batch."""

    def __init__(
        self, images: TrainingImages, rows: NDArray[np.int64], *, batch_size: int, seed: int, workers: int,
        pinned: bool, draw: Order | None = None,
    ) -> None:  # fmt: skip
        self.images = images
        rank, ranks = distributed.rank(), distributed.world_size()
        self.keys = EpochBatches(rows, batch_size=batch_size, seed=seed, rank=rank, ranks=ranks, draw=draw)
        self.loader = training_loader(images, self.keys, workers=workers, pinned=pinned)

    def __len__(self) -> int:
        return len(self.keys)

    def __call__(self, epoch: int) -> Iterable[Sequence[Tensor]]:
        self.keys.epoch = epoch
        return self.loader

    def contents(self, epoch: int, number: int) -> Sequence[str]:
        """Ids of the images of one batch, of all ranks together."""
        return [self.images.views.ids[row] for row in self.keys.rows_of(epoch, number)]


class Unnamed:
    """Batches of drawn signals, texts and the like, whose items have no ids that a message could name."""

    def contents(self, epoch: int, number: int) -> Sequence[str]:
        return ()


@contextmanager
def lost_workers(workers: int) -> Iterator[None]:
    """Turn torch's RuntimeError of a killed data loader worker into a UserError."""
    try:
        yield
    except RuntimeError as error:
        if not (found := re.search(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) ([^.]+)", str(error))):
            raise
        raise UserError(
            f"the process {found[1]} that reads images {found[2]}: the system does that when memory runs out; type "
            f"workers={max(1, workers // 2)}, and the same command goes on where it was"
        ) from error
