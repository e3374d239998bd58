"""Back-propagation through time (BPTT) by hand, and gradients that vanish and explode.

S_t = f(U x_t + W S_{t-1}), so that ∂L_T/∂S_t is a product of T - t Jacobians diag(f') W, one for each step back.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kagglepipe.course.lesson import Lesson
from kagglepipe.course.pictures import COLOURS, picture
from kagglepipe.models.recurrent import CELLS, Recurrent, State, elman_step

STEPS, INPUTS, HIDDEN, BATCH = 100, 8, 32, 16
SCALES = (0.5, 1.0, 1.5)  # s of W = s · orthogonal
KINDS: dict[str, tuple[str, float | None]] = {"Elman": ("elman", None), "GRU": ("gru", None)}
KINDS |= {f"LSTM, forget bias {bias}": ("lstm", bias) for bias in (0, 1, 5)}


def forward(x: Tensor, U: Tensor, W: Tensor, *, identity: bool = False) -> list[Tensor]:
    """Compute S_0 = 0, S_1, …, S_T, each (B, H), of inputs (T, B, F). f is tanh, or the identity."""
    S = [x.new_zeros(x.shape[1], len(W))]
    for x_t in x:
        S.append(x_t @ U.T + S[-1] @ W.T if identity else elman_step(x_t, S[-1], U, W, U.new_zeros(len(U))))
    return S


def backward(x: Tensor, S: list[Tensor], direct: Tensor, W: Tensor, *, identity: bool = False) -> tuple[Tensor, ...]:
    """Go back through time: ∂L/∂S_t (T, B, H), and what each instant adds to ∂L/∂W (T, H, H) and ∂L/∂U (T, H, F).

    direct: (T, B, H), what S_t adds to L by its own output O_t, the future left out.
    """
    dS, dW, dU = [], [], []
    future = torch.zeros_like(S[0])
    for t in range(len(x), 0, -1):
        at_S = direct[t - 1] + future  # ∂L/∂S_t
        at_a = at_S if identity else at_S * (1 - S[t] ** 2)  # ∂L/∂(U x_t + W S_{t-1}), since tanh' = 1 - tanh²
        dS.append(at_S)
        dW.append(at_a.T @ S[t - 1])
        dU.append(at_a.T @ x[t - 1])
        future = at_a @ W  # ∂L/∂S_{t-1}, as far as it comes from later steps
    return tuple(torch.stack(parts[::-1]) for parts in (dS, dW, dU))


def random_network(seed: int, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Draw x (T, B, F), U (H, F) and W = scale · orthogonal (H, H), in float64."""
    torch.manual_seed(seed)
    U, W = (torch.empty(HIDDEN, size, dtype=torch.float64) for size in (INPUTS, HIDDEN))
    nn.init.xavier_uniform_(U)
    nn.init.orthogonal_(W, gain=scale)
    return torch.randn(STEPS, BATCH, INPUTS, dtype=torch.float64), U, W


def at_end(gradient: Tensor) -> Tensor:
    """Make `direct` (T, B, H) of a loss of the last state alone, ∂L/∂S_T (B, H)."""
    return F.pad(gradient[None], (0, 0, 0, 0, STEPS - 1, 0))


def difference_from_autograd(seed: int) -> float:
    """Compare the sums over all instants with autograd's ∂L/∂W and ∂L/∂U, L = Σ_t ‖V S_t‖² / 2: largest difference."""
    x, U, W = random_network(seed, 1.0)
    V = torch.randn(3, HIDDEN, dtype=torch.float64)
    S = forward(x, U.requires_grad_(), W.requires_grad_())
    outputs = torch.stack(S[1:]) @ V.T  # O_t = V S_t
    wanted = torch.autograd.grad(outputs.square().sum() / 2, (W, U))
    _, *found = backward(x, [one.detach() for one in S], (outputs @ V).detach(), W.detach())
    return max(float((part.sum(dim=0) - one).abs().max()) for part, one in zip(found, wanted, strict=True))


def slope(norms: Tensor) -> float:
    """Fit log ‖∂L_T/∂S_t‖ (T,) by a line in the number of steps back, T - t: its slope."""
    return float(np.polyfit(-np.arange(len(norms)), np.log(norms.numpy()), 1)[0])


def largest_singular_values(S: list[Tensor], W: Tensor) -> Tensor:
    """Largest singular value (T,) of ∂S_T/∂S_t = J_T … J_{t+1}, J_t = diag(1 - S_t²) W, a bound of ‖∂L_T/∂S_t‖."""
    product, found = torch.eye(len(W), dtype=torch.float64).expand(S[0].shape[0], -1, -1), []
    for S_t in S[:0:-1]:
        found.append(torch.linalg.matrix_norm(product, 2).max())
        product = product @ ((1 - S_t**2)[:, :, None] * W)
    return torch.stack(found[::-1])


def cell_gradients(cell: str, x: Tensor, *, forget_bias: float | None = None, orthogonal: bool = True) -> list[Tensor]:
    """Norms (T,) of ∂L_T/∂S_t of any cell, by autograd: of h, and for LSTM of c. orthogonal: else torch's own W."""
    module = Recurrent(INPUTS, HIDDEN, cell=cell).double()
    U, W, b, d = module.rnn.all_weights[0]
    with torch.no_grad():
        if forget_bias is not None:
            b[HIDDEN : 2 * HIDDEN] = forget_bias
        if not orthogonal:
            nn.init.uniform_(W, -(HIDDEN**-0.5), HIDDEN**-0.5)
    zeros = x.new_zeros(x.shape[1], HIDDEN)
    state: State = (zeros, zeros) if cell == "lstm" else zeros
    states = []
    for x_t in x:
        state = CELLS[cell].step(x_t, state, *((U, W, b, d) if cell == "gru" else (U, W, b + d)))
        states.append(state if isinstance(state, tuple) else (state,))
    last = torch.randn(zeros.shape, dtype=torch.float64)
    loss = (states[-1][0] * last / last.norm()).sum()
    parts = [torch.autograd.grad(loss, part, retain_graph=True) for part in zip(*states, strict=True)]
    return [torch.stack(part).flatten(1).norm(dim=1) for part in parts]


def one_step(seed: int, clip: float = 1.0, lr: float = 0.001) -> dict[str, float]:
    """Step down ∂L/∂W, as it is and clipped: its norm, and losses. L = mean ‖S_T‖² / 2, f = identity, s = 1.01."""
    x, U, W = random_network(seed, 1.01)
    S = forward(x, U, W, identity=True)
    dW = backward(x, S, at_end(S[-1] / BATCH), W, identity=True)[1].sum(dim=0)
    weights = {"before": W, "after": W - lr * dW, "clipped": W - lr * dW * min(1.0, clip / float(dW.norm()))}
    ends = {name: forward(x, U, changed, identity=True)[-1] for name, changed in weights.items()}
    return {"norm": float(dW.norm())} | {name: float(S_T.square().sum() / (2 * BATCH)) for name, S_T in ends.items()}


def run(lesson: Lesson) -> dict[str, Any]:
    """Measure how gradients shrink and grow on their way back, and what helps."""
    slopes: dict[str, float] = {}
    instants = range(1, STEPS + 1)
    with picture(lesson.folder / "gradients.png", 2, 2, width=4.6, height=3.4) as (_, axes):
        for colour, scale in zip(COLOURS, SCALES, strict=False):
            name = f"s = {scale}"
            x, U, W = random_network(lesson.seed, scale)
            last = torch.randn(BATCH, HIDDEN, dtype=torch.float64)
            for axis, f in zip(axes[0], ("identity", "tanh"), strict=True):
                S = forward(x, U, W, identity=f == "identity")
                dS, dW, _ = backward(x, S, at_end(last / last.norm()), W, identity=f == "identity")
                norms = dS.flatten(1).norm(dim=1)
                slopes[f"{f}, {name}"] = slope(norms)
                axis.plot(instants, norms, color=colour, label=name)
            axes[0, 1].plot(instants, largest_singular_values(S, W), ":", color=colour)
            lost = dW.sum(dim=0) - dW.flip(0).cumsum(dim=0)  # all instants but the last k
            error = lost.flatten(1).norm(dim=1) / dW.sum(dim=0).norm()
            axes[1, 1].plot(instants[:-2], error[:-2], color=colour, label=name)
        for colour, (name, (cell, bias)) in zip(COLOURS, KINDS.items(), strict=False):
            parts = cell_gradients(cell, x, forget_bias=bias)
            for part, line, norms in zip("hc", ("-", "--"), parts, strict=False):
                slopes[f"{name}, {part}"] = slope(norms)
                axes[1, 0].plot(instants, norms, line, color=colour, label=name if part == "h" else None)
        slopes["Elman, W as torch draws it"] = slope(cell_gradients("elman", x, orthogonal=False)[0])
        titles = "f = identity", "f = tanh; dotted: bound", "cells; dashed: c of LSTM", "truncation, f = tanh"
        for axis, title in zip(axes.flat, titles, strict=True):
            axis.set(yscale="log", title=title, xlabel="t", ylabel="‖∂L_T/∂S_t‖")
            axis.legend(fontsize=7)
        axes[1, 1].set(xlabel="k, the last steps that are kept", ylabel="relative error of ∂L_T/∂W")
    factors = {name: float(np.exp(value)) for name, value in slopes.items()}
    found = {"slopes": slopes, "factor_per_step": factors, "one_step": one_step(lesson.seed)}
    return {"largest_difference_from_autograd": difference_from_autograd(lesson.seed)} | found
