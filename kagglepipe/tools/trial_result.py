"""Result of a trial for the sweeper, from its run: finished, or pruned."""

import time
from typing import Any

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import absolute
from kagglepipe.runs.identity import inference_backend, read_data, run_of
from kagglepipe.runs.incumbent import reason_to_prune
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
    import numpy as np

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
