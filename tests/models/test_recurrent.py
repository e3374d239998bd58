"""What is written from the equations equals what torch computes, and no padding is ever seen."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from kagglepipe.errors import UserError
from kagglepipe.models.recurrent import (
    CELLS,
    POOLS,
    ElmanNetwork,
    Recurrent,
    State,
    detach,
    gru_step,
    lstm_gates,
    lstm_step,
    pool,
    truncated,
)

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


@st.composite
def shapes(draw: st.DrawFn, directions: tuple[bool, ...] = (False, True)) -> dict[str, Any]:
    """A network's options, and lengths of a batch for it; also seeds what is drawn from torch."""
    batch, steps = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    torch.manual_seed(draw(st.integers(0, 2**32 - 1)))
    return {
        "options": {
            "inputs": draw(st.integers(1, 3)),
            "hidden": draw(st.integers(1, 4)),
            "cell": draw(st.sampled_from(list(CELLS))),
            "layers": draw(st.integers(1, 3)),
            "bidirectional": draw(st.sampled_from(directions)),
        },
        "lengths": torch.tensor(draw(st.lists(st.integers(1, steps), min_size=batch, max_size=batch))),
        "steps": steps,
        "dtype": draw(st.sampled_from([torch.float32, torch.float64])),
    }


def tensors(state: State) -> tuple[Tensor, ...]:
    """The tensors in a state, whichever cell it is of."""
    return state if isinstance(state, tuple) else (state,)


def random_features(shape: dict[str, Any]) -> Tensor:
    """(B, T, F)"""
    return torch.randn(len(shape["lengths"]), shape["steps"], shape["options"]["inputs"], dtype=shape["dtype"])


def random_state(module: Recurrent, batch: int, dtype: torch.dtype = torch.float32) -> State:
    """A state that was not zero, whose gradient can be asked for."""
    size = (module.rnn.num_layers * module.directions, batch, module.rnn.hidden_size)
    parts = tuple(torch.randn(size, dtype=dtype).requires_grad_() for _ in range(2 if module.cell == "lstm" else 1))
    return parts if len(parts) == 2 else parts[0]


def lively(module: Recurrent) -> Recurrent:
    """With biases that differ, so that none can be forgotten or taken for another."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "bias" in name:
                parameter.normal_()
    return module


def pair(options: dict[str, Any], dtype: torch.dtype) -> tuple[Recurrent, Recurrent]:
    """The same network, fused and written."""
    fused = lively(Recurrent(**options)).to(dtype)
    written = Recurrent(**options, fused=False).to(dtype)
    written.load_state_dict(fused.state_dict())
    return fused, written


def results_and_gradients(module: Recurrent, features: Tensor, lengths: Tensor | None, state: State) -> list[Tensor]:
    """Outputs, final state and every gradient, for a loss in which each number weighs differently."""
    module.zero_grad()
    leaf = features.clone().requires_grad_()
    before = tuple(part.detach().clone().requires_grad_() for part in tensors(state))
    states, after = module(leaf, lengths, before if isinstance(state, tuple) else before[0])
    loss = sum((part * torch.arange(part.numel()).view_as(part).cos()).sum() for part in (states, *tensors(after)))
    gradients = torch.autograd.grad(loss, [*module.parameters(), leaf, *before])
    return [states.detach(), *(part.detach() for part in tensors(after)), *gradients]


def assert_close(found: Any, expected: Any, tolerance: float) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


# --- the equations ---------------------------------------------------------------------------------------------


def sigmoid(a: float) -> float:
    return 1 / (1 + math.exp(-a))


def test_an_lstm_step_by_hand() -> None:
    """One input, one unit: each gate's sum is its U times 2, plus its W times 0.5, plus its b."""
    U, W = torch.tensor([[1.0], [-1.0], [0.5], [0.25]]), torch.tensor([[2.0], [4.0], [-2.0], [1.0]])
    b = torch.tensor([0.0, 1.0, 0.5, -1.0])
    h, c = lstm_step(torch.tensor([[2.0]]), (torch.tensor([[0.5]]), torch.tensor([[3.0]])), U, W, b)
    cell = sigmoid(1.0) * 3.0 + sigmoid(3.0) * math.tanh(0.5)
    assert_close(c, torch.tensor([[cell]]), 1e-6)
    assert_close(h, torch.tensor([[sigmoid(0.0) * math.tanh(cell)]]), 1e-6)


def test_a_gru_step_by_hand() -> None:
    """One input, one unit; the reset gate scales W S + d = -0.5, the update gate keeps sigmoid(-1) of the state."""
    U, W = torch.tensor([[1.0], [-1.0], [0.25]]), torch.tensor([[-1.0], [1.0], [-0.5]])
    b, d = torch.tensor([0.0, 0.5, 0.1]), torch.tensor([0.5, -2.5, 1.0])
    S = gru_step(torch.tensor([[2.0]]), torch.tensor([[3.0]]), U, W, b, d)
    candidate = math.tanh(0.6 + sigmoid(-0.5) * -0.5)
    assert_close(S, torch.tensor([[(1 - sigmoid(-1.0)) * candidate + sigmoid(-1.0) * 3.0]]), 1e-6)


# --- written equals fused --------------------------------------------------------------------------------------


@given(shapes())
def test_written_and_fused_have_the_same_results_and_every_gradient(shape: dict[str, Any]) -> None:
    fused, written = pair(shape["options"], shape["dtype"])
    features, state = random_features(shape), random_state(fused, len(shape["lengths"]), shape["dtype"])
    for lengths in (None, shape["lengths"]):
        ours, torchs = (results_and_gradients(module, features, lengths, state) for module in (written, fused))
        assert_close(ours, torchs, TOLERANCE[shape["dtype"]])


# --- lengths ---------------------------------------------------------------------------------------------------


@given(shapes(), st.booleans())
def test_a_padded_batch_equals_its_sequences_one_by_one(shape: dict[str, Any], fused: bool) -> None:
    module = lively(Recurrent(**shape["options"], fused=fused)).to(shape["dtype"])
    features, lengths = random_features(shape), shape["lengths"]
    state = random_state(module, len(lengths), shape["dtype"])
    states, after = module(features, lengths, state)
    tolerance = TOLERANCE[shape["dtype"]]
    assert states.shape == (len(lengths), shape["steps"], module.output_size)
    for row, length in enumerate(lengths):
        part = tuple(tensor[:, row : row + 1].contiguous() for tensor in tensors(state))
        alone, end = module(features[row : row + 1, :length], None, part if isinstance(state, tuple) else part[0])
        assert_close(states[row, :length], alone[0], tolerance)
        assert_close([part[:, row : row + 1] for part in tensors(after)], list(tensors(end)), tolerance)
        assert (states[row, length:] == 0).all()


@given(shapes(), st.booleans(), st.sampled_from([1e9, math.nan, math.inf]))
def test_padding_of_any_kind_reaches_neither_results_nor_gradients(
    shape: dict[str, Any], fused: bool, rubbish: float
) -> None:
    module = lively(Recurrent(**shape["options"], fused=fused)).to(shape["dtype"])
    features, lengths = random_features(shape), shape["lengths"]
    state = random_state(module, len(lengths), shape["dtype"])
    spoilt = features.clone()
    spoilt[torch.arange(shape["steps"]) >= lengths[:, None]] = rubbish
    clean = results_and_gradients(module, features, lengths, state)
    assert_close(results_and_gradients(module, spoilt, lengths, state), clean, 1e-12)


@given(shapes(directions=(True,)), st.booleans())
def test_the_backward_direction_is_the_forward_one_of_the_reversed_sequence(shape: dict[str, Any], fused: bool) -> None:
    """One layer: give the forward direction the backward one's weights, and each sequence turned round."""
    options = {**shape["options"], "layers": 1}
    both = lively(Recurrent(**options, fused=fused)).to(shape["dtype"])
    one = Recurrent(**{**options, "bidirectional": False}, fused=fused).to(shape["dtype"])
    weights = both.rnn.state_dict()
    one.rnn.load_state_dict({name: weights[f"{name}_reverse"] for name in one.rnn.state_dict()})
    features, lengths = random_features(shape), shape["lengths"]
    backward = both.encode(features, lengths)[..., options["hidden"] :]
    for row, length in enumerate(lengths):
        turned = one.encode(features[row : row + 1, :length].flip(1))[0].flip(0)
        assert_close(backward[row, :length], turned, TOLERANCE[shape["dtype"]])


LENGTHS = [[0, 3], [4, 1], [-1, 2], [1, 2, 3], [1], [1.0, 2.0], [[1, 2]]]
SIZES = [(3, 2), (2, 3, 4), (0, 3, 2), (2, 0, 2)]


@pytest.mark.parametrize(("size", "lengths"), [((2, 3, 2), one) for one in LENGTHS] + [(size, None) for size in SIZES])
@pytest.mark.parametrize("fused", [True, False])
def test_lengths_and_features_that_do_not_fit_are_refused(size: tuple[int, ...], lengths: Any, fused: bool) -> None:
    what = r"lengths .*needed are" if lengths else r"features are .*needed are \(B, T, 2\)"
    with pytest.raises(ValueError, match=what):
        Recurrent(2, 2, fused=fused)(torch.zeros(size), torch.tensor(lengths) if lengths else None)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_lengths_may_be_small_integers(dtype: torch.dtype) -> None:
    module, features, lengths = Recurrent(2, 2), torch.randn(2, 3, 2), torch.tensor([1, 3])
    assert torch.equal(module.encode(features, lengths.to(dtype)), module.encode(features, lengths))
    chunks = list(truncated(module, features, lengths.to(dtype), 2))
    assert [chunk.lengths.tolist() for chunk in chunks] == [[1, 2], [0, 1]]


# --- state -----------------------------------------------------------------------------------------------------


@given(shapes(directions=(False,)), st.booleans())
def test_frame_by_frame_with_the_state_carried_is_the_whole(shape: dict[str, Any], fused: bool) -> None:
    module = lively(Recurrent(**shape["options"], fused=fused)).to(shape["dtype"])
    features, state = random_features(shape), None
    whole, end = module(features)
    for t in range(shape["steps"]):
        states, state = module(features[:, t : t + 1], None, state)
        assert_close(states[:, 0], whole[:, t], TOLERANCE[shape["dtype"]])
    assert_close(list(tensors(state)), list(tensors(end)), TOLERANCE[shape["dtype"]])


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_a_state_that_does_not_fit_is_refused(cell: str, fused: bool) -> None:
    module = Recurrent(2, 4, cell=cell, layers=2, fused=fused)
    good = torch.zeros(2, 3, 4)
    unfit = [torch.zeros(3, 2, 4), torch.zeros(2, 3, 5), torch.zeros(1, 3, 4), good if cell == "lstm" else (good, good)]
    for state in [*unfit, (good, torch.zeros(3, 2, 4))]:
        with pytest.raises(ValueError, match=f"the state is .*{cell} needs"):
            module(torch.zeros(3, 5, 2), None, state)


# --- what a network is made of ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_blocks_begin_orthogonal_and_input_blocks_at_xaviers_scale(cell: str) -> None:
    torch.manual_seed(0)
    module = Recurrent(40, 24, cell=cell, layers=2, bidirectional=True)
    for U, W, _, _ in module.rnn.all_weights:
        for gate in W.detach().split(24):
            assert_close(gate @ gate.T, torch.eye(24), 1e-5)
        for gate in U.detach().split(24):
            bound = math.sqrt(6 / sum(gate.shape))
            assert 0.98 * bound < gate.abs().max() <= bound


def test_the_forget_gate_begins_at_one_once_and_all_other_biases_at_zero() -> None:
    for _, _, b, d in Recurrent(2, 3, layers=2, bidirectional=True).rnn.all_weights:
        assert (b + d).tolist() == [0] * 3 + [1] * 3 + [0] * 6
    for cell in ("elman", "gru"):
        biases = [p for name, p in Recurrent(2, 3, cell=cell).named_parameters() if "bias" in name]
        assert all((bias == 0).all() for bias in biases)


@pytest.mark.parametrize("fused", [True, False])
def test_dropout_falls_between_layers_in_training_only(fused: bool) -> None:
    """All of it: the second layer sees nothing of the features, the first one everything."""
    torch.manual_seed(0)
    module = Recurrent(3, 4, layers=2, dropout=1.0, fused=fused)
    one, other = torch.randn(2, 2, 5, 3)
    (states, end), (again, other_end) = module(one), module(other)
    assert torch.equal(states, again)
    assert not torch.equal(end[0][0], other_end[0][0])
    assert torch.equal(end[0][1], other_end[0][1])
    module.eval()
    assert not torch.equal(module.encode(one), module.encode(other))


@pytest.mark.filterwarnings("error")
def test_one_layer_has_no_dropout_and_torch_no_complaint() -> None:
    module, features = Recurrent(2, 2, dropout=0.5), torch.randn(1, 3, 2)
    assert torch.equal(module.encode(features), module.encode(features))


def test_an_unknown_cell_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="cell=lsmt is unknown; known are: elman, lstm, gru"):
        Recurrent(2, 2, cell="lsmt")


# --- Elman's network -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fused", [True, False])
def test_elmans_network_by_its_two_equations(fused: bool) -> None:
    torch.manual_seed(0)
    network = ElmanNetwork(3, 4, 2, fused=fused)
    (U, W, b, d), V = network.recurrent.rnn.all_weights[0], network.V.weight
    features, lengths = torch.randn(2, 5, 3), [5, 2]
    outputs, state = network(features, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        S = torch.zeros(4)
        for t in range(length):
            S = torch.tanh(U @ features[row, t] + W @ S + b + d)
            assert_close(outputs[row, t], V @ S, 1e-5)
        assert_close(state[0, row], S, 1e-5)
        assert (outputs[row, length:] == 0).all()


# --- truncated backpropagation through time --------------------------------------------------------------------


def test_truncated_gradients_of_one_unit_by_hand() -> None:
    """S_t = tanh(u x_t + w S_{t-1}); the loss is S_4, and with chunks of 2 only steps 3 and 4 have a gradient.

    dS_4/dw = (1 - S_4²)(S_3 + w dS_3/dw), and dS_3/dw = (1 - S_3²) S_2, because S_2 counts as given.
    """
    u, w, xs = 0.7, -1.3, [0.5, -0.2, 0.9, 0.4]
    module = Recurrent(1, 1, cell="elman").double()
    with torch.no_grad():
        module.rnn.weight_ih_l0.fill_(u)
        module.rnn.weight_hh_l0.fill_(w)
    features = torch.tensor(xs, dtype=torch.float64).view(1, 4, 1).requires_grad_()
    *_, last = truncated(module, features, None, steps=2)
    last.states[0, -1, 0].backward()

    S = [0.0]
    for x in xs:
        S.append(math.tanh(u * x + w * S[-1]))
    slope_3, slope_4 = 1 - S[3] ** 2, 1 - S[4] ** 2
    assert last.states[0, -1, 0].item() == pytest.approx(S[4])
    assert module.rnn.weight_hh_l0.grad.item() == pytest.approx(slope_4 * (S[3] + w * slope_3 * S[2]))
    assert module.rnn.weight_ih_l0.grad.item() == pytest.approx(slope_4 * (xs[3] + w * slope_3 * xs[2]))
    expected = [0, 0, slope_4 * w * slope_3 * u, slope_4 * u]
    assert features.grad.flatten().tolist() == pytest.approx(expected)


@given(shapes(directions=(False,)), st.integers(1, 8), st.booleans())
def test_chunks_together_are_the_whole(shape: dict[str, Any], steps: int, fused: bool) -> None:
    """States, lengths and state as of one pass; sequences that ended stand still while others go on."""
    module = lively(Recurrent(**shape["options"], fused=fused)).to(shape["dtype"])
    features, lengths = random_features(shape), shape["lengths"]
    state = random_state(module, len(lengths), shape["dtype"])
    whole, end = module(features, lengths, state)
    chunks = list(truncated(module, features, lengths, steps, state))
    together = torch.cat([chunk.states for chunk in chunks], dim=1)
    assert lengths.max() <= together.shape[1] <= shape["steps"]
    assert_close(together, whole[:, : together.shape[1]], TOLERANCE[shape["dtype"]])
    assert_close(list(tensors(chunks[-1].state)), list(tensors(end)), TOLERANCE[shape["dtype"]])
    assert torch.equal(sum(chunk.lengths for chunk in chunks), lengths)
    assert [chunk.start for chunk in chunks] == list(range(0, int(lengths.max()), steps))
    assert not any(part.requires_grad for chunk in chunks for part in tensors(chunk.state))


@given(shapes(directions=(False,)), st.integers(1, 6))
def test_truncated_gradients_are_those_of_separate_passes(shape: dict[str, Any], steps: int) -> None:
    """Sequence by sequence, each stretch a pass of its own from a state that is only a number."""
    module = lively(Recurrent(**shape["options"])).to(shape["dtype"])
    features, lengths = random_features(shape), shape["lengths"]
    weights = torch.randn(shape["steps"], module.output_size, dtype=shape["dtype"])

    for chunk in truncated(module, features, lengths, steps):
        (chunk.states * weights[chunk.start : chunk.start + steps]).sum().backward()
    found = [parameter.grad.clone() for parameter in module.parameters()]

    module.zero_grad()
    for row, length in enumerate(lengths.tolist()):
        state = None
        for start in range(0, length, steps):
            stop = min(start + steps, length)
            states, state = module(features[row : row + 1, start:stop], None, state)
            (states * weights[start:stop]).sum().backward()
            state = detach(state)
    assert_close(found, [p.grad for p in module.parameters()], 10 * TOLERANCE[shape["dtype"]])


def test_parameters_may_be_updated_between_chunks() -> None:
    """And the next chunk is computed with the new ones."""
    torch.manual_seed(0)
    module, features = Recurrent(2, 3), torch.randn(2, 6, 2)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.5)
    state = None
    for chunk in truncated(module, features, None, 2):
        assert_close(chunk.states, module(features[:, chunk.start : chunk.start + 2], None, state)[0], 1e-6)
        state = chunk.state
        optimiser.zero_grad()
        chunk.states.square().sum().backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()


def test_truncation_takes_steps_and_one_direction() -> None:
    with pytest.raises(ValueError, match="0 steps"):
        next(truncated(Recurrent(1, 1), torch.zeros(1, 2, 1), None, 0))
    with pytest.raises(ValueError, match="2 directions"):
        next(truncated(Recurrent(1, 1, bidirectional=True), torch.zeros(1, 2, 1), None, 1))
    with pytest.raises(ValueError, match="lengths go from 3"):
        next(truncated(Recurrent(1, 1), torch.zeros(1, 2, 1), torch.tensor([3]), 1))


# --- many to one -----------------------------------------------------------------------------------------------

BY_HAND = {"mean": lambda rows: rows.mean(dim=0), "last": lambda rows: rows[-1], "max": lambda rows: rows.amax(dim=0)}


@given(st.sampled_from(list(POOLS)), shapes(), st.sampled_from([0.0, 1e9, math.nan, math.inf]))
def test_pooling_is_a_loop_over_real_steps(how: str, shape: dict[str, Any], rubbish: float) -> None:
    values, lengths = random_features(shape), shape["lengths"]
    assert torch.equal(pool(values, None, how), pool(values, torch.full_like(lengths, shape["steps"]), how))
    values[torch.arange(shape["steps"]) >= lengths[:, None]] = rubbish
    values.requires_grad_()
    pooled = pool(values, lengths, how)
    rows = [BY_HAND[how](values[row, :length]) for row, length in enumerate(lengths)]
    assert_close(pooled, torch.stack(rows), TOLERANCE[shape["dtype"]])
    weights = torch.randn_like(pooled)
    found, expected = (torch.autograd.grad((p * weights).sum(), values)[0] for p in (pooled, torch.stack(rows)))
    assert_close(found, expected, TOLERANCE[shape["dtype"]])


def test_pooling_refuses_what_it_does_not_know() -> None:
    with pytest.raises(UserError, match="pooling=median is unknown; known are: mean, last, max"):
        pool(torch.zeros(1, 2, 3), None, "median")
    with pytest.raises(ValueError, match="lengths go from 0"):
        pool(torch.zeros(1, 2, 3), torch.tensor([0]), "mean")


def test_gates_are_those_of_the_steps() -> None:
    torch.manual_seed(0)
    network, x = Recurrent(3, 4), torch.randn(1, 6, 3)
    found = network.activity(x)
    state = (torch.zeros(1, 4), torch.zeros(1, 4))
    for step in range(6):
        i, f, g, o = lstm_gates(x[:, step], state[0], *network._weights(0))
        torch.testing.assert_close(
            (i[0], f[0], o[0]), tuple(found[n][step] for n in ("input gate", "forget gate", "output gate"))
        )
        c = f * state[1] + i * g
        state = (o * torch.tanh(c), c)
        torch.testing.assert_close(state[0][0], found["state"][step])
    assert list(Recurrent(3, 4, layers=2).activity(x)) == list(Recurrent(3, 4, cell="gru").activity(x)) == ["state"]
