"""A run's predictions for the rows to classify as they are now, which need not be those that it was trained beside.

A code competition runs a notebook again on files that nobody has seen, often under the names of those that everybody
has: what test.parquet says of a name is then an answer about another picture. `submit` therefore asks here.
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
from kagglepipe.files import demand_sha256, read_json
from kagglepipe.predictions.blend import equal_weights, with_probabilities
from kagglepipe.predictions.crossfit import combine
from kagglepipe.predictions.frame import align, class_columns, probabilities, read_frame, test_frame
from kagglepipe.stages.places import demand_one_rate, image_reader, rates_of, read_prepared, tables_of
from kagglepipe.stages.ranking import counted_members
from kagglepipe.text import listed

if TYPE_CHECKING:
    from kagglepipe.training.checkpoint import Checkpoint
    from kagglepipe.training.sequence_inference import SequenceRun

log = logging.getLogger(__name__)

Probs = NDArray[np.float64]


def test_predictions(config: Config, prepared: Dataset, run: Path) -> pd.DataFrame:
    """Probabilities for the rows to classify: the run's test.parquet or, if it is of other files, predicted anew.

    An ensemble blends its members again, which have to lie beside it. Nothing is written: a run's folder may be
    read-only, and test.parquet stays what belongs to the table that the run was trained on.
    Raises UserError where predictions of the present files cannot be had.
    """
    if is_of_present_table(run, prepared):
        return read_frame(run / "test.parquet")
    metrics = read_json(run / "metrics.json")
    if "members" not in metrics:
        log.info("submit: the files are not those beside which %s was trained: it predicts them anew", run.name)
        return predict_anew(config, prepared, run)
    frames = {member.name: test_predictions(config, prepared, member) for member in network_members(run, metrics)}
    return blended_as(metrics, list(align(frames).values()), fitted_classes(run, metrics))


test_predictions.__test__ = False  # type: ignore[attr-defined]  # else pytest collects it wherever a test imports it


def fitted_classes(run: Path, metrics: dict[str, Any]) -> list[str]:
    """The order of classes in which an ensemble's maps were fitted; its tables have it where metrics.json does not."""
    return metrics.get("classes") or class_columns(read_frame(run / "oof.parquet"))


def at_rate_of(config: Config, prepared: Dataset, run: Path) -> tuple[Config, Dataset]:
    """The configuration, and what is prepared, at the `sequences.rate` of a run: its rows are frames at no other.

    Raises UserError for an ensemble of runs at several, which classify other frames.
    """
    rates = {} if config.competition.kind == "image" else rates_of(run)
    if config.competition.finds_segments:
        demand_one_rate(rates)
    if len(set(rates.values())) != 1 or (rate := next(iter(rates.values()))) == config.sequences.rate:
        return config, prepared
    log.info("submit: %s was trained at sequences.rate=%g, which counts here", run.name, rate)
    config = replace(config, sequences=replace(config.sequences, rate=rate))
    return config, read_prepared(config)


def blended_as(metrics: dict[str, Any], frames: list[pd.DataFrame], classes: list[str]) -> pd.DataFrame:
    """The members' frames as an ensemble blends them, by its metrics.json; in one of 0.3 or older all count alike.

    classes: in the order in which the maps were fitted.
    """
    stack = np.stack([probabilities(frame, classes) for frame in frames])
    return with_probabilities(frames[0], classes, blended_probabilities(metrics, stack))


def blended_probabilities(metrics: dict[str, Any], stack: NDArray[np.float64]) -> Probs:
    """(N, C) what an ensemble makes of the probabilities (M, N, C) of its `network_members`."""
    weights = equal_weights(len(stack))
    if "weights" in metrics:
        weights = np.array([weight for weight in metrics["weights"] if weight] or [0.0])
    return combine(stack, weights, metrics["method"], metrics.get("maps", []))


def network_members(run: Path, metrics: dict[str, Any]) -> list[Path]:
    """The folders of an ensemble's members that count. Raises UserError for one that is not beside it."""
    identities = metrics.get("identity") or {}
    return [member_of(run, name, identities.get(name)) for name in counted_members(metrics)]


def is_of_present_table(run: Path, prepared: Dataset) -> bool:
    """Whether test.parquet tells of the files that are prepared now. A run from elsewhere, of no known table, may."""
    return tables_of(read_json(run / "metrics.json").get("identity")) <= {prepared.table_hash}


def member_of(ensemble: Path, name: str, identity: Any) -> Path:
    """The folder of an ensemble's member. Raises UserError if it, by its identity, is not beside the ensemble."""
    folder = ensemble.parent / name
    if not (folder / "metrics.json").exists():
        raise UserError(
            f"{ensemble.name} has to predict other files than it was made for, and its member {name} is not in "
            f"{ensemble.parent}: make the ensemble anew with ensemble.runs=[…] of runs that are"
        )
    found = read_json(folder / "metrics.json").get("identity") or {}
    if isinstance(identity, dict) and any(found[key] != identity[key] for key in found.keys() & identity.keys()):
        raise UserError(
            f"{folder} is not the member of {ensemble.name} that has this name, which came from elsewhere: make the "
            "ensemble anew with ensemble.runs=[…] of runs that are here"
        )
    return folder


def predict_anew(config: Config, prepared: Dataset, run: Path) -> pd.DataFrame:
    """The run's probabilities for the rows to classify, from their files. Raises UserError if it cannot read them."""
    from kagglepipe.training.checkpoint import read_checkpoints

    checkpoints = read_checkpoints(run)
    meta = checkpoints[0].meta
    config, prepared = at_rate_of(config, prepared, run)
    rows = prepared.test
    demand_fit(config, run, meta)
    if set(meta["classes"]) != set(prepared.classes):
        raise UserError(
            f"{run.name} knows the classes {listed(meta['classes'])}, not {listed(prepared.classes)}: type stage=train"
        )
    predict = image_probabilities if config.competition.kind == "image" else sequence_probabilities
    return test_frame(rows["id"].tolist(), predict(config, prepared, checkpoints), meta["classes"])


def check_fits(config: Config, run: Path) -> None:
    """Raises UserError unless a run, or the first member of an ensemble that is here, answers what is asked for."""
    metrics = read_json(run / "metrics.json")
    if config.competition.finds_segments and "detection" not in metrics:
        raise UserError(
            f"{run.name} tells what a whole item is, and competition.form=segments asks for when it happens"
        )
    folders = [run, *(run.parent / name for name in metrics.get("members", []))]
    file = next((file for folder in folders for file in sorted(folder.glob("fold_*/model.json"))), None)
    if file is not None and "training" in (meta := read_json(file)):
        demand_fit(config, run, meta)


def demand_fit(config: Config, run: Path, meta: dict[str, Any]) -> None:
    """Raises UserError unless a run, by its model.json, answers what the configuration asks for."""
    competition, kind = config.competition, meta.get("kind", "image")
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


def image_probabilities(config: Config, prepared: Dataset, checkpoints: "list[Checkpoint]") -> Probs:
    """(N, C) for the images to classify, read as the checkpoints ask."""
    from kagglepipe.training.backends import make_backend
    from kagglepipe.training.inference import run_probabilities

    rows = prepared.test
    if (bits := checkpoints[0].meta.get("bits", prepared.bits)) != prepared.bits:
        prepared = replace(prepared, bits=bits)
    reader = image_reader(config, prepared, rows, checkpoints[0].preprocessing.short_side)
    return run_probabilities(
        checkpoints,
        reader,
        range(len(rows)),
        backend=make_backend(config.device, config.engine, config.backend_dir),
        workers=config.workers,
    )


def sequence_probabilities(config: Config, prepared: Dataset, checkpoints: "list[Checkpoint]") -> Probs:
    """(N, C) for the clips, pieces of clips or frames to classify; a file is read once, whatever rows it has."""
    from kagglepipe.training.backends import make_backend
    from kagglepipe.training.sequence_inference import SequenceRun

    rows = prepared.test
    run = SequenceRun(checkpoints, backend=make_backend(config.device, config.engine, config.backend_dir))
    probs = np.empty((len(rows), len(run.meta["classes"])))
    files = rows.reset_index(drop=True).groupby("path")
    for path, own in progress(files, "predict", total=len(files), unit="file"):
        probs[own.index] = file_probabilities(run, prepared.images_root / str(path), own)
    return probs


def file_probabilities(run: "SequenceRun", path: Path, rows: pd.DataFrame) -> Probs:
    """(len(rows), C) for rows of one file, each `frames` long from its `position` on."""
    demand_sha256(path, rows["sha256"].iloc[0])
    try:
        features = run.read(path).features
    except ValueError as error:  # VideoError and SeriesError
        raise UserError(f"{path}: {error}; mend or remove it, then stage=prepare") from error
    last = len(next(iter(features.values()))) - 1
    spans = [np.arange(at, at + n) for at, n in zip(rows["position"], rows["frames"], strict=True)]
    spans = [np.minimum(span, last) for span in spans]  # as in training, what is beyond the end is its last sample
    if run.meta["per_frame"]:
        return run.probabilities(features, per_frame=True)[np.concatenate(spans)]
    pieces = [{encoder: values[span] for encoder, values in features.items()} for span in spans]
    return np.stack([run.probabilities(piece, per_frame=False) for piece in pieces])
