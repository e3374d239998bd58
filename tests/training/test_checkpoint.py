"""A checkpoint gives back the same network, holds no pickle, and says how images are to be prepared."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kagglepipe.errors import UserError
from kagglepipe.models.classifier import Classifier, Preprocessing
from kagglepipe.models.temporal import TemporalModel
from kagglepipe.runs.run import Run
from kagglepipe.training import checkpoint as module
from kagglepipe.training.checkpoint import (
    BACKBONE,
    Checkpoint,
    load_classifier,
    load_encoder,
    load_head,
    load_temporal,
    read_checkpoints,
    save_backbone,
    save_checkpoint,
    save_temporal,
    tensors_hash,
)
from tests.fitting import temporal_options

NAME = "test_efficientnet"
CLASSES = ["cat", "dog", "eel"]
PREPROCESSING = Preprocessing(48, "center", 0.875, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 77)


def network(seed: int = 0, **options: Any) -> Classifier:
    """A tiny network with random weights and random batch statistics."""
    torch.manual_seed(seed)
    model = Classifier(timm.create_model(NAME, num_classes=0, **options), len(CLASSES), PREPROCESSING)
    for name, value in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            value.uniform_(0.5, 1.5)
    return model.eval()


def meta(fold: int = 0, **options: Any) -> dict[str, Any]:
    """What the train stage says of a fold."""
    return {"model": NAME, "kwargs": options, "classes": CLASSES, "fold": fold}


def checkpoints(run: Path) -> list[Checkpoint]:
    return read_checkpoints(Run(run).model_folders())


def saved(run: Path, model: Classifier, *, shared: bool, fold: int = 0, **options: Any) -> Path:
    """The run's folder with one fold in it."""
    if shared:
        save_backbone(model, run, None)
    save_checkpoint(run / f"fold_{fold}", model, shared_backbone=shared, meta=meta(fold, **options))
    return run


def random_images() -> Tensor:
    """(3, 48, 48, 3) uint8"""
    return torch.randint(0, 256, (3, 48, 48, 3), generator=torch.Generator().manual_seed(1)).to(torch.uint8)


def logits(model: Classifier) -> Tensor:
    """Of the random images."""
    with torch.inference_mode():
        return model(random_images())


# --- there and back --------------------------------------------------------------------------------------------


def files_of(run: Path) -> dict[str, set[str]]:
    """path -> first parts of the names of its tensors; none of a JSON file."""
    return {
        path.relative_to(run).as_posix(): {name.partition(".")[0] for name in load_file(path)}
        if path.suffix == ".safetensors"
        else set()
        for path in run.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("shared", [True, False])
def test_a_network_comes_back_as_it_was(tmp_path: Path, shared: bool) -> None:
    """From tensors and JSON alone; a shared backbone is not stored again in the fold."""
    model = network(drop_rate=0.25)
    (checkpoint,) = checkpoints(saved(tmp_path, model, shared=shared, fold=3, drop_rate=0.25))
    back = load_classifier(checkpoint)
    assert not back.training
    assert torch.equal(logits(back), logits(model))
    for name, value in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], value), name
    assert all(map(torch.equal, load_head(checkpoint), (model.head.weight, model.head.bias)))
    assert back.backbone.drop_rate == 0.25
    assert json.loads(json.dumps(asdict(back.preprocessing))) == json.loads(json.dumps(asdict(PREPROCESSING)))
    assert checkpoint.preprocessing == back.preprocessing
    about = {"shared_backbone": shared, "preprocessing": json.loads(json.dumps(asdict(PREPROCESSING)))}
    assert checkpoint.meta == {**meta(3, drop_rate=0.25), **about}
    fold = {"fold_3/model.json": set(), "fold_3/model.safetensors": {"head"} if shared else {"head", "backbone"}}
    backbone = {name.partition(".")[0] for name in model.backbone.state_dict()}
    assert files_of(tmp_path) == (fold | {BACKBONE: backbone} if shared else fold)


# --- files -----------------------------------------------------------------------------------------------------


def test_folds_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    model = network()
    for fold in (10, 2, 0):
        saved(tmp_path / "run", model, shared=True, fold=fold)
    assert [checkpoint.meta["fold"] for checkpoint in checkpoints(tmp_path / "run")] == [0, 2, 10]


def test_a_run_without_networks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no trained network"):
        Run(tmp_path).model_folders()


@pytest.mark.parametrize(("shared", "load"), [(True, load_classifier), (False, load_classifier), (True, load_encoder)])
@pytest.mark.parametrize("keep", [None, -100])
def test_a_file_that_is_damaged_or_gone_is_named(
    tmp_path: Path, shared: bool, load: Callable[[Any], Any], keep: int | None
) -> None:
    run = saved(tmp_path / "run", network(), shared=shared)
    file = run / BACKBONE if shared else run / "fold_0" / "model.safetensors"
    whole = file.read_bytes()
    file.unlink()
    if keep is not None:
        file.write_bytes(whole[:keep])
    with pytest.raises(UserError, match=file.name):
        load(checkpoints(run)[0])


# --- one backbone for many runs --------------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The file that first weights are kept in, those of `network()`."""
    file = tmp_path / "weights" / "kept.safetensors"
    file.parent.mkdir()
    save_file(dict(network().backbone.state_dict()), file)
    return file


def test_a_cached_backbone_is_linked_and_one_that_is_there_stays(tmp_path: Path, kept: Path) -> None:
    for run in ("one", "two", "one"):
        save_backbone(network(), tmp_path / run, kept)
    files = [kept, tmp_path / "one" / BACKBONE, tmp_path / "two" / BACKBONE]
    assert len({file.stat().st_ino for file in files}) == 1


@pytest.mark.parametrize("cause", ["no link", "no file", "none"])
def test_where_links_are_impossible_it_is_copied(
    cause: str, tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("another disk")

    monkeypatch.setattr(module.os, "link", refuse)
    cached = {"no link": kept, "no file": tmp_path / "nothing.safetensors", "none": None}[cause]
    save_backbone(network(), tmp_path / "run", cached)
    copy = tmp_path / "run" / BACKBONE
    assert tensors_hash(load_file(copy)) == tensors_hash(load_file(kept))
    assert [path.name for path in (tmp_path / "run").iterdir()] == [BACKBONE]
    before = copy.stat().st_mtime_ns
    save_backbone(network(), tmp_path / "run", cached)
    assert copy.stat().st_mtime_ns == before


@pytest.mark.parametrize("load", [load_classifier, load_encoder])
def test_a_head_on_another_backbone_is_refused(tmp_path: Path, load: Callable[[Any], Any]) -> None:
    """As after a copy of a part of the run, or first weights that have changed between two folds."""
    model, other = network(), network(seed=1)
    save_backbone(model, tmp_path, None)
    digest = tensors_hash(model.backbone.state_dict())
    save_checkpoint(tmp_path / "fold_0", model, shared_backbone=True, meta={**meta(), "backbone": digest})
    load(checkpoints(tmp_path)[0])
    with pytest.raises(UserError, match=r"has other weights than the network now: delete .* to train it anew"):
        save_backbone(other, tmp_path, None)
    (tmp_path / BACKBONE).unlink()
    save_backbone(other, tmp_path, None)
    with pytest.raises(UserError, match="is not the network that fold_0 was trained on"):
        load(checkpoints(tmp_path)[0])


# --- models of time ----------------------------------------------------------------------------------------------


def temporal(seed: int = 0, *, per_frame: bool = True, **changes: Any) -> TemporalModel:
    """A model of time with random weights, standardised on random frames of 7 features."""
    plain = {"differences": True, "dropout": 0.3, "reduce": 5, "pooling": "mean_max"}
    options = temporal_options(**{**plain, **changes})
    torch.manual_seed(seed)
    model = TemporalModel(7, len(CLASSES), options, per_frame=per_frame, noise=0.1)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    raw = np.random.default_rng(seed).normal(3, 2, (30, len(model.inputs.centre)))
    model.inputs.fit(raw, seed=seed)
    return model.eval()


def kept_temporal(run: Path, models: Sequence[TemporalModel], encoder: Classifier | None, *, shared: bool) -> Path:
    """The run's folder with one fold in it."""
    if encoder and shared:
        save_backbone(encoder, run, None)
    save_temporal(run / "fold_0", models, encoder, shared_backbone=shared, meta=meta())
    return run


def answers(model: TemporalModel) -> Tensor:
    """Of two random items, one of them padded."""
    features = torch.randn(2, 6, 7, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        return model(features, torch.tensor([6, 4])).softmax(dim=-1)


@pytest.mark.parametrize(("changes", "per_frame"), [
    ({}, True),
    ({"cell": "gru", "layers": 2, "bidirectional": True}, False),
    ({"cell": "elman", "reduce": 0}, True),
    ({"cell": "conv", "differences": False}, False),
    ({"cell": "mean", "window": 5}, True),
    ({"shuffled": True, "pooling": "last"}, False),
])  # fmt: skip
def test_a_temporal_model_of_series_comes_back_as_it_was(
    tmp_path: Path, changes: dict[str, Any], per_frame: bool
) -> None:
    """Without an encoder; also weights that are views into arrays, in any memory order, as a linear fit's."""
    model = temporal(per_frame=per_frame, **changes)
    expected, weight = answers(model), model.head.classifier.weight
    weight.data = torch.from_numpy(np.asfortranarray(weight.detach().numpy()))
    (checkpoint,) = checkpoints(kept_temporal(tmp_path, [model], None, shared=False))
    (back,) = load_temporal(checkpoint)
    assert not back.training
    assert back.options == model.options
    assert torch.equal(answers(back), expected)
    for name, value in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], value), name
    assert "preprocessing" not in checkpoint.meta
    found = [checkpoint.meta[name] for name in ("shared_backbone", "members", "per_frame", "classes")]
    assert found == [False, 1, per_frame, CLASSES]


@pytest.mark.parametrize("shared", [True, False])
def test_members_and_their_encoder_come_back(tmp_path: Path, shared: bool) -> None:
    """Also more than ten members, whose numbers begin alike."""
    models, encoder = [temporal(seed) for seed in range(12)], network()
    (checkpoint,) = checkpoints(kept_temporal(tmp_path, models, encoder, shared=shared))
    back = load_temporal(checkpoint)
    assert len(back) == 12
    for one, other in zip(back, models, strict=True):
        assert torch.equal(answers(one), answers(other))
    seeing = load_encoder(checkpoint)
    assert not seeing.training
    assert seeing.preprocessing == checkpoint.preprocessing
    with torch.inference_mode():
        assert torch.equal(seeing.features(random_images()), encoder.features(random_images()))
    members = {str(number) for number in range(12)}
    assert files_of(tmp_path)["fold_0/model.safetensors"] == (members if shared else members | {"backbone"})
    assert checkpoint.backbone_file == tmp_path / (BACKBONE if shared else "fold_0/model.safetensors")


# --- the hash --------------------------------------------------------------------------------------------------


def test_the_hash_depends_on_every_bit_and_name() -> None:
    """Of scalars, whole numbers, half precision and tensors that are not contiguous."""
    zeros, ones, matrix = torch.zeros(3), torch.ones(2), torch.arange(6.0).reshape(2, 3)
    tensors: list[dict[str, Tensor]] = [
        {"a": zeros, "b": ones}, {"a": torch.tensor([0.0, 0.0, 1e-45]), "b": ones}, {"a": zeros, "c": ones},
        {"a": ones, "b": zeros}, *({"x": value} for value in (torch.tensor(3), torch.tensor(4), matrix, matrix.T)),
        {"x": matrix.to(torch.bfloat16)},
    ]  # fmt: skip
    assert len({tensors_hash(each) for each in tensors}) == len(tensors)
    assert tensors_hash({"x": matrix.T}) == tensors_hash({"x": matrix.T.contiguous()})
