"""The end of stage=all and stage=train: scores and baselines, classes, where everything lies, what to type next.

On a terminal it is framed, in a pipe or file its lines are log lines.
"""

import logging
import os
import shlex
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from kagglepipe.config import Config
from kagglepipe.console import ConsoleHandler
from kagglepipe.predictions.frame import class_columns
from kagglepipe.reports.failures import Predicted
from kagglepipe.runs.configured import summarised_run
from kagglepipe.runs.describe import describe_scores
from kagglepipe.runs.run import Run
from kagglepipe.runs.typed_words import folder_words
from kagglepipe.text import framed, terminal_columns
from kagglepipe.tools.report import data_of, is_at_end, next_steps, page_at_end, submitted

log = logging.getLogger(__name__)
MOST_CLASSES = 10  # in the line of classes
MOST_STEPS = 2
MOST_COLUMNS = 100


def show_summary(config: Config) -> None:
    """Log the summary of the command's run, and the path of its page as the last line."""
    if (run := summarised_run(config)) is None:
        return
    page, (dataset, _) = page_at_end(config), data_of(config, run)
    steps = next_steps(config, run, dataset)
    if not is_at_end(config) and dataset is not None and not dataset.nothing_to_classify:
        named = shlex.join([f"run={run.name}", *folder_words(config)])
        steps.insert(0, ("Write the submission:", f"python -m kagglepipe submit {named}"))
    lines = [
        *describe_scores(run.metrics, run.metrics["metric"]),
        *describe_classes(run),
        *submitted(config, run, dataset)[:1],
        f"Networks, predictions and metrics are in {shown(run.folder)}.",
        *(f"{what} {typed}" for what, typed in steps[:MOST_STEPS]),
    ]
    log_framed("ensemble" if run.is_ensemble else "train", run.name, lines)
    if page:
        log.log(page[0], "report: %s", page[1])


def log_framed(stage: str, title: str, lines: Iterable[str]) -> None:
    """Log lines in a frame on a terminal, each after the name of the stage elsewhere; colours as NO_COLOR asks."""
    is_command = any(isinstance(one, ConsoleHandler) for one in logging.getLogger().handlers)
    if is_command and (columns := terminal_columns()):
        in_colour = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        shown = framed(title, lines, min(columns, MOST_COLUMNS), in_colour=in_colour)
        log.info("\n".join(shown))
        return
    for line in lines:
        log.info("%s: %s", stage, line)


def describe_classes(run: Run) -> list[str]:
    """Recall of each class or tag in a line; none for numbers or many classes."""
    if not run.oof_file.exists() or len(classes := class_columns(oof := run.oof())) > MOST_CLASSES:
        return []
    found = Predicted(oof, classes, run.metrics.get("decision"))
    if found.task.name == "regression":
        return []
    truth, answers = (np.eye(len(classes), dtype=bool)[one] if one.ndim == 1 else one
                      for one in (found.truth, found.answers))  # fmt: skip
    counts = zip(classes, (truth & answers).sum(axis=0), truth.sum(axis=0), strict=True)
    each = ", ".join(f"{name} {hits}/{rows}" for name, hits, rows in counts)
    return [f"recall of each {'class' if found.truth.ndim == 1 else 'tag'}: {each}"]


def shown(path: Path) -> Path:
    """A path from the current folder, where it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
