"""Run a sweep from its command line: validate, plan, launch all trials, report."""

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import combinations
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from hydra_plugins.kagglepipe_sweeper._arguments import Arguments, read_arguments
from hydra_plugins.kagglepipe_sweeper._end import finish
from hydra_plugins.kagglepipe_sweeper._sweep import Sweep
from kagglepipe.cli.named_metric import with_named_metric
from kagglepipe.cli.unread_options import DECIDING_OPTIONS, check_unread_options, typed_options
from kagglepipe.config import Config, check_option_names, option_facts
from kagglepipe.errors import UserError
from kagglepipe.files import exclusive_lock
from kagglepipe.options import SweepOptions
from kagglepipe.predictions.tasks import TASKS
from kagglepipe.runs.configured import read_data
from kagglepipe.runs.identity import changes, is_option_read, result_settings
from kagglepipe.stages.download import with_sample_if_no_data
from kagglepipe.stages.pipeline import keep_locks, run_stages
from kagglepipe.sweeps.objectives import make_objective
from kagglepipe.sweeps.samplers import check_sampler
from kagglepipe.sweeps.space import MAX_POINTS, Space, grid_size, probe_points, probe_values, signature
from kagglepipe.sweeps.study import FILE, Plan, run_trials

log = logging.getLogger(__name__)
DEFAULT_TRIALS = 20
DATA_GROUPS = ("competition", "folds", "paths", "prepare", "download")  # option groups that no trial may change
NO_DATA_CHANGE = {"competition": ("source", "origin", "refresh"), "folds": ("remake",)}  # options in them
# A trial's override texts -> (configuration, settings that decide its results), or (None, the error).
Probe = Callable[[Mapping[str, str]], tuple[Config | None, str]]


def run_sweep(master: DictConfig, typed: Sequence[str], *, loader: ConfigLoader, launcher: Launcher) -> float | None:
    """Run all trials and report them; returns the best value of the first objective.

    master: Hydra's configuration of the command, `hydra` included. typed: its overrides.
    """
    sweep = make_sweep(master, typed, loader=loader, launcher=launcher)
    sweep.silence_launchers()
    keep_locks(sweep.config)
    with exclusive_lock(sweep.plan.folder, f"sweep: {sweep.plan.name}"):
        run_stages(sweep.config, ["download", "prepare"])  # once for all trials
        data = read_data(sweep.config).data_hash
        return finish(sweep, run_trials(sweep.plan, sweep.launch, data=data))


def make_sweep(master: DictConfig, typed: Sequence[str], *, loader: ConfigLoader, launcher: Launcher) -> Sweep:
    """Make the sweep of a command line. Raises UserError for an invalid one before any work."""
    arguments = read_arguments(typed, master, loader)
    options: Any = OmegaConf.to_object(master.sweep)
    check_options(master, arguments, options)
    probe = make_probe(master, arguments, loader)
    probed = [probe(values) for values in probe_points(arguments.space)]
    valid = [config for config, _ in probed if config is not None]
    unread = unread_of_preset(arguments.space, typed, valid)
    if 0 < len(unread) < len(arguments.space):
        log.info("sweep: %s: not read here, and left out of the space", ", ".join(unread))
        arguments = replace(arguments, space={k: one for k, one in arguments.space.items() if k not in unread})
        probe = make_probe(master, arguments, loader)
        probed = [probe(values) for values in probe_points(arguments.space)]
    if not valid:  # a mistake beside the varied options, reported once instead of trial by trial
        raise UserError(probed[0][1])
    if not {name.lstrip("+") for name in arguments.space} & DECIDING_OPTIONS:
        check_unread_options(valid[0], typed_options(typed), valid[0].training_mode)
    config = with_sample_if_no_data(replace(valid[0], seed=master.seed))
    preset = str(master.hydra.runtime.choices.get("sweep") or "sweep").replace("/", "-")
    fixed = {**fixed_settings(config), "trials": [text for _, text in probed]}
    competition = config.competition
    loss = TASKS[competition.task].loss
    plan = Plan(
        folder=config.runs_dir / "sweeps" / f"{preset}-{signature(arguments.space, fixed)}",
        space=arguments.space,
        objectives=tuple(make_objective(measure, competition.metric, loss) for measure in options.objectives),
        sampler=options.sampler,
        seed=config.seed,
        trials=count_trials(options, arguments.space),
        jobs=options.jobs or count_workers(master),
        fail_fast=options.fail_fast,
        race=options.race and not options.folds_apart,
    )
    check_sampler(plan.sampler, plan.space)
    if not (plan.folder / FILE).exists():
        check_distinct(plan.space, probe)
    with read_write(master.hydra), open_dict(master.hydra):  # where launchers write files of their own
        master.hydra.sweep.dir = str(plan.folder / "trials").replace("${", "\\${")
    return Sweep(config, plan, master, arguments.words, loader, launcher)


def unread_of_preset(space: Space, typed: Sequence[str], configs: Sequence[Config]) -> list[str]:
    """Options that vary because `sweep=` says so, and that none of these configurations reads, as label smoothing where
    numbers are predicted.
    """
    own = space.keys() - {word.partition("=")[0].lstrip("+") for word in typed}
    return [
        name
        for name in space
        if name in own and option_facts(name) and not any(is_option_read(c, name, c.training_mode) for c in configs)
    ]


def make_probe(master: DictConfig, arguments: Arguments, loader: ConfigLoader) -> Probe:
    """Function that composes and checks a trial's configuration. Hydra's errors and unknown options are raised."""

    @cache
    def probe(*words: str) -> tuple[Config | None, str]:
        composed = loader.load_sweep_config(master, [*arguments.words, *words])
        HydraConfig.instance().set_config(composed)  # for ${hydra:…}
        with read_write(composed), open_dict(composed):
            composed.pop("hydra")
        check_option_names(OmegaConf.to_container(composed))
        try:
            config = with_named_metric(OmegaConf.to_object(composed))
            return config, json.dumps(deciding_settings(config), sort_keys=True)
        except UserError as error:
            return None, str(error)

    return lambda values: probe(*(f"{name}={value}" for name, value in sorted(values.items())))


def deciding_settings(config: Config) -> dict[str, Any]:
    """Settings that decide a run's results on given data, as in `runs.identity`."""
    training = config.training
    teacher = training.teacher and (training.teacher, training.confidence)
    weights = config.competition.has_encoder and config.model.weights
    return {**result_settings(config, config.training_mode), "weights": weights, "teacher": teacher}


def fixed_settings(config: Config) -> dict[str, Any]:
    """Settings beside the space that identify a sweep: data, and how trials are sampled, measured and pruned.

    The contents of tables and folds are compared by `Dataset.data_hash`, weights and teachers by their options.
    """
    changed, sweep = changes(config), config.sweep
    groups = {
        group: {
            name: value for name, value in changed.get(group, {}).items() if name not in NO_DATA_CHANGE.get(group, ())
        }
        for group in ("competition", "folds", "prepare")
    }
    how = (sweep.sampler, sweep.objectives, config.seed, config.device, config.engine, config.training.budget)
    return {**{group: json.dumps(values, sort_keys=True) for group, values in groups.items()}, "how": how}


def count_trials(options: SweepOptions, space: Space) -> int:
    """Number of trials asked for; by default 20 or the whole grid. Never more than there are points."""
    possible = grid_size(space)
    if options.trials is None and options.sampler == "grid" and possible <= MAX_POINTS:
        return int(possible)
    return int(min(options.trials or DEFAULT_TRIALS, possible))


def count_workers(master: DictConfig) -> int:
    """Number of jobs that the launcher runs at a time; 1 if it does not say."""
    count = int(OmegaConf.select(master, "hydra.launcher.n_jobs", default=None) or 1)
    return count if count > 0 else os.cpu_count() or 1


# --- checks ----------------------------------------------------------------------------------------------------


def check_options(master: DictConfig, arguments: Arguments, options: SweepOptions) -> None:
    """Raises UserError for options that contradict a sweep."""
    if master.stage != "train":
        raise UserError(f"a sweep scores trained runs, and stage={master.stage} is more: leave it away")
    if fixed := [name for name in arguments.space if name.lstrip("+").split(".")[0] in DATA_GROUPS]:
        raise UserError(f"{fixed[0]} cannot vary: a sweep compares trials on the same folds of one competition")
    if master.run is not None or master.folds.only:
        raise UserError("a sweep trains all folds of runs of its own: leave run= and folds.only= away")
    if options.folds_apart and (isinstance(master.folds.count, str) or master.folds.file is not None):
        raise UserError("sweep.folds_apart needs the number of folds beforehand, as folds.count=5")
    if options.seeds > 1 and "seed" in arguments.space:
        raise UserError(
            "sweep.seeds repeats finalists with other seeds, so seed cannot vary: leave one of the two away"
        )
    if options.seeds > 1 and len(options.objectives) > 1:
        raise UserError("sweep.seeds repeats the best by one objective: type sweep.seeds=1, or one objective")


def check_distinct(space: Space, probe: Probe) -> None:
    """Raises UserError for an option two of whose values train the same run, whatever the others are."""
    points = probe_points(space)
    for name, values in probe_values(space).items():
        for one, other in combinations(values, 2):
            if all(probe({**point, name: one})[1] == probe({**point, name: other})[1] for point in points):
                raise UserError(f"{name}={one} and {name}={other} train the very same run: leave one of them away")
