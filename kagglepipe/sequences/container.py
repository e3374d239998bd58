"""Open video files through FFmpeg (PyAV), choose their video stream, demux and decode it whatever is damaged."""

import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias, cast

import av
from av.codec.context import ThreadType
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

VideoPacket: TypeAlias = "Packet[VideoStream]"

MAX_PIXELS = 2**27  # a frame of that size takes half a gigabyte while it is converted
MAX_START_OFFSET = 0.1  # seconds by which the first frame may follow the sound and still start with it: encoder delay
MAX_GAP = 3600.0  # seconds between two frames; a longer gap is a damaged time stamp
MIN_RATE, MAX_RATE = 0.01, 1000.0  # frames/s that are believed of a header
DEFAULT_RATE = 25.0
DEMUX_ATTEMPTS = 100

# Containers and elementary video streams only: a playlist, a picture or a script would make FFmpeg open other files.
ELEMENTARY_STREAMS = ("h261", "h263", "h264", "hevc", "m4v", "mjpeg", "mpegvideo", "obu", "vc1")
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "flv", "asf", "ogg", "gif", "apng", "ivf",
    "mxf", "nut", "dv", "rm", "wtv",
)  # fmt: skip
FORMATS = ",".join(CONTAINERS + ELEMENTARY_STREAMS)


class VideoError(ValueError):
    """A file is not a usable video; the message gives the reason."""


@contextmanager
def open_video(path: Path, threads: int = 1, index: int | None = None) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file and its video stream number `index`, by default the one that players show. Raises VideoError."""
    with _open(path) as container:
        if index is None and len(video_streams(container)) > 1:
            with _open(path) as other:  # counting packets moves the position in a file
                index = _stream_of_frames(other)
        stream = select_stream(container, index)
        stream.thread_count, stream.thread_type = threads, ThreadType.AUTO
        yield container, stream


def _open(path: Path) -> InputContainer:
    if not path.exists():
        raise VideoError("there is no such file")
    if not path.is_file():  # opening a pipe would block
        raise VideoError("not a file")
    if path.stat().st_size == 0:
        raise VideoError("the file is empty (0 bytes)")
    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS, "max_pixels": str(MAX_PIXELS)}
    try:
        # without "file:" a colon in the name would make it an address
        return av.open(f"file:{path}", options=options, metadata_errors="replace")
    except FFmpegError:
        raise VideoError(_describe_unopened(path)) from None


def _describe_unopened(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(16)
    if head[4:8] == b"ftyp":
        return "truncated or damaged: it has no index (moov)"
    if head.lstrip(b"\xef\xbb\xbf").startswith((b"#EXTM3U", b"ffconcat")):
        return "a playlist, not a video"
    return "not a video that can be read"


# --- streams ----------------------------------------------------------------------------------------------------


def video_streams(container: InputContainer) -> list[VideoStream]:
    """List the video streams but attached cover pictures, in file order, at least one. Raises VideoError."""
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not streams:
        kinds = sorted({stream.type for stream in container.streams if stream.type != "video"})
        found = " and ".join(kinds) or ("a cover picture" if container.streams else "")
        raise VideoError(f"there is no video in it{f', only {found}' * bool(found)}")
    known = [stream for stream in streams if stream.codec_context is not None]
    if not known:
        raise VideoError("its codec is unknown, or its header is damaged")
    return known


def select_stream(container: InputContainer, index: int | None = None) -> VideoStream:
    """Select video stream number `index`, by default FFmpeg's choice; the others are discarded. Raises VideoError."""
    streams = video_streams(container)
    stream = next((one for one in streams if one.index == index), None) or _default_stream(container, streams)
    for other in container.streams:
        if other is not stream:
            other.discard = Discard.all
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    return stream


def _default_stream(container: InputContainer, streams: list[VideoStream]) -> VideoStream:
    """Choose as FFmpeg and players do, by the flag "default" first; the first stream if theirs is not among them."""
    best = container.streams.best("video")
    return next((stream for stream in streams if best is not None and stream.index == best.index), streams[0])


def _stream_of_frames(container: InputContainer) -> int:
    """Number of FFmpeg's choice among the streams of more than one frame; reads packets to count them."""
    streams, counts = video_streams(container), Counter[int]()
    for packet in _demux(container, *streams):
        counts[packet.stream_index] += 1
        if all(counts[stream.index] > 1 for stream in streams):
            break
    return _default_stream(container, [one for one in streams if counts[one.index] > 1] or streams).index


def declared_rate(stream: VideoStream) -> float | None:
    """Frames/s by the headers; None without a plausible rate."""
    rates = (float(rate) for rate in (stream.guessed_rate, stream.average_rate) if rate)
    return next((rate for rate in rates if MIN_RATE <= rate <= MAX_RATE), None)


def start_time(container: InputContainer, first: float) -> float:
    """Time stamp in seconds that players and annotation tools show as time 0: the start of the container.

    first: time stamp of the first frame. It is time 0 itself where the container has no start, or one at most
    `MAX_START_OFFSET` earlier, or one so much earlier that either time stamp is damaged.
    """
    if container.start_time is None:
        return first
    start = container.start_time / av.time_base
    return start if MAX_START_OFFSET < first - start <= MAX_GAP else first


# --- packets and frames -----------------------------------------------------------------------------------------


def read_packets(container: InputContainer, stream: VideoStream) -> Iterator[VideoPacket]:
    """Read the packets of a stream, without a last one that is truncated by the end of the file."""
    pending: VideoPacket | None = None
    for packet in _demux(container, stream):
        if pending is not None:
            yield pending
        pending = packet if packet.is_corrupt else None
        if pending is None:
            yield packet


def _demux(container: InputContainer, *streams: VideoStream) -> Iterator[VideoPacket]:
    """Read the packets of the streams, past damage in the container where FFmpeg can resume after it."""
    for _ in range(DEMUX_ATTEMPTS):
        try:
            packets = cast(Iterator[VideoPacket], container.demux(*streams))
            yield from (packet for packet in packets if packet.size)  # an empty one would end decoding
            return
        except FFmpegError:
            continue
        except IndexError:  # raised by PyAV at the end, over streams that appeared on the way
            return


def decode_packets(stream: VideoStream, packets: Iterator[VideoPacket]) -> Iterator[VideoFrame | None]:
    """Decode packets to frames in display order, None for each damaged frame."""
    for packet in itertools.chain(packets, [None]):  # None: the frames that the decoder has kept back
        try:
            frames = stream.decode(packet)
        except FFmpegError:
            if packet is not None:
                yield None
        else:
            yield from (None if frame.is_corrupt else frame for frame in frames)
