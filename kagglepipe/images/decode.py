"""From a file's bytes to upright RGB pixels, or one clear reason why not.

Pillow reads the header (format, mode, rotation, frames), OpenCV decodes: it is about three times as fast, scales
large JPEGs down while decoding, and refuses a truncated file, where leniency would train on grey.
"""

import io
import warnings
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from kagglepipe.images.depth import EIGHT_BITS, Depth, by_depth, depth_of

Pixels = NDArray[np.uint8]  # (H, W, 3), RGB

DECODER = "opencv-2"  # raise it when the same bytes would give other pixels: caches depend on it
DECODER_BY_DEPTH = "opencv-3"  # of pictures that opencv-2 showed too dark, or clear in the wrong places: images.depth
MAX_SIDE = 20_000
MAX_PIXELS = 180_000_000  # half a gigabyte of memory while it is decoded
EXIF_ORIENTATION = 274
TURNS = {  # EXIF orientation -> what makes the picture upright
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: a.transpose(1, 0, 2)[::-1],
}
REDUCED = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
}

cv2.setNumThreads(0)  # the pipeline decodes many images side by side; threads inside one would only compete
cv2.utils.logging.setLogLevel(
    cv2.utils.logging.LOG_LEVEL_SILENT
)  # a bad file is reported once, by its name, not by OpenCV's own lines
Image.MAX_IMAGE_PIXELS = None  # `inspect` has its own limit and its own words


class ImageError(ValueError):
    """A file that is not a usable still image; the message says why."""


@dataclass(frozen=True)
class Facts:
    """What a file's header says. `width` and `height` are as seen, after the EXIF rotation.

    transparent: whether it has an alpha channel or a colour that stands for transparency.
    """

    width: int
    height: int
    format: str
    mode: str
    orientation: int
    transparent: bool = False
    depth: Depth = EIGHT_BITS


OPENCV = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "SUN", "TIFF", "WEBP")  # formats that it reads
FOREIGN = (  # where, how: what marks formats that Pillow does not know
    (4, b"ftyphei", "HEIC"),
    (4, b"ftyphev", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftypmsf1", "HEIC"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL ", "JPEG XL"),
    (0, b"II*\x00", "a TIFF whose samples are of an unusual kind, such as floating-point numbers in colour"),
    (0, b"MM\x00*", "a TIFF whose samples are of an unusual kind, such as floating-point numbers in colour"),
    (0, b"II+\x00", "BigTIFF"),
    (0, b"MM\x00+", "BigTIFF"),
    (0, b"II\xbc\x01", "JPEG XR"),
    (128, b"DICM", "DICOM"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"<svg", "SVG"),
    (0, b"%PDF", "PDF"),
)
STAND_INS = (  # what marks, in lower case, files that were written in the place of pictures
    (b"<!doctype html", "a web page, as of a download that failed: download it anew"),
    (b"<html", "a web page, as of a download that failed: download it anew"),
    (b"version https://git-lfs", "a pointer of Git LFS: type git lfs pull where it is from"),
)


def _foreign(data: bytes) -> str | None:
    """What a file is that Pillow does not know, with what to do; None if its first bytes do not tell."""
    head = data[:160].lstrip() if data[:1].isspace() else data[:160]
    if words := next((words for mark, words in STAND_INS if head.lower().startswith(mark)), None):
        return f"not an image, but {words}"
    words = next((words for at, mark, words in FOREIGN if head[at:].startswith(mark)), None)
    return words and f"it is {words}, which is not read: convert it to PNG or JPEG"


def inspect(data: bytes, *, max_side: int = MAX_SIDE) -> Facts:
    """The facts in an image's header, without decoding it.

    Raises ImageError if the data is empty, not an image, animated, of several pages, of 32-bit samples, or wider or
    higher than `max_side` pixels.
    """
    if not data:
        raise ImageError("the file is empty (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of damage that the decoder then judges
            with Image.open(io.BytesIO(data)) as image:
                orientation = image.getexif().get(EXIF_ORIENTATION, 1)
                frames = getattr(image, "n_frames", 1)
                width, height, format_, mode = *image.size, image.format or "?", image.mode
                transparent = image.has_transparency_data
                depth = depth_of(data, image)
    except UnidentifiedImageError:
        if words := _foreign(data):
            raise ImageError(words) from None
        raise ImageError("not an image that can be read") from None
    except Exception as error:  # of damage, Pillow's readers raise anything: TypeError for TIFF, RuntimeError for AVIF
        raise ImageError(f"damaged header ({error})") from error
    if frames > 1 and format_ != "MPO":  # an MPO is a JPEG with a second picture behind it
        pages = "pages" if format_ in ("TIFF", "ICNS", "DCX") else "frames"
        kind = "a multi-page" if pages == "pages" else "an animated"
        raise ImageError(f"it is {kind} {format_} ({frames} {pages}): one still picture is needed, save the one meant")
    if mode == "F" or (mode == "I" and format_ == "TIFF"):
        whole = "signed numbers" if depth.bits == 16 else "32-bit numbers"
        samples = "floating-point numbers" if mode == "F" else whole
        raise ImageError(f"it is a {format_} of {samples}, of no told range: convert it to 8 or 16 bits")
    if format_ == "PNG" and b"IEND" not in data:  # libpng would decode it, and complain on stderr
        raise ImageError("damaged or cut off: its PNG data does not come to its end")
    if max(width, height) > max_side:
        raise ImageError(f"{width}×{height} pixels; the limit is {max_side} a side")
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width}×{height} pixels; the limit is {MAX_PIXELS // 10**6} million in all")
    if format_ == "TIFF":  # Pillow's size and OpenCV's pixels are upright already
        orientation = 1
    if orientation in (5, 6, 7, 8):
        width, height = height, width
    return Facts(width, height, format_, mode, orientation if orientation in TURNS else 1, transparent, depth)


def decode(data: bytes, *, short_side: int | None = None, max_side: int = MAX_SIDE, bits: int | None = None) -> Pixels:
    """Upright RGB pixels (H, W, 3), the short side at most `short_side` (None: full size), aspect kept.

    Smaller images are not enlarged. Transparency is laid over white. bits: that 16-bit pictures of this kind use; None:
    as many as its own largest value asks for (images.depth).
    Raises ImageError (see `inspect`), also when the pixels are damaged or end early.
    """
    return decode_known(data, inspect(data, max_side=max_side), short_side=short_side, bits=bits)


def decode_known(data: bytes, facts: Facts, *, short_side: int | None = None, bits: int | None = None) -> Pixels:
    """`decode` for data whose facts have been read already."""
    return decode_and_tell(data, facts, short_side=short_side, bits=bits)[0]


def decode_and_tell(
    data: bytes, facts: Facts, *, short_side: int | None = None, bits: int | None = None
) -> tuple[Pixels, str]:
    """`decode_known`, and the decoder that the pixels are of: DECODER, unless it would have got them wrong."""
    image, decoder = _raw(data, facts, short_side), DECODER  # judges whether it is whole, more strictly than Pillow
    deep = None
    if image is not None:
        deep = by_depth(data, image, facts.depth, transparent=facts.transparent, bits=bits)
    if deep is not None:
        image, decoder = deep, DECODER_BY_DEPTH
    elif image is not None and facts.transparent:
        image = _transparent(data)
    if image is None and facts.format not in OPENCV:
        raise ImageError(f"it is {facts.format}, which is not read: convert it to PNG or JPEG")
    if image is None and facts.format == "TIFF" and facts.depth.bits not in (1, 8, 16):
        raise ImageError(f"it is a TIFF of {facts.depth.bits} bits a sample: convert it to 8 or 16 bits")
    if image is None:
        raise ImageError(f"damaged or cut off: its {facts.format} data cannot be decoded to the end")
    if facts.orientation in TURNS:
        image = TURNS[facts.orientation](image)
    return shrink(np.ascontiguousarray(image), short_side, of=(facts.height, facts.width)), decoder


def _raw(data: bytes, facts: Facts, short_side: int | None) -> NDArray[np.uint8] | None:
    buffer = np.frombuffer(data, np.uint8)
    try:
        if short_side and facts.format == "JPEG":
            factor = min(facts.width, facts.height) // short_side
            for scale, flag in REDUCED.items():
                if factor >= scale:
                    image = cv2.imdecode(buffer, flag | cv2.IMREAD_IGNORE_ORIENTATION)
                    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        return cv2.imdecode(buffer, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None


def _transparent(data: bytes) -> Pixels | None:
    """By Pillow: OpenCV loses transparency of 16 bits, in TIFFs, and of a colour that stands for it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                return _over_white(np.asarray(image.convert("RGBA")))
    except Exception:  # anything again; the caller turns None into the ImageError that names the file's damage
        return None


def _over_white(image: NDArray[np.uint8]) -> Pixels:
    alpha = image[..., 3:].astype(np.uint16)
    colour = image[..., :3].astype(np.uint16)
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def shrink(image: Pixels, short_side: int | None, *, of: tuple[int, int] | None = None) -> Pixels:
    """The image scaled down so that its short side is `short_side`; as it is if smaller or None.

    of: (height, width) before reduced decoding, which rounds both up; the aspect is theirs.
    """
    height, width = of or image.shape[:2]
    if short_side is None or min(height, width) <= short_side:
        return image
    scale = short_side / min(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
