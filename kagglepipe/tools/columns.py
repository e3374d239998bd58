"""columns: add the columns of the tables (age, place, quality) to a run, as one more run that an ensemble can blend.

A model of scikit-learn is fitted, within the folds, on the run's out-of-fold logits and the columns beside them. Reads
the run and the CSVs of the source. Writes outputs/<slug>/columns-<model>-<hash>/{oof.parquet, test.parquet,
metrics.json (last)}.
"""

import logging
from dataclasses import asdict, astuple
from typing import Any

import numpy as np

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.competitions.item_columns import encode, read_item_columns
from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import file_sha256, write_parquet
from kagglepipe.predictions.column_model import choose_model, cross_predict, logits_of
from kagglepipe.predictions.frame import class_columns, oof_frame, probabilities, test_frame
from kagglepipe.predictions.metrics import find_metric
from kagglepipe.predictions.paired import gains_over, significantly_better
from kagglepipe.predictions.uncertainty import format_difference
from kagglepipe.runs.configured import read_data, store_of, submitted_run
from kagglepipe.runs.describe import describe_scores, or_nan
from kagglepipe.runs.identity import identity_hash
from kagglepipe.runs.run import Run
from kagglepipe.runs.scores import groups_hash, rows_of, scores_of, with_test_scores

log = logging.getLogger(__name__)
VERSION = 1  # raised when the same run and columns give other predictions


def run(config: Config) -> float:
    """Fit the columns' model on the configured run, or that of `run=`; returns its out-of-fold score."""
    return float(or_nan(add_columns(config).metrics["score"]))


def add_columns(config: Config) -> Run:
    """Fit the columns' model on the configured run, or that of `run=`, and write it as a run.

    Raises UserError if the tables have no columns about training and test items alike.
    """
    competition, options = config.competition, config.columns
    if competition.kind != "image" or competition.finds_segments:
        raise UserError(f"columns are read for images so far, and competition.kind is {competition.kind}")
    dataset, base = read_data(config), submitted_run(config, read_data(config))
    columns = read_item_columns(dataset, competition, options.names)
    cells, test_cells, kinds, notes = encode(columns)
    for note in notes:
        log.warning("columns: %s", note)
    log.info("columns: %s beside the predictions of %s", ", ".join(map(str, columns.train)), base.name)
    rows, classes = rows_of(dataset, competition.metric), dataset.classes
    oof, test = (frame.set_index("id") for frame in (base.oof(), base.test()))
    before = probabilities(oof.loc[dataset.train["id"]], classes)
    x, others = (
        np.concatenate([logits_of(values, rows.truth), own], axis=1)
        for values, own in ((before, cells), (probabilities(test.loc[dataset.test["id"]], classes), test_cells))
    )
    categorical = [False] * (x.shape[1] - len(kinds)) + kinds
    model = options.model
    if model == "auto":
        model = choose_model(x, rows, categorical, len(classes))
        log.info("columns: model by cross-validated %s: %s", rows.task.loss, model)
    after, of_test = cross_predict(model, x, rows, others, categorical, len(classes))
    (gain,) = gains_over([after], before, rows)
    is_kept = significantly_better([before, after], rows) == 1
    noise = "" if is_kept else ": not beyond noise, so that it is no member to blend"
    what = rows.metric if find_metric(rows.metric).is_of_order else rows.task.loss
    log.info("columns: gain over %s: %s of %s%s", base.name, format_difference(*astuple(gain)), what, noise)
    identity = {
        "run": file_sha256(base.oof_file) + file_sha256(base.test_file), "columns": list(columns.train), "model": model,
        "version": VERSION, "table": dataset.table_hash, "folds": dataset.folds_hash,
    }  # fmt: skip
    made = store_of(config).run(f"columns-{model}-{identity_hash(identity)}")
    over_base = {**asdict(gain), "is_kept": is_kept}
    save(config, dataset, made, after, of_test, {"base": base.name, "over_base": over_base, "identity": identity})
    return made


def save(config: Config, dataset: Dataset, made: Run, oof: np.ndarray, test: np.ndarray, about: dict[str, Any]) -> None:
    """Write the run: tables, then metrics. about: more entries of metrics.json."""
    competition, classes, train = config.competition, dataset.classes, dataset.train
    ids, targets, task = train["id"].tolist(), train["target"].tolist(), dataset.task
    frame = oof_frame(ids, train["fold"].to_numpy(), targets, oof, classes, task)
    test_rows = test_frame(dataset.test["id"].tolist(), test, classes, task)
    made.invalidate()
    write_parquet(made.oof_file, frame)
    write_parquet(made.test_file, test_rows)
    assert class_columns(frame) == classes
    scores = scores_of(frame, competition, classes, train.set_index("id")["group"], dataset=dataset)
    scores = with_test_scores(scores, competition, dataset, test_rows)
    made.save_metrics({**scores, "run": made.name, "classes": classes, "groups_sha256": groups_hash(dataset), **about})
    for line in describe_scores(made.metrics, competition.metric):
        log.info("columns: %s", line)
    blend = f", or blend it: 'ensemble.runs=[{about['base']},{made.name}]'" if about["over_base"]["is_kept"] else ""
    log.info("columns: %s is a run: type submit run=%s%s", made.name, made.name, blend)
