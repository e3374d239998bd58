"""What a command that trains reads stays what it was prepared from, whatever another command does meanwhile."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import cv2
import numpy as np
import pytest

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.images.decode import decode
from kagglepipe.options import CacheOptions
from kagglepipe.predictions.frame import oof_frame
from kagglepipe.runs.configured import make_learner, read_data
from kagglepipe.runs.run import Run
from kagglepipe.stages.train import draw_hardest_of, log_setup_of
from kagglepipe.tools.commands import run_command
from kagglepipe.training.image_learner import ImageLearner
from kagglepipe.training.sequence_learner import SequenceLearner

Configure = Callable[..., Config]


def opened(config: Config) -> Any:
    """The learner of a prepared competition."""
    return make_learner(config, read_data(config))


@pytest.fixture
def photos(configure: Configure, toy: Path) -> Config:
    """The toy, prepared."""
    config = configure(
        "experiment=quick", "competition=image_folder", f"competition.source={toy}", "stage=prepare", "device=cpu"
    )
    run_command(config)
    return config


def tell(config: Config) -> None:
    """Log how a run of the configuration is set up."""
    dataset = read_data(config)
    log_setup_of(config, dataset, Path("run"), make_learner(config, dataset))


def refresh(config: Config) -> None:
    """Another command takes the files as they are now."""
    run_command(replace(config, stage="prepare", competition=replace(config.competition, refresh=True)))


def pixels(learner: ImageLearner) -> list[Any]:
    """Every labelled image as the learner reads it now, from a cache that it opens now."""
    learner.__dict__.pop("cache", None)
    reader = learner.reader(learner.train)
    return [reader[row] for row in range(len(reader))]


def test_photos_that_another_command_adds_are_not_read_for_those_of_the_table(photos: Config, toy: Path) -> None:
    learner = opened(photos)
    before = [decode(path.read_bytes()) for path in learner.dataset.paths(learner.train)]
    for number in range(3):  # which come first, so that all others move
        cv2.imwrite(str(toy / f"blue/a{number}.png"), np.full((48, 56, 3), 80 * number, np.uint8))
    refresh(photos)
    for found, wanted in zip(pixels(learner), before, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert len(opened(photos).train) == len(before) + 3


@pytest.mark.parametrize("max_gb", [8.0, 0.0])
def test_a_photo_that_was_replaced_is_the_old_one_or_an_error(photos: Config, toy: Path, max_gb: float) -> None:
    learner = opened(replace(photos, cache=CacheOptions(max_gb=max_gb)))
    before, file = decode((toy / "blue/blue0.png").read_bytes()), toy / "blue/blue0.png"
    cv2.imwrite(str(file), 255 - cv2.imread(str(file)))
    if max_gb:
        np.testing.assert_array_equal(pixels(learner)[0], before)
        refresh(photos)
    with pytest.raises(UserError, match=r"blue0\.png is not the file that was prepared; add competition\.refresh=true"):
        pixels(learner)


def test_features_that_were_kept_are_of_the_right_pixels(photos: Config, toy: Path) -> None:
    """A store outlives the command that fills it: what is wrong in it would be wrong for good."""
    learner = opened(photos)
    expected = learner.features(learner.train, 0, "before")
    cv2.imwrite(str(toy / "blue/a.png"), np.zeros((48, 56, 3), np.uint8))
    refresh(photos)
    other = opened(photos)
    is_old = other.train["id"].isin(learner.train["id"]).to_numpy()
    found = other.features(other.train, 0, "after")
    np.testing.assert_array_equal(found[is_old], expected)


def test_a_picture_of_what_is_hardest_lacks_a_photo_that_is_gone(
    photos: Config, toy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The run that it is of is trained by then."""
    config, prepared = replace(photos, cache=CacheOptions(max_gb=0)), read_data(photos)
    train, classes = prepared.train, prepared.classes
    ids, probs = train["id"].tolist(), np.full((len(train), 3), 1 / 3)
    oof = oof_frame(ids, train["fold"].tolist(), train["target"].tolist(), probs, classes)
    (toy / ids[0]).unlink()
    draw_hardest_of(opened(config), prepared, Run(toy.parent), oof)
    assert (toy.parent / "hardest.png").exists()
    assert f"hardest.png lacks a photo: {toy / ids[0]}" in caplog.text


def test_a_larger_network_sees_more_pixels_and_leaves_the_smaller_ones_alone(photos: Config) -> None:
    learner = opened(replace(photos, model=replace(photos.model, image_size=320)))
    assert learner.cache.short_side == learner.network.model.preprocessing.short_side == 320
    assert sorted(path.name for path in (photos.base_dir / "cache").iterdir()) == ["pixels-256", "pixels-320"]
    assert opened(photos).cache.short_side == 256


def test_a_size_that_shrinks_what_the_network_sees_is_named(photos: Config, caplog: pytest.LogCaptureFixture) -> None:
    small = replace(photos, cache=CacheOptions(short_side=48))
    tell(small)
    assert (
        "cache.short_side=48 is less than the 64 pixels that test_efficientnet takes: images are enlarged again; type "
        "cache.short_side=64, or leave it away"
    ) in caplog.text
    caplog.clear()
    tell(photos)
    tell(replace(photos, cache=CacheOptions(short_side=64)))
    assert "short_side" not in caplog.text


@pytest.mark.parametrize(("mode", "said"), [("auto", "head (training=auto on cpu)"), ("head", "; head")])
def test_the_log_has_the_mode_and_whether_it_was_typed(
    mode: str, said: str, photos: Config, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        tell(replace(photos, training=replace(photos.training, mode=mode)))
    (line,) = [one.getMessage() for one in caplog.records if " on cpu " in one.getMessage()]
    assert line.endswith(said)


def test_weights_that_other_options_use_otherwise_have_features_of_their_own(photos: Config) -> None:
    """The same tensors with another activation are another network."""
    plain, other = photos, replace(photos, model=replace(photos.model, kwargs={"act_layer": "relu"}))
    folders = [opened(config).feature_folder(0) for config in (plain, other)]
    assert folders[0] != folders[1]


# --- video and series ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["clips", "series"])
def test_a_clip_that_was_replaced_is_an_error(
    kind: str, configure: Configure, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source = copytree(request.getfixturevalue(kind), tmp_path / "source")
    config = configure(
        *(("competition.kind=series", "model=lstm") if kind == "series" else ("sequences.rate=4",)),
        "competition=video_folder", f"competition.source={source}", "stage=prepare", "device=cpu", "folds.count=2",
        "model.name=test_efficientnet", "model.weights=none", "model.image_size=32",
    )  # fmt: skip
    run_command(config)
    learner = opened(config)
    assert isinstance(learner, SequenceLearner)
    first, other = learner.paths[:2]
    if kind == "clips":
        learner.frames.info(0)
    first.write_bytes(other.read_bytes())
    with pytest.raises(UserError, match=rf"{first.name} is not the file that was prepared; add competition\.refresh"):
        learner.features(0)


def test_frames_that_are_augmented_are_decoded_as_large_as_the_network_needs(
    clips: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kagglepipe.sequences import video

    config = configure(
        "competition=video_folder", f"competition.source={clips}", "stage=prepare", "device=cpu", "sequences.rate=4",
        "folds.count=2", "model.name=test_efficientnet", "model.weights=none", "model.image_size=288",
    )  # fmt: skip
    run_command(config)
    learner, asked = opened(config), []
    read = video.sample_frames
    monkeypatch.setattr(video, "sample_frames", lambda *a, **k: asked.append(k["resize"]) or read(*a, **k))
    for view in (0, 1):
        assert learner.frames.read(0, np.arange(2), view).shape == (2, 288, 288, 3)
    assert asked == [(288, 288), 288]
