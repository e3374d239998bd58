"""A digit is given in each way without a loss, and networks have the weights that they share."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from kagglepipe.course import cnn_versus_rnn
from kagglepipe.course.cnn_versus_rnn import NETWORKS, ORDER, WAYS, Cnn, permuted, pixels, rows, run
from kagglepipe.course.lesson import Lesson
from kagglepipe.options import CourseOptions


def images(count=3):
    return torch.randn(count, 28, 28, generator=torch.Generator().manual_seed(0))


def test_rows_and_pixels_come_in_the_order_of_reading():
    x = images()
    assert torch.equal(rows(x)[1, 5], x[1, 5])
    steps = pixels(x)
    assert steps.shape == (3, 196, 1)
    assert float(steps[2, 14 * 3 + 5, 0]) == pytest.approx(float(x[2, 6:8, 10:12].mean()), abs=1e-6)


def test_permuted_pixels_are_the_same_for_every_image_in_one_other_order():
    steps, shuffled = pixels(images()), permuted(images())
    assert sorted(ORDER.tolist()) == list(range(196)) != ORDER.tolist()
    assert torch.equal(shuffled[:, torch.argsort(ORDER)], steps)


def test_the_cnn_sees_the_image_again():
    torch.manual_seed(0)
    cnn, x = Cnn(28), images()
    torch.testing.assert_close(cnn(pixels(x)), cnn.V(cnn.features(F.avg_pool2d(x[:, None], 2))))
    torch.testing.assert_close(cnn(rows(x)), cnn.V(cnn.features(x[:, None])))


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_are_shared_over_places_and_times(name):
    """The same network takes an image of any size, a sequence of any length."""
    torch.manual_seed(0)
    network = NETWORKS[name](1)
    assert network(torch.randn(2, 196, 1)).shape == network(torch.randn(2, 784, 1)).shape == (2, 10)


def test_a_recurrent_network_minds_the_order():
    torch.manual_seed(0)
    network, x = NETWORKS["LSTM"](1), pixels(images())
    assert float((network(x) - network(x.flip(1))).detach().abs().max()) > 1e-3


def test_a_quick_run_takes_fewer_digits_where_there_are_fewer(tmp_path, monkeypatch):
    """Of 240 digits 192 are trained on, and a quick run would take 200."""
    digits = np.random.default_rng(0).integers(0, 256, (240, 784))
    table = pd.DataFrame(digits).add_prefix("pixel")
    table.insert(0, "label", np.arange(240) % 10)
    table.to_csv(tmp_path / "few.csv", index=False)
    monkeypatch.setattr(cnn_versus_rnn, "HIDDEN", 8)
    monkeypatch.setattr(cnn_versus_rnn, "WIDTH", 4)
    run(Lesson(CourseOptions(quick=True, source=str(tmp_path / "few.csv")), tmp_path, torch.device("cpu")))
    assert (tmp_path / "accuracy.png").is_file()


def test_the_lesson_compares_all_networks_given_in_all_ways(tmp_path, monkeypatch):
    monkeypatch.setattr(cnn_versus_rnn, "HIDDEN", 8)
    monkeypatch.setattr(cnn_versus_rnn, "WIDTH", 4)
    metrics = run(Lesson(CourseOptions(quick=True), tmp_path, torch.device("cpu")))
    assert {name: list(row) for name, row in metrics["accuracy"].items()} == {name: list(WAYS) for name in NETWORKS}
    assert metrics["parameters"]["LSTM"]["row by row"] == 4 * 8 * (28 + 8 + 2) + 170
    assert all((tmp_path / name).is_file() for name in ("ways.png", "accuracy.png"))
