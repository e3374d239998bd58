"""DICOM images as PGM or PPM, by pydicom (the extra `dicom`); nothing about the patient is read, or logged."""

import errno
import io
import logging
import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kagglepipe.errors import UserError

if TYPE_CHECKING:
    from pydicom import Dataset

DEFLATED = b"1.2.840.10008.1.2.1.99"  # transfer syntax whose unpacked size nothing limits
MAX_PIXELS = 180_000_000
PERCENTILES = (0.5, 99.5)  # of the values of an image without a window: black and white
TAGS = ["Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration",
        "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RescaleSlope", "RescaleIntercept",
        "WindowCenter", "WindowWidth", "PixelData"]  # fmt: skip


def dicom_as_netpbm(data: bytes) -> bytes:
    """Convert a DICOM of one picture to PGM (grey) or PPM (RGB) of 8 bits.

    Grey values are rescaled by slope and intercept, cut to the file's first window, or else to PERCENTILES of the
    image, and inverted for MONOCHROME1.
    Raises OSError, whose `strerror` has the reason, for a damaged file, several frames, or pixels that nothing here
    decodes; UserError without pydicom.
    """
    if find_spec("pydicom") is None:
        raise UserError("DICOM images need pydicom: type pip install 'kagglepipe[dicom]'")
    if DEFLATED in data[:2000]:
        raise _unusable("a deflated DICOM, which is not supported: save it uncompressed")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote values
            return _convert(data)
    except (MemoryError, OSError):
        raise
    except Exception as error:  # of damage, pydicom raises anything; its messages may quote values of the patient
        raise _unusable(f"a damaged DICOM, or one without a picture ({type(error).__name__})") from None


def _unusable(reason: str) -> OSError:
    return OSError(errno.EINVAL, f"it is {reason}")


def _convert(data: bytes) -> bytes:
    """Decode and write a DICOM. Raises OSError for what is not supported, anything for damage."""
    import pydicom

    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    found = pydicom.dcmread(io.BytesIO(data), specific_tags=list(TAGS))
    if (frames := int(found.get("NumberOfFrames") or 1)) > 1:
        raise _unusable(f"a DICOM of {frames} frames: one still picture is needed, save the one meant")
    height, width, samples = int(found.Rows), int(found.Columns), int(found.get("SamplesPerPixel") or 1)
    if height * width > MAX_PIXELS or height < 1 or width < 1:
        raise _unusable(f"a DICOM of {width}×{height} pixels")
    colours = str(found.PhotometricInterpretation)
    if samples == 1 and colours not in ("MONOCHROME1", "MONOCHROME2"):
        raise _unusable(f"a DICOM in {colours[:20]}, which is not supported: convert it to PNG")
    pixels = _pixels(found, colours)
    if samples == 3:
        return f"P6 {width} {height} 255\n".encode() + _eight_bits(pixels, found).tobytes()
    grey = _windowed(_rescaled(pixels, found), found)
    return f"P5 {width} {height} 255\n".encode() + (255 - grey if colours == "MONOCHROME1" else grey).tobytes()


def _pixels(found: "Dataset", colours: str) -> NDArray[Any]:
    """The stored values (H, W) or (H, W, 3), RGB. Raises OSError for compressed ones that no library here decodes."""
    from pydicom.pixels import convert_color_space

    syntax = found.file_meta.TransferSyntaxUID
    try:
        pixels: NDArray[Any] = found.pixel_array
    except (RuntimeError, NotImplementedError):
        if not syntax.is_compressed:
            raise
        raise _unusable(f"a DICOM compressed as {syntax.name}: save it uncompressed, or as PNG") from None
    return convert_color_space(pixels, colours, "RGB") if colours.startswith("YBR") else pixels


def _eight_bits(pixels: NDArray[Any], found: "Dataset") -> NDArray[np.uint8]:
    """Colours of up to 16 stored bits as 8."""
    return (pixels >> max(0, int(found.BitsStored) - 8)).astype(np.uint8)


def _rescaled(pixels: NDArray[Any], found: "Dataset") -> NDArray[np.float32]:
    """Values (H, W) in the unit of the window, such as Hounsfield's."""
    slope, intercept = float(found.get("RescaleSlope") or 1), float(found.get("RescaleIntercept") or 0)
    return pixels.astype(np.float32) * np.float32(slope) + np.float32(intercept)


def _windowed(values: NDArray[np.float32], found: "Dataset") -> NDArray[np.uint8]:
    """Scale values (H, W) to 0…255 by the first window, as DICOM PS3.3 C.11.2.1.2 has it, or by percentiles."""
    centre, width = (_first(found.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if centre is not None and width is not None and width >= 1:
        low, high = centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
    else:
        low, high = (float(value) for value in np.percentile(values, PERCENTILES))
    scaled = (values - low) / max(high - low, 1e-6)
    return np.rint(np.nan_to_num(np.clip(scaled, 0, 1)) * 255).astype(np.uint8)


def _first(value: Any) -> float | None:
    """The first of one or several numbers; None without any."""
    values = [] if value is None else [value] if isinstance(value, str | float | int) else list(value)
    return float(values[0]) if values else None
