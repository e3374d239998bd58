"""Losses of fine-tuning equal torch's and hand-worked ones, do not see padding, and add up over parts of a batch."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kagglepipe.images.dataset import IGNORE_INDEX
from kagglepipe.training.losses import BINARY, CROSS_ENTROPY, LOSSES, Loss, scaled_squared_error
from kagglepipe.training.optimise import gradients
from tests.fitting import FLOAT32

UNSCALED = torch.amp.GradScaler("cpu", enabled=False)
SQUARED = scaled_squared_error(np.array([2.0, 0.5]))


def test_tags_by_hand() -> None:
    """Logits 0 and log 3 are probabilities 0.5 and 0.75: -(log 0.5 + log 0.75) / 2. Both are right only if tagged."""
    logits = torch.tensor([[0.001, math.log(3)], [0.001, math.log(3)]])
    loss, right = BINARY.compute(logits, torch.tensor([[1.0, 1.0], [0.0, 1.0]]), 0.0)
    assert float(loss) == pytest.approx(-(2 * math.log(0.5) + 2 * math.log(0.75)) / 2, abs=1e-3)
    assert right == 1


def test_smoothing_moves_tags_towards_one_half() -> None:
    logits, tags = torch.tensor([[2.0, -1.0]]), torch.tensor([[1.0, 0.0]])
    loss, _ = BINARY.compute(logits, tags, 0.2)
    expected = F.binary_cross_entropy_with_logits(logits, torch.tensor([[0.9, 0.1]]))
    assert float(loss) == pytest.approx(float(expected))


def test_numbers_by_hand() -> None:
    """Errors of one standard deviation each, then of two and none: (1 + 1) / 2 + (4 + 0) / 2."""
    values, truth = torch.tensor([[2.0, 0.5], [4.0, 7.0]]), torch.tensor([[0.0, 0.0], [0.0, 7.0]])
    loss, _ = SQUARED.compute(values, truth, 0.0)
    assert float(loss) == pytest.approx(3)


def test_the_scale_of_numbers_is_that_of_the_rows_to_train_on() -> None:
    """The loss of the mean is 1, whatever the unit; a column without spread does not divide by 0."""
    numbers = np.array([[1.0, 100.0], [3.0, 300.0]], np.float32)
    loss, _ = LOSSES["regression"](numbers).compute(torch.tensor([[2.0, 200.0]] * 2), torch.from_numpy(numbers), 0.0)
    assert float(loss) / 2 == pytest.approx(1)
    constant = LOSSES["regression"](np.full((3, 1), 5.0, np.float32))
    assert float(constant.compute(torch.tensor([[5.0]]), torch.tensor([[5.0]]), 0.0)[0]) == 0


CASES = [
    (CROSS_ENTROPY, torch.tensor([2, IGNORE_INDEX, 0, 1]), 3),
    (BINARY, torch.tensor([[1.0, 0.0], [math.nan] * 2, [0.0, 0.0], [1.0, 1.0]]), 2),
    (SQUARED, torch.tensor([[1.5, 0.0], [math.nan] * 2, [-3.0, 0.2], [0.0, 9.0]]), 2),
]


@pytest.mark.parametrize(("loss", "labels", "outputs"), CASES)
def test_padding_does_not_count(loss: Loss, labels: Tensor, outputs: int) -> None:
    logits = torch.randn(4, outputs, generator=torch.Generator().manual_seed(0), requires_grad=True)
    counted = loss.is_counted(loss.rows(labels))
    assert counted.tolist() == [True, False, True, True]
    value, right = loss.compute(logits, labels, 0.1)
    value.backward()
    alone, right_alone = loss.compute(logits.detach()[counted], labels[counted], 0.1)
    assert (float(value.detach()), right) == (pytest.approx(float(alone)), right_alone)
    assert logits.grad is not None
    assert logits.grad[1].tolist() == [0.0] * outputs
    assert bool(logits.grad[[0, 2, 3]].any(dim=1).all())


@pytest.mark.parametrize(("loss", "labels", "outputs"), CASES)
@pytest.mark.parametrize("micro_batch", [1, 3])
def test_parts_of_a_batch_add_up(loss: Loss, labels: Tensor, outputs: int, micro_batch: int) -> None:
    torch.manual_seed(0)
    model, inputs, found = nn.Linear(5, outputs), torch.randn(4, 5), []
    for rows in (4, micro_batch):
        figures = gradients(
            model, [inputs], labels, UNSCALED, FLOAT32, label_smoothing=0.1, micro_batch=rows, loss_of=loss
        )
        assert model.weight.grad is not None
        found.append((figures, model.weight.grad.clone()))
    (whole, gradient), (parts, summed) = found
    assert whole == (pytest.approx(parts[0], rel=1e-5), parts[1], 3)
    torch.testing.assert_close(gradient, summed)
