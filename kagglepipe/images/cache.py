"""Cache of decoded pixels, so that a file is decoded once for all folds, epochs and runs.

One file: the pixels of each image, all of one `PixelFormat`, then an index by the SHA-256 of the image file. A reader
opens pixels and index together, and keeps both although the cache is replaced under its name. Images beyond the size
limit are decoded each time.
"""

import hashlib
import io
import logging
import secrets
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.errors import UserError
from kagglepipe.files import REPLACED, atomic
from kagglepipe.images.decode import DECODER, DECODER_BY_DEPTH, DECODER_OF_ARRAYS, ImageError, Pixels, decode
from kagglepipe.images.depth import RGB, ChannelsError, PixelFormat, check_channels
from kagglepipe.images.pixel_table import read_image_bytes
from kagglepipe.parallel import parallel_map

log = logging.getLogger(__name__)
FILE = "images.bin"
LEGACY = ("index.npy", "pixels.bin")  # only positions, of no known table: not to be trusted
MAGIC = b"kagglepipe-pixels"  # the last bytes of a cache, behind the length of its index (8 bytes)
DECODERS = f"{DECODER} or {DECODER_BY_DEPTH}"  # an image has one of them
NOT_STORED = -1
WRITTEN_AT_ONCE = 1 << 20  # bytes: each write of a small image would wait for the interpreter's lock

Place = tuple[int, int, int]  # offset in bytes (NOT_STORED: beyond the limit), height, width


@dataclass(frozen=True)
class PixelCache:
    """An open cache.

    short_side, bits, form: as in `decode`. max_bytes: size limit when it was written. places: SHA-256 -> place of the
    pixels. token: differs from that of a cache that replaces it. pixels: all bytes, memory-mapped.
    """

    path: Path
    short_side: int
    max_bytes: int
    places: dict[str, Place]
    token: str
    pixels: NDArray[np.uint8]
    bits: int | None = None
    form: PixelFormat = RGB

    @classmethod
    def open(
        cls, folder: Path, short_side: int, bits: int | None = None, form: PixelFormat = RGB
    ) -> "PixelCache | None":
        """Open the cache in `folder`; None without one, or if it is damaged or of another decoder, size or format."""
        path = folder / FILE
        try:
            with path.open("rb") as file:
                index, pixels = _read_index(file), np.memmap(file, np.uint8, mode="r")
        except FileNotFoundError:
            return None
        except (zipfile.BadZipFile, ValueError, KeyError, OSError, EOFError) as error:
            log.warning("%s is damaged (%s): it is made anew", path, error)
            return None
        if (str(index["decoder"]), int(index["short_side"])) != (decoder_name(bits, form), short_side):
            return None
        rows = zip(index["sha256"].tolist(), index["places"].tolist(), strict=True)
        places: dict[str, Place] = {digest: tuple(place) for digest, place in rows}
        return cls(path, short_side, int(index["max_bytes"]), places, str(index["token"]), pixels, bits, form)

    def __reduce__(self) -> tuple[Callable[..., "PixelCache"], tuple[Any, ...]]:
        return _reopen, (self.path.parent, self.short_side, self.token, self.bits, self.form)

    def get(self, digest: str) -> Pixels | None:
        """Pixels (H, W, C), read-only, of the file with this SHA-256; None if they are not stored."""
        offset, height, width = self.places.get(digest, (NOT_STORED, 0, 0))
        if offset == NOT_STORED:
            return None
        stored = self.pixels[offset : offset + height * width * self.form.bytes].view(self.form.dtype)
        return stored.reshape(height, width, self.form.channels)

    def holds(self, digests: Iterable[str], max_bytes: int) -> bool:
        """Whether a new cache of these files, with this limit, would hold no more."""
        if not set(digests) <= self.places.keys():
            return False
        used = self.form.bytes * sum(
            height * width for offset, height, width in self.places.values() if offset != NOT_STORED
        )
        is_whole = all(offset != NOT_STORED for offset, _, _ in self.places.values())
        return self.max_bytes == max_bytes or (is_whole and used <= max_bytes)


def decoder_name(bits: int | None, form: PixelFormat = RGB) -> str:
    """Version of the decoders, with the bits that deep images use if not all, and the format if it is not RGB."""
    decoders = DECODERS if form == RGB else f"{DECODERS} or {DECODER_OF_ARRAYS}{form.suffix}"
    return decoders if bits in (None, 16) else f"{decoders}, {bits} bits"


def _reopen(folder: Path, short_side: int, token: str, bits: int | None, form: PixelFormat) -> PixelCache:
    """Open the same cache in another process. Raises UserError if it was replaced meanwhile."""
    found = PixelCache.open(folder, short_side, bits, form)
    if found is None or found.token != token:
        raise UserError(f"{folder} was made anew by another command meanwhile: type the same command again")
    return found


def _read_index(file: BinaryIO) -> dict[str, NDArray[Any]]:
    """Read the index behind the pixels. Raises ValueError if the file is cut short."""
    size, tail = file.seek(0, io.SEEK_END), 8 + len(MAGIC)
    file.seek(max(0, size - tail))
    end = file.read(tail)
    length = int.from_bytes(end[:8], "little")
    if not end.endswith(MAGIC) or length > size - tail:
        raise ValueError("it does not end as it should")
    file.seek(size - tail - length)
    with np.load(io.BytesIO(file.read(length))) as index:  # numpy refuses pickled arrays by default
        return {name: index[name] for name in index.files}


class PixelWriter:
    """Appends each image once to an open file, up to `max_bytes`, and keeps the index."""

    def __init__(self, file: BinaryIO, max_bytes: int) -> None:
        self.file = file
        self.max_bytes = max_bytes
        self.used = 0
        self.places: dict[str, Place] = {}

    def add(self, digest: str, image: Pixels) -> None:
        """Store an image (H, W, C) if it fits, by its file's SHA-256, without a memory map."""
        if digest in self.places:
            return
        height, width = image.shape[:2]
        offset = NOT_STORED
        if self.used + image.nbytes <= self.max_bytes:
            self.file.write(np.ascontiguousarray(image).data)
            offset, self.used = self.used, self.used + image.nbytes
        self.places[digest] = (offset, height, width)

    def finish(self, short_side: int, bits: int | None = None, form: PixelFormat = RGB) -> None:
        """Write the index behind the pixels."""
        index = io.BytesIO()
        np.savez(
            index,
            sha256=np.array(list(self.places), "U64"),
            places=np.array(list(self.places.values()), np.int64).reshape(-1, 3),
            decoder=np.array(decoder_name(bits, form)),
            short_side=np.array(short_side),
            max_bytes=np.array(self.max_bytes),
            token=np.array(secrets.token_hex(8)),
        )
        self.file.write(index.getvalue() + len(index.getvalue()).to_bytes(8, "little") + MAGIC)


@contextmanager
def cache_writer(
    folder: Path, *, short_side: int, max_bytes: int, bits: int | None = None, form: PixelFormat = RGB
) -> Iterator[PixelWriter]:
    """Yield a writer; its images replace the cache in `folder` when the block ends without an exception."""
    with atomic(folder / FILE) as temporary, temporary.open("wb", buffering=WRITTEN_AT_ONCE) as file:
        writer = PixelWriter(file, max_bytes)
        yield writer
        writer.finish(short_side, bits, form)
    for name in LEGACY:
        (folder / name).unlink(missing_ok=True)


def make_cache(
    folder: Path,
    files: dict[str, Path],
    *,
    short_side: int,
    max_bytes: int,
    bits: int | None = None,
    form: PixelFormat = RGB,
    workers: int | None = None,
    progress: Callable[[Iterable[Pixels], int], Iterable[Pixels]] = lambda pixels, count: pixels,
) -> PixelCache:
    """Open the cache in `folder`, made anew unless it holds all files; pixels that it holds are copied.

    files: SHA-256 -> file. progress: wraps an iterator over pixels, given their number. Raises UserError as
    `PixelReader`.
    """
    known = PixelCache.open(folder, short_side, bits, form)
    if known is not None and known.holds(files, max_bytes):
        return known
    digests = list(files)
    reader = PixelReader(list(files.values()), digests, short_side=short_side, cache=known, bits=bits, form=form)
    log.info("pixels: decoding %d images, their short side to %d, for %s", len(files), short_side, folder)
    with cache_writer(folder, short_side=short_side, max_bytes=max_bytes, bits=bits, form=form) as writer:
        images = parallel_map(reader.__getitem__, range(len(digests)), workers=workers)
        for digest, image in zip(digests, progress(images, len(digests)), strict=True):
            writer.add(digest, image)
    made = PixelCache.open(folder, short_side, bits, form)
    assert made is not None
    return made


class PixelReader:
    """Decoded images by row, from the cache or else from their files, whose bytes are checked.

    paths, digests: (N,) image files and their SHA-256 when prepared. short_side, bits, form: as in `decode`. cache:
    None to decode each time.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        digests: Sequence[str],
        *,
        short_side: int | None,
        cache: PixelCache | None = None,
        bits: int | None = None,
        form: PixelFormat = RGB,
    ) -> None:
        if len(paths) != len(digests):
            raise ValueError(f"{len(paths)} files and {len(digests)} hashes")
        if cache is not None and cache.short_side != short_side:
            raise ValueError(f"a cache of {cache.short_side} pixels for images of {short_side}")
        if cache is not None and cache.form != form:
            raise ValueError(f"a cache of {cache.form} for images of {form}")
        self.paths, self.digests = list(paths), list(digests)
        self.short_side, self.cache, self.bits, self.form = short_side, cache, bits, form

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Pixels:
        """Upright pixels (H, W, C), read-only if cached. Raises UserError for a changed file, or other channels."""
        digest, path = self.digests[row], self.paths[row]
        if self.cache is not None and (stored := self.cache.get(digest)) is not None:
            return stored
        try:
            data = read_image_bytes(path)
            if hashlib.sha256(data).hexdigest() != digest:
                raise UserError(f"{path} is not the file that was prepared; {REPLACED}")
            return decode(data, short_side=self.short_side, max_side=2**31, bits=self.bits, form=self.form)
        except ChannelsError as error:
            raise UserError(f"{path} {error}") from error
        except (ImageError, OSError) as error:
            raise UserError(f"{path}: {error}; {REPLACED}") from error


def image_reader(
    dataset: Dataset, rows: pd.DataFrame, short_side: int, folder: Path | None, form: PixelFormat = RGB
) -> PixelReader:
    """Decoded images of `rows` of a dataset. folder: of a cache of this size, used if it is there; None for none.

    Raises UserError as `check_rows`.
    """
    check_rows(rows, form)
    cache = None if folder is None else PixelCache.open(folder, short_side, dataset.bits, form)
    return PixelReader(
        dataset.paths(rows), rows["sha256"].tolist(), short_side=short_side, cache=cache, bits=dataset.bits, form=form
    )


def check_rows(rows: pd.DataFrame, form: PixelFormat) -> None:
    """Raise UserError unless all files of `rows`, by their mode, can be decoded to `form`. Palettes are not known."""
    for mode, path in rows.drop_duplicates("mode")[["mode", "path"]].itertuples(index=False):
        if mode == "P" and form.channels == 4:  # it may have a transparent colour, which decoding finds
            continue
        try:
            check_channels(mode, form)
        except ChannelsError as error:
            raise UserError(f"photo {path} {error}") from error
