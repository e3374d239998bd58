"""What a terminal or a log is told while work goes on: streams that take any text, progress, and no long silence.

Whatever takes time registers here what it does and how far it has come (`progress`, `working`). One thread tells of it
(`telling`): on a terminal as a line that is redrawn a few times a second, in a pipe or file as a log line whenever
nothing else has been said for a while. Needs neither torch nor Hydra.
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
SILENCE = 3.0  # seconds without a word after which one is said
REDRAW = 0.2  # seconds between two states of a terminal's line
SHORT = 0.5  # seconds; what takes less is not drawn
KNOWN = 3.0  # seconds after which the time that is left can be told
PLAIN = {"…": "...", "–": "-", "—": "-", "±": "+/-", "×": "x", "→": "->", "≥": ">=", "≤": "<=", "’": "'", "·": "*"}
Item = TypeVar("Item")


# --- streams ---------------------------------------------------------------------------------------------------


def open_streams() -> None:
    """Gives the process standard streams that take any text, whatever its terminal, its locale or its parent is.

    A closed one is opened on nothing, since the next file that is opened would else take its number. What an encoding
    lacks is written as the nearest ASCII, or as its code.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    codecs.register_error("plain", _plain)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123  # as long as the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in lacking), error.end


def close_streams() -> None:
    """Writes what is waiting; a reader that has gone, as `head` does, is no error."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (BrokenPipeError, ValueError):  # the latter: closed already
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class ConsoleHandler(logging.StreamHandler[TextIO]):
    """Log lines on a terminal or in a pipe, beside the line of progress; a reader that has gone is told no more."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the record where the line of progress was."""
        _teller.erase()
        super().emit(record)
        _teller.spoke()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """Goes on in silence when reader or terminal has gone, or the disk is full; shows others as usual."""
        if isinstance(sys.exc_info()[1], OSError):
            self.stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
        else:
            super().handleError(record)


# --- what is going on ------------------------------------------------------------------------------------------


class Progress(Generic[Item]):
    """Work that is under way, from `with` to its end, or while its items are iterated over.

    name: what it is headed with. total: how much there is; None where that is not known. done: how much of it was
    there before. unit: what is counted; `B` is shown as kB, MB, ….
    """

    def __init__(
        self, name: str, *, total: int | None = None, unit: str = "", done: int = 0, items: Iterable[Item] = ()
    ) -> None:
        self.name, self.total, self.unit, self.done, self.items = name, total, unit, done, items
        self.count, self.note, self.start = done, "", time.monotonic()

    def __enter__(self) -> "Progress[Item]":
        self.start = time.monotonic()
        _under_way.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ValueError):
            _under_way.remove(self)

    def __iter__(self) -> Iterator[Item]:
        with self:
            for item in self.items:
                yield item
                self.update()

    def update(self, count: int = 1) -> None:
        """Counts on."""
        self.count += count

    @property
    def left(self) -> float | None:
        """Seconds that are left at the speed so far; None while that is not known."""
        took, made = time.monotonic() - self.start, self.count - self.done
        if not self.total or took < KNOWN or made <= 0:
            return None
        return took / made * max(self.total - self.count, 0)

    def as_bar(self, columns: int, *, ascii: bool, note: str) -> str:
        """The state as tqdm draws it."""
        took = time.monotonic() - self.start
        rate = None if self.left is None else (self.count - self.done) / took
        return tqdm.format_meter(
            self.count, self.total or 0, took, ncols=columns, prefix=self.name, ascii=ascii, unit=self.unit or "it",
            unit_scale=self.unit == "B", rate=rate, postfix=note, initial=self.done,
            bar_format=None if rate else "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]",
        )  # fmt: skip

    def in_words(self) -> str:
        """The state as a log line, as in `prepare: 1200 of 5000 images`."""
        if not self.total:
            return self.name
        if self.unit == "B":
            return f"{self.name}: {tqdm.format_sizeof(self.count)}B of {tqdm.format_sizeof(self.total)}B"
        plural = f"{self.unit}es" if self.unit.endswith("ch") else f"{self.unit}s"
        return f"{self.name}: {self.count} of {self.total} {plural}"


_under_way: list[Progress[Any]] = []  # the outermost first


def progress(items: Iterable[Item], name: str, *, total: int, unit: str) -> Progress[Item]:
    """The items, counted as they are taken."""
    return Progress(name, total=total, unit=unit, items=items)


def working(name: str) -> Progress[Any]:
    """Work of which it is not known how far it has come: `with working("ensemble: fitting weights"):`."""
    return Progress(name)


# --- telling of it ---------------------------------------------------------------------------------------------


class _Teller:
    """The thread that tells of what is under way, and what it has drawn."""

    def __init__(self) -> None:
        self.last, self.drawn, self.lock, self.is_telling = time.monotonic(), "", threading.Lock(), False

    def spoke(self) -> None:
        """Something was said just now."""
        self.last = time.monotonic()

    def erase(self) -> None:
        """Takes the drawn line away."""
        with self.lock:
            if self.drawn:
                self.drawn = ""
                self._write("\r\x1b[K")

    def draw(self) -> None:
        """Draws the state of what takes longer than a moment, on one line."""
        now = time.monotonic()
        shown = [one for one in list(_under_way) if now - one.start > SHORT]
        counted = [one for one in shown if one.total]
        columns = max(20, shutil.get_terminal_size().columns - 1)
        if counted:
            inner = [f"{one.name} {one.count}/{one.total}" for one in counted[1:2]]
            note = ", ".join(filter(None, [counted[0].note, *inner]))
            is_ascii = "utf" not in (sys.stderr.encoding or "").lower()
            line = counted[0].as_bar(columns, ascii=is_ascii, note=note)
        elif shown and now - max(self.last, shown[-1].start) > SILENCE:
            line = f"{shown[-1].name}: {tqdm.format_interval(now - shown[-1].start)}"[:columns]
        else:
            self.erase()
            return
        with self.lock:
            if line != self.drawn:
                self.drawn = line
                self._write(f"\r{line}\x1b[K")

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # the terminal is gone
            sys.stderr.write(text)
            sys.stderr.flush()

    def say(self) -> None:
        """One log line, if nothing was said for a while."""
        now, under_way = time.monotonic(), list(_under_way)
        if not under_way or now - self.last < SILENCE:
            return
        counted = [one for one in under_way if one.total]
        one = counted[0] if counted else under_way[-1]
        left = "" if one.left is None else f", about {tqdm.format_interval(one.left)} left"
        self.last = now
        words = f"{one.in_words()}, {tqdm.format_interval(now - one.start)} so far{left}"
        if logging.getLogger().handlers:
            log.info("%s", words)
        else:  # Hydra has not come to that yet
            print(words, flush=True)

    def run(self, stop: threading.Event, *, on_terminal: bool) -> None:
        """Tells until it is stopped."""
        while not stop.wait(REDRAW):
            if on_terminal:
                self.draw()
            else:
                self.say()


_teller = _Teller()


def erase() -> None:
    """Takes the drawn line away, for whoever writes to the terminal without `logging`."""
    _teller.erase()


@contextmanager
def telling(name: str = "starting", *, on_terminal: bool | None = None) -> Iterator[None]:
    """Tells of what is under way for as long as the block takes; in such a block another one changes nothing.

    name: what is told until something else is under way. on_terminal: draw on standard error instead of writing log
    lines; None: where it is a terminal.
    """
    if _teller.is_telling:
        yield
        return
    if on_terminal is None:
        on_terminal = sys.stderr.isatty()
    stop = threading.Event()
    _teller.spoke()
    _teller.is_telling = True
    thread = threading.Thread(target=_teller.run, args=(stop,), kwargs={"on_terminal": on_terminal}, daemon=True)
    thread.start()
    try:
        with working(name):
            yield
    finally:
        _teller.is_telling = False
        stop.set()
        thread.join()
        _teller.erase()
