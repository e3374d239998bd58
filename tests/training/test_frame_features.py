"""Features are computed once, video by video, and are the same in whatever company a frame is seen."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kagglepipe.images.decode import Pixels
from kagglepipe.models.classifier import Classifier, Preprocessing
from kagglepipe.training import frame_features as module
from kagglepipe.training.backends import InferenceBackend
from kagglepipe.training.device import Precision
from kagglepipe.training.frame_features import BATCH, STRETCH, Footage, clip_frames, frame_features, stored_frames

SIZE = 32
TORCH, HALF = (
    InferenceBackend(torch.device("cpu"), Precision(dtype, False, "")) for dtype in (torch.float32, torch.bfloat16)
)


def footage(*lengths: int) -> list[Footage]:
    """Videos of so many frames, with the keys "0", "1", …"""
    return [Footage(Path(f"{n}.mp4"), str(n), length) for n, length in enumerate(lengths)]


# --- the store -------------------------------------------------------------------------------------------------


class Computer:
    """Gives features (T, 3) that hold the key and the frame's number, and notes of which videos it was asked."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.asked: list[list[str]] = []
        self.stop_after = stop_after

    def __call__(self, missing: list[Footage]) -> Iterator[NDArray[np.float32]]:
        self.asked.append([one.key for one in missing])
        for number, one in enumerate(missing):
            if number == self.stop_after:
                raise KeyboardInterrupt
            yield features_of(one)


def features_of(one: Footage) -> NDArray[np.float32]:
    """(T, 3)"""
    return np.stack([np.full(one.frames, float(one.key)), np.arange(one.frames), np.full(one.frames, 0.1)], axis=1)


def assert_stored(found: list[Any], videos: list[Footage]) -> None:
    """Memory-mapped float16 features of the videos, in order."""
    for features, one in zip(found, videos, strict=True):
        assert isinstance(features, np.memmap)
        assert features.dtype == np.float16
        assert not features.flags.writeable
        np.testing.assert_array_equal(features, features_of(one).astype(np.float16))


def test_features_are_computed_once_and_memory_mapped(tmp_path: Path) -> None:
    videos, compute = footage(3, 1, 7), Computer()
    for _ in range(2):
        assert_stored(stored_frames(tmp_path / "store", videos, compute), videos)
    assert compute.asked == [["0", "1", "2"]]
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == ["0.npy", "1.npy", "2.npy"]


def test_another_order_and_added_videos_cost_only_themselves(tmp_path: Path) -> None:
    videos, compute = footage(3, 1, 7, 2), Computer()
    stored_frames(tmp_path, videos[:2], compute)
    assert_stored(stored_frames(tmp_path, videos[::-1], compute), videos[::-1])
    assert compute.asked == [["0", "1"], ["3", "2"]]


def test_equal_files_are_computed_once(tmp_path: Path) -> None:
    one, other = footage(4, 2)
    twin = Footage(Path("copy.mp4"), one.key, one.frames)
    compute = Computer()
    assert_stored(stored_frames(tmp_path, [one, other, twin], compute), [one, other, twin])
    assert compute.asked == [["0", "1"]]


def test_no_video_asks_for_nothing(tmp_path: Path) -> None:
    assert stored_frames(tmp_path, [], Computer()) == []


def test_another_length_is_computed_anew(tmp_path: Path) -> None:
    compute = Computer()
    stored_frames(tmp_path, footage(4, 2), compute)
    assert_stored(stored_frames(tmp_path, footage(4, 3), compute), footage(4, 3))
    assert compute.asked == [["0", "1"], ["1"]]


def damaged(kind: str, whole: bytes) -> bytes:
    """What may have become of a file."""
    return {
        "empty": b"",
        "cut in its header": whole[:50],
        "cut in its numbers": whole[:-1],
        "other bytes": b"\x00" * len(whole),
        "a zip": b"PK\x03\x04" + whole[4:],
        "a pickle": b"\x80\x04N.",
        "header without end": whole[:12] + b"(" + whole[13:],
        "header of no array": whole[:10] + b"[1]" + b" " * 114 + b"\n" + whole[128:],
        "numbers of another type": whole.replace(b"<f2", b"<i2"),
        "one dimension": whole.replace(b"(4, 3)", b"(12, )"),
        "one row less": whole.replace(b"(4, 3)", b"(3, 3)"),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "empty",
        "cut in its header",
        "cut in its numbers",
        "other bytes",
        "a zip",
        "a pickle",
        "header without end",
        "header of no array",
        "numbers of another type",
        "one dimension",
        "one row less",
    ],
)
def test_a_damaged_file_is_computed_anew(tmp_path: Path, kind: str) -> None:
    videos, compute = footage(4, 2), Computer()
    stored_frames(tmp_path, videos, compute)
    file = tmp_path / "0.npy"
    file.write_bytes(damaged(kind, file.read_bytes()))
    assert_stored(stored_frames(tmp_path, videos, compute), videos)
    assert compute.asked == [["0", "1"], ["0"]]


def test_damage_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stored_frames(tmp_path, footage(4), Computer())
    (tmp_path / "0.npy").write_bytes(b"\x93NUMPY")
    with caplog.at_level(logging.WARNING):
        stored_frames(tmp_path, footage(4), Computer())
    (line,) = caplog.messages
    assert "0.npy is damaged" in line
    caplog.clear()
    stored_frames(tmp_path, footage(4, 1), Computer())
    assert caplog.messages == []


@given(place=st.integers(0, 127), value=st.integers(0, 255))
def test_an_altered_header_is_computed_anew_or_harmless(tmp_path_factory: Any, place: int, value: int) -> None:
    folder, videos = tmp_path_factory.mktemp("store"), footage(4)
    stored_frames(folder, videos, Computer())
    whole = bytearray((folder / "0.npy").read_bytes())
    whole[place] = value
    (folder / "0.npy").write_bytes(whole)
    (found,) = stored_frames(folder, videos, Computer())
    assert found.dtype == np.float16
    assert len(found) == 4


def test_a_kill_keeps_what_was_finished(tmp_path: Path) -> None:
    videos = footage(3, 1, 7)
    with pytest.raises(KeyboardInterrupt):
        stored_frames(tmp_path, videos, Computer(stop_after=2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.npy", "1.npy"]
    compute = Computer()
    assert_stored(stored_frames(tmp_path, videos, compute), videos)
    assert compute.asked == [["2"]]


def test_a_kill_while_a_file_is_written_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(file: Any, array: NDArray[Any]) -> None:
        file.write(array.tobytes()[:5])
        raise KeyboardInterrupt

    monkeypatch.setattr(module.np, "save", cut)
    with pytest.raises(KeyboardInterrupt):
        stored_frames(tmp_path, footage(3), Computer())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", [1, 3])
def test_features_of_too_few_or_too_many_videos_are_an_error(tmp_path: Path, given: int) -> None:
    def compute(missing: list[Footage]) -> Iterator[NDArray[np.float32]]:
        return iter([features_of(missing[0])] * given)

    with pytest.raises(ValueError, match="zip"):
        stored_frames(tmp_path, footage(3, 3), compute)


def test_jobs_side_by_side_share_the_work(tmp_path: Path) -> None:
    videos, computed = footage(*range(1, 30)), []

    def compute(missing: list[Footage]) -> Iterator[NDArray[np.float32]]:
        for one in missing:
            computed.append(one.key)
            yield features_of(one)

    with ThreadPoolExecutor(3) as jobs:
        found = list(jobs.map(lambda _: stored_frames(tmp_path / "store", videos, compute), range(3)))
    for features in found:
        assert_stored(features, videos)
    assert computed == [one.key for one in videos]


# --- features --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> Classifier:
    """A tiny network of random weights."""
    torch.manual_seed(0)
    backbone = timm.create_model("test_efficientnet", num_classes=0)
    return Classifier(backbone, 2, Preprocessing(SIZE, "squash", 1.0, (0.5,) * 3, (0.5,) * 3, SIZE)).eval()


def frames_of(one: Footage, first: int, end: int) -> NDArray[np.uint8]:
    """Noise that depends on the video and the frame's number alone."""
    return np.stack([
        np.random.default_rng([int(one.key), n]).integers(0, 256, (SIZE, SIZE, 3), np.uint8) for n in range(first, end)
    ])  # fmt: skip


def features(model: Classifier, videos: list[Footage], **options: Any) -> list[NDArray[np.float32]]:
    """Of the videos in float32."""
    return list(frame_features(model, frames_of, videos, backend=TORCH, **options))


@pytest.mark.parametrize("workers", [1, 3])
def test_videos_of_uneven_length_are_as_one_by_one(model: Classifier, workers: int) -> None:
    videos = footage(1, 40, 3, 32, 1, 1, 64, 5)
    found = features(model, videos, workers=workers)
    assert [len(one) for one in found] == [1, 40, 3, 32, 1, 1, 64, 5]
    with torch.inference_mode():
        for one, video in zip(found, videos, strict=True):
            assert one.dtype == np.float32
            alone = model.features(torch.from_numpy(frames_of(video, 0, video.frames))).numpy()
            np.testing.assert_allclose(one, alone, rtol=1e-3, atol=1e-4)


def test_long_videos_are_read_in_stretches_and_short_ones_share_batches(
    model: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STRETCH", 10)
    monkeypatch.setattr(module, "BATCH", 4)
    read: list[tuple[str, int, int]] = []
    batches: list[int] = []

    def noted(one: Footage, first: int, end: int) -> NDArray[np.uint8]:
        read.append((one.key, first, end))
        return frames_of(one, first, end)

    encode = TORCH.encoder(model)

    def counting(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        batches.append(len(images))
        return encode(images)

    monkeypatch.setattr(InferenceBackend, "encoder", lambda *_: counting)
    videos = footage(25, 2, 1)
    found = list(frame_features(model, noted, videos, backend=TORCH, workers=1))
    assert [len(one) for one in found] == [25, 2, 1]
    assert read == [("0", 0, 10), ("0", 10, 20), ("0", 20, 25), ("1", 0, 2), ("2", 0, 1)]
    assert batches == [4] * 7


def test_stretches_bound_how_far_reading_runs_ahead(model: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a video is, no more stretches are held than the threads are allowed, and the one in work."""
    monkeypatch.setattr(module, "STRETCH", 8)
    monkeypatch.setattr(module, "BATCH", 4)
    read = seen = most = 0

    def counted(one: Footage, first: int, end: int) -> NDArray[np.uint8]:
        nonlocal read
        read += end - first
        return np.zeros((end - first, SIZE, SIZE, 3), np.uint8)

    def counting(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        nonlocal seen, most
        most = max(most, read - seen)
        seen += len(images)
        return np.zeros((len(images), 2), np.float32)

    monkeypatch.setattr(InferenceBackend, "encoder", lambda *_: counting)
    (found,) = frame_features(model, counted, footage(1000), backend=TORCH, workers=1)
    assert found.shape == (1000, 2)
    assert seen == 1000
    assert most <= 4 * 8


def test_each_video_comes_as_soon_as_it_is_whole(model: Classifier) -> None:
    """So that a kill costs one: when the first is given, the last has not been read."""
    read: list[str] = []

    def noted(one: Footage, first: int, end: int) -> NDArray[np.uint8]:
        read.append(one.key)
        return np.zeros((end - first, SIZE, SIZE, 3), np.uint8)

    found = frame_features(model, noted, footage(*[BATCH] * 20), backend=TORCH, workers=1)
    assert len(next(found)) == BATCH
    assert len(read) < 10
    found.close()  # type: ignore[attr-defined]


@given(
    lengths=st.lists(st.integers(1, 12), max_size=8), stretch=st.integers(1, 7), batch=st.integers(1, 9)
)  # fmt: skip
def test_frames_go_through_in_full_batches_and_come_back_by_video(lengths: list[int], stretch: int, batch: int) -> None:
    sizes: list[int] = []

    def seen(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        sizes.append(len(frames))
        return frames.reshape(len(frames), -1).astype(np.float32)

    numbers = [np.arange(n, dtype=np.uint8).reshape(n, 1, 1, 1) + 20 * k for k, n in enumerate(lengths)]
    stretches = (video[at : at + stretch] for video in numbers for at in range(0, len(video), stretch))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BATCH", batch)
        found = list(module._regroup(stretches, lengths, seen))
    assert [one.ravel().tolist() for one in found] == [video.ravel().tolist() for video in numbers]
    assert all(size == batch for size in sizes[:-1])
    assert sum(sizes) == sum(lengths)


def test_an_unreadable_video_is_an_error(model: Classifier) -> None:
    def read(one: Footage, first: int, end: int) -> NDArray[np.uint8]:
        if one.key == "1":
            raise ValueError("no frame in it can be decoded")
        return frames_of(one, first, end)

    found = frame_features(model, read, footage(BATCH, 3), backend=TORCH, workers=1)
    assert len(next(found)) == BATCH
    with pytest.raises(ValueError, match="no frame in it"):
        next(found)


def test_the_model_is_left_as_it_was(model: Classifier) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    list(frame_features(model, frames_of, footage(2), backend=HALF))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert next(model.parameters()).requires_grad
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_inference_mode_ends_between_videos(model: Classifier) -> None:
    found = frame_features(model, frames_of, footage(BATCH, BATCH), backend=TORCH, workers=1)
    next(found)
    assert not torch.is_inference_mode_enabled()
    next(found)


def test_a_stretch_is_as_many_batches() -> None:
    assert STRETCH % BATCH == 0


# --- frames of a clip ------------------------------------------------------------------------------------------


def timed(*values: int) -> Iterator[tuple[float, Pixels]]:
    """Frames of 4 × 4 pixels of one value each."""
    return ((number / 8, np.full((4, 4, 3), value, np.uint8)) for number, value in enumerate(values))


@pytest.mark.parametrize(
    ("values", "count", "expected"),
    [
        ((7, 8, 9), 3, [7, 8, 9]),
        ((7, 8), 5, [7, 8, 8, 8, 8]),
        ((7, 8, 9), 2, [7, 8]),
        ((7,), 1, [7]),
        ((), 2, [0, 0]),
    ],
)
def test_a_clip_has_as_many_frames_as_asked(values: tuple[int, ...], count: int, expected: list[int]) -> None:
    """The last one stands for those that are missing; without any frame all are black."""
    frames = clip_frames(timed(*values), count, 4)
    assert frames.shape == (count, 4, 4, 3)
    assert frames.dtype == np.uint8
    assert frames[:, 0, 0, 0].tolist() == expected
    assert (frames == frames[:, :1, :1, :1]).all()


def test_frames_beyond_the_clip_are_not_decoded() -> None:
    frames = timed(1, 2, 3, 4)
    clip_frames(frames, 2, 4)
    assert len(list(frames)) <= 2
