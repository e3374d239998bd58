"""Predictions are about the files that are there now, not about those that had their names."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pytest

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import file_sha256, read_json, write_json
from kagglepipe.predictions.blend import combine, equal_weights, with_probabilities
from kagglepipe.predictions.frame import align, oof_frame, probabilities, read_frame, test_frame
from kagglepipe.runs.configured import read_data
from kagglepipe.runs.predict_test import Inference, predict_again, predict_test, read_features
from kagglepipe.runs.run import Run, data_of
from kagglepipe.runs.store import RunStore
from kagglepipe.sequences.container import VideoError
from kagglepipe.tools.commands import run_command
from kagglepipe.training.inference import SequenceRun

CLASSES = ["blue", "green", "red"]
TINY = ("model=tiny", "training=head", "folds.count=2", "training.views=0", "device=cpu")
QUICK = (
    "model.name=test_efficientnet", "model.weights=none", "model.image_size=32", "device=cpu", "folds.count=2",
    "sequences.steps=20", "sequences.lr=1e-2", "sequences.members=2", "model.temporal.hidden=16",
)  # fmt: skip
ATOL = 2e-3  # bfloat16: a batch of another size may round otherwise
Configure = Callable[..., Config]


@pytest.fixture
def config(configure: Configure, toy: Path) -> Config:
    """A toy on which a tiny network has been trained."""
    config = configure(*TINY, "stage=train", "competition=image_folder", f"competition.source='{toy}'")
    run_command(config)
    return config


def hide(toy: Path) -> None:
    """What a rerun finds: the names are the same, each red picture is now a blue one and the other way round."""
    for number in (12, 13):
        red, blue = (toy / f"test/{colour}{number}.png" for colour in ("red", "blue"))
        one = red.read_bytes()
        red.write_bytes(blue.read_bytes())
        blue.write_bytes(one)


def refreshed(config: Config) -> Config:
    """Takes the files as they are now."""
    config = replace(config, competition=replace(config.competition, refresh=True))
    run_command(replace(config, stage="prepare"))
    return config


def inference_of(config: Config) -> Inference:
    """As `submit` makes it."""
    return Inference(config.device, config.engine, config.backend_dir, config.workers, config.pixels_dir)


def predicted(config: Config, dataset: Dataset, run: Run) -> pd.DataFrame:
    """As `submit` has it."""
    return predict_test(config.competition, dataset, run, inference_of(config))


def predicted_again(config: Config, dataset: Dataset, run: Run) -> pd.DataFrame:
    """From the files, whatever test.parquet holds."""
    return predict_again(config.competition, dataset, run, inference_of(config))


def run_of(config: Config) -> Path:
    """The latest run."""
    return [run.folder for run in RunStore(config.runs_dir).finished()][-1]


def exchanged(frame: pd.DataFrame) -> pd.DataFrame:
    """The same predictions, those of red and blue files exchanged."""
    other = {"red": "blue", "blue": "red", "gree": "gree"}
    names = frame["id"].str.extract(r"test/(\w+?)n?(\d+)\.png")
    ids = [f"test/{other[colour] + 'n' * (colour == 'gree')}{n}.png" for colour, n in names.itertuples(index=False)]
    return frame.assign(id=ids).sort_values("id", ignore_index=True)


def same(found: pd.DataFrame, expected: pd.DataFrame, atol: float = ATOL) -> None:
    """Demands equal ids and nearly equal probabilities."""
    assert found["id"].tolist() == expected["id"].tolist()
    assert set(found.columns) == set(expected.columns)
    np.testing.assert_allclose(found[expected.columns[1:]], expected[expected.columns[1:]], atol=atol)


# --- photos -----------------------------------------------------------------------------------------------------


def test_the_runs_own_predictions_are_taken_while_the_files_are_the_same(config: Config) -> None:
    run, prepared = run_of(config), read_data(config)
    for model in run.glob("fold_*/model.safetensors"):
        model.unlink()
    pd.testing.assert_frame_equal(predicted(config, prepared, Run(run)), read_frame(run / "test.parquet"))


def test_other_pictures_under_the_same_names_are_predicted_anew(
    config: Config, toy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = run_of(config)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    known = read_frame(run / "test.parquet")
    hide(toy)
    config = refreshed(config)
    with caplog.at_level("INFO"):
        found = predicted(config, read_data(config), Run(run))
    same(found, exchanged(known))
    assert f"the files are not those beside which {run.name} was trained: it predicts them again" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_submit_answers_what_is_there_and_tells_of_no_old_table(config: Config, toy: Path, tmp_path: Path) -> None:
    run = run_of(config)
    submit = replace(config, stage="submit", run=str(run))
    run_command(submit)
    known = pd.read_csv(tmp_path / f"submissions/{run.name}.csv").set_index("id")["label"]
    assert all(name.startswith(f"test/{label}") for name, label in known.items())  # the toy is easy
    assert read_json(tmp_path / f"submissions/{run.name}.json")["test_sha256"] is not None
    hide(toy)
    run_command(replace(refreshed(submit), stage="submit"))
    found = pd.read_csv(tmp_path / f"submissions/{run.name}.csv").set_index("id")["label"]
    swap = {"red": "blue", "blue": "red", "green": "green"}
    assert found.to_dict() == {name: swap[label] for name, label in known.items()}
    origin = read_json(tmp_path / f"submissions/{run.name}.json")
    assert origin["test_sha256"] is None
    assert origin["table"] == read_data(config).table_hash


@pytest.mark.parametrize("options", [{"max_gb": 0.0}, {"short_side": 24}])
def test_pictures_are_read_as_the_run_asks_whatever_the_cache_holds(config: Config, options: dict[str, float]) -> None:
    run = run_of(config)
    other = replace(config, cache=replace(config.cache, **options))
    run_command(replace(other, stage="prepare"))
    same(predicted_again(other, read_data(other), Run(run)), read_frame(run / "test.parquet"))


def test_more_and_fewer_files_than_before(config: Config, toy: Path) -> None:
    run = run_of(config)
    (toy / "test/red12.png").unlink()
    shutil.copy(toy / "test/blue12.png", toy / "test/new.png")
    config = refreshed(config)
    found = predicted(config, read_data(config), Run(run)).set_index("id")
    known = read_frame(run / "test.parquet").set_index("id")
    assert sorted(found.index) == sorted({*known.index, "test/new.png"} - {"test/red12.png"})
    np.testing.assert_allclose(found.loc["test/new.png"], known.loc["test/blue12.png"], atol=ATOL)


def test_a_run_of_no_known_table_is_believed(config: Config, toy: Path) -> None:
    run = run_of(config)
    write_json(run / "metrics.json", {**read_json(run / "metrics.json"), "identity": None})
    hide(toy)
    config = refreshed(config)
    assert predicted(config, read_data(config), Run(run)).equals(read_frame(run / "test.parquet"))


def test_a_run_that_cannot_predict_is_an_error_not_an_old_answer(config: Config, toy: Path) -> None:
    run = run_of(config)
    hide(toy)
    config, prepared = refreshed(config), read_data(refreshed(config))
    with pytest.raises(UserError, match="knows the classes blue, green, red, not cat, dog"):
        predicted(config, replace(prepared, classes=["cat", "dog"]), Run(run))
    video = replace(config, competition=replace(config.competition, kind="video"))
    with pytest.raises(UserError, match=r"was trained on image, competition\.kind is video"):
        predicted(video, prepared, Run(run))
    for folder in run.glob("fold_*"):
        shutil.rmtree(folder)
    with pytest.raises(UserError, match="holds no trained network"):
        predicted(config, prepared, Run(run))


# --- ensembles --------------------------------------------------------------------------------------------------


def test_an_ensemble_blends_what_its_members_say_of_the_new_files(config: Config, toy: Path) -> None:
    run_command(replace(config, seed=1))
    names = [run.name for run in [run.folder for run in RunStore(config.runs_dir).finished()]]
    joint = replace(config, stage="ensemble", ensemble=replace(config.ensemble, runs=names, method="geometric_mean"))
    run_command(joint)
    run = run_of(config)
    known = [exchanged(read_frame(run.parent / name / "test.parquet")) for name in names]
    hide(toy)
    config = refreshed(config)
    found = predicted(config, read_data(config), Run(run))
    frames = list(align(dict(zip(names, known, strict=True))).values())
    stack = np.stack([probabilities(frame, CLASSES) for frame in frames])
    expected = combine(stack, equal_weights(len(stack)), "geometric_mean")
    same(found, with_probabilities(frames[0], CLASSES, expected))
    shutil.rmtree(run.parent / names[0])
    with pytest.raises(UserError, match=rf"its member {names[0]} is not in .*: make the ensemble again"):
        predicted(config, read_data(config), Run(run))


@pytest.mark.parametrize("tells", [True, False])
def test_the_maps_of_an_ensemble_go_by_the_names_of_classes(tmp_path: Path, tells: bool) -> None:
    """What is added to each class' logarithm: the order of classes may be another when new files are predicted."""
    fitted = ["red", "blue", "green"]
    frame = test_frame(["a", "b"], [[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], CLASSES)
    metrics = {"method": "mean", "members": ["one"], "maps": [{"kind": "platt", "slope": 1.0, "offsets": [2.0, 0, 0]}]}
    oof = oof_frame(["c"], 0, ["red"], [[1.0, 0.0, 0.0]], fitted)  # by which an older ensemble is known
    oof.to_parquet(tmp_path / "oof.parquet", index=False)
    run = Run(tmp_path)
    run.save_metrics({**metrics, "classes": fitted} if tells else metrics)
    assert run.fitted_classes == fitted
    found = run.blend(frame[fitted].to_numpy()[None])
    raised = frame[fitted].to_numpy() * [np.exp(2), 1, 1]
    np.testing.assert_allclose(found, raised / raised.sum(axis=1, keepdims=True))


def test_a_run_that_has_but_the_name_of_a_member_is_not_taken_for_it(tmp_path: Path) -> None:
    write_json(tmp_path / "one/metrics.json", {"identity": {"seed": 0, "table": "a"}})
    ensemble = Run(tmp_path / "ensemble-mean-0")
    for same in ({"seed": 0, "table": "a"}, {"seed": 0}, None):
        ensemble.save_metrics({"members": ["one"], "identity": {"one": same}})
        assert ensemble.find_member("one") == Run(tmp_path / "one")
    ensemble.save_metrics({"members": ["one"], "identity": {"one": {"seed": 1, "table": "a"}}})
    with pytest.raises(UserError, match=r"one is not the member of ensemble-mean-0 that has this name"):
        ensemble.find_member("one")


def test_the_data_of_an_identity() -> None:
    assert data_of({"table": "a", "folds": "b"}) == {("a", "b")}
    inner = {"one": {"table": "a"}, "two": {"table": "b"}}
    assert data_of({"inner": inner, "csv": None}) == {("a", None), ("b", None)}
    assert data_of(None) == data_of({}) == data_of({"seed": 1}) == set()


# --- clips, series, frames --------------------------------------------------------------------------------------

KINDS = {
    "clips": ("competition=video_folder", "model=cnn_lstm", "sequences.motion=true", "sequences.rate=5"),
    "series": ("competition=video_folder", "competition.kind=series", "model=lstm"),
    "long_videos": ("competition=video_folder_untrimmed", "sequences.window=16"),
    "long_series": ("competition=video_folder_untrimmed", "competition.kind=series", "model=lstm"),
}


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("name", ["clips", *(pytest.param(name, marks=pytest.mark.slow) for name in list(KINDS)[1:])])
def test_clips_series_and_frames_get_what_the_run_said_of_the_same_files(
    name: str, configure: Configure, request: pytest.FixtureRequest
) -> None:
    source: Path = request.getfixturevalue(name)
    config = configure(*KINDS[name], *QUICK, "stage=train", f"competition.source='{source}'")
    run_command(config)
    run, prepared = run_of(config), read_data(config)
    same(predicted_again(config, prepared, Run(run)), read_frame(run / "test.parquet"), atol=2e-6)
    slower = replace(config, sequences=replace(config.sequences, rate=4.0))
    same(
        predicted_again(slower, read_data(slower), Run(run)), read_frame(run / "test.parquet"), atol=2e-6
    )  # at its own
    form = "name" if config.competition.finds_segments else "segments"
    other = replace(config, competition=replace(config.competition, form=form, background="none"))
    with pytest.raises(UserError, match=rf"classifies \w+.*, which does not fit competition\.form={form}"):
        predicted_again(other, prepared, Run(run))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "left6.mp4"
    file.write_bytes(b"torn")
    rows = pd.DataFrame({"sha256": [file_sha256(file)]})

    class Torn:
        def read(self, path: Path) -> None:
            raise VideoError("not a video that can be read")

    with pytest.raises(UserError, match=r"/left6\.mp4: not a video that can be read; mend or remove it, then"):
        read_features(cast(SequenceRun, Torn()), file, rows)
    file.write_bytes(b"another")
    with pytest.raises(
        UserError, match=r"/left6\.mp4 is not the file that was prepared; add competition\.refresh=true"
    ):
        read_features(cast(SequenceRun, Torn()), file, rows)
