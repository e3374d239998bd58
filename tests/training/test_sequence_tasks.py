"""Tags, numbers and orders of series: what is learnt, saved and predicted again, and the baseline without order."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch import nn

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.files import file_sha256
from kagglepipe.options import CompetitionOptions, ModelOptions, SequenceOptions, TemporalOptions, TrainingOptions
from kagglepipe.sequences.dataset import Example, collate
from kagglepipe.training.backends import make_backend
from kagglepipe.training.checkpoint import read_checkpoints
from kagglepipe.training.inference import SequenceRun
from kagglepipe.training.learner import LearnerOptions, Runtime
from kagglepipe.training.linear import cross_validate_linear
from kagglepipe.training.loop import FitRuntime
from kagglepipe.training.sequence_learner import SequenceLearner
from kagglepipe.training.target_scale import target_scale
from kagglepipe.training.temporal import fit_temporal, temporal_probabilities
from tests.fitting import temporal_options

CPU = torch.device("cpu")
RECIPE = SequenceOptions(steps=60, lr=2e-2, label_smoothing=0.0, members=1, crop=1.0, speed=1.0, drop=0.0, noise=0.0)
TRUTHS = {  # of series 0 to 11, whose level is their number modulo 4: classes or names, and each target
    "regression": (["days"], [f"{4e7 * (n % 4) - 1e6}" for n in range(12)]),
    "multilabel": (["high", "odd"], ["|".join(["high"] * (n % 4 > 1) + ["odd"] * (n % 2)) for n in range(12)]),
    "ordinal": (["0", "1", "2", "3"], [str(n % 4) for n in range(12)]),
}


def scaled(values: list[list[float]]) -> list[Example]:
    """Examples with these targets."""
    return [Example(str(n), np.zeros((2, 1)), np.array(own, np.float32)) for n, own in enumerate(values)]


def test_a_batch_of_columns_by_hand() -> None:
    pairs = [(np.ones((2, 1)), np.array([0.5, 1], np.float32)), (np.ones((1, 1)), np.array([2, 3], np.float32))]
    batch = collate(pairs)
    assert batch.labels.tolist() == [[0.5, 1], [2, 3]]
    assert batch.labels.dtype == torch.float32
    assert batch.lengths.tolist() == [2, 1]


def test_a_window_of_a_clip_keeps_its_columns_and_one_of_frames_has_theirs() -> None:
    clip, video = scaled([[1, 2, 3]])[0], Example("v", np.zeros((3, 1)), np.array([4, 5, 6]))
    assert (clip.per_frame, video.per_frame) == (False, True)
    assert clip.label_at(np.array([1])).tolist() == [1, 2, 3]
    assert video.label_at(np.array([1])).tolist() == [5]


def test_a_scale_by_hand_and_back() -> None:
    examples = scaled([[10, 5], [30, 5]])
    scale = target_scale(examples)
    assert (scale.mean.tolist(), scale.deviation.tolist()) == ([20, 5], [10, 1])  # of equal numbers there is no scale
    assert [one.label.tolist() for one in scale.standardised(examples)] == [[-1, 0], [1, 0]]
    layer, x = nn.Linear(3, 2), torch.randn(4, 3)
    before = layer(x).detach()
    scale.to_unit(layer)
    torch.testing.assert_close(layer(x), before * torch.tensor([10.0, 1.0]) + torch.tensor([20.0, 5.0]))
    scale.from_unit(layer)
    torch.testing.assert_close(layer(x), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e7])
def test_numbers_are_learnt_alike_in_any_unit(unit: float) -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(-1, 1, 24)
    examples = [
        Example(str(n), rng.normal(value, 0.05, (6, 2)).astype(np.float32), np.array([(3 + value) * unit], np.float32))
        for n, value in enumerate(values)
    ]
    model, history = fit_temporal(
        examples, 1, temporal_options(hidden=8), RECIPE, task="regression", seed=0, device=CPU, name="test"
    )
    found = np.concatenate(temporal_probabilities([model], examples, task="regression"))
    assert np.abs(found / unit - 3 - values).mean() < 0.1
    assert history[0].train_loss == pytest.approx(1, abs=0.5)  # in units of variance, from the mean on


def dataset_of(root: Path, task: str) -> Dataset:
    """Twelve series of two channels, whose level is their number modulo 4; the last four are the test."""
    names = [f"{n:02}.csv" for n in range(12)]
    for n, name in enumerate(names):
        values = np.random.default_rng(n).normal(n % 4, 0.1, (10, 2))
        pd.DataFrame(values, columns=["x", "y"]).assign(time=np.arange(10) / 8).to_csv(root / name, index=False)
    items = pd.DataFrame(
        {"video": names, "path": names, "begins": 0.0, "ends": 10 / 8, "frames": 10, "format": "csv", "axis": 0}
    )
    items["sha256"], items["channels"] = [file_sha256(root / name) for name in names], [["x", "y"]] * 12
    classes, targets = TRUTHS[task]
    table = items[["video", "path", "sha256"]].assign(id=names, split=["train"] * 8 + ["test"] * 4, group=names)
    table = table.assign(target=[*targets[:8], *[None] * 4], position=0, frames=10)
    folds = pd.DataFrame({"id": names[:8], "fold": [n // 4 for n in range(8)]})
    return Dataset(table, folds, classes, root, "table", "folds", items=items, task=task)


@pytest.mark.parametrize("cell", ["mean", "lstm"])
@pytest.mark.parametrize("task", TRUTHS)
def test_a_learner_learns_saves_and_answers_again(task: str, cell: str, tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, task)
    options = LearnerOptions(
        CompetitionOptions(kind="series", task=task, metric="accuracy"),
        ModelOptions(temporal=TemporalOptions(cell=cell, pooling="mean", hidden=8, dropout=0.0)),
        TrainingOptions(mode="head", regularisation=[100.0]),
        sequences=replace(RECIPE, steps=150),
    )
    backend = make_backend("cpu", "torch")
    learner = SequenceLearner(dataset, options, Runtime(backend, tmp_path, tmp_path))
    result = learner.fit_fold(0, learner.train[:0], FitRuntime())
    found = learner.predict(result, tmp_path, learner.test)
    assert_right(task, found)
    meta: dict[str, Any] = {"classes": dataset.classes, "fold": 0}
    learner.save_fold(result, tmp_path / "run/fold_0", meta)
    run = SequenceRun(read_checkpoints([tmp_path / "run/fold_0"]), backend=backend)
    files = [run.read(path) for path in dataset.paths(learner.test)]
    again = np.stack([run.probabilities(file.features, per_frame=False) for file in files])
    np.testing.assert_allclose(again, found, rtol=1e-4, atol=1e-6)


def assert_right(task: str, found: np.ndarray[Any, Any]) -> None:
    """The predictions of series 8 to 11, of the levels 0 to 3."""
    if task == "regression":
        np.testing.assert_allclose(found[:, 0], [-1e6, 3.9e7, 7.9e7, 1.19e8], atol=1.2e7)
    elif task == "multilabel":  # odd is not linear in the level
        assert ((found[:, 0] > 0.5) == [False, False, True, True]).all()
    else:
        np.testing.assert_allclose(found.sum(axis=1), 1)
        assert found[0].argmax() == 0
        assert found[3].argmax() == 3


def test_the_baseline_of_columns_is_that_of_sklearn() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5))
    numbers = x @ rng.normal(size=(5, 2)) + rng.normal(size=(60, 2)) + 100
    tags, folds = numbers > 100, np.arange(60) % 3
    own = folds == 1
    ridge = Ridge(alpha=4 * 5 / 25).fit(x[~own], numbers[~own])
    found = cross_validate_linear(x, numbers, folds, 2, "regression")
    np.testing.assert_allclose(found[own], ridge.predict(x[own]), atol=1e-3)
    found = cross_validate_linear(x, tags, folds, 2, "multilabel")
    for column in range(2):
        model = LogisticRegression(C=25 / 5, tol=1e-8).fit(x[~own], tags[~own, column])
        np.testing.assert_allclose(found[own, column], model.predict_proba(x[own])[:, 1], atol=1e-2)
    assert cross_validate_linear(x, np.arange(60) % 3, folds, 3, "ordinal").shape == (60, 3)
