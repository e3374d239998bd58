"""A run as ONNX gives torch's predictions; its README.md says how a file becomes an input."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from kagglepipe.errors import UserError
from kagglepipe.files import read_json, write_json
from kagglepipe.models.weights import read_tensors, write_tensors
from kagglepipe.runs.run import Run
from kagglepipe.tools.export import export
from kagglepipe.training import onnx_export
from kagglepipe.training.backends import InferenceBackend
from kagglepipe.training.checkpoint import read_checkpoints
from kagglepipe.training.inference import run_probabilities
from kagglepipe.training.onnx_export import TURNS, MeanOfFolds
from tests.fitting import FLOAT32
from tests.guards.run_folders import KEPT

BACKEND = InferenceBackend(torch.device("cpu"), FLOAT32)
NAMES = ["test_efficientnet-head-45608abe", "test_efficientnet-finetune-3b5ffe03"]
RunOf = Callable[[str], Run]


@pytest.fixture
def run_of(tmp_path: Path) -> RunOf:
    """run_of("images/NAME") -> a copy of a kept run."""
    return lambda name: Run(Path(shutil.copytree(KEPT / "outputs" / name, tmp_path / name)))


def photos(count: int = 4) -> list[np.ndarray]:
    """Noise around a grey of its own, upright and wide."""
    rng = np.random.default_rng(0)
    return [rng.integers(20 * n, 20 * n + 150, (40 + 9 * n, 80, 3)).astype(np.uint8) for n in range(count)]


@pytest.mark.parametrize("name", NAMES)
def test_the_graph_is_the_mean_of_folds_and_turned_views(name: str, run_of: RunOf) -> None:
    checkpoints = read_checkpoints(run_of(f"images/{name}").model_folders())
    expected = run_probabilities(checkpoints, photos(), range(4), backend=BACKEND, tta=list(TURNS))
    views = checkpoints[0].preprocessing.views(photos())
    with torch.no_grad():
        found = MeanOfFolds(checkpoints, list(TURNS))(torch.from_numpy(np.stack([views[row, 0] for row in range(4)])))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_file_gives_the_predictions_of_the_command(
    name: str, run_of: RunOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    run = run_of(f"images/{name}")
    export(run)
    folder = run.folder / "onnx"
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "README.md"}
    checkpoints = read_checkpoints(run.model_folders())
    expected = run_probabilities(checkpoints, photos(), range(4), backend=BACKEND)
    views = checkpoints[0].preprocessing.views(photos())
    images = np.stack([views[row, 0] for row in range(4)])
    (found,) = onnxruntime.InferenceSession(folder / "model.onnx").run(None, {"images": images})
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert len(np.unique(found.round(4), axis=0)) == 4  # of which each is told apart
    known = {one.key: one.value for one in onnx.load(folder / "model.onnx").metadata_props}
    assert json.loads(known["classes"]) == checkpoints[0].meta["classes"]
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None)
    np.testing.assert_allclose(onnx_export.evaluate(folder / "model.onnx", images), expected, atol=1e-4)

    (code,) = re.findall("```python\n(.*?)```", (folder / "README.md").read_text("utf-8"), re.DOTALL)
    cv2.imwrite(str(folder / "photo.png"), photos()[2][..., ::-1])
    (folder / "photo.png").rename(folder / "photo.jpg")
    monkeypatch.chdir(folder)
    scope: dict[str, np.ndarray] = {}
    exec(code, scope)
    np.testing.assert_allclose(scope["predictions"][0], expected[2], atol=1e-4)


def test_ordered_classes_are_exported(run_of: RunOf) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    run = run_of(f"images/{NAMES[0]}")
    for folder in run.model_folders():  # of three classes: two outputs, of being above the first and the second
        tensors = read_tensors(folder / "model.safetensors")
        write_tensors(folder / "model.safetensors", {name: value[:2].clone() for name, value in tensors.items()})
        write_json(folder / "model.json", {**read_json(folder / "model.json"), "task": "ordinal"})
    export(run)
    checkpoints = read_checkpoints(run.model_folders())
    expected = run_probabilities(checkpoints, photos(), range(4), backend=BACKEND)
    views = checkpoints[0].preprocessing.views(photos())
    images = np.stack([views[row, 0] for row in range(4)])
    (found,) = onnxruntime.InferenceSession(run.folder / "onnx" / "model.onnx").run(None, {"images": images})
    assert found.shape == (4, 3)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_file_that_differs_from_torch_is_not_kept(run_of: RunOf, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxscript")
    run = run_of(f"images/{NAMES[0]}")
    monkeypatch.setattr(onnx_export, "evaluate", lambda path, images: np.zeros((5, 3), np.float32))
    with pytest.raises(UserError, match=r"^the ONNX network differs from torch by 0\.\d+, 0.0001 is allowed"):
        export(run)
    assert not list((run.folder / "onnx").iterdir())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "images/ensemble-mean-4f9760fc",
            f"is an ensemble, whose members have inputs of their own: export one, as run={NAMES[1]}$",
        ),
        (
            "clips/test_efficientnet-lstm-head-641ad190",
            "is of video, and a recurrent network as ONNX takes one length only: only networks of images are exported",
        ),
        (f"images/{NAMES[0]}", r"^export needs onnx and onnxscript: type pip install 'kagglepipe\[onnx\]'$"),
    ],
)
def test_what_cannot_be_exported_is_said_in_a_line(
    name: str, words: str, run_of: RunOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=words):
        export(run_of(name))
