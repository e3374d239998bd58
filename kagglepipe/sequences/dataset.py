"""Padded batches of items with a time axis, and their augmentation: crop, speed, dropped frames; warped, masked sounds.

Random draws depend only on (seed, epoch, id), never on the state of a generator.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kagglepipe.images.dataset import IGNORE_INDEX
from kagglepipe.images.views import draw_seed
from kagglepipe.options import SequenceOptions
from kagglepipe.parallel import parallel_map
from kagglepipe.sequences.sound import mel_edges

MASKS = 2  # of each kind: policies LD and SM of SpecAugment
MOST = 1 / 3  # of the frames of a sound that one mask over time covers at most

Label = NDArray[Any]
Bands = NDArray[np.float32]  # (T, F): bands of rising frequency, evenly spaced on the mel scale


@dataclass(frozen=True)
class Example:
    """Item with features (T, F), possibly memory-mapped, and a label: of a clip its class () or columns (O,) of
    float32, or the classes of its frames (T,).
    """

    id: str
    features: NDArray[np.floating]
    label: Label

    def __len__(self) -> int:
        return len(self.features)

    @property
    def per_frame(self) -> bool:
        """Whether its label is of frames, not of the whole."""
        return is_of_frames(self.label)

    def label_at(self, frames: NDArray[np.int64]) -> Label:
        """Label of a window of frames (t,)."""
        return self.label[frames] if self.per_frame else self.label


def is_of_frames(label: Label) -> bool:
    """Whether a label is the classes of frames (T,), not a class () or columns (O,) of float32.

    >>> is_of_frames(np.array([0, 1])), is_of_frames(np.array(1)), is_of_frames(np.array([0.5], np.float32))
    (True, False, False)
    """
    return label.ndim == 1 and not np.issubdtype(label.dtype, np.floating)


class Batch(NamedTuple):
    """Features (B, T, F) float32, padded by 0; lengths (B,); labels (B,), (B, O) or (B, T), padded by IGNORE_INDEX."""

    features: Tensor
    lengths: Tensor
    labels: Tensor


def collate(items: Sequence[tuple[NDArray[Any], Label]]) -> Batch:
    """Pad and stack (features (t, F), label (), (O,) or (t,)) of different lengths; frames (t, H, W, 3) stay uint8."""
    lengths = [len(features) for features, _ in items]
    first, label = items[0]
    padded = np.zeros((len(items), max(lengths), *first.shape[1:]), np.float32 if first.dtype != np.uint8 else np.uint8)
    for row, (features, _) in enumerate(items):
        padded[row, : len(features)] = features
    if is_of_frames(label):
        labels = np.full(padded.shape[:2], IGNORE_INDEX, np.int64)
        for row, (features, own) in enumerate(items):
            labels[row, : len(features)] = own
    else:
        labels = np.stack([own for _, own in items])
    return Batch(torch.from_numpy(padded), torch.tensor(lengths), torch.from_numpy(labels))


class TrainingBatches:
    """Augmented batches of an epoch: `batches(epoch)`. Of longer items than `window` it draws several windows.

    window: maximum number of frames (None: no limit); an item has one window for each so many frames.
    """

    def __init__(
        self, examples: Sequence[Example], options: SequenceOptions, *, batch_size: int, window: int | None, seed: int
    ) -> None:
        self.examples, self.options = list(examples), options
        self.batch_size, self.window, self.seed = batch_size, window, seed
        self.windows = [
            (row, number)
            for row, example in enumerate(self.examples)
            for number in range(1 if window is None else -(-len(example) // window))
        ]

    def __len__(self) -> int:
        return -(-len(self.windows) // self.batch_size)

    def __call__(self, epoch: int) -> Iterator[Batch]:
        for windows in self.order(epoch):
            yield collate([self.load(row, number, epoch) for row, number in windows])

    def contents(self, epoch: int, number: int) -> list[str]:
        """Ids of the items of one batch."""
        batch = next(islice(self.order(epoch), number, None))
        return [self.examples[row].id for row, _ in batch]

    def order(self, epoch: int) -> Iterator[list[tuple[int, int]]]:
        """Yield the (row, window) pairs of each batch of an epoch, in random order."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.windows))
        for start in range(0, len(order), self.batch_size):
            yield [self.windows[n] for n in order[start : start + self.batch_size]]

    def positions(self, row: int, number: int, epoch: int) -> NDArray[np.int64]:
        """Draw the frame indices (t,) of a window of an item."""
        example = self.examples[row]
        rng = np.random.default_rng(draw_seed(self.seed, epoch, f"{example.id}/{number}"))
        return draw_positions(len(example), self.options, rng, window=self.window)

    def load(self, row: int, number: int, epoch: int) -> tuple[NDArray[Any], Label]:
        """Load an augmented window: features (t, F), label (), (O,) or (t,)."""
        example, at = self.examples[row], self.positions(row, number, epoch)
        return example.features[at], example.label_at(at)


class BandBatches(TrainingBatches):
    """Augmented batches of sounds, whose bands are warped and masked anew each time, then made into inputs.

    inputs: function from frames (T, F) to inputs (T, D) of a model, each from its frame and the one before.
    common: arguments of `TrainingBatches`.
    """

    def __init__(
        self, examples: Sequence[Example], options: SequenceOptions, inputs: Callable[[Bands], Bands], **common: Any
    ) -> None:
        super().__init__(examples, options, **common)
        self.inputs = inputs

    def load(self, row: int, number: int, epoch: int) -> tuple[NDArray[Any], Label]:
        """Load an augmented window: inputs (t, D), label (), (O,) or (t,)."""
        example, at = self.examples[row], self.positions(row, number, epoch)
        first = max(0, int(at[0]) - 1)  # with the frame before the window
        rng = np.random.default_rng(draw_seed(self.seed, epoch, f"{example.id}/{number}/bands"))
        seen = augment_bands(np.asarray(example.features[first : at[-1] + 1], np.float32), self.options, rng)
        return self.inputs(seen)[at - first], example.label_at(at)


class ClipBatches(TrainingBatches):
    """Augmented batches of frames (B, T, size, size, 3) uint8, decoded by threads ahead of the network.

    read: function from (example, frame indices (t,), epoch) to frames (t, size, size, 3). frames: maximum number of
    frames of a window, which are thinned evenly to so many.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        options: SequenceOptions,
        read: Callable[[Example, NDArray[np.int64], int], NDArray[np.uint8]],
        *,
        batch_size: int,
        frames: int,
        window: int | None,
        seed: int,
        workers: int | None = None,
    ) -> None:
        super().__init__(examples, options, batch_size=batch_size, window=window, seed=seed)
        self.read, self.frames, self.workers = read, frames, workers

    def __call__(self, epoch: int) -> Iterator[Batch]:
        def make(windows: list[tuple[int, int]]) -> Batch:
            return collate([self.load(*window, epoch) for window in windows])

        return parallel_map(make, self.order(epoch), workers=self.workers, ahead=2)

    def load(self, row: int, number: int, epoch: int) -> tuple[NDArray[Any], Label]:
        """Load an augmented window: frames (t, size, size, 3), label (), (O,) or (t,)."""
        example, at = self.examples[row], self.positions(row, number, epoch)
        if len(at) > self.frames:
            at = at[np.linspace(0, len(at) - 1, self.frames).round().astype(int)]
        return self.read(example, at, epoch), example.label_at(at)


def draw_positions(
    length: int, options: SequenceOptions, rng: np.random.Generator, *, window: int | None = None
) -> NDArray[np.int64]:
    """Draw frame indices (t,), never decreasing, out of 0 … length - 1, by `options.crop`, `speed` and `drop`.

    window: maximum number of indices (None: no limit). From a longer item a window of exactly this length is cut at a
    random place, without `crop`: a batch of equal lengths needs no packing, which is seven times slower on a CPU.
    """
    share = rng.uniform(options.crop, 1.0)
    speed = options.speed ** rng.uniform(-1.0, 1.0)
    span = length * share
    count = max(1, round(span / speed))
    if window is not None and max(length, count) > window:
        span, count = min(float(length), window * speed), window
    start = rng.uniform(0.0, length - span)
    positions = np.floor(start + (np.arange(count) + 0.5) * span / count).astype(np.int64)
    kept = rng.random(count) >= options.drop
    return positions[np.maximum.accumulate(np.where(kept, np.arange(count), 0))]


# --- bands of sounds -------------------------------------------------------------------------------------------


def augments_bands(options: SequenceOptions) -> bool:
    """Whether the options ask for any of these augmentations."""
    return options.vtlp > 1 or options.freq_mask > 0 or options.time_mask > 0


def augment_bands(values: Bands, options: SequenceOptions, rng: np.random.Generator) -> Bands:
    """Return frames (T, F) as of another speaker, with masks, by `options.vtlp`, `freq_mask` and `time_mask`."""
    if options.vtlp > 1:
        values = warp_bands(values, options.vtlp ** rng.uniform(-1.0, 1.0))
    return mask_bands(
        values, rng, widest=options.freq_mask, longest=round(options.time_mask * options.samples_per_unit)
    )


def warp_bands(values: Bands, factor: float) -> Bands:
    """Read the bands at `factor` times their frequencies: 1.1 gives what a voice a tenth lower would.

    Between two bands values are interpolated linearly; beyond the outermost they are repeated. Vocal tract length
    perturbation: Jaitly & Hinton 2013, "Vocal tract length perturbation (VTLP) improves speech recognition", with the
    factor over all frequencies.

    >>> middle = warp_bands(np.arange(64, dtype=np.float32)[None], 1.1)[0, 32]  # bands are numbers here
    >>> bool(33 < middle < 36)
    True
    """
    middles = mel_edges()[1:-1]
    at = np.interp(middles * factor, middles, np.arange(len(middles)))
    below = np.minimum(at.astype(np.int64), len(middles) - 2)
    share = (at - below).astype(np.float32)
    return values[:, below] * (1 - share) + values[:, below + 1] * share


def mask_bands(values: Bands, rng: np.random.Generator, *, widest: int, longest: int) -> Bands:
    """Replace bands, and frames, by the mean over the sound of each band: two masks of each kind.

    widest: most bands of a mask. longest: most frames of a mask, and no more than a third of the sound. The width of
    each is drawn from 0 on. Park et al. 2019, "SpecAugment", without its time warping.
    """
    masked, usual = values.copy(), values.mean(axis=0)
    for _ in range(MASKS):
        bands = draw_piece(values.shape[1], widest, rng)
        masked[:, bands] = usual[bands]
        masked[draw_piece(len(values), min(longest, int(len(values) * MOST)), rng)] = usual
    return masked


def draw_piece(length: int, longest: int, rng: np.random.Generator) -> slice:
    """Draw a piece of 0 … `longest` out of 0 … length - 1, each length and place as likely as another."""
    size = int(rng.integers(0, min(longest, length) + 1))
    start = int(rng.integers(0, length - size + 1))
    return slice(start, start + size)
