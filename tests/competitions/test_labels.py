"""Which names of classes are two, in which order they stand, and when their positions may be written."""

import unicodedata

import pytest

from kagglepipe.competitions.labels import (
    absent_note,
    check_alike,
    check_index_form,
    clean_label,
    known_classes,
    sort_classes,
    spell_as,
)
from kagglepipe.errors import UserError

NFC, NFD = (unicodedata.normalize(form, "été") for form in ("NFC", "NFD"))


@pytest.mark.parametrize("written", ["cat", " cat", "cat\t", "\u00a0cat\u00a0", "\ufeffcat", "cat\u200b", "cat\r"])
def test_what_is_not_seen_around_a_label_is_not_part_of_it(written: str) -> None:
    assert clean_label(written) == "cat"
    assert clean_label("big  cat") == "big  cat"


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (map(str, range(12)), [str(number) for number in range(12)]),
        (["-1", "10", "2"], ["-1", "2", "10"]),
        (["1", "10", "2", "x"], ["1", "10", "2", "x"]),
        (["1.5", "10", "2"], ["1.5", "10", "2"]),
        (["٣", "1"], ["1", "٣"]),
    ],
)
def test_whole_numbers_stand_in_their_order_and_all_else_as_text(names: list[str], order: list[str]) -> None:
    assert sort_classes(names) == order


@pytest.mark.parametrize(
    "pair",
    [
        ("cat", "Cat"), ("STRASSE", "straße"), ("big cat", "big  cat"), ("big cat", "big\u00a0cat"), (NFC, NFD),
        ("1", "1.0"), ("1", "01"), ("10", "1e1"), ("-0", "0"), ("0.50", ".5"), ("a\u200bb", "ab"),
    ],
)  # fmt: skip
def test_names_that_are_alike_are_refused_with_both(pair: tuple[str, str]) -> None:
    with pytest.raises(UserError) as caught:
        check_alike(["other", *pair], "labels.csv has the labels")
    told = str(caught.value)
    assert "\n" not in told
    shown = [name if name.isascii() and "  " not in name else ascii(name)[1:-1] for name in pair]
    assert all(name in told or plain in told for name, plain in zip(shown, pair, strict=True))
    assert told.count("'") >= 4


@pytest.mark.parametrize(
    "names", [("1", "2"), ("1", "1a"), ("007", "008"), ("a b", "ab"), ("1_0", "10"), ("9" * 30, "9" * 29 + "8")]
)
def test_other_names_are_two_classes(names: tuple[str, str]) -> None:
    check_alike(names, "labels.csv has the labels")


def test_accents_are_written_as_the_competition_writes_them() -> None:
    assert spell_as([NFC, "x"], [NFD, "y"]) == {NFD: NFC, "y": "y"}


def test_a_label_that_is_no_class_and_a_class_without_label_are_named() -> None:
    with pytest.raises(UserError, match=r"labels owl are not among competition.classes"):
        known_classes(["cat", "dog"], ["cat", "dog", "owl"], "", form="name")
    with pytest.raises(UserError, match=r"spell it 'False' there.*quotes in YAML"):
        known_classes(["True", "False"], ["true", "false"], "", form="probabilities")
    with pytest.raises(UserError, match=r"class owl of competition.classes has no images"):
        known_classes(["cat", "dog", "owl"], ["cat", "dog"], "", form="name")
    assert known_classes(["dog", "owl", "cat"], ["cat", "dog"], "", form="probabilities") == ["dog", "cat"]
    (told,) = absent_note(["dog", "owl", "cat"], ["dog", "cat"])
    assert told == "nothing to train on is of the class owl, which competition.classes names: it is 0 in the submission"


def test_positions_are_written_only_in_an_order_that_somebody_gave() -> None:
    check_index_form(["0", "1", "2"], are_given=False)
    check_index_form(["dog", "cat"], are_given=True)
    check_index_form(["1", "2", "3"], are_given=False, first=1)
    with pytest.raises(UserError, match="writes the positions 1…2 of the classes"):
        check_index_form(["cat", "dog"], are_given=False, first=1)
    with pytest.raises(UserError, match=r"type 'competition.classes=\[cat,dog\]' in the competition's order"):
        check_index_form(["cat", "dog"], are_given=False)
    with pytest.raises(UserError, match=r"positions 0…2 of the classes.*competition.form=name"):
        check_index_form(["1", "2", "3"], are_given=False)
    with pytest.raises(UserError, match=r"would write 2 for 10: type competition.form=name"):
        check_index_form(["0", "1", "10", *"23456789"], are_given=False)
