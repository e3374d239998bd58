"""What a job of a sweep tells the sweeper: read from the run that it has left, finished or stopped by its rival."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.config import Config, absolute
from kagglepipe.errors import UserError
from kagglepipe.files import read_json, sha256
from kagglepipe.predictions.racing import Incumbent, should_prune
from kagglepipe.stages.places import read_prepared, run_dir

LATENCY_IMAGES, LATENCY_ROUNDS = 32, 5


def outcome(config: Config) -> dict[str, Any]:
    """The run, the data it is of, and its scores; plain values, since they travel between processes.

    seconds: what its folds took to train, features of a frozen network aside, which trials share.
    """
    prepared = read_prepared(config)
    run = run_dir(config, prepared)
    folds = fold_metrics(run)
    found = {
        "run": run.name,
        "data": data_of(prepared),
        "folds_hash": prepared.folds_hash,
        "folds": {str(fold): {name: one[name] for name in ("score", "log_loss")} for fold, one in folds.items()},
        "seconds": round(sum(one["seconds"] for one in folds.values()), 2),
    }
    if (run / "metrics.json").exists():
        metrics = read_json(run / "metrics.json")
        found |= {name: metrics[name] for name in ("score", "log_loss")}
        if "latency" in config.sweep.objectives:
            found["latency"] = latency(config, prepared, run)
        return found
    if why := reason_to_stop(config, prepared, run):
        return {**found, "raced": why}
    raise UserError(f"{run.name} is not merged: a sweep needs all folds, so leave folds.only away")


def data_of(prepared: Dataset) -> str:
    """A hash of table and folds: what two trials share whose scores can be compared."""
    return sha256(prepared.table_hash, prepared.folds_hash)[:8]


def fold_metrics(run: Path) -> dict[int, dict[str, Any]]:
    """fold -> its metrics, of the folds that are done."""
    files = {int(path.parent.name.removeprefix("fold_")): path for path in run.glob("fold_*/metrics.json")}
    return {fold: read_json(files[fold]) for fold in sorted(files)}


def reason_to_stop(config: Config, prepared: Dataset, run: Path) -> str | None:
    """Why the run cannot beat `training.rival` any more; None where it can, or there is no rival on these folds."""
    if config.training.rival is None or not (path := absolute(config.training.rival)).exists():
        return None
    rival = Incumbent.of(read_json(path))
    if rival.run == run.name or rival.folds_hash != prepared.folds_hash:
        return None
    own = {fold: metrics[rival.measure] for fold, metrics in fold_metrics(run).items()}
    scores = {fold: float("nan") if value is None else value for fold, value in own.items()}
    numbers, counts = np.unique(prepared.folds["fold"].to_numpy(np.int64), return_counts=True)
    rows = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
    is_mean = rival.measure == "log_loss" or config.competition.metric in ("accuracy", "log_loss")
    return should_prune(scores, rival, row=len(rows) / len(prepared.folds), rows=rows if is_mean else None)


def latency(config: Config, prepared: Dataset, run: Path) -> float:
    """Milliseconds that an image takes, from its pixels through one fold's network, on this machine as configured.

    The least of some rounds: everything that disturbs makes it longer. Reading the file is not in it.
    """
    if config.competition.kind != "image":
        raise UserError("sweep.objectives: latency is measured for images; type seconds instead")
    from kagglepipe.images.decode import decode
    from kagglepipe.parallel import parallel_map
    from kagglepipe.training.backends import make_backend
    from kagglepipe.training.checkpoint import load_classifier, read_checkpoints
    from kagglepipe.training.features import batched

    files = prepared.paths(prepared.train)[:LATENCY_IMAGES]
    checkpoint, backend = read_checkpoints(run)[0], make_backend(config.device, config.engine, config.backend_dir)
    side = checkpoint.preprocessing.short_side
    images = [decode(file.read_bytes(), short_side=side, max_side=2**31) for file in files]
    if not checkpoint.meta["shared_backbone"]:  # as in inference: nothing is kept of a tuned network
        backend = backend.uncached
    encode = backend.encoder(load_classifier(checkpoint).to(backend.device))
    views, took = checkpoint.preprocessing.views(images), []
    for _ in range(LATENCY_ROUNDS):
        start = time.perf_counter()
        squares = parallel_map(lambda row: views[row, 0], range(len(images)), workers=config.workers)
        for batch in batched(squares, 8):
            encode(batch)
        took.append(time.perf_counter() - start)
    return round(1000 * min(took) / len(images), 3)
