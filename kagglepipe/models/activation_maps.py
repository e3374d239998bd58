"""Where in an image an output of the classifier comes from: class activation maps."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kagglepipe.models.classifier import Classifier

TOLERANCE = 1e-3  # of the largest feature


class ActivationMaps(NamedTuple):
    """Maps (B, H, W) of an output a image. is_exact: the mean of a map, with the bias added, is the output."""

    maps: Tensor
    is_exact: bool


@torch.no_grad()
def last_map(model: Classifier, images: Tensor) -> Tensor:
    """Compute the backbone's last map, or its tokens, of images (B, S, S, channels), in float32."""
    found: Tensor = model.backbone.forward_features(model.inputs(images))
    return found.float()


def activation_maps(model: Classifier, last: Tensor, weight: Tensor) -> ActivationMaps:
    """Compute the maps of images from their `last_map`. weight: of the output in question in the linear head, (B, F).

    Where features are means of the backbone's last map, or that map itself, an output is a sum over its places, which
    the map shows (Zhou et al. 2016, "Learning deep features for discriminative localization"). Other backbones have
    layers in between: there the last map is weighed by the mean gradient of the output, and its positive part is
    taken (Selvaraju et al. 2017, "Grad-CAM"). A class token that is read alone leaves nothing to show: zeros.
    """
    last = last.detach().requires_grad_()
    features = model.backbone.forward_head(last, pre_logits=True)
    grid = as_grid(last, model.backbone).float()
    size = grid.shape[2] * grid.shape[3]
    scale = features.detach().float().square().mean(dim=1).add(1e-12).rsqrt()[:, None]  # as Classifier.features
    if is_close(grid.mean(dim=(2, 3)), features):
        maps = torch.einsum("bchw,bc->bhw", grid, weight * scale)
        return ActivationMaps(maps.detach(), is_exact=True)
    if is_close(grid.flatten(1), features):
        return ActivationMaps((grid * (weight * scale).view_as(grid)).sum(dim=1).detach() * size, is_exact=True)
    output = (F.rms_norm(features.float(), features.shape[1:], eps=1e-12) * weight).sum()
    (gradient,) = torch.autograd.grad(output, last)
    steepness = as_grid(gradient, model.backbone).float().mean(dim=(2, 3))
    return ActivationMaps(torch.einsum("bchw,bc->bhw", grid, steepness).relu().detach(), is_exact=False)


def is_close(one: Tensor, features: Tensor) -> bool:
    """Whether the features (B, F) are `one`, but for rounding."""
    found = features.detach().float()
    return one.shape == found.shape and bool((one.detach() - found).abs().max() <= TOLERANCE * found.abs().max())


def as_grid(last: Tensor, backbone: nn.Module) -> Tensor:
    """The last map as (B, C, H, W): of tokens (B, T, C), without those before the patches, and of (B, H, W, C)."""
    if last.ndim == 3:
        patches = last[:, int(getattr(backbone, "num_prefix_tokens", 0)) :]
        side = math.isqrt(patches.shape[1])
        return patches[:, : side * side].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    return last.permute(0, 3, 1, 2) if getattr(backbone, "output_fmt", "NCHW") == "NHWC" else last
