"""Identity of a run: the options and hashes that decide its results, and the name that follows from them."""

import json
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from kagglepipe.competitions.labels import sort_classes
from kagglepipe.config import CONF, Config, option_facts
from kagglepipe.files import file_sha256, sha256
from kagglepipe.images.policy_file import is_policy_file, policy_hash
from kagglepipe.options import FORMS, TASKS, Options, TrainingOptions, default_value, is_read
from kagglepipe.predictions.top_classes import FULL_CLASSES

if TYPE_CHECKING:  # help and the checks of options read this file, so that nothing slow is imported
    from kagglepipe.competitions.dataset import Dataset
    from kagglepipe.runs.run import Run

RESULT_VERSION = {"head": 2, "finetune": 2, "time": 2}  # raised when the same options give other results
ENSEMBLE_VERSION = 2  # raised when the same members are blended differently
FORM_WORDS = {*(f"form={form}" for form in FORMS), *(f"task={task}" for task in TASKS)}
RUN_WORDS = {"head", "finetune", "best", "mean", "network", "segments", "augmented", "cropped", "teacher", "classes",
             *FORM_WORDS}  # fmt: skip  # and the kind
RESOLVED = {"training.interpolation", "model.weights", "training.teacher", "training.confidence"}  # or by their files


def run_identity(config: Config, dataset: "Dataset", mode: str, teacher: "Run | None") -> dict[str, Any]:
    """Everything that decides the results of the configured run.

    mode: `head` or `finetune`. teacher: the run of `training.teacher`.
    """
    settings: dict[str, Any] = {"table": dataset.table_hash, "folds": dataset.folds_hash}
    settings |= result_settings(config, mode)
    if config.competition.kind == "image" and len(dataset.classes) > FULL_CLASSES:
        settings["head"] = "discriminant"  # begins fine-tuning as well
    if config.competition.classes and dataset.classes != usual_order(config, dataset.classes):
        settings["classes"] = dataset.classes
    if teacher is not None:
        answers = [file_sha256(file) for file in teacher.fold_tests]
        settings["teacher"] = {"answers": sha256(*answers), "confidence": config.training.confidence}
    if not config.competition.has_encoder:
        return settings
    from kagglepipe.models.weights import FEATURE_VERSION, find_weights

    weights = find_weights(config.model.name, config.model.weights)
    decoder = dataset.decoder
    if config.competition.kind != "image":
        from kagglepipe.sequences import video

        decoder = video.DECODER
    return {"decoder": decoder, "engine": FEATURE_VERSION, **settings, "weights": weights.identity}


def ensemble_identity(config: Config, dataset: "Dataset", predictions: list[str]) -> dict[str, Any]:
    """Everything that decides the results of an ensemble. predictions: a hash for each member."""
    options = config.ensemble
    return {
        "method": options.method,
        "members": sorted(predictions),
        "table": dataset.table_hash,
        "folds": dataset.folds_hash,
        "metric": config.competition.metric,
        "version": ENSEMBLE_VERSION,
        "calibrate": options.calibrate,
        "threshold": options.threshold,
    }


def identity_hash(identity: dict[str, Any]) -> str:
    """Eight hexadecimal digits of an identity."""
    return sha256(json.dumps(identity, sort_keys=True))[:8]


def run_name(model: str, identity: dict[str, Any]) -> str:
    """Name of a trained run. model: as `identity.model_name` gives it."""
    return f"{model}-{identity['training']['mode']}-{identity_hash(identity)}"


def model_name(config: Config) -> str:
    """Begin of a run's name: backbone, temporal model, or both."""
    backbone, temporal = config.model.name.split("/")[-1], config.model.temporal
    of_time = temporal.cell + "-shuffled" * temporal.shuffled
    names = {"image": backbone, "video": f"{backbone}-{of_time}", "series": of_time, "audio": of_time}
    return names[config.competition.kind]


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
    files = (file for file in CONF.glob("competition/*.yaml") if "classes:" in file.read_text(encoding="utf-8"))
    named = (shipped_settings(file.stem) for file in files)  # parsing takes milliseconds, each
    return {str(one["slug"]): [str(name) for name in one["classes"]] for one in named if one.get("classes")}


@cache
def shipped_settings(choice: str) -> dict[str, Any]:
    """Load the settings of a YAML file of conf/competition."""
    from omegaconf import OmegaConf

    found: Any = OmegaConf.to_container(OmegaConf.load(CONF / "competition" / f"{choice}.yaml"), resolve=False)
    settings: dict[str, Any] = found.get("competition", found)
    return settings


def run_words(config: Config, mode: str) -> set[str]:
    """Properties of a run, in the words of `options.option(read_by=)`.

    mode: `head` or `finetune`.
    """
    kind, temporal = config.competition.kind, config.model.temporal
    task = config.competition.task
    words = {kind, mode, f"form={config.competition.form}", f"task={task}"}
    if task != "regression":
        words.add("classes")
    if config.training.teacher is not None:
        words.add("teacher")
    if kind == "image" or mode == "finetune" or (kind == "video" and config.sequences.views > 0):
        words.add("augmented")
    if config.model.crop != "squash":  # else frames are decoded at the network's own size
        words.add("cropped")
    if kind != "image":
        words |= {"auto": {"mean", "network"}, "mean": {"mean"}}.get(temporal.cell, {"network"})
    if config.training.mode == "best":  # which tries temporal models of all kinds
        words |= {"best"} if kind == "image" else {"best", "mean", "network"}
    return words | ({"segments"} if config.competition.finds_segments else set())


def is_option_read(config: Config, name: str, mode: str) -> bool:
    """Whether a run in `mode` reads an option; False for an unknown name."""
    words, facts = run_words(config, mode), option_facts(name)
    return bool(facts) and all(is_read(one["read_by"], words) for one in facts)


def kinds_reading(name: str) -> list[str]:
    """Kinds of competition, as `image` and `video`, with runs that read an option."""
    facts = option_facts(name)
    return [
        kind
        for kind in option_facts("competition.kind")[-1]["choices"]
        if all(is_read(one["read_by"], {kind, *RUN_WORDS}) for one in facts)
    ]


def group_settings(config: Config, group: Options, mode: str) -> dict[str, Any]:
    """Collect the options of a group that change results of a run in `mode`.

    Not those of RESOLVED, which count by what they come to. An option with `added` is among them only where it
    differs from its default.
    """
    return {
        one.name: getattr(group, one.name)
        for one in fields(group)  # type: ignore[arg-type]  # every group is a dataclass
        if one.metadata["changes_results"]
        and not is_dataclass(one.default_factory)
        and (name := group.prefix + one.name) not in RESOLVED
        and is_option_read(config, name, mode)
        and not (one.metadata["added"] and getattr(group, one.name) == default_value(one))
    }


def result_settings(config: Config, mode: str) -> dict[str, Any]:
    """Collect the options that decide a run's results once the data and weights are known.

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
    if is_image and mode == "finetune" and (parts := config.interpolation) != [1]:
        settings["training"]["interpolation"] = parts
    if is_image and mode == "finetune" and competition.metric != "accuracy":
        settings["training"]["best_by"] = competition.metric  # the best epoch is kept
    if not is_image:
        settings["model"]["temporal"] = group_settings(config, config.model.temporal, mode)
        settings["sequences"] = group_settings(config, config.sequences, mode)
    if competition.task != "multiclass":
        settings["task"] = competition.task
    if config.predict.tta and is_image:
        settings["tta"] = config.predict.tta
    if competition.finds_segments:
        settings["background"] = competition.background
    if competition.finds_events:
        settings["event_width"] = competition.event_width
    if competition.kind == "series":
        arrays = {name: competition.columns.get(name) for name in ("values", "time")}
        return {**settings, "columns": arrays, "skeleton": competition.skeleton}
    if competition.kind == "audio":
        from kagglepipe.sequences.sound import READER

        return {**settings, "reader": READER}
    if "augmented" in words:
        settings |= augmentation_settings(config, mode)
    if words & {"augmented", "cropped"}:
        settings["short_side"] = config.short_side
    return settings


def augmentation_settings(config: Config, mode: str) -> dict[str, Any]:
    """Settings of augmentation: of a file the hash of what it says; `mirror` only if it is not the default."""
    policy = config.augmentation_policy(mode)
    if is_policy_file(policy):
        return {"augmentation": policy_hash(policy)}
    return {"augmentation": policy} | ({"mirror": False} if policy != "none" and not config.mirror else {})


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
