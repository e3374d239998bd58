"""Features of frozen backbones: computed once, kept on disk, shared by folds, runs and sweeps.

A store is a folder for everything that a feature depends on save the image itself: weights, preprocessing,
decoder, augmentation and precision. In it, a row is found by the image's bytes and id.
"""

import logging
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kagglepipe.console import Progress
from kagglepipe.files import atomic, locked, sha256
from kagglepipe.images.decode import Pixels
from kagglepipe.models.classifier import Classifier
from kagglepipe.parallel import parallel_map
from kagglepipe.training.backends import InferenceBackend
from kagglepipe.training.device import images_at_a_time

log = logging.getLogger(__name__)
STORE = "proven-1"  # raise it when what older versions have stored is not to be believed: folders are named by it
Features = NDArray[np.float32]  # (N, F)


def batches(
    view: Callable[[int], Pixels], rows: Sequence[int], batch_size: int, workers: int | None
) -> Iterator[NDArray[np.uint8]]:
    """uint8 (B, size, size, 3) of `view(row)` for the rows in order, made ahead by threads."""

    def make(start: int) -> NDArray[np.uint8]:
        return np.stack([view(row) for row in rows[start : start + batch_size]])

    return parallel_map(make, range(0, len(rows), batch_size), workers=workers, ahead=2)


def compute_features(
    model: Classifier,
    view: Callable[[int], Pixels],
    rows: Sequence[int],
    *,
    backend: InferenceBackend,
    batch_size: int | None = None,
    workers: int | None = None,
    progress: str | None = None,
) -> Features:
    """(len(rows), F) float32 features of `view(row)` for the rows in order; neither model nor images are changed.

    batch_size: None for what the device likes: on a CPU few enough
    to stay in its cache. progress: the bar's name, None for no bar.
    """
    if not len(rows):
        return np.zeros((0, model.head.in_features), np.float32)
    encode, found = backend.encoder(model), []
    batch_size = batch_size or images_at_a_time(backend.device) or 128
    with Progress[None](progress or "features", total=len(rows), unit="image") as bar:
        for images in batches(view, rows, batch_size, workers):
            found.append(encode(images))
            bar.update(len(images))
    return np.concatenate(found)


def stored_features(folder: Path, keys: Sequence[str], compute: Callable[[list[int]], Features]) -> Features:
    """(len(keys), F) features from the store in `folder`; `compute(positions)` is asked for those that lack.

    keys: one for each image, made of its bytes and id (`image_key`). The store is rewritten whole, so that a
    reader or a kill never meets half of it.
    """
    with locked(folder):
        known, values = _read_store(folder)
        first = {key: n for n, key in reversed(list(enumerate(keys)))}  # a key may be asked for twice
        missing = sorted(n for key, n in first.items() if key not in known)
        if missing:
            new = compute(missing)
            values = new if not len(values) else np.concatenate([values, new])
            known |= {keys[n]: len(known) + m for m, n in enumerate(missing)}
            _write_store(folder, known, values)
    return values[[known[key] for key in keys]]


def image_key(id: str, digest: str) -> str:
    """What finds an image in a store: its id, which seeds augmentation, and its bytes' SHA-256."""
    return sha256(id, digest)


def _read_store(folder: Path) -> tuple[dict[str, int], Features]:
    if not (folder / "features.npz").exists():
        return {}, np.zeros((0, 0), np.float32)
    try:
        with np.load(folder / "features.npz") as store:  # numpy refuses pickled arrays by default
            known, values = {str(key): row for row, key in enumerate(store["keys"])}, store["values"]
        if len(known) != len(values):
            raise ValueError(f"{len(known)} keys for {len(values)} rows")
        return known, values
    except (zipfile.BadZipFile, ValueError, KeyError, OSError) as error:
        log.warning("%s is damaged (%s): its features are computed anew", folder / "features.npz", error)
        return {}, np.zeros((0, 0), np.float32)


def _write_store(folder: Path, known: dict[str, int], values: Features) -> None:
    with atomic(folder / "features.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, keys=np.array(list(known)), values=values)
