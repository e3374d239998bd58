"""What a lesson has learned, to be loaded by `course.model=`: weights in safetensors, the rest as JSON."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from kagglepipe.course.lesson import Lesson
from kagglepipe.errors import UserError
from kagglepipe.files import absolute, read_json, write_json
from kagglepipe.models.weights import read_tensors, write_tensors

WEIGHTS, ABOUT = "model.safetensors", "model.json"
Made = TypeVar("Made")


def save(lesson: Lesson, name: str, model: nn.Module, about: dict[str, Any]) -> None:
    """Write the weights of a model and, with the lesson's name, what else is needed to make it again."""
    (lesson.folder / ABOUT).unlink(missing_ok=True)  # the file written last is the proof
    write_tensors(lesson.folder / WEIGHTS, model.state_dict())
    write_json(lesson.folder / ABOUT, {"lesson": name, **about})


def saved_folder(model: str) -> Path:
    """The folder that `course.model` means, which may name the file in it."""
    path = absolute(model)
    return path.parent if path.name == ABOUT else path


def load(lesson: Lesson, name: str, make: Callable[[dict[str, Any]], tuple[Made, nn.Module]]) -> Made:
    """Read what `save` wrote into the folder `course.model`: `make` a model and its network, and load the weights.

    Raises UserError for a folder without it, that of another lesson, or what does not fit; those of `make` pass.
    """
    given = str(lesson.options.model)
    file = saved_folder(given) / ABOUT
    if not file.is_file():
        raise UserError(f"course.model={given} has no {ABOUT}: give a finished lesson's, as outputs/course/{name}")
    about = read_json(file)
    saved = about.get("lesson") if isinstance(about, dict) else None
    if saved != name:
        raise UserError(f"course.model={given} was saved by lesson={saved}, not by {name}: give another folder")
    try:
        made, network = make(about)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{file} is not what lesson={name} saves ({error}): let the lesson train again") from error
    weights = read_tensors(file.with_name(WEIGHTS))
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        what = " ".join(str(error).split())[:200]
        raise UserError(f"{file} and {WEIGHTS} beside it do not fit ({what}): let the lesson train again") from error
    return made
