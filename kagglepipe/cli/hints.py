"""Hints at misspelt words: what was wrong, what was probably meant, what to type."""

import difflib
import re
from collections.abc import Iterable
from typing import Any

from kagglepipe.config import CONF, Config, option_names
from kagglepipe.files import expanded
from kagglepipe.stages import STREET, TOOLS

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


def default_of(option: str) -> Any:
    """What an option is if it is not typed; None for what is no option.

    >>> default_of("folds.count"), default_of("folds.only")
    (5, [])
    """
    node: Any = Config()
    for part in option.split("."):
        node = getattr(node, part, None)
    return node


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
