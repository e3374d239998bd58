"""Where training runs and in which precision, each with a reason."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import torch

from kagglepipe.errors import UserError
from kagglepipe.training import device as module
from kagglepipe.training.device import (
    choose_device,
    choose_precision,
    describe_device,
    device_of_job,
    gpu_is_possible,
    make_deterministic,
    use_fast_kernels,
    use_threads,
)
from tests.conftest import Outcome


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto").type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto").type == "cuda"
    assert choose_device("cuda:1").index == 1
    assert choose_device("cpu").type == "cpu"


@pytest.mark.parametrize(("wanted", "gpus", "error"), [
    *((wanted, 0, f"device={wanted} is unknown; choose auto, cpu, cuda, cuda:1 or mps") for wanted in ("tpu", "")),
    ("cpu:x", 0, "device=cpu:x is unknown"),
    ("cuda", 0, "device=cuda, .*type device=cpu"),
    ("cuda:1", 0, "device=cuda:1, .*type device=cpu"),
    ("cuda:2", 2, "device=cuda:2, but there are 2"),
    ("mps", 0, "device=mps, .*type device=cpu"),
])  # fmt: skip
def test_a_device_that_is_not_there_is_refused(
    wanted: str, gpus: int, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(UserError, match=error):
        choose_device(wanted)


@pytest.mark.parametrize(
    ("capabilities", "inference", "training"),
    [
        ({"avx512_bf16": True, "amx_bf16": True}, "bfloat16", "bfloat16"),
        ({"avx512_bf16": True}, "bfloat16", "float32"),
        ({}, "float32", "float32"),
    ],
)
def test_a_cpu_computes_bfloat16_only_where_that_is_fast(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], inference: str, training: str
) -> None:
    """With vector instructions alone, gradients are slower in it."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    for wanted, learns in ((inference, False), (training, True)):
        precision = choose_precision(torch.device("cpu"), training=learns)
        assert (precision.name, precision.scaled) == (wanted, False)
        assert "CPU" in precision.reason
        apple = choose_precision(torch.device("mps"), training=learns)
        assert (apple.name, apple.scaled) == ("float32", False)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("native", [True, False])
def test_an_older_gpu_takes_float16_and_scales_its_gradients(
    monkeypatch: pytest.MonkeyPatch, native: bool, training: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    precision = choose_precision(torch.device("cuda"), training=training)
    assert precision.name == ("bfloat16" if native else "float16")
    assert precision.scaled == (training and not native)
    assert "GPU" in precision.reason


def test_the_cpu_is_described_with_its_threads() -> None:
    assert describe_device(torch.device("cpu")) == f"cpu ({torch.get_num_threads()} threads)"


@pytest.mark.parametrize(
    ("platform", "present", "possible"), [("linux", False, False), ("linux", True, True), ("darwin", False, True)]
)
def test_on_linux_a_gpu_shows_as_a_file(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    platform: str,
    present: bool,
    possible: bool,
) -> None:
    file = tmp_path_factory.mktemp("dev") / "nvidia0"
    if present:
        file.touch()
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(module, "GPU_DEVICES", (str(file),))
    assert gpu_is_possible() == possible


def test_each_of_several_processes_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for rank in ("0", "1"):
        for name, value in {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": rank}.items():
            monkeypatch.setenv(name, value)
        assert [str(choose_device(wanted)) for wanted in ("auto", "cpu")] == [f"cuda:{rank}", "cpu"]


@pytest.mark.parametrize(("count", "expected"), [
    (0, ["auto"] * 4), (1, ["auto"] * 4), (3, ["cuda:0", "cuda:1", "cuda:2", "cuda:0"]),
])  # fmt: skip
def test_jobs_of_a_sweep_take_the_gpus_in_turn(
    count: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert [device_of_job(number) for number in range(4)] == expected


@pytest.mark.parametrize(("typed", "expected"), [
    ([], ["cuda:0", "cuda:1"]),
    (["device=cuda:1"], ["cuda:1"] * 2),
])  # fmt: skip
def test_a_sweep_spreads_over_the_gpus_unless_one_is_named(
    typed: list[str], expected: list[str], command: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(module, "gpu_is_possible", lambda: True)
    devices: list[str] = []
    monkeypatch.setattr("kagglepipe.tools.commands.run_command", lambda config: devices.append(config.device))
    said = command("-m", "competition=image_folder", "competition.source=photos", "seed=0,1", *typed)
    assert (said.code, devices) == (0, expected)


# --- how kernels are chosen --------------------------------------------------------------------------------------


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], tuple[bool, bool, str, bool]]]:
    """kernels() -> (deterministic, tries which is fastest, float32's precision, cuDNN's TF32); afterwards as before."""

    def now() -> tuple[bool, bool, str, bool]:
        cudnn = torch.backends.cudnn
        return (
            torch.are_deterministic_algorithms_enabled(), cudnn.benchmark, torch.get_float32_matmul_precision(),
            cudnn.allow_tf32,
        )  # fmt: skip

    before = now()
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    yield now
    torch.use_deterministic_algorithms(before[0])
    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = before[1], before[3]
    torch.set_float32_matmul_precision(before[2])


def test_deterministic_ones_are_chosen_whatever_an_earlier_job_wanted(
    kernels: Callable[[], tuple[bool, bool, str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the other way round: jobs of a sweep share a process. Fast ones are for a GPU alone."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = kernels()
    use_fast_kernels()
    assert kernels() == before
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    use_fast_kernels()
    assert kernels() == (False, False, "high", True)
    make_deterministic()
    assert kernels()[:3] == (True, False, "highest")
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    use_fast_kernels()
    assert kernels()[:3] == (False, False, "high")


def test_threads_are_set_within_a_block_alone() -> None:
    before = torch.get_num_threads()
    with use_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with pytest.raises(KeyError), use_threads(before + 1):
        raise KeyError
    assert torch.get_num_threads() == before
    with use_threads(None):
        assert torch.get_num_threads() == before


def test_looking_for_a_gpu_imports_no_torch() -> None:
    code = (
        "import sys; from kagglepipe.training.device import gpu_is_possible; gpu_is_possible();"
        "print({'torch', 'timm', 'sklearn', 'pandas'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
