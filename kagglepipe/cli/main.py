"""`python -m kagglepipe …`: help, the version and completion at once; everything else as a Hydra job.

A UserError, and Hydra's own errors about the command line, end in one line and exit code 2; Ctrl-C ends in 130.
"""

import shlex
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from kagglepipe import console
from kagglepipe.cli.errors import errors_in_one_line
from kagglepipe.distributed import is_rank_zero
from kagglepipe.errors import UserError


def main() -> None:
    """The console script: runs `sys.argv` and exits with 0, 2 (a mistake to mend), 130 (Ctrl-C) or a traceback."""
    console.open_streams()
    try:
        run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of what is printed has gone, as `head` does
        pass
    finally:
        console.close_streams()


def run(arguments: list[str]) -> None:
    """Runs a command line."""
    with errors_in_one_line():
        if answered(arguments):
            return
        from kagglepipe.cli.arguments import (
            demand_alone,
            demand_no_stream,
            demand_words,
            flags_first,
            quoted,
            with_stage,
        )
        from kagglepipe.cli.hydra_job import compose_and_run
        from kagglepipe.cli.yaml_files import demand_text

        demand_folder()
        demand_words(arguments)
        demand_text(arguments)
        multirun = bool({"-m", "--multirun"} & set(arguments))
        if multirun:
            demand_no_stream(arguments)
            demand_alone()
        words = with_stage(arguments)
        words += meant(words)
        sys.argv[1:] = flags_first([quoted(word, multirun=multirun) for word in words])
        with console.telling("sweep" if multirun else "starting") if is_rank_zero() else nullcontext():
            compose_and_run(multirun=multirun)


def answered(arguments: list[str]) -> bool:
    """Prints help, the version, or what a shell completes, if one of them is asked for."""
    flags = {argument.partition("=")[0] for argument in arguments}
    if {"-h", "--help"} & flags:
        from kagglepipe.cli.help import help_text, stage_help
        from kagglepipe.stages import BEFORE

        stages = [word.removeprefix("stage=") for word in arguments if word.removeprefix("stage=") in BEFORE]
        print(stage_help(stages[0]) if stages else help_text())
    elif arguments == ["--version"]:
        from kagglepipe import __version__

        print(f"kagglepipe {__version__}")
    elif {"-sc", "--shell-completion"} & flags:
        from kagglepipe.cli.completion import complete

        complete(arguments)
    else:
        return False
    return True


def demand_folder() -> None:
    """Raises UserError where the folder that the command was typed in is gone."""
    try:
        Path.cwd()
    except OSError as error:
        raise UserError("the current folder is not there any more: cd to another one first") from error


def meant(words: Sequence[str]) -> list[str]:
    """The competition that is meant where none was typed, as words, which are told."""
    from kagglepipe.cli.default_competition import words_meant

    found = words_meant(words)
    if found and is_rank_zero():
        print(f"*** {shlex.join(found)}: the one competition that is prepared here, so it is meant")
    return found
