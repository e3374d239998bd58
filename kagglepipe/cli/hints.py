"""Hints for misspelt arguments: the fault, the nearest names, the argument to type."""

import difflib
import re
from collections.abc import Iterable
from typing import Any

from kagglepipe.config import CONF, Config, option_names
from kagglepipe.files import expanded
from kagglepipe.options import POLICY_FILES
from kagglepipe.tools import COMMANDS

FLAGS = {
    "-h", "--help", "--version", "--hydra-help", "-c", "--cfg", "--resolve", "-p", "--package", "-r", "--run",
    "-m", "--multirun", "-sc", "--shell-completion", "-cp", "--config-path", "-cn", "--config-name", "-cd",
    "--config-dir", "-i", "--info", "--experimental-rerun",
}  # fmt: skip
VALUE_FLAGS = {"-c", "--cfg", "-p", "--package", "-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir",
               "-i", "--info", "--experimental-rerun"}  # fmt: skip
OTHER_NAMES = {  # names of options in other programs
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


def groups() -> list[str]:
    """Options that choose a YAML file, as `model`."""
    return sorted(folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name != "hydra")


def choices(group: str) -> list[str]:
    """List the choices of a group: names of its YAML files.

    >>> "lite0" in choices("model")
    True
    """
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def default_of(option: str) -> Any:
    """Look up the default of an option; None for an unknown name.

    >>> default_of("folds.count"), default_of("folds.only")
    (5, [])
    """
    node: Any = Config()
    for part in option.split("."):
        node = getattr(node, part, None)
    return node


def near(word: str, known: Iterable[str], count: int = 1) -> list[str]:
    """Find the nearest of the known words; first those that differ only in case.

    >>> near("predcit", ["predict", "prepare"])
    ['predict']
    """
    known = list(known)
    same = [one for one in known if one.lower() == word.lower()]
    return [*same, *(one for one in difflib.get_close_matches(word, known, count, 0.6) if one not in same)][:count]


def near_options(name: str) -> list[str]:
    """Find the options nearest to a misspelt name: those with the same last part, else with similar spelling.

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
    """Ask for the words that may be meant, for a message; empty without words.

    >>> did_you_mean(["training.lr", "sequences.lr"])
    'did you mean training.lr or sequences.lr?'
    """
    return f"did you mean {' or '.join(words)}?" if words else ""


def unknown_word(word: str, following: str = "") -> str:
    """Explain an argument that is neither a stage nor an option with a value. following: the argument after it."""
    if word in option_names() or word in groups():
        value = following if following and not following.startswith("-") and "=" not in following else "VALUE"
        return f"{word} cannot be read; options are written as name=value: type {word}={value}"
    if found := near(word, COMMANDS):
        return f"{word} is not a stage; {did_you_mean(found)}"
    if found := near_options(word):
        return f"{word} is not a stage, nor an option with a value; did you mean {found[0]}=VALUE?"
    path = expanded(word)
    if path.exists():
        return f"{word} is a file or folder: type competition.source={word} to train on it, or predict input={word}"
    if "/" in word or word.lower().endswith(FILE_ENDS):
        return f"{word} does not exist; folders and files are typed as competition.source=PATH or predict input=PATH"
    if not re.fullmatch(r"\w+", word):
        return f"{word} cannot be read; options are written as name=value, with quotes as name='a b' where needed"
    return f"{word} is not a stage; choose one of: {', '.join(COMMANDS)}"


def unknown_flag(flag: str, following: str) -> str:
    """Explain an unknown flag. following: the argument after it."""
    name, _, value = flag.partition("=")
    bare = name.lstrip("-")
    if bare in COMMANDS:
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
    """Explain several values for one option, as in `seed=1,2`."""
    if isinstance(default_of(name), list):
        return f"{name}={values} is not a list: type '{name}=[{values}]'"
    quoted = f"\"{name}='{values}'\""
    return f"{name}={values} are several values: add -m (--multirun) for a run each, or type {quoted} for a single one"


def part_without_option(part: str, value: str) -> str:
    """Explain a value for a group of options, as in `folds=5`."""
    inside = [name for name in option_names() if name.startswith(f"{part}.")]
    typed = f"type {inside[0]}={value}, or another of {', '.join(inside)}"
    return f"{part}={value} does not name an option of {part}: {typed}"


def unknown_choice(group: str, value: str, known: list[str]) -> str:
    """Explain a choice that the group does not have."""
    found = did_you_mean([f"{group}={one}" for one in near(value, known)])
    text = f"{group}={value} is unknown; {found + ' ' if found else ''}choose one of: {', '.join(known)}"
    if group == "augmentation" and value.endswith(POLICY_FILES):
        text = f"{group}={value} names a file: type augmentation.policy={value}"
    if group == "model":
        lite = re.fullmatch(r"(?:efficientnet[-_]?)?lite(\d)", value)
        name = f"tf_efficientnet_lite{lite[1]}" if lite else value
        return f"{text}; any timm model by its own name: model=timm model.name={name}"
    if group == "competition":
        if expanded(value).exists():
            return f"{text}; your own photos: competition=image_folder competition.source={value}"
        return f"{text}; your own: competition=image_folder competition.source=FOLDER, or a YAML file and --config-dir"
    return text
