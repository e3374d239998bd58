"""Actions are found in features that show them; the videos of a source are looked for before any work."""

import numpy as np
import pandas as pd
import pytest
import torch

from kagglepipe.course import actions
from kagglepipe.course.actions import BACKGROUND, RATE, labels, run
from kagglepipe.course.annotated_videos import check_video, load, read_segments
from kagglepipe.course.lesson import Lesson
from kagglepipe.errors import UserError
from kagglepipe.models.weights import find_weights
from kagglepipe.options import CourseOptions

SECONDS, NAMES = 12, ("run", "sit")


def test_frames_have_the_label_of_their_segment():
    segments = pd.DataFrame(
        {"video": ["a.mp4", "b.mp4"], "start": [0.25, 0.0], "end": [0.5, 9.0], "label": ["run", "sit"]}
    )
    assert labels("a.mp4", 6, segments).tolist() == ["none", "none", "run", "run", "none", "none"]


def drawn(video):
    """Two actions of two seconds, at places of the video's own."""
    first = 1 + int(video[-5])
    return [(video, first, first + 2.0, NAMES[first % 2]), (video, first + 5, first + 7.0, NAMES[(first + 1) % 2])]


def test_segments_are_found_where_features_show_them(tmp_path, monkeypatch):
    train, test = ([tmp_path / f"{part}_{k}.mp4" for k in range(n)] for part, n in (("train", 4), ("test", 2)))
    annotations, answers = (
        pd.DataFrame([row for path in part for row in drawn(path.name)], columns=["video", "start", "end", "label"])
        for part in (train, test)
    )
    known, rng, count = pd.concat([annotations, answers]), np.random.default_rng(0), int(SECONDS * RATE)

    def features(videos, lesson):
        seen = [labels(path.name, count, known)[:, None] == np.array(NAMES) for path in videos]
        return [(5 * one + rng.normal(0, 0.3, one.shape)).astype(np.float32) for one in seen]

    monkeypatch.setattr(actions, "load", lambda lesson, folder: (train, test, annotations, answers))
    monkeypatch.setattr(actions, "frame_features", features)
    metrics = run(Lesson(CourseOptions(quick=True), tmp_path, torch.device("cpu")))
    assert metrics["f1_50"] == 1.0
    assert metrics["accuracy_of_frames"] > 0.9
    assert metrics["share_of_frames_without_action"] == pytest.approx(8 / 12)
    found = pd.read_csv(tmp_path / "segments.csv")
    assert found[["video", "label"]].to_numpy().tolist() == answers[["video", "label"]].to_numpy().tolist()
    assert np.abs(found["start"].to_numpy() - answers["start"].to_numpy()).max() < 0.5
    assert BACKGROUND not in set(found["label"])
    assert {path.name for path in tmp_path.glob("*.png")} == {"test_0.png", "test_1.png"}


def test_a_source_without_videos_is_refused(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match=r"needs videos in train/ and test/, and annotations\.csv"):
        load(Lesson(CourseOptions(source=str(tmp_path)), tmp_path, torch.device("cpu")), tmp_path / "unused")


@pytest.mark.parametrize(
    ("table", "what"),
    [
        (
            "video,start,end,label\na.mp4,1,2,run\nb.mp4,1,2,run\n",
            r"row 3, is no segment: needed are a file in .*train",
        ),
        ("video,start,end,label\na.mp4,2,1,run\n", "row 2, is no segment"),
        ("video,start,end,label\na.mp4,0,x,run\n", "row 2, is no segment"),
        ("video,start,end,label\na.mp4,0,1,\n", "row 2, is no segment"),
        ("video,start,end,label\n", "has no rows"),
        ("video,start,stop,label\na.mp4,0,1,run\n", "video, start, end, label are needed; name its columns so"),
    ],
)
def test_rows_that_are_no_segments_are_refused(tmp_path, table, what):
    (tmp_path / "annotations.csv").write_text(table)
    with pytest.raises(UserError, match=what):
        read_segments(tmp_path / "annotations.csv", [tmp_path / "train" / "a.mp4"])


def test_a_file_that_is_no_video_is_named(tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(UserError, match=r"a\.mp4: .*: take it out of the folder"):
        check_video(tmp_path / "a.mp4")


@pytest.mark.slow
def test_the_lesson_watches_drawn_videos(tmp_path):
    try:
        find_weights(actions.NETWORK)
    except UserError as error:
        pytest.skip(str(error))
    metrics = run(Lesson(CourseOptions(quick=True), tmp_path, torch.device("cpu")))
    assert metrics["videos"] == [1, 1]
    assert (tmp_path / "test_00.png").is_file()
