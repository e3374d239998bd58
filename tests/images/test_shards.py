"""Shards give the same images to the same loop as files do, from shard to shard."""

import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st

from kagglepipe.errors import UserError
from kagglepipe.files import file_sha256
from kagglepipe.images.augment import Transform
from kagglepipe.images.cache import PixelReader
from kagglepipe.images.dataset import NEAR, EpochBatches, TrainingImages
from kagglepipe.images.shards import ShardReader, index_shards, write_shards
from kagglepipe.models.classifier import Classifier, Preprocessing
from kagglepipe.training.device import Precision
from kagglepipe.training.fit import Recipe, fit

COUNT, SIZE, CLASSES = 24, 32, 3
LABELS = np.arange(COUNT) % CLASSES
RECIPE = Recipe(2, 3e-3, 5, 0.9, 0.0, 0.01, 0.1, "cosine", 1.0, 0.0, 2)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Noisy images of three colours as PNG, image n of class n % 3."""
    rng, paths = np.random.default_rng(0), []
    for number, label in enumerate(LABELS):
        image = rng.integers(0, 120, (SIZE, SIZE + 6, 3)).astype(np.uint8)
        image[..., label] += 100
        paths.append(tmp_path / f"images/id.{number}.png")
        paths[-1].parent.mkdir(exist_ok=True)
        cv2.imwrite(str(paths[-1]), image)
    return paths


@pytest.fixture
def shards(files: list[Path], tmp_path: Path) -> list[Path]:
    """The same, five a shard."""
    rows = [(path.stem, path, int(label)) for path, label in zip(files, LABELS, strict=True)]
    return write_shards(rows, tmp_path / "shards", per_shard=5)


def test_an_index_tells_where_every_image_lies(files: list[Path], shards: list[Path]) -> None:
    index = index_shards(shards)
    assert [path.name for path in shards] == [f"{n:06d}.tar" for n in range(5)]
    assert index["label"].tolist() == LABELS.tolist()
    assert index["id"].tolist() == [f"id.{n}" for n in range(COUNT)]
    assert index["shard"].value_counts().sort_index().tolist() == [5, 5, 5, 5, 4]
    for row, path in zip(index.itertuples(), files, strict=True):
        data = shards[row.shard].read_bytes()[row.offset : row.offset + row.size]
        assert data == path.read_bytes()


def test_any_tar_program_finds_image_and_class_side_by_side(files: list[Path], shards: list[Path]) -> None:
    with tarfile.open(shards[1]) as tar:
        assert tar.getnames()[:2] == ["id%2E5.png", "id%2E5.cls"]
        label = tar.extractfile("id%2E5.cls")
        assert label is not None
        assert label.read() == str(LABELS[5]).encode()


def test_pixels_are_those_of_the_files(files: list[Path], shards: list[Path]) -> None:
    reader = ShardReader(shards, index_shards(shards), short_side=SIZE)
    plain = PixelReader(files, [file_sha256(path) for path in files], short_side=SIZE)
    assert len(reader) == COUNT
    for row in (0, 7, 23):
        np.testing.assert_array_equal(reader[row], plain[row])


def test_a_shard_that_was_replaced_is_not_read_by_the_places_of_the_old_one(
    files: list[Path], shards: list[Path]
) -> None:
    reader = ShardReader(shards, index_shards(shards), short_side=SIZE)
    write_shards([(path.stem, path, 0) for path in reversed(files[:5])], shards[0].parent, per_shard=5)
    with pytest.raises(UserError, match=r"000000\.tar was written again after it was indexed"):
        reader[0]
    assert reader[5].shape == (SIZE, SIZE + 6, 3)


class Read(list[Path]):
    """The paths of shards; `order`: the numbers of those that were looked up, in their order."""

    def __init__(self, paths: list[Path]) -> None:
        super().__init__(paths)
        self.order: list[int] = []

    def __getitem__(self, number: Any) -> Any:
        self.order.append(int(number))
        return super().__getitem__(number)


def test_a_network_learns_the_same_from_either(files: list[Path], tmp_path: Path) -> None:
    """Same rows, same augmentation, the order of the shards: the same weights, bit by bit, and no way back in them."""
    rows = [(path.stem, path, int(label)) for path, label in zip(files, LABELS, strict=True)]
    shards = write_shards(rows, tmp_path / "many", per_shard=2)
    index = index_shards(shards)
    sharded = ShardReader(shards, index, short_side=SIZE)
    sharded.shards = read = Read(shards)

    class InTheSameOrder(TrainingImages):
        shards = index["shard"].to_numpy()

    weights = []
    for reader, kind in [
        (sharded, TrainingImages),
        (PixelReader(files, [file_sha256(path) for path in files], short_side=SIZE), InTheSameOrder),
    ]:
        torch.manual_seed(0)
        backbone = timm.create_model("test_efficientnet", num_classes=0)
        model = Classifier(backbone, CLASSES, Preprocessing(SIZE, "squash", 1.0, (0.5,) * 3, (0.5,) * 3, SIZE))
        images = kind(reader, index["id"].tolist(), LABELS, Transform("light", SIZE), seed=0)
        precision = Precision(torch.float32, False, "bits are compared")
        fit(
            model, images, train=np.arange(20), valid=np.arange(20, COUNT), recipe=RECIPE, seed=0,
            precision=precision, workers=0, name="test",
        )  # fmt: skip
        weights.append(model.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    for epoch in (0, 1):
        begin = epoch * COUNT  # the twenty of training, then the four that are held out
        near, rest = set(read.order[begin : begin + 2 * NEAR]), set(read.order[begin + 2 * NEAR : begin + 20])
        assert (len(near), len(rest)) == (NEAR, 10 - NEAR)
        assert not near & rest


# --- the order of an epoch ---------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 7), st.integers(0, 3), st.integers(1, 3))
def test_an_epoch_has_every_row_once_whatever_the_shards(shards: int, each: int, epoch: int, ranks: int) -> None:
    rows = np.arange(shards * each)
    batches = [
        EpochBatches(rows, batch_size=4, seed=0, shards=rows // each, rank=rank, ranks=ranks) for rank in range(ranks)
    ]
    for one in batches:
        one.epoch = epoch
    seen = [row for one in batches for batch in one for _, row in batch if row >= 0]
    assert sorted(seen) == rows.tolist()
    assert len({len(list(one)) for one in batches}) == 1


def test_few_shards_are_open_at_a_time_and_rows_are_mixed_among_them() -> None:
    rows = np.arange(40 * 10)
    batches = EpochBatches(rows, batch_size=8, seed=0, shards=rows // 10)
    order = batches.order(1) // 10
    for start in range(0, len(order), NEAR * 10):
        window = order[start : start + NEAR * 10]
        assert len(set(window)) == NEAR
        assert len(set(window[:20])) > 2
    assert not np.array_equal(batches.order(1), batches.order(2))
    np.testing.assert_array_equal(batches.order(1), batches.order(1))


# --- what is no shard --------------------------------------------------------------------------------------------


def test_what_is_no_shard_is_named(tmp_path: Path, files: list[Path]) -> None:
    (tmp_path / "no.tar").write_bytes(b"hello" * 1000)
    with pytest.raises(UserError, match=r"no\.tar is no shard of images"):
        index_shards([tmp_path / "no.tar"])
    with tarfile.open(tmp_path / "lone.tar", "w") as tar:
        tar.add(files[0], "a.png")
    with pytest.raises(UserError, match=r"lone\.tar: a is not an image beside its \.cls"):
        index_shards([tmp_path / "lone.tar"])


def test_an_id_is_written_once(tmp_path: Path, files: list[Path]) -> None:
    shards = write_shards([("a", files[0], 0), ("a", files[1], 1)], tmp_path / "same")
    with pytest.raises(UserError, match="holds a twice"):
        index_shards(shards)


@pytest.mark.parametrize("ids", [["a.b", "a_b"], ["a.b", "a%2Eb"], ["100%", "100%25"], ["sub/a.1.x", "ñ.jpg"]])
def test_ids_come_back_as_they_were(ids: list[str], tmp_path: Path, files: list[Path]) -> None:
    """WebDataset has no dots in its keys."""
    shards = write_shards([(id, files[n], n) for n, id in enumerate(ids)], tmp_path / "some")
    assert index_shards(shards)[["id", "label"]].to_numpy().tolist() == [[id, n] for n, id in enumerate(ids)]
    with tarfile.open(shards[0]) as tar:
        names = [Path(member.name).name for member in tar if not member.name.endswith(".cls")]
    assert all(name.count(".") == 1 for name in names)


def test_a_kill_while_writing_leaves_whole_shards_alone(tmp_path: Path, files: list[Path]) -> None:
    """The second shard cannot be written, since an image is gone; the first is whole and nothing else is there."""
    rows = [(path.stem, path, 0) for path in files[:4]]
    files[3].unlink()
    with pytest.raises(FileNotFoundError):
        write_shards(rows, tmp_path / "half", per_shard=2)
    assert [path.name for path in (tmp_path / "half").iterdir()] == ["000000.tar"]
    assert isinstance(index_shards([tmp_path / "half/000000.tar"]), pd.DataFrame)
