"""The built-in sample of actions: what it writes, that it repeats itself, and that only time tells what happens."""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from kagglepipe.samples import motions, people
from kagglepipe.samples.clips import BACKGROUND, CLASSES, Segment, act, actions, make_clips, make_script
from kagglepipe.samples.motions import ACTIONS, ANGLES, FPS, LIFT, TILT, fall, get_up, idle, stance, walk
from kagglepipe.samples.people import Actor, film, make_actor, skeleton
from kagglepipe.samples.scenes import OVERSAMPLING
from kagglepipe.sequences.video_info import inspect
from tests.samples.test_photos import contents

SEEDS = range(60)


def decoded(path: Path) -> NDArray[np.uint8]:
    """(n, 120, 160, 3) the pictures of a video."""
    av = pytest.importorskip("av")
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def rows(path: Path) -> list[dict[str, str]]:
    return pd.read_csv(path, dtype=str).to_dict("records")  # type: ignore[return-value]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small sample, drawn once for all tests that only read it."""
    pytest.importorskip("av")
    folder = tmp_path_factory.mktemp("actions")
    make_clips(folder, train=3, test=1)
    return folder


@pytest.fixture(scope="module")
def actor() -> Actor:
    return make_actor(np.random.default_rng(5))


# --- files --------------------------------------------------------------------------------------------------------


def test_folders_hold_the_promised_files(folder: Path) -> None:
    train = [f"train_0{k}.mp4" for k in range(3)]
    tables = {"videos.csv", "annotations.csv", "answers.csv", "sample_submission.csv"}
    assert contents(folder).keys() == {f"train/{name}" for name in train} | {"test/test_00.mp4"} | tables
    assert (folder / "sample_submission.csv").read_text() == "video,start,end,label,score\n"
    assert {row["video"] for row in rows(folder / "annotations.csv")} == set(train)
    assert {row["video"] for row in rows(folder / "answers.csv")} == {"test_00.mp4"}
    assert list(rows(folder / "answers.csv")[0]) == ["video", "start", "end", "label"]
    groups = {row["video"]: row["group"] for row in rows(folder / "videos.csv")}
    assert list(groups) == [*train, "test_00.mp4"]
    first, second, third, tested = groups.values()  # an actor is in two videos of one part
    assert first == second
    assert len({first, third, tested}) == 3


def test_videos_last_as_long_as_they_should_and_hold_their_segments(folder: Path) -> None:
    annotated = rows(folder / "annotations.csv") + rows(folder / "answers.csv")
    for path in sorted(folder.rglob("*.mp4")):
        pictures, info = decoded(path), inspect(path)
        assert (info.rate, info.first, info.repairs) == (pytest.approx(FPS), 0, ())
        assert pictures.shape[1:] == (120, 160, 3)
        assert 10 * FPS <= len(pictures) <= 14 * FPS
        mine = [row for row in annotated if row["video"] == path.name]
        assert 3 <= len(mine) <= 5
        last = max(float(row["end"]) for row in mine)
        assert 0.499 <= len(pictures) / FPS - last <= 2.001


def test_segments_lie_on_frames_one_after_another(folder: Path) -> None:
    for video in sorted({row["video"] for row in rows(folder / "annotations.csv")}):
        mine = [row for row in rows(folder / "annotations.csv") if row["video"] == video]
        assert {row["label"] for row in mine} <= set(CLASSES)
        times = [float(row[name]) for row in mine for name in ("start", "end")]
        assert times == sorted(times)
        assert all(0.999 <= end - start <= 3.001 for start, end in zip(times[::2], times[1::2], strict=True))
        assert all(0.499 <= start - end <= 2.001 for end, start in zip([0, *times[1:-1:2]], times[::2], strict=True))
        np.testing.assert_allclose(np.array(times) * FPS, np.rint(np.array(times) * FPS), atol=0.01)


def test_the_same_seed_gives_the_same_bytes_and_another_one_other_videos(tmp_path: Path, folder: Path) -> None:
    make_clips(tmp_path / "again", train=2, test=1)
    make_clips(tmp_path / "other", seed=1, train=1, test=0)
    again, other, whole = contents(tmp_path / "again"), contents(tmp_path / "other"), contents(folder)
    for name in ("train/train_00.mp4", "train/train_01.mp4", "test/test_00.mp4", "answers.csv"):
        assert again[name] == whole[name]
    assert whole["annotations.csv"].startswith(again["annotations.csv"])
    assert other["train/train_00.mp4"] != whole["train/train_00.mp4"]
    assert not whole["annotations.csv"].startswith(other["annotations.csv"])
    assert rows(tmp_path / "other" / "answers.csv") == []


def test_without_h264_the_older_codec_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    av = pytest.importorskip("av")
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264"})
    make_clips(tmp_path, train=1, test=0)
    with av.open(str(tmp_path / "train" / "train_00.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
    assert len(decoded(tmp_path / "train" / "train_00.mp4")) >= 10 * FPS


def test_the_videos_of_one_actor_show_one_place(folder: Path) -> None:
    def place(name: str) -> NDArray[np.float64]:
        median = np.median(decoded(folder / name)[::5], axis=0)
        return np.asarray(median - median.mean())

    first, second, third = (place(f"train/train_0{k}.mp4") for k in range(3))
    assert np.abs(first - second).mean() < 0.5 * np.abs(first - third).mean()


# --- scripts ------------------------------------------------------------------------------------------------------


def seconds(segment: Segment) -> float:
    return (segment.end - segment.start) / FPS


@pytest.mark.parametrize("seed", SEEDS)
def test_a_script_has_actions_with_background_around_each(seed: int) -> None:
    segments = make_script(np.random.default_rng(seed))
    assert segments[0].start == 0
    assert 10 <= segments[-1].end / FPS <= 14
    assert all(one.end == other.start for one, other in pairwise(segments))
    assert {segment.label for segment in segments[::2]} == {BACKGROUND}
    assert 3 <= len(actions(segments)) <= 5
    assert actions(segments) == segments[1::2]
    assert all(1 <= seconds(segment) <= 3 for segment in actions(segments))
    assert all(0.5 <= seconds(segment) <= 2 for segment in segments[::2])
    assert all(seconds(after) >= 1.4 for segment, after in pairwise(segments) if segment.label == "fall")


def test_all_actions_are_about_as_frequent() -> None:
    labels = [segment.label for seed in SEEDS for segment in actions(make_script(np.random.default_rng(seed)))]
    assert set(labels) == set(CLASSES) == {"walk", "wave", "jump", "fall"}
    assert all(0.15 < labels.count(name) / len(labels) < 0.35 for name in CLASSES)


@pytest.mark.parametrize("seed", SEEDS)
def test_somebody_acts_without_leaps_and_stays_in_the_picture(seed: int, actor: Actor) -> None:
    rng = np.random.default_rng(seed)
    segments = make_script(rng)
    track = act(rng, segments, actor.reach)
    assert track.shape == (segments[-1].end, ANGLES)
    joints = skeleton(actor, track)
    for name in ("head", "hip"):
        assert np.linalg.norm(np.diff(joints[name], axis=0), axis=1).max() < 0.5  # metres in a frame
    assert np.abs(joints["hip"][:, 0]).max() < actor.reach + 1
    assert np.abs(joints["head"][:, 0]).max() < actor.reach + 0.65


# --- motions ------------------------------------------------------------------------------------------------------


def standing(seed: int = 0) -> NDArray[np.float64]:
    return stance(np.random.default_rng(seed), 0.2, 20.0)


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("frames", [15, 16, 27, 45])
def test_an_action_takes_its_frames_and_starts_where_somebody_is(name: str, frames: int) -> None:
    track = ACTIONS[name](np.random.default_rng(frames), standing(), frames, 2.0)
    assert track.shape == (frames, ANGLES)
    assert np.isfinite(track).all()
    assert abs(track[0, 0] - 0.2) < 0.15


@pytest.mark.parametrize("name", ACTIONS)
def test_feet_are_on_the_ground_and_after_an_action_somebody_stands_again(name: str, actor: Actor) -> None:
    joints = skeleton(actor, ACTIONS[name](np.random.default_rng(0), standing(), 30, 2.0))
    heights = np.stack([joints[joint][:, 1] - radius for joint, radius in people.GROUND_RADII.items()])
    if name == "jump":
        assert heights.min() >= -1e-9
    else:
        np.testing.assert_allclose(heights.min(axis=0), 0, atol=1e-9)
    if name != "fall":
        assert joints["head"][-1, 1] > 0.9 * actor.height
        assert max(joints["left_hand"][-1, 1], joints["right_hand"][-1, 1]) < joints["hip"][-1, 1] + 0.1


def test_somebody_of_a_height_stands_that_high(actor: Actor) -> None:
    actors = [make_actor(np.random.default_rng(seed)) for seed in range(6)]
    assert len({one.shirt for one in actors}) == len({round(one.height, 3) for one in actors}) == 6
    assert all(1.5 <= one.height <= 1.95 and one.reach > 1 for one in actors)
    joints = skeleton(actor, standing()[None])
    assert joints["head"][0, 1] + 0.07 * actor.height == pytest.approx(actor.height, rel=0.03)
    for joint in ("hip", "hand", "ankle"):  # whoever looks at us has their left on our right
        assert joints[f"left_{joint}"][0, 0] > joints[f"right_{joint}"][0, 0] + 0.05


def test_walking_covers_ground_turns_at_the_ends_and_looks_ahead() -> None:
    for seed in range(20):
        track = walk(np.random.default_rng(seed), standing(), 45, 0.5)
        assert np.abs(track[:, 0]).max() <= 0.5
        assert np.abs(np.diff(track[:, 0])).sum() > 1.5
        assert track[10, 0] < track[0, 0]  # first to where there is more room
    for seed, x in enumerate((-0.55, -0.3, 0.4, 0.53)):
        track = walk(np.random.default_rng(seed), stance(np.random.default_rng(0), x, 0.0), 30, 0.5)
        ahead = np.sin(np.radians(track[6:14, motions.YAW]))
        np.testing.assert_array_equal(np.sign(ahead), np.sign(np.diff(track[5:14, 0])))


def test_a_jump_leaves_the_ground_as_bodies_do() -> None:
    for seed in range(20):
        track = ACTIONS["jump"](np.random.default_rng(seed), standing(), 15, 2.0)
        assert 0.15 < track[:, LIFT].max() < 0.31
        aloft = np.flatnonzero(track[:, LIFT] > 0)
        assert 5 <= len(aloft) == np.ptp(aloft) + 1
        np.testing.assert_allclose(np.diff(track[aloft, LIFT], 2), -motions.GRAVITY / FPS**2, rtol=1e-6)
        assert track[-1, LIFT] == 0


def test_waving_goes_to_and_fro_and_a_held_arm_does_not() -> None:
    def turns(track: NDArray[np.float64]) -> int:
        spread = max((track[:, motions.limb(f"{side}_forearm").stop - 1] for side in ("left", "right")), key=np.ptp)
        return int((np.diff(np.sign(np.diff(spread[5:-5]))) != 0).sum())

    for seed in range(20):
        assert turns(ACTIONS["wave"](np.random.default_rng(seed), standing(), 36, 2.0)) >= 3
        assert turns(idle(np.random.default_rng(seed), standing(), 36, 2.0)) <= 2


def test_a_fall_goes_down_and_getting_up_is_the_same_backwards(actor: Actor) -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        down = fall(rng, standing(), 24, 2.0)
        up = get_up(rng, down, 24)
        heads = skeleton(actor, np.concatenate([down, up]))["head"][:, 1]
        assert heads[23] < 0.4 < 1.3 < heads[47]
        assert abs(down[-1, TILT]) > 80
        for pose in up:
            assert np.abs(down - pose).max(axis=1).min() < 25  # degrees to the nearest pose of the fall
        np.testing.assert_allclose(up[-1], down[0])
        np.testing.assert_allclose(up[0], down[-1])


def test_idle_people_take_the_poses_of_actions(actor: Actor) -> None:
    """An arm above the head, a stride, a crouch: each comes up, and the feet stay on the ground."""
    high, wide, low = 0, 0, 0
    for seed in range(80):
        track = idle(np.random.default_rng(seed), standing(), 28, 2.0)
        joints = skeleton(actor, track)
        assert np.all(track[:, LIFT] == 0)
        high += bool(np.maximum(joints["left_hand"], joints["right_hand"])[:, 1].max() > actor.height)
        wide += bool(np.linalg.norm(joints["left_ankle"] - joints["right_ankle"], axis=1).max() > 0.5)
        low += bool(joints["hip"][:, 1].min() < 0.85 * joints["hip"][0, 1])
    assert min(high, wide, low) >= 3


# --- pictures -----------------------------------------------------------------------------------------------------


def test_a_figure_stands_out_from_the_scene_where_its_body_is(actor: Actor) -> None:
    here, there = (stance(np.random.default_rng(0), x, 0.0)[None] for x in (-1.0, 1.0))
    one, other = (next(film(np.random.default_rng(0), actor, track)).astype(int) for track in (here, there))
    changed = np.abs(one - other).max(axis=2) > 24
    across = np.flatnonzero(changed.any(axis=0))
    middle = 80
    assert (across < middle - 15).any()
    assert (across > middle + 15).any()
    assert not changed[:, middle - 8 : middle + 8].any()
    rows = np.flatnonzero(changed.any(axis=1))
    tall = actor.height * actor.scale / OVERSAMPLING
    assert np.ptp(rows) == pytest.approx(tall, rel=0.25)


def test_the_camera_shakes_and_the_light_flickers(actor: Actor) -> None:
    track = np.repeat(standing()[None], 20, axis=0)
    pictures = np.stack(list(film(np.random.default_rng(1), actor, track))).astype(int)
    assert pictures.shape == (20, 120, 160, 3)
    brightness = pictures.mean(axis=(1, 2, 3))
    assert 2 < np.ptp(brightness) < 40
    grey = pictures.mean(axis=3).astype(np.float32)
    shifts = [np.hypot(*cv2.phaseCorrelate(grey[0], other)[0]) for other in grey[1:]]
    assert 0.4 < np.median(shifts) < 4
