"""Repeat the best trials with other seeds, and rank them by their mean over these."""

import logging
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from kagglepipe.files import read_json, write_json
from kagglepipe.predictions.uncertainty import format_score
from kagglepipe.sweeps.space import format_params
from kagglepipe.sweeps.study import Job, Launch, Plan, best_trials

log = logging.getLogger(__name__)
FILE = "finals.json"


@dataclass(frozen=True)
class Finalist:
    """A trial with its objective for each other seed, at least one.

    The trial's own value selected it and is likely to be too good, so it is not among the scores.
    """

    trial: FrozenTrial
    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return fmean(self.scores)

    @property
    def deviation(self) -> float:
        """Sample standard deviation over seeds; 0 for one seed."""
        return stdev(self.scores) if len(self.scores) > 1 else 0.0


def run_finals(study: optuna.Study, plan: Plan, *, finalists: int, seeds: int, launch: Launch) -> list[Finalist]:
    """Train the best trials with `seeds - 1` other seeds each; the best mean comes first, none for one seed.

    finals.json beside the study is written after each batch. A failed run is logged, left out of the mean, and retried
    by the next command; a trial without any finished run is dropped. Nothing is pruned: a mean needs whole runs.
    """
    chosen, path, objective = best_trials(study, plan)[:finalists], plan.folder / FILE, plan.objectives[0]
    others = range(plan.seed + 1, plan.seed + seeds)
    done: dict[str, dict[str, Any]] = read_json(path) if path.exists() else {}
    missing = [
        Job(trial.number, format_params(plan.space, trial.params), seed=seed)
        for trial in chosen
        for seed in others
        if str(seed) not in done.get(str(trial.number), {})
    ]
    for start in range(0, len(missing), plan.jobs):
        batch = missing[start : start + plan.jobs]
        for job, outcome in zip(batch, launch(batch), strict=True):
            if "error" in outcome:
                log.warning("sweep: trial %d with seed %d FAILED: %s", job.number, job.seed, outcome["error"])
                continue
            done.setdefault(str(job.number), {})[str(job.seed)] = dict(outcome)
            value = objective.value(outcome)
            log.info("sweep: trial %d with seed %d: %s %s", job.number, job.seed, objective.label, format_score(value))
        write_json(path, done)
    found = []
    for trial in chosen:
        outcomes = done.get(str(trial.number), {})
        if scores := [objective.value(outcomes[str(seed)]) for seed in others if str(seed) in outcomes]:
            found.append(Finalist(trial, tuple(scores)))
    return sorted(found, key=lambda one: (-objective.sign * one.mean, one.trial.number))
