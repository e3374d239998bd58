"""Whatever looks through a network gives the same features; which one does is found out once and kept."""

import copy
import logging
import subprocess
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kagglepipe.errors import UserError
from kagglepipe.files import read_json, write_json
from kagglepipe.models.classifier import Classifier
from kagglepipe.training import backends as module
from kagglepipe.training.backends import TOLERANCE, InferenceBackend, machine
from kagglepipe.training.device import Precision
from tests.fitting import FLOAT32, SIZE, network

CPU = torch.device("cpu")
installed = pytest.mark.skipif(not module.has_openvino(), reason="OpenVINO is not installed: pip install openvino")


@pytest.fixture(scope="module")
def model() -> Classifier:
    return network().eval()


@pytest.fixture(scope="module")
def images() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (11, SIZE, SIZE, 3), np.uint8)


def pretend(monkeypatch: pytest.MonkeyPatch, **rates: float) -> list[str]:
    """Puts those speeds in the place of measured ones; returns what was measured, as it is."""
    measured: list[str] = []

    def rate(encode: Any, images: Any) -> float:
        name = "openvino" if "openvino" in encode.__qualname__ else "torch"
        measured.append(name)
        return rates[name]

    monkeypatch.setattr(module, "rate", rate)
    return measured


# --- the same features ---------------------------------------------------------------------------------------------


@installed
@pytest.mark.parametrize(("name", "options"), [
    ("test_efficientnet", {}), ("test_resnet", {}), ("test_convnext", {}), ("test_vit", {"img_size": SIZE}),
    ("test_efficientnet", {"in_chans": 1}), ("test_efficientnet", {"in_chans": 5}),
])  # fmt: skip
def test_features_are_those_of_torch(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    """In batches of any size, from a new conversion and from the one that was kept."""
    model = network(name, **options).eval()
    form = model.preprocessing.form
    images = np.random.default_rng(0).integers(0, 2**form.bits, (11, SIZE, SIZE, form.channels), form.dtype)
    before = copy.deepcopy(model.state_dict())
    expected = InferenceBackend(CPU, FLOAT32).encoder(model)(images)
    for _ in ("made", "kept"):
        encode = InferenceBackend(CPU, FLOAT32, "openvino", tmp_path).encoder(model)
        answers = {count: encode(images[:count]) for count in (11, 1, 4)}  # none is overwritten by the next
        for count, found in answers.items():
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected[:count], atol=1e-4 * abs(expected).max())
    assert len(list(tmp_path.glob("*.openvino"))) == 1
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@installed
def test_what_is_kept_is_not_converted_again(
    model: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = InferenceBackend(CPU, FLOAT32, "openvino", tmp_path)
    backend.encoder(model)
    with monkeypatch.context() as patch:
        patch.setattr(module, "convert", lambda model: pytest.fail("it is there"))
        backend.encoder(model)
    other = network("test_resnet").eval()
    backend.encoder(other)
    assert len(list(tmp_path.glob("*.openvino"))) == 2


@installed
def test_a_damaged_file_is_made_anew(
    model: Classifier, images: np.ndarray[Any, np.dtype[np.uint8]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backend = InferenceBackend(CPU, FLOAT32, "openvino", tmp_path)
    expected = backend.encoder(model)(images)
    (kept,) = tmp_path.glob("*.openvino")
    kept.write_bytes(kept.read_bytes()[:1000])
    np.testing.assert_array_equal(backend.encoder(model)(images), expected)
    assert "cannot be used" in caplog.text
    assert kept.stat().st_size > 1000


@installed
def test_nobody_is_told_of_a_conversion() -> None:
    """In a process of its own: nothing that the tests have imported before counts."""
    code = (
        "import sys, torch\n"
        "from kagglepipe.training.backends import InferenceBackend\n"
        "from tests.training.test_backends import CPU, FLOAT32, network\n"
        "InferenceBackend(CPU, FLOAT32, 'openvino').encoder(network().eval())\n"
        "assert sys.modules['openvino_telemetry'] is None\n"
        "assert not any(name.startswith('openvino_telemetry.') for name in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr


@installed
@pytest.mark.skipif(find_spec("absl") is None, reason="absl is not installed")
def test_what_was_standard_error_stays_open() -> None:
    """With absl installed, a handler of its closed whatever standard error had been, as soon as logging began anew."""
    code = (
        "import io, logging, sys\n"
        "theirs, sys.stderr = sys.stderr, io.StringIO()\n"
        "mine = sys.stderr\n"
        "from kagglepipe.training.backends import import_openvino\n"
        "import_openvino()\n"
        "sys.stderr = theirs\n"
        "logging.shutdown()\n"
        "assert not mine.closed\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# --- which one -----------------------------------------------------------------------------------------------------


@installed
@pytest.mark.parametrize(("rates", "expected"), [
    ({"torch": 100.0, "openvino": 111.0}, "openvino"),
    ({"torch": 100.0, "openvino": 109.0}, "torch"),
    ({"torch": 100.0, "openvino": 50.0}, "torch"),
])  # fmt: skip
def test_the_faster_one_is_chosen_once(
    rates: dict[str, float], expected: str, model: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = pretend(monkeypatch, **rates)
    backend = InferenceBackend(CPU, FLOAT32, "auto", tmp_path)
    assert [backend.resolve(model) for _ in range(3)] == [expected] * 3
    assert measured == ["torch", "openvino"]
    (note,) = tmp_path.glob("*.json")
    assert read_json(note) == {machine(): rates}


@installed
def test_another_machine_is_asked_anew(model: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, torch=1.0, openvino=2.0)
    backend = InferenceBackend(CPU, FLOAT32, "auto", tmp_path)
    assert backend.resolve(model) == "openvino"
    (note,) = tmp_path.glob("*.json")
    write_json(note, {"another one": {"torch": 2.0, "openvino": 1.0}})
    assert backend.resolve(model) == "openvino"
    assert set(read_json(note)) == {"another one", machine()}


@installed
@pytest.mark.parametrize("fault", ["other features", "no conversion"])
def test_one_that_does_not_do_it_right_is_not_chosen(
    fault: str, model: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pretend(monkeypatch, torch=1.0, openvino=100.0)
    if fault == "other features":
        monkeypatch.setitem(TOLERANCE, torch.float32, -1.0)
    else:
        monkeypatch.setattr(module, "convert", lambda model: 1 / 0)
    with caplog.at_level(logging.WARNING):
        assert InferenceBackend(CPU, FLOAT32, "auto", tmp_path).resolve(model) == "torch"
    assert {"other features": "gives other features", "no conversion": "cannot convert this network"}[
        fault
    ] in caplog.text


@pytest.mark.parametrize("backend", [
    InferenceBackend(CPU, FLOAT32, "torch", Path("nowhere")),
    InferenceBackend(CPU, FLOAT32, "auto", None),  # there is no place to keep what is found out
    InferenceBackend(torch.device("meta"), FLOAT32, "auto", Path("nowhere")),
    InferenceBackend(CPU, Precision(torch.float16, False, ""), "auto", Path("nowhere")),
])  # fmt: skip
def test_torch_is_not_compared_with_what_cannot_be_used(
    backend: InferenceBackend, model: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InferenceBackend, "_openvino_is_faster", lambda *_: pytest.fail("nothing is to be compared"))
    assert backend.resolve(model) == "torch"


def test_sixteen_bits_are_for_torch_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "has_openvino", lambda: True)
    monkeypatch.setattr(module, "check_openvino", lambda device: None)
    monkeypatch.setattr(InferenceBackend, "_openvino_is_faster", lambda *_: pytest.fail("nothing is to be compared"))
    deep = network(bits=16, in_chans=5).eval()
    assert InferenceBackend(CPU, FLOAT32, "auto", tmp_path).resolve(deep) == "torch"
    with pytest.raises(UserError, match=r"engine=openvino is not tried with model\.in_bits=16: type engine=torch"):
        InferenceBackend(CPU, FLOAT32, "openvino", tmp_path).encoder(deep)


# --- what cannot be had --------------------------------------------------------------------------------------------


@pytest.fixture(params=[None, ModuleSpec("a folder of that name", None)])
def _missing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: request.param)


@pytest.mark.usefixtures("_missing")
def test_without_it_torch_does_the_work(model: Classifier, tmp_path: Path) -> None:
    assert InferenceBackend(CPU, FLOAT32, "auto", tmp_path).resolve(model) == "torch"
    with pytest.raises(UserError, match=r"engine=openvino is not installed: type pip install 'kagglepipe\[openvino\]'"):
        InferenceBackend(CPU, FLOAT32, "openvino", tmp_path).encoder(model)
    assert not list(tmp_path.iterdir())


@installed
def test_it_is_for_processors_alone(model: Classifier) -> None:
    with pytest.raises(UserError, match="engine=openvino is for CPUs, not cuda: type device=cpu"):
        InferenceBackend(torch.device("cuda"), FLOAT32, "openvino").resolve(model)


SIGNAL_AFTER_ENCODERS = """
import os, signal
import torch
from kagglepipe.training.backends import InferenceBackend
from tests.fitting import FLOAT32, network
signal.signal(signal.SIGUSR1, lambda *_: print("handled", flush=True))  # as data loaders handle the end of a process
encoders = [
    InferenceBackend(torch.device("cpu"), FLOAT32, "openvino").encoder(network(name).eval())
    for name in ("test_efficientnet", "test_resnet")
]
while encoders:
    del encoders[0]  # the older one first
os.kill(os.getpid(), signal.SIGUSR1)
"""


@installed
@pytest.mark.skipif(sys.platform != "linux", reason="stacks for signal handlers are set on Linux alone")
def test_a_signal_after_encoders_have_ended_is_handled() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", SIGNAL_AFTER_ENCODERS], capture_output=True, text=True, cwd=root)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
