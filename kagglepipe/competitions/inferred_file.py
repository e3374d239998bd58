"""data/<slug>/inferred.json: the fields that were inferred from a source, for later commands.

They find the fields there without reading the source again, which may have been removed in the meantime.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kagglepipe import __version__
from kagglepipe.files import read_json, write_json

FILE = "inferred.json"


@dataclass(frozen=True)
class InferredFile:
    """An inference, what it was made from, and by which version.

    fields, reasons, notes, settings: see `Inference`. words: arguments about the competition that were typed. content:
    hash of the bytes of the source.
    """

    fields: dict[str, Any]
    reasons: dict[str, str]
    notes: list[str]
    settings: dict[str, Any] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    content: str = ""
    version: str = __version__

    @classmethod
    def read(cls, folder: Path) -> "InferredFile | None":
        """Read the file in data/<slug>/; None if there is none."""
        file = folder / FILE
        return cls(**read_json(file)) if file.exists() else None

    def write(self, folder: Path) -> None:
        """Write the file into data/<slug>/."""
        write_json(folder / FILE, asdict(self))

    def fits(self, content: str, words: Sequence[str]) -> bool:
        """Whether inferring from a source with that content, with those words typed, would give the same."""
        return (self.content, self.words, self.version) == (content, list(words), __version__)
