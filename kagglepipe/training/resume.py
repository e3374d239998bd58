"""Where a training stands at the end of an epoch: enough to go on after a kill as if there had been none.

Orders and augmentations are functions of (seed, epoch), so nothing of them is kept: weights, the optimiser's moments,
the loss scale, and the history. One safetensors file, numbers in its header, renamed into place when whole.
"""

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from kagglepipe.models.temporal import load_stored, stored_name
from kagglepipe.models.weights import write_tensors

log = logging.getLogger(__name__)
NUMBERS = ("epoch", "history", "caution", "scale", "micro_batch", "classes")  # of Progress, kept in the file's header


@dataclass
class Progress:
    """epoch: the last whole one, 0 for none. history: a dictionary an epoch. caution: what rates are multiplied with
    since a loss blew up. scale: the state of the loss scale. micro_batch: rows at a time that the memory holds, if not
    a whole batch. tensors: of model and optimiser, on the CPU. best: the model's after the best epoch. classes: what
    the model's outputs stand for, in order; None: the file is of a version that did not tell.
    """

    epoch: int
    tensors: dict[str, Tensor]
    history: list[dict[str, Any]] = field(default_factory=list)
    caution: float = 1.0
    scale: dict[str, Any] = field(default_factory=dict)
    micro_batch: int | None = None
    best: dict[str, Tensor] = field(default_factory=dict)
    classes: list[str] | None = None


def capture(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Copies on the CPU of all that a step changes; later steps leave them alone."""
    moments, names = optimiser.state_dict()["state"], [name for name, _ in optimised(model, optimiser)]
    named = {f"model.{stored_name(name)}": value for name, value in model.state_dict().items()}
    named |= {f"optimiser.{names[n]}.{key}": value for n, state in moments.items() for key, value in state.items()}
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in named.items()}


def restore(tensors: dict[str, Tensor], model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Puts back what `capture` gave. Raises RuntimeError, or LookupError, if it is of another network."""
    load_stored(model, part(tensors, "model"))
    parameters = optimised(model, optimiser)
    numbers = {name: number for number, (name, _) in enumerate(parameters)}
    state: dict[int, dict[str, Tensor]] = {}
    for whole, value in part(tensors, "optimiser").items():
        name, _, key = whole.rpartition(".")
        number = int(name) if name.isdecimal() else numbers[name]  # older versions knew them by number
        like = parameters[number][1] if value.ndim else value  # moments lie in memory as their parameter does
        if like.shape != value.shape:
            raise RuntimeError(f"{whole} has the shape {tuple(value.shape)}, its parameter {tuple(like.shape)}")
        state.setdefault(number, {})[key] = torch.empty_like(like, device="cpu", dtype=value.dtype).copy_(value)
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def optimised(model: nn.Module, optimiser: torch.optim.Optimizer) -> list[tuple[str, nn.Parameter]]:
    """(name in files, parameter) of what the optimiser changes, in the order in which it numbers them."""
    names = {parameter: stored_name(name) for name, parameter in model.named_parameters()}
    return [(names[parameter], parameter) for group in optimiser.param_groups for parameter in group["params"]]


def part(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Those whose names begin with `name.`, without that."""
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}


def save_progress(path: Path, progress: Progress) -> None:
    """Writes it atomically: a kill, or a full disk, leaves the file of the epoch before."""
    numbers = {name: getattr(progress, name) for name in NUMBERS}
    best = {f"best.{name}": value.contiguous() for name, value in progress.best.items()}
    remove_unfinished(path)
    write_tensors(path, {**progress.tensors, **best}, {"progress": json.dumps(numbers)})


def load_progress(path: Path) -> Progress | None:
    """What `save_progress` wrote; None if there is nothing, or nothing that can be read, which is then said."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dictionary
            numbers = json.loads(file.metadata()["progress"])
        of_fit = {name: value for name, value in tensors.items() if not name.startswith("best.")}
        return Progress(tensors=of_fit, best=part(tensors, "best"), **numbers)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        log.warning("train: %s is damaged (%s): starting this fold from the beginning", path, error)
        return None


def forget_progress(path: Path) -> None:
    """Removes the file, and what writes of it have left that were killed."""
    path.unlink(missing_ok=True)
    remove_unfinished(path)


def remove_unfinished(path: Path) -> None:
    """Removes what writes have left that were killed: one process at a time has a fold."""
    for pattern in (f".{path.name}.*.tmp", ".tmp*"):  # the second is what safetensors itself calls them
        for left in path.parent.glob(pattern):
            left.unlink(missing_ok=True)
