"""stage=bundle: one folder that a Kaggle notebook without internet needs, and the notebook.

Reads the configured run where it is finished. Writes outputs/<slug>/bundle/ (or bundle.folder): wheels/, conf/ (the
configuration), run/ or weights/, files/, kagglepipe.ipynb, metadata for Kaggle's client, README.txt, and bundle.json,
which tells what the wheels were chosen by. The folder appears whole, after its wheels have been installed on trial, and
is replaced as a whole.
"""

import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, distribution, version
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
from kagglepipe.bundling.wheels import Target, check_install, check_pip, gather_wheels, read_wheel, read_wheels
from kagglepipe.config import Config, absolute
from kagglepipe.errors import UserError
from kagglepipe.files import expanded, link_or_copy, locked, read_json, write_bytes, write_json
from kagglepipe.runs.identity import changes
from kagglepipe.runs.provenance import yaml_of
from kagglepipe.stages.places import configured_run, folds_file, named_run, read_prepared
from kagglepipe.stages.unseen import demand_fit, member_of

log = logging.getLogger(__name__)
PACKAGE = "kagglepipe"
LEFT_BEHIND = ("config.yaml", "hardest.png")  # of a run: not for predicting, and the first names paths of this machine
TABLES = ("labels", "files", "answers", "sample_submission")  # options of the competition that name one


def check(config: Config) -> None:
    """Raises UserError, before any work, without pip or with a folder that is not the bundle's own."""
    check_pip()
    folder = bundle_dir(config)
    if folder.exists() and not (folder / "bundle.json").exists() and (folder.is_file() or any(folder.iterdir())):
        raise UserError(f"bundle.folder={folder} holds something else: give a new or an empty folder")


def run(config: Config) -> None:
    """Makes the bundle, or makes it anew; wheels that are still the right ones are taken over."""
    folder, target = bundle_dir(config), Target(config.bundle.python)
    with locked(folder), replacing(folder) as new:
        contents = put_model(config, new)
        contents = replace(contents, files={**contents.files, **put_tables(config, new)})
        put_wheels(new / "wheels", folder, target)
        put_configuration(config, new)
        put_notebook(contents, new, kaggle_user(folder))
    tell(folder, contents)


def bundle_dir(config: Config) -> Path:
    """outputs/<slug>/bundle, or bundle.folder."""
    return absolute(config.bundle.folder) if config.bundle.folder else config.runs_dir / "bundle"


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Yields an empty folder beside `folder`, which takes its place when the block ends well and goes when not."""
    mark = f".{folder.name}.bundling"
    folder.parent.mkdir(parents=True, exist_ok=True)
    for leftover in folder.parent.iterdir():
        if leftover.name.startswith(mark):  # of a command that was killed
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


def tell(folder: Path, contents: Contents) -> None:
    """What was made, and what to do with it."""
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
    does = f"predicts with {contents.run}" if contents.run else "trains there"
    log.info("bundle: %s, %.0f MB; its notebook %s. README.txt in it says how it gets to Kaggle", folder, size, does)


# --- the wheels -------------------------------------------------------------------------------------------------


def put_wheels(wheels: Path, before: Path, target: Target) -> None:
    """This package, all that it needs there, and bundle.json, which says what the latter was chosen by."""
    wheels.mkdir()
    own = own_wheel(Path(kagglepipe.__file__).parent, distribution(PACKAGE), wheels, target)
    facts: dict[str, Any] = {"python": target.python, "requires": [str(one) for one in read_wheel(own).requires]}
    known = read_json(before / "bundle.json") if (before / "bundle.json").exists() else {}
    if are_right(known, before / "wheels", facts):
        for name in known["sizes"]:
            link_or_copy(before / "wheels" / name, wheels / name)
        log.info("bundle: the %d wheels of its dependencies in %s are right still", len(known["sizes"]), before)
    else:
        gather_wheels(PACKAGE, wheels, target)
        log.info("bundle: installing the wheels on trial, without an index")
        check_install(wheels, target)
    facts["here"] = {name: installed(name) for name in read_wheels(wheels) if name != PACKAGE}
    facts["sizes"] = sizes_of(wheels)
    write_json(wheels.parent / "bundle.json", facts)


def are_right(known: dict[str, Any], wheels: Path, facts: dict[str, Any]) -> bool:
    """Whether dependencies that were proved before are whole, and would be chosen again today."""
    same = all(known.get(key) == value for key, value in facts.items())
    return same and sizes_of(wheels) == known["sizes"] and all(installed(n) == v for n, v in known["here"].items())


def sizes_of(wheels: Path) -> dict[str, int]:
    """File name -> bytes of the dependencies."""
    found = sorted(wheels.glob("*.whl"))
    return {file.name: file.stat().st_size for file in found if not file.name.startswith(f"{PACKAGE}-")}


def installed(name: str) -> str | None:
    """The version of a package on this machine; None if it has none."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


# --- the run, or the weights to train from ------------------------------------------------------------------------


def put_model(config: Config, bundle: Path) -> Contents:
    """The configured run, or else the weights from which the notebook trains it."""
    competition = config.competition
    kind = "dataset" if competition.slug is None else "competition"
    contents = Contents(
        slug=config.base_slug,
        source="" if competition.is_sample else kind,
        input=config.kaggle.input,
        python=config.bundle.python,
    )
    if run := finished_run(config):
        for folder in with_members(run):
            demand_network(config, folder)
            put_run(folder, bundle / "run" / folder.name)
        return replace(contents, run=run.name)
    if config.training.teacher is not None:
        raise UserError("a notebook without the teacher cannot train what it teaches: type stage=train first")
    log.info(
        "bundle: no run of this configuration is finished, so the notebook trains one; to predict with one of yours: "
        "stage=train first, or run=NAME"
    )
    return replace(contents, files=put_weights(config, bundle))


def finished_run(config: Config) -> Path | None:
    """The run that is named or, if it is finished, the one that the configuration describes."""
    if config.run:
        return named_run(config, config.run)
    prepared = (config.data_dir / "prepared.json").exists() and folds_file(config).exists()
    if not prepared and not config.ensemble.runs:
        return None
    run = configured_run(config, read_prepared(config))
    if (run / "metrics.json").exists():
        return run
    if config.ensemble.runs:
        raise UserError(f"{run.name} is not made yet: type stage=ensemble with the same options first")
    return None


def with_members(run: Path) -> list[Path]:
    """The run and, of an ensemble, the runs that it blends, which have to predict there."""
    metrics = read_json(run / "metrics.json")
    members, identities = metrics.get("members", []), metrics.get("identity") or {}
    folders = [member_of(run, name, identities.get(name)) for name in members]
    return [run, *(each for folder in folders for each in with_members(folder))]


def demand_network(config: Config, run: Path) -> None:
    """Raises UserError for a run that cannot predict files which it has not seen, as this configuration reads them."""
    if "members" in read_json(run / "metrics.json"):
        return
    models = sorted(run.glob("fold_*/model.json"))
    if not models:
        raise UserError(f"{run} holds no trained network to predict with: give another with run=NAME")
    demand_fit(config, run, read_json(models[0]))


def put_run(run: Path, target: Path) -> None:
    """What of a run it takes to predict."""
    for file in sorted(run.rglob("*")):
        name = file.relative_to(run)
        if file.is_file() and not file.name.startswith(".") and name.as_posix() not in LEFT_BEHIND:
            link_or_copy(file, target / name)


def put_weights(config: Config, bundle: Path) -> dict[str, str]:
    """First weights that no wheel holds: option -> file. Raises UserError for weights that cannot be had."""
    from kagglepipe.models.weights import find_weights

    if config.competition.kind == "series":
        return {}
    weights = find_weights(config.model.name, config.model.weights)
    name = f"weights/{config.model.name.split('/')[-1]}.safetensors"
    if weights.kind == "file" and weights.path:
        link_or_copy(weights.path, bundle / name)
    elif weights.kind == "hub":
        from safetensors.torch import save_file

        from kagglepipe.models.classifier import make_backbone

        backbone = make_backbone(config.model.name, weights, kwargs=config.model.kwargs, cache_dir=bundle)
        (bundle / name).parent.mkdir()
        save_file({key: value.contiguous() for key, value in backbone.state_dict().items()}, bundle / name)
    else:
        return {}
    return {"model.weights": name}


# --- the configuration and the notebook ---------------------------------------------------------------------------


def outside_tables(config: Config) -> dict[str, Path]:
    """Option -> the file it names, where that lies outside the competition's data."""
    found = {}
    for key in TABLES:
        value = getattr(config.competition, key)
        if value and expanded(value).is_absolute():
            found[f"competition.{key}"] = absolute(value)
    return found | ({"folds.file": folds_file(config)} if config.folds.file else {})


def put_tables(config: Config, bundle: Path) -> dict[str, str]:
    """Tables of the user's own that no attached data holds: option -> file. Raises UserError for one that is gone."""
    names = {}
    for key, path in outside_tables(config).items():
        if not path.is_file():
            raise UserError(f"{key}={path}: no such file")
        names[key] = f"files/{key}{path.suffix}"
        link_or_copy(path, bundle / names[key])
    return names


def put_configuration(config: Config, bundle: Path) -> None:
    """conf/competition/bundle.yaml, from which Hydra composes the same configuration there."""
    head = "# @package _global_\n# The configuration of this bundle: what differs from the defaults.\n"
    write_bytes(bundle / "conf/competition/bundle.yaml", (head + yaml_of(changes(portable(config)))).encode())


def portable(config: Config) -> Config:
    """The configuration without what is true on this machine alone, or is said in the notebook's command."""
    usual = Config()
    carried: dict[str, Any] = {
        key.removeprefix("competition."): None for key in outside_tables(config) if key != "folds.file"
    }
    return replace(
        config,
        stage=usual.stage,
        input=usual.input,
        run=usual.run,
        device=usual.device,
        workers=usual.workers,
        paths=usual.paths,
        competition=replace(config.competition, slug=config.base_slug, source=None, refresh=False, **carried),
        folds=replace(config.folds, file=None, only=[], remake=False),
        ensemble=usual.ensemble,
        submit=usual.submit,
        predict=usual.predict,
        detect=usual.detect,
        kaggle=usual.kaggle,
        runs=usual.runs,
        bundle=usual.bundle,
    )


def put_notebook(contents: Contents, bundle: Path, user: str) -> None:
    """The notebook, and what is needed to upload it."""
    write_json(bundle / FILE, make_notebook(contents))
    write_json(bundle / "dataset-metadata.json", dataset_metadata(contents, user))
    write_json(bundle / "kernel-metadata.json", kernel_metadata(contents, user))
    write_bytes(bundle / "README.txt", read_me(contents, user).encode())


def kaggle_user(before: Path) -> str:
    """Whose dataset and notebook they are: KAGGLE_USERNAME, or whose name was written into the bundle before."""
    file = before / "dataset-metadata.json"
    known: str = read_json(file)["id"].partition("/")[0] if file.exists() else UNKNOWN_USER
    return os.environ.get("KAGGLE_USERNAME", known)
