"""Byte pair encoding: frequent words stay whole, rare ones are split into parts that are frequent."""

import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from kagglepipe.sequences.text import GLUE

Pair = tuple[str, str]


class Subwords:
    """Splits tokens into parts by merges of neighbours, learnt by `learn_merges`, the first first.

    Parts after the first begin with GLUE, so that `text.join` joins them as it joins tokens.
    """

    def __init__(self, merges: Sequence[Pair]) -> None:
        self.merges = [(left, right) for left, right in merges]
        self.rank = {pair: number for number, pair in enumerate(self.merges)}
        self.known: dict[str, list[str]] = {}

    def split(self, tokens: Iterable[str]) -> list[str]:
        """Split each token, and chain their parts."""
        return [part for token in tokens for part in self._parts(token)]

    def _parts(self, token: str) -> list[str]:
        if token not in self.known:
            parts = letters(token)
            while len(parts) > 1:
                pair = min(itertools.pairwise(parts), key=lambda one: self.rank.get(one, len(self.rank)))
                if pair not in self.rank:
                    break
                parts = merged(parts, pair)
            self.known[token] = parts
        return self.known[token]


def learn_merges(counts: Mapping[str, int], number: int, least: int = 2) -> list[Pair]:
    """Merge the most frequent pair of neighbours, the first in order of several, `number` times; or until none is seen
    `least` times.

    counts: of tokens. Sennrich, Haddow & Birch 2016, "Neural machine translation of rare words with subword units".
    """
    tokens = [(letters(token), count) for token, count in counts.items()]
    seen: Counter[Pair] = Counter()
    places: defaultdict[Pair, set[int]] = defaultdict(set)  # the tokens that have had the pair
    for place, (parts, count) in enumerate(tokens):
        for pair in itertools.pairwise(parts):
            seen[pair] += count
            places[pair].add(place)
    heap = [(-count, pair) for pair, count in seen.items()]
    heapq.heapify(heap)
    merges: list[Pair] = []
    while len(merges) < number and heap:
        count, best = heapq.heappop(heap)
        if -count != seen[best]:  # it has changed since, and stands in the heap anew
            continue
        if -count < least:
            break
        merges.append(best)
        changed = set()
        for place in places.pop(best):
            parts, times = tokens[place]
            after = merged(parts, best)
            for pair in itertools.pairwise(parts):
                seen[pair] -= times
                changed.add(pair)
            for pair in itertools.pairwise(after):
                seen[pair] += times
                places[pair].add(place)
                changed.add(pair)
            tokens[place] = after, times
        for pair in changed - {best}:
            heapq.heappush(heap, (-seen[pair], pair))
    return merges


def letters(token: str) -> list[str]:
    """Split into letters; those after the first begin with GLUE.

    >>> [part.replace(GLUE, "_") for part in letters("an")]
    ['a', '_n']
    """
    glue, text = (GLUE, token.removeprefix(GLUE)) if token.startswith(GLUE) else ("", token)
    return [(GLUE if number else glue) + letter for number, letter in enumerate(text)]


def merged(parts: Sequence[str], pair: Pair) -> list[str]:
    """Join each two neighbours that are the pair."""
    found: list[str] = []
    for part in parts:
        if found and (found[-1], part) == pair:
            found[-1] += part.removeprefix(GLUE)
        else:
            found.append(part)
    return found
