"""Lists of names in messages, and tables as a terminal shows them."""

import re
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from textwrap import wrap

MAX_LISTED = 8  # names in a line
PLAIN_TEXT = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)  # needs no quotes, in Hydra's grammar or YAML
YAML_WORDS = {"true", "false", "null", "nan", "inf", "yes", "no", "on", "off", "y", "n"}  # though these do
LEAST_CUT = 12  # columns that are left of a cell that is cut
LARGEST = 1e15  # number that is written without an exponent


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Lines in columns, two blanks apart.

    >>> table(["run", "score"], [["a-long-one", "0.5"]])
    ['run         score', 'a-long-one  0.5']
    """
    lines = [list(header), *map(list, rows)]
    widths = [max(map(width, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(padded(cell, n) for cell, n in zip(line, widths, strict=True)).rstrip() for line in lines]


def fitted(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    drop: Sequence[str],
    cut: Sequence[str],
    columns: int | None = None,
) -> list[str]:
    """`table`, as wide as the terminal at most: without some columns, and with some cells cut in the middle.

    drop: columns that may go, the first of them first; those that are empty go before. cut: columns whose cells may be
    cut, the first of them first. columns: of the terminal; None asks it, and takes all there are in a pipe or file.

    >>> fitted(["run", "score", "gap"], [["lite0-head-bb8780de", "0.5", ""]], drop=["gap"], cut=["run"], columns=23)
    ['run               score', 'lite0-h…bb8780de  0.5']
    """
    columns = columns or terminal_columns()
    lines = table(header, rows)
    if columns is None:
        return lines
    names, cells = list(header), [list(row) for row in rows]
    empty = [name for n, name in enumerate(names) if name in drop and not any(row[n] for row in cells)]
    for name in [*empty, *(name for name in drop if name not in empty)]:
        if max(map(width, lines)) <= columns:
            break
        at = names.index(name)
        for row in (names, *cells):
            del row[at]
        lines = table(names, cells)
    for name in cut:
        if (over := max(map(width, lines)) - columns) > 0:
            at = names.index(name)
            most = max(LEAST_CUT, max(width(row[at]) for row in cells) - over)
            cells = [[*row[:at], shortened(row[at], most), *row[at + 1 :]] for row in cells]
            lines = table(names, cells)
    return lines


def terminal_columns() -> int | None:
    """Count the columns of the terminal that standard output is; None where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout is not None and sys.stdout.isatty() else None


def shortened(text: str, most: int) -> str:
    """Shorten a text to so many columns by leaving its middle out.

    >>> shortened("tf_efficientnet_lite0-head-bb8780de", 20)
    'tf_effici…d-bb8780de'
    """
    if width(text) <= most:
        return text
    end = (most - 1 + 1) // 2
    return f"{text[: most - 1 - end]}…{text[-end:]}"


def framed(title: str, lines: Iterable[str], columns: int, *, in_colour: bool = False) -> list[str]:
    """Lines in a frame, wrapped to so many columns at most.

    >>> print(*framed("lite0", ["accuracy 0.9, log loss 0.5"], 19), sep="\\n")
    ╭─ lite0 ────────╮
    │ accuracy 0.9,  │
    │   log loss 0.5 │
    ╰────────────────╯
    """
    title = shortened(title, columns - 6)
    most = {line: max(LEAST_CUT, columns - 4 - max(0, width(line) - len(line))) for line in lines}
    cells = [cell for line, n in most.items() for cell in wrap(line, n, subsequent_indent="  ", break_on_hyphens=False)]
    inner = max(map(width, [*cells, f"{title}  "]))
    edge, bold, end = ("\x1b[36m", "\x1b[1m", "\x1b[0m") if in_colour else ("", "", "")
    top = f"{edge}╭─{end} {bold}{title}{end} {edge}{'─' * (inner - width(title) - 1)}╮{end}"
    rows = [f"{edge}│{end} {padded(cell, inner)} {edge}│{end}" for cell in cells]
    return [top, *rows, f"{edge}╰{'─' * (inner + 2)}╯{end}"]


def counted(counts: Mapping[str, int], noun: str = "classes", most: int = MAX_LISTED) -> str:
    """How many there are of each class, the first few by name and the rest as a number.

    >>> counted({"cat": 3, "dog": 2})
    '3 cat, 2 dog'
    >>> counted({"a": 1, "b": 2, "c": 4}, most=2)
    '1 a, 2 b and 1 more classes'
    >>> counted({"10": 1, "2": 3})
    '3 2, 1 10'
    """
    names = sorted(counts, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))
    listed = ", ".join(f"{counts[name]} {name}" for name in names[:most])
    return listed if len(names) <= most else f"{listed} and {len(names) - most:,} more {noun}"


def listed(names: Iterable[object], most: int = MAX_LISTED, separator: str = ", ") -> str:
    """Join the first few names and say how many more there are.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    names = list(names)
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return separator.join(map(str, names[:most])) + more


def first_three(names: Iterable[object], separator: str = ", ") -> str:
    """Join the first three names and say how many more there are: for errors and warnings.

    >>> first_three(["a.jpg", "b.jpg", "c.jpg", "d.jpg"])
    'a.jpg, b.jpg, c.jpg and 1 more'
    """
    return listed(names, 3, separator)


def quoted_three(names: Iterable[object]) -> str:
    """Quote the first three distinct names in sorted order and say how many more there are.

    >>> quoted_three(["d", "a", "c", "b", "a"])
    "'a', 'b', 'c' and 1 more"
    """
    return first_three(map(repr, sorted({str(name) for name in names})))


def significant(value: float, digits: int = 4) -> str:
    """A number with so many significant digits at least, as people write it: no exponent where it is large.

    >>> significant(10690.0), significant(1500000, 6), significant(0.25), significant(1.25e-7), significant(-0.0)
    ('10,690', '1,500,000', '0.25', '1.25e-07', '0')
    """
    is_long = 10**digits - 0.5 <= abs(value) < LARGEST
    return f"{value:,.0f}" if is_long else f"{value:z,.{digits}g}"


def padded(text: str, columns: int) -> str:
    """Pad a text with blanks to so many columns."""
    return text + " " * (columns - width(text))


def width(text: str) -> int:
    """Count the columns of a terminal that a text takes; the names of teams are in every script.

    >>> width("né"), width("ne\u0301"), width("日本")
    (2, 2, 4)
    """
    marks = sum(unicodedata.category(c) in ("Mn", "Me", "Cf") for c in text)
    return len(text) - marks + sum(unicodedata.east_asian_width(c) in "WF" for c in text)
