"""LeNet-5 is as the paper has it, and the pictures show what was wrong."""

import numpy as np
import pytest
import torch

from kagglepipe.course import digits
from kagglepipe.course.digits import NETWORKS, lenet5, run
from kagglepipe.course.lesson import Lesson
from kagglepipe.options import CourseOptions


def test_lenet_5_has_the_layers_of_the_paper():
    """Its table: S2 14×14×6, S4 5×5×16, C5 120, F6 84; C1 has 156 weights, C5 48,120 and F6 10,164."""
    network, x, shapes = lenet5(), torch.zeros(1, 1, 28, 28), []
    for layer in network:
        x = layer(x)
        shapes.append(tuple(x.shape[1:]))
    assert [shapes[2], shapes[5], shapes[8], shapes[9], shapes[-1]] == [(6, 14, 14), (16, 5, 5), (120,), (84,), (10,)]
    counts = [sum(one.numel() for one in layer.parameters()) for layer in network if list(layer.parameters())]
    assert (counts[0], counts[2], counts[3]) == (156, 48_120, 10_164)
    assert sum(counts) == 61_706


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_answer_with_ten_numbers_a_digit(name):
    assert NETWORKS[name]()(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


def test_the_lesson_tests_both_networks_plain_and_augmented(tmp_path, monkeypatch):
    monkeypatch.setattr(digits, "WIDTH", 4)
    metrics = run(Lesson(CourseOptions(quick=True), tmp_path, torch.device("cpu")))
    assert metrics["tested_on"] == 359
    assert [list(row) for row in metrics["accuracy"].values()] == [[100]] * 4
    assert min(row[100] for row in metrics["accuracy"].values()) > 0.2  # a tenth is chance
    assert all((tmp_path / name).is_file() for name in ("curves.png", "wrong.png"))


def test_all_digits_are_learnt_for_as_long_as_the_size_that_they_fall_short_of(tmp_path, monkeypatch):
    fitted, some = [], digits.Digits(np.zeros((400, 28, 28), np.uint8), np.arange(400) % 10)
    monkeypatch.setattr(digits, "read_digits", lambda source: some)
    monkeypatch.setattr(digits, "fit", lambda *_, name, epochs, **__: fitted.append((name.split(", ")[-1], epochs)))
    run(Lesson(CourseOptions(), tmp_path, torch.device("cpu")))
    assert fitted == [("100 digits", 120), ("320 digits", 40)] * 4


def test_the_wrong_digits_stand_with_the_surest_first(tmp_path, monkeypatch):
    shown = []

    class Axis:
        def axis(self, _):
            pass

        def imshow(self, image, **_):
            shown.append(int(image[0, 0]))

        def set_title(self, text, **_):
            shown.append(text)

    class Picture:
        def __init__(self, *arguments, **options):
            pass

        def __enter__(self):
            return None, np.array([[Axis() for _ in range(3)]])

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(digits, "picture", Picture)
    images = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((1, 28, 28), np.uint8)
    probs = np.array([[0.6, 0.4], [0.3, 0.7], [0.1, 0.9], [0.2, 0.8]])
    digits.draw_wrong(digits.Digits(images, np.array([0, 0, 0, 1])), probs, tmp_path / "a.png")
    assert shown == [2, "0 → 1  0.90", 1, "0 → 1  0.70"]
