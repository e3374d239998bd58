"""The words of a command line, before Hydra reads them: flags, stages, options and paths."""

import os
import re
from collections.abc import Sequence

from kagglepipe.cli.hints import FLAGS, VALUE_FLAGS, stage_names, unknown_flag, unknown_word
from kagglepipe.config import PATH_KEYS, hydra_string
from kagglepipe.distributed import world_size
from kagglepipe.errors import UserError
from kagglepipe.files import expanded

SHOWN_FLAGS = ("--help", "--version", "--multirun", "--cfg", "--resolve", "--config-dir", "--shell-completion")


def demand_words(arguments: list[str]) -> None:
    """Raises UserError for words that are no flag, stage or option: `--stage train` is written `stage=train` here."""
    stages = []
    for number, argument in enumerate(arguments):
        following = arguments[number + 1] if number + 1 < len(arguments) else ""
        name, equals, _ = argument.partition("=")
        if not name:
            raise UserError(f"{argument} names no option; options are written as name=value")
        if number and arguments[number - 1] in VALUE_FLAGS:
            continue
        if name.startswith("-"):
            if name not in FLAGS:
                raise UserError(unknown_flag(argument, following))
            if name in VALUE_FLAGS and not equals and not following:
                raise UserError(f"{name} needs a word after it, as --cfg job or --config-dir FOLDER")
        elif argument in stage_names():
            stages.append(argument)
        elif not equals and not name.startswith("~"):
            raise UserError(unknown_word(argument, following))
    if len(set(stages)) > 1:
        raise UserError(f"{' and '.join(stages)} are several stages: type the last alone, it runs what it needs before")


def demand_no_stream(arguments: list[str]) -> None:
    """Raises UserError for a stream in a sweep, of which Hydra would tell and keep the address, password and all."""
    from kagglepipe.sequences.stream import is_stream  # PyAV is not waited for without a sweep over inputs

    values = [argument.partition("=")[2] for argument in arguments if argument.lstrip("+~").startswith("input=")]
    if any("://" in value or is_stream(part.strip(" '\"")) for value in values for part in value.split(",")):
        raise UserError("a stream is watched by one command alone: leave -m away")


def demand_alone() -> None:
    """Raises UserError for a sweep in several processes, each of which would run all of its jobs."""
    if world_size() > 1:
        raise UserError(
            f"-m starts jobs of its own and cannot be one of {world_size()} processes: leave torchrun away (jobs side "
            "by side: hydra/launcher=joblib), or leave -m away"
        )


def is_sweep(word: str) -> bool:
    """Whether a word gives an option several values.

    >>> is_sweep("seed=0,1"), is_sweep("folds.only=[0,1]"), is_sweep("training.epochs=range(1,3)")
    (True, False, True)
    """
    value = word.partition("=")[2]
    is_function = re.match(r"(choice|range|interval|glob|tag|sort|shuffle)\(", value) is not None
    return is_function or ("," in value and value[0] not in "'\"[{")


def with_stage(arguments: list[str]) -> list[str]:
    """Lets a bare stage name stand for `stage=name`, anywhere on the command line.

    >>> with_stage(["predict", "input=photos"])
    ['stage=predict', 'input=photos']
    """
    names = set(stage_names())
    before = ["", *arguments]
    return [
        f"stage={argument}" if argument in names and flag not in VALUE_FLAGS else argument
        for flag, argument in zip(before, arguments, strict=False)
    ]


def flags_first(words: Sequence[str]) -> list[str]:
    """The flags and their values before the options, since Hydra reads no options that stand on both sides of a flag.

    >>> flags_first(["stage=train", "--config-dir", "conf", "seed=1", "-m"])
    ['--config-dir', 'conf', '-m', 'stage=train', 'seed=1']
    """
    before = ["", *words]
    is_flag = [word.startswith("-") or flag in VALUE_FLAGS for word, flag in zip(words, before, strict=False)]
    flags = [word for word, here in zip(words, is_flag, strict=True) if here]
    return [*flags, *(word for word, here in zip(words, is_flag, strict=True) if not here)]


def quoted(argument: str, *, multirun: bool = False) -> str:
    r"""Quotes the value of a path option, so that Hydra's grammar leaves people's file names alone.

    In a multirun a list of values stays a list, unless a file of that very name exists.

    >>> quoted("competition.source=x (1).zip")
    "competition.source='x (1).zip'"
    >>> quoted("input=it's.jpg")
    "input='it\\'s.jpg'"
    """
    key, equals, value = argument.partition("=")
    if not equals or key not in PATH_KEYS or value in ("", "null") or value[0] == value[-1] in "'\"":
        return argument
    if multirun and "," in value and not expanded(value).exists():
        return argument
    return f"{key}={hydra_string(os.path.expanduser(value))}"  # noqa: PTH111  # Path spoils rtsp://
