"""The whole pipeline: from nothing to a checked CSV, again without work, after a kill, and twice the same."""

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kagglepipe.config import Config
from kagglepipe.files import read_json
from kagglepipe.tools.commands import run_command
from tests.pipelines import check_resumed, files_below, the_run

SAMPLE = "pistols-vs-smartphones-sample"
Configure = Callable[..., Config]


@pytest.mark.slow
def test_the_sample_goes_from_nothing_to_a_submission(tmp_path: Path, configure: Configure) -> None:
    config = configure("competition=pistols_vs_smartphones_sample", "training=head")
    score = run_command(config)
    run = the_run(config)
    folds = [f"fold_{k}/{name}" for k in range(5) for name in (
        "log.csv", "metrics.json", "model.json", "model.safetensors", "oof.parquet", "test.parquet")]  # fmt: skip
    merged = ["backbone.safetensors", "config.yaml", "hardest.png", "metrics.json", "oof.parquet", "test.parquet"]
    merged += ["MODEL_CARD.md", "report.html", "suspects.csv"]
    assert sorted(files_below(run)) == sorted([*folds, *merged])
    data = {name.split("/")[0] for name in files_below(config.data_dir)}
    assert data == {"cache", "duplicates.csv", "folds.csv", "prepared.json", "raw", "source.json", "table.parquet"}
    assert sorted(files_below(tmp_path / "submissions")) == [f"{run.name}.csv", f"{run.name}.json"]
    metrics = read_json(run / "metrics.json")
    assert score == metrics["score"] >= 0.95
    assert metrics["test"]["score"] >= 0.95
    assert metrics["baseline"]["score"] < 0.7  # the drawn images do not give themselves away by their size
    oof = pd.read_parquet(run / "oof.parquet")
    assert list(oof.columns) == ["id", "fold", "target", "pistol", "smartphone"]
    assert score == (oof["smartphone"].gt(0.5) == oof["target"].eq("smartphone")).mean()
    answers = pd.read_csv(config.data_dir / "raw" / "answers.csv").set_index("ID")["Ground_Truth"]
    submitted = pd.read_csv(tmp_path / "submissions" / f"{run.name}.csv").set_index("ID")["Ground_Truth"]
    assert set(submitted.index) == set(answers.index)
    assert (submitted == answers.loc[submitted.index]).mean() == metrics["test"]["score"]


def test_a_second_run_changes_no_file_and_from_nothing_it_gives_the_same_bytes(
    colours: Path, tmp_path: Path, configure: Configure
) -> None:
    options = ("competition=image_folder", "experiment=quick", "training.views=1", f"competition.source={colours}")
    roots = (tmp_path / "one", tmp_path / "other")
    configs = [configure(f"paths.root='{root}'", *options) for root in roots]
    first = run_command(configs[0])
    before = files_below(roots[0])
    assert run_command(configs[0]) == first
    assert files_below(roots[0]) == before
    assert run_command(configs[1]) == first
    runs = [the_run(config) for config in configs]
    assert runs[0].name == runs[1].name
    for name in ("oof.parquet", "test.parquet"):
        pd.testing.assert_frame_equal(*[pd.read_parquet(run / name) for run in runs], check_exact=True)
    csvs = [(root / "submissions" / f"{runs[0].name}.csv").read_bytes() for root in roots]
    assert csvs[0] == csvs[1]


@pytest.mark.slow
def test_a_run_killed_in_a_fold_goes_on_and_ends_the_same(toy: Path, tmp_path: Path, configure: Configure) -> None:
    source = f"competition.source={toy}"
    options = ["stage=train", "experiment=quick", "folds.count=3", "competition=image_folder", source]
    killed, undisturbed = (f"paths.root='{tmp_path / name}'" for name in ("killed", "undisturbed"))
    check_resumed([*options, killed], configure(*options, killed), configure(*options, undisturbed))


def test_folds_can_be_trained_apart(toy: Path, configure: Configure) -> None:
    options = ("stage=train", "experiment=quick", "competition=image_folder", f"competition.source={toy}")
    apart = configure(*options, "folds.only=[1]")
    assert np.isnan(run_command(apart) or np.nan)
    run = the_run(apart)
    assert (run / "fold_1" / "metrics.json").exists()
    assert not (run / "metrics.json").exists()
    assert run_command(configure(*options, "folds.only=[0]")) == read_json(run / "metrics.json")["score"]


@pytest.mark.slow
def test_a_sweep_runs_two_jobs_at_a_time(toy: Path, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "kagglepipe", "-m", "stage=train", "experiment=quick", "training=finetune",
        "training.epochs=1", "training.lr=1e-3,3e-3", "competition=image_folder", f"competition.source={toy}",
        "hydra/launcher=joblib", "hydra.launcher.n_jobs=2",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rates = [
        read_json(path)["identity"]["training"]["lr"] for path in (tmp_path / "outputs" / "toy").glob("*/metrics.json")
    ]
    assert sorted(rates) == [1e-3, 3e-3]


@pytest.mark.slow
def test_the_real_archive_is_told_apart_but_for_one_photo_at_most(real_archive: Path, configure: Configure) -> None:
    config = configure(f"competition.source='{real_archive}'", "training=head")
    run_command(config)
    run = the_run(config)
    metrics = read_json(run / "metrics.json")
    assert metrics["rows"] == 741
    assert metrics["correct"] >= 740  # one photo has a probability of 0.50: processors round it to either side
    assert metrics["log_loss"] < 0.0075
    assert 0.96 < metrics["baseline"]["score"] < 0.99  # sizes alone nearly do it: the score must stand above this
    submission = pd.read_csv(config.root / "submissions" / f"{run.name}.csv")
    assert list(submission.columns) == ["ID", "Ground_Truth"]
    with zipfile.ZipFile(real_archive) as archive:
        photos = {Path(name).name for name in archive.namelist() if name.startswith("Test/") and name[-1] != "/"}
    assert len(submission) == len(photos) == 799
    assert set(submission["ID"]) == photos
    assert set(submission["Ground_Truth"]) == {0, 1}
    ignored = read_json(config.data_dir / "prepared.json")["ignored"]
    assert ignored == ["Train/Pistol/desktop.ini", "Train/Smartphone/desktop.ini"]
