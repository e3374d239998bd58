"""Bytes become the upright picture that Pillow would show, or one clear reason why not."""

import io
import itertools
import re
import struct
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps, features
from PIL.PngImagePlugin import PngImageFile

from kagglepipe.images.decode import (
    DECODER,
    DECODER_BY_DEPTH,
    ImageError,
    Pixels,
    decode,
    decode_with_version,
    inspect,
    shrink,
)
from kagglepipe.images.depth import estimate_used_bits

LOSSLESS: dict[str, dict[str, Any]] = {"PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}}
WHOLE: dict[str, tuple[str, dict[str, Any]]] = {
    "baseline JPEG": ("JPEG", {}),
    "progressive JPEG": ("JPEG", {"progressive": True}),
    "PNG": ("PNG", {}),
    "lossy WebP": ("WEBP", {}),
    "lossless WebP": ("WEBP", {"lossless": True}),
    "BMP": ("BMP", {}),
    "TIFF": ("TIFF", {}),
    "packed TIFF": ("TIFF", {"compression": "tiff_lzw"}),
    "GIF": ("GIF", {}),
}


def picture(height: int = 90, width: int = 120, seed: int = 0) -> Pixels:
    """Soft random colours, without any symmetry."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(image: Pixels | Image.Image, format: str, **options: Any) -> bytes:
    """The bytes of a file."""
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def turned(orientation: int) -> Image.Exif:
    """EXIF data with nothing but an orientation."""
    exif = Image.Exif()
    exif[274] = orientation
    return exif


def as_pillow_shows(data: bytes) -> Pixels:
    """Upright, over white."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, image).convert("RGB"))


def difference(a: Pixels, b: Pixels) -> int:
    """The largest difference between two pictures of one shape."""
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b).max())


# --- rotation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format", "orientation"),
    [*itertools.product(("PNG", "TIFF"), range(1, 9)), ("WEBP", 5), ("WEBP", 8), ("JPEG", 3), ("JPEG", 6)],
)
def test_every_orientation_is_made_upright(format: str, orientation: int) -> None:
    """Of a PNG by us, of a TIFF by OpenCV; the header gives the size as displayed."""
    data = encoded(picture(30, 50), format, exif=turned(orientation), **LOSSLESS.get(format, {"quality": 95}))
    assert difference(decode(data), as_pillow_shows(data)) <= (2 if format == "JPEG" else 0)
    info = inspect(data)
    assert (info.width, info.height) == ((30, 50) if orientation >= 5 else (50, 30))
    assert decode(data).shape == (info.height, info.width, 3)
    assert (info.format, info.mode) == (format, "RGB")


def test_a_png_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow looks for EXIF data behind the pixels, which it decodes for it: only where there is some."""
    plain, turned_at_end = encoded(picture(30, 50), "PNG"), encoded(picture(30, 50), "PNG", exif=turned(6))
    start = turned_at_end.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(turned_at_end[start : start + 4], "big")
    at = turned_at_end.index(b"IEND") - 4
    moved = turned_at_end[:start] + turned_at_end[end:at] + turned_at_end[start:end] + turned_at_end[at:]
    assert inspect(moved).orientation == 6
    monkeypatch.setattr(PngImageFile, "load", lambda image: pytest.fail("decoded by Pillow"))
    assert inspect(plain).orientation == 1


@pytest.mark.parametrize("orientation", [2, 7])
def test_orientation_counts_at_reduced_scale_too(orientation: int) -> None:
    image = picture(480, 640)
    data = encoded(image, "JPEG", exif=turned(orientation))
    plain = Image.fromarray(decode(encoded(image, "JPEG"), short_side=60))
    plain.getexif()[274] = orientation
    assert difference(decode(data, short_side=60), np.asarray(ImageOps.exif_transpose(plain))) <= 1


# --- modes -----------------------------------------------------------------------------------------------------


def test_grey_becomes_three_equal_channels() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(decode(encoded(grey, "PNG")), np.stack([grey] * 3, axis=-1))


@pytest.mark.parametrize("format", ["PNG", "GIF", "BMP", "TIFF"])
def test_palettes_and_single_bits_become_colours(format: str) -> None:
    image = Image.new("P", (4, 3))
    image.putpalette([200, 100, 0, 0, 50, 250])
    image.putdata([0, 1, 1, 0] * 3)
    colours = np.array([[200, 100, 0], [0, 50, 250], [0, 50, 250], [200, 100, 0]], np.uint8)
    np.testing.assert_array_equal(decode(encoded(image, format)), np.stack([colours] * 3))
    image = Image.new("1", (2, 1))
    image.putdata([0, 255])
    np.testing.assert_array_equal(decode(encoded(image, format)), [[[0] * 3, [255] * 3]])


@pytest.mark.parametrize(
    ("pixel", "seen"),
    [
        ((200, 100, 50, 255), (200, 100, 50)),
        ((200, 100, 50, 128), (227, 177, 152)),  # (200 · 128 + 255 · 127) / 255 = 227.4
        ((200, 100, 50, 64), (241, 216, 204)),  # (50 · 64 + 255 · 191) / 255 = 203.5
        ((200, 100, 50, 0), (255, 255, 255)),
        ((100, 128), (177, 177, 177)),  # grey with alpha
    ],
)
def test_transparency_lies_over_white(pixel: tuple[int, ...], seen: tuple[int, int, int]) -> None:
    image = Image.new("RGBA" if len(pixel) == 4 else "LA", (3, 2), pixel)
    np.testing.assert_array_equal(decode(encoded(image, "PNG")), np.full((2, 3, 3), seen))


@pytest.mark.parametrize(("format", "orientation"), [("PNG", 1), ("PNG", 6), ("TIFF", 3), ("WEBP", 8)])
def test_transparency_is_honoured_in_every_format(format: str, orientation: int) -> None:
    image = np.dstack([picture(), picture(seed=1)[..., 0]])
    data = encoded(image, format, exif=turned(orientation), **LOSSLESS[format])
    assert difference(decode(data), as_pillow_shows(data)) <= 1


def test_sixteen_bits_of_transparency_are_honoured() -> None:
    image = np.full((2, 3, 4), (0, 100, 200, 128), np.uint16) * 257  # OpenCV writes BGRA
    data = cv2.imencode(".png", image)[1].tobytes()
    assert difference(decode(data), np.full((2, 3, 3), (227, 177, 127), np.uint8)) <= 1


@pytest.mark.parametrize(("mode", "colours"), [("RGB", [(10, 20, 30), (40, 50, 60)]), ("L", [10, 40]), ("P", [0, 1])])
def test_a_transparent_colour_is_white(mode: str, colours: list[Any]) -> None:
    """A PNG may name one colour, or palette entry, as transparent instead of holding an alpha channel."""
    image = Image.new(mode, (2, 1))
    if mode == "P":
        image.putpalette([200, 100, 0, 0, 50, 250])
    image.putdata(colours)
    seen = decode(encoded(image, "PNG", transparency=colours[1]))
    first = (200, 100, 0) if mode == "P" else np.broadcast_to(colours[0], 3)
    np.testing.assert_array_equal(seen, [[first, [255, 255, 255]]])


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(format: str) -> None:
    data = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), format)
    assert inspect(data).mode == "CMYK"
    assert difference(decode(data), np.full((16, 16, 3), (255, 0, 0), np.uint8)) <= 3


def test_sixteen_bits_become_eight() -> None:
    grey = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    data = cv2.imencode(".png", grey)[1].tobytes()
    np.testing.assert_array_equal(decode(data), np.stack([grey // 257] * 3, axis=-1))
    data = cv2.imencode(".png", picture()[..., ::-1].astype(np.uint16) * 257)[1].tobytes()
    np.testing.assert_array_equal(decode(data), picture())


def png_of(
    samples: NDArray[Any], bits: int, *, clear: Sequence[int] = (), significant: Sequence[int] = (), alpha: bool = False
) -> bytes:
    """A PNG of samples (H, W) or (H, W, channels) of so many bits, a clear colour and significant bits if given."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = samples.shape[:2]
    lines = samples.reshape(height, -1).astype(">u2")
    if bits < 16:  # the lower bits of each, one after the other
        lines = np.packbits(
            np.unpackbits(lines.astype(np.uint8)[..., None], axis=2)[..., 8 - bits :].reshape(height, -1), axis=1
        )
    colour = 2 * (samples.ndim == 3 and samples.shape[2] > 2) + 4 * alpha
    pixels = b"".join(b"\0" + line.tobytes() for line in lines)
    return b"".join([
        b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)),
        chunk(b"sBIT", bytes(significant)) if significant else b"",
        chunk(b"tRNS", b"".join(struct.pack(">H", level) for level in clear)) if clear else b"",
        chunk(b"IDAT", zlib.compress(pixels)), chunk(b"IEND", b""),
    ])  # fmt: skip


def tiff_of(bits: int, kind: int, samples: bytes) -> bytes:
    """A grey TIFF, 4 by 4 pixels, of samples of that many bits and SampleFormat."""
    tags = {256: 4, 257: 4, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: 4, 279: len(samples), 339: kind}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    header = b"II*\0" + struct.pack("<I", 8 + len(samples))
    return header + samples + struct.pack("<H", len(tags)) + entries + bytes(4)


def in_three(grey: NDArray[Any]) -> Pixels:
    """Grey as RGB."""
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


TWELVE = np.random.default_rng(0).integers(0, 4096, (9, 12), np.uint16)
COLOURED = np.random.default_rng(1).integers(0, 4096, (9, 12, 3), np.uint16)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        *(
            pytest.param(png_of(TWELVE >> (12 - bits), 16), TWELVE >> 12 - bits >> bits - 8, id=f"{bits} bits")
            for bits in (8, 10, 12)
        ),
        pytest.param(png_of(TWELVE << 2, 16), TWELVE >> 4, id="14 bits"),
        pytest.param(png_of(TWELVE // 5, 16, significant=[12]), TWELVE // 5 >> 4, id="sBIT of a dark image"),
        pytest.param(png_of(TWELVE << 4, 16, significant=[12]), TWELVE >> 4, id="sBIT of the upper bits"),
        pytest.param(encoded(Image.fromarray(TWELVE), "TIFF"), TWELVE >> 4, id="TIFF"),
        pytest.param(
            encoded(Image.fromarray(TWELVE // 5), "TIFF", tiffinfo={281: 4095}), TWELVE // 5 >> 4, id="MaxSampleValue"
        ),
        pytest.param(b"P5\n12 9\n4095\n" + TWELVE.astype(">u2").tobytes(), TWELVE >> 4, id="PGM"),
        *(
            pytest.param(
                f"P5\n12 9\n{largest}\n".encode() + (TWELVE // scale).astype(kind).tobytes(),
                TWELVE.astype(int) // scale * 255 // largest, id=f"PGM to {largest}",
            )
            for largest, scale, kind in ((1000, 5, ">u2"), (200, 21, "u1"), (15, 256, "u1"))
        ),
        pytest.param(encoded(Image.fromarray(TWELVE), "JPEG2000", num_resolutions=1), TWELVE >> 4, id="JPEG 2000"),
    ],
)  # fmt: skip
def test_bits_that_are_not_in_use_cost_no_contrast(data: bytes, expected: NDArray[Any]) -> None:
    np.testing.assert_array_equal(decode(data), in_three(expected))


def test_pictures_of_one_camera_stay_as_dark_as_they_are() -> None:
    """Where the largest value of all is known: a dark one alone would be taken for one of fewer bits."""
    dark = png_of(TWELVE // 16, 16)
    np.testing.assert_array_equal(decode(dark, bits=12), in_three(TWELVE // 16 >> 4))
    np.testing.assert_array_equal(decode(dark, bits=16), in_three(TWELVE * 0))
    np.testing.assert_array_equal(decode(dark), in_three(TWELVE // 16))
    np.testing.assert_array_equal(decode(png_of(TWELVE * 3, 16), bits=12), in_three(TWELVE * 3 >> 6))


def test_estimate_used_bits_are_of_deep_files_that_do_not_tell_them(tmp_path: Path) -> None:
    files = {
        png_of(TWELVE, 16): 12, png_of(TWELVE // 5, 16): 10, png_of(TWELVE << 4, 16): 16, png_of(TWELVE >> 4, 8): None,
        png_of(TWELVE, 16, significant=[12]): None, encoded(Image.fromarray(TWELVE), "TIFF"): 12,
        encoded(picture(), "JPEG"): None, png_of(TWELVE, 16)[:60]: None, b"": None,
    }  # fmt: skip
    for data, expected in files.items():
        (tmp_path / "x").write_bytes(data)
        assert estimate_used_bits(tmp_path / "x") == expected
    assert estimate_used_bits(tmp_path / "y") is None


def test_twelve_bits_of_colour_and_of_transparency() -> None:
    np.testing.assert_array_equal(decode(png_of(COLOURED, 16)), COLOURED >> 4)
    np.testing.assert_array_equal(decode(cv2.imencode(".tiff", COLOURED)[1].tobytes()), COLOURED[..., ::-1] >> 4)
    alpha = np.where(TWELVE % 2, 65535, 0)
    over_white = in_three(np.where(TWELVE % 2, TWELVE >> 4, 255))
    np.testing.assert_array_equal(decode(png_of(np.dstack([TWELVE, alpha]), 16, alpha=True)), over_white)


def test_pictures_that_use_all_bits_are_of_the_decoder_as_ever() -> None:
    """Names of runs hold it; that of others is told by the pictures that it got wrong."""
    deep = np.random.default_rng(0).integers(0, 65536, (9, 12), np.uint16)
    for data in (png_of(deep, 16), png_of(deep >> 8, 8), encoded(picture(), "JPEG")):
        assert decode_with_version(data, inspect(data))[1] == DECODER
    for data in (png_of(TWELVE, 16), png_of(deep, 16, clear=[5])):
        assert decode_with_version(data, inspect(data))[1] == DECODER_BY_DEPTH


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_one_level_of_grey_may_be_clear_at_any_depth(bits: int) -> None:
    levels = np.arange(256).reshape(16, 16) * 257 >> 16 - bits if bits < 16 else np.arange(256).reshape(16, 16) * 257
    shown = levels * 255 // (2**bits - 1) if bits < 16 else levels >> 8
    clear = int(levels[9, 9])
    np.testing.assert_array_equal(
        decode(png_of(levels, bits, clear=[clear])), in_three(np.where(levels == clear, 255, shown))
    )


def test_one_colour_of_sixteen_bits_may_be_clear() -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (9, 12, 3), np.uint16)
    expected = (deep >> 8).astype(np.uint8)
    expected[4, 5] = 255
    np.testing.assert_array_equal(decode(png_of(deep, 16, clear=deep[4, 5].tolist())), expected)


# --- what is no usable image -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", r"the file is empty \(0 bytes\)$"),
        *((data, "not an image that can be read$") for data in (b"hello", bytes(500), b"PK\x03\x04" + b"a" * 99)),
        (b"<html><body>404</body></html>", "not an image, but a web page, probably from a failed download"),
        (b"\n<!DOCTYPE html><title>404</title>", "not an image, but a web page, .*: download it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "not an image, but a Git LFS pointer: run git lfs pull"),
        (encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "it is a TIFF of floating-point nu.*: convert"),
        (cv2.imencode(".tiff", np.ones((4, 4, 3), np.float32))[1].tobytes(), "it is a TIFF of an unusual.*: convert"),
        (encoded(Image.fromarray(np.ones((4, 4), np.int32)), "TIFF"), "it is a TIFF of 32-bit numbers, .*: convert it"),
        (b"Pf\n2 1\n-1.0\n" + bytes(8), "it is a PPM of floating-point numbers, .*: convert it to"),
        *(
            (encoded(picture(32, 32), name), f"it is {name}, which is not supported: convert it to PNG or JPEG")
            for name in ("ICO", "TGA", "DDS")
        ),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50), "it is HEIC, which is not supported: convert it to"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(50), "it is JPEG XL, which is not supported: convert it to"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "it is SVG, which is not supported: convert it to"),
        (b"II+\0" + bytes(50), "it is BigTIFF, which is not supported: convert it to"),
        (tiff_of(12, 1, bytes(24)), "it is a TIFF of 12 bits a sample: convert it to"),
        (tiff_of(16, 2, bytes(32)), "it is a TIFF of signed numbers, .*: convert it to"),
    ],
)  # fmt: skip
def test_what_is_no_usable_image_is_named_as_what_it_is(data: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        decode(data)


@pytest.mark.parametrize("kind", WHOLE)
def test_the_last_hundred_bytes_must_be_there(kind: str) -> None:
    format, options = WHOLE[kind]
    data = encoded(picture(), format, **options)
    for short_side in (None, 20) if format == "JPEG" else (None,):
        assert decode(data, short_side=short_side).ndim == 3
        with warnings.catch_warnings(action="error"), pytest.raises(ImageError):
            decode(data[:-100], short_side=short_side)


@pytest.mark.parametrize("cut", [1, 12, 13, 100])
@pytest.mark.parametrize("format", LOSSLESS)
def test_a_transparent_file_must_be_whole_too(format: str, cut: int) -> None:
    """12 bytes are the end mark of a PNG, 13 a byte of the data before."""
    data = encoded(np.dstack([picture(), picture(seed=1)[..., 0]]), format, **LOSSLESS[format])
    with pytest.raises(ImageError):
        decode(data[:-cut])


@given(st.sampled_from(["baseline JPEG", "progressive JPEG", "PNG", "lossy WebP", "GIF"]), st.data())
def test_a_file_cut_anywhere_is_refused(kind: str, data: st.DataObject) -> None:
    format, options = WHOLE[kind]
    whole = encoded(picture(30, 40), format, **options)
    with pytest.raises(ImageError):
        decode(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(
    st.sampled_from(sorted(WHOLE)),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=3),
)
def test_altered_bytes_give_a_picture_or_one_clear_error(kind: str, changes: list[tuple[int, int]]) -> None:
    format, options = WHOLE[kind]
    data = bytearray(encoded(picture(30, 40), format, exif=turned(6), **options))
    for place, value in changes:
        data[place % len(data)] = value
    try:
        image = decode(bytes(data), max_side=2000)
    except ImageError:
        return
    assert (image.dtype, image.shape[2:]) == (np.uint8, (3,))


@pytest.mark.parametrize("format", ["TIFF", "AVIF"])
def test_damage_that_confuses_pillow_is_damage(format: str) -> None:
    """Pillow's own error is a TypeError for a TIFF whose second page is nothing, a RuntimeError for an empty AVIF."""
    if format == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    data = bytearray(encoded(picture(), format))
    if format == "AVIF":
        data = data.replace(b"iloc", b"free")
    else:
        directory = int.from_bytes(data[4:8], "little")
        pointer = directory + 2 + 12 * int.from_bytes(data[directory : directory + 2], "little")
        assert data[pointer : pointer + 4] == bytes(4), "there is no second page"
        data[pointer : pointer + 4] = len(data).to_bytes(4, "little")
        data += bytes(6)
    with pytest.raises(ImageError, match="damaged"):
        inspect(bytes(data))


@pytest.mark.parametrize(
    ("format", "words"),
    [
        ("TIFF", "a multi-page TIFF (3 pages)"),
        *((name, f"an animated {name} (3 frames)") for name in ("GIF", "WEBP", "PNG")),
    ],
)
def test_several_pictures_in_a_file_are_refused_as_what_they_are(format: str, words: str) -> None:
    frames = [Image.fromarray(picture(seed=seed)) for seed in range(3)]
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match=re.escape(f"it is {words}: one still picture is needed")):
        decode(data)


def test_the_second_picture_of_a_stereo_jpeg_does_not_matter() -> None:
    """Cameras write a preview or the other eye's picture behind the first one: an MPO."""
    data = encoded(picture(), "MPO", save_all=True, append_images=[Image.fromarray(picture(seed=1))])
    assert inspect(data).format == "MPO"
    assert difference(decode(data), decode(encoded(picture(), "JPEG"))) == 0


def test_too_many_pixels_a_side_are_refused_and_the_limit_itself_is_allowed() -> None:
    for width, height in ((40_000, 2), (2, 40_000)):
        with pytest.raises(ImageError, match=f"{width}×{height} pixels; the limit is 20000"):
            decode(encoded(Image.new("RGB", (width, height)), "PNG"))
    data = encoded(picture(10, 40), "PNG")
    assert inspect(data, max_side=40).width == 40
    with pytest.raises(ImageError, match="the limit is 39"):
        inspect(data, max_side=39)


# --- scale -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("short_side", [140, 150, 290, 600, 1100])
def test_reduced_decoding_is_close_to_shrinking_the_full_picture(short_side: int) -> None:
    """A large JPEG is read at 1/8, 1/4, 1/2 or full scale; the rest is the same area averaging."""
    data = encoded(picture(1200, 1600), "JPEG", quality=92)
    reduced, full = decode(data, short_side=short_side), shrink(decode(data), short_side)
    assert reduced.shape == full.shape == (short_side, round(short_side * 4 / 3), 3)
    assert np.abs(reduced.astype(int) - full).mean() < 1.5


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 80), st.sampled_from(["BMP", "JPEG"]))
def test_scaling_never_enlarges_and_keeps_the_aspect(height: int, width: int, short_side: int, format: str) -> None:
    """The short side is exact, the long side right within a pixel; a JPEG is decoded at reduced scale."""
    short_side = max(short_side, 16 if format == "JPEG" else 1)
    image = decode(encoded(picture(height, width), format), short_side=short_side)
    scale = min(1.0, short_side / min(height, width))
    assert min(image.shape[:2]) == min(short_side, height, width)
    assert abs(image.shape[0] - height * scale) < 1
    assert abs(image.shape[1] - width * scale) < 1


def test_a_small_image_is_left_as_it_is_and_a_strip_keeps_its_short_side() -> None:
    image = picture(20, 30)
    assert shrink(image, 20) is image
    assert shrink(image, None) is image
    np.testing.assert_array_equal(decode(encoded(image, "PNG"), short_side=500), image)
    assert decode(encoded(picture(29, 800), "PNG"), short_side=256).shape == (29, 800, 3)
    assert decode(encoded(picture(800, 29), "PNG"), short_side=10).shape == (276, 10, 3)


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_means_nothing_is_left_aside(orientation: int) -> None:
    data = encoded(picture(), "PNG", exif=turned(orientation))
    np.testing.assert_array_equal(decode(data), picture())
    assert inspect(data).orientation == 1
