"""Networks stop when the criterion says so, with the settings that the lesson says."""

import numpy as np
import pytest
import torch

from kagglepipe.course.lesson import Lesson
from kagglepipe.course.long_lags import KINDS, SETTINGS, SMALL, Network, learn, run
from kagglepipe.models.recurrent import Recurrent
from kagglepipe.options import CourseOptions
from kagglepipe.samples.long_lags import TASKS, adding


def test_every_task_has_its_settings():
    assert list(SETTINGS) == list(TASKS)
    for name, task in TASKS.items():  # logits become probabilities where the answer is one of several symbols
        assert SETTINGS[name].softmax == (task.draw(np.random.default_rng(0), 3).truth.shape[2] > 1)


def test_gates_are_initialised_as_the_settings_say():
    like = adding(np.random.default_rng(0), 2)
    networks = {kind: Network(SETTINGS["adding"], kind, like) for kind in KINDS}
    for kind, forget in (("LSTM", 5), ("LSTM, forget bias 1", 1)):
        _, W, b, _ = networks[kind].recurrent.rnn.all_weights[0]
        assert b.tolist() == [-3] * 16 + [forget] * 16 + [0] * 32
        torch.testing.assert_close(W[:16] @ W[:16].T, SMALL**2 * torch.eye(16))
    assert networks["Elman"].recurrent.output_size == 32
    weights = {kind: sum(one.numel() for one in networks[kind].parameters()) for kind in KINDS}
    assert weights["Elman"] == pytest.approx(weights["LSTM"], rel=0.2)
    assert isinstance(networks["LSTM"].recurrent, Recurrent)


def test_two_sequences_are_soon_told_apart():
    found = learn("two sequences", "LSTM", 0, 3000)
    assert found["sequences"] is not None
    assert found["sequences"] % 200 == 0
    assert found["wrong_of_fresh"] < 20


def test_a_task_that_is_not_solved_says_so():
    found = learn("adding", "Elman", 0, 240)
    assert found["sequences"] is None
    assert found["wrong_of_fresh"] > 1000
    assert learn("adding", "Elman", 0, 240) == found  # the seed determines it


@pytest.mark.slow  # starts processes
def test_the_lesson_compares_all_kinds(tmp_path):
    metrics = run(Lesson(CourseOptions(quick=True), tmp_path, torch.device("cpu")))
    assert list(metrics["tasks"]) == ["Reber grammar", "two sequences"]
    assert set(metrics["tasks"]["two sequences"]) == {"paper", *KINDS}
    assert metrics["tasks"]["two sequences"]["LSTM"]["median"] <= 2000
    assert (tmp_path / "long_lags.png").is_file()
