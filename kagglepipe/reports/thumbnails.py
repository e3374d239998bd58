"""Thumbnails of a page, as JPEGs in data URIs, each stored once; and how dark or blurred pictures are."""

import base64
import hashlib
import io
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from PIL import Image

from kagglepipe.errors import UserError
from kagglepipe.images.cache import PixelCache
from kagglepipe.images.decode import Pixels, decode_picture, inspect
from kagglepipe.images.depth import as_picture
from kagglepipe.images.pixel_table import read_image_bytes
from kagglepipe.options import CompetitionOptions
from kagglepipe.reports.blocks import Tile
from kagglepipe.reports.class_sheet import read_picture

SIDE, QUALITY = 128, 70  # of a thumbnail: pixels of its longer side, of JPEG
ROUNDING = 20 / 12  # variance of the Laplacian of rounding errors: its squared weights, 1/12 each
LOOK_SIDE = 64  # pixels, at which sharpness is compared
MOST_BYTES = 3_600_000  # of all thumbnails of a page, in base64
Reader = Callable[[str], Pixels]


@dataclass(frozen=True)
class Thumbnail:
    """A picture of the album: data URI, width and height in pixels."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class Overlay:
    """A picture over another, stretched to its place: data URI, and in pixels of the other left, top and size."""

    uri: str
    x: str
    y: str
    width: str
    height: str


@dataclass
class Album:
    """The thumbnails of a page, at most `most` and MOST_BYTES, and by number what is laid over some.

    read: id -> pixels (H, W, 3); raises UserError, ValueError or OSError for a picture that is not there. missing: id
    -> why, of those, which the page says.
    """

    read: Reader | None
    most: int
    pictures: list[Thumbnail] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    overlays: dict[int, Overlay] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)
    _bytes: int = 0

    @property
    def is_full(self) -> bool:
        """Whether no more pictures fit."""
        return self.read is None or len(self.pictures) >= self.most or self._bytes >= MOST_BYTES

    @property
    def ids(self) -> Set[str]:
        """Ids of the pictures."""
        return self._numbers.keys()

    def pixels(self, id: str, read: Callable[[], Pixels] | None = None) -> Pixels | None:
        """Pixels of an item; None, and a word in `missing`, where they cannot be read."""
        if self.read is None or id in self.missing:
            return None
        try:
            return self.read(id) if read is None else read()
        except (UserError, ValueError, OSError, KeyError) as error:
            self.missing[id] = " ".join(str(error).split())
            return None

    def tile(
        self, id: str, words: str = "", *, name: str | None = None, read: Callable[[], Pixels] | None = None
    ) -> Tile:
        """The picture of an item, added if it is new and there is room. name: instead of the id. read: of its own."""
        number = self._numbers.get(id)
        if number is None and not self.is_full and (pixels := self.pixels(id, read)) is not None:
            picture = thumbnail(pixels)
            number = self._numbers[id] = len(self.pictures)
            self.pictures.append(picture)
            self._bytes += len(picture.uri)
        return Tile(id if name is None else name, number, words)


def thumbnail(pixels: Pixels) -> Thumbnail:
    """Shrink a picture (H, W, 3) to SIDE, as JPEG."""
    small = shrunk(pixels, SIDE)
    file = io.BytesIO()
    Image.fromarray(small).save(file, "JPEG", quality=QUALITY)
    uri = "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
    return Thumbnail(uri, small.shape[1], small.shape[0])


def shrunk(pixels: Pixels, side: int) -> Pixels:
    """Shrink a picture (H, W, 3), if it is larger, so that its longer side is `side`."""
    scale = side / max(pixels.shape[:2])
    if scale >= 1:
        return np.ascontiguousarray(pixels)
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    return np.asarray(cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA), np.uint8)


def look(pixels: Pixels) -> tuple[float, float]:
    """(brightness in 0 … 1, sharpness): mean grey, and the share of edges' variance that a blur by 1 pixel removes.

    Sharpness is the variance of the Laplacian over that of the grey levels, so that contrast does not matter
    (Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy"). What whole numbers alone would give is
    taken off, since in a flat, blurred picture it is most of it.
    """
    grey = cv2.cvtColor(shrunk(pixels, LOOK_SIDE * 2), cv2.COLOR_RGB2GRAY).astype(np.float32)
    edges = max(float(cv2.Laplacian(grey, cv2.CV_32F).var()) - ROUNDING, 0.0)
    return float(grey.mean()) / 255, edges / (float(grey.var()) + 1.0)


# --- readers -------------------------------------------------------------------------------------------------------


def picture_reader(
    rows: pd.DataFrame, root: Path, competition: CompetitionOptions, cache: PixelCache | None, bits: int | None
) -> Reader:
    """Make a function from keys of `rows` (`with_keys`) to pixels. cache: of decoded images; None for none."""
    places: dict[str, Any] = {str(row.key): row for row in with_keys(rows).itertuples()}

    def read(id: str) -> Pixels:
        row = places[id]
        if competition.kind == "image":
            return read_image(root / row.path, getattr(row, "sha256", None), cache, bits)
        return read_picture(root / row.path, competition, middle_of(row))

    return read


def with_keys(rows: pd.DataFrame) -> pd.DataFrame:
    """Add the column `key`: the id or, of a test row whose id a training row has, another name."""
    ids, is_train = rows["id"].astype(str), rows["split"] == "train"
    return rows.assign(key=ids.where(is_train | ~ids.isin(set(ids[is_train])), "test " + ids))


def middle_of(row: Any) -> float | None:
    """Seconds of the middle of an annotated piece or frame; None for a whole item."""
    start, end = getattr(row, "start", None), getattr(row, "end", None)
    return None if start is None or end is None or start != start else float(start + end) / 2


def read_image(path: Path, digest: str | None, cache: PixelCache | None, bits: int | None) -> Pixels:
    """Pixels of an image, from the cache or its file. Raises UserError for another file than was prepared."""
    if cache is not None and digest and (stored := cache.get(digest)) is not None:
        return as_picture(stored)
    data = read_image_bytes(path)
    if digest and hashlib.sha256(data).hexdigest() != digest:
        raise UserError(f"{path} has other bytes than the file that was prepared")
    return decode_picture(data, inspect(data), short_side=SIDE, bits=bits)[0]
