"""A video file as frames at even times, or one clear reason why it has none.

FFmpeg (through PyAV) demuxes and decodes; headers are not believed where the packets can be counted. Reading is by a
grid of times k/rate, counted from the container's start; at each stands the frame that a player would show.
"""

import itertools
import logging
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypeAlias, cast

import av
import numpy as np
from av.codec.context import ThreadType
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from kagglepipe.files import atomic
from kagglepipe.sequences.grid import TOLERANCE, Grid, grid_length, points_before, tolerance

log = logging.getLogger(__name__)

Pixels = NDArray[np.uint8]  # (H, W, 3), RGB
Resize = int | tuple[int, int] | None
VideoPacket: TypeAlias = "Packet[VideoStream]"

DECODER = "ffmpeg-1"  # raise it when the same bytes would give other pixels or times: caches depend on it
MAX_SIDE = 20_000
MAX_PIXELS = 2**27  # a frame of that size is half a gigabyte while it is converted
MAX_SECONDS = 7 * 24 * 3600.0
MAX_PAUSE = 3600.0  # a longer one between two frames is a damaged time stamp
RATES = (0.01, 1000.0)  # frames/s that are believed of a header
ASSUMED_RATE = 25.0
IN_STEP = 0.1  # seconds by which pictures may start after the sound and still start with it: encoders delay either
DEMUX_ATTEMPTS = 100
SCALING = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT  # same bytes on every processor
ENCODERS = ("libx264", "libopenh264", "mpeg4")

# Containers and bare video streams only: a playlist, a picture or a script would make FFmpeg open other files.
BARE = ("h261", "h263", "h264", "hevc", "m4v", "mjpeg", "mpegvideo", "obu", "vc1")
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "flv", "asf", "ogg", "gif", "apng", "ivf",
    "mxf", "nut", "dv", "rm", "wtv",
)  # fmt: skip
FORMATS = ",".join(CONTAINERS + BARE)


class VideoError(ValueError):
    """A file that is not a usable video; the message says why."""


@dataclass(frozen=True)
class VideoFacts:
    """What a video is, by its packets and its first frame.

    width, height: pixels as displayed, after the rotation flag; pixels are taken as square.
    rotation: degrees clockwise (0, 90, 180, 270) that make a stored frame upright; mirrored: whether it is to be
    flipped left to right after that. seconds: from time 0, the container's start, to the end of the last frame.
    frames: that are shown. rate: their mean per second, None where one frame has none. bytes: of the file. repairs:
    what reading mends, in words. first: time stamp of time 0 in seconds, None where frames are counted at `rate`
    instead. delay: seconds from time 0 to the first frame, which stands in until then. stream: the number of the
    stream that is read. reading: what of this an older version read otherwise (`DECODER` is the same), in words that
    caches are named by; mostly nothing.
    """

    width: int
    height: int
    rotation: int
    seconds: float
    frames: int
    rate: float | None
    codec: str
    pixel_format: str
    bytes: int
    repairs: tuple[str, ...] = ()
    first: float | None = 0.0
    mirrored: bool = False
    delay: float = 0.0
    stream: int | None = None
    reading: str = ""


# --- facts ------------------------------------------------------------------------------------------------------


class Stamp(NamedTuple):
    """The times of one packet, in units of its stream; None where it has none."""

    pts: int | None
    dts: int | None
    duration: int


class Timing(NamedTuple):
    """When the frames of a video are shown; the fields are those of VideoFacts."""

    first: float | None
    seconds: float
    frames: int
    rate: float | None
    repairs: list[str]
    delay: float = 0.0


def inspect(path: Path, *, max_side: int = MAX_SIDE) -> VideoFacts:
    """The facts of a video: all packets are read, the first frame is decoded.

    Raises VideoError if the file is missing, empty, no video or a playlist, has no video stream, no frame that can be
    decoded, more than `max_side` pixels a side, or lasts longer than a week.
    """
    with _opened(path) as (container, stream):
        _check_side(stream.width, stream.height, max_side)
        picture, stamps, packets = _survey(container, stream)
        _check_side(picture.width, picture.height, max_side)
        timing = _timing(container, stream, picture, stamps)
        repairs = [*_cut_off(container, stream, packets, timing), *timing.repairs]
        codec, index = stream.codec_context.codec.canonical_name, stream.index
        reading = [f"stream {index}"] * (index != moving_streams(container)[0].index)
    if timing.seconds > MAX_SECONDS:
        raise VideoError(f"lasts {timing.seconds / 3600:.0f} hours; the limit is {MAX_SECONDS / 3600:.0f}")
    reading += [f"delay {timing.delay:.3f}"] * (timing.delay > 0)
    width, height, rotation, mirrored = displayed(picture)
    repairs += [f"turned by {rotation}°"] * (rotation > 0) + ["mirrored"] * mirrored
    return VideoFacts(
        width=width, height=height, rotation=rotation, seconds=timing.seconds, frames=timing.frames, rate=timing.rate,
        codec=codec, pixel_format=picture.format.name, bytes=path.stat().st_size, repairs=tuple(repairs),
        first=timing.first, mirrored=mirrored, delay=timing.delay, stream=index, reading=", ".join(reading),
    )  # fmt: skip


def _check_side(width: int, height: int, max_side: int) -> None:
    if max(width, height) > max_side:
        raise VideoError(f"{width}×{height} pixels; the limit is {max_side} a side")
    if width * height > MAX_PIXELS:
        raise VideoError(f"{width}×{height} pixels; the limit is {MAX_PIXELS // 10**6} million in all")


def _survey(container: InputContainer, stream: VideoStream) -> tuple[VideoFrame, list[Stamp], int]:
    """The first frame, the stamps of the packets that are shown, in file order, and the number of all packets."""
    stamps: list[Stamp] = []
    count = 0

    def noted() -> Iterator[VideoPacket]:
        nonlocal count
        for packet in _packets(container, stream):
            count += 1
            if not packet.is_discard:
                stamps.append(Stamp(packet.pts, packet.dts, packet.duration or 0))
            yield packet

    packets = noted()
    picture = next((frame for frame in decoded(stream, packets) if frame is not None), None)
    deque(packets, maxlen=0)  # the rest is read, not decoded
    if picture is None or not stamps:
        raise VideoError("no frame in it can be decoded")
    return picture, stamps, count


def _timing(container: InputContainer, stream: VideoStream, picture: VideoFrame, stamps: list[Stamp]) -> Timing:
    """The timing by the time stamps or, where they are of no use, by the number of frames."""
    unit = stream.time_base or Fraction(1)
    fault = _fault(container, stream, stamps, unit)
    if fault or picture.pts is None:
        rate = declared_rate(stream) or ASSUMED_RATE
        repair = f"{fault or 'time stamps missing'}: {rate:g} frames/s assumed"
        return Timing(None, len(stamps) / rate, len(stamps), rate, [repair])
    shown = sorted({stamp.pts: stamp for stamp in stamps if stamp.pts is not None and stamp.pts >= picture.pts}.items())
    times = np.array([float((pts - picture.pts) * unit) for pts, _ in shown] or [0.0])
    mean_rate = (len(times) - 1) / float(times[-1]) if len(times) > 1 else float(stream.average_rate or 0) or None
    early = sum(stamp.pts is not None and stamp.pts < picture.pts for stamp in stamps)
    repairs = [f"starts with {early} frames that cannot be decoded: left out"] * (early > 0)
    first = float(picture.pts * unit)
    zero = time_zero(container, first)
    if delay := first - zero:
        repairs.append(f"pictures begin {delay:.3g} s after its start: the first one stands until then")
    if not stream.average_rate:
        repairs.append("no frame rate: times come from the time stamps")
    last = float(shown[-1][1].duration * unit) if shown else 0.0
    if not 2 * TOLERANCE < last <= MAX_PAUSE:
        last = float(np.median(np.diff(times))) if len(times) > 1 else 1 / (mean_rate or ASSUMED_RATE)
    return Timing(zero, delay + float(times[-1]) + last, len(times), mean_rate, repairs, delay)


def time_zero(container: InputContainer, first: float) -> float:
    """The time stamp, in seconds, at which a container starts, which players and annotation tools show as time 0.

    first: time stamp of the first picture. It is time 0 itself where the container tells no start, or one that is
    `IN_STEP` before it at most, or so long that the start, or the picture, has a damaged time stamp.
    """
    if container.start_time is None:
        return first
    start = container.start_time / av.time_base
    return start if IN_STEP < first - start <= MAX_PAUSE else first


def _fault(container: InputContainer, stream: VideoStream, stamps: list[Stamp], unit: Fraction) -> str | None:
    """Why the time stamps cannot be used, or None. `unit`: seconds."""
    stamped = sorted(stamp.pts for stamp in stamps if stamp.pts is not None)
    if container.format.name in BARE or 2 * len(stamped) < len(stamps):
        return "time stamps missing"
    if container.format.name == "avi" and stream.codec_context.has_b_frames:
        return "time stamps out of order"  # AVI keeps the order of decoding alone
    decoding = [stamp.dts for stamp in stamps if stamp.dts is not None]
    if any((before - after) * unit > 1 for before, after in itertools.pairwise(decoding)):
        return "time stamps go back"
    pause = max((after - before for before, after in itertools.pairwise(stamped)), default=0) * unit
    if pause > MAX_PAUSE:
        return f"time stamps jump by {float(pause / 3600):.0f} hours"
    if len(stamped) > 1 and stamped[0] == stamped[-1]:
        return "time stamps stand still"
    return None


def declared_rate(stream: VideoStream) -> float | None:
    """Frames a second by the headers, None if they name none that could be."""
    low, high = RATES
    rates = (float(rate) for rate in (stream.guessed_rate, stream.average_rate) if rate)
    return next((rate for rate in rates if low <= rate <= high), None)


def _cut_off(container: InputContainer, stream: VideoStream, packets: int, timing: Timing) -> list[str]:
    """In words what the header promises and the file does not hold; empty where nothing is missing."""
    if packets < stream.frames:
        return [f"truncated: {packets} of {stream.frames} frames"]
    promised = (container.duration or 0) / av.time_base
    held = timing.seconds + (timing.first or 0.0)
    alone = len(container.streams) == 1  # else it may be the sound that lasts so long
    if not stream.frames and alone and timing.first is not None and held < 0.95 * promised - 0.5:
        return [f"truncated: {held:.1f} of {promised:.1f} s"]
    return []


def displayed(frame: VideoFrame) -> tuple[int, int, int, bool]:
    """(width, height, rotation, mirrored) of a decoded frame, as in VideoFacts, by its display matrix.

    PyAV's own `rotation` takes a mirrored frame for one that is turned.
    """
    try:
        matrix = np.frombuffer(bytes(frame.side_data["DISPLAYMATRIX"])[:36], np.int32).astype(float)  # type: ignore[typeddict-item]
    except KeyError:
        return frame.width, frame.height, 0, False
    a, b, _, c, d = matrix[:5]
    mirrored = bool(a * d - b * c < 0)
    rotation = round(math.degrees(math.atan2(b, -a if mirrored else a)) / 90) * 90 % 360
    width, height = (frame.height, frame.width) if rotation % 180 else (frame.width, frame.height)
    return width, height, rotation, mirrored


# --- frames -----------------------------------------------------------------------------------------------------


def sample_frames(
    path: Path,
    *,
    rate: float,
    resize: Resize = None,
    start: float = 0.0,
    end: float | None = None,
    max_side: int = MAX_SIDE,
    threads: int = 1,
    facts: VideoFacts | None = None,
) -> Iterator[tuple[float, Pixels]]:
    """(seconds, RGB pixels (H, W, 3)) for each grid time k/rate with start <= k/rate < end.

    The pixels are those of the last frame whose time is not after k/rate, and of the first frame before it. Without
    `start` and `end` there are `grid_length(facts.seconds, rate)` of them, also where frames are damaged: the frame
    before stands in, and a warning counts them. Arrays are read-only; one frame at several times is one array.

    start, end: seconds since the container's start; None: the end of the video. What is far before `start` is skipped,
    not decoded. resize: None keeps the size, a number is the short side (the aspect is kept, nothing enlarged),
    (width, height) is that size exactly. threads: of the decoder, 0 for one a core; one is best beside other files.
    facts: what `inspect` said of the file; saves reading it twice.
    Raises VideoError (see `inspect`), and ValueError for a rate that is not above 0.
    """
    facts = facts or inspect(path, max_side=max_side)
    stop = grid_length(facts.seconds, rate)
    grid = Grid(rate, start, stop if end is None else min(stop, points_before(end, rate)))
    convert = converter(facts.width, facts.height, facts.rotation, facts.mirrored, resize=resize)
    shown, lost = None, 0
    try:
        for time, frame in _timed(path, facts, start, tolerance(rate), threads) if grid.rest() else ():
            if frame is None:
                lost += 1
                continue
            if shown is not None and (numbers := grid.before(time)):
                pixels = convert(shown)
                yield from ((number / rate, pixels) for number in numbers)
            shown = frame
            if not grid.rest():
                return
    finally:
        if lost:
            log.warning("%s: %d damaged frames left out; the frame before each is shown instead", path, lost)
    if numbers := grid.rest():
        if shown is None:
            raise VideoError("no frame in it can be decoded")
        pixels = convert(shown)
        yield from ((number / rate, pixels) for number in numbers)


def converter(
    width: int, height: int, rotation: int, mirrored: bool, *, resize: Resize
) -> Callable[[VideoFrame], Pixels]:
    """A function from decoded frames to upright, read-only RGB pixels, of one size whatever the frames' sizes are.

    Scaling and change of colours are one step, on as few pixels as possible: the rotation comes after it.
    width, height, rotation, mirrored: as in VideoFacts, see `displayed`. Raises VideoError for unknown colours.
    """
    width, height = _size(width, height, resize)
    if rotation % 180:
        width, height = height, width
    reformatter = VideoReformatter()  # keeps its tables from frame to frame

    def convert(frame: VideoFrame) -> Pixels:
        try:
            scaled = reformatter.reformat(frame, width, height, "rgb24", interpolation=SCALING, threads=1)
        except FFmpegError:
            raise VideoError(f"its pixels ({frame.format.name}) cannot be converted to RGB") from None
        turned = np.rot90(scaled.to_ndarray(), -rotation // 90)
        pixels = np.array(turned[:, ::-1] if mirrored else turned, np.uint8, order="C")
        pixels.setflags(write=False)
        return pixels

    return convert


def _size(width: int, height: int, resize: Resize) -> tuple[int, int]:
    """The (width, height) that frames of this size get.

    >>> _size(426, 240, 120), _size(60, 40, 120), _size(426, 240, (224, 224))
    ((213, 120), (60, 40), (224, 224))
    """
    if isinstance(resize, tuple):
        return resize
    scale = min(1.0, resize / min(width, height)) if resize else 1.0
    return max(1, round(width * scale)), max(1, round(height * scale))


def _timed(
    path: Path, facts: VideoFacts, start: float, slack: float, threads: int
) -> Iterator[tuple[float, VideoFrame | None]]:
    """(seconds since time 0, frame) from the frame at `start`, or an earlier one; None for a damaged one.

    slack: seconds by which a frame may be later and still be the one at `start`.
    """
    if facts.first is not None and start > facts.delay:
        with _opened(path, threads, facts.stream) as (container, stream):
            for back in (0.0, 2.0, 20.0):
                frames = _after_seek(container, stream, facts, facts.first + start - back)
                early = next((pair for pair in frames if pair[1] is not None), None)
                if early is not None and early[0] <= start + slack:
                    yield early
                    yield from frames
                    return
    with _opened(path, threads, facts.stream) as (container, stream):
        yield from _with_times(stream, facts, _packets(container, stream))


def _after_seek(
    container: InputContainer, stream: VideoStream, facts: VideoFacts, stamp: float
) -> Iterator[tuple[float, VideoFrame | None]]:
    """(seconds, frame) from a key frame that should be before the time stamp, but in some formats is not."""
    if container.format.name == "mpeg":  # its time stamps after a seek are guesses
        return
    try:
        container.seek(math.floor(stamp / float(stream.time_base or 1)), stream=stream)
    except FFmpegError:
        return
    packets = itertools.dropwhile(lambda packet: not packet.is_keyframe, _packets(container, stream))
    yield from _with_times(stream, facts, packets)


def _with_times(
    stream: VideoStream, facts: VideoFacts, packets: Iterator[VideoPacket]
) -> Iterator[tuple[float, VideoFrame | None]]:
    """(seconds since time 0, frame) of the packets, None for a damaged frame."""
    unit, step, time = float(stream.time_base or 1), 1 / (facts.rate or ASSUMED_RATE), 0.0
    for number, frame in enumerate(decoded(stream, packets)):
        if facts.first is None:
            time = number * step
        elif frame is not None:
            time = frame.pts * unit - facts.first if frame.pts is not None else time + step
        yield time, frame


def decoded(stream: VideoStream, packets: Iterator[VideoPacket]) -> Iterator[VideoFrame | None]:
    """The frames in the order of showing, None for each that damage has spoiled."""
    for packet in packets:
        try:
            frames = stream.decode(packet)
        except FFmpegError:
            yield None
            continue
        yield from (None if frame.is_corrupt else frame for frame in frames)
    try:
        frames = stream.decode(None)
    except FFmpegError:
        return
    yield from (None if frame.is_corrupt else frame for frame in frames)


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[VideoPacket]:
    """The packets of the stream, without a last one that the end of the file cuts."""
    doubtful: VideoPacket | None = None
    for packet in _read(container, stream):
        if doubtful is not None:
            yield doubtful
        doubtful = packet if packet.is_corrupt else None
        if doubtful is None:
            yield packet


def _read(container: InputContainer, *streams: VideoStream) -> Iterator[VideoPacket]:
    """The packets of the streams; damage in the container is passed over where FFmpeg can go on behind it."""
    for _ in range(DEMUX_ATTEMPTS):
        try:
            packets = cast(Iterator[VideoPacket], container.demux(*streams))
            yield from (packet for packet in packets if packet.size)  # an empty one would end decoding
            return
        except FFmpegError:
            continue
        except IndexError:  # PyAV stumbles, at the end, over streams that turned up on the way
            return


@contextmanager
def _opened(path: Path, threads: int = 1, index: int | None = None) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The opened file and its video stream: the one of that number or, without it, what players show.

    Raises VideoError.
    """
    with _open(path) as container:
        if index is None and len(moving_streams(container)) > 1:
            with _open(path) as other:  # looking into its streams moves on in a file
                index = _most_moving(other)
        stream = video_stream(container, index)
        stream.thread_count, stream.thread_type = threads, ThreadType.AUTO
        yield container, stream


def _open(path: Path) -> InputContainer:
    """The opened file. Raises VideoError."""
    if not path.exists():
        raise VideoError("there is no such file")
    if not path.is_file():  # a pipe would be waited for
        raise VideoError("not a file")
    if path.stat().st_size == 0:
        raise VideoError("the file is empty (0 bytes)")
    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS, "max_pixels": str(MAX_PIXELS)}
    try:
        # without "file:" a colon in the name would make it an address
        return av.open(f"file:{path}", options=options, metadata_errors="replace")
    except FFmpegError:
        raise VideoError(_why_closed(path)) from None


def _why_closed(path: Path) -> str:
    """Why a file that FFmpeg does not open is no video, as far as its first bytes tell."""
    with path.open("rb") as file:
        head = file.read(16)
    if head[4:8] == b"ftyp":
        return "cut off or damaged: it has no index (moov)"
    if head.lstrip(b"\xef\xbb\xbf").startswith((b"#EXTM3U", b"ffconcat")):
        return "a playlist, not a video"
    return "not a video that can be read"


def moving_streams(container: InputContainer) -> list[VideoStream]:
    """The streams of pictures that are no attached cover, in file order, one at least. Raises VideoError."""
    moving = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not moving:
        kinds = sorted({stream.type for stream in container.streams if stream.type != "video"})
        found = " and ".join(kinds) or ("a cover picture" if container.streams else "")
        raise VideoError(f"there is no video in it{f', only {found}' * bool(found)}")
    known = [stream for stream in moving if stream.codec_context is not None]
    if not known:
        raise VideoError("its codec is unknown, or its header is damaged")
    return known


def _most_moving(container: InputContainer) -> int:
    """The number of FFmpeg's favourite among the streams that hold more than one picture; packets are read for it."""
    streams, counts = moving_streams(container), Counter[int]()
    for packet in _read(container, *streams):
        counts[packet.stream_index] += 1
        if all(counts[stream.index] > 1 for stream in streams):
            break
    return _favourite(container, [one for one in streams if counts[one.index] > 1] or streams).index


def _favourite(container: InputContainer, streams: list[VideoStream]) -> VideoStream:
    """The stream that FFmpeg and players take, first by the flag "default"; the first one if that is not among them."""
    best = container.streams.best("video")
    return next((stream for stream in streams if best is not None and stream.index == best.index), streams[0])


def video_stream(container: InputContainer, index: int | None = None) -> VideoStream:
    """A stream of moving pictures, set up for decoding; the others are not read.

    index: its number; None: FFmpeg's favourite. Raises VideoError.
    """
    streams = moving_streams(container)
    chosen = [stream for stream in streams if stream.index == index]
    stream = chosen[0] if chosen else _favourite(container, streams)
    for other in container.streams:
        if other is not stream:
            other.discard = Discard.all
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    return stream


# --- writing ----------------------------------------------------------------------------------------------------


class VideoWriter:
    """Writes RGB frames as an MP4 (H.264 where FFmpeg has it, else MPEG-4), whole or not at all.

    width, height: of the frames; an odd one is padded by a pixel. rate: frames a second.

    with VideoWriter(path, 640, 360, 25) as writer:
        writer.write(pixels)
    """

    def __init__(self, path: Path, width: int, height: int, rate: float) -> None:
        self.path, self.width, self.height = path, width, height
        self.rate = Fraction(rate).limit_denominator(1001)
        self.frames = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic(self.path))
            options = {"movflags": "+faststart"}
            self._container = stack.enter_context(av.open(f"file:{temporary}", "w", format="mp4", options=options))
            self._stream = cast(VideoStream, self._container.add_stream(_encoder(), rate=self.rate))
            self._stream.width, self._stream.height = self.width + self.width % 2, self.height + self.height % 2
            self._stream.pix_fmt = "yuv420p"
            self._open = stack.pop_all()
        return self

    def write(self, rgb: Pixels) -> None:
        """Appends a frame (height, width, 3) uint8. Raises ValueError for another shape or type."""
        if rgb.shape != (self.height, self.width, 3) or rgb.dtype != np.uint8:
            raise ValueError(f"a frame of {rgb.dtype} {rgb.shape} in a video of {self.width}×{self.height}")
        even = np.pad(rgb, ((0, self.height % 2), (0, self.width % 2), (0, 0)), mode="edge")
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        frame.pts, frame.time_base = self.frames, 1 / self.rate
        self._container.mux(self._stream.encode(frame))
        self.frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._open.__exit__(kind, error, traceback)
            return
        with self._open:
            if not self.frames:
                raise ValueError("a video needs at least one frame")
            self._container.mux(self._stream.encode(None))


def _encoder() -> str:
    """The first of ENCODERS that this FFmpeg has."""
    for name in ENCODERS[:-1]:
        try:
            av.codec.Codec(name, "w")
        except av.codec.codec.UnknownCodecError:
            continue
        return name
    return ENCODERS[-1]


# --- motion -----------------------------------------------------------------------------------------------------

AMPLIFIED = 4  # times that a difference of two frames is enhanced: people move by a few grey levels


def motion_pictures(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(T, H, W, 3) frames -> (T, H, W, 3) pictures of what changed since the frame before each, black for the first.

    >>> motion_pictures(np.array([10, 13, 200], np.uint8).reshape(3, 1, 1, 1)).ravel().tolist()
    [0, 12, 255]
    """
    earlier = np.concatenate([frames[:1], frames[:-1]])
    changed = np.where(frames > earlier, frames - earlier, earlier - frames)  # uint8 wraps around, but not here
    return np.where(changed > 255 // AMPLIFIED, 255, changed * AMPLIFIED)


def pad_frames(frames: Iterable[Pixels], count: int, size: int) -> NDArray[np.uint8]:
    """Stack `count` frames (count, size, size, 3), repeating the last one where a damaged file ends early."""
    found = np.zeros((count, size, size, 3), np.uint8)
    number = 0
    for number, pixels in enumerate(itertools.islice(frames, count), 1):
        found[number - 1] = pixels
    if number:
        found[number:] = found[number - 1]
    return found
