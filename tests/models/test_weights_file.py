"""The user's weights: any checkpoint of tensors fills the network, and nothing else is ever run."""

import logging
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from kagglepipe.errors import UserError
from kagglepipe.files import file_sha256
from kagglepipe.models.classifier import make_backbone
from kagglepipe.models.weights import find_weights

TINY = "test_resnet"
State = dict[str, Tensor]


def whole(classes: int = 7) -> State:
    """Weights of a small network with a classifier."""
    torch.manual_seed(3)
    state: State = timm.create_model(TINY, num_classes=classes).state_dict()
    return state


def prefixed(prefix: str) -> State:
    return {f"{prefix}{name}": value for name, value in whole().items()}


def loaded(path: Path, cache: Path) -> nn.Module:
    """A small network with the file's weights."""
    return make_backbone(TINY, find_weights(TINY, str(path)), kwargs={}, cache_dir=cache)


def assert_loaded(network: nn.Module) -> None:
    expected = {name: value for name, value in whole().items() if not name.startswith("fc.")}
    found = network.state_dict()
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
@pytest.mark.parametrize("make", [
    whole,
    lambda: prefixed("module."),
    lambda: {"state_dict": prefixed("model."), "epoch": 3, "hyper_parameters": {"lr": 0.1}},
    lambda: {"model": prefixed("module.backbone."), "optimizer": {"state": {}, "param_groups": []}},
    lambda: {"state_dict": prefixed("_orig_mod.module.model.")},
    lambda: {name: value.half().float() if value.dtype == torch.long else value for name, value in whole().items()},
])  # fmt: skip
def test_checkpoints_of_any_wrapper_are_read(tmp_path: Path, make: Callable[[], Any], suffix: str) -> None:
    torch.save(make(), tmp_path / f"own{suffix}")
    assert_loaded(loaded(tmp_path / f"own{suffix}", tmp_path / "cache"))


def test_wrapped_names_in_safetensors_are_read_too(tmp_path: Path) -> None:
    save_file(prefixed("module."), tmp_path / "own.safetensors")
    assert_loaded(loaded(tmp_path / "own.safetensors", tmp_path))


def test_a_checkpoint_is_read_once_and_known_by_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(whole(), tmp_path / "own.pth")
    loaded(tmp_path / "own.pth", tmp_path / "cache")
    monkeypatch.setattr(torch, "load", None)
    moved = (tmp_path / "own.pth").rename(tmp_path / "other.pt")
    assert_loaded(loaded(moved, tmp_path / "cache"))
    assert find_weights(TINY, str(moved)).identity == file_sha256(moved)
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == 1


def test_what_is_left_out_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save({**whole(1000), "decoder.weight": torch.zeros(2)}, tmp_path / "own.pth")
    with caplog.at_level(logging.INFO, "kagglepipe"):
        loaded(tmp_path / "own.pth", tmp_path)
    classifier, unexpected = (record.getMessage() for record in caplog.records)
    assert "classifier" in classifier
    assert "fc.bias" in classifier
    assert "1 tensors" in unexpected
    assert "decoder.weight" in unexpected


class Evil:
    """Its pickle runs a command."""

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return subprocess.check_call, (["touch", "was-here"],)


@pytest.mark.parametrize(("content", "message"), [
    (lambda: pickle.dumps(Evil()), "without running its code"),
    (lambda: b"", "without running its code"),
    (lambda: b"<html>404</html>", "without running its code"),
    (lambda: pickle.dumps({"a": 1}), "no tensors by name|without running its code"),
])  # fmt: skip
def test_a_file_that_is_no_weights_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Callable[[], bytes], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.pth").write_bytes(content())
    with pytest.raises(UserError, match=message) as error:
        loaded(tmp_path / "own.pth", tmp_path)
    assert "\n" not in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["own.pth"]


@pytest.mark.parametrize(("made", "message"), [
    ({"epoch": 3}, "no tensors by name .epoch"), ([1, 2], "no tensors by name .list"),
    (Evil, "without running its code"), (nn.Linear, "without running its code"),
    (torch.zeros(3), "no tensors by name .Tensor"), ({"conv": torch.zeros(1)}, r"does not fit.*it has conv"),
])  # fmt: skip
def test_checkpoints_without_the_tensors_are_refused(tmp_path: Path, made: Any, message: str) -> None:
    made = made(2, 2) if made is nn.Linear else made() if made is Evil else made
    torch.save(made, tmp_path / "own.pt")
    with pytest.raises(UserError, match=message) as error:
        loaded(tmp_path / "own.pt", tmp_path)
    assert "\n" not in str(error.value)
