"""Sweeps of a cheap objective: nothing is lost, repeated or mixed up, whenever they are killed."""

import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.storages.journal import JournalFileBackend

from kagglepipe.errors import UserError
from kagglepipe.files import read_json
from kagglepipe.runs.trial import Incumbent
from kagglepipe.sweeps.objectives import make_objective
from kagglepipe.sweeps.report import trial_rows
from kagglepipe.sweeps.samplers import check_sampler
from kagglepipe.sweeps.space import Choice, Space, Span
from kagglepipe.sweeps.study import Job, Outcome, Plan, best_trials, counted_trials, run_trials

SPACE: Space = {"x": Span(-1.0, 1.0), "y": Span(-1.0, 1.0), "kind": Choice(("flat", "steep"))}
SMALL: Space = {"a": Choice(("0", "1", "2")), "b": Span(0, 3, whole=True)}


class Killed(BaseException):
    """What a SIGKILL does to the process, as far as the files know."""


def plan_in(folder: Path, **options: Any) -> Plan:
    """A sweep in a folder."""
    usual: dict[str, Any] = {"space": SPACE, "objectives": (make_objective("score", "accuracy"),), "trials": 8}
    return Plan(folder=folder / "sweeps/one", **{**usual, **options})


def outcome(score: float, **more: Any) -> Outcome:
    """What a trial with this score on each of two folds tells."""
    folds = {fold: {"score": score, "log_loss": 1 - score} for fold in ("0", "1")}
    usual = {"run": "r", "data": "d", "folds_hash": "f", "folds": folds, "score": score, "log_loss": 1 - score}
    return {**usual, "seconds": 1.0, **more}


def bowl(job: Job) -> Outcome:
    """A score that is best in the middle."""
    x, y = float(job.values.get("x", 0)), float(job.values.get("y", 0))
    return outcome(1 - (x - 0.3) ** 2 / 4 - (y + 0.2) ** 2 / 4, run=f"run-{job.number}")


def launcher(seen: list[Job], objective: Callable[[Job], Outcome] = bowl, kill: int | None = None) -> Any:
    """A launcher that keeps the jobs it gets, and is killed when it gets number `kill` of them."""

    def launch(jobs: Sequence[Job]) -> list[Outcome]:
        seen.extend(jobs)
        if kill is not None and len(seen) >= kill:
            raise Killed
        return [objective(job) for job in jobs]

    return launch


def values(study: Any) -> list[tuple[Any, ...]]:
    """The values of every trial that counts, by number."""
    return [tuple(sorted(trial.params.items())) for trial in counted_trials(study)]


# --- to the end ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sampler", "jobs"), [("tpe", 1), ("tpe", 3), ("cmaes", 3), ("random", 1)])
def test_it_ends_with_as_many_different_trials_as_asked_for(sampler: str, jobs: int, tmp_path: Path) -> None:
    seen: list[Job] = []
    plan = plan_in(tmp_path, sampler=sampler, jobs=jobs)
    study = run_trials(plan, launcher(seen))
    assert [trial.state.name for trial in counted_trials(study)] == ["COMPLETE"] * 8
    assert len({tuple(job.values.items()) for job in seen}) == 8
    best = best_trials(study, plan)[0]
    assert best.values[0] == max(trial.values[0] for trial in counted_trials(study))


def test_tpe_finds_a_better_one_than_its_first_ten(tmp_path: Path) -> None:
    study = run_trials(plan_in(tmp_path, trials=40), launcher([]))
    scores = [trial.values[0] for trial in counted_trials(study)]
    assert max(scores[10:]) > max(scores[:10])
    assert max(scores) > 0.98


def test_a_grid_is_every_point_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Job] = []
    with caplog.at_level("INFO"):
        run_trials(plan_in(tmp_path, space=SMALL, sampler="grid", trials=100), launcher(seen))
    assert "sweep: 0 of 100 trials are done (12 are possible)" in caplog.messages
    assert [(job.values["a"], job.values["b"]) for job in seen] == list(itertools.product("012", "0123"))


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_small_space_is_tried_out_without_repeats(sampler: str, tmp_path: Path) -> None:
    seen: list[Job] = []
    study = run_trials(plan_in(tmp_path, space=SMALL, sampler=sampler, trials=100, jobs=5), launcher(seen))
    assert sorted((job.values["a"], job.values["b"]) for job in seen) == list(itertools.product("012", "0123"))
    assert len(counted_trials(study)) == 12


def test_several_goals_have_a_front(tmp_path: Path) -> None:
    objectives = (make_objective("score", "accuracy"), make_objective("latency", "accuracy"))

    def trade(job: Job) -> Outcome:
        x = float(job.values["x"])
        return outcome(x, latency=x**2 + float(job.values["y"]) ** 2)

    plan = plan_in(tmp_path, objectives=objectives, sampler="nsga2", trials=24, jobs=4)
    study = run_trials(plan, launcher([], trade))
    front, every = best_trials(study, plan), [trial.values for trial in counted_trials(study)]
    assert len(every) == 24
    assert 1 < len(front) < 24
    for trial in front:
        score, latency = trial.values
        assert not any(s >= score and t <= latency and (s, t) != (score, latency) for s, t in every)
    assert [trial.values[0] for trial in front] == sorted((trial.values[0] for trial in front), reverse=True)


@pytest.mark.parametrize(("metric", "greater"), [("accuracy", True), ("log_loss", False)])
def test_the_best_is_what_the_metric_calls_better(metric: str, greater: bool, tmp_path: Path) -> None:
    plan = plan_in(tmp_path, objectives=(make_objective("score", metric),), space=SMALL, sampler="grid", trials=3)
    study = run_trials(plan, launcher([], lambda job: outcome(float(job.values["b"]) / 4)))
    assert best_trials(study, plan)[0].values == [0.5 if greater else 0.0]
    assert study.best_trial.values == [0.5 if greater else 0.0]


# --- killed ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sampler", "jobs"), [("tpe", 1), ("tpe", 2), ("cmaes", 1), ("grid", 2), ("random", 1)])
def test_a_killed_sweep_goes_on_as_if_nothing_had_been(sampler: str, jobs: int, tmp_path: Path) -> None:
    space = SMALL if sampler == "grid" else SPACE
    undisturbed: list[Job] = []
    run_trials(plan_in(tmp_path / "a", space=space, sampler=sampler, jobs=jobs), launcher(undisturbed))
    plan = plan_in(tmp_path / "b", space=space, sampler=sampler, jobs=jobs)
    launched: list[Job] = []
    for kill in (1, 3, 2):
        seen: list[Job] = []
        with pytest.raises(Killed):
            run_trials(plan, launcher(seen, kill=kill))
        launched += seen
    study = run_trials(plan, launcher(launched))
    ran, would = ({(job.number, *job.values.items()) for job in jobs} for jobs in (launched, undisturbed))
    assert ran == would
    assert len(counted_trials(study)) == len(set(values(study))) == 8


def dying(monkeypatch: pytest.MonkeyPatch, kill: int, share: float) -> list[str]:
    """Lets the process die in the middle of line number `kill` of the journal, when so much of it is written."""
    lines: list[str] = []

    def append(self: Any, logs: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(one) + "\n" for one in logs)
        lines.append(text)
        dies = len(lines) == kill
        with Path(self._file_path).open("a") as file:
            file.write(text[: int(share * len(text))] if dies else text)
        if dies:
            raise Killed

    monkeypatch.setattr(JournalFileBackend, "append_logs", append)
    return lines


@pytest.mark.parametrize(("sampler", "share"), [("tpe", 0.5), ("tpe", 1.0), ("grid", 0.0)])
def test_a_kill_in_the_middle_of_any_write_loses_nothing(
    sampler: str, share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = SMALL if sampler == "grid" else SPACE
    with monkeypatch.context() as patch:
        lines = dying(patch, 0, 0)
        run_trials(plan_in(tmp_path / "all", space=space, sampler=sampler, trials=3), launcher([]))
    assert len(lines) > 15
    for kill in range(1, len(lines) + 1):
        plan = plan_in(tmp_path / str(kill), space=space, sampler=sampler, trials=3)
        with monkeypatch.context() as patch:
            dying(patch, kill, share)
            with pytest.raises(Killed):
                run_trials(plan, launcher([]))
        study = run_trials(plan, launcher([]))
        assert len(counted_trials(study)) == len(set(values(study))) == 3
        assert {trial.state.name for trial in counted_trials(study)} == {"COMPLETE"}


def no_luck(job: Job) -> Outcome:
    """Fails, whatever it is."""
    return {"error": "the disk is full"}


def far_behind(job: Job) -> Outcome:
    """Is stopped by its rival, whatever it is."""
    return {**bowl(job), "raced": "far behind"}


TOLD = {no_luck: ("failed", "the disk is full"), far_behind: ("stopped", "far behind"), bowl: ("complete", None)}


@pytest.mark.slow
@pytest.mark.parametrize("before", TOLD)
@pytest.mark.parametrize("after", TOLD)
def test_whatever_is_told_of_a_trial_is_what_came_of_it_last(
    before: Callable[[Job], Outcome], after: Callable[[Job], Outcome], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """A command is killed at each of its writes, beside failures of an earlier one; the next gets another outcome."""

    def begin(folder: Path) -> Plan:
        plan = plan_in(folder, space=SMALL, sampler="grid", trials=3)
        run_trials(replace(plan, trials=1), launcher([], no_luck))
        return plan

    with monkeypatch.context() as patch:
        plan = begin(tmp_path / "all")
        lines = dying(patch, 0, 0)
        run_trials(plan, launcher([], before))
    for kill in range(1, len(lines) + 1):
        plan = begin(tmp_path / str(kill))
        with monkeypatch.context() as patch:
            dying(patch, kill, 1.0)
            with pytest.raises(Killed):
                run_trials(plan, launcher([], before))
        caplog.clear()
        seen: list[Job] = []
        with caplog.at_level("INFO"):
            table = trial_rows(run_trials(plan, launcher(seen, after)), plan)
        assert len(table) == 3
        now = {job.number for job in seen}
        for row in table:
            assert (row["state"], row["why"]) == TOLD[after if row["trial"] in now else before]
            assert (row["run"] is None) == (row["state"] == "failed")
        told = [record.message for record in caplog.records if ": trial " in record.message]
        assert ["FAILED" in line for line in told] == [after is no_luck] * len(now)
        assert before is not no_luck or after is no_luck or {row["state"] for row in table} == {TOLD[after][0]}


@pytest.mark.parametrize("garbage", [b"garbage\n", b'{"op_code": 1\n', b"\xff\xfe\n"])
def test_a_journal_that_is_damaged_is_said_to_be(garbage: bytes, tmp_path: Path) -> None:
    plan = plan_in(tmp_path, trials=1)
    run_trials(plan, launcher([]))
    path = plan.folder / "study.journal"
    first, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(first + b"\n" + garbage + rest)
    with pytest.raises(UserError, match=r"study\.journal is damaged \(.*\): delete it, and the same command begins"):
        run_trials(plan, launcher([]))


@pytest.mark.parametrize("name", ["a b", "ä?#%", "it's", "x=1&y"])
def test_more_trials_can_be_asked_for_later_in_a_folder_of_any_name(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Job] = []
    with caplog.at_level("INFO"):
        for trials in (3, 3, 5):
            run_trials(plan_in(tmp_path / name, trials=trials), launcher(seen))
    assert [job.number for job in seen] == [0, 1, 2, 3, 4]
    told = [message for message in caplog.messages if "trials are done" in message]
    assert told == [f"sweep: {n} of {all} trials are done" for n, all in ((0, 3), (3, 3), (3, 5))]
    assert (tmp_path / name / "sweeps/one/study.journal").is_file()


# --- failures --------------------------------------------------------------------------------------------------


def failing(job: Job) -> Outcome:
    """Fails for one of the kinds."""
    return {"error": "no luck"} if job.values["b"] == "1" else bowl(job)


def test_failed_trials_are_logged_and_tried_once_more_by_each_command(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan, seen = plan_in(tmp_path, space=SMALL, sampler="grid", trials=6), list[Job]()
    with caplog.at_level("INFO"):
        study = run_trials(plan, launcher([], failing))
    assert [trial.state.name for trial in counted_trials(study)] == ["COMPLETE", "FAIL", *["COMPLETE"] * 3, "FAIL"]
    assert counted_trials(study)[1].user_attrs["outcome"] == {"error": "no luck"}
    lines = [record.message for record in caplog.records if "FAILED" in record.message]
    assert lines == [f"sweep: {trial}/6: trial {trial - 1} FAILED: no luck: a={a} b=1" for trial, a in ((2, 0), (6, 1))]
    study = run_trials(plan, launcher(seen, failing))
    assert [tuple(job.values.values()) for job in seen] == [("0", "1"), ("1", "1")]
    assert len(counted_trials(study)) == 6
    study = run_trials(plan, launcher(seen, bowl))
    assert len(seen) == 4
    assert len(values(study)) == len(set(values(study))) == 6
    assert {trial.state.name for trial in counted_trials(study)} == {"COMPLETE"}


def test_fail_fast_stops_and_the_next_command_goes_on(tmp_path: Path) -> None:
    seen: list[Job] = []
    plan = plan_in(tmp_path, space=SMALL, sampler="grid", trials=6, fail_fast=True)
    with pytest.raises(UserError, match=r"a trial has failed: no luck; sweep\.fail_fast=false goes on"):
        run_trials(plan, launcher(seen, failing))
    assert len(seen) == 2
    assert len(counted_trials(run_trials(replace(plan, fail_fast=False), launcher(seen, bowl)))) == 6


@pytest.mark.parametrize("score", [None, math.nan])
def test_a_score_that_is_no_number_is_a_failure(score: float | None, tmp_path: Path) -> None:
    study = run_trials(plan_in(tmp_path, trials=1), launcher([], lambda _: {**outcome(0.5), "score": score}))
    assert counted_trials(study)[0].user_attrs["outcome"] == {"error": "accuracy is not defined"}


def test_other_data_are_another_sweep_even_when_all_trials_are_done(tmp_path: Path) -> None:
    run_trials(plan_in(tmp_path, trials=1), launcher([]), data="d")
    run_trials(plan_in(tmp_path, trials=1), launcher([]), data="d")
    with pytest.raises(UserError, match="have changed since sweep one began"):
        run_trials(plan_in(tmp_path, trials=1), launcher([]), data="other")
    with pytest.raises(UserError, match="have changed since sweep one began"):
        run_trials(plan_in(tmp_path, trials=2), launcher([], lambda job: {**bowl(job), "data": "other"}))


# --- racing ----------------------------------------------------------------------------------------------------


def test_every_trial_races_against_the_best_of_those_before(tmp_path: Path) -> None:
    incumbents: list[Incumbent | None] = []

    def objective(job: Job) -> Outcome:
        incumbents.append(job.incumbent and Incumbent.of(read_json(job.incumbent)))
        return outcome((0.5, 0.7, 0.6, 0.8)[job.number], run=f"run-{job.number}")

    run_trials(plan_in(tmp_path, trials=4), launcher([], objective))
    assert [one and (one.run, one.folds) for one in incumbents] == [
        None, ("run-0", {0: 0.5, 1: 0.5}), ("run-1", {0: 0.7, 1: 0.7}), ("run-1", {0: 0.7, 1: 0.7}),
    ]  # fmt: skip
    assert incumbents[1] == Incumbent("run-0", "score", True, 1.0, {0: 0.5, 1: 0.5}, "f")


@pytest.mark.parametrize("options", [{"race": False}, {"objectives": (make_objective("seconds", "accuracy"),)}])
def test_there_is_no_race_without_a_measure_of_folds_or_the_wish(options: dict[str, Any], tmp_path: Path) -> None:
    seen: list[Job] = []
    run_trials(plan_in(tmp_path, trials=3, **options), launcher(seen))
    assert [job.incumbent for job in seen] == [None] * 3


def test_a_trial_that_its_rival_has_stopped_is_pruned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def objective(job: Job) -> Outcome:
        if job.number == 0:
            return outcome(0.9)
        found = {**outcome(0.1), "folds": {"0": {"score": 0.1, "log_loss": 0.9}}, "raced": "it is far behind"}
        return {name: value for name, value in found.items() if name not in ("score", "log_loss")}

    with caplog.at_level("INFO"):
        study = run_trials(plan_in(tmp_path, trials=2), launcher([], objective))
    assert [trial.state.name for trial in counted_trials(study)] == ["COMPLETE", "PRUNED"]
    assert "trial 1: stopped after a fold: it is far behind: x=" in caplog.text


# --- what makes no sense ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sampler", "space", "words"),
    [
        ("tpe", {}, "there is nothing to try: give options several values"),
        ("grid", SPACE, "x has no end of values"),
        ("grid", {"n": Span(1, 10**6, whole=True)}, "1000000 points are too many"),
        ("cmaes", {"x": Span(0, 1), "k": Choice(("a", "b"))}, "needs two or more numbers"),
    ],
)
def test_a_sampler_says_what_it_cannot_do(sampler: str, space: Space, words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_sampler(sampler, space)
