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
DIGITS = {str(digit) for digit in range(10)}


def mirrored_classes(classes: Sequence[str]) -> tuple[str, str] | None:
    """Two classes of which one may be the other in a mirror, by their names; None if no names hint at that.

    The names differ only in a word for a side, or are letters such as b and d. Ten classes called 0 to 9 count as
    digits, of which 2 and 5 are the pair.

    >>> mirrored_classes(["stop", "Turn-Left", "Turn-Right"])
    ('Turn-Left', 'Turn-Right')
    >>> mirrored_classes(["cat", "left_over"])
    """
    if set(classes) == DIGITS:
        return "2", "5"
    words = {name: words_of(name) for name in classes}
    for one, other in itertools.combinations(classes, 2):
        differ = {frozenset(pair) for pair in itertools.zip_longest(words[one], words[other]) if pair[0] != pair[1]}
        if differ and all(pair in {frozenset(side) for side in SIDES} for pair in differ):
            return one, other
    return None


def words_of(name: str) -> list[str]:
    """The words of a name in lower case, which blanks, signs, digits or capitals set apart.

    >>> words_of("turnLeft"), words_of("hand_left2"), words_of("CCW")
    (['turn', 'left'], ['hand', 'left', '2'], ['ccw'])
    """
    spaced = re.sub(r"(?<=[a-zß-ÿ])(?=[A-ZÀ-Þ])", " ", name)
    return [word.lower() for word in re.findall(r"[^\W\d_]+|\d+", spaced)]
