"""Images that are numbers: rows of a CSV, NumPy's arrays, TIFFs of many channels by tifffile (extra `multispectral`).

In the rows of a CSV: row 12 of `train.csv` is the virtual file `train.csv/12.pgm`.

PGM and PPM are the simplest formats of images, so whatever reads files reads rows as well.
"""

import io
import math
import re
import threading
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from kagglepipe.competitions.item_tables import pixel_columns, read_header
from kagglepipe.errors import UserError
from kagglepipe.images.dicom import dicom_as_netpbm

Pixels = NDArray[np.uint8] | NDArray[np.uint16]  # (N, side, side, 1 or 3)
USUAL_BITS = (8, 10, 12, 14, 16)  # of a sample
LARGEST = np.iinfo(np.uint16).max
CHUNK_ROWS = 4096  # rows that pandas parses at a time: it takes several times the memory of the numbers
PLANES_ARE_SMOOTHER = 0.7  # of the vertical differences between interleaved colours
NEEDED = "give whole numbers from 0 to 65535, or fractions of 1"
DICOM_HEAD = 132  # bytes, which end in DICM
NPY = b"\x93NUMPY"
TIFF = (b"II*\0", b"MM\0*")
SAMPLES_PER_PIXEL, PHOTOMETRIC = 277, 262  # tags of TIFF
GREYS = (0, 1)  # photometric interpretations: white is zero, black is zero
MAX_BYTES = 2 * 10**9  # of one decoded image

Samples = NDArray[np.unsignedinteger[Any]]  # (H, W, C) uint8 or uint16
MOST_CHANNELS = 128  # of OpenCV's pictures
_lock = threading.Lock()  # threads that ask for the first image at once parse one table


def read_image_bytes(path: Path, size: int = -1) -> bytes:
    """Read an image file, or the row of a table of pixels at `TABLE/NUMBER.pgm`, as bytes of an image.

    A DICOM is converted to PGM or PPM. size: bytes to read from its beginning; -1: all.
    Raises OSError for a missing file or row or an unusable DICOM, UserError for cells that are no pixels.
    """
    try:
        with path.open("rb", buffering=0) as file:
            data = file.read(size if size < 0 else max(size, DICOM_HEAD))
            if data[:DICOM_HEAD].endswith(b"DICM"):
                data = dicom_as_netpbm(data + file.read())
        return data[: None if size < 0 else size]
    except OSError:
        if not path.parent.is_file():
            raise
    images, largest = _table(path.parent)
    if not path.stem.isdecimal() or not 1 <= int(path.stem) <= len(images):
        raise FileNotFoundError(2, "there is no such row", str(path))
    return as_netpbm(images[int(path.stem) - 1], largest)[: None if size < 0 else size]


def as_netpbm(image: Pixels, largest: int) -> bytes:
    r"""Write an image (H, W, 1 or 3) of uint8 or uint16 as PGM or PPM. largest: value that is white.

    >>> as_netpbm(np.zeros((2, 1, 1), np.uint8), 255)
    b'P5 1 2 255\n\x00\x00'
    """
    height, width, channels = image.shape
    header = f"P{5 if channels == 1 else 6} {width} {height} {largest}\n"
    return header.encode() + image.astype(image.dtype.newbyteorder(">")).tobytes()


def read_pixels(path: Path) -> Pixels:
    """Read all images of a table of pixels, (N, side, side, 1 or 3): uint8, or uint16 for values above 255.

    Pixels go row by row, in the order of the numbers in the columns' names, or of those in a cell. Values from 0 to 1
    are scaled to 255. Three colours are interleaved or, where that is clearly smoother, in three planes, red first.
    Raises UserError for cells that are no pixels.
    """
    separator, header = read_header(path)
    columns = pixel_columns(header)
    if not columns:
        raise UserError(f"{path} has no columns of 49 or more pixels, as pixel0 to pixel783")
    places = [header.index(column) for column in sorted(columns, key=_number)]
    is_in_one = len(columns) == 1
    values = (_read_cells if is_in_one else _read_numbers)(path, header, places, separator)
    if not len(values):
        raise UserError(f"{path} has columns of pixels and no rows")
    lowest, highest = values.min(), values.max()  # NaN if any is
    if not (lowest >= 0 and highest <= LARGEST):
        if is_in_one:
            span = f"{lowest:.10g} to {highest:.10g}"
            raise UserError(f"{path} has pixels from {span} in its column {columns[0]}: {NEEDED}")
        raise _bad_cell(path, header, places, separator)
    if highest <= 1:
        values *= 255
        np.rint(values, out=values)
    elif any((row % 1).any() for row in values):
        raise UserError(f"{path} has pixels with fractions, and up to {highest:.10g}: {NEEDED}")
    is_deep = highest > np.iinfo(np.uint8).max
    samples: Pixels = values.astype(np.uint16) if is_deep else values.astype(np.uint8)
    if (side := int(np.sqrt(samples.shape[1]))) ** 2 == samples.shape[1]:
        return samples.reshape(-1, side, side, 1)
    return _in_colour(samples)


def _number(column: str) -> list[int]:
    """The number at the end of a column's name, or two.

    >>> _number("pixel12"), _number("8x28")
    ([12], [8, 28])
    """
    match = re.search(r"\d+(x\d+)?$", column)
    return [int(part) for part in match[0].split("x")] if match else []


def _read_numbers(path: Path, header: Sequence[str], places: Sequence[int], separator: str) -> NDArray[np.float32]:
    """Read the columns at `places` (N, P). Raises UserError for a cell with a text."""
    parts = [np.zeros((0, len(places)), np.float32)]
    try:
        with np.errstate(over="ignore"):  # 1e99 becomes infinite, and is refused
            for chunk in _chunks(path, header, dict.fromkeys(places, np.float32), separator):
                if not isinstance(chunk.index, pd.RangeIndex):  # the first cells of all rows were taken for an index
                    raise UserError(f"{path} has more cells in its rows than names in its header")
                parts.append(chunk[places].to_numpy())
    except pd.errors.ParserError as error:  # a row with more cells than the header
        raise UserError(f"{path} cannot be read as a CSV ({str(error).strip()})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error.reason}): save it as UTF-8") from error
    except ValueError as error:
        raise _bad_cell(path, header, places, separator) from error
    except (EOFError, zlib.error, zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{path} is damaged or cut short ({error}): download it again") from error
    return np.concatenate(parts)


def _read_cells(path: Path, header: Sequence[str], places: Sequence[int], separator: str) -> NDArray[np.float32]:
    """Read the grey images of a column whose cells have all their pixels (N, P). Raises UserError for other cells."""
    parts: list[NDArray[np.float32]] = []
    place = places[0]
    try:
        for chunk in _chunks(path, header, {}, separator):
            for row, cell in zip(chunk.index.tolist(), chunk[place].fillna("").tolist(), strict=True):
                parts.append(_parse_cell(cell, f"{path}, line {row + 2}, column {header[place]}"))
    except pd.errors.ParserError as error:
        raise UserError(f"{path} cannot be read as a CSV ({str(error).strip()})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error.reason}): save it as UTF-8") from error
    except (EOFError, zlib.error, zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{path} is damaged or cut short ({error}): download it again") from error
    if odd := next((row for row, part in enumerate(parts) if len(part) != len(parts[0])), None):
        raise UserError(
            f"{path}, line {odd + 2}, has {len(parts[odd])} pixels, line 2 has {len(parts[0])}: needed are images of "
            "one size"
        )
    return np.stack(parts) if parts else np.zeros((0, 1), np.float32)


def _parse_cell(cell: str, where: str) -> NDArray[np.float32]:
    """The pixels of a cell (P,). Raises UserError for a word that is no number, and unless they fill a square.

    >>> _parse_cell("0 255 7 1", "").tolist()
    [0.0, 255.0, 7.0, 1.0]
    """
    words = cell.split()
    try:
        pixels = np.array(words, np.float32)
    except ValueError as error:
        raise UserError(f"{where} has {cell[:40]!r}, which are no numbers: {NEEDED}, separated by blanks") from error
    if not words or int(np.sqrt(len(words))) ** 2 != len(words):
        raise UserError(f"{where} has {len(words)} pixels, which fill no square: give grey images as 48 by 48")
    return pixels


def _chunks(path: Path, header: Sequence[str], dtypes: dict[int, Any], separator: str) -> Iterator[pd.DataFrame]:
    """Read a CSV with its columns numbered, CHUNK_ROWS rows at a time. dtypes: of some; the others are text."""
    names = range(len(header))
    yield from pd.read_csv(
        path, sep=separator, header=0, names=names, dtype={name: dtypes.get(name, str) for name in names},
        encoding="utf-8-sig", chunksize=CHUNK_ROWS,
    )  # fmt: skip


def _bad_cell(path: Path, header: Sequence[str], places: Sequence[int], separator: str) -> UserError:
    """The error that names the first cell which is no pixel."""
    for chunk in _chunks(path, header, dict.fromkeys(places, str), separator):
        values = chunk[list(places)].apply(pd.to_numeric, errors="coerce")
        wrong = ~((values >= 0) & (values <= LARGEST)).to_numpy()
        if wrong.any():
            row, column = np.argwhere(wrong)[0].tolist()
            cell, line = chunk[places[column]].iloc[row], chunk.index.tolist()[row] + 2
            what = "an empty cell" if pd.isna(cell) else repr(cell[:40])
            return UserError(f"{path} has {what} in line {line}, column {header[places[column]]}: {NEEDED}")
    return UserError(f"{path} has a cell among its pixels that is no number: {NEEDED}")


def _in_colour(samples: Pixels) -> Pixels:
    """Reshape colours (N, 3·side²) to (N, side, side, 3): of the two usual orders that which varies less downwards.

    >>> plane = np.repeat(np.arange(8, dtype=np.uint8), 8)  # grows downwards
    >>> planes = np.concatenate([plane, plane + 50, plane + 100])[None]
    >>> interleaved = planes.reshape(1, 3, 64).transpose(0, 2, 1).reshape(1, 192)
    >>> bool((_in_colour(planes) == _in_colour(interleaved)).all())
    True
    """
    side = int(np.sqrt(samples.shape[1] // 3))
    interleaved = samples.reshape(-1, side, side, 3)
    planes = samples.reshape(-1, 3, side, side).transpose(0, 2, 3, 1)
    shown = slice(0, CHUNK_ROWS)
    steps = [np.abs(np.diff(images[shown].astype(np.float32), axis=1)).sum() for images in (interleaved, planes)]
    return planes if steps[1] < PLANES_ARE_SMOOTHER * steps[0] else interleaved


def _table(path: Path) -> tuple[Pixels, int]:
    """(the images of a table, parsed once for each state of the file, their largest value at a usual depth)."""
    with _lock:
        return _parsed(path, path.stat().st_mtime_ns, path.stat().st_size)


@lru_cache(maxsize=4)
def _parsed(path: Path, _mtime_ns: int, _size: int) -> tuple[Pixels, int]:
    images = read_pixels(path)
    return images, 2 ** next(bits for bits in USUAL_BITS if images.max() < 2**bits) - 1


# --- arrays of any number of channels ------------------------------------------------------------------------------


class ArrayHeader(NamedTuple):
    """Height, width and channels of an array, the bits of a sample, and the file's format."""

    height: int
    width: int
    channels: int
    bits: int
    format: str


def read_array_header(data: bytes) -> ArrayHeader | None:
    """Read the header of an array; None for any other file. Raises ValueError, with the reason, for an unusable one."""
    found = _opened(data)
    if found is None:
        return None
    shape, dtype, format, _ = found
    return ArrayHeader(*_in_order(shape), 8 * dtype.itemsize, format)


def read_array(data: bytes) -> Samples:
    """Read an array as (H, W, C) uint8 or uint16. Raises ValueError as `read_array_header`, and for damaged data."""
    found = _opened(data)
    if found is None:
        raise ValueError("it is no array")
    shape, dtype, format, read = found
    try:
        values = read().reshape(shape).astype(dtype.newbyteorder("="), copy=False)
    except Exception as error:  # of damage, tifffile raises anything
        raise ValueError(f"damaged or truncated: its {format} data cannot be read ({_short(error)})") from error
    values = values[..., None] if values.ndim == 2 else values
    height, width, channels = _in_order(shape)
    return np.ascontiguousarray(values if values.shape == (height, width, channels) else values.transpose(1, 2, 0))


def _opened(data: bytes) -> tuple[tuple[int, ...], np.dtype[Any], str, Callable[[], NDArray[Any]]] | None:
    """(shape, dtype, format, a function that reads the values), checked; None for other files."""
    if data.startswith(NPY):
        found = _open_npy(data)
    elif data.startswith(TIFF) and (samples := _samples_per_pixel(data)):
        found = _open_tiff(data, samples)
    else:
        return None
    shape, dtype, format, _ = found
    if dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        raise ValueError(f"its {format} values are {dtype.name}, whose range is unknown: save them as uint8 or uint16")
    if len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(f"its {format} has the shape {shape}: an image is (H, W), (H, W, C) or (C, H, W)")
    if (channels := _in_order(shape)[2]) > MOST_CHANNELS:
        raise ValueError(f"it has {channels} channels; the limit is {MOST_CHANNELS}")
    if math.prod(shape) * dtype.itemsize > MAX_BYTES:
        raise ValueError(f"its {format} holds {shape} values; the limit is {MAX_BYTES // 10**9} GB")
    return found


def _in_order(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(height, width, channels) of an array: channels are last, unless the first axis is shorter than the last.

    >>> _in_order((64, 48, 5)), _in_order((5, 64, 48)), _in_order((64, 48))
    ((64, 48, 5), (64, 48, 5), (64, 48, 1))
    """
    if len(shape) == 2:
        return shape[0], shape[1], 1
    if shape[0] < shape[2]:
        return shape[1], shape[2], shape[0]
    return shape[0], shape[1], shape[2]


def _open_npy(data: bytes) -> tuple[tuple[int, ...], np.dtype[Any], str, Callable[[], NDArray[Any]]]:
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
    except Exception as error:  # numpy evaluates the header: a damaged one raises anything
        raise ValueError(f"damaged header ({_short(error)})") from error
    return shape, dtype, "NPY", lambda: np.load(io.BytesIO(data), allow_pickle=False)


def _samples_per_pixel(data: bytes) -> int:
    """Channels of a TIFF that only tifffile reads: more than four, or more than two without a colour space; else 0."""
    try:
        stream = io.BytesIO(data)
        directory = ImageFileDirectory_v2(stream.read(8))
        stream.seek(directory.next)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damage, which the reader reports
            directory.load(stream)
            samples = int(directory.get(SAMPLES_PER_PIXEL, 1))
            return samples if samples > (2 if directory.get(PHOTOMETRIC) in GREYS else 4) else 0
    except Exception:  # of damage, Pillow raises anything; its own reader reports why
        return 0


def _open_tiff(data: bytes, samples: int) -> tuple[tuple[int, ...], np.dtype[Any], str, Callable[[], NDArray[Any]]]:
    if find_spec("tifffile") is None:
        raise ValueError(
            f"it is a TIFF of {samples} channels: type pip install 'kagglepipe[multispectral]', or save it as .npy"
        )
    import tifffile

    try:
        file = tifffile.TiffFile(io.BytesIO(data))
        page, pages = file.pages[0], len(file.pages)
    except Exception as error:  # of damage, tifffile raises anything
        raise ValueError(f"damaged header ({_short(error)})") from error
    if pages > 1:
        raise ValueError(f"it is a multi-page TIFF ({pages} pages): one still picture is needed, save the one meant")
    return tuple(page.shape), np.dtype(page.dtype), "TIFF", page.asarray


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:100] or type(error).__name__
