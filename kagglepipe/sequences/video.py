"""Decode a video at even times: at each k/rate from the start of the container, the frame that a player would show."""

import itertools
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from kagglepipe.files import check_sha256, file_state
from kagglepipe.images.decode import Pixels
from kagglepipe.images.views import Views
from kagglepipe.sequences.container import (
    DEFAULT_RATE,
    VideoError,
    VideoPacket,
    decode_packets,
    open_video,
    read_packets,
)
from kagglepipe.sequences.grid import SampleGrid, grid_length, samples_before, tolerance
from kagglepipe.sequences.video_info import MAX_SIDE, VideoInfo, inspect

log = logging.getLogger(__name__)

Resize = int | tuple[int, int] | None

DECODER = "ffmpeg-1"  # raise it when the same bytes would give other pixels or times: caches depend on it
SCALING = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT  # same bytes on every processor
SEEK_MARGINS = (0.0, 2.0, 20.0)  # seconds before the wanted frame to seek to, one attempt after the other
MOTION_GAIN = 4  # people move by a few grey levels from frame to frame


def sample_frames(
    path: Path,
    *,
    rate: float,
    resize: Resize = None,
    start: float = 0.0,
    end: float | None = None,
    max_side: int = MAX_SIDE,
    threads: int = 1,
    info: VideoInfo | None = None,
) -> Iterator[tuple[float, Pixels]]:
    """Yield (seconds, RGB pixels (H, W, 3) uint8) for each grid time k/rate with start <= k/rate < end.

    The pixels are those of the last frame at or before k/rate, or of the first frame. Without `start` and `end` there
    are `grid_length(info.seconds, rate)` of them, also in damaged videos: the frame before stands in for a damaged one,
    and a warning counts them. Arrays are read-only; one frame at several times is one array.

    start, end: seconds since the start of the container; end None: the end of the video. Frames far before `start` are
    skipped, not decoded. resize: None keeps the size, a number is the short side (aspect kept, nothing enlarged),
    (width, height) is exact. threads: of the decoder, 0 for one a core; 1 is best when files are decoded in parallel.
    info: result of `inspect`, to save reading the file twice.
    Raises VideoError (see `inspect`), and ValueError unless the rate is above 0.
    """
    info = info or inspect(path, max_side=max_side)
    stop = grid_length(info.seconds, rate)
    grid = SampleGrid(rate, start, stop if end is None else min(stop, samples_before(end, rate)))
    convert = rgb_converter(info.width, info.height, info.rotation, info.mirrored, resize=resize)
    shown, damaged = None, 0
    try:
        for time, frame in _frames_from(path, info, start, tolerance(rate), threads) if grid.remaining() else ():
            if frame is None:
                damaged += 1
                continue
            if shown is not None and (numbers := grid.take_before(time)):
                pixels = convert(shown)
                yield from ((number / rate, pixels) for number in numbers)
            shown = frame
            if not grid.remaining():
                return
    finally:
        if damaged:
            log.warning("%s: %d damaged frames left out; the frame before each is shown instead", path, damaged)
    if numbers := grid.remaining():
        if shown is None:
            raise VideoError("no frame in it can be decoded")
        pixels = convert(shown)
        yield from ((number / rate, pixels) for number in numbers)


def rgb_converter(
    width: int, height: int, rotation: int, mirrored: bool, *, resize: Resize
) -> Callable[[VideoFrame], Pixels]:
    """Make a function from decoded frames, of any size, to upright read-only RGB pixels (H, W, 3) of one size.

    Scaling and colour conversion are one step, on as few pixels as possible: rotation comes after it.
    width, height, rotation, mirrored: as in VideoInfo. The function raises VideoError for unknown pixel formats.
    """
    width, height = _target_size(width, height, resize)
    if rotation % 180:
        width, height = height, width
    reformatter = VideoReformatter()  # keeps its tables from frame to frame

    def convert(frame: VideoFrame) -> Pixels:
        try:
            scaled = reformatter.reformat(frame, width, height, "rgb24", interpolation=SCALING, threads=1)
        except FFmpegError:
            raise VideoError(f"its pixels ({frame.format.name}) cannot be converted to RGB") from None
        rotated = np.rot90(scaled.to_ndarray(), -rotation // 90)
        pixels = np.array(rotated[:, ::-1] if mirrored else rotated, np.uint8, order="C")
        pixels.setflags(write=False)
        return pixels

    return convert


def _target_size(width: int, height: int, resize: Resize) -> tuple[int, int]:
    """Size (width, height) of resized frames.

    >>> _target_size(426, 240, 120), _target_size(60, 40, 120), _target_size(426, 240, (224, 224))
    ((213, 120), (60, 40), (224, 224))
    """
    if isinstance(resize, tuple):
        return resize
    scale = min(1.0, resize / min(width, height)) if resize else 1.0
    return max(1, round(width * scale)), max(1, round(height * scale))


def _frames_from(
    path: Path, info: VideoInfo, start: float, slack: float, threads: int
) -> Iterator[tuple[float, VideoFrame | None]]:
    """Yield (seconds since time 0, frame) from the frame at `start`, or an earlier one; None for a damaged frame.

    slack: seconds by which a frame may be later and still be the one at `start`.
    """
    if info.first is not None and start > info.delay:
        with open_video(path, threads, info.stream) as (container, stream):
            for margin in SEEK_MARGINS:
                frames = _frames_after_seek(container, stream, info, info.first + start - margin)
                early = next((pair for pair in frames if pair[1] is not None), None)
                if early is not None and early[0] <= start + slack:
                    yield early
                    yield from frames
                    return
    with open_video(path, threads, info.stream) as (container, stream):
        yield from _with_times(stream, info, read_packets(container, stream))


def _frames_after_seek(
    container: InputContainer, stream: VideoStream, info: VideoInfo, stamp: float
) -> Iterator[tuple[float, VideoFrame | None]]:
    """Yield (seconds, frame) from a key frame that should be, but in some formats is not, before the time stamp."""
    if container.format.name == "mpeg":  # its time stamps after a seek are guesses
        return
    try:
        container.seek(math.floor(stamp / float(stream.time_base or 1)), stream=stream)
    except FFmpegError:
        return
    packets = itertools.dropwhile(lambda packet: not packet.is_keyframe, read_packets(container, stream))
    yield from _with_times(stream, info, packets)


def _with_times(
    stream: VideoStream, info: VideoInfo, packets: Iterator[VideoPacket]
) -> Iterator[tuple[float, VideoFrame | None]]:
    unit, step, time = float(stream.time_base or 1), 1 / (info.rate or DEFAULT_RATE), 0.0
    for number, frame in enumerate(decode_packets(stream, packets)):
        if info.first is None:
            time = number * step
        elif frame is not None:
            time = frame.pts * unit - info.first if frame.pts is not None else time + step
        yield time, frame


def frame_differences(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Amplified absolute difference of each frame from the one before, (T, H, W, 3) -> (T, H, W, 3); the first is 0.

    >>> frame_differences(np.array([10, 13, 200], np.uint8).reshape(3, 1, 1, 1)).ravel().tolist()
    [0, 12, 255]
    """
    earlier = np.concatenate([frames[:1], frames[:-1]])
    changed = np.where(frames > earlier, frames - earlier, earlier - frames)  # uint8 wraps around, but not here
    return np.where(changed > 255 // MOTION_GAIN, 255, changed * MOTION_GAIN)


def motion_frames(frames: Iterable[Pixels], before: Pixels | None = None) -> Iterator[Pixels]:
    """`frame_differences` of a stream of frames (H, W, 3). before: frame before the first; None: no motion in it."""
    for frame in frames:
        yield frame_differences(np.stack([frame if before is None else before, frame]))[1]
        before = frame


def pad_frames(frames: Iterable[Pixels], count: int, size: int) -> NDArray[np.uint8]:
    """Stack `count` frames (count, size, size, 3), repeating the last one where a damaged file ends early."""
    found = np.zeros((count, size, size, 3), np.uint8)
    number = 0
    for number, pixels in enumerate(itertools.islice(frames, count), 1):
        found[number - 1] = pixels
    if number:
        found[number:] = found[number - 1]
    return found


class VideoFrames:
    """Reads views of frames by the row of their video.

    paths, digests, ids: (N,) files, their SHA-256 when prepared, and the ids that seed their augmentation. rate:
    frames/s. short_side: pixels of decoded frames, before augmentation or crop. max_side: pixels, as in `inspect`.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        digests: Sequence[str],
        ids: Sequence[str],
        views: Views,
        *,
        rate: float,
        short_side: int,
        max_side: int,
    ) -> None:
        self.paths, self.digests, self.ids, self.views = paths, digests, ids, views
        self.rate, self.short_side, self.max_side = rate, short_side, max_side
        self._info: dict[int, tuple[tuple[int, ...], VideoInfo]] = {}

    def read(
        self, row: int, at: NDArray[np.int64], view: int = 0, id: str | None = None, *, motion: bool = False
    ) -> NDArray[np.uint8]:
        """Read the frames `at` (t,), rising indices, of a video as view number `view`: (t, size, size, 3) uint8.

        All frames share one draw of the augmentation, seeded by `id` (None: the video's). motion: read the difference
        of each frame from the one before. Raises UserError if the file is not the one that was prepared.
        """
        if motion:
            with_before = np.arange(max(0, int(at[0]) - 1), int(at[-1]) + 1)
            return frame_differences(self.read(row, with_before, view, id))[at - with_before[0]]
        size, is_squashed = self.views.size, view == 0 and self.views.crop == "squash"
        first, end, id = int(at[0]), int(at[-1]) + 1, id or self.ids[row]
        frames = sample_frames(
            self.paths[row], rate=self.rate, resize=(size, size) if is_squashed else self.short_side,
            start=first / self.rate, end=(end - 0.5) / self.rate, info=self.info(row),
        )  # fmt: skip
        found = pad_frames((self.views.apply(pixels, view, id) for _, pixels in frames), end - first, size)
        self.info(row)  # raises if the file was replaced meanwhile
        return found[at - first]

    def info(self, row: int) -> VideoInfo:
        """Inspect a video, again only if the file changes. Raises UserError if its bytes have changed."""
        path = self.paths[row]
        state = file_state(path) if path.exists() else ()
        known, info = self._info.get(row, (None, None))
        if info is None or known != state:
            check_sha256(path, self.digests[row])
            info = inspect(path, max_side=self.max_side)
            self._info[row] = state, info
        return info
