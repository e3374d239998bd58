"""Time limit of a training, shared among the folds that are left."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Budget:
    """A number of seconds from now. clock: monotonic time in seconds."""

    seconds: float
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._start = self.clock()

    def used(self, kept_back: float = 0.0) -> float:
        """Fraction of the time used, 0 and more, with `kept_back` seconds reserved (at most half of the time).

        The reserve is an estimate; a wrong one must not end a training that has just begun.
        """
        seconds = self.seconds - min(kept_back, self.seconds / 2)
        return (self.clock() - self._start) / seconds if seconds > 0 else 1.0

    @property
    def left(self) -> float:
        """Seconds left, 0 or more."""
        return max(0.0, self.seconds - (self.clock() - self._start))

    def split(self, parts: int) -> "Budget":
        """Make a budget of 1 / parts of the time left, starting now."""
        return Budget(self.left / parts, self.clock)
