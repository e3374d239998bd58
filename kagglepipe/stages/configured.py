"""The data and the runs that a configuration names."""

from typing import Any

import pandas as pd

from kagglepipe.competitions.dataset import Dataset, read_dataset
from kagglepipe.config import Config
from kagglepipe.files import file_sha256, read_json
from kagglepipe.images.cache import PixelCache, PixelReader
from kagglepipe.options import CompetitionOptions
from kagglepipe.runs.identity import model_name, run_identity
from kagglepipe.runs.run import Run
from kagglepipe.runs.store import Member, RunStore, identity_hash

ENSEMBLE_VERSION = 2  # raise by hand what would blend the same members otherwise


# --- data ------------------------------------------------------------------------------------------------------


def read_data(config: Config, *, frames: bool = True) -> Dataset:
    """The prepared data. Raises UserError as `read_dataset`.

    frames: whether rows of video and series are in frames at `sequences.rate`; without, a long video is one row.
    """
    competition = config.competition
    if competition.kind == "image":
        return read_dataset(config.data_dir, config.folds_file)
    # a part of long videos has annotations of its own: those of hidden videos are not in them
    items_dir = config.data_dir if competition.finds_segments else config.base_dir
    dataset = read_dataset(config.data_dir, config.folds_file, items_dir)
    return at_rate_of(competition, dataset, config.sequences.rate) if frames else dataset


def at_rate_of(competition: CompetitionOptions, dataset: Dataset, rate: float) -> Dataset:
    """The dataset of video or series with rows in frames, `rate` a second."""
    from kagglepipe.segments.labels import at_rate

    return at_rate(dataset, rate, per_frame=competition.finds_segments, background=competition.background)


def present_data(config: Config) -> tuple[str, str] | None:
    """Hashes of the table and the folds; None where nothing is prepared."""
    report, folds = config.data_dir / "prepared.json", config.folds_file
    return (read_json(report)["table_hash"], file_sha256(folds)) if report.exists() and folds.exists() else None


def image_reader(config: Config, dataset: Dataset, rows: pd.DataFrame, short_side: int) -> PixelReader:
    """The images of `rows`, from the pixel cache of this size where there is one (and not `cache.max_gb=0`)."""
    folder, bits = config.pixels_dir(short_side), dataset.bits
    cache = PixelCache.open(folder, short_side, bits) if config.pixels_limit else None
    return PixelReader(dataset.paths(rows), rows["sha256"].tolist(), short_side=short_side, cache=cache, bits=bits)


# --- runs ------------------------------------------------------------------------------------------------------


def find_teacher(config: Config, dataset: Dataset) -> Run | None:
    """The run of `training.teacher`. Raises UserError as `RunStore.teacher`."""
    name = config.training.teacher
    return None if name is None else RunStore(config.runs_dir).teacher(name, dataset)


def identity_of(config: Config, dataset: Dataset) -> dict[str, Any]:
    """Everything that decides the results of the configured run."""
    return run_identity(config, dataset, find_teacher(config, dataset))


def run_of(config: Config, dataset: Dataset) -> Run:
    """The run that `run=` names or, without it, that the configuration describes."""
    store = RunStore(config.runs_dir)
    if config.run:
        return store.named(config.run)
    identity = identity_of(config, dataset)
    return store.of(identity, model_name(config), dataset.classes, config.competition.metric)


def ensemble_run(config: Config, dataset: Dataset, members: list[Member]) -> Run:
    """The run of an ensemble, named by its method and a hash of all that decides it."""
    options, predictions = config.ensemble, [file_sha256(one.oof) + file_sha256(one.test) for one in members]
    identity: dict[str, Any] = {
        "method": options.method,
        "members": sorted(predictions),
        "table": dataset.table_hash,
        "folds": dataset.folds_hash,
        "metric": config.competition.metric,
        "version": ENSEMBLE_VERSION,
        "calibrate": options.calibrate,
        "threshold": options.threshold,
    }
    return Run(config.runs_dir / f"ensemble-{options.method.replace('_', '-')}-{identity_hash(identity)}")


def find_members(config: Config, dataset: Dataset) -> list[Member]:
    """The members of `ensemble.runs`. Raises UserError as `RunStore.members`."""
    return RunStore(config.runs_dir).members(config.ensemble.runs, dataset, config.competition.metric)


def submitted_run(config: Config, dataset: Dataset) -> Run:
    """The run to submit: `run=`, else the ensemble of `ensemble.runs`, else the configured run or its teacher."""
    if config.ensemble.runs and not config.run:
        return ensemble_run(config, dataset, find_members(config, dataset))
    run = run_of(config, dataset)
    teacher = None if config.run or not run.is_finished else find_teacher(config, dataset)
    return run if teacher is None or run.is_submittable else teacher


def best_run(config: Config, *, live: bool = False) -> Run:
    """The run to predict other files with. Raises UserError as `RunStore.best`."""
    present = None if config.run else present_data(config)
    return RunStore(config.runs_dir).best(config.competition, present, config.stage, name=config.run, live=live)


def finished_run(config: Config) -> str | None:
    """Name of the run to submit, if this competition is prepared and the run is finished."""
    if not (config.data_dir / "prepared.json").exists() or not config.folds_file.exists():
        return None
    run = submitted_run(config, read_data(config))
    return run.name if run.is_finished else None
