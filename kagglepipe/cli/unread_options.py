"""Refuse options, on the command line or in the competition's YAML, that this command does not read.

The options' own metadata says which runs and stages read them (`options.option(read_by=, stages=)`).
"""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from kagglepipe.cli.own_yaml import own_file
from kagglepipe.config import CONF, DICT_OPTIONS, Config, option_facts, option_names
from kagglepipe.errors import UserError
from kagglepipe.runs.identity import FORM_WORDS, is_option_read, kinds_reading
from kagglepipe.tools import TOOL_HELP, plan

# whether other options are read depends on these
DECIDING_OPTIONS = {"stage", "run", "training", "training.mode", "model", "model.temporal.cell", "competition",
                    "competition.kind", "experiment", "folds.file", "folds.count", "ensemble.method",
                    "device"}  # fmt: skip
STAGE_OPTIONS = ("augment", "ensemble", "submit", "columns", "predict", "detect", "runs", "report", "drill", "bundle",
                 "describe", "course", "lesson", "input", "submission", "run")  # fmt: skip
NEEDED = {  # option -> the field of the competition without which nothing reads it, and how to type that
    "competition.metadata_key": ("metadata", "competition.metadata=FILE.csv"),
    "competition.hidden_seed": ("hidden", "competition.hidden=0.2"),
}
NOUNS = {"image": "images", "video": "videos", "series": "series", "audio": "sounds"}


def check_overrides(config: Config, added: Collection[str] = ()) -> None:
    """Raise UserError for unread options, from the command line or the competition's YAML, of the current Hydra job.

    added: words of the command line that nobody has typed, as those of competition=auto.
    """
    words = [word for word in HydraConfig.get().overrides.task if word not in added]
    groups = {word.partition("=")[0].lstrip("+") for word in words}
    mode = config.training_mode if trains(config) else None
    check_unread_options(config, typed_options(words), mode)
    is_default = not groups & {"training", "training.mode", "model", "model.temporal.cell", "experiment"}
    fields = options_of_competition() if config.stage != "course" else {}
    if groups & {"competition.form", "competition.task"}:  # then those of another one may stay in its YAML
        fields = {name: file for name, file in fields.items() if not forms_reading(name)}
    check_unread_options(config, fields, mode if is_default else None)


def typed_options(words: Sequence[str]) -> dict[str, str]:
    """Options of a command line, without those set to null or empty, as {option: source ''}.

    >>> typed_options(["+model.kwargs.in_chans=1", "augmentation=strong", "competition=image_folder", "run=null"])
    {'model.kwargs.in_chans': '', 'augmentation': ''}
    """
    found: dict[str, str] = {}
    tops = {name.partition(".")[0] for name in option_names() if "." in name}
    for word in words:
        name, _, value = word.partition("=")
        name = name.lstrip("+").partition("@")[0]
        if name.startswith("~") or value in ("null", "[]", "{}", "''", '""'):
            continue
        if name == "model" and value in temporal_models():
            found["model.temporal.cell"] = word
        elif (name == "augmentation" and value != "auto") or name not in tops:
            found[name] = ""
    return found


@cache
def temporal_models() -> set[str]:
    """Values of `model=` whose YAML sets a temporal model.

    >>> "cnn_lstm" in temporal_models(), "lite0" in temporal_models()
    (True, False)
    """
    files = CONF.glob("model/*.yaml")
    return {file.stem for file in files if "temporal" in (OmegaConf.load(file) or {})}


def options_of_competition() -> dict[str, str]:
    """{option: file} of what the chosen file of conf/competition sets."""
    runtime, found = HydraConfig.get().runtime, dict[str, str]()
    wanted = [str(runtime.choices.get("competition"))]
    whose = str(own_file(wanted[0]) or f"competition={wanted[0]}")
    folders = [Path(one.path) for one in runtime.config_sources if one.schema == "file"]
    for name in wanted:
        file = own_file(name)
        file = file or next(
            (path for folder in folders if (path := folder / f"competition/{name}.yaml").exists()), None
        )
        if file is None:
            continue
        values: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        for default in values.pop("defaults", []):
            if isinstance(default, str) and default != "_self_":
                wanted.append(default)
        is_global = "@package _global_" in file.read_text(encoding="utf-8").partition("\n")[0]
        found |= dict.fromkeys(option_paths(values, "" if is_global else "competition."), whose)
    return found


def option_paths(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of nested options that are not null or empty.

    >>> option_paths({"model": {"temporal": {"cell": "lstm"}}, "seed": None})
    ['model.temporal.cell']
    """
    found: list[str] = []
    for key, value in values.items():
        name = prefix + str(key)
        if isinstance(value, dict) and name not in DICT_OPTIONS:
            found += option_paths(value, f"{name}.")
        elif value not in (None, [], {}):
            found.append(name)
    return found


def check_unread_options(config: Config, typed: Mapping[str, str], mode: str | None) -> None:
    """Raise UserError for options that this command does not read.

    typed: option -> the file or argument that sets it; "": itself. mode: `head` or `finetune`; None: no training.
    """
    found = {name: why for name in typed if (why := why_unread(config, name, mode))}
    metric, clip = config.competition.metric, "competition.log_loss_clip"
    if typed.get(clip) == "" and not metric.startswith("log_loss"):  # in a YAML it may wait for its metric
        found[clip] = f"by competition.metric={metric}: type competition.metric=log_loss, or leave it out"
    if not found:
        return
    name, why = next(iter(found.items()))
    same = [other for other in found if (found[other], typed[other]) == (why, typed[name])]
    where = "" if typed[name] == "" else f", which {typed[name]} sets,"
    raise UserError(f"{', '.join(same)}{where} {'is' if len(same) == 1 else 'are'} not read {why}")


def why_unread(config: Config, name: str, mode: str | None) -> str | None:
    """Complete the sentence `… is not read`, with what to type; None if the option is read."""
    if why := _of_stage(config, name):
        return why
    kind, part = config.competition.kind, name.partition(".")[0]
    if part != "training" and kind not in (kinds := kinds_reading(name)):
        whose = f"of {' and '.join(NOUNS[one] for one in kinds)}" if kinds else "of another kind"
        fix = ", or correct competition.kind" if part == "competition" else ""
        return f"for a competition of {NOUNS[kind]}, but for one {whose}: leave it out{fix}"
    if (forms := forms_reading(name)) and not is_option_read(config, name, "head"):
        asked = " or ".join(f"competition.{form}" for form in forms)
        return f"without {asked}: type {'it' if len(forms) == 1 else 'one of them'} too, or leave it out"
    if name in NEEDED and getattr(config.competition, NEEDED[name][0]) is None:
        return f"without competition.{NEEDED[name][0]}: add {NEEDED[name][1]}, or leave it out"
    is_column = name.startswith("competition.columns")
    tables = (config.competition.labels, config.competition.metadata, config.competition.answers)
    is_listed = config.competition.id == "column" or name.endswith(".answer_id")  # in the list of test items
    if is_column and kind != "series" and not is_listed and not any(tables):
        return "without a table whose columns it names: add competition.labels=FILE.csv, or leave it out"
    if name == "ensemble.power":
        return "since the power mean was removed: leave it out"
    if part == "ensemble" and name != "ensemble.runs" and not (config.ensemble.runs or config.training.mode == "best"):
        return "without runs to blend: add ensemble.runs=[best:8], or leave it out"
    if name == "predict.tta" and config.predict.tta == ["auto"] and not config.mirror:
        return "where a mirror changes the class, since auto flips: name the views, as [vertical], or leave it out"
    if name in ("folds.count", "folds.seed") and config.folds.file is not None:
        return "when folds.file gives the folds: leave one of them out"
    if name == "folds.seed" and config.folds.count == "groups":
        return "by folds.count=groups, which draws nothing at random: leave it out"
    if name == "training.confidence" and config.training.teacher is None:
        return "without a teacher: add training.teacher=RUN, or leave it out"
    if mode is None or not option_facts(name):  # a choice of Hydra's, such as `experiment`
        return None
    return None if is_option_read(config, name, mode) else _of_mode(config, name, mode)


def forms_reading(name: str) -> list[str]:
    """Forms and tasks, as `form=ranking`, to which an option is confined; empty where it is to none.

    >>> forms_reading("competition.ranks"), forms_reading("competition.classes")
    (['form=ranking'], [])
    """
    words = " ".join(option_facts(name)[-1]["read_by"]).split() if option_facts(name) else []
    return [word for word in words if word in FORM_WORDS]


def _of_stage(config: Config, name: str) -> str | None:
    """`why_unread` for options of certain stages."""
    part, stages = name.partition(".")[0], plan(config)
    is_asked = part in STAGE_OPTIONS or config.stage == "course"  # a lesson makes no run, whose options others name
    if not is_asked or (name == "run" and config.stage in TOOL_HELP):
        return None
    readers = option_facts(part)[0]["stages"] if option_facts(part) else ()
    if not readers or set(readers) & set(stages):
        return None
    if config.run is not None and part == "ensemble":
        return f"with run={config.run}, which is submitted as it is: leave one of them out"
    return f"by stage={config.stage}, but by {', '.join(readers)}: type {readers[0]}, or leave it out"


def _of_mode(config: Config, name: str, mode: str) -> str:
    """`why_unread` for an option that runs in `mode` do not read."""
    cell = f"model.temporal.cell={config.model.temporal.cell}{' in fine-tuning' if mode == 'finetune' else ''}"
    part, _, option = name.partition(".")
    kind, task = config.competition.kind, config.competition.task
    if option in ("label_smoothing", "sampling") and task == "regression":
        return f"for competition.task={task}, which has no classes: leave it out"
    if part == "training" and kind != "image" and is_option_read(config, f"sequences.{option}", mode):
        whose = "videos, while the encoder is frozen" if kind == "video" else NOUNS[kind]
        return f"for {whose}: type sequences.{option} instead"
    if (
        part == "training"
        and config.competition.has_encoder
        and mode == "head"
        and is_option_read(config, name, "finetune")
    ):
        why = " (training=auto without a GPU)" if config.training.mode == "auto" else ""
        return f"while only a head is fitted{why}: add training=finetune, or leave it out"
    if part == "training":
        return f"for {NOUNS[kind]} with {cell}: leave it out" if kind != "image" else "in fine-tuning: leave it out"
    if name == "sequences.clip_frames":
        return "while the encoder is frozen: add training=finetune, or leave it out"
    if part == "sequences":
        return f"by {cell}: leave it out"
    if part == "model":
        return f"by {cell}: leave it out, or choose another cell"
    return "while no frame is augmented: add sequences.views=1 or training=finetune, or leave it out"


def trains(config: Config) -> bool:
    """Whether the command may train the configured run."""
    stage = "submit" if config.stage == "all" else config.stage
    if config.run is not None or (stage == "drill" and config.drill.runs):
        return False
    return "train" in plan(config) or stage in ("drill", "bundle")
