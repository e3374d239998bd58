"""What is known of a finished run beside its score: what it costs, how large it is, and why it is not another one.

Reads a run's metrics.json and the headers of its safetensors files; torch is not needed.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from kagglepipe.errors import UserError
from kagglepipe.files import read_json
from kagglepipe.predictions.ledger import Row

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")  # of batch norms: kept beside weights, never trained
LEDGER = ("time", "ref", "status", "public_score", "private_score", "gap")
HASH = 64  # digits of a SHA-256


def read_runs(folders: list[Path]) -> list[dict[str, Any]]:
    """The metrics of each run; `run` is what its folder is called."""
    return [{**read_json(folder / "metrics.json"), "run": folder.name} for folder in folders]


def facts_of(folder: Path, metrics: dict[str, Any], best: dict[str, Any] | None) -> dict[str, Any]:
    """A run in one flat row of numbers and words; None where something is not known.

    best: the metrics of the run to tell the difference to.
    """
    low, high = metrics.get("interval") or (None, None)
    machine = metrics.get("machine") or {}
    hours = device_hours(folder, metrics)
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
        "parameters": parameters(folder),
        "device": machine.get("device"),
        "cpu_hours": hours if on_cpu else None,
        "gpu_hours": None if on_cpu else hours,
        "cut_by_budget": metrics.get("cut_by_budget"),
        "differs_from_best": None if best is None else told(difference(described(metrics), described(best))),
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


def parameters(run: Path) -> int | None:
    """The numbers that were, or could have been, trained in one fold's network; an ensemble's: of all members.

    None where there is no network, or a member is not beside its ensemble.
    """
    members = read_json(run / "metrics.json").get("members")
    if members:
        counts = [parameters(run.parent / name) if is_run(run.parent / name) else None for name in members]
        return None if None in counts else sum(count for count in counts if count is not None)
    fold = next(iter(sorted(run.glob("fold_*/model.safetensors"))), None)
    if fold is None:
        return None
    return sum(tensor_sizes(file) for file in (fold, run / "backbone.safetensors") if file.exists())


def is_run(folder: Path) -> bool:
    """Whether a finished run lies there."""
    return (folder / "metrics.json").exists()


def tensor_sizes(path: Path) -> int:
    """How many numbers the tensors of a safetensors file hold, buffers left out; only its header is read.

    The header is JSON, name -> dtype, shape and place, after its length in eight bytes, the lowest first
    (github.com/huggingface/safetensors, "Format"). Raises UserError if that is not what is there.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        head = file.read(length) if length <= path.stat().st_size else b""
    try:
        shapes = {name: entry["shape"] for name, entry in json.loads(head).items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a whole safetensors file: delete it, or its run's folder") from error
    return sum(product(shape) for name, shape in shapes.items() if not name.endswith(BUFFERS))


def product(shape: list[int]) -> int:
    """How many numbers a tensor of this shape holds.

    >>> product([2, 3]), product([])
    (6, 1)
    """
    count = 1
    for side in shape:
        count *= side
    return count


def device_hours(run: Path, metrics: dict[str, Any]) -> float | None:
    """Hours times cores (on a CPU) or GPUs that a run took; None where it is not known.

    The time is that of the command that finished it or, where that found folds done, of the folds, whichever is more.
    """
    devices, seconds = (metrics.get("machine") or {}).get("devices"), metrics.get("seconds")
    if devices is None or seconds is None:
        return None
    folds = [read_json(file).get("seconds") or 0 for file in run.glob("fold_*/metrics.json")]
    return float(max(seconds, sum(folds)) * devices / 3600)


# --- why two runs --------------------------------------------------------------------------------------------------


def described(metrics: dict[str, Any]) -> dict[str, str]:
    """What decides a run's results, flat, as `model.name` -> its value in a few letters; an ensemble: how it blends."""
    if "members" in metrics:
        return flat({"ensemble": {"method": metrics.get("method"), "runs": ", ".join(metrics["members"])}})
    return flat(metrics.get("identity") or {})


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested values as dotted names; of a hash the first eight digits.

    >>> flat({"model": {"name": "lite0"}, "training": {"regularisation": [0.1, 1.0]}, "seed": 0})
    {'model.name': 'lite0', 'training.regularisation': '[0.1, 1.0]', 'seed': '0'}
    """
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        else:
            text = str(value)
            found[prefix + name] = text[:8] if len(text) == HASH and text.isalnum() else text
    return found


def difference(one: dict[str, str], other: dict[str, str]) -> dict[str, tuple[str, str]]:
    """name -> (its value in the one, in the other), where these differ; `-` where it has none.

    >>> difference({"seed": "1", "a": "x"}, {"seed": "0", "a": "x", "b": "y"})
    {'seed': ('1', '0'), 'b': ('-', 'y')}
    """
    pairs = {name: (one.get(name, "-"), other.get(name, "-")) for name in {**one, **other}}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def told(differences: dict[str, tuple[str, str]]) -> str:
    """The first values of a difference in one line.

    >>> told({"seed": ("1", "0"), "model.name": ("lite1", "lite0")})
    'seed=1; model.name=lite1'
    """
    return "; ".join(f"{name}={mine}" for name, (mine, _) in differences.items())


def told_both(differences: dict[str, tuple[str, str]]) -> str:
    """Both values of a difference in one line.

    >>> told_both({"seed": ("1", "0")})
    'seed=1 and 0'
    """
    return "; ".join(f"{name}={mine} and {theirs}" for name, (mine, theirs) in differences.items())


def best_first(runs: list[dict[str, Any]], metric: str, *, greater_is_better: bool) -> list[dict[str, Any]]:
    """The runs by their score in this metric; those without one last."""
    sign = -1 if greater_is_better else 1

    def place(metrics: dict[str, Any]) -> tuple[bool, float]:
        score = metrics["score"]
        return (True, 0.0) if score is None or metrics["metric"] != metric else (False, sign * score)

    return sorted(runs, key=place)
