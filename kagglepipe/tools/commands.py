"""Map tool names to functions, and run a command with its preceding stages."""

from collections.abc import Callable

from kagglepipe.config import Config
from kagglepipe.stages import pipeline, plan
from kagglepipe.tools import annotations, bundle, detect, doctor, drill, predict, reproduce, runs

TOOLS: dict[str, Callable[[Config], float | None]] = {
    "predict": predict.run,
    "detect": detect.run,
    "annotations": annotations.run,
    "runs": runs.run,
    "reproduce": reproduce.run,
    "drill": drill.run,
    "doctor": doctor.run,
    "bundle": bundle.run,
}
CHECKS: dict[str, Callable[[Config], None]] = {
    "reproduce": reproduce.check,
    "drill": drill.check,
    "bundle": bundle.check,
}


def run_command(config: Config) -> float | None:
    """Run the stage or tool of `config.stage` after its preceding stages; returns the last score, or None."""
    return pipeline.run_stages(config, plan(config), {**pipeline.STAGES, **TOOLS}, {**pipeline.CHECKS, **CHECKS})
