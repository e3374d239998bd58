"""Known answers of the test rows, read from `competition.answers` or from what `prepare` has set aside.

They are for scoring only: nothing is fitted or chosen with them.
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from kagglepipe.competitions.dataset import Dataset, read_annotations
from kagglepipe.competitions.event_labels import labelled_spans, outside_parts
from kagglepipe.competitions.filenames import find_table, make_id, spelt, whole_number
from kagglepipe.competitions.spreadsheet import Cells, check_header, pivoted, read_cells, read_spreadsheet
from kagglepipe.errors import UserError
from kagglepipe.files import expanded, sha256
from kagglepipe.options import ID_FORMS, CompetitionOptions
from kagglepipe.predictions.frame import repeated
from kagglepipe.runs.answered_targets import WITHOUT, answered_targets
from kagglepipe.segments.matching import SEGMENT_COLUMNS
from kagglepipe.sequences.grid import frame_labels
from kagglepipe.text import quoted_three


def answers_hash(competition: CompetitionOptions, dataset: Dataset) -> str | None:
    """Hash of all known answers; None without any. Raises UserError as the readers."""
    read = read_segment_answers if competition.finds_segments else read_answers
    answers = read(competition, dataset)
    return None if answers is None else sha256(answers.to_csv(lineterminator="\n"))


def hidden_answers(competition: CompetitionOptions, dataset: Dataset) -> "pd.Series[Any]":
    """True classes, by id, of the rows that `competition.hidden` hides, for stage=drill after training."""
    if competition.finds_segments:
        return true_classes(dataset.test, labelled_spans(hidden_segments(dataset), competition), competition.background)
    answers = pd.read_csv(dataset.folder / "answers.csv", dtype=str, keep_default_na=False)
    return answers.set_index("id")["target"]


def hidden_segments(dataset: Dataset) -> pd.DataFrame:
    """Labelled segments of the long videos that `competition.hidden` hides."""
    return read_annotations(dataset.folder / "answers.csv")


def read_answers(competition: CompetitionOptions, dataset: Dataset) -> "pd.Series[Any] | None":
    """True targets, by id, of the test items; None where neither the competition nor `per_class` knows them.

    Raises UserError for a file that is missing, or has other items or classes.
    """
    if competition.hidden is not None:
        return None  # only stage=drill reads them
    if competition.per_class is not None:
        known = pd.read_csv(dataset.folder / "answers.csv", dtype=str, keep_default_na=False)
        return known.set_index(known.columns[0])[known.columns[1]]
    if competition.answers is None:
        return None
    path = table_path(dataset, competition.answers)
    header, rows = read_rows(path)
    if competition.form == "pairs":
        _, header, numbered = pivoted(Cells(",", header, dict(enumerate(rows, 2))), path)
        rows = list(numbered.values())
    if len(header) < 2:
        raise UserError(f"{path} has one column, needs an id and a label: {WITHOUT}")
    asked = items_asked(dataset)
    check_header(path, pd.DataFrame(rows, columns=header, dtype=str), asked.__contains__, "answers")
    named = [competition.column(name) for name in ("answer_id", "item") if name in competition.columns]
    place = next((header.index(name) for name in named if name in header), 0)  # as in the labels, or as submitted
    ids = pd.Series(as_spelt((row[place] for row in rows), asked), dtype=str)
    if twice := repeated(ids):
        raise UserError(f"{path} has several rows of an id: {twice}; keep one row each")
    cells = pd.DataFrame(rows, columns=header, index=pd.Index(ids), dtype=str).drop(columns=header[place])
    may_be_empty = bool((dataset.train["target"] == "").any())
    answers = answered_targets(cells, competition, dataset.classes, path, may_be_empty=may_be_empty)
    check_known(competition, dataset, answers.index)
    return answers


def read_segment_answers(competition: CompetitionOptions, dataset: Dataset) -> pd.DataFrame | None:
    """True segments of the test videos; None if unknown. Raises UserError as `read_answers`."""
    if competition.answers is None or competition.hidden is not None:  # only stage=drill reads them
        return None
    path = table_path(dataset, competition.answers)
    columns = {name: name for name in SEGMENT_COLUMNS}
    if competition.finds_events:
        item = competition.column("item")
        columns = {"video": "video" if item == "item" else item}
        columns |= {name: competition.column(name) for name in ("time", "label")}
    try:
        answers = read_spreadsheet(path, columns, list(columns), is_renamable=False)
    except UserError as error:
        raise UserError(f"{error}; {WITHOUT}") from error
    if competition.finds_events:
        answers = answers.assign(start=answers["time"], end=answers["time"])[list(SEGMENT_COLUMNS)]
    for name in ("start", "end"):
        times = pd.to_numeric(answers[name], errors="coerce").astype(float)
        if times.isna().any():
            raise UserError(f"{path}: {name} {answers[name][times.isna()].iloc[0]!r} is no number: mend it; {WITHOUT}")
        answers[name] = times
    unannotated = outside_parts(answers, competition.bounds, str(path))
    answers = answers[~answers["label"].isin([*competition.ignore_labels, *competition.bounds])]
    if strange := sorted(set(answers["label"]) - set(dataset.classes)):
        raise UserError(f"{path} has the label {strange[0]}, which is none of {', '.join(dataset.classes)}: mend it")
    answers = pd.concat([answers, unannotated], ignore_index=True) if len(unannotated) else answers
    answers = answers.assign(video=as_spelt(answers["video"], items_asked(dataset)))
    check_known(competition, dataset, answers["video"])
    return answers


def true_classes(rows: pd.DataFrame, segments: pd.DataFrame, background: str | None) -> "pd.Series[Any]":
    """True classes, by id, of the frames in `rows`, from the segments of their videos."""
    of_video = dict(iter(segments.groupby("video")))
    found = [
        pd.Series(frame_labels(own["start"].to_numpy(), of_video.get(video, segments[:0]), background), own["id"])
        for video, own in rows.sort_values(["video", "position"]).groupby("video")
    ]
    return pd.concat(found)


# --- items by their ids --------------------------------------------------------------------------------------------


def table_path(dataset: Dataset, name: str) -> Path:
    """Path of a CSV that an option of the competition names, also in a folder that wraps the data.

    Raises UserError if the file is in the working directory instead.
    """
    root = dataset.images_root
    path = root / expanded(name)
    if path.is_file():
        return path
    files = [file.relative_to(root).as_posix() for file in root.rglob("*") if file.suffix.lower() in (".csv", ".zip")]
    found = find_table(name, files)
    if found is None and (here := expanded(name).absolute()).is_file():
        raise UserError(f"there is no {path}, where competition.source is: for the one here type its path, {here}")
    return root / (found or path)


def read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """(header, rows) of a CSV, as text. Raises UserError if it is no CSV."""
    try:
        _, header, rows = read_cells(path)
    except UserError as error:
        raise UserError(f"{error}; {WITHOUT}") from error
    return header, list(rows.values())


def check_known(competition: CompetitionOptions, dataset: Dataset, answered: Iterable[str]) -> None:
    """Raises UserError if no answer belongs to a test item; some may belong to unreadable files."""
    theirs, ours = set(answered), items_asked(dataset)
    if not theirs or not ours or theirs & set(ours):
        return
    mend = "write names so"
    if forms := fitting_ids(theirs, ours.values()):
        mend = f"type competition.id={forms[0]}"
    raise UserError(
        f"{competition.answers} names {quoted_three(theirs)} and nothing that is to be classified, as {min(ours)} is: "
        f"{mend}, or competition.answers=null"
    )


def by_answer(dataset: Dataset, test: pd.DataFrame) -> pd.DataFrame:
    """Predictions of test items, those of several with one answer (`columns.answer_id`) as their mean, by its id."""
    if "answer_id" not in dataset.test:
        return test
    of_item = dataset.test.set_index("id")["answer_id"]
    found = test.assign(id=test["id"].map(of_item)).groupby("id", as_index=False, sort=False).mean(numeric_only=True)
    words = {str(name): test[name].iloc[0] for name in test if name not in found}  # `task`, of tags and numbers
    return found.assign(**words)[test.columns]


def items_asked(dataset: Dataset) -> dict[str, str]:
    """Paths, by id of the answer, of all test items: a long video once, unreadable ones too."""
    rows = dataset.test
    names = rows["video"] if dataset.items is not None else rows["answer_id" if "answer_id" in rows else "id"]
    return dict(zip(names, rows["path"], strict=True)) | {one.id: one.path for one in dataset.unreadable}


def as_spelt(names: Iterable[str], own: Iterable[str]) -> list[str]:
    r"""Each name as it stands in `own`, where systems spell it in several ways; a name that is not there as it is.

    A path is also matched by its file name and its stem, if that is unique: ids by competition.id=path. What is then
    left over is matched as a whole number, `0007` and `7`, if that is unique.

    >>> as_spelt(["e\u0301.png", "b"], ["\u00e9.png"]) == ["\u00e9.png", "b"]
    True
    >>> as_spelt(["7"], ["test/7.png", "test/8.png"]), as_spelt(["test/7.png"], ["7", "8"])
    (['test/7.png'], ['7'])
    >>> as_spelt(["0007", "8"], ["7", "8"]), as_spelt(["7", "07"], ["7"]), as_spelt(["7"], ["07", "007"])
    (['7', '8'], ['7', '07'], ['7'])
    """
    names, own = list(names), list(own)
    known = {spelt(name): name for name in own}
    ends: dict[str, list[str]] = {}
    for path in own:
        for end in _ends(path):
            ends.setdefault(end, []).append(path)
    unique = {end: paths[0] for end, paths in ends.items() if len(paths) == 1}

    def find(name: str) -> str:
        exact = known.get(spelt(name)) or unique.get(spelt(name))
        return exact or next((known[end] for end in _ends(name) if end in known), name)

    found = [find(name) for name in names]
    left = _numbered(set(own) - set(found))
    if not left:
        return found
    numbered = _numbered({name for name, ours in zip(names, found, strict=True) if ours == name})
    same = {name: left[number] for number, name in numbered.items() if number in left}
    return [same.get(name, ours) for name, ours in zip(names, found, strict=True)]


def _numbered(names: Iterable[str]) -> dict[tuple[int, str], str]:
    """(whole number, extension) -> the one of the names that has them, as `0007`, `7.0` and `0007.jpg`."""
    found: dict[tuple[int, str], list[str]] = {}
    for name in names:
        file = PurePosixPath(spelt(name))
        for text, suffix in ((file.name, ""), (file.stem, file.suffix.lower())):
            if (number := whole_number(text)) is not None:
                found.setdefault((number, suffix), []).append(name)
                break
    return {key: named[0] for key, named in found.items() if len(named) == 1}


def _ends(path: str) -> list[str]:
    """File name and stem of a path; none for a name without folders."""
    pure = PurePosixPath(spelt(path))
    return list(dict.fromkeys((pure.name, pure.stem))) if len(pure.parts) > 1 else []


def fitting_ids(asked: Iterable[str], paths: Iterable[str]) -> list[str]:
    """Find the values of `competition.id` by which all these ids exist.

    >>> fitting_ids({"a"}, ["test/a.png", "test/b.png"])
    ['stem']
    """
    asked, paths = set(asked), list(paths)
    return [form for form in ID_FORMS[:3] if asked <= {make_id(path, form) for path in paths}]
