"""What is said while work goes on: on a terminal, in a pipe, where nobody listens."""

import errno
import io
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kagglepipe import console
from kagglepipe.console import ConsoleHandler, Progress, progress, working


class Clock:
    """A time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        """What `time.monotonic` is replaced by."""
        return self.now


class Ticks(threading.Event):
    """An event that is set after some waits; before each of them time passes, and work with it."""

    def __init__(self, clock: Clock, steps: int, seconds: float, work: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.clock, self.left, self.step, self.work = clock, steps, seconds, work

    def wait(self, timeout: float | None = None) -> bool:
        """Passes the time."""
        self.left -= 1
        self.clock.now += self.step
        self.work()
        return self.left < 0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of this module; nothing is under way, and nothing was said."""
    made = Clock()
    monkeypatch.setattr(console, "time", made)
    monkeypatch.setattr(console, "_display", console._Display())
    monkeypatch.setattr(console, "_active", [])
    return made


def told(clock: Clock, *, steps: int, seconds: float = 0.2, work: Callable[[], None] = lambda: None) -> None:
    """The thread's loop, in this one."""
    console._display.run(Ticks(clock, steps, seconds, work), on_terminal=False)


def test_a_log_has_a_line_whenever_nothing_was_said_for_three_seconds(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with working("train"):
        told(clock, steps=98)  # nearly twenty seconds
    assert len(caplog.messages) == 6  # the longest silence is below five seconds
    assert caplog.messages[0] == "train, 00:03 so far"


def test_it_says_how_far_the_work_has_come_and_what_is_left(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with working("prepare"), Progress[None]("prepare", total=300, unit="image") as bar:
        told(clock, steps=40, seconds=0.25, work=lambda: bar.update(2))
    assert caplog.messages[0] == "prepare: 24 of 300 images, 00:03 so far, about 00:34 left"


def test_what_was_there_before_says_nothing_of_the_speed(clock: Clock) -> None:
    with Progress[None]("download", total=100, done=90, unit="B") as bar:
        clock.now += 10
        assert bar.remaining is None
        bar.update(5)
        assert bar.remaining == 10.0


def test_work_that_ends_by_time_is_measured_by_it(clock: Clock) -> None:
    """Ten units a second: of 6,000 sixty seconds suffice for 600, and a thousand seconds for all."""
    with Progress[None]("train", total=6_000, unit="batch", limit=60.0) as bar:
        assert (bar.expected, bar.remaining) == (6_000, None)
        clock.now += 10
        bar.update(100)
        assert (bar.expected, bar.remaining) == (600, 50.0)
        assert bar.format_log() == "train: 100 of 600 batches"
        assert "100/600 [00:10<00:50, 10.00batch/s" in bar.format_bar(100, ascii=True, note="")
        clock.now += 60  # the last batch, and rows kept back, may take longer
        assert bar.remaining == 0.0
        bar.limit = 1_000.0
        clock.now -= 60
        assert (bar.expected, bar.remaining) == (6_000, 590.0)


def test_nothing_is_said_where_nothing_is_active_or_much_is_said(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    told(clock, steps=50)
    with working("train"):
        told(clock, steps=50, work=console._display.restart_timer)
    assert caplog.messages == []


def test_a_terminal_is_redrawn_at_most_ten_times_a_second_however_often_work_is_counted(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(console.shutil, "get_terminal_size", lambda: os.terminal_size((60, 24)))

    def clips() -> None:
        for _ in progress(range(500), "clip", total=500, unit="frame"):
            pass

    with Progress[None]("predict", total=20, unit="clip") as bar:
        ticks = Ticks(clock, 50, console.REDRAW_INTERVAL, lambda: (clips(), bar.update())[1])  # ten seconds
        console._display.run(ticks, on_terminal=True)
    drawn = terminal.getvalue()
    assert 1 <= drawn.count("\r") <= 100
    assert all(len(line.removesuffix("\x1b[K")) < 60 for line in drawn.split("\r"))


def test_what_is_over_in_a_moment_is_not_drawn(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress[None]("unpack", total=20, unit="B"):
        console._display.run(Ticks(clock, 2, 0.2), on_terminal=True)
    assert terminal.getvalue() == ""


def test_a_log_line_takes_the_place_of_the_drawn_one(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, out = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress[None]("prepare", total=20, unit="image"):
        console._display.run(Ticks(clock, 5, 0.2), on_terminal=True)
        ConsoleHandler(out).emit(logging.makeLogRecord({"msg": "prepare: done"}))
    assert terminal.getvalue().endswith("\r\x1b[K")
    assert out.getvalue() == "prepare: done\n"


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(errno.ENOSPC, "full"), OSError(errno.EIO, "hung up")])
def test_a_reader_that_has_gone_is_told_no_more(error: OSError, capsys: pytest.CaptureFixture[str]) -> None:
    class Gone(io.StringIO):
        def flush(self) -> None:
            raise error

    handler = ConsoleHandler(Gone())
    handler.handle(logging.makeLogRecord({"msg": "one"}))
    handler.handle(logging.makeLogRecord({"msg": "two"}))
    handler.stream.close()
    assert capsys.readouterr().err == ""


def test_a_stream_that_is_closed_is_told_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    handler = ConsoleHandler(stream)
    stream.close()
    for _ in range(2):
        handler.handle(logging.makeLogRecord({"msg": "hello", "level": logging.INFO}))
    assert capsys.readouterr().err == ""


def test_characters_that_an_encoding_lacks_are_written_as_ascii() -> None:
    console.open_streams()
    assert "a … b ± 1 → ü".encode("ascii", "plain") == rb"a ... b +/- 1 -> \xfc"
    assert "\udcff.jpg".encode("utf-8", "plain") == b"\\udcff.jpg"


# --- in a process of its own -----------------------------------------------------------------------------------

SPEAK = """if True:
    import logging, os, sys
    from kagglepipe import console
    console.open_streams()
    handler = console.ConsoleHandler(sys.stdout)
    logging.getLogger().addHandler(handler)
    with console.show_progress(), console.working("train"):
        logging.getLogger().warning("accuracy 1.00 ± 0.00 …")
        print("on standard error …", file=sys.stderr)
        file = open("made", "w")  # must not get the number of a stream that was closed
        os.write(2, b"a library's own words")
        file.close()
    console.close_streams()
"""


@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-", "| true"])
@pytest.mark.skipif(sys.platform == "win32", reason="a shell closes them")
def test_streams_that_are_closed_are_no_error(closed: str, tmp_path: Path) -> None:
    command = f'"$0" -c "$1" {closed}'
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command, sys.executable, SPEAK], cwd=tmp_path, env=env, capture_output=True
    )
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr + done.stdout
    assert (tmp_path / "made").read_bytes() == b""
