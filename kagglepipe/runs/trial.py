"""A trial of a sweep: its result, and its pruning by paired comparison of folds with the incumbent, the best trial."""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import absolute
from kagglepipe.predictions.metrics import find_metric
from kagglepipe.predictions.uncertainty import format_two
from kagglepipe.runs.configured import inference_backend, read_data, run_of
from kagglepipe.runs.run import Run

LATENCY_IMAGES, LATENCY_ROUNDS = 32, 5
LEVEL = 0.01  # probability of pruning an equally good run, over all looks
MIN_FOLDS = 3  # for the t test


@dataclass(frozen=True)
class Incumbent:
    """The run to beat, as in a JSON file: measure (`score` or `log_loss`) and its value on each fold.

    perfect: best possible value of the measure, NaN if there is none. folds_hash: identifies the folds.
    """

    run: str
    measure: Literal["score", "log_loss"]
    greater_is_better: bool
    perfect: float
    folds: dict[int, float]
    folds_hash: str

    @classmethod
    def of(cls, written: Mapping[str, Any]) -> "Incumbent":
        """Parse the contents of the JSON file. Raises KeyError, TypeError, ValueError or AttributeError for others."""
        if written["measure"] not in ("score", "log_loss"):
            raise ValueError(f"measure {written['measure']}")
        folds = {int(fold): float(value) for fold, value in written["folds"].items()}
        perfect = math.nan if written["perfect"] is None else float(written["perfect"])
        return cls(**{**written, "perfect": perfect, "folds": folds})


def trial_result(config: Config) -> dict[str, Any]:
    """Return the run, its data and its scores as plain values, since they travel between processes.

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
        "seconds": round(sum(one["seconds"] or 0 for one in folds.values()), 2),
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
    from kagglepipe.images.cache import image_reader
    from kagglepipe.parallel import parallel_map
    from kagglepipe.training.checkpoint import load_classifier, read_checkpoints
    from kagglepipe.training.features import encode_frames

    checkpoint = read_checkpoints(run.model_folders())[0]
    backend = inference_backend(config)
    side, form = checkpoint.preprocessing.short_side, checkpoint.preprocessing.form
    rows = dataset.train.head(LATENCY_IMAGES)
    reader = image_reader(dataset, rows, side, config.pixels_dir(side, form.suffix), form)
    images = [reader[row] for row in range(len(rows))]
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


# --- pruning ----------------------------------------------------------------------------------------------------


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
    is_mean = best.measure == "log_loss" or find_metric(metric).rows is not None
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


def should_prune(
    own: Mapping[int, float], incumbent: Incumbent, *, row: float = 0.0, rows: Mapping[int, float] | None = None
) -> str | None:
    """Reason to prune a run with the finished folds `own`; None to go on.

    row: change of a fold's score by one row, at least, 1 / rows of a fold. rows: of each fold; None where the measure
    is no mean over rows.

    A run is pruned if with perfect remaining folds its mean over rows would be worse than the incumbent's, or if a
    one-sided paired t test over three folds or more, made after each fold but the last, finds it worse; the looks share
    LEVEL. The standard deviation of gains is at least `row`: equal losses of a single row would pass for certainty.

    The best of 20 earlier trials, as in a sweep, scores too well by selection: it prunes 3.5 % of equally good runs
    with 5 folds and 3.3 % with 10; of those better by half a standard deviation of a fold 1.4 % and 0.8 %; of those
    worse by three 56 % and 99.6 % (`python benchmarks/racing.py`, normal scores). Maron and Moore 1994, "Hoeffding
    races"; Birattari et al. 2002, "A racing algorithm for configuring metaheuristics".

    Folds that the incumbent lacks, and scores that are NaN, prune nothing.

    >>> best = Incumbent("r", "score", True, 1.0, {0: 0.9, 1: 0.9, 2: 0.9, 3: 0.9}, "")
    >>> equal = dict.fromkeys(range(4), 50)
    >>> should_prune({0: 0.4}, best, rows=equal), should_prune({0: 0.6}, best, rows=equal)
    ('with perfect folds to come its mean would be 0.8500, that of r is 0.9000', None)
    """
    sign = 1 if incumbent.greater_is_better else -1
    shared = [fold for fold in own if fold in incumbent.folds]
    gains = [sign * (own[fold] - incumbent.folds[fold]) for fold in shared]
    if not gains or not all(map(math.isfinite, [*gains, *incumbent.folds.values()])):
        return None
    left = len(incumbent.folds) - len(shared)
    if rows is not None:
        total = math.fsum(rows[fold] for fold in incumbent.folds)
        target = math.fsum(rows[fold] * value for fold, value in incumbent.folds.items()) / total
        hoped = math.fsum(rows[fold] * own.get(fold, incumbent.perfect) for fold in incumbent.folds) / total
        if sign * (hoped - target) < -1e-9:  # a difference of rounding decides nothing
            best, needed = format_two(hoped, target)
            return f"with perfect folds to come its mean would be {best}, that of {incumbent.run} is {needed}"
    if left and len(gains) >= MIN_FOLDS and chance(gains, row) < LEVEL / (len(incumbent.folds) - MIN_FOLDS):
        worse = -math.fsum(gains) / len(gains)
        return f"over {len(gains)} folds it is {worse:.4f} worse than {incumbent.run}, which is significant"
    return None


def chance(gains: list[float], row: float) -> float:
    """One-sided p of a t test that the mean gain is below 0; row: minimum standard deviation."""
    from scipy.special import stdtr  # slow to import

    n = len(gains)
    mean = math.fsum(gains) / n
    deviation = max(row, math.sqrt(math.fsum((gain - mean) ** 2 for gain in gains) / (n - 1)), 1e-9)
    return float(stdtr(n - 1, mean / deviation * math.sqrt(n)))
