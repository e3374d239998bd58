"""The pixel cache gives the pixels that decoding gives, whatever part of them it holds."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from kagglepipe.errors import UserError
from kagglepipe.images.cache import NOT_STORED, PixelReader, PixelWriter, is_whole, write_index
from kagglepipe.images.decode import Pixels, decode

SHORT_SIDE = 16
EVERYTHING = 1_000_000


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Five images, each of another size and colour."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(5):
        path = tmp_path / f"image{number}.png"
        cv2.imwrite(str(path), rng.integers(0, 256, (20 + 3 * number, 50 - 7 * number, 3), dtype=np.uint8))
        paths.append(path)
    return paths


def decoded(path: Path) -> Pixels:
    """What a reader should give for a file."""
    return decode(path.read_bytes(), short_side=SHORT_SIDE)


def make_cache(folder: Path, files: Sequence[Path], max_bytes: int) -> PixelWriter:
    """A finished cache of the files."""
    folder.mkdir()
    with (folder / "pixels.bin").open("wb") as file:
        writer = PixelWriter(file, max_bytes)
        for path in files:
            writer.add(decoded(path))
    write_index(folder, writer.index())
    return writer


def reader(
    files: Sequence[Path], folder: Path | None = None, places: Sequence[int] | None = None, short_side: int = SHORT_SIDE
) -> PixelReader:
    """A reader of the files, in the cache's order unless `places` says otherwise."""
    places = range(len(files)) if places is None else places
    return PixelReader(files, short_side=short_side, folder=folder, places=places)


def test_every_image_comes_back_byte_for_byte(tmp_path: Path, files: list[Path]) -> None:
    make_cache(tmp_path / "cache", files, EVERYTHING)
    cached = reader(files, tmp_path / "cache")
    assert len(cached) == len(files)
    for row, path in enumerate(files):
        np.testing.assert_array_equal(cached[row], decoded(path))


def test_cached_images_need_no_file(tmp_path: Path, files: list[Path]) -> None:
    make_cache(tmp_path / "cache", files, EVERYTHING)
    expected = [decoded(path) for path in files]
    for path in files:
        path.unlink()
    cached = reader(files, tmp_path / "cache")
    for row, image in enumerate(expected):
        np.testing.assert_array_equal(cached[row], image)


def test_the_file_holds_the_pixels_and_nothing_else(tmp_path: Path, files: list[Path]) -> None:
    writer = make_cache(tmp_path / "cache", files, EVERYTHING)
    pixels = b"".join(decoded(path).tobytes() for path in files)
    assert (tmp_path / "cache" / "pixels.bin").read_bytes() == pixels
    assert writer.used == len(pixels)


def test_images_beyond_the_limit_are_decoded_to_the_same_pixels(tmp_path: Path, files: list[Path]) -> None:
    limit = sum(decoded(path).nbytes for path in files[:2]) + 10
    writer = make_cache(tmp_path / "cache", files, limit)
    assert (writer.index()[:, 0] == NOT_STORED).any()
    assert (tmp_path / "cache" / "pixels.bin").stat().st_size == writer.used <= limit
    cached = reader(files, tmp_path / "cache")
    for row, path in enumerate(files):
        np.testing.assert_array_equal(cached[row], decoded(path))


def test_an_image_that_just_fits_is_stored(tmp_path: Path, files: list[Path]) -> None:
    size = decoded(files[0]).nbytes
    assert make_cache(tmp_path / "fits", files[:1], size).used == size
    assert make_cache(tmp_path / "does not", files[:1], size - 1).used == 0


def test_a_limit_of_nothing_stores_nothing(tmp_path: Path, files: list[Path]) -> None:
    writer = make_cache(tmp_path / "cache", files, 0)
    assert writer.index()[:, 0].tolist() == [NOT_STORED] * len(files)
    cached = reader(files, tmp_path / "cache")
    np.testing.assert_array_equal(cached[3], decoded(files[3]))


def test_the_index_has_the_size_of_every_image(tmp_path: Path, files: list[Path]) -> None:
    index = make_cache(tmp_path / "cache", files, 0).index()
    assert index[:, 1:].tolist() == [list(decoded(path).shape[:2]) for path in files]


def test_no_images_make_an_empty_cache(tmp_path: Path) -> None:
    index = make_cache(tmp_path / "cache", [], EVERYTHING).index()
    assert index.shape == (0, 3)
    assert len(reader([], tmp_path / "cache")) == 0


def test_cached_pixels_cannot_be_changed(tmp_path: Path, files: list[Path]) -> None:
    make_cache(tmp_path / "cache", files, EVERYTHING)
    image = reader(files, tmp_path / "cache")[0]
    with pytest.raises(ValueError, match="read-only"):
        image[0, 0, 0] = 1
    np.testing.assert_array_equal(reader(files, tmp_path / "cache")[0], decoded(files[0]))


def test_a_subset_in_another_order_finds_its_places(tmp_path: Path, files: list[Path]) -> None:
    make_cache(tmp_path / "cache", files, EVERYTHING)
    places = [4, 0, 2]
    expected = [decoded(files[place]) for place in places]
    for path in files:
        path.unlink()
    some = reader([files[place] for place in places], tmp_path / "cache", places)
    assert len(some) == 3
    for row, image in enumerate(expected):
        np.testing.assert_array_equal(some[row], image)


def test_without_a_cache_files_are_decoded(files: list[Path]) -> None:
    plain = PixelReader(files, short_side=SHORT_SIDE)
    np.testing.assert_array_equal(plain[1], decoded(files[1]))
    np.testing.assert_array_equal(PixelReader(files, short_side=None)[1], decode(files[1].read_bytes()))


def test_a_file_that_vanished_is_named(files: list[Path]) -> None:
    files[2].unlink()
    with pytest.raises(UserError, match=r"image2\.png.*competition\.refresh=true"):
        reader(files)[2]


@pytest.mark.parametrize("data", [b"", b"something else", None])
def test_a_file_that_is_no_image_any_more_is_named(files: list[Path], data: bytes | None) -> None:
    files[2].write_bytes(files[2].read_bytes()[:-100] if data is None else data)
    with pytest.raises(UserError, match=r"image2\.png.*competition\.refresh=true"):
        reader(files)[2]


def test_a_cache_is_whole_only_with_its_index(tmp_path: Path, files: list[Path]) -> None:
    assert not is_whole(tmp_path / "cache")
    make_cache(tmp_path / "cache", files, EVERYTHING)
    assert is_whole(tmp_path / "cache")
    (tmp_path / "cache" / "index.npy").unlink()
    assert not is_whole(tmp_path / "cache")
