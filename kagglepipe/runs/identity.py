"""Identity of a run: everything that decides its results, and its name; the runs that a configuration names."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kagglepipe.competitions.labels import sort_classes
from kagglepipe.config import Config, option_facts, schema
from kagglepipe.errors import UserError
from kagglepipe.files import file_sha256, read_json, sha256, write_bytes
from kagglepipe.options import Options, TrainingOptions, is_read

if TYPE_CHECKING:  # help and the checks of options read this file, so that nothing slow is imported
    from kagglepipe.competitions.dataset import Dataset
    from kagglepipe.runs.run import Run
    from kagglepipe.runs.store import Member, RunStore
    from kagglepipe.training.backends import InferenceBackend

POLICY_OF_MODE = {"head": "strong", "finetune": "light"}  # augmentation=auto; the figures are in docs/design.md
RESULT_VERSION = {"head": 2, "finetune": 2, "time": 2}  # raised when the same options give other results
ENSEMBLE_VERSION = 2  # raised when the same members are blended differently
RUN_WORDS = {"head", "finetune", "mean", "network", "segments", "augmented", "cropped", "teacher"}  # and the kind
BY_CONTENT = {"model.weights", "training.teacher", "training.confidence"}  # `run_identity` has hashes of their files


def training_mode(config: Config) -> str:
    """`head` or `finetune`; `auto` depends on the device."""
    if config.competition.kind == "series":
        if config.training.mode == "finetune":
            raise UserError("a series has no encoder to fine-tune: type training=head, which fits all there is")
        return "head"
    if config.training.mode != "auto":
        return config.training.mode
    from kagglepipe.training.device import gpu_is_possible

    if config.device == "cpu" or (config.device == "auto" and not gpu_is_possible()):
        return "head"
    from kagglepipe.training.device import choose_device

    return "head" if choose_device(config.device).type == "cpu" else "finetune"


def run_identity(config: Config, dataset: "Dataset", teacher: "Run | None") -> dict[str, Any]:
    """Everything that decides the results of the configured run.

    teacher: the run of `training.teacher`.
    """
    settings: dict[str, Any] = {"table": dataset.table_hash, "folds": dataset.folds_hash}
    settings |= result_settings(config, training_mode(config))
    if config.competition.classes and dataset.classes != usual_order(config, dataset.classes):
        settings["classes"] = dataset.classes
    if teacher is not None:
        answers = [file_sha256(file) for file in teacher.fold_tests]
        settings["teacher"] = {"answers": sha256(*answers), "confidence": config.training.confidence}
    if config.competition.kind == "series":
        return settings
    from kagglepipe.models.weights import FEATURE_VERSION, find_weights

    weights = find_weights(config.model.name, config.model.weights)
    from kagglepipe.sequences.video import DECODER as VIDEO_DECODER

    decoder = dataset.decoder if config.competition.kind == "image" else VIDEO_DECODER
    return {"decoder": decoder, "engine": FEATURE_VERSION, **settings, "weights": weights.identity}


def identity_hash(identity: dict[str, Any]) -> str:
    """Eight hexadecimal digits of an identity."""
    return sha256(json.dumps(identity, sort_keys=True))[:8]


def run_name(model: str, identity: dict[str, Any]) -> str:
    """Name of a trained run. model: as `identity.model_name` gives it."""
    return f"{model}-{identity['training']['mode']}-{identity_hash(identity)}"


def usual_order(
    config: Config, classes: list[str], sort: Callable[[Iterable[str]], list[str]] = sort_classes
) -> list[str]:
    """Default order of classes, which is not part of the identity.

    From the package's YAML of the competition; without one the background comes first, then sorted names.
    sort: sorts names; `sorted` in older versions.
    """
    shipped = shipped_orders().get(config.competition.slug or "", [])
    if sorted(shipped) == sorted(classes):
        return shipped
    background = config.competition.background
    first = [name for name in classes if name == background]
    return first + sort(name for name in classes if name != background)


@cache
def shipped_orders() -> dict[str, list[str]]:
    """Classes, by slug, of the competitions with a YAML in the package."""
    from omegaconf import OmegaConf

    package = Path(__file__).parents[1]  # conf/ lies in it where it is installed, and beside it in a checkout
    found = {}
    for folder in (package / "conf", package.parent / "conf"):
        for file in folder.glob("competition/*.yaml"):
            read: Any = OmegaConf.to_container(OmegaConf.load(file))
            about = read.get("competition", read)
            if about.get("classes"):
                found[str(about["slug"])] = [str(name) for name in about["classes"]]
    return found


def model_name(config: Config) -> str:
    """Begin of a run's name: backbone, temporal model, or both."""
    backbone, temporal = config.model.name.split("/")[-1], config.model.temporal
    body = temporal.cell + "-shuffled" * temporal.shuffled
    return {"image": backbone, "video": f"{backbone}-{body}", "series": body}[config.competition.kind]


def run_words(config: Config, mode: str) -> set[str]:
    """Properties of a run, in the words of `options.option(read_by=)`.

    mode: `head` or `finetune`.
    """
    kind, temporal = config.competition.kind, config.model.temporal
    words = {kind, mode}
    if config.training.teacher is not None:
        words.add("teacher")
    if kind == "image" or mode == "finetune" or (kind == "video" and config.sequences.views > 0):
        words.add("augmented")
    if config.model.crop != "squash":  # else frames are decoded at the network's own size
        words.add("cropped")
    if kind != "image":
        words.add("mean" if temporal.cell == "mean" else "network")
    return words | ({"segments"} if config.competition.finds_segments else set())


def is_option_read(config: Config, name: str, mode: str) -> bool:
    """Whether a run in `mode` reads an option; False for an unknown name."""
    words, facts = run_words(config, mode), option_facts(name)
    return bool(facts) and all(is_read(one["read_by"], words) for one in facts)


def kinds_reading(name: str) -> list[str]:
    """Kinds of competition, `image`, `video` and `series`, with runs that read an option."""
    facts = option_facts(name)
    return [
        kind
        for kind in option_facts("competition.kind")[-1]["choices"]
        if all(is_read(one["read_by"], {kind, *RUN_WORDS}) for one in facts)
    ]


def group_settings(config: Config, group: Options, mode: str) -> dict[str, Any]:
    """The options of a group that change results of a run in `mode`, save those that count by their files' content."""
    return {
        one.name: getattr(group, one.name)
        for one in fields(group)  # type: ignore[arg-type]  # every group is a dataclass
        if one.metadata["changes_results"]
        and not is_dataclass(one.default_factory)
        and (name := group.prefix + one.name) not in BY_CONTENT
        and is_option_read(config, name, mode)
    }


def result_settings(config: Config, mode: str) -> dict[str, Any]:
    """The options that decide a run's results once the data and weights are known.

    mode: `head` or `finetune`.
    """
    competition, words = config.competition, run_words(config, mode)
    is_image = competition.kind == "image"
    settings: dict[str, Any] = {
        "model": group_settings(config, config.model, mode),
        "training": {"mode": mode, **group_settings(config, config.training, mode)},
        "seed": config.seed,
        "result_version": RESULT_VERSION[mode if is_image else "time"],
    }
    if is_image and mode == "finetune" and competition.metric != "accuracy":
        settings["training"]["best_by"] = competition.metric  # the best epoch is kept
    if not is_image:
        settings["model"]["temporal"] = group_settings(config, config.model.temporal, mode)
        settings["sequences"] = group_settings(config, config.sequences, mode)
    if competition.finds_segments:
        settings["background"] = competition.background
    if competition.kind == "series":
        arrays = {name: competition.columns.get(name) for name in ("values", "time")}
        return {**settings, "columns": arrays, "skeleton": competition.skeleton}
    if "augmented" in words:
        settings |= augmentation_settings(config, mode)
    if words & {"augmented", "cropped"}:
        settings["short_side"] = config.short_side
    return settings


def augmentation_settings(config: Config, mode: str) -> dict[str, Any]:
    """Settings of augmentation; `mirror` only if it is not the default."""
    policy = augmentation_policy(config, mode)
    return {"augmentation": policy} | ({"mirror": False} if policy != "none" and not config.augmentation.mirror else {})


def augmentation_policy(config: Config, mode: str) -> str:
    """Augmentation policy in `mode`, `auto` resolved."""
    if config.augmentation.policy != "auto":
        return config.augmentation.policy
    return (config.competition.augmentation if mode == "head" else None) or POLICY_OF_MODE[mode]


def idle_settings(config: Config, mode: str) -> list[str]:
    """Changed options of `training` that a run in `mode` does not read."""
    names = [f"training.{name}" for name in changes(config.training, TrainingOptions())]
    return [name for name in names if not is_option_read(config, name, mode)]


def changes(config: Any, usual: Any = None) -> dict[str, Any]:
    """Options that differ from their defaults, nested as in YAML.

    >>> changes(Config(seed=1, training=TrainingOptions(epochs=5)))
    {'seed': 1, 'training': {'epochs': 5}}
    """
    usual = Config() if usual is None else usual
    found: dict[str, Any] = {}
    for f in fields(config):
        value, default = getattr(config, f.name), getattr(usual, f.name)
        if value != default:
            found[f.name] = changes(value, default) if is_dataclass(value) else value
    return found


# --- what a configuration names -------------------------------------------------------------------------------


def is_prepared(config: Config) -> bool:
    """Whether the table and the folds of the competition are there."""
    return (config.data_dir / "prepared.json").exists() and config.folds_file.exists()


def read_data(config: Config, *, frames: bool = True) -> "Dataset":
    """The prepared data. Raises UserError as `read_dataset`.

    frames: whether rows of video and series are in frames at `sequences.rate`; without, a long video is one row.
    """
    from kagglepipe.competitions.dataset import read_dataset
    from kagglepipe.segments.labels import at_rate

    competition = config.competition
    if competition.kind == "image":
        return read_dataset(config.data_dir, config.folds_file)
    # a part of long videos has annotations of its own: those of hidden videos are not in them
    items_dir = config.data_dir if competition.finds_segments else config.base_dir
    dataset = read_dataset(config.data_dir, config.folds_file, items_dir)
    return at_rate(dataset, config.sequences.rate, competition) if frames else dataset


def inference_backend(config: Config) -> "InferenceBackend":
    """Device, precision and library of inference. Raises UserError for a missing device."""
    from kagglepipe.training.backends import make_backend

    return make_backend(config.device, config.engine, config.backend_dir)


def store_of(config: Config) -> "RunStore":
    """The runs of the configured competition."""
    from kagglepipe.runs.store import RunStore

    return RunStore(config.runs_dir)


def identity_of(config: Config, dataset: "Dataset") -> dict[str, Any]:
    """`run_identity` with the teacher of `training.teacher`."""
    return run_identity(config, dataset, find_teacher(config, dataset))


def find_teacher(config: Config, dataset: "Dataset") -> "Run | None":
    """The run of `training.teacher`. Raises UserError as `RunStore.teacher`."""
    name = config.training.teacher
    return None if name is None else store_of(config).teacher(name, dataset)


def run_of(config: Config, dataset: "Dataset") -> "Run":
    """The run that `run=` names or, without it, that the configuration describes."""
    if config.run:
        return store_of(config).named(config.run)
    identity = identity_of(config, dataset)
    return store_of(config).of(identity, model_name(config), dataset.classes, config.competition.metric)


def find_members(config: Config, dataset: "Dataset") -> "list[Member]":
    """The members of `ensemble.runs`. Raises UserError as `RunStore.members`."""
    return store_of(config).members(config.ensemble.runs, dataset, config.competition.metric)


def ensemble_run(config: Config, dataset: "Dataset", members: "list[Member]") -> "Run":
    """The run of an ensemble, named by its method and a hash of everything that decides its results."""
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
    return store_of(config).run(f"ensemble-{options.method.replace('_', '-')}-{identity_hash(identity)}")


def submitted_run(config: Config, dataset: "Dataset") -> "Run":
    """The run to submit: `run=`, else the ensemble of `ensemble.runs`, else the configured run or its teacher."""
    if config.ensemble.runs and not config.run:
        return ensemble_run(config, dataset, find_members(config, dataset))
    run = run_of(config, dataset)
    teacher = None if config.run or not run.is_finished else find_teacher(config, dataset)
    return run if teacher is None or run.is_submittable else teacher


def best_run(config: Config, *, live: bool = False) -> "Run":
    """The run to predict other files with. Raises UserError as `RunStore.best`."""
    present = None
    if not config.run and is_prepared(config):
        present = (read_json(config.data_dir / "prepared.json")["table_hash"], file_sha256(config.folds_file))
    return store_of(config).best(config.competition, present, config.stage, name=config.run, live=live)


def finished_run(config: Config) -> str | None:
    """Name of the run to submit, if this competition is prepared and the run is finished."""
    if not is_prepared(config):
        return None
    run = submitted_run(config, read_data(config))
    return run.name if run.is_finished else None


# --- config.yaml ----------------------------------------------------------------------------------------------


def decisive(config: Config) -> dict[str, Any]:
    """Options that differ from their defaults and change results."""
    decides = {one.name for one in fields(Config) if one.metadata["changes_results"]}
    return {name: value for name, value in changes(config).items() if name in decides}


def written_options(file: Path) -> dict[str, Any] | None:
    """Options in a config.yaml; None if it is missing, or this version does not understand it."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if not file.exists():
        return None
    try:
        config: Any = OmegaConf.to_object(OmegaConf.merge(schema(Config), OmegaConf.load(file)))
    except (OmegaConfBaseException, UserError):
        return None
    return decisive(config)


def config_of(options: dict[str, Any], name: str) -> Config:
    """The configuration with these options. Raises UserError, naming where they were, if they are not understood."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        config: Any = OmegaConf.to_object(OmegaConf.merge(schema(Config), OmegaConf.create(escaped(options))))
    except (OmegaConfBaseException, UserError) as error:
        why = " ".join(str(error).split())
        raise UserError(f"{name} was made by a version with other options ({why}): use the version it names") from error
    return replace(config, competition=replace(config.competition, refresh=False))


def write_config(config: Config, file: Path) -> None:
    """Write a config.yaml that Hydra can compose again."""
    write_bytes(file, yaml_of(asdict(config)).encode())


def yaml_of(options: dict[str, Any]) -> str:
    """Options as YAML from which Hydra reads the same values again."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(escaped(options)))


def escaped(value: Any) -> Any:
    """Escape each `${` in `value`, so that OmegaConf does not resolve it."""
    if isinstance(value, dict):
        return {key: escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [escaped(item) for item in value]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value
