"""Trigram models of words, counted: what a language model is compared with.

Sentences are lists of words, without signs for begin and end. V: words of the vocabulary, with END and UNKNOWN.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from kagglepipe.sequences.text import END

Gram = tuple[str, ...]
N = 3


class Trigrams:
    """Interpolated trigram model with absolute discounts. Ney, Essen & Kneser 1994; Chen & Goodman 1999, section 2.

        p(w | h) = max(c(h w) − D, 0) / c(h ·) + D N(h ·) / c(h ·) · p(w | h without its first word)

    h: the two words before w. c: how often an n-gram was seen. N(h ·): number of different words seen after h. Of no
    word at all p = 1 / V; after an h that was not seen, p is that of the shorter one. For each n D = n₁ / (n₁ + 2 n₂),
    with n₁ and n₂ the numbers of n-grams that were seen once and twice.

    kneser_ney: below trigrams c(h w) is the number of different words seen before h w, not how often it was seen: after
    an unseen pair `Francisco`, frequent but only after `San`, is then unlikely. Kneser & Ney 1995.
    """

    def __init__(self, sentences: Sequence[Sequence[str]], symbols: int, *, kneser_ney: bool) -> None:
        self.symbols = symbols
        seen = Counter(grams(sentences))
        self.counts = [seen]
        for _ in range(N - 1):
            longer = self.counts[0]
            shorter: Counter[Gram] = Counter()
            for gram, count in longer.items():
                shorter[gram[1:]] += 1 if kneser_ney else count
            self.counts.insert(0, shorter)  # of words, pairs, trigrams
        self.totals, self.types = zip(*map(_by_context, self.counts), strict=True)
        self.discounts = [_discount(count) for count in self.counts]

    def probability(self, gram: Gram) -> float:
        """P(w | u, v) of (u, v, w)."""
        prob = 1 / self.symbols
        for n in range(N):
            own, context, discount = gram[N - 1 - n :], gram[N - 1 - n : -1], self.discounts[n]
            if total := self.totals[n][context]:
                kept = max(self.counts[n][own] - discount, 0) / total
                prob = kept + discount * self.types[n][context] / total * prob
        return prob

    def perplexity(self, sentences: Sequence[Sequence[str]]) -> float:
        """exp of the mean −log P over the words and ENDs of sentences."""
        logs = [math.log(self.probability(gram)) for gram in grams(sentences)]
        return math.exp(-sum(logs) / len(logs))


def grams(sentences: Sequence[Sequence[str]]) -> Iterator[Gram]:
    """Yield (u, v, w) for each word w and the END of each sentence; u and v are END before its begin.

    >>> list(grams([["a", "b"]]))
    [('<eos>', '<eos>', 'a'), ('<eos>', 'a', 'b'), ('a', 'b', '<eos>')]
    """
    for sentence in sentences:
        padded = [*[END] * (N - 1), *sentence, END]
        yield from (tuple(padded[t : t + N]) for t in range(len(sentence) + 1))


def _by_context(count: Counter[Gram]) -> tuple[Counter[Gram], Counter[Gram]]:
    """For each context h the sum c(h ·), and the number of different words N(h ·)."""
    total: Counter[Gram] = Counter()
    for gram, number in count.items():
        total[gram[:-1]] += number
    return total, Counter(gram[:-1] for gram in count)


def _discount(count: Counter[Gram]) -> float:
    often = Counter(count.values())
    return often[1] / (often[1] + 2 * often[2]) if often[1] else 0.5
