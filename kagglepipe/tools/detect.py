"""stage=detect input=…: segments of a video, a folder of videos, a series, a live stream or a camera.

Writes into outputs/<slug>/detect/<input>/: segments.csv and segments.json, and for each video a timeline PNG and an MP4
with the segments drawn into it. Only the run's checkpoint says how the input is read.
"""

import logging
import sys
import time as clock
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import takewhile
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
from kagglepipe.options import DetectOptions
from kagglepipe.predictions.frame import Probs
from kagglepipe.runs.configured import best_run, inference_backend
from kagglepipe.segments.postprocess import ROUNDING, DetectionSettings, detect_segments
from kagglepipe.segments.streaming import Segment, StreamSegmenter
from kagglepipe.text import first_three

if TYPE_CHECKING:
    from kagglepipe.images.decode import Pixels
    from kagglepipe.runs.blended import BlendedRun
    from kagglepipe.runs.run import Run
    from kagglepipe.training.backends import InferenceBackend
    from kagglepipe.training.inference import SequenceRun

log = logging.getLogger(__name__)
COLUMNS = ["video", "start", "end", "label", "score"]


def run(config: Config) -> None:
    """Detect segments in `input`. Raises UserError before any work for missing input."""
    source, options = config.input, config.detect
    if not source:
        raise UserError("detect needs a video: add input=VIDEO, input=FOLDER, input=rtsp://… or input=camera")
    from kagglepipe.sequences.stream import is_stream

    live = is_stream(source)
    if not live and not absolute(source).exists():
        raise UserError(f"input={source}: nothing is there; give a video, a folder of videos or the URL of a stream")
    path = absolute(options.file) if options.file else None
    if path and (path.is_dir() or path.suffix == ".json"):
        raise UserError(f"detect.file={path} cannot hold the table; give a file name that ends in .csv")
    found = best_run(config, live=live)
    detector = load_detector(found, inference_backend(config))
    folder = config.runs_dir / "detect"
    if live:
        detect_stream(detector, source, folder, options)
    else:
        skip_bad, own_outputs = config.competition.on_bad_image == "skip", config.root / "outputs"
        detect_files(detector, absolute(source), folder, options, skip_bad=skip_bad, exclude=own_outputs)


@dataclass
class Detector:
    """A trained run and its post-processing; chosen: whether `settings` were chosen out of fold."""

    run: "SequenceRun | BlendedRun"
    name: str
    settings: DetectionSettings
    chosen: bool

    @property
    def classes(self) -> list[str]:
        """Classes of the run, in order."""
        return list(self.run.meta["classes"])

    @property
    def background(self) -> str | None:
        """Class of times without an action; None without one."""
        background: str | None = self.run.meta["background"]
        return background if background in self.classes else None

    @property
    def rate(self) -> float:
        """Frames or samples per unit of time."""
        return float(self.run.meta["rate"])


def load_detector(found: "Run", backend: "InferenceBackend") -> Detector:
    """Load the networks and detection settings of a finished run."""
    from kagglepipe.runs.blended import load_run

    run, chosen = load_run(found, backend), "detection" in found.metrics
    if run.meta.get("form") == "events":
        raise UserError(
            f"{found.name} finds events, and detect draws segments: stage=submit writes the events of competition.test"
        )
    settings = DetectionSettings(**found.metrics["detection"]["settings"]) if chosen else DetectionSettings()
    unit = run.meta["unit"]
    how = "chosen out of fold" if chosen else "the defaults: the run was trained on whole clips"
    log.info(
        "detect: %s; thresholds %g and %g, smoothing %g %s, gaps to %g %s filled, lengths from %g %s (%s)",
        found.name, settings.high, settings.low, settings.smoothing, unit, settings.max_gap, unit,
        settings.min_length, unit, how,
    )  # fmt: skip
    return Detector(run, found.name, settings, chosen)


@dataclass(frozen=True)
class ItemProbs:
    """Probabilities (T, C) of an item at times (T,), and the time of its end."""

    times: NDArray[np.float64]
    probs: Probs
    end: float


# --- files -----------------------------------------------------------------------------------------------------


def detect_files(
    detector: Detector, source: Path, folder: Path, options: DetectOptions, *, skip_bad: bool, exclude: Path
) -> None:
    """Detect segments in a file or all files of a folder, and write them below `folder`.

    Unreadable files are logged and left out. skip_bad: also leave out files whose names cannot be read, instead of
    raising UserError. exclude: a folder whose files are left out.
    """
    kind = detector.run.meta["kind"]
    root, files = find_items(source, kind, skip_bad=skip_bad)
    files = [name for name in files if not (root / name).is_relative_to(exclude)]
    folder = folder / (source.stem if source.is_file() else source.name)
    found, bad, start, frames = [], {}, clock.perf_counter(), 0
    for name in progress(files, "detect", total=len(files), unit="file"):
        try:
            item = predict_item(detector, root / name)
        except ValueError as error:  # VideoError and SeriesError
            bad[name] = str(error)
            continue
        segments = detect_segments(
            name, item.times, 1 / detector.rate, item.probs, detector.classes, detector.background, detector.settings
        )
        segments["end"] = segments["end"].clip(upper=item.end)
        found.append(segments)
        frames += len(item.times)
        write_timeline(detector, item, segments, folder / f"{name}.png", title=name)
        if kind == "video" and options.video:
            from kagglepipe.reports.overlay import draw_video

            draw_video(
                root / name, folder / f"{name}.detected.mp4", item.probs, detector.rate, detector.classes,
                detector.background, segments,
            )  # fmt: skip
    some = first_three((f"{name}: {reason}" for name, reason in bad.items()), "; ")
    if not found:
        raise UserError(f"input={source}: no {kind} in it can be read: {some}")
    if bad:
        log.warning("detect: left out %d files that cannot be read: %s", len(bad), some)
    write_segments(detector, pd.concat(found, ignore_index=True), folder, options.file)
    seconds = clock.perf_counter() - start
    log.info("detect: %d frames in %.1f s, %.0f frames/s, pictures included", frames, seconds, frames / seconds)


def predict_item(detector: Detector, path: Path) -> ItemProbs:
    """Predict the frames of a video or the samples of a series. Raises VideoError or SeriesError."""
    seen = detector.run.read(path)
    for repair in seen.repairs:
        log.warning("detect: %s: %s", path.name, repair)
    return ItemProbs(seen.times, detector.run.probabilities(seen.features, per_frame=True), seen.end)


# --- live ------------------------------------------------------------------------------------------------------


@dataclass
class VideoResult:
    """Times of the frames of a stream, their probabilities (C,), and seconds from a frame's arrival to its result."""

    times: list[float] = field(default_factory=list)
    probs: list[Probs] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)

    def on_grid(self, rate: float) -> ItemProbs:
        """Place the probabilities (T, C) on a regular grid; they are 0 where the connection was broken."""
        places = np.round((np.array(self.times) - self.times[0]) * rate).astype(int)
        probs = np.zeros((places[-1] + 1, len(self.probs[0])))
        probs[places] = self.probs
        return ItemProbs(self.times[0] + np.arange(len(probs)) / rate, probs, self.times[-1] + 1 / rate)


def detect_stream(detector: Detector, source: str, folder: Path, options: DetectOptions) -> None:
    """Detect segments in a stream until its end, a break, `options.seconds` or Ctrl-C, and write them then."""
    from kagglepipe.sequences.stream import hide_password

    if (kind := detector.run.meta["kind"]) != "video":
        raise UserError(f"{detector.name} was trained on {kind}, a stream holds video: choose a run of video")
    name = hide_password(source)
    live = StreamSegmenter(name, detector.classes, detector.background, detector.settings, 1 / detector.rate)
    result, broken, began = VideoResult(), None, clock.perf_counter()
    predict = detector.run.live()
    log.info("detect: watching %s (Ctrl-C ends it)", name)
    if live.radius:
        log.info("detect: smoothing delays results by %.2g s", live.radius * live.step)
    try:
        follow(detector, source, predict, live, result, options.seconds)
    except KeyboardInterrupt:
        if not result.times:
            raise
        log.info("detect: stopped by Ctrl-C; the segments so far are written")
    except UserError as error:
        if not result.times:
            raise
        broken = error
    if not result.times:
        raise UserError(f"{name}: no frame came; check the address, or give a file")
    log_segments(live.end())
    seconds, delays = clock.perf_counter() - began, 1000 * np.array(result.delays)
    log.info(
        "detect: %d frames in %.1f s, %.1f frames/s; latency %.0f ms (median), %.0f ms (95 %%)",
        len(delays), seconds, len(delays) / seconds, np.median(delays), np.quantile(delays, 0.95),
    )  # fmt: skip
    folder = folder / f"live-{clock.strftime('%Y-%m-%d_%H-%M-%S')}"
    found = pd.DataFrame(live.done, columns=COLUMNS).sort_values(COLUMNS[:4], ignore_index=True)
    write_segments(detector, found, folder, options.file)
    write_timeline(detector, result.on_grid(detector.rate), found, folder / "timeline.png", title=name)
    if broken:
        raise broken


def follow(
    detector: Detector,
    source: str,
    predict: "Callable[[Pixels], Probs]",
    live: StreamSegmenter,
    result: VideoResult,
    seconds: float | None,
) -> None:
    """Read a stream frame by frame, append its probabilities to `result`, and log segments as they end.

    predict: function from a frame (H, W, 3) to probabilities (C,). seconds: length to read; None: to the end.
    """
    from kagglepipe.sequences.stream import read_live

    frames = read_live(source, rate=detector.rate, resize=detector.run.side)
    with closing(frames):  # type: ignore[type-var]  # a generator, which holds the connection
        for frame in takewhile(lambda frame: seconds is None or frame.time < seconds, frames):
            probs = predict(frame.pixels)
            result.times.append(frame.time)
            result.probs.append(probs)
            result.delays.append(clock.time() - frame.arrived)
            log_segments(live.see(frame.time, probs))
            show_status(frame.time, detector, probs)


def log_segments(segments: list[Segment]) -> None:
    """Log a line for each segment that has ended, above the status line."""
    for one in segments:
        if sys.stderr.isatty():
            sys.stderr.write("\r\033[K")
        start, end = format_time(one["start"]), format_time(one["end"])
        log.info("detect: %s–%s %s (%.2f)", start, end, one["label"], one["score"])


def show_status(time: float, detector: Detector, probs: Probs) -> None:
    """Show the most probable class, by probabilities (C,), in the last line of a terminal; nothing in a log."""
    if sys.stderr.isatty():
        best = int(probs.argmax())
        bar = "█" * round(20 * probs[best])
        sys.stderr.write(f"\r\033[K{format_time(time)} {detector.classes[best]} {probs[best]:.2f} {bar}\r")


def format_time(seconds: float) -> str:
    """Format seconds as minutes and seconds, rounded down to tenths.

    >>> format_time(75.25), format_time(0.3)
    ('1:15.2', '0:00.3')
    """
    tenths = int(seconds * 10 + ROUNDING)
    return f"{tenths // 600}:{tenths % 600 / 10:04.1f}"


# --- output ----------------------------------------------------------------------------------------------------


def write_segments(detector: Detector, segments: pd.DataFrame, folder: Path, file: str | None) -> None:
    """Write segments.csv (or `file`) and a .json beside it with run and settings; log the first ten."""
    path = absolute(file) if file else folder / "segments.csv"
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


def write_timeline(detector: Detector, item: ItemProbs, segments: pd.DataFrame, path: Path, *, title: str) -> None:
    """Write the timeline of an item as a PNG."""
    from kagglepipe.reports.timeline import draw_timeline

    draw_timeline(
        path, item.times, 1 / detector.rate, item.probs, detector.classes, detector.background, segments,
        title=title, unit=detector.run.meta["unit"],
    )  # fmt: skip
