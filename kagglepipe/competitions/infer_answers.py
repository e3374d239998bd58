"""What is asked for: form, order of the classes, column and metric of a submission."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from kagglepipe.competitions.infer_sources import Inference, Sources
from kagglepipe.competitions.infer_tasks import CLASS_WORDS, RANKS, Task, column_words
from kagglepipe.competitions.labels import WHOLE, class_columns, positive_class
from kagglepipe.errors import UserError
from kagglepipe.text import first_three

POSITIVE = {"1", "1.0", "true", "yes", "positive", "pos", "fake", "malignant", "abnormal", "cancer", "tumor", "tumour",
            "sick", "disease", "diseased", "defect", "defective", "bad", "fraud", "attack", "spam", "fight", "violence",
            "pneumonia", "infected", "parasitized"}  # fmt: skip
OTHER = "competition.metric=NAME if the competition has another"
DEFAULT_RANKS = 5


def set_answers(found: Inference, sources: Sources, task: Task) -> None:
    """Set `form`, `classes`, `target_column`, `label_separator`, `ranks` and `metric`."""
    has_sample = sources.sample is not None and (
        "sample_submission" in found.fields or bool(sources.given.get("sample_submission"))
    )
    ANSWERS.get(task.name, _set_classes)(found, sources, task, has_sample)


def _set_classes(found: Inference, sources: Sources, task: Task, has_sample: bool) -> None:
    """Set the fields of answers of one class."""
    names, given = task.names, sources.given
    are_numbers = all(map(WHOLE.fullmatch, names))
    for table in [one for one in sources.tables if are_numbers and not one.is_sample and not sources.names.column(one)]:
        numbers = next((one for one in table.columns if sorted(table.cells(one)) == sorted(names)), None)
        if numbers and len(table.columns) > 1:
            found.notes.append(f"{table.path} is about the classes, which are called by their numbers in {numbers}")
    if not has_sample:
        found.set("form", "name", "there is no sample submission")
        form = given.get("form", "name")
    elif len(sources.targets) > 1:
        found.set("form", "probabilities", "the sample submission has a column for each class")
        form = given.get("form", "probabilities")
        if form == "probabilities":
            _set_columns_of_classes(found, sources, names)
    else:
        form = _set_one_column(found, sources, names, task.name)
    if form == "probability" and len(names) == 2 and "classes" not in given:
        negative, positive = _negative_positive(names, found.fields.get("target_column", "label"))
        found.set("classes", [negative, positive], f"the probability of {positive}")
    if task.name == "ordinal" and form in ("name", "index"):
        found.set("metric", "quadratic_weighted_kappa", f"of an order; {OTHER}")
    else:
        _set_metric(found, sources, form)


def _set_tags(found: Inference, sources: Sources, task: Task, has_sample: bool) -> None:
    """Set the fields of answers of several tags."""
    if has_sample and len(sources.targets) > 1:
        found.set("form", "probabilities", "the sample submission has a column for each tag")
        if sources.given.get("form", "probabilities") == "probabilities":
            _set_columns_of_classes(found, sources, task.names)
    elif has_sample:
        _set_target_column(found, sources)
        found.set("form", "tags", f"the column {sources.targets[0]} of the sample submission is for all tags")
    else:
        found.set("form", "tags", "there is no sample submission")
    if sources.given.get("form", found.fields["form"]) == "tags":
        found.set("metric", "f1_samples", f"of tags; {OTHER}")
    elif _are_between(_cells_asked(sources)):
        found.set("metric", "mean_columnwise_log_loss", f"of a probability for each tag; {OTHER}")
    else:
        found.set("metric", "roc_auc", f"of a column for each tag; {OTHER}")


def _set_numbers(found: Inference, sources: Sources, task: Task, has_sample: bool) -> None:
    """Set the fields of answers of numbers."""
    if has_sample and len(sources.targets) == 1:
        _set_target_column(found, sources)
    found.set("form", "numbers", "the labels are numbers")
    asked = _cells_asked(sources)
    if has_sample and len(sources.targets) > 1 and np.allclose(asked.sum(axis=1), 1, atol=1e-3):
        found.set("metric", "kl_divergence", f"the rows of the sample submission sum to 1; {OTHER}")
    else:
        found.set("metric", "rmse", f"of numbers; {OTHER}")


def _set_ranking(found: Inference, sources: Sources, task: Task, has_sample: bool) -> None:
    """Set the fields of answers of the likeliest classes, or of one."""
    if sources.given.get("form", "ranking") != "ranking" or len(sources.targets) > 1:
        _set_classes(found, sources, task, has_sample)
        return
    if has_sample:
        _set_target_column(found, sources)
    found.set("form", "ranking", "several classes an item" if has_sample else "there is no sample submission")
    given = sources.given
    typed = RANKS.fullmatch(str(given.get("metric", f"map_{given.get('ranks')}")))
    words = max((len(cell.split()) for cell in sources.answers), default=0) if has_sample and not typed else 0
    ranks = int(typed[1]) if typed else words if words > 1 else DEFAULT_RANKS
    why = f"competition.metric={typed[0]}" if typed else f"the sample submission has {ranks} in a cell"
    strange = sorted({word for cell in sources.answers for word in cell.split()} - {*task.names}) if has_sample else []
    found.notes += [f"no item has the label {first_three(strange)}, of the sample: it is never answered"] * bool(
        strange
    )
    found.set("ranks", ranks, why if typed or words > 1 else "usual")
    found.set("metric", f"map_{ranks}", f"of {ranks} ranked classes; {OTHER}")


def _set_target_column(found: Inference, sources: Sources) -> None:
    found.set("target_column", sources.targets[0], "the second column of the sample submission")


def _cells_asked(sources: Sources) -> pd.DataFrame:
    """The answers of the sample submission as numbers, (N, columns), NaN where they are none."""
    if sources.sample is None:
        return pd.DataFrame()
    return sources.sample.rows[sources.targets].apply(pd.to_numeric, errors="coerce")


def _are_between(numbers: pd.DataFrame) -> bool:
    """Whether some numbers are between 0 and 1, so that they are probabilities."""
    return bool(((numbers > 0) & (numbers < 1)).any(axis=None))


ANSWERS = {"multilabel": _set_tags, "regression": _set_numbers, "ranking": _set_ranking}


def _set_metric(found: Inference, sources: Sources, form: str) -> None:
    """Propose a metric of classes by the form of the answers."""
    if form == "probabilities":
        is_one_hot = "labels" in found.fields.get("columns", {})
        found.set("metric", *(("roc_auc", "of one-hot columns") if is_one_hot else ("log_loss", "of probabilities")))
    elif form == "probability":
        metric = "log_loss" if _are_between(_cells_asked(sources)) else "roc_auc"
        found.set("metric", metric, f"of probabilities; {OTHER}")
    else:
        found.set("metric", "accuracy", f"of one class an item; {OTHER}")


def _set_columns_of_classes(found: Inference, sources: Sources, names: Sequence[str]) -> None:
    """Set `classes` to the columns of the sample submission, as the labels spell them, where some have no labels.

    Raises UserError for labels that the sample submission has no column for.
    """
    assert sources.sample is not None
    targets = sources.targets
    columns = class_columns(names, targets)
    classes = [columns.get(target, target) for target in targets]
    if strange := sorted(set(names) - set(classes)):
        raise UserError(
            f"{sources.sample.path} asks for the columns {first_three(targets)}, and there are labels without one, "
            f"{first_three(strange)}: another column of labels is typed as '+competition.columns={{label: NAME}}', "
            "other answers as competition.sample_submission=null"
        )
    if absent := [name for name in classes if name not in names]:
        found.set("classes", classes, "the columns of the sample submission")
        found.notes.append(f"no item has the label {first_three(absent)}, which {sources.sample.path} asks for")


def _set_one_column(found: Inference, sources: Sources, names: Sequence[str], task: str) -> str:
    """Set the fields of a submission with one column of answers; returns the form that counts."""
    assert sources.sample is not None
    target = sources.targets[0]
    found.set("target_column", target, "the second column of the sample submission")
    cells = sources.answers
    numbers = pd.to_numeric(cells, errors="coerce")
    is_half = bool(((numbers > 0) & (numbers < 1)).any())
    values = pd.to_numeric(pd.Series(names, dtype=str), errors="coerce")
    is_binary = len(names) == 2 and set(values) == {0.0, 1.0} and bool(numbers.isin([0, 1]).all())
    given = sources.given.get("form")
    if given is None and bool(values.isna().all()):
        _check_numbers_of_classes(found, sources, names)
    if len(names) == 2 and (is_half or is_binary) and task != "ordinal":
        why = "the sample submission holds probabilities" if is_half else "two classes, 0 and 1"
        found.set("form", "probability", why)
        if not is_half and given is None:
            found.notes.append(f"probabilities of {names[1]} will be submitted: competition.form=name writes 0 or 1")
    elif cells.empty or set(cells) <= set(names) or (first := _first_index(sources, names, numbers, values)) is None:
        are_words, are_numbers = bool(values.isna().all()), bool(values.notna().all())
        is_other = (are_words and numbers.notna().all()) or (are_numbers and numbers.isna().all())
        if given is None and len(cells) > 0 and is_other:
            what = "numbers" if are_words else "names"
            raise UserError(
                f"{sources.sample.path} asks for the {what} {first_three(cells.unique())} in {target}, and the labels "
                f"are {first_three(names)}: no table says which is which. A column of these {what} is typed as "
                "'+competition.columns={label: NAME}'; competition.form=name writes the labels"
            )
        found.set("form", "name", "the sample submission holds names of classes" if len(cells) else "it has no answers")
        if strange := sorted(set(cells) - set(names)):
            found.notes.append(f"{sources.sample.path} has {first_three(strange)}, which no item is labelled")
    else:
        found.set("form", "index", "the sample submission holds numbers, the labels are names")
        if first:
            found.set("first_index", first, f"the sample submission counts classes from {first}")
    form = str(given or found.fields["form"])
    if form == "index" and "classes" not in sources.given:
        _set_numbered_classes(found, sources, names)
    return form


def _first_index(
    sources: Sources, names: Sequence[str], answers: "pd.Series[float]", labels: "pd.Series[float]"
) -> int | None:
    """0 or 1 where answers are positions of classes from there on; None where they are none.

    labels: the classes as numbers, NaN where one is text: those of numbers have to be 0.0, 1.0, … or 1.0, 2.0, ….
    Where both fit, a table that numbers the classes decides, and without one it is 0.
    """
    ranges, are_names = {first: range(first, first + len(labels)) for first in (0, 1)}, bool(labels.isna().any())
    fits = [first for first, own in ranges.items() if answers.isin(own).all() and (are_names or {*labels} == {*own})]
    numbered = _numbering(sources, names)
    return min(numbered[0]) if numbered and min(numbered[0]) in fits else fits[0] if fits else None


def _numbering(sources: Sources, names: Sequence[str]) -> tuple[dict[int, str], str] | None:
    """(number -> class, the table that says so), where one numbers the classes from 0 or 1; None without."""
    for table in sources.tables:
        for column in [name for name in table.columns if set(table.cells(name)) == set(names)]:
            for other in [name for name in table.columns if name != column]:
                pairs = table.rows.loc[table.rows[column] != "", [other, column]].drop_duplicates()
                numbers = pd.to_numeric(pairs[other], errors="coerce")
                if any(sorted(numbers) == [*range(first, first + len(names))] for first in (0, 1)):
                    return dict(zip(numbers.astype(int), pairs[column], strict=True)), table.path
    return None


def _check_numbers_of_classes(found: Inference, sources: Sources, names: Sequence[str]) -> None:
    """Raises UserError where answers are numbers that a table gives the classes, and these are no positions."""
    assert sources.sample is not None
    answers = set(sources.answers)
    if not answers or answers & set(names) or _numbering(sources, names):
        return
    for table in [one for one in sources.tables if not one.is_sample]:
        for column in [name for name in table.columns if set(names) <= set(table.cells(name))]:
            for other in [name for name in table.columns if name != column and answers <= set(table.cells(name))]:
                pairs = table.rows.loc[table.rows[column].isin(names), [column, other]].drop_duplicates()
                is_likely = len(answers) > 1 or other in sources.targets or bool(CLASS_WORDS & column_words(other))
                are_numbers = pairs[other].map(lambda cell: bool(WHOLE.fullmatch(cell))).all()
                if is_likely and are_numbers and len(pairs) == len(names) == pairs[other].nunique():
                    where = found.fields.get("labels")
                    mend = (
                        f"add a column {other} to {where}, and type '+competition.columns={{label: {other}}}'"
                        if where
                        else f"call the class folders so, as {pairs[other].iloc[0]} for {pairs[column].iloc[0]}"
                    )
                    raise UserError(
                        f"{sources.sample.path} asks for numbers of classes as {table.path} has them in {other}, which "
                        f"count from neither 0 nor 1, and the labels are its {column}: {mend}; competition.form=name "
                        "writes names"
                    )


def _set_numbered_classes(found: Inference, sources: Sources, names: Sequence[str]) -> None:
    """Set `classes` in the order of their numbers: of a table that numbers them, else of their names."""
    if numbered := _numbering(sources, names):
        numbers, path = numbered
        found.set("classes", [numbers[number] for number in sorted(numbers)], f"as {path} numbers them")
        return
    found.set("classes", list(names), "sorted")
    if not pd.to_numeric(pd.Series(names, dtype=str), errors="coerce").notna().all():
        first = sources.given.get("first_index", found.fields.get("first_index", 0))
        order = first_three(f"{number} is {name}" for number, name in enumerate(names, first))
        found.notes.append(
            f"the classes were numbered in their order as text ({order}): competition.classes=[…] changes it, and "
            f"competition.first_index={1 - first} counts from {1 - first}"
        )


def _negative_positive(names: Sequence[str], column: str) -> tuple[str, str]:
    """Two classes, the one whose probability is asked for last."""
    hint = positive_class(names, column)
    words = [number for number, name in enumerate(names) if name.casefold() in POSITIVE]
    positive = hint if hint is not None else words[0] if len(words) == 1 else 1
    return names[1 - positive], names[positive]
