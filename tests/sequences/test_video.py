"""At each grid time stands the frame that a player would show, whatever the container, or one clear reason why not.

The videos are those of tests/films.py, in which every frame tells its number.
"""

import itertools
import logging
import math
import os
import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kagglepipe.images.decode import Pixels
from kagglepipe.sequences import container, video, video_info, video_writer
from kagglepipe.sequences.container import VideoError
from kagglepipe.sequences.grid import TOLERANCE, SampleGrid, grid_length, samples_before
from kagglepipe.sequences.video import frame_differences, sample_frames
from kagglepipe.sequences.video_info import inspect
from kagglepipe.sequences.video_writer import VideoWriter
from tests.films import (
    COUNT,
    add_pictures,
    add_sound,
    add_stream,
    audio_file,
    film_with_sound,
    flat,
    number_of,
    remux,
    shift,
)
from tests.films import make_film as make

REAL = Path(__file__).parents[3] / "shared" / "data" / "surveillance-fights" / "train"


# name of a file: encoder, pixel format, size, options of the encoder
SMALL = (64, 48)
KINDS: dict[str, tuple[str, str, tuple[int, int], dict[str, str]]] = {
    **{f"b-frames.{ending}": ("libx264", "yuv420p", SMALL, {"bf": "3"})
       for ending in ("mp4", "mkv", "mov", "ts", "flv", "avi")},
    "no-b-frames.mp4": ("libx264", "yuv420p", SMALL, {"bf": "0"}),
    "ten-bits.mp4": ("libx264", "yuv420p10le", SMALL, {}),
    "full-colour.mp4": ("libx264", "yuv444p", SMALL, {}),
    "hevc.mp4": ("libx265", "yuv420p", SMALL, {"x265-params": "log-level=none"}),
    "mpeg4.avi": ("mpeg4", "yuv420p", SMALL, {"bf": "2", "b": "2000000"}),
    "mjpeg.avi": ("mjpeg", "yuvj420p", SMALL, {}),
    "odd.mkv": ("ffv1", "bgr0", (33, 47), {}),
    "sixteen-bits.mkv": ("ffv1", "gray16le", (33, 47), {}),
    "vp9.webm": ("libvpx-vp9", "yuv420p", SMALL, {}),
    "animated.gif": ("gif", "rgb8", SMALL, {}),
    "bare.h264": ("libx264", "yuv420p", SMALL, {"bf": "3"}),
    "bare.m4v": ("mpeg4", "yuv420p", SMALL, {}),
}  # fmt: skip


def make_kind(folder: Path, name: str) -> Path:
    """The file of KINDS with that name."""
    encoder, pixel_format, (width, height), options = KINDS[name]
    try:
        av.codec.Codec(encoder, "w")
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"this FFmpeg has no {encoder}")
    pictures = [flat(n, width, height) for n in range(COUNT)]
    return make(folder / name, pictures, encoder=encoder, pixel_format=pixel_format, options=options)


def packets(path: Path) -> list[tuple[int, int]]:
    """(place, length) in bytes of each packet of the video, in file order."""
    with av.open(str(path)) as file:
        return [(packet.pos or 0, packet.size) for packet in file.demux(video=0) if packet.size]


def spoil(path: Path, numbers: Iterable[int]) -> Path:
    """The same file with zeros for the packets of these numbers."""
    data, places = bytearray(path.read_bytes()), packets(path)
    for start, size in (places[number] for number in numbers):
        data[start : start + size] = bytes(size)
    path.write_bytes(data)
    return path


def numbers_at(path: Path, rate: float = 10, **options: Any) -> list[int]:
    """Which frame stands at each grid time."""
    return [number_of(pixels) for _, pixels in sample_frames(path, rate=rate, **options)]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Twenty frames in two seconds, with B-frames and four groups of pictures."""
    return make(tmp_path / "clip.mp4", options={"g": "5", "bf": "2"})


# --- the grid ---------------------------------------------------------------------------------------------------


@given(st.integers(0, 100_000), st.floats(0.1, 240))
def test_a_grid_time_is_not_before_itself(k: int, rate: float) -> None:
    assert samples_before(k / rate, rate) == k


@given(st.integers(0, 5000), st.integers(1, 60), st.integers(-1, 1))
def test_a_time_stamp_rounded_to_a_millisecond_counts_as_the_grid_time(k: int, rate: int, shift: int) -> None:
    rounded = (round(1000 * k / rate) + shift / 2) / 1000  # the time of the first frame was rounded too
    assert samples_before(rounded, rate) == k


def test_the_grid_length_is_the_number_of_grid_times_in_the_video() -> None:
    for per_second, rate, frames in itertools.product((5, 10, 24, 25, 30, 50), (1, 2, 7.5, 8, 10, 24, 30), (1, 9, 60)):
        seconds = Fraction(frames, per_second)
        inside = sum(Fraction(k) / Fraction(rate) < seconds for k in range(1 + math.ceil(seconds * Fraction(rate))))
        assert grid_length(float(seconds), rate) == inside


@given(st.lists(st.floats(0.002, 3), min_size=1, max_size=40), st.floats(0.5, 60))
def test_each_grid_time_is_dealt_once_and_to_the_frame_on_display(gaps: list[float], rate: float) -> None:
    times = [0.0, *itertools.accumulate(gaps)]
    grid = SampleGrid(rate)
    dealt = [(number, shown) for shown, time in enumerate(times[1:]) for number in grid.take_before(time)]
    assert [number for number, _ in dealt] == list(range(samples_before(times[-1], rate)))
    for number, shown in dealt:
        assert shown == bisect_right([time - TOLERANCE for time in times], number / rate) - 1


@given(st.integers(0, 50), st.integers(0, 50), st.lists(st.floats(-1, 20), max_size=20))
def test_a_grid_keeps_to_its_bounds_also_when_times_go_back(start: int, stop: int, times: list[float]) -> None:
    grid = SampleGrid(10, start / 10, stop)
    dealt = [number for time in times for number in grid.take_before(time)] + list(grid.remaining())
    assert dealt == list(range(start, stop))
    grid.take_before(1e9)
    assert not grid.remaining()


@pytest.mark.parametrize("rate", [0, -1, math.inf, math.nan])
def test_a_rate_must_be_a_rate(rate: float) -> None:
    with pytest.raises(ValueError, match="is not above 0"):
        SampleGrid(rate)


# --- info ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_file_shows_each_frame_at_its_time(tmp_path: Path, name: str) -> None:
    path = make_kind(tmp_path, name)
    info = inspect(path)
    faults = {"bare.h264": "missing", "b-frames.avi": "out of order", "mpeg4.avi": "out of order"}
    assumed = (f"time stamps {faults[name]}: 10 frames/s assumed",) if name in faults else ()
    assert info.repairs == assumed
    assert (info.frames, info.width, info.height) == (COUNT, *KINDS[name][2])
    assert (info.pixel_format, info.bytes) == (KINDS[name][1].replace("rgb8", "bgra"), path.stat().st_size)
    assert (info.seconds, info.rate) == (pytest.approx(2), pytest.approx(10))
    samples = list(sample_frames(path, rate=10))
    assert [time for time, _ in samples] == pytest.approx([k / 10 for k in range(20)])
    assert [number_of(pixels) for _, pixels in samples] == list(range(20))
    assert {(pixels.shape, pixels.dtype.name) for _, pixels in samples} == {((info.height, info.width, 3), "uint8")}


def test_a_bare_stream_without_any_rate_gets_25(tmp_path: Path) -> None:
    path = make(tmp_path / "bare.mjpeg", encoder="mjpeg", pixel_format="yuvj420p")
    info = inspect(path)
    assert info.repairs == ("time stamps missing: 25 frames/s assumed",)
    assert (info.seconds, info.rate, info.first) == (pytest.approx(0.8), 25, None)
    assert numbers_at(path, 25) == list(range(20))


def test_one_frame_is_a_video_too(tmp_path: Path) -> None:
    path = make(tmp_path / "one.mp4", [flat(7)])
    assert inspect(path).frames == 1
    assert numbers_at(path, 10) == numbers_at(path, 0.5) == [7]
    Image.fromarray(flat(7)).save(tmp_path / "one.gif")
    info = inspect(tmp_path / "one.gif")
    assert (info.repairs, info.rate) == (("no frame rate: taken from the time stamps",), None)
    assert numbers_at(tmp_path / "one.gif", 2) == [7]


def test_a_start_time_that_is_not_zero_does_not_count(tmp_path: Path) -> None:
    times = [Fraction(37 + n, 10) for n in range(COUNT)]
    for name in ("late.mp4", "late.mkv", "late.ts"):
        path = make(tmp_path / name, times=times)
        assert inspect(path).first == pytest.approx(3.7, abs=1.5)
        assert numbers_at(path) == list(range(20))
        assert numbers_at(path, start=1.0) == list(range(10, 20))


@pytest.mark.parametrize("name", ["late.mp4", "late.mkv", "late.mov"])
def test_time_0_is_the_start_of_the_file_also_where_pictures_begin_later(tmp_path: Path, name: str) -> None:
    """So do players and annotation tools have it; files that are cut without being encoded anew are like that."""
    path = film_with_sound(tmp_path / name, pictures=2)
    info = inspect(path)
    assert (info.delay, info.seconds) == (pytest.approx(2), pytest.approx(4))
    assert info.repairs == ("first frame 2 s after the start of the file: shown from the start",)
    assert info.reading == "delay 2.000"
    assert numbers_at(path, info=info) == [*[0] * 20, *range(20)]
    for start, end in ((0.5, 1.0), (1.8, 2.3), (2.5, None), (3.0, 3.5)):
        first, last = round(10 * start), 40 if end is None else round(10 * end)
        assert numbers_at(path, start=start, end=end, info=info) == [max(0, k - 20) for k in range(first, last)]


@pytest.mark.parametrize(
    ("pictures", "sound", "max_gap"),
    [(0, 0, None), (Fraction(8, 100), 0, None), (0, 2, None), (3, 3, None), (2, 0, 1.5)],
    ids=["together", "an encoder's delay", "sound later", "both late", "a start hours before is damage"],
)
def test_pictures_that_begin_with_the_file_are_read_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: Fraction | int, sound: int, max_gap: float | None
) -> None:
    """`reading` is empty: features and tables that were made of such files are those of now."""
    monkeypatch.setattr(container, "MAX_GAP", max_gap or container.MAX_GAP)
    path = film_with_sound(tmp_path / "even.mkv", pictures=pictures, sound=sound)
    info = inspect(path)
    assert (info.delay, info.repairs, info.reading, info.seconds) == (0, (), "", pytest.approx(2))
    assert numbers_at(path, info=info) == list(range(20))


def two_streams(path: Path, first: Iterable[int], second: Iterable[int], *, default: int | None) -> Path:
    """Frames of these numbers in two streams. default: the stream that is flagged as what players show."""
    with av.open(str(path), "w") as file:
        streams = [add_stream(file, "mjpeg", "yuvj420p"), add_stream(file, "mpeg4")]
        for stream in streams if default is not None else []:
            stream.disposition = Disposition.default if stream.index == default else Disposition(0)
        for stream, numbers in zip(streams, (first, second), strict=True):
            add_pictures(file, stream, numbers)
    return path


@pytest.mark.parametrize(
    ("name", "default"), [("cover.mkv", 0), ("cover.mkv", 1), ("cover.mp4", None), ("cover.mp4", 0)]
)
def test_a_single_picture_before_the_film_is_not_the_film(tmp_path: Path, name: str, default: int | None) -> None:
    path = two_streams(tmp_path / name, [24], range(COUNT), default=default)  # a grey that no frame has
    info = inspect(path)
    assert (info.stream, info.frames, info.reading) == (1, COUNT, "stream 1")
    assert numbers_at(path, info=info) == numbers_at(path) == list(range(20))
    assert numbers_at(path, start=1.0, info=info) == list(range(10, 20))


@pytest.mark.parametrize("default", [0, 1])
def test_of_several_films_the_one_that_players_show_is_read(tmp_path: Path, default: int) -> None:
    path = two_streams(tmp_path / "angles.mkv", range(10), range(10, 20), default=default)
    assert inspect(path).reading == "stream 1" * default
    assert numbers_at(path) == list(range(10 * default, 10 * default + 10))


@pytest.mark.parametrize("rate", [10, 480, 600, 1000])
def test_any_part_of_a_fine_grid_has_its_own_frames(clip: Path, rate: float) -> None:
    info = inspect(clip)
    whole = numbers_at(clip, rate, info=info)
    assert len(whole) == 2 * rate
    for first, end in ((0, 7), (rate // 2, rate // 2 + 9), (2 * rate - 3, 2 * rate)):
        assert numbers_at(clip, rate, start=first / rate, end=(end - 0.5) / rate, info=info) == whole[first:end]


def test_time_stamps_that_go_back_are_replaced_by_counting(tmp_path: Path) -> None:
    part = make(tmp_path / "part.ts")
    (tmp_path / "joined.ts").write_bytes(part.read_bytes() * 2)
    info = inspect(tmp_path / "joined.ts")
    assert info.repairs == ("time stamps go back: 10 frames/s assumed",)
    assert (info.frames, info.seconds) == (40, pytest.approx(4))
    assert numbers_at(tmp_path / "joined.ts") == [*range(20), *range(20)]
    assert numbers_at(tmp_path / "joined.ts", start=1.95) == list(range(20))


@pytest.mark.parametrize(
    ("options", "name", "change", "repairs", "frames", "shown"),
    [
        # an edit list hides frames
        ({"bf": "2"}, "edited.mp4", lambda _, packet: shift(packet, Fraction(-3, 10)), (), 17, [*range(3, 20)]),
        # without the first key frame: a player's clock starts with the file
        ({"g": "10", "bf": "0"}, "tail.mkv", lambda number, _: number >= 4,
         ("starts with 6 frames that cannot be decoded: left out",
          "first frame 0.6 s after the start of the file: shown from the start"), 10, [*[10] * 6, *range(10, 20)]),
        ({"bf": "0"}, "jump.mkv", lambda number, packet: shift(packet, 7200 * (number >= 10)),
         ("time stamps jump by 2 hours: 10 frames/s assumed",), 20, [*range(20)]),
    ],
)  # fmt: skip
def test_odd_time_stamps(
    tmp_path: Path, options: dict[str, str], name: str, change: Any, repairs: Any, frames: int, shown: list[int]
) -> None:
    path = remux(make(tmp_path / "whole.mp4", options=options), tmp_path / name, change)
    info = inspect(path)
    assert (info.repairs, info.frames, info.seconds) == (repairs, frames, pytest.approx(len(shown) / 10))
    assert numbers_at(path) == shown


def test_a_title_in_no_encoding_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "title.mkv"
    with av.open(str(path), "w") as file:
        file.metadata["title"] = "titletitle"
        add_pictures(file, add_stream(file, "ffv1", "bgr0"), [3])
    data = path.read_bytes()
    assert b"titletitle" in data
    path.write_bytes(data.replace(b"titletitle", b"\xff\xfe\x80" * 3 + b"!"))
    assert inspect(path).frames == 1


# --- which frame ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "per_second"),
    [*(("rate.mp4", rate) for rate in (5, 12, 24, Fraction(30000, 1001), 30, 50)), ("rate.mkv", 12), ("rate.mkv", 30)],
)
def test_the_frame_on_display_at_any_rate(tmp_path: Path, per_second: Fraction | int, name: str) -> None:
    path = make(tmp_path / name, rate=per_second, options={"bf": "2"})
    info = inspect(path)
    assert info.seconds == pytest.approx(float(20 / Fraction(per_second)), abs=2e-3)
    starts = [n / Fraction(per_second) - Fraction(1, 900) for n in range(COUNT)]
    for rate in (0.5, 1, 7.5, 8, 10, 25, Fraction(30000, 1001), 60):
        length = grid_length(info.seconds, float(rate))
        wanted = [bisect_right(starts, k / Fraction(rate)) - 1 for k in range(length)]
        assert numbers_at(path, float(rate), info=info) == wanted


def test_a_variable_frame_rate_is_honoured(tmp_path: Path) -> None:
    tenths = [0, 1, 3, 4, 10, 11, 12, 30, 31, 40]
    path = make(
        tmp_path / "vfr.mp4", [flat(n) for n in range(10)], times=[Fraction(t, 10) for t in tenths], options={"bf": "2"}
    )
    info = inspect(path)
    assert info.frames == 10
    assert info.rate == pytest.approx(9 / 4)
    seen = numbers_at(path, info=info)
    assert len(seen) == grid_length(info.seconds, 10)
    assert seen[:41] == [bisect_right(tenths, k) - 1 for k in range(41)]
    assert set(seen[41:]) <= {9}


WINDOWS = [
    (0.0, 0.5), (0.3, 0.9), (0.95, None), (1.0, 1.05), (1.04, 1.06), (1.234, 1.9), (2.03, 9.0), (2.9, None),
    (-1.0, 0.3),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "encoder", "options"),
    [
        *((f"w.{ending}", "libx264", {"x264-params": "open-gop=1"}) for ending in ("mp4", "mkv", "ts")),
        ("rolling.ts", "libx264", {"x264-params": "intra-refresh=1"}),
        ("w.flv", "libx264", {}),
        ("w.avi", "libx264", {}),
        ("mpeg4.ts", "mpeg4", {"bf": "0", "g": "25"}),
        ("w.mpg", "mpeg2video", {}),
    ],
)
def test_a_window_is_a_part_of_the_whole(tmp_path: Path, name: str, encoder: str, options: dict[str, str]) -> None:
    noise = np.random.default_rng(0).integers(0, 40, (48, 64, 3), dtype=np.uint8)
    pictures = [np.roll(noise, 2 * n, axis=1) + np.uint8(n * 7 % 200) for n in range(150)]
    path = make(tmp_path / name, pictures, encoder=encoder, options={"g": "10", "bf": "2", **options}, rate=25)
    info = inspect(path)
    whole = dict(sample_frames(path, rate=20, info=info))
    for start, end in WINDOWS:
        part = dict(sample_frames(path, rate=20, start=start, end=end, info=info))
        assert list(part) == [time for time in whole if start <= time < (end or math.inf)]
        for time, pixels in part.items():
            np.testing.assert_array_equal(pixels, whole[time])


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many frames were decoded and converted."""
    counts: Counter[str] = Counter()
    decoded, converter = video.decode_packets, video.rgb_converter

    def count(name: str, value: Any) -> Any:
        counts[name] += 1
        return value

    def converting(*arguments: Any, **named: Any) -> Callable[[Any], Pixels]:
        convert = converter(*arguments, **named)
        return lambda frame: count("converted", convert(frame))

    monkeypatch.setattr(video, "decode_packets", lambda *a: (count("decoded", frame) for frame in decoded(*a)))
    monkeypatch.setattr(video, "rgb_converter", converting)
    return counts


def test_what_no_grid_time_needs_is_not_converted(clip: Path, counted: Counter[str]) -> None:
    info = inspect(clip)
    counted.clear()
    assert numbers_at(clip, 2, info=info) == [0, 5, 10, 15]
    assert counted == {"decoded": 17, "converted": 4}  # number 16 shows that 15 is the last of its time
    assert numbers_at(clip, 50, info=info) == [n for n in range(20) for _ in range(5)]
    assert counted["converted"] == 4 + 20
    for start, end in ((2.0, None), (7.0, 9.0), (1.0, 1.0)):
        assert numbers_at(clip, start=start, end=end) == []


def test_what_lies_far_before_the_start_is_not_decoded(tmp_path: Path, counted: Counter[str]) -> None:
    for name in ("long.mp4", "long.mkv"):
        path = make(tmp_path / name, [flat(n // 10) for n in range(200)], options={"g": "10"})
        info = inspect(path)
        counted.clear()
        assert numbers_at(path, 10, start=15.0, end=15.5, info=info) == [15] * 5
        assert counted["decoded"] <= 20


def test_the_same_video_gives_the_same_bytes_which_cannot_be_changed(clip: Path) -> None:
    def read(**options: Any) -> list[bytes]:
        return [pixels.tobytes() for _, pixels in sample_frames(clip, rate=10, resize=(40, 30), **options)]

    assert read() == read() == read(threads=2) == read(threads=0, info=inspect(clip))
    (_, first), (_, second), *_ = sample_frames(clip, rate=20)
    assert first is second
    with pytest.raises(ValueError, match="read-only"):
        first[:] = 0


# --- how large and which way up ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resize", "shape"),
    [(None, (48, 64, 3)), (24, (24, 32, 3)), (100, (48, 64, 3)), ((20, 30), (30, 20, 3)), ((128, 96), (96, 128, 3))],
)
def test_sizes(clip: Path, resize: Any, shape: tuple[int, int, int]) -> None:
    samples = list(sample_frames(clip, rate=10, resize=resize))
    assert {pixels.shape for _, pixels in samples} == {shape}
    assert [number_of(pixels) for _, pixels in samples] == list(range(20))
    if resize == 24:  # an odd size keeps its aspect: 47 · 11 / 33 = 15.7
        odd = make_kind(clip.parent, "odd.mkv")
        assert next(sample_frames(odd, rate=1, resize=11))[1].shape == (16, 11, 3)


def test_colours_come_through(tmp_path: Path) -> None:
    colours = np.array([[[250, 10, 20], [10, 240, 30]], [[20, 30, 245], [200, 200, 40]]], np.uint8)
    picture = colours.repeat(24, axis=0).repeat(32, axis=1)
    for options in ({"encoder": "ffv1", "pixel_format": "bgr0"}, {"encoder": "mpeg4", "options": {"qscale": "2"}}):
        path = make(tmp_path / "colours.mkv", [picture], **options)  # type: ignore[arg-type]
        _, pixels = next(sample_frames(path, rate=1))
        inside = np.s_[6::12, 8::16]
        assert np.abs(pixels[inside].astype(int) - picture[inside]).max() <= (0 if options["encoder"] == "ffv1" else 12)


def corners() -> Pixels:
    """Four corners of four greys, without any symmetry."""
    return np.array([[20, 90], [160, 230]], np.uint8).repeat(24, axis=0).repeat(32, axis=1)[..., None].repeat(3, axis=2)


TURNS: dict[str, tuple[tuple[int, int, int, int], int, bool, Callable[[Pixels], Pixels]]] = {
    # name: (a, b, c, d of the display matrix), degrees clockwise, mirrored, what makes it upright
    "as it is": ((1, 0, 0, 1), 0, False, lambda a: a),
    "quarter right": ((0, 1, -1, 0), 90, False, lambda a: np.rot90(a, -1)),
    "half": ((-1, 0, 0, -1), 180, False, lambda a: np.rot90(a, 2)),
    "quarter left": ((0, -1, 1, 0), 270, False, lambda a: np.rot90(a, 1)),
    "mirrored": ((-1, 0, 0, 1), 0, True, lambda a: a[:, ::-1]),
    "upside down": ((1, 0, 0, -1), 180, True, lambda a: a[::-1]),
    "transposed": ((0, 1, 1, 0), 90, True, lambda a: a.transpose(1, 0, 2)),
    "transposed the other way": ((0, -1, -1, 0), 270, True, lambda a: a[::-1, ::-1].transpose(1, 0, 2)),
}


@pytest.mark.parametrize(
    ("turn", "resize"),
    [
        *((turn, None) for turn in TURNS), ("quarter right", 24), ("mirrored", 24), ("quarter left", (32, 36)),
        ("transposed", (32, 36)),
    ],
)  # fmt: skip
def test_the_rotation_flag_is_applied(tmp_path: Path, turn: str, resize: Any) -> None:
    (a, b, c, d), rotation, mirrored, upright = TURNS[turn]
    matrix = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    path = make(tmp_path / "turned.mp4", [corners()] * 3, matrix=matrix)
    info = inspect(path)
    wanted = upright(corners())
    assert (info.rotation, info.mirrored) == (rotation, mirrored)
    assert (info.height, info.width) == wanted.shape[:2]
    assert info.repairs == (f"rotated by {rotation}°",) * (rotation > 0) + ("mirrored",) * mirrored
    samples = [pixels for _, pixels in sample_frames(path, rate=10, resize=resize)]
    height, width = samples[0].shape[:2]
    assert (width, height) == {None: (info.width, info.height), 24: (info.width // 2, info.height // 2)}.get(
        resize, resize
    )
    for pixels in samples:
        assert pixels.flags.c_contiguous
        for row, column in itertools.product((0.25, 0.75), repeat=2):
            seen = pixels[int(row * height), int(column * width)].astype(int)
            assert np.abs(seen - wanted[int(row * wanted.shape[0]), int(column * wanted.shape[1])]).max() <= 4


def test_a_frame_of_another_size_in_the_middle_is_scaled_to_the_first(tmp_path: Path) -> None:
    parts = [make(tmp_path / f"{width}.h264", [flat(n, width, 48)] * 5) for n, width in ((3, 64), (8, 96))]
    path = tmp_path / "both.h264"
    path.write_bytes(parts[0].read_bytes() + parts[1].read_bytes())
    samples = [pixels for _, pixels in sample_frames(path, rate=10)]
    assert {pixels.shape for pixels in samples} == {(48, 64, 3)}
    assert [number_of(pixels) for pixels in samples] == [3] * 5 + [8] * 5


# --- damage -----------------------------------------------------------------------------------------------------


def cut(path: Path, share: float) -> Path:
    """The first part of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def test_a_file_cut_behind_its_index_gives_what_is_there(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 9, (48, 64, 3), dtype=np.uint8)
    pictures = [noise + flat(n) for n in range(COUNT)]
    path = cut(make(tmp_path / "cut.mp4", pictures, options={"g": "1"}, container={"movflags": "+faststart"}), 0.6)
    info = inspect(path)
    assert 5 <= info.frames <= 14
    assert info.repairs == (f"truncated: {info.frames} of 20 frames",)
    assert info.seconds == pytest.approx(info.frames / 10)
    means = [pixels.mean() for _, pixels in sample_frames(path, rate=10)]
    assert means == pytest.approx([24 + 9 * n for n in range(info.frames)], abs=2)


def test_a_file_cut_before_its_index_is_told_so(clip: Path) -> None:
    with pytest.raises(VideoError, match=r"truncated or damaged: it has no index \(moov\)"):
        inspect(cut(clip, 0.4))


@pytest.mark.parametrize("name", ["odd.mkv", "vp9.webm"])
def test_a_cut_matroska_file_is_told_by_its_length(tmp_path: Path, name: str) -> None:
    info = inspect(cut(make_kind(tmp_path, name), 0.6))
    assert info.repairs == (f"truncated: {info.seconds:.1f} of 2.0 s",)
    assert 0.3 <= info.seconds <= 1.5


def test_sound_that_lasts_longer_is_no_sign_of_a_cut(tmp_path: Path) -> None:
    path = tmp_path / "long sound.mkv"
    with av.open(str(path), "w") as file:
        sound: Any = file.add_stream("flac", rate=16000)
        picture = add_stream(file, "ffv1", "bgr0")
        add_sound(file, sound, seconds=4)
        add_pictures(file, picture, range(10))
    info = inspect(path)
    assert (info.repairs, info.seconds) == ((), pytest.approx(1))
    assert numbers_at(path) == list(range(10))


def test_a_stream_that_turns_up_on_the_way_does_not_matter(tmp_path: Path) -> None:
    """An FLV file whose header denies its sound: PyAV ends reading it with an IndexError."""
    path = tmp_path / "late sound.flv"
    with av.open(str(path), "w") as file:
        picture = add_stream(file, "libx264", options={"bf": "0"})
        sound: Any = file.add_stream("pcm_s16le", rate=11025, layout="mono")
        add_pictures(file, picture, [*range(20)] * 5)
        add_sound(file, sound, seconds=1, rate=11025, start=110_250)
    data = bytearray(path.read_bytes())
    data[4] = 1  # video alone
    path.write_bytes(data)
    with av.open(str(path)) as file, pytest.raises(IndexError):
        list(file.demux(video=0))
    assert numbers_at(path) == [*range(20)] * 5


@pytest.mark.parametrize(
    ("spoilt", "shown", "told", "repairs"),
    [
        ([5, 6, 12], [0, 1, 2, 3, 4, 4, 4, 7, 8, 9, 10, 11, 11, *range(13, 20)], [3, 2], ()),
        ([18, 19], [*range(18), 17, 17], [2], ()),
        ([0, 1], [2, 2, *range(2, 20)], [2, 2],
         ("starts with 2 frames that cannot be decoded: left out",
          "first frame 0.2 s after the start of the file: shown from the start")),
    ],
)  # fmt: skip
def test_damaged_frames_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoilt: Any, shown: Any, told: list[int], repairs: Any
) -> None:
    path = spoil(make_kind(tmp_path, "mjpeg.avi"), spoilt)
    info = inspect(path)
    assert (info.frames, info.repairs) == (20 - 2 * bool(repairs), repairs)
    with caplog.at_level(logging.WARNING):
        assert numbers_at(path) == shown
        assert numbers_at(path, end=1.0) == shown[:10]  # also where reading stops early
    words = "damaged frames left out; the frame before each is shown instead"
    assert caplog.messages == [f"{path}: {count} {words}" for count in told]


def test_a_frame_that_the_decoder_had_to_make_up_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(10)]
    path = make(tmp_path / "noise.mp4", pictures, options={"g": "1", "bf": "0"})
    whole = [pixels for _, pixels in sample_frames(path, rate=10)]
    data, (start, size) = bytearray(path.read_bytes()), packets(path)[5]
    data[start + size // 2 : start + size] = rng.bytes(size - size // 2)
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        damaged = [pixels for _, pixels in sample_frames(path, rate=10)]
    np.testing.assert_array_equal(damaged, [*whole[:5], whole[4], *whole[6:]])
    assert "1 damaged frames" in caplog.messages[0]


def test_damage_in_a_file_whose_frames_are_counted_does_not_move_what_follows(tmp_path: Path) -> None:
    path = spoil(make_kind(tmp_path, "b-frames.avi"), [6])
    info = inspect(path)
    assert (info.first, info.frames) == (None, 20)
    seen = numbers_at(path, info=info)
    assert len(seen) == 20
    assert seen[12:] == list(range(12, 20))


def test_damage_that_leaves_no_frame_is_an_error(tmp_path: Path) -> None:
    path = make_kind(tmp_path, "mjpeg.avi")
    info = inspect(path)
    spoil(path, range(20))
    for read in (
        lambda: inspect(path),
        lambda: next(sample_frames(path, rate=10)),
        lambda: next(sample_frames(path, rate=10, info=info)),  # after inspection
    ):
        with pytest.raises(VideoError, match="no frame in it can be decoded"):
            read()


@given(
    st.sampled_from(["b-frames.mp4", "b-frames.mkv", "b-frames.ts", "mjpeg.avi", "animated.gif", "bare.h264"]),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=12),
    st.integers(0, 10**6),
)
def test_altered_bytes_give_frames_or_one_clear_error(
    tmp_path_factory: pytest.TempPathFactory, name: str, changes: list[tuple[int, int]], length: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / "altered"
    folder.mkdir(exist_ok=True)
    source = folder / name if (folder / name).exists() else make_kind(folder, name)
    data = bytearray(source.read_bytes())
    for place, value in changes:
        data[place % len(data)] = value
    path = folder / "altered.bin"
    path.write_bytes(data[: length % (4 * len(data)) + 1])
    try:
        info = inspect(path, max_side=500)
    except VideoError:
        return
    samples = list(itertools.islice(sample_frames(path, rate=5, resize=16, info=info), 500))
    assert len(samples) == min(500, grid_length(info.seconds, 5))


# --- what is no usable video ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("write", "message"),
    [
        *((lambda path, content=content: path.write_bytes(content), message) for content, message in (
            (b"", r"^the file is empty \(0 bytes\)$"), (b"just text\n" * 100, "^not a video that can be read$"),
            (b"\x00" * 3000, "^not a video that can be read$"), (b"a", "^not a video that can be read$"),
            (b"\x00\x00\x00\x18ftypmp42", "no index"))),
        (audio_file, "there is no video in it, only audio"),
        (lambda path: audio_file(path, cover=True), "there is no video in it, only audio"),
        (lambda path: Image.fromarray(flat(3)).save(path, "PNG"), "not a video"),
        (lambda path: Image.fromarray(flat(3)).save(path, "JPEG"), "not a video"),
        (lambda path: None, "no such file"),
        (Path.mkdir, "not a file"),
        (getattr(os, "mkfifo", Path.mkdir), "not a file"),  # which is not waited for
    ],
)  # fmt: skip
def test_what_is_no_video_is_named(tmp_path: Path, write: Callable[[Path], object], message: str) -> None:
    path = tmp_path / "film.mp4"
    write(path)
    for read in (inspect, lambda path: next(sample_frames(path, rate=10))):
        with pytest.raises(VideoError, match=message):
            read(path)


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{target}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{target}'\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    "<Representation><BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>",
}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *((kind, "film.mp4") for kind in PLAYLISTS), ("hls", "film.m3u8"), ("concat", "film.ffconcat"),
        ("sdp", "film.sdp"), ("dash", "film.mpd"), ("hls", "film.ts"),
    ],
)  # fmt: skip
def test_a_playlist_leads_nowhere(tmp_path: Path, kind: str, name: str) -> None:
    other = make(tmp_path / "other.ts")
    for target in (other.name, str(other), f"file://{other}", "/etc/passwd", "http://127.0.0.1:1/x.ts"):
        (tmp_path / name).write_text(PLAYLISTS[kind].format(target=target))
        with pytest.raises(VideoError, match=r"a playlist, not a video|not a video that can be read"):
            inspect(tmp_path / name)


@pytest.mark.parametrize("name", ["http:x.mp4", "concat:a.mp4", "a b, ü %03d.mp4", "rtsp:", "-i.mp4"])
def test_a_name_is_a_name_whatever_it_looks_like(clip: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(clip.parent)
    clip.rename(clip.parent / name)
    assert numbers_at(Path(name)) == list(range(20))


@pytest.mark.parametrize(
    ("module", "name", "limit", "message"),
    [
        (container, "MAX_PIXELS", 3000, "64×48 pixels; the limit is 0 million in all"),
        (video_info, "MAX_SECONDS", 1.9, "lasts 0 hours; the limit is 0"),
    ],
)
def test_a_video_may_be_too_large(
    clip: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, limit: float, message: str
) -> None:
    with pytest.raises(VideoError, match="64×48 pixels; the limit is 63 a side"):
        inspect(clip, max_side=63)
    assert inspect(clip, max_side=64).width == 64
    monkeypatch.setattr(module, name, limit)
    with pytest.raises(VideoError, match=message):
        inspect(clip)


def test_a_size_that_the_container_hides_is_found_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "small.mkv", [flat(3, 640, 480)])
    monkeypatch.setattr(container, "MAX_PIXELS", 10_000)
    monkeypatch.setattr(video_info, "_check_size", lambda *_: None)  # as if the container said 64×48
    with pytest.raises(VideoError, match="no frame in it can be decoded"):
        inspect(path)


# --- writing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoders", [video_writer.ENCODERS, ("no such encoder", "mpeg4")])
def test_what_was_written_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoders: tuple[str, ...]
) -> None:
    monkeypatch.setattr(video_writer, "ENCODERS", encoders)
    path = tmp_path / "new" / "drawn.mp4"
    with VideoWriter(path, 64, 48, 12.5) as writer:
        for number in range(COUNT):
            writer.write(flat(number))
    info = inspect(path)
    assert (info.width, info.height, info.frames, info.repairs) == (64, 48, 20, ())
    assert info.pixel_format == "yuv420p"
    assert info.rate == pytest.approx(12.5)
    assert info.codec in ("h264", "mpeg4")
    assert numbers_at(path, 12.5) == list(range(20))
    assert [file.name for file in path.parent.iterdir()] == ["drawn.mp4"]


def test_an_odd_size_is_padded_by_its_own_edge(tmp_path: Path) -> None:
    picture = np.zeros((33, 47, 3), np.uint8)
    picture[:, 24:] = 200
    with VideoWriter(tmp_path / "odd.mp4", 47, 33, 29.97) as writer:
        for _ in range(5):
            writer.write(picture)
    _, pixels = next(sample_frames(tmp_path / "odd.mp4", rate=1))
    assert pixels.shape == (34, 48, 3)
    assert np.abs(pixels[:, 30:].astype(int) - 200).max() <= 8


def write_half(path: Path, error: Exception) -> None:
    """A video whose making fails."""
    with VideoWriter(path, 64, 48, 10) as writer:
        writer.write(flat(1))
        raise error


def test_a_writer_leaves_a_whole_file_or_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "drawn.mp4"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="stop"):
        write_half(path, RuntimeError("stop"))
    with pytest.raises(ValueError, match="at least one frame"), VideoWriter(path, 64, 48, 10):
        pass
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["drawn.mp4"]


@pytest.mark.parametrize("wrong", [flat(1, 65, 48), flat(1).astype(float), flat(1)[..., 0], flat(1).transpose(1, 0, 2)])
def test_a_writer_takes_frames_of_one_shape(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(ValueError, match="in a video of 64×48"), VideoWriter(tmp_path / "x.mp4", 64, 48, 10) as writer:
        writer.write(wrong)
    assert list(tmp_path.iterdir()) == []


# --- motion -----------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.sampled_from([2, 80, 256]))
def test_motion_is_four_times_the_difference_as_far_as_white(seed: int, count: int, levels: int) -> None:
    frames = np.random.default_rng(seed).integers(0, levels, (count, 3, 4, 3), np.uint8)
    before = frames.copy()
    found = frame_differences(frames)
    assert found.dtype == np.uint8
    assert not found[0].any()
    wide = frames.astype(int)
    changed = np.abs(wide[1:] - wide[:-1])
    np.testing.assert_array_equal(found[1:], np.where(changed < 64, 4 * changed, 255))
    np.testing.assert_array_equal(frames, before)


# --- real clips -------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_real_clips_give_the_frames_that_plain_decoding_gives() -> None:
    if not REAL.exists():
        pytest.skip("the real clips are not at ../shared/data")
    for path in random.Random(0).sample(sorted(REAL.glob("*.mp4")), 8):
        info = inspect(path)
        with av.open(str(path)) as file:
            frames = list(file.decode(video=0))
        assert info.frames == len(frames)
        times = [frame.time - frames[0].time - TOLERANCE for frame in frames]
        samples = list(sample_frames(path, rate=10, info=info))
        assert len(samples) == grid_length(info.seconds, 10)
        for time, pixels in samples:
            frame = frames[bisect_right(times, time) - 1]
            wanted = frame.to_ndarray(format="rgb24", interpolation=video.SCALING)
            np.testing.assert_array_equal(pixels, wanted)


@pytest.mark.parametrize(
    ("values", "count", "expected"),
    [
        ((7, 8, 9), 3, [7, 8, 9]),
        ((7, 8), 5, [7, 8, 8, 8, 8]),
        ((7, 8, 9, 10), 2, [7, 8]),
        ((7,), 1, [7]),
        ((), 2, [0, 0]),
    ],
)
def test_the_last_frame_stands_for_those_that_are_missing(
    values: tuple[int, ...], count: int, expected: list[int]
) -> None:
    """Without any frame all are black; those beyond the clip are not decoded."""
    frames = iter([np.full((4, 4, 3), value, np.uint8) for value in values])
    found = video.pad_frames(frames, count, 4)
    assert (found.shape, found.dtype) == ((count, 4, 4, 3), np.uint8)
    assert found[:, 0, 0, 0].tolist() == expected
    assert (found == found[:, :1, :1, :1]).all()
    assert len(list(frames)) == max(0, len(values) - count)
