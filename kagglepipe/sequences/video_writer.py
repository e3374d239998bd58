"""Write RGB frames as an MP4 file."""

from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from kagglepipe.files import atomic
from kagglepipe.images.decode import Pixels

ENCODERS = ("libx264", "libopenh264", "mpeg4")


class VideoWriter:
    """Writer of RGB frames as an MP4 (H.264 where FFmpeg has it, else MPEG-4), atomically.

    width, height: pixels; an odd one is padded by 1. rate: frames/s.

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
        """Append a frame (height, width, 3) uint8. Raises ValueError for another shape or type."""
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
    """Name the first of ENCODERS that this FFmpeg has."""
    for name in ENCODERS[:-1]:
        with suppress(av.codec.codec.UnknownCodecError):
            return av.codec.Codec(name, "w").name
    return ENCODERS[-1]
