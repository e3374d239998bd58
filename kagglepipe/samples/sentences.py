"""Sentences of a small grammar, English beside German: what is seen on drawn photos, for lessons without a data set.

German has three genders, cases of articles and adjectives, and the verb in second place whatever stands first.
"""

from typing import TypeVar

import numpy as np
from numpy.random import Generator

Row = TypeVar("Row", bound=tuple[str, ...])

PEOPLE = (  # English, German, gender
    ("man", "Mann", "m"), ("woman", "Frau", "f"), ("child", "Kind", "n"), ("girl", "Mädchen", "n"),
    ("dog", "Hund", "m"), ("cat", "Katze", "f"), ("horse", "Pferd", "n"), ("cook", "Koch", "m"),
)  # fmt: skip
THINGS = (
    ("ball", "Ball", "m"), ("bag", "Tasche", "f"), ("book", "Buch", "n"), ("hat", "Hut", "m"), ("lamp", "Lampe", "f"),
    ("picture", "Bild", "n"),
)  # fmt: skip
PLACES = (
    ("in a park", "in einem Park"), ("on a street", "auf einer Straße"), ("in front of a house", "vor einem Haus"),
    ("beside a tree", "neben einem Baum"), ("on a beach", "an einem Strand"),
)  # fmt: skip
TIMES = (("today", "heute"), ("now", "jetzt"), ("at night", "nachts"))
LOOKS = (("young", "jung"), ("old", "alt"), ("small", "klein"), ("red", "rot"), ("black", "schwarz"), ("new", "neu"))
ACTS = (("sleeps", "schläft"), ("runs", "läuft"), ("waits", "wartet"), ("plays", "spielt"))
HANDLINGS = (("sees", "sieht"), ("carries", "trägt"), ("holds", "hält"), ("finds", "findet"))
ENDINGS = {  # (gender, case) -> of the article `ein` and of the adjective after it
    ("m", "nominative"): ("", "er"), ("f", "nominative"): ("e", "e"), ("n", "nominative"): ("", "es"),
    ("m", "accusative"): ("en", "en"), ("f", "accusative"): ("e", "e"), ("n", "accusative"): ("", "es"),
}  # fmt: skip


def draw_sentences(number: int, seed: int = 0) -> list[tuple[str, str]]:
    """Draw so many pairs of an English sentence and its German translation; some may be drawn twice."""
    rng = np.random.default_rng(seed)
    return [_sentence(rng) for _ in range(number)]


def _sentence(rng: Generator) -> tuple[str, str]:
    """Draw one: someone acts, or handles a thing; where; sometimes when, first in the sentence."""
    who, wer = _noun(rng, PEOPLE, "nominative")
    acts, tut = _of(rng, ACTS)
    what = was = ""
    if rng.random() < 0.6:
        acts, tut = _of(rng, HANDLINGS)
        what, was = _noun(rng, THINGS, "accusative")
    where, wo = _of(rng, PLACES)
    if rng.random() < 0.3:
        when, wann = _of(rng, TIMES)
        return _written(when, who, acts, what, where), _written(wann, tut, wer, was, wo)
    return _written(who, acts, what, where), _written(wer, tut, was, wo)


def _noun(rng: Generator, nouns: tuple[tuple[str, str, str], ...], case: str) -> tuple[str, str]:
    """Draw a noun with its article and, half of the time, an adjective."""
    noun, wort, gender = _of(rng, nouns)
    of_article, of_adjective = ENDINGS[gender, case]
    look, aussehen = _of(rng, LOOKS)
    if rng.random() < 0.5:
        return f"a {noun}", f"ein{of_article} {wort}"
    return f"{'an' if look[0] in 'aeiou' else 'a'} {look} {noun}", f"ein{of_article} {aussehen}{of_adjective} {wort}"


def _of(rng: Generator, rows: tuple[Row, ...]) -> Row:
    return rows[int(rng.integers(len(rows)))]


def _written(*parts: str) -> str:
    """Join parts to a sentence with a capital letter and a full stop."""
    text = " ".join(filter(None, parts))
    return f"{text[0].upper()}{text[1:]}."
