"""Submissions with a row for each item and tag, `ID_12_epidural,0.03`, from those with a column a tag."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from kagglepipe.competitions.spreadsheet import Cells, pivoted
from kagglepipe.errors import UserError
from kagglepipe.predictions.submission import validate_submission


def build_pairs(wide: pd.DataFrame, header: Sequence[str], asked: Sequence[str] | None) -> pd.DataFrame:
    """Rows of items and tags. wide: ids, then a column a tag. asked: ids of the rows, in order; None: all, by item.

    >>> wide = pd.DataFrame({"ID": ["a", "b"], "x": [0.1, 0.2], "y": [0.3, 0.4]})
    >>> build_pairs(wide, ["ID", "Label"], ["b_y", "a_x"]).to_numpy().tolist()
    [['b_y', 0.4], ['a_x', 0.1]]
    """
    ids, tags = wide.iloc[:, 0], wide.columns[1:]
    pairs = [f"{id}_{tag}" for id in ids for tag in tags]
    values = pd.Series(wide[tags].to_numpy().ravel(), pairs)
    return pd.DataFrame({header[0]: list(asked or pairs), header[1]: values.loc[list(asked or pairs)].to_numpy()})


def validate_pairs(
    submission: pd.DataFrame, *, header: Sequence[str], asked: Sequence[str] | None, wide: Mapping[str, Any]
) -> None:
    """Raises UserError unless each row asked for is there, in order, with a probability.

    wide: arguments of `validate_submission` for the submission with a column a tag.
    """
    if list(submission.columns) != list(header):
        raise UserError(f"submission refused: it has columns {list(submission.columns)}, needs {list(header)}")
    if asked is not None and submission.iloc[:, 0].tolist() != list(asked):
        raise UserError("submission refused: its ids are not those of the sample submission in their order")
    rows = dict(enumerate(submission.astype(str).to_numpy().tolist(), 2))
    cells = pivoted(Cells(",", list(header), rows), Path("submission"))
    validate_submission(pd.DataFrame(list(cells.rows.values()), columns=cells.header, dtype=str), **wide)
