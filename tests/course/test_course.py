"""The list of lessons, and what holds for each of them."""

from pathlib import Path

import pytest

from kagglepipe import course
from kagglepipe.course import LESSONS, table
from kagglepipe.errors import UserError
from kagglepipe.tools.course import check
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
