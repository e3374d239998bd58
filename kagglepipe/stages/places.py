"""Where the files of a configuration lie, and what has been prepared: what every stage asks first."""

import json
import logging
import re
import subprocess
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from kagglepipe.config import Config, absolute, result_settings
from kagglepipe.errors import UserError
from kagglepipe.files import file_sha256, read_json, sha256, write_bytes
from kagglepipe.images.cache import is_whole
from kagglepipe.images.decode import DECODER

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """What `prepare` left: the table, its folds, the classes in order and the folder that paths start from."""

    table: pd.DataFrame
    folds: pd.DataFrame
    classes: list[str]
    images_root: Path
    pixels: Path | None
    table_hash: str
    folds_hash: str

    @property
    def train(self) -> pd.DataFrame:
        """The rows with a label, with their fold, sorted by id."""
        rows: pd.DataFrame = self.table[self.table.split == "train"].merge(self.folds[["id", "fold"]], on="id")
        return rows.sort_values("id")

    @property
    def test(self) -> pd.DataFrame:
        """The rows to classify, sorted by id."""
        rows: pd.DataFrame = self.table[self.table.split == "test"].sort_values("id")
        return rows

    def paths(self, rows: pd.DataFrame) -> list[Path]:
        """The image files of `rows`."""
        return [self.images_root / path for path in rows["path"]]


def with_sample_if_no_data(config: Config) -> Config:
    """The configuration, or the built-in sample's in its place when the competition's data is nowhere.

    Only competitions that name a sample have one, and only an absence leads here: a source or a download that
    fails is an error.
    """
    competition = config.competition
    if competition.sample_slug is None or competition.source or competition.is_sample:
        return config
    if (config.root / "data" / str(competition.slug) / "source.json").exists():
        return config
    if config.stage == "predict":  # which needs a run, not data, and says what it uses
        return replace(config, competition=replace(competition, slug=competition.sample_slug))
    log.info(
        "\n*** No data for %s was found: running on the BUILT-IN SAMPLE, images drawn by code.\n"
        "*** Its scores say nothing about the competition. For the real images add competition.source=PATH.\n",
        competition.slug,
    )
    sample = replace(competition, slug=competition.sample_slug, answers="answers.csv")
    return replace(config, competition=sample)


def read_prepared(config: Config) -> Prepared:
    """What `prepare` left for this competition. Raises UserError if it has not run."""
    folder = config.data_dir
    if not (folder / "prepared.json").exists():
        raise UserError(f"{folder} is not prepared: run stage=prepare first")
    report = read_json(folder / "prepared.json")
    folds_path = folds_file(config)
    # by the configuration, not the report: a sweep's other job may have prepared another size meanwhile
    pixels = report["pixels"] and (folder / report["pixels"]).with_name(f"pixels-{config.cache.short_side}")
    return Prepared(
        table=pd.read_parquet(folder / "table.parquet"),
        folds=read_fold_file(folds_path),
        classes=report["classes"],
        images_root=Path(folder / report["images_root"]),
        pixels=pixels if pixels and is_whole(pixels) else None,
        table_hash=report["table_hash"],
        folds_hash=file_sha256(folds_path),
    )


def folds_file(config: Config) -> Path:
    """The folds in force: the user's own, or folds.csv."""
    return absolute(config.folds.file) if config.folds.file else config.data_dir / "folds.csv"


def read_fold_file(path: Path) -> pd.DataFrame:
    """The folds in `path`, a CSV of id and fold."""
    from kagglepipe.competitions.folds import read_folds

    return read_folds(path)


def training_mode(config: Config) -> str:
    """`head` or `finetune`: what `training=auto` comes to on this machine."""
    if config.training.mode != "auto":
        return config.training.mode
    from kagglepipe.training.device import gpu_is_possible

    if config.device == "cpu" or (config.device == "auto" and not gpu_is_possible()):
        return "head"
    from kagglepipe.training.device import choose_device

    return "head" if choose_device(config.device).type == "cpu" else "finetune"


def run_identity(config: Config, prepared: Prepared) -> dict[str, Any]:
    """Everything that decides the results of the configured run."""
    from kagglepipe.models.weights import ENGINE, find_weights

    weights = find_weights(config.model.name, config.model.weights)
    return {
        "decoder": DECODER,
        "engine": ENGINE,
        **result_settings(config, training_mode(config)),
        "weights": weights.identity,
        "table": prepared.table_hash,
        "folds": prepared.folds_hash,
    }


def run_dir(config: Config, prepared: Prepared) -> Path:
    """The folder of the run that `run=` names or, without it, that the configuration describes."""
    if config.run:
        return named_run(config, config.run)
    identity = run_identity(config, prepared)
    name = f"{config.model.name.split('/')[-1]}-{identity['training']['mode']}-{identity_hash(identity)}"
    return config.runs_dir / name


def identity_hash(identity: dict[str, Any]) -> str:
    """Eight hexadecimal digits for a run's identity."""
    return sha256(json.dumps(identity, sort_keys=True))[:8]


def named_run(config: Config, name: str) -> Path:
    """The folder of a finished run, given by its name or as a path. Raises UserError if there is none."""
    for folder in (config.runs_dir / name, absolute(name)):
        if (folder / "metrics.json").exists():
            return folder
    known = [path.name for path in finished_runs(config)]
    raise UserError(f"run={name} is not a finished run in {config.runs_dir}; there are: {', '.join(known) or 'none'}")


def finished_runs(config: Config) -> list[Path]:
    """The finished runs of this competition, the latest last."""
    found = [path.parent for path in config.runs_dir.glob("*/metrics.json")]
    return sorted(found, key=lambda folder: (folder / "metrics.json").stat().st_mtime_ns)


@dataclass(frozen=True)
class Member:
    """A name, and the files with its out-of-fold and test predictions."""

    name: str
    oof: Path
    test: Path


def find_member(config: Config, name: str) -> Member:
    """The member called `name`: a run, or `oof.csv+test.csv`. Raises UserError if it is not there."""
    if "+" in name and not (config.runs_dir / name).exists():
        files = [absolute(part) for part in name.split("+")]
        if len(files) != 2 or not all(file.is_file() for file in files):
            raise UserError(f"ensemble member {name} is not a run, and not a pair of files as oof.csv+test.csv")
        return Member(name, *files)
    folder = named_run(config, name)
    return Member(folder.name, folder / "oof.parquet", folder / "test.parquet")


def ensemble_dir(config: Config, prepared: Prepared, members: list[Member]) -> Path:
    """The ensemble's folder: named by its method and a hash of its members' predictions, in any order."""
    predictions = sorted(file_sha256(member.oof) + file_sha256(member.test) for member in members)
    identity = {"method": config.ensemble.method, "members": predictions, "table": prepared.table_hash}
    name = f"ensemble-{config.ensemble.method.replace('_', '-')}-{identity_hash(identity)}"
    return config.runs_dir / name


def configured_run(config: Config, prepared: Prepared) -> Path:
    """The finished run to submit: `run=`, else the ensemble of `ensemble.runs`, else the configured run."""
    if config.ensemble.runs and not config.run:
        return ensemble_dir(config, prepared, [find_member(config, name) for name in config.ensemble.runs])
    return run_dir(config, prepared)


def write_config(config: Config, run: Path) -> None:
    """The run's config.yaml: the configuration as it was, readable and composable again."""
    from omegaconf import OmegaConf

    write_bytes(run / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(_escaped(asdict(config)))).encode())


def _escaped(value: Any) -> Any:
    """`value` with each `${`, which OmegaConf would resolve, made literal."""
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


def versions() -> dict[str, str]:
    """The versions of what decides results."""
    names = (
        "kagglepipe",
        "torch",
        "timm",
        "albumentations",
        "opencv-python-headless",
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
