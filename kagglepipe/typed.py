"""Which options stand on the command line, or in the competition's YAML, as Hydra has composed them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from kagglepipe.config import FREE, Config, option_names
from kagglepipe.stages import unread

# what other options are read depends on these
DECIDE_WHAT_IS_READ = {"stage", "run", "training", "training.mode", "model", "model.temporal.cell", "competition",
                       "competition.kind", "experiment", "folds.file", "folds.count", "ensemble.method",
                       "device"}  # fmt: skip
OF_TIME = ("lstm", "cnn_lstm", "lstm_shuffled", "mean_pool", "mean_pool_diff", "temporal_conv")  # of conf/model


def demand_read(config: Config) -> None:
    """Raises UserError for options, typed or of the competition's YAML, that this command does not read."""
    words = list(HydraConfig.get().overrides.task)
    typed = typed_options(words)
    groups = {word.partition("=")[0].lstrip("+") for word in words}
    mode = None
    if unread.trains(config):
        from kagglepipe.runs.identity import training_mode  # which imports what tables take

        mode = training_mode(config)
    unread.demand_read(config, typed, mode)
    is_usual = not groups & {"training", "training.mode", "model", "model.temporal.cell", "experiment"}
    unread.demand_read(config, options_of_competition(), mode if is_usual else None)


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
