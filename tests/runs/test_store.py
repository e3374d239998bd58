"""Which run is the best by the metric at hand, whatever metric it was scored by and of which data, ensembles too."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import file_sha256, write_bytes, write_json, write_parquet
from kagglepipe.options import CompetitionOptions, PathsOptions
from kagglepipe.predictions.evaluation import score
from kagglepipe.predictions.frame import oof_frame
from kagglepipe.runs.configured import best_run
from kagglepipe.runs.run import Run
from kagglepipe.runs.store import Member, RunStore, member_of, rank_runs

CLASSES = ["cat", "dog"]
TRUTH = ["cat", "dog"] * 6


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A prepared competition whose table has the hash T."""
    config = Config(paths=PathsOptions(str(tmp_path)), competition=CompetitionOptions(slug="toy"), stage="predict")
    write_json(config.data_dir / "prepared.json", {"table_hash": "T"})
    write_bytes(config.data_dir / "folds.csv", b"id,fold\n")
    return config


def folds_hash(config: Config) -> str:
    return file_sha256(config.data_dir / "folds.csv")


def frame(wrong: int, sure: float) -> pd.DataFrame:
    """Out of fold, the first `wrong` rows are; all are as sure."""
    own = np.where(np.arange(12) < wrong, 1 - sure, sure)
    probs = np.where(np.array(TRUTH)[:, None] == np.array(CLASSES), own[:, None], 1 - own[:, None])
    return oof_frame([f"r{n:02}" for n in range(12)], np.arange(12) % 2, TRUTH, probs, CLASSES)


def finish(
    config: Config, name: str, wrong: int, sure: float = 0.9, *, metric: str = "accuracy", age: int = 0,
    table: str = "T", network: bool = True, **more: Any,
) -> Path:  # fmt: skip
    """A finished run that was scored by a metric, `age` seconds ago."""
    folder, oof = config.runs_dir / name, frame(wrong, sure)
    write_parquet(folder / "oof.parquet", oof)
    write_parquet(folder / "test.parquet", oof.drop(columns=["fold", "target"]))
    if network:
        write_json(folder / "fold_0/model.json", {"classes": CLASSES})
    about = {"metric": metric, "score": score(metric, oof, CLASSES), "log_loss": score("log_loss", oof, CLASSES)}
    identity = {"table": table, "folds": folds_hash(config)}
    write_json(folder / "metrics.json", {"run": name, "identity": identity, **about, **more})
    os.utime(folder / "metrics.json", (10**9 - age, 10**9 - age))
    return folder


def prepared(config: Config) -> Dataset:
    return Dataset(pd.DataFrame(), pd.DataFrame(), CLASSES, Path(), "T", folds_hash(config))


def best(config: Config, count: int, metric: str) -> list[Member]:
    """The members that `ensemble.runs=[best:COUNT]` asks for, best first."""
    dataset, store = prepared(config), RunStore(config.runs_dir)
    found = [member_of(run) for run, _ in rank_runs(store.comparable(dataset), metric)[:count]]
    assert store.members([f"best:{count}"], dataset, metric) == sorted(found, key=lambda member: member.name)
    return found


def test_runs_that_were_scored_by_another_metric_are_scored_anew(config: Config) -> None:
    finish(config, "sure", wrong=2, sure=0.99)
    finish(config, "careful", wrong=2, sure=0.7)
    finish(config, "right", wrong=1, sure=0.6, metric="log_loss")
    names = {metric: [member.name for member in best(config, 8, metric)] for metric in ("accuracy", "log_loss")}
    assert names == {"accuracy": ["right", "careful", "sure"], "log_loss": ["careful", "right", "sure"]}
    assert [one.name for one in best(config, 1, "log_loss")] == ["careful"]


def test_of_equal_runs_the_surer_and_of_equally_sure_ones_the_earlier_is_best(config: Config) -> None:
    runs = [finish(config, name, wrong=2, sure=sure) for name, sure in (("c", 0.7), ("b", 0.7), ("a", 0.8))]
    assert [run.name for run, _ in rank_runs([Run(run) for run in runs], "accuracy")] == ["a", "c", "b"]


def test_predict_takes_the_best_and_says_so(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    finish(config, "best", wrong=0, age=9)
    finish(config, "other", wrong=1, metric="log_loss", age=5)
    finish(config, "latest", wrong=2)
    with caplog.at_level("INFO"):
        assert best_run(config).name == "best"
    assert caplog.messages == ["predict: best, out of fold accuracy 1.0000, the best of 3"]
    assert best_run(replace(config, run="latest")).name == "latest"


def test_runs_of_other_data_are_not_compared_with_present_ones(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    finish(config, "older", wrong=0, age=9, table="before")
    finish(config, "old", wrong=1, age=8, table="before")
    with caplog.at_level("INFO"):
        assert best_run(config).name == "old"
    assert caplog.messages == ["predict: old, the latest; no run was trained on the present table and folds"]
    finish(config, "present", wrong=5)
    assert best_run(config).name == "present"


def test_where_nothing_is_prepared_the_best_of_the_latest_data_is_taken(config: Config) -> None:
    finish(config, "older", wrong=0, age=9, table="before")
    finish(config, "best", wrong=1, age=8)
    finish(config, "latest", wrong=2)
    (config.data_dir / "prepared.json").unlink()
    assert best_run(config).name == "best"


def test_an_ensemble_takes_part_if_all_members_that_count_have_networks(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b"):
        finish(config, name, wrong=2)
    identity = {name: {"table": "T", "folds": folds_hash(config)} for name in ("a", "b")}
    blend = {"network": False, "method": "nnls", "identity": identity}
    finish(config, "blend", 1, members=["a", "b"], weights=[0.5, 0.5], **blend)
    assert best_run(config).name == "blend"
    mixed = finish(config, "mixed", 0, members=["a", "oof.csv+test.csv"], weights=[0.5, 0.5], **blend)
    with caplog.at_level("INFO"):
        assert best_run(config).name == "blend"
    said = "predict: passed over the ensemble mixed: its member oof.csv+test.csv has no network here"
    assert said in caplog.messages
    with pytest.raises(UserError, match=r"run=mixed cannot predict other files: its member oof.csv\+test.csv has no"):
        best_run(replace(config, run="mixed"))
    finish(config, "dropped", 0, members=["a", "oof.csv+test.csv"], weights=[1.0, 0.0], **blend)
    assert best_run(config).name == "dropped"
    assert Run(mixed).missing_network() is not None


def test_ranks_say_nothing_of_a_file_alone(config: Config) -> None:
    finish(config, "a", wrong=2)
    finish(config, "ranks", 0, network=False, method="rank_mean", members=["a"], weights=[1.0])
    assert best_run(config).name == "a"


def test_detectors_are_ranked_by_the_segments_that_they_find(config: Config) -> None:
    competition = CompetitionOptions(
        slug="toy", kind="video", form="segments", segment_metric="map_50", background="none"
    )
    detect = replace(config, stage="detect", competition=competition)
    finish(config, "frames", wrong=0, detection={"scores": {"f1_50": 0.9, "map_50": 0.2}})
    finish(config, "segments", wrong=2, detection={"scores": {"f1_50": 0.3, "map_50": 0.6}})
    assert best_run(detect).name == "segments"


@pytest.mark.parametrize(("streams", "taken"), [(["slow"], "slow"), ([], "fast")])
def test_a_stream_asks_for_a_run_that_can_follow_it(config: Config, streams: list[str], taken: str) -> None:
    for name, wrong in (("fast", 0), ("slow", 2)):
        folder = finish(config, name, wrong)
        temporal = {"cell": "lstm", "bidirectional": name not in streams, "shuffled": False}
        write_json(folder / "fold_0/model.json", {"classes": CLASSES, "temporal": temporal})
    assert best_run(config, live=True).name == taken
    assert best_run(config).name == "fast"
