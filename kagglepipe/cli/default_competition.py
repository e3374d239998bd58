"""Which competition a command means that names none: the one that was prepared under its root.

Looks at folders and small files only, before the configuration is composed, and answers in the words that would have
been typed.
"""

import json
import re
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from kagglepipe.cli.hints import choices
from kagglepipe.config import CONF, FREE, PATH_KEYS, hydra_string
from kagglepipe.errors import UserError
from kagglepipe.files import expanded
from kagglepipe.options import CompetitionOptions

USUAL = "pistols_vs_smartphones"  # conf/config.yaml's own
ASKING = ("predict", "detect", "runs")  # tools that use what was trained
MAKING = ("all", "prepare", "augment", "train", "ensemble", "submit", "drill", "bundle")
FOLDERS = {
    ("image", False): "image_folder",
    ("video", False): "video_folder",
    ("video", True): "video_folder_untrimmed",
}
NOT_TYPED = ("source", "title", "refresh", "kind", "sample_slug", "per_class", "hidden", "hidden_seed")
PLAIN = re.compile(r"[A-Za-z_][\w.-]*")  # what Hydra's grammar reads as a text without quotes
DEFAULTS = CompetitionOptions()
WORDS_OF_YAML = {"true", "false", "null", "nan", "inf", "yes", "no", "on", "off", "y", "n"}


@dataclass(frozen=True)
class Known:
    """A competition that was prepared under the root. words: how it is typed; none where no YAML of ours is for it."""

    slug: str
    kind: str
    words: tuple[str, ...]
    is_trained: bool

    @property
    def as_typed(self) -> str:
        """The words as a shell takes them, for a message."""
        return shlex.join(self.words) or f"the competition of data/{self.slug}, by its YAML"


def words_meant(arguments: Sequence[str]) -> list[str]:
    """The words that name the competition, to be added to a command line without them; none if it is the usual one.

    Options of it that were typed stay as they were typed.

    Raises UserError, naming them, where several may be meant.
    """
    typed = {name.lstrip("+"): value for name, _, value in (word.partition("=") for word in arguments)}
    stage = typed.get("stage", "all")
    about_kaggle = {typed.get("submit.upload", ""), typed.get("runs.leaderboard", "")} & {"true", "True", "1"}
    is_named = bool({"competition", "competition.source", "competition.slug", "competition.kind"} & set(typed))
    own_yaml = {"-cd", "--config-dir", "-cp", "--config-path", "-cn", "--config-name"} & set(typed)
    if stage not in (*ASKING, *MAKING) or is_named or about_kaggle or own_yaml:
        return []
    root = _folder(typed.get("paths.root") or ".")
    outputs = _folder(typed["paths.outputs"]) if typed.get("paths.outputs") else root / "outputs"
    found = known_competitions(root / "data", outputs)
    usual, sample = (_setting(USUAL, name) for name in ("slug", "sample_slug"))
    if stage == "detect":
        found = [one for one in found if one.kind != "image"]
    if stage in ASKING:
        found = [one for one in found if one.is_trained]
        if run := typed.get("run"):  # a name or a folder
            found = [one for one in found if _has_run(outputs / one.slug, run)] or found
    elif any(one.slug == usual for one in found):
        return []
    found = [one for one in found if one.slug != sample] or found
    if len(found) > 1:
        listed = "; ".join(f"{one.slug}: {one.as_typed}" for one in found[:5])
        raise UserError(f"{len(found)} competitions are prepared under {root}: add the one that is meant: {listed}")
    if not found or found[0].slug in (usual, sample):
        return []
    if not found[0].words:
        raise UserError(f"add the competition=NAME, with its --config-dir, that {root}/data/{found[0].slug} is of")
    return [word for word in found[0].words if not _is_typed(word, typed)]


def _is_typed(word: str, typed: Collection[str]) -> bool:
    """Whether the option that a word sets, or one that it is inside of, was typed."""
    name = word.partition("=")[0].lstrip("+")
    return any(name == one or name.startswith(f"{one}.") for one in typed)


def known_competitions(data: Path, outputs: Path) -> list[Known]:
    """The competitions that are prepared in a data folder, save parts of others."""
    found = []
    for report in sorted(data.glob("*/prepared.json")):
        folder, settings = report.parent, json.loads(report.read_text(encoding="utf-8"))["settings"]
        if {"per_class", "hidden"} & set(settings):
            continue
        runs = sorted((outputs / folder.name).glob("*/metrics.json"), key=lambda file: file.stat().st_mtime_ns)
        configured = next((made for run in reversed(runs) if (made := _configured(run.parent))), {})
        kind = configured.get("kind") or settings.get("kind") or ("image" if "layout" in settings else "video")
        form = configured.get("form") or settings.get("form") or "name"
        words = _words(folder, str(kind), form == "segments", {**configured, "columns": {}, **settings})
        found.append(Known(folder.name, str(kind), words, bool(runs)))
    return found


def _words(folder: Path, kind: str, segments: bool, configured: dict[str, Any]) -> tuple[str, ...]:
    """How the competition in data/<slug> is typed.

    configured: its settings, as a run or `prepare` has kept them.
    """
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
        usual = _setting(name, f.name, getattr(DEFAULTS, f.name))
        value = configured.get(f.name, usual)
        if f.name not in NOT_TYPED and value != usual and (value or usual):
            words += _typed(f"competition.{f.name}", value)
    return tuple(words)


def _typed(name: str, value: Any) -> list[str]:
    """An option as it is typed, a dictionary as one for each name in it."""
    if isinstance(value, dict):
        new = "+" if name in FREE else ""
        return [f"{new}{name}.{key}={_in_hydra(one)}" for key, one in value.items()]
    return [f"{name}={value if name in PATH_KEYS and value else _in_hydra(value)}"]


def _in_hydra(value: Any) -> str:
    """A value in Hydra's grammar: a text that may be read as something else stands in quotes."""
    if isinstance(value, list):
        return f"[{','.join(map(_in_hydra, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    is_plain = not isinstance(value, str) or (PLAIN.fullmatch(value) and value.lower() not in WORDS_OF_YAML)
    return str(value) if is_plain else hydra_string(value)


def _configured(run: Path) -> dict[str, Any]:
    """What a run's config.yaml says of its competition."""
    return _read(run / "config.yaml").get("competition") or {} if (run / "config.yaml").exists() else {}


def _setting(choice: str, name: str, usual: Any = None) -> Any:
    """What a YAML file of conf/competition says of a field."""
    found = _read(CONF / "competition" / f"{choice}.yaml")
    return found.get("competition", found).get(name, usual)


def _read(file: Path) -> dict[str, Any]:
    """The dictionary in a YAML file."""
    from omegaconf import OmegaConf

    found: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    return found if isinstance(found, dict) else {}


def _has_run(folder: Path, run: str) -> bool:
    if expanded(run).resolve().parent == folder.resolve():
        return True
    return not Path(run).is_absolute() and (folder / run / "metrics.json").exists()


def _folder(typed: str) -> Path:
    return expanded(typed.strip("'\"")).absolute()
