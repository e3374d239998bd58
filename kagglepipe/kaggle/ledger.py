"""submissions/ledger.csv: one row for every submission, written before it is sent.

It links Kaggle's scores to the bytes, the run, its configuration and out-of-fold score. It is
a plain CSV; columns that somebody adds by hand stay.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kagglepipe.errors import UserError
from kagglepipe.files import locked, write_bytes

COLUMNS = (
    "time",  # when it was sent, UTC
    "competition",  # slug
    "file",
    "sha256",  # of the file's bytes
    "run",
    "runs",  # its members, or itself
    "config_hash",
    "git_commit",
    "metric",
    "oof_score",
    "oof_low",  # 95 % interval
    "oof_high",
    "tag",  # unique; identifies it at Kaggle while it has no ref
    "ref",  # Kaggle's number of it
    "status",  # sending, pending, complete, error, refused (not counted) or lost (not found at Kaggle)
    "public_score",
    "private_score",
    "gap",  # public_score - oof_score
    "error",  # in Kaggle's words
)
OPEN = ("sending", "pending")  # statuses that may still change
MAX_CELL = 2000  # characters; csv refuses to read more than 131,072

Row = dict[str, str]


def read_ledger(path: Path) -> list[Row]:
    """Read the rows, the latest last, "" where nothing is known; none without a file. Raises UserError if damaged."""
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="", strict=True)  # else a quote left open swallows all that follows
            rows, header = list(reader), reader.fieldnames or []
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as CSV ({error}): fix it, or move it away") from error
    missing = [name for name in COLUMNS if name not in header]
    if missing or any(None in row for row in rows):
        fault = f"lacks the columns {', '.join(missing)}" if missing else "has rows that are longer than its header"
        raise UserError(f"{path} {fault}: fix it, or move it away")
    return rows


def record(path: Path, tag: str, facts: Mapping[str, Any]) -> Row:
    """Write `facts` (column -> value, None: unknown) into the row of `tag`, a new one if there is none; return it.

    Other processes may write at the same time. gap follows from the scores.
    """
    with locked(path):
        rows = read_ledger(path)
        row = next((row for row in rows if row["tag"] == tag), None)
        if row is None:
            row = dict.fromkeys(COLUMNS, "")
            rows.append(row)
        row |= {name: "" if value is None else str(value)[:MAX_CELL] for name, value in facts.items()}
        row |= {"tag": tag, "gap": gap(row)}
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for each in rows:  # a bare "\r" would be written without quotes, and end the row when it is read
            writer.writerow({name: re.sub("\r\n?", "\n", cell) for name, cell in each.items()})
        write_bytes(path, text.getvalue().encode())
    return row


def gap(row: Row) -> str:
    """Compute public_score - oof_score, "" unless both are known.

    >>> gap({"public_score": "0.75", "oof_score": "0.8"})
    '-0.050000'
    """
    public, oof = number(row["public_score"]), number(row["oof_score"])
    return "" if public is None or oof is None else f"{public - oof:.6f}"


def number(text: str) -> float | None:
    """Parse a cell; None unless it holds a finite number."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def four_digits(value: float | str | None) -> str:
    """Format a score, `?` for none.

    >>> four_digits("0.98765"), four_digits("-1e-6"), four_digits(None), four_digits("")
    ('0.9877', '0.0000', '?', '?')
    """
    found = number(str(value))
    return "?" if found is None else f"{found:z.4f}"


def misleading_best(rows: Iterable[Row], *, greater_is_better: bool) -> tuple[Row, Row] | None:
    """Return (best row by public score, best by out-of-fold score) if they differ; None if they agree, or tie.

    The public score of so few rows is mostly noise.
    """
    sign = 1 if greater_is_better else -1
    pairs = [(number(row["public_score"]), number(row["oof_score"]), row) for row in rows]
    scored = [(sign * public, sign * oof, row) for public, oof, row in pairs if public is not None and oof is not None]
    if not scored:
        return None
    by_public, by_oof = max(scored, key=lambda each: each[:2]), max(scored, key=lambda each: (each[1], each[0]))
    return None if by_public[:2] == by_oof[:2] else (by_public[2], by_oof[2])
