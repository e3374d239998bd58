"""What a competition consists of, by its files and tables alone: nothing is decoded."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kagglepipe.competitions.annotations import list_items
from kagglepipe.competitions.filenames import is_excluded, without_dicom_copies
from kagglepipe.competitions.source import list_names
from kagglepipe.competitions.table import list_images
from kagglepipe.competitions.targets import describe_targets, names_in
from kagglepipe.options import CompetitionOptions
from kagglepipe.text import counted

MOST_CLASSES = 12  # by name


@dataclass(frozen=True)
class Summary:
    """rows: id, path, split, target (None in the test) and group (None where there is none), a row for each item or
    labelled piece of one. sentences: their numbers, for people. notes: what was left out or interpreted.
    """

    rows: pd.DataFrame
    classes: list[str]
    sentences: list[str]
    notes: list[str]


def summarize(competition: CompetitionOptions, root: Path) -> Summary:
    """Count the items of a competition whose files lie in `root`. Raises UserError as stage=prepare does."""
    files, _ = list_names(root, skip_bad=competition.on_bad_image == "skip")
    names = without_dicom_copies([name for name in files if not is_excluded(name, competition.exclude)])
    if competition.kind == "image":
        listing = list_images(names, competition, root)
        rows, classes, notes = listing.rows, listing.classes, listing.notes
    else:
        catalogue = list_items(names, competition, root)
        labels = catalogue.labels[["video", "label"]].rename(columns={"label": "target"})
        rows = catalogue.files.merge(labels, how="left", on="video").rename(columns={"video": "id"})
        classes, notes = catalogue.classes, catalogue.notes
    return Summary(rows, classes, _sentences(rows, classes, competition, root), notes)


def _sentences(rows: pd.DataFrame, classes: list[str], competition: CompetitionOptions, root: Path) -> list[str]:
    train, test = rows[rows["split"] == "train"], rows[rows["split"] == "test"]
    names = names_in(train["target"].dropna(), competition.task)
    counts = pd.Series(names, dtype=str).value_counts()
    asked = "predict" if competition.task == "regression" else "classify"
    found = [f"{train['path'].nunique():,} {competition.noun} to train on, {test['path'].nunique():,} to {asked}"]
    if competition.task == "regression":
        found.append(f"{', '.join(classes[:MOST_CLASSES])}: {describe_targets(train['target'], competition.task)}")
    else:
        noun = "tags" if competition.task == "multilabel" else "classes"
        each = counted({name: int(counts.get(name, 0)) for name in classes}, most=MOST_CLASSES)
        found.append(f"{len(classes)} {noun}: {each}")
    if competition.task != "regression" and len(classes) > MOST_CLASSES:
        found.append(f"the smallest class has {counts.min():,}, the largest {counts.max():,}")
    groups = train["group"].dropna()
    if len(groups):
        sizes = groups.value_counts()
        found.append(f"{len(sizes):,} groups, the largest of {sizes.max():,}; each stays in one fold")
    if competition.columns.get("fold"):
        found.append(f"folds: by the column {competition.columns['fold']}")
    sizes = pd.Series([path.stat().st_size for name in rows["path"].unique() if (path := root / name).is_file()])
    if len(sizes):
        found.append(f"files of {_size(sizes.min())} to {_size(sizes.max())}, together {_size(sizes.sum())}")
    return found


def _size(count: float) -> str:
    """A number of bytes as people write it.

    >>> _size(999), _size(999_900), _size(2_500_000)
    ('999 B', '1 MB', '2.5 MB')
    """
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
