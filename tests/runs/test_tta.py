"""Test-time augmentation: means over turned views, of heads and fine-tuned networks, here and in predict."""

import math
from pathlib import Path

import numpy as np
import pytest

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.images.views import TURNS, Views, turned_view
from kagglepipe.options import AugmentationOptions, PredictOptions
from kagglepipe.predictions.frame import read_frame
from kagglepipe.predictions.uncertainty import Gain
from kagglepipe.runs.describe import describe_scores
from kagglepipe.runs.run import Run
from kagglepipe.runs.tta import is_gain, turns_of
from kagglepipe.tools.commands import run_command
from tests.colours import colours_config
from tests.composing import changed


@pytest.fixture
def config(tmp_path: Path, toy: Path) -> Config:
    return changed(colours_config(tmp_path, toy), "stage=train", "training.epochs=1")


def trained(config: Config, *overrides: str) -> Run:
    config = changed(config, *overrides)
    before = set(config.runs_dir.glob("*"))
    run_command(config)
    (folder,) = {one for one in config.runs_dir.glob("*") if one.is_dir()} - before
    return Run(folder)


def test_turned_views_are_the_clean_one_turned() -> None:
    image = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    views = Views([image], 8)
    for name, turn in TURNS.items():
        np.testing.assert_array_equal(views[0, turned_view(name)], turn(views[0, 0]))
    np.testing.assert_array_equal(views[0, turned_view("flip")], image[:, ::-1])


@pytest.mark.parametrize("mode", ["head", "finetune"])
def test_predictions_are_means_over_the_views(config: Config, mode: str) -> None:
    run = trained(config, f"training.mode={mode}", "predict.tta=[flip,transpose]")
    assert run.metrics["tta"]["is_kept"]
    fold = run.fold(0)
    plain, mean = read_frame(fold.oof_file), read_frame(fold.tta_files[0])
    assert not np.allclose(plain.iloc[:, 3:], mean.iloc[:, 3:])
    oof = run.oof().set_index("id").loc[mean["id"]].reset_index()
    np.testing.assert_array_equal(oof.iloc[:, 3:], mean.iloc[:, 3:])
    assert run.tta == ["flip", "transpose"]


def test_auto_keeps_views_only_for_a_gain_beyond_noise(config: Config) -> None:
    run = trained(config, "predict.tta=[auto]")
    assert run.metrics["tta"]["views"] == ["flip"]
    tta = run.metrics["tta"]
    assert tta["is_kept"] == is_gain(Gain(**tta["gain"]), Gain(**tta["metric_gain"]))
    said = describe_scores(run.metrics, "accuracy")[1]
    assert f", of accuracy {tta['metric_gain']['value']:+.4f} (" in said
    assert run.tta == (["flip"] if run.metrics["tta"]["is_kept"] else [])


BETTER, LUCK, SAME, WORSE = Gain(0.2, 0.1, 0.3), Gain(0.1, -0.1, 0.3), Gain(0.0, 0.0, 0.0), Gain(-0.1, -0.3, 0.1)


@pytest.mark.parametrize(
    ("loss", "metric", "kept"),
    [
        (BETTER, BETTER, True),
        (BETTER, SAME, True),  # accuracy of a few rows does not see it
        (BETTER, LUCK, True),
        (BETTER, WORSE, False),  # it is the metric that is scored
        (BETTER, Gain(math.nan, math.nan, math.nan), True),  # undefined, as of rows of one class
        (WORSE, BETTER, True),
        (LUCK, LUCK, False),
        (SAME, SAME, False),
    ],
)
def test_views_are_a_gain_by_the_metric_or_by_the_loss_without_a_worse_metric(
    loss: Gain, metric: Gain, kept: bool
) -> None:
    assert is_gain(loss, metric) == kept


def test_auto_flips_unless_a_mirror_changes_the_class() -> None:
    assert turns_of(["auto"], AugmentationOptions("strong")) == ["flip"]
    assert turns_of(["auto"], AugmentationOptions("strong", mirror=False)) == []
    assert turns_of(["auto"], AugmentationOptions("dihedral")) == list(TURNS)
    assert turns_of(["vertical"], AugmentationOptions("strong")) == ["vertical"]


def test_auto_is_alone() -> None:
    with pytest.raises(UserError, match="auto chooses the views, so type"):
        PredictOptions(tta=["auto", "flip"])
