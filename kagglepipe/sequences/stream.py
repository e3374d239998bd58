"""Live video, from a camera or the address of a stream, as frames at even times.

A stream that drops is opened again. No message and no error shows a password that is part of the address.
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
from kagglepipe.sequences.grid import Grid
from kagglepipe.sequences.video import (
    ASSUMED_RATE,
    FORMATS,
    MAX_PIXELS,
    Pixels,
    Resize,
    VideoError,
    VideoPacket,
    converter,
    declared_rate,
    decoded,
    displayed,
    time_zero,
    video_stream,
)

STREAM = re.compile(r"(rtsps?|rtmps?|https?|udp|tcp|srt)://", re.IGNORECASE)
CAMERA = re.compile(r"camera(?::(\d+))?|/dev/video(\d+)")
PROTOCOLS = "http,https,tcp,tls,udp,rtp,srtp,rtmp,rtmps,rtmpt,srt,crypto,httpproxy"  # never "file": playlists lie
LIVE_FORMATS = f"{FORMATS},rtsp,rtp,sdp,hls,mpjpeg,live_flv"
TIMEOUT = 10.0  # seconds to wait for an answer, and for each packet
LONGEST_WAIT = 30.0  # seconds before another attempt
LONGEST_STEP = 10.0  # seconds between two frames by their time stamps; beyond it the clock is believed
SHORTEST_STEP = 1e-3

SECRETS = ("pas", "psw", "pw", "login", "token", "key", "secret", "auth", "sig", "cred", "session")


def _spelled(word: str) -> str:
    """A pattern for a word any of whose letters may be percent-encoded."""
    return "".join(f"(?:{c}|%{ord(c):02x}|%{ord(c.upper()):02x})" for c in word)


USERINFO = re.compile(r"^((?>(?:[a-z][a-z0-9+.-]*://)?).*?(?::|%3a)).*(@|%40)", re.IGNORECASE | re.DOTALL)
PARAMETER = re.compile(rf"((?:{'|'.join(map(_spelled, SECRETS))})[^=&\s/?#;]*?(?:=|%3d))[^&]*", re.IGNORECASE)

av.logging.set_level(None)  # FFmpeg's own lines name the address, password and all


class LiveFrame(NamedTuple):
    """time: of the grid, seconds since the first frame or, of a recording, since its start. pixels: (H, W, 3) RGB.
    arrived: Unix time of its arrival.
    """

    time: float
    pixels: Pixels
    arrived: float


def is_stream(address: str) -> bool:
    """Whether that is the address of a stream, or a camera of this machine, and not a file.

    >>> [is_stream(text) for text in ("rtsp://host/x", "camera:1", "/dev/video0", "clip.mp4", "camera.mp4")]
    [True, True, True, False, False]
    """
    return bool(STREAM.match(address) or CAMERA.fullmatch(address))


def hide_password(address: str) -> str:
    """The address without its password, and without parameters that may be one; rather too much than too little.

    A password may hold unescaped "/", ":" or "@", so what is hidden reaches to the last "@".

    >>> hide_password("rtsp://user:secret@host:554/live?channel=1&token=abc")
    'rtsp://user:***@host:554/live?channel=1&token=***'
    """
    return PARAMETER.sub(r"\1***", USERINFO.sub(r"\1***\2", address))


def open_live(address: str) -> InputContainer:
    """Opens a stream, a camera, or a file that stands for one; FFmpegError if that fails, UserError without camera."""
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
    """The device of `camera`, `camera:N` or `/dev/videoN`. Raises UserError where there is none."""
    if platform.system() != "Linux":
        raise UserError(f"{address} is read through Linux's v4l2, this is {platform.system()}; give a stream's address")
    found = CAMERA.fullmatch(address)
    device = f"/dev/video{(found and (found[1] or found[2])) or 0}"
    if not Path(device).exists():
        there = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "none"
        raise UserError(f"there is no camera at {device} (found: {there}); connect one, or type camera:N for another")
    return device


class Timeline:
    """A time that only grows, from time stamps that may be missing or jump, and from the clock of arrivals.

    time: of the last frame, in seconds since the first. step: since the frame before it, by time stamps.
    """

    def __init__(self) -> None:
        self.time = self.step = 0.0
        self.origin: float | None = None
        self.stamp: float | None = None

    def at(self, stamp: float | None, arrived: float) -> float:
        """The time of the next frame. stamp, arrived: its time stamp and the clock when it came, in seconds."""
        step = stamp - self.stamp if stamp is not None and self.stamp is not None else -1.0
        if self.origin is None:
            self.origin = arrived
        elif 0 <= step <= LONGEST_STEP:
            self.step = max(step, SHORTEST_STEP)
            self.time += self.step
        else:
            self.time = max(arrived - self.origin, self.time + SHORTEST_STEP)
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
    """Frames of a live source at the grid times k/rate, each when the next frame shows that it was the last before it.

    A stream that drops is opened again, `reconnect` times in a row at most, after 1, 2, 4, … seconds; time goes on by
    the clock meanwhile, and the grid times of the gap have no frame. What has an end, a recording, ends. Whoever reads
    too slowly falls behind: nothing is thrown away.

    resize: as in `sample_frames`. opener, sleep, clock: what opens an address, waits and tells Unix time.
    Raises UserError if the address cannot be opened at first, has no video, or does not come back.
    """
    sampler = _Sampler(Grid(rate), resize, clock)
    failures, reason = 0, ""
    while failures <= reconnect:
        before = sampler.count
        try:
            with opener(address) as container:
                faults: list[str] = []
                yield from sampler.sample(_received(container, faults), container if _has_end(container) else None)
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
            sleep(min(2.0 ** (failures - 1), LONGEST_WAIT))
    # out here, behind the handlers, no error that knows the whole address becomes this one's context
    if not sampler.count:
        raise UserError(f"{hide_password(address)} cannot be read ({reason}); check address, password and network")
    raise UserError(
        f"{hide_password(address)} broke off after {sampler.count} frames and did not come back in {reconnect} "
        f"attempts ({reason}); check the camera and the network, then type the same again"
    )


def _received(container: InputContainer, faults: list[str]) -> Iterator[tuple[float | None, VideoFrame]]:
    """(time stamp in seconds, frame) of a connection to its end; what broke it is added to `faults`.

    A recording without time stamps is counted, at the rate that its header names.
    """
    stream = video_stream(container)
    unit = float(stream.time_base or 1)
    step = 1 / (declared_rate(stream) or ASSUMED_RATE) if _has_end(container) else None

    def packets() -> Iterator[VideoPacket]:
        try:
            yield from (packet for packet in container.demux(stream) if packet.size)
        except FFmpegError as error:
            faults.append(str(error.strerror))
        except IndexError:  # PyAV stumbles, at the end, over streams that turned up on the way
            faults.append("it changed its streams")

    for number, frame in enumerate(decoded(stream, packets())):
        if frame is not None:
            counted = None if step is None else number * step
            yield counted if frame.pts is None else frame.pts * unit, frame


def _has_end(container: InputContainer) -> bool:
    """Whether it is a recording, of known length, and not a live source."""
    return container.duration is not None or container.size > 0


class _Sampler:
    """Picks the frames at grid times, over connections that break off; count: the frames that came."""

    def __init__(self, grid: Grid, resize: Resize, clock: Callable[[], float]) -> None:
        self.grid, self.resize, self.clock = grid, resize, clock
        self.timeline, self.count = Timeline(), 0
        self.convert: Callable[[VideoFrame], Pixels] | None = None

    def sample(
        self, frames: Iterator[tuple[float | None, VideoFrame]], recording: InputContainer | None = None
    ) -> Iterator[LiveFrame]:
        """The frames at grid times of one connection; the last one stands for as long as the one before it.

        recording: what they come from where that has an end: time 0 is its start, as of a file.
        """
        shown: tuple[VideoFrame, float] | None = None
        self.timeline.stamp = None
        for stamp, frame in frames:
            arrived = self.clock()
            if not self.count and recording is not None and stamp is not None:
                self.timeline.time = stamp - time_zero(recording, stamp)
            numbers = self.grid.before(self.timeline.at(stamp, arrived))
            if shown is not None:
                yield from self._at(numbers, *shown)
            elif not self.count:  # the first one stands in for what a recording has before it
                yield from self._at(numbers, frame, arrived)
            shown, self.count = (frame, arrived), self.count + 1
        if shown is not None:
            yield from self._at(self.grid.before(self.timeline.time + self.timeline.step), *shown)

    def _at(self, numbers: range, frame: VideoFrame, arrived: float) -> Iterator[LiveFrame]:
        if numbers:
            self.convert = self.convert or converter(*displayed(frame), resize=self.resize)
            pixels = self.convert(frame)
            yield from (LiveFrame(number / self.grid.rate, pixels, arrived) for number in numbers)
