"""The street and the tools beside it, one file each; this file only says which there are and in what order.

A stage is `run(config) -> score or None`. It reads and writes files, skips what is finished and says so, so that
any later stage can call for the earlier ones without doing anything twice.
"""

import difflib
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

from kagglepipe.config import Config, absolute
from kagglepipe.console import working
from kagglepipe.distributed import barrier, is_rank_zero, process_group
from kagglepipe.errors import UserError
from kagglepipe.files import keep_locks_in

STREET = {
    "download": "bring the competition's files to data/<slug>/raw (a zip, a folder in place, Kaggle, or the sample)",
    "prepare": "table of images or videos, near-duplicates, folds and a cache of decoded pixels",
    "augment": "picture of what augmentation does to the training images (not part of stage=all)",
    "train": "fit every fold; merged out-of-fold and test predictions, with the score",
    "ensemble": "blend runs into one (default: the run just trained)",
    "submit": "write and check the submission CSV (submit.upload=true sends it to Kaggle)",
}
TOOLS = {
    "predict": "probabilities for your own photos or clips: predict input=PATH",
    "detect": "what happens when in videos, a stream or a camera: detect input=PATH|rtsp://…|camera",
    "annotations": "begin an annotations.csv for a folder of long videos: annotations input=FOLDER",
    "runs": "every run with its score, and what Kaggle said of it (runs.leaderboard=true: the leaderboard)",
    "reproduce": "make a submission again and prove it is the same bytes: reproduce submission=submissions/NAME.csv",
    "drill": "hide a part of the labels, train on the rest, and see how far a leaderboard would lead astray",
    "doctor": "is all there: Python, device, disk, weights, Kaggle's token, rules and quota; what to do if not",
    "bundle": "one folder for a Kaggle notebook without internet: wheels, weights, a notebook",
}
READING = {"runs", "doctor", "annotations"}  # which leave nothing in the root
BEFORE = {
    "download": (),
    "prepare": ("download",),
    "augment": ("download", "prepare"),
    "train": ("download", "prepare"),
    "ensemble": ("download", "prepare", "train"),
    "submit": ("download", "prepare", "train", "ensemble"),
    "predict": (),
    "detect": (),
    "annotations": (),
    "runs": (),
    "reproduce": (),
    "drill": ("download",),
    "doctor": (),
    "bundle": (),
}
READS = {  # the parts of the configuration that each of them reads, beside what names the competition and its data
    "download": ("competition", "download", "kaggle"),
    "prepare": ("competition", "prepare", "cache", "folds"),
    "augment": ("augment", "augmentation", "model", "cache"),
    "train": ("model", "training", "augmentation", "sequences", "folds", "cache"),
    "ensemble": ("ensemble",),
    "submit": ("submit", "kaggle"),
    "predict": ("predict",),
    "detect": ("detect",),
    "annotations": (),
    "runs": ("runs", "kaggle"),
    "reproduce": (),
    "drill": ("drill",),
    "doctor": ("kaggle",),
    "bundle": ("bundle", "ensemble", "kaggle"),
}
OWN = {  # and the options beside those parts
    "train": ("run", "seed", "device", "engine", "workers"),
    "ensemble": ("run",),
    "submit": ("run",),
    "predict": ("input", "run", "device", "engine", "workers"),
    "detect": ("input", "run", "device", "engine"),
    "annotations": ("input",),
    "reproduce": ("submission", "workers"),
    "bundle": ("run",),
}


def plan(config: Config) -> list[str]:
    """The stages that `config.stage` stands for, in order. Raises UserError for an unknown one."""
    stage = config.stage
    if stage == "all":
        stage = "submit"
    if stage not in BEFORE:
        known = ("all", *STREET, *TOOLS)
        near = difflib.get_close_matches(stage, known, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"stage={stage} is unknown; {hint}choose one of: {', '.join(known)}")
    before = BEFORE[stage]
    if config.run and stage == "submit":
        before = ("download", "prepare")  # the run is named: nothing is trained for it
    elif config.ensemble.runs and stage in ("ensemble", "submit"):
        before = tuple(name for name in before if name != "train")  # so are the members
    return [*before, stage]


def walk(config: Config, names: Sequence[str] = ()) -> float | None:
    """Runs the plan, or the stages of these names alone. The score is that of the last stage which has one.

    A stage may have a `check(config)`, which is asked of all before any work is done. Of several processes only the
    first one does what is not training; the others wait for it.
    """
    stages = {name: import_module(f"kagglepipe.stages.{name}") for name in names or plan(config)}
    for stage in stages.values():
        if hasattr(stage, "check"):
            stage.check(config)
    if not stages.keys() <= READING:
        keep_locks(config)
    with process_group(config.device):
        score = None
        for name, stage in stages.items():
            with working(name):
                result: float | None = stage.run(config) if name == "train" or is_rank_zero() else None
            score = result if result is not None else score
            barrier()
    return score


def keep_locks(config: Config) -> None:
    """Makes the folder for locks in the root and, if results go elsewhere, there, for whoever shares that."""
    for folder in {config.root, absolute(config.paths.outputs or config.paths.root)}:
        with suppress(OSError):  # who writes there is told; who predicts from a folder that is read alone is not
            keep_locks_in(folder)
