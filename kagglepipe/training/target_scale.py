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

    def standardised(self, examples: Sequence[Example]) -> list[Example]:
        """Examples with targets of mean 0 and deviation 1, so that a loss is in units of variance."""
        return [replace(one, label=((one.label - self.mean) / self.deviation).astype(np.float32)) for one in examples]

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
    targets = np.stack([example.label for example in examples]).astype(np.float64)
    deviation = targets.std(axis=0)
    return TargetScale(
        targets.mean(axis=0).astype(np.float32), np.where(deviation > 0, deviation, 1).astype(np.float32)
    )
