"""From a test frame and the competition's contract to the bytes that are uploaded.

What one function builds, another checks. They share the names of the columns and nothing else, so the check
can also judge a file that somebody edited by hand.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.competitions.contract import FORMS, demand
from kagglepipe.errors import UserError
from kagglepipe.predictions.frame import (
    Probs,
    first_line,
    id_fault,
    name_three,
    probabilities,
    probability_fault,
    repeated,
)

# Nine digits tell any two float32 numbers apart: no two rows become tied, and none that was nearly certain
# becomes certain. More digits would only show how some machine rounded its last bit.
FLOAT_FORMAT = "%.9g"


def build_submission(
    test: pd.DataFrame,
    *,
    form: str,
    classes: Sequence[str],
    id_column: str,
    target_column: str,
    ids: Sequence[str],
    header: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The submission for a test frame, one row per id in the order of `ids`, whatever the order of the frame.

    form: `index` (position of the most probable class in `classes`), `name` (its name), `probability` (of the
        second class of two) or `probabilities` (one column per class). Ties go to the first class.
    ids: the ids the competition asks for; other rows of the frame are left out.
    header: columns of the sample submission, which must be those of the form; after the id they give the
        order of the class columns. None: the id column, then `target_column` or the classes in their order.

    Raises UserError for an unknown form, a header that does not fit, or ids that the frame lacks.

    >>> test = pd.DataFrame({"id": ["b", "a"], "cat": [0.9, 0.2], "dog": [0.1, 0.8]})
    >>> build_submission(test, form="name", classes=["cat", "dog"], id_column="file", target_column="label",
    ...                  ids=["a", "b"])
      file label
    0    a   dog
    1    b   cat
    """
    columns = _columns(form, classes, id_column, target_column, header)
    asked = test[test["id"].isin(list(ids))]
    if fault := id_fault(asked["id"], ids):
        raise UserError(f"the test predictions do not hold each id once: {fault}; predict again: stage=train")
    probs = probabilities(asked.set_index("id").loc[list(ids)], classes)  # (N, C)
    answers = _answers(probs, form, classes, target_column)
    return pd.DataFrame({id_column: list(ids), **answers})[columns]


def validate_submission(
    submission: pd.DataFrame,
    *,
    form: str,
    classes: Sequence[str],
    id_column: str,
    target_column: str,
    ids: Sequence[str],
    header: Sequence[str] | None = None,
) -> None:
    """Raises UserError, naming the culprit and three offenders, unless `submission` is what is asked for.

    Checked are columns and their order; ids, each once and in the order of `ids`; empty cells; class labels;
    probabilities within [0, 1] and, with one column per class, rows that sum to 1 ± 1e-4.
    The arguments are those of `build_submission`.

    >>> submission = pd.DataFrame({"file": ["a"], "label": ["dog"]})
    >>> validate_submission(submission, form="name", classes=["cat", "dog"], id_column="file",
    ...                     target_column="label", ids=["a"])
    """
    columns = _columns(form, classes, id_column, target_column, header)
    if list(submission.columns) != columns:
        fault: str | None = f"has columns {list(submission.columns)}, needs {columns}"
    else:
        fault = _id_fault(submission[id_column], ids) or _cell_fault(submission, form, classes, id_column)
    if fault:
        raise UserError(f"submission refused: it {fault}; write it again with stage=submit")


SEGMENT_COLUMNS = ["video", "start", "end", "label", "score"]


def build_segments(segments: pd.DataFrame, *, ends: Mapping[str, float], header: Sequence[str] | None) -> pd.DataFrame:
    """The submission for a segments frame: sorted by video and start, cut at the end of each video.

    ends: video -> where it ends. header: columns of the sample submission; None: SEGMENT_COLUMNS.
    Raises UserError for a header with other columns.
    """
    columns = list(header) if header else SEGMENT_COLUMNS
    if sorted(columns) != sorted(SEGMENT_COLUMNS):
        raise UserError(
            f"the sample submission has columns {columns}, competition.form=segments makes {SEGMENT_COLUMNS}"
        )
    last = segments["video"].map(dict(ends)).astype(float)
    cut = segments.assign(end=np.minimum(segments["end"], last))
    return cut.sort_values(["video", "start", "label"], ignore_index=True)[columns]


def validate_segments(submission: pd.DataFrame, *, ends: Mapping[str, float], classes: Sequence[str]) -> None:
    """Raises UserError, naming three offenders, unless each row is a segment inside a video that is asked for.

    ends: video -> where it ends. classes: labels that a segment may have.
    """
    if sorted(submission.columns) != sorted(SEGMENT_COLUMNS):
        raise UserError(f"submission refused: it has columns {list(submission.columns)}, needs {SEGMENT_COLUMNS}")
    last = submission["video"].map(dict(ends)).astype(float)
    start, end, score = (pd.to_numeric(submission[name], errors="coerce") for name in ("start", "end", "score"))
    faults = {
        "has segments of videos that are not asked for": last.isna(),
        "has labels that are no class": ~submission["label"].isin(list(classes)),
        "has segments that do not end after they start": ~(start < end),
        "has segments outside their video": (start < 0) | (end > last + 1e-6),
        "has scores outside 0…1": ~score.between(0, 1),
    }
    for fault, rows in faults.items():
        if rows.any():
            raise UserError(
                f"submission refused: it {fault}: {name_three(submission['video'][rows])}; type stage=submit"
            )


def submission_csv(submission: pd.DataFrame) -> bytes:
    r"""The CSV's bytes: UTF-8, lines ended by a newline alone, a header, no index; same frame, same bytes.

    >>> submission_csv(pd.DataFrame({"id": ["a,b"], "p": [0.5]}))
    b'id,p\n"a,b",0.5\n'
    """
    text = submission.to_csv(index=False, lineterminator="\n", float_format=FLOAT_FORMAT)
    return text.encode("utf-8")


def read_sample_submission(path: Path) -> pd.DataFrame:
    """The competition's sample submission: its first column holds the ids, as text just as they are written.

    Raises UserError for a file that is no CSV of at least two columns, or that repeats an id.
    """
    try:
        # The first column has no known name, hence a converter and no dtype: the id 007 keeps its zeros.
        sample = pd.read_csv(path, converters={0: str}, keep_default_na=False)
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        fault = f"cannot be read as CSV: {first_line(error)}"
        raise UserError(f"{path} {fault}; check competition.sample_submission") from error
    ids = sample.iloc[:, 0]
    if len(sample.columns) < 2:
        raise UserError(f"{path} has one column, needs an id and more; check competition.sample_submission")
    if twice := repeated(ids):
        raise UserError(f"{path} does not hold each id once: {twice}; check competition.sample_submission")
    return sample


def read_header(path: Path) -> list[str]:
    """The columns of a sample submission that has no rows to fill in. Raises UserError if it is no CSV."""
    try:
        return list(pd.read_csv(path, dtype=str, nrows=0).columns)
    except (OSError, ValueError) as error:
        fault = f"cannot be read as CSV: {first_line(error)}"
        raise UserError(f"{path} {fault}; check competition.sample_submission") from error


def _columns(
    form: str, classes: Sequence[str], id_column: str, target_column: str, header: Sequence[str] | None
) -> list[str]:
    """The columns a submission must have, in order; UserError where form, classes and header disagree."""
    demand("competition.form", form, FORMS)
    if form == "probability" and len(classes) != 2:
        raise UserError(f"competition.form=probability needs 2 classes, found {len(classes)}; type =probabilities")
    answers = list(classes) if form == "probabilities" else [target_column]
    if id_column in answers:
        raise UserError(f"competition.id_column={id_column} is the name of another column; change it")
    if header is None:
        return [id_column, *answers]
    if list(header[:1]) != [id_column] or sorted(header[1:]) != sorted(answers):
        raise UserError(
            f"the sample submission has columns {list(header)}, competition.form={form} makes "
            f"{[id_column, *answers]}; change competition.form, id_column, target_column or classes"
        )
    return list(header)


def _answers(probs: Probs, form: str, classes: Sequence[str], target_column: str) -> dict[str, npt.NDArray[Any]]:
    """The columns beside the ids, name -> (N,), from probabilities (N, C)."""
    if form == "probabilities":
        return dict(zip(classes, probs.T, strict=True))
    if form == "probability":
        return {target_column: probs[:, 1]}
    winners = probs.argmax(axis=1)
    return {target_column: winners if form == "index" else np.array(classes, dtype=object)[winners]}


def _id_fault(found: pd.Series, ids: Sequence[str]) -> str | None:
    """What is wrong with the ids of a submission; None if nothing is."""
    if found.isna().any():
        return f"has rows without an id: {int(found.isna().sum())}"
    names = found.astype(str).reset_index(drop=True)
    if fault := id_fault(names, ids):
        return f"has not each id once: {fault}"
    due = pd.Series(list(ids), dtype=names.dtype)
    displaced = names[names != due]
    return f"has rows in another order than asked for: {name_three(displaced)}" if len(displaced) else None


def _cell_fault(submission: pd.DataFrame, form: str, classes: Sequence[str], id_column: str) -> str | None:
    """What is wrong with the cells beside the ids; None if nothing is."""
    ids, cells = submission[id_column], submission.drop(columns=id_column)
    empty = cells.isna().any(axis=1)
    if empty.any():
        return f"has empty cells for id {name_three(ids[empty])}"
    if form in ("index", "name"):
        allowed = list(classes) if form == "name" else [str(index) for index in range(len(classes))]
        written = cells.iloc[:, 0].astype(str)  # judged as they will stand in the file: 1.0 is not 1
        strange = written[~written.isin(allowed)]
        return f"has labels that are none of {allowed}: {name_three(strange)}" if len(strange) else None
    probs = cells.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)  # words become NaN
    both = np.hstack([1 - probs, probs]) if form == "probability" else probs  # the first class has the rest
    return probability_fault(ids, both)
