"""Names of the columns of segments and events: of times and scores in tables and in sample submissions."""

from collections.abc import Sequence

TIMES = ("time", "timestamp", "time_s", "seconds", "second", "sec", "t", "moment", "step", "onset", "time_ms")
STARTS = ("start", "begin", "onset", "start_time", "t_start", "start_s")
ENDS = ("end", "stop", "offset", "end_time", "t_end", "end_s")
SCORES = ("score", "confidence", "probability", "prob", "conf")
FRAMES = ("frame", "frame_id", "frame_number", "frame_index", "frame_idx", "start_frame", "end_frame")
ROWS = ("row_id", "row", "index")
KNOWN = {"time": TIMES, "start": STARTS, "end": ENDS, "score": SCORES, "row": ROWS}
EVENTS = ("video", "time", "label", "score")
SEGMENTS = ("video", "start", "end", "label", "score")


def timed_columns(ours: Sequence[str], header: Sequence[str]) -> dict[str, str] | None:
    """Our columns -> those of a sample submission, in its order; None unless it has as many, with times and a score.

    Columns are known by their names in any case; what is left over is the video, then the label. One more may number
    the rows, as `row`.

    >>> timed_columns(EVENTS, ["clip", "action", "timestamp", "confidence"])
    {'video': 'clip', 'label': 'action', 'time': 'timestamp', 'score': 'confidence'}
    >>> timed_columns(EVENTS, ["row_id", "series_id", "step", "event", "score"])
    {'row': 'row_id', 'video': 'series_id', 'time': 'step', 'label': 'event', 'score': 'score'}
    """
    ours = [*ours, "row"] if len(header) == len(ours) + 1 else ours
    folded = {name.strip().casefold(): name for name in header}
    spelt = {own: next((folded[name] for name in KNOWN.get(own, (own,)) if name in folded), None) for own in ours}
    left = iter([name for name in header if name not in spelt.values()])
    spelt = {own: name or (None if own in KNOWN else next(left, None)) for own, name in spelt.items()}
    own_of = {name: own for own, name in spelt.items()}
    return {own_of[name]: name for name in header} if sorted(own_of, key=str) == sorted(header) else None
