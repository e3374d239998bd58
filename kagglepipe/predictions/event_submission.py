"""Submissions of point events: video, time, event and score, by the names of the sample submission."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from kagglepipe.competitions.timed_columns import EVENTS, timed_columns
from kagglepipe.errors import UserError
from kagglepipe.text import quoted_three

EVENT_COLUMNS = ("video", "time", "event", "score")
TOLERANCE = 1e-6


def event_columns(header: Sequence[str] | None) -> dict[str, str]:
    """Column of the submission for video, time, label and score, in its order; of a sample as in `timed_columns`.

    Raises UserError for a sample that has other columns.

    >>> event_columns(["video_id", "time", "event", "score"])
    {'video': 'video_id', 'time': 'time', 'label': 'event', 'score': 'score'}
    """
    names = list(EVENT_COLUMNS if header is None else header)
    columns = timed_columns(EVENTS, names)
    if columns is None:
        raise UserError(
            f"the sample submission has columns {names}, competition.form=events makes a column for the video, time, a "
            "column for the event, and score"
        )
    return columns


def build_events(events: pd.DataFrame, *, ends: Mapping[str, float], header: Sequence[str] | None) -> pd.DataFrame:
    """Build the submission for an events frame, sorted by video and time, no later than the end of each video."""
    columns = event_columns(header)
    last = events["video"].map(dict(ends)).astype(float)
    cut = events.assign(time=events["time"].clip(upper=last)).sort_values(["video", "time"], ignore_index=True)
    cut["row"] = np.arange(len(cut))
    built = pd.DataFrame({theirs: cut[ours] for ours, theirs in columns.items()})
    return built[list(EVENT_COLUMNS if header is None else header)]


def validate_events(
    submission: pd.DataFrame, *, begins: Mapping[str, float], ends: Mapping[str, float], classes: Sequence[str]
) -> None:
    """Raises UserError unless each row is an event of a known class inside a requested video."""
    columns = event_columns(list(submission.columns))
    rows = pd.DataFrame({ours: submission[theirs] for ours, theirs in columns.items()})
    time, score = (pd.to_numeric(rows[name], errors="coerce") for name in ("time", "score"))
    first, last = (rows["video"].map(dict(limits)).astype(float) for limits in (begins, ends))
    faults = {
        "has events of videos that are not asked for": last.isna(),
        "has events outside their video": ~((time >= first - TOLERANCE) & (time <= last + TOLERANCE)),
        "has scores that are not within [0, 1]": ~score.between(0, 1),
        "has labels that are no class": ~rows["label"].isin(list(classes)),
    }
    for fault, wrong in faults.items():
        if wrong.any():
            raise UserError(f"submission refused: it {fault}: {quoted_three(rows['video'][wrong])}; type stage=submit")
