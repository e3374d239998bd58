"""Class names: their order, and names too alike to be two classes."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal

from kagglepipe.errors import UserError
from kagglepipe.text import first_three, quoted_three

RESERVED = ("id", "fold", "target")

WHOLE = re.compile(r"[+-]?[0-9]+")
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]{1,3})?", re.IGNORECASE)
MAX_DIGITS = 28  # of a label compared as a number; Decimal is exact up to here
SHOWN = 20  # names of classes in one message


def clean_label(label: str) -> str:
    r"""Strip blanks, byte order marks and other invisible characters.

    >>> clean_label(" big cat\u00a0"), clean_label("\ufeffdog")
    ('big cat', 'dog')
    """
    return label.strip("".join(letter for letter in set(label) if _is_invisible(letter)))


def _is_invisible(letter: str) -> bool:
    return letter.isspace() or unicodedata.category(letter) in ("Cf", "Cc")


def sort_classes(names: Iterable[str]) -> list[str]:
    """Sort class names: as numbers if all are whole, else as text.

    >>> sort_classes(["10", "9", "0"]), sort_classes(["c10", "c9"])
    (['0', '9', '10'], ['c10', 'c9'])
    """
    names = list(names)
    if all(WHOLE.fullmatch(name) for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def check_alike(names: Iterable[str], where: str) -> None:
    """Raises UserError if two names differ only in case, blanks, the form of accents or as numbers are written.

    where: begins the message, as `labels.csv has the labels`.
    """
    known: dict[str, str] = {}
    for name in sorted(names):
        other = known.setdefault(_essence(name), name)
        if other != name:
            raise UserError(
                f"{where} {_shown(other)} and {_shown(name)}, which differ only in case, blanks, the form "
                "of accents or as numbers are written: spell them alike, or if they are two classes name both in "
                "competition.classes"
            )


def check_one_kind(labels: Iterable[str], where: str, *, are_given: bool) -> None:
    """Raises UserError for numbers beside text, of which one is probably none; single characters are text.

    where: begins the message, as `labels.csv: column label has`. are_given: whether competition.classes names them.
    """
    names = sort_classes(set(labels))
    numbers = [name for name in names if NUMBER.fullmatch(name)]
    words = [name for name in names if not NUMBER.fullmatch(name)]
    if are_given or not numbers or not words or all(len(name) == 1 for name in names):
        return
    some = ",".join(names[:SHOWN]) + (",…" if len(names) > SHOWN else "")
    raise UserError(
        f"{where} numbers ({first_three(numbers)}) and text ({first_three(words)}): mend it or, if all are classes, "
        f"type 'competition.classes=[{some}]'"
    )


def _essence(name: str) -> str:
    """Normalize a name: no invisible characters, no case, one form of accents and of numbers."""
    seen = "".join(letter for letter in unicodedata.normalize("NFC", name) if unicodedata.category(letter) != "Cf")
    text = " ".join(seen.split())
    if NUMBER.fullmatch(text) and len(text) < MAX_DIGITS:
        return str(Decimal(text).normalize() + 0)
    return unicodedata.normalize("NFC", text.casefold())


def _shown(name: str) -> str:
    """Quote a name, with escapes where a character looks like another."""
    is_plain = name == " ".join(name.split(" ")) and unicodedata.is_normalized("NFC", name)
    is_plain = is_plain and all(letter == " " or not _is_invisible(letter) for letter in name)
    return repr(name) if is_plain else ascii(name)


def spell_as(classes: Sequence[str], labels: Iterable[str]) -> dict[str, str]:
    """label -> its spelling in `classes`, which may compose accents differently."""
    known = {unicodedata.normalize("NFC", name): name for name in classes}
    return {label: known.get(unicodedata.normalize("NFC", label), label) for label in labels}


def known_classes(classes: Sequence[str], found: Iterable[str], where: str, *, form: str) -> list[str]:
    """The `classes` that have a label, in their order.

    Raises UserError for a label that is none of `classes` and, unless the competition's `form` is `probabilities`, a
    class that has no label: its column is 0 in such a submission.
    """
    labels = set(found)
    if unknown := sorted(labels - set(classes)):
        hint = spelling_hint(classes, unknown[0])
        raise UserError(f"{where}labels {first_three(unknown)} are not among competition.classes={list(classes)}{hint}")
    empty = [name for name in classes if name not in labels]
    if empty and form != "probabilities":
        raise UserError(
            f"class {empty[0]} of competition.classes has no images: add some, or take it out of competition.classes"
        )
    return [name for name in classes if name in labels]


def check_order(classes: Sequence[str]) -> None:
    """Raises UserError for classes that are no whole numbers without a gap, of which nobody has given the order."""
    some = ",".join(classes[:SHOWN]) + (",…" if len(classes) > SHOWN else "")
    mend = f"type 'competition.classes=[{some}]' in their order, if these are all, or competition.task=multiclass"
    if strange := [name for name in classes if not WHOLE.fullmatch(name)]:
        raise UserError(
            f"competition.task=ordinal needs the order of its classes, and {strange[0]} is no number: {mend}"
        )
    numbers = {int(name) for name in classes}
    if gaps := sorted(set(range(min(numbers), max(numbers))) - numbers):
        raise UserError(
            f"competition.task=ordinal has the classes {some}, and none is {first_three(map(str, gaps))}: an order is "
            f"without gaps; {mend}"
        )


def absent_note(classes: Sequence[str], known: Sequence[str]) -> list[str]:
    """A note for the log on those of competition.classes that no item to train on has; none if all have one."""
    absent = [name for name in classes if name not in known]
    words = "nothing to train on is of the class %s, which competition.classes names: it is 0 in the submission"
    return [words % first_three(absent)] if absent else []


def spelling_hint(classes: Sequence[str], label: str) -> str:
    """Hint for an unknown label that is one of `classes` in another spelling; else an empty string.

    >>> spelling_hint(["walk", "run"], "Walk"), spelling_hint(["walk"], "jump")
    (" (spell it 'walk' there, or here; true and on need quotes in YAML)", '')
    """
    near = next((name for name in classes if _essence(name) == _essence(label)), None)
    return f" (spell it {_shown(near)} there, or here; true and on need quotes in YAML)" if near else ""


def check_index_form(classes: Sequence[str], *, are_given: bool, first: int = 0) -> None:
    """Raises UserError where form=index would write positions in an arbitrary order.

    are_given: whether `classes` is competition.classes. first: competition.first_index.
    """
    numbers = [str(number) for number in range(first, first + len(classes))]
    if are_given or list(classes) == numbers:
        return
    some = ",".join(classes[:SHOWN]) + (",…" if len(classes) > SHOWN else "")
    if set(classes) == set(numbers):  # a table of an older version
        wrong = next(place for place, name in enumerate(classes) if name != numbers[place])
        raise UserError(
            f"the classes were prepared in the order {some}, so form=index would write {numbers[wrong]} for "
            f"{classes[wrong]}: type competition.form=name, which writes the numbers themselves"
        )
    raise UserError(
        f"competition.form=index writes the positions {numbers[0]}…{numbers[-1]} of the classes, and nobody has given "
        f"their order: type 'competition.classes=[{some}]' in the competition's order, or competition.form=name"
    )


def check_classes(classes: Sequence[str]) -> None:
    """Raises UserError if a class name is empty, repeated or reserved for another column of a frame of predictions."""
    faults = {
        "empty": [name for name in classes if not name.strip()],
        f"reserved (the frame's own columns are {', '.join(RESERVED)})": [n for n in classes if n in RESERVED],
        "repeated": [name for name, times in Counter(classes).items() if times > 1],
    }
    for fault, names in faults.items():
        if names:
            raise UserError(f"class name {quoted_three(names)} is {fault}; change competition.classes")


def class_columns(classes: Sequence[str], columns: Sequence[str]) -> dict[str, str]:
    """Column of a submission -> its class: case, blanks and punctuation may differ, and all may have one prefix more.

    So may all classes have one suffix more.

    Columns without a class are left out. Empty where two columns or two classes are alike.

    >>> class_columns(["cat", "Big dog"], ["big_dog", "cat"]), class_columns(["1", "2"], ["class1", "class2"])
    ({'big_dog': 'Big dog', 'cat': 'cat'}, {'class1': '1', 'class2': '2'})
    >>> class_columns(["X4_mean", "X11_mean"], ["X11", "X4"])
    {'X11': 'X11_mean', 'X4': 'X4_mean'}
    """
    if set(classes) <= set(columns):
        return {name: name for name in columns if name in set(classes)}
    known = {_bare(name): name for name in classes}
    bare = [_bare(column) for column in columns]
    if len(known) < len(classes) or len(set(bare)) < len(columns):
        return {}
    longer = next((name.removeprefix(bare[0]) for name in known if bare and name.startswith(bare[0])), "")
    if longer and all(f"{one}{longer}" in known for one in bare):
        return {column: known[f"{one}{longer}"] for column, one in zip(columns, bare, strict=True)}
    for length in range(min(map(len, bare), default=0)):
        if len({one[:length] for one in bare}) > 1:
            break
        places = [known.get(one[length:]) for one in bare]
        found = {column: name for column, name in zip(columns, places, strict=True) if name is not None}
        if found and (length == 0 or 1 < len(classes) == len(found)):
            return found
    return {}


def _bare(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


NEGATIONS = {"no", "not", "non", "without"}


def positive_class(classes: Sequence[str], column: str) -> int | None:
    """Index of the class, of two, that a column of probabilities is named after; None if unclear.

    >>> positive_class(["cactus", "no cactus"], "has_cactus"), positive_class(["cat", "dog"], "label")
    (0, None)
    """
    named = _words(column)
    found = [
        (len(_words(name)), number) for number, name in enumerate(classes) if _words(name) and _words(name) <= named
    ]
    if not found or (len(found) > 1 and found[0][0] == found[1][0]):
        return None
    _, number = max(found)
    return number if named & NEGATIONS <= _words(classes[number]) else None


def _words(name: str) -> set[str]:
    """Split a name into its words, in lower case.

    >>> sorted(_words("noFight")), sorted(_words("is_dog"))
    (['fight', 'no'], ['dog', 'is'])
    """
    return set(re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).casefold()))
