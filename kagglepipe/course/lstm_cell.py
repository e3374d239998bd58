"""The LSTM cell: its gates over time, and what is lost without each of them.

The task gives each gate one thing to do. A signal comes with two marks: at `write` its value is to be kept in place of
the one before, at `show` the kept value is to be told, and at all other steps 0. Parts are left out as by Greff et al.
2017, "LSTM: a search space odyssey".
"""

from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn

from kagglepipe.course.fitting import fit
from kagglepipe.course.lesson import Lesson
from kagglepipe.course.pictures import picture
from kagglepipe.images.dataset import Unnamed
from kagglepipe.models.recurrent import Recurrent, unroll
from kagglepipe.training.losses import scaled_squared_error

STEPS, HIDDEN, BATCH = 32, 8, 32
MARKS = 0.15  # probability of each mark at a step
PARTS = ("nothing", "input gate", "forget gate", "output gate", "input activation", "output activation",
         "own forget gate")  # fmt: skip


def gates(
    x: Tensor, h: Tensor, U: Tensor, W: Tensor, b: Tensor, *, without: str = "nothing"
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute i, f, g, o (B, H) of one step as `models.recurrent.lstm_step` does, but for one of PARTS.

    A gate left out is always 1. `own forget gate`: f = 1 - i, what is written replaces what was there.
    """
    a_i, a_f, a_g, a_o = (x @ U.T + h @ W.T + b).chunk(4, dim=1)
    i = torch.ones_like(a_i) if without == "input gate" else torch.sigmoid(a_i)
    f = torch.ones_like(a_f) if without == "forget gate" else torch.sigmoid(a_f)
    o = torch.ones_like(a_o) if without == "output gate" else torch.sigmoid(a_o)
    g = a_g if without == "input activation" else torch.tanh(a_g)
    return i, 1 - i if without == "own forget gate" else f, g, o


def step(
    x: Tensor, state: tuple[Tensor, Tensor], U: Tensor, W: Tensor, b: Tensor, *, without: str = "nothing"
) -> tuple[Tensor, Tensor]:
    """Compute the next (h, c), each (B, H), of inputs x (B, F)."""
    h, c = state
    i, f, g, o = gates(x, h, U, W, b, without=without)
    c = f * c + i * g  # forget, then write
    h = o * (c if without == "output activation" else torch.tanh(c))  # show
    return h, c


class Network(nn.Module):
    """LSTM without one of its parts, and a linear answer at each step: x (B, T, 3) -> (B, T, 1)."""

    def __init__(self, without: str) -> None:
        super().__init__()
        self.recurrent, self.V = Recurrent(3, HIDDEN), nn.Linear(HIDDEN, 1)
        self.step = partial(step, without=without)

    @property
    def weights(self) -> tuple[Tensor, Tensor, Tensor]:
        U, W, b, d = self.recurrent.rnn.all_weights[0]
        return U, W, b + d

    def forward(self, x: Tensor) -> Tensor:
        zeros = x.new_zeros(len(x), HIDDEN)
        states, _ = unroll(self.step, x, (zeros, zeros), self.weights, torch.ones_like(x[:, :, 0], dtype=torch.bool))
        return self.V(states)


def keep_and_show(rng: Generator, count: int) -> tuple[Tensor, Tensor]:
    """Draw signals with the marks `write` and `show` (B, T, 3), and the answers (B, T, 1)."""
    value, marks = rng.uniform(-1, 1, (count, STEPS)), rng.random((count, STEPS, 2)) < MARKS
    kept, answers = np.zeros(count), np.zeros((count, STEPS, 1))
    for t in range(STEPS):
        kept = np.where(marks[:, t, 0], value[:, t], kept)
        answers[:, t, 0] = np.where(marks[:, t, 1], kept, 0)
    x = np.concatenate([value[:, :, None], marks], axis=2)
    return torch.from_numpy(x).float(), torch.from_numpy(answers).float()


class Signals(Unnamed):
    """New signals in each batch of each epoch."""

    def __init__(self, batches: int, seed: int) -> None:
        self.batches, self.seed = batches, seed

    def __len__(self) -> int:
        return self.batches

    def __call__(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        rng = np.random.default_rng([self.seed, epoch])
        return (keep_and_show(rng, BATCH) for _ in range(self.batches))


@torch.no_grad()
def draw(network: Network, x: Tensor, wanted: Tensor, path: Path) -> None:
    """Draw one signal (T, 3), the gates and the cell over time, and the answer beside the wanted one (T, 1)."""
    state, rows = (x.new_zeros(1, HIDDEN), x.new_zeros(1, HIDDEN)), []
    for x_t in x[:, None]:
        i, f, _, o = gates(x_t, state[0], *network.weights)
        state = step(x_t, state, *network.weights)
        rows.append(torch.cat([i, f, o, (state[1] + 1) / 2]))  # the cell is mostly in -1…1
    with picture(path, 6, 1, width=9, height=1.25, sharex=True) as (_, axes):
        at = np.arange(len(x))
        axes[0, 0].step(at, x[:, 0], where="mid", color="#999999", label="signal")
        for column, marker, name in ((1, "v", "write"), (2, "^", "show")):
            axes[0, 0].plot(at[x[:, column] > 0], x[x[:, column] > 0, 0], marker, label=name)
        for row, name in enumerate(("i: write", "f: keep", "o: show", "c: the cell")):
            values = torch.stack(rows)[:, row].T.numpy()  # (H, T)
            axes[row + 1, 0].imshow(values, cmap="RdBu" if row == 3 else "Blues", vmin=0, vmax=1, aspect="auto")
            axes[row + 1, 0].set_ylabel(name, fontsize=8)
        for values, name in ((wanted, "wanted"), (network(x[None])[0], "answer")):
            axes[5, 0].step(at, values[:, 0], where="mid", label=name)
        axes[5, 0].set_xlabel("step")
        for axis in axes[[0, 5], 0]:
            axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))


def run(lesson: Lesson) -> dict[str, Any]:
    """Train the LSTM whole and without each of its parts, with several seeds each."""
    test, wanted = keep_and_show(np.random.default_rng([lesson.seed, 0]), 500)  # no epoch has the number 0
    loss = scaled_squared_error(wanted.std(dim=(0, 1)).numpy())
    epochs, batches, seeds = lesson.size(10, 1), lesson.size(50, 2), lesson.size(3, 1)
    found: dict[str, list[float]] = {part: [] for part in PARTS}
    for part, seed in product(PARTS, range(lesson.seed, lesson.seed + seeds)):
        torch.manual_seed(seed)
        network, name = Network(part).to(lesson.device), f"without {part}, seed {seed}"
        fit(network, Signals(batches, seed), name=name, epochs=epochs, lr=0.02, batch_size=BATCH, seed=seed, loss=loss)
        with torch.inference_mode():
            found[part].append(float((network(test.to(lesson.device)).cpu() - wanted).square().mean().sqrt()))
        if part == "nothing" and seed == lesson.seed:
            draw(network.cpu(), test[0], wanted[0], lesson.folder / "gates.png")
    median = {part: float(np.median(of_part)) for part, of_part in found.items()}
    return {"rms_of_answers": float(wanted.square().mean().sqrt()), "median_rms_error": median, "rms_errors": found}
