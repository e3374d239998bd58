"""How long training may take, shared among what is left to do."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Budget:
    """A share of a time limit. `used` runs from 0 to 1 and on; nothing ends by itself.

    seconds: of the share. clock: seconds that only grow.
    """

    seconds: float
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._start = self.clock()

    def used(self, kept_back: float = 0.0) -> float:
        """The part of the share that has passed, not counting what is kept back of it, in seconds: half at most.

        What is kept back is a guess; a wrong one must not end what has only begun.
        """
        seconds = self.seconds - min(kept_back, self.seconds / 2)
        return (self.clock() - self._start) / seconds if seconds > 0 else 1.0

    @property
    def left(self) -> float:
        """Seconds, 0 at least."""
        return max(0.0, self.seconds - (self.clock() - self._start))

    def share(self, of: int) -> "Budget":
        """An equal part for each of so many things that are left to do."""
        return Budget(self.left / of, self.clock)
