"""Exponential moving average of a network's weights."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def averaged_model(model: nn.Module, decay: float) -> AveragedModel:
    """Copy of the model that averages its weights: after each update decay · average + (1 - decay) · weights.

    It begins with the weights after the first step.
    """
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))


@contextmanager
def averaged_weights(model: nn.Module, average: AveragedModel | None) -> Iterator[None]:
    """Exchange the weights of model and average within the block; None: there is no average."""
    if average is None:
        yield
        return
    exchange(model, average)
    try:
        yield
    finally:
        exchange(model, average)


def exchange(model: nn.Module, average: AveragedModel) -> None:
    """Exchange the weights of model and average."""
    for own, other in zip(model.parameters(), average.module.parameters(), strict=True):
        own.data, other.data = other.data, own.data
