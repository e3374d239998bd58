"""The whole pipeline for what has a time axis: clips, pieces of videos, long videos, and series of either kind."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import read_json
from kagglepipe.samples.clips import make_clips
from kagglepipe.tools.commands import run_command
from tests.pipelines import PIPELINES, QUICK, check_resumed, files_below, pipeline_config, the_run, typed

pytestmark = pytest.mark.usefixtures("few_draws")
Configure = Callable[..., Config]
At = Callable[..., Config]

WALKED = ("clips", "pieces", "long", "series", "long-series")
LADDER = {
    "mean_pool": "mean", "mean_pool_diff": "mean", "lstm_shuffled": "lstm-shuffled", "temporal_conv": "conv",
    "cnn_lstm": "lstm",
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where most of this file's runs lie, so that features are computed once."""
    return tmp_path_factory.mktemp("place")


@pytest.fixture
def at(place: Path, request: pytest.FixtureRequest, pipeline: Callable[[str], Path]) -> At:
    """at("clips", "stage=train", …) -> the configuration of a pipeline, rooted in `place` unless said otherwise.

    There the pipeline itself has run.
    """

    def compose(name: str, *overrides: str, root: Path = place) -> Config:
        if root == place and not (place / "outputs" / name).exists():
            shutil.copytree(pipeline(name), place, dirs_exist_ok=True)
        return pipeline_config(name, request.getfixturevalue(PIPELINES[name][0]), root, *overrides)

    return compose


# --- from nothing to a submission ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WALKED)
def test_from_files_to_a_submission(name: str, at: At, place: Path) -> None:
    config = at(name)
    score = run_command(config)
    run, video = the_run(config), config.competition.kind == "video"
    per_fold = ["log.csv", "metrics.json", "model.json", "model.safetensors", "oof.parquet", "test.parquet"]
    merged = ["config.yaml", "metrics.json", "oof.parquet", "test.parquet", *["backbone.safetensors"] * video]
    merged += ["MODEL_CARD.md", "report.html", "suspects.csv"]
    assert sorted(files_below(run)) == sorted([*(f"fold_{k}/{file}" for k in (0, 1) for file in per_fold), *merged])
    data = {path.split("/")[0] for path in files_below(config.data_dir)}
    tables = {"annotations.csv", "folds.csv", "items.parquet", "prepared.json", "source.json", "table.parquet"}
    assert data == tables | ({"cache"} if video else set())
    assert score == read_json(run / "metrics.json")["score"] > 0.65  # a coin gets 0.5, and idle frames are 0.64
    submission = pd.read_csv(place / f"submissions/{run.name}.csv")
    if not config.competition.finds_segments:
        assert list(submission.columns) == ["video", "label"]
        assert set(submission["label"]) <= {"left", "right"}
        return
    assert list(submission.columns) == ["video", "label", "start", "end", "score"]  # as the sample submission has them
    assert set(submission["label"]) == {"left", "right"}
    assert ((submission["start"] >= 0) & (submission["start"] < submission["end"])).all()
    assert (submission["end"] <= 11).all()
    assert submission["score"].between(0, 1).all()


@pytest.mark.parametrize("name", WALKED)
def test_a_second_run_changes_no_file(name: str, at: At, place: Path) -> None:
    config = at(name)
    first = run_command(config)
    before = files_below(place)
    assert run_command(config) == first
    assert files_below(place) == before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["clips", "long", "long-series"])
def test_the_same_command_from_nothing_gives_the_same_bytes(name: str, at: At, tmp_path: Path) -> None:
    config, fresh = at(name), at(name, root=tmp_path)
    assert run_command(config) == run_command(fresh)
    assert the_run(fresh).name == the_run(config).name
    for file in ("oof.parquet", "test.parquet", "fold_0/model.safetensors", "fold_1/oof.parquet"):
        assert (the_run(fresh) / file).read_bytes() == (the_run(config) / file).read_bytes(), file
    csvs = [(c.root / "submissions" / f"{the_run(c).name}.csv").read_bytes() for c in (config, fresh)]
    assert csvs[0] == csvs[1]
    numbers = [read_json(the_run(c) / "metrics.json") for c in (config, fresh)]
    for metrics in numbers:
        del metrics["seconds"], metrics["peak_memory_gb"]
    assert numbers[0] == numbers[1]


def test_the_lstm_sees_what_the_same_frames_in_any_order_do_not_show(at: At) -> None:
    run_command(at("pieces", "stage=train"))
    run = the_run(at("pieces"))
    metrics = read_json(run / "metrics.json")
    how = [pd.read_csv(run / f"fold_{fold}/log.csv").tail(1).to_dict("records") for fold in (0, 1)]
    how += [read_json(run / "fold_0/model.json")["precision"], metrics["machine"]]
    assert metrics["score"] > 0.9, how  # rounding takes no clip: features 0.2 % off leave all 21 right
    assert metrics["linear"]["score"] < 0.8
    gain = metrics["accuracy_over_linear"]
    assert gain["difference"] == pytest.approx(metrics["score"] - metrics["linear"]["score"])
    assert gain["difference"] > 0
    assert gain["interval"] == [None, None]  # so few sources cannot tell, however alike they are
    assert gain["p"] <= 0.25  # with three groups there is nothing smaller


@pytest.mark.parametrize(
    ("name", "model"),
    [
        *(("clips", model) for model in LADDER),
        ("long", "mean_pool_diff"),
        ("long", "temporal_conv"),
        ("series", "temporal_conv"),
        ("long-series", "mean_pool"),
    ],
)
def test_every_rung_of_the_ladder(name: str, model: str, at: At) -> None:
    config = at(name, "stage=train", f"model={model}", "sequences.steps=3")
    score = run_command(config)
    run = the_run(config)
    assert score is not None
    assert 0 <= score <= 1
    assert LADDER[model] == run.name.removeprefix("test_efficientnet-").split("-head-")[0]
    for file in ("oof.parquet", "test.parquet"):
        frame = pd.read_parquet(run / file)
        np.testing.assert_allclose(frame[["left", "right"]].sum(axis=1) + frame.get("none", 0), 1, atol=1e-5)


@pytest.mark.parametrize("cell", ["gru", "elman"])
def test_the_other_cells(cell: str, at: At) -> None:
    config = at("clips", "stage=train", f"model.temporal.cell={cell}", "sequences.steps=3")
    run_command(config)
    assert f"-{cell}-head-" in the_run(config).name


def test_views_and_motion_make_runs_of_their_own_and_are_stored_once(at: At, place: Path) -> None:
    names = set()
    for more in ([], ["sequences.motion=true"], ["sequences.views=1"], ["sequences.views=1", "model=mean_pool_diff"]):
        config = at("clips", "stage=train", "sequences.steps=3", *more, "model.name=test_efficientnet")
        run_command(config)
        names.add(the_run(config).name)
    assert len(names) == 4
    stores = {path.name for path in (place / "data/clips/cache").iterdir() if path.is_dir()}
    assert sorted(store.split("-")[0] for store in stores) == ["frames", "frames", "motion"]
    before = files_below(place / "data/clips/cache")
    run_command(at("clips", "stage=train", "sequences.steps=4", "sequences.views=1", "seed=0", "folds.count=2"))
    assert files_below(place / "data/clips/cache") == before


# --- in parts ------------------------------------------------------------------------------------------------------


def test_folds_can_be_trained_apart(at: At, tmp_path: Path) -> None:
    apart = at("long-series", "stage=train", "folds.only=[1]", root=tmp_path)
    assert np.isnan(run_command(apart) or np.nan)
    run = the_run(apart)
    assert (run / "fold_1/metrics.json").exists()
    assert not (run / "metrics.json").exists()
    with pytest.raises(UserError, match=r"folds\.only=\[7\] do not exist; the folds are 0…1"):
        run_command(at("long-series", "stage=train", "folds.only=[7]", root=tmp_path))
    rest = at("long-series", "stage=train", "folds.only=[0]", root=tmp_path)
    assert run_command(rest) == read_json(run / "metrics.json")["score"]
    whole = at("long-series", "stage=train")
    run_command(whole)
    assert (the_run(whole) / "oof.parquet").read_bytes() == (run / "oof.parquet").read_bytes()


@pytest.mark.slow
def test_a_run_killed_in_a_fold_goes_on_and_ends_the_same(at: At, clips: Path, tmp_path: Path) -> None:
    options = ["training=finetune", "training.epochs=1", "sequences.steps=5", "stage=train"]
    command = [
        word for word in typed("clips", clips, tmp_path) if word != "sequences.members=1"
    ]  # fine-tuning reads none
    check_resumed([*command, *options], at("clips", *options, root=tmp_path), at("clips", *options))


# --- ensembles -------------------------------------------------------------------------------------------------------


def test_two_runs_on_long_videos_make_an_ensemble(at: At, place: Path, caplog: pytest.LogCaptureFixture) -> None:
    runs = []
    for more in ([], ["seed=1"]):
        config = at("long", "stage=train", *more)
        run_command(config)
        runs.append(the_run(config))
    chosen = at("long", f"ensemble.runs=[{','.join(run.name for run in runs)}]")
    with caplog.at_level("INFO"):
        score = run_command(chosen)
    (folder,) = (place / "outputs/long").glob("ensemble-auto-*")
    metrics = read_json(folder / "metrics.json")
    assert score == metrics["score"]
    assert metrics["members"] == sorted(run.name for run in runs)
    assert set(metrics["detection"]) >= {"settings", "scores", "intervals", "test"}
    members = [pd.read_parquet(run / "oof.parquet").set_index("id").sort_index() for run in runs]
    blended = pd.read_parquet(folder / "oof.parquet").set_index("id").sort_index()
    mean = (members[0]["left"] + members[1]["left"]) / 2
    pd.testing.assert_series_equal(blended["left"], mean, rtol=1e-6)
    submission = pd.read_csv(place / f"submissions/{folder.name}.csv")
    assert list(submission.columns) == ["video", "label", "start", "end", "score"]
    assert len(submission) > 0
    assert "ensemble: member " + runs[0].name in caplog.text
    before = files_below(place)
    assert run_command(chosen) == score
    assert files_below(place) == before


# --- what is refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("series", ["training=finetune"], "a series has no encoder to fine-tune: type training=head"),
        ("long-series", ["training=finetune"], "a series has no encoder to fine-tune: type training=head"),
        ("clips", ["training=finetune", "sequences.motion=true"], r"reads only frames: type sequences\.motion=fal"),
        ("long", ["training=finetune", "model=mean_pool", "sequences.motion=false"], "type model=cnn_lstm, or tra"),
    ],
)
def test_what_cannot_be_fine_tuned_is_said_before_any_work(
    name: str, options: list[str], words: str, at: At, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words) as caught:
        run_command(at(name, *options, root=tmp_path))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data").exists()


# --- the built-in sample ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_few_videos_of_the_action_sample(tmp_path: Path, configure: Configure) -> None:
    make_clips(tmp_path / "few", train=6, test=2)
    config = configure(
        "competition=action_sample", *QUICK, "competition.slug=few", f"competition.source='{tmp_path / 'few'}'",
        "sequences.steps=5", "sequences.rate=4",
    )  # fmt: skip
    run_command(config)
    metrics = read_json(the_run(config) / "metrics.json")
    assert metrics["constant"]["class"] == "none"
    assert metrics["constant"]["score"] == metrics["constant"]["correct"] / metrics["rows"]
    assert 0 <= metrics["detection"]["test"]["f1_10"] <= 1
    assert metrics["test"]["rows"] == len(pd.read_parquet(the_run(config) / "test.parquet"))
    submission = pd.read_csv(tmp_path / "submissions" / f"{the_run(config).name}.csv")
    assert list(submission.columns) == ["video", "start", "end", "label", "score"]
    assert set(submission["video"]) <= {"test_00.mp4", "test_01.mp4"}
