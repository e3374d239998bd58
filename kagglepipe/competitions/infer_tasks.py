"""Which task is posed: one class an item, tags, an order of classes, numbers, or the likeliest of many classes.

What is typed counts first (task, form, metric), then the cells of the labels, the sample submission, and last the name
of the column.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from kagglepipe.competitions.filenames import words_of
from kagglepipe.competitions.infer_sources import Sources
from kagglepipe.competitions.infer_tags import are_repeated_items, long_separator, tag_separator, tags_of
from kagglepipe.competitions.labels import WHOLE, sort_classes
from kagglepipe.competitions.source_tables import SourceTable
from kagglepipe.competitions.targets import as_flags
from kagglepipe.competitions.timed_columns import ENDS, STARTS
from kagglepipe.errors import UserError
from kagglepipe.text import first_three

FORM_TASKS = {"ranking": "ranking", "tags": "multilabel", "pairs": "multilabel", "numbers": "regression"}
METRIC_TASKS = {
    "quadratic_weighted_kappa": "ordinal", "f1_samples": "multilabel", "f2_samples": "multilabel",
    "mean_columnwise_log_loss": "multilabel", "rmse": "regression", "rmsle": "regression", "mae": "regression",
    "r2": "regression", "kl_divergence": "regression",
}  # fmt: skip
RANKS = re.compile(r"map_([1-9]\d*)")  # mean average precision at k
TAGS = {f"competition.metric={name}" for name, task in METRIC_TASKS.items() if task == "multilabel"}
MOSTLY = 0.95  # share of numbers in a column that is of numbers, but for cells to be mended
MANY_NUMBERS = 20  # different whole numbers that may be classes in any case
MANY_MEASURED = 10  # and that of a column of MEASURES
ROWS_A_CLASS = 5  # of more numbers than that
CLASS_WORDS = {"label", "class", "category", "species", "id", "identity", "individual", "target", "landmark"}
MEASURES = {"age", "boneage", "count", "counts", "number", "price", "weight", "height", "length", "width", "area",
            "volume", "angle", "steering", "temperature", "humidity", "yield", "biomass", "percent", "percentage",
            "calories", "popularity", "num", "total", "distance", "depth", "speed"}  # fmt: skip
ORDERS = {"diagnosis", "grade", "level", "severity", "rating", "stars", "score", "stage"}
LEAST_GRADES, MOST_GRADES = 3, 20
ANSWERS = 3  # words of a cell that are several answers, whatever they are


@dataclass(frozen=True)
class Task:
    """A task of competition.task, and why.

    labels: of each row, as text. names: classes or tags, sorted, or the columns of the numbers. separator: between the
    tags of a cell.
    """

    name: str
    why: str
    labels: "pd.Series[str]" = field(default_factory=lambda: pd.Series(dtype=str))
    names: Sequence[str] = ()
    separator: str = " "


def find_task(sources: Sources, table: SourceTable, columns: Sequence[str], item: str | None) -> Task:
    """The task of the labels in some columns of a table. item: the column that names the items.

    Raises UserError for labels of two kinds, numbers that are none, and a sample submission of boxes or runs of pixels.
    """
    typed = typed_task(sources.given)
    if len(columns) > 1:
        return _of_columns(sources, table, columns, typed)
    column = columns[0]
    labels = table.rows[column]
    found = _of_cells(sources, table, column, item) if typed is None else typed
    if typed and typed.why in TAGS and _are_measurements(labels[labels != ""], column, sources):
        raise UserError(
            f"{column} of {table.path} has numbers, as {first_three(labels)}; {typed.why} is of tags: type rmse or mae"
        )
    if found.name == "regression":
        _check_numbers(labels[labels != ""], f"column {column} of {table.path}", found)
        return Task(found.name, found.why, labels, [column])
    if found.name == "multilabel":
        given = sources.given.get("label_separator")
        separator = given or tag_separator(labels[labels != ""], column) or found.separator
        if not given and item and are_repeated_items(table, item, column):
            separator = long_separator(table, column)
        return Task(found.name, found.why, labels, tags_of(labels, separator), separator)
    return Task(found.name, found.why, labels, sort_classes({label for label in labels if label}))


def find_named_task(sources: Sources, labels: "pd.Series[str]") -> Task:
    """The task of labels in the names of files, or of folders, whose numbers are classes."""
    typed = typed_task(sources.given)
    is_pattern = bool(sources.given.get("label_from"))
    if typed is None and is_pattern and _are_measurements(labels, "", sources):
        typed = Task("regression", f"the names of files have the numbers {first_three(labels.unique())}")
    if typed is None and _are_rankings(sources.answers, set(labels)):
        typed = _ranking(sources)
    found = typed or Task("multiclass", "one class an item")
    if found.name == "regression":
        _check_numbers(labels, "names of files", found)
        return Task(found.name, found.why, labels, ["label"])
    if found.name == "multilabel":
        separator = sources.given.get("label_separator") or tag_separator(labels, "") or found.separator
        return Task(found.name, found.why, labels, tags_of(labels, separator), separator)
    return Task(found.name, found.why, labels, sort_classes({label for label in labels if label}))


def typed_task(given: Mapping[str, Any]) -> Task | None:
    """The task that is typed, or follows from the form or metric that is; None if none does.

    >>> typed_task({"metric": "map_5"}).name, typed_task({"form": "tags"}).name, typed_task({"metric": "roc_auc"})
    ('ranking', 'multilabel', None)
    """
    if task := given.get("task"):
        return Task(str(task), "as typed")
    form, metric = str(given.get("form", "")), str(given.get("metric", ""))
    if task := FORM_TASKS.get(form):
        return Task(task, f"competition.form={form}")
    if task := METRIC_TASKS.get(metric):
        return Task(task, f"competition.metric={metric}")
    return Task("ranking", f"competition.metric={metric}") if RANKS.fullmatch(metric) and not form else None


def _of_cells(sources: Sources, table: SourceTable, column: str, item: str | None) -> Task:
    """The task of a column of labels."""
    values = table.cells(column)
    some = first_three(values.unique())
    separator = tag_separator(values, column)
    is_piece = sources.kind != "image" and table.find(*STARTS) and table.find(*ENDS)
    is_long = item is not None and not is_piece and are_repeated_items(table, item, column)
    tags = tags_of(values, separator or " ") if separator or is_long else []
    check_answers(sources, tags, set(values))
    if separator:
        return Task("multilabel", f"{column} has several tags in a cell, as {some}")
    if is_long and (pd.to_numeric(values, errors="coerce") % 1 > 0).any():
        raise UserError(
            f"{table.path} has several rows of an item, a number in {column} of each, and one row an item is read: "
            "give it a column for each number, and type '+competition.columns={labels: [NAME,NAME]}'"
        )
    if is_long:
        return Task("multilabel", f"{table.path} has several rows of an item, a {column} each")
    numbers = values[pd.to_numeric(values, errors="coerce").notna()]
    if len(numbers) >= MOSTLY * len(values) and _are_measurements(numbers, column, sources):
        found = Task("regression", f"{column} has numbers, as {some}")
        _check_numbers(values, f"column {column} of {table.path}", found)
        return found
    if sources.sample is not None and _are_rankings(sources.answers, set(values)):
        return _ranking(sources)
    if len(sources.targets) < 2 and _are_grades(values, column):
        return Task(
            "ordinal", f"{column} has the whole numbers 0 to {values.nunique() - 1}, and is called as grades are"
        )
    return Task("multiclass", "one class an item")


def _ranking(sources: Sources) -> Task:
    return Task("ranking", f"the sample submission has several classes an item, as {sources.answers.iloc[0]!r}")


def check_answers(sources: Sources, tags: Sequence[str] = (), classes: Collection[str] = ()) -> None:
    """Raises UserError for a sample submission that asks for boxes or runs of pixels, which are several numbers.

    tags, classes: those of the labels, which may be whole numbers, too: then several different ones are no boxes.
    """
    are_numbered = bool(tags) and all(WHOLE.fullmatch(tag) for tag in tags)
    for target in sources.targets if sources.sample is not None else ():
        assert sources.sample is not None
        several = [words for cell in sources.sample.cells(target) if len(words := cell.split()) > 1]
        if not several or pd.to_numeric(pd.Series(several[0]), errors="coerce").isna().any():
            continue
        are_names = (are_numbered and all(map(WHOLE.fullmatch, several[0]))) or set(several[0]) <= set(classes)
        if not are_names or len(set(several[0])) < len(several[0]):
            raise UserError(
                f"column {target} of {sources.sample.path} has {' '.join(several[0])!r}, boxes, runs of pixels or "
                "confidences, which are not supported: competition.sample_submission=null trains without it; if they "
                "are classes, the likeliest first, type competition.task=ranking"
            )


def _are_measurements(values: "pd.Series[str]", column: str, sources: Sources) -> bool:
    """Whether all values are numbers that were measured or counted, and no classes."""
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.isna().any() or values.empty:
        return False
    asked = pd.to_numeric(sources.answers, errors="coerce")
    if (numbers % 1 != 0).any() or ((asked % 1 != 0) & (asked > 1)).any():
        return True
    count, words = numbers.nunique(), column_words(column)
    if MEASURES & words and not CLASS_WORDS & words:
        return count > MANY_MEASURED
    return count > MANY_NUMBERS and len(values) < ROWS_A_CLASS * count and not CLASS_WORDS & words


def are_many_numbers(task: Task, column: str) -> bool:
    """Whether the classes are so many whole numbers that they might be measured, or called as an order is."""
    numbers = pd.to_numeric(pd.Series(list(task.names), dtype=str), errors="coerce")
    most = LEAST_GRADES - 1 if ORDERS & column_words(column) else MANY_MEASURED
    is_whole = bool(numbers.notna().all()) and len(numbers) > most
    return task.name == "multiclass" and is_whole and not CLASS_WORDS & column_words(column)


def _are_grades(values: "pd.Series[str]", column: str) -> bool:
    """Whether values are 0 … K - 1 of a column that is called as an order is.

    >>> _are_grades(pd.Series(["0", "1", "2"]), "retina_level"), _are_grades(pd.Series(["0", "1", "2"]), "levelled")
    (True, False)
    """
    grades = set(values)
    is_whole = LEAST_GRADES <= len(grades) <= MOST_GRADES and grades == {str(number) for number in range(len(grades))}
    return is_whole and bool(ORDERS & column_words(column))


def column_words(column: str) -> set[str]:
    """The whole words of a name, in lower case.

    >>> sorted(column_words("bloodPressure_level"))
    ['blood', 'bloodpressure', 'level', 'pressure']
    """
    return {*words_of(column), *re.split(r"[\W_]+", column.lower())}


def _are_rankings(cells: "pd.Series[str]", labels: set[str]) -> bool:
    """Whether the cells of a sample submission have several words, where labels have one."""
    words = [cell.split() for cell in cells if cell not in labels]
    if not words or any(" " in label for label in labels):
        return False
    return all(len(one) >= ANSWERS or (len(one) > 1 and bool(labels & set(one))) for one in words)


def _check_numbers(values: "pd.Series[str]", where: str, task: Task) -> None:
    """Raises UserError for cells that are no number."""
    numbers = pd.to_numeric(values, errors="coerce")
    if (wrong := numbers.isna()).any():
        why = f"competition.task=regression ({task.why})" if task.why != "as typed" else "competition.task=regression"
        raise UserError(
            f"{where} has {first_three(values[wrong].unique())}, and {why} is of numbers: mend it, or type another "
            "column as '+competition.columns={label: NAME}', or competition.task=multiclass with a metric of classes"
        )


def _of_columns(sources: Sources, table: SourceTable, columns: Sequence[str], typed: Task | None) -> Task:
    """The task of several columns: of 0 and 1, with one 1 in each row or not, or of numbers."""
    check_answers(sources, classes=columns)
    rows = table.rows[list(columns)]
    rows = rows[(rows != "").any(axis=1)]
    numbers = as_flags(rows.apply(pd.to_numeric, errors="coerce"))
    if (wrong := numbers.isna()).any(axis=None):
        row, column = next((row, name) for row in rows.index for name in columns if wrong.loc[row, name])
        raise UserError(
            f"{table.path}, row {row + 2}, has {rows.loc[row, column]!r} in its column {column}: the labels in "
            f"{first_three(columns)} are 0 and 1, or numbers; a column of classes is typed as "
            "'+competition.columns={label: NAME}'"
        )
    is_binary, sums = bool(numbers.isin([0, 1]).all(axis=None)), numbers.sum(axis=1)
    if not is_binary:
        found = Task("regression", f"{len(columns)} columns of numbers")
    elif (sums == 1).all():
        found = Task("multiclass", "each row has one 1 among the columns")
    else:
        found = Task("multilabel", f"rows with {sums.min():g} to {sums.max():g} ones among {len(columns)} columns")
    found = typed or found
    if not is_binary and found.name != "regression":
        other = rows.to_numpy()[~numbers.isin([0, 1]).to_numpy()][0]
        raise UserError(
            f"{table.path} has {other} in its columns {first_three(columns)}, and competition.task={found.name} "
            f"({found.why}) is of 0 and 1: type competition.task=regression with a metric of numbers"
        )
    present = list(columns) if found.name == "regression" else [name for name in columns if (numbers[name] != 0).any()]
    texts = pd.Series([" ".join(row) for row in rows.itertuples(index=False, name=None)], rows.index, dtype=str)
    labels = numbers.idxmax(axis=1).astype(str) if found.name == "multiclass" and not numbers.empty else texts
    return Task(found.name, found.why, labels.reindex(table.rows.index).fillna(""), present)
