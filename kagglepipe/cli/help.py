"""Help: an overview of the command, the options of a stage, and all options as `docs/options.md`."""

import ast
import re
import shutil
import textwrap
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from kagglepipe.cli.hints import choices, groups
from kagglepipe.config import Config, option_fields, stages_reading
from kagglepipe.options import default_value, limits_text
from kagglepipe.stages import STAGE_HELP
from kagglepipe.tools import TOOL_HELP

NOTES = {
    "model": " (any timm model: model=timm model.name=NAME)",
    "sweep": " (with -m: search over many configurations)",
}
EXAMPLES = {
    "the built-in sample, start to end": "",
    "the competition itself, from its archive": "competition.source=photos.zip",
    "any other competition, from its files": "competition=auto competition.source=PATH",
    "your own photos, in a folder for each class": "competition=image_folder competition.source=~/photos",
    "classify photos with the trained run": "predict input=~/photos",
    "fine-tune the whole network": "training=finetune training.epochs=3 training.lr=1e-4",
    "one run for each value": "-m stage=train model=lite0,lite1",
    "search with a sampler; the same command continues after a kill": "-m sweep=head sweep.trials=20",
    "compare two runs row by row": "runs 'runs.compare=[RUN,RUN]'",
    "check this machine and the Kaggle account": "doctor",
    "download, train, submit, wait for the score": "submit.upload=true submit.wait=600",
    "the built-in videos: actions and their times": "competition=action_sample",
    "start to label your own long videos": "annotations input=~/cams",
    "find actions in a new video": "detect input=~/monday.mp4",
    "the course behind it, a lesson at a time": "course lesson=convolution",
    "all options with their values": "--cfg job",
}
USED_BY = """"Used by … runs" names the runs that read an option; all words of an alternative must be true of it. Words:
its `competition.kind`, `form=` and `task=`; its `training.mode`: `head`, `finetune` or `best`; `network`: recurrent or
convolutional over time; `mean`: a linear mean over time; `segments`: segments or events; `classes`: any task but
regression; `augmented`: its images or frames; `cropped`: `model.crop` is not squash; `teacher`: of pseudo-labels."""


def help_text() -> str:
    """Format the overview: stages, tools, choices and examples."""

    def listing(stages: Mapping[str, str]) -> str:
        return "\n".join(f"  {name:<11} {text}" for name, text in stages.items())

    chosen = ("competition", "model", "training", "augmentation", "experiment", "sweep")
    lists = "\n".join(
        _wrap(f"{group + '=':<13} {', '.join(choices(group))}{NOTES.get(group, '')}", "  ", 14) for group in chosen
    )
    examples = "\n".join(f"  # {about}\n  python -m kagglepipe {typed}".rstrip() for about, typed in EXAMPLES.items())
    return f"""\
kagglepipe: images, videos, series or sounds, from download to a submission

usage: python -m kagglepipe [STAGE] [option=value …]
       python -m kagglepipe STAGE --help

Stages, in order; each runs what is missing and skips what is finished:
  all         all stages below (the default), without augment
{listing(STAGE_HELP)}

Tools:
{listing(TOOL_HELP)}

Choices:
{lists}

Common options (STAGE --help and docs/options.md have all):
  competition.source=PATH  seed=0  run=NAME  device=cpu  paths.root=FOLDER
  folds.count=5  'folds.only=[0]'  training.budget=20m  training.micro_batch=4
  'training.trackers=[tensorboard]'  submit.file=PATH  submit.upload=true

Examples:
{examples}
  # two GPUs
  torchrun --nproc-per-node=2 -m kagglepipe training=finetune
  # TAB completes stages, options and choices in bash
  eval "$(python -m kagglepipe --shell-completion install=bash)\""""


def stage_help(stage: str) -> str:
    """Describe a stage and list the options that it reads, with their defaults."""
    file = Path(__file__).parents[1] / ("tools" if stage in TOOL_HELP else "stages") / f"{stage}.py"
    about = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    about = re.sub(r"^stage=\S+( input=\S+)?: ", "", about)
    parts = [f"usage: python -m kagglepipe {stage} [option=value …]"]
    parts += [_wrap(text) for text in (about[:1].upper() + about[1:]).split("\n\n")]
    read = [(name, one) for name, one in option_fields() if stage in stages_reading(name)]
    parts.append("\n".join(_option_help(name, one) for name, one in read if "." not in name))
    for group in fields(Config):
        if lines := [_option_help(name, one) for name, one in read if name.startswith(f"{group.name}.")]:
            chosen = [_wrap(f"{group.name}={' | '.join(choices(group.name))}", "  ")] if group.name in groups() else []
            about = _wrap(f"{group.name}.*: {group.default_factory.__doc__}")
            parts.append("\n".join([about, *chosen, *lines]))
    parts.append("All stages: python -m kagglepipe --help. All options: docs/options.md")
    return "\n\n".join(filter(None, parts))


def _wrap(text: str, indent: str = "", hanging: int = 4) -> str:
    """Wrap a paragraph to the width of the terminal, 100 columns at most; `hanging`: more indent of further lines."""
    columns = min(shutil.get_terminal_size().columns, 100)
    following = indent + " " * hanging if indent else ""
    return textwrap.fill(
        " ".join(text.split()) if not indent else text, columns, initial_indent=indent, subsequent_indent=following,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _option_help(name: str, one: Any) -> str:
    """`training.lr=0.0001`, and below it the meaning and the choices."""
    return f"  {name}={_typed(default_value(one))}\n{_wrap(_meaning(name, one), '      ', 0)}"


def _meaning(name: str, one: Any) -> str:
    chosen = one.metadata["choices"]
    if name == "competition.metric":
        from kagglepipe.predictions.metrics import METRICS, WITHOUT_K

        chosen = (*METRICS, *(f"{name} with a number for k" for name in WITHOUT_K), "FILE.py:FUNCTION")
    return one.metadata["doc"] + (f" One of {', '.join(chosen)}." if chosen else "")


def _typed(value: Any) -> str:
    """Format a value of an option as it would be typed."""
    if isinstance(value, list):
        return f"[{','.join(map(_typed, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def options_page() -> str:
    """`docs/options.md`: a table for each group, of name, default and meaning."""
    tables: dict[str, list[str]] = {}
    for name, one in option_fields():
        about = _meaning(name, one)
        if limits := limits_text(one.metadata):
            about += f" {limits[0].upper()}{limits[1:]}."
        if words := one.metadata["read_by"]:
            about += f" Used by {' or '.join(words)} runs."
        about = about.replace("|", "\\|")
        row = f"| `{name}` | `{_typed(default_value(one))}` | {about} |"
        tables.setdefault(name.rpartition(".")[0] or "At the top", []).append(row)
    head = "| option | default | meaning |\n|---|---|---|\n"
    parts = [f"## {group}\n\n{head}" + "\n".join(rows) for group, rows in tables.items()]
    return "\n\n".join(["# Options", "Written by `python -m kagglepipe.cli.help > docs/options.md`.", USED_BY, *parts])


if __name__ == "__main__":
    print(options_page())
