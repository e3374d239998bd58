"""`python -m kagglepipe …`: from the command line to a stage, and from an error to one line.

Help needs none of the libraries; Hydra composes the configuration; a UserError, and Hydra's own errors about
the command line, end in one line and exit code 2; Ctrl-C ends in 130. Everything else keeps its traceback.
"""

import difflib
import errno
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from kagglepipe.errors import UserError
from kagglepipe.launch import end_with_parent, is_first, rank, size

CONF = next(
    folder for folder in (Path(__file__).parent / "conf", Path(__file__).parent.parent / "conf") if folder.is_dir()
)
PLACE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR,
                errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG}  # fmt: skip
VALUE_FLAGS = {"-c", "--cfg", "-p", "--package", "-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir",
               "-i", "--info", "--experimental-rerun"}  # fmt: skip
FLAGS = {
    "-h", "--help", "--version", "--hydra-help", "-c", "--cfg", "--resolve", "-p", "--package", "-r", "--run",
    "-m", "--multirun", "-sc", "--shell-completion", "-cp", "--config-path", "-cn", "--config-name", "-cd",
    "--config-dir", "-i", "--info", "--experimental-rerun",
}  # fmt: skip


def main() -> None:
    """The console script: runs `sys.argv` and exits with 0, 2 (a mistake to mend), 130 (Ctrl-C) or a traceback."""
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        print(help_text())
        return
    if arguments == ["--version"]:
        from kagglepipe import __version__

        print(f"kagglepipe {__version__}")
        return
    multirun = bool({"-m", "--multirun"} & set(arguments))
    with errors_in_one_line():
        demand_flags(arguments)
        if multirun:
            demand_no_stream(arguments)
            demand_alone()
        sys.argv[1:] = [quoted(argument, multirun=multirun) for argument in with_stage(arguments)]
        compose_and_run()


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
    who = "kagglepipe" if is_first() else f"kagglepipe (process {rank()})"
    print(f"{who}: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


def compose_and_run() -> None:
    """Hands over to Hydra, and translates what it raises about the command line."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing and exiting
    import hydra
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from kagglepipe.config import Config

    ConfigStore.instance().store(name="schema", node=Config)
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)()
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error)) from error


def job(cfg: Any) -> float | dict[str, Any] | None:
    """One Hydra job: the composed configuration becomes dataclasses, and the stages run.

    In a multirun errors are raised, not turned into an exit, so that the other jobs go on. A trial of our own sweeper
    returns what it has to know of it; everything else the score, which any sweeper understands.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from kagglepipe.config import demand_options, demand_quoted
    from kagglepipe.stages import plan, walk
    from kagglepipe.stages.places import with_sample_if_no_data
    from kagglepipe.stages.trial import outcome

    end_with_parent()
    alone = HydraConfig.get().mode == RunMode.RUN
    if not is_first():
        logging.getLogger().setLevel(logging.ERROR)
    with errors_in_one_line() if alone else nullcontext():
        demand_options(OmegaConf.to_container(cfg))
        for file in chosen_files(HydraConfig.get().runtime):
            demand_quoted(file)
        try:
            config: Any = OmegaConf.to_object(cfg)
        except OmegaConfBaseException as error:
            raise UserError(explain(error)) from error
        if config.submit.upload and not alone:
            raise UserError(
                "a sweep sends nothing to Kaggle: leave submit.upload away, then submit the best by run=NAME"
            )
        if alone and HydraConfig.get().runtime.choices.get("sweep"):
            raise UserError(f"sweep={HydraConfig.get().runtime.choices.sweep} is many jobs: type -m as well")
        if not alone:
            config = with_own_device(config, HydraConfig.get().job.num)
        plan(config)  # an unknown stage fails before anything is announced
        config = with_sample_if_no_data(config)
        score = walk(config)
        return score if config.sweep.trial is None else outcome(config)
    return None


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


def demand_flags(arguments: list[str]) -> None:
    """Raises UserError for `--stage train`, which is written `stage=train` here."""
    for number, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if not name:
            raise UserError(f"{argument} names no option; options are written as name=value")
        if name.startswith("-") and name not in FLAGS:
            value = value or (arguments[number + 1] if number + 1 < len(arguments) else "VALUE")
            raise UserError(f"{name} is not a flag; options are written as {name.lstrip('-')}={value}")


def demand_no_stream(arguments: list[str]) -> None:
    """Raises UserError for a stream in a sweep, of which Hydra would tell and keep the address, password and all."""
    from kagglepipe.sequences.stream import is_stream  # PyAV is not waited for without a sweep over inputs

    values = [argument.partition("=")[2] for argument in arguments if argument.lstrip("+~").startswith("input=")]
    if any("://" in value or is_stream(part.strip(" '\"")) for value in values for part in value.split(",")):
        raise UserError("a stream is watched by one command alone: leave -m away")


def demand_alone() -> None:
    """Raises UserError for a sweep in several processes, each of which would run all of its jobs."""
    if size() > 1:
        raise UserError(
            f"-m starts jobs of its own and cannot be one of {size()} processes: leave torchrun away (jobs side by "
            "side: hydra/launcher=joblib), or leave -m away"
        )


def with_stage(arguments: list[str]) -> list[str]:
    """Lets a bare stage name stand for `stage=name`, anywhere on the command line.

    >>> with_stage(["predict", "input=photos"])
    ['stage=predict', 'input=photos']
    """
    from kagglepipe.stages import STREET, TOOLS

    names = {"all", *STREET, *TOOLS}
    before = ["", *arguments]
    return [
        f"stage={argument}" if argument in names and flag not in VALUE_FLAGS else argument
        for flag, argument in zip(before, arguments, strict=False)
    ]


def quoted(argument: str, *, multirun: bool = False) -> str:
    r"""Quotes the value of a path option, so that Hydra's grammar leaves people's file names alone.

    In a multirun a list of values stays a list, unless a file of that very name exists.

    >>> quoted("competition.source=x (1).zip")
    "competition.source='x (1).zip'"
    >>> quoted("input=it's.jpg")
    "input='it\\'s.jpg'"
    """
    from kagglepipe.config import PATH_KEYS, hydra_string

    key, equals, value = argument.partition("=")
    if not equals or key not in PATH_KEYS or value in ("", "null") or value[0] == value[-1] in "'\"":
        return argument
    if multirun and "," in value and not Path(value).expanduser().exists():
        return argument
    value = os.path.expanduser(value)  # noqa: PTH111  # which, unlike Path, leaves the unknown user of "~x.zip" alone
    return f"{key}={hydra_string(value)}"


def explain(error: Exception) -> str:
    """One line for an error of Hydra's or OmegaConf's: which option, what is wrong, what to type."""
    from kagglepipe.config import FREE, option_names

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
        near = difflib.get_close_matches(name, option_names(), 1, 0.6)
        hint = f"did you mean {near[0]}?" if near else "`python -m kagglepipe --help` lists the options"
        return f"{name} is not an option; {hint}"
    if missing := re.search(r"Could not find '(\w+)/([^']+)'.*?Available options in '\w+': (.*)", text):
        group, value, options = missing.groups()
        choices = re.sub(r"\s+", ", ", options.split(" Config search path")[0].strip())
        extra = f"; any timm model: model=timm model.name={value}" if group == "model" else ""
        return f"{group}={value} is unknown; choose one of: {choices}{extra}"
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


def help_text() -> str:
    """What there is to type, in one screen."""
    from kagglepipe.stages import STREET, TOOLS

    def listing(stages: dict[str, str]) -> str:
        return "\n".join(f"  {name:<11} {text}" for name, text in stages.items())

    def choices(group: str) -> str:
        return ", ".join(sorted(path.stem for path in (CONF / group).glob("*.yaml")))

    return f"""\
kagglepipe: an image or video competition from download to a checked submission.

usage: python -m kagglepipe [stage=NAME] [option=value …]

The street, in order; each stage makes what is missing and skips what is finished:
  all         every stage below in order (the default)
{listing(STREET)}
Tools:
{listing(TOOLS)}
Choices:
  competition=  {choices("competition")}
  model=        {choices("model")} (any timm model: model=timm model.name=NAME)
  training=     {choices("training")}
  augmentation= {choices("augmentation")}
  experiment=   {choices("experiment")}
  sweep=        {choices("sweep")} (with -m: many configurations, the best of them found)
Often used:
  competition.source=PATH   zip or folder with the images or videos, instead of a download from Kaggle
  training.epochs=3 training.lr=1e-4   folds.count=5   seed=0   run=NAME   device=cpu   engine=torch
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
  torchrun --nproc-per-node=2 -m kagglepipe training=finetune    two GPUs (more machines: docs/scale.md)
Kaggle, with a token (doctor says how to get one):
  python -m kagglepipe doctor                              is all there? what to do if not
  python -m kagglepipe submit.upload=true                  download, train, submit, wait for the score
Video:
  python -m kagglepipe competition=action_sample           the built-in videos: who does what when
  python -m kagglepipe annotations input=~/cams            begin to label your own long videos
  python -m kagglepipe competition=video_folder_untrimmed competition.source=~/cams
  python -m kagglepipe detect competition=video_folder_untrimmed competition.source=~/cams input=~/cams/monday.mp4"""


if __name__ == "__main__":
    main()
