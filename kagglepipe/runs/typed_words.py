"""Arguments of the command line that choose the competition of a run, or that would configure it again."""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from kagglepipe.config import CONF, DICT_OPTIONS, PATH_KEYS, Config, hydra_string, option_facts
from kagglepipe.options import CompetitionOptions, is_own_metric, is_recorded_metric
from kagglepipe.runs.identity import changes, is_option_read, shipped_settings
from kagglepipe.text import PLAIN_TEXT, YAML_WORDS

FOLDERS = {
    ("image", False): "image_folder",
    ("video", False): "video_folder",
    ("video", True): "video_folder_untrimmed",
}
OMITTED = ("source", "title", "refresh", "kind", "sample_slug", "per_class", "hidden", "hidden_seed")
DECIDING_GROUPS = ("seed", "prepare", "folds", "model", "augmentation", "sequences", "predict")  # beside training
PART = ("per_class", "hidden", "hidden_seed")
DEFAULTS = CompetitionOptions()


def folder_words(config: Config) -> list[str]:
    """The arguments for the root and the outputs, where they are not those of the current folder."""
    found = [] if config.root == Path.cwd() else [f"paths.root={config.root}"]
    return found + ([f"paths.outputs={config.outputs_dir}"] if config.paths.outputs else [])


def training_words(config: Config, mode: str | None = None) -> list[str]:
    """List the arguments that train a run with this configuration again; none where its competition cannot be typed.

    mode: `head` or `finetune`, instead of its own, whose other options of training are left out then.
    """
    found = run_words(config.root / "data", config.slug, asdict(config.competition), config.seed)
    names = (*DECIDING_GROUPS, *([] if mode else ["training"]))
    mode = mode or config.training_mode
    typed = [name.lstrip("+").partition("=")[0] for name in found]
    for name, value in leaves(changes(config)) if found else ():
        facts = option_facts(name)
        is_asked = name.partition(".")[0] in names and name not in (*typed, "training.mode", "folds.only")
        if is_asked and facts[-1]["changes_results"] and is_option_read(config, name, mode):
            found += option_arguments(name, value)
    return [*found, f"training={mode}", *folder_words(config)] if found else []


def leaves(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of options that are nested as in YAML."""
    for key, value in values.items():
        name = prefix + key
        if isinstance(value, dict) and name not in DICT_OPTIONS:
            yield from leaves(value, f"{name}.")
        else:
            yield name, value


def run_words(data: Path, slug: str, configured: dict[str, Any], seed: int) -> list[str]:
    """List the arguments that choose the competition of a run, in outputs/<slug>/, or the part of it.

    data: the folder data/. configured: the competition in the run's config.yaml. seed: of the run, that draws a part.
    """
    source = configured.get("source")
    base = configured.get("slug") or (Path(str(source)).name.removesuffix(".zip") if source else slug)
    folder, part = data / str(base), [name for name in PART if configured.get(name, getattr(DEFAULTS, name))]
    if not (folder / "prepared.json").exists():  # what uses the run alone finds it by its slug
        configured = fields_of(configured, {"layout": {}})
        name = FOLDERS.get((configured["kind"], configured["form"] == "segments"), "image_folder")
        kind = (
            [] if setting(name, "kind", "image") == configured["kind"] else [f"competition.kind={configured['kind']}"]
        )
        return [f"competition={name}", f"competition.slug={slug}", *kind]
    settings = json.loads((folder / "prepared.json").read_text(encoding="utf-8"))["settings"]
    words = competition_words(folder, fields_of(configured, settings), exact=bool(configured))
    found = [word for name in part for word in option_arguments(f"competition.{name}", configured[name])]
    return [*words, *found, *([f"seed={seed}"] if seed and "per_class" in part else [])] if words else []


def data_words(options: dict[str, Any]) -> list[str]:
    """List the arguments of a run's config.yaml, beside those of the competition, that decide its table and folds."""
    default, groups = asdict(Config()), ("prepare", "folds")
    given = [(group, name, value) for group in groups for name, value in (options.get(group) or {}).items()]
    return [
        word
        for group, name, value in given
        if name not in ("only", "remake") and value != default[group].get(name, value)
        for word in option_arguments(f"{group}.{name}", value)
    ]


def fields_of(configured: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Fields of a competition, of a run's config.yaml and prepared.json, and kind and form, which older ones lack."""
    kind = configured.get("kind") or settings.get("kind") or ("image" if "layout" in settings else "video")
    form = configured.get("form") or settings.get("form") or "name"
    return {**configured, "columns": {}, **settings, "kind": str(kind), "form": str(form)}


def competition_words(folder: Path, configured: dict[str, Any], *, exact: bool = False) -> tuple[str, ...]:
    """List the arguments that choose the competition in data/<slug>; none if they cannot be told.

    configured: its settings in a run or prepared.json. exact: whether a run says all of them, so that those of the
    user's own YAML can be typed one by one.
    """
    patch = configured.get("labels_patch")
    patched = option_arguments("competition.labels_patch", patch) if patch else []
    if inferred := inferred_words(folder, configured):
        return (*inferred, *patched)
    choices = sorted(path.stem for path in (CONF / "competition").glob("*.yaml"))
    named = next((name for name in choices if setting(name, "slug") == folder.name), None)
    if named:
        return (f"competition={named}", *patched)
    name = FOLDERS.get((str(configured["kind"]), configured["form"] == "segments"))
    is_own_yaml = not exact and configured.get("slug") and configured.get("title") != setting(str(name), "title")
    names = [key for value in configured.values() if isinstance(value, dict) for key in value]
    if name is None or is_own_yaml or not all(re.fullmatch(r"[\w-]+", str(one)) for one in names):
        return ()
    source = json.loads((folder / "source.json").read_text(encoding="utf-8"))
    words = [f"competition={name}", f"competition.source={source['path']}"]
    for f in fields(CompetitionOptions):
        default = setting(name, f.name, getattr(DEFAULTS, f.name))
        value = configured.get(f.name, default)
        if f.name == "metric" and is_own_metric(str(value)) and not is_recorded_metric(str(value)):
            continue  # only the user names a file that is run
        if f.name not in OMITTED and value != default and (value or default):
            words += option_arguments(f"competition.{f.name}", value)
    return tuple(words)


def inferred_words(folder: Path, configured: dict[str, Any]) -> tuple[str, ...]:
    """The arguments of a competition that competition=auto inferred; none if it was prepared by others."""
    from kagglepipe.competitions.inferred_file import InferredFile

    known = InferredFile.read(folder)
    if known is None or any(
        configured.get(name, value) != value for name, value in known.fields.items() if name != "columns"
    ):
        return ()
    taken = json.loads((folder / "source.json").read_text(encoding="utf-8"))
    source = [] if taken["kind"] == "kaggle" else [f"competition.source={taken['path']}"]  # words have its slug
    return ("competition=auto", *source, *known.words)


def option_arguments(name: str, value: Any) -> list[str]:
    """Write an option as arguments, one for each key of a dictionary."""
    if isinstance(value, dict):
        new = "+" if name in DICT_OPTIONS else ""
        return [f"{new}{name}.{key}={_in_hydra(one)}" for key, one in value.items()]
    return [f"{name}={value if name in PATH_KEYS and value else _in_hydra(value)}"]


def _in_hydra(value: Any) -> str:
    """Write a value in Hydra's grammar, quoted if it would be read as another type."""
    if isinstance(value, list):
        return f"[{','.join(map(_in_hydra, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    is_plain = not isinstance(value, str) or (PLAIN_TEXT.fullmatch(value) and value.lower() not in YAML_WORDS)
    return str(value) if is_plain else hydra_string(value)


def setting(choice: str, name: str, default: Any = None) -> Any:
    """Write a setting in a YAML file of conf/competition."""
    return shipped_settings(choice).get(name, default)


def read_yaml(file: Path) -> dict[str, Any]:
    """Load a YAML file as a dictionary."""
    from omegaconf import OmegaConf

    found: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    return found if isinstance(found, dict) else {}
