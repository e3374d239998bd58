"""What is asked for: form, order of the classes, column and metric of a submission."""

from collections.abc import Sequence

import pandas as pd

from kagglepipe.competitions.infer_sources import Inference, Sources
from kagglepipe.competitions.labels import class_columns, positive_class, sort_classes
from kagglepipe.errors import UserError
from kagglepipe.text import first_three

POSITIVE = {"1", "1.0", "true", "yes", "positive", "pos", "fake", "malignant", "abnormal", "cancer", "tumor", "tumour",
            "sick", "disease", "diseased", "defect", "defective", "bad", "fraud", "attack", "spam", "fight", "violence",
            "pneumonia", "infected", "parasitized"}  # fmt: skip


def set_answers(found: Inference, sources: Sources, values: "pd.Series[str]") -> None:
    """Set `form`, `classes`, `target_column` and `metric`. values: the label of each training item."""
    names = sort_classes({value for value in values if value})
    given = sources.given
    if sources.sample is None or ("sample_submission" not in found.fields and not given.get("sample_submission")):
        found.set("form", "name", "there is no sample submission")
        form = given.get("form", "name")
    elif len(sources.targets) > 1:
        found.set("form", "probabilities", "the sample submission has a column for each class")
        form = given.get("form", "probabilities")
        if form == "probabilities":
            _set_columns_of_classes(found, sources, names)
    else:
        form = _set_one_column(found, sources, names)
    if form == "probability" and len(names) == 2 and "classes" not in given:
        negative, positive = _negative_positive(names, found.fields.get("target_column", "label"))
        found.set("classes", [negative, positive], f"the probability of {positive}")
    _set_metric(found, sources, form)


def _set_metric(found: Inference, sources: Sources, form: str) -> None:
    """Propose a metric by the form of the answers."""
    if form == "probabilities":
        is_one_hot = "labels" in found.fields.get("columns", {})
        found.set("metric", *(("roc_auc", "of one-hot columns") if is_one_hot else ("log_loss", "of probabilities")))
    elif form == "probability":
        numbers = pd.to_numeric(sources.answers, errors="coerce")
        metric = "log_loss" if ((numbers > 0) & (numbers < 1)).any() else "roc_auc"
        found.set("metric", metric, "of probabilities; competition.metric=NAME if the competition has another")
    else:
        found.set("metric", "accuracy", "of one class an item; competition.metric=NAME if the competition has another")


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


def _set_one_column(found: Inference, sources: Sources, names: Sequence[str]) -> str:
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
    if len(names) == 2 and (is_half or is_binary):
        why = "the sample submission holds probabilities" if is_half else "two classes, 0 and 1"
        found.set("form", "probability", why)
        if not is_half and given is None:
            found.notes.append(f"probabilities of {names[1]} will be submitted: competition.form=name writes 0 or 1")
    elif cells.empty or set(cells) <= set(names) or not _are_positions(numbers, values):
        found.set("form", "name", "the sample submission holds names of classes" if len(cells) else "it has no answers")
        if strange := sorted(set(cells) - set(names)):
            found.notes.append(f"{sources.sample.path} has {first_three(strange)}, which no item is labelled")
    else:
        found.set("form", "index", "the sample submission holds numbers, the labels are names")
    form = str(given or found.fields["form"])
    if form == "index" and "classes" not in sources.given:
        _set_numbered_classes(found, sources, names)
    return form


def _are_positions(answers: "pd.Series[float]", labels: "pd.Series[float]") -> bool:
    """Whether answers are positions of classes: of those with names, or of 0.0, 1.0, … (NaN where a cell is text)."""
    are_names = bool(labels.isna().any())
    return bool(answers.isin(range(len(labels))).all()) and (are_names or set(labels) == set(range(len(labels))))


def _set_numbered_classes(found: Inference, sources: Sources, names: Sequence[str]) -> None:
    """Set `classes` in the order of their numbers: of a table that numbers them, else of their names."""
    for table in sources.tables:
        for column in table.columns:
            if len(table.rows) != len(names) or set(table.rows[column]) != set(names):
                continue
            for other in table.columns:
                numbered = dict(zip(table.rows[other], table.rows[column], strict=True))
                if sorted(numbered) == sorted(str(number) for number in range(len(names))):
                    classes = [numbered[str(number)] for number in range(len(names))]
                    found.set("classes", classes, f"as {table.path} numbers them")
                    return
    found.set("classes", list(names), "sorted")
    if not pd.to_numeric(pd.Series(names, dtype=str), errors="coerce").notna().all():
        order = first_three(f"{number} is {name}" for number, name in enumerate(names))
        found.notes.append(
            f"the classes were numbered in their order as text ({order}): competition.classes=[…] changes it"
        )


def _negative_positive(names: Sequence[str], column: str) -> tuple[str, str]:
    """Two classes, the one whose probability is asked for last."""
    hint = positive_class(names, column)
    words = [number for number, name in enumerate(names) if name.casefold() in POSITIVE]
    positive = hint if hint is not None else words[0] if len(words) == 1 else 1
    return names[1 - positive], names[positive]
