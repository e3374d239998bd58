"""Progress on the terminal and in logs, and standard streams that take any text.

Long work is registered by `progress` or `working`. One thread (`show_progress`) reports it: on a terminal as a bar that
is redrawn a few times a second, in a pipe or file as a log line after every few seconds without one. Imports neither
torch nor Hydra.
"""

import codecs
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Generic, TextIO, TypeVar

from tqdm import tqdm

log = logging.getLogger(__name__)
LOG_INTERVAL = 3.0  # seconds without output after which a log line is written
REDRAW_INTERVAL = 0.2  # seconds between two redraws of the bar
DELAY = 0.5  # seconds; shorter work gets no bar
ETA_DELAY = 3.0  # seconds after which the remaining time is estimated
ASCII = {"…": "...", "–": "-", "—": "-", "±": "+/-", "×": "x", "→": "->", "≥": ">=", "≤": "<=", "’": "'", "·": "*",
         "─": "-", "│": "|", "╭": "+", "╮": "+", "╰": "+", "╯": "+"}  # fmt: skip
Item = TypeVar("Item")


# --- streams ---------------------------------------------------------------------------------------------------


def open_streams() -> None:
    """Make standard streams take any text, whatever the terminal, the locale or the parent process.

    A closed stream is opened on the null device, since the next file would else get its number. Characters that the
    encoding lacks are written as the nearest ASCII, or as an escape.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    codecs.register_error("plain", _to_ascii)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123  # as long as the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="plain")


def _to_ascii(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that an encoding lacks: an error handler for `codecs.register_error`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(ASCII.get(c) or c.encode("ascii", "backslashreplace").decode() for c in missing), error.end


def close_streams() -> None:
    """Flush standard streams; a closed pipe, as after `| head`, is no error."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (BrokenPipeError, ValueError):  # ValueError: closed already
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class ConsoleHandler(logging.StreamHandler[TextIO]):
    """Log lines on a terminal or in a pipe, above the progress bar; silent once the pipe is closed."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record in place of the bar."""
        _display.clear()
        super().emit(record)
        _display.restart_timer()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """Go silent when the reader, the terminal or the stream is gone, or the disk is full; show other errors."""
        if isinstance(sys.exc_info()[1], OSError) or self.stream.closed:
            self.stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
        else:
            super().handleError(record)


# --- work in progress ------------------------------------------------------------------------------------------


class Progress(Generic[Item]):
    """Work in progress, for the length of a `with` block or while its items are iterated over.

    name: its label. total: the number of units; None: unknown. done: units that were complete before. unit: of the
    count; `B` is shown as kB, MB, …. limit: seconds after which the work ends with fewer units; None: it does not.
    """

    def __init__(
        self,
        name: str,
        *,
        total: int | None = None,
        unit: str = "",
        done: int = 0,
        items: Iterable[Item] = (),
        limit: float | None = None,
    ) -> None:
        self.name, self.total, self.unit, self.done, self.items, self.limit = name, total, unit, done, items, limit
        self.count, self.note, self.start = done, "", time.monotonic()

    def __enter__(self) -> "Progress[Item]":
        self.start = time.monotonic()
        _active.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ValueError):
            _active.remove(self)

    def __iter__(self) -> Iterator[Item]:
        with self:
            for item in self.items:
                yield item
                self.update()

    def update(self, count: int = 1) -> None:
        """Add to the count."""
        self.count += count

    @property
    def rate(self) -> float | None:
        """Units a second; None while there is no estimate."""
        elapsed, made = time.monotonic() - self.start, self.count - self.done
        return made / elapsed if self.total and elapsed >= ETA_DELAY and made > 0 else None

    @property
    def expected(self) -> int:
        """Number of units, or as many of them as the time limit suffices for; 0 if unknown."""
        total = self.total or 0
        if self.limit is None or self.rate is None:
            return total
        left = max(0.0, self.start + self.limit - time.monotonic())
        return min(total, self.count + round(self.rate * left))

    @property
    def remaining(self) -> float | None:
        """Estimated seconds to the end; None while there is no estimate."""
        return None if self.rate is None else max(self.expected - self.count, 0) / self.rate

    def format_bar(self, columns: int, *, ascii: bool, note: str) -> str:
        """Draw the bar, as tqdm draws it."""
        elapsed, rate = time.monotonic() - self.start, self.rate
        return tqdm.format_meter(
            self.count, self.expected, elapsed, ncols=columns, prefix=self.name, ascii=ascii, unit=self.unit or "it",
            unit_scale=self.unit == "B", rate=rate, postfix=note, initial=self.done,
            bar_format=None if rate else "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]",
        )  # fmt: skip

    def format_log(self) -> str:
        """Format a log line, such as `prepare: 1200 of 5000 images`."""
        if not self.total:
            return self.name
        if self.unit == "B":
            return f"{self.name}: {tqdm.format_sizeof(self.count)}B of {tqdm.format_sizeof(self.total)}B"
        plural = f"{self.unit}es" if self.unit.endswith("ch") else f"{self.unit}s"
        return f"{self.name}: {self.count} of {self.expected} {plural}"


_active: list[Progress[Any]] = []  # the outermost first


def progress(items: Iterable[Item], name: str, *, total: int, unit: str) -> Progress[Item]:
    """Iterate over items and count them."""
    return Progress(name, total=total, unit=unit, items=items)


def working(name: str) -> Progress[Any]:
    """Register work without a count: `with working("ensemble: fitting weights"):`."""
    return Progress(name)


# --- display ---------------------------------------------------------------------------------------------------


class _Display:
    """Draws bars and writes log lines for the work in progress, from a thread."""

    def __init__(self) -> None:
        self.last_output, self.drawn, self.lock, self.is_running = time.monotonic(), "", threading.Lock(), False

    def restart_timer(self) -> None:
        """Count the seconds without output from now."""
        self.last_output = time.monotonic()

    def clear(self) -> None:
        """Remove the bar."""
        with self.lock:
            if self.drawn:
                self.drawn = ""
                self._write("\r\x1b[K")

    def draw(self) -> None:
        """Draw the outermost bar, with the count of the next one; or a name and its time, where nothing is counted."""
        now = time.monotonic()
        shown = [one for one in list(_active) if now - one.start > DELAY]
        counted = [one for one in shown if one.total]
        columns = max(20, shutil.get_terminal_size().columns - 1)
        if counted:
            inner = [f"{one.name} {one.count}/{one.total}" for one in counted[1:2]]
            note = ", ".join(filter(None, [counted[0].note, *inner]))
            is_ascii = "utf" not in (sys.stderr.encoding or "").lower()
            line = counted[0].format_bar(columns, ascii=is_ascii, note=note)
        elif shown and now - max(self.last_output, shown[-1].start) > LOG_INTERVAL:
            line = f"{shown[-1].name}: {tqdm.format_interval(now - shown[-1].start)}"[:columns]
        else:
            self.clear()
            return
        with self.lock:
            if line != self.drawn:
                self.drawn = line
                self._write(f"\r{line}\x1b[K")

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # the terminal is gone
            sys.stderr.write(text)
            sys.stderr.flush()

    def write_log(self) -> None:
        """Write a log line, unless there was output a moment ago."""
        now, active = time.monotonic(), list(_active)
        if not active or now - self.last_output < LOG_INTERVAL:
            return
        one = next((one for one in active if one.total), active[-1])
        remaining = "" if one.remaining is None else f", about {tqdm.format_interval(one.remaining)} left"
        self.last_output = now
        text = f"{one.format_log()}, {tqdm.format_interval(now - one.start)} so far{remaining}"
        if logging.getLogger().handlers:
            log.info("%s", text)
        else:  # before Hydra sets up logging
            print(text, flush=True)

    def run(self, stop: threading.Event, *, on_terminal: bool) -> None:
        """Refresh until `stop` is set."""
        refresh = self.draw if on_terminal else self.write_log
        while not stop.wait(REDRAW_INTERVAL):
            refresh()


_display = _Display()


def clear_bar() -> None:
    """Remove the bar before text is written to the terminal without `logging`."""
    _display.clear()


@contextmanager
def show_progress(name: str = "starting", *, on_terminal: bool | None = None) -> Iterator[None]:
    """Show work in progress for the length of the block; nested blocks change nothing.

    name: shown until other work begins. on_terminal: a bar on standard error instead of log lines; None: where it is a
    terminal.
    """
    if _display.is_running:
        yield
        return
    if on_terminal is None:
        on_terminal = sys.stderr.isatty()
    stop = threading.Event()
    _display.restart_timer()
    _display.is_running = True
    thread = threading.Thread(target=_display.run, args=(stop,), kwargs={"on_terminal": on_terminal}, daemon=True)
    thread.start()
    try:
        with working(name):
            yield
    finally:
        _display.is_running = False
        stop.set()
        thread.join()
        _display.clear()
