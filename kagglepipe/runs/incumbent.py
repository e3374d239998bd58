"""Pruning of an unfinished run against the best trial of its sweep, from the finished folds."""

import json
from pathlib import Path

import numpy as np

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.errors import UserError
from kagglepipe.predictions.racing import Incumbent, should_prune
from kagglepipe.runs.run import Run


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
