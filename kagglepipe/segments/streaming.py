"""Segments of a live stream, found while it plays."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kagglepipe.predictions.frame import Probs
from kagglepipe.segments.postprocess import SLACK, DetectionSettings, detect_segments

Segment = dict[str, Any]  # video, start, end, label, score


@dataclass
class OpenSegment:
    """What a class has shown since it last was quiet; how many samples it is quiet now."""

    times: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    quiet: int = 0


@dataclass
class StreamSegmenter:
    """Finds segments while time passes, the same as `detect_segments` finds in the whole.

    Smoothing takes in later samples too, so that a sample is judged `reach` samples late. A class that has been below
    the lower threshold for longer than a gap may be has ended: nothing later can change what it has shown. A pause in
    the stream ends everything.
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
    def reach(self) -> int:
        """How many samples on either side smoothing takes in."""
        return max(0, int(self.settings.smoothing / self.step + SLACK) - 1) // 2

    def see(self, time: float, probs: Probs) -> list[Segment]:
        """The segments that are known to have ended, now that a sample (C,) has come."""
        paused = self.recent and time - self.recent[-1][0] > 1.5 * self.step
        ended = self.end() if paused else []
        self.recent = [*self.recent[-2 * self.reach :], (time, probs)] if self.reach else [(time, probs)]
        if len(self.recent) > self.reach:
            ended += self.judge(len(self.recent) - 1 - self.reach)
        return ended

    def end(self) -> list[Segment]:
        """The segments that end because the stream does."""
        rest = range(max(0, len(self.recent) - self.reach), len(self.recent))
        ended = [segment for number in rest for segment in self.judge(number)]
        ended += [segment for name in list(self.open) for segment in self.close(name)]
        self.recent = []
        return ended

    def judge(self, number: int) -> list[Segment]:
        """The segments that end with the recent sample of that number, smoothed by those around it."""
        around = self.recent[max(0, number - self.reach) : number + self.reach + 1]
        time, values = self.recent[number][0], np.mean([probs for _, probs in around], axis=0)
        ended = []
        for name, value in zip(self.classes, values.tolist(), strict=True):
            if name == self.background or (value < self.settings.low and name not in self.open):
                continue
            opened = self.open.setdefault(name, OpenSegment())
            opened.times.append(time)
            opened.values.append(value)
            opened.quiet = 0 if value >= self.settings.low else opened.quiet + 1
            if opened.quiet > self.settings.max_gap / self.step + SLACK:
                ended += self.close(name)
        return ended

    def close(self, name: str) -> list[Segment]:
        """The segments in what a class has shown, which may be none."""
        opened, settings = self.open.pop(name), replace(self.settings, smoothing=0.0)
        values = np.array(opened.values)[:, None]
        found = detect_segments(self.video, np.array(opened.times), self.step, values, [name], None, settings)
        segments = [{str(key): value for key, value in row.items()} for row in found.to_dict("records")]
        self.done += segments
        return segments
