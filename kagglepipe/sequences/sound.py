"""Read a sound as log-mel frames: how loud it is in each of 64 bands of pitch, at the times k/rate.

FFmpeg decodes (PyAV); channels are averaged, and resampled to 16 kHz. A file is read in pieces, so an hour of it takes
the memory of its frames alone.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from numpy.typing import ArrayLike, NDArray

from kagglepipe.files import check_sha256
from kagglepipe.parallel import parallel_map
from kagglepipe.sequences.grid import grid_length
from kagglepipe.sequences.series_file import SeriesError

READER = 1  # raise it where the same bytes give other frames
SAMPLE_RATE = 16_000
MELS = 64
LOWEST = 50.0  # Hz, of the lowest band; the highest ends at SAMPLE_RATE / 2
WINDOW = 0.025  # seconds of sound in a frame, or two steps of the grid if these are longer
RANGE = 4.5  # powers of ten below the loudest band of a file that still count; what is fainter counts as this
QUIET = -10.0  # power of ten that the loudest band has at least: silence is not made loud
MAX_WARP = 1.15
ESTIMATED = ("mp3", "mp3float", "aac")  # codecs of files whose length is only guessed before they are decoded
NO_SOUND = "there is no sound in it that can be decoded"
BLOCK = 2048  # frames that are transformed at a time
MAX_SECONDS = 24 * 3600.0
FORMATS = "wav,w64,flac,ogg,mp3,aac,aiff,au,caf,mov,mp4,m4a,matroska,webm,amr,ape,asf,wv"  # no playlists

Mono = NDArray[np.float32]  # (N,) samples in [-1, 1]


class SoundFacts(NamedTuple):
    """samples: of what can be decoded, at 16 kHz. repairs: what reading repairs, in words."""

    samples: int
    repairs: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Length of what can be decoded."""
        return self.samples / SAMPLE_RATE


class SoundFrames(NamedTuple):
    """Values (T, 64) at times (T,), and what reading repairs, in words."""

    times: NDArray[np.float64]
    values: NDArray[np.float32]
    repairs: tuple[str, ...]


def inspect_sound(path: Path) -> SoundFacts:
    """Decode a sound whole. Raises SeriesError if there is none in the file."""
    sound, peak = Decoder(path), 0.0
    for piece in sound.pieces():
        peak = max(peak, float(np.abs(piece).max(initial=0.0)))
    if not sound.samples:
        raise SeriesError(NO_SOUND)
    return SoundFacts(sound.samples, (*sound.repairs, *["silent throughout"] * (peak == 0)))


def read_sound(
    path: Path, *, rate: float, centred: bool = False, silence: float | None = None, warp: float = 1.0
) -> SoundFrames:
    """Read the log-mel frames of a sound, in powers of ten above its loudest band, so from -4.5 to 0.

    Bands above half of the file's own sampling rate are -4.5.
    rate: frames per second. centred, silence: see `normalised_frames`. warp: factor of the bands' frequencies; 1.1
    gives what a voice a tenth lower would.
    Raises SeriesError as `inspect_sound`.
    """
    sound = Decoder(path)
    blocks = list(mel_powers(sound.pieces(), rate=rate, warp=warp))
    if not sound.samples:
        raise SeriesError(NO_SOUND)
    length = grid_length(sound.samples / SAMPLE_RATE, rate)
    values = np.log10(np.maximum(np.concatenate(blocks)[:length], 1e-30))
    values = np.maximum(values - max(values.max(), QUIET), -RANGE)
    values[:, mel_edges(warp)[2:] > sound.rate / 2 + 1] = -RANGE
    first, values = normalised_frames(values, centred=centred, silence=silence)
    return SoundFrames((first + np.arange(len(values))) / rate, values, tuple(sound.repairs))


def normalised_frames(
    values: NDArray[np.float32], *, centred: bool, silence: float | None
) -> tuple[int, NDArray[np.float32]]:
    """Cut silence off frames (T, 64) of `read_sound`, and centre them: the number of the first frame left, and frames.

    silence: powers of ten below the loudest band; frames without a louder one are cut off at both ends; None: nothing
    is. centred: subtract the mean of each band over time, which takes away the colour of a microphone
    or a voice, and of a steady sound everything.
    """
    first = 0
    if silence is not None and len(loud := np.flatnonzero(values.max(axis=1) >= -silence)):
        first = int(loud[0])
        values = values[first : loud[-1] + 1]
    return first, values - values.mean(axis=0) if centred else values


def less_means(sounds: Sequence[NDArray[np.float32]], groups: ArrayLike, own: ArrayLike) -> list[NDArray[np.float32]]:
    """Subtract from each band of sounds (T, F) a share of its mean over the sound, and the rest of that of the group.

    The mean of a group is that of the means of its sounds. A word of one vowel is hardly more than its own mean, which
    says what the vowel is; that of all words of a speaker says only who speaks. groups: of each sound. own: share of
    the sound's own mean, 0 … 1.
    """
    means = np.stack([sound.mean(axis=0) for sound in sounds])
    _, numbers = np.unique(np.asarray(groups), return_inverse=True)
    of_group = np.stack([means[numbers == number].mean(axis=0) for number in range(numbers.max() + 1)])[numbers]
    # a band that is the same in all, above half of the sampling rate, stays 0, and no rounding error
    added = (1 - np.asarray(own, np.float32))[:, None] * (means - of_group)
    return [sound - mean + more for sound, mean, more in zip(sounds, means, added, strict=True)]


def draw_warp(seed: int) -> float:
    """Draw the factor of a view's frequencies: log-uniform, as far as voices of children and men are apart."""
    return float(MAX_WARP ** np.random.default_rng(seed).uniform(-1, 1))


def read_sounds(
    paths: Sequence[Path], digests: Iterable[str], warps: Iterable[float], *, rate: float, workers: int | None
) -> Iterator[NDArray[np.float32]]:
    """Read the frames (T, 64) of each sound in threads. digests: SHA-256 of the files when they were prepared.

    Raises UserError for a file that has changed.
    """

    def read(item: tuple[Path, str, float]) -> NDArray[np.float32]:
        path, digest, warp = item
        check_sha256(path, digest)
        return read_sound(path, rate=rate, warp=warp).values

    return parallel_map(read, zip(paths, digests, warps, strict=True), workers=workers)


# --- frames ---------------------------------------------------------------------------------------------------


def mel_powers(pieces: Iterable[Mono], *, rate: float, warp: float = 1.0) -> Iterator[NDArray[np.float32]]:
    """Yield blocks (n, 64) of the power in each band around the times k/rate, at least to the end of the sound.

    The mean over a window by Hann, of 25 ms or two steps, whose middle is at the time; outside the sound it is silent.
    """
    width = 2 * round(max(WINDOW, 2 / rate) * SAMPLE_RATE / 2)
    size = 1 << (width - 1).bit_length()
    window = np.hanning(width + 1)[:-1].astype(np.float32)
    window /= np.sqrt(np.sum(window**2))
    filters = mel_filters(size, warp)
    buffer, begin, number = np.zeros(width // 2, np.float32), -(width // 2), 0  # begin: sample of the buffer's first
    for piece in chain(pieces, [np.zeros(width, np.float32)]):
        buffer = np.concatenate([buffer, piece])
        while True:
            end = math.floor((begin + len(buffer) - width // 2) * rate / SAMPLE_RATE) + 1
            starts = np.round(np.arange(number, min(end, number + BLOCK)) * SAMPLE_RATE / rate).astype(np.int64)
            starts = starts - width // 2 - begin
            starts = starts[starts + width <= len(buffer)]
            if not len(starts):
                break
            spectrum = np.fft.rfft(np.lib.stride_tricks.sliding_window_view(buffer, width)[starts] * window, size)
            yield ((spectrum.real**2 + spectrum.imag**2) @ filters).astype(np.float32)
            number += len(starts)
        first = max(0, round(number * SAMPLE_RATE / rate) - width // 2 - begin)
        buffer, begin = buffer[first:], begin + min(first, len(buffer))


def mel_edges(warp: float = 1.0) -> NDArray[np.float64]:
    """Frequencies (66,) in Hz, evenly spaced on the mel scale: each band rises from one, over the next, to a third."""
    lowest, highest = (2595 * math.log10(1 + hertz / 700) for hertz in (LOWEST, SAMPLE_RATE / 2))
    edges: NDArray[np.float64] = 700 * (10 ** (np.linspace(lowest, highest, MELS + 2) / 2595) - 1) * warp
    return edges


@lru_cache(maxsize=4)
def mel_filters(size: int, warp: float = 1.0) -> NDArray[np.float32]:
    """Triangular filters (size // 2 + 1, 64) over the powers of a transform of `size` samples, each of sum 1."""
    edges = mel_edges(warp)
    frequencies = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)[:, None]
    below, middle, above = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (frequencies - below) / (middle - below), (above - frequencies) / (above - middle)
    filters = np.maximum(0, np.minimum(rising, falling))
    nearest = np.abs(frequencies - middle).argmin(axis=0)  # of a band between two frequencies
    narrow = np.flatnonzero(filters.sum(axis=0) == 0)
    filters[nearest[narrow], narrow] = 1
    return (filters / filters.sum(axis=0)).astype(np.float32)


# --- decoding -------------------------------------------------------------------------------------------------


class Decoder:
    """Decodes a file: the mean of its channels at 16 kHz, in pieces.

    After the last piece `samples` is their number together, `rate` the file's own sampling rate in Hz (the highest, if
    it changes), and `repairs` says in words what was damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.samples, self.rate, self.repairs = path, 0, 0, list[str]()

    def pieces(self) -> Iterator[Mono]:
        """Yield the sound. Raises SeriesError for a file that is missing, empty, no sound, or longer than a day."""
        resampler = AudioResampler(format="fltp", layout="mono", rate=SAMPLE_RATE)
        for frame in chain(self._mono_frames(), [None]):  # the last takes what the resampler has kept back
            if frame is None and not self.rate:
                return
            for piece in resampler.resample(frame):
                self.samples += piece.samples
                if self.samples > MAX_SECONDS * SAMPLE_RATE:
                    raise SeriesError(f"it lasts more than {MAX_SECONDS / 3600:.0f} hours")
                yield piece.to_ndarray()[0]

    def _mono_frames(self) -> Iterator[AudioFrame]:
        with _opened(self.path) as (container, stream):
            planar: AudioResampler | None = None
            decoded, damaged = 0.0, 0
            for frame in _frames(container, stream):
                if frame is None:
                    damaged += 1
                    continue
                self.rate = max(self.rate, frame.sample_rate)
                planar = planar or AudioResampler(format="fltp", layout=frame.layout, rate=frame.sample_rate)
                decoded += frame.samples / frame.sample_rate
                yield from map(_mono, planar.resample(frame))
            if damaged:
                self.repairs.append(f"{damaged} damaged {'packet' if damaged == 1 else 'packets'}: left out")
            stated = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
            if stream.codec_context.name not in ESTIMATED and decoded < 0.9 * stated:
                self.repairs.append(f"cut off after {decoded:.1f} of {stated:.1f} s")


def _mono(frame: AudioFrame) -> AudioFrame:
    """The mean of the channels of a planar frame."""
    samples = np.nan_to_num(frame.to_ndarray().mean(axis=0, keepdims=True, dtype=np.float32))
    made = AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    made.sample_rate = frame.sample_rate
    return made


def _frames(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame | None]:
    """Yield the frames of a stream, and None for each packet that cannot be decoded."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError:
            yield None
            return
        if packet is None:
            return
        try:
            yield from packet.decode()
        except FFmpegError:
            yield None


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, AudioStream]]:
    if not path.is_file():  # opening a pipe would block
        raise SeriesError("not a file" if path.exists() else "there is no such file")
    if path.stat().st_size == 0:
        raise SeriesError("the file is empty (0 bytes)")
    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
    try:
        # without "file:" a colon in the name would make it an address
        container = av.open(f"file:{path}", options=options, metadata_errors="replace")
    except FFmpegError:
        raise SeriesError("not a sound that can be read") from None
    with container:
        stream = next((one for one in container.streams.audio if one.codec_context is not None), None)
        if stream is None:
            kinds = " and ".join(sorted({one.type for one in container.streams})) or "nothing"
            raise SeriesError(f"there is no sound in it, only {kinds}")
        stream.codec_context.thread_count = 1
        yield container, stream
