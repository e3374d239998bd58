"""Units of a competition with a time axis: labels clipped to the files and rows of clips."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from kagglepipe.competitions.annotations import Catalogue
from kagglepipe.competitions.dataset import format_time, frame_id
from kagglepipe.competitions.event_labels import are_outside
from kagglepipe.competitions.given_folds import with_given_folds
from kagglepipe.errors import UserError


def clip_labels(catalogue: Catalogue, spans: Mapping[str, tuple[float, float]], *, finds_segments: bool) -> Catalogue:
    """Clip the labels to the spans of the items; notes count cut and overlapping ones.

    spans: video -> (first time, end) in the competition's unit; labels of other videos are dropped.
    Raises UserError for a label wholly outside its item.
    """
    labels = catalogue.labels[catalogue.labels["video"].isin(list(spans))].reset_index(drop=True)
    first, last = (labels["video"].map({v: span[n] for v, span in spans.items()}).astype(float) for n in (0, 1))
    if finds_segments:  # a label without times is of the whole item
        labels["start"], labels["end"] = labels["start"].fillna(first), labels["end"].fillna(last)
    timed = labels["start"].notna()
    if (outside := timed & ((labels["start"] >= last) | (labels["end"] <= first))).any():
        row = labels[outside].iloc[0]
        begins, ends = spans[row["video"]]
        raise UserError(
            f"a label of {row['video']} lies at {row['start']:.10g}–{row['end']:.10g}, but all that is there lies at "
            f"{begins:.10g}–{ends:.10g}; mend it (there are {outside.sum()})"
        )
    cut = timed & ((labels["start"] < first) | (labels["end"] > last + 1e-6))
    notes = list(catalogue.notes)
    if cut.any():
        notes.append(f"{cut.sum()} labels reach beyond their video and were cut, as in {labels['video'][cut].iloc[0]}")
    labels["start"] = labels["start"].where(~timed, np.maximum(labels["start"], first))
    labels["end"] = labels["end"].where(~timed, np.minimum(labels["end"], last))
    if finds_segments and (crossing := overlapping(labels)):
        notes.append(f"{len(crossing)} labels overlap: the one that starts later counts, as in {crossing[0]}")
    files = catalogue.files[catalogue.files["video"].isin(list(spans))].reset_index(drop=True)
    return replace(catalogue, files=files, labels=labels, notes=notes)


def check_events(catalogue: Catalogue, spans: Mapping[str, tuple[float, float]]) -> Catalogue:
    """Keep the labels of the items in `spans`: video -> (first time, end).

    Raises UserError for an event that has no time, or lies outside its item or the annotated parts.
    """
    labels = catalogue.labels[catalogue.labels["video"].isin(list(spans))].reset_index(drop=True)
    first, last = (labels["video"].map({v: span[n] for v, span in spans.items()}).astype(float) for n in (0, 1))
    outside = ~((labels["start"] >= first) & (labels["start"] <= last))
    if outside.any():
        row = labels[outside].iloc[0]
        begins, ends = spans[row["video"]]
        raise UserError(
            f"an event of {row['video']} is at {row['start']:.10g}, but all that is there lies at "
            f"{begins:.10g}–{ends:.10g}; mend it (there are {outside.sum()})"
        )
    if (lost := are_outside(labels.rename(columns={"start": "time"}), catalogue.unannotated)).any():
        row = labels[lost].iloc[0]
        raise UserError(
            f"an event of {row['video']} is at {row['start']:.10g}, outside the annotated parts: mend it, or take all "
            f"time as annotated with competition.bounds=[] (there are {lost.sum()})"
        )
    files = catalogue.files[catalogue.files["video"].isin(list(spans))].reset_index(drop=True)
    return replace(catalogue, files=files, labels=labels)


def overlapping(labels: pd.DataFrame) -> list[str]:
    """List the video of each label that starts before an earlier one of its video ends.

    >>> overlapping(pd.DataFrame({"video": ["a", "a", "b"], "start": [0.0, 1.0, 0.0], "end": [2.0, 3.0, 1.0]}))
    ['a']
    """
    crossing = []
    for video, rows in labels.dropna(subset=["start"]).sort_values("start", kind="stable").groupby("video"):
        reached = rows["end"].cummax().shift(fill_value=-np.inf)
        crossing += [str(video)] * int((rows["start"] < reached - 1e-9).sum())
    return crossing


def clip_rows(catalogue: Catalogue) -> pd.DataFrame:
    """Make a row for each labelled item or segment of one, and for each test item.

    Columns: id (the item's, with `@start-end` for a segment), video, path, split, target, group, start, end.
    Raises UserError if an item has several labels without times.
    """
    labels = catalogue.labels.copy()
    labels["id"] = [
        video if np.isnan(start) else f"{frame_id(video, start)}-{format_time(end)}"
        for video, start, end in zip(labels["video"], labels["start"], labels["end"], strict=True)
    ]
    if twice := [name for name, times in Counter(labels["id"]).items() if times > 1]:
        raise UserError(
            f"{twice[0]} has more than one label: keep one of them, or type competition.task=multilabel if it has all"
        )
    train = catalogue.files[catalogue.files["split"] == "train"].merge(labels, on="video")
    test = catalogue.files[catalogue.files["split"] == "test"].assign(start=np.nan, end=np.nan, label=None)
    rows = pd.concat([train, test.assign(id=test["video"])], ignore_index=True).rename(columns={"label": "target"})
    rows["group"] = rows["group"].where(rows["group"].notna(), rows["video"])
    return with_given_folds(rows, ["id", "video", "path", "split", "target", "group", "start", "end"]).sort_values(
        "id", ignore_index=True
    )


def classes_of(videos: pd.DataFrame, labels: pd.DataFrame, background: str | None) -> pd.DataFrame:
    """List id, group and target of long videos, a row for each class in one; the background is in all.

    videos: id, group. labels: video, label; those of other videos are ignored.
    """
    found = labels.rename(columns={"video": "id", "label": "target"})[["id", "target"]]
    pairs = pd.concat([videos[["id"]].assign(target=background), found]).drop_duplicates()
    return videos[["id", "group"]].merge(pairs, on="id")
