"""What a sweep may try: for each option a list of values or a stretch of numbers.

A value is kept as the text that is typed behind the `=`, so that a trial is a command line that anybody can type again.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kagglepipe.files import sha256

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

MOST_POINTS = 10_000  # of a space that is looked at point by point
DIGITS = 4  # of a number that is drawn: nobody's learning rate needs more, and it can be typed again


@dataclass(frozen=True)
class Choice:
    """One of these values, each as it is typed."""

    values: tuple[str, ...]

    @property
    def count(self) -> float:
        """How many values there are."""
        return len(self.values)

    def listed(self) -> list[str]:
        """All values, in order."""
        return list(self.values)

    def typed(self, value: Any) -> str:
        """What stands behind the `=` for a value that was drawn."""
        return str(value)

    def distribution(self) -> "BaseDistribution":
        """The same for Optuna."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)


@dataclass(frozen=True)
class Span:
    """A number from `low` to `high`, both included; step: None for any number between them.

    log: whether its logarithm is what is spread evenly. whole: whether only whole numbers count.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False
    whole: bool = False

    @property
    def count(self) -> float:
        """How many values there are; infinite without steps."""
        step = self.step or (1 if self.whole else None)
        return math.inf if step is None else math.floor((self.high - self.low) / step + 1e-9) + 1

    def listed(self) -> list[Any]:
        """All values, in order. Raises OverflowError where there is no end of them."""
        step = self.step or 1
        values = [self.low + number * step for number in range(int(self.count))]
        return [int(value) for value in values] if self.whole else values

    def typed(self, value: Any) -> str:
        """What stands behind the `=` for a value that was drawn.

        >>> Span(1e-5, 1e-2, log=True).typed(0.000312468), Span(1, 9, whole=True).typed(3)
        ('0.0003125', '3')
        """
        if self.whole:
            return str(int(value))
        short = float(f"{value:.{DIGITS}g}")
        return repr(short if self.low <= short <= self.high else float(value))

    def distribution(self) -> "BaseDistribution":
        """The same for Optuna."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)


Space = Mapping[str, Choice | Span]


def size(space: Space) -> float:
    """How many different trials there can be.

    >>> size({"a": Choice(("x", "y")), "b": Span(1, 3, whole=True)}), size({"a": Span(0, 1)})
    (6, inf)
    """
    return math.prod(one.count for one in space.values())


def points(space: Space) -> list[dict[str, Any]] | None:
    """Every point of the space, the last option changing fastest; None where there are too many to look at.

    >>> points({"a": Choice(("x", "y")), "b": Span(1, 2, whole=True)})[1]
    {'a': 'x', 'b': 2}
    """
    if size(space) > MOST_POINTS:
        return None
    every = itertools.product(*(one.listed() for one in space.values()))
    return [dict(zip(space, values, strict=True)) for values in every]


def typed(space: Space, values: Mapping[str, Any]) -> dict[str, str]:
    """option -> what stands behind its `=`, for values that were drawn."""
    return {name: one.typed(values[name]) for name, one in space.items()}


def told(space: Space) -> dict[str, list[str]]:
    """option -> every listed value, or both ends of its stretch, as they are typed.

    >>> told({"a": Choice(("x", "y")), "b": Span(1, 9, whole=True)})
    {'a': ['x', 'y'], 'b': ['1', '9']}
    """
    ends = {name: one.values if isinstance(one, Choice) else (one.low, one.high) for name, one in space.items()}
    return {name: list(dict.fromkeys(map(space[name].typed, values))) for name, values in ends.items()}


def samples(space: Space) -> list[dict[str, str]]:
    """Points, as they are typed, among which every listed value and both ends of every stretch occur.

    >>> samples({"a": Choice(("x", "y", "z")), "b": Span(1, 9, whole=True)})
    [{'a': 'x', 'b': '1'}, {'a': 'y', 'b': '9'}, {'a': 'z', 'b': '1'}]
    """
    values = told(space)
    longest = max(map(len, values.values()), default=1)
    return [{name: listed[n % len(listed)] for name, listed in values.items()} for n in range(longest)]


def signature(space: Space, fixed: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits for a space and what is fixed beside it, in whatever order.

    >>> a, b = Choice(("1", "2")), Span(0, 1)
    >>> signature({"a": a, "b": b}, {"c": "1"}) == signature({"b": b, "a": a}, {"c": "1"})
    True
    """
    parts = sorted([*(f"{name}~{one!r}" for name, one in space.items()), *(f"{k}={v}" for k, v in fixed.items())])
    return sha256(*parts)[:8]
