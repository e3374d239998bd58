"""Where training runs and in which precision, each with a reason."""

import subprocess
import sys

import pytest
import torch

from kagglepipe.errors import UserError
from kagglepipe.training import device as module
from kagglepipe.training.device import choose_device, choose_precision, describe_device, gpu_is_possible


def test_the_cpu_is_always_there() -> None:
    assert choose_device("cpu") == torch.device("cpu")


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto").type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("auto").type == "cuda"


@pytest.mark.parametrize("wanted", ["tpu", "", "cpu:x"])
def test_an_unknown_device_is_answered_with_the_choices(wanted: str) -> None:
    with pytest.raises(UserError, match=f"device={wanted} is unknown; choose auto, cpu, cuda, cuda:1 or mps"):
        choose_device(wanted)


@pytest.mark.parametrize("wanted", ["cuda", "cuda:1"])
def test_cuda_without_cuda_says_what_to_type(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=f"device={wanted}, .*type device=cpu"):
        choose_device(wanted)


def test_a_gpu_beyond_the_last_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1").index == 1
    with pytest.raises(UserError, match=r"device=cuda:2, but there are 2"):
        choose_device("cuda:2")


def test_mps_without_mps_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match="type device=cpu"):
        choose_device("mps")


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


def test_apple_gpus_stay_in_float32() -> None:
    precision = choose_precision(torch.device("mps"))
    assert (precision.name, precision.scaled) == ("float32", False)
    assert precision.reason


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


def test_looking_for_a_gpu_imports_no_torch() -> None:
    code = (
        "import sys; from kagglepipe.training.device import gpu_is_possible; gpu_is_possible();"
        "print({'torch', 'timm', 'sklearn', 'pandas'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
