"""Mixup and CutMix: batches whose images are mixed in pairs, and losses mixed by the same share.

Zhang, Cisse, Dauphin and Lopez-Paz 2018, "mixup: Beyond empirical risk minimization"; Yun, Han, Oh, Chun, Choe and Yoo
2019, "CutMix: Regularization strategy to train strong classifiers with localizable features".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kagglepipe import distributed
from kagglepipe.options import TrainingOptions
from kagglepipe.training.losses import Loss


@dataclass(frozen=True)
class Mixing:
    """Mixes each batch, by (seed, epoch, number of the batch, rank).

    mixup, cutmix: alpha of the shares' distribution Beta(alpha, alpha); None: not that one. Of both, a batch gets one.
    """

    mixup: float | None
    cutmix: float | None
    seed: int

    def __call__(
        self, inputs: Sequence[Tensor], labels: Tensor, loss: Loss, epoch: int, number: int
    ) -> tuple[Sequence[Tensor], Tensor, Loss]:
        """Mix images (B, S, S, C) with those of another order: (images in float32, pairs of labels, their loss)."""
        [images] = inputs
        if len(images) == 1:  # the last of an epoch, or padding
            return inputs, labels, loss
        rng = np.random.default_rng([self.seed, epoch, number + 1, distributed.rank() + 1])
        kinds = [(make, alpha) for make, alpha in ((mixup, self.mixup), (cutmix, self.cutmix)) if alpha is not None]
        make, alpha = kinds[int(rng.integers(len(kinds)))]
        others = torch.from_numpy(rng.permutation(len(images)))
        mixed, share = make(images.float(), others, float(rng.beta(alpha, alpha)), rng)
        return [mixed], paired(labels, labels[others]), mixed_loss(loss, share)


def mixing_of(options: TrainingOptions, seed: int) -> Mixing | None:
    """Mixing as options have it; None for none."""
    return None if options.mixup is options.cutmix is None else Mixing(options.mixup, options.cutmix, seed)


def mixup(images: Tensor, others: Tensor, share: float, rng: np.random.Generator) -> tuple[Tensor, float]:
    """(share · images + (1 - share) · the others of each (B,), share)."""
    return share * images + (1 - share) * images[others], share


def cutmix(images: Tensor, others: Tensor, share: float, rng: np.random.Generator) -> tuple[Tensor, float]:
    """(images with a rectangle of the others, the share of their own pixels); the whole rectangle may not fit."""
    height, width = images.shape[1:3]
    part = np.sqrt(1 - share)
    (top, bottom), (left, right) = (_extent(side, part, rng) for side in (height, width))
    mixed = images.clone()
    mixed[:, top:bottom, left:right] = images[others, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def _extent(side: int, part: float, rng: np.random.Generator) -> tuple[int, int]:
    """Ends of a piece of `part` of a side round a uniform centre, cut where the side ends."""
    length, centre = round(side * part), int(rng.integers(side))
    low = centre - length // 2
    return max(low, 0), min(low + length, side)


def paired(labels: Tensor, others: Tensor) -> Tensor:
    """Labels of both images side by side: (B,) -> (B, 2), (B, O) -> (B, 2 · O)."""
    return torch.stack([labels, others], dim=1).flatten(1)


def mixed_loss(loss: Loss, share: float) -> Loss:
    """`share` of the loss of the first labels of each pair, and the rest of that of the second."""

    def compute(logits: Tensor, pairs: Tensor, smoothing: float) -> tuple[Tensor, int]:
        own, other = pairs.chunk(2, dim=1) if loss.in_columns else pairs.unbind(dim=1)
        first, hits = loss.compute(logits, own, smoothing)
        second, other_hits = loss.compute(logits, other, smoothing)
        return share * first + (1 - share) * second, hits if share >= 0.5 else other_hits

    return Loss(compute, in_columns=True)
