"""Our own network is found by its name, and treats each image of a batch as if it were alone."""

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from kagglepipe.errors import UserError
from kagglepipe.models.classifier import make_backbone, preprocessing_of
from kagglepipe.models.small_cnn import SmallCnn
from kagglepipe.models.weights import OWN, Weights, check_model, find_weights, own_input

NAME = "digits_cnn"


def made(channels: int = 1, **kwargs: int) -> SmallCnn:
    """The network with weights drawn by seed 0."""
    torch.manual_seed(0)
    network = make_backbone(NAME, find_weights(NAME, "none"), kwargs=kwargs, cache_dir=Path(), channels=channels)
    assert isinstance(network, SmallCnn)
    return network


def digits(count: int, side: int = 28) -> Tensor:
    """Random images (count, 1, side, side)."""
    return torch.randn(count, 1, side, side, generator=torch.Generator().manual_seed(1))


def test_timm_and_we_know_it_with_one_input() -> None:
    check_model(NAME)
    cfg = timm.get_pretrained_cfg(NAME)
    assert own_input(NAME) == OWN[NAME] == (cfg.input_size[-1], cfg.crop_pct)
    seen = preprocessing_of(made(), image_size=None, crop="squash", short_side=256)
    assert (seen.size, seen.crop) == (28, "squash")


@pytest.mark.parametrize(("side", "width"), [(28, 32), (28, 8), (20, 8), (33, 8), (64, 8)])
def test_the_number_of_features_does_not_depend_on_the_size_of_images(side: int, width: int) -> None:
    network = made(width=width)
    assert network(digits(2, side)).shape == (2, network.num_features) == (2, 36 * width)


def test_an_image_has_the_same_features_and_gradients_alone_and_in_a_batch() -> None:
    network, images = made(width=8).train(), digits(5)
    together = network(images)
    for row in range(5):
        torch.testing.assert_close(together[row : row + 1], network(images[row : row + 1]))
    assert not list(network.buffers())


def test_features_begin_with_the_scale_of_the_images() -> None:
    """Neither do they vanish through six layers nor explode; maxima are larger than what they are of."""
    assert 0.5 < float(made()(digits(8)).detach().std()) < 4


def test_it_has_no_pretrained_weights_and_says_how_to_go_on() -> None:
    with pytest.raises(UserError, match=r"No pretrained weights exist.*start from nothing with model.weights=none"):
        make_backbone(NAME, Weights("hub", "hub"), kwargs={}, cache_dir=Path())
    with pytest.raises(UserError, match=r"model.kwargs=.* do not fit digits_cnn"):
        make_backbone(NAME, find_weights(NAME, "none"), kwargs={"depth": 3}, cache_dir=Path())
    with pytest.raises(ValueError, match="num_classes must be 0"):
        SmallCnn(10)
