"""Samples that use fewer bits than they have, such as 12-bit camera data in 16-bit files, and transparent colours.

The header decides where it gives the number of used bits: sBIT of a PNG, MaxSampleValue of a TIFF, the maximum value
of a PGM or PPM. Otherwise it is the smallest usual depth that holds the maximum: of all images of a competition, so
that dark ones of the same camera stay dark, or of a single image. Images that use all bits are left unchanged.
"""

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kagglepipe.images.pixel_table import LARGEST, NPY, USUAL_BITS, read_array, read_array_header, read_image_bytes

BITS_PER_SAMPLE, MAX_SAMPLE_VALUE = 258, 281  # tags of TIFF
MAY_BE_16_BIT = (  # first bytes
    b"II*\0", b"MM\0*", b"P2", b"P3", b"P5", b"P6", b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51", NPY,
)  # fmt: skip

GROUP = 4  # channels that OpenCV resizes in any way
FOURTH_CHANNEL = ("RGBA", "RGBa", "RGBX", "LA", "La", "PA")  # Pillow's modes of files that have one
GREY = ("1", "L", "I", "F")  # beginnings of Pillow's modes with one channel
ARRAY_MODE = "channels"  # "5 channels": mode of an array, where Pillow has no word for it

Pixels = NDArray[Any]  # (H, W, C) uint8 or uint16; RGB unless a `PixelFormat` says otherwise
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
        if (header := read_array_header(data)) is not None:
            return bits_in_use(read_array(data), EIGHT_BITS, None) if header.bits == 16 else None
        with Image.open(io.BytesIO(data)) as image:
            depth = read_depth(data, image)
    except Exception:  # of damage, Pillow's readers raise anything; the decoding that follows reports it
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


def read_samples(data: bytes) -> Samples | None:
    """Decode to samples (H, W, channels) uint16, colours as RGB; None if it has no 16 bits or cannot be decoded."""
    samples = _decode_16_bit(data)
    if samples is None or samples.shape[2] < 3:
        return samples
    return samples[..., [2, 1, 0, *range(3, samples.shape[2])]]


def read_four_channels(data: bytes) -> Pixels | None:
    """Decode to RGB and the file's fourth channel, (H, W, 4) uint8, by Pillow, alpha not applied; None if it fails."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                return np.asarray(image if image.mode in ("RGBA", "RGBX") else image.convert("RGBA"))
    except Exception:  # of damage, Pillow raises anything; the caller turns None into an ImageError
        return None


def without_fourth(samples: Samples, used: int, *, transparent: bool) -> Samples:
    """Scale colours of (H, W, 4) that use some bits to 16, (H, W, 3); what is `transparent` by the fourth is white."""
    colour = (samples[..., :3] << (16 - used)).astype(np.uint64)
    alpha = samples[..., 3:].astype(np.uint64) if transparent else np.uint64(LARGEST)
    return ((colour * alpha + LARGEST * (LARGEST - alpha) + LARGEST // 2) // LARGEST).astype(np.uint16)


def bits_in_use(samples: Samples, depth: SampleDepth, bits: int | None) -> int:
    """Used bits of samples of uint8, or of uint16 by header, collection (`bits`) or maximum."""
    return 8 if samples.dtype == np.uint8 else _used_bits(int(samples.max()), depth.used, bits)


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
    if largest < 255 and int(pixels.max()) <= largest:
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


# --- other channels than RGB ---------------------------------------------------------------------------------------


class ChannelsError(ValueError):
    """A file has other channels than were asked for; the message goes on from the file's name."""


@dataclass(frozen=True)
class PixelFormat:
    """Decoded images are (H, W, channels).

    channels: 1 is grey, 3 RGB, 4 RGB with the file's alpha or fourth band; any other number must be the file's. bits: 8
    for uint8 with white at 255, 16 for uint16 with white at 65535.
    """

    channels: int = 3
    bits: int = 8

    @property
    def dtype(self) -> type[np.unsignedinteger[Any]]:
        """Of the samples."""
        return np.uint8 if self.bits == 8 else np.uint16

    @property
    def bytes(self) -> int:
        """Of a pixel."""
        return self.channels * self.bits // 8

    @property
    def suffix(self) -> str:
        """End of the names of caches: empty for RGB of 8 bits.

        >>> PixelFormat().suffix, PixelFormat(5).suffix, PixelFormat(1, 16).suffix
        ('', '-5-channels', '-1-channels-16-bits')
        """
        channels = "" if self.channels == 3 else f"-{self.channels}-channels"
        return channels + ("" if self.bits == 8 else f"-{self.bits}-bits")


RGB = PixelFormat()


def channels_of(mode: str) -> int:
    """Number of channels of a file with this mode of Pillow's, or of an array.

    >>> [channels_of(mode) for mode in ("L", "I;16", "RGB", "P", "RGBA", "13 channels")]
    [1, 1, 3, 3, 4, 13]
    """
    if mode.endswith(ARRAY_MODE):
        return int(mode.split()[0])
    return 4 if mode in FOURTH_CHANNEL else 1 if mode.split(";")[0] in GREY else 3


def check_channels(mode: str, form: PixelFormat) -> None:
    """Raise ChannelsError unless a file of this mode can be decoded to `form`.

    Grey and colours are converted to one another, as is alpha, over white; channels are not made up, nor left out.
    """
    found, needed = channels_of(mode), form.channels
    is_picture = not mode.endswith(ARRAY_MODE) or found in (1, 3)
    if found == needed or (is_picture and needed in (1, 3)):
        return
    noun = "channel" if found == 1 else "channels"
    raise ChannelsError(f"has {found} {noun}, model.in_chans={needed} needs {needed}: type model.in_chans={found}")


def to_format(samples: Pixels, form: PixelFormat, used: int) -> Pixels:
    """Convert samples (H, W, N) of uint8 or uint16 to `form`: bits are scaled, grey is repeated, colours are averaged.

    used: bits of a uint16 sample that are in use; the highest of them becomes the highest of the result.
    """
    samples = scaled_bits(samples, form.bits, used)
    if samples.shape[2] == form.channels:
        return samples
    if form.channels == 1:  # by BT.601, as Pillow's mode L
        return cv2.cvtColor(np.ascontiguousarray(samples), cv2.COLOR_RGB2GRAY)[..., None]
    assert samples.shape[2] == 1
    return np.repeat(samples[..., :1], form.channels, axis=2)


def scaled_bits(samples: Pixels, bits: int, used: int) -> Pixels:
    """Scale samples of uint8, or of uint16 that use some bits, to `bits`, 8 or 16.

    >>> [int(scaled_bits(np.full(1, 4095, np.uint16), bits, used=12)[0]) for bits in (8, 16)]
    [255, 65520]
    """
    if samples.dtype == np.uint8:
        return samples if bits == 8 else samples.astype(np.uint16) * 257
    return (samples >> (used - 8)).astype(np.uint8) if bits == 8 else samples << (16 - used)


def as_picture(image: Pixels) -> Pixels:
    """Convert an image (H, W, C) of any format to one to look at, (H, W, 3) uint8: its first three channels, or one."""
    kept = image[..., : 3 if image.shape[2] >= 3 else 1]
    return to_format(kept, RGB, used=16)


def resized(image: Pixels, size: tuple[int, int], interpolation: int) -> Pixels:
    """Resize an image (H, W, C) to `size` (width, height) by OpenCV, GROUP channels at a time -> (height, width, C)."""
    if image.shape[2] <= GROUP:
        return cv2.resize(image, size, interpolation=interpolation).reshape(size[1], size[0], -1)
    groups = (np.ascontiguousarray(image[..., first : first + GROUP]) for first in range(0, image.shape[2], GROUP))
    parts = [cv2.resize(group, size, interpolation=interpolation).reshape(size[1], size[0], -1) for group in groups]
    return np.concatenate(parts, axis=2)
