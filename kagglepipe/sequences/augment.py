"""Augmentation over time: which frames of an item are looked at, in order."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TimeAugmentation:
    """crop: shortest share of an item that is kept, in 0…1. speed: factor, 1 or more, by which it may be faster or
    slower. drop: share of the frames, in 0…1, that are lost and the one before stands in. The defaults change nothing.
    """

    crop: float = 1.0
    speed: float = 1.0
    drop: float = 0.0

    def draw(self, length: int, rng: np.random.Generator, *, window: int | None = None) -> NDArray[np.int64]:
        """Positions (t,) of the frames to look at, never falling, out of 0…length-1.

        window: most frames that are returned (None: no limit). Of a longer item a piece is cut at a random place,
        without `crop` and of that very length: a batch of one length needs no packing, on a CPU seven times slower.
        """
        share = rng.uniform(self.crop, 1.0)
        speed = self.speed ** rng.uniform(-1.0, 1.0)
        span = length * share
        count = max(1, round(span / speed))
        if window is not None and max(length, count) > window:
            span, count = min(float(length), window * speed), window
        start = rng.uniform(0.0, length - span)
        positions = np.floor(start + (np.arange(count) + 0.5) * span / count).astype(np.int64)
        kept = rng.random(count) >= self.drop
        kept[0] = True
        return positions[np.maximum.accumulate(np.where(kept, np.arange(count), 0))]
