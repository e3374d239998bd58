"""Anybody's photos, clips and series through a trained run: the run's own probabilities, told by path."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import read_json, write_json
from kagglepipe.options import PredictOptions
from kagglepipe.predictions.blend import combine
from kagglepipe.predictions.frame import read_frame
from kagglepipe.runs.configured import best_run
from kagglepipe.tools.commands import run_command
from kagglepipe.tools.predict import short_table
from tests.colours import colours_config
from tests.composing import changed
from tests.pipelines import pipeline_config

CLASSES = ["blue", "green", "red"]
ATOL = 2e-3  # bfloat16: a batch of another size may round otherwise
At = Callable[..., Config]
Predicts = Callable[..., pd.DataFrame]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this file's one run lies."""
    return tmp_path_factory.mktemp("place")


@pytest.fixture
def at(place: Path, toy: Path) -> At:
    """at("run=…", …) -> the configuration of a toy on which a tiny network has been trained, once."""
    if not (place / "toy").exists():
        shutil.copytree(toy, place / "toy")
    config = colours_config(place, place / "toy", stage="predict", predict=PredictOptions(picture=0))
    if not any(place.glob("outputs/colours/*/metrics.json")):
        run_command(replace(config, stage="train"))
    return lambda *overrides: changed(config, *overrides)


@pytest.fixture
def run(at: At) -> Path:
    """The run's folder."""
    (metrics,) = at().runs_dir.glob("*/metrics.json")
    return metrics.parent


@pytest.fixture
def predict(at: At, tmp_path: Path) -> Predicts:
    """predict(photos, …) -> the CSV that stage=predict writes."""

    def written(source: Path, *overrides: str) -> pd.DataFrame:
        file = tmp_path / "predictions.csv"
        run_command(replace(at(f"predict.file='{file}'", *overrides), input=str(source)))
        return pd.read_csv(file)

    return written


@pytest.fixture
def expected(run: Path) -> pd.DataFrame:
    """The run's own test predictions, by file name."""
    frame = read_frame(run / "test.parquet")
    return frame.assign(id=frame["id"].str.removeprefix("test/")).set_index("id")[CLASSES]


def photo(folder: Path, name: str, colour: str = "red") -> Path:
    """A photo of one colour."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (56, 48), colour).save(folder / name)
    return folder / name


# --- probabilities -----------------------------------------------------------------------------------------------


def test_the_tests_own_folder_gives_the_runs_own_predictions(
    place: Path, run: Path, predict: Predicts, expected: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    with caplog.at_level("INFO"):
        found = predict(place / "toy/test")
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    assert list(found.columns) == ["path", *CLASSES, "prediction"]
    assert found["path"].tolist() == sorted(expected.index)
    np.testing.assert_allclose(found[CLASSES], expected.loc[found["path"]], atol=ATOL)
    np.testing.assert_allclose(found[CLASSES].sum(axis=1), 1, atol=2e-6)
    assert found["prediction"].tolist() == expected.loc[found["path"]].idxmax(axis=1).tolist()
    assert all(path.startswith(colour) for path, colour in zip(found["path"], found["prediction"], strict=True))
    assert f"predict: {run.name} (2 folds of test_efficientnet)" in caplog.text
    assert "predict: 6 photos (2 blue, 2 green, 2 red)" in caplog.text
    assert f"  blue           {found['blue'][0]:.3f}  blue12.png" in caplog.text


def test_one_photo_by_its_file(place: Path, at: At, expected: pd.DataFrame) -> None:
    run_command(at(f"input='{place / 'toy/test/green13.png'}'", "predict.picture=1"))
    found = pd.read_csv(place / "outputs/colours/predict/green13.csv")
    assert found["path"].tolist() == ["green13.png"]
    np.testing.assert_allclose(found[CLASSES], expected.loc[["green13.png"]], atol=ATOL)
    assert (place / "outputs/colours/predict/green13.png").is_file()


def test_photos_in_deeper_folders_are_told_by_their_path(
    place: Path, tmp_path: Path, predict: Predicts, expected: pd.DataFrame
) -> None:
    for source, there in (("red12.png", "a/b/1.png"), ("blue12.png", "2.png"), ("green12.png", "a/3.PNG")):
        (tmp_path / "photos" / there).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(place / "toy/test" / source, tmp_path / "photos" / there)
    (tmp_path / "photos/a/notes.txt").write_text("not a photo")
    (tmp_path / "photos/desktop.ini").touch()
    found = predict(tmp_path / "photos").set_index("path")
    assert sorted(found.index) == ["2.png", "a/3.PNG", "a/b/1.png"]
    assert found["prediction"].to_dict() == {"2.png": "blue", "a/3.PNG": "green", "a/b/1.png": "red"}
    np.testing.assert_allclose(found.loc["a/b/1.png", CLASSES].astype(float), expected.loc["red12.png"], atol=ATOL)


def test_odd_names(tmp_path: Path, predict: Predicts) -> None:
    folder = tmp_path / "my photos (2), it's=new"
    names = ["it's.jpg", "a=b (1).png", "ñ 語.png", "a, b.png", "${x}.png"]
    for name in names:
        photo(folder, name)
    found = predict(folder)
    assert found["path"].tolist() == sorted(names)
    assert set(found["prediction"]) == {"red"}
    assert predict(folder / "${x}.png")["path"].tolist() == ["${x}.png"]


def test_the_training_data_need_not_be_there(
    place: Path, at: At, run: Path, tmp_path: Path, expected: pd.DataFrame
) -> None:
    shutil.copytree(run, tmp_path / "outputs/colours" / run.name)
    root, source = f"paths.root='{tmp_path}'", "competition.source=toy"
    run_command(at(f"input='{place / 'toy/test'}'", root, source, "model.image_size=32"))
    found = pd.read_csv(tmp_path / "outputs/colours/predict/test.csv").set_index("path")[CLASSES]
    np.testing.assert_allclose(found, expected.loc[found.index], atol=ATOL)


# --- which run -----------------------------------------------------------------------------------------------------


@pytest.fixture
def three(run: Path, tmp_path: Path) -> str:
    """An override for a root with runs `old` and `new`, and an ensemble that is newer than both."""
    for age, name in enumerate(("ensemble-mean-0", "new", "old")):
        folder, time = tmp_path / "root/outputs/colours" / name, (9 - age) * 10**9
        shutil.copytree(run, folder)
        os.utime(folder / "metrics.json", ns=(time, time))
    for fold in tmp_path.glob("root/outputs/colours/ensemble-*/fold_*"):
        shutil.rmtree(fold)
    return f"paths.root='{tmp_path / 'root'}'"


@pytest.mark.parametrize(("asked", "taken"), [([], "old"), (["run=old"], "old"), (["run=new"], "new")])
def test_of_equal_runs_the_earlier_is_taken_unless_one_is_named(
    asked: list[str], taken: str, three: str, at: At
) -> None:
    assert best_run(at(three, *asked)).name == taken


@pytest.mark.parametrize(
    ("asked", "blend"),
    [
        (("run=ensemble-mean-0",), {"method": "nnls", "maps": [{"kind": "temperature", "slope": 2.0}]}),
        ((), {"method": "power_mean", "power": 3.0, "maps": []}),  # of an older version
    ],
)
def test_an_ensemble_predicts_by_the_networks_of_its_members(
    asked: tuple[str, ...], blend: dict[str, Any], three: str, place: Path, tmp_path: Path, predict: Predicts
) -> None:
    """Member `new` has its classes' rows exchanged: the blend is as its weights and its map say."""
    root, test = tmp_path / "root/outputs/colours", place / "toy/test"
    with pytest.raises(UserError, match=r"ensemble-mean-0 holds no trained network .*: give run="):
        predict(test, three, "run=ensemble-mean-0")
    for file in (root / "new").glob("fold_*/model.json"):
        write_json(file, {**read_json(file), "classes": CLASSES[::-1]})
    own = [predict(test, three, f"run={name}").set_index("path")[CLASSES] for name in ("old", "new")]
    metrics = {**read_json(root / "ensemble-mean-0/metrics.json"), "score": 1.0, "log_loss": 0.0}
    members = {"members": ["old", "new", "gone"], "weights": [0.75, 0.25, 0.0], "identity": {}, "classes": CLASSES}
    write_json(root / "ensemble-mean-0/metrics.json", {**metrics, **members, **blend})
    found = predict(test, three, *asked).set_index("path")[CLASSES]
    if blend["method"] == "nnls":
        expected = combine(np.stack(own), np.array([0.75, 0.25]), "nnls", maps=blend["maps"])
    else:
        expected = (0.75 * own[0].to_numpy() ** 3 + 0.25 * own[1].to_numpy() ** 3) ** (1 / 3)
        expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=ATOL)
    assert abs(found - own[0]).to_numpy().max() > 0.05


def test_without_a_run_the_next_command_is_named(three: str, place: Path, tmp_path: Path, predict: Predicts) -> None:
    with pytest.raises(UserError, match=r"run=nonsense is not a finished run in .*; there are: old, new, ensemble"):
        predict(place / "toy/test", three, "run=nonsense")
    with pytest.raises(UserError, match=r"nothing is trained yet in .*/outputs/colours: type stage=train first"):
        predict(place / "toy/test", f"paths.root='{tmp_path / 'empty'}'")


# --- what is no photo ---------------------------------------------------------------------------------------------


def test_without_photos_the_input_is_named(tmp_path: Path, at: At, predict: Predicts) -> None:
    with pytest.raises(UserError, match="add input=PHOTO or input=FOLDER"):
        run_command(at())
    with pytest.raises(UserError, match=r"input=.*/none: nothing is there; give a photo or a folder of photos"):
        predict(tmp_path / "none")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "holds 0 files and no photo"),
        (["a.txt", "c.csv"], "holds 2 files and no photo"),
        (["good.png", "bad.jpg"], r"bad\.jpg: not an image that can be read; .*competition\.on_bad_image=skip"),
    ],
)
def test_a_folder_without_readable_photos_is_named_and_nothing_written(
    names: list[str], words: str, tmp_path: Path, predict: Predicts
) -> None:
    (tmp_path / "photos").mkdir()
    for name in names:
        (tmp_path / "photos" / name).write_bytes(b"no image")
    if "good.png" in names:
        photo(tmp_path / "photos", "good.png")
    with pytest.raises(UserError, match=words):
        predict(tmp_path / "photos")
    assert not (tmp_path / "predictions.csv").exists()


def test_photos_that_cannot_be_read_can_be_left_out_and_are_listed(
    tmp_path: Path, predict: Predicts, caplog: pytest.LogCaptureFixture
) -> None:
    photo(tmp_path / "photos", "good.png", "blue")
    photo(tmp_path / "photos", "z.png", "red")
    (tmp_path / "photos/bad.jpg").write_bytes(b"no image")
    (tmp_path / "photos/y.jpg").touch()
    found = predict(tmp_path / "photos", "competition.on_bad_image=skip").set_index("path")
    assert found["prediction"].to_dict() == {"good.png": "blue", "z.png": "red"}
    assert "left out 2 files that cannot be read: bad.jpg: not an image that can be read; y.jpg: the" in caplog.text
    with pytest.raises(UserError, match="none of its 1 photos can be read: "):
        predict(tmp_path / "photos/bad.jpg", "competition.on_bad_image=skip")


# --- what it leaves -------------------------------------------------------------------------------------------------


def test_a_picture_lies_beside_the_table_where_one_is_wanted(tmp_path: Path, predict: Predicts) -> None:
    Image.new("RGB", (40_000, 2), "blue").save(tmp_path / "wide.png")
    predict(tmp_path / "wide.png", "prepare.max_side=50000")
    assert not (tmp_path / "predictions.png").exists()
    photo(tmp_path / "photos", "a.png")
    (tmp_path / "wide.png").rename(tmp_path / "photos/wide.png")
    found = predict(tmp_path / "photos", "prepare.max_side=50000", "predict.picture=24")
    assert found["path"].tolist() == ["a.png", "wide.png"]
    with Image.open(tmp_path / "predictions.png") as picture:
        assert min(picture.size) > 100
        assert len(picture.convert("RGB").getcolors(10**6) or []) > 10


@pytest.mark.parametrize("name", ["folder", "x.png"])
def test_a_file_that_cannot_hold_the_table_is_refused(name: str, tmp_path: Path, at: At) -> None:
    (tmp_path / "folder").mkdir()
    file = photo(tmp_path, "a.png")
    with pytest.raises(UserError, match=rf"predict\.file=.*{name}"):
        run_command(at(f"input='{file}'", f"predict.file='{tmp_path / name}'"))


def test_the_first_rows_are_told_and_the_rest_counted() -> None:
    table = pd.DataFrame({"path": [f"{n}.png" for n in range(12)], "red": 0.75, "blue": 0.25, "prediction": "red"})
    lines = short_table(table)
    assert lines[0] == "red            0.750  0.png"
    assert lines[-1] == "… and 2 more"
    assert len(lines) == 11
    assert short_table(table.head(2)) == lines[:2]


# --- clips and series ---------------------------------------------------------------------------------------------

QUICK = (
    "model.name=test_efficientnet", "model.weights=none", "model.image_size=32", "device=cpu", "folds.count=2",
    "sequences.steps=20", "sequences.lr=1e-2", "sequences.members=2", "model.temporal.hidden=16",
)  # fmt: skip
KINDS = {
    "clips": ("competition=video_folder", "model=cnn_lstm"),
    "moving": ("competition=video_folder", "model=cnn_lstm", "sequences.motion=true", "sequences.rate=5"),
    "pooled": ("competition=video_folder", "competition.kind=video", "model=mean_pool_diff"),
    "cropped": ("competition=video_folder", "model=cnn_lstm", "model.crop=center", "cache.short_side=24"),
    "tuned": ("competition=video_folder", "model=cnn_lstm", "training=finetune", "training.epochs=1"),
    "series": ("competition=video_folder", "competition.kind=series", "model=lstm"),
}


@pytest.fixture
def trained(place: Path, configure: Callable[..., Config], request: pytest.FixtureRequest) -> At:
    """trained("clips", …) -> the configuration of a run on clips or series, which is trained the first time."""

    def made(name: str, *overrides: str) -> Config:
        source: Path = request.getfixturevalue("series" if name == "series" else "clips")
        config = configure(
            *KINDS[name], *QUICK, f"competition.source='{source}'", f"competition.slug={name}", f"paths.root='{place}'"
        )
        if not any(config.runs_dir.glob("*/metrics.json")):
            run_command(replace(config, stage="train"))
        return changed(replace(config, stage="predict"), *overrides)

    return made


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize(
    "name", ["clips", "series", *(pytest.param(name, marks=pytest.mark.slow) for name in list(KINDS)[1:5])]
)
def test_the_clips_to_classify_get_the_runs_own_predictions(
    name: str, trained: At, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = trained(name, f"predict.file='{tmp_path / 'p.csv'}'")
    source, run = Path(str(config.competition.source)), best_run(config).folder
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    with caplog.at_level("INFO"):
        run_command(replace(config, input=str(source / "test")))
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    found, expected = pd.read_csv(tmp_path / "p.csv"), read_frame(run / "test.parquet").set_index("id")
    assert list(found.columns) == ["path", "left", "right", "prediction"]
    assert ("test/" + found["path"]).tolist() == sorted(expected.index)
    # a feature on the edge between two numbers of 16 bits falls to either side, by what else is in its batch: up to
    # 2.9e-5 of a probability, by processor
    np.testing.assert_allclose(found[["left", "right"]], expected.loc["test/" + found["path"]], atol=5e-5)
    assert found["prediction"].tolist() == [("left", "right")[k] for k in found[["left", "right"]].to_numpy().argmax(1)]
    assert f"predict: with {run.name}" in caplog.text
    assert f"predict: 4 {'series' if name == 'series' else 'clips'} (" in caplog.text
    assert not (tmp_path / "p.png").exists()


def test_one_clip_is_told_alone_as_among_others(trained: At, clips: Path, tmp_path: Path) -> None:
    shutil.copytree(clips / "test", tmp_path / "mine/deep/er")
    config = trained("clips")
    run_command(replace(config, input=str(tmp_path / "mine")))
    run_command(replace(config, input=str(tmp_path / "mine/deep/er/left6.mp4")))
    folder = config.runs_dir / "predict"
    many, one = pd.read_csv(folder / "mine.csv"), pd.read_csv(folder / "left6.csv")
    assert one["path"].tolist() == ["left6.mp4"]
    np.testing.assert_allclose(one["left"], many.set_index("path").loc[["deep/er/left6.mp4"], "left"], atol=2e-6)


def test_a_run_on_long_videos_says_that_detect_is_meant(pipeline: Callable[[str], Path], long_videos: Path) -> None:
    config = pipeline_config("long", long_videos, pipeline("long"), "stage=predict", f"input='{long_videos / 'test'}'")
    with pytest.raises(UserError, match=r"finds segments and does not classify whole clips: type detect"):
        run_command(config)


def test_a_run_reads_its_own_kind_of_files_whatever_the_command_says(
    trained: At, at: At, clips: Path, place: Path
) -> None:
    photos, moving, series = (best_run(one).folder for one in (at(), trained("clips"), trained("series")))
    for config, run, source, words in (
        (trained("clips"), photos, clips, r"holds \d+ files and no photo"),
        (at(), moving, place / "toy", r"holds \d+ files and no video"),
        (trained("clips"), series, clips, r"holds \d+ files and no series"),
    ):
        with pytest.raises(UserError, match=words):
            run_command(replace(config, run=str(run), input=str(source / "test")))
    config = replace(at(), run=str(moving), input=str(clips / "test"))
    run_command(config)
    table = pd.read_csv(config.outputs_dir / moving.parent.name / "predict/test.csv")
    assert set(table.columns) == {"path", "left", "right", "prediction"}


def test_a_clip_that_cannot_be_read(trained: At, clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copy(clips / "test/left6.mp4", tmp_path / "good.mp4")
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    (tmp_path / "empty.avi").touch()
    (tmp_path / "notes.txt").touch()
    strict = replace(trained("clips"), input=str(tmp_path))
    with pytest.raises(UserError, match=r"bad\.mp4: not a video .*; empty\.avi: .*\(0 bytes\); leave such files out"):
        run_command(strict)
    assert not (strict.runs_dir / f"predict/{tmp_path.name}.csv").exists()
    lenient = replace(trained("clips", "competition.on_bad_image=skip"), input=str(tmp_path))
    with caplog.at_level("INFO"):
        run_command(lenient)
    assert "predict: left out 2 files that cannot be read: bad.mp4: not a video that can be read; empty" in caplog.text
    assert pd.read_csv(strict.runs_dir / f"predict/{tmp_path.name}.csv")["path"].tolist() == ["good.mp4"]
    with pytest.raises(UserError, match=r"none of its 1 clips can be read: bad\.mp4: not a video that can be read$"):
        run_command(replace(lenient, input=str(tmp_path / "bad.mp4")))


def test_what_is_repaired_in_a_clip_is_told(
    trained: At, tmp_path: Path, clips: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = (clips / "test/left6.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) - 300])
    run_command(replace(trained("clips"), input=str(tmp_path)))
    assert "predict: cut.mp4: truncated: " in caplog.text


def test_an_input_without_clips_is_named(trained: At, tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    for name, source, words in (
        ("clips", None, "add input=CLIP or input=FOLDER"),
        ("series", None, "add input=FILE or input=FOLDER"),
        ("clips", tmp_path, r"holds 1 files and no video \(\.mp4, "),
        ("clips", tmp_path / "none", r"none: nothing is there; give a video or a folder of them"),
    ):
        with pytest.raises(UserError, match=words):
            run_command(replace(trained(name), input=source and str(source)))


def test_series_of_another_shape_are_named(trained: At, series: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", values=np.zeros((9, 5)), time=np.arange(9.0))
    with pytest.raises(UserError, match=r"other\.npz: .*5"):
        run_command(replace(trained("series"), input=str(tmp_path)))
