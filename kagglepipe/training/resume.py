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
from safetensors.torch import save_file
from torch import Tensor, nn

from kagglepipe.files import atomic

log = logging.getLogger(__name__)


@dataclass
class Progress:
    """epoch: the last whole one, 0 for none. history: a dictionary an epoch. caution: what rates are multiplied with
    since a loss blew up. scale: the state of the loss scale. budgeted: whether a time limit has hurried it. tensors:
    of model and optimiser, on the CPU. best: the model's after the best epoch.
    """

    epoch: int
    tensors: dict[str, Tensor]
    history: list[dict[str, Any]] = field(default_factory=list)
    caution: float = 1.0
    scale: dict[str, Any] = field(default_factory=dict)
    budgeted: bool = False
    best: dict[str, Tensor] = field(default_factory=dict)


def capture(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Copies on the CPU of all that a step changes; later steps leave them alone."""
    moments = optimiser.state_dict()["state"]
    named = {f"model.{name}": value for name, value in model.state_dict().items()}
    named |= {f"optimiser.{n}.{name}": value for n, state in moments.items() for name, value in state.items()}
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in named.items()}


def restore(tensors: dict[str, Tensor], model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Puts back what `capture` gave. Raises RuntimeError if it is of another network."""
    model.load_state_dict(part(tensors, "model"))
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in part(tensors, "optimiser").items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = value.clone()  # the optimiser writes into what it is given
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def part(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Those whose names begin with `name.`, without that."""
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}


def save_progress(path: Path, progress: Progress) -> None:
    """Writes it atomically: a kill, or a full disk, leaves the file of the epoch before."""
    numbers = {name: getattr(progress, name) for name in ("epoch", "history", "caution", "scale", "budgeted")}
    best = {f"best.{name}": value.contiguous() for name, value in progress.best.items()}
    with atomic(path) as temporary:
        save_file({**progress.tensors, **best}, temporary, metadata={"progress": json.dumps(numbers)})


def load_progress(path: Path) -> Progress | None:
    """What `save_progress` wrote; None if there is nothing, or nothing that can be read, which is then said."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            numbers = json.loads(file.metadata()["progress"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dictionary
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        log.warning("train: %s is damaged (%s): starting this fold from the beginning", path, error)
        return None
    best = part(tensors, "best")
    return Progress(tensors={n: v for n, v in tensors.items() if not n.startswith("best.")}, best=best, **numbers)
