"""Options that were typed, or stand in the competition's YAML, and that nothing reads: they are named, not ignored.

What a run reads of `model.temporal`, `training` and `sequences` is what `runs.identity.result_settings` holds,
and what decides how training goes about it; the rest is a table here.
"""

from collections.abc import Iterable, Mapping

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.runs.identity import (
    CONDUCT,
    FINETUNE_CONDUCT,
    FINETUNE_SETTINGS,
    HEAD_SETTINGS,
    TAUGHT,
    sequence_names,
    temporal_settings,
    training_names,
)
from kagglepipe.stages import OWN, READS, TOOLS, plan

OF_STAGES = ("augment", "ensemble", "submit", "predict", "detect", "runs", "drill", "bundle")  # parts of one or a few
OF_STAGE = ("input", "submission", "run")  # options of one or a few
OF_KIND = {  # kind -> options that a competition of another kind reads
    "image": ("competition.files", "competition.background", "competition.skeleton", "competition.unit",
              "competition.segment_metric", "competition.time_axis", "model.temporal", "sequences", "detect"),
    "video": ("competition.skeleton", "competition.time_axis", "prepare.near_bits",
              "cache.max_gb", "predict.picture"),
    "series": ("competition.augmentation", "prepare.near_bits", "prepare.max_side", "cache",
               "model.name", "model.weights", "model.kwargs", "model.image_size", "model.crop", "augmentation",
               "sequences.motion", "sequences.views", "sequences.clip_frames", "augment", "predict.picture"),
}  # fmt: skip
KIND_OF = {"image": "images", "video": "videos", "series": "series"}


def demand_read(config: Config, typed: Mapping[str, str], mode: str | None) -> None:
    """Raises UserError for options that this command does not read.

    typed: option -> where it stands, as `the command line`. mode: `head` or `finetune`, of a run that is to be trained;
    None where none is.
    """
    found = {name: why for name in typed if (why := reason(config, name, mode))}
    if not found:
        return
    name, why = next(iter(found.items()))
    same = [other for other, reason in found.items() if reason == why and typed[other] == typed[name]]
    where = "" if typed[name] == "" else f", which {typed[name]} sets,"
    what = f"{', '.join(same)}{where} {'is' if len(same) == 1 else 'are'} not read {why}"
    raise UserError(what)


def reason(config: Config, name: str, mode: str | None) -> str | None:
    """Why an option is not read, and what to type: the end of `… is not read`. None where it is read."""
    if why := _of_stage(config, name):
        return why
    kind, part = config.competition.kind, name.partition(".")[0]
    if is_among(name, OF_KIND[kind]):
        kinds = [KIND_OF[other] for other in OF_KIND if not is_among(name, OF_KIND[other])]
        whose = f"of {' and '.join(kinds)}" if kinds else "of another kind"
        mend = ", or mend competition.kind" if part == "competition" else ""
        return f"for a competition of {KIND_OF[kind]}, but for one {whose}: leave it out{mend}"
    if is_among(name, ["competition.columns"]) and kind != "series" and config.competition.labels is None:
        return "without a table whose columns it names: add competition.labels=FILE.csv, or leave it out"
    if name == "ensemble.power":
        return "since there is no power mean any more: leave it out"
    if name in ("folds.count", "folds.seed") and config.folds.file is not None:
        return "beside folds.file, which says it: leave one of them out"
    if name == "folds.seed" and config.folds.count == "groups":
        return "by folds.count=groups, where nothing is drawn: leave it out"
    if name == "training.confidence" and config.training.teacher is None:
        return "without a teacher: add training.teacher=RUN, or leave it out"
    if mode is None or part not in ("training", "sequences", "model", "augmentation", "cache"):
        return None
    return _of_mode(config, name, mode)


def is_among(name: str, known: Iterable[str]) -> bool:
    """Whether an option is one of these, or inside of one of them.

    >>> is_among("model.temporal.cell", ["model.temporal"]), is_among("model.name", ["model.temporal"])
    (True, False)
    """
    return any(name == one or name.startswith(f"{one}.") for one in known)


def _of_stage(config: Config, name: str) -> str | None:
    """`reason`, for options that only some stages read."""
    part = name.partition(".")[0]
    stages = plan(config)
    if part in OF_STAGES:
        readers = [stage for stage, parts in READS.items() if part in parts]
    elif name in OF_STAGE:
        readers = [stage for stage, options in OWN.items() if name in options]
    else:
        return None
    if set(readers) & set(stages) or (name == "run" and config.stage in TOOLS):
        return None
    if config.run is not None and part == "ensemble":
        return f"with run={config.run}, which is submitted as it is: leave one of them out"
    return f"by stage={config.stage}, but by {', '.join(readers)}: type {readers[0]}, or leave it out"


def _of_mode(config: Config, name: str, mode: str) -> str | None:
    """`reason`, for options that decide how a run is trained."""
    kind, cell = config.competition.kind, config.model.temporal.cell
    part, _, option = name.partition(".")
    if part == "training":
        conduct = [one for one in CONDUCT if mode == "finetune" or one not in FINETUNE_CONDUCT]
        return (
            None if option in (*read_of_training(config, mode), *conduct, *TAUGHT) else _instead(config, mode, option)
        )
    if part == "sequences" and kind != "image" and option not in sequence_names(config, mode):
        if option == "clip_frames":
            return "while the encoder is frozen: add training=finetune, or leave it out"
        return f"by model.temporal.cell={cell}{_while(mode)}: leave it out"
    if name.startswith("model.temporal.") and option.removeprefix("temporal.") not in temporal_settings(config):
        return f"by model.temporal.cell={cell}: leave it out, or choose another cell"
    is_augmented = kind != "video" or mode == "finetune" or config.sequences.views > 0
    if not is_augmented and (part == "augmentation" or (name == "cache.short_side" and config.model.crop == "squash")):
        return "while no frame is augmented: add sequences.views=1 or training=finetune, or leave it out"
    return None


def read_of_training(config: Config, mode: str) -> list[str]:
    """The options of `training` that decide results, as `runs.identity.result_settings` has them."""
    if config.competition.kind != "image":
        return training_names(config, mode)
    return [*HEAD_SETTINGS, *(FINETUNE_SETTINGS if mode == "finetune" else ())]


def _instead(config: Config, mode: str, option: str) -> str:
    """Why an option of `training` is not read, and what is."""
    kind, cell = config.competition.kind, config.model.temporal.cell
    if kind != "image" and option in sequence_names(config, mode):
        of = "series" if kind == "series" else "videos, while the encoder is frozen"
        return f"for {of}: type sequences.{option} instead"
    if mode == "head" and option in FINETUNE_SETTINGS + FINETUNE_CONDUCT and kind != "series":
        why = " (training=auto without a GPU)" if config.training.mode == "auto" else ""
        return f"while only a head is fitted{why}: add training=finetune, or leave it out"
    if kind != "image":
        return f"for {KIND_OF[kind]} with model.temporal.cell={cell}{_while(mode)}: leave it out"
    return "in fine-tuning: leave it out"


def _while(mode: str) -> str:
    return " in fine-tuning" if mode == "finetune" else ""


def trains(config: Config) -> bool:
    """Whether the command may train the configured run, so that its options matter."""
    stage = "submit" if config.stage == "all" else config.stage
    if config.run is not None or (stage == "drill" and config.drill.runs):
        return False
    return "train" in plan(config) or stage in ("drill", "bundle")
