"""The moving average of weights is its closed form, and what is validated, kept and returned."""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from kagglepipe.images.dataset import TrainingImages
from kagglepipe.training import image_learner, loop
from kagglepipe.training.averaging import averaged_model, averaged_weights
from kagglepipe.training.image_learner import evaluate
from kagglepipe.training.loop import FitRuntime, Loop
from kagglepipe.training.optimise import update
from kagglepipe.training.resume import load_progress
from tests.fitting import FLOAT32, RECIPE, VALID, assert_same, network, trained, unjudged

DECAY = 0.7
AVERAGED = replace(RECIPE, epochs=2, ema=DECAY)


def test_after_n_steps_it_is_the_closed_form() -> None:
    """d^(n-1) w1 + (1 - d) Σ d^(n-k) wk over the later steps; without an average nothing is exchanged."""
    model, weights = nn.Linear(3, 2), np.random.default_rng(0).normal(size=(6, 2, 3))
    average = averaged_model(model, DECAY)
    for own in weights:
        model.weight.data = torch.from_numpy(own).float()
        average.update_parameters(model)
    shares = (1 - DECAY) * DECAY ** np.arange(5, -1, -1)
    shares[0] = DECAY**5
    with averaged_weights(model, average):
        np.testing.assert_allclose(model.weight.detach(), np.tensordot(shares, weights, 1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.weight.detach(), weights[-1], rtol=1e-6)
    assert shares.sum() == pytest.approx(1)
    with averaged_weights(model, None):
        np.testing.assert_allclose(model.weight.detach(), weights[-1], rtol=1e-6)


@pytest.mark.parametrize("is_validated", [True, False])
def test_averaged_weights_are_validated_and_returned(
    is_validated: bool, images: TrainingImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training goes on from the others, which are those of a training without an average."""
    steps: list[torch.Tensor] = []
    make_step = Loop.step

    def step(loop: Loop, *batch: object) -> tuple[float, int, int]:
        result = make_step(loop, *batch)
        steps.append(loop.model.head.weight.detach().clone())
        return result

    monkeypatch.setattr(Loop, "step", step)
    plain, averaged, kept = network(), network(), tmp_path / "resume.safetensors"
    trained(plain, images, replace(AVERAGED, ema=None))
    own, steps = steps, []
    if not is_validated:
        monkeypatch.setattr(image_learner, "train_epochs", partial(unjudged, image_learner.train_epochs))
    history = trained(averaged, images, AVERAGED, runtime=FitRuntime(kept))
    assert all(torch.equal(one, other) for one, other in zip(steps, own, strict=True))
    expected = steps[0]
    for weight in steps[1:]:
        expected = DECAY * expected + (1 - DECAY) * weight
    progress = load_progress(kept)
    assert progress is not None
    assert torch.equal(progress.tensors["model.head.weight"], steps[-1])
    torch.testing.assert_close(progress.tensors["average.module.head.weight"], expected)
    if is_validated:
        loss, _, _ = evaluate(averaged, images, VALID, FLOAT32, batch_size=8)
        assert loss == pytest.approx(min(epoch.valid_loss for epoch in history))
    else:
        torch.testing.assert_close(averaged.head.weight.detach(), expected)


def test_an_epoch_that_is_undone_leaves_nothing_in_the_average(
    images: TrainingImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the second epoch had begun at a tenth of the rate, whatever it averaged before."""
    averages = []
    for fault in (0, 2):  # the step of the second epoch, of three, at which the loss is no number
        calls, found = count(-3), network()

        def step(model: nn.Module, *rest: Any, fault: int = fault, calls: Iterator[int] = calls, **more: Any) -> float:
            result = update(model, *rest, **more)
            return math.nan if next(calls) == fault else result

        monkeypatch.setattr(loop, "update", step)
        trained(found, images, AVERAGED)
        averages.append(found)
    assert_same(*averages)
