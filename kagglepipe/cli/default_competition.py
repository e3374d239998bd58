"""The competition of a command that names none: that of the runs it names, or the only one prepared under its root.

Reads folders and small files only, before the configuration is composed, and returns command-line arguments.
"""

import json
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kagglepipe.errors import UserError
from kagglepipe.files import expanded
from kagglepipe.runs.typed_words import competition_words, data_words, fields_of, read_yaml, run_words, setting

DEFAULT = "pistols_vs_smartphones"  # of conf/config.yaml
USING_RUNS = ("predict", "detect", "runs", "report", "export", "columns")
MAKING_RUNS = ("all", "describe", "prepare", "augment", "train", "ensemble", "submit", "drill", "bundle")
OWN_FILES = ("image_folder", "video_folder")  # competitions that Kaggle does not have
NAMING_RUNS = ("run", "ensemble.runs", "runs.compare", "drill.runs", "training.teacher")  # options


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
    runs = named_runs(typed)
    if stage not in (*USING_RUNS, *MAKING_RUNS) or is_named or own_yaml:
        return []
    root = _folder(typed.get("paths.root") or ".")
    outputs = _folder(typed["paths.outputs"]) if typed.get("paths.outputs") else root / "outputs"
    if runs and (own := competition_of_runs(root / "data", outputs, runs, stage)) is not None:
        return [word for word in own if not _is_typed(word, typed)]
    found = prepared_competitions(root / "data", outputs)
    default, sample = (setting(DEFAULT, name) for name in ("slug", "sample_slug"))
    if stage == "detect":
        found = [one for one in found if one.kind != "image"]
    if about_kaggle:
        found = [one for one in found if not {f"competition={name}" for name in OWN_FILES} & set(one.words)]
    if stage in USING_RUNS:
        found = [one for one in found if one.is_trained]
    elif not about_kaggle and any(one.slug == default for one in found):
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


def named_runs(typed: dict[str, str]) -> list[str]:
    """Names and folders of the runs that options name; not patterns, and not files from elsewhere.

    >>> named_runs({"run": "a", "ensemble.runs": "[b,'c',best:2,x*,oof.csv+test.csv]", "seed": "1"})
    ['a', 'b', 'c']
    """
    words = [word.strip(" '\"") for name in NAMING_RUNS for word in typed.get(name, "").strip("'\"[]").split(",")]
    return [word for word in words if word not in ("", "null") and not set("*?[+") & set(word) and "best:" not in word]


def competition_of_runs(data: Path, outputs: Path, runs: Sequence[str], stage: str) -> list[str] | None:
    """Arguments that choose the competition of these runs: none for a folder elsewhere, None where nothing has them.

    stage: one that prepares gets those that decide table and folds, too.
    Raises UserError for a name that several competitions have.
    """
    from kagglepipe.runs.run import Run
    from kagglepipe.runs.store import RunStore

    folders = [path for path in sorted(outputs.glob("*")) if _has_run(path, runs[0])]
    folders = [path for path in folders if all(_has_run(path, run) for run in runs)] or folders
    if len(folders) > 1:
        paths = " or ".join(str(folder / runs[0]) for folder in folders)
        raise UserError(f"{runs[0]} is a run of {len(folders)} competitions: name its folder, {paths}")
    if not folders:
        return [] if Run(_folder(runs[0])).is_finished else None
    store = RunStore(folders[0])
    known = (read_yaml(run.config_file) for run in [store.run(Path(runs[0]).name), *reversed(store.finished())]
             if run.config_file.exists())  # fmt: skip
    options = next(known, {})
    words = run_words(data, folders[0].name, options.get("competition") or {}, int(options.get("seed", 0)))
    return [*words, *(data_words(options) if stage in MAKING_RUNS else [])]


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
        configured: dict[str, Any] = next((one for file in files if (one := read_yaml(file).get("competition"))), {})
        configured = fields_of(configured, settings)
        words = competition_words(folder, configured)
        found.append(PreparedCompetition(folder.name, str(configured["kind"]), words, bool(runs)))
    return found


def _has_run(folder: Path, run: str) -> bool:
    from kagglepipe.runs.run import Run

    if expanded(run).resolve().parent == folder.resolve():
        return True
    return not Path(run).is_absolute() and Run(folder / run).is_finished


def _folder(typed: str) -> Path:
    return expanded(typed.strip("'\"")).absolute()
