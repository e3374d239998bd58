"""A batch in parts is the batch; memory that runs out halves the parts; a loss that is no number is undone, once."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from kagglepipe.errors import UserError
from kagglepipe.images.dataset import IGNORE_INDEX, EpochBatches, TrainingImages
from kagglepipe.training import image_learner as fit_module
from kagglepipe.training import loop as module
from kagglepipe.training.device import Precision, is_out_of_memory
from kagglepipe.training.loop import FitRuntime, Loop
from kagglepipe.training.optimise import gradients, update
from kagglepipe.training.resume import load_progress, save_progress
from tests.fitting import FLOAT32, RECIPE, TRAIN, assert_same, crowd, killed, network, seed_of, trained, untimed

HALF = Precision(torch.float16, True, "as on a GPU without bfloat16")
SHORT = replace(RECIPE, epochs=2)
UNSCALED = torch.amp.GradScaler("cpu", enabled=False)


# --- parts of a batch ----------------------------------------------------------------------------------------------


def small(outputs: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, outputs))


def gradients_of(model: nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


@given(
    labels=st.lists(st.sampled_from([IGNORE_INDEX, 0, 1, 2]), min_size=1, max_size=9),
    micro_batch=st.integers(1, 10),
    smoothing=st.sampled_from([0.0, 0.3]),
    frames=st.sampled_from([None, 4]),
)
def test_parts_of_any_size_have_the_gradient_of_the_whole(
    labels: list[int], micro_batch: int, smoothing: float, frames: int | None
) -> None:
    """That of torch's own mean cross-entropy over all labels that count, wherever padding stands."""
    model, rng = small(), np.random.default_rng(len(labels))
    shape = (len(labels),) if frames is None else (len(labels), frames)
    inputs = torch.from_numpy(rng.normal(size=(*shape, 5)).astype(np.float32))
    truth = torch.tensor(labels) if frames is None else torch.tensor(labels)[:, None].expand(shape).contiguous()
    if frames is not None:
        truth[:, -1] = IGNORE_INDEX
    loss, right, count = gradients(
        model, [inputs], truth, UNSCALED, FLOAT32, label_smoothing=smoothing, micro_batch=micro_batch
    )
    found, whole = gradients_of(model), small()
    logits = whole(inputs).flatten(0, -2)
    counts = truth.flatten() >= 0
    assert (count, right) == (int(counts.sum()), int((logits.argmax(dim=1) == truth.flatten())[counts].sum()))
    if not count:
        assert loss == 0.0
        assert all(not gradient.any() for gradient in found)
        return
    expected = F.cross_entropy(logits[counts], truth.flatten()[counts], label_smoothing=smoothing)
    expected.backward()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    for gradient, other in zip(found, gradients_of(whole), strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-6)


# --- memory --------------------------------------------------------------------------------------------------------

SHORTAGES = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.1 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried "
                 "to allocate 8 bytes. Error code 12 (Cannot allocate memory)"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
    RuntimeError("MPS backend out of memory (MPS allocated: 17.5 GB, other allocations: 1.0 GB)"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]  # fmt: skip


def test_every_device_says_in_its_own_words_that_memory_is_short() -> None:
    assert all(map(is_out_of_memory, SHORTAGES))


@pytest.mark.parametrize(("told", "error"), [
    (SHORTAGES[0], r"test: no memory for a single image: .*model\.image_size"),
    (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "shapes cannot be multiplied"),
])  # fmt: skip
def test_errors_that_no_halving_mends_end_the_fit(told: RuntimeError, error: str, images: TrainingImages) -> None:
    with pytest.raises((UserError, RuntimeError), match=error):
        trained(crowd(network(), 0, told=lambda: told), images, SHORT)


@pytest.mark.parametrize(
    ("most", "micro_batch", "shortage"), [(5, 4, SHORTAGES[0]), (3, 2, SHORTAGES[1]), (1, 1, SHORTAGES[0])]
)
def test_a_batch_is_halved_until_the_memory_holds_it(
    most: int, micro_batch: int, shortage: RuntimeError, images: TrainingImages, caplog: pytest.LogCaptureFixture
) -> None:
    """The fit is that with parts of this size from the start; evaluation then looks at no more at a time."""
    halved, known = crowd(network(), most, told=lambda: shortage), network()
    recipe = replace(RECIPE, epochs=1)
    steps: list[int] = []
    make_step = Loop.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "step", lambda *args: (result := make_step(*args), steps.append(result[2]))[0])
        history = trained(halved, images, recipe)
    assert steps == [8, 8, 8]  # the effective batch stays
    assert f"out of memory: micro-batch reduced to {micro_batch}, " in caplog.text
    assert caplog.text.count("out of memory") == int(math.log2(8 / micro_batch))
    expected = trained(known, images, recipe, runtime=FitRuntime(micro_batch=micro_batch))
    assert untimed(history) == untimed(expected)
    assert_same(halved, known)


def test_an_update_is_never_made_twice(images: TrainingImages, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that runs out in the middle of one leaves weights of which some have moved: halves do not mend that."""

    def short(*_: Any, **__: Any) -> None:
        raise SHORTAGES[0]

    monkeypatch.setattr(torch.optim.AdamW, "step", short)
    with pytest.raises(torch.OutOfMemoryError):
        trained(network(), images, SHORT)


# --- losses that are no numbers ------------------------------------------------------------------------------------


def with_gradients(value: float) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A network that has made a step, and now has gradients of which one is `value`."""
    model = small()
    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.ones(2, 5)).sum().backward()
    optimiser.step()
    gradients_of(model)[0][0, 0] = value
    return model, optimiser


@pytest.mark.parametrize(("loss", "gradient"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, -math.inf)])
def test_what_is_no_number_does_not_reach_the_weights(loss: float, gradient: float) -> None:
    model, optimiser = with_gradients(gradient)
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    moments = [optimiser.state[parameter]["exp_avg"].clone() for parameter in model.parameters()]
    assert not math.isfinite(update(model, loss, optimiser, UNSCALED, clip=1.0))
    for parameter, before, moment in zip(model.parameters(), weights, moments, strict=True):
        assert torch.equal(parameter, before)
        assert torch.equal(optimiser.state[parameter]["exp_avg"], moment)


def test_a_loss_scale_takes_an_overflow_for_its_own_fault() -> None:
    """The step is left out, the scale halved, and training goes on."""
    model, optimiser = with_gradients(math.inf)
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(torch.ones(()))  # the first loss makes the scale
    assert update(model, 1.0, optimiser, scaler, clip=1.0) == 1.0
    assert scaler.get_scale() == 512.0
    assert all(torch.equal(parameter, before) for parameter, before in zip(model.parameters(), weights, strict=True))


def test_gradients_are_clipped() -> None:
    model, optimiser = with_gradients(100.0)
    update(model, 1.0, optimiser, UNSCALED, clip=1e-3)
    norm = torch.stack([gradient.square().sum() for gradient in gradients_of(model)]).sum().sqrt()
    assert float(norm) == pytest.approx(1e-3, rel=1e-2)


def once(function: Callable[..., Any], value: Any, epoch: int) -> Callable[..., Any]:
    """`function`, whose first answer in an epoch is `value`."""
    asked: list[int] = []

    def answer(*arguments: Any, **options: Any) -> Any:
        result = function(*arguments, **options)
        if torch.initial_seed() == seed_of(epoch) and not asked:
            asked.append(1)
            return value
        return result

    return answer


@pytest.mark.parametrize(("fault", "precision"), [("gradients", FLOAT32), ("gradients", HALF), ("evaluate", FLOAT32)])
def test_a_loss_that_is_no_number_undoes_its_epoch_at_a_tenth_of_the_rate(
    fault: str, precision: Precision, images: TrainingImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """As if training had stopped after the epoch before, and gone on at that rate; so is the loss scale."""
    kept, expected = tmp_path / "resume.safetensors", network()
    killed(images, SHORT, FitRuntime(kept), after=1, precision=precision)
    progress = load_progress(kept)
    assert progress is not None
    assert (progress.epoch, progress.lr_factor) == (1, 1.0)
    progress.lr_factor = 0.1
    save_progress(kept, progress)
    history = trained(expected, images, SHORT, runtime=FitRuntime(kept), precision=precision)

    caplog.clear()
    model, value = network(), {"gradients": (math.nan, 0, 8), "evaluate": (math.nan, 0.5, 0.5)}[fault]
    place = fit_module if fault == "evaluate" else module
    monkeypatch.setattr(place, fault, once(getattr(place, fault), value, epoch=2))
    told: list[int] = []
    runtime = FitRuntime(track=lambda epoch, _: told.append(epoch))
    found = trained(model, images, SHORT, precision=precision, runtime=runtime)
    assert [epoch.epoch for epoch in found] == told == [1, 2]
    assert "the loss became nan in epoch 2; going on from the weights before it, at 0.1 of the rate" in caplog.text
    assert untimed(found) == untimed(history)
    assert_same(model, expected)
    assert found[1].lr < 0.1 * found[0].lr


def test_the_second_time_is_an_error_that_names_the_batch(
    images: TrainingImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every image of it, and no other: it is the second of the first epoch."""
    calls = count()
    monkeypatch.setattr(
        module, "gradients", lambda *args, **more: (math.nan, 0, 8) if next(calls) % 2 else gradients(*args, **more)
    )
    batch = EpochBatches(TRAIN, batch_size=8, seed=0).rows_of(1, 1)
    with pytest.raises(UserError) as error:
        trained(network(), images, SHORT)
    told = str(error.value)
    assert ", ".join(f"id{row}" for row in batch) in told
    assert told.count("id") == len(batch) == 8
    assert "the loss became nan in epoch 1" in told
    assert "lower training.lr=0.003" in told


def test_a_roll_back_is_remembered_after_a_kill(
    images: TrainingImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What blew up in the first epoch and again in the third does not get a third chance by a kill in between."""
    runtime, recipe = FitRuntime(tmp_path / "resume.safetensors"), replace(RECIPE, epochs=3)
    with monkeypatch.context() as patch:
        patch.setattr(module, "gradients", once(gradients, (math.inf, 0, 8), epoch=1))
        killed(images, recipe, runtime, after=2)
    monkeypatch.setattr(module, "gradients", once(gradients, (math.nan, 0, 8), epoch=3))
    with pytest.raises(UserError, match=r"in epoch 3 at the batch of .*, again: lower training\.lr"):
        trained(network(), images, recipe, runtime=runtime)


def test_scores_that_are_no_numbers_twice_name_no_batch(
    images: TrainingImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_module, "evaluate", lambda *_, **__: (math.nan, 0.3, 0.3))
    with pytest.raises(UserError, match=r"the loss became nan in epoch 1, again: lower training\.lr=0\.003$"):
        trained(network(), images, SHORT)
