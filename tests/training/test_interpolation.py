"""Weights between the head alone and the fine-tuned network."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from kagglepipe.images.dataset import TrainingImages
from kagglepipe.training.interpolation import interpolate, weights_of
from kagglepipe.training.loop import FitRuntime
from tests.fitting import RECIPE, assert_same, killed, network, trained


def line(start: float, end: float) -> tuple[nn.Linear, dict[str, torch.Tensor]]:
    """A model at `end`, and its weights at `start`."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, start)
    before = weights_of(model)
    nn.init.constant_(model.weight, end)
    return model, before


@pytest.mark.parametrize(
    ("best", "share"), [(1.0, 0.25), (2.2, 0.5), (9.0, 1.0), (1.5, 0.25)]
)  # of 1.5 two are as near: the first
def test_the_share_of_least_loss_is_taken(best: float, share: float) -> None:
    model, before = line(0, 4)
    found = interpolate(model, before, [0.25, 0.5, 1.0], lambda: abs(model.weight.item() - best), "fold 0")
    assert found == share
    assert model.weight.item() == 4 * share


def test_one_share_asks_for_no_loss() -> None:
    model, before = line(1, 2)
    assert interpolate(model, before, [0.75], lambda: 1 / 0, "fold 0") == 0.75
    assert model.weight.item() == 1.75
    assert before["weight"].item() == 1


def test_a_fit_ends_between_its_start_and_the_end_also_after_a_kill(images: TrainingImages, tmp_path: Path) -> None:
    start, end, middle, resumed = (network() for _ in range(4))
    trained(end, images)
    halves = replace(RECIPE, interpolation=[0.5])
    trained(middle, images, halves)
    for own, first, last in zip(middle.parameters(), start.parameters(), end.parameters(), strict=True):
        torch.testing.assert_close(own, (first + last) / 2)
    runtime = FitRuntime(resume=tmp_path / "resume", classes=("a", "b", "c"))
    killed(images, halves, runtime, after=2)
    trained(resumed, images, halves, runtime=runtime)
    assert_same(resumed, middle)


def test_from_scratch_there_is_no_start_to_remember(images: TrainingImages) -> None:
    end, other = network(), network()
    scratch = replace(RECIPE, from_scratch=True)
    trained(end, images, scratch)
    trained(other, images, replace(scratch, interpolation=[0.5]))
    assert_same(other, end)
