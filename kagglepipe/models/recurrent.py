"""Recurrent networks over sequences of features: Elman, LSTM and GRU, written from their equations and fused.

The equations are here to be read and checked, torch's fused kernels to train with: they compute the same, up to
rounding, from the same parameters. torch stacks a layer's matrices gate on gate; `weight_ih` is U, which meets the
input, and `weight_hh` is W, which meets the state. It keeps two biases, `bias_ih` and `bias_hh`; for Elman and LSTM
only their sum b matters.

B sequences, T steps (frames), F features a step, H hidden units.
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

# The memory between two steps: S of Elman and GRU, (h, c) of LSTM. Each tensor is (B, H) for one layer in one
# direction, and (layers · directions, B, H) for a whole network: the batch comes second, as in torch. A layer's
# backward direction follows its forward one.
State: TypeAlias = Tensor | tuple[Tensor, Tensor]
Step = Callable[..., State]


def elman_step(x: Tensor, S: Tensor, U: Tensor, W: Tensor, b: Tensor) -> Tensor:
    """S_t = f(U x_t + W S_{t-1} + b) with f = tanh. Elman 1990, "Finding structure in time".

    x: (B, F). S: (B, H), the state before. U: (H, F). W: (H, H). b: (H,). Returns (B, H), the state after.
    """
    return torch.tanh(x @ U.T + S @ W.T + b)


def lstm_step(x: Tensor, state: tuple[Tensor, Tensor], U: Tensor, W: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Three sigmoid gates decide what of a tanh candidate enters the cell c, what stays in it, and what shows as h.

    Hochreiter & Schmidhuber 1997, "Long short-term memory"; the forget gate is of Gers, Schmidhuber & Cummins 2000.

    x: (B, F). state: h and c, each (B, H). U: (4H, F), W: (4H, H), b: (4H,), in the order i, f, g, o.
    Returns h and c after the step, each (B, H).
    """
    h, c = state
    a_i, a_f, a_g, a_o = (x @ U.T + h @ W.T + b).chunk(4, dim=1)
    i = torch.sigmoid(a_i)  # input gate
    f = torch.sigmoid(a_f)  # forget gate
    o = torch.sigmoid(a_o)  # output gate
    g = torch.tanh(a_g)  # candidate
    c = f * c + i * g
    h = o * torch.tanh(c)
    return h, c


def gru_step(x: Tensor, S: Tensor, U: Tensor, W: Tensor, b: Tensor, d: Tensor) -> Tensor:
    """A reset gate r and an update gate z choose between the old state and a tanh candidate.

    Cho et al. 2014, "Learning phrase representations", in the form of torch and cuDNN: r scales W S + d, not S, so
    that the two biases stay apart.

    x: (B, F). S: (B, H). U: (3H, F), W: (3H, H), b and d: (3H,), in the order r, z, n. Returns (B, H).
    """
    x_r, x_z, x_n = (x @ U.T + b).chunk(3, dim=1)
    s_r, s_z, s_n = (S @ W.T + d).chunk(3, dim=1)
    r = torch.sigmoid(x_r + s_r)  # reset gate
    z = torch.sigmoid(x_z + s_z)  # update gate
    n = torch.tanh(x_n + r * s_n)  # candidate
    return (1 - z) * n + z * S


class Cell(NamedTuple):
    """One kind of recurrence: torch's fused layers, and one step of the same, written out."""

    fused: type[nn.RNNBase]
    step: Step


CELLS = {
    "elman": Cell(nn.RNN, elman_step),
    "lstm": Cell(nn.LSTM, lstm_step),
    "gru": Cell(nn.GRU, gru_step),
}


class Recurrent(nn.Module):
    """features (B, T, F) -> states (B, T, H), or (B, T, 2H) if bidirectional, with the forward direction first.

    cell: `elman`, `lstm` or `gru`. dropout: share of a layer's states that the next layer misses in training, so
    with one layer there is none. fused: torch's kernels; False steps through the equations above. Both have the
    same parameters and, up to rounding, results, so `fused` may be changed at any time.
    Raises UserError for an unknown cell.
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
            inputs,
            hidden,
            layers,
            batch_first=True,
            bidirectional=bidirectional,
            dropout=dropout if layers > 1 else 0.0,  # torch warns of a dropout that has no place
        )
        initialise(self.rnn)

    @property
    def output_size(self) -> int:
        """How many numbers describe a step: H, or 2H if bidirectional."""
        return int(self.rnn.hidden_size * self.directions)

    def encode(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The states alone, from a zero state; see `forward`."""
        states, _ = self(features, lengths)
        return states

    def forward(
        self, features: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        """The state of the last layer after every step, and the state of all layers after each sequence's last one.

        features: (B, T, F). lengths: (B,) integers in 1…T, in any order, how many steps of each sequence are real
        (None: all); best on the CPU, where they are read. What stands in the others has no influence, and their
        states are zero. state: where to go on, see `State` (None: zeros).
        Raises ValueError for features, lengths or a state of another shape, or a length that is not in 1…T.
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
        if bool((lengths == steps).all()):  # nothing to leave out: packing would only cost time
            states, state = self.rnn(features, state)
            return states, state
        packed = pack_padded_sequence(features, lengths, batch_first=True, enforce_sorted=False)
        packed, state = self.rnn(packed, state)
        states, _ = pad_packed_sequence(packed, batch_first=True, total_length=steps)
        return states, state

    def _written(self, features: Tensor, lengths: Tensor, state: State | None) -> tuple[Tensor, State]:
        mask = step_mask(lengths, features)
        states = features.masked_fill(~mask[..., None], 0)  # even NaN in the padding must not reach a gradient
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
        """What the k-th step function takes after input and state."""
        U, W, b, d = self.rnn.all_weights[k]
        return (U, W, b, d) if self.cell == "gru" else (U, W, b + d)

    def _zeros(self, features: Tensor) -> State:
        zeros = features.new_zeros(self.rnn.num_layers * self.directions, features.shape[0], self.rnn.hidden_size)
        return (zeros, zeros) if self.cell == "lstm" else zeros


class ElmanNetwork(nn.Module):
    """Elman's simple recurrent network: S_t = f(U x_t + W S_{t-1} + b), O_t = V S_t. Elman 1990."""

    def __init__(self, inputs: int, hidden: int, outputs: int, *, fused: bool = True) -> None:
        super().__init__()
        self.recurrent = Recurrent(inputs, hidden, cell="elman", fused=fused)
        self.V = nn.Linear(hidden, outputs, bias=False)

    def forward(
        self, features: Tensor, lengths: Tensor | None = None, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """features (B, T, F) -> outputs (B, T, O), zero where there is no real step, and the state (1, B, H)."""
        states, state = self.recurrent(features, lengths, state)
        return self.V(states), state


@torch.no_grad()
def initialise(rnn: nn.RNNBase) -> None:
    """Orthogonal W (Saxe et al. 2014) and Xavier U (Glorot & Bengio 2010), gate by gate; biases 0, forget gate 1.

    A forget gate that starts open lets gradients through from the first batch on (Gers et al. 2000; Jozefowicz et
    al. 2015). torch adds two biases, so the 1 stands in one of them.
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
    """One layer in one direction: (states (B, T, H), the state after the last step taken).

    features: (B, T, F). state: tensors (B, H). mask: (B, T) bool; at the other steps the state stays as it was and
    the states given are zero. backward: from the last step to the first (Schuster & Paliwal 1997), which therefore
    begins at each sequence's own end.
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
    """The same state, through which no gradient flows back."""
    return _each(lambda part: part.detach(), state)


class Chunk(NamedTuple):
    """A stretch of a batch of sequences.

    start: its first step in the whole. states: (B, t, H). lengths: (B,), real steps in here, 0…t: 0 where a
    sequence has ended before. state: after the chunk, detached; of an ended sequence, as it was at its end.
    """

    start: int
    states: Tensor
    lengths: Tensor
    state: State


def truncated(
    module: Recurrent, features: Tensor, lengths: Tensor | None, steps: int, state: State | None = None
) -> Iterator[Chunk]:
    """Truncated backpropagation through time: chunks of `steps` steps, the state carried on, the gradient not.

    The states are those of one long pass; gradients go back to the chunk's first step and end there, as in
    the BPTT(h; h') of Williams & Peng 1990 with h = h' = steps. So memory grows with `steps`, not with T. A chunk is
    computed when it is asked for: after the backward pass of one, the parameters may be updated.

    features: (B, T, F). lengths: (B,), see `Recurrent.forward`; the chunks end with the longest sequence.
    steps: the most steps in a chunk; T or more is full backpropagation. state: where to begin (None: zeros).
    Raises ValueError for steps < 1, or for a bidirectional module, whose second direction would need the future.
    """
    if steps < 1 or module.directions > 1:
        raise ValueError(f"{steps} steps, {module.directions} directions; needed are 1 or more steps, one direction")
    batch, total, _ = features.shape
    lengths = _checked_lengths(lengths, batch, total)
    for start in range(0, int(lengths.max()), steps):
        stretch = features[:, start : start + steps]
        here = (lengths - start).clamp(0, stretch.shape[1])
        states, state = _advance(module, stretch, here, state)
        state = detach(state)
        yield Chunk(start, states, here, state)


def _advance(module: Recurrent, features: Tensor, lengths: Tensor, state: State | None) -> tuple[Tensor, State]:
    """`module`, with lengths that may be 0: such sequences have states of zero and keep their state."""
    live = lengths.nonzero().squeeze(1)
    if state is None or len(live) == len(lengths):  # at the beginning none has ended
        states, state = module(features, lengths, state)
        return states, state
    rows = live.to(features.device)
    some, after = module(features[rows], lengths[live], _each(lambda part: part[:, rows], state))
    states = some.new_zeros(len(lengths), *some.shape[1:]).index_copy(0, rows, some)
    return states, _each(lambda old, new: old.index_copy(1, rows, new), state, after)


def pool(values: Tensor, lengths: Tensor | None, how: str) -> Tensor:
    """One row for each sequence, from states or logits (B, T, C) -> (B, C).

    lengths: (B,) integers in 1…T (None: all T); steps beyond have no influence. how: `mean` or `max` over the
    steps, or the `last` step, which for a bidirectional network knows one step of the backward direction only.
    Raises ValueError for lengths of another shape or not in 1…T, UserError for an unknown `how`.

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
    """The lengths (B,) on the CPU; None makes every sequence `steps` long.

    Raises ValueError unless they are `batch` integers in 1…steps.
    """
    if lengths is None:
        return torch.full((batch,), steps)
    if lengths.shape != (batch,) or lengths.is_floating_point():
        raise ValueError(f"lengths are {lengths.dtype} {tuple(lengths.shape)}; needed are {batch} integers")
    lengths = lengths.to("cpu", torch.int64)
    if int(lengths.min()) < 1 or int(lengths.max()) > steps:
        raise ValueError(f"lengths go from {lengths.min()} to {lengths.max()}; needed are 1 to {steps}")
    return lengths


def step_mask(lengths: Tensor, like: Tensor) -> Tensor:
    """(B, T) bool: which steps of `like` (B, T, …) are within the lengths (B,)."""
    return torch.arange(like.shape[1], device=like.device) < lengths.to(like.device)[:, None]


def _shapes(state: State) -> list[tuple[int, ...]]:
    return [tuple(part.shape) for part in (state if isinstance(state, tuple) else (state,))]


def _each(function: Callable[..., Tensor], *states: State) -> State:
    """`function` of the tensors of one or more states, S by S, or h by h and c by c."""
    if isinstance(states[0], tuple):
        h, c = (function(*parts) for parts in zip(*states, strict=True))
        return h, c
    return function(*states)
