"""Decode a file's bytes to upright RGB pixels, or raise one clear error.

Pillow reads the header (format, mode, orientation, frames). OpenCV decodes: it is about three times as fast, scales
large JPEGs down while decoding, and refuses truncated files, which Pillow would fill with grey.
"""

import io
import struct
import warnings
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from kagglepipe.images.depth import (
    ARRAY_MODE,
    EIGHT_BITS,
    RGB,
    PixelFormat,
    SampleDepth,
    apply_depth,
    as_picture,
    bits_in_use,
    channels_of,
    check_channels,
    read_depth,
    read_four_channels,
    read_samples,
    resized,
    to_format,
    without_fourth,
)
from kagglepipe.images.pixel_table import read_array, read_array_header

Pixels = NDArray[Any]  # (H, W, 3) uint8, RGB, unless a `PixelFormat` says otherwise

DECODER = "opencv-2"  # raise it when the same bytes would give other pixels: caches depend on it
DECODER_BY_DEPTH = "opencv-3"  # of images that opencv-2 decoded too dark, or transparent in the wrong places
DECODER_OF_ARRAYS = "opencv-4"  # of what the others refused: NumPy's arrays, TIFFs of many channels
MAX_SIDE = 20_000
MAX_PIXELS = 180_000_000  # half a gigabyte of memory while decoding
# of plain TIFFs, whose headers Pillow takes longer to read than OpenCV takes for small ones
TIFF_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES = 256, 257, 258, 259, 262, 277
TIFF_COMPRESSIONS = (1, 5, 8, 32773, 32946)  # none, LZW, deflate, PackBits, deflate
TIFF_MODES = {(1, 1): "L", (3, 2): "RGB"}  # by samples and photometric interpretation
USUAL_TAGS = {266: 1, 274: 1, 284: 1, 339: 1, BITS: 8}  # fill order, orientation, planes, sample format
OTHER_TAGS = {254, *range(269, 274), 278, 279, 282, 283, 296, 305, 306, 315, 316, 317}  # strips, resolution, names
TIFF_CODES = {3: "H", 4: "I"}  # types of numbers
MOST_VALUES = 4  # of a tag, to be looked at
EXIF_ORIENTATION = 274
MAY_TURN_PNG = (b"eXIf", b"Raw profile type", b"adobe.xmp")  # names of what may hold its orientation, also at the end
EXIF_TRANSFORMS = {  # EXIF orientation -> transform to upright
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: a.transpose(1, 0, 2)[::-1],
}
REDUCED_JPEG = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}
OPENCV_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "SUN", "TIFF", "WEBP")

UNUSUAL_TIFF = "a TIFF of an unusual sample type, such as floating-point colours"
UNSUPPORTED = (  # (offset, magic bytes, name) of formats that Pillow does not identify
    (4, b"ftyphei", "HEIC"), (4, b"ftyphev", "HEIC"), (4, b"ftypmif1", "HEIC"), (4, b"ftypmsf1", "HEIC"),
    (0, b"\xff\x0a", "JPEG XL"), (4, b"JXL ", "JPEG XL"), (0, b"II*\x00", UNUSUAL_TIFF), (0, b"MM\x00*", UNUSUAL_TIFF),
    (0, b"II+\x00", "BigTIFF"), (0, b"MM\x00+", "BigTIFF"), (0, b"II\xbc\x01", "JPEG XR"),
    (0, b"#?RADIANCE", "Radiance HDR"), (0, b"\x76\x2f\x31\x01", "OpenEXR"), (0, b"<svg", "SVG"), (0, b"%PDF", "PDF"),
)  # fmt: skip
WEB_PAGE = "a web page, probably from a failed download: download it again"
PLACEHOLDERS = (  # (first bytes in lower case, description) of files that stand where an image should be
    (b"<!doctype html", WEB_PAGE), (b"<html", WEB_PAGE),
    (b"version https://git-lfs", "a Git LFS pointer: run git lfs pull in its repository"),
)  # fmt: skip

cv2.setNumThreads(0)  # many images are decoded in parallel; threads inside one would only compete
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # a bad file is reported once, with its name, by us
Image.MAX_IMAGE_PIXELS = None  # `inspect` checks its own limit


class ImageError(ValueError):
    """A file is not a usable still image; the message gives the reason."""


@dataclass(frozen=True)
class ImageInfo:
    """Header of an image file. width, height: pixels as displayed, after the EXIF orientation.

    transparent: whether it has an alpha channel or a transparent colour.
    """

    width: int
    height: int
    format: str
    mode: str
    orientation: int
    transparent: bool = False
    depth: SampleDepth = EIGHT_BITS

    @property
    def is_array(self) -> bool:
        """Whether it is an array of any number of channels, which Pillow does not read."""
        return self.mode.endswith(ARRAY_MODE)


def inspect(data: bytes, *, max_side: int = MAX_SIDE) -> ImageInfo:
    """Read the header of an image without decoding it.

    Raises ImageError for data that is empty, no image, animated, of several pages, of 32-bit samples, or larger than
    `max_side` pixels a side.
    """
    if not data:
        raise ImageError("the file is empty (0 bytes)")
    if (plain := _read_plain_tiff(data)) is not None:
        width, height, mode = plain
        _check_size(width, height, max_side)
        return ImageInfo(width, height, "TIFF", mode, orientation=1)
    if (array := _inspect_array(data)) is not None:
        _check_size(array.width, array.height, max_side)
        return array
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of damage; the decoder decides
            with Image.open(io.BytesIO(data)) as image:
                orientation = _orientation(image, data)
                frames = getattr(image, "n_frames", 1)
                width, height, format_, mode = *image.size, image.format or "?", image.mode
                transparent = image.has_transparency_data
                depth = read_depth(data, image)
    except UnidentifiedImageError:
        raise ImageError(_describe_unidentified(data)) from None
    except Exception as error:  # of damage, Pillow's readers raise anything: TypeError for TIFF, RuntimeError for AVIF
        raise ImageError(f"damaged header ({error})") from error
    _check_still(data, format_, mode, frames, depth)
    _check_size(width, height, max_side)
    if orientation in (5, 6, 7, 8):
        width, height = height, width
    return ImageInfo(width, height, format_, mode, orientation, transparent, depth)


def _read_plain_tiff(data: bytes) -> tuple[int, int, str] | None:
    """Read (width, height, Pillow's mode) of a plain TIFF; None for any other data, which Pillow is to read."""
    found: dict[int, int] = {}
    try:
        order = TIFF_ORDERS[data[:4]]
        first = struct.unpack_from(f"{order}I", data, 4)[0] + 2
        end = first + 12 * struct.unpack_from(f"{order}H", data, first - 2)[0]
        if struct.unpack_from(f"{order}I", data, end)[0]:  # there is another page
            return None
        for place in range(first, end, 12):
            tag, kind, length = struct.unpack_from(f"{order}HHI", data, place)
            if tag not in OTHER_TAGS:
                values = order + TIFF_CODES[kind] * min(length, MOST_VALUES)
                at = place + 8 if struct.calcsize(values) <= 4 else struct.unpack_from(f"{order}I", data, place + 8)[0]
                (found[tag],) = set(struct.unpack_from(values, data, at))
        width, height = found.pop(WIDTH), found.pop(HEIGHT)
        mode = TIFF_MODES[found.pop(SAMPLES, 1), found.pop(PHOTOMETRIC)]
        is_plain = found.pop(COMPRESSION) in TIFF_COMPRESSIONS and BITS in found and found.items() <= USUAL_TAGS.items()
    except (KeyError, ValueError, struct.error):
        return None
    return (width, height, mode) if is_plain and width and height else None


def _orientation(image: Image.Image, data: bytes) -> int:
    """Orientation by EXIF or XMP. For that of a PNG, Pillow decodes all of it."""
    if image.format == "TIFF":  # Pillow's size and OpenCV's pixels are upright already
        return 1
    if image.format == "PNG" and not any(name in data for name in MAY_TURN_PNG):
        return 1
    found = image.getexif().get(EXIF_ORIENTATION)
    return found if found in EXIF_TRANSFORMS else 1


def _inspect_array(data: bytes) -> ImageInfo | None:
    """Read the header of an array of any number of channels; None for other files."""
    try:
        header = read_array_header(data)
    except ValueError as error:
        raise ImageError(str(error)) from None
    if header is None:
        return None
    mode, depth = f"{header.channels} {ARRAY_MODE}", SampleDepth(header.bits)
    return ImageInfo(header.width, header.height, header.format, mode, 1, depth=depth)


def _check_size(width: int, height: int, max_side: int) -> None:
    if max(width, height) > max_side:
        raise ImageError(f"{width}×{height} pixels; the limit is {max_side} a side")
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width}×{height} pixels; the limit is {MAX_PIXELS // 10**6} million in all")


def _describe_unidentified(data: bytes) -> str:
    """Name a file that Pillow does not identify by its first bytes, with what to do."""
    head = data[:160].lstrip() if data[:1].isspace() else data[:160]
    for magic, name in PLACEHOLDERS:
        if head.lower().startswith(magic):
            return f"not an image, but {name}"
    for offset, magic, name in UNSUPPORTED:
        if head[offset:].startswith(magic):
            return f"it is {name}, which is not supported: convert it to PNG or JPEG"
    return "not an image that can be read"


def _check_still(data: bytes, format_: str, mode: str, frames: int, depth: SampleDepth) -> None:
    """Raise ImageError unless it is one whole picture of 8 or 16 bits."""
    if frames > 1 and format_ != "MPO":  # an MPO is a JPEG with a preview or a second eye's picture behind it
        kind, noun = ("a multi-page", "pages") if format_ in ("TIFF", "ICNS", "DCX") else ("an animated", "frames")
        raise ImageError(f"it is {kind} {format_} ({frames} {noun}): one still picture is needed, save the one meant")
    if mode == "F" or (mode == "I" and format_ == "TIFF"):
        whole = "signed numbers" if depth.bits == 16 else "32-bit numbers"
        samples = "floating-point numbers" if mode == "F" else whole
        raise ImageError(f"it is a {format_} of {samples}, whose range is unknown: convert it to 8 or 16 bits")
    if format_ == "PNG" and b"IEND" not in data:  # libpng would decode it, and complain on stderr
        raise ImageError("damaged or truncated: its PNG data has no end")


def decode(
    data: bytes,
    *,
    short_side: int | None = None,
    max_side: int = MAX_SIDE,
    bits: int | None = None,
    form: PixelFormat = RGB,
) -> Pixels:
    """Decode an image to upright pixels of `form`, by default RGB (H, W, 3) uint8, transparency over white.

    short_side: largest short side in pixels, aspect kept, nothing enlarged; None: full size. bits: significant bits
    of 16-bit images of this collection; None: from the image's own maximum (see images.depth).
    Raises ImageError as `inspect`, and for damaged or truncated pixels; ChannelsError for a file of other channels.
    """
    info = inspect(data, max_side=max_side)
    return decode_with_version(data, info, short_side=short_side, bits=bits, form=form)[0]


def decode_picture(
    data: bytes, info: ImageInfo, *, short_side: int | None = None, bits: int | None = None
) -> tuple[Pixels, str]:
    """Decode any image as RGB (H, W, 3) uint8 to look at, and return the decoder version: of arrays the first three
    channels, or the first."""
    own = PixelFormat(channels_of(info.mode)) if info.is_array else RGB
    image, version = decode_with_version(data, info, short_side=short_side, bits=bits, form=own)
    return as_picture(image), version


def decode_with_version(
    data: bytes, info: ImageInfo, *, short_side: int | None = None, bits: int | None = None, form: PixelFormat = RGB
) -> tuple[Pixels, str]:
    """Decode to `form` as `decode`; also return the decoder version: DECODER, unless its pixels would be wrong."""
    check_channels("RGBA" if info.transparent else info.mode, form)
    image, version = _decode_samples(data, info, form, short_side, bits)
    if info.orientation in EXIF_TRANSFORMS:
        image = EXIF_TRANSFORMS[info.orientation](image)
    return shrink(np.ascontiguousarray(image), short_side, of=(info.height, info.width)), version


def _decode_samples(
    data: bytes, info: ImageInfo, form: PixelFormat, short_side: int | None, bits: int | None
) -> tuple[Pixels, str]:
    """(pixels (H, W, channels) of `form`, before the EXIF orientation, decoder version)."""
    if info.is_array:
        try:
            samples = read_array(data)
        except ValueError as error:
            raise ImageError(str(error)) from None
        return to_format(samples, form, bits_in_use(samples, info.depth, bits)), DECODER_OF_ARRAYS
    image, version = _decode_rgb(data, info, short_side, bits)  # also checks that the data is complete
    deep = read_samples(data) if form.bits == 16 or form.channels == 4 else None
    if deep is not None and (form.channels != 4 or deep.shape[2] == 4):
        used = bits_in_use(deep, info.depth, bits)
        if deep.shape[2] == 4 and form.channels != 4:
            deep, used = without_fourth(deep, used, transparent=info.transparent), 16
        return to_format(deep, form, used), version
    found = read_four_channels(data) if form.channels == 4 else image
    if found is None:
        raise ImageError(_describe_undecoded(info))
    return to_format(found, form, used=8), version


def _decode_rgb(data: bytes, info: ImageInfo, short_side: int | None, bits: int | None) -> tuple[Pixels, str]:
    """(RGB (H, W, 3) uint8 before the EXIF orientation, decoder version)."""
    image = _decode_opencv(data, info, short_side)
    deep = None
    if image is not None:
        deep = apply_depth(data, image, info.depth, transparent=info.transparent, bits=bits)
    if deep is not None:
        return deep, DECODER_BY_DEPTH
    if image is not None and info.transparent:
        image = _decode_transparent(data)
    if image is None:
        raise ImageError(_describe_undecoded(info))
    return image, DECODER


def _describe_undecoded(info: ImageInfo) -> str:
    if info.format not in OPENCV_FORMATS:
        return f"it is {info.format}, which is not supported: convert it to PNG or JPEG"
    if info.format == "TIFF" and info.depth.bits not in (1, 8, 16):
        return f"it is a TIFF of {info.depth.bits} bits a sample: convert it to 8 or 16 bits"
    return f"damaged or truncated: its {info.format} data cannot be decoded to the end"


def _decode_opencv(data: bytes, info: ImageInfo, short_side: int | None) -> NDArray[np.uint8] | None:
    """Decode to RGB (H, W, 3), unrotated; a large JPEG at 1/2, 1/4 or 1/8 scale. None if that fails."""
    buffer = np.frombuffer(data, np.uint8)
    try:
        if short_side and info.format == "JPEG":
            factor = min(info.width, info.height) // short_side
            for scale, flag in REDUCED_JPEG.items():
                if factor >= scale:
                    image = cv2.imdecode(buffer, flag | cv2.IMREAD_IGNORE_ORIENTATION)
                    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        return cv2.imdecode(buffer, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None


def _decode_transparent(data: bytes) -> Pixels | None:
    """Decode to (H, W, 3) with Pillow over white: OpenCV loses 16-bit alpha, alpha in TIFFs, transparent colours."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                rgba = np.asarray(image.convert("RGBA")).astype(np.uint16)
    except Exception:  # of damage, Pillow raises anything; the caller turns None into an ImageError
        return None
    colour, alpha = rgba[..., :3], rgba[..., 3:]
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def shrink(image: Pixels, short_side: int | None, *, of: tuple[int, int] | None = None) -> Pixels:
    """Scale an image (H, W, C) down to `short_side`, by area averaging; return it as is if smaller or None.

    of: (height, width) before reduced decoding, which rounds both up; they give the aspect.
    """
    height, width = of or image.shape[:2]
    if short_side is None or min(height, width) <= short_side:
        return image
    scale = short_side / min(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return resized(image, size, cv2.INTER_AREA)
