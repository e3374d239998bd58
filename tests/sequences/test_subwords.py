"""Frequent words stay whole, rare ones are split, and all come back."""

import itertools
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from kagglepipe.sequences.subwords import Subwords, learn_merges, letters, merged
from kagglepipe.sequences.text import GLUE, join, tokens


def shown(parts: list[str]) -> str:
    return " ".join(part.replace(GLUE, "_") for part in parts)


def test_the_most_frequent_pair_is_merged_first():
    """Sennrich et al. 2016, figure 1, without its sign for the end of a word."""
    merges = learn_merges({"low": 5, "lower": 2, "newest": 6, "widest": 3}, 4)
    assert [shown([left, right]) for left, right in merges] == ["_e _s", "_es _t", "l _o", "lo _w"]
    assert shown(Subwords(merges).split(["lowest"])) == "low _est"


def test_merges_end_when_no_pair_is_frequent():
    assert [shown(list(pair)) for pair in learn_merges({"aab": 1, "ab": 1}, 100)] == []
    assert [shown(list(pair)) for pair in learn_merges({"ab": 2}, 100)] == ["a _b"]


def naive(counts: dict[str, int], number: int) -> list[tuple[str, str]]:
    """Merges as by the definition: all pairs are counted again after each."""
    words = {token: letters(token) for token in counts}
    merges = []
    for _ in range(number):
        seen: Counter[tuple[str, str]] = Counter()
        for token, parts in words.items():
            for pair in itertools.pairwise(parts):
                seen[pair] += counts[token]
        best = min(seen, key=lambda pair: (-seen[pair], pair), default=None)
        if best is None or seen[best] < 2:
            break
        merges.append(best)
        words = {token: merged(parts, best) for token, parts in words.items()}
    return merges


@given(st.dictionaries(st.text("ab", min_size=1, max_size=8), st.integers(1, 4), max_size=8))
def test_counts_that_are_kept_equal_those_that_are_made_anew(counts):
    assert learn_merges(counts, 10) == naive(counts, 10)


@given(st.text("abc -."), st.lists(st.text("abc-.", min_size=1, max_size=6)))
def test_parts_join_to_the_text(text, seen):
    text = " ".join(text.split())
    merges = learn_merges(Counter(token for each in seen for token in tokens(each)), 10)
    assert join(Subwords(merges).split(tokens(text))) == text
