"""Names of the tools, commands beside the stages, and the plan of a command.

Nothing slow is imported here, since help reads it; `commands.py` has the functions.
"""

import difflib

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.stages import STAGE_HELP, STAGES_BEFORE

TOOL_HELP = {
    "describe": "infer a competition from its files, print it as a YAML",
    "columns": "add the columns of tables (age, place) to a run",
    "predict": "classify your own photos or clips: predict input=PATH",
    "detect": "find segments in videos: detect input=PATH|rtsp://…|camera",
    "annotations": "start annotations.csv for long videos: annotations input=FOLDER",
    "runs": "list runs and scores; runs.leaderboard=true: the leaderboard",
    "report": "write a page about a run: what fails, labels, curves",
    "export": "write a run's networks as ONNX: export run=NAME",
    "reproduce": "make a submission again, byte by byte: reproduce submission=CSV",
    "drill": "simulate public and private leaderboards on hidden labels",
    "course": "lessons on CNNs and recurrent networks: course lesson=NAME",
    "doctor": "check Python, device, disk, weights and the Kaggle account",
    "bundle": "make a folder for a Kaggle notebook without internet",
}
COMMANDS = ("all", *STAGE_HELP, *TOOL_HELP)  # values of `stage`


def plan(config: Config) -> list[str]:
    """List the stages and tools to run for `config.stage`, in order. Raises UserError for an unknown one."""
    stage = config.stage
    if stage not in COMMANDS:
        near = difflib.get_close_matches(stage, COMMANDS, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"stage={stage} is unknown; {hint}choose one of: {', '.join(COMMANDS)}")
    last = [stage]
    if stage == "all":
        stage, last = "submit", ["submit", "report"]
    before = STAGES_BEFORE.get(stage, ())
    if config.run and stage == "submit":
        before = ("download", "prepare")  # the run is named: nothing is trained for it
    elif config.ensemble.runs and stage in ("ensemble", "submit"):
        before = tuple(name for name in before if name != "train")  # so are the members
    return [*before, *last]
