"""Labels of point events: `video,time,label`, which become segments of no length, start = end = time."""

import numpy as np
import pandas as pd

from kagglepipe.errors import UserError
from kagglepipe.options import CompetitionOptions


def with_event_times(table: pd.DataFrame, name: str, competition: CompetitionOptions) -> pd.DataFrame:
    """Labels by row in the file with start and end, as text, from their column of times. name: of the table.

    Raises UserError for a table without that column, and for a label without a time.
    """
    column = competition.column("time")
    if "time" not in table:
        raise UserError(f"{name} has no column {column}: events need it; another is typed as competition.columns.time")
    empty = (table["time"] == "") & (table["label"] != "")
    if empty.any():
        row = table.index[int(empty.to_numpy().argmax())]
        raise UserError(f"{name}, row {row} ({table['video'][row]}) has no {column}: add it (there are {empty.sum()})")
    return table.assign(start=table["time"], end=table["time"]).drop(columns="time")


def labelled_spans(labels: pd.DataFrame, competition: CompetitionOptions) -> pd.DataFrame:
    """Segments of the frames that labels are learnt in: they themselves, of events those around them."""
    return widened(labels, competition.event_width) if competition.finds_events else labels


def widened(events: pd.DataFrame, width: float) -> pd.DataFrame:
    """Segments of the frames that are labelled for each event, `width` to either side.

    Of two of a video whose segments would overlap each has the frames that are nearer to it.

    >>> events = pd.DataFrame({"video": "v", "start": [1.0, 1.6], "end": [1.0, 1.6], "label": ["a", "b"]})
    >>> widened(events, 0.5)[["start", "end"]].round(2).to_numpy().tolist()
    [[0.5, 1.3], [1.3, 2.1]]
    """
    ordered = events.sort_values(["video", "start"], kind="stable", ignore_index=True)
    time = ordered["start"].to_numpy(np.float64)
    same = (ordered["video"] == ordered["video"].shift()).to_numpy()
    middle = np.append(np.nan, (time[1:] + time[:-1]) / 2)[: len(time)]
    start = np.where(same, np.maximum(time - width, middle), time - width)
    after, is_followed = np.append(middle[1:], np.nan)[: len(time)], np.append(same[1:], False)[: len(time)]
    end = np.where(is_followed, np.minimum(time + width, after), time + width)
    wide = ordered.assign(start=start, end=end)
    return wide[wide["start"] < wide["end"]]
