"""What a submission was made with, as the JSON of its origin keeps it, so that it can be made again.

`submit` writes it, `reproduce` reads it. Paths of results, workers and what only concerns this machine are not in it.
"""

import re
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kagglepipe.config import Config, schema
from kagglepipe.errors import UserError
from kagglepipe.files import file_sha256, read_json, write_bytes
from kagglepipe.runs.identity import changes


def recipe_of(config: Config, run: Path) -> dict[str, Any]:
    """The submission's own configuration, the bytes that all began with, and every run that it was made of."""
    members = read_json(run / "metrics.json").get("members", [])
    folders = [run, *(run.parent / name for name in members)]
    return {
        "source": source_hash(config.base_dir),
        "configuration": decisive(config),
        "runs": facts_of(folders),
    }


def facts_of(folders: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """The facts of each run that is there, and of whoever has labelled for it, by name."""
    known: dict[str, dict[str, Any]] = {}
    for folder in folders:
        if (folder / "metrics.json").exists():
            known[folder.name] = run_facts(folder)
            if teacher := known[folder.name]["teacher"]:
                known |= facts_of([folder.parent / teacher])
    return known


def source_hash(folder: Path) -> str | None:
    """The hash of the zip or folder that data/<slug> was made of; None for the sample, and where it is not known."""
    file = folder / "source.json"
    return read_json(file).get("content") or None if file.exists() else None


def run_facts(run: Path) -> dict[str, Any]:
    """How a run was configured, what it came to, and where it was made."""
    metrics = read_json(run / "metrics.json")
    fold = next(iter(sorted(run.glob("fold_*/model.json"))), None)
    made = read_json(fold) if fold else {}
    test = run / "test.parquet"
    return {
        "configuration": written_options(run),
        "identity": metrics.get("identity"),
        "test_sha256": file_sha256(test) if test.exists() else None,
        "cut_by_budget": metrics.get("cut_by_budget"),
        "teacher": metrics.get("over_teacher", {}).get("teacher"),
        "machine": metrics.get("machine"),
        "engine": made.get("engine"),
        "versions": made.get("versions"),
        "git_commit": made.get("git_commit"),
    }


def decisive(config: Config) -> dict[str, Any]:
    """The options that differ from their defaults and change results."""
    decides = {one.name for one in fields(Config) if one.metadata["changes_results"]}
    return {name: value for name, value in changes(config).items() if name in decides}


def written_options(run: Path) -> dict[str, Any] | None:
    """The options in a run's config.yaml; None if it has none, or one that this version does not understand."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    file = run / "config.yaml"
    if not file.exists():
        return None
    try:
        config: Any = OmegaConf.to_object(OmegaConf.merge(schema(Config), OmegaConf.load(file)))
    except (OmegaConfBaseException, UserError):
        return None
    return decisive(config)


def config_of(options: dict[str, Any], name: str) -> Config:
    """The configuration with these options. Raises UserError, naming where they were, if they are not understood."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        config: Any = OmegaConf.to_object(OmegaConf.merge(schema(Config), OmegaConf.create(escaped(options))))
    except (OmegaConfBaseException, UserError) as error:
        why = " ".join(str(error).split())
        raise UserError(f"{name} was made by a version with other options ({why}): use the version it names") from error
    return replace(config, competition=replace(config.competition, refresh=False))


def write_config(config: Config, run: Path) -> None:
    """The run's config.yaml: the configuration as it was, readable and composable again."""
    write_bytes(run / "config.yaml", yaml_of(asdict(config)).encode())


def yaml_of(options: dict[str, Any]) -> str:
    """Options as YAML from which Hydra reads the same values again."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(escaped(options)))


def escaped(value: Any) -> Any:
    """`value` with each `${`, which OmegaConf would resolve, made literal."""
    if isinstance(value, dict):
        return {key: escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [escaped(item) for item in value]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


def versions() -> dict[str, str]:
    """The versions of what decides results."""
    names = (
        "kagglepipe",
        "torch",
        "timm",
        "albumentations",
        "opencv-python-headless",
        "av",
        "scikit-learn",
        "numpy",
    )
    return {name: version(name) for name in names}


def git_commit() -> str | None:
    """The commit of the package's checkout, with `+` if files differ from it; None outside a checkout."""
    here = Path(__file__).parents[2]

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != here.resolve():
            return None  # installed somewhere inside another repository
        changed = git("status", "--porcelain", "--", "kagglepipe", "conf")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
