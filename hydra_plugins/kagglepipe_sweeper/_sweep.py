"""A sweep from the command line to its best configuration: what Hydra needs of it; kagglepipe.sweeps has the rest."""

import logging
import os
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus, configure_log
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from hydra_plugins.kagglepipe_sweeper._space import Typed, read_arguments
from kagglepipe.competitions.contract import Competition
from kagglepipe.config import Config, Paths, Sweep, hydra_string
from kagglepipe.errors import UserError
from kagglepipe.files import alone, write_bytes
from kagglepipe.stages.places import with_sample_if_no_data
from kagglepipe.sweeps.goals import goal_of
from kagglepipe.sweeps.space import MOST_POINTS, samples, signature, size
from kagglepipe.sweeps.study import FILE, Job, Outcome, Plan, demand_sampler, run_trials

if TYPE_CHECKING:
    from hydra_plugins.kagglepipe_sweeper.sweeper import KagglepipeSweeper

log = logging.getLogger(__name__)
USUAL_TRIALS = 20
# What may change between two commands of one sweep: how much is done, how, where, and what is told of it.
CONDUCT = (
    *(f"sweep.{name}" for name in ("trials", "jobs", "fail_fast", "race", "finalists", "seeds", "folds_apart")),
    *("sweep", "paths.root", "workers", "training.trackers", "training.micro_batch", "training.compile"),
)


def run(sweeper: "KagglepipeSweeper", arguments: list[str]) -> float | None:
    """Runs the sweep to its end, and tells what came of it. The best value; of several goals, of the first."""
    demand_optuna()
    sweep = the_sweep(sweeper, arguments)
    sweep.launch_quietly()
    with alone(sweep.plan.folder, f"sweep: {sweep.plan.name}"):
        study = run_trials(sweep.plan, sweep.launch)
        from hydra_plugins.kagglepipe_sweeper._end import end

        return end(sweep, study)


def demand_optuna() -> None:
    """Raises UserError without what the extra brings."""
    missing = [name for name in ("optuna", "cmaes", "matplotlib") if find_spec(name) is None]
    if missing:
        raise UserError(f"a sweep needs {' and '.join(missing)}: pip install 'kagglepipe[sweep]'")


@dataclass
class TheSweep:
    """A sweep that is to be run. launched: jobs that this command has begun, which numbers them."""

    sweeper: "KagglepipeSweeper"
    typed: Typed
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
        except Exception as error:
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
        except Exception as error:
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
    """What a job returned or raised; `return_value` would raise it here, and print the command line first."""
    return job._return_value if job.status in (JobStatus.COMPLETED, JobStatus.FAILED) else RuntimeError("no result")


def one_line(error: BaseException) -> str:
    """An error in one line, as main tells it."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


# --- what is to be done ----------------------------------------------------------------------------------------


def the_sweep(sweeper: "KagglepipeSweeper", arguments: Sequence[str]) -> TheSweep:
    """The sweep that a command line describes. Raises UserError for one that makes no sense."""
    master, loader = sweeper.config, sweeper.hydra_context.config_loader
    typed = read_arguments(arguments, master, loader)
    options: Any = OmegaConf.to_object(master.sweep)
    demand_sense(master, typed, options)
    config = with_sample_if_no_data(what_is_fixed(master, options))
    identity = {name: value for name, value in typed.fixed.items() if name not in CONDUCT}
    choice = str(master.hydra.runtime.choices.get("sweep") or "sweep").replace("/", "-")
    plan = Plan(
        folder=config.runs_dir / "sweeps" / f"{choice}-{signature(typed.space, identity)}",
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
    with read_write(master.hydra), open_dict(master.hydra):  # where launchers leave what is theirs
        master.hydra.sweep.dir = str(plan.folder / "trials").replace("${", "\\${")
    sweep = TheSweep(sweeper, typed, options, plan)
    if not (plan.folder / FILE).exists():  # a mistake in the command line is told at once, not trial by trial
        sweeper.validate_batch_is_legal([sweep.overrides(Job(0, values)) for values in samples(plan.space)])
    return sweep


def what_is_fixed(master: DictConfig, options: Sweep) -> Config:
    """The configuration of what no trial may change; the rest as usual, since a swept option may lack a value yet."""
    competition: Any = OmegaConf.to_object(master.competition)
    paths: Any = OmegaConf.to_object(master.paths)
    assert isinstance(competition, Competition)
    assert isinstance(paths, Paths)
    return Config(stage="train", seed=master.seed, competition=competition, paths=paths, sweep=options)


def demand_sense(master: DictConfig, typed: Typed, options: Sweep) -> None:
    """Raises UserError for what a sweep cannot do."""
    if master.stage != "train":
        raise UserError(f"a sweep scores what is trained, and stage={master.stage} is more: leave it away")
    if varied := [name for name in typed.space if name.lstrip("+").split(".")[0] in ("competition", "folds", "paths")]:
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
