"""Pictures of sweeps: each is drawn, whatever came of the trials."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib")
from kagglepipe.reports.sweeps import (
    Shown,
    axis_of,
    draw_front,
    draw_history,
    draw_importance,
    draw_parallel,
    running_best,
)

TRIALS = [
    Shown(0, (0.5, 3.0), {"model": "a", "lr": 1e-4, "views": 1}),
    Shown(1, (), {"model": "b", "lr": 1e-3, "views": 2}),
    Shown(2, (0.75, 5.0), {"model": "b", "lr": 1e-2, "views": 0}),
]


def colours_of(path: Path) -> int:
    """How many colours a picture has."""
    with Image.open(path) as picture:
        return len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0))


def test_every_picture_is_drawn_and_nothing_else_is_left(tmp_path: Path) -> None:
    draw_history(tmp_path / "history.png", TRIALS, "accuracy", greater_is_better=True)
    draw_parallel(tmp_path / "parallel.png", TRIALS, "accuracy", logs=["lr"])
    draw_importance(tmp_path / "importance.png", {"model": 0.75, "lr": 0.25}, "accuracy")
    draw_front(tmp_path / "front.png", TRIALS, ["accuracy", "seconds"], [0, 2])
    names = ["front.png", "history.png", "importance.png", "parallel.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert all(colours_of(tmp_path / name) > 10 for name in names)


@pytest.mark.parametrize("values", [(0.5, 0.5), (0.0,), (1e-9, 1e-9)])
def test_trials_that_are_all_alike_are_drawn_too(values: tuple[float, ...], tmp_path: Path) -> None:
    alike = [Shown(number, (value,), {"x": 1.0}) for number, value in enumerate(values)]
    draw_history(tmp_path / "history.png", alike, "log loss", greater_is_better=False)
    draw_parallel(tmp_path / "parallel.png", alike, "log loss")
    assert len(list(tmp_path.iterdir())) == 2


def test_axes() -> None:
    assert axis_of([1e-4, 1e-2, 1e-3], log=True).places == pytest.approx([0, 1, 0.5])
    assert axis_of([1e-4, 1e-2, 1e-3], log=True).ticks == [
        (0, "0.0001"), (pytest.approx(0.5), "0.001"), (1, "0.01"),
    ]  # fmt: skip
    assert axis_of([0, 3, 1]).ticks == [(0, "0"), (pytest.approx(1 / 3), "1"), (1, "3")]
    assert axis_of(["b", "a", "b"]).places == [0, 1, 0]
    assert axis_of([2.0, 2.0]).ticks == [(0, "2")]


def test_the_best_so_far() -> None:
    assert running_best([2.0, 3.0, 1.0], greater_is_better=False) == [2.0, 2.0, 1.0]
    assert running_best([], greater_is_better=True) == []
