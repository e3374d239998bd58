"""What sections of the page consist of, as plain values; `templates/` says how each is shown."""

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup


@dataclass(frozen=True)
class Text:
    """A paragraph. is_code: a command to type."""

    words: str
    is_code: bool = False
    kind: str = "text"


@dataclass(frozen=True)
class Table:
    """A table; a cell is a text, or a number in [0, 1] drawn as a bar, as Bar(number)."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    kind: str = "table"


@dataclass(frozen=True)
class Bar:
    """A cell with a bar. share: of its width, in [0, 1]."""

    words: str
    share: float


@dataclass(frozen=True)
class Chart:
    """A chart of `charts`, with its caption. is_wide: as wide as the page."""

    caption: str
    svg: Markup
    is_wide: bool = False
    kind: str = "chart"


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix: counts (C, C), rows are true classes. shown: cells with rows in the gallery, to filter it."""

    caption: str
    names: Sequence[str]
    counts: Sequence[Sequence[int]]
    shown: Set[tuple[str, str]] = frozenset()
    kind: str = "matrix"

    @property
    def largest(self) -> int:
        """Largest count, 1 at least."""
        return max([1, *(one for row in self.counts for one in row)])


@dataclass(frozen=True)
class Explorer:
    """Counts at thresholds 0, 0.01, … 1: of each class true and false positives and negatives (101, 4)."""

    caption: str
    names: Sequence[str]
    counts: Sequence[Sequence[Sequence[int]]]
    kind: str = "explorer"


@dataclass(frozen=True)
class Tile:
    """A picture with its name. number: of the picture in the album; None: it is not there."""

    name: str
    number: int | None
    words: str = ""


@dataclass(frozen=True)
class Card:
    """A row in the gallery. state: wrong, unsure or right; p: probability of the true answer, or the error."""

    tile: Tile
    given: str
    answer: str
    fold: int
    p: float
    confidence: float
    loss: float
    state: str


@dataclass(frozen=True)
class Gallery:
    """Cards to filter and sort. has_probabilities: else `p` is an absolute error, and nothing is wrong or unsure."""

    caption: str
    cards: Sequence[Card]
    names: Sequence[str] = ()
    folds: Sequence[int] = ()
    has_probabilities: bool = True
    kind: str = "gallery"

    @property
    def cells(self) -> Set[tuple[str, str]]:
        """(true answer, answer) of the cards that have a picture; of all where none has."""
        seen = {(card.given, card.answer) for card in self.cards if card.tile.number is not None}
        return seen or {(card.given, card.answer) for card in self.cards}


@dataclass(frozen=True)
class Shelf:
    """Rows of pictures, each with a name. has_maps: whether what lies over them in the album is shown."""

    caption: str
    rows: Sequence[tuple[str, Sequence[Tile]]]
    has_maps: bool = False
    kind: str = "shelf"


@dataclass(frozen=True)
class Section:
    """A section of the page: its anchor, title and blocks."""

    name: str
    title: str
    blocks: list[Any] = field(default_factory=list)
