"""Samples that use fewer bits than they have, such as 12-bit camera data in 16-bit files, and transparent colours.

The header decides where it gives the number of used bits: sBIT of a PNG, MaxSampleValue of a TIFF, the maximum value
of a PGM or PPM. Otherwise it is the smallest usual depth that holds the maximum: of all images of a competition, so
that dark ones of the same camera stay dark, or of a single image. Images that use all bits are left unchanged.
"""

import io
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kagglepipe.images.pixel_table import USUAL_BITS, read_image_bytes

BITS_PER_SAMPLE, MAX_SAMPLE_VALUE = 258, 281  # tags of TIFF
MAY_BE_16_BIT = (b"II*\0", b"MM\0*", b"P2", b"P3", b"P5", b"P6", b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51")  # first bytes

Pixels = NDArray[np.uint8]  # (H, W, 3), RGB
Samples = NDArray[np.unsignedinteger[Any]]  # (H, W, channels)


class SampleDepth(NamedTuple):
    """Bits of a sample.

    used: significant bits by the header; None if it does not give them. clear: the transparent grey (1) or RGB (3)
    sample of a PNG. max_value: largest sample of a PGM or PPM by its header, if its bits could hold a larger one.
    """

    bits: int = 8
    used: int | None = None
    clear: tuple[int, ...] | None = None
    max_value: int | None = None


EIGHT_BITS = SampleDepth()


def read_depth(data: bytes, image: Image.Image) -> SampleDepth:
    """Read the sample depth from the header of an opened image."""
    if image.format == "PNG":
        return _png_depth(data, image)
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        largest = int(np.max(tags.get(MAX_SAMPLE_VALUE, 0)))
        return SampleDepth(int(np.max(tags.get(BITS_PER_SAMPLE, 1))), largest.bit_length() or None)
    if image.format == "PPM":
        return _pnm_depth(image)
    if image.format == "JPEG2000":  # OpenCV scales by the declared precision, so only 16 bits hide how many are used
        at = data.find(b"\xff\x51") + 40
        return SampleDepth((data[at] & 127) + 1 if 40 <= at < len(data) else 8)
    return EIGHT_BITS


def _png_depth(data: bytes, image: Image.Image) -> SampleDepth:
    bits, colour_type = data[24], data[25]
    significant = _png_chunk(data, b"sBIT")
    used = max(significant[: 3 if colour_type & 2 else 1]) if significant and bits == 16 else None
    clear = image.info.get("transparency")
    if colour_type not in (0, 2) or bits in (1, 8) or clear is None:  # Pillow decodes the others correctly
        return SampleDepth(bits, used)
    return SampleDepth(bits, used, clear if isinstance(clear, tuple) else (clear,))


def _png_chunk(data: bytes, name: bytes) -> bytes | None:
    """Read a chunk before the pixel data; None if there is none."""
    at = 8
    while at + 8 <= len(data) and (kind := data[at + 4 : at + 8]) != b"IDAT":
        length = int.from_bytes(data[at : at + 4], "big")
        if kind == name:
            return data[at + 8 : at + 8 + length]
        at += 12 + length
    return None


def _pnm_depth(image: Image.Image) -> SampleDepth:
    tiles = getattr(image, "tile", [])
    arguments = tiles[0][3] if tiles else None
    largest = arguments[1] if isinstance(arguments, tuple) and isinstance(arguments[1], int) else None
    if largest is None:
        return SampleDepth(16 if isinstance(arguments, str) and "16" in arguments else 8)
    bits = largest.bit_length()
    return SampleDepth(16 if largest > 255 else 8, bits, max_value=None if largest == 2**bits - 1 else largest)


def estimate_used_bits(path: Path) -> int | None:
    """Estimate the used bits of a 16-bit image: the smallest usual depth that holds its maximum.

    None for other images, for those whose header gives the used bits, and for files that cannot be read: their
    decoding reports why.
    """
    try:
        head = read_image_bytes(path, 26)
        if not (head.startswith(MAY_BE_16_BIT) or (head[1:4] == b"PNG" and head[24:25] == b"\x10")):
            return None
        data = read_image_bytes(path)
        with Image.open(io.BytesIO(data)) as image:
            depth = read_depth(data, image)
    except Exception:  # of damage, Pillow's readers raise anything
        return None
    if depth.bits < 16 or depth.used is not None or (samples := _decode_16_bit(data)) is None:
        return None
    return _used_bits(int(samples[..., :3].max()), None, None)


def _decode_16_bit(data: bytes) -> Samples | None:
    """Decode to samples (H, W, channels) uint16, colours as BGR; None if it has no 16 bits or cannot be decoded."""
    samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None or samples.dtype != np.uint16:
        return None
    return samples.reshape(*samples.shape[:2], -1)


def apply_depth(
    data: bytes, pixels: Pixels, depth: SampleDepth, *, transparent: bool, bits: int | None = None
) -> Pixels | None:
    """Scale used levels to 0…255 and make transparent colours white, as RGB (H, W, 3); None if `pixels` are right.

    pixels: as OpenCV decodes them, which keeps the upper 8 of 16 bits. transparent: whether the file has an alpha
    channel or `depth.clear`. bits: used bits of the collection, for images whose header does not give them.
    """
    if depth.bits < 16:
        return _apply_8_bit_depth(pixels, depth)
    samples = _decode_16_bit(data)
    if samples is None or samples.shape[:2] != pixels.shape[:2]:
        return None
    if depth.max_value is not None and int(samples.max()) <= depth.max_value:
        return _to_rgb((samples.astype(np.uint32) * 255 // depth.max_value).astype(np.uint8))
    colour, alpha = samples[..., :3], samples[..., 3] if samples.shape[2] == 4 else None
    used = _used_bits(int(colour.max()), depth.used, bits)
    if used == 16 and depth.clear is None:
        return None
    rgb = pixels if used == 16 else _to_rgb((colour >> (used - 8)).astype(np.uint8))
    if depth.clear is not None:
        return _whiten(rgb, (colour == depth.clear[::-1]).all(axis=2))
    if alpha is not None and transparent:
        opaque = (alpha >> 8).astype(np.uint32)[..., None]
        rgb = ((rgb * opaque + 255 * (255 - opaque) + 127) // 255).astype(np.uint8)
    return rgb


def _apply_8_bit_depth(pixels: Pixels, depth: SampleDepth) -> Pixels | None:
    """`apply_depth` to pixels (H, W, 3) of 8 bits and fewer, which OpenCV scales to 0…255 except in a PGM."""
    if depth.clear is not None:
        return _whiten(pixels, (pixels == depth.clear[0] * 255 // (2**depth.bits - 1)).all(axis=2))
    largest = depth.max_value or (2**depth.used - 1 if depth.bits == 8 and depth.used is not None else 255)
    if int(pixels.max()) <= largest < 255:
        return (pixels.astype(np.uint16) * 255 // largest).astype(np.uint8)
    return None


def _used_bits(largest: int, declared: int | None, collection: int | None) -> int:
    """Used bits of 16, from an image's maximum and those that its header declares or its collection uses.

    >>> _used_bits(4095, None, None), _used_bits(900, 12, 10), _used_bits(5000, 12, None)
    (12, 12, 16)
    >>> _used_bits(900, None, 12), _used_bits(5000, None, 12)
    (12, 14)
    """
    if declared is not None:
        return max(declared, 8) if largest < 2 ** max(declared, 8) else 16
    return next(bits for bits in USUAL_BITS if largest < 2**bits and bits >= (collection or 8))


def _to_rgb(samples: Pixels) -> Pixels:
    """Convert grey (H, W, 1) or BGR (H, W, 3) to RGB."""
    return np.repeat(samples, 3, axis=2) if samples.shape[2] == 1 else np.ascontiguousarray(samples[..., ::-1])


def _whiten(pixels: Pixels, clear: NDArray[np.bool_]) -> Pixels:
    """Make the pixels of a mask (H, W) white."""
    return np.where(clear[..., None], np.uint8(255), pixels)
