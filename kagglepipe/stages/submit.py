"""stage=submit: the submission CSV, checked, with a JSON of its provenance.

Reads test.parquet of a run. Writes submissions/<run>.csv and .json, if they have changed. The check reads the bytes of
the CSV. With submit.upload=true it goes to Kaggle (kaggle/upload.py).
"""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from kagglepipe.competitions.dataset import Dataset, Unreadable
from kagglepipe.competitions.targets import Truth
from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import absolute, file_sha256, read_json, write_bytes, write_json
from kagglepipe.kaggle.account import check_slug, connect
from kagglepipe.kaggle.upload import check_account, now_utc, upload
from kagglepipe.options import CompetitionOptions
from kagglepipe.predictions.baseline import class_shares
from kagglepipe.predictions.blend import apply_map, with_probabilities
from kagglepipe.predictions.calibration import fit_shares
from kagglepipe.predictions.event_submission import build_events, event_columns, validate_events
from kagglepipe.predictions.frame import Probs, class_columns, own_columns, probabilities, test_frame
from kagglepipe.predictions.pair_submission import build_pairs, validate_pairs
from kagglepipe.predictions.paired import plain_gain
from kagglepipe.predictions.submission import (
    SEGMENT_COLUMNS,
    build_segments,
    build_submission,
    constant_answer,
    read_header,
    read_written,
    segment_columns,
    submission_csv,
    validate_segments,
    validate_submission,
)
from kagglepipe.predictions.uncertainty import format_difference
from kagglepipe.runs.answers import as_spelt, by_answer
from kagglepipe.runs.configured import read_data, submitted_run
from kagglepipe.runs.decision import with_decision
from kagglepipe.runs.event_scores import events_of
from kagglepipe.runs.expected import check_shipped_sample, contract_of, log_positive, pairs_of, sample_of
from kagglepipe.runs.identity import identity_hash
from kagglepipe.runs.predict_test import Inference, at_rate_of_run, check_fits, is_of_present_table, predict_test
from kagglepipe.runs.provenance import decisive, git_commit, provenance_of, versions
from kagglepipe.runs.run import Run
from kagglepipe.runs.scores import rows_of, segments_of
from kagglepipe.segments.events import EventSettings
from kagglepipe.segments.postprocess import DetectionSettings
from kagglepipe.text import first_three, quoted_three

log = logging.getLogger(__name__)


def check(config: Config) -> None:
    """Raises UserError if the submission cannot be written or uploaded, before hours of training."""
    competition, options = config.competition, config.submit
    if options.file:
        check_file(absolute(options.file))
    if options.upload:
        slug = check_slug(competition, "leave submit.upload away")
        if competition.is_part:
            name = "per_class" if competition.per_class is not None else "hidden"
            raise UserError(f"competition.{name} classifies training images: leave it or submit.upload away")
        check_account(connect(config.kaggle, max_patience=0), slug)


def run(config: Config) -> None:
    """Build, validate and write the submission of the run; upload it with `submit.upload`."""
    competition, options, dataset = config.competition, config.submit, read_data(config)
    if dataset.nothing_to_classify:
        tool = "detect" if competition.finds_segments else "predict"
        log.info("submit: %s has no %s to classify; for your own: %s input=PATH", config.slug, competition.noun, tool)
        return
    run = submitted_run(config, dataset)
    if not run.is_finished:
        raise UserError(f"{run.name} is not finished, folds are left: train them (folds.only=[]), then stage=submit")
    if options.upload:
        check_no_sample_run(run)
    dataset = at_rate_of_run(competition, dataset, run)
    check_fits(competition, run)
    inference = Inference(config.device, config.engine, config.backend_dir, config.workers, config.pixels_dir)
    made = (segments if competition.finds_segments else answers)(competition, dataset, run, inference)
    if not options.constant and (fault := made.constant_fault):
        raise UserError(fault)
    data = submission_csv(made.submission)
    made.validate(read_written(data, made.submission))
    origin = origin_of(config, dataset, run, data) | made.facts
    path = place_of(options.file, config.ledger_file.with_name(f"{run.name}.csv"), origin)
    write_if_changed(path, data, origin)
    made.log_warnings(path)
    if options.upload:
        if made.submission.empty:
            raise UserError(f"{path.name} has no rows, which Kaggle refuses: nothing was sent")
        check_shipped_sample(competition, dataset, list(made.submission.columns))
        facts = ledger_facts(competition.slug, config.root, path, origin)
        upload(connect(config.kaggle), path, facts, config.ledger_file, options)


def origin_of(config: Config, dataset: Dataset, run: Run, data: bytes) -> dict[str, Any]:
    """Provenance of the CSV."""
    metrics, model = run.metrics, run.model
    return {
        "competition": config.slug,
        "sample": config.competition.is_sample,
        "run": run.name,
        "members": metrics.get("members", [run.name]),
        "identity": metrics.get("identity"),
        "score": {name: metrics[name] for name in ("metric", "score", "interval", "log_loss")},
        "csv_sha256": hashlib.sha256(data).hexdigest(),  # as sha256sum prints it
        "test_sha256": file_sha256(run.test_file) if is_of_present_table(run, dataset) else None,
        "table": dataset.table_hash,
        "versions": model.get("versions") or versions(),
        "git_commit": model.get("git_commit") or git_commit(),
        **provenance_of(decisive(config), config.base_dir, run),
    }


def ledger_facts(slug: str | None, root: Path, csv: Path, origin: dict[str, Any]) -> dict[str, Any]:
    """Columns of the ledger before the upload."""
    score, interval = origin["score"]["score"], origin["score"]["interval"] or (None, None)
    return {
        "time": now_utc(),
        "competition": slug,
        "file": csv.relative_to(root) if csv.is_relative_to(root) else csv,
        "sha256": origin["csv_sha256"],
        "run": origin["run"],
        "runs": " + ".join(origin["members"]),
        "config_hash": identity_hash(origin["identity"]) if origin["identity"] else None,
        "git_commit": origin["git_commit"],
        "metric": origin["score"]["metric"],
        "oof_score": score,
        "oof_low": interval[0],
        "oof_high": interval[1],
    }


@dataclass(frozen=True)
class Made:
    """A submission. validate: raises UserError for an invalid frame, as read from its CSV.

    contract: form, columns and classes. lost: unreadable test items. silent: videos without a segment. varied: whether
    the predictions that it was made of differ.
    """

    submission: pd.DataFrame
    validate: Callable[[pd.DataFrame], None]
    contract: dict[str, Any]
    lost: list[Unreadable]
    silent: list[str]
    varied: bool = False

    @property
    def constant_fault(self) -> str | None:
        """Why one answer for all rows is a fault of the submission; None where it is none."""
        if not self.varied or (answer := constant_answer(self.submission)) is None:
            return None
        return (
            f"all {len(self.submission)} rows have the same answer, {answer}, and the run's predictions differ: train "
            "longer or on more, type competition.form=probabilities if the competition takes them, or submit it all "
            "the same with submit.constant=true"
        )

    @property
    def facts(self) -> dict[str, Any]:
        """Entries of the JSON about the content."""
        lost = {"unreadable": {one.id: one.why for one in self.lost}} if self.lost else {}
        silent = {"without_segments": self.silent} if self.silent else {}
        return {"rows": len(self.submission), "contract": self.contract, **lost, **silent}

    def log_warnings(self, path: Path) -> None:
        """Log what a reader of the CSV should know."""
        if self.submission.empty:
            log.warning(
                "submit: not one segment was found in %d videos: %s has only a header, which Kaggle refuses; train "
                "longer (sequences.steps), or on more", len(self.silent), path.name,
            )  # fmt: skip
        elif self.silent:
            log.warning("submit: no segment was found in %d videos: %s", len(self.silent), quoted_three(self.silent))
        elif answer := constant_answer(self.submission):
            log.warning("submit: all %d rows have the same answer: %s", len(self.submission), answer)
        if self.lost:
            some = first_three((f"{one.path}: {one.why}" for one in self.lost), "; ")
            what = "have no segment" if self.contract["form"] in ("segments", "events") else "got the class shares"
            log.warning("submit: %d of the items to classify cannot be read and %s: %s", len(self.lost), what, some)


def answers(competition: CompetitionOptions, dataset: Dataset, run: Run, inference: Inference) -> Made:
    """Submission with one answer for each test item; unreadable ones get the class shares of the training items."""
    contract = contract_of(competition, dataset)
    predicted = predictions(competition, dataset, run, inference)
    if competition.shares:
        predicted = at_training_shares(predicted, dataset, run, competition.metric)
    test = with_decision(run.metrics, by_answer(dataset, predicted))
    test = test.assign(id=as_spelt(test["id"], contract["ids"]))
    missing = set(contract["ids"]) - set(test["id"])
    spelt = as_spelt((one.id for one in dataset.unreadable), missing)
    lost = [replace(one, id=id) for one, id in zip(dataset.unreadable, spelt, strict=True) if id in missing]
    lost += [Unreadable(id, id, "no file") for id in sorted(missing - {one.id for one in lost})]
    if lost:
        test = pd.concat([test, constant_answers(dataset, [one.id for one in lost])], ignore_index=True)
    test = test.assign(**{name: 0.0 for name in contract["classes"] if name not in dataset.classes})
    submission, validate = build_submission(test, **contract), partial(validate_submission, **contract)
    if competition.form == "pairs":
        rows = pairs_of(competition, dataset)
        submission, validate = build_pairs(submission, **rows), partial(validate_pairs, **rows, wide=contract)
    kept = {"form": competition.form, "columns": list(submission.columns), "classes": dataset.classes}
    if contract["form"] == "probability":
        kept["probability_of"] = dataset.classes[contract["positive"]]
        log_positive("submit", competition, dataset.classes, contract)
    varied = len(predicted.drop(columns=own_columns(predicted)).round(6).drop_duplicates()) > 1
    return Made(submission, validate, kept, lost, [], varied)


def at_training_shares(test: pd.DataFrame, dataset: Dataset, run: Run, metric: str) -> pd.DataFrame:
    """Give test predictions the class shares of the training rows; log what the same gains out of fold."""
    classes, rows = dataset.classes, rows_of(dataset, metric)
    if len(test) < 5 * len(classes):  # their shares are chance
        log.warning("submit: %d rows are too few for the shares of training: competition.shares=false", len(test))
        return test

    def shared(probs: Probs, truth: Truth) -> Probs:
        return apply_map(fit_shares(probs, class_shares(truth, len(classes))), probs)

    if run.oof_file.exists() and is_of_present_table(run, dataset):
        before = probabilities(run.oof().set_index("id").loc[dataset.train["id"]].reset_index(), classes)
        after = before.copy()
        for own in (rows.folds == fold for fold in np.unique(rows.folds)):
            after[own] = shared(before[own], rows.truth[~own])
        gain = plain_gain(after, before, rows)
        log.info(
            "submit: class shares of training gain %s of %s out of fold", format_difference(*astuple(gain)), metric
        )
    return with_probabilities(test, classes, shared(probabilities(test, classes), rows.truth))


def constant_answers(dataset: Dataset, ids: list[str]) -> pd.DataFrame:
    """Test frame of items that cannot be read: the class shares, or means, of the training items."""
    truth, count = dataset.labels(dataset.train), len(dataset.classes)
    shares = np.bincount(truth, minlength=count) / len(truth) if truth.ndim == 1 else truth.mean(axis=0)
    return test_frame(ids, np.tile(shares, (len(ids), 1)), dataset.classes, dataset.task)


def predictions(competition: CompetitionOptions, dataset: Dataset, run: Run, inference: Inference) -> pd.DataFrame:
    """Probabilities of the run for the test items. Raises UserError for a run of other classes."""
    test = predict_test(competition, dataset, run, inference)
    if set(class_columns(test)) != set(dataset.classes):
        raise UserError(f"{run.name} knows the classes {class_columns(test)}, not {dataset.classes}: type stage=train")
    return test


class Found(NamedTuple):
    """What is found in videos: settings, and functions to find it, to name its columns, to build and validate it."""

    settings: Callable[..., Any]
    find: Callable[..., pd.DataFrame]
    columns: Callable[[list[str] | None], dict[str, str]]
    build: Callable[..., pd.DataFrame]
    validate: Callable[..., None]


SEGMENTS = Found(DetectionSettings, segments_of, segment_columns, build_segments, validate_segments)
EVENTS = Found(EventSettings, events_of, event_columns, build_events, validate_events)


def segments(competition: CompetitionOptions, dataset: Dataset, run: Run, inference: Inference) -> Made:
    """Submission of the segments, or events, in the test videos, with the post-processing that the run has chosen."""
    test, background = predictions(competition, dataset, run, inference), competition.background
    found, parts = pd.DataFrame(columns=SEGMENT_COLUMNS), EVENTS if competition.finds_events else SEGMENTS
    found = found.assign(time=0.0).astype({"start": float, "end": float, "score": float})
    if len(dataset.test):  # else all are unreadable
        settings = parts.settings(**run.metrics["detection"]["settings"])
        found = parts.find(dataset, test, background, settings)
    assert dataset.items is not None
    items = dataset.items[dataset.items["split"] == "test"]
    sample = sample_of(competition, dataset)
    header = None if sample is None else list(sample.columns)
    asked: list[str] = [] if sample is None else sample[parts.columns(header)["video"]].unique().tolist()
    names = [*items["video"], *(one.id for one in dataset.unreadable)]
    spelling = dict(zip(names, as_spelt(names, asked), strict=True))
    begins, ends = (dict(zip(items["video"].map(spelling), items[name], strict=True)) for name in ("begins", "ends"))
    found = found.assign(video=found["video"].map(spelling))
    submission = parts.build(found, ends=ends, header=header)
    silent = sorted(set(spelling.values()) - set(submission[parts.columns(list(submission.columns))["video"]]))
    kept = {"form": competition.form, "columns": list(submission.columns), "classes": dataset.classes}
    labels = [name for name in dataset.classes if name != background]
    validate = partial(parts.validate, ends=ends, classes=labels, begins=begins)
    return Made(submission, validate, kept, [*dataset.unreadable], silent)


def check_file(path: Path) -> None:
    """Raises UserError for a `submit.file` that cannot hold the CSV."""
    if path.suffix == ".json":
        raise UserError(f"submit.file={path} is where its origin goes; give a file name that ends in .csv")
    if path.is_dir():
        raise UserError(f"submit.file={path} is a folder; give a file name, as submit.file={path}/submission.csv")


def place_of(file: str | None, usual: Path, origin: dict[str, Any]) -> Path:
    """`submit.file`, else the usual submissions/<run>.csv or, beside that of another competition, another name."""
    path = absolute(file) if file else usual
    other = other_contract(path, origin)
    if other is None:
        return path
    if file:
        log.warning("submit: %s contained another submission (%s), which is overwritten", path, other)
        return path
    beside = path.with_name(f"{origin['run']}-{identity_hash(origin['contract'])}.csv")
    log.warning("submit: %s holds another submission (%s), and stays; this one goes beside it", path.name, other)
    return beside


def other_contract(path: Path, origin: dict[str, Any]) -> str | None:
    """Describe the submission at `path`, if it is of another competition or form; else None."""
    beside = path.with_suffix(".json")
    if not path.is_file() or not beside.exists():
        return None
    known = read_json(beside)
    if not isinstance(known, dict) or "run" not in known:
        return None
    ours = (origin["competition"], origin["contract"])
    options = (known.get("configuration") or {}).get("competition") or {}
    contract = known.get("contract") or {  # versions without it in their JSON
        **origin["contract"],
        "form": options.get("form", CompetitionOptions().form),
        "columns": read_header(path),
    }
    if (known.get("competition"), contract) == ours:
        return None
    return f"{known.get('competition')}, form {contract['form']}, columns {','.join(contract['columns'][:4])}"


def write_if_changed(path: Path, data: bytes, origin: dict[str, Any]) -> None:
    """Write the CSV and its JSON, unless both are there with the same content."""
    check_file(path)
    beside = path.with_suffix(".json")
    known = read_json(beside) if beside.exists() and path.exists() and path.read_bytes() == data else {}
    if {**known, "configuration": 0} == {**origin, "configuration": 0}:  # other options may give the same bytes
        log.info("submit: %s is up to date", path)
        return
    write_bytes(path, data)
    write_json(beside, origin)
    checked = "checked, " if origin["rows"] else ""
    log.info("submit: %d rows, %sin %s (origin in %s)", origin["rows"], checked, path, beside.name)


def check_no_sample_run(run: Run) -> None:
    """Raises UserError for a run of the built-in sample, which `run=` can name by its folder."""
    from omegaconf import OmegaConf

    written: Any = OmegaConf.load(run.config_file) if run.config_file.exists() else {}
    competition = written.get("competition") or {}
    if competition.get("slug") and competition["slug"] == competition.get("sample_slug"):
        raise UserError(f"run={run.folder} was trained on the built-in sample, not on this competition")
