"""Rows and columns of the expected submission, and checks of the dataset against them.

`prepare` checks before training, `submit` again, so that a sample submission, or known answers, of other files are
found early.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from kagglepipe.competitions.dataset import REPORT, Dataset
from kagglepipe.competitions.labels import positive_class
from kagglepipe.competitions.spreadsheet import Cells, check_header, pivoted
from kagglepipe.competitions.test_lists import ANSWER
from kagglepipe.errors import UserError
from kagglepipe.files import read_json
from kagglepipe.options import CompetitionOptions
from kagglepipe.predictions.event_submission import event_columns
from kagglepipe.predictions.frame import id_fault
from kagglepipe.predictions.metrics import find_metric
from kagglepipe.predictions.own_metric import is_out_of_reach
from kagglepipe.predictions.submission import (
    label_fault,
    read_header,
    read_sample_submission,
    segment_columns,
    submission_columns,
)
from kagglepipe.predictions.written_answers import Writing
from kagglepipe.runs.answers import as_spelt, fitting_ids, items_asked, read_answers, read_segment_answers, table_path
from kagglepipe.text import first_three, quoted_three

log = logging.getLogger(__name__)
COLUMN_FORMS = ("probabilities", "pairs")  # a probability for each class or tag
NOT_COLUMNS = ("ids", "positive", "writing")  # arguments of `build_submission` that name no columns
SAMPLE_SUBMISSION = re.compile(r"sample[-_ ]?submission.*\.csv(\.zip)?", re.I)


def check_submittable(competition: CompetitionOptions, dataset: Dataset, *, upload: bool, scored: bool) -> None:
    """Raises UserError for a sample submission, known answers or an upload that the dataset does not fit.

    scored: whether known answers have to fit; a code competition's notebook has other files.
    """
    check_separator(competition, dataset.classes)
    if competition.is_part:  # the test is a part of the labelled images
        return
    if upload and dataset.nothing_to_classify:
        raise UserError(f"{dataset.folder.name} has no {competition.noun} to classify, so there is nothing to upload")
    columns = check_segments(competition, dataset) if competition.finds_segments else check_rows(competition, dataset)
    if scored:
        (read_segment_answers if competition.finds_segments else read_answers)(competition, dataset)
    if upload:
        check_shipped_sample(competition, dataset, columns)
    elif competition.sample_submission is None:
        outside = read_json(dataset.folder / REPORT).get("outside", [])
        for name in [name for name in outside if SAMPLE_SUBMISSION.fullmatch(Path(name).name)][:1]:
            log.info("prepare: for the rows and columns of %s type competition.sample_submission=%s", name, name)


def check_separator(competition: CompetitionOptions, classes: list[str]) -> None:
    """Raises UserError for names of tags, or of ranked classes, that contain what separates them in the submission."""
    separator = competition.label_separator
    torn = [name for name in classes if separator in name] if competition.form in ("tags", "ranking") else []
    if torn:
        others = [sign for sign in (",", ";", "|") if not any(sign in name for name in classes)]
        fix = f"type 'competition.label_separator={others[0]}', or " if others else ""
        raise UserError(
            f"competition.label_separator={separator!r} stands between the answers of a row, and is in the names "
            f"{quoted_three(torn)}: {fix}rename them, or type competition.form=probabilities"
        )


def check_rows(competition: CompetitionOptions, dataset: Dataset) -> list[str]:
    """Columns of a submission with an answer for each item. Raises UserError if it is not possible."""
    contract, columns = check_contract(competition, dataset)
    if lost := without_item(contract["ids"], items_asked(dataset)):
        log.warning("prepare: %d ids have no file, and will get the class shares: %s", len(lost), first_three(lost))
    if competition.form == "probability" and not dataset.nothing_to_classify:
        log_positive("prepare", competition, dataset.classes, contract)
    log_positive_of_metric(competition, dataset.classes, contract)
    return columns


def check_contract(competition: CompetitionOptions, dataset: Dataset) -> tuple[dict[str, Any], list[str]]:
    """(`contract_of`, columns of the submission). Raises UserError as `check_rows`."""
    contract = contract_of(competition, dataset)
    columns = submission_columns(**{key: value for key, value in contract.items() if key not in NOT_COLUMNS})
    sample = sample_of(competition, dataset)
    if sample is not None and len(sample):
        cells = sample.iloc[:, 1:].melt()["value"]
        if fault := label_fault(cells, competition.form, contract["classes"], competition.first_index):
            raise UserError(f"{competition.sample_submission} {fault}")
    return contract, list(columns.values())


def check_segments(competition: CompetitionOptions, dataset: Dataset) -> list[str]:
    """Columns of a submission of segments. Raises UserError for a sample submission with other columns or videos."""
    sample = sample_of(competition, dataset)
    names = event_columns if competition.finds_events else segment_columns
    columns = names(list(sample.columns) if sample is not None else None)
    if sample is not None and len(sample):
        check_ids(competition, dataset, sample[columns["video"]])
    return list(columns.values())


def contract_of(competition: CompetitionOptions, dataset: Dataset) -> dict[str, Any]:
    """Keyword arguments of `build_submission` for a submission with an answer for each item.

    Of its classes, those that the dataset lacks (see `asked_classes`) are 0.

    Rows and columns are those of the sample submission, without one all items by id. Raises UserError for a sample
    submission with other items.
    """
    sample = sample_of(competition, dataset)
    header = None if sample is None else list(sample.columns)
    if sample is not None and len(sample):
        check_header(competition.sample_submission, sample, items_asked(dataset).__contains__, "sample_submission")
        ids = sample.iloc[:, 0].tolist()
        check_ids(competition, dataset, sample.iloc[:, 0])
    else:
        ids = sorted(items_asked(dataset), key=natural)
    target = competition.target_column
    is_unnamed = competition.form not in COLUMN_FORMS and target == CompetitionOptions().target_column
    if header is not None and len(header) == 2 and is_unnamed:
        target = header[1]  # the one column beside the ids
    hint = positive_class(dataset.classes, target) if competition.form == "probability" else None
    return {
        "form": "probabilities" if competition.form == "pairs" else competition.form,
        "classes": asked_classes(competition, dataset),
        "id_column": header[0] if header else competition.id_column,
        "target_column": target,
        "ids": ids,
        "header": header,
        "positive": 1 if hint is None or competition.classes else hint,
        "writing": writing_of(competition, dataset),
    }


def writing_of(competition: CompetitionOptions, dataset: Dataset) -> Writing:
    """How the answers of a submission are written."""
    metric = competition.metric
    least = {} if is_out_of_reach(metric) else {"least": find_metric(metric).needs.least}
    return Writing(
        competition.label_separator, competition.ranks, needs_tag=bool((dataset.train["target"] != "").all()),
        sums=competition.task != "multilabel", shares=metric == "kl_divergence", first=competition.first_index, **least,
    )  # fmt: skip


def asked_classes(competition: CompetitionOptions, dataset: Dataset) -> list[str]:
    """The classes of a submission: those of the dataset, for probabilities all that competition.classes names."""
    has_more = competition.form in COLUMN_FORMS and set(competition.classes) > set(dataset.classes)
    return list(competition.classes) if has_more else dataset.classes


def sample_of(competition: CompetitionOptions, dataset: Dataset) -> pd.DataFrame | None:
    """Read the sample submission as text; None if none is named, or the test is a part of the labelled images."""
    name = competition.sample_submission
    if name is None or competition.is_part:
        return None
    path = table_path(dataset, name)
    sample = read_sample_submission(path, is_unique=not competition.finds_segments)
    if competition.form != "pairs":
        return sample
    rows = dict(enumerate(sample.to_numpy().tolist(), 2))
    _, header, items = pivoted(Cells(",", list(sample.columns), rows), path)
    return pd.DataFrame(list(items.values()), columns=header, dtype=str)


def pairs_of(competition: CompetitionOptions, dataset: Dataset) -> dict[str, Any]:
    """Header and ids of the rows of a submission of form=pairs: `header` and `asked` of `pair_submission`."""
    if competition.sample_submission is None or competition.is_part:
        return {"header": [competition.id_column, competition.target_column], "asked": None}
    sample = read_sample_submission(table_path(dataset, competition.sample_submission))
    return {"header": list(sample.columns), "asked": sample.iloc[:, 0].tolist()}


def check_ids(competition: CompetitionOptions, dataset: Dataset, asked: "pd.Series[str]") -> None:
    """Raises UserError if a sample submission has an id that no test item has. asked: named after its column."""
    known = items_asked(dataset)
    strange = without_item(list(asked), known)
    some = 0 < len(strange) < len(asked)
    if not strange or (some and competition.on_bad_image == "skip"):
        return
    name, noun = competition.sample_submission, competition.noun
    forms = fitting_ids(asked, known.values())
    trained = set(strange) & set(dataset.table["id"])
    there = f"there is {quoted_three(known)}" if known else "there is nothing to classify"
    if forms:
        mend = f"type competition.id={forms[0]}"
    elif trained:
        mend = f"{quoted_three(trained)} is to train on: is competition.test={competition.test} right?"
    else:
        mend = f"mend {name}, or check competition.test={competition.test} and competition.id"
    raise UserError(
        f"column {asked.name} of {name} asks for {quoted_three(strange)}, which no {noun} to classify are called "
        f"({there}): {mend}{ANSWER if some else ''}"
    )


def without_item(asked: Sequence[str], known: Mapping[str, str]) -> list[str]:
    """Those ids of a sample submission that no test item has. known: as of `items_asked`."""
    return [id for id, ours in zip(asked, as_spelt(asked, known), strict=True) if ours not in known]


def log_positive(stage: str, competition: CompetitionOptions, classes: list[str], contract: dict[str, Any]) -> None:
    """Log the class of the probabilities in a submission of one column, and how to change it."""
    column, positive = contract["target_column"], contract["positive"]
    turned = f"competition.classes=[{','.join((classes[positive], classes[1 - positive]))}]"
    hint = positive_class(classes, column)
    holds = f"{stage}: column {column} holds the probability of {classes[positive]}"
    if hint is not None and hint == positive:
        log.info("%s, as its name says", holds)
    elif hint is not None:
        called = f"the second of competition.classes, though named after {classes[hint]}"
        log.warning("%s, %s: %s turns it", holds, called, turned)
    elif competition.classes:
        log.info("%s", holds)
    else:
        log.warning("%s (the second of %s): %s turns it", holds, ", ".join(classes), turned)


def log_positive_of_metric(competition: CompetitionOptions, classes: list[str], contract: dict[str, Any]) -> None:
    """Log the positive class of a metric that has one; warn where the submission holds the probability of the other."""
    metric = competition.metric
    if (
        competition.task == "multilabel"
        or len(classes) != 2
        or is_out_of_reach(metric)
        or not find_metric(metric).needs.positive
    ):
        return
    turned = f"competition.classes=[{','.join(classes[::-1])}]"
    says = f"prepare: competition.metric={metric} is of {classes[1]}, the second class"
    if competition.form == "probability" and contract["positive"] == 0:
        log.warning("%s, column %s of %s: %s makes them one", says, contract["target_column"], classes[0], turned)
    elif not competition.classes:
        log.info("%s: %s turns it", says, turned)


def check_shipped_sample(competition: CompetitionOptions, dataset: Dataset, columns: list[str]) -> None:
    """Raises UserError if the data contain a sample submission with other columns or rows.

    Nothing to check if `competition.sample_submission` is set.
    """
    if competition.sample_submission is not None or competition.form == "pairs":
        return
    shipped = [file for file in dataset.images_root.rglob("*") if SAMPLE_SUBMISSION.fullmatch(file.name)]
    for file in sorted(shipped):
        fault, header = None, read_header(file)
        if header != columns:
            fault = f"the columns {header}, not {columns}"
        elif not competition.finds_segments:
            ids = pd.Series(contract_of(competition, dataset)["ids"], dtype=str)
            fault = id_fault(ids, read_sample_submission(file).iloc[:, 0])
        if fault:
            name = file.relative_to(dataset.images_root).as_posix()
            raise UserError(
                f"{name}, which came with the data, asks for {fault}; type competition.sample_submission={name}"
            )


def natural(text: str) -> list[tuple[int, str]]:
    """Sort key for natural order.

    >>> sorted(["img10", "img2"], key=natural)
    ['img2', 'img10']
    """
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]
