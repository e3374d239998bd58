"""The loop learns, keeps its best epoch, stops in time, and does all of it again from the same seed."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import log_loss

from kagglepipe import console
from kagglepipe.errors import UserError
from kagglepipe.images.dataset import TrainingImages, lost_workers
from kagglepipe.predictions.metrics import METRICS
from kagglepipe.training.image_learner import evaluate
from kagglepipe.training.loop import Budget, FitRuntime
from kagglepipe.training.resume import Epoch, best_epoch, load_progress, save_progress
from tests.fitting import CLASSES, FLOAT32, RECIPE, VALID, assert_same, network, relabelled, trained, untimed

# --- learning --------------------------------------------------------------------------------------------------


def test_a_toy_problem_is_learnt(images: TrainingImages) -> None:
    model = network()
    before = evaluate(model, images, VALID, FLOAT32, batch_size=8)
    history = trained(model, images)
    assert [epoch.epoch for epoch in history] == [1, 2, 3, 4]
    rates = [epoch.lr for epoch in history]
    assert rates == sorted(rates, reverse=True)
    assert 0 <= rates[-1] < 0.05 * RECIPE.lr
    assert all(epoch.rate > 0 for epoch in history)
    assert history[-1].train_loss < 0.5 * history[0].train_loss
    loss, accuracy, _ = evaluate(model, images, VALID, FLOAT32, batch_size=8)
    assert accuracy == 1.0
    assert loss < 0.3 * before[0]


@pytest.mark.parametrize("from_scratch", [False, True])
def test_batch_norms_learn_their_statistics_from_scratch_only(images: TrainingImages, from_scratch: bool) -> None:
    model, drawn = network(norms=True), network(norms=True).state_dict()
    trained(model, images, replace(RECIPE, epochs=1, from_scratch=from_scratch))
    kept = [torch.equal(value, drawn[name]) for name, value in model.state_dict().items() if "running" in name]
    assert kept == [not from_scratch] * len(kept) != []


def test_validation_rows_teach_nothing(images: TrainingImages) -> None:
    """Their labels may choose the epoch, but each epoch's training is the same without them."""
    honest, misled = (trained(network(), x) for x in (images, relabelled(images, VALID)))
    assert [epoch.train_loss for epoch in honest] == [epoch.train_loss for epoch in misled]


def test_the_bar_counts_the_batches_of_all_epochs(images: TrainingImages, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the time it says is left is that of the fit, or what a budget has left of it."""
    bars: list[Any] = []

    class Bar(console.Progress[None]):
        def __enter__(self) -> "Bar":
            bars.append(self)
            super().__enter__()
            return self

    monkeypatch.setattr(console, "Progress", Bar)
    trained(network(), images, replace(RECIPE, epochs=2), runtime=FitRuntime(budget=Budget(3600.0, lambda: 0.0)))
    bars = [bar for bar in bars if bar.total]
    assert [(bar.done, bar.count, bar.total) for bar in bars] == [(0, 3, 6), (3, 6, 6)]
    assert [bar.limit for bar in bars] == [3600.0, 3600.0]


# --- the best epoch --------------------------------------------------------------------------------------------


def test_the_best_epochs_weights_are_left(images: TrainingImages) -> None:
    """Wrong labels in the validation rows make the first epoch the best: training only takes it away from them."""
    misled = relabelled(images, VALID)
    model = network()
    history = trained(model, misled)
    best = best_epoch(history)
    assert best < len(history)
    loss, accuracy, _ = evaluate(model, misled, VALID, FLOAT32, batch_size=8)
    assert loss == pytest.approx(history[best - 1].valid_loss, rel=1e-6)
    assert accuracy == history[best - 1].valid_accuracy
    assert (accuracy, -loss) >= max((e.valid_accuracy, -e.valid_loss - 1e-6) for e in history)


@pytest.mark.parametrize("patience", [1, 2])
def test_it_stops_when_patience_is_over(images: TrainingImages, patience: int) -> None:
    history = trained(network(), relabelled(images, VALID), replace(RECIPE, epochs=8, patience=patience))
    assert len(history) == best_epoch(history) + patience < 8


def test_the_best_epoch_is_that_of_the_metric_and_of_equals_that_of_lower_loss() -> None:
    def epochs(*rows: tuple[float, float, float]) -> list[Epoch]:
        """Of losses, accuracies and scores."""
        return [
            Epoch(n, 0.0, loss, right, 0.0, 0.0, valid_score=score) for n, (loss, right, score) in enumerate(rows, 1)
        ]

    history = epochs((0.1, 0.8, 0.5), (0.9, 0.9, 0.9), (0.5, 0.9, 0.9), (0.5, 0.9, math.nan))
    expected = {"accuracy": 3, "log_loss": 1, "balanced_accuracy": 3, "f1_macro": 3, "roc_auc": 3}
    assert {metric: best_epoch(history, metric) for metric in expected} == expected
    assert best_epoch(epochs((0.3, 0.5, math.nan), (0.2, 0.4, math.nan)), "roc_auc") == 2


def test_patience_and_the_weights_that_stay_go_by_the_metric(images: TrainingImages) -> None:
    """Half of what is held out bears a wrong label: accuracy soon stands still while the loss gets worse and worse."""
    misled = relabelled(images, VALID[::2])
    by_loss, by_accuracy = network(), network()
    long = replace(RECIPE, epochs=8, patience=2)
    losses = trained(by_loss, misled, long, metric="log_loss")
    best = min(losses, key=lambda epoch: epoch.valid_loss)
    assert best_epoch(losses, "log_loss") == best.epoch
    assert len(losses) == min(best.epoch + 2, 8)
    assert evaluate(by_loss, misled, VALID, FLOAT32, batch_size=8)[0] == pytest.approx(best.valid_loss, rel=1e-5)
    accuracies = trained(by_accuracy, misled, long)
    assert [epoch.valid_score for epoch in accuracies] == [epoch.valid_accuracy for epoch in accuracies]


def test_a_history_of_an_older_version_goes_on_by_accuracy_and_begins_anew_by_another_metric(
    images: TrainingImages, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = tmp_path / "resume.safetensors"
    trained(network(), images, replace(RECIPE, epochs=2), runtime=FitRuntime(kept))
    progress = load_progress(kept)
    assert progress is not None
    progress.history = [replace(epoch, valid_score=math.nan) for epoch in progress.history]
    save_progress(kept, progress)
    caplog.set_level("INFO")
    whole = trained(network(), images, runtime=FitRuntime(kept))
    assert "goes on after epoch 2/" in caplog.text
    assert [epoch.epoch for epoch in whole] == [1, 2, 3, 4][: len(whole)]
    save_progress(kept, progress)
    again = trained(network(), images, runtime=FitRuntime(kept), metric="roc_auc")
    assert "kept the best epoch by accuracy: starting from the beginning" in caplog.text
    assert not math.isnan(again[0].valid_score)


# --- the same again --------------------------------------------------------------------------------------------


def test_a_seed_gives_the_same_weights_bit_by_bit(images: TrainingImages) -> None:
    """Whatever was drawn before, and whoever reads the images, also with dropout; another seed gives others."""
    models, histories = [network(drop_rate=0.3, drop_path_rate=0.3) for _ in range(3)], []
    for number, model in enumerate(models):
        torch.rand(number)
        recipe = replace(RECIPE, epochs=1)
        histories.append(untimed(trained(model, images, recipe, workers=number % 2, seed=number // 2)))
    assert_same(*models[:2])
    assert histories[0] == histories[1]
    assert not torch.equal(models[0].head.weight, models[2].head.weight)


# --- what stays ------------------------------------------------------------------------------------------------


def test_batch_statistics_and_slow_layers_stay_as_they_came(images: TrainingImages) -> None:
    """At half the rate a layer, three layers from the input learn at less than 0.2 of the last one's."""
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trained(model, images, replace(RECIPE, epochs=1, layer_decay=0.5, frozen_below=0.2))
    frozen = tuple(f"backbone.{layer}" for layer in ("conv_stem", "bn1", "blocks.0", "blocks.1"))
    for name, value in model.state_dict().items():
        stays = "running" in name or "tracked" in name or name.startswith(frozen)
        assert torch.equal(value, before[name]) == stays, name


# --- a score ----------------------------------------------------------------------------------------


def test_a_score_is_that_of_the_clean_views(images: TrainingImages) -> None:
    """Against scikit-learn, for rows in any order and batches of any size."""
    model = network()
    rows = np.array([30, 1, 17, 4, 22])
    views = np.stack([images.views[row, 0] for row in rows])
    with torch.inference_mode():
        probabilities = softmax(model.eval()(torch.from_numpy(views)).numpy().astype(np.float64), axis=-1)
    loss, accuracy, _ = evaluate(model, images, rows, FLOAT32, batch_size=2)
    assert loss == pytest.approx(log_loss(images.labels[rows], probabilities, labels=range(CLASSES)), rel=1e-5)
    assert accuracy == np.mean(probabilities.argmax(axis=1) == images.labels[rows])
    again = evaluate(model, images, rows[::-1], FLOAT32, batch_size=64)
    assert again == pytest.approx((loss, accuracy, accuracy), rel=1e-5)
    area = evaluate(model, images, rows, FLOAT32, batch_size=2, metric="roc_auc")[2]
    assert area == pytest.approx(METRICS["roc_auc"].function(probabilities, images.labels[rows]))


# --- workers that are lost -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("told", "said"), [
    ("DataLoader worker (pid 71) is killed by signal: Killed. ", "process 71 that reads images is killed by signal: K"),
    ("DataLoader worker (pid(s) 71, 72) exited unexpectedly", "process 71, 72 that reads images exited unexpectedly:"),
    ("DataLoader worker (pid 71) is killed by signal: Bus error. It is possible that dataloader's workers are out of "
     "shared memory.", "process 71 that reads images is killed by signal: Bus error: the system does that"),
])  # fmt: skip
def test_torch_says_in_several_ways_that_a_worker_is_lost(told: str, said: str) -> None:
    with pytest.raises(UserError, match=f"{re.escape(said)}.* type workers=4, and the same"), lost_workers(8):
        raise RuntimeError(told)
    with pytest.raises(RuntimeError, match="shapes"), lost_workers(8):
        raise RuntimeError("shapes cannot be multiplied")
