"""Report a finished sweep: finals, table, pictures, significance, and the best trial as an experiment to type."""

import logging
import shlex
from pathlib import Path
from typing import Any

import optuna
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from optuna.trial import FrozenTrial

from hydra_plugins.kagglepipe_sweeper._sweep import Sweep
from kagglepipe.config import PATH_KEYS, hydra_string
from kagglepipe.errors import UserError
from kagglepipe.files import write_bytes
from kagglepipe.predictions.paired import compare
from kagglepipe.predictions.uncertainty import format_interval
from kagglepipe.reports import sweeps as pictures
from kagglepipe.runs.configured import read_data
from kagglepipe.runs.describe import or_nan as value_of
from kagglepipe.runs.run import Run
from kagglepipe.sweeps.finals import Finalist, run_finals
from kagglepipe.sweeps.report import importances, trial_rows, write_table
from kagglepipe.sweeps.space import Span, format_params
from kagglepipe.sweeps.study import Job, best_trials, counted_trials
from kagglepipe.text import table

log = logging.getLogger(__name__)
ALPHA = 0.05  # of the paired test, all comparisons together
SHOWN_ROWS = 10
LEFT_OUT = ("hydra", "sweep", "stage", "paths")  # option groups that an experiment does not repeat


def finish(sweep: Sweep, study: optuna.Study) -> float | None:
    """Report the trials; returns the best value of the first objective. Raises UserError if no trial is complete."""
    plan, rows = sweep.plan, trial_rows(study, sweep.plan)
    write_table(plan.folder / "trials.csv", rows)
    failed = sum(row["state"] == "failed" for row in rows)
    best = best_trials(study, plan)
    if not best:
        raise UserError(f"all {len(rows)} trials have failed, the last with: {rows[-1]['why']}")
    seeds, most = sweep.config.sweep.seeds, sweep.config.sweep.finalists
    finalists = run_finals(study, plan, finalists=most, seeds=seeds, launch=sweep.launch)
    ranked = [one.trial for one in finalists] or best
    log_table(rows, [*(one.label for one in plan.objectives), *plan.space])
    draw_pictures(sweep, study)
    log_best(sweep, ranked[0], finalists)
    log_significance(sweep, study, ranked)
    write_experiment(sweep, ranked[0])
    log.info("sweep: trials.csv and pictures are in %s", plan.folder)
    if failed:
        log.warning("sweep: %d of %d trials FAILED; typed again, the command tries them once more", failed, len(rows))
    return float(finalists[0].mean if finalists else ranked[0].values[0])


def log_table(rows: list[dict[str, Any]], columns: list[str]) -> None:
    """Log the first rows of the table of trials."""
    names = ["trial", "state", *columns]
    for line in table(names, [[cell(row[name]) for name in names] for row in rows[:SHOWN_ROWS]]):
        log.info("%s", line)
    if len(rows) > SHOWN_ROWS:
        log.info("… and %d more in trials.csv", len(rows) - SHOWN_ROWS)


def cell(value: Any) -> str:
    """Text of a table's cell."""
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def log_best(sweep: Sweep, winner: FrozenTrial, finalists: list[Finalist]) -> None:
    """Log the finalists and the best trial."""
    objectives, over = sweep.plan.objectives, ""
    label = objectives[0].label
    shown = ", ".join(f"{one.label} {value:.4f}" for one, value in zip(objectives, winner.values, strict=True))
    for one in finalists:
        spread = f" ± {one.deviation:.4f}" if len(one.scores) > 1 else ""
        log.info(
            "sweep: trial %d over %d other seeds: %s %.4f%s, by its own %.4f",
            *(one.trial.number, len(one.scores), label, one.mean, spread, one.trial.values[0]),
        )
    if finalists:
        shown, over = f"{label} {finalists[0].mean:.4f}", f" over {len(finalists[0].scores)} other seeds"
    elif sweep.config.sweep.seeds > 1:
        log.warning("sweep: no finalist has another seed: the best is so by its own")
    log.info("sweep: best is trial %d, %s%s: run=%s", winner.number, shown, over, winner.user_attrs["outcome"]["run"])


def log_significance(sweep: Sweep, study: optuna.Study, ranked: list[FrozenTrial]) -> None:
    """Log the interval of the best run, and paired tests against the second best and the first trial.

    The best was selected among all trials, so p-values are corrected for as many comparisons (Bonferroni).
    """
    plan, runs, winner = sweep.plan, sweep.plan.folder.parents[1], ranked[0].number
    trials = counted_trials(study)
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    tried = sum(trial.state.name != "FAIL" for trial in trials)
    made = {trial.number: Run(runs / trial.user_attrs["outcome"]["run"]) for trial in complete}
    if tried < 2 or plan.objectives[0].measure not in ("score", "log_loss") or not made[winner].oof_file.exists():
        return
    metric = sweep.config.competition.metric
    low, high = map(value_of, made[winner].metrics["interval"] or (None, None))
    log.info(
        "sweep: that run's own 95 %% interval of %s: %s; selected among %d by these very rows, it is optimistic",
        *(metric, format_interval(low, high), tried),
    )
    groups = read_data(sweep.config).train.set_index("id")["group"]
    is_loss = plan.objectives[0].measure == "log_loss" or metric.startswith("log_loss")
    others = {complete[0].number: "the first", **{trial.number: "the second best" for trial in ranked[1:2]}}
    for number, which in others.items():
        if number == winner or not made[number].oof_file.exists():
            continue
        try:
            found = compare(made[winner].oof(), made[number].oof(), groups)
        except UserError as error:  # frames at another rate are other rows
            log.info("sweep: trial %d, %s, cannot be compared with it: %s", number, which, error)
            continue
        gap, name = (found.log_loss, found.loss) if is_loss or found.accuracy is None else (found.accuracy, "accuracy")
        result = "significantly worse" if gap.p * (tried - 1) < ALPHA else "not significantly different"
        log.info(
            "sweep: trial %d, %s, is %s: %s %+.4f, p = %.2g in one of %d comparisons",
            *(number, which, result, name, -gap.value, gap.p, tried - 1),
        )


def draw_pictures(sweep: Sweep, study: optuna.Study) -> None:
    """Draw history.png, parallel.png, importance.png (of enough trials) and front.png (of several objectives)."""
    plan, objective = sweep.plan, sweep.plan.objectives[0]
    points = [
        pictures.Point(one.number, tuple(one.values) if one.state.name == "COMPLETE" else (), dict(one.params))
        for one in counted_trials(study)
    ]
    greater = objective.greater_is_better
    pictures.draw_history(plan.folder / "history.png", points, objective.label, greater_is_better=greater)
    log_axes = [name for name, one in plan.space.items() if isinstance(one, Span) and one.log]
    pictures.draw_parallel(plan.folder / "parallel.png", points, objective.label, log_axes=log_axes)
    if shares := importances(study):
        pictures.draw_importance(plan.folder / "importance.png", shares, objective.label)
    if len(plan.objectives) > 1:
        best = [trial.number for trial in best_trials(study, plan)]
        pictures.draw_front(plan.folder / "front.png", points, [one.label for one in plan.objectives], best)


# --- the best as an experiment ---------------------------------------------------------------------------------


def write_experiment(sweep: Sweep, winner: FrozenTrial) -> None:
    """Write conf/experiment/<study>.yaml in the sweep's folder, and log the command that uses it.

    It holds the difference between two composed configurations, the trial's and that of the logged command without the
    experiment, so that it includes what the sweep's own YAML sets.
    """
    plan, master = sweep.plan, sweep.master
    words = [word for word in sweep.words if not is_sweep_option(word)]
    hydra_words = [word for word in master.hydra.overrides.hydra if not str(word).startswith("hydra.mode")]
    base = sweep.loader.load_configuration(master.hydra.job.config_name, [*hydra_words, *words], run_mode=RunMode.RUN)
    job = Job(winner.number, format_params(plan.space, winner.params))
    trial = sweep.loader.load_sweep_config(master, sweep.overrides(job))
    text = OmegaConf.to_yaml(OmegaConf.create(difference(plain(trial), plain(base))))
    folder = plan.folder / "conf"
    head = f"# @package _global_\n# The best of sweep {plan.name}: trial {winner.number}.\n"
    write_bytes(folder / "experiment" / f"{plan.name}.yaml", (head + text).encode())
    here = Path.cwd()
    shown = folder.relative_to(here) if folder.is_relative_to(here) else folder
    command = ["python", "-m", "kagglepipe", "--config-dir", str(shown), f"experiment={plan.name}"]
    log.info("sweep: train it, blend it, submit it: %s", shlex.join([*command, *map(unquoted, words)]))


def is_sweep_option(word: str) -> bool:
    """Whether an override belongs to the sweep, or is contained in the experiment."""
    name = word.partition("=")[0].lstrip("+~")
    return name in ("sweep", "stage", "experiment") or name.startswith("sweep.")


def unquoted(word: str) -> str:
    """Override of a path without the quotes that `main` adds for Hydra.

    >>> unquoted("competition.source='x (1).zip'"), unquoted("seed=1")
    ('competition.source=x (1).zip', 'seed=1')
    """
    name, _, value = word.partition("=")
    is_quoted = name in PATH_KEYS and len(value) > 2 and hydra_string(value[1:-1]) == value
    return f"{name}={value[1:-1]}" if is_quoted else word


def plain(config: DictConfig) -> dict[str, Any]:
    """Nested dictionaries of a configuration, without the groups in LEFT_OUT."""
    found: Any = OmegaConf.to_container(config, resolve=False)
    for name in ("prune_against", "rival"):
        found["training"].pop(name)
    return {key: value for key, value in found.items() if key not in LEFT_OUT}


def difference(new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """Entries of `new` that differ from `old`, nested alike."""
    found = {}
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(old.get(key), dict):
            if inner := difference(value, old[key]):
                found[key] = inner
        elif key not in old or value != old[key]:
            found[key] = value
    return found
