"""Fields of a competition as the lines of a YAML, each with its reason as a comment."""

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from kagglepipe.text import YAML_WORDS, padded, width

COLUMNS = 110  # of a line, without its comment
MOST_PADDED = 46  # columns before a comment; longer lines push it to the right
PLAIN = re.compile(r"[A-Za-z_/][\w./-]*", re.ASCII)  # a text without quotes
SHOWN = 8  # items of a list that is cut


def field_lines(fields: Mapping[str, Any], reasons: Mapping[str, str], *, cut: bool = False) -> list[str]:
    """The fields as lines of YAML, aligned comments behind them.

    reasons: field -> why; other fields have no comment. cut: shorten long lists, for people to read.

    >>> field_lines({"kind": "image", "classes": ["no", "yes"]}, {"kind": "84 of the 85 files"})
    ['kind: image  # 84 of the 85 files', "classes: ['no', 'yes']"]
    """
    entries = [(name, _entry(name, value, cut=cut)) for name, value in fields.items()]
    explained = [width(lines[0]) for name, lines in entries if reasons.get(name)]
    at = max((columns for columns in explained if columns <= MOST_PADDED), default=0)
    found = []
    for name, (first, *others) in entries:
        why = reasons.get(name)
        found += [f"{padded(first, at)}  # {comment(why)}" if why else first, *others]
    return found


def comment(text: str) -> str:
    """A text in one line without control characters, which names of files may hold."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def scalar(value: Any) -> str:
    r"""A value as YAML and OmegaConf read it back, of the same type.

    >>> [scalar(value) for value in ("big cat", "1e3", "it's", 5, None, True, "${a}")]
    ["'big cat'", "'1e3'", "'it''s'", '5', 'null', 'true', "'\\${a}'"]
    """
    if value is None or isinstance(value, bool | int | float):
        return yaml.safe_dump(value).split("\n")[0]
    text = str(value)
    if PLAIN.fullmatch(text) and text.lower() not in YAML_WORDS:
        return text
    return yaml.safe_dump(escaped(text), default_style="'", width=10**6, allow_unicode=True).strip()


def escaped(text: str) -> str:
    r"""A text that OmegaConf reads back unchanged: without it, `${a}` would be looked up.

    >>> escaped("${a}"), escaped("a\\${b}")
    ('\\${a}', 'a\\\\\\${b}')
    """
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


def _entry(name: str, value: Any, *, cut: bool) -> list[str]:
    """The lines of a field."""
    if isinstance(value, Mapping):
        inner = [line for key, one in value.items() for line in _entry(scalar(key), one, cut=cut)]
        return [f"{name}:", *(f"  {line}" for line in inner)] if inner else [f"{name}: {{}}"]
    if not isinstance(value, list | tuple):
        return [f"{name}: {scalar(value)}"]
    items = [scalar(one) for one in value]
    if cut and len(items) > SHOWN:
        items = [*items[: SHOWN - 2], f"… {len(items) - SHOWN + 1} more …", items[-1]]
    return list(_wrapped(f"{name}: [{', '.join(items)}]", items, name))


def _wrapped(line: str, items: Sequence[str], name: str) -> Iterator[str]:
    """A list in one line, or in several where that is too long."""
    if width(line) <= COLUMNS:
        yield line
        return
    yield f"{name}:"
    yield "  ["
    row = "    "
    for item in items:
        if width(row) + width(item) + 2 > COLUMNS and row.strip():
            yield row.rstrip()
            row = "    "
        row += f"{item}, "
    yield row.rstrip()
    yield "  ]"


def commented(texts: Sequence[str]) -> list[str]:
    """Sentences as lines of comments, wrapped."""
    return [line for text in texts for line in textwrap.wrap(comment(text), COLUMNS, initial_indent="# ",
                                                             subsequent_indent="#   ")]  # fmt: skip
