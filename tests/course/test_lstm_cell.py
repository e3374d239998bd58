"""The whole cell is the library's, and each part that is left out is the one that is named."""

import numpy as np
import pytest
import torch

from kagglepipe.course.lesson import Lesson
from kagglepipe.course.lstm_cell import HIDDEN, PARTS, STEPS, Network, Signals, gates, keep_and_show, run, step
from kagglepipe.models.recurrent import lstm_step
from kagglepipe.options import CourseOptions


def weights():
    torch.manual_seed(0)
    return torch.randn(12, 2), torch.randn(12, 3), torch.randn(12)


def states():
    return torch.randn(4, 2), (torch.randn(4, 3), torch.randn(4, 3))


def test_the_whole_cell_is_that_of_the_library():
    x, state = states()
    for found, wanted in zip(step(x, state, *weights()), lstm_step(x, state, *weights()), strict=True):
        torch.testing.assert_close(found, wanted)


def test_parts_are_left_out_as_named():
    x, (h, c) = states()
    i, f, g, o = gates(x, h, *weights())

    def without(part):
        return step(x, (h, c), *weights(), without=part)

    torch.testing.assert_close(without("input gate")[1], f * c + g)
    torch.testing.assert_close(without("forget gate")[1], c + i * g)
    torch.testing.assert_close(without("own forget gate")[1], (1 - i) * c + i * g)
    torch.testing.assert_close(without("input activation")[1], f * c + i * torch.atanh(g), rtol=0, atol=1e-2)
    torch.testing.assert_close(without("output gate")[0], torch.tanh(f * c + i * g))
    torch.testing.assert_close(without("output activation")[0], o * (f * c + i * g))
    results = [torch.cat(without(part)) for part in PARTS]
    assert all(not torch.equal(one, other) for k, one in enumerate(results) for other in results[:k])


def test_what_was_written_last_is_told_where_it_is_asked_for():
    x, answers = keep_and_show(np.random.default_rng(0), 50)
    assert x.shape == (50, STEPS, 3)
    for signal, answer in zip(x, answers[:, :, 0], strict=True):
        kept = 0.0
        for (value, write, show), told in zip(signal.tolist(), answer.tolist(), strict=True):
            kept = value if write else kept
            assert told == pytest.approx(kept if show else 0)


def test_a_network_of_ideal_gates_solves_the_task():
    network = Network("nothing")
    U, W, b, d = network.recurrent.rnn.all_weights[0]
    with torch.no_grad():
        for one in (U, W, b, d):
            one.zero_()
        # small numbers, where tanh is the identity: i opens at `write`, f closes there, o opens at `show`
        for gate, (mark, sign, bias) in enumerate([(1, 1, -20), (1, -1, 20), (None, 0, 0), (2, 1, -20)]):
            b[gate * HIDDEN] = bias
            if mark is not None:
                U[gate * HIDDEN, mark] = 40 * sign
        U[2 * HIDDEN, 0] = 0.01
        network.V.weight.zero_()
        network.V.bias.zero_()
        network.V.weight[0, 0] = 100
    x, answers = keep_and_show(np.random.default_rng(1), 20)
    torch.testing.assert_close(network(x), answers, rtol=0, atol=1e-3)


def test_batches_are_new_in_each_epoch_and_the_same_again():
    signals = Signals(2, seed=0)
    (first, _), (second, _) = signals(1)
    assert not torch.equal(first, second)
    assert torch.equal(next(iter(signals(1)))[0], first)
    assert not torch.equal(next(iter(signals(2)))[0], first)


def test_the_lesson_tries_every_part(tmp_path):
    metrics = run(Lesson(CourseOptions(quick=True), tmp_path, torch.device("cpu")))
    assert list(metrics["rms_errors"]) == list(PARTS)
    assert (tmp_path / "gates.png").is_file()
