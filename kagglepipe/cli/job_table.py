"""Results of the jobs of Hydra's own sweeps (-m without sweep=): a file for each, and a table at the end."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from kagglepipe.files import read_json, write_json

FILE = "job.json"


@dataclass
class JobResult:
    """The result of a job. words: its overrides. run: the run that it made or used; None: no run."""

    number: int
    words: list[str]
    run: str | None = None
    score: float | None = None
    error: str | None = None


@contextmanager
def recorded_job(folder: Path, number: int, words: list[str]) -> Iterator[JobResult]:
    """Yield a result to fill in; write it to the job's folder at the end, with the error that ended it."""
    result = JobResult(number, words)
    try:
        yield result
    except Exception as error:
        result.error = " ".join(f"{error}".split()) or type(error).__name__
        raise
    finally:
        write_json(folder / FILE, vars(result))


class SweepFolder(Callback):
    """Remember the folder of a sweep, which Hydra does not return when a job fails."""

    folder: Path | None = None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Called by Hydra before the first job."""
        SweepFolder.folder = Path(config.hydra.sweep.dir)


def job_table() -> list[str]:
    """Lines of a table of the last sweep's jobs; none for fewer than two jobs."""
    from kagglepipe.text import fitted

    files = SweepFolder.folder.glob(f"*/{FILE}") if SweepFolder.folder else []
    SweepFolder.folder = None
    jobs = sorted((JobResult(**read_json(file)) for file in files), key=lambda job: job.number)
    if len(jobs) < 2:
        return []
    common = set.intersection(*(set(job.words) for job in jobs))
    rows = [
        (
            str(job.number),
            " ".join(word for word in job.words if word not in common),
            "" if job.score is None else f"{job.score:z.4f}",
            job.run or "",
            f"FAILED: {job.error}" if job.error else "done",
        )
        for job in jobs
    ]
    return fitted(("job", "options", "score", "run", "outcome"), rows, drop=(), cut=("outcome", "run", "options"))
