"""Back-propagation through time by hand is autograd's, and gradients shrink and grow at the rate of the theory."""

import math

import pytest
import torch

from kagglepipe.course.gradients import (
    at_end,
    backward,
    cell_gradients,
    difference_from_autograd,
    forward,
    largest_singular_values,
    one_step,
    random_network,
    run,
    slope,
)
from kagglepipe.course.lesson import Lesson
from kagglepipe.models.recurrent import Recurrent, truncated
from kagglepipe.options import CourseOptions


@pytest.mark.parametrize("seed", range(3))
def test_sums_over_instants_equal_autograd(seed):
    assert difference_from_autograd(seed) < 1e-10


@pytest.mark.parametrize("identity", [False, True])
def test_gradients_of_states_equal_autograd(identity):
    x, U, W = random_network(0, 0.9)
    S = forward(x, U, W.requires_grad_(), identity=identity)
    last = torch.randn_like(S[-1])
    wanted = torch.autograd.grad((S[-1] * last).sum(), S[1:])
    found, _, _ = backward(x, S, at_end(last), W, identity=identity)
    torch.testing.assert_close(found, torch.stack(wanted), rtol=0, atol=1e-10)


@pytest.mark.parametrize("scale", [0.5, 1.5])
def test_the_slope_is_log_s_for_the_identity_and_smaller_where_tanh_saturates(scale):
    x, U, W = random_network(1, scale)
    slopes = {}
    for identity in (True, False):
        S = forward(x, U, W, identity=identity)
        slopes[identity] = slope(
            backward(x, S, at_end(torch.randn_like(S[-1])), W, identity=identity)[0].norm(dim=(1, 2))
        )
    assert slopes[True] == pytest.approx(math.log(scale), rel=0.01)
    assert slopes[False] < slopes[True] - 0.1


def test_no_gradient_exceeds_the_largest_singular_value():
    x, U, W = random_network(2, 1.5)
    S = forward(x, U, W)
    last = torch.randn_like(S[-1])
    norms = backward(x, S, at_end(last / last.norm()), W)[0].norm(dim=(1, 2))
    bound = largest_singular_values(S, W)
    assert (norms <= bound * (1 + 1e-9)).all()
    assert bound[-1] == pytest.approx(1)


def test_the_last_k_instants_are_truncated_back_propagation():
    x, U, W = random_network(3, 1.0)
    module = Recurrent(U.shape[1], len(W), cell="elman").double()
    weight_U, weight_W, _, _ = module.rnn.all_weights[0]
    weight_U.data, weight_W.data = U, W
    *_, chunk = truncated(module, x.transpose(0, 1), None, 20)
    last = torch.randn_like(chunk.states[:, -1])
    wanted = torch.autograd.grad((chunk.states[:, -1] * last).sum(), weight_W)[0]
    _, found, _ = backward(x, forward(x, U, W), at_end(last), W)
    torch.testing.assert_close(found[-20:].sum(dim=0), wanted, rtol=0, atol=1e-10)


def test_an_open_forget_gate_keeps_the_gradient_and_a_half_open_one_does_not():
    x, _, _ = random_network(4, 1.0)
    ratios = []
    for bias in (0.0, 5.0):
        torch.manual_seed(0)
        _, of_c = cell_gradients("lstm", x, forget_bias=bias)
        ratios.append(float(of_c[0] / of_c[-1]))
    assert ratios[0] < 1e-10
    assert ratios[1] > 0.1


def test_a_clipped_step_goes_down_where_the_whole_one_explodes():
    step = one_step(0)
    assert step["clipped"] < step["before"] < step["after"]


def test_the_lesson_reports_the_slopes(tmp_path):
    metrics = run(Lesson(CourseOptions(quick=True), tmp_path, torch.device("cpu")))
    assert metrics["slopes"]["identity, s = 1.5"] == pytest.approx(math.log(1.5), rel=0.01)
    assert (tmp_path / "gradients.png").is_file()
