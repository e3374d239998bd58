"""Help: the command in one screen, a stage with its options, and all options as `docs/options.md`."""

import ast
import re
import textwrap
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from kagglepipe.cli.hints import choices, groups
from kagglepipe.config import Config, option_fields
from kagglepipe.options import limits_of
from kagglepipe.stages import STREET, TOOLS


def help_text() -> str:
    """What there is to type, in one screen."""

    def listing(stages: Mapping[str, str]) -> str:
        return "\n".join(f"  {name:<11} {text}" for name, text in stages.items())

    def listed(group: str) -> str:
        return ", ".join(choices(group))

    return f"""\
kagglepipe: an image or video competition from download to a checked submission.

usage: python -m kagglepipe [STAGE] [option=value …]
       python -m kagglepipe STAGE --help

The street, in order; each stage makes what is missing and skips what is finished:
  all         every stage below in order (the default)
{listing(STREET)}
Tools:
{listing(TOOLS)}
Choices:
  competition=  {listed("competition")}
  model=        {listed("model")} (any timm model: model=timm model.name=NAME)
  training=     {listed("training")}
  augmentation= {listed("augmentation")}
  experiment=   {listed("experiment")}
  sweep=        {listed("sweep")} (with -m: many configurations, the best of them found)
Often used:
  competition.source=PATH   zip or folder with the images or videos, instead of a download from Kaggle
  training=finetune training.epochs=3 training.lr=1e-4   folds.count=5   seed=0   run=NAME   device=cpu   engine=torch
  sequences.rate=8 sequences.motion=true sequences.steps=300   detect.seconds=60
  submit.file=PATH   predict.file=PATH   detect.file=PATH   paths.root=FOLDER
  submit.upload=true submit.wait=600   competition.refresh=true   runs.leaderboard=true
  runs.file=runs.csv 'runs.compare=[RUN,RUN]'   'drill.runs=["*"]' drill.share=0.2 drill.teams=1000
  training.budget=20m   training.micro_batch=4   folds.only=[0]   'training.trackers=[tensorboard]'

Try:
  python -m kagglepipe                                     the built-in sample, start to end
  python -m kagglepipe competition.source=photos.zip       the competition itself, from its archive
  python -m kagglepipe competition=image_folder competition.source=~/photos
  python -m kagglepipe predict input=~/photos              classify with what was trained
  python -m kagglepipe -m stage=train model=lite0,lite1    one run for each value (a sweep)
  python -m kagglepipe -m sweep=head sweep.trials=20       let a sampler choose; a killed sweep goes on
  python -m kagglepipe --cfg job                           every option with its value
  torchrun --nproc-per-node=2 -m kagglepipe training=finetune    two GPUs (more machines: docs/long-runs.md)
  eval "$(python -m kagglepipe --shell-completion install=bash)"    TAB completes stages, options, choices
Kaggle, with a token (doctor says how to get one):
  python -m kagglepipe doctor                              is all there? what to do if not
  python -m kagglepipe submit.upload=true                  download, train, submit, wait for the score
Video:
  python -m kagglepipe competition=action_sample           the built-in videos: who does what when
  python -m kagglepipe annotations input=~/cams            begin to label your own long videos
  python -m kagglepipe competition=video_folder_untrimmed competition.source=~/cams
  python -m kagglepipe detect competition=video_folder_untrimmed competition.source=~/cams input=~/cams/monday.mp4"""


def stage_help(stage: str) -> str:
    """What a stage does, and the options that it reads, with their defaults."""
    file = Path(__file__).parents[1] / ("tools" if stage in TOOLS else "stages") / f"{stage}.py"
    about = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    about = re.sub(r"^stage=\S+( input=\S+)?: ", "", about)
    read = [one for one in fields(Config) if stage in one.metadata["stages"]]
    parts = "\n\n".join(_part(one.name) for one in read if is_dataclass(one.default_factory))
    tops = [line for one in read if not is_dataclass(one.default_factory) for line in _option_lines(one.name, one)]
    more = "\n".join(tops) + "\n\n" if tops else ""
    head = f"kagglepipe {stage}: {({**STREET, **TOOLS})[stage]}\n\nusage: python -m kagglepipe {stage} [option=value …]"
    foot = "All stages: python -m kagglepipe --help. Every option: python -m kagglepipe --cfg job"
    return f"{head}\n\n{about}\n\n{more}{parts}\n\n{foot}".replace("\n\n\n\n", "\n\n")


def _part(name: str) -> str:
    """The options of a group: default, meaning, choices."""
    group = next(one.default_factory for one in fields(Config) if one.name == name)
    chosen = [f"  {name}={'|'.join(choices(name))}"] if name in groups() else []
    lines = [line for option, one in option_fields(group, f"{name}.") for line in _option_lines(option, one)]
    return "\n".join([f"{name}.*: {group.__doc__}", *chosen, *lines])


def _option_lines(name: str, one: Any) -> list[str]:
    """`training.lr=0.0001`, and below it the meaning and the choices."""
    default = one.default if one.default is not MISSING else one.default_factory()
    chosen = one.metadata["choices"]
    about = one.metadata["doc"] + (f" One of {', '.join(chosen)}." if chosen else "")
    return [
        f"  {name}={_shown(default)}",
        *textwrap.wrap(about, 110, initial_indent="      ", subsequent_indent="      "),
    ]


def _shown(value: Any) -> str:
    """A default as it would be typed."""
    if isinstance(value, list):
        return f"[{','.join(map(_shown, value))}]"
    return (
        {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)
    )


def options_page() -> str:
    """`docs/options.md`: a table for each group, of name, default, meaning and choices."""
    groups: dict[str, list[str]] = {}
    for name, one in option_fields():
        facts, group = one.metadata, name.rpartition(".")[0] or "At the top"
        default = one.default if one.default is not MISSING else one.default_factory()
        limits = " and ".join(limits_of(facts))
        about = [facts["doc"], f"One of {', '.join(facts['choices'])}." if facts["choices"] else ""]
        about.append(f"Number: {limits}." if limits else "")
        about.append(f"Read by runs of {' or '.join(facts['read_by'])}." if facts["read_by"] else "")
        cells = (f"`{name}`", f"`{_shown(default)}`", " ".join(filter(None, about)).replace("|", "\\|"))
        groups.setdefault(group, []).append(f"| {' | '.join(cells)} |")
    head = "| option | default | meaning |\n|---|---|---|\n"
    parts = [f"## {group}\n\n{head}" + "\n".join(rows) for group, rows in groups.items()]
    return "# Options\n\nWritten by `python -m kagglepipe.cli.help > docs/options.md`.\n\n" + "\n\n".join(parts)


if __name__ == "__main__":
    print(options_page())
