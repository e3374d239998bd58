"""Weights between those before and after fine-tuning, which remember more of photos from elsewhere.

Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" (WiSE-FT): a straight line between the network with its
head alone and the fine-tuned one, on which accuracy elsewhere rises at little or no cost at home.
"""

import logging
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Copy the parameters of a model."""
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


@torch.no_grad()
def interpolate(
    model: nn.Module, start: Mapping[str, Tensor], shares: Sequence[float], loss: Callable[[], float], name: str
) -> float:
    """Set the weights of `model` to start + share · (weights - start); returns the share.

    start: parameters by name. shares: candidates in (0, 1], of which that of least validation loss is taken, of equal
    ones the first. loss: of the model as it is. name: prefix of the log line.
    """
    end = weights_of(model)

    def move(share: float) -> None:
        for key, weight in model.named_parameters():
            weight.copy_(start[key].lerp(end[key], share))

    losses = []
    for share in shares if len(shares) > 1 else ():
        move(share)
        losses.append(loss())
    best = shares[losses.index(min(losses))] if losses else shares[0]
    move(best)
    if losses:
        each = ", ".join(f"{one:g}: {value:.4f}" for one, value in zip(shares, losses, strict=True))
        log.info("%s: weights %g of the way from the head alone to the end (validation loss at %s)", name, best, each)
    return best
