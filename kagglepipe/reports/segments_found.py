"""Section "Segments" or "Events": kinds of errors, timelines with truth above what was found, frames at their ends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd
from markupsafe import Markup

from kagglepipe.reports.blocks import Chart, Section, Shelf, Table, Text, Tile
from kagglepipe.reports.charts import COLOURS, polyline, svg, text, thinned, ticks
from kagglepipe.reports.thumbnails import Album
from kagglepipe.segments.error_types import KINDS, error_types
from kagglepipe.segments.event_metrics import event_average_precision
from kagglepipe.segments.postprocess import FrameProbs
from kagglepipe.text import shortened, significant

MOST_VIDEOS, MOST_LANES = 6, 8
MOST_FRAMED, MOST_ENDS = 3, 4  # videos with frames at the ends of segments, segments of each
WIDTH, LEFT, MARGIN, LANE, BAR, CURVE = 900, 150, 12, 58, 8, 30  # pixels; a lane: truth, what was found, the curve
NO_FRAMES = pd.DataFrame({"id": [], "middle": []})


@dataclass(frozen=True)
class Found:
    """Frames' probabilities by video, found and true segments, without the background.

    threshold: that was chosen. tolerances: of events, which are segments without a length and have no threshold.
    frames: video -> its frames' middles and ids, for pictures.
    """

    timelines: Mapping[str, FrameProbs]
    classes: Sequence[str]
    segments: pd.DataFrame
    truth: pd.DataFrame
    threshold: float | None
    tolerances: Sequence[float] = ()
    frames: Mapping[str, pd.DataFrame] = field(default_factory=dict)


def segments_found(found: Found, album: Album) -> Section:
    """Make the section: errors by class, and timelines of the videos with most of them, with frames from the album."""
    kinds = error_types(found.segments, found.truth, None)
    counts = pd.crosstab(kinds["label"], kinds["kind"]).reindex(columns=list(KINDS), fill_value=0)
    rows = [(str(name), *map(str, own)) for name, *own in counts.itertuples(name=None)]
    how = (
        "Post-processing is that chosen on all videos. A segment is right from a tIoU of 0.5; localisation: its class, "
        "but 0.1 to 0.5; confusion: another class; background: nothing is there; double: a truth that has one already."
    )
    wrong = kinds[kinds["kind"] != "right"].groupby("video").size()
    videos = sorted(found.timelines, key=lambda video: (-int(wrong.get(video, 0)), video))[:MOST_VIDEOS]
    blocks: list[object] = [Text(how), Table("Found and missed segments by kind", ("class", *KINDS), rows)]
    for number, video in enumerate(videos):
        caption = f"{video}: {int(wrong.get(video, 0))} errors"
        blocks.append(Chart(caption, timeline(video, found), is_wide=True))
        own = kinds[kinds["video"] == video].sort_values("kind", key=lambda kind: kind == "right", kind="stable")
        frames = found.frames.get(video, NO_FRAMES)
        if number < MOST_FRAMED and (tiles := ends(own[:MOST_ENDS], frames, album)):
            blocks.append(Shelf(f"Frames before and after the ends of segments in {video}", tiles))
    return Section("segments", "Segments", blocks)


def events_found(found: Found) -> Section:
    """Make the section of point events: average precision by class and tolerance, and timelines of the first videos."""
    by_class = {name: [one[one["label"] == name].rename(columns={"start": "time"}) for one in
                       (found.segments, found.truth)] for name in found.classes}  # fmt: skip
    rows = [
        (name, str(len(true)), *(f"{event_average_precision(own, true, [one]):.3f}" for one in found.tolerances))
        for name, (own, true) in by_class.items()
    ]
    header = ("class", "true events", *(f"within {one:g}" for one in found.tolerances))
    how = "Events are peaks of probabilities, smoothed as chosen on all videos; the paler a mark, the lower its peak."
    charts = [Chart(video, timeline(video, found), is_wide=True) for video in sorted(found.timelines)[:MOST_VIDEOS]]
    return Section("events", "Events", [Text(how), Table("Average precision", header, rows), *charts])


def ends(segments: pd.DataFrame, frames: pd.DataFrame, album: Album) -> list[tuple[str, list[Tile]]]:
    """The frame before and that after both ends of segments, as far as there are pictures. frames: id and middle."""
    rows, middles, ids = [], frames["middle"].to_numpy(np.float64), frames["id"].tolist()
    for kind, label, *own in segments[["kind", "label", "start", "end"]].itertuples(index=False, name=None):
        tiles = []
        for end, words in zip(own, ("start", "end"), strict=True):
            after = int(np.searchsorted(middles, end))
            for place, side in ((after - 1, "before"), (after, "after")):
                if 0 <= place < len(ids):
                    tiles.append(album.tile(ids[place], f"{middles[place]:.2f} s", name=f"{side} its {words}"))
        if any(tile.number is not None for tile in tiles):
            rows.append((f"{kind}: {label}, {own[0]:.2f} to {own[1]:.2f} s", tiles))
    return rows


def timeline(video: str, found: Found) -> Markup:
    """Draw a lane for each class that is true or found in a video: truth, below it what was found, the curve below."""
    line = found.timelines[video]
    own, true = (frame[frame["video"] == video] for frame in (found.segments, found.truth))
    lanes = [name for name in found.classes if name in {*own["label"], *true["label"]}][:MOST_LANES]
    first, last = float(line.times[0]), float(line.times[-1] + line.step)
    at, bottom = partial(across, first=first, last=last), 8 + LANE * max(1, len(lanes))
    parts = time_axis(first, last, bottom)
    for number, name in enumerate(lanes):
        top, colour = 8 + LANE * number, f"s{number % COLOURS}"
        parts.append(text(LEFT - 10, top + 22, shortened(name, 20), "end"))
        parts += [bar(at(a), at(b), top, "truth") for a, b, _ in spans(true, name)]
        parts += [bar(at(a), at(b), top + BAR + 2, f"dot {colour}", p) for a, b, p in spans(own, name)]
        base = top + 2 * BAR + 6 + CURVE
        values = line.probs[:, found.classes.index(name)].tolist()
        points = thinned(list(zip(map(float, line.times), values, strict=True)))
        parts.append(polyline([(at(t), round(base - p * CURVE, 1)) for t, p in points], f"line {colour}"))
        if found.threshold is not None:
            level = round(base - found.threshold * CURVE, 1)
            parts.append(polyline([(LEFT, level), (WIDTH - MARGIN, level)], "guide"))
    marks = "events" if found.tolerances else "segments"
    limit = "" if found.threshold is None else f", with the threshold {found.threshold:g}"
    return svg(f"{video}: true {marks} above found ones and probabilities{limit}", parts, bottom + 24, width=WIDTH)


def spans(segments: pd.DataFrame, label: str) -> list[tuple[float, float, float]]:
    """Start, end and opacity of the segments of a class; events, which have no length, are as opaque as they score."""
    own = segments[segments["label"] == label]
    is_event = (own["start"] == own["end"]).to_numpy()
    opacity = np.where(is_event, own.get("score", 1), 1)
    return list(zip(own["start"].tolist(), own["end"].tolist(), opacity.tolist(), strict=True))


def across(time: float, first: float, last: float) -> float:
    """Pixels from the left of a time."""
    return round(LEFT + (time - first) / (last - first) * (WIDTH - LEFT - MARGIN), 1)


def time_axis(first: float, last: float, bottom: float) -> list[Markup]:
    """Grid and ticks of times from the left to the right."""
    parts = []
    for tick in ticks((first, last), 10):
        at = across(tick, first, last)
        parts += [polyline([(at, 4), (at, bottom)], "grid"), text(at, bottom + 16, significant(tick, 6), "middle")]
    return parts


def bar(left: float, right: float, top: float, style: str, opacity: float = 1) -> Markup:
    """A segment."""
    shape = '<rect class="{}" x="{:g}" y="{:g}" width="{:g}" height="{}" opacity="{:.2g}"/>'
    return Markup(shape).format(style, left, top, max(1.5, right - left), BAR, opacity)
