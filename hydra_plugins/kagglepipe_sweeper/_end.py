"""What a sweep leaves when its trials are done: the table, the pictures, and the best as an experiment to be typed."""

import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.kagglepipe_sweeper._sweep import TheSweep
from kagglepipe.config import PATH_KEYS, hydra_string
from kagglepipe.errors import UserError
from kagglepipe.files import read_json, write_bytes
from kagglepipe.predictions.frame import read_frame
from kagglepipe.predictions.paired import compare
from kagglepipe.predictions.uncertainty import format_interval
from kagglepipe.reports import sweeps as pictures
from kagglepipe.stages.places import read_prepared
from kagglepipe.stages.scores import number as value_of
from kagglepipe.sweeps.finals import Finalist, run_finals
from kagglepipe.sweeps.report import importance, rows, write_table
from kagglepipe.sweeps.space import Span, typed
from kagglepipe.sweeps.study import Job, best_trials, ended
from kagglepipe.text import table

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)
NOISE = 0.05  # a difference that chance makes as often is not told from it
SHOWN = 10  # rows of the table that are printed
NOT_TOLD = ("hydra", "sweep", "stage", "paths")  # parts of a trial's configuration that an experiment does not repeat


def end(sweep: TheSweep, study: "optuna.Study") -> float | None:
    """Finals, table, pictures, experiment. The best value. Raises UserError where no trial has come to one."""
    plan, found = sweep.plan, rows(study, sweep.plan)
    write_table(plan.folder / "trials.csv", found)
    failed = sum(row["state"] == "failed" for row in found)
    best = best_trials(study, plan)
    if not best:
        raise UserError(f"all {len(found)} trials have failed, the last with: {found[-1]['why']}")
    finalists = finals(sweep, study)
    winner = finalists[0].trial if finalists else best[0]
    value = finalists[0].mean if finalists else winner.values[0]
    show_table(found, [*(goal.label for goal in plan.goals), *plan.space])
    draw(sweep, study)
    tell_best(sweep, winner, finalists)
    tell_certainty(sweep, study, [one.trial for one in finalists] or best)
    write_experiment(sweep, winner)
    log.info("sweep: trials.csv and pictures are in %s", plan.folder)
    if failed:
        log.warning("sweep: %d of %d trials FAILED; typed again, the command tries them once more", failed, len(found))
    return float(value)


def finals(sweep: TheSweep, study: "optuna.Study") -> list[Finalist]:
    """The finalists by their mean over seeds; none without `sweep.seeds`."""
    if sweep.options.seeds == 1:
        return []
    return run_finals(
        study, sweep.plan, finalists=sweep.options.finalists, seeds=sweep.options.seeds, launch=sweep.launch
    )


def show_table(found: list[dict[str, Any]], columns: list[str]) -> None:
    """The first rows, as text."""
    names = ["trial", "state", *columns]
    for line in table(names, [[text_of(row[name]) for name in names] for row in found[:SHOWN]]):
        log.info("%s", line)
    if len(found) > SHOWN:
        log.info("… and %d more in trials.csv", len(found) - SHOWN)


def text_of(value: Any) -> str:
    """A cell of the table."""
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def tell_best(sweep: TheSweep, winner: "FrozenTrial", finalists: list[Finalist]) -> None:
    """Which trial is the best, by what."""
    goals, over = sweep.plan.goals, ""
    shown = ", ".join(f"{goal.label} {value:.4f}" for goal, value in zip(goals, winner.values, strict=True))
    for one in finalists:
        spread = f" ± {one.deviation:.4f}" if len(one.scores) > 1 else ""
        log.info(
            "sweep: trial %d over %d other seeds: %s %.4f%s, by its own %.4f",
            *(one.trial.number, len(one.scores), goals[0].label, one.mean, spread, one.trial.values[0]),
        )
    if finalists:
        shown, over = f"{goals[0].label} {finalists[0].mean:.4f}", f" over {len(finalists[0].scores)} other seeds"
    elif sweep.options.seeds > 1:
        log.warning("sweep: no finalist has another seed: the best is so by its own")
    log.info("sweep: best is trial %d, %s%s: run=%s", winner.number, shown, over, winner.user_attrs["outcome"]["run"])


def tell_certainty(sweep: TheSweep, study: "optuna.Study", ranked: "list[FrozenTrial]") -> None:
    """How far the best may be believed: its interval, and whether the second and the first trial are within noise.

    It was chosen among all trials, and so each p counts as many times (Bonferroni).
    """
    plan, runs = sweep.plan, sweep.plan.folder.parents[1]
    whole = [trial for trial in ended(study) if trial.state.name == "COMPLETE"]
    tried = sum(trial.state.name != "FAIL" for trial in ended(study))
    oof = {trial.number: runs / trial.user_attrs["outcome"]["run"] / "oof.parquet" for trial in whole}
    winner = ranked[0].number
    if tried < 2 or plan.goals[0].measure not in ("score", "log_loss") or not oof[winner].exists():
        return
    low, high = map(value_of, read_json(oof[winner].with_name("metrics.json"))["interval"])
    log.info(
        "sweep: that run's own 95 %% interval of %s: %s; chosen among %d by these very rows, it is flattered",
        *(sweep.config.competition.metric, format_interval(low, high), tried),
    )
    groups = read_prepared(sweep.config).train.set_index("id")["group"]
    by_loss = "log_loss" in (plan.goals[0].measure, sweep.config.competition.metric)
    names = {whole[0].number: "the first", **{trial.number: "the second best" for trial in ranked[1:2]}}
    for number, name in names.items():
        if number == winner or not oof[number].exists():
            continue
        try:
            found = compare(read_frame(oof[winner]), read_frame(oof[number]), groups)
        except UserError as error:  # frames at another rate are other rows
            log.info("sweep: trial %d, %s, cannot be held against it: %s", number, name, error)
            continue
        gap = found.log_loss if by_loss else found.accuracy
        is_sure = gap.p * (tried - 1) < NOISE
        log.info(
            "sweep: trial %d, %s, is %s: %s %+.4f, p = %.2g in one of %d comparisons", number, name,
            "apart from it by more than noise" if is_sure else "within noise of it",
            "log loss" if by_loss else "accuracy", -gap.value, gap.p, tried - 1,
        )  # fmt: skip


# --- pictures --------------------------------------------------------------------------------------------------


def draw(sweep: TheSweep, study: "optuna.Study") -> None:
    """history.png, parallel.png, importance.png where there is something to tell, front.png of several goals."""
    plan, goal = sweep.plan, sweep.plan.goals[0]
    trials = [shown(trial) for trial in ended(study)]
    pictures.draw_history(plan.folder / "history.png", trials, goal.label, greater_is_better=goal.greater_is_better)
    logs = [name for name, one in plan.space.items() if isinstance(one, Span) and one.log]
    pictures.draw_parallel(plan.folder / "parallel.png", trials, goal.label, logs=logs)
    if shares := importance(study):
        pictures.draw_importance(plan.folder / "importance.png", shares, goal.label)
    if len(plan.goals) > 1:
        best = [trial.number for trial in best_trials(study, plan)]
        pictures.draw_front(plan.folder / "front.png", trials, [one.label for one in plan.goals], best)


def shown(trial: "FrozenTrial") -> pictures.Shown:
    """A trial as the pictures show it."""
    values = tuple(trial.values) if trial.state.name == "COMPLETE" else ()
    return pictures.Shown(trial.number, values, dict(trial.params))


# --- the best as an experiment ---------------------------------------------------------------------------------


def write_experiment(sweep: TheSweep, winner: "FrozenTrial") -> None:
    """Leaves conf/experiment/<study>.yaml in the sweep's folder, and says how to type it.

    It holds what differs between the trial's configuration and that of the command that is printed, without the
    experiment: by composing both, so that nothing which the sweep's own YAML has set is forgotten.
    """
    plan, loader = sweep.plan, sweep.sweeper.hydra_context.config_loader
    words = [word for word in sweep.typed.words if not is_of_the_sweep(word)]
    name = sweep.sweeper.config.hydra.job.config_name
    usual = plain(loader.load_configuration(name, [*hydra_words(sweep), *words], run_mode=RunMode.RUN))
    job = Job(winner.number, typed(plan.space, winner.params))
    trial = plain(loader.load_sweep_config(sweep.sweeper.config, sweep.overrides(job)))
    text = OmegaConf.to_yaml(OmegaConf.create(difference(trial, usual)))
    folder = plan.folder / "conf"
    head = f"# @package _global_\n# The best of sweep {plan.name}: trial {winner.number}.\n"
    write_bytes(folder / "experiment" / f"{plan.name}.yaml", (head + text).encode())
    command = ["python", "-m", "kagglepipe", "--config-dir", shown_path(folder), f"experiment={plan.name}"]
    command += [unquoted(word) for word in words]
    log.info("sweep: train it, blend it, submit it: %s", shlex.join(command))


def is_of_the_sweep(word: str) -> bool:
    """Whether a typed word is the sweep's own, or is repeated by the experiment, whatever it was."""
    name = word.partition("=")[0].lstrip("+~")
    return name in ("sweep", "stage", "experiment") or name.startswith("sweep.")


def unquoted(word: str) -> str:
    """A typed path as people type it, without the quotes that `main` puts around it for Hydra.

    >>> unquoted("competition.source='x (1).zip'"), unquoted("seed=1")
    ('competition.source=x (1).zip', 'seed=1')
    """
    name, _, value = word.partition("=")
    is_quoted = name in PATH_KEYS and len(value) > 2 and hydra_string(value[1:-1]) == value
    return f"{name}={value[1:-1]}" if is_quoted else word


def hydra_words(sweep: TheSweep) -> list[str]:
    """What was typed about Hydra itself, save that it is a sweep."""
    typed_words: Any = OmegaConf.to_container(sweep.sweeper.config.hydra.overrides.hydra)
    return [str(word) for word in typed_words if not str(word).startswith("hydra.mode")]


def plain(config: DictConfig) -> dict[str, Any]:
    """A configuration as dictionaries, without what an experiment does not repeat."""
    found: Any = OmegaConf.to_container(config, resolve=False)
    found["training"].pop("rival")
    return {key: value for key, value in found.items() if key not in NOT_TOLD}


def difference(new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """What of `new` differs from `old`, nested as they are."""
    found = {}
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(old.get(key), dict):
            if inner := difference(value, old[key]):
                found[key] = inner
        elif key not in old or value != old[key]:
            found[key] = value
    return found


def shown_path(path: Path) -> str:
    """The path as one types it from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
