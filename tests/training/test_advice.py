"""Names of classes hint that a mirror swaps them."""

import pytest

from kagglepipe.competitions.mirrored import mirrored_classes
from kagglepipe.training.advice import mirror_hint


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("left", "right"), ("Turn Left", "turn_right"), ("turnLeft", "turnRight"), ("left-hand", "right-hand"),
        ("hand_L", "hand_R"), ("pie izquierdo", "pie derecho"), ("links", "rechts"),
        ("virage à gauche", "virage à droite"),
        ("east", "west"), ("b", "d"), ("clockwise", "counterclockwise"), ("01_left", "01_right"),
        ("letter p", "letter q"), ("L2", "R2"), ("knee_2_l", "knee_2_r"),
    ],
)  # fmt: skip
def test_classes_that_differ_in_their_side_hint_at_it(one: str, other: str) -> None:
    assert mirrored_classes(["other", one, "none", other]) == (one, other)
    hint = mirror_hint([one, other])
    assert hint is not None
    assert hint.endswith("augmentation.mirror=false")


@pytest.mark.parametrize(
    "classes",
    [
        ["cat", "dog"], ["left", "up"], ["left_over", "right"], ["right", "wrong"], ["northwest", "southeast"],
        ["0", "1", "2"], ["bright", "light"], ["model_b", "model_e"],
        ["w_000b", "w_000d"], ["a-12-p", "a-12-q"], ["9b1e", "9d1e"], ["x07l", "x07r"],
    ],
)  # fmt: skip
def test_others_do_not(classes: list[str]) -> None:
    assert mirror_hint(classes) is None


def test_ten_digits_hint_at_it() -> None:
    assert mirrored_classes([str(digit) for digit in range(10)]) == ("2", "5")


def test_thousands_of_ids_are_no_sides() -> None:
    assert mirrored_classes([f"w_{number:07x}" for number in range(5005)]) is None
