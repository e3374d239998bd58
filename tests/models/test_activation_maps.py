"""Maps of hand-made networks are known; the mean of an exact one, with the bias, is the logit."""

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from kagglepipe.models.activation_maps import activation_maps, last_map
from kagglepipe.models.classifier import Classifier, Preprocessing


class ByHand(nn.Module):
    """Channels of the image in cells of 2×2 pixels; features are their means, the map itself, or go through a layer."""

    def __init__(self, head: str) -> None:
        super().__init__()
        self.head, self.layer = head, nn.Linear(3, 3)
        self.num_features = 12 if head == "map" else 3

    def forward_features(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x, 2)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        if self.head == "map":
            return x.flatten(1)
        pooled = x.mean(dim=(2, 3))
        return self.layer(pooled).relu() if self.head == "layer" else pooled

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


def classifier(backbone: nn.Module, size: int = 4) -> Classifier:
    torch.manual_seed(0)
    return Classifier(backbone, 2, Preprocessing(size, "squash", 1.0, (0.0,) * 3, (1.0,) * 3, size)).eval()


IMAGE = torch.zeros(1, 4, 4, 3, dtype=torch.uint8)
IMAGE[0, :2, 2:, 0] = 255  # red above on the right
IMAGE[0, 2:, :2, 1] = 255  # green below on the left


def test_the_map_of_a_network_by_hand() -> None:
    model = classifier(ByHand("mean"))
    weight = torch.tensor([[2.0, -1.0, 0.0]])
    maps, is_exact = activation_maps(model, last_map(model, IMAGE), weight)
    # features are (1/4, 1/4, 0), of root mean square sqrt(1/24): a red cell has 2 · sqrt(24), a green one -sqrt(24)
    assert is_exact
    np.testing.assert_allclose(maps[0], np.array([[0, 2], [-1, 0]]) * 24**0.5, rtol=1e-6)


@pytest.mark.parametrize("head", ["mean", "map"])
def test_the_mean_of_a_map_and_the_bias_are_the_logit(head: str) -> None:
    model = classifier(ByHand(head))
    images = torch.randint(0, 256, (5, 4, 4, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    maps, is_exact = activation_maps(model, last_map(model, images), model.head.weight[[0, 1, 1, 0, 0]])
    assert is_exact
    logits = model(images)[torch.arange(5), torch.tensor([0, 1, 1, 0, 0])]
    found = maps.mean(dim=(1, 2)) + model.head.bias[torch.tensor([0, 1, 1, 0, 0])]
    torch.testing.assert_close(found, logits, rtol=1e-5, atol=1e-5)


def test_behind_a_layer_gradients_tell_what_speaks_for_an_answer() -> None:
    backbone = ByHand("layer")
    backbone.layer.weight.data = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    backbone.layer.bias.data = torch.tensor([0.1, 0.1, 0.1])
    model = classifier(backbone)
    maps, is_exact = activation_maps(model, last_map(model, IMAGE), torch.tensor([[1.0, -1.0, 0.0]]))
    assert not is_exact
    assert (maps[0] > 0).tolist() == [[False, True], [False, False]]  # red speaks for it, green against it


@pytest.mark.parametrize(("name", "size", "exact"), [("test_resnet", 64, True), ("test_vit", 160, False)])
def test_maps_of_timms_networks_leave_no_gradients(name: str, size: int, exact: bool) -> None:
    model = classifier(timm.create_model(name, num_classes=0), size)
    images = torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8)
    maps, is_exact = activation_maps(model, last_map(model, images), model.head.weight)
    assert is_exact == exact
    assert maps.shape[0] == 2
    assert maps.shape[1] == maps.shape[2] > 1
    assert not maps.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_class_token_read_alone_has_no_map() -> None:
    model = classifier(timm.create_model("test_vit", num_classes=0, global_pool="token"), 160)
    images = torch.randint(0, 256, (2, 160, 160, 3), dtype=torch.uint8)
    assert activation_maps(model, last_map(model, images), model.head.weight).maps.abs().max() == 0
