"""Folds that the user's tables give, in the column `fold` of the labels or of the metadata."""

import numpy as np
import pandas as pd

from kagglepipe.competitions.filenames import whole_number
from kagglepipe.competitions.folds import split_groups
from kagglepipe.competitions.labels import sort_classes
from kagglepipe.errors import UserError
from kagglepipe.options import CompetitionOptions
from kagglepipe.text import first_three


def given_folds(train: pd.DataFrame, groups: list[str], competition: CompetitionOptions) -> pd.DataFrame | None:
    """Folds (id, fold) of the labelled rows as the user gives them, from 0; None without any.

    train: id and, where folds are given, given_fold, as it is written: numbers from 0 or 1, or names. groups: the
    user's group of each row, or one of its own.
    Raises UserError for a row without a fold, a gap, fewer than two folds, and a group in two.
    """
    if "given_fold" not in train:
        return None
    column, cells = f"column {competition.column('fold')}", train["given_fold"]
    mend = "mend it, or to have folds made name it otherwise"
    if (empty := cells.isna()).any():
        raise UserError(f"{column} gives no fold to {first_three(train['id'][empty])}: {mend}")
    numbers = cells.map(whole_number)
    if numbers.isna().any():
        names = sort_classes(cells.unique())
        numbers = cells.map(names.index)
    elif competition.is_part:  # may leave a fold without rows
        numbers = pd.Series(np.unique(numbers, return_inverse=True)[1], train.index)
    found = sorted(set(numbers.astype(int)))
    first = found[0] if found[0] == 1 else 0
    if found != list(range(first, first + len(found))) or len(found) < 2:
        raise UserError(
            f"{column} has the folds {first_three(found)}, needed are two or more, 0, 1, … without a gap: {mend}"
        )
    folds = pd.DataFrame({"id": train["id"], "fold": numbers.astype(np.int64) - first})
    if torn := split_groups(folds, train["id"], groups):
        some = first_three([name.removeprefix("given ") for name in torn])
        raise UserError(f"{column} puts a group into more than one fold ({some}): {mend}")
    return folds.sort_values("id", ignore_index=True)


def with_given_folds(rows: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Some columns of `rows` and, where the user's tables give folds, `given_fold`."""
    return rows.rename(columns={"fold": "given_fold"})[[*columns, *(["given_fold"] if "fold" in rows else [])]]
