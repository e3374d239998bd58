"""Times k/rate, k = 0, 1, 2, …, at which frames of a video and samples of a series are read."""

import math

import pandas as pd

ROUNDING = 1e-6  # of a sample: times in a CSV are decimal fractions
TOLERANCE = 1.01e-3  # Matroska and FLV round time stamps to a millisecond, and two of them are subtracted


def tolerance(rate: float) -> float:
    """Largest distance in seconds of a time stamp from its grid time: less than half a step of the grid.

    >>> tolerance(8), tolerance(1000)
    (0.00101, 0.00049)
    """
    return min(TOLERANCE, 0.49 / rate)


def samples_before(time: float, rate: float) -> int:
    """Count the times 0, 1/rate, 2/rate, … before `time`, without one that is less than `tolerance` before it.

    >>> samples_before(0.5, 10), samples_before(0.5004, 10), samples_before(0.51, 10)
    (5, 5, 6)
    """
    return max(0, math.ceil((time - tolerance(rate)) * rate))


def grid_length(seconds: float, rate: float) -> int:
    """Number of samples of a video of `seconds` at `rate` samples/s; at least 1.

    >>> grid_length(2.0, 10), grid_length(2.05, 10), grid_length(0.01, 10)
    (20, 21, 1)
    """
    return max(1, samples_before(seconds, rate))


def first_positions(items: pd.DataFrame, rate: float) -> dict[str, int]:
    """video -> k of its first frame or sample, on the grid k/rate: the first not before it begins.

    items: video, and begins and ends in seconds (or the unit of a series).
    """
    begins = dict(zip(items["video"], items["begins"], strict=True))
    before = {video: math.floor(time * rate) for video, time in begins.items()}
    return {video: k + (k / rate < begins[video]) for video, k in before.items()}


def item_lengths(items: pd.DataFrame, rate: float) -> dict[str, int]:
    """video -> number of its frames or samples on the grid k/rate; at least 1."""
    origin, ends = first_positions(items, rate), zip(items["video"], items["ends"], strict=True)
    return {video: max(1, math.ceil((end - tolerance(rate)) * rate) - origin[video]) for video, end in ends}


def segment_positions(start: float, end: float, rate: float, *, origin: int, length: int) -> tuple[int, int]:
    """(position of the first frame with start <= time < end, number of frames) within an item; NaN: no limit.

    origin, length: of the item, as `first_positions` and `item_lengths` give them. A segment between two frames gets
    the earlier one.

    >>> segment_positions(1.0, 1.5, 4, origin=0, length=20), segment_positions(1.1, 1.2, 4, origin=2, length=20)
    ((4, 2), (2, 1))
    """
    first = 0 if math.isnan(start) else math.ceil(start * rate - ROUNDING) - origin
    stop = length if math.isnan(end) else min(length, math.ceil(end * rate - ROUNDING) - origin)
    first = max(0, min(first, stop - 1))
    return first, max(1, stop - first)


class SampleGrid:
    """Numbers k of the grid times k/rate, assigned to the frames of a video in display order, each to one frame.

    start: seconds; earlier times are left out. stop: the first number that is too large; None: no end.
    Raises ValueError unless the rate is above 0.
    """

    def __init__(self, rate: float, start: float = 0.0, stop: int | None = None) -> None:
        if not 0 < rate < math.inf:
            raise ValueError(f"a rate of {rate} samples a second is not above 0")
        self.rate, self.next, self.stop = rate, samples_before(start, rate), stop

    def take_before(self, time: float) -> range:
        """Take the remaining numbers of times before `time`: those of the frame that is shown until then."""
        first, number = self.next, samples_before(time, self.rate)
        self.next = max(first, number if self.stop is None else min(number, self.stop))
        return range(first, self.next)

    def remaining(self) -> range:
        """Numbers not taken yet; none for a grid without an end."""
        return range(self.next, self.next if self.stop is None else max(self.next, self.stop))
