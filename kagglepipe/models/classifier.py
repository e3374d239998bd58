"""Image classifier: a timm backbone, RMS-normalised features, one linear layer.

Inputs are uint8 and channels last, as decoded, and are normalised on the device: a quarter of the bytes to transfer, in
the memory format of the fastest convolutions.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kagglepipe.errors import UserError
from kagglepipe.images.views import Images, Views
from kagglepipe.models.weights import Weights, check_model, load_weights, quiet_hub


@dataclass(frozen=True)
class Preprocessing:
    """Preprocessing of images: resize and crop as in `images.views`, then (x / 255 − mean) / std per channel.

    short_side: pixels of the short side to which files are decoded first, as in the pixel cache.
    """

    size: int
    crop: str
    crop_pct: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    short_side: int

    def views(self, images: Images = (), **options: Any) -> Views:
        """Views of images in this size and crop; options: `ids`, `transform`, `seed` of `Views`."""
        return Views(images, self.size, self.crop, self.crop_pct, **options)


def make_backbone(name: str, weights: Weights, *, kwargs: dict[str, Any], cache_dir: Path) -> nn.Module:
    """Make a timm model without its classifier and load `weights`.

    kwargs: of `timm.create_model`. Raises UserError for an unknown model, kwargs that it does not take, or a hub that
    does not answer.
    """
    check_model(name)
    try:
        with quiet_hub() if weights.kind == "hub" else nullcontext():
            backbone: nn.Module = timm.create_model(name, pretrained=weights.kind == "hub", num_classes=0, **kwargs)
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


def preprocessing_of(backbone: nn.Module, *, image_size: int | None, crop: str, short_side: int) -> Preprocessing:
    """Make the preprocessing from timm's data configuration of a model; image_size: None for the model's own.

    Raises UserError for an `image_size` that the model does not take, such as most transformers.
    """
    data = timm.data.resolve_model_data_config(backbone)
    own = int(data["input_size"][-1])
    size = image_size or own
    if size != own:
        _check_size(backbone, size, own)
    crop_pct = float(data["crop_pct"]) if crop == "center" else 1.0
    mean, std = tuple(map(float, data["mean"])), tuple(map(float, data["std"]))
    return Preprocessing(size, crop, crop_pct, mean, std, short_side)


def _check_size(backbone: nn.Module, size: int, own: int) -> None:
    """Raise UserError unless the backbone, made for `own` pixels a side, takes images of `size`."""
    parameter, was_training = next(backbone.parameters()), backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            backbone(torch.zeros(1, 3, size, size, dtype=parameter.dtype, device=parameter.device))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"this network is made for images of {own} pixels and does not take {size} ({str(error).rstrip('.')}): "
            f"type +model.kwargs.img_size={size} in place of model.image_size={size}, or leave it out"
        ) from error
    finally:
        backbone.train(was_training)


class Classifier(nn.Module):
    """Classify images (B, S, S, 3) uint8 -> logits (B, C).

    Features are divided by their root mean square, image by image: brightness and sharpness of a photo scale all of
    its features, and a linear head would take that for evidence.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, classes: int, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.backbone = backbone
        self.preprocessing = preprocessing
        self.register_buffer("mean", torch.tensor(preprocessing.mean) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std) * 255, persistent=False)
        self.head = nn.Linear(feature_size(backbone), classes)

    def features(self, images: Tensor) -> Tensor:
        """Encode images (B, S, S, 3) uint8 -> (B, F) float32, root mean square 1 in each row."""
        x = (images.to(self.mean.dtype) - self.mean) / self.std
        x = x.permute(0, 3, 1, 2)  # (B, 3, H, W), still channels last in memory
        x = self.backbone(x.to(next(self.backbone.parameters()).dtype))
        return F.rms_norm(x.float(), x.shape[1:], eps=1e-12)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


def feature_size(backbone: nn.Module) -> int:
    """Number of features F of an image."""
    return int(getattr(backbone, "head_hidden_size", None) or backbone.num_features)
