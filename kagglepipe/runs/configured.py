"""The data, the runs and the learner that a configuration names."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import absolute, file_sha256, read_json
from kagglepipe.memory import without_garbage_collection
from kagglepipe.options import PathsOptions
from kagglepipe.runs.identity import ensemble_identity, identity_hash, model_name, run_identity

if TYPE_CHECKING:  # imported by checks before any work, so that nothing slow is imported
    from pathlib import Path

    from kagglepipe.competitions.dataset import Dataset
    from kagglepipe.runs.run import Run
    from kagglepipe.runs.store import Member, RunStore
    from kagglepipe.training.backends import InferenceBackend
    from kagglepipe.training.learner import Learner, LearnerOptions


OF_COMMAND = ("stage", "run", "device", "engine", "workers", "report", "kaggle")  # which say nothing of a run


def is_prepared(config: Config) -> bool:
    """Whether the table and the folds of the competition are there."""
    return (config.data_dir / "prepared.json").exists() and config.folds_file.exists()


def read_data(config: Config, *, frames: bool = True) -> "Dataset":
    """Read the prepared data. Raises UserError as `read_dataset`.

    frames: whether rows of video and series are in frames at `sequences.rate`; without, a long video is one row.
    """
    from kagglepipe.competitions.dataset import read_dataset
    from kagglepipe.sequences.grid import at_rate

    competition = config.competition
    if competition.kind == "image":
        return read_dataset(config.data_dir, config.folds_file)
    # a part of long videos has annotations of its own: those of hidden videos are not in them
    items_dir = config.data_dir if competition.finds_segments else config.base_dir
    dataset = read_dataset(config.data_dir, config.folds_file, items_dir)
    return at_rate(dataset, config.sequences.samples_per_unit, competition) if frames else dataset


def inference_backend(config: Config) -> "InferenceBackend":
    """Device, precision and library of inference. Raises UserError for a missing device."""
    with without_garbage_collection():
        from kagglepipe.training.backends import make_backend

    return make_backend(config.device, config.engine, config.backend_dir)


def store_of(config: Config) -> "RunStore":
    """Open the store of the configured competition's runs."""
    from kagglepipe.runs.store import RunStore

    return RunStore(config.runs_dir)


def identity_of(config: Config, dataset: "Dataset") -> dict[str, Any]:
    """`run_identity` with the teacher of `training.teacher`."""
    return run_identity(config, dataset, config.training_mode, find_teacher(config, dataset))


def own_config(run: "Run", command: Config | None = None) -> Config:
    """Read the configuration that made a run, with the folders in which it lies now.

    command: whose stage, run, page, device and other options of the work it gets; None: of none. Raises UserError for a
    run without config.yaml, or with that of another version, unless the command's configuration can stand for it.
    """
    from omegaconf import OmegaConf

    from kagglepipe.runs.provenance import config_of

    file, metrics = run.config_file, run.metrics
    if not file.exists() and "base" in metrics:  # that of the run that columns were added to
        file = run.folder.parent / metrics["base"] / file.name
    try:
        if not file.exists():
            raise UserError(f"{run.folder} has no config.yaml, which says its competition: type the command")
        options: Any = OmegaConf.to_container(OmegaConf.load(file))
        own = replace(config_of(options, str(file)), run=None, input=None)
    except UserError:
        if command is None:
            raise
        return command
    root = PathsOptions(str(run.folder.parents[2]), str(run.folder.parents[1]))
    places = [one.paths for one in (command, own) if one is not None]
    paths = next((one for one in places if replace(own, paths=one).runs_dir == run.folder.parent), root)
    given = {} if command is None else {name: getattr(command, name) for name in OF_COMMAND}
    return replace(own, paths=paths, **given)


def find_teacher(config: Config, dataset: "Dataset") -> "Run | None":
    """Find the run of `training.teacher`. Raises UserError as `RunStore.teacher`."""
    name = config.training.teacher
    return None if name is None else store_of(config).teacher(name, dataset)


def run_of(config: Config, dataset: "Dataset") -> "Run":
    """Find the run that `run=` names or, without it, that the configuration describes."""
    if config.run:
        return store_of(config).named(config.run)
    identity = identity_of(config, dataset)
    return store_of(config).of(identity, model_name(config), dataset.classes, config.competition.metric)


def find_members(config: Config, dataset: "Dataset") -> "list[Member]":
    """Find the members of `ensemble.runs`. Raises UserError as `RunStore.members`."""
    return store_of(config).members(config.ensemble.runs, dataset, config.competition.metric)


def ensemble_run(config: Config, dataset: "Dataset", members: "list[Member]") -> "Run":
    """Find the run of an ensemble, named by its method and its identity."""
    predictions = [file_sha256(one.oof) + file_sha256(one.test) for one in members]
    identity, method = ensemble_identity(config, dataset, predictions), config.ensemble.method.replace("_", "-")
    return store_of(config).run(f"ensemble-{method}-{identity_hash(identity)}")


def submitted_run(config: Config, dataset: "Dataset") -> "Run":
    """Find the run to submit: `run=`, else the ensemble of `ensemble.runs`, else the configured run or its teacher."""
    if config.ensemble.runs and not config.run:
        return ensemble_run(config, dataset, find_members(config, dataset))
    run = run_of(config, dataset)
    teacher = None if config.run or not run.is_finished else find_teacher(config, dataset)
    return run if teacher is None or run.is_submittable else teacher


def best_run(config: Config, *, live: bool = False) -> "Run":
    """Find the run to predict other files with. Raises UserError as `RunStore.best`."""
    present = None
    if not config.run and is_prepared(config):
        present = (read_json(config.data_dir / "prepared.json")["table_hash"], file_sha256(config.folds_file))
    return store_of(config).best(config.competition, present, config.stage, name=config.run, live=live)


def finished_run(config: Config) -> "Run | None":
    """Find the run to submit; None if this competition is not prepared or the run not finished."""
    if not is_prepared(config):
        return None
    run = submitted_run(config, read_data(config))
    return run if run.is_finished else None


def ends_with_summary(config: Config) -> bool:
    """Whether the command ends with a summary, which has the scores that stages log in all others."""
    return config.stage in ("all", "train") and config.sweep.trial is None


def summarised_run(config: Config) -> "Run | None":
    """Find the run that the summary is of: the ensemble of `ensemble.runs` or the run that was trained, if finished."""
    dataset = read_data(config)
    run = (submitted_run if config.ensemble.runs else run_of)(config, dataset)
    return run if run.is_finished else None


def page_file(config: Config, run: "Run") -> "Path":
    """Where the page about a run is written."""
    return absolute(config.report.file) if config.report.file else run.folder / "report.html"


def beside_page(page: "Path", run: "Run", name: str) -> "Path":
    """Where a file of a page is written: in the run's folder by its name, elsewhere after the page's, to share none."""
    return page.with_name(name if page == run.folder / "report.html" else f"{page.stem}.{name}")


def learner_options(config: Config) -> "LearnerOptions":
    """Collect the options of a learner, `auto` resolved."""
    from kagglepipe.runs.tta import turns_of
    from kagglepipe.training.learner import LearnerOptions

    mode, competition = config.training_mode, config.competition
    augmentation = replace(config.augmentation, policy=config.augmentation_policy(mode), mirror=config.mirror)
    turns = turns_of(config.predict.tta, augmentation) if competition.kind == "image" else []
    return LearnerOptions(
        competition, config.model, replace(config.training, mode=mode, interpolation=config.interpolation),
        config.sequences, augmentation, config.seed, config.short_side if competition.has_encoder else 0, tuple(turns),
    )  # fmt: skip


def make_learner(config: Config, dataset: "Dataset") -> "Learner":
    """Make the learner of this kind of competition."""
    from kagglepipe.training.device import make_deterministic, use_fast_kernels
    from kagglepipe.training.learner import Runtime

    options = learner_options(config)
    (make_deterministic if options.training.deterministic else use_fast_kernels)()
    runtime = Runtime(
        inference_backend(config), config.features_dir, config.weights_dir,
        config.pixels_dir(options.short_side, options.form.suffix), config.pixels_limit, config.workers,
        config.prepare.max_side,
    )  # fmt: skip
    if options.competition.kind == "image":
        with without_garbage_collection():
            from kagglepipe.training.image_learner import ImageLearner

        return ImageLearner(dataset, options, runtime)
    if options.model.temporal.cell == "auto":
        from kagglepipe.training.temporal_choice import ChoosingLearner

        return ChoosingLearner(dataset, options, runtime)
    from kagglepipe.training.sequence_learner import SequenceLearner

    return SequenceLearner(dataset, options, runtime)
