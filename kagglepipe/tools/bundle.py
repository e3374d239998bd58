"""stage=bundle: a folder with all that a Kaggle notebook without internet needs, and the notebook.

Reads the configured run if it is finished. Writes outputs/<slug>/bundle/ (or bundle.folder): wheels/, conf/ (the
configuration), run/ or weights/, files/, kagglepipe.ipynb, metadata for Kaggle's client, README.txt, and bundle.json
(what the wheels were selected by). The folder is replaced as a whole, after a trial installation of its wheels.
"""

import glob
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import kagglepipe
from kagglepipe.bundling.notebook import (
    FILE,
    UNKNOWN_USER,
    Contents,
    dataset_metadata,
    kernel_metadata,
    make_notebook,
    read_me,
)
from kagglepipe.bundling.own_wheel import own_wheel
from kagglepipe.bundling.wheels import (
    Target,
    check_install,
    check_pip,
    gather_wheels,
    installed,
    read_wheel,
    read_wheels,
)
from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import absolute, expanded, link_or_copy, locked, read_json, write_bytes, write_json
from kagglepipe.images.policy_file import is_policy_file
from kagglepipe.options import CompetitionOptions, ModelOptions
from kagglepipe.predictions.metrics import find_metric
from kagglepipe.runs.configured import is_prepared, read_data, submitted_run
from kagglepipe.runs.identity import changes
from kagglepipe.runs.predict_test import check_model
from kagglepipe.runs.provenance import yaml_of
from kagglepipe.runs.run import Run
from kagglepipe.runs.store import RunStore

log = logging.getLogger(__name__)
PACKAGE = "kagglepipe"
NOT_COPIED = ("config.yaml", "hardest.png")  # of a run: not needed to predict; the first names local paths
TABLES = ("labels", "labels_patch", "files", "items", "metadata", "answers", "sample_submission")  # of a competition
# Options that concern this machine, or are in the notebook's command: the notebook composes their defaults.
LOCAL = ("stage", "input", "run", "device", "workers", "paths", "ensemble", "submit", "detect", "kaggle",
         "runs", "bundle")  # fmt: skip


def check(config: Config) -> None:
    """Raises UserError, before any work, without pip or for a folder that holds something else."""
    check_pip()
    folder = bundle_dir(config)
    if folder.exists() and not (folder / "bundle.json").exists() and (folder.is_file() or any(folder.iterdir())):
        raise UserError(f"bundle.folder={folder} is not empty and no bundle: give a new or an empty folder")


def run(config: Config) -> None:
    """Make or replace the bundle; wheels that are still valid are linked from the previous one."""
    folder, target = bundle_dir(config), Target(config.bundle.python)
    with locked(folder), replacing(folder) as new:
        competition = config.competition
        name, weights = put_model(config, competition, new)
        kind = "dataset" if competition.slug is None else "competition"
        files = {**weights, **put_tables(outside_files(config, name), new), **put_metric(competition.metric, new)}
        contents = Contents(
            slug=config.base_slug, source="" if competition.is_sample else kind, input=config.kaggle.input,
            python=target.python, run=name, files=files,
        )  # fmt: skip
        put_wheels(new / "wheels", folder, target)
        put_configuration(config, new)
        put_notebook(contents, new, folder)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
    does = f"predicts with {name}" if name else "trains there"
    log.info("bundle: %s, %.0f MB; its notebook %s. README.txt says how to upload it to Kaggle", folder, size, does)


def bundle_dir(config: Config) -> Path:
    """outputs/<slug>/bundle, or bundle.folder."""
    folder = config.bundle.folder
    return absolute(folder) if folder else config.runs_dir / "bundle"


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `folder` when the block ends, and is removed if it raises."""
    mark = f".{folder.name}.bundling"
    folder.parent.mkdir(parents=True, exist_ok=True)
    for leftover in folder.parent.glob(f"{glob.escape(mark)}*"):  # of a command that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    new, old = (folder.with_name(f"{mark}-{secrets.token_hex(8)}") for _ in range(2))
    new.mkdir(parents=True)
    try:
        yield new
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)


# --- wheels -----------------------------------------------------------------------------------------------------


def put_wheels(wheels: Path, before: Path, target: Target) -> None:
    """Put this package and its dependencies into `wheels`, and write bundle.json; before: the previous bundle."""
    wheels.mkdir()
    own = own_wheel(Path(kagglepipe.__file__).parent, distribution(PACKAGE), wheels, target)
    facts: dict[str, Any] = {"python": target.python, "requires": [str(one) for one in read_wheel(own).requires]}
    known = read_json(before / "bundle.json") if (before / "bundle.json").exists() else {}
    if are_valid(known, before / "wheels", facts):
        for name in known["sizes"]:
            link_or_copy(before / "wheels" / name, wheels / name)
        log.info("bundle: the %d wheels of its dependencies in %s are still valid", len(known["sizes"]), before)
    else:
        gather_wheels(PACKAGE, wheels, target)
        log.info("bundle: trial installation of the wheels, without an index")
        check_install(wheels, target)
    facts["here"] = {name: installed(name) for name in read_wheels(wheels) if name != PACKAGE}
    facts["sizes"] = dependency_sizes(wheels)
    write_json(wheels.parent / "bundle.json", facts)


def are_valid(known: dict[str, Any], wheels: Path, facts: dict[str, Any]) -> bool:
    """Whether the wheels of an earlier bundle are complete and would be selected again."""
    same = all(known.get(key) == value for key, value in facts.items())
    whole = same and dependency_sizes(wheels) == known["sizes"]
    return whole and all(installed(name) == version for name, version in known["here"].items())


def dependency_sizes(wheels: Path) -> dict[str, int]:
    """File name -> bytes, of all wheels but this package's."""
    found = sorted(wheels.glob("*.whl"))
    return {file.name: file.stat().st_size for file in found if not file.name.startswith(f"{PACKAGE}-")}


# --- run, or pretrained weights ---------------------------------------------------------------------------------


def put_model(config: Config, competition: CompetitionOptions, bundle: Path) -> tuple[str, dict[str, str]]:
    """Put the configured run into the bundle, or else the pretrained weights to train it from.

    Returns (name of the run or "", option -> file of the weights).
    """
    if run := run_to_bundle(config):
        put_run(competition, run, bundle)
        return run.name, {}
    if config.training.teacher is not None:
        raise UserError("a notebook cannot train with pseudo-labels without its teacher: type stage=train first")
    log.info(
        "bundle: no run of this configuration is finished, so the notebook trains one; to predict with one of yours: "
        "stage=train first, or run=NAME"
    )
    return "", put_weights(config.model, bundle) if competition.has_encoder else {}


def run_to_bundle(config: Config) -> Run | None:
    """Find the named run, or the configured one if it is finished."""
    if config.run:
        return RunStore(config.runs_dir).named(config.run)
    is_blended = bool(config.ensemble.runs)
    if not is_blended and not is_prepared(config):
        return None
    run = submitted_run(config, read_data(config))
    if run.is_finished:
        return run
    if is_blended:
        raise UserError(f"{run.name} is not finished: type stage=ensemble with the same options first")
    return None


def put_run(competition: CompetitionOptions, run: Run, bundle: Path) -> None:
    """Put the files of a run, and of all its members, that prediction needs into the bundle.

    Raises UserError for networks that cannot predict new files of this competition.
    """
    if run.is_ensemble:
        for member in run.members:
            put_run(competition, run.find_member(member.name), bundle)
    elif run.models:
        check_model(competition, run, run.model)
    else:
        raise UserError(f"{run.folder} holds no trained network to predict with: give another with run=NAME")
    for file in sorted(run.folder.rglob("*")):
        name = file.relative_to(run.folder)
        if file.is_file() and not file.name.startswith(".") and name.as_posix() not in NOT_COPIED:
            link_or_copy(file, bundle / "run" / run.name / name)


def put_weights(model: ModelOptions, bundle: Path) -> dict[str, str]:
    """Put pretrained weights that no wheel holds into the bundle: option -> file. Raises UserError if unavailable."""
    from kagglepipe.models.weights import find_weights

    weights = find_weights(model.name, model.weights)
    name = f"weights/{model.name.split('/')[-1]}.safetensors"
    if weights.path and weights.path.suffix == ".safetensors":
        link_or_copy(weights.path, bundle / name)
    elif weights.kind in ("hub", "file"):
        from safetensors.torch import save_file

        from kagglepipe.models.classifier import make_backbone

        backbone = make_backbone(model.name, weights, kwargs=model.kwargs, cache_dir=bundle)
        (bundle / name).parent.mkdir()
        save_file({key: value.contiguous() for key, value in backbone.state_dict().items()}, bundle / name)
    else:
        return {}
    return {"model.weights": name}


# --- configuration and notebook ---------------------------------------------------------------------------------


def outside_files(config: Config, run: str) -> dict[str, Path]:
    """Option -> file that no attached data contain. run: name of the run that predicts; empty: the notebook trains."""
    policy = config.augmentation.policy
    own_policy = {"augmentation.policy": absolute(policy)} if is_policy_file(policy) and not run else {}
    return outside_tables(config) | own_policy


def outside_tables(config: Config) -> dict[str, Path]:
    """Option -> table outside the competition's data."""
    named = {f"competition.{key}": getattr(config.competition, key) for key in TABLES}
    found = {key: absolute(value) for key, value in named.items() if value and expanded(value).is_absolute()}
    return found | ({"folds.file": config.folds_file} if config.folds.file else {})


def put_tables(tables: dict[str, Path], bundle: Path) -> dict[str, str]:
    """Put `outside_files` into the bundle: option -> file. Raises UserError for a missing one."""
    names = {}
    for key, path in tables.items():
        if not path.is_file():
            raise UserError(f"{key}={path}: no such file")
        names[key] = f"files/{key}{path.suffix}"
        link_or_copy(path, bundle / names[key])
    return names


def put_metric(name: str, bundle: Path) -> dict[str, str]:
    """Put the file of a metric of the user's own into the bundle: option -> file and function.

    Raises UserError if the file is not at hand.
    """
    file = find_metric(name).file
    if file is None:
        return {}
    link_or_copy(file, bundle / "files" / file.name)
    return {"competition.metric": f"files/{name.partition('#')[0]}"}


def put_configuration(config: Config, bundle: Path) -> None:
    """Write conf/competition/bundle.yaml, from which Hydra composes the portable configuration."""
    head = "# @package _global_\n# The configuration of this bundle: what differs from the defaults.\n"
    write_bytes(bundle / "conf/competition/bundle.yaml", (head + yaml_of(changes(portable(config)))).encode())


def portable(config: Config) -> Config:
    """Make the configuration for the notebook: without paths of this machine and options of its command."""
    tables = {key.partition(".")[2]: None for key in outside_tables(config) if key != "folds.file"}
    competition: dict[str, Any] = {"slug": config.base_slug, "source": None, "refresh": False, **tables}
    default, augmentation = Config(), config.augmentation
    if is_policy_file(augmentation.policy):
        augmentation = replace(augmentation, policy="auto")
    local: dict[str, Any] = {name: getattr(default, name) for name in LOCAL}
    return replace(
        config,
        **local,
        predict=replace(default.predict, tta=config.predict.tta),  # which decides results
        augmentation=augmentation,
        competition=replace(config.competition, **competition),
        folds=replace(config.folds, file=None, only=[], remake=False),
    )


def put_notebook(contents: Contents, bundle: Path, before: Path) -> None:
    """Put the notebook into the bundle, with the metadata and instructions to upload it.

    Its owner is KAGGLE_USERNAME, or who is named in the previous bundle.
    """
    file = before / "dataset-metadata.json"
    known: str = read_json(file)["id"].partition("/")[0] if file.exists() else UNKNOWN_USER
    user = os.environ.get("KAGGLE_USERNAME", known)
    write_json(bundle / FILE, make_notebook(contents))
    write_json(bundle / "dataset-metadata.json", dataset_metadata(contents, user))
    write_json(bundle / "kernel-metadata.json", kernel_metadata(contents, user))
    write_bytes(bundle / "README.txt", read_me(contents, user).encode())
