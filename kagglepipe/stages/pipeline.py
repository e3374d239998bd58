"""Runs the stages in order, of several processes the first one all that is not training.

A stage is `run(config) -> score or None`. It reads and writes files, skips what is finished and says so, so that
any later stage can call for the earlier ones without doing anything twice. A stage may have a `check(config)`, which
raises UserError for what can be told before any work.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from kagglepipe.config import Config
from kagglepipe.console import working
from kagglepipe.distributed import barrier, is_rank_zero, process_group
from kagglepipe.files import absolute, keep_locks_in
from kagglepipe.stages import READING, augment, download, ensemble, prepare, submit, train

STAGES: dict[str, Callable[[Config], float | None]] = {
    "download": download.run,
    "prepare": prepare.run,
    "augment": augment.run,
    "train": train.run,
    "ensemble": ensemble.run,
    "submit": submit.run,
}
CHECKS: dict[str, Callable[[Config], None]] = {
    "download": download.check,
    "augment": augment.check,
    "train": train.check,
    "submit": submit.check,
}


def run_stages(
    config: Config,
    names: Sequence[str],
    stages: Mapping[str, Callable[[Config], float | None]] = STAGES,
    checks: Mapping[str, Callable[[Config], None]] = CHECKS,
) -> float | None:
    """Runs stages in order, after the checks of all; of several processes only the first does what is not training.

    Returns the last score that a stage has.
    """
    for name in names:
        if name in checks:
            checks[name](config)
    if not set(names) <= READING:
        keep_locks(config)
    with process_group(config.device):
        score = None
        for name in names:
            with working(name):
                result = stages[name](config) if name == "train" or is_rank_zero() else None
            score = result if result is not None else score
            barrier()
    return score


def keep_locks(config: Config) -> None:
    """Makes the folder for locks in the root and, if results go elsewhere, there, for whoever shares that."""
    for folder in {config.root, absolute(config.paths.outputs or config.paths.root)}:
        with suppress(OSError):  # who writes there is told; who predicts from a folder that is read alone is not
            keep_locks_in(folder)
