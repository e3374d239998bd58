"""A saved model is loaded whole; of files that do not fit, the message says which and why."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from kagglepipe.course.lesson import Lesson
from kagglepipe.course.saved import load, save
from kagglepipe.errors import UserError
from kagglepipe.options import CourseOptions


def linear(about: dict[str, Any]) -> tuple[nn.Linear, nn.Linear]:
    model = nn.Linear(about["inputs"], 2)
    return model, model


def lesson_of(folder: Path) -> Lesson:
    return Lesson(CourseOptions(model=str(folder)), folder, 0, torch.device("cpu"))


@pytest.fixture
def lesson(tmp_path: Path) -> Lesson:
    found = lesson_of(tmp_path)
    save(found, "lines", nn.Linear(3, 2), {"inputs": 3})
    return found


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    lesson, model = lesson_of(tmp_path), nn.Linear(3, 2)
    save(lesson, "lines", model, {"inputs": 3})
    assert torch.equal(load(lesson, "lines", linear).weight, model.weight)


def test_weights_of_another_network_do_not_fit(lesson: Lesson) -> None:
    about = lesson.folder / "model.json"
    about.write_text(json.dumps({"lesson": "lines", "inputs": 4}))
    with pytest.raises(UserError, match=r"model\.safetensors beside it do not fit \(.*size mismatch.*train again$"):
        load(lesson, "lines", linear)


def test_what_the_making_says_keeps_its_words(lesson: Lesson) -> None:
    def refuses(about: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
        raise UserError("no such language")

    with pytest.raises(UserError, match=r"^no such language$"):
        load(lesson, "lines", refuses)


def test_a_network_that_cannot_be_made_is_said(lesson: Lesson) -> None:
    (lesson.folder / "model.json").write_text('{"lesson": "lines", "inputs": -1}')
    with pytest.raises(UserError, match=r"model\.json is not what lesson=lines saves \(.*negative"):
        load(lesson, "lines", linear)


def test_the_file_beside_the_weights_may_be_given(lesson: Lesson) -> None:
    given = replace(lesson, options=CourseOptions(model=str(lesson.folder / "model.json")))
    assert torch.equal(load(given, "lines", linear).weight, load(lesson, "lines", linear).weight)


def test_a_file_without_what_the_making_needs_is_said(lesson: Lesson) -> None:
    (lesson.folder / "model.json").write_text('{"lesson": "lines"}')
    with pytest.raises(UserError, match=r"model\.json is not what lesson=lines saves \('inputs'\)"):
        load(lesson, "lines", linear)
