"""Features of frozen backbones: computed once, stored on disk, shared by folds, runs and sweeps.

A store is a folder for everything that features depend on save the file itself: weights, preprocessing, decoder,
augmentation and precision. In it an item, an image of one frame or a video of T frames, is found by its key.
"""

import json
import logging
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kagglepipe.console import Progress
from kagglepipe.files import atomic, locked, sha256, write_json
from kagglepipe.images.decode import Pixels
from kagglepipe.images.views import Views
from kagglepipe.models.classifier import Classifier
from kagglepipe.parallel import parallel_map
from kagglepipe.training.backends import Encoder, InferenceBackend
from kagglepipe.training.device import images_at_a_time

log = logging.getLogger(__name__)
STORE_VERSION = "proven-1"  # part of the folders' names: raise it when older stores hold wrong features
CHUNK_FRAMES = 256  # frames of a video that one thread decodes at a time: bounds the memory of a long video
FRAME_BATCH = 32  # frames in a batch of the network, of one video or of several short ones
PART_FRAMES = 1024  # frames after which a part of the store is written

Features = NDArray[np.float32]  # (N, F)
Frames = NDArray[Any]  # (T, size, size, C) uint8, or uint16


@dataclass(frozen=True)
class Item:
    """An image, or a video of `frames` frames: its key in the store, and the row where its reader finds it."""

    key: str
    frames: int = 1
    row: int = 0


def image_key(id: str, digest: str) -> str:
    """Key of an image: its id, which seeds augmentation, and its file's SHA-256."""
    return sha256(id, digest)


# --- computing -----------------------------------------------------------------------------------------------------


def encode(
    model: Classifier,
    read: Callable[[Item, int, int], Frames],
    items: Sequence[Item],
    *,
    backend: InferenceBackend,
    dtype: type[np.floating[Any]] = np.float32,
    batch_size: int = FRAME_BATCH,
    workers: int | None = None,
    progress: str | None = None,
    unit: str = "frame",
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield (key, features (T, F) of `dtype`) of each item in order, while threads decode ahead.

    read: (item, first frame, end) -> frames (end - first, size, size, C). Batches are full whatever
    the lengths of items.
    """
    if not items:
        return
    encoder, total = backend.encoder(model), sum(item.frames for item in items)
    chunks = (
        (item, first, min(first + CHUNK_FRAMES, item.frames))
        for item in items
        for first in range(0, item.frames, CHUNK_FRAMES)
    )
    ahead = 2 if max(item.frames for item in items) > 1 else 2 * batch_size
    decoded = parallel_map(lambda chunk: read(*chunk), chunks, workers=workers, ahead=ahead)
    with Progress[None](progress or "features", total=total, unit=unit) as bar:

        def rows() -> Iterator[NDArray[Any]]:
            frames = (frame for chunk in decoded for frame in chunk)
            for batch in encode_frames(encoder, frames, dtype, batch_size):
                bar.update(len(batch))
                yield from batch

        features = rows()
        for item in items:
            yield item.key, np.stack(list(islice(features, item.frames)))


def encode_frames(
    encoder: Encoder, frames: Iterable[Pixels], dtype: type[np.floating[Any]], batch_size: int = FRAME_BATCH
) -> Iterator[NDArray[Any]]:
    """Yield features (B, F) of frames (size, size, C), batch by batch, rounded to `dtype` as the store rounds them."""
    frames = iter(frames)
    while batch := list(islice(frames, batch_size)):
        yield encoder(np.stack(batch)).astype(dtype, copy=False)


def compute_features(
    model: Classifier,
    views: Views,
    rows: Sequence[int],
    *,
    view: int = 0,
    backend: InferenceBackend,
    batch_size: int | None = None,
    workers: int | None = None,
    progress: str | None = None,
) -> Features:
    """Compute features (len(rows), F) of one view of images, in order, without a store.

    view: its number, 0 for the clean one. batch_size: None for what suits the device.
    """
    if not len(rows):
        return np.zeros((0, model.head.in_features), np.float32)
    found = encode(
        model, lambda item, *_: views[item.row, view][None], [Item(str(row), row=row) for row in rows], backend=backend,
        batch_size=batch_size or image_batch(backend), workers=workers, progress=progress, unit="image",
    )  # fmt: skip
    return np.concatenate([features for _, features in found])


def image_batch(backend: InferenceBackend) -> int:
    """Images in a batch: on a CPU few enough for its cache."""
    return images_at_a_time(backend.device) or 128


# --- storing -------------------------------------------------------------------------------------------------------


class FeatureStore:
    """Features (T, F) by key, in memory-mapped parts of about PART_FRAMES frames; a kill loses the unfinished part.

    A part is `part-N.npy` with the rows of several items and `part-N.json` with their keys and lengths, written last.
    Stores of older versions, `features.npz` of images and `KEY.npy` of videos, are read too.
    dtype: of the rows, float32 of images and float16 of frames.
    """

    def __init__(self, folder: Path, dtype: type[np.floating[Any]] = np.float32) -> None:
        self.folder, self.dtype = folder, np.dtype(dtype)
        self._stored: dict[str, NDArray[Any]] = {}
        self._pending: dict[str, NDArray[Any]] = {}
        self._pending_frames = 0
        self._parts_read: set[str] = set()

    def __getitem__(self, key: str) -> NDArray[Any]:
        return self._stored[key]

    def __setitem__(self, key: str, features: NDArray[Any]) -> None:
        self._pending[key] = features
        self._pending_frames += len(features)
        if self._pending_frames >= PART_FRAMES:
            self.flush()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Lock the store for the block, see what others have stored, and write the last part at its end."""
        with locked(self.folder):
            self.refresh()
            try:
                yield
            finally:
                self.flush()

    def missing(self, items: Sequence[Item]) -> list[Item]:
        """Find the items that have to be computed, each key once: not stored, or of another length."""
        unique = {item.key: item for item in items}
        return [item for item in unique.values() if not self._has(item)]

    def _has(self, item: Item) -> bool:
        file = self.folder / f"{item.key}.npy"
        if item.key not in self._stored and file.exists() and (found := self._load(file)) is not None:
            self._stored[item.key] = found
        return item.key in self._stored and len(self._stored[item.key]) == item.frames

    def refresh(self) -> None:
        """Read the parts that were written since."""
        if (old := self.folder / "features.npz").exists() and old.name not in self._parts_read:
            self._parts_read.add(old.name)
            self._stored |= _read_npz(old)
        for index in sorted(self.folder.glob("part-*.json")):
            if index.name not in self._parts_read:
                self._parts_read.add(index.name)
                self._read_part(index)

    def _read_part(self, index: Path) -> None:
        try:
            known = json.loads(index.read_text())
            lengths, ends = known["lengths"], np.cumsum(known["lengths"]).tolist()
            spans = [(key, end - n, end) for key, n, end in zip(known["keys"], lengths, ends, strict=True)]
            rows = ends[-1]
        except (ValueError, KeyError, TypeError, IndexError) as error:
            log.warning("%s is damaged (%s): its features are computed anew", index, error)
            index.unlink(missing_ok=True)
            return
        values = self._load(index.with_suffix(".npy"), rows=rows)
        if values is None:
            index.unlink(missing_ok=True)
            return
        self._stored |= {key: values[start:end] for key, start, end in spans}

    def _load(self, file: Path, rows: int | None = None) -> NDArray[Any] | None:
        """Memory-map (rows, F); None, with a warning, if the file is damaged."""
        try:
            found: NDArray[Any] = np.load(file, mmap_mode="r")
            if found.ndim != 2 or found.dtype != self.dtype or len(found) != (rows or len(found)):
                raise ValueError(f"{found.dtype} of shape {found.shape}")
            return found
        except Exception as error:  # numpy evaluates the header: a damaged one raises anything
            log.warning("%s is damaged (%s): its features are computed anew", file, error)
            return None

    def flush(self) -> None:
        """Write the pending rows as a part."""
        if not self._pending:
            return
        numbers = [int(index.stem.removeprefix("part-")) for index in self.folder.glob("part-*.json")]
        index = self.folder / f"part-{max(numbers, default=-1) + 1:06d}.json"
        with atomic(index.with_suffix(".npy")) as temporary, temporary.open("wb") as file:
            np.save(file, np.concatenate(list(self._pending.values())).astype(self.dtype, copy=False))
        write_json(index, {"keys": list(self._pending), "lengths": [len(one) for one in self._pending.values()]})
        self._pending, self._pending_frames = {}, 0
        self._parts_read.discard(index.name)  # the number of a damaged part is used again
        self.refresh()


def _read_npz(file: Path) -> dict[str, NDArray[Any]]:
    """Read an older version's images: keys (N,) and values (N, F) in one file."""
    try:
        with np.load(file) as store:  # numpy refuses pickled arrays by default
            keys, values = store["keys"].tolist(), store["values"]
        if len(keys) != len(values):
            raise ValueError(f"{len(keys)} keys for {len(values)} rows")
        return {str(key): values[row : row + 1] for row, key in enumerate(keys)}
    except (zipfile.BadZipFile, ValueError, KeyError, OSError, EOFError) as error:
        log.warning("%s is damaged (%s): its features are computed anew", file, error)
        return {}


def stored_features(
    store: FeatureStore,
    model: Classifier,
    read: Callable[[Item, int, int], Frames],
    items: Sequence[Item],
    **options: Any,
) -> list[NDArray[Any]]:
    """Features (T, F) of each item from the store, after computing those that are missing; arguments as in `encode`."""
    with store.writing():
        for key, features in encode(model, read, store.missing(items), dtype=store.dtype.type, **options):
            store[key] = features
    return [store[item.key] for item in items]
