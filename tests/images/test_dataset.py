"""The order of an epoch and the views in it depend on nothing but seed, epoch and id."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kagglepipe.images.augment import Transform
from kagglepipe.images.cache import PixelCache, PixelReader, cache_writer
from kagglepipe.images.dataset import EpochBatches, TrainingImages, training_loader
from kagglepipe.images.views import Views

COUNT = 22


@pytest.fixture
def images(tmp_path: Path) -> TrainingImages:
    """Twenty-two small images in a cache, so that their files need not exist."""
    rng = np.random.default_rng(0)
    digests = [f"{n:064}" for n in range(COUNT)]
    with cache_writer(tmp_path, short_side=24, max_bytes=10**7) as writer:
        for digest in digests:
            writer.add(digest, rng.integers(0, 256, (24, 30, 3), dtype=np.uint8))
    cache = PixelCache.open(tmp_path, 24)
    reader = PixelReader([Path(f"{n}.png") for n in range(COUNT)], digests, short_side=24, cache=cache)
    labels = np.arange(COUNT) % 3
    return TrainingImages(
        Views(reader, 16, ids=[f"id{n}" for n in range(COUNT)], transform=Transform("light", 16), seed=5), labels
    )


def epoch_keys(rows: np.ndarray, *, batch_size: int, seed: int, epoch: int) -> list[list[tuple[int, int]]]:
    """The batches of keys of an epoch."""
    batches = EpochBatches(rows, batch_size=batch_size, seed=seed)
    batches.epoch = epoch
    return list(batches)


@given(
    st.lists(st.integers(0, 10_000), unique=True, max_size=40),
    st.integers(1, 9),
    st.integers(0, 2**31),
    st.integers(0, 99),
)
def test_an_epoch_has_every_row_once(rows: list[int], batch_size: int, seed: int, epoch: int) -> None:
    batches = epoch_keys(np.array(rows, np.int64), batch_size=batch_size, seed=seed, epoch=epoch)
    keys = [key for batch in batches for key in batch]
    assert sorted(row for _, row in keys) == sorted(rows)
    assert {e for e, _ in keys} <= {epoch}
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert len(batches) == len(EpochBatches(np.array(rows, np.int64), batch_size=batch_size, seed=seed))


def test_the_order_is_a_function_of_seed_and_epoch_alone() -> None:
    rows = np.arange(50)
    orders = {
        (seed, epoch): epoch_keys(rows, batch_size=8, seed=seed, epoch=epoch) for seed in range(3) for epoch in range(4)
    }
    assert len({str([row for batch in order for _, row in batch]) for order in orders.values()}) == 12
    torch.rand(3)
    batches = EpochBatches(rows, batch_size=8, seed=1)
    for batches.epoch in (2, 1, 3, 3):
        assert list(batches) == orders[1, batches.epoch]


Batches = list[tuple[torch.Tensor, torch.Tensor]]


def drawn(images: TrainingImages, workers: int, epochs: tuple[int, ...]) -> Batches:
    """Every batch of the epochs, in order."""
    batches = EpochBatches(np.arange(COUNT), batch_size=4, seed=5)
    loader = training_loader(images, batches, workers=workers, pinned=False)
    found = []
    for epoch in epochs:
        batches.epoch = epoch
        found += [tuple(batch) for batch in loader]
    return found


def assert_equal(found: Batches, expected: Batches) -> None:
    """Equal pixels and labels, batch by batch."""
    for batch, other in zip(found, expected, strict=True):
        assert all(torch.equal(one, two) for one, two in zip(batch, other, strict=True))


def test_batches_depend_neither_on_the_number_of_processes_nor_on_earlier_epochs(images: TrainingImages) -> None:
    """A resumed run begins at a later epoch."""
    alone = drawn(images, 0, (1, 2))
    assert len(alone) == 12  # 22 images in batches of 4, twice
    assert_equal(drawn(images, 2, (1, 2)), alone)
    assert_equal(drawn(images, 0, (2,)), alone[6:])


class Processes:
    """Views that hold the number of the process that reads them."""

    def __getitem__(self, key: tuple[int, int]) -> np.ndarray:
        return np.frombuffer(np.int64(os.getpid()).tobytes(), np.uint8).copy()


def test_processes_stay_from_epoch_to_epoch_also_after_one_that_was_broken_off() -> None:
    """Starting them takes as long as many steps of a GPU."""
    images = TrainingImages(Processes(), np.arange(COUNT))  # type: ignore[arg-type]
    batches = EpochBatches(np.arange(COUNT), batch_size=4, seed=5)
    loader = training_loader(images, batches, workers=2, pinned=False)
    next(iter(loader))
    processes = []
    for batches.epoch in (1, 2):
        found = list(loader)
        labels = [labels.tolist() for _, labels in found]
        assert labels == [[row for _, row in keys] for keys in batches]
        processes.append({int(image.numpy().view(np.int64)[0]) for pixels, _ in found for image in pixels})
    assert processes[0] == processes[1]
    assert len(processes[0]) == 2
    assert os.getpid() not in processes[0]


def test_batches_are_bytes_with_the_labels_of_their_rows(images: TrainingImages) -> None:
    pixels, labels = drawn(images, 0, (1,))[0]
    assert (pixels.shape, pixels.dtype, labels.dtype) == ((4, 16, 16, 3), torch.uint8, torch.int64)
    rows = [row for _, row in epoch_keys(np.arange(COUNT), batch_size=4, seed=5, epoch=1)[0]]
    assert labels.tolist() == [row % 3 for row in rows]
    for view, row in zip(pixels.numpy(), rows, strict=True):
        np.testing.assert_array_equal(view, images.views[row, 1])
        assert images[(1, row)][1] == row % 3


def test_views_are_no_windows_on_the_cache(images: TrainingImages) -> None:
    """Where nothing is done to an image, its pixels in the memory-mapped file would be the view; torch warns of it."""
    whole = TrainingImages(Views(images.views.images, 24, crop="center"), images.labels)
    square, _ = whole[(1, 0)]
    assert square.flags.writeable
