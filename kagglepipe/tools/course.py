"""course: list the lessons; course lesson=NAME: run one.

Each lesson is a file of kagglepipe/course/ to be read beside its page in docs/course/. Writes
outputs/course/NAME/: pictures, what was learned, and metrics.json (last). course.quick=true takes seconds.
"""

import difflib
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import fields
from importlib.util import find_spec
from typing import Any

from kagglepipe.config import Config
from kagglepipe.course import LESSONS, METRICS, READS
from kagglepipe.errors import UserError
from kagglepipe.files import absolute, write_bytes
from kagglepipe.options import CourseOptions

log = logging.getLogger(__name__)
EXTRA = ("matplotlib", "sacrebleu")
FORMATS = {int: ",", float: ".4g", bool: ""}
NUMBER = (int, float, type(None))


def check(config: Config) -> None:
    """Raises UserError for an unknown lesson, or files to read that are not there."""
    lesson, options = config.lesson, config.course
    if lesson is not None and lesson not in LESSONS:
        near = difflib.get_close_matches(lesson, LESSONS, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"lesson={lesson} is unknown; {hint}choose one of: {', '.join(LESSONS)}")
    check_read(lesson, options)
    if missing := [name for name in EXTRA if lesson and not find_spec(name)]:
        raise UserError(f"lessons need {' and '.join(missing)}, which is missing: pip install 'kagglepipe[course]'")
    for name in ("source", "heldout", "translate", "model"):
        path = getattr(options, name)
        if path is not None and not absolute(path).exists():
            raise UserError(f"course.{name}={path} is not there: type the path of a file or folder, or leave it out")


def check_read(lesson: str | None, options: CourseOptions) -> None:
    """Raise UserError for an option that the lesson does not read."""
    given = [one.name for one in fields(options) if getattr(options, one.name) not in (None, False)]
    for name in given:
        readers = [other for other, names in READS.items() if name in names]
        if name != "quick" and lesson not in readers and (lesson is None or lesson in READS):
            what = f"by lesson={lesson}, but by {', '.join(readers)}" if lesson else "without lesson=NAME"
            raise UserError(f"course.{name} is not read {what}: leave it out")
    if {"model", "minutes"} <= set(given):
        raise UserError("course.minutes is not read with course.model, which is not trained: leave one of them out")
    if options.file is not None and options.translate is None:
        raise UserError("course.file is not read without a text to translate: add course.translate=FILE")


def run(config: Config) -> None:
    """Print the lessons, or run the one that is named, log its results and write its metrics."""
    lesson, options, seed = config.lesson, config.course, config.seed
    if lesson is None:
        print("Lessons; each by its name, as: python -m kagglepipe course lesson=convolution\n")
        print(*(f"  {name:<15} {about}" for name, about in LESSONS.items()), sep="\n")
        return
    from kagglepipe.course.lesson import Lesson
    from kagglepipe.course.saved import saved_folder
    from kagglepipe.course.table import RUN
    from kagglepipe.training.device import choose_device

    folder = config.outputs_dir / "course" / lesson
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / METRICS
    before = file.read_bytes() if file.exists() else None
    file.unlink(missing_ok=True)  # the file written last is the proof
    start, begun = time.perf_counter(), time.time() - 1  # a file's time may be a little earlier than the clock's
    try:
        metrics = RUN[lesson](Lesson(options, folder, choose_device(config.device), seed))
    except (UserError, OSError):  # nothing was done, so that what was there stays
        if before is not None:
            write_bytes(file, before)
        raise
    about = {"seed": seed, "quick": options.quick, "seconds": round(time.perf_counter() - start, 1)}
    trained = json.loads(before) if before and options.model and saved_folder(options.model) == folder else {}
    write_bytes(file, json.dumps(trained | metrics if trained else metrics | about, indent=2).encode())
    for line in result_lines(json.loads(json.dumps(metrics))):  # names of numbers are text there
        log.info("%s: %s", lesson, line)
    pictures = ", ".join(str(path) for path in sorted(folder.glob("*.png")) if path.stat().st_mtime > begun)
    log.info("course: %s took %.0f s; look at %s, and read docs/course/%s.md", lesson, about["seconds"],
             pictures or folder, lesson)  # fmt: skip


def result_lines(metrics: dict[str, Any], group: str = "") -> Iterator[str]:
    """Yield a line for each number, and one for the numbers of each group; lists and texts are in metrics.json only.

    >>> list(result_lines({"test_loss": 0.25, "accuracy": {"CNN": {"rows": 0.98765, "pixels": None}}, "curve": [1]}))
    ['test loss: 0.25', 'accuracy, CNN: rows: 0.9877; pixels: none']
    """
    numbers = [(name.replace("_", " "), value) for name, value in metrics.items() if isinstance(value, NUMBER)]
    shown = [f"{name}: {'none' if value is None else format(value, FORMATS[type(value)])}" for name, value in numbers]
    yield from [f"{group}: {'; '.join(shown)}"] if group and shown else shown
    for name, value in metrics.items():
        if isinstance(value, dict):
            yield from result_lines(value, f"{group}, {name}" if group else name.replace("_", " "))
