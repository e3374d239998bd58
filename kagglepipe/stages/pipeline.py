"""Run the stages in order; only training runs in all ranks.

A stage is `run(config) -> score or None`. It reads and writes files and skips finished work, so that earlier stages can
run before any later one. Its `check(config)`, if there is one, raises UserError before any work.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from kagglepipe.config import Config
from kagglepipe.console import working
from kagglepipe.distributed import barrier, is_rank_zero, process_group
from kagglepipe.files import absolute, keep_locks_in
from kagglepipe.stages import READ_ONLY_COMMANDS, augment, download, ensemble, prepare, submit, train

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
    """Run stages in order, after the checks of all; only rank 0 runs those that do not train.

    Returns the last score of a stage.
    """
    for name in names:
        if name in checks:
            checks[name](config)
    if not set(names) <= READ_ONLY_COMMANDS:
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
    """Make the folder for locks in the root and in the folder of results."""
    for folder in {config.root, absolute(config.paths.outputs or config.paths.root)}:
        with suppress(OSError):  # an error where something is written; not to predict from a read-only folder
            keep_locks_in(folder)
