"""The sample of clips: short untrimmed videos of drawn people who walk, wave, jump and fall.

Like the photos it needs no download. Only motion over time distinguishes actions: idle people hold a raised arm, a
stride or a crouch too, and getting up is a fall played backwards.
"""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator

from kagglepipe.samples.drawing import check_empty, write_csv
from kagglepipe.samples.motions import ACTIONS, FPS, Track, breathe, get_up, idle, stance
from kagglepipe.samples.people import film, make_actor
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
class Segment:
    """Frames start (included) to end (excluded) of one action, or of none (BACKGROUND)."""

    label: str
    start: int
    end: int


def make_clips(folder: Path, *, seed: int = 0, train: int = 20, test: int = 6) -> None:
    """Write the sample into `folder`, which must be new or empty.

    `train/train_00.mp4`, … and `test/test_00.mp4`, …: H.264 (MPEG-4 where PyAV has no libx264), 160×120, 15 frames a
    second, 10 to 14 s. `videos.csv` (video, group) has the actors: each is in two videos of one part, with the same
    body, clothes and place. `annotations.csv` (video, start, end, label; seconds) has the actions of the training
    videos, `answers.csv` those of the others; `sample_submission.csv` is a header.
    The same seed gives the same videos, and each stays the same however many others there are.
    Raises FileExistsError if the folder holds anything.
    """
    check_empty(folder)
    groups: list[tuple[str, str]] = []
    parts = (("train", train, "annotations.csv"), ("test", test, "answers.csv"))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # OpenCV and FFmpeg release the GIL
        for part, (name, count, table) in enumerate(parts):
            (folder / name).mkdir(parents=True)
            videos = [f"{name}_{index:02}.mp4" for index in range(count)]
            groups += [(video, f"{name}_actor_{n // VIDEOS_OF_ACTOR:02}") for n, video in enumerate(videos)]
            paths = [folder / name / video for video in videos]
            scripts = pool.map(_write_video, paths, [seed] * count, [part] * count, range(count))
            rows = [
                (video, round(one.start / FPS, 3), round(one.end / FPS, 3), one.label)
                for video, script in zip(videos, scripts, strict=True)
                for one in actions(script)
            ]
            write_csv(folder / table, ("video", "start", "end", "label"), rows)
    write_csv(folder / "videos.csv", ("video", "group"), groups)
    write_csv(folder / "sample_submission.csv", ("video", "start", "end", "label", "score"), ())


def actions(script: Iterable[Segment]) -> list[Segment]:
    """Drop the background."""
    return [segment for segment in script if segment.label != BACKGROUND]


def make_script(rng: Generator) -> list[Segment]:
    """Draw three to five actions of one to three seconds with background before, between and after.

    Lengths are drawn again until the video's is within `TOTAL`.
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
    return [Segment(*fields) for fields in zip(names, [0, *ends], ends, strict=False)]


def act(rng: Generator, script: Iterable[Segment], reach: float) -> Track:
    """Draw the poses of all frames of a script, within `reach` metres of the middle."""
    tracks: list[Track] = []
    here = stance(rng, rng.uniform(-0.8, 0.8) * reach, rng.uniform(-60, 60))
    before = BACKGROUND
    for segment in script:
        frames = segment.end - segment.start
        if before == "fall":
            tracks.append(get_up(rng, tracks[-1], frames))
        else:
            tracks.append(ACTIONS.get(segment.label, idle)(rng, here, frames, reach))
        here, before = tracks[-1][-1], segment.label
    return breathe(rng, np.concatenate(tracks))


def _frames(rng: Generator, seconds: tuple[float, float]) -> int:
    """Draw a whole number of frames within these seconds."""
    return int(rng.integers(np.ceil(seconds[0] * FPS), np.floor(seconds[1] * FPS) + 1))


def _write_video(path: Path, seed: int, part: int, index: int) -> list[Segment]:
    """Draw and encode one video; returns its script."""
    actor = make_actor(np.random.default_rng([seed, part, ACTOR, index // VIDEOS_OF_ACTOR]))
    rng = np.random.default_rng([seed, part, SCRIPT, index])
    script = make_script(rng)
    track = act(rng, script, actor.reach)
    _encode(path, film(np.random.default_rng([seed, part, CAMERA, index]), actor, track))
    return script


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
