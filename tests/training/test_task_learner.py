"""Tags, orders and numbers of drawn images: heads and fine-tuned networks learn them, and go on after a kill."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.files import file_sha256
from kagglepipe.options import AugmentationOptions, CompetitionOptions, ModelOptions, TrainingOptions
from kagglepipe.predictions.number_metrics import rmse
from kagglepipe.predictions.rank_metrics import quadratic_weighted_kappa
from kagglepipe.predictions.tag_metrics import fbeta_samples
from kagglepipe.training import image_learner
from kagglepipe.training.backends import make_backend
from kagglepipe.training.cosine_head import CosineFitter
from kagglepipe.training.image_learner import ImageLearner, set_head
from kagglepipe.training.learner import LearnerOptions, Runtime
from kagglepipe.training.loop import FitRuntime
from tests.fitting import network

COUNT, TEST = 24, 4
BRIGHT = np.random.default_rng(0).random((COUNT + TEST, 3)) > 0.5  # (blue, green, red) of each image
CLASSES = {"multilabel": ["blue", "green", "red"], "ordinal": ["none", "one", "two", "three"], "regression": ["value"]}
METRICS = {"multilabel": "f1_samples", "ordinal": "quadratic_weighted_kappa", "regression": "rmse"}
RECIPE = TrainingOptions(mode="finetune", epochs=3, views=0, batch_size=4)


def target_of(task: str, number: int) -> str:
    """What the bright colours of an image are called."""
    names = [name for name, is_bright in zip(CLASSES["multilabel"], BRIGHT[number], strict=True) if is_bright]
    return {"multilabel": "|".join(names), "ordinal": CLASSES["ordinal"][len(names)]}.get(task, str(10.0 * len(names)))


@pytest.fixture(params=list(CLASSES))
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> Dataset:
    """Noisy images, each colour of which is dark or bright; the last four are the test."""
    names, task = [f"{number:02}.png" for number in range(COUNT + TEST)], request.param
    for number, name in enumerate(names):
        noise = np.random.default_rng(number).integers(0, 60, (36, 40, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / name), noise + np.uint8(160) * BRIGHT[number])
    table = pd.DataFrame({"id": names, "path": names, "sha256": [file_sha256(tmp_path / name) for name in names]})
    table["mode"] = "RGB"
    table["split"] = ["train"] * COUNT + ["test"] * TEST
    table["target"] = [target_of(task, number) if number < COUNT else None for number in range(len(names))]
    folds = pd.DataFrame({"id": names[:COUNT], "fold": [number // 2 % 2 for number in range(COUNT)]})
    return Dataset(table.assign(group=names), folds, CLASSES[task], tmp_path, "table", "folds", task=task)


def learner_of(dataset: Dataset, folder: Path, training: TrainingOptions) -> ImageLearner:
    options = LearnerOptions(
        CompetitionOptions(task=dataset.task, metric=METRICS[dataset.task]),
        ModelOptions(name="test_efficientnet", weights="none", image_size=32),
        training,
        augmentation=AugmentationOptions(policy="none"),
    )
    return ImageLearner(dataset, options, Runtime(make_backend("cpu", "torch"), folder, folder, workers=1))


def predicted(learner: ImageLearner, folder: Path, runtime: FitRuntime = FitRuntime()) -> NDArray[np.float64]:
    """Predictions of the rows of fold 0, then of the test, by a network that is saved in between."""
    result = learner.fit_fold(0, learner.train[:0], runtime)
    learner.save_fold(result, folder / "fold_0", {"classes": learner.classes, "fold": 0})
    rows = learner.train[learner.train["fold"] == 0], learner.test
    return np.concatenate([learner.predict(result, folder / "fold_0", own) for own in rows])


def error_of(dataset: Dataset, predictions: NDArray[np.float64]) -> float:
    """0 for perfect answers, about 1 for the best constant."""
    rows = [*np.flatnonzero(np.arange(COUNT) // 2 % 2 == 0), *range(COUNT, COUNT + TEST)]
    truth = dataset.labels(pd.DataFrame({"target": [target_of(dataset.task, int(row)) for row in rows]}))
    if dataset.task == "multilabel":
        return 1 - fbeta_samples(predictions, truth, 1.0)
    if dataset.task == "ordinal":
        return 1 - quadratic_weighted_kappa(predictions, truth)
    return rmse(predictions, truth) / float(truth.std())


@pytest.mark.parametrize("mode", ["head", "finetune"])
def test_colours_are_learned(dataset: Dataset, tmp_path: Path, mode: str) -> None:
    learner = learner_of(dataset, tmp_path, replace(RECIPE, mode=mode))
    found = predicted(learner, tmp_path)
    assert found.shape == (COUNT // 2 + TEST, len(dataset.classes))
    assert error_of(dataset, found) < 0.5
    if dataset.task == "ordinal":
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("more", [{}, {"mixup": 0.4, "cutmix": 1.0, "ema": 0.5}])
def test_fine_tuning_goes_on_where_it_was_killed(dataset: Dataset, more: dict[str, float], tmp_path: Path) -> None:
    """After the first of three epochs: the same predictions, bit by bit, as without the kill."""
    learner, resume = learner_of(dataset, tmp_path, replace(RECIPE, **more)), tmp_path / "resume.safetensors"
    undisturbed = predicted(learner, tmp_path / "whole")

    def kill(epoch: int, _: dict[str, Any]) -> None:
        if epoch == 1:
            raise InterruptedError

    with suppress(InterruptedError):
        predicted(learner, tmp_path / "killed", FitRuntime(resume, track=kill))
        raise AssertionError("nothing was killed")
    assert resume.exists()
    epochs: list[int] = []
    resumed = predicted(learner, tmp_path / "killed", FitRuntime(resume, track=lambda epoch, _: epochs.append(epoch)))
    assert epochs == [2, 3]
    np.testing.assert_array_equal(resumed, undisturbed)


def test_an_epoch_is_scored_by_the_plain_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row gets its most probable tag if all others have one: both are right, though no tag reaches one half."""
    logits = np.array([[-1.0, -2.0], [-3.0, -1.0]])
    monkeypatch.setattr(image_learner, "clean_logits", lambda *given: logits[given[-1]])
    model, images, precision = (cast("Any", None),) * 3
    for others, expected in (([True, False], 1), ([False, False], 0)):
        loss, right, score = image_learner.evaluate(
            model, images, np.arange(2), precision, batch_size=2, metric="f1_samples", truth=np.eye(2, dtype=bool),
            others=np.array([others]), task="multilabel",
        )  # fmt: skip
        assert (right, score) == (0, expected)
    assert loss == pytest.approx(np.mean([np.log1p(np.exp([1, -2])), np.log1p(np.exp([-3, 1]))]))


@pytest.mark.parametrize("dataset", ["regression"], indirect=True)
def test_numbers_are_fine_tuned_alike_in_any_unit(dataset: Dataset, tmp_path: Path) -> None:
    """The optimiser's steps do not depend on whether times are in seconds or in milliseconds."""
    table = dataset.table.assign(target=[one and str(float(one) * 1000) for one in dataset.table["target"]])
    large = replace(dataset, table=table)
    one, other = (
        predicted(learner_of(own, tmp_path / name, RECIPE), tmp_path / name)
        for name, own in (("small", dataset), ("large", large))
    )
    np.testing.assert_allclose(other, one * 1000, rtol=1e-2)


@pytest.mark.parametrize("dataset", ["ordinal"], indirect=True)
def test_regularisation_of_a_head_without_any_is_said_to_change_nothing(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    few = replace(dataset, classes=[*dataset.classes, "four", "five"], task="ranking")
    monkeypatch.setattr(ImageLearner, "features", lambda *_: np.eye(COUNT, dtype=np.float32))
    for regularisation, said in ((TrainingOptions().regularisation, False), ([1.0], True)):
        own = learner_of(dataset, tmp_path, TrainingOptions(mode="head", views=0, regularisation=regularisation))
        options = replace(own.options, competition=CompetitionOptions(task="ranking"))
        assert isinstance(ImageLearner(few, options, own.runtime).fitter, CosineFitter)
        assert ("training.regularisation changes nothing" in caplog.text) == said


def test_fine_tuning_leaves_the_fitted_head_as_it_is() -> None:
    model = network()
    weight, bias = np.ones((3, model.head.in_features), np.float32), np.zeros(3, np.float32)
    set_head(model, weight, bias)
    with torch.no_grad():
        model.head.weight.add_(1.0)
        model.head.bias.add_(1.0)
    assert (weight == 1).all()
    assert (bias == 0).all()
