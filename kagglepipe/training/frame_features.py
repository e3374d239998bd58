"""Features of video frames from a frozen backbone: computed once, memory-mapped for every fold, run and sweep.

A store is a folder for everything that a feature depends on save the file itself: weights, preprocessing, decoder,
rate, augmentation, precision. In it lies one array a file, named by the file's content.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kagglepipe.console import Progress
from kagglepipe.files import atomic, locked
from kagglepipe.images.decode import Pixels
from kagglepipe.models.classifier import Classifier
from kagglepipe.parallel import parallel_map
from kagglepipe.training.backends import InferenceBackend

log = logging.getLogger(__name__)
STRETCH = 256  # frames that one thread decodes at a time: what bounds the memory of a long video
BATCH = 32  # frames the network sees at a time, of one video or of several short ones

Frames = NDArray[np.uint8]  # (T, size, size, 3)


@dataclass(frozen=True)
class Footage:
    """A video to compute features of: its file, what names it in the store, its frames at the rate, at least 1."""

    path: Path
    key: str
    frames: int


def stored_frames(
    folder: Path, footage: Sequence[Footage], compute: "Callable[[list[Footage]], Iterator[NDArray[np.float32]]]"
) -> list[NDArray[np.float16]]:
    """The features (T, F) of each video, memory-mapped; `compute` is asked, in order, for those that lack.

    Each is written as soon as it is there, so that a kill costs one video.
    """
    with locked(folder):
        first = {one.key: one for one in footage}
        missing = [one for one in first.values() if not _is_stored(folder, one)]
        for one, features in zip(missing, compute(missing) if missing else (), strict=True):
            with atomic(_file(folder, one)) as temporary, temporary.open("wb") as file:
                np.save(file, features.astype(np.float16))
    return [np.load(_file(folder, one), mmap_mode="r") for one in footage]


def _file(folder: Path, one: Footage) -> Path:
    return folder / f"{one.key}.npy"


def _is_stored(folder: Path, one: Footage) -> bool:
    """Whether a video's features are there, and whole."""
    try:
        found = np.load(_file(folder, one), mmap_mode="r")
        return found.ndim == 2 and len(found) == one.frames and found.dtype == np.float16
    except FileNotFoundError:
        return False
    except Exception as error:  # numpy reads the header as Python: damage there can be an error of any kind
        log.warning("%s is damaged (%s): its features are computed anew", _file(folder, one), error)
        return False


def frame_features(
    model: Classifier,
    read: Callable[[Footage, int, int], Frames],
    footage: Sequence[Footage],
    *,
    backend: InferenceBackend,
    workers: int | None = None,
    progress: str | None = None,
) -> Iterator[NDArray[np.float32]]:
    """The features (T, F) of each video, in order; threads decode ahead of the network.

    read: (video, first frame, end) -> those frames as the network sees them.
    """
    encode = backend.encoder(model)
    stretches = [(one, at, min(at + STRETCH, one.frames)) for one in footage for at in range(0, one.frames, STRETCH)]
    decoded = parallel_map(lambda stretch: read(*stretch), stretches, workers=workers, ahead=2)
    total = sum(one.frames for one in footage)
    with Progress[None](progress or "features", total=total, unit="frame") as bar:

        def seen(frames: Frames) -> NDArray[np.float32]:
            bar.update(len(frames))
            features = encode(frames)
            return features.astype(np.float16).astype(np.float32)  # as the store keeps them, whether it does or not

        yield from _regroup(decoded, [one.frames for one in footage], seen)


def _regroup(
    stretches: Iterator[Frames], lengths: Sequence[int], seen: Callable[[Frames], NDArray[np.float32]]
) -> Iterator[NDArray[np.float32]]:
    """Frames in stretches of any length go through `seen` in full batches, and come back video by video."""
    waiting: list[Pixels] = []
    done: list[NDArray[np.float32]] = []
    wanted = iter(lengths)
    length = next(wanted, 0)
    ready = 0
    for stretch in _with_end(stretches):
        waiting.extend(stretch if stretch is not None else ())
        while len(waiting) >= BATCH or (stretch is None and waiting):
            features = seen(np.stack(waiting[:BATCH]))
            del waiting[:BATCH]
            done.append(features)
            ready += len(features)
            while length and ready >= length:
                whole = np.concatenate(done)
                yield whole[:length]
                done, ready = [whole[length:]], ready - length
                length = next(wanted, 0)


def _with_end(stretches: Iterator[Frames]) -> Iterator[Frames | None]:
    """The stretches, and None after the last."""
    yield from stretches
    yield None


def clip_frames(frames: Iterator[tuple[float, Pixels]], count: int, size: int) -> Frames:
    """(count, size, size, 3): the frames as far as they go; the last one stands for those that a damaged file lacks."""
    found = np.empty((count, size, size, 3), np.uint8)
    number = 0
    for _, pixels in frames:
        if number == count:
            break
        found[number] = pixels
        number += 1
    found[number:] = found[number - 1] if number else 0
    return found
