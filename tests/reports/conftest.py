"""A disk that is full."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def disk_full(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """disk_full() -> from now on half of a picture is written."""

    def half(_: Image.Image, file: Path, format: str) -> None:
        file.write_bytes(b"half of a " + format.encode())
        raise OSError("no space left")

    return lambda: monkeypatch.setattr(Image.Image, "save", half)
