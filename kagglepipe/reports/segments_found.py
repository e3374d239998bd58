"""Section "Segments": kinds of errors, and timelines with truth above what was found and the threshold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from kagglepipe.reports.blocks import Chart, Section, Table, Text
from kagglepipe.reports.charts import COLOURS, polyline, shortened, svg, text, thinned, ticks
from kagglepipe.segments.error_types import KINDS, error_types
from kagglepipe.segments.postprocess import FrameProbs

MOST_VIDEOS, MOST_LANES = 6, 8
WIDTH, LEFT, LANE, BAR, CURVE = 900, 150, 58, 8, 30  # pixels; a lane has truth, what was found, and the curve


@dataclass(frozen=True)
class Found:
    """Frames' probabilities by video, found and true segments, without the background; threshold: that was chosen."""

    timelines: Mapping[str, FrameProbs]
    classes: Sequence[str]
    segments: pd.DataFrame
    truth: pd.DataFrame
    threshold: float


def segments_found(found: Found) -> Section:
    """Make the section: errors by class, and timelines of the videos with most of them."""
    kinds = error_types(found.segments, found.truth, None)
    counts = pd.crosstab(kinds["label"], kinds["kind"]).reindex(columns=list(KINDS), fill_value=0)
    rows = [(str(name), *map(str, own)) for name, *own in counts.itertuples(name=None)]
    how = (
        "Post-processing is that chosen on all videos. A segment is right from a tIoU of 0.5; localisation: its class, "
        "but 0.1 to 0.5; confusion: another class; background: nothing is there; double: a truth that has one already."
    )
    wrong = kinds[kinds["kind"] != "right"].groupby("video").size()
    videos = sorted(found.timelines, key=lambda video: (-int(wrong.get(video, 0)), video))[:MOST_VIDEOS]
    captions = {video: f"{video}: {int(wrong.get(video, 0))} errors" for video in videos}
    charts = [Chart(words, timeline(video, found), is_wide=True) for video, words in captions.items()]
    errors = Table("Found and missed segments by kind", ("class", *KINDS), rows)
    return Section("segments", "Segments", [Text(how), errors, *charts])


def timeline(video: str, found: Found) -> Markup:
    """Draw a lane for each class that is true or found in a video: truth, below it what was found, the curve below."""
    line = found.timelines[video]
    own, true = (frame[frame["video"] == video] for frame in (found.segments, found.truth))
    lanes = [name for name in found.classes if name in {*own["label"], *true["label"]}][:MOST_LANES]
    first, last = float(line.times[0]), float(line.times[-1] + line.step)

    def at(time: float) -> float:
        return round(LEFT + (time - first) / (last - first) * (WIDTH - LEFT - 12), 1)

    bottom = 8 + LANE * max(1, len(lanes))
    parts = []
    for tick in ticks((first, last), 10):
        parts.append(polyline([(at(tick), 4), (at(tick), bottom)], "grid"))
        parts.append(text(at(tick), bottom + 16, f"{tick:g}", "middle"))
    for number, name in enumerate(lanes):
        top, colour = 8 + LANE * number, f"s{number % COLOURS}"
        parts.append(text(LEFT - 10, top + 22, shortened(name, 20), "end"))
        parts += [bar(at(a), at(b), top, "truth") for a, b in spans(true, name)]
        parts += [bar(at(a), at(b), top + BAR + 2, f"dot {colour}") for a, b in spans(own, name)]
        base = top + 2 * BAR + 6 + CURVE
        values = line.probs[:, found.classes.index(name)].tolist()
        points = thinned(list(zip(map(float, line.times), values, strict=True)))
        parts.append(polyline([(at(t), round(base - p * CURVE, 1)) for t, p in points], f"line {colour}"))
        level = round(base - found.threshold * CURVE, 1)
        parts.append(polyline([(LEFT, level), (WIDTH - 12, level)], "guide"))
    title = f"{video}: true segments above found ones and probabilities, with the threshold {found.threshold:g}"
    return svg(title, parts, bottom + 24, width=WIDTH)


def spans(segments: pd.DataFrame, label: str) -> list[tuple[float, float]]:
    """Start and end of the segments of a class."""
    own = segments[segments["label"] == label]
    return list(zip(own["start"].astype(float), own["end"].astype(float), strict=True))


def bar(left: float, right: float, top: float, style: str) -> Markup:
    """A segment."""
    shape = '<rect class="{}" x="{:g}" y="{:g}" width="{:g}" height="{}"/>'
    return Markup(shape).format(style, left, top, max(1.5, right - left), BAR)
