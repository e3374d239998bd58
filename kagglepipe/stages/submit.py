"""stage=submit: the CSV that the competition asks for, checked, with a JSON that tells where it came from.

Reads a run's test.parquet. Writes submissions/<run>.csv and .json; touches neither when nothing has changed. With
submit.upload=true the CSV goes to Kaggle (stages/upload.py).
"""

import hashlib
import logging
import re
from pathlib import Path
from typing import Any

import pandas as pd

from kagglepipe.config import Config, absolute
from kagglepipe.errors import UserError
from kagglepipe.files import file_sha256, read_json, write_bytes, write_json
from kagglepipe.predictions.frame import id_fault
from kagglepipe.predictions.segments import DetectionSettings
from kagglepipe.predictions.submission import (
    build_segments,
    build_submission,
    read_header,
    read_sample_submission,
    submission_csv,
    validate_segments,
    validate_submission,
)
from kagglepipe.stages.places import Prepared, configured_run, git_commit, read_prepared, versions
from kagglepipe.stages.recipe import recipe_of
from kagglepipe.stages.scores import segments_of
from kagglepipe.stages.unseen import is_of_present_table, test_predictions
from kagglepipe.stages.upload import demand_uploadable, upload

log = logging.getLogger(__name__)
SAMPLE_SUBMISSION = re.compile(r"sample[-_ ]?submission.*\.csv(\.zip)?", re.I)


def check(config: Config) -> None:
    """Raises UserError before hours of training if the outcome cannot be uploaded."""
    if config.submit.upload:
        demand_uploadable(config)


def run(config: Config) -> None:
    """Builds, validates and writes the submission of the run in question; uploads it where that is asked for."""
    prepared = read_prepared(config)
    if prepared.test.empty:
        tool = "detect" if config.competition.finds_segments else "predict"
        noun = config.competition.noun
        log.info("submit: %s has no %s to classify; for your own: %s input=PATH", config.slug, noun, tool)
        return
    run = configured_run(config, prepared)
    if not (run / "metrics.json").exists():
        raise UserError(
            f"{run.name} is not finished, since folds are left: train them (folds.only=[]), then stage=submit"
        )
    if config.submit.upload:
        demand_trained_on_photos(run)
    metrics = read_json(run / "metrics.json")
    competition = config.competition
    submission = segments(config, prepared, run) if competition.finds_segments else answers(config, prepared, run)
    data = submission_csv(submission)
    path = absolute(config.submit.file) if config.submit.file else config.root / "submissions" / f"{run.name}.csv"
    origin = {
        "competition": config.slug,
        "sample": competition.is_sample,
        "run": run.name,
        "members": metrics.get("members", [run.name]),
        "identity": metrics.get("identity"),
        "score": {name: metrics[name] for name in ("metric", "score", "interval", "log_loss")},
        "rows": len(submission),
        "csv_sha256": sha256_of(data),
        "test_sha256": file_sha256(run / "test.parquet") if is_of_present_table(run, prepared) else None,
        "table": prepared.table_hash,
        "versions": model_facts(run).get("versions") or versions(),
        "git_commit": model_facts(run).get("git_commit") or git_commit(),
        **recipe_of(config, run),
    }
    write_if_changed(path, data, origin)
    if config.submit.upload:
        demand_shipped_sample(config, prepared, submission)
        upload(config, path, origin)


def answers(config: Config, prepared: Prepared, run: Path) -> pd.DataFrame:
    """One answer for each item to classify, built and validated."""
    ids, header = ids_and_header(config, prepared)
    contract: dict[str, Any] = {
        "form": config.competition.form,
        "classes": prepared.classes,
        "id_column": header[0] if header else config.competition.id_column,
        "target_column": config.competition.target_column,
        "ids": ids,
        "header": header,
    }
    submission = build_submission(test_predictions(config, prepared, run), **contract)
    validate_submission(submission, **contract)
    return submission


def segments(config: Config, prepared: Prepared, run: Path) -> pd.DataFrame:
    """What happens when in the videos to search, with the settings that the run has chosen; validated."""
    settings = DetectionSettings(**read_json(run / "metrics.json")["detection"]["settings"])
    test = test_predictions(config, prepared, run)
    found = segments_of(config, prepared.test, test, prepared.classes, settings)
    assert prepared.items is not None
    items = prepared.items[prepared.items["split"] == "test"]
    ends = dict(zip(items["video"], items["ends"], strict=True))
    sample = config.competition.sample_submission
    header = read_header(prepared.images_root / Path(sample).expanduser()) if sample else None
    submission = build_segments(found, ends=ends, header=header)
    validate_segments(
        submission, ends=ends, classes=[c for c in prepared.classes if c != config.competition.background]
    )
    return submission


def write_if_changed(path: Path, data: bytes, origin: dict[str, Any]) -> None:
    """The CSV and its origin, unless both are there with the same content."""
    beside = path.with_suffix(".json")
    if path == beside:
        raise UserError(f"submit.file={path} is where its origin goes; give a file name that ends in .csv")
    if path.is_dir():
        raise UserError(f"submit.file={path} is a folder; give a file name, as submit.file={path}/submission.csv")
    if path.exists() and path.read_bytes() == data and beside.exists() and is_same_origin(read_json(beside), origin):
        log.info("submit: %s is up to date", path)
        return
    write_bytes(path, data)
    write_json(beside, origin)
    log.info("submit: %d rows, checked, in %s (origin in %s)", origin["rows"], path, beside.name)


def is_same_origin(known: dict[str, Any], origin: dict[str, Any]) -> bool:
    """Whether one is as good as the other: the same bytes may be asked for by other words, as without a source."""
    return {**known, "configuration": 0} == {**origin, "configuration": 0}


def ids_and_header(config: Config, prepared: Prepared) -> tuple[list[str], list[str] | None]:
    """The rows and columns of the submission: the sample submission's where one is shipped, else by id."""
    name = config.competition.sample_submission
    if name is None or config.competition.is_part:
        return sorted(prepared.test["id"], key=natural), None
    sample = read_sample_submission(prepared.images_root / Path(name).expanduser())
    return sample.iloc[:, 0].tolist(), list(sample.columns)


def demand_trained_on_photos(run: Path) -> None:
    """Raises UserError for a run of the built-in sample, which `run=` can name by its folder."""
    from omegaconf import OmegaConf

    file = run / "config.yaml"
    if not file.exists():
        return
    written: Any = OmegaConf.load(file)
    competition = written.get("competition") or {}
    if competition.get("slug") and competition["slug"] == competition.get("sample_slug"):
        raise UserError(f"run={run} was trained on the built-in sample, whose answers say nothing of this competition")


def demand_shipped_sample(config: Config, prepared: Prepared, submission: pd.DataFrame) -> None:
    """Raises UserError if the competition ships a sample submission that asks for other columns or rows.

    One that the configuration names has given columns and rows already.
    """
    if config.competition.sample_submission is not None:
        return
    shipped = [file for file in prepared.images_root.rglob("*") if SAMPLE_SUBMISSION.fullmatch(file.name)]
    for file in sorted(shipped):
        fault, header = None, read_header(file)
        if header != list(submission.columns):
            fault = f"the columns {header}, not {list(submission.columns)}"
        elif not config.competition.finds_segments:
            fault = id_fault(submission.iloc[:, 0].astype(str), read_sample_submission(file).iloc[:, 0])
        if fault:
            name = file.relative_to(prepared.images_root).as_posix()
            raise UserError(
                f"{name}, which came with the data, asks for {fault}; type competition.sample_submission={name}"
            )


def natural(text: str) -> list[tuple[int, str]]:
    """Sorts img2 before img10.

    >>> sorted(["img10", "img2"], key=natural)
    ['img2', 'img10']
    """
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


def model_facts(run: Path) -> dict[str, Any]:
    """Versions and commit as the run's first fold recorded them; nothing for an ensemble."""
    file = next(iter(sorted(run.glob("fold_*/model.json"))), None)
    return read_json(file) if file else {}


def sha256_of(data: bytes) -> str:
    """The plain SHA-256 of the CSV, as `sha256sum` prints it."""
    return hashlib.sha256(data).hexdigest()
