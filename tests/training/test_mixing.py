"""Mixed batches: a share of 1 is none, losses by hand, the same for any micro-batch, another for every batch."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kagglepipe.images.dataset import TrainingImages
from kagglepipe.options import TrainingOptions
from kagglepipe.training.loop import FitRuntime
from kagglepipe.training.losses import BINARY, CROSS_ENTROPY, Loss, scaled_squared_error
from kagglepipe.training.mixing import Mixing, cutmix, mixed_loss, mixing_of, mixup, paired
from kagglepipe.training.weighted_losses import focal_classes, focal_columns, scaled_huber
from tests.fitting import RECIPE, network, trained

LOGITS = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
CLASSES, COLUMNS = torch.tensor([2, 0, 0, 1, 2]), (LOGITS.roll(1, 0) > 0).float()
OTHERS = torch.tensor([4, 2, 3, 0, 1])
IMAGES = torch.arange(5 * 12 * 8 * 3, dtype=torch.float32).reshape(5, 12, 8, 3)
WEIGHTS = np.array([1.0, 2.0, 3.0], np.float32)
LOSSES = [
    (CROSS_ENTROPY, CLASSES),
    (BINARY, COLUMNS),
    (scaled_squared_error(WEIGHTS), COLUMNS),
    (scaled_huber(WEIGHTS, 1.0), COLUMNS),
    (focal_classes(2.0, WEIGHTS), CLASSES),
    (focal_columns(2.0, None), COLUMNS),
]


@pytest.mark.parametrize(("loss", "labels"), LOSSES)
def test_a_share_of_1_is_the_loss_itself_and_of_0_the_others(loss: Loss, labels: torch.Tensor) -> None:
    pairs = paired(labels, labels[OTHERS])
    for share, known in ((1.0, labels), (0.0, labels[OTHERS])):
        found, hits = mixed_loss(loss, share).compute(LOGITS, pairs, 0.1)
        expected, expected_hits = loss.compute(LOGITS, known, 0.1)
        assert (float(found), hits) == (float(expected), expected_hits)


def test_a_mixed_loss_by_hand() -> None:
    """Probability 0.8 of the first class: three quarters of -log 0.8 and one of -log 0.2."""
    pairs = paired(torch.tensor([0]), torch.tensor([1]))
    found, hits = mixed_loss(CROSS_ENTROPY, 0.75).compute(torch.tensor([[math.log(4), 0.0]]), pairs, 0.0)
    assert float(found) == pytest.approx(-0.75 * math.log(0.8) - 0.25 * math.log(0.2))
    assert hits == 1


def test_it_is_torchs_loss_of_mixed_targets() -> None:
    """Cross-entropies are linear in their targets."""
    classes = F.one_hot(CLASSES, 3).float()
    for loss, labels, whole, theirs in (
        (CROSS_ENTROPY, CLASSES, classes, lambda x: F.cross_entropy(LOGITS, x, reduction="sum")),
        (BINARY, COLUMNS, COLUMNS, lambda x: F.binary_cross_entropy_with_logits(LOGITS, x, reduction="sum") / 3),
    ):
        found, _ = mixed_loss(loss, 0.3).compute(LOGITS, paired(labels, labels[OTHERS]), 0.0)
        assert float(found) == pytest.approx(float(theirs(0.3 * whole + 0.7 * whole[OTHERS])), rel=1e-5)


def test_mixed_images_have_their_share_of_each() -> None:
    rng = np.random.default_rng(0)
    assert torch.equal(mixup(IMAGES, OTHERS, 1.0, rng)[0], IMAGES)
    torch.testing.assert_close(mixup(IMAGES, OTHERS, 0.25, rng)[0], 0.25 * IMAGES + 0.75 * IMAGES[OTHERS])
    for share in (0.0, 0.3, 0.8, 1.0):
        mixed, kept = cutmix(IMAGES, OTHERS, share, rng)
        is_own = (mixed == IMAGES).all(dim=-1)
        assert torch.equal(mixed[~is_own], IMAGES[OTHERS][~is_own])
        assert kept == pytest.approx(float(is_own.float().mean()))
        assert kept >= share - 0.1  # of the rectangle only what is in the image counts
    assert torch.equal(cutmix(IMAGES, OTHERS, 1.0, rng)[0], IMAGES)


def test_each_batch_is_mixed_in_a_way_of_its_own_and_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    mixing = Mixing(0.5, 0.5, seed=3)
    images = IMAGES.to(torch.uint8)

    def mixed(epoch: int, number: int) -> torch.Tensor:
        [found], pairs, loss = mixing([images], CLASSES, CROSS_ENTROPY, epoch, number)
        assert (pairs[:, 0].tolist(), sorted(pairs[:, 1].tolist())) == (CLASSES.tolist(), sorted(CLASSES.tolist()))
        assert int(loss.is_counted(loss.rows(pairs)).sum()) == 5
        return found

    places = [(epoch, number) for epoch in (1, 2) for number in (0, 1)]
    found = [mixed(*place) for place in places]
    assert all(torch.equal(one, mixed(*place)) for one, place in zip(found, places, strict=True))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    found.append(mixed(1, 0))
    assert not any(torch.equal(found[a], found[b]) for a in range(5) for b in range(a))


def test_a_single_image_is_left_as_it_is_and_by_default_every_one() -> None:
    batch = [IMAGES[:1]], CLASSES[:1], CROSS_ENTROPY
    assert Mixing(0.5, None, seed=0)(*batch, 1, 0) == batch
    assert mixing_of(TrainingOptions(), 0) is None


@pytest.mark.parametrize("mixed", [{"mixup": 0.4}, {"cutmix": 1.0}])
def test_parts_of_a_mixed_batch_have_the_gradient_of_the_whole(mixed: dict[str, float], images: TrainingImages) -> None:
    options = replace(RECIPE, epochs=1, **mixed)
    whole, plain = trained(network(), images, options), trained(network(), images, replace(RECIPE, epochs=1))
    parts = trained(network(), images, options, runtime=FitRuntime(micro_batch=3))
    assert parts[0].train_loss == pytest.approx(whole[0].train_loss, rel=1e-4)
    assert parts[0].valid_loss == pytest.approx(whole[0].valid_loss, rel=1e-2)
    assert whole[0].train_loss != pytest.approx(plain[0].train_loss, rel=1e-3)
