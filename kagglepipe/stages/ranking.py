"""Which finished run is the best by the metric at hand, whatever metric it was trained and scored by."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kagglepipe.files import read_json
from kagglepipe.options import CompetitionOptions
from kagglepipe.predictions.frame import class_columns, read_frame
from kagglepipe.predictions.metrics import find_metric
from kagglepipe.predictions.metrics import score as score_frame

log = logging.getLogger(__name__)
Data = tuple[Any, Any]  # hashes of a table and its folds


@dataclass(frozen=True)
class Ranked:
    """A finished run and its out-of-fold score by some metric."""

    folder: Path
    score: float


def score_of_run(folder: Path, metrics: dict[str, Any], metric: str) -> float | None:
    """A finished run's out-of-fold score by a metric: as it is kept, or that of its oof.parquet; None if not known."""
    if metrics["metric"] == metric:
        return None if metrics["score"] is None else float(metrics["score"])
    oof = folder / "oof.parquet"
    if not oof.exists():
        return None
    frame = read_frame(oof)
    found = score_frame(metric, frame, class_columns(frame))
    return None if math.isnan(found) else found


def rank_runs(folders: Sequence[Path], metric: str) -> list[Ranked]:
    """The finished runs with a score by a metric, the best first; of equal ones the less log loss, then the earlier.

    folders: the earliest first.
    """
    found = []
    for number, folder in enumerate(folders):
        metrics = read_json(folder / "metrics.json")
        score = score_of_run(folder, metrics, metric)
        if score is not None:
            found.append((_place(score, metric), _log_loss(metrics), number, Ranked(folder, score)))
    return [one for *_, one in sorted(found, key=lambda place: place[:3])]


def rank_detectors(folders: Sequence[Path], metric: str) -> list[Ranked]:
    """As `rank_runs`, by a score of the segments that a run finds, one of `segments.metrics.SEGMENT_SCORES`."""
    found = []
    for number, folder in enumerate(folders):
        metrics = read_json(folder / "metrics.json")
        score = metrics.get("detection", {}).get("scores", {}).get(metric)
        if score is not None:
            found.append((-score, _log_loss(metrics), number, Ranked(folder, float(score))))
    return [one for *_, one in sorted(found, key=lambda place: place[:3])]


def best_network(runs: Sequence[Path], present: Data | None, competition: CompetitionOptions, stage: str) -> Path:
    """The run to predict with: the best of those of the present table and folds, which is said.

    runs: finished ones with a network, the earliest first; one at least. present: None where nothing is prepared here:
    then those are compared that were trained on the same data as the latest. The latest of all is taken where no run is
    of the present data, or none has a score.
    """
    data = {folder: data_of(read_json(folder / "metrics.json").get("identity")) for folder in runs}
    latest = runs[-1]
    ours = [folder for folder in runs if data[folder] == ({present} if present else data[latest])]
    if not ours:
        log.info("%s: %s, the latest; no run was trained on the present table and folds", stage, latest.name)
        return latest
    metric = competition.segment_metric if competition.finds_segments else competition.metric
    rank = rank_detectors if competition.finds_segments else rank_runs
    if not (ranked := rank(ours, metric)):
        log.info("%s: %s, the latest; no run has a score in %s", stage, ours[-1].name, metric)
        return ours[-1]
    among = f"the best of {len(ranked)}" if len(ranked) > 1 else "the only one"
    log.info("%s: %s, out of fold %s %.4f, %s", stage, ranked[0].folder.name, metric, ranked[0].score, among)
    return ranked[0].folder


def data_of(identity: Any) -> set[Data]:
    """The tables and folds that a run, or the members of an ensemble, were trained on, as far as they are known.

    >>> data_of({"one": {"table": "a", "folds": "b"}, "csv": None})
    {('a', 'b')}
    """
    if not isinstance(identity, dict):
        return set()
    if isinstance(identity.get("table"), str):
        return {(identity["table"], identity.get("folds"))}
    return {data for member in identity.values() for data in data_of(member)}


def counted_members(metrics: dict[str, Any]) -> list[str]:
    """The names of an ensemble's members that its blend gives a weight; the first where it gives none."""
    members = metrics["members"]
    weights = metrics.get("weights") or [1] * len(members)
    return [name for name, weight in zip(members, weights, strict=True) if weight] or members[:1]


def missing_network(folder: Path) -> str | None:
    """Why a finished run cannot predict other files; None if it can.

    An ensemble can if each member that counts can, and lies beside it; a mean of ranks says nothing of a file alone.
    """
    metrics = read_json(folder / "metrics.json")
    if "members" not in metrics:
        return None if any(folder.glob("fold_*/model.json")) else f"{folder.name} has no network"
    if metrics.get("method") == "rank_mean":
        return "its ranks say nothing of a file alone"
    for name in counted_members(metrics):
        member = folder.parent / name
        if not (member / "metrics.json").exists():
            return f"its member {name} has no network here"
        if why := missing_network(member):
            return f"its member {name} cannot: {why}" if "members" in read_json(member / "metrics.json") else why
    return None


def can_follow(folder: Path) -> bool:
    """Whether a run's networks go on frame by frame, as a live stream comes: see `TemporalModel.is_causal`."""
    metrics = read_json(folder / "metrics.json")
    if "members" in metrics:
        return all(can_follow(folder.parent / name) for name in counted_members(metrics))
    temporal = [read_json(file).get("temporal") for file in folder.glob("fold_*/model.json")]
    return all(
        one is not None and one["cell"] not in ("mean", "conv") and not one["bidirectional"] and not one["shuffled"]
        for one in temporal
    )


def _place(score: float, metric: str) -> float:
    """Smaller is better."""
    return -score if find_metric(metric).greater_is_better else score


def _log_loss(metrics: dict[str, Any]) -> float:
    value = metrics.get("log_loss")
    return math.inf if value is None else float(value)
