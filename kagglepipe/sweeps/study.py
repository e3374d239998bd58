"""Trials of a sweep, in an Optuna journal that survives a kill at any moment.

`run_trials` asks Optuna for a batch, launches it and records the outcomes until there are enough trials. The journal is
the only state: a trial that was running when a command was killed is launched again with the same values. Optuna's
record of a trial holds its values and state; our user attributes hold the rest (`outcome`, `void`, `again_of`).
"""

import logging
import math
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from kagglepipe.errors import UserError
from kagglepipe.files import write_json
from kagglepipe.sweeps.objectives import Objective
from kagglepipe.sweeps.samplers import distribution, make_sampler
from kagglepipe.sweeps.space import Space, format_params, grid_points, grid_size

log = logging.getLogger(__name__)
FILE = "study.journal"
INCUMBENT = "rival.json"
MAX_REPEATS = 100  # repeated proposals before a sampler has nothing new to propose


@dataclass(frozen=True)
class Plan:
    """One sweep. folder: outputs/<slug>/sweeps/<name>. jobs: trials at a time. The rest: see the options of `sweep`."""

    folder: Path
    space: Space
    objectives: tuple[Objective, ...]
    sampler: str = "tpe"
    seed: int = 0
    trials: int = 20
    jobs: int = 1
    fail_fast: bool = False
    race: bool = True

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.folder.name

    @property
    def races(self) -> bool:
        """Whether trials are pruned fold by fold: needs a single objective that is measured on each fold."""
        return self.race and len(self.objectives) == 1 and self.objectives[0].measure in ("score", "log_loss")


@dataclass(frozen=True)
class Job:
    """A trial to launch. values: option -> override text. incumbent: JSON file with the run to prune against.

    seed: of a finalist; None for the configuration's own.
    """

    number: int
    values: dict[str, str]
    incumbent: Path | None = None
    seed: int | None = None


# Outcome of a job. Finished: run, data, seconds, folds and the measures. Pruned: `raced` (the reason) instead of the
# measures. Failed: only `error`.
Outcome = Mapping[str, Any]
Launch = Callable[[Sequence[Job]], Sequence[Outcome]]


def run_trials(plan: Plan, launch: Launch, *, data: str | None = None) -> optuna.Study:
    """Run trials until the study has `plan.trials`, those of earlier commands included. The caller holds the lock.

    data: hash of the present data, if known beforehand.
    Raises UserError if the data differ from those of earlier trials, and at the first failure with `plan.fail_fast`.
    """
    study = open_study(plan)
    check_same_data(study, plan, data)
    for trial in running_trials(study):  # a kill left them without some values, or half discarded: never launched
        if set(trial.params) != set(plan.space) or trial.user_attrs.get("void"):
            discard(study, trial)
    for failed in counted_trials(study):  # retried once a command: the cause, as a full disk, may be gone
        if failed.state == TrialState.FAIL:
            study.enqueue_trial(failed.params, user_attrs={"again_of": failed.number})
    log_progress(study, plan)
    while batch := next_batch(study, plan):
        incumbent = write_incumbent(study, plan)
        outcomes = launch([Job(trial.number, format_params(plan.space, trial.params), incumbent) for trial in batch])
        for trial, outcome in zip(batch, outcomes, strict=True):
            check_same_data(study, plan, outcome.get("data"))
            record(study, plan, trial, outcome)
            log_trial(study, plan, trial.number)
        if plan.fail_fast and (errors := [one["error"] for one in outcomes if "error" in one]):
            raise UserError(f"a trial has failed: {errors[0]}; sweep.fail_fast=false goes on with the others")
    return study


def open_study(plan: Plan) -> optuna.Study:
    """Load or create the study. Raises UserError for a damaged journal.

    A kill may cut the last line of the journal in half. Optuna would append to that half and could never read the file
    again, so it is cut off first. Optuna's own lock would outlive a killed process, so it gets one of this process; the
    caller's lock of the folder is the kernel's.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    plan.folder.mkdir(parents=True, exist_ok=True)
    path = plan.folder / FILE
    if path.exists() and not (data := path.read_bytes()).endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(data.rfind(b"\n") + 1)
    lock: Any = threading.RLock()
    try:
        storage = JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
    except ValueError as error:  # a line that is no JSON
        raise UserError(
            f"{path} is damaged ({error}): delete it, and the same command begins anew; finished runs are only read"
        ) from error
    if path.stat().st_size:
        return optuna.load_study(study_name=plan.name, storage=storage)
    directions = ["maximize" if one.greater_is_better else "minimize" for one in plan.objectives]
    return optuna.create_study(study_name=plan.name, storage=storage, directions=directions)


# --- the next trials -------------------------------------------------------------------------------------------


def next_batch(study: optuna.Study, plan: Plan) -> list[Trial]:
    """Up to `plan.jobs` trials to launch; empty when all are done or no new point is left.

    Trials that were running when a command was killed come first: under the lock nothing else can be running.
    """
    batch: list[Trial] = running_trials(study)[: plan.jobs]
    while len(batch) < min(plan.jobs, plan.trials - len(counted_trials(study))):
        trial = ask(study, plan)
        if trial is None:
            break
        batch.append(trial)
    return batch


def launched_trials(study: optuna.Study) -> list[FrozenTrial]:
    """All trials but discarded ones."""
    return [trial for trial in study.get_trials(deepcopy=False) if not trial.user_attrs.get("void")]


def counted_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that count: complete, pruned, or failed and not retried since."""
    trials = launched_trials(study)
    retried = {trial.user_attrs.get("again_of") for trial in trials}
    return [trial for trial in trials if trial.state.is_finished() and trial.number not in retried]


def running_trials(study: optuna.Study) -> list[Trial]:
    """Trials that have begun and not ended."""
    found = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [Trial(study, trial._trial_id) for trial in found]  # Optuna has no public way back to an earlier trial


def discard(study: optuna.Study, trial: Trial) -> None:
    """End a trial that is never launched."""
    trial.set_user_attr("void", True)
    study.tell(trial, state=TrialState.FAIL)


def ask(study: optuna.Study, plan: Plan) -> Trial | None:
    """Make a new trial, different from all others; None if there is none.

    Samplers repeat points that they like, which would be the very same run. In a space that can be enumerated, a random
    untried point replaces a repeated one.
    """

    def key(params: Mapping[str, Any]) -> tuple[str, ...]:
        """Equal for two trials that are the same run."""
        return tuple(format_params(plan.space, params).values())

    trials = launched_trials(study)
    tried = {key(trial.params) for trial in trials if trial.state != TrialState.WAITING and trial.params}
    waiting = any(trial.state == TrialState.WAITING for trial in trials)
    every = grid_points(plan.space)
    untried = None if every is None else [point for point in every if key(point) not in tried]
    if untried == [] and not waiting:
        return None
    if plan.sampler == "grid" and untried and not waiting:
        study.enqueue_trial(untried[0])
    for repeat in range(MAX_REPEATS):
        number = len(study.get_trials(deepcopy=False))
        study.sampler = make_sampler(
            plan.sampler, seed=plan.seed, number=number, trials=plan.trials, is_parallel=plan.jobs > 1
        )
        trial = study.ask({name: distribution(one) for name, one in plan.space.items()})
        if waiting or key(trial.params) not in tried:
            return trial
        discard(study, trial)
        if untried:
            study.enqueue_trial(random.Random(plan.seed + number + repeat).choice(untried))
    return None


# --- outcomes --------------------------------------------------------------------------------------------------


def record(study: optuna.Study, plan: Plan, trial: Trial, outcome: Outcome) -> None:
    """Record a trial as complete, pruned or failed.

    The outcome is one attribute and the state is written last: after a kill in between, the next command overwrites it.
    """
    scores = [(one.label, outcome.get(one.measure)) for one in plan.objectives]
    undefined = [label for label, score in scores if score is None or math.isnan(score)]
    if undefined and not outcome.keys() & {"error", "raced"}:
        outcome = {"error": f"{undefined[0]} is not defined"}
    trial.set_user_attr("outcome", dict(outcome))
    if "error" in outcome:
        study.tell(trial, state=TrialState.FAIL)
    elif "raced" in outcome:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, [one.value(outcome) for one in plan.objectives])


def check_same_data(study: optuna.Study, plan: Plan, data: str | None) -> None:
    """Raises UserError if table or folds differ from those of earlier trials."""
    before = study.user_attrs.get("data")
    if data is None or data == before:
        return
    if before is not None:
        raise UserError(
            f"images, labels or folds have changed since sweep {plan.name} began, and its scores cannot be compared: "
            f"delete {plan.folder} to begin anew"
        )
    study.set_user_attr("data", data)


def best_trials(study: optuna.Study, plan: Plan) -> list[FrozenTrial]:
    """Complete trials, best first; with several objectives the Pareto front, ordered by the first objective."""
    several = len(plan.objectives) > 1
    found = study.best_trials if several else study.get_trials(states=(TrialState.COMPLETE,))
    return sorted(found, key=lambda trial: (-plan.objectives[0].sign * trial.values[0], trial.number))


def write_incumbent(study: optuna.Study, plan: Plan) -> Path | None:
    """Write the fold scores of the best run, for training to prune against; None if there is none."""
    if not plan.races or not (best := best_trials(study, plan)):
        return None
    outcome, objective, path = best[0].user_attrs["outcome"], plan.objectives[0], plan.folder / INCUMBENT
    folds = {fold: scores[objective.measure] for fold, scores in outcome["folds"].items()}
    if None in folds.values():  # undefined on some fold
        return None
    facts = {name: getattr(objective, name) for name in ("measure", "greater_is_better", "perfect")}
    write_json(path, {"run": outcome["run"], **facts, "folds": folds, "folds_hash": outcome["folds_hash"]})
    return path


# --- log lines -------------------------------------------------------------------------------------------------


def log_progress(study: optuna.Study, plan: Plan) -> None:
    """Log how many trials are done and how many are retried."""
    done = len(counted_trials(study))
    left = sum(not trial.state.is_finished() for trial in launched_trials(study))
    again = f"; {left} of them again, which failed or were interrupted" if left else ""
    size = grid_size(plan.space)
    possible = "" if math.isinf(size) else f" ({size:.0f} are possible)"
    log.info("sweep: %s; logs of trials are %s/trials/NUMBER/log.txt", plan.name, plan.folder)
    log.info("sweep: %d of %d trials are done%s%s", done, plan.trials, possible, again)


def log_trial(study: optuna.Study, plan: Plan, number: int) -> None:
    """Log one line for a trial that has just ended."""
    trial = study.get_trials(deepcopy=False)[number]
    at = f"{len(counted_trials(study))}/{plan.trials}"
    params = " ".join(f"{name}={text}" for name, text in format_params(plan.space, trial.params).items())
    outcome = trial.user_attrs["outcome"]
    if "error" in outcome:
        log.warning("sweep: %s: trial %d FAILED: %s: %s", at, number, outcome["error"], params)
        return
    if "raced" in outcome:
        folds = "a fold" if len(outcome["folds"]) == 1 else f"{len(outcome['folds'])} folds"
        result = f"stopped after {folds}: {outcome['raced']}"
    else:
        values = ", ".join(f"{one.label} {one.value(outcome):z.4f}" for one in plan.objectives)
        best = best_trials(study, plan)
        if len(plan.objectives) > 1:
            beside = f" (one of {len(best)} on the Pareto front)" if number in [one.number for one in best] else ""
        else:
            first = best[0]
            most = f"best {first.values[0]:z.4f}, trial {first.number}"
            beside = " (the best)" if first.number == number else f" ({most})"
        result = values + beside
    log.info("sweep: %s: trial %d: %s: %s", at, number, result, params)
