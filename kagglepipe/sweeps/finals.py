"""The best trials again with other seeds: which of them is best, and not only lucky."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kagglepipe.files import read_json, write_json
from kagglepipe.sweeps.space import typed
from kagglepipe.sweeps.study import Job, Launch, Plan, best_trials

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)
FILE = "finals.json"


@dataclass(frozen=True)
class Finalist:
    """A trial, and the goal's value for each other seed that it was trained with, one at least.

    Its own value is not among them: it was chosen for that, and so it is likely to have been lucky.
    """

    trial: "FrozenTrial"
    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return math.fsum(self.scores) / len(self.scores)

    @property
    def deviation(self) -> float:
        """Over the seeds, with the divisor n - 1; 0 for one seed."""
        squares = math.fsum((score - self.mean) ** 2 for score in self.scores)
        return math.sqrt(squares / (len(self.scores) - 1)) if len(self.scores) > 1 else 0.0


def run_finals(study: "optuna.Study", plan: Plan, *, finalists: int, seeds: int, launch: Launch) -> list[Finalist]:
    """The best trials, each trained with so many seeds, the best mean over those that did not choose it first.

    What is done is kept in finals.json beside the study, batch by batch. A run that fails is told, left out of the
    mean, and tried again by the next command; a trial of which all fail is no finalist. Nothing races here: a mean
    needs whole runs.
    """
    chosen, path = best_trials(study, plan)[:finalists], plan.folder / FILE
    kept: dict[str, dict[str, Any]] = read_json(path) if path.exists() else {}
    for batch in batches(missing(chosen, plan, seeds, kept), plan.jobs):
        for job, outcome in zip(batch, launch(batch), strict=True):
            if "error" in outcome:
                log.warning("sweep: trial %d with seed %d FAILED: %s", job.number, job.seed, outcome["error"])
                continue
            kept.setdefault(str(job.number), {})[str(job.seed)] = dict(outcome)
            goal = plan.goals[0]
            log.info("sweep: trial %d with seed %d: %s %.4f", job.number, job.seed, goal.label, goal.of(outcome))
        write_json(path, kept)
    found = [Finalist(trial, scores) for trial in chosen if (scores := scores_of(trial, plan, seeds, kept))]
    return sorted(found, key=lambda one: (-plan.goals[0].sign * one.mean, one.trial.number))


def missing(chosen: "Sequence[FrozenTrial]", plan: Plan, seeds: int, kept: dict[str, dict[str, Any]]) -> list[Job]:
    """The runs that are left to do."""
    jobs = [
        Job(trial.number, typed(plan.space, trial.params), seed=seed)
        for trial in chosen
        for seed in range(plan.seed + 1, plan.seed + seeds)
    ]
    return [job for job in jobs if str(job.seed) not in kept.get(str(job.number), {})]


def scores_of(trial: "FrozenTrial", plan: Plan, seeds: int, kept: dict[str, dict[str, Any]]) -> tuple[float, ...]:
    """The goal's values of a trial with other seeds."""
    others = kept.get(str(trial.number), {})
    wanted = [str(seed) for seed in range(plan.seed + 1, plan.seed + seeds)]
    return tuple(plan.goals[0].of(others[seed]) for seed in wanted if seed in others)


def batches(jobs: Sequence[Job], size: int) -> list[Sequence[Job]]:
    """The jobs in parts of so many."""
    return [jobs[start : start + size] for start in range(0, len(jobs), size)]
