"""The default competition of a command that names none: the only one that is prepared under its root.

Reads folders and small files only, before the configuration is composed, and returns command-line arguments.
"""

import json
import re
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from kagglepipe.cli.hints import choices
from kagglepipe.config import CONF, DICT_OPTIONS, PATH_KEYS, hydra_string
from kagglepipe.errors import UserError
from kagglepipe.files import expanded
from kagglepipe.options import CompetitionOptions, is_own_metric, is_recorded_metric
from kagglepipe.text import PLAIN_TEXT, YAML_WORDS

DEFAULT = "pistols_vs_smartphones"  # of conf/config.yaml
USING_RUNS = ("predict", "detect", "runs")
MAKING_RUNS = ("all", "describe", "prepare", "augment", "train", "ensemble", "submit", "drill", "bundle")
FOLDERS = {
    ("image", False): "image_folder",
    ("video", False): "video_folder",
    ("video", True): "video_folder_untrimmed",
}
OMITTED = ("source", "title", "refresh", "kind", "sample_slug", "per_class", "hidden", "hidden_seed")
DEFAULTS = CompetitionOptions()


@dataclass(frozen=True)
class PreparedCompetition:
    """A competition that is prepared under the root. words: its arguments; empty if the files do not say."""

    slug: str
    kind: str
    words: tuple[str, ...]
    is_trained: bool

    @property
    def shell_text(self) -> str:
        """The arguments, quoted for a shell."""
        return shlex.join(self.words) or f"the competition of data/{self.slug}, by its YAML"


def default_arguments(arguments: Sequence[str]) -> list[str]:
    """Arguments that choose the competition, to add to a command line that does not; none for the default of conf/.

    Options that were typed are not repeated. Raises UserError, with their names, for several candidates.
    """
    typed = {name.lstrip("+"): value for name, _, value in (word.partition("=") for word in arguments)}
    stage = typed.get("stage", "all")
    if stage == "describe" and "competition" not in typed and {"competition.source", "competition.slug"} & set(typed):
        return ["competition=auto"]
    about_kaggle = {typed.get("submit.upload", ""), typed.get("runs.leaderboard", "")} & {"true", "True", "1"}
    is_named = bool({"competition", "competition.source", "competition.slug", "competition.kind"} & set(typed))
    own_yaml = {"-cd", "--config-dir", "-cp", "--config-path", "-cn", "--config-name"} & set(typed)
    if stage not in (*USING_RUNS, *MAKING_RUNS) or is_named or about_kaggle or own_yaml:
        return []
    root = _folder(typed.get("paths.root") or ".")
    outputs = _folder(typed["paths.outputs"]) if typed.get("paths.outputs") else root / "outputs"
    found = prepared_competitions(root / "data", outputs)
    default, sample = (_setting(DEFAULT, name) for name in ("slug", "sample_slug"))
    if stage == "detect":
        found = [one for one in found if one.kind != "image"]
    if stage in USING_RUNS:
        found = [one for one in found if one.is_trained]
        if run := typed.get("run"):  # a name or a folder
            found = [one for one in found if _has_run(outputs / one.slug, run)] or found
    elif any(one.slug == default for one in found):
        return []
    found = [one for one in found if one.slug != sample] or found
    if len(found) > 1:
        listed = "; ".join(f"{one.slug}: {one.shell_text}" for one in found[:5])
        raise UserError(f"{len(found)} competitions are prepared under {root}: add one of: {listed}")
    if not found or found[0].slug in (default, sample):
        return []
    if not found[0].words:
        raise UserError(f"add the competition=NAME, with its --config-dir, of {root}/data/{found[0].slug}")
    return [word for word in found[0].words if not _is_typed(word, typed)]


def _is_typed(word: str, typed: Collection[str]) -> bool:
    """Whether the option that an argument sets, or a group that holds it, was typed."""
    name = word.partition("=")[0].lstrip("+")
    return any(name == one or name.startswith(f"{one}.") for one in typed)


def prepared_competitions(data: Path, outputs: Path) -> list[PreparedCompetition]:
    """Find the competitions that are prepared in a data folder, without parts of others."""
    from kagglepipe.runs.store import RunStore

    found = []
    for report in sorted(data.glob("*/prepared.json")):
        folder, settings = report.parent, json.loads(report.read_text(encoding="utf-8"))["settings"]
        if {"per_class", "hidden"} & set(settings):
            continue
        runs = RunStore(outputs / folder.name).finished()
        files = [run.config_file for run in reversed(runs) if run.config_file.exists()]
        configured: dict[str, Any] = next((made for file in files if (made := _read(file).get("competition"))), {})
        kind = configured.get("kind") or settings.get("kind") or ("image" if "layout" in settings else "video")
        form = configured.get("form") or settings.get("form") or "name"
        words = _words(folder, str(kind), form == "segments", {**configured, "columns": {}, **settings})
        found.append(PreparedCompetition(folder.name, str(kind), words, bool(runs)))
    return found


def _words(folder: Path, kind: str, segments: bool, configured: dict[str, Any]) -> tuple[str, ...]:
    """List the arguments that choose the competition in data/<slug>.

    configured: its settings in a run or prepared.json.
    """
    if inferred := _inferred_words(folder, configured):
        return inferred
    named = next((name for name in choices("competition") if _setting(name, "slug") == folder.name), None)
    if named:
        return (f"competition={named}",)
    name = FOLDERS.get((kind, segments))
    is_own_yaml = configured.get("slug") and configured.get("title") != _setting(str(name), "title")
    names = [key for value in configured.values() if isinstance(value, dict) for key in value]
    if name is None or is_own_yaml or not all(re.fullmatch(r"[\w-]+", str(one)) for one in names):
        return ()
    source = json.loads((folder / "source.json").read_text(encoding="utf-8"))
    words = [f"competition={name}", f"competition.source={source['path']}"]
    for f in fields(CompetitionOptions):
        default = _setting(name, f.name, getattr(DEFAULTS, f.name))
        value = configured.get(f.name, default)
        if f.name == "metric" and is_own_metric(str(value)) and not is_recorded_metric(str(value)):
            continue  # only the user names a file that is run
        if f.name not in OMITTED and value != default and (value or default):
            words += option_arguments(f"competition.{f.name}", value)
    return tuple(words)


def _inferred_words(folder: Path, configured: dict[str, Any]) -> tuple[str, ...]:
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


def _setting(choice: str, name: str, default: Any = None) -> Any:
    """Write a setting in a YAML file of conf/competition."""
    found = _read(CONF / "competition" / f"{choice}.yaml")
    return found.get("competition", found).get(name, default)


def _read(file: Path) -> dict[str, Any]:
    """Load a YAML file as a dictionary."""
    from omegaconf import OmegaConf

    found: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    return found if isinstance(found, dict) else {}


def _has_run(folder: Path, run: str) -> bool:
    from kagglepipe.runs.run import Run

    if expanded(run).resolve().parent == folder.resolve():
        return True
    return not Path(run).is_absolute() and Run(folder / run).is_finished


def _folder(typed: str) -> Path:
    return expanded(typed.strip("'\"")).absolute()
