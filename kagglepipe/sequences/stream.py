"""Read live video, from a camera or the URL of a stream, at even times.

A broken connection is opened again. No message and no error contains a password that is part of the URL.
"""

import platform
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame

from kagglepipe.errors import UserError
from kagglepipe.images.decode import Pixels
from kagglepipe.sequences.container import (
    DEFAULT_RATE,
    FORMATS,
    MAX_PIXELS,
    VideoError,
    VideoPacket,
    declared_rate,
    decode_packets,
    select_stream,
    start_time,
)
from kagglepipe.sequences.grid import SampleGrid
from kagglepipe.sequences.video import Resize, rgb_converter
from kagglepipe.sequences.video_info import orientation

STREAM = re.compile(r"(rtsps?|rtmps?|https?|udp|tcp|srt)://", re.IGNORECASE)
CAMERA = re.compile(r"camera(?::(\d+))?|/dev/video(\d+)")
PROTOCOLS = "http,https,tcp,tls,udp,rtp,srtp,rtmp,rtmps,rtmpt,srt,crypto,httpproxy"  # a playlist must not open files
LIVE_FORMATS = f"{FORMATS},rtsp,rtp,sdp,hls,mpjpeg,live_flv"
TIMEOUT = 10.0  # seconds to wait for a connection, and for each packet
MAX_WAIT = 30.0  # seconds before another attempt
MAX_STEP = 10.0  # seconds between two frames by their time stamps; beyond it the clock is believed
MIN_STEP = 1e-3

SECRETS = ("pas", "psw", "pw", "login", "token", "key", "secret", "auth", "sig", "cred", "session")


def _encoded_pattern(word: str) -> str:
    """Regular expression of a word whose letters may be percent-encoded."""
    return "".join(f"(?:{c}|%{ord(c):02x}|%{ord(c.upper()):02x})" for c in word)


USERINFO = re.compile(r"^((?>(?:[a-z][a-z0-9+.-]*://)?).*?(?::|%3a)).*(@|%40)", re.IGNORECASE | re.DOTALL)
PARAMETER = re.compile(rf"((?:{'|'.join(map(_encoded_pattern, SECRETS))})[^=&\s/?#;]*?(?:=|%3d))[^&]*", re.IGNORECASE)

av.logging.set_level(None)  # FFmpeg's own log lines contain the URL with its password


class LiveFrame(NamedTuple):
    """Frame at a grid time.

    time: seconds since the first frame or, of a recording, since its start. pixels: RGB (H, W, 3) uint8.
    arrived: Unix time of its arrival.
    """

    time: float
    pixels: Pixels
    arrived: float


def is_stream(address: str) -> bool:
    """Whether an input is the URL of a stream or a camera of this machine, not a file.

    >>> [is_stream(text) for text in ("rtsp://host/x", "camera:1", "/dev/video0", "clip.mp4", "camera.mp4")]
    [True, True, True, False, False]
    """
    return bool(STREAM.match(address) or CAMERA.fullmatch(address))


def hide_password(address: str) -> str:
    """Replace the password of a URL, and parameters that may be secrets, by ***; too much rather than too little.

    A password may contain unescaped "/", ":" or "@", so everything up to the last "@" is hidden.

    >>> hide_password("rtsp://user:secret@host:554/live?channel=1&token=abc")
    'rtsp://user:***@host:554/live?channel=1&token=***'
    """
    return PARAMETER.sub(r"\1***", USERINFO.sub(r"\1***\2", address))


def open_live(address: str) -> InputContainer:
    """Open a stream, a camera, or a file in their place. Raises FFmpegError, and UserError without a camera."""
    limits = {"max_pixels": str(MAX_PIXELS)}
    if CAMERA.fullmatch(address):
        return av.open(_camera(address), format="v4l2", options=limits, timeout=TIMEOUT)
    if STREAM.match(address):
        options = {"protocol_whitelist": PROTOCOLS, "format_whitelist": LIVE_FORMATS, "rtsp_transport": "tcp"}
        return av.open(address, options=options | limits, timeout=TIMEOUT, metadata_errors="replace")
    path = unquote(address.removeprefix("file://")) if address.startswith("file://") else address
    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
    return av.open(f"file:{path}", options=options | limits, metadata_errors="replace")


def _camera(address: str) -> str:
    """Device file of `camera`, `camera:N` or `/dev/videoN`. Raises UserError if there is none."""
    if platform.system() != "Linux":
        raise UserError(f"{address} needs Linux's v4l2, this is {platform.system()}; give the URL of a stream")
    found = CAMERA.fullmatch(address)
    device = f"/dev/video{(found and (found[1] or found[2])) or 0}"
    if not Path(device).exists():
        there = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "none"
        raise UserError(f"there is no camera at {device} (found: {there}); connect one, or type camera:N for another")
    return device


class StreamClock:
    """Strictly increasing time of a stream, from time stamps that may be missing or jump, and from arrival times.

    time: seconds from the first frame to the last. step: seconds from the frame before it, by time stamps.
    """

    def __init__(self) -> None:
        self.time = self.step = 0.0
        self.origin: float | None = None
        self.stamp: float | None = None

    def tick(self, stamp: float | None, arrived: float) -> float:
        """Return the time of the next frame, in seconds. stamp: its time stamp; arrived: Unix time of its arrival."""
        step = stamp - self.stamp if stamp is not None and self.stamp is not None else -1.0
        if self.origin is None:
            self.origin = arrived
        elif 0 <= step <= MAX_STEP:
            self.step = max(step, MIN_STEP)
            self.time += self.step
        else:
            self.time = max(arrived - self.origin, self.time + MIN_STEP)
        self.stamp = stamp
        return self.time


def read_live(
    address: str,
    *,
    rate: float,
    resize: Resize = None,
    reconnect: int = 5,
    opener: Callable[[str], InputContainer] = open_live,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> Iterator[LiveFrame]:
    """Yield the frames of a live source at the grid times k/rate, each once the next frame has arrived.

    A broken connection is opened again, at most `reconnect` times in a row, after 1, 2, 4, … seconds; time continues by
    the clock meanwhile, and grid times in the gap have no frame. A recording ends where it ends. No frame is dropped
    for a slow reader, which falls behind.

    resize: as in `sample_frames`. opener, sleep, clock: replace `open_live`, waiting, and Unix time.
    Raises UserError if the source cannot be opened at first, has no video, or does not come back.
    """
    sampler = _Sampler(SampleGrid(rate), resize, clock)
    failures, reason = 0, ""
    while failures <= reconnect:
        before = sampler.count
        try:
            with opener(address) as container:
                faults: list[str] = []
                yield from sampler.sample(_decode_stream(container, faults), container if _has_end(container) else None)
                if not faults and _has_end(container):
                    return
                reason = faults[0] if faults else "it ended"
        except FFmpegError as error:
            reason = str(error.strerror)
        except VideoError as error:
            reason = str(error)
        if not sampler.count:
            break
        failures = 1 if sampler.count > before else failures + 1
        if failures <= reconnect:
            sleep(min(2.0 ** (failures - 1), MAX_WAIT))
    # raised outside of the handlers, so that no error that contains the whole URL becomes its context
    if not sampler.count:
        raise UserError(f"{hide_password(address)} cannot be read ({reason}); check address, password and network")
    raise UserError(
        f"{hide_password(address)} broke off after {sampler.count} frames and did not come back in {reconnect} "
        f"attempts ({reason}); check the camera and the network, then type the same again"
    )


def _decode_stream(container: InputContainer, faults: list[str]) -> Iterator[tuple[float | None, VideoFrame]]:
    """Yield (time stamp in seconds, frame) to the end of a connection; the reason of a broken one goes to `faults`.

    Frames of a recording without time stamps are counted, at the rate of its header.
    """
    stream = select_stream(container)
    unit = float(stream.time_base or 1)
    step = 1 / (declared_rate(stream) or DEFAULT_RATE) if _has_end(container) else None

    def packets() -> Iterator[VideoPacket]:
        try:
            yield from (packet for packet in container.demux(stream) if packet.size)
        except FFmpegError as error:
            faults.append(str(error.strerror))
        except IndexError:  # raised by PyAV at the end, over streams that appeared on the way
            faults.append("it changed its streams")

    for number, frame in enumerate(decode_packets(stream, packets())):
        if frame is not None:
            counted = None if step is None else number * step
            yield counted if frame.pts is None else frame.pts * unit, frame


def _has_end(container: InputContainer) -> bool:
    """Whether it is a recording, of known length, not a live source."""
    return container.duration is not None or container.size > 0


class _Sampler:
    """Sampling of a stream at grid times over several connections. count: frames received."""

    def __init__(self, grid: SampleGrid, resize: Resize, clock: Callable[[], float]) -> None:
        self.grid, self.resize, self.clock = grid, resize, clock
        self.stream_clock, self.count = StreamClock(), 0
        self.convert: Callable[[VideoFrame], Pixels] | None = None

    def sample(
        self, frames: Iterator[tuple[float | None, VideoFrame]], recording: InputContainer | None = None
    ) -> Iterator[LiveFrame]:
        """Yield the frames of one connection at grid times; the last one is shown for as long as the one before it.

        recording: their container if it has an end; time 0 is its start, as for a file.
        """
        shown: tuple[VideoFrame, float] | None = None
        self.stream_clock.stamp = None
        for stamp, frame in frames:
            arrived = self.clock()
            if not self.count and recording is not None and stamp is not None:
                self.stream_clock.time = stamp - start_time(recording, stamp)
            numbers = self.grid.take_before(self.stream_clock.tick(stamp, arrived))
            if shown is not None:
                yield from self._at(numbers, *shown)
            elif not self.count:  # the first one is shown from the start of a recording
                yield from self._at(numbers, frame, arrived)
            shown, self.count = (frame, arrived), self.count + 1
        if shown is not None:
            yield from self._at(self.grid.take_before(self.stream_clock.time + self.stream_clock.step), *shown)

    def _at(self, numbers: range, frame: VideoFrame, arrived: float) -> Iterator[LiveFrame]:
        if numbers:
            self.convert = self.convert or rgb_converter(*orientation(frame), resize=self.resize)
            pixels = self.convert(frame)
            yield from (LiveFrame(number / self.grid.rate, pixels, arrived) for number in numbers)
