"""What prevents one class an item: measurements, tags, several answers an item. Refused until there are such tasks."""

import re
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from kagglepipe.competitions.filenames import words_of
from kagglepipe.competitions.infer_sources import Sources
from kagglepipe.competitions.source_tables import SourceTable
from kagglepipe.errors import UserError
from kagglepipe.text import first_three

MANY_NUMBERS = 20  # different whole numbers that may be classes in any case
ROWS_A_CLASS = 5  # of more numbers than that
CLASS_WORDS = {"label", "class", "category", "species", "id", "identity", "individual", "target", "landmark"}
TAG_NAMES = ("labels", "classes", "categories", "genres")
ANSWERS = 3  # words of a cell that are several answers, whatever they are


def check_multiclass(table: SourceTable, column: str, sources: Sources) -> None:
    """Raises UserError for labels that are measurements or tags, and a sample submission with several answers an item.

    competition.task=multiclass, if it is typed, takes whatever is there as a class.
    """
    if sources.given.get("task") == "multiclass":
        return
    check_answers(sources)
    values = table.cells(column)
    where = f"column {column} of {table.path} has {first_three(values.unique())}"
    mend = "another column is typed as '+competition.columns={label: NAME}', classes as competition.task=multiclass"
    if _are_measurements(values, column, sources):
        raise UserError(f"{where}, which are measurements: competition.task=regression is not supported yet; {mend}")
    if _are_tags(values, column):
        raise UserError(f"{where}, which are tags: competition.task=multilabel is not supported yet; {mend}")
    if sources.sample is not None and _are_rankings(sources.answers, set(values)):
        raise UserError(
            f"column {sources.targets[0]} of {sources.sample.path} has {sources.answers.iloc[0]!r}, several answers an "
            "item: competition.task=ranking is not supported yet; competition.sample_submission=null trains without it"
        )


def check_answers(sources: Sources) -> None:
    """Raises UserError for a sample submission that asks for boxes or runs of pixels, which are several numbers."""
    for target in sources.targets if sources.sample is not None else ():
        assert sources.sample is not None
        cells = sources.sample.cells(target)
        words = [cell.split() for cell in cells]
        several = [one for one in words if len(one) > 1]
        if several and pd.to_numeric(pd.Series(several[0]), errors="coerce").notna().all():
            raise UserError(
                f"column {target} of {sources.sample.path} has {' '.join(several[0])!r}, boxes or runs of pixels: "
                "detection and segmentation are not supported; competition.sample_submission=null trains without it"
            )


def _are_measurements(values: "pd.Series[str]", column: str, sources: Sources) -> bool:
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.isna().any() or values.empty:
        return False
    asked = pd.to_numeric(sources.answers, errors="coerce")
    if (numbers % 1 != 0).any() or ((asked % 1 != 0) & (asked > 1)).any():
        return True
    count = numbers.nunique()
    is_called_class = bool(CLASS_WORDS & {*words_of(column), *re.split(r"[\W_]+", column.lower())})
    return count > MANY_NUMBERS and len(values) < ROWS_A_CLASS * count and not is_called_class


def _are_tags(values: "pd.Series[str]", column: str) -> bool:
    """Whether values are made of words that recur in others, as `scab rust`, `rust`."""
    distinct = list(values.unique())
    if any(";" in value or "|" in value for value in distinct):
        return True
    for separator in (",", " "):
        parts = [[part.strip() for part in value.split(separator)] for value in distinct]
        several = [words for words in parts if len(words) > 1]
        counts = Counter(word for words in parts for word in set(words))
        words = {word for one in several for word in one}
        recurring = sum(counts[word] > 1 for word in words)
        if several and recurring and column.casefold() in ("tags", "attributes", "attribute_ids"):
            return True
        if not several or recurring < 0.8 * len(words):
            continue
        is_alone = recurring == len(words) and bool(set(distinct) & words)
        if is_alone or column.casefold() in TAG_NAMES or len(distinct) >= 2 * len(counts):
            return True
    return False


def _are_rankings(cells: "pd.Series[str]", labels: set[str]) -> bool:
    """Whether the cells of a sample submission have several words, where labels have one."""
    words = [cell.split() for cell in cells if cell not in labels]
    if not words or any(" " in label for label in labels):
        return False
    return all(len(one) >= ANSWERS or (len(one) > 1 and bool(labels & set(one))) for one in words)


def check_one_hot(table: SourceTable, columns: Sequence[str]) -> "pd.Series[str]":
    """The class of each row of one-hot columns. Raises UserError unless each row has exactly one 1."""
    cells = table.rows[list(columns)].apply(pd.to_numeric, errors="coerce")
    wrong = (cells.sum(axis=1) != 1) | ~cells.isin([0, 1]).all(axis=1)
    if wrong.any():
        row = table.rows.loc[wrong.idxmax(), list(columns)].tolist()
        raise UserError(
            f"{table.path} has {', '.join(row[:4])} in its columns {', '.join(columns[:4])}, … : a row without exactly "
            "one 1 has several labels or none (competition.task=multilabel is not supported yet); a column of classes "
            "is typed as '+competition.columns={label: NAME}'"
        )
    return cells.idxmax(axis=1)
