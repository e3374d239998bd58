"""Search for translations. Used by the lesson translation.

Shapes: B sentences, S steps of the source, T of the target, V symbols of the target, K hypotheses.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from kagglepipe.course.translator import Translator
from kagglepipe.models.recurrent import State


class Hypothesis(NamedTuple):
    """A translation: ids without the end, its score, and the attention (T, S) of each of its steps, the end too."""

    ids: list[int]
    score: float
    weights: Tensor


@torch.no_grad()
def search(model: Translator, sources: Tensor, *, end: int, beam: int, penalty: float = 1.0) -> list[Hypothesis]:
    """Search the likeliest translation of each source (B, S) with the K = `beam` best beginnings at each step.

    With a beam of 1 the search is greedy. A beginning that has ended leaves its beam. Hypotheses of different length
    are compared by log P(y | x) / T^penalty, T with the end; else short ones, products of fewer factors, would win (Wu
    et al. 2016, section 7). They have at most 2 S + 10 symbols, and never UNKNOWN.
    """
    model.eval()
    batch, longest = len(sources), 2 * sources.shape[1] + 10
    encoded, state = model.encode(sources)
    firsts = beam * torch.arange(batch, device=sources.device)[:, None]  # of the beams, among all B · K beginnings
    rows = torch.arange(batch, device=sources.device).repeat_interleave(beam)
    encoded, state = encoded.take(rows), (_rows(state[0], rows), _rows(state[1], rows))
    ids = sources.new_full((batch * beam, 1), end)
    logs = torch.full((batch, beam), -torch.inf, device=sources.device)
    logs[:, 0] = 0  # all K are the same at first
    attended = encoded.memory.new_zeros(batch * beam, 0, sources.shape[1])
    left = torch.full((batch, 1), beam, device=sources.device)
    done: list[list[Hypothesis]] = [[] for _ in range(batch)]
    for length in range(1, longest + 1):
        logits, weights, state = model.step(ids[:, -1:], encoded, state)
        steps = logits[:, -1].float().log_softmax(dim=1)
        steps[:, 0] = -torch.inf  # UNKNOWN
        logs, best = (logs.reshape(-1, 1) + steps).reshape(batch, -1).topk(beam)
        logs = logs.where(torch.arange(beam, device=logs.device) < left, -torch.inf)
        rows, symbols = (firsts + best // steps.shape[1]).flatten(), (best % steps.shape[1]).flatten()
        ids = torch.cat([ids[rows], symbols[:, None]], dim=1)
        attended = torch.cat([attended[rows], weights[rows]], dim=1)
        state = _rows(state[0], rows), _rows(state[1], rows)
        has_ended = ((symbols == end) | (length == longest)).view_as(logs) & logs.isfinite()
        for row in has_ended.flatten().nonzero()[:, 0].tolist():
            written = [number for number in ids[row].tolist() if number != end]
            score = float(logs.flatten()[row]) / length**penalty
            done[row // beam].append(Hypothesis(written, score, attended[row]))
        left, logs = left - has_ended.sum(dim=1, keepdim=True), logs.masked_fill(has_ended, -torch.inf)
        if not logs.isfinite().any():
            break
    return [max(some, key=lambda one: one.score) for some in done]


def _rows(state: State, rows: Tensor) -> State:
    """Choose the state of some rows."""
    h, c = state
    return h[:, rows], c[:, rows]
