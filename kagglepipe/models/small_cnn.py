"""A small network of our own for small pictures, to be trained from nothing; timm knows it as `digits_cnn`."""

from itertools import pairwise
from typing import Any

from timm.layers import ScaledStdConv2d
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from kagglepipe.models.weights import OWN

RELU_GAIN = 1.7139588594436646  # 1 / standard deviation of a normal variable after ReLU
SIDE = 3  # of the last map

size, crop_pct = OWN["digits_cnn"]
default_cfgs = generate_default_cfgs(
    {
        "digits_cnn.untrained": {
            "input_size": (3, size, size), "crop_pct": crop_pct, "mean": (0.13,) * 3, "std": (0.31,) * 3,
            "num_classes": 0, "first_conv": "stages.0.0", "classifier": None,
        }
    }
)  # fmt: skip


class SmallCnn(nn.Module):
    """Encode images (B, in_chans, H, W) -> features (B, 36·width): three stages of two 3×3 convolutions.

    Each stage is twice as wide as the one before, and ends in maxima over 2×2 pixels, the last in a map of 3×3. In
    place of batch norms weights are standardised (Brock et al. 2021, "Characterizing signal propagation to close the
    performance gap in unnormalized ResNets"): nothing mixes the rows of a batch, and no statistics have to be learnt.
    num_classes: 0, since a classifier stands on the features.
    """

    def __init__(self, num_classes: int = 0, in_chans: int = 3, width: int = 32) -> None:
        super().__init__()
        if num_classes:
            raise ValueError("digits_cnn gives features: num_classes must be 0")
        pools = [nn.MaxPool2d(2), nn.MaxPool2d(2), nn.AdaptiveMaxPool2d(SIDE)]
        widths = pairwise((in_chans, width, 2 * width, 4 * width))
        self.stages = nn.Sequential(*(stage(*ends, pool) for ends, pool in zip(widths, pools, strict=True)))
        self.num_classes, self.num_features = 0, 4 * width * SIDE**2

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """The last map, (B, 4·width, 3, 3)."""
        features: Tensor = self.stages(x)
        return features

    def forward_head(self, x: Tensor, pre_logits: bool = True) -> Tensor:
        """Features of the last map; `pre_logits` is timm's word, and changes nothing here."""
        return x.flatten(1)

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Name the layers for timm's layer-wise rates."""
        return {"stem": "^$", "blocks": r"^stages\.(\d+)"}


def stage(inputs: int, outputs: int, pool: nn.Module) -> nn.Sequential:
    """Two convolutions, each with ReLU, and a pooling."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [ScaledStdConv2d(channels, outputs, 3, padding=1, gamma=RELU_GAIN), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, pool)


@register_model
def digits_cnn(pretrained: bool = False, **kwargs: Any) -> SmallCnn:
    """Make the network; it has no pretrained weights. kwargs: of `SmallCnn`."""
    made: SmallCnn = build_model_with_cfg(SmallCnn, "digits_cnn", pretrained, **kwargs)
    return made
