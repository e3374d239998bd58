"""Targets of known answers, from the columns of a CSV as a submission, or the labels to train on, write them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from kagglepipe.competitions.labels import class_columns, positive_class
from kagglepipe.competitions.targets import join_columns, names_in, read_targets, spell_targets
from kagglepipe.errors import UserError
from kagglepipe.options import CompetitionOptions
from kagglepipe.predictions.metric_needs import check_numbers

WITHOUT = "competition.answers=null goes on without known answers"


def answered_targets(
    cells: pd.DataFrame, competition: CompetitionOptions, classes: Sequence[str], path: Path, *, may_be_empty: bool
) -> "pd.Series[str]":
    """Targets of answers, without those that have none. cells: text, (N, columns beside the ids).

    may_be_empty: whether no tag is an answer. Raises UserError for answers that do not fit the task or the classes.
    """
    columns = class_columns(classes, cells.columns.tolist())
    if len(classes) > 1 and set(columns.values()) == set(classes):
        theirs = {name: column for column, name in columns.items()}
        cells = cells[[theirs[name] for name in classes]].set_axis(list(classes), axis=1)
        cells = cells[(cells != "").any(axis=1)]
        competition = replace(competition, columns={"labels": list(classes)})
        labels = _of_columns(cells, competition, path)
    else:
        named = (competition.target_column, competition.column("label"))
        competition, column = replace(competition, columns={}), next((n for n in named if n in cells), cells.columns[0])
        labels = cells[column]
        if not (may_be_empty and competition.task == "multilabel"):
            labels = labels[labels != ""]
    if competition.task in ("multilabel", "regression"):
        return _read(labels, competition, classes, path)
    return as_classes(labels, competition, classes, path)


def _of_columns(cells: pd.DataFrame, competition: CompetitionOptions, path: Path) -> "pd.Series[str]":
    """Labels of answers with a column for each class, tag or number."""
    if competition.task in ("multilabel", "regression"):
        return pd.Series(join_columns(cells, cells.columns.tolist(), str(path), competition), cells.index, dtype=str)
    numbers = cells.apply(pd.to_numeric, errors="coerce")
    if (wrong := (numbers.sum(axis=1) != 1) | ~numbers.isin([0, 1]).all(axis=1)).any():
        found = ", ".join(cells[wrong].iloc[0][:4])
        raise UserError(f"{path} has {found} in its columns of classes, needs one 1 beside 0: mend it; {WITHOUT}")
    return numbers.idxmax(axis=1).astype(str)


def _read(
    labels: "pd.Series[str]", competition: CompetitionOptions, classes: Sequence[str], path: Path
) -> "pd.Series[str]":
    """Targets of labels of tags or numbers. Raises UserError for an unknown tag, and other counts of numbers."""
    where = f"{path}, column {labels.name}" if labels.name else str(path)
    try:
        targets = read_targets(labels, where, competition)
    except UserError as error:
        raise UserError(f"{error}; {WITHOUT}") from error
    targets = spell_targets(targets, classes, competition.task)
    if strange := sorted(set(names_in(targets, competition.task)) - set(classes)):
        raise UserError(
            f"{where} has the tag {strange[0]}, which is none of {', '.join(classes[:8])}: mend it; {WITHOUT}"
        )
    if competition.task == "regression" and (targets.str.count(r"\|") != len(classes) - 1).any():
        raise UserError(
            f"{where} has one number an item, needed are columns {', '.join(classes[:8])}: mend it; {WITHOUT}"
        )
    try:
        check_numbers(competition, dict(zip(targets.index.astype(str), targets, strict=True)), classes)
    except UserError as error:
        raise UserError(f"{where}: {error}; {WITHOUT}") from error
    return targets


def as_classes(
    labels: "pd.Series[str]", competition: CompetitionOptions, classes: Sequence[str], path: Path
) -> "pd.Series[str]":
    """Class names of answers in the form of a submission. Raises UserError for an unknown class."""
    first = competition.first_index
    numbers = {str(number): name for number, name in enumerate(classes, first)} if competition.form == "index" else {}
    if competition.form == "probability" and not {"0", "1"} & set(classes):
        hint = positive_class(classes, str(labels.name))
        positive = 1 if hint is None or competition.classes else hint
        numbers = {"0": classes[1 - positive], "1": classes[positive]}
    if numbers and labels.isin(list(numbers)).all():
        return labels.map(numbers)
    if strange := sorted(set(labels) - set(classes)):
        known = ", ".join([*classes, *numbers][:8])
        raise UserError(f"{path} has the label {strange[0]}, which is none of {known}: mend it; {WITHOUT}")
    return labels
