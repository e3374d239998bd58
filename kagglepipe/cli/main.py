"""`python -m kagglepipe …`: help, the version and completion at once; everything else as a Hydra job.

A UserError, and Hydra's own errors about the command line, end in one line and exit code 2; Ctrl-C ends in 130.
"""

import gc
import shlex
import sys
from contextlib import nullcontext
from pathlib import Path

from kagglepipe import console
from kagglepipe.cli.errors import errors_in_one_line
from kagglepipe.distributed import is_rank_zero
from kagglepipe.errors import UserError
from kagglepipe.memory import without_garbage_collection


def main() -> None:
    """Run `sys.argv`; exits with 0, 2 (an error that the user can fix), 130 (Ctrl-C) or a traceback."""
    console.open_streams()
    try:
        run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # a closed pipe, as after `| head`
        pass
    finally:
        console.close_streams()
        gc.freeze()  # else the interpreter's end looks for garbage in all of torch, which takes seconds


def run(arguments: list[str]) -> None:
    """Run a command line."""
    with errors_in_one_line():
        if print_information(arguments):
            return
        with without_garbage_collection():
            from kagglepipe.cli import arguments as words
            from kagglepipe.cli.hydra_job import compose_and_run
            from kagglepipe.cli.own_yaml import with_own_yaml
            from kagglepipe.cli.yaml_files import check_utf8

        check_current_folder()
        words.check_arguments(arguments)
        check_utf8(arguments)
        multirun = bool({"-m", "--multirun"} & set(arguments))
        if multirun:
            words.check_no_stream(arguments)
            words.check_single_process()
        arguments = with_own_yaml(words.with_stage(arguments))
        added = added_arguments(arguments, multirun=multirun)
        arguments = [*added, *arguments]
        sys.argv[1:] = words.flags_first([words.quoted(one, multirun=multirun) for one in arguments])
        with console.show_progress("sweep" if multirun else "starting") if is_rank_zero() else nullcontext():
            compose_and_run(multirun=multirun, added=added)


def added_arguments(arguments: list[str], *, multirun: bool) -> list[str]:
    """Arguments to add that choose the competition, and its fields for competition=auto."""
    from kagglepipe.cli.default_competition import default_arguments, named_runs

    added = default_arguments(arguments)
    if added and "stage=describe" not in arguments and is_rank_zero():
        typed = dict(word.partition("=")[::2] for word in arguments)
        what = "that of the named run" if named_runs(typed) else "the only competition that is prepared here"
        print(f"*** {shlex.join(added)}: added, as {what}")
    chosen = [word.removeprefix("competition=") for word in (*added, *arguments) if word.startswith("competition=")]
    if not any("auto" in choice.split(",") for choice in chosen):
        return added
    from kagglepipe.cli.inferred_competition import inferred_arguments, logs_on_console

    with console.show_progress("starting") if is_rank_zero() else nullcontext(), logs_on_console():
        return [*added, *inferred_arguments([*added, *arguments], multirun=multirun)]


def print_information(arguments: list[str]) -> bool:
    """Print help, the version or completions, and return True, where a flag asks for one of them."""
    flags = {argument.partition("=")[0] for argument in arguments}
    if {"-h", "--help"} & flags:
        from kagglepipe.cli.help import help_text, stage_help
        from kagglepipe.tools import COMMANDS

        stages = [name for argument in arguments if (name := argument.removeprefix("stage=")) in COMMANDS[1:]]
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


def check_current_folder() -> None:
    """Raise UserError if the working directory no longer exists."""
    try:
        Path.cwd()
    except OSError as error:
        raise UserError("the current folder does not exist any more: cd to another one first") from error
