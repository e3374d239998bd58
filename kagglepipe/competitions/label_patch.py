"""Decisions about doubtful labels, as suspects.csv collects them: `competition.labels_patch`, applied by `prepare`."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from kagglepipe.competitions.labels import sort_classes
from kagglepipe.competitions.spreadsheet import read_spreadsheet
from kagglepipe.competitions.targets import SEPARATOR, names_in, read_targets, split_tags
from kagglepipe.errors import UserError
from kagglepipe.files import file_sha256
from kagglepipe.options import CompetitionOptions
from kagglepipe.text import first_three, quoted_three

log = logging.getLogger(__name__)
COLUMNS = ("id", "suggested", "decision")
DECISIONS = ("keep", "change", "drop")


def patch_settings(competition: CompetitionOptions) -> dict[str, str]:
    """Setting of the table that the file decides, for prepared.json. Raises UserError where it is not there."""
    if competition.labels_patch is None:
        return {}
    if not (path := Path(competition.labels_patch)).is_file():
        raise UserError(f"there is no competition.labels_patch={path}: the page of a run writes such suspects.csv")
    return {"labels_patch_sha256": file_sha256(path)}


def patched(rows: pd.DataFrame, classes: Sequence[str], competition: CompetitionOptions) -> pd.DataFrame:
    """The rows (id, split, target, …) after the decisions: labels changed, training rows dropped; logs how many.

    Raises UserError for an id that is there twice or is of no training row, a decision that is none, a label that is
    no class, and a class that would be left without rows.
    """
    if competition.labels_patch is None:
        return rows
    path = Path(competition.labels_patch)
    found = read_spreadsheet(path, {name: name for name in COLUMNS}, COLUMNS, is_renamable=False)
    if twice := sorted(set(found["id"][found["id"].duplicated()])):
        raise UserError(f"{path} has {quoted_three(twice)} more than once: keep one row of each id")
    found = found[found["decision"] != ""].set_index("id")
    if wrong := sorted(set(found["decision"]) - set(DECISIONS)):
        raise UserError(f"{path} has the decision {quoted_three(wrong)}: write {', '.join(DECISIONS)} or nothing")
    is_train = rows["split"] == "train"
    if unknown := sorted(set(found.index) - set(rows["id"][is_train])):
        raise UserError(f"{path} has the id {quoted_three(unknown)} of no item to train on: take such rows out")
    labels = labels_of(found.loc[found["decision"] == "change", "suggested"], classes, competition, str(path))
    targets = rows["id"].map(labels).astype(object)
    is_changed = is_train & targets.notna() & (targets != rows["target"])  # not to the label that it has
    changed = rows.assign(target=rows["target"].where(~is_changed, targets))
    is_dropped = is_train & rows["id"].isin(found.index[found["decision"] == "drop"])
    kept = changed[~is_dropped].reset_index(drop=True)
    before, after = (set(names_in(one["target"].dropna(), competition.task)) for one in (rows, kept))
    if lost := sorted(before - after):
        raise UserError(f"{path} leaves nothing of {first_three(lost)}: keep one row at least")
    log.info(
        "prepare: %s: %d labels changed, %d rows dropped, %d kept", path, int(is_changed.sum()), int(is_dropped.sum()),
        int((found["decision"] == "keep").sum()),
    )  # fmt: skip
    return kept


def labels_of(
    suggested: "pd.Series[str]", classes: Sequence[str], competition: CompetitionOptions, path: str
) -> "pd.Series[str]":
    """Targets of suggested labels, tags joined by `|` in their usual order. Raises UserError for another class."""
    task = competition.task
    if unknown := sorted(set(names_in(suggested, task)) - set(classes)):
        raise UserError(f"{path} suggests {quoted_three(unknown)}, needed is one of {', '.join(classes[:20])}")
    if task == "multilabel":
        return suggested.map(lambda tags: SEPARATOR.join(sort_classes(set(split_tags(tags)))))
    return read_targets(suggested, path, competition)
