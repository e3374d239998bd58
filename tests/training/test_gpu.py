"""What only a GPU can show: mixed precision, the same bits twice, compiled networks, memory that runs out, NCCL.

`python -m pytest -m gpu` runs these alone.
"""

import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from kagglepipe import distributed
from kagglepipe.images.dataset import TrainingImages
from kagglepipe.models.classifier import Classifier, for_inference
from kagglepipe.training.device import Precision, choose_device, make_deterministic, use_fast_kernels
from kagglepipe.training.image_learner import evaluate
from kagglepipe.training.loop import FitRuntime, train_epochs
from kagglepipe.training.optimise import make_optimiser
from tests.fitting import CLASSES, FLOAT32, RECIPE, VALID, Listed, assert_same, images_in, network, trained, untimed
from tests.processes import in_company

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: torch finds none"),
]
SHORT = replace(RECIPE, epochs=2)
BFLOAT16 = Precision(torch.bfloat16, False, "")
FLOAT16 = Precision(torch.float16, True, "")


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """What a test asks of the kernels does not outlive it."""
    before = (torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark, _, torch.backends.cudnn.allow_tf32 = before
    torch.set_float32_matmul_precision(before[1])
    if workspace is None:
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def on_gpu() -> Classifier:
    return network().cuda()


@pytest.mark.parametrize("precision", [BFLOAT16, FLOAT16])
def test_mixed_precision_learns_what_float32_learns(precision: Precision, images: TrainingImages) -> None:
    """float16 leaves out its first steps, until it has found its loss scale, and so goes a way of its own there."""
    mixed, full = on_gpu(), on_gpu()
    losses = [
        [epoch.train_loss for epoch in trained(model, images, precision=own)]
        for model, own in ((mixed, precision), (full, FLOAT32))
    ]
    if precision is BFLOAT16:
        np.testing.assert_allclose(losses[0], losses[1], rtol=0.1, atol=0.02)
    assert losses[0][-1] < 0.5 * losses[0][0]
    assert all(value.dtype == torch.float32 for value in mixed.parameters())
    for model in (mixed, full):
        assert evaluate(model, images, VALID, FLOAT32, batch_size=8)[1] == 1.0


def test_a_gpu_trains_as_a_cpu_does(images: TrainingImages) -> None:
    histories = [trained(model, images, SHORT) for model in (on_gpu(), network())]
    np.testing.assert_allclose(*[[epoch.train_loss for epoch in history] for history in histories], rtol=0.02)


@pytest.mark.parametrize("precision", [FLOAT32, BFLOAT16, FLOAT16])
def test_deterministic_training_gives_the_same_bits_also_after_a_kill(
    precision: Precision, images: TrainingImages, tmp_path: Path
) -> None:
    make_deterministic()
    models, file = [on_gpu(), on_gpu(), on_gpu()], tmp_path / "resume.safetensors"
    histories = [untimed(trained(model, images, SHORT, precision=precision)) for model in models[:2]]
    with pytest.raises(KeyboardInterrupt):
        trained(on_gpu(), images, SHORT, precision=precision, runtime=FitRuntime(file, track=interrupt_after_one))
    histories.append(untimed(trained(models[2], images, SHORT, precision=precision, runtime=FitRuntime(file))))
    for model, history in zip(models[1:], histories[1:], strict=True):
        assert history == histories[0]
        assert_same(model, models[0])


def interrupt_after_one(epoch: int, _: dict[str, float]) -> None:
    if epoch == 1:
        raise KeyboardInterrupt


def test_batch_norms_are_folded_although_float32_is_multiplied_in_tf32() -> None:
    use_fast_kernels()
    ready = for_inference(on_gpu(), torch.bfloat16)
    assert not [module for module in ready.modules() if isinstance(module, torch.nn.BatchNorm2d)]


def test_a_compiled_network_learns_the_same(images: TrainingImages) -> None:
    use_fast_kernels()
    compiled, eager = on_gpu(), on_gpu()
    histories = [trained(compiled, images, SHORT, runtime=FitRuntime(compile=True)), trained(eager, images, SHORT)]
    np.testing.assert_allclose(*[[epoch.train_loss for epoch in history] for history in histories], rtol=0.05)
    assert compiled.state_dict().keys() == eager.state_dict().keys()


# --- memory --------------------------------------------------------------------------------------------------------

BIG, ROWS = 224, 64


def big_batches() -> Listed:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (ROWS, BIG, BIG, 3), generator=generator, dtype=torch.uint8)
    return Listed((pixels, torch.arange(ROWS) % CLASSES))


def big_fit(micro_batch: int | None = None) -> Classifier:
    """One step on a batch of large images."""
    model = on_gpu()
    options = replace(RECIPE, epochs=1, batch_size=ROWS, weight_decay=0.0)
    train_epochs(
        model, big_batches(), make_optimiser(model, options), options=options, seed=0, precision=FLOAT32, name="big",
        unit="image", evaluate=None, runtime=FitRuntime(micro_batch=micro_batch),
    )  # fmt: skip
    return model


def most_memory(micro_batch: int) -> int:
    """Bytes that torch takes from the GPU for it."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    big_fit(micro_batch)
    most = torch.cuda.max_memory_reserved()
    torch.cuda.empty_cache()
    return most


def test_a_gpu_that_is_nearly_full_takes_half_a_batch_at_a_time(caplog: pytest.LogCaptureFixture) -> None:
    """All but what an eighth of the batch takes is taken before, so that whole batches and halves do not fit."""
    make_deterministic()
    whole, eighth = most_memory(ROWS), most_memory(ROWS // 8)
    assert whole > 2 * eighth
    room = eighth + (whole - eighth) // 4
    free, _ = torch.cuda.mem_get_info()
    taken = torch.empty(free - room, dtype=torch.uint8, device="cuda")
    with caplog.at_level(logging.WARNING):
        halved = big_fit()
    del taken
    torch.cuda.empty_cache()
    assert "big: out of memory: micro-batch reduced to 32, " in caplog.text
    expected = big_fit()
    torch.testing.assert_close(halved.head.weight, expected.head.weight, rtol=1e-2, atol=1e-4)


# --- several GPUs --------------------------------------------------------------------------------------------------


def fit_on_its_gpu(folder: Path, pixels: Path) -> None:
    distributed.init_process_group("auto")
    device = choose_device("auto")
    assert device.index == distributed.local_rank()
    model = network().to(device)
    trained(model, images_in(pixels), SHORT, runtime=FitRuntime(folder / "resume.safetensors"))
    weights = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / f"weights{distributed.rank()}")
    distributed.destroy_process_group()


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_gpus_train_as_one(
    processes: ForkServerContext, pixels: Path, images: TrainingImages, tmp_path: Path
) -> None:
    alone = on_gpu()
    trained(alone, images, SHORT)
    assert in_company(processes, fit_on_its_gpu, tmp_path, pixels) == [0, 0]
    first, second = (load_file(tmp_path / f"weights{rank}") for rank in range(2))
    for name, value in alone.state_dict().items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value.cpu(), rtol=1e-2, atol=1e-3)
