"""Headers of plain TIFFs are read as Pillow reads them; any other TIFF is left to Pillow."""

import io
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from kagglepipe.images import decode as decoding
from kagglepipe.images.decode import ImageError, _read_plain_tiff, inspect

RGB = np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8)
GREY = RGB[..., 0]


def tiff(image: Image.Image, **options: Any) -> bytes:
    """An image as a TIFF."""
    file = io.BytesIO()
    image.save(file, "TIFF", **options)
    return file.getvalue()


PLAIN = {
    "raw": tiff(Image.fromarray(RGB)),
    "grey": tiff(Image.fromarray(GREY)),
    "LZW": tiff(Image.fromarray(RGB), compression="tiff_lzw"),
    "deflate, big-endian": tiff(Image.fromarray(GREY), compression="tiff_adobe_deflate", big_endian=True),
    "big-endian": tiff(Image.fromarray(RGB), big_endian=True),
    "described": tiff(Image.fromarray(RGB), description="a slide", software="a scanner", dpi=(72, 72)),
    "by OpenCV": cv2.imencode(".tiff", RGB)[1].tobytes(),
}
OTHERS = {
    "RGBA": tiff(Image.fromarray(RGB).convert("RGBA")),
    "palette": tiff(Image.fromarray(RGB).convert("P")),
    "1 bit": tiff(Image.fromarray(GREY).convert("1")),
    "CMYK": tiff(Image.fromarray(RGB).convert("CMYK")),
    "16 bits": tiff(Image.fromarray(GREY.astype(np.uint16))),
    "floats": tiff(Image.fromarray(GREY.astype(np.float32))),
    "white is zero": tiff(Image.fromarray(GREY), tiffinfo={262: 0}),
    "lying": tiff(Image.fromarray(RGB), tiffinfo={274: 6}),
    "JPEG inside": tiff(Image.fromarray(RGB), compression="jpeg"),
    "largest sample": tiff(Image.fromarray(GREY), tiffinfo={281: 100}),
    "two pages": tiff(Image.fromarray(RGB), save_all=True, append_images=[Image.fromarray(RGB)]),
    "no TIFF": b"\x89PNG\r\n" + bytes(60),
}


@pytest.mark.parametrize("data", PLAIN.values(), ids=PLAIN)
def test_the_header_of_a_plain_tiff_is_that_of_pillow(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with Image.open(io.BytesIO(data)) as image:
        assert _read_plain_tiff(data) == (*image.size, image.mode)
    found = inspect(data)
    monkeypatch.setattr(decoding, "_read_plain_tiff", lambda data: None)
    assert inspect(data) == found


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS)
def test_other_files_are_left_to_pillow(data: bytes) -> None:
    assert _read_plain_tiff(data) is None


def test_a_damaged_header_is_never_a_traceback() -> None:
    data = PLAIN["described"]
    start = int.from_bytes(data[4:8], "little")
    random = np.random.default_rng(0)
    for place in [*range(10), *range(start, min(start + 200, len(data)))]:
        changed = bytearray(data)
        changed[place] = random.integers(0, 256)
        for one in (bytes(changed), data[:place]):
            try:
                assert min(inspect(one).width, inspect(one).height) > 0
            except ImageError:
                continue


def test_the_limit_of_pixels_holds_for_plain_tiffs() -> None:
    with pytest.raises(ImageError, match=r"50×30 pixels; the limit is 40"):
        inspect(PLAIN["raw"], max_side=40)
