"""Actions in video, the case study in one page: frames -> convolutional network -> LSTM -> segments.

What the course's parts are worth together. The street does the same with folds, tables and a submission:

    python -m kagglepipe competition=action_sample

course.source=FOLDER: videos in `train` and `test`, and `annotations.csv` (video, start, end, label) of those in
`train`; with `answers.csv` of the others the answer is scored.
"""

import math
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe.course.annotated_videos import load
from kagglepipe.course.lesson import Lesson
from kagglepipe.files import file_sha256
from kagglepipe.models.classifier import Classifier, make_backbone, preprocessing_of
from kagglepipe.models.weights import find_weights
from kagglepipe.options import SequenceOptions, TemporalOptions
from kagglepipe.predictions.uncertainty import Floats
from kagglepipe.reports.timeline import draw_timeline
from kagglepipe.segments.metrics import segment_scores
from kagglepipe.segments.postprocess import DetectionSettings, detect_segments
from kagglepipe.sequences.dataset import Example
from kagglepipe.sequences.grid import frame_labels, grid_length
from kagglepipe.sequences.video import VideoFrames
from kagglepipe.training.backends import InferenceBackend
from kagglepipe.training.device import choose_precision
from kagglepipe.training.features import Item, encode
from kagglepipe.training.temporal import fit_temporal, temporal_probabilities

NETWORK, RATE, BACKGROUND = "tf_efficientnet_lite0", 8.0, "none"  # RATE: frames a second
SETTINGS = DetectionSettings(smoothing=0.6, high=0.5, low=0.3, min_length=0.6, max_gap=0.3)  # seconds


def times(count: int) -> Floats:
    """Seconds of the frames of a video, (T,)."""
    return np.arange(count) / RATE


def frame_features(videos: list[Path], lesson: Lesson) -> list[Floats]:
    """Step 1: what a network that was trained on ImageNet sees in each frame, and in what changed since the one before.

    Returns features (T, 2F) of each video.
    """
    backbone = make_backbone(NETWORK, find_weights(NETWORK), kwargs={}, cache_dir=lesson.folder / "weights")
    preprocessing = preprocessing_of(backbone, image_size=None, crop="squash", short_side=256)
    network = Classifier(backbone, 1, preprocessing).to(lesson.device)
    frames = VideoFrames(
        videos, [file_sha256(path) for path in videos], [path.name for path in videos], preprocessing.views(),
        rate=RATE, short_side=256, max_side=4096,
    )  # fmt: skip
    lengths = [grid_length(frames.info(row).seconds, RATE) for row in range(len(videos))]
    items = [Item(path.name, length, row) for row, (path, length) in enumerate(zip(videos, lengths, strict=True))]
    backend = InferenceBackend(lesson.device, choose_precision(lesson.device))

    def read(item: Item, first: int, end: int, *, motion: bool) -> NDArray[np.uint8]:
        return frames.read(item.row, np.arange(first, end), motion=motion)

    found = []
    for name, motion in (("frames", False), ("motion", True)):
        encoded = encode(network, partial(read, motion=motion), items, backend=backend, progress=name)
        found.append([features for _, features in encoded])
    return [np.concatenate(pair, axis=1) for pair in zip(*found, strict=True)]


def labels(video: str, count: int, segments: pd.DataFrame) -> NDArray[np.object_]:
    """Label of each frame of a video, (T,), by the segments of many."""
    return frame_labels(times(count), segments[segments["video"] == video], BACKGROUND)


def run(lesson: Lesson) -> dict[str, Any]:
    """Learn actions from annotated videos, and find them in others."""
    with tempfile.TemporaryDirectory() as temporary:
        train, test, annotations, answers = load(lesson, Path(temporary) / "clips")
        features = frame_features([*train, *test], lesson)
    known = annotations if answers is None else pd.concat([annotations, answers])
    classes = [BACKGROUND, *sorted(set(known["label"]) - {BACKGROUND})]

    # Step 2: an LSTM reads the features in order and learns the action at each frame.
    examples = []
    for path, own in zip(train, features, strict=False):
        numbers = [classes.index(label) for label in labels(path.name, len(own), annotations)]
        examples.append(Example(path.name, own, np.array(numbers)))
    sequences = SequenceOptions(window=32, steps=lesson.size(200, 40), lr=5e-3)
    cell, outputs = TemporalOptions(cell="lstm"), len(classes)
    lstm, _ = fit_temporal(examples, outputs, cell, sequences, seed=lesson.seed, device=lesson.device, name="LSTM")
    unknown = [Example("", own, np.zeros(len(own), np.int64)) for own in features[len(train) :]]
    probabilities = temporal_probabilities([lstm], unknown)

    # Step 3: probabilities of frames become segments: smoothed, cut at thresholds, joined, the shortest dropped.
    found, right, idle = [], [], []
    for path, probs in zip(test, probabilities, strict=True):
        at = times(len(probs)), 1 / RATE, probs, classes, BACKGROUND
        found.append(detect_segments(path.name, *at, SETTINGS))
        truth = answers[answers["video"] == path.name] if answers is not None else None
        draw_timeline(lesson.folder / f"{path.stem}.png", *at, found[-1], title=path.name, truth=truth)
        if truth is not None:
            wanted = labels(path.name, len(probs), truth)
            right.append(np.array(classes)[probs.argmax(axis=1)] == wanted)
            idle.append(wanted == BACKGROUND)
    segments = pd.concat(found, ignore_index=True)
    segments.to_csv(lesson.folder / "segments.csv", index=False)
    metrics: dict[str, Any] = {"videos": [len(train), len(test)], "segments": len(segments)}
    if answers is not None:
        truth = answers[answers["video"].isin([path.name for path in test])]
        scores = segment_scores(segments, truth, background=BACKGROUND)
        metrics |= {name: None if math.isnan(scores[name]) else scores[name] for name in ("f1_50", "edit", "map_50")}
        metrics["accuracy_of_frames"] = float(np.concatenate(right).mean())
        metrics["share_of_frames_without_action"] = float(np.concatenate(idle).mean())
    return metrics
