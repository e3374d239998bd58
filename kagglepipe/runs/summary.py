"""A run in one row: its scores, size and cost, and the difference to the best run; without torch."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from kagglepipe.errors import UserError
from kagglepipe.kaggle.ledger import Row
from kagglepipe.predictions.own_metric import same_metric
from kagglepipe.runs.provenance import described, difference, first_values
from kagglepipe.runs.run import Metrics, Run

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")  # of batch norms: kept beside weights, never trained
LEDGER = ("time", "ref", "status", "public_score", "private_score", "gap")


def read_runs(runs: Sequence[Run]) -> list[Metrics]:
    """Read the metrics of each run; `run` is the name of its folder."""
    return [{**run.metrics, "run": run.name} for run in runs]


def facts_of(run: Run, metrics: Metrics, best: Metrics) -> dict[str, Any]:
    """Describe a run in one flat row of numbers and words; None for unknown values.

    best: metrics of the run to compare with.
    """
    low, high = metrics.get("interval") or (None, None)
    machine = metrics.get("machine") or {}
    hours = device_hours(run, metrics)
    on_cpu = machine.get("device") == "cpu"
    return {
        "run": metrics["run"],
        "metric": metrics["metric"],
        "score": metrics["score"],
        "low": low,
        "high": high,
        "log_loss": metrics["log_loss"],
        "fold_mean": metrics.get("fold_mean"),
        "fold_sd": metrics.get("fold_sd"),
        "seconds": metrics.get("seconds"),
        "peak_memory_gb": metrics.get("peak_memory_gb"),
        "parameters": parameters(run),
        "device": machine.get("device"),
        "cpu_hours": hours if on_cpu else None,
        "gpu_hours": None if on_cpu else hours,
        "cut_by_budget": metrics.get("cut_by_budget"),
        "differs_from_best": first_values(difference(described(metrics), described(best))),
    }


def facts_table(rows: list[dict[str, Any]], ledger: list[Row]) -> bytes:
    """CSV of the facts, a row for each run, or for each of its submissions, whose columns come last."""
    nothing = dict.fromkeys(LEDGER, "")
    lines = [
        {**row, **{name: each[name] for name in LEDGER}}
        for row in rows
        for each in [sent for sent in ledger if sent["run"] == row["run"]] or [nothing]
    ]
    frame = pd.DataFrame(lines).astype({"parameters": "Int64"})
    return frame.to_csv(index=False, lineterminator="\n").encode()


# --- size and cost -------------------------------------------------------------------------------------------------


def parameters(run: Run) -> int | None:
    """Parameters of one fold's network, trained or frozen; of an ensemble: of all members.

    None where there is no network, or a member is not beside its ensemble.
    """
    if members := run.members:
        counts = [parameters(member) if member.is_finished else None for member in members]
        return None if None in counts else sum(count for count in counts if count is not None)
    fold = next((file for one in run.folds if (file := one.folder / "model.safetensors").exists()), None)
    if fold is None:
        return None
    return sum(tensor_sizes(file) for file in (fold, run.folder / "backbone.safetensors") if file.exists())


def tensor_sizes(path: Path) -> int:
    """Number of parameters in a safetensors file, without buffers. Raises UserError for a damaged file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = [name for name in file.keys() if not name.endswith(BUFFERS)]  # noqa: SIM118
            return sum(math.prod(file.get_slice(name).get_shape()) for name in names)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a whole safetensors file: delete it, or its run's folder") from error


def device_hours(run: Run, metrics: Metrics) -> float | None:
    """Hours times cores (on a CPU) or GPUs that a run took; None where it is not known.

    The time is that of the command that finished it or, where that is more, of the folds.
    """
    devices, seconds = (metrics.get("machine") or {}).get("devices"), metrics.get("seconds")
    if devices is None or seconds is None:
        return None
    folds = [fold.metrics.get("seconds") or 0 for fold in run.finished_folds]
    return float(max(seconds, sum(folds)) * devices / 3600)


def best_first(runs: list[Metrics], metric: str, *, greater_is_better: bool) -> list[Metrics]:
    """Sort runs by their score in this metric; those without one last."""
    sign = -1 if greater_is_better else 1

    def place(metrics: Metrics) -> tuple[bool, float]:
        score = metrics["score"]
        return (True, 0.0) if score is None or not same_metric(metrics["metric"], metric) else (False, sign * score)

    return sorted(runs, key=place)
