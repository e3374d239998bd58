"""Search spaces: for each option a list of values or a range of numbers.

A value is kept as the text behind the `=` of an override, so that each trial is a command line that can be typed again.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kagglepipe.files import sha256

MAX_POINTS = 10_000  # of a space that is enumerated
DIGITS = 4  # significant digits of a sampled number


# The names of the two classes and of their fields are part of `signature`, and so of the folders of sweeps.
@dataclass(frozen=True)
class Choice:
    """A categorical option: its values as typed."""

    values: tuple[str, ...]

    @property
    def count(self) -> float:
        """Number of values."""
        return len(self.values)

    def listed(self) -> list[str]:
        """All values, in order."""
        return list(self.values)

    def text(self, value: Any) -> str:
        """Override text of a sampled value."""
        return str(value)


@dataclass(frozen=True)
class Span:
    """A number in [low, high], both included; step: None for a continuous one.

    log: sample uniformly in the logarithm. whole: integers only.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False
    whole: bool = False

    @property
    def count(self) -> float:
        """Number of values; infinite for a continuous range."""
        step = self.step or (1 if self.whole else None)
        return math.inf if step is None else math.floor((self.high - self.low) / step + 1e-9) + 1

    def listed(self) -> list[Any]:
        """All values, in order. Raises OverflowError for a continuous range."""
        values = [self.low + number * (self.step or 1) for number in range(int(self.count))]
        return [int(value) for value in values] if self.whole else values

    def text(self, value: Any) -> str:
        """Override text of a sampled value, rounded to four significant digits.

        >>> Span(1e-5, 1e-2, log=True).text(0.000312468), Span(1, 9, whole=True).text(3)
        ('0.0003125', '3')
        """
        if self.whole:
            return str(int(value))
        short = float(f"{value:.{DIGITS}g}")
        return repr(short if self.low <= short <= self.high else float(value))


Space = Mapping[str, Choice | Span]


def grid_size(space: Space) -> float:
    """Number of distinct points; infinite with a continuous range.

    >>> grid_size({"a": Choice(("x", "y")), "b": Span(1, 3, whole=True)}), grid_size({"a": Span(0, 1)})
    (6, inf)
    """
    return math.prod(one.count for one in space.values())


def grid_points(space: Space) -> list[dict[str, Any]] | None:
    """All points, the last option changing fastest; None for more than MAX_POINTS.

    >>> grid_points({"a": Choice(("x", "y")), "b": Span(1, 2, whole=True)})[1]
    {'a': 'x', 'b': 2}
    """
    if grid_size(space) > MAX_POINTS:
        return None
    product = itertools.product(*(one.listed() for one in space.values()))
    return [dict(zip(space, values, strict=True)) for values in product]


def format_params(space: Space, params: Mapping[str, Any]) -> dict[str, str]:
    """Override text of each option for sampled parameters."""
    return {name: one.text(params[name]) for name, one in space.items()}


def probe_values(space: Space) -> dict[str, list[str]]:
    """Every listed value, or both ends of its range, of each option.

    >>> probe_values({"a": Choice(("x", "y")), "b": Span(1, 9, whole=True)})
    {'a': ['x', 'y'], 'b': ['1', '9']}
    """
    ends = {name: one.values if isinstance(one, Choice) else (one.low, one.high) for name, one in space.items()}
    return {name: list(dict.fromkeys(map(space[name].text, values))) for name, values in ends.items()}


def probe_points(space: Space) -> list[dict[str, str]]:
    """Make a few points that together cover `probe_values`.

    >>> probe_points({"a": Choice(("x", "y", "z")), "b": Span(1, 9, whole=True)})
    [{'a': 'x', 'b': '1'}, {'a': 'y', 'b': '9'}, {'a': 'z', 'b': '1'}]
    """
    values = probe_values(space)
    longest = max(map(len, values.values()), default=1)
    return [{name: listed[n % len(listed)] for name, listed in values.items()} for n in range(longest)]


def signature(space: Space, fixed: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that identify a space and its fixed settings, in any order.

    >>> a, b = Choice(("1", "2")), Span(0, 1)
    >>> signature({"a": a, "b": b}, {"c": "1"}) == signature({"b": b, "a": a}, {"c": "1"})
    True
    """
    parts = sorted([*(f"{name}~{one!r}" for name, one in space.items()), *(f"{k}={v}" for k, v in fixed.items())])
    return sha256(*parts)[:8]
