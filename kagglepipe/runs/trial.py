"""A trial of a sweep: its result, finished or pruned against the incumbent, the best trial so far."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import absolute
from kagglepipe.predictions.racing import Incumbent, should_prune
from kagglepipe.runs.configured import inference_backend, read_data, run_of
from kagglepipe.runs.run import Run

LATENCY_IMAGES, LATENCY_ROUNDS = 32, 5


def trial_result(config: Config) -> dict[str, Any]:
    """The run, its data and its scores as plain values, since they travel between processes.

    seconds: training time of the folds, without features of a frozen network, which trials share.
    """
    dataset = read_data(config)
    run = run_of(config, dataset)
    folds = {fold.number: fold.metrics for fold in run.finished_folds}
    found = {
        "run": run.name,
        "data": dataset.data_hash,
        "folds_hash": dataset.folds_hash,
        "folds": {str(fold): {name: one[name] for name in ("score", "log_loss")} for fold, one in folds.items()},
        "seconds": round(sum(one["seconds"] for one in folds.values()), 2),
    }
    if run.is_finished:
        metrics = run.metrics
        found |= {name: metrics[name] for name in ("score", "log_loss")}
        if "latency" in config.sweep.objectives:
            found["latency"] = latency(config, dataset, run)
        return found
    incumbent = config.training.prune_against and absolute(config.training.prune_against)
    if why := reason_to_prune(run, dataset, incumbent or None, config.competition.metric):
        return {**found, "raced": why}
    raise UserError(f"{run.name} is not merged: a sweep needs all folds, so leave folds.only away")


def latency(config: Config, dataset: Dataset, run: Run) -> float:
    """Milliseconds an image through one fold's network, from its pixels, without reading the file.

    The minimum of some rounds: disturbances only make them longer.
    """
    if config.competition.kind != "image":
        raise UserError("sweep.objectives: latency is measured for images; type seconds instead")
    from kagglepipe.images.decode import decode
    from kagglepipe.parallel import parallel_map
    from kagglepipe.training.checkpoint import load_classifier, read_checkpoints
    from kagglepipe.training.features import encode_frames

    files = dataset.paths(dataset.train)[:LATENCY_IMAGES]
    checkpoint = read_checkpoints(run.model_folders())[0]
    backend = inference_backend(config)
    side = checkpoint.preprocessing.short_side
    images = [decode(file.read_bytes(), short_side=side, max_side=2**31) for file in files]
    if not checkpoint.meta["shared_backbone"]:  # as in inference: nothing is cached of a tuned network
        backend = backend.uncached
    encoder = backend.encoder(load_classifier(checkpoint).to(backend.device))
    views, took = checkpoint.preprocessing.views(images), []
    for _ in range(LATENCY_ROUNDS):
        start = time.perf_counter()
        squares = parallel_map(lambda row: views[row, 0], range(len(images)), workers=config.workers)
        for _ in encode_frames(encoder, squares, np.float32, batch_size=8):
            pass
        took.append(time.perf_counter() - start)
    return round(1000 * min(took) / len(images), 3)


def reason_to_prune(run: Run, dataset: Dataset, incumbent: Path | None, metric: str) -> str | None:
    """Reason to prune the run; None if it can still beat the incumbent, or there is none on these folds.

    incumbent: the JSON of `training.prune_against`. metric: of the competition.
    """
    if incumbent is None or not incumbent.exists():
        return None
    best = read_incumbent(incumbent)
    if best.run == run.name or best.folds_hash != dataset.folds_hash:
        return None
    own = {fold.number: fold.metrics[best.measure] for fold in run.finished_folds}
    scores = {fold: float("nan") if value is None else value for fold, value in own.items()}
    numbers, counts = np.unique(dataset.folds["fold"].to_numpy(np.int64), return_counts=True)
    rows = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
    is_mean = best.measure == "log_loss" or metric in ("accuracy", "log_loss")
    return should_prune(scores, best, row=len(rows) / len(dataset.folds), rows=rows if is_mean else None)


def read_incumbent(file: Path) -> Incumbent:
    """Read the JSON of `training.prune_against`. Raises UserError if it is missing or has other contents."""
    advice = "a sweep writes such a file; leave training.prune_against out to train without pruning"
    if not file.is_file():
        raise UserError(f"training.prune_against={file}: no such file; {advice}")
    try:
        return Incumbent.of(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"training.prune_against={file} is no JSON with the fold scores of a run; {advice}") from error
