"""A run's predictions for the present test rows, which need not be those that it was trained beside.

A code competition reruns a notebook on hidden files, often under the names of the public ones: test.parquet then holds
answers about other pictures.
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.config import Config
from kagglepipe.console import progress
from kagglepipe.errors import UserError
from kagglepipe.files import demand_sha256
from kagglepipe.options import CompetitionOptions
from kagglepipe.predictions.blend import with_probabilities
from kagglepipe.predictions.frame import align, probabilities, test_frame
from kagglepipe.runs.run import Run
from kagglepipe.runs.store import check_one_rate
from kagglepipe.stages.configured import at_rate_of, image_reader
from kagglepipe.text import listed

if TYPE_CHECKING:
    from kagglepipe.training.checkpoint import Checkpoint
    from kagglepipe.training.sequence_inference import SequenceRun

log = logging.getLogger(__name__)
Probs = NDArray[np.float64]


def predict_test(config: Config, dataset: Dataset, run: Run) -> pd.DataFrame:
    """Probabilities of the test rows: the run's test.parquet or, if it is of other files, predicted anew.

    An ensemble blends its members again, which have to lie beside it. Nothing is written: a run's folder may be
    read-only, and test.parquet belongs to the table that the run was trained on.
    Raises UserError if the present files cannot be predicted.
    """
    if is_of_present_table(run, dataset):
        return run.test()
    if not run.is_ensemble:
        log.info("submit: the files are not those beside which %s was trained: it predicts them anew", run.name)
        return predict_anew(config, dataset, run)
    frames = {member.name: predict_test(config, dataset, member) for member in run.find_members()}
    classes, aligned = run.fitted_classes, list(align(frames).values())
    stack = np.stack([probabilities(frame, classes) for frame in aligned])
    return with_probabilities(aligned[0], classes, run.blend(stack))


def is_of_present_table(run: Run, dataset: Dataset) -> bool:
    """Whether test.parquet is of the present files. A run from elsewhere, of no known table, may be."""
    return run.tables <= {dataset.table_hash}


def at_rate_of_run(competition: CompetitionOptions, dataset: Dataset, run: Run) -> Dataset:
    """The dataset at the `sequences.rate` of a run: its rows are frames at no other.

    Raises UserError for an ensemble of runs at several rates, which classify other frames.
    """
    rates = {} if competition.kind == "image" else run.rates
    if competition.finds_segments:
        check_one_rate(rates)
    if len(set(rates.values())) != 1 or (rate := next(iter(rates.values()))) == dataset.rate:
        return dataset
    log.info("submit: %s was trained at sequences.rate=%g, which counts here", run.name, rate)
    return at_rate_of(competition, dataset, rate)


def predict_anew(config: Config, dataset: Dataset, run: Run) -> pd.DataFrame:
    """Probabilities of the test rows, from their files. Raises UserError if the run cannot read them."""
    from kagglepipe.training.checkpoint import read_checkpoints

    checkpoints = read_checkpoints(run.folder)
    meta = checkpoints[0].meta
    dataset = at_rate_of_run(config.competition, dataset, run)
    check_model(config.competition, run, meta)
    if set(meta["classes"]) != set(dataset.classes):
        raise UserError(
            f"{run.name} knows the classes {listed(meta['classes'])}, not {listed(dataset.classes)}: type stage=train"
        )
    predict = image_probabilities if config.competition.kind == "image" else sequence_probabilities
    return test_frame(dataset.test["id"].tolist(), predict(config, dataset, checkpoints), meta["classes"])


def check_fits(competition: CompetitionOptions, run: Run) -> None:
    """Raises UserError unless a run, or the first member of an ensemble that is here, answers what is asked for."""
    if competition.finds_segments and "detection" not in run.metrics:
        raise UserError(
            f"{run.name} tells what a whole item is, and competition.form=segments asks for when it happens"
        )
    meta = next((one.model for one in (run, *run.members) if one.model), {})
    if "training" in meta:
        check_model(competition, run, meta)


def check_model(competition: CompetitionOptions, run: Run, meta: dict[str, Any]) -> None:
    """Raises UserError unless a run, by its model.json, answers what the competition asks for."""
    kind = meta.get("kind", "image")
    if kind != competition.kind:
        raise UserError(f"{run.name} was trained on {kind}, competition.kind is {competition.kind}")
    if kind == "image":
        return
    if meta["per_frame"] != competition.finds_segments:
        what = "when something happens" if meta["per_frame"] else "what a whole clip is"
        raise UserError(f"{run.name} tells {what}, and competition.form={competition.form} asks for another thing")
    if meta.get("background", competition.background) != competition.background and competition.finds_segments:
        raise UserError(
            f"{run.name} was trained with competition.background={meta['background']}, the configuration says "
            f"{competition.background}: type competition.background={meta['background']}"
        )


def image_probabilities(config: Config, dataset: Dataset, checkpoints: "list[Checkpoint]") -> Probs:
    """(N, C) for the test images, read as the checkpoints ask."""
    from kagglepipe.training.backends import make_backend
    from kagglepipe.training.inference import run_probabilities

    rows = dataset.test
    dataset = replace(dataset, bits=checkpoints[0].meta.get("bits", dataset.bits))
    reader = image_reader(config, dataset, rows, checkpoints[0].preprocessing.short_side)
    backend = make_backend(config.device, config.engine, config.backend_dir)
    return run_probabilities(checkpoints, reader, range(len(rows)), backend=backend, workers=config.workers)


def sequence_probabilities(config: Config, dataset: Dataset, checkpoints: "list[Checkpoint]") -> Probs:
    """(N, C) for the test clips or frames; a file is read once, whatever rows it has."""
    from kagglepipe.training.backends import make_backend
    from kagglepipe.training.sequence_inference import SequenceRun

    rows = dataset.test
    run = SequenceRun(checkpoints, backend=make_backend(config.device, config.engine, config.backend_dir))
    probs = np.empty((len(rows), len(run.meta["classes"])))
    files = rows.reset_index(drop=True).groupby("path")
    for path, own in progress(files, "predict", total=len(files), unit="file"):
        probs[own.index] = file_probabilities(run, dataset.images_root / str(path), own)
    return probs


def file_probabilities(run: "SequenceRun", path: Path, rows: pd.DataFrame) -> Probs:
    """(N, C) for rows of one file, each `frames` long from its `position` on."""
    demand_sha256(path, rows["sha256"].iloc[0])
    try:
        features = run.read(path).features
    except ValueError as error:  # VideoError and SeriesError
        raise UserError(f"{path}: {error}; mend or remove it, then stage=prepare") from error
    last = len(next(iter(features.values()))) - 1
    spans = [np.arange(at, at + n) for at, n in zip(rows["position"], rows["frames"], strict=True)]
    spans = [np.minimum(span, last) for span in spans]  # as in training, beyond the end stands the last sample
    if run.meta["per_frame"]:
        return run.probabilities(features, per_frame=True)[np.concatenate(spans)]
    clips = [{encoder: values[span] for encoder, values in features.items()} for span in spans]
    return np.stack([run.probabilities(clip, per_frame=False) for clip in clips])
