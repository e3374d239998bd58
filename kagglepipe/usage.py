"""What there is to type: the help of the command and of each stage, what a shell completes, hints at misspelt words.

Reads the folder `conf/`, the dataclasses of the options and the docstrings of stages, and imports nothing that is slow.
"""

import ast
import difflib
import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from kagglepipe.config import PATH_KEYS, Config, option_fields, option_names
from kagglepipe.files import expanded
from kagglepipe.stages import STREET, TOOLS

CONF = next(
    folder for folder in (Path(__file__).parent / "conf", Path(__file__).parent.parent / "conf") if folder.is_dir()
)
FLAGS = {
    "-h", "--help", "--version", "--hydra-help", "-c", "--cfg", "--resolve", "-p", "--package", "-r", "--run",
    "-m", "--multirun", "-sc", "--shell-completion", "-cp", "--config-path", "-cn", "--config-name", "-cd",
    "--config-dir", "-i", "--info", "--experimental-rerun",
}  # fmt: skip
VALUE_FLAGS = {"-c", "--cfg", "-p", "--package", "-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir",
               "-i", "--info", "--experimental-rerun"}  # fmt: skip
OTHER_NAMES = {  # what options are called elsewhere
    **dict.fromkeys(("data", "dataset", "path", "folder", "dir", "images", "photos", "videos"), "competition.source"),
    **dict.fromkeys(("out", "output", "output_dir", "root_dir"), "paths.root"),
    **dict.fromkeys(("learning_rate", "base_lr"), "training.lr"),
    **dict.fromkeys(("num_epochs", "n_epochs", "max_epochs"), "training.epochs"),
    **dict.fromkeys(("n_folds", "num_folds", "kfold", "n_splits", "cv"), "folds.count"),
    **dict.fromkeys(("backbone", "network", "net", "arch", "encoder"), "model"),
    **dict.fromkeys(("num_workers", "n_jobs"), "workers"),
    **dict.fromkeys(("gpu", "gpus", "cuda"), "device"),
    "random_state": "seed",
}
FILE_ENDS = (".zip", ".csv", ".jpg", ".jpeg", ".png", ".mp4", ".avi", ".mov", ".yaml", ".yml")
SHOWN_FLAGS = ("--help", "--version", "--multirun", "--cfg", "--resolve", "--config-dir", "--shell-completion")


def stage_names() -> tuple[str, ...]:
    """Every stage and tool, as typed."""
    return ("all", *STREET, *TOOLS)


def groups() -> list[str]:
    """The options that choose a YAML file, as `model`."""
    return sorted(folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name != "hydra")


def choices(group: str) -> list[str]:
    """The YAML files that a group chooses among.

    >>> "lite0" in choices("model")
    True
    """
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


# --- hints -----------------------------------------------------------------------------------------------------


def near(word: str, known: Iterable[str], count: int = 1) -> list[str]:
    """The words most like a misspelt one; those that differ in case alone first.

    >>> near("predcit", ["predict", "prepare"])
    ['predict']
    """
    known = list(known)
    same = [one for one in known if one.lower() == word.lower()]
    return [*same, *(one for one in difflib.get_close_matches(word, known, count, 0.6) if one not in same)][:count]


def near_options(name: str) -> list[str]:
    """The options that a misspelt name may mean: its last part is one's, or it is like one as a whole.

    >>> near_options("trainning"), near_options("training.epoch"), near_options("lr")
    (['training'], ['training.epochs'], ['training.lr', 'sequences.lr'])
    """
    known = option_names()
    if "." not in name:
        if ends := [one for one in known if one.rpartition(".")[2] == name][:3]:
            return ends
        if name in OTHER_NAMES:
            return [OTHER_NAMES[name]]
        top = {*groups(), *(one.partition(".")[0] for one in known)}
        by_last = {one.rpartition(".")[2]: one for one in reversed(known)}
        return near(name, top) or [by_last[word] for word in near(name, by_last)]
    last = name.rpartition(".")[2]
    return [one for one in known if one.rpartition(".")[2] == last][:3] or near(name, known)


def did_you_mean(words: list[str]) -> str:
    """The question, or nothing.

    >>> did_you_mean(["training.lr", "sequences.lr"])
    'did you mean training.lr or sequences.lr?'
    """
    return f"did you mean {' or '.join(words)}?" if words else ""


def unknown_word(word: str, following: str = "") -> str:
    """What is wrong with a word that is neither a stage nor an option with a value, and what to type.

    following: the argument after it.
    """
    if word in option_names() or word in groups():
        value = following if following and not following.startswith("-") and "=" not in following else "VALUE"
        return f"{word} cannot be read; options are written as name=value: type {word}={value}"
    if found := near(word, stage_names()):
        return f"{word} is not a stage; {did_you_mean(found)}"
    if found := near_options(word):
        return f"{word} is not a stage, nor an option with a value; did you mean {found[0]}=VALUE?"
    path = expanded(word)
    if path.exists():
        return f"{word} is a file or folder: type competition.source={word} to train on it, or predict input={word}"
    if "/" in word or word.lower().endswith(FILE_ENDS):
        return f"nothing is at {word}; folders and files are typed as competition.source=PATH or predict input=PATH"
    if not re.fullmatch(r"\w+", word):
        return f"{word} cannot be read; options are written as name=value, with quotes as name='a b' where needed"
    return f"{word} is not a stage; choose one of: {', '.join(stage_names())}"


def unknown_flag(flag: str, following: str) -> str:
    """What is wrong with a flag that there is not. following: the argument after it."""
    name, _, value = flag.partition("=")
    bare = name.lstrip("-")
    if bare in stage_names():
        return f"{name} is not a flag; stages are written without dashes: type {bare}"
    if bare not in (*option_names(), *groups()):
        is_end = any(one.rpartition(".")[2] == bare for one in option_names())
        if not is_end and (found := near(name, [known for known in FLAGS if known.startswith("--")])):
            return f"{name} is not a flag; {did_you_mean(found)}"
        if options := near_options(bare):
            bare = options[0]
    value = value or (following if following and "=" not in following else "VALUE")
    return f"{name} is not a flag; options are written as {bare}={value}"


def several_values(name: str, values: str) -> str:
    """What to type for an option that was given several values, as in `seed=1,2`."""
    if isinstance(default_of(name), list):
        return f"{name}={values} is no list: type '{name}=[{values}]'"
    quoted = f"\"{name}='{values}'\""
    return f"{name}={values} are several values: add -m (--multirun) for a run with each, or type {quoted} if it is one"


def part_without_option(part: str, value: str) -> str:
    """What to type for a value that was given to a part of the configuration, as in `folds=5`."""
    inside = [name for name in option_names() if name.startswith(f"{part}.")]
    typed = f"type {inside[0]}={value}, or another of {', '.join(inside)}"
    return f"{part}={value} does not say which option of {part} it is: {typed}"


def unknown_choice(group: str, value: str, known: list[str]) -> str:
    """What is wrong with a value of a group that no YAML file is for."""
    found = did_you_mean([f"{group}={one}" for one in near(value, known)])
    text = f"{group}={value} is unknown; {found + ' ' if found else ''}choose one of: {', '.join(known)}"
    if group == "model":
        lite = re.fullmatch(r"(?:efficientnet[-_]?)?lite(\d)", value)
        name = f"tf_efficientnet_lite{lite[1]}" if lite else value
        return f"{text}; any timm model by its own name: model=timm model.name={name}"
    if group == "competition":
        if expanded(value).exists():
            return f"{text}; your own photos: competition=image_folder competition.source={value}"
        return f"{text}; your own: competition=image_folder competition.source=FOLDER, or a YAML file and --config-dir"
    return text


# --- help ------------------------------------------------------------------------------------------------------


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
    file = Path(__file__).parent / ("tools" if stage in TOOLS else "stages") / f"{stage}.py"
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


# --- completion ------------------------------------------------------------------------------------------------

BASH = """\
_kagglepipe_complete() {
    local words=("${COMP_WORDS[@]}") run i
    local line="${COMP_LINE:0:COMP_POINT}"
    if [[ "${words[0]##*/}" == python* ]]; then
        if [[ "${words[1]}" != -m || "${words[2]}" != kagglepipe ]]; then
            COMPREPLY=($(compgen -o default -- "${words[COMP_CWORD]}"))
            return
        fi
        run=("${words[0]}" -m kagglepipe)
    else
        run=("${words[0]}")
    fi
    local word="${line##* }"
    mapfile -t COMPREPLY < <("${run[@]}" --shell-completion query=bash word="$word" 2>/dev/null)
    if (( ${#COMPREPLY[@]} == 0 )); then
        local value="${word#*=}"
        mapfile -t COMPREPLY < <(compgen -f -- "${value/#\\~/$HOME}")
        (( ${#COMPREPLY[@]} )) && compopt -o filenames 2>/dev/null
    elif [[ "$word" == *=* && "$COMP_WORDBREAKS" == *=* ]]; then  # bash completes what is behind the last break
        for i in "${!COMPREPLY[@]}"; do COMPREPLY[i]="${COMPREPLY[i]#*=}"; done
    fi
    [[ ${#COMPREPLY[@]} == 1 && "${COMPREPLY[0]}" == *= ]] && compopt -o nospace 2>/dev/null
}
complete -F _kagglepipe_complete kagglepipe
complete -o default -F _kagglepipe_complete python python3"""


def completions(word: str) -> list[str]:
    """What a word that is being typed can become: stages, flags, options, choices; nothing where a path is expected.

    >>> completions("pred")
    ['predict', 'predict.']
    >>> completions("model=lite")
    ['model=lite0', 'model=lite1', 'model=lite2']
    """
    name, equals, value = word.partition("=")
    if equals:
        if name in PATH_KEYS:
            return []
        known = list(stage_names()) if name == "stage" else choices(name) if name in groups() else values_of(name)
        return [f"{name}={one}" for one in known if one.startswith(value)]
    if word.startswith("-"):
        return [flag for flag in SHOWN_FLAGS if flag.startswith(word)]
    options = option_names()
    if "." not in word:
        parts = {one.partition(".")[0] for one in options if "." in one}
        options = [*(f"{one}=" for one in groups()), *(f"{one}=" for one in options if "." not in one)]
        options += [f"{part}." for part in parts]
    else:
        options = [f"{one}=" for one in options]
    return sorted({one for one in (*stage_names(), *options) if one.startswith(word)})


def values_of(option: str) -> list[str]:
    """The values of a switch."""
    return ["true", "false"] if isinstance(default_of(option), bool) else []


def default_of(option: str) -> Any:
    """What an option is if it is not typed; None for what is no option.

    >>> default_of("folds.count"), default_of("folds.only")
    (5, [])
    """
    node: Any = Config()
    for part in option.split("."):
        node = getattr(node, part, None)
    return node
