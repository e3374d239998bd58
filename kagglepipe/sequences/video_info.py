"""Read the facts of a video file: size, orientation, length, frame rate, necessary repairs.

Headers are not believed where the packets can be counted.
"""

import itertools
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from kagglepipe.sequences import container as containers
from kagglepipe.sequences.container import VideoError, VideoPacket
from kagglepipe.sequences.grid import TOLERANCE

MAX_SIDE = 20_000
MAX_SECONDS = 7 * 24 * 3600.0


@dataclass(frozen=True)
class VideoInfo:
    """A video, by its packets and its first frame.

    width, height: pixels as displayed, after rotation, taken as square. rotation: degrees clockwise (0, 90, 180, 270)
    that make a stored frame upright; mirrored: whether it is flipped left to right after that.
    seconds: from time 0, the start of the container, to the end of the last frame. frames: number of displayed frames.
    rate: their mean frames/s, None for a single frame without one. bytes: size of the file. repairs: what reading
    repairs, in words. first: time stamp of time 0 in seconds; None where frames are counted at `rate` instead.
    delay: seconds from time 0 to the first frame, which is shown until then. stream: number of the video stream.
    reading: what older versions with the same `DECODER` read otherwise; part of the names of caches, mostly empty.
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


class PacketTimes(NamedTuple):
    """Times of a packet in units of its stream; None where they are missing."""

    pts: int | None
    dts: int | None
    duration: int


class Timing(NamedTuple):
    """Display times of a video; fields as in VideoInfo."""

    first: float | None
    seconds: float
    frames: int
    rate: float | None
    repairs: list[str]
    delay: float = 0.0


def inspect(path: Path, *, max_side: int = MAX_SIDE) -> VideoInfo:
    """Read all packets of a video and decode its first frame.

    Raises VideoError for a file that is missing, empty, no video or a playlist, without a video stream or a frame that
    can be decoded, larger than `max_side` pixels a side, or longer than a week.
    """
    with containers.open_video(path) as (container, stream):
        _check_size(stream.width, stream.height, max_side)
        frame, times, packets = _scan_packets(container, stream)
        _check_size(frame.width, frame.height, max_side)
        timing = _timing(container, stream, frame, times)
        repairs = [*_truncation(container, stream, packets, timing), *timing.repairs]
        codec, index = stream.codec_context.codec.canonical_name, stream.index
        reading = [f"stream {index}"] * (index != containers.video_streams(container)[0].index)
    if timing.seconds > MAX_SECONDS:
        raise VideoError(f"lasts {timing.seconds / 3600:.0f} hours; the limit is {MAX_SECONDS / 3600:.0f}")
    reading += [f"delay {timing.delay:.3f}"] * (timing.delay > 0)
    width, height, rotation, mirrored = orientation(frame)
    repairs += [f"rotated by {rotation}°"] * (rotation > 0) + ["mirrored"] * mirrored
    return VideoInfo(
        width=width, height=height, rotation=rotation, seconds=timing.seconds, frames=timing.frames, rate=timing.rate,
        codec=codec, pixel_format=frame.format.name, bytes=path.stat().st_size, repairs=tuple(repairs),
        first=timing.first, mirrored=mirrored, delay=timing.delay, stream=index, reading=", ".join(reading),
    )  # fmt: skip


def _check_size(width: int, height: int, max_side: int) -> None:
    if max(width, height) > max_side:
        raise VideoError(f"{width}×{height} pixels; the limit is {max_side} a side")
    if width * height > containers.MAX_PIXELS:
        raise VideoError(f"{width}×{height} pixels; the limit is {containers.MAX_PIXELS // 10**6} million in all")


def _scan_packets(container: InputContainer, stream: VideoStream) -> tuple[VideoFrame, list[PacketTimes], int]:
    """Return the first frame, the times of the displayed packets in file order, and the number of all packets."""
    times: list[PacketTimes] = []
    count = 0

    def recorded() -> Iterator[VideoPacket]:
        nonlocal count
        for packet in containers.read_packets(container, stream):
            count += 1
            if not packet.is_discard:
                times.append(PacketTimes(packet.pts, packet.dts, packet.duration or 0))
            yield packet

    packets = recorded()
    first = next((frame for frame in containers.decode_packets(stream, packets) if frame is not None), None)
    deque(packets, maxlen=0)  # the rest is read, not decoded
    if first is None or not times:
        raise VideoError("no frame in it can be decoded")
    return first, times, count


def _timing(container: InputContainer, stream: VideoStream, frame: VideoFrame, packets: list[PacketTimes]) -> Timing:
    """Time the frames by their time stamps or, where these are unusable, by their number."""
    unit = stream.time_base or Fraction(1)
    fault = _timestamp_fault(container, stream, packets, unit)
    if fault or frame.pts is None:
        rate = containers.declared_rate(stream) or containers.DEFAULT_RATE
        repair = f"{fault or 'time stamps missing'}: {rate:g} frames/s assumed"
        return Timing(None, len(packets) / rate, len(packets), rate, [repair])
    shown = sorted({one.pts: one for one in packets if one.pts is not None and one.pts >= frame.pts}.items())
    times = np.array([float((pts - frame.pts) * unit) for pts, _ in shown] or [0.0])
    mean_rate = (len(times) - 1) / float(times[-1]) if len(times) > 1 else float(stream.average_rate or 0) or None
    early = sum(one.pts is not None and one.pts < frame.pts for one in packets)
    repairs = [f"starts with {early} frames that cannot be decoded: left out"] * (early > 0)
    first = float(frame.pts * unit)
    zero = containers.start_time(container, first)
    if delay := first - zero:
        repairs.append(f"first frame {delay:.3g} s after the start of the file: shown from the start")
    if not stream.average_rate:
        repairs.append("no frame rate: taken from the time stamps")
    last = float(shown[-1][1].duration * unit) if shown else 0.0
    if not 2 * TOLERANCE < last <= containers.MAX_GAP:
        last = float(np.median(np.diff(times))) if len(times) > 1 else 1 / (mean_rate or containers.DEFAULT_RATE)
    return Timing(zero, delay + float(times[-1]) + last, len(times), mean_rate, repairs, delay)


def _timestamp_fault(
    container: InputContainer, stream: VideoStream, packets: list[PacketTimes], unit: Fraction
) -> str | None:
    """Say why the time stamps cannot be used; None if they can. unit: seconds of a step of the time stamps."""
    stamps = sorted(one.pts for one in packets if one.pts is not None)
    if container.format.name in containers.ELEMENTARY_STREAMS or 2 * len(stamps) < len(packets):
        return "time stamps missing"
    if container.format.name == "avi" and stream.codec_context.has_b_frames:
        return "time stamps out of order"  # AVI stores the decoding order only
    decoding = [one.dts for one in packets if one.dts is not None]
    if any((before - after) * unit > 1 for before, after in itertools.pairwise(decoding)):
        return "time stamps go back"
    gap = max((after - before for before, after in itertools.pairwise(stamps)), default=0) * unit
    if gap > containers.MAX_GAP:
        return f"time stamps jump by {float(gap / 3600):.0f} hours"
    if len(stamps) > 1 and stamps[0] == stamps[-1]:
        return "time stamps stand still"
    return None


def _truncation(container: InputContainer, stream: VideoStream, packets: int, timing: Timing) -> list[str]:
    """Compare the header with the file: a line if frames or seconds are missing, else none."""
    if packets < stream.frames:
        return [f"truncated: {packets} of {stream.frames} frames"]
    declared = (container.duration or 0) / av.time_base
    found = timing.seconds + (timing.first or 0.0)
    is_single = len(container.streams) == 1  # otherwise the sound may be what lasts so long
    if not stream.frames and is_single and timing.first is not None and found < 0.95 * declared - 0.5:
        return [f"truncated: {found:.1f} of {declared:.1f} s"]
    return []


def orientation(frame: VideoFrame) -> tuple[int, int, int, bool]:
    """Read (width, height, rotation, mirrored), as in VideoInfo, from the display matrix of a decoded frame.

    PyAV's own `rotation` takes a mirrored frame for a rotated one.
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
