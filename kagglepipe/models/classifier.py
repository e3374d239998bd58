"""Image classifier: a timm backbone, RMS-normalised features, one linear layer.

Inputs are uint8, or uint16, and channels last, as decoded, and are normalised on the device: a quarter of the bytes to
transfer, in the memory format of the fastest convolutions.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from kagglepipe.errors import UserError
from kagglepipe.images.depth import RGB, PixelFormat
from kagglepipe.images.views import Images, Views
from kagglepipe.models import small_cnn  # noqa: F401  # which timm knows from now on
from kagglepipe.models.weights import Weights, check_model, load_weights, quiet_hub

FOLDING_TOLERANCE = 1e-3  # of the largest feature: far above rounding, far below the error of a wrong pair


@dataclass(frozen=True)
class Preprocessing:
    """Preprocessing of images: resize and crop as in `images.views`, then (x / 255 − mean) / std per channel.

    mean, std: (C,) of the channels. short_side: pixels of the short side to which files are decoded first, as in the
    pixel cache. bits: of a sample; of 16 white is 65535.
    """

    size: int
    crop: str
    crop_pct: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    short_side: int
    bits: int = field(default=8, repr=False)  # features and compiled networks of 8 bits are found by this text

    @property
    def form(self) -> PixelFormat:
        """Format of the images."""
        return PixelFormat(len(self.mean), self.bits)

    def views(self, images: Images = (), **options: Any) -> Views:
        """Views of images in this size and crop; options: `ids`, `transform`, `seed` of `Views`."""
        return Views(images, self.size, self.crop, self.crop_pct, **options)


def make_backbone(
    name: str, weights: Weights, *, kwargs: dict[str, Any], cache_dir: Path, channels: int = RGB.channels
) -> nn.Module:
    """Make a timm model of `channels` without its classifier and load `weights`, adapted as timm does.

    kwargs: of `timm.create_model`. Raises UserError for an unknown model, kwargs that it does not take, or a hub that
    does not answer.
    """
    check_model(name)
    try:
        with quiet_hub() if weights.kind == "hub" else nullcontext():
            backbone = untrained_backbone(name, kwargs, channels, pretrained=weights.kind == "hub")
    except TypeError as error:
        raise UserError(f"model.kwargs={kwargs} do not fit {name}: {error}") from error
    except Exception as error:
        if weights.kind != "hub":
            raise
        is_absent = type(error).__name__ in ("LocalEntryNotFoundError", "OfflineModeIsEnabled")
        why = "no answer, and no copy is here" if is_absent else f"{type(error).__name__}: {str(error)[:150]}"
        raise UserError(
            f"the weights of {name} did not come from the hub ({why}); "
            "give a file with model.weights=FILE.safetensors, or start from nothing with model.weights=none"
        ) from error
    load_weights(backbone, name, weights, cache_dir=cache_dir)
    return backbone


def untrained_backbone(name: str, kwargs: dict[str, Any], channels: int, *, pretrained: bool = False) -> nn.Module:
    """Make a timm model without its classifier that takes images of `channels`; pretrained: with the hub's weights."""
    inputs = {} if channels == RGB.channels else {"in_chans": channels}
    backbone: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=0, **inputs, **kwargs)
    return backbone


def preprocessing_of(
    backbone: nn.Module, *, image_size: int | None, crop: str, short_side: int, form: PixelFormat = RGB
) -> Preprocessing:
    """Make the preprocessing from timm's data configuration of a model; image_size: None for the model's own.

    form: of the images that the model was made for.

    Raises UserError for an `image_size` that the model does not take, such as most transformers.
    """
    data = timm.data.resolve_model_data_config(backbone)
    own = int(data["input_size"][-1])
    size = image_size or own
    if size != own:
        _check_size(backbone, size, own, form.channels)
    crop_pct = float(data["crop_pct"]) if crop == "center" else 1.0
    mean, std = (channel_values(tuple(map(float, data[name])), form.channels) for name in ("mean", "std"))
    return Preprocessing(size, crop, crop_pct, mean, std, short_side, form.bits)


def channel_values(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Convert values of red, green and blue to those of other channels, as `timm.models.adapt_input_conv` does weights.

    Their mean for one channel; repeated for more than three, so that the fourth channel has red's.

    >>> channel_values((0.25, 0.5, 0.75), 1), channel_values((0.25, 0.5, 0.75), 5)
    ((0.5,), (0.25, 0.5, 0.75, 0.25, 0.5))
    """
    return (sum(values) / len(values),) if channels == 1 else tuple(islice(cycle(values), channels))


def _check_size(backbone: nn.Module, size: int, own: int, channels: int) -> None:
    """Raise UserError unless the backbone, made for `own` pixels a side, takes images of `size`."""
    parameter, was_training = next(backbone.parameters()), backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            backbone(torch.zeros(1, channels, size, size, dtype=parameter.dtype, device=parameter.device))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"this network is made for images of {own} pixels and does not take {size} ({str(error).rstrip('.')}): "
            f"type +model.kwargs.img_size={size} in place of model.image_size={size}, or leave it out"
        ) from error
    finally:
        backbone.train(was_training)


class Classifier(nn.Module):
    """Classify images (B, S, S, channels) of uint8 or uint16 -> logits (B, C).

    Features are divided by their root mean square, image by image: brightness and sharpness of a photo scale all of
    its features, and a linear head would take that for evidence.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, classes: int, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.backbone = backbone
        self.preprocessing = preprocessing
        white = np.iinfo(preprocessing.form.dtype).max
        self.register_buffer("mean", torch.tensor(preprocessing.mean) * white, persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std) * white, persistent=False)
        self.head = nn.Linear(feature_size(backbone), classes)

    def inputs(self, images: Tensor) -> Tensor:
        """Normalise images (B, S, S, channels) -> (B, channels, S, S) of the backbone's type."""
        x = (images.to(self.mean.dtype) - self.mean) / self.std
        x = x.permute(0, 3, 1, 2)  # (B, channels, H, W), still channels last in memory
        return x.to(next(self.backbone.parameters()).dtype)

    def features(self, images: Tensor) -> Tensor:
        """Encode images (B, S, S, channels) -> (B, F) float32, root mean square 1 in each row."""
        x = self.backbone(self.inputs(images))
        return F.rms_norm(x.float(), x.shape[1:], eps=1e-12)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


def feature_size(backbone: nn.Module) -> int:
    """Number of features F of an image."""
    return int(getattr(backbone, "head_hidden_size", None) or backbone.num_features)


# --- inference -----------------------------------------------------------------------------------------------------


def for_inference(model: Classifier, dtype: torch.dtype) -> Classifier:
    """Copy the model for faster inference in `dtype`, without gradients, batch norms folded into convolutions.

    With fixed statistics a batch norm scales and shifts each channel, which the weights of the convolution before it
    can do (Jacob et al. 2018, section 3.2). On a CPU EfficientNet-Lite is half as fast again.
    """
    ready = copy.deepcopy(model).eval().requires_grad_(False)
    size, channels = model.preprocessing.size, model.preprocessing.form.channels
    example = torch.randn(1, channels, size, size, generator=torch.Generator().manual_seed(0)).to(
        model.head.weight.device
    )
    ready.backbone = fold_batch_norms(ready.backbone, example).to(dtype=dtype, memory_format=torch.channels_last)
    return ready


@contextmanager
def full_float32() -> Iterator[None]:
    """Disable TF32, which rounds by more than FOLDING_TOLERANCE, within the block."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


@torch.inference_mode()
@full_float32()
def fold_batch_norms(backbone: nn.Module, example: Tensor) -> nn.Module:
    """Fold every batch norm whose input is the output of a convolution.

    The pairs are observed in a forward pass of `example` (1, channels, H, W). If the folded network gives other
    features, the backbone is returned unchanged.
    """
    pairs, before = _observe(backbone, example)
    folded = copy.deepcopy(backbone)
    modules = dict(folded.named_modules())
    for conv_name, norm_name in pairs:
        conv, norm = modules[conv_name], modules[norm_name]
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        parent, _, child = norm_name.rpartition(".")
        setattr(modules[parent], child, getattr(norm, "act", nn.Identity()))  # timm's norms carry an activation
    difference = (folded(example) - before).abs().max()
    return folded if difference <= FOLDING_TOLERANCE * before.abs().max() else backbone


def _observe(backbone: nn.Module, example: Tensor) -> tuple[list[tuple[str, str]], Tensor]:
    """Run `example`: (names of convolutions and of the batch norms on their outputs, features)."""
    made: dict[int, tuple[str, Tensor]] = {}  # the tensors are kept, so that no id is used twice
    pairs: list[tuple[str, str]] = []
    hooks = []
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(lambda _, __, out, n=name: made.update({id(out): (n, out)})))
        elif isinstance(module, nn.BatchNorm2d):

            def feed(_: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                if id(inputs[0]) in made:
                    pairs.append((made[id(inputs[0])][0], name))

            hooks.append(module.register_forward_pre_hook(feed))
    features = backbone(example)
    for hook in hooks:
        hook.remove()
    return pairs, features
