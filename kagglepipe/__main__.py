"""`python -m kagglepipe …`: from the command line to a stage, and from an error to one line.

Help needs none of the libraries; Hydra composes the configuration; a UserError, and Hydra's own errors about
the command line, end in one line and exit code 2; Ctrl-C ends in 130. Everything else keeps its traceback.
"""

import errno
import logging
import os
import re
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from kagglepipe import console
from kagglepipe.distributed import is_rank_zero, rank, world_size
from kagglepipe.errors import UserError
from kagglepipe.parallel import exit_with_parent

CONF = next(
    folder for folder in (Path(__file__).parent / "conf", Path(__file__).parent.parent / "conf") if folder.is_dir()
)
PLACE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR,
                errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG}  # fmt: skip


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
        from kagglepipe import usage
        from kagglepipe.stages import BEFORE

        stages = [word.removeprefix("stage=") for word in arguments if word.removeprefix("stage=") in BEFORE]
        print(usage.stage_help(stages[0]) if stages else usage.help_text())
    elif arguments == ["--version"]:
        from kagglepipe import __version__

        print(f"kagglepipe {__version__}")
    elif {"-sc", "--shell-completion"} & flags:
        complete(arguments)
    else:
        return False
    return True


def complete(arguments: list[str]) -> None:
    """`--shell-completion install=bash` prints what bash has to be told; `query=bash word=…` what it asks for then."""
    from kagglepipe import usage

    if "install=bash" in arguments:
        print(usage.BASH)
    elif "uninstall=bash" in arguments:
        print("complete -r kagglepipe python python3; unset -f _kagglepipe_complete")
    elif "query=bash" in arguments:
        word = next((one.partition("=")[2] for one in arguments if one.startswith("word=")), "")
        for completion in usage.completions(word):
            print(completion)
    else:
        raise UserError(
            '--shell-completion needs a shell: type eval "$(python -m kagglepipe --shell-completion install=bash)"'
        )


def demand_folder() -> None:
    """Raises UserError where the folder that the command was typed in is gone."""
    try:
        Path.cwd()
    except OSError as error:
        raise UserError("the current folder is not there any more: cd to another one first") from error


def meant(words: Sequence[str]) -> list[str]:
    """The competition that is meant where none was typed, as words, which are told."""
    from kagglepipe.meant import words_meant

    found = words_meant(words)
    if found and is_rank_zero():
        print(f"*** {shlex.join(found)}: the one competition that is prepared here, so it is meant")
    return found


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Ends the program with one line and code 2 on what a user can mend, with 130 on Ctrl-C; lets the rest pass."""
    try:
        yield
    except UserError as error:
        stop(str(error), 2)
    except KeyboardInterrupt:
        stop("stopped; the same command goes on where it was", 130)
    except OSError as error:
        if error.errno not in PLACE_ERRORS:
            raise
        stop(place_error(error), 2)


def stop(message: str, code: int) -> None:
    """Prints one line, without the password of an address that was typed, and exits."""
    if ":/" in message or "@" in message:
        from kagglepipe.sequences.stream import hide_password

        message = re.sub(r"\w+:/\S+|[^\s=]+:\S+@\S+", lambda found: hide_password(found[0]), message)
    console.erase()
    who = "kagglepipe" if is_rank_zero() else f"kagglepipe (process {rank()})"
    print(f"{who}: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


def compose_and_run(*, multirun: bool = False) -> None:
    """Hands over to Hydra, and translates what it raises about the command line."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing and exiting
    import hydra
    import yaml
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from kagglepipe.config import schema

    ConfigStore.instance().store(name="schema", node=schema())
    varied = {word.partition("=")[0].lstrip("+") for word in sys.argv[1:] if is_sweep(word)} if multirun else set()

    from kagglepipe.typed import DECIDE_WHAT_IS_READ

    def task(cfg: Any) -> Any:
        return job(cfg, strict=not varied & DECIDE_WHAT_IS_READ)

    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(task)()
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error)) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{mark.name}, line {mark.line + 1}," if mark else "a file"
        raise UserError(f"{where} is no YAML ({error.problem}): indent by blanks, and close quotes") from error
    finally:
        if multirun:
            from kagglepipe.jobs import table_of_jobs

            lines = table_of_jobs()
            console.erase()
            for line in lines:
                print(line)


def is_sweep(word: str) -> bool:
    """Whether a word gives an option several values.

    >>> is_sweep("seed=0,1"), is_sweep("folds.only=[0,1]"), is_sweep("training.epochs=range(1,3)")
    (True, False, True)
    """
    value = word.partition("=")[2]
    is_function = re.match(r"(choice|range|interval|glob|tag|sort|shuffle)\(", value) is not None
    return is_function or ("," in value and value[0] not in "'\"[{")


def job(cfg: Any, *, strict: bool = True) -> float | dict[str, Any] | None:
    """One Hydra job: the composed configuration becomes dataclasses, and the stages run.

    In a multirun errors are raised, not turned into an exit, so that the other jobs go on. A trial of our own sweeper
    returns what it has to know of it; everything else the score, which any sweeper understands.
    strict: whether options that this job does not read are an error; those of a sweep may be for its other jobs.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    exit_with_parent()
    console.open_streams()
    alone = HydraConfig.get().mode == RunMode.RUN
    if not is_rank_zero():
        logging.getLogger().setLevel(logging.ERROR)
    elif is_side_by_side():
        head_lines(f"job {HydraConfig.get().job.num}: ")
    telling = console.telling(on_terminal=False if is_side_by_side() else None) if is_rank_zero() else nullcontext()
    with telling, errors_in_one_line() if alone else nullcontext(), warnings_in_one_line():
        return walk_and_keep(checked(cfg, alone=alone, strict=strict), alone=alone)
    return None


def checked(cfg: Any, *, alone: bool, strict: bool) -> Any:
    """The configuration of a job as dataclasses. Raises UserError for whatever can be told before any work."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from kagglepipe.config import demand_options, demand_quoted
    from kagglepipe.stages import plan

    demand_options(OmegaConf.to_container(cfg))
    for file in chosen_files(HydraConfig.get().runtime):
        demand_quoted(file)
    try:
        config: Any = OmegaConf.to_object(cfg)
    except OmegaConfBaseException as error:
        raise UserError(explain(error)) from error
    demand_sense(config, alone=alone)
    plan(config)  # an unknown stage fails before anything is announced
    if not alone:
        config = with_own_device(config, HydraConfig.get().job.num)
    if strict and not is_trial(config):
        from kagglepipe.typed import demand_read

        demand_read(config)
    return config


def walk_and_keep(config: Any, *, alone: bool) -> float | dict[str, Any] | None:
    """Runs the stages; what a job of a sweep comes to lies in its folder then, for the table at the end."""
    from kagglepipe.runs.store import RunStore
    from kagglepipe.stages.account import with_sample_if_no_data
    from kagglepipe.tools.commands import run_command
    from kagglepipe.tools.trial_result import trial_result

    config = with_sample_if_no_data(config)
    if config.run is not None and config.stage != "drill":
        RunStore(config.runs_dir).named(config.run)  # before anything is downloaded for it
    if alone or is_trial(config):
        score = run_command(config)
        return score if config.sweep.trial is None else trial_result(config)
    from hydra.core.hydra_config import HydraConfig

    from kagglepipe.jobs import kept
    from kagglepipe.stages.configured import finished_run

    here = HydraConfig.get()
    with kept(Path(here.runtime.output_dir), here.job.num, list(here.overrides.task)) as found:
        found.score = run_command(config)
        found.run = finished_run(config)
    return found.score


def demand_sense(config: Any, *, alone: bool) -> None:
    """Raises UserError for what a sweep, or a command without -m, cannot do."""
    from hydra.core.hydra_config import HydraConfig

    if config.submit.upload and not alone:
        raise UserError("a sweep sends nothing to Kaggle: leave submit.upload away, then submit the best by run=NAME")
    if alone and (sweep := HydraConfig.get().runtime.choices.get("sweep")):
        raise UserError(f"sweep={sweep} is many jobs: type -m as well")


def is_trial(config: Any) -> bool:
    """Whether the job is one of our own sweeper, which looks at its options beforehand."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    own = HydraConfig.get().mode != RunMode.RUN and HydraConfig.get().runtime.choices.get("sweep")
    return bool(config.sweep.trial is not None or own)


def head_lines(head: str) -> None:
    """Puts `head` before every log line of this process."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(logging.Formatter(head.replace("%", "%%") + "%(message)s"))


@contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """Tells the warnings of libraries once each, as one log line without file and code; scikit-learn's are debugging.

    What of those matters is said where it is fitted.
    """
    told: set[str] = set()

    def show(message: Warning | str, category: type[Warning], filename: str, *_: Any) -> None:
        text, parts = " ".join(str(message).split())[:300], Path(filename).parts
        library = parts[parts.index("site-packages") + 1] if "site-packages" in parts[:-1] else category.__name__
        if text not in told:
            told.add(text)
            level = logging.DEBUG if library == "sklearn" else logging.WARNING
            logging.getLogger(__name__).log(level, "%s: %s", library, text)

    with warnings.catch_warnings():
        warnings.showwarning = show  # type: ignore[assignment]
        yield


def is_side_by_side() -> bool:
    """Whether other jobs may write beside this one."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    is_alone = HydraConfig.get().mode == RunMode.RUN
    return not is_alone and not str(HydraConfig.get().launcher._target_).endswith("BasicLauncher")


def chosen_files(runtime: Any) -> list[Path]:
    """The YAML files of the competition and the experiment that were chosen."""
    folders = [Path(source.path) for source in runtime.config_sources if source.schema == "file"]
    names = [(group, runtime.choices.get(group)) for group in ("competition", "experiment")]
    files = [folder / group / f"{name}.yaml" for group, name in names if name for folder in folders]
    return [file for file in files if file.is_file()]


def with_own_device(config: Any, number: int) -> Any:
    """The configuration of job `number` of a sweep, on a GPU of its own where there are several."""
    from kagglepipe.training.device import device_of_job, gpu_is_possible

    if config.device != "auto" or not gpu_is_possible():
        return config
    return replace(config, device=device_of_job(number))


def demand_words(arguments: list[str]) -> None:
    """Raises UserError for words that are no flag, stage or option: `--stage train` is written `stage=train` here."""
    from kagglepipe.usage import FLAGS, VALUE_FLAGS, stage_names, unknown_flag, unknown_word

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


def with_stage(arguments: list[str]) -> list[str]:
    """Lets a bare stage name stand for `stage=name`, anywhere on the command line.

    >>> with_stage(["predict", "input=photos"])
    ['stage=predict', 'input=photos']
    """
    from kagglepipe.usage import VALUE_FLAGS, stage_names

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
    from kagglepipe.usage import VALUE_FLAGS

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
    from kagglepipe.config import PATH_KEYS, hydra_string
    from kagglepipe.files import expanded

    key, equals, value = argument.partition("=")
    if not equals or key not in PATH_KEYS or value in ("", "null") or value[0] == value[-1] in "'\"":
        return argument
    if multirun and "," in value and not expanded(value).exists():
        return argument
    return f"{key}={hydra_string(os.path.expanduser(value))}"  # noqa: PTH111  # Path spoils rtsp://


def demand_text(words: Sequence[str]) -> None:
    """Raises UserError for a YAML file of one's own, in the folder of --config-dir, that is not UTF-8."""
    flags = {"-cd", "--config-dir"}
    folders = [after for word, after in pairwise(words) if word in flags]
    folders += [word.partition("=")[2] for word in words if word.partition("=")[0] in flags and "=" in word]
    for file in [file for folder in folders for file in sorted(Path(folder).glob("*/*.yaml"))]:
        try:
            file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{file} is no text in UTF-8 ({error.reason}): save it as UTF-8") from error


def explain(error: Exception) -> str:
    """One line for an error of Hydra's or OmegaConf's: which option, what is wrong, what to type."""
    from kagglepipe.config import FREE
    from kagglepipe.usage import did_you_mean, near_options, part_without_option, several_values, unknown_choice

    text = " ".join(f"{error} {error.__cause__ or ''}".split())
    if "does not support sweep type : INTERVAL_SWEEP" in text:
        words = next(word for word in sys.argv if "interval(" in word)
        return f"{words} has no end of values: add sweep=own, and a sampler chooses among them"
    if override := getattr(error, "override", None):
        return f"{override} cannot be read; options are written as name=value, with quotes as name='a b' where needed"
    if unknown := re.search(r"Could not override '(\S+)'|Key '(\S+)' (?:is )?not in '(\w+)'", text):
        name = unknown[1] or unknown[2]
        full = re.search(r"full_key: (\S+)", text)
        name = full[1] if full and not unknown[1] else name
        if name.startswith(tuple(f"{free}." for free in FREE)):
            return f"{name} is new to the configuration: type +{name}=VALUE"
        if name in FREE:
            return f"{name} takes one name at a time: type +{name}.NAME=VALUE"
        hint = did_you_mean(near_options(name)) or "`python -m kagglepipe --help` lists the options"
        return f"{name} is not an option; {hint}"
    if missing := re.search(r"Could not find '(\w+)/([^']+)'.*?Available options in '\w+': (.*)", text):
        group, value, options = missing.groups()
        return unknown_choice(group, value, options.split(" Config search path")[0].split())
    if several := re.search(r"Ambiguous value for argument '([^=]+)=(.*?)' 1\.", text):
        return several_values(several[1], several[2])
    if part := re.search(r"override ([\w.]+)=(.*?) Invalid type assigned: \w+ is not a subclass of", text):
        return part_without_option(part[1], part[2])
    if own := re.search(r"In '(\S+)': \w+ raised while composing config: (.*)", text):
        key = re.search(r"full_key: (\S+)", text)
        name = f"{key[1] if key else 'an option'} of {own[1]}.yaml"
        if "is not a ListConfig" in own[2] or "with ListConfig" in own[2]:
            return f"{name} is no list: write it as [a, b]"
        if "is not Optional" in own[2]:
            return f"{name} is empty: write what it is behind the colon, or take the line out"
    if alone := re.search(r"override (\S+?)=(.*) Invalid value assigned: \w+ is not a ListConfig", text):
        return f"{alone[1]}={alone[2]} is no list: type '{alone[1]}=[{alone[2]}]'"
    if name := re.search(r"Key (.+?) \((\w+)\) is incompatible with \(str\) full_key: (\S+)", text):
        found = (
            f"{name[3].rpartition('.')[0]} has a name that YAML reads as {name[2]} {name[1]}, as it does off, no and 1"
        )
        return f"{found}: quote it, as 'off'"
    if name := re.search(r"NoneType is not a subclass of str.*full_key: (\S+)", text):
        return f"{name[1]} is empty to YAML, as null and ~ are: quote it, as 'null'"
    if bad := re.search(r"(Value '.*?' of type '\w+' could not be converted to \w+|.*?) full_key: (\S+)", text):
        return f"{bad[2]}: {bad[1][bad[1].rfind('Value') :] if 'Value' in bad[1] else bad[1]}"
    return text.split(" See https://hydra.cc")[0]


def place_error(error: OSError) -> str:
    """One line for a full disk, a file that cannot be read or a folder that cannot be written."""
    where = error.filename2 or error.filename or "the output folder"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"no space left for {where}: free some, or choose another place with paths.root=FOLDER"
    if error.errno in (errno.EACCES, errno.EPERM) and is_unreadable(Path(os.fsdecode(where))):
        return f"{where} cannot be read ({error.strerror}): type chmod -R u+rX '{where}', or ask its owner"
    return f"{where} cannot be written ({error.strerror}): choose another place with paths.root=FOLDER"


def is_unreadable(path: Path) -> bool:
    """Whether a file or folder is there, or may be, and must not be read."""
    try:
        if path.is_dir():
            next(os.scandir(path), None)
        elif path.is_file():
            path.open("rb").close()
    except PermissionError:
        return True
    except OSError:
        return False
    return False


if __name__ == "__main__":
    main()
