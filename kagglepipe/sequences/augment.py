"""Temporal augmentation: random crop, speed and dropped frames."""

import numpy as np
from numpy.typing import NDArray

from kagglepipe.options import SequenceOptions


def draw_positions(
    length: int, options: SequenceOptions, rng: np.random.Generator, *, window: int | None = None
) -> NDArray[np.int64]:
    """Draw frame indices (t,), never decreasing, out of 0 … length - 1, by `options.crop`, `speed` and `drop`.

    window: maximum number of indices (None: no limit). From a longer item a window of exactly this length is cut at a
    random place, without `crop`: a batch of equal lengths needs no packing, which is seven times slower on a CPU.
    """
    share = rng.uniform(options.crop, 1.0)
    speed = options.speed ** rng.uniform(-1.0, 1.0)
    span = length * share
    count = max(1, round(span / speed))
    if window is not None and max(length, count) > window:
        span, count = min(float(length), window * speed), window
    start = rng.uniform(0.0, length - span)
    positions = np.floor(start + (np.arange(count) + 0.5) * span / count).astype(np.int64)
    kept = rng.random(count) >= options.drop
    kept[0] = True
    return positions[np.maximum.accumulate(np.where(kept, np.arange(count), 0))]
