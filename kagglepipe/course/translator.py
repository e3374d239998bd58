"""Encoder and decoder with attention. Used by the lesson translation.

Shapes: B sentences, S steps of the source, T of the target, H hidden units, V symbols of the target.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kagglepipe.images.dataset import IGNORE_INDEX
from kagglepipe.models.recurrent import Recurrent, State, step_mask
from kagglepipe.sequences.text import LockedDropout, TiedEmbedding


class Encoded(NamedTuple):
    """A source as read. memory: (B, S, 2H). mask: (B, S) bool, False for padding. last: (B, 2H), the final state."""

    memory: Tensor
    mask: Tensor
    last: Tensor

    def take(self, rows: Tensor) -> "Encoded":
        """Choose rows."""
        return Encoded(*(part[rows] for part in self))


class Attention(nn.Module):
    """Attention of decoder states q to encoder states m: `general` of Luong, Pham & Manning 2015.

    a(t, s) = exp(q_t · W m_s) / Σ exp(q_t · W m_s')     weights over the source
    c_t = Σ_s a(t, s) m_s                                context
    """

    def __init__(self, queries: int, memory: int) -> None:
        super().__init__()
        self.W = nn.Linear(memory, queries, bias=False)

    def forward(self, queries: Tensor, memory: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Contexts (B, T, 2H) and weights (B, T, S) of queries (B, T, H)."""
        scores = queries @ self.W(memory).transpose(1, 2)
        weights = scores.masked_fill(~mask[:, None], -torch.inf).softmax(dim=2)
        return weights.to(memory.dtype) @ memory, weights


class Translator(nn.Module):
    """P(y_t | y_1 … y_{t-1}, x): a bidirectional LSTM reads x, two LSTMs write y.

        m = [→LSTM(x); ←LSTM(x)]
        q_t = LSTM(E[y_{t-1}])         what is written so far, from the final state of m
        c_t = attention(q_t, m)
        h_t = LSTM([q_t; c_t])
        P(y_t) = softmax(E tanh(P [h_t; c_t]) + b)

    attention: False: c_t is the final state of m, the same for all t (Sutskever, Vinyals & Le 2014).
    """

    def __init__(
        self, sources: int, targets: int, *, embedding: int, hidden: int, layers: int = 1, dropout: float = 0.0,
        attention: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.sizes = {"embedding": embedding, "hidden": hidden, "layers": layers, "dropout": dropout,
                      "attention": attention}  # fmt: skip
        self.source = nn.Embedding(sources, embedding)
        nn.init.normal_(self.source.weight, std=0.1)
        self.encoder = Recurrent(embedding, hidden, layers=layers, bidirectional=True, dropout=dropout)
        self.begin = nn.Linear(2 * hidden, 2 * hidden)
        self.target = TiedEmbedding(targets, embedding, embedding)
        self.written = Recurrent(embedding, hidden)
        self.attention = Attention(hidden, 2 * hidden) if attention else None
        self.writer = Recurrent(3 * hidden, hidden)
        self.output = nn.Linear(3 * hidden, embedding)  # P: a word of the source reaches the output past the LSTM
        self.dropout = LockedDropout(dropout)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Logits (B, T, V) of what comes after each of target (B, T), given sources (B, S) without padding."""
        encoded, state = self.encode(source)
        return self.step(target, encoded, state)[0]

    def encode(self, source: Tensor, lengths: Tensor | None = None) -> tuple[Encoded, tuple[State, State]]:
        """Read sources (B, S), and make the decoder's first state. lengths: (B,) without padding; None: all S."""
        memory, (h, _) = self.encoder(self.dropout(self.source(source)), lengths)
        last = torch.cat([h[-2], h[-1]], dim=1)  # of the last layer, both directions
        if lengths is None:
            lengths = torch.full(source.shape[:1], source.shape[1])
        first = torch.tanh(self.begin(last))[None].chunk(2, dim=2)
        states = [(h.contiguous(), torch.zeros_like(h)) for h in first]
        return Encoded(self.dropout(memory), step_mask(lengths, memory), last), (states[0], states[1])

    def step(
        self, target: Tensor, encoded: Encoded, state: tuple[State, State]
    ) -> tuple[Tensor, Tensor, tuple[State, State]]:
        """Logits (B, T, V), attention (B, T, S) and the state after target (B, T)."""
        queries, written = self.written(self.dropout(self.target(target)), None, state[0])
        if self.attention is not None:
            contexts, weights = self.attention(queries, encoded.memory, encoded.mask)
        else:
            contexts = encoded.last[:, None].expand(-1, target.shape[1], -1)
            weights = encoded.mask[:, None].float().expand(-1, target.shape[1], -1)
        states, writer = self.writer(self.dropout(torch.cat([queries, contexts], dim=2)), None, state[1])
        output = torch.tanh(self.output(torch.cat([states, contexts], dim=2)))
        return self.target.logits(self.dropout(output)), weights, (written, writer)


@torch.no_grad()
def teacher_forced(model: Translator, batches: Iterable[tuple[Tensor, Tensor, Tensor]]) -> tuple[float, float]:
    """Mean −log P of the symbols of given translations, each given those before it, and the share of likeliest ones."""
    model.eval()
    loss, right, symbols = 0.0, 0, 0
    for source, target, labels in batches:
        labels = labels.to(model.begin.weight.device).flatten()
        logits = model(source.to(labels.device), target.to(labels.device)).flatten(0, 1)
        loss += float(F.cross_entropy(logits, labels, reduction="sum", ignore_index=IGNORE_INDEX))
        right += int((logits.argmax(dim=1) == labels).sum())
        symbols += int((labels != IGNORE_INDEX).sum())
    return loss / symbols, right / symbols
