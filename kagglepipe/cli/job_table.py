"""What the jobs of Hydra's own sweeps (-m without sweep=) come to: a file for each, and a table at the end."""

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
class Outcome:
    """What a job came to. words: its command line. run: the run that it has made or used, if there is one."""

    number: int
    words: list[str]
    run: str | None = None
    score: float | None = None
    error: str | None = None


@contextmanager
def kept(folder: Path, number: int, words: list[str]) -> Iterator[Outcome]:
    """An outcome to be filled in, which lies in the job's folder when the block ends, with the error that ended it."""
    outcome = Outcome(number, words)
    try:
        yield outcome
    except Exception as error:  # whatever it is, it goes on its way, and the table names it
        outcome.error = " ".join(f"{error}".split()) or type(error).__name__
        raise
    finally:
        write_json(folder / FILE, vars(outcome))


class SweepFolder(Callback):
    """Remembers where the jobs of a sweep lie, which Hydra tells nobody when one of them fails."""

    folder: Path | None = None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Called by Hydra before the first job."""
        SweepFolder.folder = Path(config.hydra.sweep.dir)


def table_of_jobs() -> list[str]:
    """The lines of a table of the last sweep's jobs; none where there was no such sweep, or only one job."""
    from kagglepipe.text import fitted

    files = sorted(SweepFolder.folder.glob(f"*/{FILE}")) if SweepFolder.folder else []
    SweepFolder.folder = None
    jobs = sorted((Outcome(**read_json(file)) for file in files), key=lambda job: job.number)
    if len(jobs) < 2:
        return []
    same = set.intersection(*(set(job.words) for job in jobs))
    rows = [
        (
            str(job.number),
            " ".join(word for word in job.words if word not in same),
            "" if job.score is None else f"{job.score:.4f}",
            job.run or "",
            f"FAILED: {job.error}" if job.error else "done",
        )
        for job in jobs
    ]
    return fitted(("job", "options", "score", "run", "outcome"), rows, drop=(), cut=("outcome", "run", "options"))
