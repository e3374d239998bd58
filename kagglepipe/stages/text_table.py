"""Tables as a terminal shows them."""

import unicodedata
from collections.abc import Iterable


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Lines in columns, two blanks apart.

    >>> table(["run", "score"], [["a-long-one", "0.5"]])
    ['run         score', 'a-long-one  0.5']
    """
    lines = [list(header), *map(list, rows)]
    widths = [max(map(width, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(padded(cell, n) for cell, n in zip(line, widths, strict=True)).rstrip() for line in lines]


def padded(text: str, columns: int) -> str:
    """The text and blanks up to so many columns."""
    return text + " " * (columns - width(text))


def width(text: str) -> int:
    """The columns of a terminal that a text takes; the names of teams are in every script.

    >>> width("né"), width("ne\u0301"), width("日本")
    (2, 2, 4)
    """
    marks = sum(unicodedata.category(c) in ("Mn", "Me", "Cf") for c in text)
    return len(text) - marks + sum(unicodedata.east_asian_width(c) in "WF" for c in text)
