"""Predictions of a run for the present test rows, which may be of other files than those of its test.parquet.

A code competition reruns a notebook on hidden files, often under the names of the public ones.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.console import progress
from kagglepipe.errors import UserError
from kagglepipe.files import check_sha256
from kagglepipe.images.cache import image_reader
from kagglepipe.options import CompetitionOptions
from kagglepipe.predictions.blend import with_probabilities
from kagglepipe.predictions.frame import align, probabilities, test_frame
from kagglepipe.runs.run import Run
from kagglepipe.runs.store import check_one_rate
from kagglepipe.sequences.grid import at_rate
from kagglepipe.sequences.series_table import read_series_bytes
from kagglepipe.sequences.sound import less_means
from kagglepipe.text import listed

if TYPE_CHECKING:
    from kagglepipe.training.backends import InferenceBackend
    from kagglepipe.training.checkpoint import Checkpoint
    from kagglepipe.training.inference import SequenceRun

log = logging.getLogger(__name__)
Probs = NDArray[np.float64]  # (N, C)
Features = dict[Path, NDArray[np.float32]]  # encoder -> (T, F)


@dataclass(frozen=True)
class Inference:
    """How networks predict present files.

    backend_dir, pixels_dir: caches, of compiled networks and, for a short side and the suffix of a format, of decoded
    images; None for none.
    workers: None for one a core.
    """

    device: str
    engine: str
    backend_dir: Path | None
    workers: int | None
    pixels_dir: Callable[[int, str], Path | None]

    def backend(self) -> "InferenceBackend":
        """Make the inference backend; imports torch."""
        from kagglepipe.training.backends import make_backend

        return make_backend(self.device, self.engine, self.backend_dir)


def predict_test(competition: CompetitionOptions, dataset: Dataset, run: Run, inference: Inference) -> pd.DataFrame:
    """Probabilities of the test rows: test.parquet of the run or, if it is of other files, predicted again.

    An ensemble blends its members again, which have to lie beside it. Nothing is written: the folder of a run may be
    read-only, and test.parquet belongs to the table that the run was trained on.
    Raises UserError if the present files cannot be predicted.
    """
    if is_of_present_table(run, dataset):
        return run.test()
    if not run.is_ensemble:
        log.info("submit: the files are not those beside which %s was trained: it predicts them again", run.name)
        return predict_again(competition, dataset, run, inference)
    frames = {member.name: predict_test(competition, dataset, member, inference) for member in run.find_members()}
    classes, aligned = run.fitted_classes, list(align(frames).values())
    stack = np.stack([probabilities(frame, classes) for frame in aligned])
    return with_probabilities(aligned[0], classes, run.blend(stack))


def is_of_present_table(run: Run, dataset: Dataset) -> bool:
    """Whether test.parquet is of the present files; True for a run from elsewhere, of no known table."""
    return run.tables <= {dataset.table_hash}


def at_rate_of_run(competition: CompetitionOptions, dataset: Dataset, run: Run) -> Dataset:
    """Convert the dataset's rows to frames at the `sequences.rate` of a run.

    Raises UserError for an ensemble of runs at several rates.
    """
    rates = {} if competition.kind == "image" else run.rates
    if competition.finds_segments:
        check_one_rate(rates)
    if len(set(rates.values())) != 1 or (rate := next(iter(rates.values()))) == dataset.rate:
        return dataset
    log.info("submit: %s was trained at sequences.rate=%g, which counts here", run.name, rate)
    return at_rate(dataset, rate, competition)


def predict_again(competition: CompetitionOptions, dataset: Dataset, run: Run, inference: Inference) -> pd.DataFrame:
    """Probabilities of the test rows by the networks of a run. Raises UserError if it cannot read the files."""
    from kagglepipe.training.checkpoint import read_checkpoints

    checkpoints = read_checkpoints(run.model_folders())
    meta = checkpoints[0].meta
    dataset = at_rate_of_run(competition, dataset, run)
    check_model(competition, run, meta)
    if set(meta["classes"]) != set(dataset.classes):
        raise UserError(
            f"{run.name} knows the classes {listed(meta['classes'])}, not {listed(dataset.classes)}: type stage=train"
        )
    predict = image_probabilities if competition.kind == "image" else sequence_probabilities
    return test_frame(
        dataset.test["id"].tolist(), predict(dataset, checkpoints, inference, run.tta), meta["classes"], dataset.task
    )


def check_fits(competition: CompetitionOptions, run: Run) -> None:
    """Raises UserError unless a run, or the first member of an ensemble that is here, has answers of this form."""
    if competition.finds_segments and "detection" not in run.metrics:
        raise UserError(
            f"{run.name} classifies whole items, competition.form=segments needs one that classifies frames"
        )
    meta = next((one.model for one in (run, *run.members) if one.model), {})
    if "training" in meta:
        check_model(competition, run, meta)


def check_model(competition: CompetitionOptions, run: Run, meta: dict[str, Any]) -> None:
    """Raises UserError unless a run has answers of this form. meta: its model.json."""
    kind = meta.get("kind", "image")
    if kind != competition.kind:
        raise UserError(f"{run.name} was trained on {kind}, competition.kind is {competition.kind}")
    if kind == "image":
        return
    if meta["per_frame"] != competition.finds_segments:
        what = "frames" if meta["per_frame"] else "whole clips"
        raise UserError(f"{run.name} classifies {what}, which does not fit competition.form={competition.form}")
    if meta.get("background", competition.background) != competition.background and competition.finds_segments:
        raise UserError(
            f"{run.name} was trained with competition.background={meta['background']}, the configuration says "
            f"{competition.background}: type competition.background={meta['background']}"
        )


def image_probabilities(
    dataset: Dataset, checkpoints: "list[Checkpoint]", inference: Inference, tta: Sequence[str]
) -> Probs:
    """Probabilities (N, C) of the test images, decoded as for the checkpoints."""
    from kagglepipe.training.inference import run_probabilities

    rows, side, form = dataset.test, checkpoints[0].preprocessing.short_side, checkpoints[0].preprocessing.form
    dataset = replace(dataset, bits=checkpoints[0].meta.get("bits", dataset.bits))
    reader = image_reader(dataset, rows, side, inference.pixels_dir(side, form.suffix), form)
    return run_probabilities(
        checkpoints, reader, range(len(rows)), backend=inference.backend(), workers=inference.workers, tta=tta
    )


def sequence_probabilities(
    dataset: Dataset, checkpoints: "list[Checkpoint]", inference: Inference, tta: Sequence[str]
) -> Probs:
    """Probabilities (N, C) of the test clips or frames; each file is read once."""
    from kagglepipe.training.inference import SequenceRun

    run = SequenceRun(checkpoints, backend=inference.backend())
    files = [
        (dataset.images_root / str(path), own) for path, own in dataset.test.reset_index(drop=True).groupby("path")
    ]
    shown = progress(files, "predict", total=len(files), unit="file")
    probs = np.zeros((len(dataset.test), len(run.meta["classes"])))
    if run.meta.get("group_mean"):  # of all sounds of the test, as in training
        sounds = [read_features(run, path, own, centred=False) for path, own in shown]
        for share in (1.0, 0.0):
            views = less_means([next(iter(one.values())) for one in sounds], [""] * len(files), [share] * len(files))
            for (_, own), frames in zip(files, views, strict=True):
                probs[own.index] += row_probabilities(run, dict.fromkeys(run.encoders, frames), own) / 2
        return probs
    for path, own in shown:
        probs[own.index] = row_probabilities(run, read_features(run, path, own), own)
    return probs


def read_features(run: "SequenceRun", path: Path, rows: pd.DataFrame, **options: Any) -> Features:
    """Features of the frames of a file. rows: of it. options: of `SequenceRun.read`. Raises UserError if it cannot."""
    check_sha256(path, rows["sha256"].iloc[0], read_series_bytes if path.suffix == ".csv" else None)
    try:
        return run.read(path, **options).features
    except ValueError as error:  # VideoError and SeriesError
        raise UserError(f"{path}: {error}; mend or remove it, then stage=prepare") from error


def row_probabilities(run: "SequenceRun", features: Features, rows: pd.DataFrame) -> Probs:
    """Probabilities (N, C) of rows of one file, each `frames` long from its `position` on."""
    last = len(next(iter(features.values()))) - 1
    spans = [np.arange(at, at + n) for at, n in zip(rows["position"], rows["frames"], strict=True)]
    if run.meta["kind"] == "audio" and not run.meta["per_frame"]:  # as in training, silence at the end is cut off
        spans = [span[span <= last] for span in spans]
    spans = [np.minimum(span, last) for span in spans]  # as in training, the last sample is repeated beyond the end
    if run.meta["per_frame"]:
        return run.probabilities(features, per_frame=True)[np.concatenate(spans)]
    clips = [{encoder: values[span] for encoder, values in features.items()} for span in spans]
    return np.stack([run.probabilities(clip, per_frame=False) for clip in clips])
