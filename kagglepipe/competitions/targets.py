"""Targets of items, by task: one class, tags, or numbers. Tables hold them as text, computations as arrays.

The text of several tags, or numbers, is joined by `|`. Of a task of classes the array has a class index for each item
(N,), of tags a column of booleans for each tag (N, C), of numbers a column for each number (N, C).
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe.competitions.labels import check_alike, clean_label, sort_classes, spell_as
from kagglepipe.errors import UserError
from kagglepipe.options import CompetitionOptions
from kagglepipe.text import counted, first_three, quoted_three, significant

SEPARATOR = "|"
MAX_BINS = 10  # of numbers, by which folds are stratified
ROWS_A_BIN = 10
IN_COLUMNS = ("multilabel", "regression")  # tasks whose targets have a column for each output
Truth = NDArray[Any]  # (N,) or (N, C), as above


def parse_targets(targets: Iterable[str], classes: Sequence[str], task: str) -> Truth:
    """Parse the targets of N items: class indices (N,) int, tags (N, C) bool or numbers (N, C) float64.

    Raises ValueError for a class or tag that is not among `classes`, and for text that is no number.

    >>> parse_targets(["b", "a"], ["a", "b"], "multiclass"), parse_targets(["a|b", ""], ["a", "b"], "multilabel")
    (array([1, 0]), array([[ True,  True],
           [False, False]]))
    """
    return PARSERS[task](pd.Index(list(targets)), classes)


def _parse_classes(targets: pd.Index, classes: Sequence[str]) -> Truth:
    indices = pd.Index(classes).get_indexer(targets)
    if (indices < 0).any():
        raise ValueError(f"targets that are no class of {list(classes)}: {quoted_three(targets[indices < 0])}")
    return np.asarray(indices, dtype=np.intp)


def _parse_tags(targets: pd.Index, classes: Sequence[str]) -> Truth:
    columns = {name: column for column, name in enumerate(classes)}
    found = np.zeros((len(targets), len(classes)), np.bool_)
    for row, target in enumerate(targets):
        for tag in split_tags(target):
            if tag not in columns:
                raise ValueError(f"targets that are no class of {list(classes)}: {tag!r}")
            found[row, columns[tag]] = True
    return found


def _parse_numbers(targets: pd.Index, classes: Sequence[str]) -> Truth:
    cells = [str(target).split(SEPARATOR) for target in targets]
    return np.array(cells, np.float64).reshape(len(targets), len(classes))


PARSERS: dict[str, Callable[[pd.Index, Sequence[str]], Truth]] = {
    "multiclass": _parse_classes,
    "ordinal": _parse_classes,
    "ranking": _parse_classes,
    "multilabel": _parse_tags,
    "regression": _parse_numbers,
}


def split_tags(target: str) -> list[str]:
    """Split the text of tags.

    >>> split_tags("rust|scab"), split_tags("")
    (['rust', 'scab'], [])
    """
    return target.split(SEPARATOR) if target else []


def read_targets(labels: "pd.Series[str]", where: str, competition: CompetitionOptions) -> "pd.Series[str]":
    """The targets of labels as a competition writes them (N,), e.g. `scab rust` -> `rust|scab` and `12.50` -> `12.5`.

    where: the table and its column, for messages. Raises UserError for labels that do not fit the task.
    """
    return READERS[competition.task](labels, where, competition)


def _read_classes(labels: "pd.Series[str]", where: str, competition: CompetitionOptions) -> "pd.Series[str]":
    return labels


def tag_separator(competition: CompetitionOptions) -> str:
    """What is between the tags of a label: tags of several columns, whose names may have blanks, are joined by `|`."""
    return SEPARATOR if isinstance(competition.columns.get("labels"), list) else competition.label_separator


def _read_tags(labels: "pd.Series[str]", where: str, competition: CompetitionOptions) -> "pd.Series[str]":
    separator = tag_separator(competition)
    if len(labels) and pd.to_numeric(labels, errors="coerce").mod(1).fillna(0).ne(0).any():
        raise UserError(
            f"{where} has {first_three(labels)}, numbers that are no tags: type competition.task=regression, or "
            "competition.columns.label=NAME for another column"
        )
    if separator != SEPARATOR and labels.str.contains(SEPARATOR, regex=False).any():
        some = first_three(labels[labels.str.contains(SEPARATOR, regex=False)])
        raise UserError(
            f"{where} has {some}, and competition.label_separator={separator!r}: type "
            f"'competition.label_separator={SEPARATOR}' if that is between the tags"
        )

    def join(label: str) -> str:
        return SEPARATOR.join(sort_classes({tag for one in label.split(separator) if (tag := clean_label(one))}))

    return labels.map(join)


def _read_numbers(labels: "pd.Series[str]", where: str, competition: CompetitionOptions) -> "pd.Series[str]":
    def normal(label: str) -> str:
        try:
            numbers = [float(one) for one in label.split(SEPARATOR)]
        except ValueError:
            return ""
        return SEPARATOR.join(map(repr, numbers)) if all(map(math.isfinite, numbers)) else ""

    targets = labels.map(normal)
    if (wrong := targets == "").any():
        raise UserError(
            f"{where} has {quoted_three(labels[wrong])}, competition.task=regression needs a finite number for each "
            "item: mend it, or type competition.task=multiclass"
        )
    return targets


READERS: dict[str, Callable[["pd.Series[str]", str, CompetitionOptions], "pd.Series[str]"]] = {
    "multiclass": _read_classes,
    "ordinal": _read_classes,
    "ranking": _read_classes,
    "multilabel": _read_tags,
    "regression": _read_numbers,
}


def as_flags(numbers: pd.DataFrame) -> pd.DataFrame:
    """Columns of tags as 0 and 1, also where all of them are −1 and 1."""
    return numbers.replace(-1, 0) if numbers.isin([-1, 1]).all(axis=None) else numbers


def join_columns(cells: pd.DataFrame, columns: Sequence[str], path: str, competition: CompetitionOptions) -> list[str]:
    """Labels of rows with a column for each tag, of 0 and 1, or for each number. cells: text (N, C).

    Raises UserError for tags that are neither 0 nor 1, and names that have the sign between tags.
    """
    if competition.task == "regression":
        return [SEPARATOR.join(row) for row in cells.itertuples(index=False, name=None)]
    numbers = as_flags(cells.apply(pd.to_numeric, errors="coerce")).to_numpy(np.float64)
    if (wrong := ~np.isin(numbers, [0, 1])).any():
        row, column = (int(place[0]) for place in np.nonzero(wrong))
        raise UserError(
            f"{path}, row {cells.index[row]}, has {columns[column]} {cells.iloc[row, column]!r}: columns of "
            "competition.columns.labels are 0 or 1 for competition.task=multilabel; numbers are =regression"
        )
    if torn := [name for name in columns if SEPARATOR in name]:
        raise UserError(f"{path} has the column {torn[0]!r}, and {SEPARATOR} stands between tags: rename it")
    names = np.array(columns, dtype=object)
    return [SEPARATOR.join(names[row]) for row in numbers > 0]


def target_names(targets: "pd.Series[str]", where: str, competition: CompetitionOptions) -> list[str]:
    """Names of the outputs: the classes or tags among targets (N,), sorted, or what the numbers are called.

    where: begins messages, as `labels.csv has the labels`. Raises UserError for names that are too alike.
    """
    if competition.task == "regression":
        return list(competition.classes) or number_names(competition)
    found = set(targets)
    if competition.task == "multilabel":
        found = {tag for target in found for tag in split_tags(target)}
    if not competition.classes:
        check_alike(found, where)
    return sort_classes(found)


def number_names(competition: CompetitionOptions) -> list[str]:
    """Names of the numbers of competition.task=regression: the columns that hold them."""
    columns = competition.columns.get("labels")
    return list(columns) if isinstance(columns, list) else [competition.column("label")]


def spell_targets(targets: "pd.Series[str]", classes: Sequence[str], task: str) -> "pd.Series[str]":
    """Targets with the names of `classes`, which may compose accents differently; None stays."""
    if task == "regression":
        return targets
    parts = {target: split_tags(target) if task == "multilabel" else [target] for target in set(targets.dropna())}
    spelling = spell_as(classes, {name for names in parts.values() for name in names})
    spelt = {target: SEPARATOR.join(spelling[name] for name in names) for target, names in parts.items()}
    return targets.map(spelt).where(targets.notna(), None)


def names_in(targets: Iterable[str], task: str) -> list[str]:
    """All classes or tags of some targets, as often as they occur; of numbers none."""
    if task == "regression":
        return []
    return [name for target in targets for name in (split_tags(target) if task == "multilabel" else [target])]


def strata(targets: Sequence[str], task: str) -> list[str]:
    """Strata of N targets for folds: classes, or bins of equal size of the first number.

    Equal numbers are in one bin, by their mean rank, so that the rest stands out beside a frequent one.

    >>> strata(["1.0", "2.0", "30.0", "4.0"] * 10, "regression")[:4]
    ['bin 0', 'bin 1', 'bin 3', 'bin 2']
    >>> strata(["0"] * 95 + ["9"] * 5, "regression")[94:96]
    ['bin 4', 'bin 9']
    """
    if task != "regression":
        return list(targets)
    values = np.array([float(target.split(SEPARATOR)[0]) for target in targets])
    bins = max(1, min(MAX_BINS, len(values) // ROWS_A_BIN))
    _, place, rows = np.unique(values, return_inverse=True, return_counts=True)
    ranks = rows.cumsum() - (rows + 1) / 2  # from 0
    numbers = np.minimum(ranks * bins // max(1, len(values) - 1), bins - 1).astype(int)
    return [f"bin {number}" for number in numbers[place]]


def exploded(rows: pd.DataFrame, task: str) -> pd.DataFrame:
    """Rows with a class each: of tags a row for each tag of an item, of numbers its bin. rows: target and others."""
    if task == "multilabel":
        return rows.assign(target=rows["target"].map(split_tags)).explode("target").dropna(subset=["target"])
    return rows.assign(target=strata(rows["target"].tolist(), task))


def describe_targets(targets: "pd.Series[str]", task: str) -> str:
    """Counts of classes or tags, or the range of the first number, in words.

    >>> describe_targets(pd.Series(["1.0", "3.5"]), "regression"), describe_targets(pd.Series(["2e6"]), "regression")
    ('from 1 to 3.5, mean 2.25', 'from 2,000,000 to 2,000,000, mean 2,000,000')
    """
    if task == "regression":
        values = targets.str.split(SEPARATOR).str[0].astype(float)
        low, high = significant(values.min(), 6), significant(values.max(), 6)
        return f"from {low} to {high}, mean {significant(values.mean())}"
    none = {"none": int((targets == "").sum())} if task == "multilabel" and (targets == "").any() else {}
    return counted({**Counter(names_in(targets, task)), **none})
