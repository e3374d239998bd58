"""model=auto chooses on training rows alone: the simplest model, unless another gains beyond noise."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.files import file_sha256
from kagglepipe.options import CompetitionOptions, ModelOptions, SequenceOptions, TemporalOptions, TrainingOptions
from kagglepipe.predictions.evaluation import EvalRows
from kagglepipe.training.backends import make_backend
from kagglepipe.training.checkpoint import read_checkpoints
from kagglepipe.training.inference import SequenceRun
from kagglepipe.training.learner import LearnerOptions, Runtime
from kagglepipe.training.loop import FitRuntime
from kagglepipe.training.sequence_learner import SequenceLearner
from kagglepipe.training.temporal_choice import LADDER, ChoosingLearner, could_be_better, is_better

COUNT, STEPS = 40, 8
MEAN, DIFFERENCES, LSTM = LADDER
RAMP = np.linspace(-1, 1, STEPS)
SHAPES = {  # what tells class 1 from class 0 -> the series of both
    "level": (np.zeros(STEPS), np.full(STEPS, 0.5)),
    "order": (RAMP, -RAMP),  # the same values, and the same differences, in another order
    "change": (np.tile([0.0, 1.0], STEPS // 2), np.repeat([0.0, 1.0], STEPS // 2)),  # the same values alone
}
SHORT = SequenceOptions(steps=24, lr=5e-2, members=2, batch_size=16, crop=1.0, speed=1.0, drop=0.0, noise=0.0)
EVERY = {"level": MEAN, "change": DIFFERENCES, "order": LSTM}


def dataset_of(
    root: Path, shape: str = "order", *, folds: int = 5, labels: Sequence[int] | None = None, per_group: int = 1
) -> Dataset:
    """Forty series of two classes in turns, and four to classify. labels: the classes that are told, (40,)."""
    names = [f"{n:02}.csv" for n in range(COUNT + 4)]
    for n, name in enumerate(names):
        values = SHAPES[shape][n % 2][:, None] + np.random.default_rng(n).normal(0, 0.1, (STEPS, 2))
        pd.DataFrame(values, columns=["x", "y"]).assign(time=np.arange(STEPS) / 8).to_csv(root / name, index=False)
    items = pd.DataFrame({"video": names, "path": names, "begins": 0.0, "ends": STEPS / 8, "frames": STEPS})
    items["format"], items["axis"], items["channels"] = "csv", 0, [["x", "y"]] * len(names)
    items["sha256"] = [file_sha256(root / name) for name in names]
    told = [str(label) for label in (labels if labels is not None else np.arange(COUNT) % 2)]
    table = items[["video", "path", "sha256"]].assign(id=names, split=["train"] * COUNT + ["test"] * 4)
    table["target"], table["position"], table["frames"] = [*told, *[None] * 4], 0, STEPS
    of_group = np.arange(len(names)) // per_group
    own = pd.DataFrame({"id": names[:COUNT], "fold": of_group[:COUNT] // 2 % folds})
    return Dataset(table.assign(group=of_group.astype(str)), own, ["0", "1"], root, "table", "folds", items=items)


def options_of(cell: str = "auto", **changes: Any) -> LearnerOptions:
    """Options of a small model."""
    temporal = TemporalOptions(**{"cell": cell, "hidden": 8, "dropout": 0.0, "reduce": 0, **changes})
    competition, training = CompetitionOptions(kind="series", metric="accuracy"), TrainingOptions(mode="head")
    return LearnerOptions(competition, ModelOptions(temporal=temporal), training, sequences=SHORT)


def learner_of(dataset: Dataset, root: Path, options: LearnerOptions | None = None) -> ChoosingLearner:
    """The learner of model=auto."""
    return ChoosingLearner(dataset, options or options_of(), Runtime(make_backend("cpu", "torch"), root, root))


def fitted(learner: SequenceLearner, fold: int) -> tuple[list[dict[str, torch.Tensor]], NDArray[Any]]:
    """(weights of a fold's networks, predictions of all series)."""
    result = learner.fit_fold(fold, learner.train[:0], FitRuntime())
    probs = learner.predict(result, Path(), learner.dataset.table)
    return [model.state_dict() for model in result.network.models], probs


def assert_same(ones: list[dict[str, torch.Tensor]], others: list[dict[str, torch.Tensor]]) -> None:
    """The same weights, bit by bit."""
    for one, other in zip(ones, others, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_simplest_model_that_tells_the_classes_apart(shape: str, tmp_path: Path) -> None:
    learner = learner_of(dataset_of(tmp_path, shape), tmp_path)
    choice = learner.choice(0)
    assert choice.name == EVERY[shape]
    assert list(choice.scores) == list(LADDER)[: list(LADDER).index(choice.name) + 1 + (shape == "level")]
    assert choice.scores[choice.name] > 0.9
    if shape != "level":
        assert choice.scores[MEAN] < 0.7
        assert "a gain beyond noise over linear mean" in choice.why
    if shape != "order":  # without an error there is nothing to gain
        assert "LSTM, which is not tried" in choice.why


def test_labels_without_meaning_leave_the_linear_mean(tmp_path: Path) -> None:
    labels = np.random.default_rng(3).integers(0, 2, COUNT).tolist()
    learner = learner_of(dataset_of(tmp_path, "order", labels=labels), tmp_path)
    choice = learner.choice(1)
    assert (choice.name, list(choice.scores)) == (MEAN, list(LADDER))
    assert "; no gain beyond noise by linear mean with differences" in choice.why


@pytest.mark.parametrize("shape", ["level", "order"])
def test_a_folds_network_is_that_of_the_chosen_model_bit_by_bit(shape: str, tmp_path: Path) -> None:
    dataset, options = dataset_of(tmp_path, shape), options_of()
    temporal = replace(options.model.temporal, **LADDER[EVERY[shape]])
    plain = replace(options, model=replace(options.model, temporal=temporal))
    learner = learner_of(dataset, tmp_path)
    own, probs = fitted(SequenceLearner(dataset, plain, learner.runtime), 1)
    weights, found = fitted(learner, 1)
    assert_same(own, weights)
    np.testing.assert_array_equal(found, probs)
    assert len(weights) == (2 if shape == "order" else 1)  # sequences.members


@pytest.mark.parametrize("shape", ["level", "order"])
def test_labels_of_the_held_out_fold_change_neither_choice_nor_weights(shape: str, tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, shape)
    before = learner_of(dataset, tmp_path)
    held = before.train.loc[before.folds == 2, "id"]
    flipped = dataset.table.assign(
        target=dataset.table["target"].where(
            ~dataset.table["id"].isin(held), dataset.table["target"].map({"0": "1", "1": "0"})
        )
    )
    after = learner_of(replace(dataset, table=flipped), tmp_path)
    assert (after.labels != before.labels).sum() == len(held) == 8
    assert after.choice(2) == before.choice(2)
    assert_same(fitted(before, 2)[0], fitted(after, 2)[0])
    if shape == "level":
        assert after.choice(0) != before.choice(0)  # to which they belong


def test_neither_the_order_of_folds_nor_what_was_fitted_before_changes_a_choice(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, folds=3)
    one, other = learner_of(dataset, tmp_path), learner_of(dataset, tmp_path)
    forth = [one.choice(fold) for fold in range(3)]
    fitted(other, 2)
    assert [other.choice(fold) for fold in (2, 1, 0)] == forth[::-1]
    assert len(one._inner) == 3 * 3  # a fit for each model and pair of folds


def test_many_folds_share_choices_that_see_none_of_them(tmp_path: Path) -> None:
    learner = learner_of(dataset_of(tmp_path, folds=10), tmp_path)
    assert learner.choice(3) is learner.choice(8)
    assert learner.choice(3).name == LSTM
    assert np.isnan(learner._inner[LSTM, 0, 3][learner.rows.blocks == 1]).all()


def test_two_folds_leave_the_linear_mean_and_it_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    learner = learner_of(dataset_of(tmp_path, folds=2), tmp_path)
    with caplog.at_level("INFO"):
        fitted(learner, 0)
    assert learner.choice(0).name == MEAN
    assert (
        "fold 0: model=auto takes the linear mean: two folds leave no third to choose by: folds.count=5" in caplog.text
    )


def test_few_groups_could_show_no_gain_so_nothing_else_is_tried(tmp_path: Path) -> None:
    learner = learner_of(dataset_of(tmp_path, folds=3, per_group=8), tmp_path)
    choice = learner.choice(0)
    assert (choice.name, list(choice.scores)) == (MEAN, [MEAN, DIFFERENCES])
    assert "so few errors or groups could show no gain by LSTM, which is not tried" in choice.why


def test_networks_of_different_kinds_are_saved_and_predict_again(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path)
    learner = learner_of(dataset, tmp_path)
    learner.choices[0] = replace(learner.choice(0), name=MEAN)
    probs, folders = [], [tmp_path / f"run/fold_{fold}" for fold in (0, 1)]
    for fold, folder in enumerate(folders):
        result = learner.fit_fold(fold, learner.train[:0], FitRuntime())
        learner.save_fold(result, folder, {"classes": ["0", "1"], "fold": fold})
        probs.append(learner.predict(result, folder, learner.test))
    found = read_checkpoints(folders)
    assert [one.meta["temporal"]["cell"] for one in found] == ["mean", "lstm"]
    assert [one.meta["choice"]["name"] for one in found] == [MEAN, LSTM]
    run = SequenceRun(found, backend=learner.runtime.backend)
    again = [run.probabilities(run.read(path).features, per_frame=False) for path in dataset.paths(learner.test)]
    np.testing.assert_allclose(again, np.mean(probs, axis=0), rtol=1e-4, atol=1e-6)
    assert not run.is_causal


def test_gains_by_hand() -> None:
    truth = np.arange(20) % 2
    rows = EvalRows(truth, np.arange(20) % 5, np.arange(20), "accuracy")
    guess = np.full((20, 2), 0.5)
    right = np.where(np.eye(2)[truth] > 0, 0.9, 0.1)
    assert is_better(right, guess, rows)
    assert not is_better(guess, right, rows)
    assert not is_better(right, right, rows)
    surer = np.where(np.eye(2)[truth] > 0, 0.99, 0.01)
    assert not is_better(surer, right, rows)  # no answer differs
    assert could_be_better(guess, rows)
    assert not could_be_better(right, rows)
    assert not could_be_better(guess, replace(rows, groups=np.arange(20) // 5))
