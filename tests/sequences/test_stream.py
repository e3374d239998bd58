"""A live source gives the frames of its grid times, comes back after a drop, and never tells its password."""

import http.server
import itertools
import logging
import pickle
import socket
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import av
import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from kagglepipe.errors import UserError
from kagglepipe.sequences import stream
from kagglepipe.sequences.stream import LiveFrame, StreamClock, hide_password, is_stream, open_live, read_live
from kagglepipe.sequences.video import sample_frames
from tests.films import COUNT, audio_file, film_with_sound, flat, make_film, number_of, remux, shift

PASSWORD, TOKEN = "correct horse".replace(" ", "-"), "battery staple".replace(" ", "-")  # not so in any line of code
ADDRESS = f"rtsp://user:{PASSWORD}@host/x?token={TOKEN}"


def numbers(frames: Iterable[LiveFrame]) -> list[int]:
    """Which frames those are."""
    return [number_of(frame.pixels) for frame in frames]


def make(path: Path, count: int = COUNT, **options: str) -> Path:
    """A film of `count` flat frames, ten a second."""
    return make_film(path, [flat(n) for n in range(count)], options={"bf": "2", **options})


class Clock:
    """A clock that goes on by itself, a little for each look at it, and by the waits; it keeps the waits."""

    def __init__(self, tick: float = 0.001) -> None:
        self.now, self.tick = 1000.0, tick
        self.waits: list[float] = []

    def __call__(self) -> float:
        self.now += self.tick
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


class Dropping:
    """Stands for a live container: what it reads breaks off after some packets, and it has no end."""

    duration, size = None, -1

    def __init__(self, path: Path, packets: int | None = None) -> None:
        self.container, self.packets = open_live(str(path)), packets

    def __enter__(self) -> "Dropping":
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    @property
    def streams(self) -> Any:
        return self.container.streams

    def demux(self, video: Any) -> Iterator[Any]:
        yield from itertools.islice(self.container.demux(video), self.packets)
        if self.packets is not None:
            raise av.error.ConnectionResetError(104, "Connection reset by peer", ADDRESS)


Step = Callable[[], Any]


def opener_of(*steps: Step) -> Callable[[str], Any]:
    """An opener that does one of the steps for each call."""
    remaining = iter(steps)
    return lambda address: next(remaining)()


def refused() -> Any:
    raise av.error.ConnectionRefusedError(111, "Connection refused", ADDRESS)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Twenty frames in two seconds."""
    return make(tmp_path / "clip.ts")


# --- addresses --------------------------------------------------------------------------------------------------


def test_what_is_a_stream() -> None:
    for address in (
        "rtsp://host/x", "RTSPS://host:322/x", "rtmp://host/app/key", "http://host/x.m3u8", "https://host/x",
        "udp://@:1234", "tcp://host:1", "srt://host:1?mode=caller", "camera", "camera:1", "/dev/video3",
    ):  # fmt: skip
        assert is_stream(address), address
    for address in (
        "camera:", "cameras", "/dev/video", "/dev/videos/1.mp4", "clip.mp4", "folder/http://x", "file:///clip.mp4",
        "C:\\clip.mp4", "",
    ):  # fmt: skip
        assert not is_stream(address), address


@pytest.mark.parametrize(
    ("address", "hidden"),
    [
        ("rtsp://user:secret@host:554/live", "rtsp://user:***@host:554/live"),
        ("rtsp://host:554/live?channel=1&subtype=0", "rtsp://host:554/live?channel=1&subtype=0"),
        ("rtsp://user@host/x", "rtsp://user@host/x"),
        ("rtsp://:secret@host/x", "rtsp://:***@host/x"),
        ("rtsp://me@mail.com:se/cr@et@host/x", "rtsp://me@mail.com:***@host/x"),
        ("rtsp://user%3Asecret@host/x", "rtsp://user%3A***@host/x"),
        ("http://host/cgi?user=admin&pwd=secret&res=1", "http://host/cgi?user=admin&pwd=***&res=1"),
        ("http://host/x?Access_Token=a=b#c&z=1", "http://host/x?Access_Token=***&z=1"),
        ("http://host/x?pass%77ord=secret", "http://host/x?pass%77ord=***"),
        ("srt://host:1?passphrase=secret&latency=20", "srt://host:1?passphrase=***&latency=20"),
        ("rtmp://host/app token=secret", "rtmp://host/app token=***"),
        ("rtsp://user:a@host/x?token=b", "rtsp://user:***@host/x?token=***"),
        ("user:secret@host", "user:***@host"),
        ("rtsp://user:secret%40host/x", "rtsp://user:***%40host/x"),
        ("camera:1", "camera:1"),
        ("", ""),
    ],
)
def test_passwords_are_hidden_and_the_rest_is_left(address: str, hidden: str) -> None:
    assert hide_password(address) == hidden


odd_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30) | st.text(
    "@:/?#&=%;+ \\'\"\n", min_size=1, max_size=10
)


@given(odd_text, st.sampled_from(["rtsp", "http", "srt", "RTMP"]), st.sampled_from(["", "me", "me@mail.com", "a%40b"]))
@example("p@ss:w/rd?#", "rtsp", "user")
def test_no_password_before_the_host_survives(secret: str, scheme: str, user: str) -> None:
    for written in (secret, quote(secret), quote(secret, safe="")):
        hidden = hide_password(f"{scheme}://{user}:{written}@camera.local:554/live/1")
        assert hidden == f"{scheme}://{user}:***@camera.local:554/live/1"


@given(
    odd_text.filter(lambda text: "&" not in text),
    st.sampled_from(["password", "pass", "Token", "api_key", "KEY", "auth", "client_secret", "signature", "passwd"]),
    st.integers(0, 99),
    st.sampled_from("?&;"),
)
def test_no_secret_parameter_survives(secret: str, name: str, letter: int, mark: str) -> None:
    letter %= len(name)
    encoded = f"{name[:letter]}%{ord(name[letter]):02X}{name[letter + 1 :]}"
    for spelled, written in itertools.product((name, encoded), (secret, quote(secret))):
        assume("@" not in written and "%40" not in written)  # then more is hidden
        hidden = hide_password(f"http://host/x{mark}{spelled}={written}&z=1")
        assert hidden == f"http://host/x{mark}{spelled}=***&z=1"


@given(odd_text, st.sampled_from(["rtsp://a:{}@b/c?token={}", "http://a/b?key={}&pass={}", "{}:{}@c", "{}{}"]))
def test_hiding_twice_hides_no_more(secret: str, form: str) -> None:
    hidden = hide_password(form.format(secret, secret))
    assert hide_password(hidden) == hidden


# --- time -------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.none() | st.floats(-1e6, 1e6), st.floats(0, 100)), min_size=1, max_size=40))
def test_time_starts_at_zero_and_only_grows(frames: list[tuple[float | None, float]]) -> None:
    timeline, clock = StreamClock(), itertools.accumulate(wait for _, wait in frames)
    times = [timeline.tick(stamp, now) for (stamp, _), now in zip(frames, clock, strict=True)]
    assert times[0] == 0
    assert all(before < after for before, after in itertools.pairwise(times))


def test_time_follows_the_stamps_and_the_clock_where_they_jump() -> None:
    timeline = StreamClock()
    stamps = [500.0, 500.1, 500.3, None, 600.0, 600.5, 3.0, 3.25, 13.0, 99.0]
    clock = [80.0, 80.5, 80.6, 81.0, 82.0, 82.1, 85.0, 86.0, 87.0, 98.0]
    times = [timeline.tick(stamp, now) for stamp, now in zip(stamps, clock, strict=True)]
    assert times == pytest.approx([0, 0.1, 0.3, 1.0, 2.0, 2.5, 5.0, 5.25, 15.0, 18.0])


# --- reading ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [1, 7.5, 10, 25])
def test_a_recording_gives_what_reading_the_file_gives(clip: Path, rate: float) -> None:
    wanted = list(sample_frames(clip, rate=rate, resize=24))
    for address in (str(clip), f"file://{clip}"):
        frames = list(read_live(address, rate=rate, resize=24))
        assert [frame.time for frame in frames] == [time for time, _ in wanted]
        for frame, (_, pixels) in zip(frames, wanted, strict=True):
            np.testing.assert_array_equal(frame.pixels, pixels)


def test_the_clock_of_a_recording_is_that_of_the_file(tmp_path: Path) -> None:
    """Its pictures begin two seconds after the sound: the first one stands until then."""
    path = film_with_sound(tmp_path / "late.mkv", pictures=2)
    frames = list(read_live(str(path), rate=10))
    assert [frame.time for frame in frames] == pytest.approx([k / 10 for k in range(40)])
    assert numbers(frames) == [*[0] * 20, *range(20)]


def test_a_file_address_may_be_quoted_and_a_recording_without_time_stamps_is_counted(tmp_path: Path) -> None:
    path = make(tmp_path / "a b ü.ts", 3)
    assert numbers(list(read_live(f"file://{quote(str(path))}", rate=10))) == [0, 1, 2]
    assert numbers(list(read_live(str(make(tmp_path / "bare.h264")), rate=10))) == list(range(20))


def test_a_frame_comes_as_soon_as_the_next_one_does_and_tells_when_it_arrived(clip: Path) -> None:
    frames = list(read_live(str(clip), rate=5, clock=Clock(tick=1)))
    assert numbers(frames) == list(range(0, 20, 2))
    assert [frame.arrived for frame in frames] == [1001 + n for n in range(0, 20, 2)]
    clock = Clock(tick=1)
    live = read_live(str(clip), rate=10, clock=clock)
    for number in range(5):
        assert next(live).time == pytest.approx(number / 10)
        assert clock.now == 1000 + number + 2


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a web server of the test's folder."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(tmp_path))

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://user:secret@127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{}\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize("name", ["film.ts", "film.mp4", "film.mkv", "film.m3u8"])
def test_http(served: str, tmp_path: Path, name: str) -> None:
    """A playlist on the web is followed on the web."""
    make(tmp_path / name.replace("film.m3u8", "part.ts"))
    if name == "film.m3u8":
        (tmp_path / name).write_text(PLAYLIST.format("part.ts"))
    assert numbers(list(read_live(f"{served}/{name}", rate=10))) == list(range(20))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("film.m3u8", PLAYLIST.format(form)) for form in ("PART", "file://PART", "file:PART")),
        ("film.ffconcat", "ffconcat version 1.0\nfile 'part.ts'\n"),
    ],
)
def test_no_file_of_this_machine_is_reached_and_no_script_obeyed(
    served: str, tmp_path: Path, name: str, content: str
) -> None:
    part = make(tmp_path / "part.ts")
    (tmp_path / name).write_text(content.replace("PART", str(part)))
    with pytest.raises(UserError, match=f"{name} cannot be read"):
        list(read_live(f"{served}/{name}", rate=10))


@pytest.fixture
def sent() -> Iterator[Callable[..., str]]:
    """sent(b"…", …) -> the tcp:// address of a server that sends one of them to each caller, then hangs up."""
    threads, servers = [], []

    def serve(*contents: bytes) -> str:
        server = socket.create_server(("127.0.0.1", 0))

        def answer() -> None:
            for content in contents:
                connection, _ = server.accept()
                with connection:
                    connection.sendall(content)
            server.close()

        threads.append(threading.Thread(target=answer))
        servers.append(server)
        threads[-1].start()
        return f"tcp://127.0.0.1:{server.getsockname()[1]}"

    yield serve
    for thread in threads:
        thread.join()


def test_a_connection_that_hangs_up_is_opened_again(clip: Path, sent: Callable[..., str]) -> None:
    clock = Clock()
    live = read_live(sent(clip.read_bytes(), clip.read_bytes()), rate=10, reconnect=1, sleep=clock.sleep, clock=clock)
    frames = list(itertools.islice(live, 39))
    assert numbers(frames) == [*range(20), *range(1, 20)]  # grid times of the second: from 1.901 s on
    assert [frame.time for frame in frames] == pytest.approx([k / 10 for k in range(39)])
    with pytest.raises(UserError, match="broke off after 40 frames and did not come back in 1 attempts"):
        list(live)
    assert clock.waits == [1, 1]


def test_a_silent_source_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(UserError, match="cannot be read"):
        list(read_live(f"tcp://127.0.0.1:{server.getsockname()[1]}", rate=10))


def test_rtsp_is_asked_for_over_tcp_with_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(av, "open", lambda address, **options: asked.update(options, address=address))
    open_live("rtsp://host/x")
    assert asked["options"]["rtsp_transport"] == "tcp"
    assert "file" not in asked["options"]["protocol_whitelist"].split(",")
    assert asked["timeout"] == stream.TIMEOUT


# --- drops ------------------------------------------------------------------------------------------------------


def read_dropping(*steps: Step, rate: float = 10, reconnect: int = 5) -> tuple[list[LiveFrame], UserError, Clock]:
    """All frames, the error in the end, and the clock."""
    clock, frames = Clock(), []
    live = read_live(ADDRESS, rate=rate, reconnect=reconnect, opener=opener_of(*steps), sleep=clock.sleep, clock=clock)
    with pytest.raises(UserError) as caught:
        frames.extend(frame for frame in live)
    return frames, caught.value, clock


def test_time_goes_on_over_a_drop_and_the_gap_has_no_frames(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mkv", bf="0")
    frames, error, clock = read_dropping(
        lambda: Dropping(path, 6), refused, refused, lambda: Dropping(path, 5), *[refused] * 5
    )
    assert numbers(frames) == [*range(6), *range(5)]
    assert [frame.time for frame in frames[:6]] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert clock.waits == [1, 2, 4, 1, 2, 4, 8, 16]
    resumed = frames[6].time
    assert 7.0 <= resumed <= 7.2  # after 1 + 2 + 4 seconds
    assert [frame.time for frame in frames[6:]] == pytest.approx([resumed + k / 10 for k in range(5)])
    assert all(frame.time * 10 == pytest.approx(round(frame.time * 10)) for frame in frames)
    assert str(error) == (
        "rtsp://user:***@host/x?token=*** broke off after 11 frames and did not come back in 5 attempts "
        "(Connection refused); check the camera and the network, then type the same again"
    )


def test_time_goes_on_by_the_clock_whatever_the_new_time_stamps_say(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mkv", bf="0")
    later = remux(path, tmp_path / "later.mkv", lambda _, packet: shift(packet, 5))
    frames, _, _ = read_dropping(lambda: Dropping(path, 6), lambda: Dropping(later, 5), refused, reconnect=1)
    assert numbers(frames)[:6] == list(range(6))
    assert frames[6].time == pytest.approx(1.1)  # 1 second of waiting, not 5


def test_a_recording_that_breaks_off_is_opened_again(tmp_path: Path) -> None:
    class Recording(Dropping):
        duration, start_time = 2_000_000, 0

    path, clock = make(tmp_path / "clip.mkv", bf="0"), Clock()
    opener = opener_of(lambda: Recording(path, 6), lambda: Recording(path))
    live = read_live(ADDRESS, rate=10, opener=opener, sleep=clock.sleep, clock=clock)
    frames = list(live)
    assert numbers(frames)[:6] == list(range(6))
    assert numbers(frames)[-18:] == list(range(2, 20))
    assert clock.waits == [1]


def test_a_drop_shows_the_last_frame_for_as_long_as_the_one_before(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mkv", bf="0")
    frames, _, _ = read_dropping(lambda: Dropping(path, 3), rate=30, reconnect=0)
    assert numbers(frames) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_a_live_source_that_ends_has_dropped_and_waits_do_not_grow_for_ever(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mkv")
    frames, error, clock = read_dropping(lambda: Dropping(path), lambda: Dropping(path), refused, reconnect=1)
    assert numbers(frames)[:20] == list(range(20))
    assert len(frames) in (39, 40)  # the first grid time after the gap may lie behind the first frame
    assert clock.waits == [1, 1]
    assert "broke off after 40 frames" in str(error)
    _, _, clock = read_dropping(lambda: Dropping(path, 4), *[refused] * 8, reconnect=8)
    assert clock.waits == [1, 2, 4, 8, 16, 30, 30, 30]


def test_frames_that_come_back_in_another_size_are_scaled(tmp_path: Path) -> None:
    path, other = make(tmp_path / "clip.mkv"), make_film(tmp_path / "other.mkv", [flat(20, 128, 80)])
    frames, _, _ = read_dropping(lambda: Dropping(path, 8), lambda: Dropping(other), refused, reconnect=1)
    assert {frame.pixels.shape for frame in frames} == {(48, 64, 3)}
    assert numbers(frames)[-1] == 20


def test_what_never_opened_is_not_tried_again() -> None:
    frames, error, clock = read_dropping(refused)
    assert (frames, clock.waits) == ([], [])
    assert str(error) == (
        "rtsp://user:***@host/x?token=*** cannot be read (Connection refused); check address, password and network"
    )


def test_whoever_stops_listening_closes_the_connection(clip: Path) -> None:
    opened: list[Dropping] = []

    def open_one() -> Dropping:
        opened.append(Dropping(clip))
        return opened[-1]

    live = read_live("rtsp://host/x", rate=10, opener=opener_of(open_one))
    next(live)
    live.close()  # type: ignore[attr-defined]  # it is a generator
    with pytest.raises(AssertionError, match="not open"):
        opened[0].container.dumps_format()


# --- errors -----------------------------------------------------------------------------------------------------


def told_of(error: BaseException) -> str:
    """All that an error carries, chained errors too."""
    chain = [error]
    while after := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(after)
    return "".join(repr(one) + str(one.args) for one in chain) + "".join(traceback.format_exception(error))


@pytest.mark.parametrize("scheme", ["rtsp", "http", "tcp", "rtmp"])
def test_no_error_and_no_line_tells_the_password(
    scheme: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # nobody listens there once it is closed
    with caplog.at_level(logging.DEBUG), pytest.raises(UserError, match=r"user:\*\*\*@127\.0\.0\.1") as caught:
        list(read_live(f"{scheme}://user:{PASSWORD}@127.0.0.1:{port}/x?token={TOKEN}", rate=10))
    written = told_of(caught.value) + "".join(capfd.readouterr()) + caplog.text
    assert PASSWORD not in written
    assert TOKEN not in written


@pytest.mark.parametrize("reconnect", [0, 1])
def test_no_error_tells_the_password_after_a_drop(tmp_path: Path, reconnect: int) -> None:
    path = make(tmp_path / "clip.mkv")
    _, error, _ = read_dropping(lambda: Dropping(path, 4), refused, reconnect=reconnect)
    assert ("Connection reset", "Connection refused")[reconnect] in str(error)
    assert PASSWORD not in told_of(error)
    assert TOKEN not in told_of(error)
    assert pickle.loads(pickle.dumps(error)).args == error.args


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b"just text\n" * 99), "cannot be read \\(Invalid data"),
        (lambda path: None, "cannot be read \\(No such file or directory\\)"),
        (audio_file, "there is no video in it, only audio"),
    ],
)
def test_what_is_no_video_is_one_clear_error(tmp_path: Path, write: Callable[[Path], object], message: str) -> None:
    write(tmp_path / "film.mp4")
    with pytest.raises(UserError, match=message):
        list(read_live(str(tmp_path / "film.mp4"), rate=10))


def test_a_camera_that_is_not_there_is_named_and_needs_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="is not above 0"):
        next(read_live("camera", rate=0))
    for system, address, words in (
        ("Linux", "camera:97", r"there is no camera at /dev/video97 \(found: .*\); connect one, or type"),
        ("Linux", "/dev/video98", r"there is no camera at /dev/video98"),
        ("Darwin", "camera", "camera needs Linux's v4l2, this is Darwin; give the URL of a stream"),
    ):
        monkeypatch.setattr(stream.platform, "system", lambda system=system: system)
        with pytest.raises(UserError, match=words):
            list(read_live(address, rate=10))


def test_ffmpeg_reads_cameras_here() -> None:
    if stream.platform.system() != "Linux":
        pytest.skip("v4l2 is Linux's")
    assert "video4linux2,v4l2" in av.formats_available
