"""Predictions of the members of an ensemble, read from their files and aligned by id."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd

from kagglepipe.errors import UserError
from kagglepipe.predictions.blend import Stack
from kagglepipe.predictions.frame import check_same_targets, class_columns, id_fault, probabilities, read_frame
from kagglepipe.runs.store import Member
from kagglepipe.text import listed


def read_stack(members: Sequence[Member], rows: pd.DataFrame, classes: list[str]) -> Stack:
    """Read the members' probabilities (M, N, C) for `rows`, in their order; one member's frame in memory at a time.

    Raises UserError naming a member that does not hold these rows or classes.
    """
    stack = np.empty((len(members), len(rows), len(classes)))
    short = [member.name for member in members]
    for number, member in enumerate(members):
        file = member.oof if "fold" in rows else member.test
        name = member.name if short.count(member.name) == 1 else str(member.oof.parent)
        stack[number] = probabilities(aligned(name, read_frame(file), rows, classes), classes)
    return stack


def read_ids(file: Path) -> pd.Series:
    """Ids of a file of predictions; of parquet only that column is read. Raises UserError as `read_frame`."""
    with suppress(OSError, ValueError):  # a CSV, or read_frame raises an error with the reason
        return pd.read_parquet(file, columns=["id"])["id"]
    return read_frame(file)["id"]


def aligned(name: str, frame: pd.DataFrame, rows: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """Order a member's frame by the ids of `rows`. Raises UserError naming it where it differs."""
    found = class_columns(frame)
    if sorted(found) != sorted(classes):
        raise UserError(f"ensemble member {name} has the classes {listed(found)}; {listed(classes)} are needed")
    ids = rows["id"].reset_index(drop=True)
    if fault := id_fault(frame["id"], ids):
        raise UserError(f"{name} does not hold the ids of the table: {fault}; leave {name} out or train it again")
    ordered = frame if frame["id"].equals(ids) else frame.set_index("id").loc[ids].reset_index()
    if "target" in frame and "fold" in rows:
        check_same_targets(name, ordered, "the table", rows)
    return ordered
