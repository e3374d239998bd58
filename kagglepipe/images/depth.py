"""Samples that use fewer bits than they have, as of cameras and scanners with 12 bits in 16, and levels that are clear.

Where the header tells how many bits are in use, that counts: sBIT of a PNG, MaxSampleValue of a TIFF, the largest value
of a PGM or PPM. Else it is the smallest usual depth that holds the largest value: of all pictures of a competition, so
that bright and dark ones of a camera stay so, or of a picture that is on its own. What uses all bits is left alone.
"""

import io
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

USUAL = (8, 10, 12, 14, 16)  # bits in use
BITS_PER_SAMPLE, MAX_SAMPLE_VALUE = 258, 281  # tags of TIFF

Pixels = NDArray[np.uint8]  # (H, W, 3), RGB
Samples = NDArray[np.unsignedinteger[Any]]  # (H, W, channels)


class Depth(NamedTuple):
    """bits: of a sample. used: how many of them are in use as the header tells, None where it does not. clear: the
    sample (of grey) or samples (of RGB) that a PNG says are transparent. most: the largest sample of a PGM or PPM, by
    its header, where its bits could hold a larger one.
    """

    bits: int = 8
    used: int | None = None
    clear: tuple[int, ...] | None = None
    most: int | None = None


EIGHT_BITS = Depth()


def depth_of(data: bytes, image: Image.Image) -> Depth:
    """What the header of an opened image says of its samples."""
    if image.format == "PNG":
        return _of_png(data, image)
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        most = int(np.max(tags.get(MAX_SAMPLE_VALUE, 0)))
        return Depth(int(np.max(tags.get(BITS_PER_SAMPLE, 1))), most.bit_length() or None)
    if image.format == "PPM":
        return _of_pnm(image)
    if image.format == "JPEG2000":  # OpenCV shifts by the precision that is told: only 16 bits hide how many are in use
        at = data.find(b"\xff\x51") + 40
        return Depth((data[at] & 127) + 1 if 40 <= at < len(data) else 8)
    return EIGHT_BITS


def _of_png(data: bytes, image: Image.Image) -> Depth:
    bits, colour_type = data[24], data[25]
    significant = _png_chunk(data, b"sBIT")
    used = max(significant[: 3 if colour_type & 2 else 1]) if significant and bits == 16 else None
    clear = image.info.get("transparency")
    if colour_type not in (0, 2) or bits in (1, 8) or clear is None:  # Pillow has the others right
        return Depth(bits, used)
    return Depth(bits, used, clear if isinstance(clear, tuple) else (clear,))


def _png_chunk(data: bytes, name: bytes) -> bytes | None:
    """What a chunk before the pixels holds; None: it is not there."""
    at = 8
    while at + 8 <= len(data) and (kind := data[at + 4 : at + 8]) != b"IDAT":
        length = int.from_bytes(data[at : at + 4], "big")
        if kind == name:
            return data[at + 8 : at + 8 + length]
        at += 12 + length
    return None


def _of_pnm(image: Image.Image) -> Depth:
    tiles = getattr(image, "tile", [])
    arguments = tiles[0][3] if tiles else None
    most = arguments[1] if isinstance(arguments, tuple) and isinstance(arguments[1], int) else None
    if most is None:
        return Depth(16 if isinstance(arguments, str) and "16" in arguments else 8)
    bits = most.bit_length()
    return Depth(16 if most > 255 else 8, bits, most=None if most == 2**bits - 1 else most)


SIXTEEN = (b"II*\0", b"MM\0*", b"P2", b"P3", b"P5", b"P6", b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51")  # may have 16 bits


def bits_in_use(path: Path) -> int | None:
    """The usual depth that holds a picture's largest value; None if it has not 16 bits, or its header tells the depth.

    A file that cannot be read has none: whoever decodes it says why.
    """
    try:
        with path.open("rb") as file:
            head = file.read(26)
        if not (head.startswith(SIXTEEN) or (head[1:4] == b"PNG" and head[24:25] == b"\x10")):
            return None
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            depth = depth_of(data, image)
    except Exception:  # of damage, Pillow's readers raise anything
        return None
    if depth.bits < 16 or depth.used is not None or (samples := _samples(data)) is None:
        return None
    return _used_bits(int(samples[..., :3].max()), None, None)


def _samples(data: bytes) -> Samples | None:
    """Samples (H, W, channels) of 16 bits, colours as blue, green, red, as they are in the file; None if that fails."""
    samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None or samples.dtype != np.uint16:
        return None
    return samples.reshape(*samples.shape[:2], -1)


def by_depth(data: bytes, pixels: Pixels, depth: Depth, *, transparent: bool, bits: int | None = None) -> Pixels | None:
    """The upright or lying pixels (H, W, 3) with all levels that are in use, clear ones white; None: they are right.

    pixels: what OpenCV makes of them, which keeps the upper eight bits of sixteen. transparent: whether the file has
    an alpha channel or `depth.clear`. bits: those that pictures of its kind use, where the header tells nothing.
    """
    if depth.bits < 16:
        return _by_few_bits(pixels, depth)
    samples = _samples(data)
    if samples is None or samples.shape[:2] != pixels.shape[:2]:
        return None
    if depth.most is not None and int(samples.max()) <= depth.most:
        return _as_rgb((samples.astype(np.uint32) * 255 // depth.most).astype(np.uint8))
    colour, alpha = samples[..., :3], samples[..., 3] if samples.shape[2] == 4 else None
    used = _used_bits(int(colour.max()), depth.used, bits)
    if used == 16 and depth.clear is None:
        return None
    narrow = pixels if used == 16 else _as_rgb((colour >> (used - 8)).astype(np.uint8))
    if depth.clear is not None:
        return _with_white(narrow, (colour == depth.clear[::-1]).all(axis=2))
    if alpha is not None and transparent:
        opaque = (alpha >> 8).astype(np.uint32)[..., None]
        narrow = ((narrow * opaque + 255 * (255 - opaque) + 127) // 255).astype(np.uint8)
    return narrow


def _by_few_bits(pixels: Pixels, depth: Depth) -> Pixels | None:
    """The same for samples of eight bits and less, which OpenCV spreads over 0 to 255, save those of a PGM."""
    if depth.clear is not None:
        return _with_white(pixels, (pixels == depth.clear[0] * 255 // (2**depth.bits - 1)).all(axis=2))
    most = depth.most or (2**depth.used - 1 if depth.bits == 8 and depth.used is not None else 255)
    if int(pixels.max()) <= most < 255:
        return (pixels.astype(np.uint16) * 255 // most).astype(np.uint8)
    return None


def _used_bits(largest: int, told: int | None, others: int | None) -> int:
    """The bits in use of sixteen, told by the header or used by other pictures, by a picture's largest value.

    >>> _used_bits(4095, None, None), _used_bits(900, 12, 10), _used_bits(5000, 12, None)
    (12, 12, 16)
    >>> _used_bits(900, None, 12), _used_bits(5000, None, 12)
    (12, 14)
    """
    if told is not None:
        return max(told, 8) if largest < 2 ** max(told, 8) else 16
    return next(bits for bits in USUAL if largest < 2**bits and bits >= (others or 8))


def _as_rgb(samples: Pixels) -> Pixels:
    """Of grey, or of OpenCV's blue, green, red."""
    return np.repeat(samples, 3, axis=2) if samples.shape[2] == 1 else np.ascontiguousarray(samples[..., ::-1])


def _with_white(pixels: Pixels, clear: NDArray[np.bool_]) -> Pixels:
    return np.where(clear[..., None], np.uint8(255), pixels)
