"""Labels of point events: `video,time,label`, which become segments of no length, start = end = time.

Where labels begin and end the parts of a video that are annotated (`competition.bounds`), the time outside of them is
kept as segments with the label UNANNOTATED: it is neither learnt nor scored.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.errors import UserError
from kagglepipe.options import CompetitionOptions

UNANNOTATED = ""
ROUNDING = 1e-6  # of the width: times in a CSV are decimal fractions


def with_event_times(table: pd.DataFrame, name: str, competition: CompetitionOptions) -> tuple[pd.DataFrame, list[str]]:
    """(labels by row in the file with start and end, as text, from their column of times; notes). name: of the table.

    Rows without a time are left out. Raises UserError for a table without that column, or without any time.
    """
    column = competition.column("time")
    if "time" not in table:
        raise UserError(f"{name} has no column {column}: events need it; another is typed as competition.columns.time")
    empty = table["time"] == ""
    if empty.all():
        raise UserError(f"{name} has no {column} in any row: events need it")
    kept = table[~empty].assign(start=table["time"], end=table["time"]).drop(columns="time")
    notes = [f"{empty.sum()} rows of {name} have no {column} and were passed over: their event is not learnt"]
    return kept, notes if (empty & (table["label"] != "")).any() else []


def labelled_spans(labels: pd.DataFrame, competition: CompetitionOptions) -> pd.DataFrame:
    """Segments of the frames that labels are learnt in: they themselves, of events those around them."""
    if not competition.finds_events:
        return labels
    is_event = labels["label"] != UNANNOTATED
    return pd.concat([widened(labels[is_event], competition.event_width), labels[~is_event]], ignore_index=True)


def outside_parts(labels: pd.DataFrame, bounds: Sequence[str], name: str) -> pd.DataFrame:
    """Segments of the time outside the annotated parts, of the videos whose labels have `bounds`, the first and last
    without limits.

    labels: video, start (their time) and label, of a table called `name`. Raises UserError unless begins and ends
    alternate.

    >>> marks = pd.DataFrame({"video": "v", "start": [8.0, 9.0, 32.0], "label": ["start", "pass", "end"]})
    >>> outside_parts(marks, ["start", "end"], "train.csv")[["start", "end"]].to_numpy().tolist()
    [[-inf, 8.0], [32.0, inf]]
    """
    marks = labels[labels["label"].isin(list(bounds))].sort_values(["video", "start"], kind="stable")
    parts = [pd.DataFrame(columns=["video", "start", "end", "label"])]
    for video, own in marks.groupby("video"):
        should = np.array(list(bounds), object)[np.arange(len(own)) % 2]
        if (wrong := own["label"].to_numpy() != should).any() or len(own) % 2:
            time = own["start"].iloc[int(wrong.argmax()) if wrong.any() else -1]
            raise UserError(
                f"{name}: {' and '.join(bounds)} of {video} do not alternate at {time:.10g}: mend it, or take all "
                "time as annotated with competition.bounds=[]"
            )
        limits = np.concatenate([[-np.inf], own["start"], [np.inf]]).reshape(-1, 2)
        parts.append(pd.DataFrame({"video": video, "start": limits[:, 0], "end": limits[:, 1], "label": UNANNOTATED}))
    return pd.concat(parts, ignore_index=True).astype({"start": float, "end": float})


def are_outside(events: pd.DataFrame, parts: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Whether each event (video, time) lies in one of the segments of `outside_parts`, (N,)."""
    of_video = {video: own[["start", "end"]].to_numpy(np.float64) for video, own in parts.groupby("video")}
    nowhere = np.empty((0, 2))
    pairs = ((time, of_video.get(video, nowhere)) for video, time in zip(events["video"], events["time"], strict=True))
    return np.array([bool(((own[:, 0] < time) & (time < own[:, 1])).any()) for time, own in pairs], np.bool_)


def widened(events: pd.DataFrame, width: float) -> pd.DataFrame:
    """Segments of the frames that are labelled for each event, those at most `width` before or after it.

    Of two of a video whose segments would overlap each has the frames that are nearer to it.

    >>> events = pd.DataFrame({"video": "v", "start": [1.0, 1.6], "end": [1.0, 1.6], "label": ["a", "b"]})
    >>> widened(events, 0.5)[["start", "end"]].round(2).to_numpy().tolist()
    [[0.5, 1.3], [1.3, 2.1]]
    """
    ordered = events.sort_values(["video", "start"], kind="stable", ignore_index=True)
    time = ordered["start"].to_numpy(np.float64)
    same = (ordered["video"] == ordered["video"].shift()).to_numpy()
    reach = width * (1 + ROUNDING)  # segments are without their end: with it, so that the event is their middle
    middle = np.append(np.nan, (time[1:] + time[:-1]) / 2)[: len(time)]
    start = np.where(same, np.maximum(time - reach, middle), time - reach)
    after, is_followed = np.append(middle[1:], np.nan)[: len(time)], np.append(same[1:], False)[: len(time)]
    end = np.where(is_followed, np.minimum(time + reach, after), time + reach)
    wide = ordered.assign(start=start, end=end)
    return wide[wide["start"] < wide["end"]]
