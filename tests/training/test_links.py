"""Outputs become predictions, and truth becomes what outputs are fitted to, by task."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kagglepipe.training.links import LINKS, cumulative


def logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


def test_ordered_classes_by_hand() -> None:
    """P(above 0) = 0.8 and P(above 1) = 0.3: 0.2, 0.5 and 0.3. Where P(above 1) is 0.9, the 0.8 below counts."""
    logits = torch.tensor([[logit(0.8), logit(0.3)], [logit(0.8), logit(0.9)]], dtype=torch.float64)
    expected = torch.tensor([[0.2, 0.5, 0.3], [0.2, 0.0, 0.8]], dtype=torch.float64)
    torch.testing.assert_close(cumulative(logits), expected, rtol=0, atol=2e-7)


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=6))
def test_ordered_classes_have_probabilities_that_sum_to_one(logits: list[float]) -> None:
    probs = cumulative(torch.tensor(logits, dtype=torch.float64))
    assert len(probs) == len(logits) + 1
    assert probs.min() > 1e-7
    assert float(probs.sum()) == pytest.approx(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("task", ["ordinal", "multilabel"])
def test_no_probability_is_0_nor_its_loss_without_a_limit(task: str, dtype: torch.dtype) -> None:
    """Even where a higher class is likelier to be exceeded than a lower one, and far beyond float32."""
    found = LINKS[task].predict(torch.tensor([[-200.0, 200.0, 0.0], [200.0, 200.0, 200.0]], dtype=dtype))
    assert float(found.min()) > 1e-7
    if task == "multilabel":
        assert float((1 - found).min()) > 1e-7


@pytest.mark.parametrize(
    ("task", "truth", "outputs", "targets"),
    [
        ("multiclass", np.array([2, 0]), 3, [2, 0]),
        ("ranking", np.array([2, 0]), 3, [2, 0]),
        ("ordinal", np.array([2, 0]), 2, [[1, 1], [0, 0]]),
        ("multilabel", np.array([[True, False, True]]), 3, [[1, 0, 1]]),
        ("regression", np.array([[1.5, -2.0, 0.0]]), 3, [[1.5, -2.0, 0.0]]),
    ],
)
def test_outputs_and_targets(task: str, truth: np.ndarray, outputs: int, targets: list[object]) -> None:
    """An order of three classes has two outputs, all others as many as classes, tags or numbers."""
    assert LINKS[task].outputs(3) == outputs
    found = LINKS[task].targets(truth, 3)
    assert found.tolist() == targets
    assert found.dtype == (np.int64 if truth.ndim == 1 and task != "ordinal" else np.float32)


def test_perfect_outputs_give_the_truth() -> None:
    """Large logits of the targets: the truth of each task, of numbers the outputs themselves."""
    order = LINKS["ordinal"].targets(np.array([0, 1, 2]), 3)
    found = LINKS["ordinal"].predict(torch.from_numpy(100 * (2 * order - 1)))
    torch.testing.assert_close(found, torch.eye(3))
    tags = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    torch.testing.assert_close(LINKS["multilabel"].predict(100 * (2 * tags - 1)), tags)
    numbers = torch.tensor([[3.5, -1.0]])
    assert torch.equal(LINKS["regression"].predict(numbers), numbers)
