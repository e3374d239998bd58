"""Text: files, tokens, vocabulary, batches, and an embedding that is tied to the output.

Shapes: B sequences, T steps, E features of an embedding, H hidden units, V symbols (characters, words or parts).
"""

import gzip
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from kagglepipe.errors import UserError
from kagglepipe.images.dataset import IGNORE_INDEX, Unnamed

UNKNOWN = "<unk>"  # any symbol that is not in the vocabulary
END = "<eos>"  # after the last word of a sentence, and before the first
WORD = re.compile(r"\w+|[^\w\s]")
GLUE = "\u2060"  # Unicode's word joiner: no blank before this token
Ids = NDArray[np.int64]


# --- files and tokens ----------------------------------------------------------------------------------------------


def read_text(path: Path) -> str:
    """Read a text in UTF-8, plain or gzipped (`.gz`), with line ends as `\\n`. Raises UserError for other bytes."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path} is not UTF-8 in line {line}: save it as UTF-8") from error
    except (OSError, EOFError, zlib.error) as error:  # a folder, no gzip, or a damaged one
        raise UserError(f"{path} cannot be read as a text ({error}): give a text in UTF-8, plain or .gz") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text, without blanks at their ends; empty ones stay, a last line end adds none."""
    text = read_text(path)
    return [line.strip() for line in text.removesuffix("\n").split("\n")] if text else []


def find_text(folder: Path, name: str) -> Path | None:
    """Find `name` or `name.gz` in a folder or below it, the one nearest to it; None if there is none."""
    found = [*folder.rglob(name), *folder.rglob(f"{name}.gz")]
    return min(found, key=lambda path: (len(path.parts), str(path)), default=None)


def words(text: str) -> list[str]:
    """Split into words and signs.

    >>> words("A man's hat.")
    ['A', 'man', "'", 's', 'hat', '.']
    """
    return WORD.findall(text)


def tokens(text: str) -> list[str]:
    """Split as `words`, with GLUE at the begin of a token that no blank precedes, so that `join` inverts it."""
    found = list(WORD.finditer(text))
    return [(GLUE if m.start() and not text[m.start() - 1].isspace() else "") + m[0] for m in found]


def readable(parts: Iterable[str]) -> str:
    """Join words and signs as they are mostly written.

    >>> readable(words("A man's hat, blue."))
    "A man's hat, blue."
    """
    text = re.sub(r" ([.,;:!?)])", r"\1", " ".join(parts))
    return re.sub(r" ?([-'’]) ?", r"\1", text)


def read_sentences(path: Path) -> list[list[str]]:
    """Read the words of each line that is not empty. Raises UserError if there is none."""
    sentences = [words(line) for line in read_lines(path) if line]
    if not sentences:
        raise UserError(f"{path} has no sentences: give a text with a sentence a line")
    return sentences


def join(parts: Iterable[str]) -> str:
    """Join tokens to a text.

    >>> join(tokens("A man's hat."))
    "A man's hat."
    """
    return " ".join(parts).replace(f" {GLUE}", "").removeprefix(GLUE)


# --- vocabulary ----------------------------------------------------------------------------------------------------


class Vocabulary:
    """Symbols and their numbers, 0…V-1. Symbols that it does not have are UNKNOWN, which is number 0."""

    def __init__(self, symbols: Iterable[str]) -> None:
        self.symbols = list(dict.fromkeys((UNKNOWN, *symbols)))
        self.index = {symbol: number for number, symbol in enumerate(self.symbols)}

    @classmethod
    def of(cls, symbols: Iterable[str], *, least: int = 1, more: Iterable[str] = ()) -> "Vocabulary":
        """Make one of the symbols that are seen `least` times or more, the most frequent first, after `more`."""
        return cls([*more, *(symbol for symbol, count in Counter(symbols).most_common() if count >= least)])

    def __len__(self) -> int:
        return len(self.symbols)

    def encode(self, symbols: Iterable[str]) -> Ids:
        """Numbers (N,) of symbols."""
        return np.array([self.index.get(symbol, 0) for symbol in symbols], np.int64)

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Symbols of numbers."""
        return [self.symbols[number] for number in ids]

    def unseen(self, symbols: Iterable[str]) -> Counter[str]:
        """Count the symbols that are not in it."""
        return Counter(symbol for symbol in symbols if symbol not in self.index)


# --- batches -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StreamBatches(Unnamed):
    """Batches of one long text, cut into B streams side by side: each batch goes on where the one before ended.

    Each yields ids (B, T), whether they are the begin of a stream (B,) bool, and labels (B, T), the ids one step later.
    Each epoch starts at another place of the text, drawn by seed and epoch. ids: (N,), N > B; a T that is too long for
    them is shortened.
    """

    ids: Ids
    batch_size: int
    steps: int
    seed: int = 0

    def __len__(self) -> int:
        return max(1, (len(self.ids) - 1) // self.batch_size // self.steps)

    def __call__(self, epoch: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield the batches of an epoch."""
        turned = np.roll(self.ids, -int(np.random.default_rng([self.seed, epoch]).integers(len(self.ids))))
        length = (len(turned) - 1) // self.batch_size
        inputs, labels = (
            torch.from_numpy(turned[first : first + length * self.batch_size].reshape(self.batch_size, length))
            for first in (0, 1)
        )
        for number in range(len(self)):
            chosen = slice(number * self.steps, (number + 1) * self.steps)
            yield inputs[:, chosen], torch.full((self.batch_size,), number == 0), labels[:, chosen]


def of_equal_length(
    lengths: Sequence[int], batch_size: int, seed: Sequence[int] | None = None, other: Sequence[int] | None = None
) -> list[list[int]]:
    """Group rows into batches of one length each, so that none is padded; in random order unless seed is None.

    other: lengths that are similar in a batch, though not equal; None: whatever they are.
    """
    rows = list(range(len(lengths)))
    rng = np.random.default_rng(seed) if seed is not None else None
    if rng is not None:
        rng.shuffle(rows)
    if other is not None:
        rows.sort(key=other.__getitem__)
    groups: dict[int, list[int]] = {}
    for row in rows:
        groups.setdefault(lengths[row], []).append(row)
    batches = [group[i : i + batch_size] for group in groups.values() for i in range(0, len(group), batch_size)]
    if rng is not None:
        rng.shuffle(batches)
    return batches


@dataclass(frozen=True)
class SentenceBatches(Unnamed):
    """Batches of sentences of one length: ids (B, T) and labels (B, T), the ids one step later; none is padded.

    sentences: ids, each of two or more, with END at both ends.
    """

    sentences: Sequence[Ids]
    batch_size: int
    seed: int = 0

    def __len__(self) -> int:
        return len(of_equal_length(list(map(len, self.sentences)), self.batch_size))

    def __call__(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch, in an order drawn by seed and epoch."""
        for rows in of_equal_length(list(map(len, self.sentences)), self.batch_size, [self.seed, epoch]):
            ids = torch.from_numpy(np.stack([self.sentences[row] for row in rows]))
            yield ids[:, :-1], ids[:, 1:]


@dataclass(frozen=True)
class PairBatches(Unnamed):
    """Batches of sentences and their translations: source (B, S), target (B, T) and labels (B, T), one step later.

    Sources of a batch have one length S, so that none is padded; targets, of similar length, are padded by END, their
    labels by IGNORE_INDEX. pairs: (source, target) ids, the target with END at both ends.
    """

    pairs: Sequence[tuple[Ids, Ids]]
    batch_size: int
    seed: int = 0

    def __len__(self) -> int:
        return len(self._rows(None))

    def __call__(self, epoch: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield the batches of an epoch, in an order drawn by seed and epoch."""
        for rows in self._rows([self.seed, epoch]):
            yield self.batch(rows)

    def _rows(self, seed: Sequence[int] | None) -> list[list[int]]:
        sources, targets = ([len(pair[side]) for pair in self.pairs] for side in (0, 1))
        return of_equal_length(sources, self.batch_size, seed, targets)

    def batch(self, rows: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Make the batch of some rows, whose sources have one length."""
        sources, targets = zip(*(self.pairs[row] for row in rows), strict=True)
        labels = np.full((len(rows), max(map(len, targets)) - 1), IGNORE_INDEX)
        inputs = np.full_like(labels, targets[0][0])
        for row, target in enumerate(targets):
            inputs[row, : len(target) - 1] = target[:-1]
            labels[row, : len(target) - 1] = target[1:]
        return torch.from_numpy(np.stack(sources)), torch.from_numpy(inputs), torch.from_numpy(labels)


# --- network -------------------------------------------------------------------------------------------------------


class LockedDropout(nn.Module):
    """Dropout with one mask for all steps of a sequence (B, T, F). Gal & Ghahramani 2016, "A theoretically grounded
    application of dropout in recurrent neural networks".
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        return x * F.dropout(torch.ones_like(x[:, :1]), self.share, self.training)


class TiedEmbedding(nn.Module):
    """Embedding of symbols that is also the output: ids (B, T) -> (B, T, E), and `logits` of states (B, T, H).

        o = E (P s) + b       E: (V, E) the embedding, P: (E, H) left out if E = H

    Press & Wolf 2017, "Using the output embedding to improve language models"; Inan et al. 2017.
    """

    def __init__(self, symbols: int, size: int, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(symbols, size).normal_(std=0.1))
        self.bias = nn.Parameter(torch.zeros(symbols))
        self.projection = nn.Linear(hidden, size, bias=False) if hidden != size else nn.Identity()

    def forward(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.weight)

    def logits(self, states: Tensor) -> Tensor:
        """Logits (…, V) of states (…, H)."""
        return F.linear(self.projection(states), self.weight, self.bias)
