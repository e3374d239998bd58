"""Classes that a horizontal flip would swap, by their names."""

import itertools
import re
from collections.abc import Sequence

SIDES = (
    ("left", "right"), ("lefthand", "righthand"), ("leftward", "rightward"), ("leftwards", "rightwards"),
    ("l", "r"), ("lt", "rt"), ("lhs", "rhs"), ("east", "west"), ("eastbound", "westbound"),
    ("clockwise", "counterclockwise"), ("clockwise", "anticlockwise"), ("cw", "ccw"),
    ("izquierda", "derecha"), ("izquierdo", "derecho"), ("izq", "der"), ("links", "rechts"), ("link", "recht"),
    ("linke", "rechte"), ("linker", "rechter"), ("gauche", "droite"), ("gauche", "droit"), ("sinistra", "destra"),
    ("sinistro", "destro"), ("esquerda", "direita"), ("esquerdo", "direito"), ("ost", "west"), ("est", "ouest"),
    ("este", "oeste"), ("b", "d"), ("p", "q"),
)  # fmt: skip
PAIRS = {frozenset(side) for side in SIDES}
LETTERS = {frozenset("bd"), frozenset("pq")}  # mirrored as glyphs, unless in a code
DIGITS = {str(digit) for digit in range(10)}


def mirrored_classes(classes: Sequence[str]) -> tuple[str, str] | None:
    """Two classes of which one may be the other in a mirror, by their names; None if no names hint at that.

    The names differ only in a word for a side, or in letters such as b and d, and are no codes with digits. Ten classes
    called 0 to 9 count as digits, of which 2 and 5 are the pair.

    >>> mirrored_classes(["stop", "Turn-Left", "Turn-Right"])
    ('Turn-Left', 'Turn-Right')
    >>> mirrored_classes(["cat", "left_over"]), mirrored_classes(["w_000b", "w_000d"])
    (None, None)
    """
    if set(classes) == DIGITS:
        return "2", "5"
    sides = frozenset[str]().union(*PAIRS)
    words = {name: found for name in classes if sides & set(found := words_of(name))}  # few of thousands of names
    for one, other in itertools.combinations(words, 2):
        differ = {frozenset(pair) for pair in itertools.zip_longest(words[one], words[other]) if pair[0] != pair[1]}
        pairs = PAIRS - LETTERS if re.search(r"\d", one) else PAIRS
        if differ and differ <= pairs:
            return one, other
    return None


def words_of(name: str) -> list[str]:
    """The words of a name in lower case, set apart by blanks, signs, digits or capitals; digits keep one letter after.

    >>> words_of("turnLeft"), words_of("hand_left2"), words_of("CCW"), words_of("w_007r")
    (['turn', 'left'], ['hand', 'left', '2'], ['ccw'], ['w', '007r'])
    """
    spaced = re.sub(r"(?<=[a-zß-ÿ])(?=[A-ZÀ-Þ])", " ", name)
    return [word.lower() for word in re.findall(r"\d+[^\W\d_](?![^\W\d_])|[^\W\d_]+|\d+", spaced)]
