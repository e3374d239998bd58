"""The whole pipeline on images of other channels: what the fourth one shows is learned where the network sees it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import read_json
from kagglepipe.images.views import clean_view
from kagglepipe.options import ModelOptions
from kagglepipe.predictions.frame import read_frame
from kagglepipe.runs.configured import read_data
from kagglepipe.runs.identity import group_settings
from kagglepipe.runs.predict_test import Inference, predict_again
from kagglepipe.runs.run import Run
from kagglepipe.runs.trial import latency
from kagglepipe.tools.commands import run_command
from tests.composing import changed
from tests.pipelines import the_run

Configure = Callable[..., Config]
SIDE, TRAIN, TEST = 32, 12, 4


def draw_leaves(folder: Path, channels: int, *, deep: bool = False) -> Path:
    """Noise of `channels` in class folders and test/: only the fourth channel, bright in leaves, tells classes apart.

    As PNG of three or four channels, else as .npy; deep: of 16 bits, the lower 12 in use.
    """
    rng = np.random.default_rng(0)
    for name, level in (("bare", 40), ("leaf", 200)):
        for number in range(TRAIN + TEST):
            image = rng.integers(0, 256, (SIDE, SIDE, max(channels, 4)), np.uint8)
            image[..., 3] = level + rng.integers(0, 20, (SIDE, SIDE))
            place = folder / (f"train/{name}" if number < TRAIN else "test") / f"{name}{number}"
            place.parent.mkdir(parents=True, exist_ok=True)
            image = image[..., :channels]
            if channels in (3, 4) and not deep:
                Image.fromarray(image).save(place.with_suffix(".png"))
            else:
                np.save(place.with_suffix(".npy"), image.astype(np.uint16) << 4 if deep else image)
    return folder


@pytest.fixture
def learned(configure: Configure, tmp_path: Path) -> Callable[..., tuple[Config, float | None]]:
    """(configuration, its score out of fold) of a head on the images in `folder`."""

    def train(folder: Path, *overrides: str) -> tuple[Config, float | None]:
        config = configure(
            "stage=train", "experiment=quick", "competition=image_folder", "competition.form=name", "training.views=1",
            f"competition.source='{folder}'", f"paths.root='{tmp_path / 'root'}'", "device=cpu", *overrides,
        )  # fmt: skip
        return config, run_command(config)

    return train


@pytest.mark.parametrize(("channels", "deep"), [(4, False), (5, False), (5, True)])
def test_a_class_that_only_the_fourth_channel_shows_is_learned(
    channels: int, deep: bool, learned: Callable[..., tuple[Config, float | None]], tmp_path: Path
) -> None:
    source = draw_leaves(tmp_path / "leaves", channels, deep=deep)
    config, score = learned(source, f"model.in_chans={channels}", f"model.in_bits={16 if deep else 8}")
    assert score == 1.0
    run = the_run(config)
    test = read_frame(run / "test.parquet").set_index("id")
    assert test["leaf"].gt(0.5).tolist() == ["leaf" in id for id in test.index]
    cache = f"pixels-256-{channels}-channels" + "-16-bits" * deep
    assert (config.base_dir / "cache" / cache / "images.bin").exists()
    again = changed(config, "stage=predict", f"input='{source / 'test'}'", f"predict.file='{tmp_path / 'p.csv'}'")
    run_command(again)  # by the run alone: the format is that of its checkpoint
    found = pd.read_csv(tmp_path / "p.csv").set_index("path")
    np.testing.assert_allclose(found["leaf"], test.loc["test/" + found.index, "leaf"], atol=2e-3)
    assert len(read_json(run / "fold_0" / "model.json")["preprocessing"]["mean"]) == channels


def test_the_same_images_without_it_show_nothing_and_are_not_taken_for_four_channels(
    learned: Callable[..., tuple[Config, float | None]], tmp_path: Path
) -> None:
    source = draw_leaves(tmp_path / "leaves", 3)
    assert (learned(source)[1] or 0.0) < 0.8
    with pytest.raises(
        UserError, match=r"^photo test/bare12.png has 3 channels, model.in_chans=4 needs 4: type model.in"
    ):
        learned(source, "model.in_chans=4")


def test_grey_images_train_fine_tune_and_are_blended_with_colours(
    learned: Callable[..., tuple[Config, float | None]], tmp_path: Path
) -> None:
    for name, level in (("dark", 30), ("light", 180)):
        for number in range(TRAIN + TEST):
            rng = np.random.default_rng(number)
            place = tmp_path / "toy" / (f"train/{name}" if number < TRAIN else "test") / f"{name}{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(level, level + 60, (SIDE, SIDE, 3), np.uint8)).save(place)
    grey, score = learned(tmp_path / "toy", "model.in_chans=1")
    assert score == 1.0
    colour, _ = learned(tmp_path / "toy")
    tuned, _ = learned(tmp_path / "toy", "model.in_chans=1", "training=finetune", "training.epochs=1")
    assert len({the_run(config).name for config in (grey, colour, tuned)}) == 3
    members = ",".join(the_run(config).name for config in (grey, colour, tuned))
    both = changed(grey, "stage=ensemble", f"ensemble.runs=[{members}]")
    assert run_command(both) == 1.0
    ensemble = next(grey.runs_dir.glob("ensemble-*"))
    run_command(changed(grey, "stage=predict", f"run={ensemble.name}", f"input='{tmp_path / 'toy/test'}'"))
    found = pd.read_csv(grey.runs_dir / "predict" / "test.csv")
    assert found["prediction"].tolist() == ["dark"] * TEST + ["light"] * TEST


@pytest.fixture
def deep_run(learned: Callable[..., tuple[Config, float | None]], tmp_path: Path) -> tuple[Config, Run]:
    """A head on five channels, of whose 16 bits the files use 12, two dark ones 9."""
    source = draw_leaves(tmp_path / "leaves", 5, deep=True)
    for name in ("train/bare/bare0.npy", f"test/bare{TRAIN}.npy"):
        np.save(source / name, np.load(source / name) >> 3)
    config, _ = learned(source, "model.in_chans=5", "model.in_bits=16")
    return config, Run(the_run(config))


def test_a_run_predicts_other_files_of_the_same_names(deep_run: tuple[Config, Run], tmp_path: Path) -> None:
    """As a code competition has them: bare and leaf have changed places."""
    config, run = deep_run
    known = run.test().set_index("id")
    for number in range(TRAIN, TRAIN + TEST):
        bare, leaf = (tmp_path / f"leaves/test/{name}{number}.npy" for name in ("bare", "leaf"))
        held = np.load(bare)
        np.save(bare, np.load(leaf))
        np.save(leaf, held)
    config = changed(config, "competition.refresh=true")
    run_command(changed(config, "stage=prepare"))
    inference = Inference("cpu", "torch", None, 1, config.pixels_dir)
    found = predict_again(config.competition, read_data(config), run, inference).set_index("id")
    for name, other in (("bare", "leaf"), ("leaf", "bare")):
        for number in range(TRAIN, TRAIN + TEST):
            expected = known.loc[f"test/{other}{number}.npy"]
            np.testing.assert_allclose(found.loc[f"test/{name}{number}.npy"], expected, atol=2e-3)
            assert number == TRAIN or expected[other] > 0.5  # the first one is dark


def test_latency_is_measured_on_the_pixels_that_the_network_sees(
    deep_run: tuple[Config, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, run = deep_run
    dataset, seen = read_data(config), list[np.ndarray]()
    monkeypatch.setattr(
        "kagglepipe.training.features.encode_frames", lambda _, squares, *args, **kwargs: seen.extend(squares) or ()
    )
    latency(config, dataset, run)
    files = dataset.paths(dataset.train)
    size = run.model["preprocessing"]["size"]
    assert dataset.bits == 12
    for file, square in zip(files, seen[: len(files)], strict=True):
        np.testing.assert_array_equal(square, clean_view(np.load(file) << 4, size))


def test_only_other_channels_are_part_of_a_runs_name(configure: Configure) -> None:
    config = configure("competition=image_folder")
    assert not {"in_chans", "in_bits"} & group_settings(config, ModelOptions(), "head").keys()
    named = group_settings(config, ModelOptions(in_chans=1, in_bits=16), "head")
    assert (named["in_chans"], named["in_bits"]) == (1, 16)
    series = configure("competition=video_folder", "competition.kind=series")
    assert "in_chans" not in group_settings(series, ModelOptions(in_chans=1), "head")
