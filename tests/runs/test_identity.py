"""A run's name tells what decides it: the order of classes where somebody chose one, the pixels where they are more."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.config import CONF, Config
from kagglepipe.files import write_json
from kagglepipe.models.weights import BUNDLED, own_input
from kagglepipe.options import CacheOptions, CompetitionOptions, ModelOptions, PathsOptions, TrainingOptions
from kagglepipe.runs.configured import identity_of, run_of
from kagglepipe.runs.identity import result_settings, shipped_orders, usual_order

BLUE_RED = ["blue", "red"]


def prepared(classes: list[str]) -> Dataset:
    """A table of which nothing but its hash is asked."""
    return Dataset(pd.DataFrame(), pd.DataFrame(), classes, Path(), "the table", "the folds")


def config(root: Path, classes: list[str] | None = None, **model: object) -> Config:
    """A folder of photos, a head on untrained features."""
    competition = CompetitionOptions(slug="photos", classes=classes or [])
    options = ModelOptions(**{"name": "test_efficientnet", "weights": "none", "image_size": 64, **model})
    return Config(
        paths=PathsOptions(str(root)), competition=competition, model=options, training=TrainingOptions(mode="head")
    )


def name(config: Config, classes: list[str] = BLUE_RED) -> str:
    return run_of(config, prepared(classes)).name


def finished(run: Path, *orders: list[str]) -> Path:
    """A run with a fold for each order of classes."""
    for fold, classes in enumerate(orders):
        write_json(run / f"fold_{fold}/model.json", {"classes": classes})
    write_json(run / "metrics.json", {})
    return run


# --- the order of classes --------------------------------------------------------------------------------------------


def test_an_order_that_somebody_chose_has_a_name_of_its_own(tmp_path: Path) -> None:
    usual = name(config(tmp_path))
    assert name(config(tmp_path, BLUE_RED)) == usual  # the order that they have anyway
    other = config(tmp_path, BLUE_RED[::-1])
    assert name(other, BLUE_RED[::-1]) != usual
    assert identity_of(other, prepared(BLUE_RED[::-1]))["classes"] == BLUE_RED[::-1]
    assert "classes" not in identity_of(config(tmp_path), prepared(BLUE_RED))


def test_a_run_of_a_version_that_left_the_order_out_of_names_is_found_if_it_has_that_order(tmp_path: Path) -> None:
    usual, other = config(tmp_path), config(tmp_path, BLUE_RED[::-1])
    older = finished(run_of(usual, prepared(BLUE_RED)).folder, BLUE_RED[::-1], BLUE_RED[::-1])
    assert run_of(other, prepared(BLUE_RED[::-1])).folder == older
    finished(older, BLUE_RED[::-1], BLUE_RED)
    assert run_of(other, prepared(BLUE_RED[::-1])).folder != older


def test_such_a_run_is_found_whatever_else_its_version_left_out_of_names(tmp_path: Path) -> None:
    usual, tuning = config(tmp_path), TrainingOptions(mode="finetune")
    older = finished(run_of(replace(usual, training=tuning), prepared(BLUE_RED)).folder, BLUE_RED[::-1])
    write_json(older / "metrics.json", {"metric": "log_loss"})
    competition = CompetitionOptions(slug="photos", classes=BLUE_RED[::-1], metric="log_loss")
    now = replace(usual, training=tuning, competition=competition)
    assert run_of(now, prepared(BLUE_RED[::-1])).folder == older
    by_other = replace(now, competition=replace(competition, metric="roc_auc"))
    assert run_of(by_other, prepared(BLUE_RED[::-1])).folder != older


@pytest.mark.parametrize("slug", shipped_orders())
def test_what_the_package_itself_configures_has_the_usual_order(slug: str) -> None:
    """Else the names of all runs of these competitions would change."""
    classes = shipped_orders()[slug]
    assert usual_order(Config(competition=CompetitionOptions(slug=slug)), classes[::-1]) == classes
    assert usual_order(Config(competition=CompetitionOptions(slug="another")), classes) == sorted(classes)
    assert usual_order(Config(competition=CompetitionOptions(slug="digits")), ["10", "9"]) == ["9", "10"]
    background = CompetitionOptions(slug="another", background=classes[1])
    assert usual_order(Config(competition=background), classes)[0] == classes[1]


def test_the_orders_of_the_packages_own_competitions_are_known() -> None:
    assert shipped_orders()["surveillance-fights-untrimmed"] == ["noFight", "fight"]
    assert len(shipped_orders()) == len(
        [path for path in CONF.glob("competition/*.yaml") if "classes:" in path.read_text()]
    )


# --- the size of images ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "side"),
    [
        ({}, 256),
        ({"image_size": 256}, 256),
        ({"image_size": 256, "crop": "center"}, 256),
        ({"image_size": 1024}, 1024),
        ({"image_size": None, "kwargs": {"img_size": 448}}, 448),
        ({"image_size": 1024, "crop": "border"}, 1024),
        ({"name": "tf_efficientnet_lite0", "image_size": 448, "crop": "center"}, 512),
        ({"name": "tf_efficientnet_lite0", "image_size": None}, 256),
        ({"name": "tf_efficientnet_lite2", "image_size": None}, 260),
        ({"name": "tf_efficientnet_lite2", "image_size": None, "crop": "center"}, 293),
        ({"name": "vit_base_patch16_384", "image_size": None}, 384),
    ],
)
def test_images_are_decoded_as_large_as_the_network_needs(tmp_path: Path, model: dict[str, object], side: int) -> None:
    made = config(tmp_path, **model)
    assert made.short_side == side
    assert identity_of(made, prepared(BLUE_RED))["short_side"] == side
    given = replace(made, cache=CacheOptions(short_side=256))
    assert given.short_side == 256
    assert (name(given) == name(made)) == (side == 256)


@pytest.mark.parametrize("network", [*BUNDLED, "test_vit", "resnet18"])
def test_the_input_that_is_known_is_the_networks(network: str) -> None:
    """So that a name can be told without making the network."""
    import timm

    from kagglepipe.models.classifier import preprocessing_of

    seen = preprocessing_of(timm.create_model(network, num_classes=0), image_size=None, crop="center", short_side=256)
    assert own_input(network) == (seen.size, seen.crop_pct)


def test_weights_half_way_from_the_head_are_named_wherever_they_come_from(tmp_path: Path) -> None:
    """A GPU fine-tunes without a word, and remembers as training=finetune does; plain fine-tuning keeps its names."""
    plain, halves = [1.0], [0.5, 1.0]

    def settings(mode: str, parts: list[float] | None) -> dict[str, object]:
        options = replace(config(tmp_path), training=TrainingOptions(mode=mode, interpolation=parts))
        found: dict[str, object] = result_settings(options, "finetune")["training"]
        return found

    assert settings("auto", None) == settings("finetune", halves) == settings("auto", halves)
    assert settings("auto", None)["interpolation"] == halves
    assert settings("finetune", None) == settings("finetune", plain) == settings("auto", plain)
    assert "interpolation" not in settings("finetune", None)
    assert "interpolation" not in result_settings(config(tmp_path), "head")["training"]
