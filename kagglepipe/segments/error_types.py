"""Why found segments are wrong, after Alwassel et al. 2018, "Diagnosing error in temporal action detectors"."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.predictions.uncertainty import Floats

Flags = npt.NDArray[np.bool_]
SPAN = ["label", "start", "end"]
ENOUGH, TOUCHING = 0.5, 0.1  # tIoU of a right segment; below the second it lies on background
KINDS = ("right", "double", "localisation", "confusion", "background", "missed")


def error_types(predicted: pd.DataFrame, truth: pd.DataFrame, background: str | None) -> pd.DataFrame:
    """The kind of each found segment, and of each true one that was missed: video, label, kind, start, end.

    right: its class and a tIoU of 0.5 or more with a truth that no segment of a higher score has. double: another one
    of it. localisation: its class, 0.1 to 0.5. confusion: 0.1 or more with another class. background: below 0.1.
    predicted, truth: segments frames as in `segments.matching`.
    """
    found, wanted = (frame[frame["label"] != background] for frame in (predicted, truth))
    rows: list[tuple[str, str, str, float, float]] = []
    for video in sorted({*found["video"], *wanted["video"]}):
        own = found[found["video"] == video].sort_values("score", ascending=False, kind="stable")
        true = wanted[wanted["video"] == video]
        overlap = overlaps(own, true)
        same = own["label"].to_numpy()[:, None] == true["label"].to_numpy()[None]
        taken = np.zeros(len(true), np.bool_)
        for row, span in enumerate(own[SPAN].itertuples(index=False)):
            rows.append((video, span.label, kind_of(overlap[row], same[row], taken), span.start, span.end))
        rows += [(video, one.label, "missed", one.start, one.end) for one in true[SPAN][~taken].itertuples()]
    return pd.DataFrame(rows, columns=["video", "label", "kind", "start", "end"])


def kind_of(overlap: Floats, same: Flags, taken: Flags) -> str:
    """Kind of a segment by its tIoU with each truth (T,), whether that has its class, and is taken; updates it."""
    fits = same & (overlap >= ENOUGH)
    if (free := fits & ~taken).any():
        taken[np.where(free, overlap, -1).argmax()] = True
        return "right"
    if fits.any():
        return "double"
    if (same & (overlap >= TOUCHING)).any():
        return "localisation"
    return "confusion" if (overlap >= TOUCHING).any() else "background"


def overlaps(one: pd.DataFrame, other: pd.DataFrame) -> Floats:
    """Temporal intersection over union of two frames of segments of a video, (P, T)."""
    start, end = (one[name].to_numpy(np.float64)[:, None] for name in ("start", "end"))
    begin, stop = (other[name].to_numpy(np.float64)[None] for name in ("start", "end"))
    shared = np.clip(np.minimum(end, stop) - np.maximum(start, begin), 0, None)
    return np.asarray(shared / (np.maximum(end, stop) - np.minimum(start, begin)))
