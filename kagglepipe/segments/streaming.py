"""Segments of a live stream, found while it plays."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kagglepipe.predictions.frame import Probs
from kagglepipe.segments.postprocess import ROUNDING, DetectionSettings, detect_segments, smoothing_radius

Segment = dict[str, Any]  # video, start, end, label, score


@dataclass
class OpenSegment:
    """Samples of a class since it was last closed. quiet: samples below the lower threshold at its end."""

    times: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    quiet: int = 0


@dataclass
class StreamSegmenter:
    """Streaming version of `detect_segments`, with the same segments.

    Smoothing delays a sample by `radius` samples. A class is closed once it has been below the lower threshold for
    longer than `max_gap`, since later samples cannot change its segments. A pause in the stream closes all classes.
    """

    video: str
    classes: list[str]
    background: str | None
    settings: DetectionSettings
    step: float
    recent: list[tuple[float, Probs]] = field(default_factory=list)
    open: dict[str, OpenSegment] = field(default_factory=dict)
    done: list[Segment] = field(default_factory=list)

    @property
    def radius(self) -> int:
        """Samples on either side that smoothing averages."""
        return smoothing_radius(self.settings.smoothing, self.step)

    def see(self, time: float, probs: Probs) -> list[Segment]:
        """Add a sample (C,); returns the segments that are final now."""
        paused = self.recent and time - self.recent[-1][0] > 1.5 * self.step
        ended = self.end() if paused else []
        self.recent = [*self.recent[-2 * self.radius :], (time, probs)] if self.radius else [(time, probs)]
        if len(self.recent) > self.radius:
            ended += self._add_smoothed(len(self.recent) - 1 - self.radius)
        return ended

    def end(self) -> list[Segment]:
        """Close all classes at the end of the stream, or a pause; returns their segments."""
        rest = range(max(0, len(self.recent) - self.radius), len(self.recent))
        ended = [segment for number in rest for segment in self._add_smoothed(number)]
        ended += [segment for name in list(self.open) for segment in self._close(name)]
        self.recent = []
        return ended

    def _add_smoothed(self, number: int) -> list[Segment]:
        """Add recent sample `number`, smoothed; returns the segments of classes that it closes."""
        around = self.recent[max(0, number - self.radius) : number + self.radius + 1]
        time, values = self.recent[number][0], np.mean([probs for _, probs in around], axis=0)
        ended = []
        for name, value in zip(self.classes, values.tolist(), strict=True):
            if name == self.background or (value < self.settings.low and name not in self.open):
                continue
            opened = self.open.setdefault(name, OpenSegment())
            opened.times.append(time)
            opened.values.append(value)
            opened.quiet = 0 if value >= self.settings.low else opened.quiet + 1
            if opened.quiet > self.settings.max_gap / self.step + ROUNDING:
                ended += self._close(name)
        return ended

    def _close(self, name: str) -> list[Segment]:
        """Close a class; returns its segments, which may be none."""
        opened, settings = self.open.pop(name), replace(self.settings, smoothing=0.0)
        values = np.array(opened.values)[:, None]
        found = detect_segments(self.video, np.array(opened.times), self.step, values, [name], None, settings)
        segments = [{str(key): value for key, value in row.items()} for row in found.to_dict("records")]
        self.done += segments
        return segments
