"""A checkpoint gives back the same network, holds no pickle, and says how images are to be prepared."""

import json
from collections.abc import Callable, Sequence
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
from kagglepipe.training import checkpoint as module
from kagglepipe.training.checkpoint import (
    BACKBONE,
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


@pytest.mark.parametrize("shared", [True, False])
def test_a_network_comes_back_with_the_same_logits(tmp_path: Path, shared: bool) -> None:
    model = network()
    (checkpoint,) = read_checkpoints(saved(tmp_path / "run", model, shared=shared))
    back = load_classifier(checkpoint)
    assert not back.training
    assert torch.equal(logits(back), logits(model))
    for name, value in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], value), name


@pytest.mark.parametrize("shared", [True, False])
def test_the_head_alone_comes_back(tmp_path: Path, shared: bool) -> None:
    model = network()
    (checkpoint,) = read_checkpoints(saved(tmp_path / "run", model, shared=shared))
    weight, bias = load_head(checkpoint)
    assert torch.equal(weight, model.head.weight)
    assert torch.equal(bias, model.head.bias)


def test_preprocessing_comes_back_and_is_the_networks(tmp_path: Path) -> None:
    (checkpoint,) = read_checkpoints(saved(tmp_path / "run", network(), shared=False))
    back = checkpoint.preprocessing
    assert (back.size, back.crop, back.crop_pct, back.short_side) == (48, "center", 0.875, 77)
    assert (tuple(back.mean), tuple(back.std)) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert load_classifier(checkpoint).preprocessing == back


def test_arguments_of_the_network_come_back(tmp_path: Path) -> None:
    model = network(drop_rate=0.25)
    (checkpoint,) = read_checkpoints(saved(tmp_path / "run", model, shared=False, drop_rate=0.25))
    assert load_classifier(checkpoint).backbone.drop_rate == 0.25


def test_what_else_was_said_is_kept(tmp_path: Path) -> None:
    (checkpoint,) = read_checkpoints(saved(tmp_path / "run", network(), shared=True, fold=3))
    assert checkpoint.meta["fold"] == 3
    assert checkpoint.meta["classes"] == CLASSES
    assert checkpoint.meta["shared_backbone"] is True


# --- files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False])
def test_files_are_tensors_and_json_alone(tmp_path: Path, shared: bool) -> None:
    run = saved(tmp_path / "run", network(), shared=shared)
    files = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    fold = {"fold_0/model.json", "fold_0/model.safetensors"}
    assert files == (fold | {BACKBONE} if shared else fold)
    assert isinstance(json.loads((run / "fold_0" / "model.json").read_text()), dict)
    for name in files:
        if name.endswith(".safetensors"):
            assert load_file(run / name)


def test_a_shared_backbone_is_not_kept_again_in_the_fold(tmp_path: Path) -> None:
    run = saved(tmp_path / "run", network(), shared=True)
    assert set(load_file(run / "fold_0" / "model.safetensors")) == {"head.weight", "head.bias"}
    (checkpoint,) = read_checkpoints(run)
    assert checkpoint.backbone_file == run / BACKBONE


def test_folds_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    model = network()
    for fold in (10, 2, 0):
        saved(tmp_path / "run", model, shared=True, fold=fold)
    assert [checkpoint.meta["fold"] for checkpoint in read_checkpoints(tmp_path / "run")] == [0, 2, 10]


def test_folds_that_share_a_backbone_name_the_same_file(tmp_path: Path) -> None:
    for fold in range(2):
        saved(tmp_path / "shared", network(), shared=True, fold=fold)
        saved(tmp_path / "own", network(), shared=False, fold=fold)
    assert len({c.backbone_file for c in read_checkpoints(tmp_path / "shared")}) == 1
    assert len({c.backbone_file for c in read_checkpoints(tmp_path / "own")}) == 2


def test_a_run_without_networks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no trained network"):
        read_checkpoints(tmp_path)


@pytest.mark.parametrize("shared", [True, False])
def test_a_damaged_file_is_named(tmp_path: Path, shared: bool) -> None:
    run = saved(tmp_path / "run", network(), shared=shared)
    file = run / BACKBONE if shared else run / "fold_0" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=file.name):
        load_classifier(read_checkpoints(run)[0])


def test_a_backbone_that_is_gone_is_named(tmp_path: Path) -> None:
    run = saved(tmp_path / "run", network(), shared=True)
    (run / BACKBONE).unlink()
    with pytest.raises(UserError, match=BACKBONE):
        load_classifier(read_checkpoints(run)[0])


# --- one backbone for many runs --------------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The file that first weights are kept in, those of `network()`."""
    file = tmp_path / "weights" / "kept.safetensors"
    file.parent.mkdir()
    save_file(dict(network().backbone.state_dict()), file)
    return file


def test_a_kept_backbone_is_linked(tmp_path: Path, kept: Path) -> None:
    for run in ("one", "two"):
        save_backbone(network(), tmp_path / run, kept)
    files = [kept, tmp_path / "one" / BACKBONE, tmp_path / "two" / BACKBONE]
    assert len({file.stat().st_ino for file in files}) == 1


def test_where_links_are_impossible_it_is_copied(tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("another disk")

    monkeypatch.setattr(module.os, "link", refuse)
    save_backbone(network(), tmp_path / "run", kept)
    copy = tmp_path / "run" / BACKBONE
    assert copy.stat().st_ino != kept.stat().st_ino
    assert tensors_hash(load_file(copy)) == tensors_hash(load_file(kept))
    assert [path.name for path in (tmp_path / "run").iterdir()] == [BACKBONE]


def test_without_a_kept_file_the_networks_own_tensors_are_written(tmp_path: Path) -> None:
    for place, absent in (("one", None), ("two", tmp_path / "nothing.safetensors")):
        save_backbone(network(), tmp_path / place, absent)
        tensors = load_file(tmp_path / place / BACKBONE)
        for name, value in network().backbone.state_dict().items():
            assert torch.equal(tensors[name], value), name


@pytest.mark.parametrize("load", [load_classifier, load_encoder])
def test_a_head_on_another_backbone_is_refused(tmp_path: Path, load: Callable[[Any], Any]) -> None:
    """As after a copy of a part of the run, or first weights that have changed between two folds."""
    model, other = network(), network(seed=1)
    save_backbone(model, tmp_path, None)
    digest = tensors_hash(model.backbone.state_dict())
    save_checkpoint(tmp_path / "fold_0", model, shared_backbone=True, meta={**meta(), "backbone": digest})
    load(read_checkpoints(tmp_path)[0])
    with pytest.raises(UserError, match=r"has other weights than the network now: delete .* to train it anew"):
        save_backbone(other, tmp_path, None)
    (tmp_path / BACKBONE).unlink()
    save_backbone(other, tmp_path, None)
    with pytest.raises(UserError, match="is not the network that fold_0 was trained on"):
        load(read_checkpoints(tmp_path)[0])


def test_a_backbone_that_is_there_is_left_alone(tmp_path: Path) -> None:
    save_backbone(network(), tmp_path, None)
    before = (tmp_path / BACKBONE).stat().st_mtime_ns
    save_backbone(network(), tmp_path, None)
    assert (tmp_path / BACKBONE).stat().st_mtime_ns == before


def test_a_linked_backbone_gives_the_networks_logits(tmp_path: Path, kept: Path) -> None:
    model = network()
    save_backbone(model, tmp_path / "run", kept)
    save_checkpoint(tmp_path / "run" / "fold_0", model, shared_backbone=True, meta=meta())
    assert torch.equal(logits(load_classifier(read_checkpoints(tmp_path / "run")[0])), logits(model))


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


@pytest.mark.parametrize("per_frame", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"cell": "gru", "layers": 2, "bidirectional": True},
        {"cell": "elman", "reduce": 0},
        {"cell": "conv", "differences": False},
        {"cell": "mean", "window": 5},
        {"shuffled": True, "pooling": "last"},
    ],
)
def test_models_of_time_come_back_with_the_same_answers(
    tmp_path: Path, changes: dict[str, Any], per_frame: bool
) -> None:
    """Of a series: without an encoder."""
    model = temporal(per_frame=per_frame, **changes)
    (checkpoint,) = read_checkpoints(kept_temporal(tmp_path, [model], None, shared=False))
    (back,) = load_temporal(checkpoint)
    assert not back.training
    assert back.options == model.options
    assert torch.equal(answers(back), answers(model))
    for name, value in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], value), name


@pytest.mark.parametrize("shared", [True, False])
def test_members_and_their_encoder_come_back(tmp_path: Path, shared: bool) -> None:
    """Also more than ten members, whose numbers begin alike."""
    models, encoder = [temporal(seed) for seed in range(12)], network()
    (checkpoint,) = read_checkpoints(kept_temporal(tmp_path, models, encoder, shared=shared))
    back = load_temporal(checkpoint)
    assert len(back) == 12
    for one, other in zip(back, models, strict=True):
        assert torch.equal(answers(one), answers(other))
    seeing = load_encoder(checkpoint)
    assert not seeing.training
    assert seeing.preprocessing == checkpoint.preprocessing
    with torch.inference_mode():
        assert torch.equal(seeing.features(random_images()), encoder.features(random_images()))


def test_a_shared_encoder_lies_once_and_an_own_one_in_the_fold(tmp_path: Path) -> None:
    models = [temporal(seed) for seed in range(2)]
    for shared in (True, False):
        run = kept_temporal(tmp_path / str(shared), models, network(), shared=shared)
        (checkpoint,) = read_checkpoints(run)
        names = {name.partition(".")[0] for name in load_file(run / "fold_0" / "model.safetensors")}
        assert names == ({"0", "1"} if shared else {"0", "1", "backbone"})
        assert checkpoint.backbone_file == (run / BACKBONE if shared else run / "fold_0" / "model.safetensors")
        files = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
        assert files == {"fold_0/model.json", "fold_0/model.safetensors"} | ({BACKBONE} if shared else set())


def test_a_fold_of_a_series_says_that_it_has_no_encoder(tmp_path: Path) -> None:
    (checkpoint,) = read_checkpoints(kept_temporal(tmp_path, [temporal()], None, shared=False))
    assert "preprocessing" not in checkpoint.meta
    assert checkpoint.meta["shared_backbone"] is False
    assert checkpoint.meta["members"] == 1
    assert checkpoint.meta["per_frame"] is True
    assert checkpoint.meta["classes"] == CLASSES


def test_weights_fitted_elsewhere_are_kept(tmp_path: Path) -> None:
    """As those of a linear model: views into arrays, in any memory order."""
    model = temporal(cell="mean")
    weight = np.asfortranarray(np.random.default_rng(0).normal(size=(3, 14)).astype(np.float32))
    model.head.classifier.weight.data = torch.from_numpy(weight)
    (back,) = load_temporal(read_checkpoints(kept_temporal(tmp_path, [model], None, shared=False))[0])
    np.testing.assert_array_equal(back.head.classifier.weight.detach(), weight)


@pytest.mark.parametrize("shared", [True, False])
def test_damage_to_a_model_of_time_is_named(tmp_path: Path, shared: bool) -> None:
    run = kept_temporal(tmp_path, [temporal()], network(), shared=shared)
    file = run / BACKBONE if shared else run / "fold_0" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=file.name):
        load_encoder(read_checkpoints(run)[0])


# --- the hash --------------------------------------------------------------------------------------------------


def test_the_hash_tells_backbones_apart() -> None:
    one, other = network(0).backbone.state_dict(), network(1).backbone.state_dict()
    assert tensors_hash(one) == tensors_hash(network(0).backbone.state_dict())
    assert tensors_hash(one) != tensors_hash(other)


def test_one_bit_or_one_name_changes_the_hash() -> None:
    tensors = {"a": torch.zeros(3), "b": torch.ones(2)}
    altered = {"a": torch.tensor([0.0, 0.0, 1e-45]), "b": torch.ones(2)}
    renamed = {"a": torch.zeros(3), "c": torch.ones(2)}
    swapped = {"a": torch.ones(2), "b": torch.zeros(3)}
    assert len({tensors_hash(each) for each in (tensors, altered, renamed, swapped)}) == 4


def test_the_hash_takes_numbers_of_any_kind() -> None:
    """Scalars, whole numbers, half precision and tensors that are not contiguous."""
    matrix = torch.arange(6.0).reshape(2, 3)
    hashes = {
        tensors_hash({"x": value})
        for value in (torch.tensor(3), torch.tensor(4), matrix, matrix.T, matrix.to(torch.bfloat16))
    }
    assert len(hashes) == 5
    assert tensors_hash({"x": matrix.T}) == tensors_hash({"x": matrix.T.contiguous()})
