"""The pixel cache gives the pixels that decoding gives, whatever part of them it holds, and never another file's."""

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagglepipe.errors import UserError
from kagglepipe.files import file_sha256
from kagglepipe.images.cache import FILE, MAGIC, NOT_STORED, PixelCache, PixelReader, cache_writer, make_cache
from kagglepipe.images.decode import Pixels, decode

SHORT_SIDE = 16
EVERYTHING = 1_000_000


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Five images, each of another size and colour."""
    return drawn(tmp_path, 5)


def drawn(folder: Path, count: int) -> list[Path]:
    """Images, each of another size and colour."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        path = folder / f"image{number}.png"
        cv2.imwrite(str(path), rng.integers(0, 256, (20 + 3 * number, 50 - 7 * number, 3), dtype=np.uint8))
        paths.append(path)
    return paths


def decoded(path: Path) -> Pixels:
    """What a reader should give for a file."""
    return decode(path.read_bytes(), short_side=SHORT_SIDE)


def hashes(files: Sequence[Path]) -> list[str]:
    """What a table says of the files."""
    return [file_sha256(path) for path in files]


def cache_of(folder: Path, files: Sequence[Path], max_bytes: int = EVERYTHING) -> PixelCache:
    """The cache of the files, made where it lacks some."""
    known = dict(zip(hashes(files), files, strict=True))
    return make_cache(folder, known, short_side=SHORT_SIDE, max_bytes=max_bytes)


def stored(cache: PixelCache) -> int:
    """How many images lie in the cache."""
    return sum(offset != NOT_STORED for offset, _, _ in cache.places.values())


def test_cached_images_need_no_file_and_cannot_be_changed(tmp_path: Path, files: list[Path]) -> None:
    expected, known, cache = [decoded(path) for path in files], hashes(files), cache_of(tmp_path / "cache", files)
    for path in files:
        path.unlink()
    cached = PixelReader(files, known, short_side=SHORT_SIDE, cache=cache)
    assert len(cached) == len(files)
    for row, image in enumerate(expected):
        np.testing.assert_array_equal(cached[row], image)
    image = cache.get(known[0])
    assert image is not None
    with pytest.raises(ValueError, match="read-only"):
        image[0, 0, 0] = 1


@given(order=st.permutations(range(4)), cached=st.sets(st.integers(0, 3)), limit=st.integers(0, 4000))
def test_neither_order_nor_what_is_stored_changes_an_image(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], cached: set[int], limit: int
) -> None:
    """The cache was made of other files in another order, as by another command; rows are found by their bytes."""
    folder = tmp_path_factory.mktemp("any")
    files = drawn(folder, 4)
    cache = cache_of(folder / "cache", [files[n] for n in sorted(cached, reverse=True)], limit)
    rows = [files[n] for n in order]
    reader = PixelReader(rows, hashes(rows), short_side=SHORT_SIDE, cache=cache)
    for row, path in enumerate(rows):
        np.testing.assert_array_equal(reader[row], decoded(path))


def test_an_open_cache_stays_what_it_was_when_it_is_replaced(tmp_path: Path, files: list[Path]) -> None:
    cache, known = cache_of(tmp_path / "cache", files[:3]), hashes(files)
    expected = decoded(files[0])
    files[0].unlink()
    later = cache_of(tmp_path / "cache", files[3:])
    np.testing.assert_array_equal(cache.get(known[0]), expected)
    assert later.get(known[0]) is None
    assert set(later.places) == set(known[3:])


def test_another_process_reads_the_same_cache_or_fails(tmp_path: Path, files: list[Path]) -> None:
    cache = cache_of(tmp_path / "cache", files)
    sent = pickle.dumps(cache)
    assert len(sent) < 500  # not the pixels
    np.testing.assert_array_equal(pickle.loads(sent).get(hashes(files)[3]), decoded(files[3]))
    (tmp_path / "cache" / FILE).unlink()
    cache_of(tmp_path / "cache", files)
    with pytest.raises(UserError, match="was made anew by another command meanwhile"):
        pickle.loads(sent)


def test_copies_are_stored_once(tmp_path: Path, files: list[Path]) -> None:
    with cache_writer(tmp_path, short_side=SHORT_SIDE, max_bytes=EVERYTHING) as writer:
        for digest in ("a" * 64, "b" * 64, "a" * 64):
            writer.add(digest, decoded(files[0]))
    assert writer.used == 2 * decoded(files[0]).nbytes


# --- what is made, and when ------------------------------------------------------------------------------------------


def test_new_images_join_those_that_are_there(tmp_path: Path, files: list[Path]) -> None:
    cache_of(tmp_path / "cache", files[:3])
    known, expected = hashes(files), [decoded(path) for path in files]
    for path in files[:3]:
        path.write_bytes(b"read no more")
    table = dict(zip(known, files, strict=True))
    cache = make_cache(tmp_path / "cache", table, short_side=SHORT_SIDE, max_bytes=EVERYTHING)
    for digest, image in zip(known, expected, strict=True):
        np.testing.assert_array_equal(cache.get(digest), image)


def test_a_larger_limit_stores_the_rest(tmp_path: Path, files: list[Path]) -> None:
    """What is there already is not made again."""
    limit = sum(decoded(path).nbytes for path in files[:2])
    assert cache_of(tmp_path / "cache", []).places == {}
    small = cache_of(tmp_path / "cache", files, limit)
    assert (stored(small), cache_of(tmp_path / "cache", files[:2], limit).token) == (2, small.token)
    assert stored(cache_of(tmp_path / "too small", files[:2], limit - 1)) == 1
    whole = cache_of(tmp_path / "cache", files)
    assert (stored(whole), cache_of(tmp_path / "cache", files[1:3]).token) == (5, whole.token)
    assert stored(cache_of(tmp_path / "cache", files, limit)) == 2


def test_the_positions_of_an_older_version_are_not_believed(tmp_path: Path, files: list[Path]) -> None:
    """They are of the table that was there when they were made, which need not be the present one."""
    folder = tmp_path / "cache"
    folder.mkdir()
    np.save(folder / "index.npy", np.array([[0, 16, 16]]))
    (folder / "pixels.bin").write_bytes(bytes(768))
    assert PixelCache.open(folder, SHORT_SIDE) is None
    np.testing.assert_array_equal(cache_of(folder, files).get(hashes(files)[0]), decoded(files[0]))
    assert [path.name for path in folder.iterdir()] == [FILE]


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:40], lambda data: b"", lambda _: MAGIC])
def test_a_cache_that_is_not_whole_is_made_anew(tmp_path: Path, files: list[Path], damage) -> None:
    cache_of(tmp_path / "cache", files)
    file = tmp_path / "cache" / FILE
    whole = file.read_bytes()
    file.unlink()
    file.write_bytes(damage(whole))
    assert PixelCache.open(tmp_path / "cache", SHORT_SIDE) is None
    assert stored(cache_of(tmp_path / "cache", files)) == 5


def test_another_decoder_or_size_is_another_cache(
    tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache_of(tmp_path / "cache", files)
    assert PixelCache.open(tmp_path / "cache", SHORT_SIDE + 1) is None
    monkeypatch.setattr("kagglepipe.images.cache.DECODERS", "another")
    assert PixelCache.open(tmp_path / "cache", SHORT_SIDE) is None


def test_a_block_that_fails_leaves_the_cache_as_it_was(tmp_path: Path, files: list[Path]) -> None:
    before = cache_of(tmp_path / "cache", files)
    with pytest.raises(KeyboardInterrupt), cache_writer(tmp_path / "cache", short_side=16, max_bytes=10):
        raise KeyboardInterrupt
    again = PixelCache.open(tmp_path / "cache", SHORT_SIDE)
    assert again is not None
    assert again.token == before.token


# --- without a cache -------------------------------------------------------------------------------------------------


def test_without_a_cache_files_are_decoded(files: list[Path]) -> None:
    plain = PixelReader(files, hashes(files), short_side=SHORT_SIDE)
    np.testing.assert_array_equal(plain[1], decoded(files[1]))
    whole = PixelReader(files, hashes(files), short_side=None)
    np.testing.assert_array_equal(whole[1], decode(files[1].read_bytes()))


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        Path.unlink,
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.write_bytes(path.with_name("image3.png").read_bytes()),
    ],
)
def test_a_file_that_is_not_what_it_was_is_named(
    tmp_path: Path, files: list[Path], cached: bool, change: Callable[[Path], object]
) -> None:
    known = hashes(files)
    change(files[2])
    cache = cache_of(tmp_path / "cache", [files[3]]) if cached else None  # the replacement
    reader = PixelReader(files, known, short_side=SHORT_SIDE, cache=cache)
    with pytest.raises(UserError, match=r"image2\.png.*competition\.refresh=true"):
        reader[2]
    np.testing.assert_array_equal(reader[3], decoded(files[3]))
