"""Images in the rows of a CSV: row 12 of `train.csv` is the virtual file `train.csv/12.pgm`.

PGM and PPM are the simplest formats of images, so whatever reads files reads rows as well.
"""

import threading
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.competitions.item_tables import pixel_columns, read_header
from kagglepipe.errors import UserError

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
_lock = threading.Lock()  # threads that ask for the first image at once parse one table


def read_image_bytes(path: Path) -> bytes:
    """Read an image file, or the row of a table of pixels at `TABLE/NUMBER.pgm`, as bytes of an image.

    Raises OSError for a missing file or row, UserError for cells that are no pixels.
    """
    try:
        return path.read_bytes()
    except NotADirectoryError:
        images = _table(path.parent)
        if not path.stem.isdecimal() or not 1 <= int(path.stem) <= len(images):
            raise FileNotFoundError(2, "there is no such row", str(path)) from None
        return as_netpbm(images[int(path.stem) - 1])


def as_netpbm(image: Pixels) -> bytes:
    r"""Write an image (H, W, 1 or 3) of uint8 or uint16 as PGM or PPM.

    >>> as_netpbm(np.zeros((2, 1, 1), np.uint8))
    b'P5 1 2 255\n\x00\x00'
    """
    height, width, channels = image.shape
    largest = np.iinfo(image.dtype).max
    header = f"P{5 if channels == 1 else 6} {width} {height} {largest}\n"
    return header.encode() + image.astype(image.dtype.newbyteorder(">")).tobytes()


def read_pixels(path: Path) -> Pixels:
    """Read all images of a table of pixels, (N, side, side, 1 or 3): uint8, or uint16 for values above 255.

    Values from 0 to 1 with fractions are scaled to 255. Raises UserError for cells that are no pixels.
    """
    separator, header = read_header(path)
    columns = pixel_columns(header)
    if not columns:
        raise UserError(f"{path} has no columns of pixels, as pixel0 to pixel783 of images of 28 by 28")
    try:
        rows = pd.read_csv(path, sep=separator, usecols=columns, dtype=np.float32, encoding="utf-8-sig")
    except ValueError as error:
        raise UserError(f"{path} has a cell among its pixels that is no number ({error})") from error
    values = rows[columns].to_numpy()
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
        raise UserError(f"{path} has pixels outside 0 to 65535, or empty ones: give whole numbers, or fractions of 1")
    if values.max() <= 1 and (values % 1).any():
        values *= 255
    elif (values % 1).any():
        raise UserError(f"{path} has pixels with fractions above 1: give whole numbers, or fractions of 1")
    channels = 1 if np.sqrt(len(columns)) % 1 == 0 else 3
    side = int(np.sqrt(len(columns) // channels))
    images = np.round(values).reshape(-1, side, side, channels)
    return images.astype(np.uint8) if values.max() <= np.iinfo(np.uint8).max else images.astype(np.uint16)


def _table(path: Path) -> Pixels:
    """The images of a table, parsed once for each state of the file."""
    with _lock:
        return _parsed(path, path.stat().st_mtime_ns, path.stat().st_size)


@lru_cache(maxsize=4)
def _parsed(path: Path, _mtime_ns: int, _size: int) -> Pixels:
    return read_pixels(path)
