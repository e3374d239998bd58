"""Losses that weigh rows: scikit-learn's weights, torch's Huber loss, focal losses by hand; off is as before."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.images.dataset import IGNORE_INDEX
from kagglepipe.options import CompetitionOptions, TrainingOptions
from kagglepipe.stages import train
from kagglepipe.training.losses import BINARY, CROSS_ENTROPY
from kagglepipe.training.weighted_losses import (
    balanced_weights,
    check_loss,
    focal_classes,
    focal_columns,
    loss_of_options,
    scaled_huber,
)

LOGITS = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([2, IGNORE_INDEX, 0, 1])
TAGS = torch.tensor([[1.0, 0.0, 1.0], [math.nan] * 3, [0.0, 0.0, 0.0], [1.0, 1.0, 0.0]])


def test_balanced_weights_are_scikit_learns() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(balanced_weights(labels, 3), expected, rtol=1e-6)
    assert balanced_weights(labels, 3)[labels].mean() == pytest.approx(1)
    tags = (labels[:, None] == [0, 2]).astype(np.float32)
    found = balanced_weights(tags, 2)
    for tag in range(2):
        expected = compute_class_weight("balanced", classes=np.arange(2), y=tags[:, tag])
        np.testing.assert_allclose(found[:, tag], expected, rtol=1e-6)


def test_without_exponent_and_weights_they_are_the_usual_losses() -> None:
    for loss, usual, labels in ((focal_classes, CROSS_ENTROPY, LABELS), (focal_columns, BINARY, TAGS)):
        found, hits = loss(0.0, None).compute(LOGITS, labels, 0.1)
        expected, expected_hits = usual.compute(LOGITS, labels, 0.1)
        assert (float(found), hits) == (pytest.approx(float(expected)), expected_hits)


def test_a_focal_loss_by_hand() -> None:
    """Probability 0.8 of the label, exponent 2: 0.04 of -log 0.8; a weight of 3 makes it three times as much."""
    logits = torch.tensor([[math.log(4), 0.0]])
    expected = -0.04 * math.log(0.8)
    found, _ = focal_classes(2.0, np.array([3.0, 1.0], np.float32)).compute(logits, torch.tensor([0]), 0.0)
    assert float(found) == pytest.approx(3 * expected, rel=1e-5)
    weights = np.array([[1.0], [3.0]], np.float32)
    for logit, tag, factor in ((math.log(4), 1.0, 3), (-math.log(4), 0.0, 1)):
        value, _ = focal_columns(2.0, weights).compute(torch.tensor([[logit]]), torch.tensor([[tag]]), 0.0)
        assert float(value) == pytest.approx(factor * expected, rel=1e-5)


def test_huber_is_squared_near_and_linear_far() -> None:
    """In deviations of 2 and delta 1: errors 0.5 and 3 give 0.25 and 2 · 3 - 1; padding none."""
    loss = scaled_huber(np.array([2.0]), 1.0)
    found, _ = loss.compute(torch.tensor([[1.0], [6.0], [9.0]]), torch.tensor([[0.0], [0.0], [math.nan]]), 0.0)
    assert float(found) == pytest.approx(0.25 + 5)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_gradients_are_finite_where_a_row_is_certain(gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    focal_classes(gamma, None).compute(logits, torch.tensor([0]), 0.0)[0].backward()
    focal_columns(gamma, None).compute(logits, torch.tensor([[1.0, 0.0]]), 0.0)[0].backward()
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


def test_by_default_the_loss_of_the_task_is_taken_itself() -> None:
    assert loss_of_options("multiclass", np.array([0, 1]), 2, TrainingOptions()) is CROSS_ENTROPY
    assert loss_of_options("multilabel", np.zeros((2, 2), np.float32), 2, TrainingOptions()) is BINARY


def test_what_means_nothing_for_a_task_is_refused() -> None:
    with pytest.raises(UserError, match=r"training\.huber is a loss of numbers, not of competition\.task=multilabel"):
        check_loss("multilabel", TrainingOptions(huber=1.0))
    with pytest.raises(UserError, match=r"are of probabilities, .* type training\.huber=1 against outliers"):
        check_loss("regression", TrainingOptions(focal=2.0))
    check_loss("regression", TrainingOptions(huber=1.0))
    check_loss("ordinal", TrainingOptions(focal=2.0, class_weights="balanced"))


def test_it_is_refused_before_any_work() -> None:
    tuned = Config(training=TrainingOptions("finetune", focal=1.0), competition=CompetitionOptions(task="regression"))
    with pytest.raises(UserError, match=r"training\.focal and training\.class_weights are of probabilities"):
        train.check(tuned)
    train.check(replace(tuned, training=replace(tuned.training, focal=0.0, huber=1.0)))
