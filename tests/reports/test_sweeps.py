"""Pictures of sweeps are drawn whatever came of the trials."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib")
from kagglepipe.reports.sweeps import Point, axis_of, draw_front, draw_history, draw_importance, draw_parallel

POINTS = [
    Point(0, (0.5, 3.0), {"model": "a", "lr": 1e-4, "views": 1}),
    Point(1, (), {"model": "b", "lr": 1e-3, "views": 2}),
    Point(2, (0.75, 5.0), {"model": "b", "lr": 1e-2, "views": 0}),
]


def test_every_picture_is_drawn_and_no_other_file_is_left(tmp_path: Path) -> None:
    draw_history(tmp_path / "history.png", POINTS, "accuracy", greater_is_better=True)
    draw_parallel(tmp_path / "parallel.png", POINTS, "accuracy", log_axes=["lr"])
    draw_importance(tmp_path / "importance.png", {"model": 0.75, "lr": 0.25}, "accuracy")
    draw_front(tmp_path / "front.png", POINTS, ["accuracy", "seconds"], [0, 2])
    pictures = sorted(tmp_path.iterdir())
    assert [path.name for path in pictures] == ["front.png", "history.png", "importance.png", "parallel.png"]
    for path in pictures:
        with Image.open(path) as picture:
            assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 10


@pytest.mark.parametrize("values", [(0.5, 0.5), (0.0,), (1e-9, 1e-9)])
def test_equal_trials_are_drawn_too(values: tuple[float, ...], tmp_path: Path) -> None:
    equal = [Point(number, (value,), {"x": 1.0}) for number, value in enumerate(values)]
    draw_history(tmp_path / "history.png", equal, "log loss", greater_is_better=False)
    draw_parallel(tmp_path / "parallel.png", equal, "log loss")
    assert len(list(tmp_path.iterdir())) == 2


def test_axes() -> None:
    assert axis_of([1e-4, 1e-2, 1e-3], log=True).places == pytest.approx([0, 1, 0.5])
    assert axis_of([1e-4, 1e-2, 1e-3], log=True).ticks == [(0, "0.0001"), (pytest.approx(0.5), "0.001"), (1, "0.01")]
    assert axis_of([0, 3, 1]).ticks == [(0, "0"), (pytest.approx(1 / 3), "1"), (1, "3")]
    assert axis_of(["b", "a", "b"]).places == [0, 1, 0]
    assert axis_of([2.0, 2.0]).ticks == [(0, "2")]
