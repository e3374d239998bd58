"""The stages and the tools by name: what they do, what goes before them.

Tables alone: help and the checks of options read them, and import nothing slow. `pipeline.py` runs the stages.
"""

import difflib

from kagglepipe.config import Config
from kagglepipe.errors import UserError

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
