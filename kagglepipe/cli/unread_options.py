"""Options on the command line or in the competition's YAML that this command does not read: an error, not silence.

Which run reads which option stands in the options' own facts (`options.option(read_by=, stages=)`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from kagglepipe.config import FREE, Config, option_facts, option_names
from kagglepipe.errors import UserError
from kagglepipe.runs.identity import is_option_read, kinds_reading, training_mode
from kagglepipe.stages import TOOLS, plan

# what other options are read depends on these
DECIDE_WHAT_IS_READ = {"stage", "run", "training", "training.mode", "model", "model.temporal.cell", "competition",
                       "competition.kind", "experiment", "folds.file", "folds.count", "ensemble.method",
                       "device"}  # fmt: skip
OF_TIME = ("lstm", "cnn_lstm", "lstm_shuffled", "mean_pool", "mean_pool_diff", "temporal_conv")  # of conf/model
STRICT = ("augment", "ensemble", "submit", "predict", "detect", "runs", "drill", "bundle", "input", "submission", "run")
NOUNS = {"image": "images", "video": "videos", "series": "series"}


def demand_read(config: Config) -> None:
    """Raises UserError for options, typed or of the competition's YAML, that this command does not read."""
    words = list(HydraConfig.get().overrides.task)
    typed = typed_options(words)
    groups = {word.partition("=")[0].lstrip("+") for word in words}
    mode = None
    if trains(config):
        mode = training_mode(config)
    demand_options_read(config, typed, mode)
    is_usual = not groups & {"training", "training.mode", "model", "model.temporal.cell", "experiment"}
    demand_options_read(config, options_of_competition(), mode if is_usual else None)


def typed_options(words: Sequence[str]) -> dict[str, str]:
    """The options of a command line, for `unread.demand_read`; what is set to nothing is left aside.

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
        if name == "model" and value in OF_TIME:
            found["model.temporal.cell"] = word
        elif (name == "augmentation" and value != "auto") or name not in tops:
            found[name] = ""
    return found


def options_of_competition() -> dict[str, str]:
    """The options that the chosen file of conf/competition sets, and that file, for `unread.demand_read`."""
    runtime, found = HydraConfig.get().runtime, dict[str, str]()
    wanted = [str(runtime.choices.get("competition"))]
    folders = [Path(one.path) for one in runtime.config_sources if one.schema == "file"]
    for name in wanted:
        file = next((path for folder in folders if (path := folder / "competition" / f"{name}.yaml").exists()), None)
        if file is None:
            continue
        values: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        for default in values.pop("defaults", []):
            if isinstance(default, str) and default != "_self_":
                wanted.append(default)
        is_global = "@package _global_" in file.read_text(encoding="utf-8").partition("\n")[0]
        found |= dict.fromkeys(flat(values, "" if is_global else "competition."), f"competition={wanted[0]}")
    return found


def flat(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The names of nested options that are set to something.

    >>> flat({"model": {"temporal": {"cell": "lstm"}}, "seed": None})
    ['model.temporal.cell']
    """
    found: list[str] = []
    for key, value in values.items():
        name = prefix + str(key)
        if isinstance(value, dict) and name not in FREE:
            found += flat(value, f"{name}.")
        elif value not in (None, [], {}):
            found.append(name)
    return found


def demand_options_read(config: Config, typed: Mapping[str, str], mode: str | None) -> None:
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
    if part != "training" and kind not in (kinds := kinds_reading(name)):
        whose = f"of {' and '.join(NOUNS[one] for one in kinds)}" if kinds else "of another kind"
        mend = ", or mend competition.kind" if part == "competition" else ""
        return f"for a competition of {NOUNS[kind]}, but for one {whose}: leave it out{mend}"
    is_column = name.startswith("competition.columns")
    if is_column and kind != "series" and config.competition.labels is None:
        return "without a table whose columns it names: add competition.labels=FILE.csv, or leave it out"
    if name == "ensemble.power":
        return "since there is no power mean any more: leave it out"
    if name in ("folds.count", "folds.seed") and config.folds.file is not None:
        return "beside folds.file, which says it: leave one of them out"
    if name == "folds.seed" and config.folds.count == "groups":
        return "by folds.count=groups, where nothing is drawn: leave it out"
    if name == "training.confidence" and config.training.teacher is None:
        return "without a teacher: add training.teacher=RUN, or leave it out"
    if mode is None or not option_facts(name):  # a choice of Hydra's, such as `experiment`
        return None
    return None if is_option_read(config, name, mode) else _of_mode(config, name, mode)


def _of_stage(config: Config, name: str) -> str | None:
    """`reason`, for options that only some stages read."""
    part, stages = name.partition(".")[0], plan(config)
    if part not in STRICT or (name == "run" and config.stage in TOOLS):
        return None
    readers = option_facts(part)[0]["stages"]
    if set(readers) & set(stages):
        return None
    if config.run is not None and part == "ensemble":
        return f"with run={config.run}, which is submitted as it is: leave one of them out"
    return f"by stage={config.stage}, but by {', '.join(readers)}: type {readers[0]}, or leave it out"


def _of_mode(config: Config, name: str, mode: str) -> str:
    """`reason`, for an option that a run in `mode` does not read."""
    cell = f"model.temporal.cell={config.model.temporal.cell}{' in fine-tuning' if mode == 'finetune' else ''}"
    part, _, option = name.partition(".")
    kind = config.competition.kind
    if part == "training" and kind != "image" and is_option_read(config, f"sequences.{option}", mode):
        whose = "series" if kind == "series" else "videos, while the encoder is frozen"
        return f"for {whose}: type sequences.{option} instead"
    if part == "training" and kind != "series" and mode == "head" and is_option_read(config, name, "finetune"):
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
    """Whether the command may train the configured run, so that its options matter."""
    stage = "submit" if config.stage == "all" else config.stage
    if config.run is not None or (stage == "drill" and config.drill.runs):
        return False
    return "train" in plan(config) or stage in ("drill", "bundle")
