"""Map tool names to functions, and run a command with its preceding stages."""

from kagglepipe.config import Config
from kagglepipe.distributed import is_rank_zero
from kagglepipe.memory import keep_freed_memory
from kagglepipe.runs.configured import ends_with_summary
from kagglepipe.stages.pipeline import STAGES, Stage, run_stages
from kagglepipe.tools import (
    annotations,
    best,
    bundle,
    columns,
    course,
    describe,
    detect,
    doctor,
    drill,
    export,
    plan,
    predict,
    report,
    reproduce,
    runs,
)
from kagglepipe.tools.summary import show_summary

TOOLS = {
    "describe": Stage(describe.run, describe.check),
    "columns": Stage(columns.run),
    "predict": Stage(predict.run),
    "detect": Stage(detect.run),
    "annotations": Stage(annotations.run),
    "runs": Stage(runs.run),
    "report": Stage(report.run, report.check),
    "export": Stage(export.run),
    "reproduce": Stage(reproduce.run, reproduce.check),
    "drill": Stage(drill.run, drill.check),
    "course": Stage(course.run, course.check),
    "doctor": Stage(doctor.run),
    "bundle": Stage(bundle.run, bundle.check),
}


def run_command(config: Config) -> float | None:
    """Run the stage or tool of `config.stage` after its preceding stages; returns the last score, or None."""
    keep_freed_memory()
    if best.is_asked(config):
        return best.run(config)
    score = run_stages(config, plan(config), {**STAGES, **TOOLS})
    if ends_with_summary(config) and is_rank_zero():
        show_summary(config)
    return score
