"""The network takes bytes as they come from disk, and its features have one scale whatever the photo's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from kagglepipe.errors import UserError
from kagglepipe.images.depth import PixelFormat
from kagglepipe.models.classifier import (
    Classifier,
    Preprocessing,
    check_model,
    feature_size,
    fold_batch_norms,
    for_inference,
    make_backbone,
    preprocessing_of,
)
from kagglepipe.models.weights import find_weights, write_tensors

NONE = find_weights("any", "none")
TINY = [
    "test_byobnet", "test_convnext", "test_efficientnet", "test_nfnet", "test_resnet", "test_vit", "test_vit_relpos"
]  # fmt: skip
PREPROCESSING = Preprocessing(32, "squash", 1.0, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 64)


class Means(nn.Module):
    """A backbone whose features are known: the channels' means, times `scale`."""

    num_features = 3

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.seen = torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x
        return x.mean(dim=(2, 3)) * self.scale


def random_images(count: int, size: int, seed: int = 0) -> Tensor:
    """(count, size, size, 3) uint8"""
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8))


def tiny(name: str, **options: Any) -> nn.Module:
    """A small timm network with random weights."""
    torch.manual_seed(0)
    return make_backbone(name, NONE, kwargs=options, cache_dir=Path())


def prepared(backbone: nn.Module, size: int | None = None, crop: str = "squash") -> Preprocessing:
    """timm's own preparation of images for a network."""
    return preprocessing_of(backbone, image_size=size, crop=crop, short_side=256)


# --- input -----------------------------------------------------------------------------------------------------


def test_bytes_become_normalised_channels_first_input() -> None:
    images = random_images(2, 5)
    backbone = Means()
    Classifier(backbone, 2, PREPROCESSING).features(images)
    expected = (images.numpy().astype(np.float64) / 255 - [0.1, 0.2, 0.3]) / [0.4, 0.5, 0.6]
    np.testing.assert_allclose(backbone.seen.numpy(), expected.transpose(0, 3, 1, 2), rtol=0, atol=1e-5)
    assert backbone.seen.is_contiguous(memory_format=torch.channels_last)


def test_input_takes_the_precision_of_the_backbone_and_logits_are_float32() -> None:
    backbone = Means()
    model = Classifier(backbone, 2, PREPROCESSING)
    model.backbone.to(torch.bfloat16)
    logits = model(random_images(2, 5))
    assert backbone.seen.dtype == torch.bfloat16
    assert logits.dtype == torch.float32


# --- features --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.5, 1.0, 300.0])
def test_features_have_unit_scale_and_forget_that_of_the_backbone(scale: float) -> None:
    images = random_images(3, 8)
    features = Classifier(Means(scale), 2, PREPROCESSING).features(images)
    torch.testing.assert_close(features.square().mean(dim=1), torch.ones(3), rtol=1e-4, atol=0)
    model = Classifier(Means(), 2, PREPROCESSING)
    torch.testing.assert_close(features, model.features(images), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(features, torch.cat([model.features(one[None]) for one in images]))  # image by image
    assert torch.isfinite(Classifier(Means(0.0), 2, PREPROCESSING).features(images)).all()


@pytest.mark.parametrize("name", TINY)
def test_tiny_networks_of_many_kinds_give_features_and_logits(name: str) -> None:
    backbone = tiny(name)
    model = Classifier(backbone, 4, prepared(backbone)).eval()
    size = model.preprocessing.size
    with torch.inference_mode():
        features = model.features(random_images(2, size))
        logits = model(random_images(2, size))
    assert features.shape == (2, feature_size(backbone)) == (2, model.head.in_features)
    assert logits.shape == (2, 4)
    assert not torch.equal(features[0], features[1])


# --- the model's own wishes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "tf_efficientnet_lite0"])
def test_preprocessing_is_timms_own(name: str) -> None:
    backbone = tiny(name)
    config = timm.data.resolve_model_data_config(backbone)
    found = prepared(backbone, crop="center")
    assert (found.mean, found.std) == (config["mean"], config["std"])
    assert (found.size, found.crop_pct, found.crop) == (config["input_size"][1], config["crop_pct"], "center")
    assert found.short_side == 256
    assert prepared(backbone, 96, crop="squash").size == 96
    assert [prepared(backbone, crop=crop).crop_pct for crop in ("squash", "border")] == [1.0, 1.0]


def test_a_network_of_one_size_refuses_another_and_says_what_makes_it_so() -> None:
    fixed = {"dynamic_img_size": False}
    with pytest.raises(UserError, match=r"made for images of 160 pixels .* type \+model\.kwargs\.img_size=64 in place"):
        prepared(tiny("test_vit", **fixed), 64)
    backbone = tiny("test_vit", img_size=64, **fixed).train()
    assert prepared(backbone, 64).size == 64
    assert backbone.training


# --- what does not exist ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "near"),
    [("efficientnet_lite", "efficientnet_lite4"), ("resnet81", "resnet18"), ("resnet81.a1_in1k", "resnet18")],
)
def test_an_unknown_model_is_answered_with_near_names(name: str, near: str) -> None:
    with pytest.raises(UserError, match=rf"model\.name={name} is not a timm model; near it are .*{near}"):
        make_backbone(name, NONE, kwargs={}, cache_dir=Path())
    with pytest.raises(UserError, match=r"is not a timm model$"):
        check_model("%%%")


@pytest.mark.parametrize("kwargs", [{"drop_rat": 0.1}, {"num_classes": 5}])
def test_arguments_that_the_model_does_not_take_are_refused(kwargs: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"model\.kwargs=.*{next(iter(kwargs))}.* do not fit test_resnet"):
        make_backbone("test_resnet", NONE, kwargs=kwargs, cache_dir=Path())


# --- folding of batch norms: it changes how a network computes, never what -------------------------------------------


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


# --- other channels ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "test_resnet", "test_vit"])
def test_a_grey_image_through_the_adapted_stem_is_the_same_grey_in_three_channels(name: str, tmp_path: Path) -> None:
    """The first layer's weights are summed, so that its output, before any rounding, is the same."""
    if name == "tf_efficientnet_lite0":
        weights = find_weights(name)
    else:
        write_tensors(tmp_path / "own.safetensors", tiny(name).state_dict())
        weights = find_weights(name, str(tmp_path / "own.safetensors"))
    colour, grey = (make_backbone(name, weights, kwargs={}, cache_dir=tmp_path, channels=n) for n in (3, 1))
    size = prepared(colour).size
    image = torch.randn(1, 1, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        stems = [dict(one.named_modules())[one.default_cfg["first_conv"]] for one in (colour, grey)]
        expected, found = stems[0](image.expand(-1, 3, -1, -1)), stems[1](image)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        features = [one.eval()(x) for one, x in ((colour, image.expand(-1, 3, -1, -1)), (grey, image))]
    torch.testing.assert_close(features[1], features[0], rtol=1e-4, atol=1e-4)


def test_weights_for_more_channels_are_timms_and_those_of_ones_own_channels_are_left_alone(tmp_path: Path) -> None:
    """RGB again and again, scaled by 3 / channels; weights of five channels are loaded as they are."""
    file = tmp_path / "rgb.safetensors"
    write_tensors(file, tiny("test_resnet").state_dict())
    five = make_backbone(
        "test_resnet", find_weights("test_resnet", str(file)), kwargs={}, cache_dir=tmp_path, channels=5
    )
    first = five.default_cfg["first_conv"] + ".weight"
    before, after = (one.state_dict()[first] for one in (tiny("test_resnet"), five))
    torch.testing.assert_close(after, before[:, [0, 1, 2, 0, 1]] * 3 / 5)
    own = tmp_path / "five.safetensors"
    write_tensors(own, {name: value + 1 for name, value in five.state_dict().items()})
    again = make_backbone(
        "test_resnet", find_weights("test_resnet", str(own)), kwargs={}, cache_dir=tmp_path, channels=5
    )
    torch.testing.assert_close(again.state_dict()[first], after + 1)


def test_sixteen_bits_are_normalised_before_they_are_rounded_to_bfloat16() -> None:
    """Near the mean two neighbours of 65,536 levels stay apart; bfloat16 before would round both to one."""
    middle = Preprocessing(1, "squash", 1.0, (0.5,) * 3, (0.25,) * 3, 1, bits=16)
    ready = for_inference(Classifier(Means(), 2, middle).eval(), torch.bfloat16)
    ready.features(torch.tensor([[[[32768, 32769, 32770]]]], dtype=torch.uint16))
    expected = (torch.tensor([0.5, 1.5, 2.5]) / (0.25 * 65535)).to(torch.bfloat16)
    assert isinstance(ready.backbone, Means)
    assert ready.backbone.seen.dtype == torch.bfloat16
    torch.testing.assert_close(ready.backbone.seen.flatten(), expected)


def test_sixteen_bits_are_normalised_by_their_white() -> None:
    """The same picture in 8 and in 16 bits is the same to the network."""
    seen = []
    for form in (PixelFormat(2), PixelFormat(2, 16)):
        backbone = Means()
        preprocessing = Preprocessing(5, "squash", 1.0, (0.1, 0.2), (0.4, 0.5), 256, form.bits)
        images = random_images(2, 5)[..., :2].numpy().astype(form.dtype) * (257 if form.bits == 16 else 1)
        Classifier(backbone, 2, preprocessing).features(torch.from_numpy(images))
        seen.append(backbone.seen)
        assert preprocessing.form == form
    torch.testing.assert_close(*seen)
    assert "bits" not in repr(preprocessing)  # stores of features of older versions are named by it
