"""A command as a Hydra job: the composed configuration becomes dataclasses, is checked, and its stages run."""

import logging
import os
import sys
import warnings
from collections.abc import Collection, Iterator
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
from kagglepipe.memory import without_garbage_collection
from kagglepipe.parallel import exit_with_parent


def compose_and_run(*, multirun: bool = False, added: Collection[str] = ()) -> None:
    """Run `sys.argv` through Hydra, and translate its errors about the command line.

    added: arguments that nobody has typed, which need not be read.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing and exiting
    import hydra
    import yaml
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from kagglepipe.cli.unread_options import DECIDING_OPTIONS
    from kagglepipe.config import schema

    ConfigStore.instance().store(name="schema", node=schema())
    varied = {word.partition("=")[0].lstrip("+") for word in sys.argv[1:] if is_sweep(word)} if multirun else set()

    def task(cfg: Any) -> Any:
        return job(cfg, strict=not varied & DECIDING_OPTIONS, added=added)

    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(task)()
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error)) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{mark.name}, line {mark.line + 1}," if mark else "a file"
        raise UserError(f"{where} is not valid YAML ({error.problem}): indent by blanks, and close quotes") from error
    finally:
        if multirun:
            from kagglepipe.cli.job_table import job_table

            lines = job_table()
            console.clear_bar()
            print(*lines, sep="\n", end="\n" if lines else "")


def job(cfg: Any, *, strict: bool = True, added: Collection[str] = ()) -> float | dict[str, Any] | None:
    """Run the stages of one Hydra job.

    Returns the score, which any sweeper understands; a trial of our own sweeper a dictionary with what that needs. In a
    multirun errors are raised instead of exiting, so that the other jobs go on.
    strict: refuse options that this job does not read, but for those of `added`; in a sweep they may be for other jobs.
    """
    exit_with_parent()
    console.open_streams()
    multirun = is_multirun()
    parallel = multirun and not str(hydra_config().launcher._target_).endswith("BasicLauncher")
    if not is_rank_zero():
        logging.getLogger().setLevel(logging.ERROR)
    elif parallel:
        for handler in logging.getLogger().handlers:
            handler.setFormatter(logging.Formatter(f"job {hydra_config().job.num}: %(message)s"))
    progress = console.show_progress(on_terminal=False if parallel else None) if is_rank_zero() else nullcontext()
    with progress, nullcontext() if multirun else errors_in_one_line(), warnings_in_one_line():
        return run_job(checked_config(cfg, multirun=multirun, strict=strict, added=added), multirun=multirun)
    return None


def checked_config(cfg: Any, *, multirun: bool, strict: bool, added: Collection[str] = ()) -> Any:
    """Convert the configuration of a job to dataclasses. Raises UserError for mistakes that show before any work."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from kagglepipe.cli.named_metric import with_named_metric
    from kagglepipe.cli.yaml_files import check_quoted_names, chosen_files
    from kagglepipe.config import check_option_names
    from kagglepipe.tools import plan

    check_option_names(OmegaConf.to_container(cfg))
    for file in chosen_files(hydra_config().runtime):
        check_quoted_names(file)
    try:
        config: Any = OmegaConf.to_object(cfg)
    except OmegaConfBaseException as error:
        raise UserError(explain(error)) from error
    if config.submit.upload and multirun:
        raise UserError("a sweep sends nothing to Kaggle: leave submit.upload out, then submit the best by run=NAME")
    if multirun and config.training.mode == "best":
        raise UserError("training=best makes several runs, and a job of a sweep is one: leave -m out")
    if not multirun and (sweep := hydra_config().runtime.choices.get("sweep")):
        raise UserError(f"sweep={sweep} is many jobs: type -m as well")
    plan(config)  # an unknown stage fails before the first log line
    if multirun:
        from kagglepipe.training.device import device_of_job, gpu_is_possible

        if config.device == "auto" and gpu_is_possible():
            config = replace(config, device=device_of_job(hydra_config().job.num))
    if strict and not is_trial(config):
        from kagglepipe.cli.unread_options import check_overrides

        check_overrides(config, added)
    return with_named_metric(config)


def run_job(config: Any, *, multirun: bool) -> float | dict[str, Any] | None:
    """Run the stages; a job of Hydra's own sweeps leaves its result in its folder, for the table at the end."""
    from kagglepipe.cli.job_table import recorded_job
    from kagglepipe.runs.configured import finished_run
    from kagglepipe.runs.store import RunStore
    from kagglepipe.runs.trial import trial_result
    from kagglepipe.stages.download import with_sample_if_no_data

    with without_garbage_collection():
        from kagglepipe.tools.commands import run_command

    config = with_sample_if_no_data(config)
    if config.run is not None and config.stage != "drill":
        RunStore(config.runs_dir).named(config.run)  # fails before anything is downloaded
    if not multirun or is_trial(config):
        score = run_command(config)
        return score if config.sweep.trial is None else trial_result(config)
    hydra = hydra_config()
    with recorded_job(Path(hydra.runtime.output_dir), hydra.job.num, list(hydra.overrides.task)) as result:
        result.score = run_command(config)
        result.run = run.name if (run := finished_run(config)) else None
    return result.score


def hydra_config() -> Any:
    """Hydra's own part of the configuration."""
    from hydra.core.hydra_config import HydraConfig

    return HydraConfig.get()


def is_multirun() -> bool:
    """Whether the job is one of a sweep."""
    from hydra.types import RunMode

    return hydra_config().mode != RunMode.RUN


def is_trial(config: Any) -> bool:
    """Whether the job is a trial of our own sweeper, which checks its options beforehand."""
    return config.sweep.trial is not None or bool(is_multirun() and hydra_config().runtime.choices.get("sweep"))


@contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """Log each warning of a library once, as one line; scikit-learn's at level DEBUG.

    Fits that do not converge are reported where they are fitted.
    """
    shown: set[str] = set()

    def show(message: Warning | str, category: type[Warning], filename: str, *_: Any) -> None:
        text, parts = " ".join(str(message).split())[:300], Path(filename).parts
        library = parts[parts.index("site-packages") + 1] if "site-packages" in parts[:-1] else category.__name__
        if text not in shown:
            shown.add(text)
            level = logging.DEBUG if library == "sklearn" else logging.WARNING
            logging.getLogger(__name__).log(level, "%s: %s", library, text)

    with warnings.catch_warnings():
        warnings.showwarning = show  # type: ignore[assignment]
        yield
