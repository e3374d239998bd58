"""Learners fit and predict without a configuration, stages or runs."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.errors import UserError
from kagglepipe.files import file_sha256, read_json
from kagglepipe.options import (
    AugmentationOptions,
    CompetitionOptions,
    ModelOptions,
    SequenceOptions,
    TemporalOptions,
    TrainingOptions,
)
from kagglepipe.training.advice import is_mirrored
from kagglepipe.training.backends import make_backend
from kagglepipe.training.checkpoint import Checkpoint, load_classifier
from kagglepipe.training.image_learner import ImageLearner
from kagglepipe.training.learner import FoldResult, LearnerOptions, Runtime, fit_runtime
from kagglepipe.training.loop import FitRuntime
from kagglepipe.training.sequence_learner import SequenceLearner
from tests.fitting import TRANSFORMERS

TINY = ModelOptions(name="test_efficientnet", weights="none", image_size=32, temporal=TemporalOptions(hidden=4))


def dataset_of(root: Path, names: list[str], **more: Any) -> Dataset:
    """Files NAME of the classes "a" and "b" in turns, in folds 0 and 1; the last two are the test."""
    table = pd.DataFrame({"id": names, "path": names, "sha256": [file_sha256(root / name) for name in names]})
    table["mode"] = "RGB"
    table["split"] = ["train"] * (len(names) - 2) + ["test"] * 2
    table["target"] = [["a", "b"][n % 2] if split == "train" else None for n, split in enumerate(table["split"])]
    train = table[table["split"] == "train"]
    folds = pd.DataFrame({"id": train["id"], "fold": [n // 2 % 2 for n in range(len(train))]})
    return Dataset(table.assign(group=table["id"]), folds, ["a", "b"], root, "table", "folds", **more)


@pytest.fixture
def images(tmp_path: Path) -> Dataset:
    """Ten noisy images, dark ones of class "a" and bright ones of class "b"."""
    names = [f"{n}.png" for n in range(10)]
    for n, name in enumerate(names):
        noise = np.random.default_rng(n).integers(0, 100, (40, 48, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / name), noise + 150 * (n % 2))
    return dataset_of(tmp_path, names)


@pytest.fixture
def series(tmp_path: Path) -> Dataset:
    """Ten series of two channels; those of class "b" rise."""
    names = [f"{n}.csv" for n in range(10)]
    for n, name in enumerate(names):
        values = np.random.default_rng(n).normal(size=(20, 2)) + (n % 2) * np.arange(20)[:, None]
        pd.DataFrame(values, columns=["x", "y"]).assign(time=np.arange(20) / 8).to_csv(tmp_path / name, index=False)
    items = pd.DataFrame({"video": names, "path": names, "begins": 0.0, "ends": 20 / 8, "frames": 20})
    items["sha256"] = [file_sha256(tmp_path / name) for name in names]
    dataset = dataset_of(tmp_path, names, items=items)
    return replace(dataset, table=dataset.table.assign(video=names, position=0, frames=20))


def fitted(learner: Any, folder: Path, fold: int = 0) -> tuple[Any, Any]:
    """(probabilities of the fold's own rows, of the test rows)."""
    result = learner.fit_fold(fold, learner.train[:0], FitRuntime())
    learner.save_fold(result, folder / f"fold_{fold}", {"classes": learner.classes, "fold": fold})
    return tuple(
        learner.predict(result, folder / f"fold_{fold}", rows)
        for rows in (learner.train[learner.train["fold"] == fold], learner.test)
    )


def test_a_learner_of_images_is_made_in_five_lines(images: Dataset, tmp_path: Path) -> None:
    options = LearnerOptions(model=TINY, training=TrainingOptions(mode="head", views=1))
    learner = ImageLearner(images, options, Runtime(make_backend("cpu", "torch"), tmp_path, tmp_path))
    learner.prepare_features()
    oof, test = fitted(learner, tmp_path)
    assert (oof.argmax(axis=1) == [0, 1, 0, 1]).all()
    assert (test.argmax(axis=1) == [0, 1]).all()
    assert len(list(tmp_path.glob("features-*/part-*.npy"))) == 3  # both views of the training images, one of the test


@pytest.mark.parametrize("max_bytes", [0, 10**7])
def test_fine_tuning_predicts_through_the_saved_network(images: Dataset, tmp_path: Path, max_bytes: int) -> None:
    training = TrainingOptions(mode="finetune", epochs=1, views=0, batch_size=4)
    runtime = Runtime(make_backend("cpu", "torch"), tmp_path, tmp_path, tmp_path / "pixels", max_bytes, workers=1)
    learner = ImageLearner(images, LearnerOptions(model=TINY, training=training), runtime)
    learner.prepare_features()
    oof, test = fitted(learner, tmp_path)
    np.testing.assert_allclose(np.concatenate([oof, test]).sum(axis=1), 1, rtol=1e-6)
    assert (learner.cache is not None) == bool(max_bytes)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_transformer_is_fine_tuned_by_its_name_in_another_size(images: Dataset, tmp_path: Path, name: str) -> None:
    """With stochastic depth in training alone: the saved network says the same twice."""
    model = ModelOptions(name=name, weights="none", kwargs={**TRANSFORMERS[name], "drop_path_rate": 0.1})
    training = TrainingOptions(mode="finetune", epochs=3, views=0, batch_size=4, lr=1e-3)
    runtime = Runtime(make_backend("cpu", "torch"), tmp_path, tmp_path, workers=1)
    learner = ImageLearner(images, LearnerOptions(model=model, training=training), runtime)
    assert learner.network.model.preprocessing.size == model.side
    before = {name: value.clone() for name, value in learner.network.model.named_parameters()}
    oof, test = fitted(learner, tmp_path)
    assert (oof.argmax(axis=1) == [0, 1, 0, 1]).all()
    assert (test.argmax(axis=1) == [0, 1]).all()
    tuned = load_classifier(Checkpoint(read_json(tmp_path / "fold_0/model.json"), tmp_path / "fold_0"))
    moved = {name for name, value in tuned.named_parameters() if not torch.equal(value, before[name])}
    assert any(".blocks." in name for name in moved)
    assert any(
        "drop_path" in name and part.drop_prob > 0 for name, part in tuned.named_modules() if hasattr(part, "drop_prob")
    )
    again = learner.predict(FoldResult([], tuned), tmp_path / "fold_0", learner.test)
    np.testing.assert_array_equal(again, test)


def test_from_scratch_no_head_is_fitted_before(images: Dataset, tmp_path: Path) -> None:
    training = TrainingOptions(mode="finetune", epochs=6, batch_size=4, lr=1e-2, from_scratch=True)
    options = LearnerOptions(model=replace(TINY, name="digits_cnn", in_chans=1), training=training)
    learner = ImageLearner(images, options, Runtime(make_backend("cpu", "torch"), tmp_path, tmp_path, workers=1))
    learner.prepare_features()
    oof, _ = fitted(learner, tmp_path)
    assert (oof.argmax(axis=1) == [0, 1, 0, 1]).all()
    assert not list(tmp_path.glob("features-*"))


@pytest.mark.parametrize("cell", ["mean", "lstm"])
def test_a_learner_of_series(series: Dataset, tmp_path: Path, cell: str) -> None:
    temporal = TemporalOptions(cell=cell, pooling="mean", hidden=8)
    options = LearnerOptions(
        CompetitionOptions(kind="series"),
        replace(TINY, temporal=temporal),
        sequences=SequenceOptions(steps=100, lr=0.02, members=1),
    )
    learner = SequenceLearner(series, options, Runtime(make_backend("cpu", "torch"), tmp_path, tmp_path))
    learner.prepare_features()
    oof, test = fitted(learner, tmp_path, fold=1)
    assert (np.concatenate([oof, test]).argmax(axis=1) == [0, 1] * 3).all()
    (tmp_path / "0.csv").write_text("x\n1\n")
    with pytest.raises(UserError, match=r"0\.csv is not the file that was prepared; add competition\.refresh"):
        SequenceLearner(series, options, learner.runtime).features()


MIRRORED = [
    ("image", "head", {}, True),
    ("image", "finetune", {}, True),
    ("image", "head", {"training": TrainingOptions(mode="head", views=0)}, False),
    ("image", "finetune", {"augmentation": AugmentationOptions(policy="none")}, False),
    ("image", "head", {"augmentation": AugmentationOptions(policy="strong", mirror=False)}, False),
    ("video", "head", {}, False),
    ("video", "head", {"sequences": SequenceOptions(views=1)}, True),
    ("series", "head", {}, False),
]


@pytest.mark.parametrize(("kind", "mode", "changes", "expected"), MIRRORED)
def test_views_are_mirrored_where_they_are_drawn(kind: str, mode: str, changes: dict[str, Any], expected: bool) -> None:
    options = LearnerOptions(CompetitionOptions(kind=kind), training=TrainingOptions(mode=mode))
    assert is_mirrored(replace(options, **changes)) is expected


def test_on_a_cpu_as_much_goes_through_the_network_as_its_cache_holds() -> None:
    """Sixteen images, however large the batch; of clips of eight frames, two; or what is asked for."""

    def micro_batch(device: str, images: int, asked: int | None = None) -> int | None:
        options = LearnerOptions(training=TrainingOptions(mode="finetune", batch_size=64, micro_batch=asked))
        runtime: Any = SimpleNamespace(device=torch.device(device))
        return fit_runtime(FitRuntime(), options, runtime, ["a"], 3, images).micro_batch

    assert [micro_batch("cpu", images) for images in (1, 8, 16, 100)] == [16, 2, 1, 1]
    assert micro_batch("cpu", 8, asked=40) == 40
    assert micro_batch("cuda", 1) is None  # a GPU takes all that its memory holds
