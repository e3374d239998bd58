"""stage=detect input=…: what happens when in a video, a folder of them, a series, a live stream or a camera.

Writes into outputs/<slug>/detect/<input>/: segments.csv and segments.json, and for each video a timeline PNG and an MP4
with what was found drawn into it. What is needed to read the input comes from the run's checkpoint alone.
"""

import logging
import math
import sys
import time as clock
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe.competitions.source import find_items
from kagglepipe.config import Config
from kagglepipe.console import progress
from kagglepipe.errors import UserError
from kagglepipe.files import absolute, write_bytes, write_json
from kagglepipe.segments.postprocess import ROUNDING, DetectionSettings, detect_segments
from kagglepipe.segments.streaming import Segment, StreamSegmenter
from kagglepipe.stages.configured import best_run
from kagglepipe.text import first_three

if TYPE_CHECKING:
    from kagglepipe.images.decode import Pixels
    from kagglepipe.runs.blended import BlendedRun
    from kagglepipe.sequences.stream import LiveFrame
    from kagglepipe.training.sequence_inference import SequenceRun

log = logging.getLogger(__name__)
COLUMNS = ["video", "start", "end", "label", "score"]
PICTURE_SIDE = 360  # pixels of the short side of the annotated video
PICTURE_RATE = 15.0  # most frames a second in it

Probs = NDArray[np.float64]


def run(config: Config) -> None:
    """Detects in whatever `input` is."""
    if not config.input:
        raise UserError("detect needs a video: add input=VIDEO, input=FOLDER, input=rtsp://… or input=camera")
    from kagglepipe.sequences.stream import is_stream

    live = is_stream(config.input)
    if not live and not absolute(config.input).exists():
        raise UserError(
            f"input={config.input}: nothing is there; give a video, a folder of videos or a stream's address"
        )
    demand_table(config)
    detector = load_detector(config)
    if live:
        watch(config, detector)
    else:
        search(config, detector, absolute(config.input))


def demand_table(config: Config) -> None:
    """Raises UserError, before any work, for a `detect.file` that cannot hold the segments."""
    path = absolute(config.detect.file) if config.detect.file else None
    if path and (path.is_dir() or path.suffix == ".json"):
        raise UserError(f"detect.file={path} cannot hold the table; give a file name that ends in .csv")


@dataclass
class Detector:
    """A trained run with what turns its probabilities into segments."""

    run: "SequenceRun | BlendedRun"
    name: str
    settings: DetectionSettings
    chosen: bool

    @property
    def classes(self) -> list[str]:
        """The run's classes, in order."""
        classes: list[str] = self.run.meta["classes"]
        return classes

    @property
    def background(self) -> str | None:
        """The class that stands for nothing happening."""
        background: str | None = self.run.meta["background"]
        return background if background in self.classes else None

    @property
    def rate(self) -> float:
        """Frames, or samples, in a unit of time."""
        return float(self.run.meta["rate"])


def load_detector(config: Config) -> Detector:
    """The run that is named or the best, for a stream the best that can follow it. Raises UserError without any."""
    from kagglepipe.sequences.stream import is_stream

    found = best_run(config, live=is_stream(str(config.input)))
    from kagglepipe.runs.blended import load_run
    from kagglepipe.training.backends import make_backend

    run = load_run(found, make_backend(config.device, config.engine, config.backend_dir))
    metrics = found.metrics
    chosen = "detection" in metrics
    settings = DetectionSettings(**metrics["detection"]["settings"]) if chosen else DetectionSettings()
    detector = Detector(run, found.name, settings, chosen)
    unit = run.meta["unit"]
    how = "chosen out of fold" if chosen else "the defaults, since the run was trained on whole clips"
    log.info(
        "detect: %s; thresholds %g and %g, smoothing %g %s, gaps to %g %s filled, lengths from %g %s (%s)",
        found.name, settings.high, settings.low, settings.smoothing, unit, settings.max_gap, unit,
        settings.min_length, unit, how,
    )  # fmt: skip
    return detector


@dataclass(frozen=True)
class Line:
    """The probabilities of one item: times (T,), probs (T, C), and where it ends."""

    times: NDArray[np.float64]
    probs: Probs
    end: float


# --- files -----------------------------------------------------------------------------------------------------


def search(config: Config, detector: Detector, source: Path) -> None:
    """Detects in a file or in every file of a folder; a file that cannot be read is named and left out."""
    kind = detector.run.meta["kind"]
    root, files = find_items(source, kind, skip_bad=config.competition.on_bad_image == "skip")
    files = [name for name in files if not (root / name).is_relative_to(config.root / "outputs")]
    folder = config.runs_dir / "detect" / (source.stem if source.is_file() else source.name)
    found, bad, start, frames = [], {}, clock.perf_counter(), 0
    for name in progress(files, "detect", total=len(files), unit="file"):
        try:
            line = read_line(detector, root / name)
        except ValueError as error:  # VideoError and SeriesError
            bad[name] = str(error)
            continue
        segments = find_segments(name, line, detector)
        found.append(segments)
        frames += len(line.times)
        picture(detector, line, segments, folder / f"{name}.png", title=name)
        if kind == "video" and config.detect.video:
            draw_video(root / name, folder / f"{name}.detected.mp4", line, segments, detector)
    some = first_three((f"{name}: {reason}" for name, reason in bad.items()), "; ")
    if not found:
        raise UserError(f"input={source}: no {kind} in it can be read: {some}")
    if bad:
        log.warning("detect: left out %d files that cannot be read: %s", len(bad), some)
    keep(config, detector, pd.concat(found, ignore_index=True), folder)
    seconds = clock.perf_counter() - start
    log.info("detect: %d frames in %.1f s, %.0f frames/s, pictures included", frames, seconds, frames / seconds)


def read_line(detector: Detector, path: Path) -> Line:
    """The probabilities of a video's frames, or of a series' samples. Raises VideoError or SeriesError."""
    seen = detector.run.read(path)
    for repair in seen.repairs:
        log.warning("detect: %s: %s", path.name, repair)
    return Line(seen.times, detector.run.probabilities(seen.features, per_frame=True), seen.end)


def find_segments(name: str, line: Line, detector: Detector) -> pd.DataFrame:
    """The segments of one item, none of which lasts longer than it does."""
    segments = detect_segments(
        name, line.times, 1 / detector.rate, line.probs, detector.classes, detector.background, detector.settings
    )
    segments["end"] = np.minimum(segments["end"], line.end)
    return segments


# --- live ------------------------------------------------------------------------------------------------------


@dataclass
class VideoResult:
    """What a stream has shown: times and probabilities (C,) of its frames, seconds from a frame to its answer."""

    times: list[float] = field(default_factory=list)
    probs: list[Probs] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)

    def line(self, rate: float) -> Line:
        """The whole on a grid; where the stream had dropped nothing is known, and all probabilities are 0."""
        places = np.round((np.array(self.times) - self.times[0]) * rate).astype(int)
        probs = np.zeros((places[-1] + 1, len(self.probs[0])))
        probs[places] = self.probs
        return Line(self.times[0] + np.arange(len(probs)) / rate, probs, self.times[-1] + 1 / rate)


def watch(config: Config, detector: Detector) -> None:
    """Follows a stream until it ends or breaks, `detect.seconds` have passed or Ctrl-C, and keeps what was found."""
    from kagglepipe.sequences.stream import hide_password

    if detector.run.meta["kind"] != "video":
        raise UserError(
            f"{detector.name} was trained on {detector.run.meta['kind']}, a stream holds video: choose a run of video"
        )
    name = hide_password(str(config.input))
    live = StreamSegmenter(name, detector.classes, detector.background, detector.settings, 1 / detector.rate)
    seen, broken, began = VideoResult(), None, clock.perf_counter()
    step = detector.run.live()
    log.info("detect: watching %s (Ctrl-C ends it)", name)
    if live.radius:
        log.info("detect: smoothing waits for %.2g s of what comes next", live.radius * live.step)
    try:
        follow(config, detector, step, live, seen)
    except KeyboardInterrupt:
        if not seen.times:
            raise
        log.info("detect: stopped by Ctrl-C; what was found is kept")
    except UserError as error:
        if not seen.times:
            raise
        broken = error
    if not seen.times:
        raise UserError(f"{name}: no frame came; check the address, or give a file")
    tell(live.end())
    seconds, delays = clock.perf_counter() - began, 1000 * np.array(seen.delays)
    log.info(
        "detect: %d frames in %.1f s, %.1f frames/s; a frame's answer comes after %.0f ms (median), %.0f ms (95 %%)",
        len(delays), seconds, len(delays) / seconds, np.median(delays), np.quantile(delays, 0.95),
    )  # fmt: skip
    folder = config.runs_dir / "detect" / f"live-{clock.strftime('%Y-%m-%d_%H-%M-%S')}"
    found = pd.DataFrame(live.done, columns=COLUMNS).sort_values(COLUMNS[:4], ignore_index=True)
    keep(config, detector, found, folder)
    picture(detector, seen.line(detector.rate), found, folder / "timeline.png", title=name)
    if broken:
        raise broken


def follow(
    config: Config, detector: Detector, step: "Callable[[Pixels], Probs]", live: StreamSegmenter, seen: VideoResult
) -> None:
    """Takes a stream frame by frame, and tells what ends. step: of `SequenceRun.live`."""
    from kagglepipe.sequences.stream import read_live

    frames = read_live(str(config.input), rate=detector.rate, resize=detector.run.side)
    with closing(frames):  # type: ignore[type-var]  # a generator, which has the connection
        for frame in limited(frames, config.detect.seconds):
            probs = step(frame.pixels)
            seen.times.append(frame.time)
            seen.probs.append(probs)
            seen.delays.append(clock.time() - frame.arrived)
            tell(live.see(frame.time, probs))
            status(frame.time, detector, probs)


def limited(frames: "Iterator[LiveFrame]", seconds: float | None) -> "Iterator[LiveFrame]":
    """The frames of the first `seconds`; None: all."""
    for frame in frames:
        if seconds is not None and frame.time >= seconds:
            return
        yield frame


def tell(segments: list[Segment]) -> None:
    """A line for each segment that has ended."""
    for one in segments:
        clear_status()
        log.info("detect: %s–%s %s (%.2f)", mark(one["start"]), mark(one["end"]), one["label"], one["score"])


def status(time: float, detector: Detector, probs: Probs) -> None:
    """The line at the bottom of a terminal that tells what is seen now; nothing in a log."""
    if sys.stderr.isatty():
        best = int(probs.argmax())
        bar = "█" * round(20 * probs[best])
        sys.stderr.write(f"\r\033[K{mark(time)} {detector.classes[best]} {probs[best]:.2f} {bar}\r")


def clear_status() -> None:
    """Makes room for a line of the log."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")


def mark(seconds: float) -> str:
    """Minutes and seconds.

    >>> mark(75.25), mark(0.3)
    ('1:15.2', '0:00.3')
    """
    tenths = int(seconds * 10 + ROUNDING)
    return f"{tenths // 600}:{tenths % 600 / 10:04.1f}"


# --- what is left ----------------------------------------------------------------------------------------------


def keep(config: Config, detector: Detector, segments: pd.DataFrame, folder: Path) -> None:
    """segments.csv, segments.json beside it with what made them, and a few lines on the terminal."""
    path = absolute(config.detect.file) if config.detect.file else folder / "segments.csv"
    segments = segments[COLUMNS].round(6)
    write_bytes(path, segments.to_csv(index=False, lineterminator="\n").encode())
    about = {
        "run": detector.name, "rate": detector.rate, "unit": detector.run.meta["unit"], "classes": detector.classes,
        "background": detector.background, "settings": asdict(detector.settings),
        "settings_chosen_out_of_fold": detector.chosen,
    }  # fmt: skip
    write_json(path.with_suffix(".json"), {**about, "segments": segments.to_dict("records")})
    for row in segments.head(10).to_dict("records"):
        log.info("  %8.2f – %8.2f  %-14s %.2f  %s", row["start"], row["end"], row["label"], row["score"], row["video"])
    if len(segments) > 10:
        log.info("  … and %d more", len(segments) - 10)
    log.info("detect: %d segments in %s; pictures in %s", len(segments), path, folder)


def picture(detector: Detector, line: Line, segments: pd.DataFrame, path: Path, *, title: str) -> None:
    """The timeline of one item."""
    from kagglepipe.reports.timeline import draw_timeline

    draw_timeline(
        path, line.times, 1 / detector.rate, line.probs, detector.classes, detector.background, segments,
        title=title, unit=detector.run.meta["unit"],
    )  # fmt: skip


def draw_video(path: Path, target: Path, line: Line, segments: pd.DataFrame, detector: Detector) -> None:
    """The video with what was found drawn into it, as an MP4."""
    from kagglepipe.reports.timeline import annotate, class_colours, make_strip
    from kagglepipe.sequences.video import sample_frames
    from kagglepipe.sequences.video_info import inspect
    from kagglepipe.sequences.video_writer import VideoWriter

    info = inspect(path)
    rate = min(PICTURE_RATE, info.rate or PICTURE_RATE)
    frames = sample_frames(path, rate=rate, resize=PICTURE_SIDE, info=info, threads=0)
    first = next(frames)
    height, width = first[1].shape[:2]
    colours = class_colours(detector.classes, detector.background)
    strip = make_strip(width, info.seconds, segments, detector.classes, detector.background)

    def labels(time: float) -> list[tuple[str, float]]:
        now = segments[(segments["start"] <= time) & (segments["end"] > time)]
        at = min(int(time * detector.rate + ROUNDING), len(line.probs) - 1)  # a sample stands until the next
        return [(name, float(line.probs[at, detector.classes.index(name)])) for name in now["label"]]

    def all_frames() -> "Iterator[tuple[float, Pixels]]":
        yield first
        yield from frames

    with VideoWriter(target, width, height, rate) as writer:
        total = max(1, math.ceil(info.seconds * rate))
        for time, pixels in progress(all_frames(), "drawing", total=total, unit="frame"):
            drawn = annotate(pixels, time=time, total=info.seconds, labels=labels(time), colours=colours, strip=strip)
            writer.write(drawn)
