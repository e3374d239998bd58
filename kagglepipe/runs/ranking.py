"""Ranking of finished runs by any metric, not only that of their training."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kagglepipe.options import CompetitionOptions
from kagglepipe.predictions.frame import class_columns
from kagglepipe.predictions.metrics import find_metric
from kagglepipe.predictions.metrics import score as score_frame
from kagglepipe.runs.run import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ranked:
    """A finished run and its out-of-fold score."""

    run: Run
    score: float


def score_of_run(run: Run, metric: str) -> float | None:
    """Out-of-fold score by a metric: from metrics.json, else computed from oof.parquet; None if unknown."""
    metrics = run.metrics
    if metrics["metric"] == metric:
        return None if metrics["score"] is None else float(metrics["score"])
    if not run.oof_file.exists():
        return None
    frame = run.oof()
    found = score_frame(metric, frame, class_columns(frame))
    return None if math.isnan(found) else found


def rank_runs(runs: Sequence[Run], metric: str) -> list[Ranked]:
    """Runs with a score, best first; ties go to the smaller log loss, then to the earlier run.

    runs: earliest first. metric: of rows, or of segments as in `segments.metrics.SEGMENT_SCORES`.
    """
    found = []
    for number, run in enumerate(runs):
        metrics = run.metrics
        score, greater_is_better = _score(run, metrics, metric)
        if score is not None:
            loss = metrics.get("log_loss")
            loss = math.inf if loss is None else float(loss)
            found.append((-score if greater_is_better else score, loss, number, Ranked(run, score)))
    return [one for *_, one in sorted(found, key=lambda place: place[:3])]


def _score(run: Run, metrics: dict[str, Any], metric: str) -> tuple[float | None, bool]:
    """(score, whether greater is better)."""
    from kagglepipe.predictions.metrics import METRICS

    if metric in METRICS:
        return score_of_run(run, metric), find_metric(metric).greater_is_better
    score = metrics.get("detection", {}).get("scores", {}).get(metric)
    return None if score is None else float(score), True


def best_network(
    runs: Sequence[Run], present: tuple[str, str] | None, competition: CompetitionOptions, stage: str
) -> Run:
    """The best run of the present table and folds; logs the choice.

    runs: finished ones with a network, earliest first; at least one. present: hashes of table and folds; None where
    nothing is prepared: then runs on the same data as the latest are compared. Falls back to the latest run.
    """
    latest = runs[-1]
    ours = [run for run in runs if run.data == ({present} if present else latest.data)]
    if not ours:
        log.info("%s: %s, the latest; no run was trained on the present table and folds", stage, latest.name)
        return latest
    metric = competition.segment_metric if competition.finds_segments else competition.metric
    if not (ranked := rank_runs(ours, metric)):
        log.info("%s: %s, the latest; no run has a score in %s", stage, ours[-1].name, metric)
        return ours[-1]
    best, among = ranked[0], f"the best of {len(ranked)}" if len(ranked) > 1 else "the only one"
    log.info("%s: %s, out of fold %s %.4f, %s", stage, best.run.name, metric, best.score, among)
    return best.run
