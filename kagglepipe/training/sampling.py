"""Balanced sampling: epochs that draw from each class, or tag, as often.

Shen, Lin and Huang 2016, "Relay backpropagation for effective learning of deep convolutional neural networks".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kagglepipe.images.dataset import Order
from kagglepipe.options import TrainingOptions

Rows = NDArray[np.int64]


def order_of(rows: Rows, targets: NDArray[Any], task: str, options: TrainingOptions) -> Order | None:
    """Order of the rows (N,) of an epoch as options have it. targets: (N,) or (N, O) of them; None: all, shuffled."""
    if options.sampling != "balanced":
        return None
    return Balanced([rows[group] for group in groups_of(targets, task)], len(rows))


def groups_of(targets: NDArray[Any], task: str) -> list[NDArray[np.bool_]]:
    """Which rows (N,) are of each class or, of tags, have each and have none; those without rows are left out."""
    if task == "multilabel":
        groups = [*(targets > 0.5).T, ~(targets > 0.5).any(axis=1)]
    else:
        classes = targets if targets.ndim == 1 else targets.sum(axis=1)  # an order: the steps that a row is above
        groups = [classes == one for one in np.unique(classes)]
    return [group for group in groups if group.any()]


@dataclass(frozen=True)
class Balanced:
    """Rows of each epoch, `count` in all, of which each group (M,) gives as many, but for one.

    Of a large group each epoch has another part; the rows of a small one come several times, equally often but for one.
    """

    groups: Sequence[Rows]
    count: int

    def __call__(self, seed: int, epoch: int) -> Rows:
        """Rows (count,) in the order of an epoch."""
        rng, share, rest = np.random.default_rng([seed, epoch]), *divmod(self.count, len(self.groups))
        drawn = []
        for number, group in enumerate(self.groups):
            wanted = share + ((number + epoch) % len(self.groups) < rest)
            passes = [rng.permutation(group) for _ in range(-(-wanted // len(group)))]
            drawn.append(np.concatenate([*passes, group[:0]])[:wanted])
        return rng.permutation(np.concatenate(drawn))
