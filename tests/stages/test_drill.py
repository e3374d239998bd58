"""A part of the labels is hidden from everything but the grades, whole groups and every class; and what is told."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagglepipe.competitions.contract import Competition
from kagglepipe.competitions.folds import hidden_part
from kagglepipe.config import Config, Drill, Ensemble
from kagglepipe.errors import UserError
from kagglepipe.files import read_json, write_json, write_parquet
from kagglepipe.predictions.frame import test_frame
from kagglepipe.stages import walk
from kagglepipe.stages.drill import with_part_hidden
from kagglepipe.stages.places import finished_runs, read_prepared
from kagglepipe.stages.scores import hidden_answers
from tests.colours import colours_config

pytestmark = pytest.mark.usefixtures("one_thread", "few_draws")
Drilled = Callable[..., list[str]]


@pytest.fixture
def config(tmp_path: Path, colours: Path) -> Config:
    """A quarter of 36 labelled images is hidden."""
    return colours_config(tmp_path, colours, stage="drill", drill=Drill(share=0.25, draws=200))


@pytest.fixture
def drilled(caplog: pytest.LogCaptureFixture) -> Drilled:
    """drilled(config) -> what stage=drill says."""

    def run(config: Config) -> list[str]:
        caplog.clear()
        with caplog.at_level("INFO"):
            walk(config)
        return [record.getMessage() for record in caplog.records if record.name == "kagglepipe.stages.drill"]

    return run


def add_run(config: Config, name: str, wrong: set[str], score: float | None = 0.5, metric: str = "accuracy") -> None:
    """A run that answers the hidden rows rightly, but for some."""
    prepared, answers = read_prepared(config), hidden_answers(config)
    ids = prepared.test["id"].tolist()
    given = [(prepared.classes.index(answers[id]) + (id in wrong)) % 3 for id in ids]
    folder = config.runs_dir / name
    write_parquet(folder / "test.parquet", test_frame(ids, np.eye(3)[given] * 0.7 + 0.1, prepared.classes))
    write_json(folder / "metrics.json", {"run": name, "metric": metric, "score": score, "identity": {"name": name}})


# --- what is hidden -----------------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(0, 1), min_size=40, max_size=80),
    st.sampled_from([0.1, 0.2, 0.25, 1 / 3, 0.5, 0.7]),
    st.integers(0, 3),
)
def test_a_share_of_every_class_is_hidden_and_no_group_is_torn(targets: list[int], share: float, seed: int) -> None:
    targets = [0, 1] * 20 + targets
    ids, groups = [f"{n:03}" for n in range(len(targets))], [n // 2 if n < 20 else n for n in range(len(targets))]
    hidden = hidden_part(ids, targets, groups, share=share, seed=seed)
    for target in (0, 1):
        of_class = [id for id, own in zip(ids, targets, strict=True) if own == target]
        assert abs(len(hidden & set(of_class)) - share * len(of_class)) <= 3
    parts = pd.Series([id in hidden for id in ids]).groupby(groups).nunique()
    assert (parts == 1).all()
    assert hidden == hidden_part(ids[::-1], targets[::-1], groups[::-1], share=share, seed=seed)


def test_what_is_hidden_is_a_test_whose_answers_no_run_is_told(config: Config) -> None:
    hidden = with_part_hidden(config)
    walk(hidden)
    prepared, answers = read_prepared(hidden), hidden_answers(hidden)
    assert hidden.slug == "colours-25-percent-hidden-seed-0"
    assert (len(prepared.train), len(prepared.test)) == (27, 9)
    assert prepared.test["target"].isna().all()
    assert sorted(answers.value_counts()) == [3, 3, 3]
    assert set(answers.index) == set(prepared.test["id"])
    (run,) = finished_runs(hidden)
    assert "test" not in read_json(run / "metrics.json")
    other = replace(hidden, competition=replace(hidden.competition, hidden_seed=1))
    walk(replace(other, stage="prepare"))
    assert set(hidden_answers(other).index) != set(answers.index)


def test_the_seed_of_a_run_hides_the_same_rows(config: Config) -> None:
    assert with_part_hidden(replace(config, seed=5)).slug == with_part_hidden(config).slug


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"hidden": 0.99}, r"competition\.hidden=0\.99 must be a share"),
        ({"hidden": 0.2, "per_class": 3}, "hidden and competition.per_class cannot be combined"),
        ({"hidden": 0.2, "hidden_seed": -1}, "hidden_seed=-1"),
        (
            {"hidden": 0.2, "form": "segments", "kind": "video", "background": "x"},
            "hidden and competition.form=segments",
        ),
    ],
)
def test_what_cannot_be_hidden(values: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Competition(**values)


@pytest.mark.parametrize(
    "values", [{"share": 0}, {"share": 1.0}, {"public": 0.95}, {"seed": -1}, {"teams": 0}, {"draws": 0}]
)
def test_what_cannot_be_drilled(values: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"drill.{next(iter(values))}="):
        Drill(**values)


def test_what_is_hidden_is_not_sent_to_kaggle(config: Config) -> None:
    hidden = with_part_hidden(config)
    hidden.submit.upload = True
    with pytest.raises(UserError, match=r"competition\.hidden classifies training images"):
        walk(replace(hidden, stage="submit"))


# --- grades -------------------------------------------------------------------------------------------------------


def test_every_run_is_graded_by_both_halves(config: Config, drilled: Drilled) -> None:
    hidden = with_part_hidden(config)
    walk(replace(hidden, stage="prepare"))
    ids = sorted(hidden_answers(hidden).index)
    for name, wrong in {"all": set(), "most": set(ids[:2]), "none": set(ids)}.items():
        add_run(hidden, name, wrong)
    add_run(hidden, "loss", set(), metric="log_loss")
    add_run(hidden, "unscored", set(), score=None)
    lines = drilled(config)
    table = read_json(hidden.runs_dir / "drill.json")
    by_name = {each["run"]: each for each in table["runs"]}
    assert (by_name["all"]["public"], by_name["all"]["private"], by_name["all"]["private_rank"]) == (1, 1, 1)
    assert (by_name["none"]["public"], by_name["none"]["private"]) == (0, 0)
    assert table["rows"] == 9
    assert len(by_name) == 4  # and the one that was trained
    halves = [pd.Series([each[half] for each in table["runs"]]) for half in ("public", "private")]
    for half, ranks in zip(halves, ("public_rank", "private_rank"), strict=True):
        assert half.rank(ascending=False, method="min").tolist() == [each[ranks] for each in table["runs"]]
    assert sum("is left out" in line for line in lines) == 2
    assert any(line.startswith("drill: 9 hidden rows; by the public half one would choose") for line in lines)
    assert lines[-1] == "drill: medals of 4 teams: gold to rank 1, silver to 1, bronze to 1"
    assert by_name["all"]["medal"] == "gold"


def test_a_run_that_is_better_everywhere_is_always_chosen(config: Config, drilled: Drilled) -> None:
    hidden = with_part_hidden(config)
    drilled(config)
    add_run(hidden, "bad", set(hidden_answers(hidden).index))
    drilled(config)
    table = read_json(hidden.runs_dir / "drill.json")
    assert (table["by_public"]["wrong"], table["by_public"]["lost"]) == (0, 0)
    assert [each["private_ranks_by_chance"] for each in table["runs"]] == [[1, 1], [2, 2]]


def test_a_run_that_was_scored_in_another_metric_is_scored_anew(config: Config, drilled: Drilled) -> None:
    hidden = with_part_hidden(config)
    walk(hidden)
    by_loss = replace(config, seed=1, competition=replace(config.competition, metric="log_loss"))
    drilled(by_loss)
    table = {each["run"]: each["out_of_fold"] for each in read_json(hidden.runs_dir / "drill.json")["runs"]}
    kept = {folder.name: read_json(folder / "metrics.json") for folder in finished_runs(hidden)}
    assert sorted(each["metric"] for each in kept.values()) == ["accuracy", "log_loss"]
    assert table == {name: pytest.approx(each["log_loss"]) for name, each in kept.items()}


@pytest.mark.parametrize("stage", ["drill", "reproduce"])
def test_several_processes_are_sent_away(config: Config, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UserError, match="leave torchrun away"):
        walk(replace(config, stage=stage))


def test_one_run_is_graded_and_has_no_medal(config: Config, drilled: Drilled) -> None:
    lines = drilled(config)
    assert "one run has no order: add others with 'drill.runs=[RUN,RUN]'" in lines[-1]
    (graded,) = read_json(with_part_hidden(config).runs_dir / "drill.json")["runs"]
    assert graded["medal"] is None
    assert drilled(config)[1:] == lines[1:]  # nothing is trained twice


def test_runs_are_trained_anew_with_their_own_configurations(config: Config, drilled: Drilled) -> None:
    usual = replace(config, stage="train", drill=Drill())
    walk(usual)
    walk(replace(usual, seed=1))
    names = sorted(folder.name for folder in finished_runs(usual))
    walk(replace(usual, stage="ensemble", ensemble=Ensemble(names)))
    before = {path: path.read_bytes() for path in usual.runs_dir.rglob("*") if path.is_file()}
    lines = drilled(replace(config, drill=replace(config.drill, runs=["ensemble-*", names[0]], teams=2000)))
    hidden = with_part_hidden(config)
    identities = [read_json(folder / "metrics.json") for folder in finished_runs(hidden)]
    assert sorted(each["identity"]["seed"] for each in identities if "members" not in each) == [0, 1]
    (blended,) = (each for each in identities if "members" in each)
    assert sorted(blended["members"]) == sorted(each["run"] for each in identities if "members" not in each)
    assert sum("is called" in line for line in lines) == 2
    assert lines[-1].startswith("drill: medals of 2000 teams, if theirs are spread as these runs are: gold to rank 14")
    assert {path: path.read_bytes() for path in usual.runs_dir.rglob("*") if path.is_file()} == before


def test_runs_that_are_not_there_are_named(config: Config) -> None:
    with pytest.raises(UserError, match=r"drill\.runs=x\* is no finished run in .*; there are: none"):
        walk(replace(config, drill=replace(config.drill, runs=["x*"])))
    with pytest.raises(UserError, match=r"a drill trains: type 'drill\.runs=\[one\]'"):
        walk(replace(config, run="one"))


def test_too_few_rows_for_two_halves(config: Config) -> None:
    with pytest.raises(UserError, match=r"9 hidden rows are too few for two halves: type a larger drill\.share"):
        walk(replace(config, drill=replace(config.drill, public=0.1)))
