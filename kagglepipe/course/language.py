"""Language models of characters and of words: network, score, samples. Used by next_character and next_word.

Shapes: B texts, T steps, V symbols.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kagglepipe.models.recurrent import Recurrent, State, detach
from kagglepipe.sequences.text import LockedDropout, TiedEmbedding, Vocabulary

SCORED_STEPS = 1000  # of a long text at a time; the state is carried over


class LanguageModel(nn.Module):
    """P(w_t | w_1 … w_{t-1}) = softmax(E P h + b), with h the LSTM's state after the embeddings of w_1 … w_{t-1}.

    dropout: of embeddings and of states, with one mask for all steps.
    """

    def __init__(
        self, vocabulary: Vocabulary, *, embedding: int, hidden: int, layers: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.sizes = {"embedding": embedding, "hidden": hidden, "layers": layers, "dropout": dropout}
        self.embedding = TiedEmbedding(len(vocabulary), embedding, hidden)
        self.recurrent = Recurrent(embedding, hidden, layers=layers, dropout=dropout)
        self.dropout = LockedDropout(dropout)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, T, V) of what comes after each of ids (B, T), from a zero state."""
        return self.step(ids, None)[0]

    def step(self, ids: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Logits (B, T, V) and the state after ids (B, T), given the state before them; None: zero."""
        states, state = self.recurrent(self.dropout(self.embedding(ids)), None, state)
        return self.embedding.logits(self.dropout(states)), state


class Carried(nn.Module):
    """Language model whose state after a batch is that before the next one; no gradient flows back to it."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model
        self.state: State | None = None

    def forward(self, ids: Tensor, is_begin: Tensor) -> Tensor:
        """Logits (B, T, V) of ids (B, T). is_begin: (B,) whether texts begin; all of them do, or none."""
        logits, state = self.model.step(ids, None if bool(is_begin.all()) else self.state)
        self.state = detach(state)
        return logits


class Score(NamedTuple):
    """Mean −log P of a symbol in nats, the share of symbols that were the likeliest ones, and their number."""

    nats: float
    accuracy: float
    symbols: int


@torch.no_grad()
def surprise(model: LanguageModel, ids: Tensor) -> tuple[Tensor, Tensor]:
    """−log P of each symbol after the first of ids (B, T + 1), given all before it, and whether it is the likeliest.

    Returns nats (B, T) and bool (B, T).
    """
    model.eval()
    state: State | None = None
    nats, is_likeliest = [], []
    for start in range(0, ids.shape[1] - 1, SCORED_STEPS):
        labels = ids[:, start + 1 : start + 1 + SCORED_STEPS]
        logits, state = model.step(ids[:, start : start + labels.shape[1]], state)
        nats.append(F.cross_entropy(logits.transpose(1, 2), labels, reduction="none"))
        is_likeliest.append(logits.argmax(dim=2) == labels)
    return torch.cat(nats, dim=1), torch.cat(is_likeliest, dim=1)


def score(model: LanguageModel, batches: Iterable[Tensor]) -> Score:
    """Score all symbols of batches, as `surprise` does."""
    found = [surprise(model, ids) for ids in batches]
    symbols = sum(nats.numel() for nats, _ in found)
    nats, right = (sum(float(each[part].sum()) for each in found) for part in (0, 1))
    return Score(nats / symbols, right / symbols, symbols)


@torch.no_grad()
def continued(
    model: LanguageModel, begin: Sequence[str], *, temperature: float, length: int, seed: int, end: str | None = None
) -> list[str]:
    """Draw up to `length` symbols after `begin`, each by P ∝ exp(logit / temperature), never UNKNOWN.

    temperature: 0 takes the likeliest. end: symbol that ends the text, which is left out; None: none.
    """
    model.eval()
    device = model.embedding.bias.device
    generator = torch.Generator(device).manual_seed(seed)
    found: list[int] = []
    logits, state = model.step(torch.from_numpy(model.vocabulary.encode(begin))[None].to(device), None)
    while len(found) < length:
        last = logits[0, -1].index_fill(0, torch.zeros(1, dtype=torch.int64, device=device), -torch.inf)
        probs = (last / temperature).softmax(0) if temperature else F.one_hot(last.argmax(), len(last)).float()
        drawn = torch.multinomial(probs, 1, generator=generator)
        if model.vocabulary.symbols[int(drawn)] == end:
            break
        found.append(int(drawn))
        logits, state = model.step(drawn[None], state)
    return model.vocabulary.decode(found)
