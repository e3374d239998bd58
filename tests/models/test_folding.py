"""Folding changes how a network computes, never what."""

import pytest
import timm
import torch
from torch import nn

from kagglepipe.models.classifier import Classifier, fold_batch_norms, for_inference, preprocessing_of


def with_lived_norms(name: str) -> nn.Module:
    """A network whose batch norms have statistics and weights that make a difference."""
    torch.manual_seed(0)
    backbone = timm.create_model(name, num_classes=0).eval()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    return backbone


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "test_byobnet", "test_convnext", "test_vit"])
def test_the_features_stay_the_same(name: str) -> None:
    backbone = with_lived_norms(name)
    x = torch.randn(2, 3, 160, 160)
    with torch.inference_mode():
        folded = fold_batch_norms(backbone, x[:1])
        torch.testing.assert_close(folded(x), backbone(x), rtol=1e-4, atol=1e-4)
    if name == "test_efficientnet":
        assert not [module for module in folded.modules() if isinstance(module, nn.BatchNorm2d)]


class Shared(nn.Module):
    """A convolution whose output is used twice: folding its batch norm would change the other use."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return (x + self.norm(x)).mean((2, 3))


def test_a_network_that_cannot_be_folded_is_left_alone() -> None:
    torch.manual_seed(0)
    net = Shared().eval()
    nn.init.constant_(net.norm.weight, 3.0)
    assert fold_batch_norms(net, torch.randn(1, 3, 8, 8)) is net


def test_the_model_that_trains_is_not_touched() -> None:
    backbone = with_lived_norms("test_efficientnet")
    model = Classifier(backbone, 2, preprocessing_of(backbone, image_size=64, crop="squash", short_side=64))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ready = for_inference(model, torch.bfloat16)
    assert next(ready.backbone.parameters()).dtype == torch.bfloat16
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


class Watched(nn.Module):
    """Notes at every pass how a GPU would multiply float32."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, bool]] = []

    def __deepcopy__(self, memo: object) -> "Watched":
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
        return x


def test_networks_are_compared_without_the_rounding_of_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU that rounding was more than the tolerance, so that no network was folded."""
    before = torch.get_float32_matmul_precision()
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    torch.set_float32_matmul_precision("high")
    network = Watched()
    try:
        fold_batch_norms(network, torch.ones(1, 3, 8, 8))
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == ("high", True)
    finally:
        torch.set_float32_matmul_precision(before)
    assert network.seen == [("highest", False)] * 2
