"""A sweep as an object: the command line of each trial, and its launch by Hydra's launcher."""

import io
import logging
import traceback
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, configure_log
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from kagglepipe.config import Config, hydra_string
from kagglepipe.errors import UserError
from kagglepipe.files import write_bytes
from kagglepipe.sweeps.study import Job, Outcome, Plan

log = logging.getLogger(__name__)
LAUNCHERS = ("hydra", "hydra_plugins.hydra_joblib_launcher", "hydra_plugins.hydra_submitit_launcher")


@dataclass
class Sweep:
    """config: of any trial, for what all trials share. master: Hydra's configuration of the command.

    words: overrides common to all trials. launched: number of jobs that this command has started.
    """

    config: Config
    plan: Plan
    master: DictConfig
    words: list[str]
    loader: ConfigLoader
    launcher: Launcher
    launched: int = 0

    def launch(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Run jobs side by side.

        A worker that dies (mostly of memory) takes the launcher's whole batch with it; then each job runs by itself.
        """
        if self.config.sweep.folds_apart:
            self.launch_folds(jobs)
        try:
            returns = self.run_launcher([self.overrides(job) for job in jobs])
        except Exception as error:  # whatever a launcher raises becomes the trial's error
            if len(jobs) == 1:
                return [self.read_outcome(jobs[0], error)]
            log.warning("sweep: the launcher lost its jobs (%s); each is run by itself", one_line(error))
            return [outcome for job in jobs for outcome in self.launch([job])]
        return [self.read_outcome(job, one) for job, one in zip(jobs, returns, strict=True)]

    def launch_folds(self, jobs: Sequence[Job]) -> None:
        """Train the folds of all jobs side by side; an error is raised again by the job that merges them."""
        folds = range(int(self.master.folds.count))
        try:
            self.run_launcher([self.overrides(job, fold) for job in jobs for fold in folds])
        except Exception as error:  # as above
            log.warning("sweep: the launcher lost folds (%s); they are trained one after another", one_line(error))

    def run_launcher(self, words: list[list[str]]) -> Sequence[JobReturn]:
        """Launch one job for each list of overrides, then restore this process's log format."""
        number, self.launched = self.launched, self.launched + len(words)
        try:
            return self.launcher.launch(words, initial_job_idx=number)
        finally:
            self.configure_logging()

    def overrides(self, job: Job, fold: int | None = None) -> list[str]:
        """Overrides of a job, or of one fold of it."""
        name = str(job.number) if job.seed is None else f"{job.number}-seed-{job.seed}"
        words = [*self.words, *(f"{option}={value}" for option, value in job.values.items())]
        words.append("hydra/job_logging=trial")
        if fold is None:
            words.append(f"sweep.trial={job.number}")
        else:
            name, words = f"{name}-fold-{fold}", [*words, f"folds.only=[{fold}]"]
        words += [f"hydra.sweep.dir={hydra_string(str(self.plan.folder / 'trials'))}", f"hydra.sweep.subdir='{name}'"]
        if job.incumbent is not None:
            words.append(f"training.prune_against={hydra_string(str(job.incumbent))}")
        return words if job.seed is None else [*words, f"seed={job.seed}"]

    def read_outcome(self, job: Job, returned: JobReturn | Exception) -> Outcome:
        """Outcome that a job returned; of one that raised, the error in one line, with its traceback in error.txt."""
        try:
            if isinstance(returned, Exception):
                raise returned
            with redirect_stderr(io.StringIO()):  # Hydra prints the command line of a job that raised
                return dict(returned.return_value)
        except Exception as error:  # whatever a trial raises is its outcome
            text = "".join(traceback.format_exception(error))
            write_bytes(self.plan.folder / "trials" / str(job.number) / "error.txt", text.encode())
            return {"error": one_line(error)}

    def silence_launchers(self) -> None:
        """Hide what launchers log of each job: its whole command line."""
        for name in LAUNCHERS:
            logging.getLogger(name).setLevel(logging.WARNING)
        self.configure_logging()

    def configure_logging(self) -> None:
        """Restore this process's log format, which launchers replace."""
        configure_log(self.master.hydra.job_logging, self.master.hydra.verbose)


def one_line(error: BaseException) -> str:
    """Message of an error in one line, as `main` prints it."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
