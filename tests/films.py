"""Films of flat frames, which tell of every sample which frame it is: number n has the brightness 20 + 9 n."""

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition

from kagglepipe.images.decode import Pixels

COUNT = 20


def flat(number: int, width: int = 64, height: int = 48) -> Pixels:
    """Frame `number`, (height, width, 3): one grey."""
    return np.full((height, width, 3), 20 + 9 * number, np.uint8)


def number_of(pixels: Pixels) -> int:
    """The number of a flat frame."""
    return round((float(pixels.mean()) - 20) / 9)


def make_film(
    path: Path,
    pictures: Sequence[Pixels] | None = None,
    *,
    rate: Fraction | int = 10,
    encoder: str = "libx264",
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    times: Sequence[Fraction] | None = None,
    matrix: Sequence[int] | None = None,
) -> Path:
    """Writes the pictures (None: COUNT flat ones) at `times` in seconds (None: n / rate)."""
    pictures = [flat(n) for n in range(COUNT)] if pictures is None else pictures
    unit = Fraction(1, 1000) if times else 1 / Fraction(rate)
    with av.open(str(path), "w", options=container or {}) as file:
        stream = add_stream(file, encoder, pixel_format, rate=rate, options=options or {}, size=pictures[0].shape[:2])
        if times:
            stream.codec_context.time_base = unit
        if matrix is not None:
            stream.set_display_matrix(matrix)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(times[number] / unit) if times else number, unit
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def add_stream(
    file: Any,
    encoder: str,
    pixel_format: str = "yuv420p",
    *,
    size: Sequence[int] = (48, 64),
    rate: Any = 10,
    **more: Any,
) -> Any:
    """Adds a stream of pictures of `size` (height, width)."""
    stream = file.add_stream(encoder, rate=rate, **more)
    stream.height, stream.width = size
    stream.pix_fmt = pixel_format
    return stream


def add_pictures(file: Any, stream: Any, numbers: Iterable[int]) -> None:
    """Encodes the flat frames of these numbers."""
    for number in numbers:
        file.mux(stream.encode(av.VideoFrame.from_ndarray(flat(number), format="rgb24")))
    file.mux(stream.encode(None))


def add_sound(file: Any, stream: Any, *, seconds: int, rate: int = 16000, start: int = 0) -> None:
    """Encodes silence from sample `start` on."""
    for offset in range(0, rate * seconds, 1024):
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")
        silence.sample_rate, silence.pts = rate, start + offset
        file.mux(stream.encode(silence))
    file.mux(stream.encode(None))


def film_with_sound(path: Path, *, pictures: Fraction | int = 0, sound: int = 0) -> Path:
    """COUNT flat frames, ten a second, and three seconds of sound, beginning at these seconds."""
    with av.open(str(path), "w") as file:
        picture = add_stream(file, "mpeg4")
        picture.codec_context.time_base = unit = Fraction(1, 1000)
        silence: Any = file.add_stream("mp2", rate=16000)
        for number in range(COUNT):
            frame = av.VideoFrame.from_ndarray(flat(number), format="rgb24")
            frame.pts, frame.time_base = round((pictures + Fraction(number, 10)) / unit), unit
            file.mux(picture.encode(frame))
        file.mux(picture.encode(None))
        add_sound(file, silence, seconds=3, start=16000 * sound)
    return path


def audio_file(path: Path, *, cover: bool = False) -> Path:
    """Sound, with a cover picture or without."""
    with av.open(str(path), "w") as file:
        sound = file.add_stream("flac", rate=16000)
        if cover:
            picture = add_stream(file, "mjpeg", "yuvj420p", rate=1)
            picture.disposition = Disposition.attached_pic
            add_pictures(file, picture, [3])
        add_sound(file, sound, seconds=1)
    return path


def remux(source: Path, target: Path, change: Callable[[int, Any], bool | None]) -> Path:
    """Copies the packets of a film; `change` alters one, and returns False to leave it out."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(packet for packet in old.demux(video=0) if packet.size):
            if change(number, packet) is not False:
                packet.stream = stream
                new.mux(packet)
    return target


def shift(packet: Any, seconds: Fraction | int) -> None:
    """Moves the time stamps of a packet."""
    by = int(seconds / packet.time_base)
    packet.pts, packet.dts = packet.pts + by, packet.dts + by
