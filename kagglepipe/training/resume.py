"""Training progress at the end of each epoch: enough to resume after a kill with the same result.

Orders and augmentations are functions of (seed, epoch), so that weights, optimiser state, loss scale and history
suffice. They lie in one safetensors file with the numbers in its header, renamed into place when complete.
"""

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from kagglepipe import distributed
from kagglepipe.models.temporal import load_stored, stored_name
from kagglepipe.models.weights import write_tensors
from kagglepipe.predictions.metrics import find_metric

AVERAGE = "average"  # prefix of the tensors of averaged weights in files
LR_SHORTENED = "hurried"  # column of Epoch.lr_shortened in files


@dataclass(frozen=True)
class Epoch:
    """Result of one epoch; losses are mean log losses, `rate` is training images per second.

    valid_score: by the metric that chooses the epoch; NaN where undefined, and in files of versions that always chose
    by accuracy. ended_by: `patience` or `budget` if training ended early with this epoch. lr_shortened: whether a
    budget has shortened the schedule.
    """

    epoch: int
    train_loss: float
    valid_loss: float
    valid_accuracy: float
    lr: float
    rate: float
    ended_by: str = ""
    lr_shortened: bool = False
    valid_score: float = math.nan

    def row(self) -> dict[str, Any]:
        """Values by column, as resume files and log.csv hold them."""
        return {LR_SHORTENED if name == "lr_shortened" else name: value for name, value in asdict(self).items()}

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> "Epoch":
        """Invert `row`. Raises TypeError for other columns."""
        return cls(**{"lr_shortened" if name == LR_SHORTENED else name: value for name, value in row.items()})


def best_epoch(history: Sequence[Epoch], metric: str = "accuracy") -> int:
    """Number of the best epoch by the metric; ties go to the lower log loss, then to the earlier epoch.

    An undefined score, as ROC AUC of a single class, is below all others.
    """
    sign = find_metric(metric).sign

    def worth(epoch: Epoch) -> tuple[float, float]:
        known = {"accuracy": epoch.valid_accuracy, "log_loss": epoch.valid_loss}
        score = sign * known.get(metric, epoch.valid_score)
        return -math.inf if math.isnan(score) else score, -epoch.valid_loss

    return max(history, key=worth).epoch


log = logging.getLogger(__name__)
HEADER = {  # fields of Progress in the file's header: their names there
    "epoch": "epoch", "history": "history", "lr_factor": "caution", "scale": "scale", "micro_batch": "micro_batch",
    "classes": "classes",
}  # fmt: skip


@dataclass
class Progress:
    """State of a training after a whole epoch.

    epoch: number of the last whole one, 0 for none. tensors: of model and optimiser, on the CPU. history: also of an
    epoch that a budget cut short. lr_factor: on the learning rate, since a loss was not finite. scale: of the loss.
    micro_batch: rows that fit the memory, if not a whole batch. best: model tensors of the best epoch. classes: names
    of the outputs, in order; None in files of older versions.
    """

    epoch: int
    tensors: dict[str, Tensor]
    history: list[Epoch] = field(default_factory=list)
    lr_factor: float = 1.0
    scale: dict[str, Any] = field(default_factory=dict)
    micro_batch: int | None = None
    best: dict[str, Tensor] = field(default_factory=dict)
    classes: list[str] | None = None

    @property
    def has_ended(self) -> bool:
        """Whether training ended early, by patience or budget."""
        return bool(self.history and self.history[-1].ended_by)


def resume(
    file: Path | None,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: AveragedModel | None = None,
    *,
    classes: Sequence[str],
    default_classes: Sequence[str],
    metric: str,
    has_budget: bool,
    name: str,
) -> Progress:
    """Restore an interrupted training from its file; the progress is that of the beginning where it cannot go on.

    classes, default_classes: see `FitRuntime`. A schedule that a budget has shortened goes on only with a budget:
    without one the result would be another. average: of the weights; None: none. name: prefix of log lines.
    """
    fresh = Progress(0, capture(model, optimiser, average), classes=list(classes))
    known = distributed.broadcast_object(load_progress(file) if file and distributed.is_rank_zero() else None)
    if known is None or (not has_budget and any(epoch.lr_shortened for epoch in known.history)):
        return fresh
    if known.classes is None:
        known.classes = list(default_classes)
    fault = None
    if known.classes != fresh.classes:
        fault = f"has the classes {', '.join(known.classes)}, not {', '.join(classes)}"
    elif metric != "accuracy" and known.best and all(math.isnan(epoch.valid_score) for epoch in known.history):
        fault = "kept the best epoch by accuracy"
    else:
        try:
            restore(known.tensors, model, optimiser, average)
        except (RuntimeError, ValueError, LookupError, TypeError) as error:
            log.debug("%s", error)
            fault = "is of another network"
    if fault:
        log.warning("%s: %s %s: starting from the beginning", name, file, fault)
        restore(fresh.tensors, model, optimiser, average)
        return fresh
    return known


def capture(
    model: nn.Module, optimiser: torch.optim.Optimizer, average: AveragedModel | None = None
) -> dict[str, Tensor]:
    """Copy all that a step changes to the CPU: tensors of the model, of the optimiser and of the average, by name."""
    moments, names = optimiser.state_dict()["state"], [name for name, _ in optimised_parameters(model, optimiser)]
    named = {f"model.{stored_name(name)}": value for name, value in model.state_dict().items()}
    named |= {f"optimiser.{names[n]}.{key}": value for n, state in moments.items() for key, value in state.items()}
    if average is not None:
        named |= {f"{AVERAGE}.{name}": value for name, value in average.state_dict().items()}
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in named.items()}


def restore(
    tensors: dict[str, Tensor], model: nn.Module, optimiser: torch.optim.Optimizer, average: AveragedModel | None = None
) -> None:
    """Restore captured tensors. Raises RuntimeError or LookupError if they are of another network."""
    load_stored(model, part(tensors, "model"))
    if average is not None:
        average.load_state_dict(part(tensors, AVERAGE))
    parameters = optimised_parameters(model, optimiser)
    numbers = {name: number for number, (name, _) in enumerate(parameters)}
    state: dict[int, dict[str, Tensor]] = {}
    for whole, value in part(tensors, "optimiser").items():
        name, _, key = whole.rpartition(".")
        number = int(name) if name.isdecimal() else numbers[name]  # files of older versions have numbers
        like = parameters[number][1] if value.ndim else value  # same memory format as the parameter
        if like.shape != value.shape:
            raise RuntimeError(f"{whole} has the shape {tuple(value.shape)}, its parameter {tuple(like.shape)}")
        state.setdefault(number, {})[key] = torch.empty_like(like, device="cpu", dtype=value.dtype).copy_(value)
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def optimised_parameters(model: nn.Module, optimiser: torch.optim.Optimizer) -> list[tuple[str, nn.Parameter]]:
    """(name in files, parameter) of all parameters of the optimiser, in its order."""
    names = {parameter: stored_name(name) for name, parameter in model.named_parameters()}
    return [(names[parameter], parameter) for group in optimiser.param_groups for parameter in group["params"]]


def part(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Tensors whose names begin with `name.`, under the rest of their names."""
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}


def save_progress(path: Path, progress: Progress) -> None:
    """Write the file atomically: a kill or a full disk leaves that of the epoch before."""
    header = {stored: getattr(progress, name) for name, stored in HEADER.items()}
    header["history"] = [epoch.row() for epoch in progress.history]
    best = {f"best.{name}": value.contiguous() for name, value in progress.best.items()}
    remove_unfinished(path)
    write_tensors(path, {**progress.tensors, **best}, {"progress": json.dumps(header)})


def load_progress(path: Path) -> Progress | None:
    """Load what `save_progress` wrote; None if there is no file or, with a warning, none that can be read."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dictionary
            header = json.loads(file.metadata()["progress"])
        names = {stored: name for name, stored in HEADER.items()}
        values = {names[stored]: value for stored, value in header.items()}
        values["history"] = [Epoch.of_row(row) for row in header.get("history", ())]
        of_fit = {name: value for name, value in tensors.items() if not name.startswith("best.")}
        return Progress(tensors=of_fit, best=part(tensors, "best"), **values)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        log.warning("train: %s is damaged (%s): starting this fold from the beginning", path, error)
        return None


def forget_progress(path: Path) -> None:
    """Remove the file and the temporary files of killed writes."""
    path.unlink(missing_ok=True)
    remove_unfinished(path)


def remove_unfinished(path: Path) -> None:
    """Remove temporary files of killed writes; one process at a time writes to a fold."""
    for pattern in (f".{path.name}.*.tmp", ".tmp*"):  # the second pattern is safetensors' own
        for left in path.parent.glob(pattern):
            left.unlink(missing_ok=True)
