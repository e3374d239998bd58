"""Scale of the numbers to learn: networks are fitted to mean 0 and deviation 1, and answer in the numbers' own unit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from kagglepipe.sequences.dataset import Example


@dataclass(frozen=True)
class TargetScale:
    """Mean and standard deviation (O,) of the targets of the rows to fit on; 1 where all are the same."""

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]

    def inverse(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standardised numbers (N, O) in their own unit."""
        return numbers * self.deviation + self.mean

    def standardised(self, examples: Sequence[Example]) -> list[Example]:
        """Examples with targets of mean 0 and deviation 1, so that a loss is in units of variance."""
        return [replace(one, label=self.transform(one.label)) for one in examples]

    def transform(self, targets: NDArray[np.floating]) -> NDArray[np.float32]:
        """Targets (O,) or (N, O) with mean 0 and deviation 1."""
        return ((targets - self.mean) / self.deviation).astype(np.float32)

    @torch.no_grad()
    def to_unit(self, layer: nn.Linear) -> None:
        """Change a last layer that answers standardised numbers, in place, to one that answers the numbers."""
        mean, deviation = self._tensors(layer)
        layer.weight *= deviation[:, None]
        layer.bias.copy_(layer.bias * deviation + mean)

    @torch.no_grad()
    def from_unit(self, layer: nn.Linear) -> None:
        """Undo `to_unit`, in place."""
        mean, deviation = self._tensors(layer)
        layer.weight /= deviation[:, None]
        layer.bias.copy_((layer.bias - mean) / deviation)

    def _tensors(self, layer: nn.Linear) -> tuple[torch.Tensor, torch.Tensor]:
        device = layer.weight.device
        return torch.from_numpy(self.mean).to(device), torch.from_numpy(self.deviation).to(device)


def target_scale(examples: Sequence[Example]) -> TargetScale:
    """Estimate the scale of the targets (O,) of some examples."""
    return scale_of(np.stack([example.label for example in examples]))


def scale_of(targets: NDArray[np.floating]) -> TargetScale:
    """Estimate the scale of targets (N, O)."""
    targets = targets.astype(np.float64)
    deviation = targets.std(axis=0)
    return TargetScale(
        targets.mean(axis=0).astype(np.float32), np.where(deviation > 0, deviation, 1).astype(np.float32)
    )
