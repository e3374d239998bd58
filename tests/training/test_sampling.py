"""Balanced sampling draws from each class as often, deterministically, and over epochs all of a large class."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kagglepipe.errors import UserError
from kagglepipe.images.dataset import EpochBatches, TrainingImages
from kagglepipe.options import TrainingOptions
from kagglepipe.training.sampling import Balanced, groups_of, order_of
from tests.fitting import RECIPE, TRAIN, network, trained

LABELS = np.repeat([0, 1, 3], [70, 20, 10])  # of class 2 there is no row
ROWS = np.arange(100, 200)
BALANCED = replace(RECIPE, sampling="balanced", epochs=1)


def drawn(epoch: int, seed: int = 0) -> np.ndarray:
    order = order_of(ROWS, LABELS, "multiclass", BALANCED)
    assert order is not None
    return order(seed, epoch)


def test_each_class_comes_as_often_and_no_row_much_more_often_than_another_of_it() -> None:
    for epoch in range(1, 4):
        found = drawn(epoch)
        assert len(found) == len(ROWS)
        counts = np.bincount(LABELS[found - 100], minlength=4)
        assert sorted(counts.tolist()) == [0, 33, 33, 34]
        for label in (0, 1, 3):
            times = np.bincount(found, minlength=200)[100:][label == LABELS]
            assert np.ptp(times) <= 1
    totals = sum(np.bincount(LABELS[drawn(epoch) - 100], minlength=4) for epoch in range(1, 4))
    assert totals.tolist() == [100, 100, 0, 100]  # the odd row is of each class in turn


def test_an_order_is_a_function_of_seed_and_epoch_and_over_epochs_every_row_comes() -> None:
    orders = [drawn(epoch, seed).tolist() for seed in (0, 1) for epoch in (1, 2)]
    assert orders == [drawn(epoch, seed).tolist() for seed in (0, 1) for epoch in (1, 2)]
    assert len(set(map(tuple, orders))) == 4
    assert set(np.concatenate([drawn(epoch) for epoch in range(1, 20)])) == set(ROWS)


def test_ranks_share_the_batches_of_an_order() -> None:
    order = Balanced([ROWS[:3], ROWS[3:]], 50)
    batches = [EpochBatches(ROWS[:50], batch_size=8, seed=0, rank=rank, ranks=2, draw=order) for rank in (0, 1)]
    found = [[row for batch in own for _, row in batch] for own in batches]
    assert sorted(found[0] + found[1]) == sorted(order(0, 0).tolist())
    assert batches[0].rows_of(0, 1).tolist() == order(0, 0)[8:16].tolist()


def test_groups_are_classes_steps_of_an_order_or_tags_and_none() -> None:
    assert [group.sum() for group in groups_of(LABELS, "ranking")] == [70, 20, 10]
    steps = (LABELS[:, None] > np.arange(3)).astype(np.float32)
    assert [group.sum() for group in groups_of(steps, "ordinal")] == [70, 20, 10]
    tags = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 1, 0]], np.float32)
    found = [np.flatnonzero(group).tolist() for group in groups_of(tags, "multilabel")]
    assert found == [[0], [0, 1, 3], [2]]


class Noting(TrainingImages):
    """Images that note which rows are asked for."""

    asked: list[int]

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, Any]:
        self.asked.append(key[1])
        return super().__getitem__(key)


def test_an_epoch_of_a_fit_is_such_an_order_of_its_training_rows(images: TrainingImages) -> None:
    """Relabelled, so that one class has four rows of 24: eight are drawn, each twice."""
    labels = np.where(np.isin(np.arange(len(images.labels)), [0, 1, 2, 4]), 2, np.arange(len(images.labels)) % 2)
    noting = Noting(images.views, labels)
    noting.asked = []
    trained(network(), noting, BALANCED)
    assert np.bincount(labels[noting.asked]).tolist() == [8, 8, 8]
    assert {row: noting.asked.count(row) for row in (0, 1, 2, 4)} == {0: 2, 1: 2, 2: 2, 4: 2}
    assert set(noting.asked) <= set(TRAIN)


def test_by_default_all_rows_come_once_and_weights_beside_it_are_refused() -> None:
    assert order_of(ROWS, LABELS, "multiclass", RECIPE) is None
    with pytest.raises(UserError, match=r"training\.class_weights and training\.sampling both balance the classes"):
        TrainingOptions(sampling="balanced", class_weights="balanced")
