"""The list of lessons, and what holds for each of them."""

import json
import os
from dataclasses import fields
from pathlib import Path

import pytest

from kagglepipe import course
from kagglepipe.course import LESSONS, READS, table
from kagglepipe.errors import UserError
from kagglepipe.files import write_bytes
from kagglepipe.options import CourseOptions
from kagglepipe.tools.course import check, run
from tests.composing import config_of

ROOT = Path(__file__).parents[2]


def test_every_lesson_has_a_function_a_page_and_tests():
    assert list(LESSONS) == list(table.RUN)
    for name in LESSONS:
        assert table.RUN[name].__module__ == f"kagglepipe.course.{name}"
        assert f"lesson={name}" in (ROOT / "docs" / "course" / f"{name}.md").read_text("utf-8")
        assert (ROOT / "tests" / "course" / f"test_{name}.py").is_file()


def test_a_lesson_is_one_file_of_at_most_150_lines():
    for file in Path(course.__path__[0]).glob("*.py"):
        assert len(file.read_text("utf-8").splitlines()) <= 150, file.name


def test_an_unknown_lesson_is_refused_by_its_name():
    with pytest.raises(UserError, match="lesson=convolutions is unknown"):
        check(config_of("stage=course", "lesson=convolutions"))


def test_a_lesson_prints_its_results(tmp_path, caplog):
    """Most lessons only wrote them to metrics.json."""
    caplog.set_level("INFO")
    old = tmp_path / "outputs" / "course" / "recurrence" / "old.png"
    write_bytes(old, b"")
    os.utime(old, (0, 0))
    run(config_of("stage=course", "lesson=recurrence", "course.quick=true", f"paths.root={tmp_path}"))
    assert any(one.startswith("recurrence: largest difference of unrolled and fused: ") for one in caplog.messages)
    assert "recurrence: test sentences: 24" in caplog.messages
    assert "states.png" in caplog.messages[-1]
    assert "old.png" not in caplog.messages[-1]  # of an earlier run


@pytest.mark.slow
@pytest.mark.parametrize("name", LESSONS)
def test_every_lesson_ends_well_as_a_command(name, tmp_path):
    """The results of one, whose names are numbers, ended in a traceback when they were printed."""
    run(config_of("stage=course", f"lesson={name}", "course.quick=true", f"paths.root={tmp_path}"))
    assert (tmp_path / "outputs" / "course" / name / "metrics.json").is_file()


def test_results_may_be_called_by_numbers(tmp_path, caplog, monkeypatch):
    caplog.set_level("INFO")
    monkeypatch.setitem(table.RUN, "digits", lambda _: {"accuracy": {"LeNet-5": {100: 0.95, 1000: 0.98}}})
    run(config_of("stage=course", "lesson=digits", f"paths.root={tmp_path}"))
    assert caplog.messages[0] == "digits: accuracy, LeNet-5: 100: 0.95; 1000: 0.98"


def test_a_refused_lesson_leaves_the_metrics_of_the_one_before(tmp_path):
    metrics = tmp_path / "outputs" / "course" / "recurrence" / "metrics.json"
    write_bytes(metrics, b"{}")
    with pytest.raises(UserError):
        run(config_of("stage=course", "lesson=recurrence", "course.text=7", f"paths.root={tmp_path}"))
    assert metrics.read_bytes() == b"{}"


@pytest.mark.parametrize(
    ("where", "own"),
    [("outputs/course/digits", True), ("outputs/course/digits/model.json", True), ("elsewhere", False)],
)
def test_a_test_of_a_saved_model_adds_to_the_metrics_of_its_training(where, own, tmp_path, monkeypatch):
    folder = tmp_path / "outputs" / "course" / "digits"
    write_bytes(folder / "metrics.json", b'{"valid_nats": 1.5, "heldout_nats": 9.0, "seed": 4}')
    monkeypatch.setitem(table.RUN, "digits", lambda _: {"heldout_nats": 2.0})
    run(config_of("stage=course", "lesson=digits", f"course.model={tmp_path / where}", f"paths.root={tmp_path}"))
    found = json.loads((folder / "metrics.json").read_text())
    if own:
        assert found == {"valid_nats": 1.5, "heldout_nats": 2.0, "seed": 4}
    else:
        assert {name: found[name] for name in ("heldout_nats", "seed", "quick")} == {
            "heldout_nats": 2.0, "seed": 0, "quick": False,
        }  # fmt: skip
        assert "valid_nats" not in found


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            ("lesson=next_character", "course.translate=a.txt"),
            r"course\.translate is not read by lesson=next_character",
        ),
        (("lesson=recurrence", "course.heldout=a.txt"), r"heldout is not read by lesson=recurrence, but by digits"),
        (("course.text=a",), r"course\.text is not read without lesson=NAME"),
        (
            ("lesson=next_character", "course.model=.", "course.minutes=1"),
            r"minutes is not read with course\.model",
        ),
        (("lesson=next_character", "course.heldout=nowhere.txt"), r"course\.heldout=nowhere\.txt is not there"),
    ],
)
def test_options_that_a_lesson_does_not_read_are_refused(typed, said):
    with pytest.raises(UserError, match=said):
        check(config_of("stage=course", *typed))


def test_what_a_lesson_reads_are_options():
    names = {one.name for one in fields(CourseOptions)}
    for lesson, read in READS.items():
        assert lesson in LESSONS
        assert set(read) <= names, lesson
