"""A batch depends on seed, epoch and id alone, and carries the lengths of what it padded."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kagglepipe.images.dataset import IGNORE_INDEX
from kagglepipe.images.views import draw_seed
from kagglepipe.options import SequenceOptions
from kagglepipe.sequences.dataset import ClipBatches, Example, TrainingBatches, collate

PLAIN = SequenceOptions(crop=1.0, speed=1.0, drop=0.0)
LIVELY = SequenceOptions(crop=0.5, speed=1.5, drop=0.2)


def example(id: str, length: int, *, per_frame: bool = False) -> Example:
    """Features that tell which item and frame they are of: (T, 2) with the id's number, then 0, 1, 2, …"""
    features = np.stack([np.full(length, float(id)), np.arange(length)], axis=1).astype(np.float32)
    label = np.arange(length) % 7 if per_frame else np.array(int(id) % 3)
    return Example(id, features, label)


def training(examples: list[Example], options: SequenceOptions = PLAIN, **changes: Any) -> TrainingBatches:
    """Batches of four, without windows."""
    return TrainingBatches(examples, options, **{"batch_size": 4, "window": None, "seed": 0, **changes})


def of_lengths(*lengths: int, per_frame: bool = False) -> list[Example]:
    """Items of these lengths, numbered from 0."""
    return [example(str(n), length, per_frame=per_frame) for n, length in enumerate(lengths)]


def items(batches: TrainingBatches, epoch: int) -> dict[int, list[NDArray[Any]]]:
    """The features (t, 2) of each piece of an epoch, by item."""
    found: dict[int, list[NDArray[Any]]] = {}
    for batch in batches(epoch):
        for features, length in zip(batch.features.numpy(), batch.lengths.tolist(), strict=True):
            found.setdefault(int(features[0, 0]), []).append(features[:length])
    return found


# --- padding ---------------------------------------------------------------------------------------------------


def test_a_batch_by_hand() -> None:
    batch = collate([(np.array([[1.0], [2.0]], np.float16), np.array([5, 6])), (np.array([[3.0]]), np.array([7]))])
    assert batch.features.tolist() == [[[1], [2]], [[3], [0]]]
    assert batch.features.dtype == torch.float32
    assert batch.lengths.tolist() == [2, 1]
    assert batch.labels.tolist() == [[5, 6], [7, IGNORE_INDEX]]
    assert batch.labels.dtype == torch.int64


def test_clips_have_one_label_each_and_are_float32_or_bytes(tmp_path: Any) -> None:
    np.save(tmp_path / "f.npy", np.ones((2, 3), np.float16))
    batch = collate([
        (np.load(tmp_path / "f.npy", mmap_mode="r"), np.array(1)), (np.ones((5, 3)), np.int64(0)),
    ])  # fmt: skip
    assert (batch.labels.tolist(), batch.features.dtype, batch.features.shape) == ([1, 0], torch.float32, (2, 5, 3))
    assert batch.features[0].sum(dim=1).tolist() == [3, 3, 0, 0, 0]
    frames = np.full((2, 4, 4, 3), 200, np.uint8)
    batch = collate([(frames, np.array(0)), (frames[:1], np.array(1))])
    assert (batch.features.dtype, batch.features.shape) == (torch.uint8, (2, 2, 4, 4, 3))
    assert batch.features[1, 0].eq(200).all()
    assert not batch.features[1, 1].any()


# --- epochs ----------------------------------------------------------------------------------------------------


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=12),
    batch_size=st.integers(1, 5),
    window=st.none() | st.integers(2, 20),
    epoch=st.integers(0, 50),
    per_frame=st.booleans(),
)
def test_an_epoch_has_each_item_once_or_once_for_each_window(
    lengths: list[int], batch_size: int, window: int | None, epoch: int, per_frame: bool
) -> None:
    batches = training(of_lengths(*lengths, per_frame=per_frame), LIVELY, batch_size=batch_size, window=window)
    found = list(batches(epoch))
    assert len(found) == len(batches)
    sizes = [len(batch.lengths) for batch in found]
    assert all(size == batch_size for size in sizes[:-1])
    assert 1 <= sizes[-1] <= batch_size
    counts = {n: len(pieces) for n, pieces in items(batches, epoch).items()}
    assert counts == {n: 1 if window is None else int(np.ceil(length / window)) for n, length in enumerate(lengths)}
    for batch in found:
        assert batch.features.shape[1] == batch.lengths.max()
        assert window is None or batch.lengths.max() <= window


@pytest.mark.parametrize("window", [None, 8])
def test_labels_are_those_of_the_frames(window: int | None) -> None:
    batches = training(of_lengths(20, 3, 31, per_frame=True), LIVELY, window=window)
    for batch in batches(1):
        for features, length, labels in zip(*batch, strict=True):
            assert labels[:length].tolist() == (features[:length, 1] % 7).tolist()
            assert labels[length:].eq(IGNORE_INDEX).all()


def test_without_augmentation_items_come_whole_with_their_labels() -> None:
    found = items(training(of_lengths(5, 1, 9)), 3)
    assert {n: pieces[0][:, 1].tolist() for n, pieces in found.items()} == {
        0: [0, 1, 2, 3, 4], 1: [0], 2: list(range(9)),
    }  # fmt: skip
    for batch in training(of_lengths(*[5] * 10))(1):
        assert batch.labels.tolist() == (batch.features[:, 0, 0] % 3).tolist()


def test_windows_come_to_every_frame_of_a_long_item() -> None:
    """Six windows an epoch lie anywhere; frames at the ends are in fewer of them."""
    drawn = items(training(of_lengths(400), window=8), 0)[0]
    assert len({piece[0, 1] for piece in drawn}) > 0.8 * len(drawn)  # each piece is drawn for itself
    batches = training(of_lengths(45), window=8)
    seen = np.zeros(45, int)
    for epoch in range(150):
        pieces = items(batches, epoch)[0]
        assert all(np.array_equal(piece[:, 1], piece[0, 1] + np.arange(8)) for piece in pieces)
        for piece in pieces:
            seen[piece[:, 1].astype(int)] += 1
    assert seen.min() >= 1
    middle = seen[8:-8] / 150
    assert middle.min() > 0.8
    assert middle.max() < 1.7


# --- the same again --------------------------------------------------------------------------------------------


def test_an_epoch_is_a_function_of_seed_and_epoch() -> None:
    examples = of_lengths(*range(3, 20))

    batches = training(examples, LIVELY, window=6)
    list(batches(1))
    for found, expected in zip(batches(2), training(examples, LIVELY, window=6)(2), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_what_is_drawn_for_an_item_does_not_depend_on_its_company() -> None:
    examples = of_lengths(*[40] * 6)
    alone = items(training(examples[3:4], LIVELY, window=16), 5)[3]
    together = items(training(examples, LIVELY, window=16, batch_size=2), 5)[3]
    assert sorted(map(np.ndarray.tolist, alone)) == sorted(map(np.ndarray.tolist, together))


def test_order_and_draws_differ_from_item_to_item_epoch_to_epoch_and_seed_to_seed() -> None:
    draws = [
        tuple(pieces[0][:, 1])
        for epoch in range(2)
        for seed in range(2)
        for pieces in items(training(of_lengths(*[40] * 2), LIVELY, seed=seed), epoch).values()
    ]
    assert len(set(draws)) == 8
    orders = {
        tuple(next(training(of_lengths(*[1] * 12), batch_size=12, seed=seed)(epoch)).features[:, 0, 0].tolist())
        for epoch in range(5)
        for seed in range(3)
    }
    assert len(orders) == 15


def test_the_seed_of_a_draw_is_known() -> None:
    """Runs can be repeated by later versions: SHA-256 of "seed/epoch/id", its first eight bytes."""
    assert draw_seed(0, 1, "a/0") == int.from_bytes(bytes.fromhex("cc29bbc121106fc0"), "little")


# --- frames ----------------------------------------------------------------------------------------------------


class Reader:
    """Gives frames (t, 2, 2, 3) that hold their position, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[int], int]] = []

    def __call__(self, item: Example, at: NDArray[np.int64], epoch: int) -> NDArray[np.uint8]:
        self.asked.append((item.id, at.tolist(), epoch))
        return np.broadcast_to(at[:, None, None, None], (len(at), 2, 2, 3)).astype(np.uint8)


def clips(examples: list[Example], **changes: Any) -> tuple[ClipBatches, Reader]:
    """Batches of two clips, whole or thinned to five frames, and what reads them."""
    reader, plain = Reader(), {"batch_size": 2, "frames": 5, "window": None, "seed": 0}
    return ClipBatches(examples, changes.pop("augmentation", PLAIN), reader, **{**plain, **changes}), reader


def test_clips_are_thinned_evenly_from_end_to_end() -> None:
    batches, reader = clips(of_lengths(9, 5, 3, 21, per_frame=True))
    for batch in batches(4):
        assert batch.features.dtype == torch.uint8
        for frames, length, labels in zip(*batch, strict=True):
            assert labels[:length].tolist() == [position % 7 for position in frames[:length, 0, 0, 0].tolist()]
            assert labels[length:].eq(IGNORE_INDEX).all()
    assert {id: (at, epoch) for id, at, epoch in reader.asked} == {
        "0": ([0, 2, 4, 6, 8], 4),
        "1": ([0, 1, 2, 3, 4], 4),
        "2": ([0, 1, 2], 4),
        "3": ([0, 5, 10, 15, 20], 4),
    }


@pytest.mark.parametrize("workers", [1, 4])
def test_frames_are_looked_at_where_features_would_be(workers: int) -> None:
    """The same draws as of TrainingBatches, in the same order, whatever the number of threads."""
    examples = of_lengths(*range(5, 20), per_frame=True)
    changes = {"batch_size": 2, "window": 8, "seed": 3}
    batches, _ = clips(examples, augmentation=LIVELY, frames=8, workers=workers, **changes)
    for clip, features in zip(batches(2), training(examples, LIVELY, **changes)(2), strict=True):
        assert clip.lengths.tolist() == features.lengths.tolist()
        assert clip.features[..., 0, 0, 0].tolist() == features.features[..., 1].tolist()
        assert clip.labels.tolist() == features.labels.tolist()


def test_a_batch_can_be_told_what_it_is_made_of() -> None:
    batches = training(of_lengths(5, 9, 3, 12, 4, 6), window=4)
    for epoch in (1, 2):
        found = [[str(int(features[0, 0])) for features in batch.features] for batch in batches(epoch)]
        assert found == [batches.contents(epoch, number) for number in range(len(batches))]
