"""Recurrent networks: the Elman network, LSTM and GRU, as equations and as torch's fused kernels.

Each `*_step` is one time step of a cell, to be read and checked; the fused kernels are faster and compute the same, up
to rounding, from the same parameters. In torch's names U is `weight_ih` (input to hidden), W is `weight_hh` (hidden to
hidden), each with the matrices of a cell's gates stacked, and b and d are `bias_ih` and `bias_hh`; for Elman and LSTM
only the sum b + d matters.

Shapes: B sequences, T time steps (frames), F features a step, H hidden units, O outputs, C channels.
"""

from collections.abc import Callable, Iterator
from functools import partial
from operator import itemgetter
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from kagglepipe.errors import UserError

# The state carried between steps: hidden state S of Elman and GRU; hidden state and cell (h, c) of LSTM. Each tensor is
# (B, H) for one layer in one direction, and (layers · directions, B, H) for a network, as in torch: layer by layer, the
# forward direction before the backward one.
State: TypeAlias = Tensor | tuple[Tensor, Tensor]
Step = Callable[..., State]


def elman_step(x: Tensor, S: Tensor, U: Tensor, W: Tensor, b: Tensor) -> Tensor:
    """Compute one step of an Elman network. Elman 1990, "Finding structure in time".

        S_t = tanh(U x_t + W S_{t-1} + b)

    x: (B, F). S: (B, H), the previous state. U: (H, F). W: (H, H). b: (H,). Returns the new state (B, H).
    """
    return torch.tanh(x @ U.T + S @ W.T + b)


def lstm_step(x: Tensor, state: tuple[Tensor, Tensor], U: Tensor, W: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Compute one step of an LSTM with forget gates.

        i, f, o = σ(U x_t + W h_{t-1} + b)     input, forget and output gate, each with its own U, W, b
        g = tanh(U x_t + W h_{t-1} + b)        candidate
        c_t = f ⊙ c_{t-1} + i ⊙ g              cell
        h_t = o ⊙ tanh(c_t)                    hidden state

    Hochreiter & Schmidhuber 1997, "Long short-term memory"; forget gates: Gers, Schmidhuber & Cummins 2000, "Learning
    to forget". The cell is a sum, so that its gradient decays with f only, not with W at each step.

    x: (B, F). state: (h, c), each (B, H). U: (4H, F), W: (4H, H), b: (4H,), stacked in the order i, f, g, o.
    Returns the new (h, c).
    """
    h, c = state
    i, f, g, o = lstm_gates(x, h, U, W, b)
    c = f * c + i * g
    h = o * torch.tanh(c)
    return h, c


def lstm_gates(x: Tensor, h: Tensor, U: Tensor, W: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute i, f, g, o (B, H) of `lstm_step` from its inputs."""
    a_i, a_f, a_g, a_o = (x @ U.T + h @ W.T + b).chunk(4, dim=1)
    return torch.sigmoid(a_i), torch.sigmoid(a_f), torch.tanh(a_g), torch.sigmoid(a_o)


def gru_step(x: Tensor, S: Tensor, U: Tensor, W: Tensor, b: Tensor, d: Tensor) -> Tensor:
    """Compute one step of a gated recurrent unit (GRU).

        r, z = σ(U x_t + b + W S_{t-1} + d)          reset and update gate, each with its own U, W, b, d
        n = tanh(U x_t + b + r ⊙ (W S_{t-1} + d))    candidate
        S_t = (1 - z) ⊙ n + z ⊙ S_{t-1}              hidden state

    Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder", in the variant of torch and cuDNN:
    r scales W S + d, where the paper scales S, so that b and d cannot be added beforehand.

    x: (B, F). S: (B, H). U: (3H, F), W: (3H, H), b and d: (3H,), stacked in the order r, z, n. Returns the new S.
    """
    x_r, x_z, x_n = (x @ U.T + b).chunk(3, dim=1)
    s_r, s_z, s_n = (S @ W.T + d).chunk(3, dim=1)
    r = torch.sigmoid(x_r + s_r)  # reset gate
    z = torch.sigmoid(x_z + s_z)  # update gate
    n = torch.tanh(x_n + r * s_n)  # candidate
    return (1 - z) * n + z * S


class Cell(NamedTuple):
    """A recurrent cell. fused: torch's module of it. step: its equations, (x, state, *weights) -> state."""

    fused: type[nn.RNNBase]
    step: Step


CELLS = {"elman": Cell(nn.RNN, elman_step), "lstm": Cell(nn.LSTM, lstm_step), "gru": Cell(nn.GRU, gru_step)}


class Recurrent(nn.Module):
    """Recurrent layers: features (B, T, F) -> hidden states (B, T, H), or (B, T, 2H) if bidirectional, forward first.

    cell: `elman`, `lstm` or `gru`. dropout: between layers, in training. fused: torch's kernels; False: the equations
    above, with the same parameters and, up to rounding, the same results. Raises UserError for an unknown cell.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        *,
        cell: str = "lstm",
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        fused: bool = True,
    ) -> None:
        super().__init__()
        if cell not in CELLS:
            raise UserError(f"cell={cell} is unknown; known are: {', '.join(CELLS)}")
        self.cell = cell
        self.fused = fused
        self.directions = 2 if bidirectional else 1
        self.rnn = CELLS[cell].fused(
            inputs, hidden, layers, batch_first=True, bidirectional=bidirectional,
            dropout=dropout if layers > 1 else 0.0,  # else torch warns
        )  # fmt: skip
        initialise(self.rnn)

    @property
    def output_size(self) -> int:
        """Size of a step's output: H, or 2H if bidirectional."""
        return int(self.rnn.hidden_size * self.directions)

    def encode(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute `forward` from a zero state, without the final state: (B, T, F) -> (B, T, H or 2H)."""
        states, _ = self(features, lengths)
        return states

    def activity(self, features: Tensor) -> dict[str, Tensor]:
        """States of the last layer, forward, over a sequence (1, T, F), and gates of one LSTM layer: name -> (T, H)."""
        states = self.encode(features)[0, :, : self.rnn.hidden_size]
        if self.cell != "lstm" or self.rnn.num_layers > 1:  # gates follow from the layer's inputs and its own states
            return {"state": states}
        before = F.pad(states[:-1], (0, 0, 1, 0))
        i, f, _, o = lstm_gates(features[0], before, *self._weights(0))
        return {"input gate": i, "forget gate": f, "output gate": o, "state": states}

    def forward(
        self, features: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Return the last layer's states (B, T, H or 2H) and the final state of all layers, at each sequence's end.

        features: (B, T, F). lengths: (B,) integers in 1…T, unsorted, on the CPU if possible, where they are read; None:
        all T. Padding beyond them has no influence; its states are zero. state: initial state, see `State`; None: zero.
        Raises ValueError for features, lengths or a state of another shape, or a length outside 1…T.
        """
        self._check(features, state)
        batch, steps, _ = features.shape
        lengths = _checked_lengths(lengths, batch, steps)
        states, state = (self._fused if self.fused else self._written)(features, lengths, state)
        return states, state

    def _check(self, features: Tensor, state: State | None) -> None:
        if features.ndim != 3 or features.shape[2] != self.rnn.input_size or 0 in features.shape:
            raise ValueError(f"features are {tuple(features.shape)}; needed are (B, T, {self.rnn.input_size})")
        if state is not None:
            wanted, found = _shapes(self._zeros(features)), _shapes(state)
            if found != wanted:
                raise ValueError(f"the state is {found}; {self.cell} needs {wanted}")

    def _fused(self, features: Tensor, lengths: Tensor, state: State | None) -> tuple[Tensor, State]:
        steps = features.shape[1]
        if bool((lengths == steps).all()):  # without padding, packing would only cost time
            states, state = self.rnn(features, state)
            return states, state
        packed = pack_padded_sequence(features, lengths, batch_first=True, enforce_sorted=False)
        packed, state = self.rnn(packed, state)
        states, _ = pad_packed_sequence(packed, batch_first=True, total_length=steps)
        return states, state

    def _written(self, features: Tensor, lengths: Tensor, state: State | None) -> tuple[Tensor, State]:
        mask = step_mask(lengths, features)
        states = features.masked_fill(~mask[..., None], 0)  # NaN in the padding would reach gradients
        before = self._zeros(features) if state is None else state
        ends = []
        for layer in range(self.rnn.num_layers):
            if layer:
                states = F.dropout(states, self.rnn.dropout, self.training)
            passes = []
            for direction in range(self.directions):
                k = layer * self.directions + direction
                first = _each(itemgetter(k), before)
                passes.append(unroll(CELLS[self.cell].step, states, first, self._weights(k), mask, direction == 1))
            states = torch.cat([outputs for outputs, _ in passes], dim=2)
            ends += [end for _, end in passes]
        return states, _each(lambda *parts: torch.stack(parts), *ends)

    def _weights(self, k: int) -> tuple[Tensor, ...]:
        """Weights that the step function takes for layer · direction k."""
        U, W, b, d = self.rnn.all_weights[k]
        return (U, W, b, d) if self.cell == "gru" else (U, W, b + d)

    def _zeros(self, features: Tensor) -> State:
        zeros = features.new_zeros(self.rnn.num_layers * self.directions, features.shape[0], self.rnn.hidden_size)
        return (zeros, zeros) if self.cell == "lstm" else zeros


class ElmanNetwork(nn.Module):
    """Simple recurrent network: S_t = tanh(U x_t + W S_{t-1} + b), O_t = V S_t. Elman 1990.

    features (B, T, F) -> outputs (B, T, O), zero in the padding, and the final state (1, B, H).
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, *, fused: bool = True) -> None:
        super().__init__()
        self.recurrent = Recurrent(inputs, hidden, cell="elman", fused=fused)
        self.V = nn.Linear(hidden, outputs, bias=False)

    def forward(
        self, features: Tensor, lengths: Tensor | None = None, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        states, state = self.recurrent(features, lengths, state)
        return self.V(states), state


@torch.no_grad()
def initialise(rnn: nn.RNNBase) -> None:
    """Initialise W orthogonal (Saxe et al. 2014), U by Xavier (Glorot & Bengio 2010), gate by gate; biases 0.

    The bias of an LSTM's forget gate is 1, so that gradients pass from the first batch on (Gers et al. 2000;
    Jozefowicz et al. 2015). torch adds two biases: the 1 is in b.
    """
    size = rnn.hidden_size
    for U, W, b, d in rnn.all_weights:
        for gate in U.split(size):
            nn.init.xavier_uniform_(gate)
        for gate in W.split(size):
            nn.init.orthogonal_(gate)
        nn.init.zeros_(b)
        nn.init.zeros_(d)
        if isinstance(rnn, nn.LSTM):
            b[size : 2 * size] = 1


def unroll(
    step: Step, features: Tensor, state: State, weights: tuple[Tensor, ...], mask: Tensor, backward: bool = False
) -> tuple[Tensor, State]:
    """Run one layer in one direction: states (B, T, H) and the final state.

    features: (B, T, F). state: initial state, tensors (B, H). mask: (B, T) bool, False for padding, which leaves the
    state unchanged and whose states are zero. backward: from the last step to the first (Schuster & Paliwal 1997,
    "Bidirectional recurrent neural networks"), starting at each sequence's own end.
    """
    states = []
    order = range(features.shape[1])
    for t in reversed(order) if backward else order:
        after = step(features[:, t], state, *weights)
        state = _each(partial(torch.where, mask[:, t, None]), after, state)
        states.append(state[0] if isinstance(state, tuple) else state)
    in_time = torch.stack(states[::-1] if backward else states, dim=1)
    return in_time.masked_fill(~mask[..., None], 0), state


def detach(state: State) -> State:
    """Detach a state from the graph, so that no gradient flows back through it."""
    return _each(lambda part: part.detach(), state)


class Chunk(NamedTuple):
    """Up to t consecutive steps of B sequences.

    start: index of the first step. states: (B, t, H). lengths: (B,), 0…t steps of each sequence. state: final state,
    detached; of a sequence that has ended, its state at its end.
    """

    start: int
    states: Tensor
    lengths: Tensor
    state: State


def truncated(
    module: Recurrent, features: Tensor, lengths: Tensor | None, steps: int, state: State | None = None
) -> Iterator[Chunk]:
    """Yield chunks for truncated backpropagation through time: the state is carried over, gradients are not.

    States equal those of one pass over all T steps; gradients end at a chunk's first step, as in BPTT(h; h') of
    Williams & Peng 1990 with h = h' = steps. Chunks are lazy: parameters may be updated after each.

    features: (B, T, F). lengths: (B,), see `Recurrent.forward`; the last chunk ends with the longest sequence.
    steps: length of a chunk. Raises ValueError for steps < 1, or a bidirectional module.
    """
    if steps < 1 or module.directions > 1:
        raise ValueError(f"{steps} steps, {module.directions} directions; needed are 1 or more steps, one direction")
    batch, total, _ = features.shape
    lengths = _checked_lengths(lengths, batch, total)
    for start in range(0, int(lengths.max()), steps):
        chunk = features[:, start : start + steps]
        chunk_lengths = (lengths - start).clamp(0, chunk.shape[1])
        states, state = _advance(module, chunk, chunk_lengths, state)
        state = detach(state)
        yield Chunk(start, states, chunk_lengths, state)


def _advance(module: Recurrent, features: Tensor, lengths: Tensor, state: State | None) -> tuple[Tensor, State]:
    """Apply `module` with lengths that may be 0: such sequences have zero states and keep their final state."""
    live = lengths.nonzero().squeeze(1)
    if state is None or len(live) == len(lengths):  # no sequence has ended before the first chunk
        states, state = module(features, lengths, state)
        return states, state
    rows = live.to(features.device)
    some, after = module(features[rows], lengths[live], _each(lambda part: part[:, rows], state))
    states = some.new_zeros(len(lengths), *some.shape[1:]).index_copy(0, rows, some)
    return states, _each(lambda old, new: old.index_copy(1, rows, new), state, after)


def pool(values: Tensor, lengths: Tensor | None, how: str) -> Tensor:
    """Pool states or logits over time: (B, T, C) -> (B, C).

    lengths: (B,) integers in 1…T; None: all T. how: `mean`, `max` or `last` of the steps within the lengths; the last
    state of a backward direction has seen one step only.
    Raises ValueError for lengths of another shape or outside 1…T, UserError for an unknown `how`.

    >>> pool(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([2]), "mean")
    tensor([[2.]])
    """
    if how not in POOLS:
        raise UserError(f"pooling={how} is unknown; known are: {', '.join(POOLS)}")
    batch, steps, _ = values.shape
    lengths = _checked_lengths(lengths, batch, steps)
    return POOLS[how](values, lengths.to(values.device), step_mask(lengths, values)[..., None])


def _mean(values: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
    return values.masked_fill(~mask, 0).sum(dim=1) / lengths[:, None]


def _last(values: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
    return values[torch.arange(len(values), device=values.device), lengths - 1]


def _max(values: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
    return values.masked_fill(~mask, -torch.inf).max(dim=1).values


POOLS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"mean": _mean, "last": _last, "max": _max}


def _checked_lengths(lengths: Tensor | None, batch: int, steps: int) -> Tensor:
    """Return lengths (B,) on the CPU, all `steps` for None. Raises ValueError unless integers in 1…steps."""
    if lengths is None:
        return torch.full((batch,), steps)
    if lengths.shape != (batch,) or lengths.is_floating_point():
        raise ValueError(f"lengths are {lengths.dtype} {tuple(lengths.shape)}; needed are {batch} integers")
    lengths = lengths.to("cpu", torch.int64)
    if int(lengths.min()) < 1 or int(lengths.max()) > steps:
        raise ValueError(f"lengths go from {lengths.min()} to {lengths.max()}; needed are 1 to {steps}")
    return lengths


def step_mask(lengths: Tensor, like: Tensor) -> Tensor:
    """Mask (B, T) bool of the steps of `like` (B, T, …) within the lengths (B,)."""
    return torch.arange(like.shape[1], device=like.device) < lengths.to(like.device)[:, None]


def _shapes(state: State) -> list[tuple[int, ...]]:
    return [tuple(part.shape) for part in (state if isinstance(state, tuple) else (state,))]


def _each(function: Callable[..., Tensor], *states: State) -> State:
    """Apply `function` to the tensors of one or more states: to all S, or to all h and to all c."""
    if isinstance(states[0], tuple):
        h, c = (function(*parts) for parts in zip(*states, strict=True))
        return h, c
    return function(*states)
