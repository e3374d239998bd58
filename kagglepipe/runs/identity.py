"""What decides the results of a run, and so its name."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kagglepipe.competitions.labels import sort_classes
from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import file_sha256, read_json, sha256
from kagglepipe.options import ModelOptions, TrainingOptions

if TYPE_CHECKING:
    from kagglepipe.competitions.dataset import Dataset

POLICY_OF_MODE = {"head": "strong", "finetune": "light"}  # augmentation=auto; the figures are in docs/design.md
RESULT_VERSION = {"head": 2, "finetune": 2, "time": 2}  # raise by hand what would give other results from the same
HEAD_SETTINGS = ("views", "regularisation")
CONDUCT = (
    "mode",
    "budget",
    "micro_batch",
    "deterministic",
    "compile",
    "trackers",
    "rival",
)  # decide nothing of the results
TAUGHT = ("teacher", "confidence")  # which decide results where a teacher is named; `run_identity` knows its answers
FINETUNE_CONDUCT = ("budget", "micro_batch", "compile")  # those of CONDUCT that only fine-tuning reads
FINETUNE_SETTINGS = tuple(
    f.name for f in fields(TrainingOptions) if f.name not in (*HEAD_SETTINGS, *CONDUCT, *TAUGHT)
)  # the head comes first in fine-tuning too, so HEAD_SETTINGS count in both


def training_mode(config: Config) -> str:
    """`head` or `finetune`: what `training=auto` comes to on this machine."""
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


def run_identity(config: Config, prepared: "Dataset", teacher: Path | None) -> dict[str, Any]:
    """Everything that decides the results of the configured run.

    teacher: the run of `training.teacher`.
    """
    settings: dict[str, Any] = {"table": prepared.table_hash, "folds": prepared.folds_hash}
    settings |= result_settings(config, training_mode(config))
    if config.competition.classes and prepared.classes != usual_order(config, prepared.classes):
        settings["classes"] = prepared.classes
    if teacher is not None:
        answers = [file_sha256(file) for file in sorted(teacher.glob("fold_*/test.parquet"))]
        settings["teacher"] = {"answers": sha256(*answers), "confidence": config.training.confidence}
    if config.competition.kind == "series":
        return settings
    from kagglepipe.models.weights import FEATURE_VERSION, find_weights

    weights = find_weights(config.model.name, config.model.weights)
    from kagglepipe.sequences.video import DECODER as VIDEO_DECODER

    decoder = prepared.decoder if config.competition.kind == "image" else VIDEO_DECODER
    return {"decoder": decoder, "engine": FEATURE_VERSION, **settings, "weights": weights.identity}


def older_run(config: Config, prepared: "Dataset", identity: dict[str, Any]) -> Path | None:
    """The run with this identity that a version has made which left some of it out of the name; None if none is."""
    training = identity["training"]
    named = [name for name, holder in (("classes", identity), ("best_by", training)) if name in holder]
    for names in [{name} for name in named] + [set(named)] * (len(named) > 1):
        settings = {key: value for key, value in identity.items() if key not in names}
        settings["training"] = {key: value for key, value in training.items() if key not in names}
        run = config.runs_dir / run_name(config, settings)
        is_in_order = "classes" not in names or orders_in(run) == [prepared.classes]
        # before it was named, the best epoch was that by accuracy
        if is_in_order and ("best_by" not in names or is_scored_by(run, config.competition.metric)):
            return run
    return None


def is_scored_by(run: Path, metric: str) -> bool:
    """Whether a run is finished and its metrics.json tells this metric."""
    return (run / "metrics.json").exists() and read_json(run / "metrics.json")["metric"] == metric


def run_name(config: Config, identity: dict[str, Any]) -> str:
    """The name of a run with this identity."""
    return f"{model_name(config)}-{identity['training']['mode']}-{identity_hash(identity)}"


def usual_order(
    config: Config, classes: list[str], sort: Callable[[Iterable[str]], list[str]] = sort_classes
) -> list[str]:
    """The order that these classes have where nobody chooses one, which a run's name does not tell.

    It is that of the package's own YAML of the competition; of others the background comes first, then names in order.
    sort: how names are ordered; `sorted` is what older versions did.
    """
    shipped = shipped_orders().get(config.competition.slug or "", [])
    if sorted(shipped) == sorted(classes):
        return shipped
    background = config.competition.background
    first = [name for name in classes if name == background]
    return first + sort(name for name in classes if name != background)


@cache
def shipped_orders() -> dict[str, list[str]]:
    """slug -> its classes, of the competitions that the package has a YAML of."""
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


def orders_in(run: Path) -> list[list[str]]:
    """The orders of classes, each once, that the networks of a run's folds have."""
    orders = [read_json(file)["classes"] for file in sorted(run.glob("fold_*/model.json"))]
    return [order for number, order in enumerate(orders) if order not in orders[:number]]


def model_name(config: Config) -> str:
    """What a run's name begins with: the backbone, what looks at time, or both."""
    backbone, temporal = config.model.name.split("/")[-1], config.model.temporal
    body = temporal.cell + "-shuffled" * temporal.shuffled
    return {"image": backbone, "video": f"{backbone}-{body}", "series": body}[config.competition.kind]


def identity_hash(identity: dict[str, Any]) -> str:
    """Eight hexadecimal digits for a run's identity."""
    return sha256(json.dumps(identity, sort_keys=True))[:8]


def result_settings(config: Config, mode: str) -> dict[str, Any]:
    """The part of the configuration that decides a run's results once the data and weights are known.

    mode: `head` or `finetune`. Settings that this mode does not read are left out, and so are paths, workers and
    everything that only decides how, where or which part of the work is done.
    """
    if config.competition.kind != "image":
        return sequence_settings(config, mode)
    names = HEAD_SETTINGS if mode == "head" else (*HEAD_SETTINGS, *FINETUNE_SETTINGS)
    metric = config.competition.metric  # by which the best epoch is kept
    best_by = {"best_by": metric} if mode == "finetune" and metric != "accuracy" else {}
    return {
        "model": backbone_settings(config.model),
        "training": {"mode": mode, **{name: getattr(config.training, name) for name in names}, **best_by},
        **augmentation_settings(config, mode),
        "short_side": config.short_side,
        "seed": config.seed,
        "result_version": RESULT_VERSION[mode],
    }


def sequence_settings(config: Config, mode: str) -> dict[str, Any]:
    """`result_settings` of a competition with a time axis."""
    competition, training = config.competition, config.training
    settings: dict[str, Any] = {
        "model": {"temporal": temporal_settings(config)},
        "training": {"mode": mode, **{name: getattr(training, name) for name in training_names(config, mode)}},
        "sequences": {name: getattr(config.sequences, name) for name in sequence_names(config, mode)},
        "seed": config.seed,
        "result_version": RESULT_VERSION["time"],
    }
    if competition.finds_segments:
        settings["background"] = competition.background
    if competition.kind == "series":
        arrays = {name: competition.columns.get(name) for name in ("values", "time")}
        return {**settings, "columns": arrays, "skeleton": competition.skeleton}
    settings["model"] |= backbone_settings(config.model)
    augmented = mode == "finetune" or config.sequences.views > 0
    if augmented:
        settings |= augmentation_settings(config, mode)
    if augmented or config.model.crop != "squash":  # else frames are decoded at the network's own size
        settings["short_side"] = config.short_side
    return settings


def temporal_settings(config: Config) -> dict[str, Any]:
    """What of `model.temporal` decides results: little of it if there is nothing but a mean."""
    temporal = asdict(config.model.temporal)
    if temporal["cell"] != "mean":
        return {name: value for name, value in temporal.items() if name != "window"}
    names = ("cell", "differences", "window") if config.competition.finds_segments else ("cell", "differences")
    return {name: temporal[name] for name in names}


def training_names(config: Config, mode: str) -> list[str]:
    """The settings of `training` that decide results; in fine-tuning of clips nothing ends early."""
    names = ["regularisation"] if config.model.temporal.cell == "mean" else ["clip"]
    return names if mode == "head" else sorted({*names, *FINETUNE_SETTINGS} - {"patience"})


def sequence_names(config: Config, mode: str) -> list[str]:
    """The settings of `sequences` that decide results."""
    tuned, learning = mode == "finetune", config.model.temporal.cell != "mean"  # the mean's head is fitted exactly
    is_read = {
        "rate": True,
        **dict.fromkeys(("motion", "views"), config.competition.kind == "video"),
        **dict.fromkeys(("steps", "lr", "batch_size", "weight_decay", "label_smoothing"), learning),
        **dict.fromkeys(("crop", "speed", "drop", "noise"), learning or tuned),
        "members": learning and not tuned,
        "window": learning and config.competition.finds_segments,
        "clip_frames": tuned,
    }
    return [name for name, read in is_read.items() if read]


def backbone_settings(model: ModelOptions) -> dict[str, Any]:
    """What decides a network that looks at pictures."""
    return {"name": model.name, "kwargs": model.kwargs, "image_size": model.image_size, "crop": model.crop}


def augmentation_settings(config: Config, mode: str) -> dict[str, Any]:
    """What decides how views are drawn; `mirror` is named only where it departs from the default."""
    policy = augmentation_policy(config, mode)
    return {"augmentation": policy} | ({"mirror": False} if policy != "none" and not config.augmentation.mirror else {})


def augmentation_policy(config: Config, mode: str) -> str:
    """The policy that `augmentation.policy` comes to when training in `mode`."""
    if config.augmentation.policy != "auto":
        return config.augmentation.policy
    return (config.competition.augmentation if mode == "head" else None) or POLICY_OF_MODE[mode]


def idle_settings(config: Config, mode: str) -> list[str]:
    """Options of `training` that differ from their defaults, but decide nothing of a run in `mode`."""
    read, default = result_settings(config, mode)["training"], TrainingOptions()
    used = (*read, *(name for name in CONDUCT if mode == "finetune" or name not in FINETUNE_CONDUCT), "teacher")
    used += ("confidence",) if config.training.teacher else ()
    names = [f.name for f in fields(TrainingOptions) if f.name not in used]
    return [f"training.{n}" for n in names if getattr(config.training, n) != getattr(default, n)]


def changes(config: Any, usual: Any = None) -> dict[str, Any]:
    """The options that differ from their defaults, nested as in YAML; equal ones leave no trace.

    >>> changes(Config(seed=1, model=ModelOptions(crop="center")))
    {'seed': 1, 'model': {'crop': 'center'}}
    """
    usual = Config() if usual is None else usual
    found: dict[str, Any] = {}
    for f in fields(config):
        value, default = getattr(config, f.name), getattr(usual, f.name)
        if value != default:
            found[f.name] = changes(value, default) if is_dataclass(value) else value
    return found
