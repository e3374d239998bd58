"""Training images as torch wants them, in an order and with an augmentation that depend on nothing but their keys."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from kagglepipe.images.augment import Transform
from kagglepipe.images.cache import PixelReader
from kagglepipe.images.shards import ShardReader

NEAR = 8  # shards whose rows are mixed with one another
IGNORE_INDEX = -100  # label of padding, which the loss ignores: the default of torch.nn.CrossEntropyLoss
Key = tuple[int, int]  # (epoch, row): the loader asks for these, so that workers need no state


class TrainingImages(Dataset[tuple[NDArray[np.uint8], int]]):
    """(epoch, row) -> (augmented image (size, size, 3) uint8, label); of row ~n image n, without a label."""

    def __init__(
        self,
        reader: PixelReader | ShardReader,
        ids: Sequence[str],
        labels: NDArray[np.int64],
        transform: Transform,
        seed: int,
    ) -> None:
        self.reader, self.ids, self.labels = reader, list(ids), labels
        self.transform, self.seed = transform, seed

    @property
    def shards(self) -> NDArray[np.int64] | None:
        """The shard of each image; None where they lie one by one, and their order costs nothing."""
        return self.reader.shard if isinstance(self.reader, ShardReader) else None

    def __getitem__(self, key: Key) -> tuple[NDArray[np.uint8], int]:
        epoch, row = key
        label = int(self.labels[row]) if row >= 0 else IGNORE_INDEX
        row = row if row >= 0 else ~row
        pixels = self.transform(self.reader[row], self.seed, epoch, self.ids[row])
        return (pixels if pixels.flags.writeable else pixels.copy()), label  # torch warns of pixels in the cache itself


class EpochBatches:
    """Batches of (epoch, row) for one epoch, shuffled by (seed, epoch); the last one may be smaller.

    shards: the shard of each row of `rows`: an epoch then goes through the shards in an order of its own, so many at a
    time as `NEAR` says, and shuffles within these; None shuffles everything.
    rank, ranks: of several processes each gets its part of every batch. One that would get nothing gets the first row
    as padding, marked by a negative row, so that all do the same number of steps.
    """

    def __init__(
        self,
        rows: NDArray[np.int64],
        *,
        batch_size: int,
        seed: int,
        shards: NDArray[np.int64] | None = None,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.rows, self.batch_size, self.seed, self.epoch, self.shards = rows, batch_size, seed, 0, shards
        self.rank, self.ranks = rank, ranks

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        order = self.order(self.epoch)
        for start in range(0, len(order), self.batch_size):
            whole = order[start : start + self.batch_size]
            yield [(self.epoch, int(row)) for row in whole[self.rank :: self.ranks]] or [(self.epoch, ~int(whole[0]))]

    def rows_of(self, epoch: int, number: int) -> NDArray[np.int64]:
        """The rows of one batch, of all processes together."""
        return self.order(epoch)[number * self.batch_size : (number + 1) * self.batch_size]

    def order(self, epoch: int) -> NDArray[np.int64]:
        """All rows, in the order of an epoch."""
        rng = np.random.default_rng([self.seed, epoch])
        order: NDArray[np.int64] = rng.permutation(self.rows) if self.shards is None else self._shard_order(rng)
        return order

    def _shard_order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        assert self.shards is not None
        place = {shard: n // NEAR for n, shard in enumerate(rng.permutation(np.unique(self.shards)))}
        turn = np.array([place[shard] for shard in self.shards])
        return self.rows[np.lexsort((rng.random(len(self.rows)), turn))]


def training_loader(
    images: TrainingImages, batches: EpochBatches, *, workers: int, pinned: bool
) -> DataLoader[tuple[NDArray[np.uint8], int]]:
    """A loader over one epoch at a time: set `batches.epoch` before iterating. workers: processes, 0 for none."""
    return DataLoader(
        images,
        batch_sampler=batches,  # keys are pairs, not row numbers
        num_workers=workers,
        pin_memory=pinned,
        persistent_workers=workers > 0,  # they live as long as the loader: a new epoch's number comes with its keys
        prefetch_factor=4 if workers else None,
    )
