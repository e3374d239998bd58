"""Command-line arguments before Hydra reads them: flags, stages, options and paths."""

import os
import re
from collections.abc import Sequence

from kagglepipe.cli.hints import FLAGS, VALUE_FLAGS, unknown_flag, unknown_word
from kagglepipe.config import LIST_KEYS, PATH_KEYS, STRING_KEYS, TEXT_KEYS, hydra_string
from kagglepipe.distributed import world_size
from kagglepipe.errors import UserError
from kagglepipe.files import expanded
from kagglepipe.tools import COMMANDS

MODE_FLAGS = (("-r", "--run"), ("-m", "--multirun"), ("-c", "--cfg"), ("-i", "--info"))  # Hydra takes one of them
NAMED = ("competition.columns.", "competition.layout.")  # options with any keys, whose values are names
SHOWN_FLAGS = ("--help", "--version", "--multirun", "--cfg", "--resolve", "--config-dir", "--shell-completion")


def check_arguments(arguments: list[str]) -> None:
    """Raise UserError for an argument that is no flag, stage or option, as `--stage train`, and for flags at odds."""
    stages, flags = [], []
    for number, argument in enumerate(arguments):
        following = arguments[number + 1] if number + 1 < len(arguments) else ""
        name, equals, _ = argument.partition("=")
        if not name:
            raise UserError(f"{argument} has no name; options are written as name=value")
        if number and arguments[number - 1] in VALUE_FLAGS:
            continue
        if name.startswith("-"):
            flags.append(name)
            if name not in FLAGS:
                raise UserError(unknown_flag(argument, following))
            if name in VALUE_FLAGS and not equals and not following:
                raise UserError(f"{name} needs a word after it, as --cfg job or --config-dir FOLDER")
        elif argument in COMMANDS:
            stages.append(argument)
        elif not equals and not name.startswith("~"):
            raise UserError(unknown_word(argument, following))
    if len(set(stages)) > 1:
        raise UserError(f"{' and '.join(stages)} are several stages: type the last one, it runs those before it")
    modes = {flag: mode for flag in flags for mode in MODE_FLAGS if flag in mode}
    if len(set(modes.values())) > 1:
        raise UserError(f"{' and '.join(modes)} exclude each other: leave all but one of them out")
    if "--resolve" in flags and not {"-c", "--cfg"} & modes.keys():
        raise UserError("--resolve is read with --cfg only: type --cfg job --resolve, or leave it out")


def check_no_stream(arguments: list[str]) -> None:
    """Raise UserError for a stream in a sweep: Hydra would print and store the address with its password."""
    from kagglepipe.sequences.stream import is_stream  # loads PyAV

    values = [argument.partition("=")[2] for argument in arguments if argument.lstrip("+~").startswith("input=")]
    if any("://" in value or is_stream(part.strip(" '\"")) for value in values for part in value.split(",")):
        raise UserError("a stream is read by a single command: leave -m out")


def check_single_process() -> None:
    """Raise UserError for a sweep under torchrun, where each process would run all jobs."""
    if world_size() > 1:
        raise UserError(
            f"-m starts jobs of its own and cannot be one of {world_size()} processes: leave torchrun out (parallel "
            "jobs: hydra/launcher=joblib), or leave -m out"
        )


def is_sweep(argument: str) -> bool:
    """Whether an argument gives an option several values.

    >>> is_sweep("seed=0,1"), is_sweep("folds.only=[0,1]"), is_sweep("training.epochs=range(1,3)")
    (True, False, True)
    """
    value = argument.partition("=")[2]
    is_function = re.match(r"(choice|range|interval|glob|tag|sort|shuffle)\(", value) is not None
    return is_function or ("," in value and value[0] not in "'\"[{")


def with_stage(arguments: list[str]) -> list[str]:
    """Replace a bare stage name by `stage=name`, anywhere on the command line; `report=true` is of stage=runs.

    >>> with_stage(["predict", "input=photos"])
    ['stage=predict', 'input=photos']
    """
    arguments = ["runs.report=true" if argument == "report=true" else argument for argument in arguments]
    before = ["", *arguments]
    return [
        f"stage={argument}" if argument in COMMANDS and flag not in VALUE_FLAGS else argument
        for flag, argument in zip(before, arguments, strict=False)
    ]


def flags_first(words: Sequence[str]) -> list[str]:
    """Move flags and their values before the options, since Hydra accepts no options on both sides of a flag.

    >>> flags_first(["stage=train", "--config-dir", "conf", "seed=1", "-m"])
    ['--config-dir', 'conf', '-m', 'stage=train', 'seed=1']
    """
    before = ["", *words]
    is_flag = [word.startswith("-") or flag in VALUE_FLAGS for word, flag in zip(words, before, strict=False)]
    flags = [word for word, here in zip(words, is_flag, strict=True) if here]
    return [*flags, *(word for word, here in zip(words, is_flag, strict=True) if not here)]


def quoted(argument: str, *, multirun: bool = False) -> str:
    r"""Quote the value of a path, a text, or a name such as a column's, so that Hydra's grammar does not change it;
    write one value of an option that takes several as a list.

    In a multirun a list of values stays a list, unless a file of that name exists.

    >>> quoted("competition.source=x (1).zip")
    "competition.source='x (1).zip'"
    >>> quoted("input=it's.jpg"), quoted("predict.tta=auto")
    ("input='it\\'s.jpg'", 'predict.tta=[auto]')
    >>> quoted("competition.columns.label=größe"), quoted("competition.classes=[größe,b]")
    ("competition.columns.label='größe'", "competition.classes=['größe',b]")
    """
    option, equals, value = argument.partition("=")
    if not equals or value in ("", "null") or value[0] == value[-1] in "'\"":
        return argument
    if option in TEXT_KEYS:
        return f"{option}={hydra_string(value)}"
    if option in PATH_KEYS and not (multirun and "," in value and not expanded(value).exists()):
        return f"{option}={hydra_string(os.path.expanduser(value))}"  # noqa: PTH111  # Path spoils rtsp://
    is_name = option in STRING_KEYS or option.lstrip("+").startswith(NAMED)
    is_list = option in LIST_KEYS or (is_name and value[0] == "[")
    if option in PATH_KEYS or "$" in value or is_sweep(argument) or not (is_list or is_name):
        return argument
    if not is_list:
        return f"{option}={as_name(value)}"
    if not re.fullmatch(r"\[[^\[\]'\"{}]+\]|[^\['\"{}]+", value):
        return argument  # in Hydra's grammar already
    words = [word.strip() for word in value.removeprefix("[").removesuffix("]").split(",")]
    return f"{option}=[{','.join(as_name(word) if is_name else word for word in words)}]"


def as_name(word: str) -> str:
    """Quote a name, unless Hydra's grammar reads it as it stands."""
    is_plain = re.fullmatch(r"(?i)(?!(true|false|inf|nan|[\d_.e+-]+)$)[a-z\d][\w./:@+ -]*", word, re.ASCII)
    return word if is_plain else hydra_string(word)
