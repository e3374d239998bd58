"""A command as a Hydra job: the composed configuration becomes dataclasses, is checked, and its stages run."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from kagglepipe import console
from kagglepipe.cli.arguments import is_sweep
from kagglepipe.cli.errors import errors_in_one_line, explain
from kagglepipe.config import CONF
from kagglepipe.distributed import is_rank_zero
from kagglepipe.errors import UserError
from kagglepipe.parallel import exit_with_parent


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

    from kagglepipe.cli.unread_options import DECIDE_WHAT_IS_READ

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
            from kagglepipe.cli.job_table import table_of_jobs

            lines = table_of_jobs()
            console.erase()
            for line in lines:
                print(line)


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

    from kagglepipe.cli.yaml_files import chosen_files, demand_quoted
    from kagglepipe.config import demand_options
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
        from kagglepipe.cli.unread_options import demand_read

        demand_read(config)
    return config


def walk_and_keep(config: Any, *, alone: bool) -> float | dict[str, Any] | None:
    """Runs the stages; what a job of a sweep comes to lies in its folder then, for the table at the end."""
    from kagglepipe.runs.store import RunStore
    from kagglepipe.stages.download import with_sample_if_no_data
    from kagglepipe.tools.commands import run_command
    from kagglepipe.tools.trial_result import trial_result

    config = with_sample_if_no_data(config)
    if config.run is not None and config.stage != "drill":
        RunStore(config.runs_dir).named(config.run)  # before anything is downloaded for it
    if alone or is_trial(config):
        score = run_command(config)
        return score if config.sweep.trial is None else trial_result(config)
    from hydra.core.hydra_config import HydraConfig

    from kagglepipe.cli.job_table import kept
    from kagglepipe.runs.identity import finished_run

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


def with_own_device(config: Any, number: int) -> Any:
    """The configuration of job `number` of a sweep, on a GPU of its own where there are several."""
    from kagglepipe.training.device import device_of_job, gpu_is_possible

    if config.device != "auto" or not gpu_is_possible():
        return config
    return replace(config, device=device_of_job(number))
