"""Features are computed once, found again by key, and the same however they were computed."""

import copy
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
import timm
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kagglepipe.images.decode import Pixels
from kagglepipe.models.classifier import Classifier, Preprocessing
from kagglepipe.training.backends import InferenceBackend
from kagglepipe.training.device import Precision
from kagglepipe.training.features import Features, compute_features, image_key, stored_features

SIZE = 32
TORCH, HALF = (
    InferenceBackend(torch.device("cpu"), Precision(dtype, False, "")) for dtype in (torch.float32, torch.bfloat16)
)


def value(key: str) -> list[float]:
    """Features that tell which key they belong to."""
    return [float(sum(map(ord, key))), float(len(key)), 0.5]


class Computed:
    """Computes features of keys, and remembers which it was asked for."""

    def __init__(self, keys: list[str]) -> None:
        self.keys = keys
        self.asked: list[str] = []

    def __call__(self, positions: list[int]) -> Features:
        self.asked += [self.keys[position] for position in positions]
        return np.array([value(self.keys[position]) for position in positions], np.float32)


def stored(folder: Path, keys: list[str]) -> tuple[Features, list[str]]:
    """(features of the keys, the keys that had to be computed)"""
    compute = Computed(keys)
    return stored_features(folder, keys, compute), compute.asked


def expected(keys: list[str]) -> Features:
    """What the store should give."""
    return np.array([value(key) for key in keys], np.float32)


# --- the store -------------------------------------------------------------------------------------------------


def test_only_what_lacks_is_computed(tmp_path: Path) -> None:
    assert stored(tmp_path / "store", ["a", "bb"])[1] == ["a", "bb"]
    assert stored(tmp_path / "store", ["a", "ccc", "bb"])[1] == ["ccc"]
    assert stored(tmp_path / "store", ["ccc", "a"])[1] == []


def test_rows_come_in_the_order_asked_for(tmp_path: Path) -> None:
    stored(tmp_path / "store", ["d", "a", "cc"])
    for keys in (["a", "cc", "d"], ["cc", "d"], ["d", "new", "a"], ["new", "cc", "a", "d"]):
        np.testing.assert_array_equal(stored(tmp_path / "store", keys)[0], expected(keys))


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1), max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sequence_of_requests_is_answered_right(tmp_path: Path, requests: list[list[str]]) -> None:
    folder, seen = Path(mkdtemp(dir=tmp_path)), set()
    for keys in requests:
        features, asked = stored(folder, keys)
        np.testing.assert_array_equal(features, expected(keys))
        assert asked == [key for key in keys if key not in seen]
        seen |= set(keys)


def test_a_key_asked_for_twice_confuses_nobody(tmp_path: Path) -> None:
    keys = ["a", "a", "bb", "ccc"]
    np.testing.assert_array_equal(stored(tmp_path / "store", keys)[0], expected(keys))
    np.testing.assert_array_equal(stored(tmp_path / "store", ["bb", "ccc"])[0], expected(["bb", "ccc"]))


def test_nothing_asked_for_gives_no_rows_of_the_right_width(tmp_path: Path) -> None:
    stored(tmp_path / "store", ["a"])
    assert stored(tmp_path / "store", [])[0].shape == (0, 3)


def test_a_failing_computation_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    def fail(positions: list[int]) -> Features:
        raise KeyboardInterrupt

    stored(tmp_path / "store", ["a"])
    with pytest.raises(KeyboardInterrupt):
        stored_features(tmp_path / "store", ["a", "b"], fail)
    assert stored(tmp_path / "store", ["a"])[1] == []


def test_a_store_without_news_is_not_rewritten(tmp_path: Path) -> None:
    stored(tmp_path / "store", ["a", "b"])
    file = tmp_path / "store" / "features.npz"
    before = file.stat()
    stored(tmp_path / "store", ["b"])
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_the_store_is_read_without_pickle(tmp_path: Path) -> None:
    stored(tmp_path / "store", ["a", "b"])
    with np.load(tmp_path / "store" / "features.npz", allow_pickle=False) as store:
        assert {name: store[name].dtype.kind for name in store} == {"keys": "U", "values": "f"}


def test_an_image_is_known_by_its_bytes_and_its_id() -> None:
    """Augmentation is seeded by the id, so that the same bytes under two ids have two views."""
    keys = {image_key(id, digest) for id in ("a", "b", "ab") for digest in ("bc", "c", "")}
    assert len(keys) == 9


# --- computing -------------------------------------------------------------------------------------------------


def network(name: str, **options: Any) -> Classifier:
    """A tiny network of random weights and random batch statistics."""
    torch.manual_seed(0)
    backbone = timm.create_model(name, num_classes=0, **options)
    for buffer, value in backbone.named_buffers():
        if buffer.endswith(("running_mean", "running_var")):
            value.uniform_(0.5, 1.5)
    return Classifier(backbone, 2, Preprocessing(SIZE, "squash", 1.0, (0.5,) * 3, (0.5,) * 3, SIZE)).eval()


@pytest.fixture(scope="module")
def model() -> Classifier:
    """A tiny network of random weights."""
    return network("test_resnet")


@pytest.fixture(scope="module")
def view() -> Callable[[int], Pixels]:
    """row -> a picture that belongs to it."""
    return lambda row: np.random.default_rng(row).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def computed(
    model: Classifier, view: Callable[[int], Pixels], rows: list[int], batch_size: int = 16, workers: int = 2
) -> Features:
    return compute_features(model, view, rows, backend=TORCH, batch_size=batch_size, workers=workers)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("test_resnet", {}),
        ("test_efficientnet", {}),
        ("test_byobnet", {}),
        ("test_convnext", {}),
        ("test_nfnet", {}),
        ("test_vit", {"img_size": SIZE}),
    ],
)
def test_features_are_the_networks(name: str, options: dict[str, Any], view: Callable[[int], Pixels]) -> None:
    """However the network is altered to be faster."""
    rows, model = [5, 2, 9], network(name, **options)
    found = computed(model, view, rows)
    with torch.inference_mode():
        images = torch.from_numpy(np.stack([view(row) for row in rows]))
        np.testing.assert_allclose(found, model.features(images).numpy(), rtol=1e-3, atol=1e-4)
    assert found.dtype == np.float32


@pytest.mark.parametrize("backend", [TORCH, HALF])
def test_the_network_is_left_as_it_was(
    model: Classifier, view: Callable[[int], Pixels], backend: InferenceBackend
) -> None:
    before = copy.deepcopy(model.state_dict())
    compute_features(model, view, [1, 2], backend=backend)
    assert list(model.state_dict()) == list(before)
    for name, value in model.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name]), name
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("batch_size", [1, 3, 7, 64])
def test_the_batch_size_does_not_matter(model: Classifier, view: Callable[[int], Pixels], batch_size: int) -> None:
    rows = list(range(7))
    np.testing.assert_allclose(
        computed(model, view, rows, batch_size), computed(model, view, rows, 4), rtol=1e-4, atol=1e-5
    )


def test_the_number_of_threads_does_not_matter(model: Classifier, view: Callable[[int], Pixels]) -> None:
    rows = list(range(20))
    np.testing.assert_array_equal(computed(model, view, rows, 4, workers=1), computed(model, view, rows, 4, workers=3))


def test_no_rows_give_no_features(model: Classifier, view: Callable[[int], Pixels]) -> None:
    assert computed(model, view, []).shape == (0, model.head.in_features)


def test_dropout_and_batch_statistics_have_no_part(model: Classifier, view: Callable[[int], Pixels]) -> None:
    """A network left in training mode is set right first."""
    rows = list(range(4))
    before = computed(model, view, rows)
    np.testing.assert_array_equal(computed(copy.deepcopy(model).train(), view, rows), before)


def test_half_precision_is_close(model: Classifier, view: Callable[[int], Pixels]) -> None:
    full = computed(model, view, list(range(4)))
    half = compute_features(model, view, list(range(4)), backend=HALF)
    assert half.dtype == np.float32
    assert np.abs(half - full).max() < 0.2
    assert np.abs(half - full).mean() < 0.02


def test_a_store_filled_in_two_parts_equals_one_filled_at_once(
    tmp_path: Path, model: Classifier, view: Callable[[int], Pixels]
) -> None:
    keys = [f"key{row}" for row in range(10)]

    def fill(folder: Path, wanted: list[int]) -> Features:
        return stored_features(
            folder, [keys[row] for row in wanted], lambda lacking: computed(model, view, [wanted[n] for n in lacking])
        )

    at_once = fill(tmp_path / "one", list(range(10)))
    fill(tmp_path / "two", [7, 1, 4])
    np.testing.assert_allclose(fill(tmp_path / "two", list(range(10))), at_once, rtol=1e-4, atol=1e-5)
