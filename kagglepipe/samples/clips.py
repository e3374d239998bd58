"""The built-in sample of actions: short untrimmed videos of drawn people who walk, wave, jump and fall.

Like the drawn photos of `sample`, it needs no download and leaves nothing to ask for. What an action is shows over
time alone: idle people hold a raised arm, a stride or a crouch too, and getting up is a fall backwards in time.
"""

import csv
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator

from kagglepipe.samples.figures import ACTIONS, FPS, Track, breathe, film, get_up, idle, make_actor, stance
from kagglepipe.samples.scenes import HEIGHT, WIDTH, Picture

CLASSES = tuple(ACTIONS)
TRAIN, TEST = 0, 1
ACTOR, SCRIPT, CAMERA = 0, 1, 2
VIDEOS_OF_ACTOR = 2
TOTAL = (10, 14)  # seconds of a video
LONGEST = {"walk": 3.0, "wave": 3.0, "jump": 3.0, "fall": 1.8}  # seconds; none is shorter than one
GAP, GET_UP = (0.5, 2.0), (1.4, 2.0)  # seconds of background; after a fall there is getting up in it
BACKGROUND = "none"


@dataclass(frozen=True)
class Piece:
    """Frames start (included) to end (not included) of a video, in which `label` happens, or nothing (BACKGROUND)."""

    label: str
    start: int
    end: int


def make_clips(folder: Path, *, seed: int = 0, train: int = 20, test: int = 6) -> None:
    """Write the sample into `folder`, which must be new or empty.

    `train/train_00.mp4`, … and `test/test_00.mp4`, …: H.264 (MPEG-4 where PyAV has no libx264), 160×120, 15 frames a
    second, 10 to 14 s. `videos.csv` (video, group) tells who acts: everybody in two videos, with the same body,
    clothes and place, and nobody in both parts. `annotations.csv` (video, start, end, label; seconds) tells what
    happens in the training videos, `answers.csv` what in the others; `sample_submission.csv` is a header.
    The same seed gives the same videos, and each stays the same however many others there are.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"the sample needs a new or empty folder, but this one holds files: {folder}")
    groups: list[tuple[str, str]] = []
    parts = (("train", train, "annotations.csv"), ("test", test, "answers.csv"))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # OpenCV and FFmpeg let other threads work
        for part, (name, count, table) in enumerate(parts):
            (folder / name).mkdir(parents=True)
            videos = [f"{name}_{index:02}.mp4" for index in range(count)]
            groups += [(video, f"{name}_actor_{n // VIDEOS_OF_ACTOR:02}") for n, video in enumerate(videos)]
            paths = [folder / name / video for video in videos]
            scripts = pool.map(_write_video, paths, [seed] * count, [part] * count, range(count))
            rows = [
                (video, _seconds(piece.start), _seconds(piece.end), piece.label)
                for video, pieces in zip(videos, scripts, strict=True)
                for piece in actions(pieces)
            ]
            _write_csv(folder / table, ("video", "start", "end", "label"), rows)
    _write_csv(folder / "videos.csv", ("video", "group"), groups)
    _write_csv(folder / "sample_submission.csv", ("video", "start", "end", "label", "score"), ())


def actions(pieces: Iterable[Piece]) -> list[Piece]:
    """The pieces in which something happens."""
    return [piece for piece in pieces if piece.label != BACKGROUND]


def make_script(rng: Generator) -> list[Piece]:
    """What happens in a video, from its first frame to its last: actions with background before, between and after.

    Three to five actions of one to three seconds; lengths are drawn again until the video's is within `TOTAL`.
    """
    labels = [str(label) for label in rng.permutation((*CLASSES, *CLASSES))[: rng.integers(3, 6)]]
    while True:
        lengths = [_frames(rng, GAP)]
        for label in labels:
            lengths += [_frames(rng, (1.0, LONGEST[label])), _frames(rng, GET_UP if label == "fall" else GAP)]
        if TOTAL[0] * FPS <= sum(lengths) <= TOTAL[1] * FPS:
            break
    ends = np.cumsum(lengths).tolist()
    names = [BACKGROUND, *(name for label in labels for name in (label, BACKGROUND))]
    return [Piece(*piece) for piece in zip(names, [0, *ends], ends, strict=False)]


def act(rng: Generator, pieces: Iterable[Piece], reach: float) -> Track:
    """The poses of all frames of a script, for somebody who stays within `reach` metres of the middle."""
    tracks: list[Track] = []
    here = stance(rng, rng.uniform(-0.8, 0.8) * reach, rng.uniform(-60, 60))
    before = BACKGROUND
    for piece in pieces:
        frames = piece.end - piece.start
        if before == "fall":
            tracks.append(get_up(rng, tracks[-1], frames))
        else:
            tracks.append(ACTIONS.get(piece.label, idle)(rng, here, frames, reach))
        here, before = tracks[-1][-1], piece.label
    return breathe(rng, np.concatenate(tracks))


def _frames(rng: Generator, seconds: tuple[float, float]) -> int:
    """A whole number of frames within these seconds."""
    return int(rng.integers(np.ceil(seconds[0] * FPS), np.floor(seconds[1] * FPS) + 1))


def _seconds(frame: int) -> float:
    return round(frame / FPS, 3)


def _write_video(path: Path, seed: int, part: int, index: int) -> list[Piece]:
    """Draw and encode one video; returns what happens in it."""
    actor = make_actor(np.random.default_rng([seed, part, ACTOR, index // VIDEOS_OF_ACTOR]))
    rng = np.random.default_rng([seed, part, SCRIPT, index])
    pieces = make_script(rng)
    track = act(rng, pieces, actor.reach)
    _encode(path, film(np.random.default_rng([seed, part, CAMERA, index]), actor, track))
    return pieces


def _encode(path: Path, pictures: Iterable[Picture]) -> None:
    import av

    h264 = "libx264" in av.codecs_available
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264" if h264 else "mpeg4", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.thread_count = 1  # the same bytes on every machine
        if h264:
            stream.options = {"preset": "veryfast", "crf": "21", "bf": "0"}
        else:
            stream.bit_rate = 600_000
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
