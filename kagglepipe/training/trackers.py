"""Experiment trackers: TensorBoard, Weights & Biases, MLflow, Trackio. Optional: log.csv holds the same metrics.

Each is an extra (`pip install 'kagglepipe[tensorboard]'`), imported when chosen. Each reads its own environment
variables, such as `WANDB_MODE=offline` or `MLFLOW_TRACKING_URI`.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kagglepipe.errors import UserError

log = logging.getLogger(__name__)
PROJECT = "kagglepipe"

Track = Callable[[str, int, Mapping[str, float]], None]  # (part, such as fold_0; step; name -> value of each metric)


@contextmanager
def tensorboard(folder: Path, settings: Mapping[str, Any]) -> Iterator[Track]:
    """Log to event files in <run>/tensorboard; view them by `tensorboard --logdir outputs`."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / "tensorboard")) as writer:
        writer.add_text("settings", "\n".join(f"- {name}: {value}" for name, value in flat(settings).items()))

        def track(part: str, step: int, figures: Mapping[str, float]) -> None:
            for name, value in figures.items():
                writer.add_scalar(f"{part}/{name}", value, step)

        yield track


@contextmanager
def wandb(folder: Path, settings: Mapping[str, Any]) -> Iterator[Track]:
    """Log to Weights & Biases; its files are in <run>/wandb."""
    import wandb as library
    from wandb.errors import UsageError

    try:
        run = library.init(project=PROJECT, name=folder.name, dir=str(folder), config=flat(settings))
    except UsageError as error:  # there is no key
        raise UserError(f"training.trackers=wandb: {error} Without an account: export WANDB_MODE=offline") from error
    try:
        yield with_epoch(run.log)
    finally:
        run.finish()


@contextmanager
def mlflow(folder: Path, settings: Mapping[str, Any]) -> Iterator[Track]:
    """Log to one MLflow experiment for all runs; without MLFLOW_TRACKING_URI it is in ./mlruns or ./mlflow.db."""
    import mlflow as library

    library.set_experiment(PROJECT)
    with library.start_run(run_name=folder.name):
        library.log_params({name: str(value)[:500] for name, value in flat(settings).items()})
        yield lambda part, step, figures: library.log_metrics(
            {f"{part}/{name}": value for name, value in figures.items()}, step=step
        )


@contextmanager
def trackio(folder: Path, settings: Mapping[str, Any]) -> Iterator[Track]:
    """Log to Trackio, on this machine; view it by `trackio show`."""
    import trackio as library

    library.init(project=PROJECT, name=folder.name, config=flat(settings))
    try:
        yield with_epoch(library.log)
    finally:
        library.finish()


def with_epoch(log: Callable[[dict[str, float]], Any]) -> Track:
    """Log the step as a metric of its part: each part has epochs of its own, a run of these libraries one count."""
    return lambda part, step, figures: log({f"{part}/{name}": x for name, x in {"epoch": step, **figures}.items()})


TRACKERS = {"tensorboard": tensorboard, "wandb": wandb, "mlflow": mlflow, "trackio": trackio}


def check_trackers(names: Iterable[str]) -> None:
    """Raise UserError if one of the named trackers is not installed."""
    for name in names:
        spec = find_spec(name)  # modules have the trackers' names; a mere folder of that name has no origin
        if spec is None or spec.origin is None:
            raise UserError(f"training.trackers={name} is not installed: type pip install 'kagglepipe[{name}]'")


@contextmanager
def tracking(names: list[str], *, folder: Path, settings: Mapping[str, Any]) -> Iterator[Track | None]:
    """Start the named trackers for a run in `folder`; yields None without names.

    A tracker that fails is dropped with a warning: a run does not depend on it. Raises UserError if one is not
    installed, or lacks a key.
    """
    if not names:
        yield None
        return
    check_trackers(names)
    tracks: dict[str, Track] = {}

    def warn(name: str, error: Exception) -> None:
        log.warning(
            "train: training.trackers=%s has failed and is left out (%s: %s)", name, type(error).__name__, error
        )

    def track(part: str, step: int, figures: Mapping[str, float]) -> None:
        for name, each in list(tracks.items()):
            try:
                each(part, step, figures)
            except Exception as error:  # of the tracker's library, which may raise anything
                warn(name, error)
                del tracks[name]

    def end(name: str, tracker: AbstractContextManager[Track], *raised: Any) -> None:
        try:
            tracker.__exit__(*raised)
        except Exception as error:  # as above
            warn(name, error)

    with ExitStack() as stack:
        for name in dict.fromkeys(names):
            tracker = TRACKERS[name](folder, settings)
            try:
                tracks[name] = tracker.__enter__()
            except UserError:
                raise
            except Exception as error:  # such as a server that is down
                warn(name, error)
            else:
                stack.push(partial(end, name, tracker))
        yield track


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings.

    >>> flat({"model": {"name": "lite0"}, "seed": 0})
    {'model.name': 'lite0', 'seed': 0}
    """
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found
