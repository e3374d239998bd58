"""Tables of the stages and the tools: their purpose, and the stages before them.

Help and the checks of options read them, so that nothing slow is imported. `pipeline.py` runs the stages.
"""

import difflib

from kagglepipe.config import Config
from kagglepipe.errors import UserError

PIPELINE_STAGES = {
    "download": "get the files, from Kaggle, a zip, a folder or the sample",
    "prepare": "read labels, find near-duplicates, make folds, cache pixels",
    "augment": "draw augmented training images (not part of stage=all)",
    "train": "fit every fold; out-of-fold and test predictions, the score",
    "ensemble": "blend runs; by default the run just trained",
    "submit": "write and check the CSV; submit.upload=true sends it to Kaggle",
}
TOOLS = {
    "predict": "classify your own photos or clips: predict input=PATH",
    "detect": "find segments in videos: detect input=PATH|rtsp://…|camera",
    "annotations": "start annotations.csv for long videos: annotations input=FOLDER",
    "runs": "list runs and scores; runs.leaderboard=true: the leaderboard",
    "reproduce": "make a submission again, byte by byte: reproduce submission=CSV",
    "drill": "simulate public and private leaderboards on hidden labels",
    "doctor": "check Python, device, disk, weights and the Kaggle account",
    "bundle": "make a folder for a Kaggle notebook without internet",
}
READ_ONLY_COMMANDS = {"runs", "doctor", "annotations"}  # write nothing into the root
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
    """The stages to run for `config.stage`, in order. Raises UserError for an unknown one."""
    stage = config.stage
    if stage == "all":
        stage = "submit"
    if stage not in BEFORE:
        known = ("all", *PIPELINE_STAGES, *TOOLS)
        near = difflib.get_close_matches(stage, known, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"stage={stage} is unknown; {hint}choose one of: {', '.join(known)}")
    before = BEFORE[stage]
    if config.run and stage == "submit":
        before = ("download", "prepare")  # the run is named: nothing is trained for it
    elif config.ensemble.runs and stage in ("ensemble", "submit"):
        before = tuple(name for name in before if name != "train")  # so are the members
    return [*before, stage]
