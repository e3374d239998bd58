"""Table of a sweep, importance of its options, and its finalists, on a cheap objective."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from kagglepipe.sweeps.finals import run_finals
from kagglepipe.sweeps.objectives import make_objective
from kagglepipe.sweeps.report import importances, trial_rows, write_table
from kagglepipe.sweeps.space import Choice, Span
from kagglepipe.sweeps.study import Job, Outcome, Plan, run_trials

SPACE = {"x": Span(0.0, 1.0), "idle": Choice(("a", "b", "c"))}


def plan_in(folder: Path, trials: int = 16) -> Plan:
    """A sweep whose score is x."""
    objectives = (make_objective("score", "accuracy"),)
    return Plan(folder / "one", SPACE, objectives, sampler="random", trials=trials, race=False)


def score_x(jobs: Sequence[Job]) -> list[Outcome]:
    """The score is x, and a little less with each seed; trial 3 fails, trial 4 is pruned."""
    outcomes: list[Outcome] = []
    for job in jobs:
        score = float(job.values["x"]) - 0.001 * (job.seed or 0)
        usual = {"run": f"r{job.number}", "data": "d", "folds": {"0": {}}, "score": score}
        special = {3: {"error": "no luck"}, 4: {**usual, "raced": "far behind"}}
        outcomes.append(special.get(job.number, usual) if job.seed is None else usual)
    return outcomes


def test_the_table_has_the_best_first_and_says_why_others_have_no_score(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    table = trial_rows(run_trials(plan, score_x), plan)
    assert [row["state"] for row in table] == ["complete"] * 14 + ["stopped", "failed"]
    scores = [row["accuracy"] for row in table[:14]]
    assert scores == sorted(scores, reverse=True)
    left = [(row["trial"], row["accuracy"], row["why"]) for row in table[14:]]
    assert left == [(4, None, "far behind"), (3, None, "no luck")]
    write_table(tmp_path / "trials.csv", table)
    with (tmp_path / "trials.csv").open(encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert read == [{name: "" if value is None else str(value) for name, value in row.items()} for row in table]
    assert list(read[0]) == ["trial", "state", "accuracy", "folds", "x", "idle", "run", "why"]


def test_importance_belongs_to_the_option_that_decides_and_needs_enough_trials(tmp_path: Path) -> None:
    shares = importances(run_trials(plan_in(tmp_path, 30), score_x))
    assert list(shares) == ["x", "idle"]
    assert shares["x"] > 0.9
    assert sum(shares.values()) == pytest.approx(1)
    assert importances(run_trials(plan_in(tmp_path / "few", 7), score_x)) == {}


def test_finalists_have_every_seed_once_and_the_best_mean_wins(tmp_path: Path) -> None:
    plan, seen = plan_in(tmp_path), list[Job]()
    study = run_trials(plan, score_x)

    def launch(jobs: Sequence[Job]) -> list[Outcome]:
        seen.extend(jobs)
        return score_x(jobs)

    found = run_finals(study, plan, finalists=2, seeds=3, launch=launch)
    table = trial_rows(study, plan)
    assert [(job.number, job.seed) for job in seen] == [(row["trial"], seed) for row in table[:2] for seed in (1, 2)]
    assert [one.trial.number for one in found] == [row["trial"] for row in table[:2]]
    assert found[0].mean == pytest.approx(table[0]["accuracy"] - 0.0015, abs=1e-4)
    assert found[0].deviation == pytest.approx(0.001 / math.sqrt(2), abs=1e-4)
    run_finals(study, plan, finalists=2, seeds=3, launch=launch)
    assert len(seen) == 4
    run_finals(study, plan, finalists=2, seeds=4, launch=launch)
    assert [job.seed for job in seen[4:]] == [3, 3]


def test_a_finalist_that_was_lucky_loses_and_one_that_fails_is_none(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, 3)
    own, other = [0.5, 0.6, 0.7], [0.55, None, 0.1]

    def launch(jobs: Sequence[Job]) -> list[Outcome]:
        scores = [(own if job.seed is None else other)[job.number] for job in jobs]
        return [{"error": "x"} if score is None else {"run": "r", "data": "d", "score": score} for score in scores]

    found = run_finals(run_trials(plan, launch), plan, finalists=3, seeds=2, launch=launch)
    assert [(one.trial.number, one.scores) for one in found] == [(0, (0.55,)), (2, (0.1,))]
