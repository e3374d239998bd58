"""Submissions: built from a test frame or segments, written as CSV, read back and validated.

Validation shares the names of columns with building and nothing else, so that it also checks files edited by hand.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.competitions.labels import class_columns
from kagglepipe.competitions.spreadsheet import read_cells
from kagglepipe.competitions.timed_columns import timed_columns
from kagglepipe.errors import UserError
from kagglepipe.options import FORMS, check_choice
from kagglepipe.predictions.frame import Probs, id_fault, probabilities, probability_fault, repeated, scorable
from kagglepipe.predictions.written_answers import SEVERAL, Writing, several_answers, several_fault
from kagglepipe.text import quoted_three

DIGITS, MAX_DIGITS = 9, 17  # significant: nine distinguish any two float32 numbers, so that no rows become tied
DECIMALS = 6  # at least: times may be in seconds since 1970
TOLERANCE = 10.0**-DECIMALS


def build_submission(
    test: pd.DataFrame,
    *,
    form: str,
    classes: Sequence[str],
    id_column: str,
    target_column: str,
    ids: Sequence[str],
    header: Sequence[str] | None = None,
    positive: int = 1,
    writing: Writing = Writing(),
) -> pd.DataFrame:
    """Build the submission for a test frame, one row per id in the order of `ids`.

    form: `index` (position of the most probable class in `classes`), `name` (its name), `probability` (of the
        class number `positive`, of two), `probabilities` (one column per class), or one of `written_answers`. Ties go
        to the first class.
    ids: requested by the competition; other rows of the frame are left out.
    header: columns of the sample submission, those of the form but for case, blanks and punctuation. None: the id
        column, then `target_column` or the classes.

    Raises UserError for an unknown form, a header that does not fit, or ids that the frame lacks.

    >>> test = pd.DataFrame({"id": ["b", "a"], "cat": [0.9, 0.2], "dog": [0.1, 0.8]})
    >>> build_submission(test, form="name", classes=["cat", "dog"], id_column="file", target_column="label",
    ...                  ids=["a", "b"])
      file label
    0    a   dog
    1    b   cat
    """
    columns = submission_columns(form, classes, id_column, target_column, header)
    asked = test[test["id"].isin(list(ids))]
    if fault := id_fault(asked["id"], ids):
        raise UserError(
            f"the run's test.parquet does not hold each id once: {fault}; it is not as it was made: delete the run's "
            "folder, then type stage=train"
        )
    read = scorable if form in ("index", "name", "ranking") else probabilities
    probs = read(asked.set_index("id").loc[list(ids)], classes)  # (N, C)
    answers = _answers(probs, form, classes, target_column, positive, writing)
    frame = pd.DataFrame({id_column: list(ids), **answers})
    return frame.rename(columns=columns)[list(columns.values())]


def validate_submission(
    submission: pd.DataFrame,
    *,
    form: str,
    classes: Sequence[str],
    id_column: str,
    target_column: str,
    ids: Sequence[str],
    header: Sequence[str] | None = None,
    positive: int = 1,
    writing: Writing = Writing(),
) -> None:
    """Raises UserError, naming three offenders, unless `submission` is valid.

    Checked are columns and their order; ids, each once and in the order of `ids`; empty cells; class labels;
    probabilities within [0, 1] and, with one column per class, rows that sum to 1 ± 1e-4. Cells may be text.
    Arguments: see `build_submission`.
    """
    columns = list(submission_columns(form, classes, id_column, target_column, header).values())
    if list(submission.columns) != columns:
        fault: str | None = f"has columns {list(submission.columns)}, needs {columns}"
    elif submission.empty:
        fault = "has no rows, and no grader takes a file without any"
    else:
        fault = _id_fault(submission.iloc[:, 0], ids) or _cell_fault(submission, form, classes, writing)
    if fault:
        raise UserError(f"submission refused: it {fault}; write it again with stage=submit")


SEGMENT_COLUMNS = ["video", "start", "end", "label", "score"]


def build_segments(segments: pd.DataFrame, *, ends: Mapping[str, float], header: Sequence[str] | None) -> pd.DataFrame:
    """Build the submission for a segments frame, sorted by video and start, clipped at the end of each video.

    ends: video -> its end. header: columns of the sample submission, as `segment_columns`; None: SEGMENT_COLUMNS.
    Raises UserError for a header with other columns.
    """
    columns = segment_columns(header)
    last = segments["video"].map(dict(ends)).astype(float)
    cut = segments.assign(end=np.minimum(segments["end"], last))
    rows = cut.sort_values(["video", "start", "label"], ignore_index=True)
    return rows.assign(row=np.arange(len(rows))).rename(columns=columns)[list(columns.values())]


def segment_columns(header: Sequence[str] | None) -> dict[str, str]:
    """SEGMENT_COLUMNS -> their spelling in the sample submission, in its order. Raises UserError for other columns."""
    columns = timed_columns(SEGMENT_COLUMNS, header or SEGMENT_COLUMNS)
    if columns is None:
        raise UserError(
            f"the sample submission has columns {list(header or [])}, competition.form=segments makes {SEGMENT_COLUMNS}"
        )
    return columns


def validate_segments(
    submission: pd.DataFrame,
    *,
    ends: Mapping[str, float],
    classes: Sequence[str],
    begins: Mapping[str, float] | None = None,
) -> None:
    """Raises UserError, naming three offenders, unless each row is a segment inside a requested video.

    ends, begins: video -> its end and begin (None: 0). classes: valid labels.
    """
    columns = timed_columns(SEGMENT_COLUMNS, list(submission.columns))
    if columns is None:
        raise UserError(f"submission refused: it has columns {list(submission.columns)}, needs {SEGMENT_COLUMNS}")
    submission = submission.rename(columns={theirs: ours for ours, theirs in columns.items()})
    last = submission["video"].map(dict(ends)).astype(float)
    first = 0.0 if begins is None else submission["video"].map(dict(begins)).astype(float)
    start, end, score = (pd.to_numeric(submission[name], errors="coerce") for name in ("start", "end", "score"))
    faults = {
        "has segments of videos that are not asked for": last.isna(),
        "has labels that are no class": ~submission["label"].isin(list(classes)),
        "has segments that do not end after they start": ~(start < end),
        "has segments outside their video": (start < first - TOLERANCE) | (end > last + TOLERANCE),
        "has scores outside 0…1": ~score.between(0, 1),
    }
    for fault, rows in faults.items():
        if rows.any():
            raise UserError(
                f"submission refused: it {fault}: {quoted_three(submission['video'][rows])}; type stage=submit"
            )


def submission_csv(submission: pd.DataFrame) -> bytes:
    r"""Write a submission as CSV: UTF-8, newlines, a header, no index, nine significant digits or six decimals.

    >>> submission_csv(pd.DataFrame({"id": ["a,b"], "p": [0.5], "time": [1700000001.25]}))
    b'id,p,time\n"a,b",0.5,1700000001.25\n'
    """
    exact = submission.copy()
    for name, values in submission.items():
        if pd.api.types.is_float_dtype(values) and (digits := _digits(values)) > DIGITS:
            exact[name] = ["" if np.isnan(value) else f"{value:.{digits}g}" for value in values]
    return exact.to_csv(index=False, lineterminator="\n", float_format=f"%.{DIGITS}g").encode()


def _digits(values: "pd.Series[float]") -> int:
    """Significant digits of the largest number with six decimals, at most those of a float64."""
    largest = np.abs(values[np.isfinite(values)]).max()
    return min(len(f"{largest:.0f}") + DECIMALS, MAX_DIGITS)


def read_written(data: bytes, meant: pd.DataFrame) -> pd.DataFrame:
    """Read a submission back from its CSV, every cell as text.

    Raises UserError, naming three offenders, unless it equals `meant`, numbers to six decimals.
    """
    found = pd.read_csv(io.BytesIO(data), dtype=str, keep_default_na=False, index_col=False, skip_blank_lines=False)
    if (list(found.columns), len(found)) != (list(meant.columns), len(meant)):
        shape = f"{len(found)} rows of {list(found.columns)}, not {len(meant)} of {list(meant.columns)}"
        raise UserError(f"submission refused: its CSV reads as {shape}; are there line breaks in an id or a class?")
    for name in meant:
        if pd.api.types.is_float_dtype(meant[name]):
            numbers = pd.to_numeric(found[name], errors="coerce").to_numpy(np.float64)
            exact = meant[name].to_numpy(np.float64)
            known = np.isfinite(exact)  # validation refuses the rest
            far = np.abs(numbers[known] - exact[known]) - 4 * np.spacing(np.abs(exact[known]))
            other = known.copy()
            other[known] = ~(far <= TOLERANCE)
        else:
            other = (found[name] != meant[name].astype(str).reset_index(drop=True)).to_numpy() & ~meant[name].isna()
        if other.any():
            raise UserError(f"submission refused: column {name} reads otherwise: {quoted_three(found[name][other])}")
    return found


def constant_answer(submission: pd.DataFrame) -> str | None:
    """Find the one answer of ten rows or more, as text; None where answers differ."""
    answers = submission.iloc[:, 1:]
    if len(submission) < 10 or len(answers.drop_duplicates()) > 1:
        return None
    return ", ".join(str(answer) for answer in answers.iloc[0])


def _indices(classes: Sequence[str], first: int) -> list[str]:
    """The numbers of classes, as text, for form=index."""
    return [str(number) for number in range(first, first + len(classes))]


def label_fault(cells: "pd.Series[str]", form: str, classes: Sequence[str], first: int = 0) -> str | None:
    """Why the answers of a sample submission, as text (N,), do not fit the form; None if they do, or are all equal.

    first: competition.first_index.

    >>> label_fault(pd.Series(["1", "2", "3"]), "index", ["a", "b", "c"])
    "holds answers as '3', competition.form=index writes '0', '1', '2': type competition.first_index=1"
    """
    if form in SEVERAL:
        return None
    written = {"name": list(classes), "index": _indices(classes, first)}
    allowed = written.get(form)
    is_strange = ~cells.isin(allowed) if allowed else ~pd.to_numeric(cells, errors="coerce").between(0, 1)
    strange = cells[is_strange & (cells != "")]
    if strange.empty or cells.nunique() == 1:
        return None
    typed = {f"form={other}": answers for other, answers in written.items()}
    typed |= {f"first_index={other}": _indices(classes, other) for other in (0, 1) if form == "index"}
    better = [f"competition.{words}" for words, answers in typed.items() if set(cells) <= set(answers)]
    fix = f"type {better[0]}" if better else "type competition.form=name and rename classes"
    writes = ", ".join(map(repr, allowed[:3])) if allowed else "numbers from 0 to 1"
    return f"holds answers as {quoted_three(strange)}, competition.form={form} writes {writes}: {fix}"


def read_sample_submission(path: Path, *, is_unique: bool = True) -> pd.DataFrame:
    """Read the competition's sample submission as text; its first column holds the ids.

    is_unique: whether ids must not repeat, as they may with segments.
    Raises UserError for a file that is no CSV of at least two columns, or that repeats an id.
    """
    sample = _read_sample(path)
    if len(sample.columns) < 2:
        raise UserError(f"{path} has one column, needs an id and more; check competition.sample_submission")
    if is_unique and (twice := repeated(sample.iloc[:, 0])):
        raise UserError(f"{path} does not hold each id once: {twice}; check competition.sample_submission")
    return sample


def read_header(path: Path) -> list[str]:
    """Read the columns of a sample submission. Raises UserError if it is no CSV."""
    return list(_read_sample(path).columns)


def _read_sample(path: Path) -> pd.DataFrame:
    """Read the cells as text, without the empty column that a comma at the end of each line makes."""
    try:
        _, header, rows = read_cells(path)
    except UserError as error:
        raise UserError(f"{error}; check competition.sample_submission") from error
    while header and not header[-1]:
        header = header[:-1]
    if not header:
        raise UserError(f"{path} is empty; check competition.sample_submission")
    return pd.DataFrame([row[: len(header)] for row in rows.values()], columns=header, dtype=str)


def _spelt(ours: Sequence[str], header: Sequence[str]) -> dict[str, str] | None:
    """Our columns, the ids first -> their spelling in the header, in its order; None unless it has just these.

    Case, blanks and punctuation may differ where that is unambiguous, and classes may have a prefix, as `class1`.
    """
    if sorted(ours) == sorted(header):
        return {name: name for name in header}
    if header and header[0] == ours[0]:
        found = {header[0]: ours[0], **class_columns(ours[1:], header[1:])}
    else:
        found = class_columns(ours, header)
    is_complete = list(found) == list(header) and sorted(found.values()) == sorted(ours)
    return {own: name for name, own in found.items()} if is_complete else None


def submission_columns(
    form: str, classes: Sequence[str], id_column: str, target_column: str, header: Sequence[str] | None
) -> dict[str, str]:
    """Our columns -> their spelling in the submission, in its order; UserError where form, classes, header disagree."""
    check_choice("competition.form", form, FORMS)
    if form == "probability" and len(classes) != 2:
        raise UserError(f"competition.form=probability needs 2 classes, found {len(classes)}; type =probabilities")
    in_columns = form == "probabilities" or (form == "numbers" and len(classes) > 1)
    answers = list(classes) if in_columns else [target_column]
    if id_column in answers:
        raise UserError(f"competition.id_column={id_column} is the name of another column; change it")
    ours = [id_column, *answers]
    if header is None:
        return {name: name for name in ours}
    columns = _spelt(ours, header)
    if columns is None or next(iter(columns)) != id_column:
        raise UserError(
            f"the sample submission has columns {list(header)}, competition.form={form} makes {ours}; "
            "change competition.form, id_column, target_column or classes"
        )
    return columns


def _answers(
    probs: Probs, form: str, classes: Sequence[str], target_column: str, positive: int, writing: Writing
) -> dict[str, npt.NDArray[Any]]:
    """Columns beside the ids, name -> (N,), from probabilities (N, C)."""
    if form in SEVERAL:
        return several_answers(probs, form, classes, target_column, writing)
    if form == "probabilities":
        return dict(zip(classes, probs.T, strict=True))
    if form == "probability":
        return {target_column: probs[:, positive]}
    winners = probs.argmax(axis=1)
    return {target_column: winners + writing.first if form == "index" else np.array(classes, dtype=object)[winners]}


def _id_fault(found: pd.Series, ids: Sequence[str]) -> str | None:
    """Why the ids of a submission are invalid; None if they are valid."""
    if found.isna().any():
        return f"has rows without an id: {int(found.isna().sum())}"
    names = found.astype(str).reset_index(drop=True)
    if fault := id_fault(names, ids):
        return f"has not each id once: {fault}"
    due = pd.Series(list(ids), dtype=names.dtype)
    displaced = names[names != due]
    return f"has rows in another order than asked for: {quoted_three(displaced)}" if len(displaced) else None


def _cell_fault(submission: pd.DataFrame, form: str, classes: Sequence[str], writing: Writing) -> str | None:
    """Why cells beside the ids are invalid; None if they are valid."""
    ids, cells = submission.iloc[:, 0], submission.iloc[:, 1:]
    empty = (cells.isna() | (cells == "")).any(axis=1)
    if form == "tags" and not writing.needs_tag:
        empty &= False
    if empty.any():
        return f"has empty cells for id {quoted_three(ids[empty])}"
    if form in SEVERAL:
        return several_fault(ids, cells, form, classes, writing)
    if form in ("index", "name"):
        allowed = list(classes) if form == "name" else _indices(classes, writing.first)
        written = cells.iloc[:, 0].astype(str)  # compared as they will stand in the file: 1.0 is not 1
        strange = written[~written.isin(allowed)]
        return f"has labels that are none of {allowed}: {quoted_three(strange)}" if len(strange) else None
    probs = cells.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)  # words become NaN
    both = np.hstack([1 - probs, probs]) if form == "probability" else probs  # the first class has the rest
    return probability_fault(ids, both, sums=writing.sums)
