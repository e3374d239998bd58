"""Sequences with long time lags, drawn at random: the experiments of Hochreiter & Schmidhuber 1997, "Long short-term
memory", and the copying problem in the form of Arjovsky, Shah & Bengio 2016, "Unitary evolution recurrent networks".

TASKS has each with its criterion and the paper's result. B sequences, T steps, F inputs, O outputs. Zeros follow the
end of sequences shorter than T, where no answer is asked.
"""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Floats = NDArray[np.float32]

REBER = {  # state of the grammar -> (symbol, next state), figure 3
    0: {"B": 1},
    1: {"T": 2, "P": 3},
    2: {"S": 2, "X": 4},
    3: {"T": 3, "V": 5},
    4: {"X": 3, "S": 6},
    5: {"P": 4, "V": 6},
    6: {"E": 7},
    7: {},
}
REBER_SYMBOLS = "BTPSXVE"
ORDER_SYMBOLS = "EBabcdXY"
ORDER_PLACES = {2: ((10, 20), (50, 60)), 3: ((10, 20), (33, 43), (66, 76))}  # of each X or Y, ends included
LETTERS = 8  # of the copying problem


class Sequences(NamedTuple):
    """Sequences and what is asked about them.

    inputs: (B, T, F). targets: (B, T, O), NaN at steps where no answer is asked. truth: (B, T, O), the expectation of
    the targets, which differs from them where they are drawn at random.
    """

    inputs: Floats
    targets: Floats
    truth: Floats


Draw = Callable[[Generator, int], Sequences]


def lengths(rng: Generator, count: int, least: int) -> NDArray[np.int64]:
    """Draw lengths (count,) from `least` to `least` + `least` / 10."""
    return rng.integers(least, least + least // 10 + 1, count)


def at_end(
    inputs: Floats, ends: NDArray[np.int64], answers: NDArray[Any], truth: NDArray[Any] | None = None
) -> Sequences:
    """Ask for answers (B, O) at the last step of sequences of lengths `ends` (B,)."""
    found = []
    for values in (answers, answers if truth is None else truth):
        found.append(np.full((*inputs.shape[:2], answers.shape[1]), np.nan, np.float32))
        found[-1][np.arange(len(ends)), ends - 1] = values
    return Sequences(inputs, *found)


# --- embedded Reber grammar, section 5.1 ---------------------------------------------------------------------------


def reber_string(rng: Generator) -> str:
    """Draw a string of the embedded Reber grammar: B, T or P, a string of the Reber grammar, the same T or P, E."""
    state, inner = 0, ""
    while REBER[state]:
        symbol = str(rng.choice(list(REBER[state])))
        inner, state = inner + symbol, REBER[state][symbol]
    branch = str(rng.choice(["T", "P"]))
    return f"B{branch}{inner}{branch}E"


def reber_followers(string: str) -> list[str]:
    """Find the symbols that may follow each symbol but the last. Raises ValueError for a string outside the grammar.

    >>> reber_followers("BTBPVVETE")
    ['TP', 'B', 'TP', 'TV', 'PV', 'E', 'T', 'E']
    """
    branch, inner, state, found = string[1:2], string[2:-2], 0, ["TP"]
    for symbol in inner:
        found.append("".join(REBER[state]))
        state = REBER[state].get(symbol, -1)
        if state < 0:
            break
    if state != 7 or branch not in ("T", "P") or string != f"B{branch}{inner}{branch}E":
        raise ValueError(f"{string} is no string of the embedded Reber grammar")
    return [*found, branch, "E"]


def reber_strings(rng: Generator, count: int, without: Collection[str] = ()) -> list[str]:
    """Draw strings; those of `without` are drawn again."""
    found: list[str] = []
    while len(found) < count:
        string = reber_string(rng)
        if string not in without:
            found.append(string)
    return found


def encode_reber(strings: Sequence[str]) -> Sequences:
    """Ask for the next symbol at each step; its truth is the probability of each symbol, 1 or twice one half."""
    steps = max(map(len, strings)) - 1
    inputs = np.zeros((len(strings), steps, len(REBER_SYMBOLS)), np.float32)
    targets, truth = np.full_like(inputs, np.nan), np.full_like(inputs, np.nan)
    for row, string in enumerate(strings):
        targets[row, : len(string) - 1] = truth[row, : len(string) - 1] = 0
        for step, followers in enumerate(reber_followers(string)):
            inputs[row, step, REBER_SYMBOLS.index(string[step])] = 1
            targets[row, step, REBER_SYMBOLS.index(string[step + 1])] = 1
            truth[row, step, [REBER_SYMBOLS.index(symbol) for symbol in followers]] = 1 / len(followers)
    return Sequences(inputs, targets, truth)


def reber_grammar(rng: Generator, count: int) -> Sequences:
    """Experiment 1: the next symbols of strings of the Reber grammar, the last but one of which is the second."""
    return encode_reber(reber_strings(rng, count))


def reber_sets(rng: Generator, count: int) -> tuple[Draw, list[Sequences]]:
    """Draw `count` strings to learn from, and as many others to test on: the task that picks of the first, and both."""
    strings = reber_strings(rng, count)
    train, test = encode_reber(strings), encode_reber(reber_strings(rng, count, without=strings))

    def pick(rng: Generator, count: int) -> Sequences:
        rows = rng.integers(len(strings), size=count)
        longest = max(len(strings[row]) for row in rows) - 1
        return Sequences(*(values[rows, :longest] for values in train))

    return pick, [train, test]


# --- signals and numbers, sections 5.3 to 5.5 ----------------------------------------------------------------------


def two_sequences(rng: Generator, count: int, *, steps: int = 100, noise: float = 0.0) -> Sequences:
    """Tasks 3a and, with noise, 3c: the first three elements are 1 or -1, all others noise of variance 0.2.

    Targets are 1 and 0; with noise, the variance of what is added to them, 0.8 and 0.2.
    """
    ends, first = lengths(rng, count, steps), rng.integers(2, size=(count, 1))
    inputs = rng.normal(0, np.sqrt(0.2), (count, ends.max(), 1))
    inputs[:, :3, 0] = 2 * first - 1
    truth = 0.2 + 0.6 * first if noise else first
    drawn = truth + rng.normal(0, np.sqrt(noise), truth.shape)
    return at_end(_cut(inputs, ends), ends, drawn, truth)


def adding(rng: Generator, count: int, *, steps: int = 100) -> Sequences:
    """Experiment 4: the sum of two marked numbers in -1…1, as 0.5 + sum / 4."""
    inputs, ends, marked = _marked(rng, count, steps, least=-1, first=0)
    return at_end(inputs, ends, 0.5 + marked.sum(axis=1, keepdims=True) / 4)


def multiplication(rng: Generator, count: int, *, steps: int = 100) -> Sequences:
    """Experiment 5: the product of two marked numbers in 0…1."""
    inputs, ends, marked = _marked(rng, count, steps, least=0, first=1)
    return at_end(inputs, ends, marked.prod(axis=1, keepdims=True))


def _marked(
    rng: Generator, count: int, steps: int, *, least: float, first: float
) -> tuple[Floats, NDArray[np.int64], Floats]:
    """Draw pairs (number, marker), lengths (B,), and the two marked numbers (B, 2).

    Markers are 1 at one of the first ten pairs and at one of the first steps / 2 - 1 others, -1 at the unmarked first
    and at the last pair, else 0. first: the number of a marked first pair.
    """
    ends, rows = lengths(rng, count, steps), np.arange(count)
    inputs = np.zeros((count, ends.max(), 2))
    inputs[:, :, 0] = rng.uniform(least, 1, inputs.shape[:2])
    one = rng.integers(10, size=count)
    other = rng.integers(steps // 2 - 1, size=count)
    other += other >= one  # the pairs that are still unmarked
    inputs[rows, 0, 1] = inputs[rows, ends - 1, 1] = -1
    inputs[rows, one, 1] = inputs[rows, other, 1] = 1
    inputs[inputs[:, 0, 1] == 1, 0, 0] = first
    inputs = _cut(inputs, ends)
    return inputs, ends, np.stack([inputs[rows, one, 0], inputs[rows, other, 0]], axis=1)


def _cut(inputs: NDArray[np.float64], ends: NDArray[np.int64]) -> Floats:
    """Set inputs (B, T, F) after the end of each sequence to 0."""
    beyond = np.arange(inputs.shape[1]) >= ends[:, None]
    inputs[beyond] = 0
    return inputs.astype(np.float32)


# --- temporal order, section 5.6, and copying ----------------------------------------------------------------------


def temporal_order(rng: Generator, count: int, *, relevant: int = 2) -> Sequences:
    """Tasks 6a and 6b: the order of two or three symbols X or Y among others, as one of 4 or 8 classes.

    E, then a, b, c or d, X or Y at ORDER_PLACES, then B, the last of 100 to 110 symbols.
    """
    ends, rows = lengths(rng, count, 100), np.arange(count)
    symbols = rng.integers(2, 6, (count, ends.max()))
    chosen = rng.integers(2, size=(count, relevant))  # 0: X, 1: Y
    for number, (first, last) in enumerate(ORDER_PLACES[relevant]):
        symbols[rows, rng.integers(first, last + 1, count)] = ORDER_SYMBOLS.index("X") + chosen[:, number]
    symbols[:, 0], symbols[rows, ends - 1] = ORDER_SYMBOLS.index("E"), ORDER_SYMBOLS.index("B")
    label = chosen @ (2 ** np.arange(relevant)[::-1])  # XX, XY, YX, YY
    inputs = _cut(np.eye(len(ORDER_SYMBOLS))[symbols], ends)
    return at_end(inputs, ends, np.eye(2**relevant, dtype=np.float32)[label])


def copying(rng: Generator, count: int, *, copied: int = 5, lag: int = 30) -> Sequences:
    """Letters, `lag` blanks the last of which is a signal, then the letters are to be repeated."""
    letters, steps = rng.integers(LETTERS, size=(count, copied)), 2 * copied + lag
    symbols = np.full((count, steps), LETTERS)  # blanks
    symbols[:, :copied], symbols[:, copied + lag - 1] = letters, LETTERS + 1
    targets = np.full((count, steps, LETTERS), np.nan, np.float32)
    targets[:, -copied:] = np.eye(LETTERS)[letters]
    return Sequences(np.eye(LETTERS + 2, dtype=np.float32)[symbols], targets, targets)


# --- when a task is solved ------------------------------------------------------------------------------------------


class Criterion(NamedTuple):
    """At most `wrong` sequences have an error of `tolerance` or more, and the mean error is below `mean`.

    ranked: the error of a sequence is 1 where an impossible symbol is as probable as a possible one, else 0; otherwise
    it is the largest absolute error. tested: of sets of sequences apart; else of the 2,000 most recent of training.
    """

    tolerance: float
    mean: float = 1.0
    wrong: int = 0
    ranked: bool = False
    tested: bool = False

    def errors(self, outputs: Floats, truth: Floats) -> Floats:
        """Error of each sequence (B,), of outputs and truth (B, T, O), where an answer is asked."""
        if self.ranked:
            possible = np.where(truth > 0, outputs, np.inf).min(axis=2)
            impossible = np.where(truth == 0, outputs, -np.inf).max(axis=2)
            return (possible <= impossible).any(axis=1).astype(np.float32)
        return np.where(np.isnan(truth), 0, np.abs(outputs - truth)).max(axis=(1, 2))

    def is_wrong(self, errors: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Which errors (N,) are too large."""
        return errors >= self.tolerance

    def is_met(self, errors: NDArray[np.floating]) -> bool:
        """Whether errors (N,) are few and small enough."""
        return bool(self.is_wrong(errors).sum() <= self.wrong and errors.mean() < self.mean)


class Task(NamedTuple):
    """paper: number of sequences after which the paper's LSTM met the criterion, a mean of 10 to 30 trials."""

    draw: Draw
    criterion: Criterion
    paper: int | None = None


TASKS = {  # sections 5.1, 5.3 (N = 3, criterion ST2), 5.4, 5.5 (n_seq = 140), 5.6; all of T = 100
    "Reber grammar": Task(reber_grammar, Criterion(0.5, ranked=True, tested=True), 8_440),
    "two sequences": Task(two_sequences, Criterion(0.2, 0.01, tested=True), 39_850),
    "noisy targets": Task(partial(two_sequences, noise=0.1), Criterion(0.1, 0.015, tested=True), 269_650),
    "adding": Task(adding, Criterion(0.04, 0.01), 74_000),
    "multiplication": Task(multiplication, Criterion(0.04, wrong=139), 482_000),
    "order of two": Task(temporal_order, Criterion(0.3, 0.1), 31_390),
    "order of three": Task(partial(temporal_order, relevant=3), Criterion(0.3, 0.1), 571_100),
    "copying": Task(copying, Criterion(0.5, ranked=True)),
}
