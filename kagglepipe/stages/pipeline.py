"""Run the stages in order; only training runs in all ranks.

A stage is `run(config) -> score or None`. It reads and writes files and skips finished work, so that earlier stages can
run before any later one. Its `check(config)`, if there is one, raises UserError before any work.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from kagglepipe.config import Config
from kagglepipe.console import working
from kagglepipe.distributed import barrier, is_rank_zero, process_group
from kagglepipe.files import absolute, keep_locks_in
from kagglepipe.stages import augment, download, ensemble, prepare, submit, train

READ_ONLY_TOOLS = {"runs", "doctor", "annotations"}  # write nothing into the root


class Stage(NamedTuple):
    """The functions of a stage or tool."""

    run: Callable[[Config], float | None]
    check: Callable[[Config], None] | None = None


STAGES = {
    "download": Stage(download.run, download.check),
    "prepare": Stage(prepare.run),
    "augment": Stage(augment.run, augment.check),
    "train": Stage(train.run, train.check),
    "ensemble": Stage(ensemble.run, ensemble.check),
    "submit": Stage(submit.run, submit.check),
}


def run_stages(config: Config, names: Sequence[str], stages: Mapping[str, Stage] = STAGES) -> float | None:
    """Run stages in order, after the checks of all; only rank 0 runs those that do not train.

    Returns the last score of a stage.
    """
    for name in names:
        if check := stages[name].check:
            check(config)
    if not set(names) <= READ_ONLY_TOOLS:
        keep_locks(config)
    with process_group(config.device):
        score = None
        for name in names:
            with working(name):
                result = stages[name].run(config) if name == "train" or is_rank_zero() else None
            score = result if result is not None else score
            barrier()
    return score


def keep_locks(config: Config) -> None:
    """Make the folder for locks in the root and in the folder of results."""
    for folder in {config.root, absolute(config.paths.outputs or config.paths.root)}:
        with suppress(OSError):  # an error where something is written; not to predict from a read-only folder
            keep_locks_in(folder)
