"""The times k/rate, k = 0, 1, 2, …, at which frames of a video and samples of a series are read."""

import math

TOLERANCE = 1.01e-3  # Matroska and FLV round time stamps to a millisecond, and two of them are subtracted


def tolerance(rate: float) -> float:
    """By how much a time may miss a grid time that it stands for: less than half of the grid's step.

    >>> tolerance(8), tolerance(1000)
    (0.00101, 0.00049)
    """
    return min(TOLERANCE, 0.49 / rate)


def points_before(time: float, rate: float) -> int:
    """How many of the times 0, 1/rate, 2/rate, … lie before `time`; one up to a millisecond before it does not.

    >>> points_before(0.5, 10), points_before(0.5004, 10), points_before(0.51, 10)
    (5, 5, 6)
    """
    return max(0, math.ceil((time - tolerance(rate)) * rate))


def grid_length(seconds: float, rate: float) -> int:
    """The number of samples of a video of that length, read at `rate` a second; at least 1.

    >>> grid_length(2.0, 10), grid_length(2.05, 10), grid_length(0.01, 10)
    (20, 21, 1)
    """
    return max(1, points_before(seconds, rate))


class Grid:
    """Deals the numbers k of the grid times k/rate out to the frames on display, each to one frame.

    start: seconds; earlier times are left out. stop: the first number that is too large; None: there is no end.
    Raises ValueError for a rate that is not above 0.
    """

    def __init__(self, rate: float, start: float = 0.0, stop: int | None = None) -> None:
        if not 0 < rate < math.inf:
            raise ValueError(f"a rate of {rate} samples a second has no grid")
        self.rate, self.next, self.stop = rate, points_before(start, rate), stop

    def before(self, time: float) -> range:
        """The numbers, not dealt out yet, of the times before `time`: those of the frame that `time` ends."""
        first, number = self.next, points_before(time, self.rate)
        self.next = max(first, number if self.stop is None else min(number, self.stop))
        return range(first, self.next)

    def rest(self) -> range:
        """The numbers that are left, of a grid with an end."""
        return range(self.next, self.next if self.stop is None else max(self.next, self.stop))
