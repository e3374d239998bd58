"""Features are computed once, found again by key, and do not depend on batches, threads or other items."""

import copy
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kagglepipe.images.decode import Pixels
from kagglepipe.images.views import Views
from kagglepipe.models.classifier import Classifier
from kagglepipe.training import features as module
from kagglepipe.training.backends import InferenceBackend
from kagglepipe.training.device import Precision
from kagglepipe.training.features import (
    CHUNK_FRAMES,
    FRAME_BATCH,
    Features,
    FeatureStore,
    Item,
    compute_features,
    encode,
    image_key,
    stored_features,
)
from tests.fitting import SIZE, network

TORCH, HALF = (
    InferenceBackend(torch.device("cpu"), Precision(dtype, False, "")) for dtype in (torch.float32, torch.bfloat16)
)


def videos(*lengths: int) -> list[Item]:
    """Items of so many frames, with the keys "0", "1", …"""
    return [Item(str(n), length, n) for n, length in enumerate(lengths)]


def features_of(item: Item) -> NDArray[np.float16]:
    """(T, 3): the key, the frame's number and a constant."""
    columns = [np.full(item.frames, float(item.key)), np.arange(item.frames), np.full(item.frames, 0.1)]
    return np.stack(columns, axis=1).astype(np.float16)


# --- the store -----------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of eight frames."""
    monkeypatch.setattr(module, "PART_FRAMES", 8)


def fill(folder: Path, items: list[Item], stop_after: int | None = None) -> list[str]:
    """Store what is missing of `items`, check all of it, and return the keys that were computed."""
    store, computed = FeatureStore(folder, np.float16), []
    with store.writing():
        for number, item in enumerate(store.missing(items)):
            if number == stop_after:
                raise KeyboardInterrupt
            store[item.key] = features_of(item)
            computed.append(item.key)
    for item in items:
        found = store[item.key]
        assert (found.dtype, found.flags.writeable) == (np.float16, False)
        np.testing.assert_array_equal(found, features_of(item))
    return computed


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_features_are_computed_once_and_packed(tmp_path: Path) -> None:
    items = videos(3, 1, 7, 1)
    assert fill(tmp_path, items[:2]) == ["0", "1"]
    assert fill(tmp_path, items[::-1]) == ["3", "2"]
    assert fill(tmp_path, items) == []
    assert names(tmp_path) == [f"part-00000{n}.{suffix}" for n in range(2) for suffix in ("json", "npy")]
    assert isinstance(np.load(tmp_path / "part-000000.npy", mmap_mode="r"), np.memmap)


@given(st.lists(st.lists(st.integers(0, 7), unique=True, min_size=1), max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sequence_of_requests_is_answered(tmp_path: Path, requests: list[list[int]]) -> None:
    folder, seen = Path(mkdtemp(dir=tmp_path)), set[int]()
    for keys in requests:
        computed = fill(folder, [Item(str(key), 1 + key % 3) for key in keys])
        assert computed == [str(key) for key in keys if key not in seen]
        seen |= set(keys)


def test_equal_files_are_computed_once_and_another_length_anew(tmp_path: Path) -> None:
    assert fill(tmp_path, [*videos(4, 2), Item("0", 4)]) == ["0", "1"]
    assert fill(tmp_path, videos(4, 3)) == ["1"]
    assert fill(tmp_path, []) == []


@pytest.mark.parametrize("stop_after", [1, 2])
def test_an_interruption_keeps_what_was_finished(tmp_path: Path, stop_after: int) -> None:
    items = videos(3, 8, 7)
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path, items, stop_after)
    assert fill(tmp_path, items) == [item.key for item in items[stop_after:]]


@pytest.mark.parametrize("write", ["save", "write_json"])
def test_a_kill_while_a_part_is_written_costs_that_part(
    tmp_path: Path, write: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(file: Any, array: Any) -> None:
        if write == "save":
            file.write(array.tobytes()[:5])
        raise KeyboardInterrupt

    fill(tmp_path, videos(8))
    with monkeypatch.context() as patch:
        patch.setattr(*((module.np, "save", cut) if write == "save" else (module, "write_json", cut)))
        with pytest.raises(KeyboardInterrupt):
            fill(tmp_path, videos(8, 2))
    assert fill(tmp_path, videos(8, 2)) == ["1"]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {  # what may have become of a file of numbers (8, 3)
    "empty": lambda whole: b"",
    "cut in its header": lambda whole: whole[:50],
    "cut in its numbers": lambda whole: whole[:-1],
    "other bytes": lambda whole: b"\x00" * len(whole),
    "a zip": lambda whole: b"PK\x03\x04" + whole[4:],
    "a pickle": lambda whole: b"\x80\x04N.",
    "header without end": lambda whole: whole[:12] + b"(" + whole[13:],
    "header of no array": lambda whole: whole[:10] + b"[1]" + b" " * 114 + b"\n" + whole[128:],
    "numbers of another type": lambda whole: whole.replace(b"<f2", b"<i2"),
    "one dimension": lambda whole: whole.replace(b"(8, 3)", b"(24, )"),
    "one row less": lambda whole: whole.replace(b"(8, 3)", b"(7, 3)"),
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("file", ["part-000000.npy", "0.npy"])
def test_damaged_numbers_are_named_once_and_computed_anew(
    tmp_path: Path, kind: str, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In a part, and in the file that older versions wrote for each video."""
    fill(tmp_path, videos(8))
    whole = (tmp_path / "part-000000.npy").read_bytes()
    if file == "0.npy":
        (tmp_path / "part-000000.json").unlink()
    (tmp_path / file).write_bytes(DAMAGE[kind](whole))
    assert fill(tmp_path, videos(8, 4)) == ["0", "1"]
    if (file, kind) != ("0.npy", "one row less"):  # which may be a video of another length
        assert f"{file} is damaged" in caplog.text
    caplog.clear()
    assert fill(tmp_path, videos(8, 4)) == []
    assert caplog.messages == []


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"keys": ["0"], "lengths": [9]}', '{"keys": [], "lengths": [8]}'])
def test_a_damaged_index_costs_its_part(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    fill(tmp_path, videos(8, 8))
    (tmp_path / "part-000000.json").write_text(text)
    assert fill(tmp_path, videos(8, 8)) == ["0"]
    assert "is damaged" in caplog.text


@given(place=st.integers(0, 127), value=st.integers(0, 255))
def test_an_altered_header_is_harmless(tmp_path_factory: Any, place: int, value: int) -> None:
    folder = tmp_path_factory.mktemp("store")
    fill(folder, videos(8))
    whole = bytearray((folder / "part-000000.npy").read_bytes())
    whole[place] = value
    (folder / "part-000000.npy").write_bytes(whole)
    store = FeatureStore(folder, np.float16)
    with store.writing():
        is_missing = bool(store.missing(videos(8)))
    assert is_missing or (store["0"].dtype, len(store["0"])) == (np.float16, 8)


def test_stores_of_older_versions_are_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One array a video, and one archive of all images; a damaged archive is named."""
    np.save(tmp_path / "1.npy", features_of(videos(3, 4)[1]))
    assert fill(tmp_path, videos(3, 4)) == ["0"]
    tmp_path, values = tmp_path / "images", np.arange(6, dtype=np.float32).reshape(2, 3)
    tmp_path.mkdir()
    np.savez(tmp_path / "features.npz", keys=np.array(["a", "b"]), values=values)
    store = FeatureStore(tmp_path)
    store.refresh()
    assert [item.key for item in store.missing([Item("b"), Item("c")])] == ["c"]
    np.testing.assert_array_equal(store["b"], values[1:])
    whole = (tmp_path / "features.npz").read_bytes()
    for broken in (b"", whole[:40], b"\x00" * len(whole)):
        (tmp_path / "features.npz").write_bytes(broken)
        store = FeatureStore(tmp_path)
        store.refresh()
        assert store.missing([Item("b")])
    assert caplog.text.count("features.npz is damaged") == 3


def test_jobs_side_by_side_share_the_work(tmp_path: Path) -> None:
    items = videos(*range(1, 30))
    with ThreadPoolExecutor(3) as jobs:
        computed = list(jobs.map(lambda _: fill(tmp_path, items), range(3)))
    assert sorted(computed, key=len) == [[], [], [item.key for item in items]]


def test_an_image_is_known_by_its_bytes_and_its_id() -> None:
    """Augmentation is seeded by the id, so that the same bytes under two ids have two views."""
    assert len({image_key(id, digest) for id in ("a", "b", "ab") for digest in ("bc", "c", "")}) == 9


# --- images --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> Classifier:
    """A tiny network of random weights."""
    return network("test_resnet", norms=True).eval()


class Noise:
    """row -> a picture of noise."""

    def __getitem__(self, row: int) -> Pixels:
        return np.random.default_rng(row).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


VIEWS = Views(Noise(), SIZE)


def computed(model: Classifier, rows: list[int], batch_size: int = 16, workers: int = 2) -> Features:
    return compute_features(model, VIEWS, rows, backend=TORCH, batch_size=batch_size, workers=workers)


@pytest.mark.parametrize(("name", "options"), [
    ("test_resnet", {}), ("test_efficientnet", {}), ("test_byobnet", {}), ("test_convnext", {}), ("test_nfnet", {}),
    ("test_vit", {"img_size": SIZE}),
])  # fmt: skip
def test_features_are_the_networks(name: str, options: dict[str, Any]) -> None:
    """However the network is altered to be faster."""
    rows, model = [5, 2, 9], network(name, norms=True, **options).eval()
    found = computed(model, rows)
    with torch.inference_mode():
        images = torch.from_numpy(np.stack([VIEWS[row, 0] for row in rows]))
        np.testing.assert_allclose(found, model.features(images).numpy(), rtol=1e-3, atol=1e-4)
    assert found.dtype == np.float32


@pytest.mark.parametrize("backend", [TORCH, HALF])
def test_the_network_is_left_as_it_was(model: Classifier, backend: InferenceBackend) -> None:
    before = copy.deepcopy(model.state_dict())
    compute_features(model, VIEWS, [1, 2], backend=backend)
    assert list(model.state_dict()) == list(before)
    for name, value in model.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name]), name
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_neither_batches_nor_threads_nor_training_mode_matter(model: Classifier) -> None:
    rows = list(range(20))
    expected = computed(model, rows, 4, workers=1)
    np.testing.assert_array_equal(computed(model, rows, 4, workers=3), expected)
    np.testing.assert_array_equal(computed(copy.deepcopy(model).train(), rows, 4), expected)
    for batch_size in (1, 3, 64):
        np.testing.assert_allclose(computed(model, rows, batch_size), expected, rtol=1e-4, atol=1e-5)
    half = compute_features(model, VIEWS, rows, backend=HALF)
    assert half.dtype == np.float32
    assert np.abs(half - expected).max() < 0.2
    assert np.abs(half - expected).mean() < 0.02
    assert computed(model, []).shape == (0, model.head.in_features)


def test_stored_features_are_those_computed_in_the_order_asked_for(tmp_path: Path, model: Classifier) -> None:
    for rows in ([7, 1, 4], list(range(10))):
        items = [Item(f"key{row}", row=row) for row in rows]
        read = lambda item, *_: VIEWS[item.row, 0][None]  # noqa: E731
        found = np.concatenate(stored_features(FeatureStore(tmp_path), model, read, items, backend=TORCH))
        np.testing.assert_allclose(found, computed(model, rows), rtol=1e-4, atol=1e-5)


# --- videos --------------------------------------------------------------------------------------------------------


def read(item: Item, first: int, end: int) -> NDArray[np.uint8]:
    """Noise that depends on the video and the frame's number alone."""
    return np.stack([
        np.random.default_rng([item.row, n]).integers(0, 256, (SIZE, SIZE, 3), np.uint8) for n in range(first, end)
    ])  # fmt: skip


def encoded(model: Classifier, items: list[Item], **options: Any) -> Iterator[NDArray[Any]]:
    """Features of the items in float16."""
    options = {"read": read, "backend": TORCH, "dtype": np.float16, "workers": 1, **options}
    return (features for _, features in encode(model, items=items, **options))


@pytest.mark.parametrize("workers", [1, 3])
def test_videos_of_uneven_length_are_as_one_by_one(model: Classifier, workers: int) -> None:
    items = videos(1, 40, 3, 32, 1, 1, 64, 5)
    found = list(encoded(model, items, workers=workers))
    assert [len(one) for one in found] == [item.frames for item in items]
    with torch.inference_mode():
        for one, item in zip(found, items, strict=True):
            assert one.dtype == np.float16
            alone = model.features(torch.from_numpy(read(item, 0, item.frames))).numpy()
            np.testing.assert_allclose(one, alone, rtol=2e-3, atol=1e-3)


class Encoder:
    """Takes the first pixel for the features, and notes batches and how far reading runs ahead."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
        self.chunks: list[tuple[str, int, int]] = []
        self.batches: list[int] = []
        self.ahead = self.read_frames = 0
        monkeypatch.setattr(module, "CHUNK_FRAMES", chunk)
        monkeypatch.setattr(InferenceBackend, "encoder", lambda *_: self)

    def read(self, item: Item, first: int, end: int) -> NDArray[np.uint8]:
        self.chunks.append((item.key, first, end))
        self.read_frames += end - first
        return np.arange(first, end, dtype=np.uint8).reshape(-1, 1, 1, 1) + 20 * np.uint8(item.row)

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.ahead = max(self.ahead, self.read_frames - sum(self.batches))
        self.batches.append(len(images))
        return images.reshape(len(images), -1).astype(np.float32)


def test_chunks_bound_how_far_reading_runs_ahead(model: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a video is, no more chunks are held than the threads are allowed, and the one in work."""
    encoder = Encoder(monkeypatch, chunk=8)
    (found,) = encoded(model, videos(200), read=encoder.read, batch_size=4)
    assert (len(found), sum(encoder.batches)) == (200, 200)
    assert encoder.ahead <= 4 * 8


def test_each_video_comes_as_soon_as_it_is_whole(model: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a kill costs one part: when the first is given, the last has not been read."""
    encoder = Encoder(monkeypatch, chunk=CHUNK_FRAMES)
    found = encoded(model, videos(*[12] * 20), read=encoder.read, batch_size=12)
    assert len(next(found)) == 12
    assert len(encoder.chunks) < 10
    assert not torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()


@given(lengths=st.lists(st.integers(1, 12), max_size=8), chunk=st.integers(1, 7), batch=st.integers(1, 9))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_frames_are_read_in_chunks_encoded_in_full_batches_and_come_back_by_video(
    model: Classifier, lengths: list[int], chunk: int, batch: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        encoder = Encoder(patch, chunk)
        found = list(encoded(model, videos(*lengths), read=encoder.read, batch_size=batch))
    assert [one.ravel().tolist() for one in found] == [
        [frame + 20 * n for frame in range(length)] for n, length in enumerate(lengths)
    ]
    assert sorted(encoder.chunks) == sorted(
        (str(n), first, min(first + chunk, length))
        for n, length in enumerate(lengths)
        for first in range(0, length, chunk)
    )
    assert all(size == batch for size in encoder.batches[:-1])


def test_an_unreadable_video_is_an_error_after_those_before_it(model: Classifier) -> None:
    def broken(item: Item, first: int, end: int) -> NDArray[np.uint8]:
        if item.row == 1:
            raise ValueError("no frame in it can be decoded")
        return read(item, first, end)

    found = encoded(model, videos(FRAME_BATCH, 3), read=broken)
    assert len(next(found)) == FRAME_BATCH
    with pytest.raises(ValueError, match="no frame in it"):
        next(found)
