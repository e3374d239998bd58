"""A sweep from the command line to its best configuration: what Hydra needs of it; kagglepipe.sweeps has the rest."""

import io
import json
import logging
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.util import find_spec
from itertools import combinations
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, configure_log
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from hydra_plugins.kagglepipe_sweeper._space import Typed, read_arguments
from kagglepipe.config import Config, Sweep, changes, demand_options, hydra_string, result_settings
from kagglepipe.errors import UserError
from kagglepipe.files import exclusive_lock, write_bytes
from kagglepipe.stages import keep_locks, unread, walk
from kagglepipe.stages.places import read_prepared, training_mode, with_sample_if_no_data
from kagglepipe.stages.trial import data_of
from kagglepipe.sweeps.goals import goal_of
from kagglepipe.sweeps.space import MOST_POINTS, Space, samples, signature, size, told
from kagglepipe.sweeps.study import FILE, Job, Outcome, Plan, demand_sampler, run_trials
from kagglepipe.typed import DECIDE_WHAT_IS_READ, typed_options

if TYPE_CHECKING:
    from hydra_plugins.kagglepipe_sweeper.sweeper import KagglepipeSweeper

log = logging.getLogger(__name__)
USUAL_TRIALS = 20
DATA = ("competition", "folds", "paths", "prepare", "download")  # parts of the configuration that no trial may change
# A trial's values, as they are typed -> its configuration (None: it is none) and what decides its results, or why not.
Look = Callable[[Mapping[str, str]], tuple[Config | None, str]]


def run(sweeper: "KagglepipeSweeper", arguments: list[str]) -> float | None:
    """Runs the sweep to its end, and tells what came of it. The best value; of several goals, of the first."""
    demand_optuna()
    sweep = the_sweep(sweeper, arguments)
    sweep.launch_quietly()
    keep_locks(sweep.config)
    with exclusive_lock(sweep.plan.folder, f"sweep: {sweep.plan.name}"):
        walk(sweep.config, ["download", "prepare"])  # what all trials share, and would all say
        data = data_of(read_prepared(sweep.config))
        study = run_trials(sweep.plan, sweep.launch, data=data)
        from hydra_plugins.kagglepipe_sweeper._end import end

        return end(sweep, study)


def demand_optuna() -> None:
    """Raises UserError without what the extra brings."""
    missing = [name for name in ("optuna", "cmaes", "matplotlib") if find_spec(name) is None]
    if missing:
        raise UserError(f"a sweep needs {' and '.join(missing)}: pip install 'kagglepipe[sweep]'")


@dataclass
class TheSweep:
    """A sweep that is to be run.

    config: of a trial, for what all of them share. launched: jobs that this command has begun, which numbers them.
    """

    sweeper: "KagglepipeSweeper"
    typed: Typed
    config: Config
    options: Sweep
    plan: Plan
    launched: int = field(default=0)

    def launch(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Runs jobs side by side by Hydra's launcher.

        Where a worker dies (memory, mostly) the launcher loses them all: then each is run by itself, to find which it
        was.
        """
        if self.options.folds_apart:
            self.launch_folds(jobs)
        words = [self.overrides(job) for job in jobs]
        number, self.launched = self.launched, self.launched + len(jobs)
        try:
            returns = self.sweeper.launcher.launch(words, initial_job_idx=number)
        except Exception as error:  # whatever a launcher raises: it is told, and kept as the trial's error
            self.speak()
            if len(jobs) == 1:
                return [self.outcome(jobs[0], error)]
            log.warning("sweep: the launcher lost its jobs (%s); each is run by itself", one_line(error))
            return [outcome for job in jobs for outcome in self.launch([job])]
        self.speak()
        return [self.outcome(job, result_of(one)) for job, one in zip(jobs, returns, strict=True)]

    def launch_folds(self, jobs: Sequence[Job]) -> None:
        """Trains the folds of all jobs side by side; what goes wrong with one is met again where they are merged."""
        folds = range(int(self.sweeper.config.folds.count))
        words = [self.overrides(job, fold) for job in jobs for fold in folds]
        number, self.launched = self.launched, self.launched + len(words)
        try:
            self.sweeper.launcher.launch(words, initial_job_idx=number)
        except Exception as error:  # as above
            log.warning("sweep: the launcher lost folds (%s); they are trained one after another", one_line(error))
        self.speak()

    def overrides(self, job: Job, fold: int | None = None) -> list[str]:
        """The command line of a job, or of one fold of it."""
        name = str(job.number) if job.seed is None else f"{job.number}-seed-{job.seed}"
        words = [*self.typed.words, *(f"{option}={value}" for option, value in job.values.items())]
        words.append("hydra/job_logging=trial")
        if fold is None:
            words.append(f"sweep.trial={job.number}")
        else:
            name, words = f"{name}-fold-{fold}", [*words, f"folds.only=[{fold}]"]
        words += [f"hydra.sweep.dir={hydra_string(str(self.plan.folder / 'trials'))}", f"hydra.sweep.subdir='{name}'"]
        if job.rival is not None:
            words.append(f"training.rival={hydra_string(str(job.rival))}")
        return words if job.seed is None else [*words, f"seed={job.seed}"]

    def outcome(self, job: Job, result: Any) -> Outcome:
        """What a job returned; of one that raised, the error in one line, and the whole of it in its folder."""
        if not isinstance(result, BaseException):
            return dict(result)
        text = "".join(traceback.format_exception(result))
        write_bytes(self.plan.folder / "trials" / str(job.number) / "error.txt", text.encode())
        return {"error": one_line(result)}

    def launch_quietly(self) -> None:
        """Silences what Hydra's launchers say of every job, which is its whole command line."""
        for name in ("hydra", "hydra_plugins.hydra_joblib_launcher", "hydra_plugins.hydra_submitit_launcher"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self.speak()

    def speak(self) -> None:
        """Takes the terminal back from the launcher, which logs in a form of its own."""
        configure_log(self.sweeper.config.hydra.job_logging, self.sweeper.config.hydra.verbose)


def result_of(job: JobReturn) -> Any:
    """What a job returned or raised."""
    try:
        with redirect_stderr(io.StringIO()):  # where Hydra tells the command line of one that raised
            return job.return_value
    except Exception as error:  # whatever a trial raises is its outcome
        return error


def one_line(error: BaseException) -> str:
    """An error in one line, as main tells it."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


# --- what is to be done ----------------------------------------------------------------------------------------


def the_sweep(sweeper: "KagglepipeSweeper", arguments: Sequence[str]) -> TheSweep:
    """The sweep that a command line describes. Raises UserError for one that makes no sense."""
    master = sweeper.config
    typed = read_arguments(arguments, master, sweeper.hydra_context.config_loader)
    options: Any = OmegaConf.to_object(master.sweep)
    demand_sense(master, typed, options)
    look = looker(sweeper, typed)
    looks = [look(values) for values in samples(typed.space)]
    legal = [config for config, _ in looks if config is not None]
    if not legal:  # then it is not the values of single trials; a mistake is told at once, not trial by trial
        raise UserError(looks[0][1])
    demand_read(legal[0], arguments, typed)
    config = with_sample_if_no_data(replace(legal[0], seed=master.seed))
    choice = str(master.hydra.runtime.choices.get("sweep") or "sweep").replace("/", "-")
    fixed = {**what_is_fixed(config), "trials": [text for _, text in looks]}
    plan = Plan(
        folder=config.runs_dir / "sweeps" / f"{choice}-{signature(typed.space, fixed)}",
        space=typed.space,
        goals=tuple(goal_of(objective, config.competition.metric) for objective in options.objectives),
        sampler=options.sampler,
        seed=config.seed,
        trials=trials_of(options, typed),
        jobs=options.jobs or workers_of(master),
        fail_fast=options.fail_fast,
        race=options.race and not options.folds_apart,
    )
    demand_sampler(plan)
    if not (plan.folder / FILE).exists():
        demand_different(typed.space, look)
    with read_write(master.hydra), open_dict(master.hydra):  # where launchers leave what is theirs
        master.hydra.sweep.dir = str(plan.folder / "trials").replace("${", "\\${")
    return TheSweep(sweeper, typed, config, options, plan)


def demand_read(config: Config, arguments: Sequence[str], typed: Typed) -> None:
    """Raises UserError for options on the command line that no trial reads; config: of any one of them."""
    varied = {name.lstrip("+") for name in typed.space}
    if not varied & DECIDE_WHAT_IS_READ:
        unread.demand_read(config, typed_options(arguments), training_mode(config))


def looker(sweeper: "KagglepipeSweeper", typed: Typed) -> Look:
    """What looks at a trial before it is launched. Hydra's errors, and options that are none, are raised."""

    @cache
    def look(*words: str) -> tuple[Config | None, str]:
        composed = sweeper.hydra_context.config_loader.load_sweep_config(sweeper.config, [*typed.words, *words])
        HydraConfig.instance().set_config(composed)  # which ${hydra:…} asks
        with read_write(composed), open_dict(composed):
            composed.pop("hydra")
        demand_options(OmegaConf.to_container(composed))
        try:
            config: Any = OmegaConf.to_object(composed)
            return config, json.dumps(what_decides(config), sort_keys=True)
        except UserError as error:
            return None, str(error)

    return lambda values: look(*(f"{name}={value}" for name, value in sorted(values.items())))


def what_decides(config: Config) -> dict[str, Any]:
    """What of a configuration decides a run's results on given data; see `places.run_identity`."""
    training = config.training
    taught = training.teacher and (training.teacher, training.confidence)
    weights = config.competition.kind != "series" and config.model.weights
    return {**result_settings(config, training_mode(config)), "weights": weights, "taught": taught}


def what_is_fixed(config: Config) -> dict[str, Any]:
    """What else makes two sweeps different ones: their data, and how trials are chosen, measured and cut short.

    Not in it: how much is done, where, and what is told of it. The bytes of tables and folds are watched by `data_of`;
    weights and teachers are told apart by what is typed.
    """
    found, sweep = changes(config), config.sweep
    parts = {name: dict(found.get(name, {})) for name in ("competition", "folds", "prepare")}
    for part, name in (
        ("competition", "source"),
        ("competition", "origin"),
        ("competition", "refresh"),
        ("folds", "remake"),
    ):
        parts[part].pop(name, None)
    how = (sweep.sampler, sweep.objectives, config.seed, config.device, config.engine, config.training.budget)
    return {**{name: json.dumps(part, sort_keys=True) for name, part in parts.items()}, "how": how}


def demand_different(space: Space, look: Look) -> None:
    """Raises UserError for an option two of whose values make the very same run, whatever the others are."""
    bases = samples(space)
    for name, values in told(space).items():
        for one, other in combinations(values, 2):
            if all(look({**base, name: one})[1] == look({**base, name: other})[1] for base in bases):
                raise UserError(f"{name}={one} and {name}={other} train the very same run: leave one of them away")


def demand_sense(master: DictConfig, typed: Typed, options: Sweep) -> None:
    """Raises UserError for what a sweep cannot do."""
    if master.stage != "train":
        raise UserError(f"a sweep scores what is trained, and stage={master.stage} is more: leave it away")
    if varied := [name for name in typed.space if name.lstrip("+").split(".")[0] in DATA]:
        raise UserError(f"{varied[0]} cannot vary: a sweep compares trials on the same folds of one competition")
    if master.run is not None or master.folds.only:
        raise UserError("a sweep trains all folds of runs of its own: leave run= and folds.only= away")
    if options.folds_apart and (isinstance(master.folds.count, str) or master.folds.file is not None):
        raise UserError("sweep.folds_apart needs the number of folds beforehand, as folds.count=5")
    if options.seeds > 1 and "seed" in typed.space:
        raise UserError(
            "sweep.seeds repeats finalists with other seeds, so seed cannot vary: leave one of the two away"
        )
    if options.seeds > 1 and len(options.objectives) > 1:
        raise UserError("sweep.seeds repeats the best by one objective: type sweep.seeds=1, or one objective")


def trials_of(options: Sweep, typed: Typed) -> int:
    """How many trials there are to be: as many as asked for, else 20 or, of a grid, all of it."""
    possible, asked = size(typed.space), options.trials
    if asked is None and options.sampler == "grid" and possible <= MOST_POINTS:
        return int(possible)
    return int(min(asked or USUAL_TRIALS, possible))


def workers_of(master: DictConfig) -> int:
    """How many jobs the chosen launcher runs at a time; 1 where it does not say."""
    count = OmegaConf.select(master, "hydra.launcher.n_jobs", default=None) or 1
    return int(count) if int(count) > 0 else os.cpu_count() or 1
