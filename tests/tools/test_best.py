"""training=best: what is tried, in which order and time, and what is submitted."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import read_json
from kagglepipe.options import ModelOptions, TemporalOptions
from kagglepipe.runs.configured import read_data, run_of
from kagglepipe.runs.run import Run
from kagglepipe.tools import best
from kagglepipe.tools.commands import run_command
from tests.colours import colours_config
from tests.composing import changed, config_of

TURNED = "test_efficientnet with turned views"


@pytest.fixture
def config(tmp_path: Path, toy: Path) -> Config:
    config = changed(colours_config(tmp_path, toy), "training.epochs=1")
    return replace(config, stage="all", training=replace(config.training, mode="best"))


def test_head_and_fine_tuning_are_tried_and_blended_and_the_best_is_submitted(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    score = run_command(config)
    written = read_json(config.runs_dir / "best.json")
    steps = [one["step"].removesuffix(" (not kept)") for one in written["tried"]]
    assert steps == ["head on test_efficientnet", f"head on {TURNED}", f"fine-tuning of {TURNED}", "blend of all"]
    members = Run(config.runs_dir / written["tried"][-1]["run"]).members
    is_kept = bool(Run(config.runs_dir / written["tried"][1]["run"]).tta)
    assert len(members) == 2 + is_kept  # what is the same twice would count twice
    assert "best: without columns of the tables: no column about training and test items" in caplog.text
    assert written["left_out"] == []
    assert score == max(one["score"] for one in written["tried"])
    (best_one,) = {one["run"] for one in written["tried"] if one["run"] == written["best"]}
    submission = config.root / "submissions" / f"{best_one}.csv"
    assert len(pd.read_csv(submission)) > 0
    assert "blend of all" in caplog.text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            (
                "competition.task=regression",
                "competition.form=numbers",
                "competition.metric=rmse",
                "ensemble.threshold=auto",
            ),
            "ensemble.threshold=auto is for classes",
        ),
        (
            ("competition.task=regression", "competition.form=numbers", "competition.metric=rmse", "training.focal=2"),
            "training.focal and training.class_weights are of prob",
        ),
        (("training.huber=1",), "training.huber is a loss of numbers"),
    ],
)
def test_an_option_that_a_later_step_refuses_is_refused_before_any(
    config: Config, words: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        run_command(changed(config, *words))
    assert not config.data_dir.exists()


def test_without_time_only_the_first_is_tried(config: Config) -> None:
    ticks = iter(range(0, 10_000, 100))
    run_command(replace(config, stage="prepare"))
    clock = best.Clock(150.0, lambda: float(next(ticks)))
    done, left_out = best.try_steps(config, clock)
    assert [name for name, *_ in done] == ["head on test_efficientnet"]
    assert left_out == [f"head on {TURNED}", f"fine-tuning of {TURNED}"]


def test_a_head_that_is_finished_already_counts_with_the_time_that_it_took(config: Config) -> None:
    """100 s then, none now: there is no time for fine-tuning, which takes eight times as long."""
    head = changed(config, "stage=train", "training.mode=head")
    run_command(head)
    run = run_of(head, read_data(head))
    run.save_metrics({**run.metrics, "seconds": 100.0})
    done, left_out = best.try_steps(config, best.Clock(500.0, lambda: 0.0))
    assert done[0][1] == run
    assert left_out == [f"fine-tuning of {TURNED}"]


def test_views_are_not_turned_where_a_mirror_changes_the_class_or_others_are_typed(config: Config) -> None:
    for typed in ("competition.mirror=false", "augmentation.mirror=false", "predict.tta=[vertical]"):
        steps = best.steps_of(changed(config, typed))
        assert [one.name for one in steps] == ["head on test_efficientnet", "fine-tuning of test_efficientnet"]


def test_steps_are_in_the_order_of_their_cost() -> None:
    steps = best.steps_of(config_of("competition=image_folder", "training=best", "model=lite1"))
    assert [one.name for one in steps] == [
        "head on tf_efficientnet_lite1", "head on tf_efficientnet_lite1 with turned views",
        "head on tf_efficientnet_lite2", "head on tf_efficientnet_lite2 with turned views",
        "fine-tuning of tf_efficientnet_lite1 with turned views",
        "fine-tuning of tf_efficientnet_lite2 with turned views",
    ]  # fmt: skip
    assert [one.config.training.mode for one in steps] == ["head"] * 4 + ["finetune"] * 2
    assert [one.config.predict.tta for one in steps] == [[], ["auto"]] * 2 + [["auto"]] * 2
    assert {one.config.training.budget for one in steps} == {None}


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (ModelOptions(name="resnet18"), ["resnet18"]),
        (ModelOptions(name="tf_efficientnet_lite1", image_size=128), ["tf_efficientnet_lite1"]),
        (ModelOptions(name="tf_efficientnet_lite1", weights="none"), ["tf_efficientnet_lite1"]),
    ],
)
def test_a_network_without_larger_ones_of_bundled_weights_is_alone(model: ModelOptions, names: list[str]) -> None:
    assert best.larger_networks(model) == names


def test_all_temporal_models_are_tried_the_linear_one_first_then_the_configured() -> None:
    steps = best.steps_of(config_of("competition=video_folder", "training=best", "model.temporal.cell=gru"))
    assert [one.name.split()[-1] for one in steps] == ["mean", "gru", "lstm", "conv"]
    assert steps[0].config.model.temporal.pooling == "mean"
    assert steps[0].cost < steps[1].cost == steps[3].cost
    chosen = best.steps_of(config_of("competition=video_folder", "training=best"))
    assert [one.name.split()[-1] for one in chosen] == ["mean", "auto", "lstm", "gru", "conv"]
    mean = config_of("competition=video_folder", "training=best", "model=mean_pool_diff")
    assert mean.model.temporal == TemporalOptions(cell="mean", pooling="mean")
    assert [one.config.model.temporal.pooling for one in best.steps_of(mean)] == ["mean", *["mean_max"] * 3]


def test_segments_are_compared_by_their_score_and_not_by_that_of_frames(tmp_path: Path) -> None:
    config = config_of("competition=action_sample", "training=best")
    runs = [Run(tmp_path / name) for name in ("frames", "segments")]
    for run, frames, segments in zip(runs, (0.9, 0.5), (0.2, 0.4), strict=True):
        detection = {"scores": {"f1_50": segments}, "intervals": {"f1_50": [0.1, 0.5]}}
        run.save_metrics({"metric": "accuracy", "score": frames, "interval": [0.4, 0.95], "detection": detection})
    assert best.best_of(config, runs) == runs[1]
    assert best.scored(config, runs[1]) == (0.4, [0.1, 0.5])
    for run in runs:
        run.save_metrics({name: value for name, value in run.metrics.items() if name != "detection"})
    assert best.best_of(config_of("competition=image_folder"), runs) == runs[0]


def test_temporal_models_are_tried_on_sounds_with_convolutions_over_bands() -> None:
    steps = best.temporal_steps(config_of("competition=spoken_digits"))
    assert [step.config.model.temporal.bands for step in steps] == [16] * 4  # which the mean does not read


@pytest.mark.parametrize("stage", ["drill", "bundle"])
def test_commands_of_one_run_are_refused(config: Config, stage: str) -> None:
    with pytest.raises(UserError, match=f"stage={stage} needs one: name it with run=NAME"):
        run_command(replace(config, stage=stage))
