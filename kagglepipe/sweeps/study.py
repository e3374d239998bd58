"""The trials of a sweep: which come next, and how those went, in a journal that survives any kill.

`run_trials` asks Optuna for a batch, has it launched, and records what came of it, until there are enough. Nothing else
is remembered, so that the same command goes on wherever the last one was ended: a trial that was under way is found
as running, and is launched again with the same values. Optuna's own row of a trial holds its values and its state, our
attributes of it hold the rest (`outcome`, `void`, `again_of`).
"""

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kagglepipe.errors import UserError
from kagglepipe.files import write_json
from kagglepipe.sweeps.goals import Goal
from kagglepipe.sweeps.space import Space, points, size, typed

if TYPE_CHECKING:
    import optuna
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial, Trial

log = logging.getLogger(__name__)
SAMPLERS = ("tpe", "cmaes", "grid", "random", "nsga2")
FILE = "study.journal"
RIVAL = "rival.json"


@dataclass(frozen=True)
class Plan:
    """One sweep. folder: outputs/<slug>/sweeps/<name>. jobs: trials at a time. See config.Sweep for the rest."""

    folder: Path
    space: Space
    goals: tuple[Goal, ...]
    sampler: str = "tpe"
    seed: int = 0
    trials: int = 20
    jobs: int = 1
    fail_fast: bool = False
    race: bool = True

    @property
    def name(self) -> str:
        """The study's name."""
        return self.folder.name

    @property
    def races(self) -> bool:
        """Whether trials are held against the best fold by fold: there must be one measure that folds have."""
        return self.race and len(self.goals) == 1 and self.goals[0].measure in ("score", "log_loss")


@dataclass(frozen=True)
class Job:
    """A trial to be launched: its number and, for each option, what stands behind the `=`.

    rival: what training is held against, if anything. seed: another one than the configuration's, for a finalist.
    """

    number: int
    values: dict[str, str]
    rival: Path | None = None
    seed: int | None = None


# What a job came to. Of a trial that is done: run, data, seconds, folds and the measures; of one that was stopped by
# its rival `raced` in place of the measures; of one that failed nothing but `error`.
Outcome = Mapping[str, Any]
Launch = Callable[[Sequence[Job]], Sequence[Outcome]]


def run_trials(plan: Plan, launch: Launch, *, data: str | None = None) -> "optuna.Study":
    """The study, once `plan.trials` have been tried, by this command and those before it.

    data: a hash of the present ones, where it is known beforehand. Whoever calls it holds the lock of the folder.
    Raises UserError for the first failure where `plan.fail_fast`, and for data that are others than those of the trials
    before.
    """
    study = open_study(plan)
    demand_same_data(study, plan, data)
    make_void_what_was_torn(study, plan)
    queue_failed_again(study)
    tell_standing(study, plan)
    while batch := next_batch(study, plan):
        rival = write_rival(study, plan)
        outcomes = launch([Job(trial.number, typed(plan.space, trial.params), rival) for trial in batch])
        for trial, outcome in zip(batch, outcomes, strict=True):
            demand_same_data(study, plan, outcome.get("data"))
            record(study, plan, trial, outcome)
            tell_trial(study, plan, trial.number)
        if plan.fail_fast and (failed := [one for one in outcomes if "error" in one]):
            raise UserError(f"a trial has failed: {failed[0]['error']}; sweep.fail_fast=false goes on with the others")
    return study


# --- the file --------------------------------------------------------------------------------------------------


def open_study(plan: Plan) -> "optuna.Study":
    """The study, which is made where it is not there. Raises UserError for a journal that cannot be read.

    A journal, one JSON a line: a kill may cut off the last line, which is then as if it had never been written. Optuna
    would write on behind the half of it, and then read nothing any more; so it is taken away first. The lock of
    Optuna's own stays behind when a process is killed, and is waited for; ours is the kernel's, and held by the caller.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    plan.folder.mkdir(parents=True, exist_ok=True)
    path = plan.folder / FILE
    cut_torn_line(path)
    lock: Any = HeldAlready()
    try:
        storage = JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
    except ValueError as error:  # a line that is no JSON
        raise UserError(
            f"{path} is damaged ({error}): delete it, and the same command begins anew; finished runs are only read"
        ) from error
    if path.stat().st_size:
        return optuna.load_study(study_name=plan.name, storage=storage)
    directions = ["maximize" if goal.greater_is_better else "minimize" for goal in plan.goals]
    return optuna.create_study(study_name=plan.name, storage=storage, directions=directions)


class HeldAlready:
    """What Optuna takes for the journal's lock; the folder's is held."""

    def acquire(self) -> bool:
        """At once."""
        return True

    def release(self) -> None:
        """Nothing is to be given back."""


def cut_torn_line(path: Path) -> None:
    """Takes away what stands behind the last end of a line."""
    if not path.exists() or (data := path.read_bytes()).endswith(b"\n"):
        return
    with path.open("r+b") as file:
        file.truncate(data.rfind(b"\n") + 1)


# --- what comes next -------------------------------------------------------------------------------------------


def next_batch(study: "optuna.Study", plan: Plan) -> "list[Trial]":
    """The trials to launch now, `plan.jobs` of them at most; none when all are done, or nothing is left to try.

    Those that were under way when a command was killed come first: while one command holds the lock, nothing else runs.
    """
    batch: list[Trial] = running(study)[: plan.jobs]
    while len(batch) < min(plan.jobs, plan.trials - len(ended(study))):
        trial = ask(study, plan)
        if trial is None:
            break
        batch.append(trial)
    return batch


def alive(study: "optuna.Study") -> "list[FrozenTrial]":
    """All trials but those that were void before they were launched."""
    return [trial for trial in study.get_trials(deepcopy=False) if not trial.user_attrs.get("void")]


def ended(study: "optuna.Study") -> "list[FrozenTrial]":
    """The trials that count: complete, stopped, or failed and not tried again since."""
    trials = alive(study)
    retried = {trial.user_attrs.get("again_of") for trial in trials}
    return [trial for trial in trials if trial.state.is_finished() and trial.number not in retried]


def running(study: "optuna.Study") -> "list[Trial]":
    """The trials that have begun and not ended."""
    from optuna.trial import Trial, TrialState

    found = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [Trial(study, trial._trial_id) for trial in found]  # Optuna has no public way back to a trial of before


def make_void_what_was_torn(study: "optuna.Study", plan: Plan) -> None:
    """Ends what a kill left without some of its values, or half void: it was never launched."""
    for trial in running(study):
        if set(trial.params) != set(plan.space) or trial.user_attrs.get("void"):
            make_void(study, trial)


def make_void(study: "optuna.Study", trial: "Trial") -> None:
    """Ends a trial that is never launched, as if it had not been."""
    from optuna.trial import TrialState

    trial.set_user_attr("void", True)
    study.tell(trial, state=TrialState.FAIL)


def ask(study: "optuna.Study", plan: Plan) -> "Trial | None":
    """A new trial unlike all others; None when there is none.

    Samplers propose again what they like, which would be the very same run. Where the space can be looked at point by
    point, one that nobody has tried takes the place of a repeated one.
    """
    from optuna.trial import TrialState

    every = points(plan.space)
    tried = {key(plan, trial.params) for trial in alive(study) if trial.state != TrialState.WAITING and trial.params}
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    untried = None if every is None else [point for point in every if key(plan, point) not in tried]
    if untried == [] and not waiting:
        return None
    if plan.sampler == "grid" and untried and not waiting:
        study.enqueue_trial(untried[0])
    for attempt in range(100):
        count = len(study.get_trials(deepcopy=False))
        study.sampler = make_sampler(plan, count)
        trial = study.ask({name: one.distribution() for name, one in plan.space.items()})
        if waiting or key(plan, trial.params) not in tried:
            return trial
        make_void(study, trial)
        if untried:
            study.enqueue_trial(random.Random(plan.seed + count + attempt).choice(untried))
    return None


def key(plan: Plan, values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What two trials share that are the same run."""
    return tuple(sorted(typed(plan.space, values).items()))


def make_sampler(plan: Plan, count: int) -> "BaseSampler":
    """The sampler of trial number `count`.

    It has a seed of its own and nothing is carried on in memory, so that a sweep that was killed goes on with the
    values that it would have had.
    """
    from optuna import samplers

    seed = 1000 * plan.seed + count
    tpe = samplers.TPESampler(seed=seed, constant_liar=plan.jobs > 1, multivariate=False)
    if plan.sampler == "cmaes":
        return samplers.CmaEsSampler(seed=seed, independent_sampler=tpe, warn_independent_sampling=False)
    if plan.sampler == "nsga2":
        return samplers.NSGAIISampler(seed=seed, population_size=max(4, min(50, plan.trials // 4)))
    return tpe if plan.sampler == "tpe" else samplers.RandomSampler(seed=seed)


def demand_sampler(plan: Plan) -> None:
    """Raises UserError for a space that the sampler has no use for."""
    from kagglepipe.sweeps.space import Choice

    if not plan.space:
        raise UserError("there is nothing to try: give options several values, as training.views=0,1,2")
    endless = [name for name, one in plan.space.items() if size({name: one}) == float("inf")]
    if plan.sampler == "grid" and (endless or points(plan.space) is None):
        why = f"{endless[0]} has no end of values" if endless else f"{size(plan.space):.0f} points are too many"
        raise UserError(
            f"sweep.sampler=grid tries every point, and {why}: type choice(…) or range(…), or another sampler"
        )
    numbers = [name for name, one in plan.space.items() if not isinstance(one, Choice)]
    if plan.sampler == "cmaes" and len(numbers) < 2:
        raise UserError(
            "sweep.sampler=cmaes needs two numbers at least, as interval(…) or range(…): type sweep.sampler=tpe"
        )


# --- what came of it -------------------------------------------------------------------------------------------


def record(study: "optuna.Study", plan: Plan, trial: "Trial", outcome: Outcome) -> None:
    """Keeps a trial's outcome: complete, pruned where its rival has stopped it, or failed.

    The state comes last, and the outcome is one attribute: where a kill comes between, the next command's takes the
    place of it.
    """
    from optuna.trial import TrialState

    if problem := outcome.get("error") or undefined(plan, outcome):
        outcome = {"error": problem}
    trial.set_user_attr("outcome", dict(outcome))
    if problem:
        study.tell(trial, state=TrialState.FAIL)
    elif "raced" in outcome:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, [goal.of(outcome) for goal in plan.goals])


def undefined(plan: Plan, outcome: Outcome) -> str | None:
    """Which goal a finished trial has no number for."""
    if "raced" in outcome:
        return None
    missing = [
        goal.label for goal in plan.goals if outcome.get(goal.measure) is None or goal.of(outcome) != goal.of(outcome)
    ]
    return f"{missing[0]} is not defined" if missing else None


def demand_same_data(study: "optuna.Study", plan: Plan, data: str | None) -> None:
    """Raises UserError where table or folds are others than those that earlier trials were scored on."""
    before = study.user_attrs.get("data")
    if data is None or data == before:
        return
    if before is not None:
        raise UserError(
            f"images, labels or folds have changed since sweep {plan.name} began, and its scores cannot be compared: "
            f"delete {plan.folder} to begin anew"
        )
    study.set_user_attr("data", data)


def queue_failed_again(study: "optuna.Study") -> None:
    """Failed trials are tried once more by the next command: what they failed from (a full disk) may be mended."""
    from optuna.trial import TrialState

    for trial in ended(study):
        if trial.state == TrialState.FAIL:
            study.enqueue_trial(trial.params, user_attrs={"again_of": trial.number})


def best_trials(study: "optuna.Study", plan: Plan) -> "list[FrozenTrial]":
    """The complete trials, best first; for several goals those that no other beats in all, by the first goal."""
    from optuna.trial import TrialState

    goal = plan.goals[0]
    found = study.best_trials if len(plan.goals) > 1 else study.get_trials(states=(TrialState.COMPLETE,))
    return sorted(found, key=lambda trial: (-goal.sign * trial.values[0], trial.number))


def write_rival(study: "optuna.Study", plan: Plan) -> Path | None:
    """The file that holds the best run's score of each fold, if there is one to race against."""
    if not plan.races or not (best := best_trials(study, plan)):
        return None
    outcome, goal, path = best[0].user_attrs["outcome"], plan.goals[0], plan.folder / RIVAL
    rival = {
        "run": outcome["run"],
        "measure": goal.measure,
        "greater_is_better": goal.greater_is_better,
        "perfect": goal.perfect,
        "folds": {fold: scores[goal.measure] for fold, scores in outcome["folds"].items()},
        "folds_hash": outcome["folds_hash"],
    }
    if None in rival["folds"].values():  # undefined on some fold
        return None
    write_json(path, rival)
    return path


# --- what is told ----------------------------------------------------------------------------------------------


def tell_standing(study: "optuna.Study", plan: Plan) -> None:
    """Says where the sweep is, and what it goes on with."""
    trials, done = alive(study), len(ended(study))
    left = sum(not trial.state.is_finished() for trial in trials)
    again = f"; {left} of them again, which failed or were interrupted" if left else ""
    possible = f" ({size(plan.space):.0f} are possible)" if size(plan.space) < float("inf") else ""
    log.info("sweep: %s; what a trial says is in %s/trials/NUMBER/log.txt", plan.name, plan.folder)
    log.info("sweep: %d of %d trials are done%s%s", done, plan.trials, possible, again)


def tell_trial(study: "optuna.Study", plan: Plan, number: int) -> None:
    """One line for a trial that has just ended."""
    trial = study.get_trials(deepcopy=False)[number]
    done = len(ended(study))
    shown = " ".join(f"{name}={value}" for name, value in typed(plan.space, trial.params).items())
    outcome = trial.user_attrs["outcome"]
    if "error" in outcome:
        log.warning("sweep: %d/%d: trial %d FAILED: %s: %s", done, plan.trials, number, outcome["error"], shown)
        return
    if "raced" in outcome:
        folds = "a fold" if len(outcome["folds"]) == 1 else f"{len(outcome['folds'])} folds"
        what = f"stopped after {folds}: {outcome['raced']}"
    else:
        what = ", ".join(f"{goal.label} {goal.of(outcome):.4f}" for goal in plan.goals) + best_so_far(
            study, plan, number
        )
    log.info("sweep: %d/%d: trial %d: %s: %s", done, plan.trials, number, what, shown)


def best_so_far(study: "optuna.Study", plan: Plan, number: int) -> str:
    """How a trial stands to the best."""
    best = best_trials(study, plan)
    if len(plan.goals) > 1:
        return f" (one of {len(best)} that none beats)" if number in [trial.number for trial in best] else ""
    if best[0].number == number:
        return " (the best)"
    return f" (best {best[0].values[0]:.4f}, trial {best[0].number})"
