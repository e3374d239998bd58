"""Decoded pixels on disk, so that a file is decoded once for all folds, epochs and runs.

One flat file of uint8 RGB pixels, memory-mapped when read, and an index of where each image lies. Images beyond
the size limit are not stored: they are decoded from their files each time.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from kagglepipe.errors import UserError
from kagglepipe.files import write_bytes
from kagglepipe.images.decode import ImageError, Pixels, decode

NOT_STORED = -1


class PixelWriter:
    """Appends images to an open file until `max_bytes`, and remembers where each lies."""

    def __init__(self, file: BinaryIO, max_bytes: int) -> None:
        self.file = file
        self.max_bytes = max_bytes
        self.used = 0
        self.rows: list[tuple[int, int, int]] = []

    def add(self, image: Pixels) -> None:
        """Stores the next image if it fits; an ordinary write, since a full disk kills a mapped one."""
        height, width = image.shape[:2]
        offset = NOT_STORED
        if self.used + image.nbytes <= self.max_bytes:
            self.file.write(image.data)
            offset, self.used = self.used, self.used + image.nbytes
        self.rows.append((offset, height, width))

    def index(self) -> NDArray[np.int64]:
        """(N, 3): offset in bytes (−1: not stored), height and width of each image added."""
        return np.array(self.rows, np.int64).reshape(-1, 3)


class PixelReader:
    """Images from the cache or, where it has none, from their files.

    paths: the image files. places: the row of each in the cache's index (None: no cache).
    folder: a folder that `write_index` finished, or None to decode every time.
    short_side: as in `decode`.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        short_side: int | None,
        folder: Path | None = None,
        places: Sequence[int] | None = None,
    ) -> None:
        self.paths = list(paths)
        self.short_side = short_side
        self.offsets: NDArray[np.int64] | None = None
        self.pixels: NDArray[np.uint8] | None = None
        if folder is not None and (folder / "pixels.bin").stat().st_size:
            self.offsets = np.load(folder / "index.npy")[np.asarray(places, np.int64)]
            self.pixels = np.memmap(folder / "pixels.bin", np.uint8, mode="r")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Pixels:
        """Upright RGB pixels (H, W, 3) of the image in `row`; read-only where they come from the cache."""
        if self.offsets is not None and self.pixels is not None:
            offset, height, width = self.offsets[row]
            if offset != NOT_STORED:
                return self.pixels[offset : offset + height * width * 3].reshape(height, width, 3)
        path = self.paths[row]
        try:
            return decode(path.read_bytes(), short_side=self.short_side, max_side=2**31)
        except (ImageError, FileNotFoundError) as error:
            raise UserError(f"{path}: {error}; it was whole when prepared: add competition.refresh=true") from error


def write_index(folder: Path, index: NDArray[np.int64]) -> None:
    """Finishes a cache: the index is written last, so its existence means that the pixels are whole."""
    buffer = io.BytesIO()
    np.save(buffer, index)
    write_bytes(folder / "index.npy", buffer.getvalue())


def is_whole(folder: Path) -> bool:
    """Whether the cache in `folder` was finished."""
    return (folder / "index.npy").exists() and (folder / "pixels.bin").exists()
