"""Images of other channels and bits than RGB of 8: every way of writing one picture gives the same samples."""

import io
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from kagglepipe.errors import UserError
from kagglepipe.files import file_sha256
from kagglepipe.images.cache import PixelCache, PixelReader, check_rows, make_cache
from kagglepipe.images.decode import ImageError, decode, decode_picture, inspect
from kagglepipe.images.depth import RGB, ChannelsError, PixelFormat, as_picture, estimate_used_bits, resized
from kagglepipe.images.views import Views

RNG = np.random.default_rng(0)
FIVE = RNG.integers(0, 256, (20, 30, 5), np.uint8)
DEEP = RNG.integers(0, 4096, (20, 30, 4), np.uint16)  # 12 bits
DEEP[0, 0] = 4095


def npy(array: NDArray[np.generic]) -> bytes:
    """The array as NumPy writes it."""
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def png(array: NDArray[np.generic]) -> bytes:
    """The array, in OpenCV's order of colours, as PNG."""
    return bytes(cv2.imencode(".png", array)[1])


@pytest.mark.parametrize("data", [
    npy(FIVE), npy(FIVE.transpose(2, 0, 1)), npy(np.asfortranarray(FIVE)),
    npy((FIVE.astype(np.uint16) << 4).astype(">u2")),
], ids=["last", "first", "fortran", "12 bits, big-endian"])  # fmt: skip
def test_five_channels_are_read_as_they_are(data: bytes) -> None:
    np.testing.assert_array_equal(decode(data, form=PixelFormat(5), bits=12), FIVE)
    assert inspect(data).mode == "5 channels"
    picture, version = decode_picture(data, inspect(data), bits=12)
    np.testing.assert_array_equal(picture, FIVE[..., :3])
    assert version == "opencv-4"


def test_sixteen_bits_are_kept_and_what_is_used_of_them_fills_the_range() -> None:
    """A 12-bit value is multiplied by 16; an 8-bit one by 257, so that white is white."""
    form = PixelFormat(4, 16)
    np.testing.assert_array_equal(decode(npy(DEEP), form=form), DEEP << 4)
    np.testing.assert_array_equal(decode(png(DEEP[..., [2, 1, 0, 3]]), form=form), DEEP << 4)
    np.testing.assert_array_equal(decode(png(DEEP[..., :1]), form=PixelFormat(1, 16)), DEEP[..., :1] << 4)
    np.testing.assert_array_equal(decode(png(DEEP[..., 2::-1]), form=PixelFormat(3, 16)), DEEP[..., :3] << 4)
    np.testing.assert_array_equal(decode(npy(FIVE), form=PixelFormat(5, 16)), FIVE.astype(np.uint16) * 257)
    np.testing.assert_array_equal(decode(npy(DEEP), form=PixelFormat(4)), DEEP >> 4)


def test_grey_is_pillows_and_a_grey_file_keeps_its_levels() -> None:
    photo, grey = FIVE[..., :3], FIVE[..., :1]
    found = decode(png(photo[..., ::-1]), form=PixelFormat(1))
    assert found.shape == (20, 30, 1)
    expected = np.asarray(Image.fromarray(photo).convert("L")).astype(int)
    assert abs(found[..., 0].astype(int) - expected).max() <= 1
    for data in (png(grey), npy(grey), npy(grey[..., 0])):
        np.testing.assert_array_equal(decode(data, form=PixelFormat(1)), grey)
        np.testing.assert_array_equal(decode(data), np.repeat(grey, 3, axis=2))


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_the_fourth_channel_is_alpha_as_it_is_written_and_over_white_otherwise(format: str) -> None:
    rgba, stream = FIVE[..., :4], io.BytesIO()
    Image.fromarray(rgba, "RGBA").save(stream, format)
    np.testing.assert_array_equal(decode(stream.getvalue(), form=PixelFormat(4)), rgba)
    over = decode(stream.getvalue(), form=PixelFormat(3, 16))
    assert abs(over.astype(int) - decode(stream.getvalue()).astype(int) * 257).max() == 0
    deep = decode(png(rgba[..., [2, 1, 0, 3]].astype(np.uint16) * 257), form=PixelFormat(3, 16))
    colour, alpha = rgba[..., :3].astype(float) * 257, rgba[..., 3:] / 255
    np.testing.assert_allclose(deep, colour * alpha + 65535 * (1 - alpha), atol=0.51)


@pytest.mark.parametrize(("data", "form", "error"), [
    (png(FIVE[..., :3]), PixelFormat(4), r"^has 3 channels, model.in_chans=4 needs 4: type model.in_chans=3$"),
    (png(FIVE[..., :1]), PixelFormat(2), "has 1 channel, model.in_chans=2 needs 2: type model.in_chans=1"),
    (npy(FIVE), RGB, "has 5 channels, model.in_chans=3 needs 3: type model.in_chans=5"),
    (npy(DEEP), PixelFormat(1), "has 4 channels, model.in_chans=1 needs 1"),
])  # fmt: skip
def test_channels_are_neither_made_up_nor_left_out(data: bytes, form: PixelFormat, error: str) -> None:
    with pytest.raises(ChannelsError, match=error):
        decode(data, form=form)


@pytest.mark.parametrize(("data", "error"), [
    (npy(FIVE / 255), "NPY values are float64, whose range is unknown: save them as uint8 or uint16"),
    (npy(np.array([{}, []], object)), "NPY values are object"),
    (npy(FIVE[0, 0]), r"has the shape \(5,\): an image is"),
    (npy(np.zeros((201, 201, 200), np.uint8)), "200 channels; the limit is 128"),
    (npy(FIVE)[:-9], "damaged or truncated: its NPY data cannot be read"),
    (npy(FIVE)[:40], "damaged header"),
    (npy(np.zeros((1, 1), np.uint8)).replace(b"(1, 1)", b"(9**9, 1)"), "damaged header"),
])  # fmt: skip
def test_other_arrays_are_named_as_what_they_are(data: bytes, error: str) -> None:
    with pytest.raises(ImageError, match=error):
        decode(data, form=PixelFormat(5))


def tiff(array: NDArray[np.uint8]) -> bytes:
    """The array (H, W, C) as a TIFF of one strip without a colour space, by hand: no library here writes one."""
    height, width, channels = array.shape
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: channels, 278: height, 279: array.size}
    entries = [np.array([tag, 4], "<u2").tobytes() + np.array([1, tags[tag]], "<u4").tobytes() for tag in tags]
    head = b"II*\0" + np.array([8 + array.size], "<u4").tobytes()
    return head + array.tobytes() + np.array([len(tags)], "<u2").tobytes() + b"".join(entries) + bytes(4)


def test_a_tiff_of_many_channels_says_what_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kagglepipe.images.pixel_table.find_spec", lambda name: None)
    with pytest.raises(
        ImageError, match=r"TIFF of 5 channels: type pip install 'kagglepipe\[multispectral\]', or save"
    ):
        decode(tiff(FIVE), form=PixelFormat(5))


def test_a_tiff_of_many_channels_is_read_as_it_is() -> None:
    pytest.importorskip("tifffile")
    for channels in (3, 4, 5):  # without a colour space: no RGB
        found = decode(tiff(FIVE[..., :channels]), form=PixelFormat(channels))
        np.testing.assert_array_equal(found, FIVE[..., :channels])


def test_the_bits_that_arrays_use_are_found(tmp_path: Path) -> None:
    for name, array, bits in (("a.npy", DEEP, 12), ("b.npy", FIVE, None), ("c.npy", DEEP >> 3, 10)):
        np.save(tmp_path / name, array)
        assert estimate_used_bits(tmp_path / name) == bits


@pytest.mark.parametrize("form", [PixelFormat(1), PixelFormat(5), PixelFormat(5, 16)], ids=lambda form: form.suffix)
def test_a_cache_holds_what_the_files_give_and_is_of_one_format(form: PixelFormat, tmp_path: Path) -> None:
    arrays = [RNG.integers(0, 256, (20 + n, 30, form.channels), np.uint8) for n in range(3)]
    for n, array in enumerate(arrays):
        np.save(tmp_path / f"{n}.npy", array)
    files = [tmp_path / f"{n}.npy" for n in range(3)]
    digests = [file_sha256(file) for file in files]
    options = {"short_side": 16, "form": form}
    cache = make_cache(
        tmp_path / "cache",
        dict(zip(digests, files, strict=True)),
        max_bytes=10**6,
        **options,  # type: ignore[arg-type]
    )
    cached = PixelReader(files, digests, cache=cache, **options)  # type: ignore[arg-type]
    plain = PixelReader(files, digests, **options)  # type: ignore[arg-type]
    for row in range(3):
        assert cache.get(digests[row]) is not None
        assert cached[row].dtype == form.dtype
        np.testing.assert_array_equal(cached[row], plain[row])
        assert Views(cached, 32, "border")[row, 0].shape == (32, 32, form.channels)
    assert PixelCache.open(tmp_path / "cache", 16) is None
    with pytest.raises(ValueError, match="a cache of"):
        PixelReader(files, digests, short_side=16, cache=cache)


@pytest.mark.parametrize("size", [(7, 9), (60, 40), (15, 20)])
def test_resizing_many_channels_is_resizing_each(size: tuple[int, int]) -> None:
    for interpolation in (cv2.INTER_AREA, cv2.INTER_CUBIC):
        found = resized(FIVE, size, interpolation)
        each = [cv2.resize(np.ascontiguousarray(FIVE[..., n]), size, interpolation=interpolation) for n in range(5)]
        assert abs(found.astype(int) - np.stack(each, axis=2)).max() <= 1


def test_pictures_to_look_at_have_three_channels_of_eight_bits() -> None:
    assert as_picture(FIVE[..., :3]) is not None
    np.testing.assert_array_equal(as_picture(FIVE), FIVE[..., :3])
    np.testing.assert_array_equal(as_picture(FIVE[..., :2]), np.repeat(FIVE[..., :1], 3, axis=2))
    np.testing.assert_array_equal(as_picture(FIVE.astype(np.uint16) * 257), FIVE[..., :3])


def test_a_table_is_checked_before_anything_is_decoded() -> None:
    rows = pd.DataFrame({"mode": ["RGBA", "P", "RGB"], "path": ["a.png", "b.png", "x.png"]})
    check_rows(rows, RGB)
    check_rows(rows, PixelFormat(1, 16))
    with pytest.raises(
        UserError, match=r"^photo x.png has 3 channels, model.in_chans=4 needs 4: type model.in_chans=3"
    ):
        check_rows(rows, PixelFormat(4))
