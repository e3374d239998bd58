"""Convolution: y = f(W·x + b), the same W at every place.

course.source=PHOTO: a photo of your own in place of the drawn one.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kagglepipe.course.lesson import Lesson
from kagglepipe.course.pictures import picture
from kagglepipe.errors import UserError
from kagglepipe.files import absolute
from kagglepipe.images.decode import ImageError, Pixels, decode
from kagglepipe.images.views import clean_view
from kagglepipe.models.classifier import Classifier, make_backbone, preprocessing_of
from kagglepipe.models.weights import find_weights
from kagglepipe.samples.camera import photograph
from kagglepipe.samples.objects import smartphone

NETWORK = "tf_efficientnet_lite0"
SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 4  # Sobel & Feldman 1968
FILTERS = {  # each (3, 3)
    "d/dx (Sobel)": SOBEL,
    "d/dy (Sobel)": SOBEL.T,
    "Laplacian": torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]),
}
MAPS = 6  # feature maps shown of a layer
DEPTHS = ("conv_stem", "blocks.1", "blocks.3", "blocks.6")  # layers of the network


def convolve(
    x: Tensor, W: Tensor, b: Tensor, *, stride: int = 1, padding: int = 0, f: Callable[[Tensor], Tensor] = torch.relu
) -> Tensor:
    """Compute y = f(W·x + b) at every place of an image by loops: x (I, H, W) -> y (O, H', W').

        y[o, r, c] = f( Σ_i Σ_u Σ_v  W[o, i, u, v] · x[i, r·stride + u, c·stride + v]  +  b[o] )

    W: (O, I, K, K), O filters that look at K × K pixels of all I channels. b: (O,). padding: rows and columns of zeros
    on each side. Strictly this is a correlation: a convolution would turn W by half a turn.
    """
    filters, _, size, _ = W.shape
    x = F.pad(x, (padding, padding, padding, padding))
    rows, columns = ((side - size) // stride + 1 for side in x.shape[1:])
    y = x.new_zeros(filters, rows, columns)
    for o in range(filters):
        for r in range(rows):
            for c in range(columns):
                window = x[:, r * stride : r * stride + size, c * stride : c * stride + size]
                y[o, r, c] = (W[o] * window).sum() + b[o]  # the same W[o] for every r and c
    return f(y)


def largest_difference(seed: int) -> float:
    """Compare `convolve` with torch's conv2d for several strides and paddings: the largest difference, in float64."""
    draw = torch.Generator().manual_seed(seed)
    found = []
    for stride, padding, size in [(1, 0, 3), (1, 1, 3), (2, 1, 3), (3, 2, 5), (1, 0, 1)]:
        x, W, b = (
            torch.randn(shape, generator=draw, dtype=torch.float64) for shape in ((3, 13, 11), (4, 3, size, size), (4,))
        )
        wanted = torch.relu(F.conv2d(x[None], W, b, stride=stride, padding=padding))[0]
        found.append(float((convolve(x, W, b, stride=stride, padding=padding) - wanted).abs().max()))
    return max(found)


def load_photo(source: str | None, seed: int) -> Pixels:
    """Read a photo, or draw one: (H, W, 3) uint8. Raises UserError for a file that is no photo."""
    if source is None:
        rng = np.random.default_rng(seed)
        return np.asarray(photograph(rng, smartphone(rng)).convert("RGB"))
    try:
        return decode(absolute(source).read_bytes(), short_side=512)
    except (ImageError, OSError) as error:
        raise UserError(f"course.source={source} is no photo ({error}): give one JPEG or PNG file") from error


def edges(photo: Pixels, path: Path) -> None:
    """Draw a photo, filtered by each of FILTERS, and the norm of its gradient."""
    grey = torch.from_numpy(clean_view(photo, 96)).float().mean(dim=2)[None] / 255  # (1, 96, 96)
    W = torch.stack(list(FILTERS.values()))[:, None]  # (O, 1, 3, 3)
    y = convolve(grey, W, torch.zeros(len(W)), padding=1, f=lambda a: a)[:, 1:-1, 1:-1]  # its border is of zeros
    with picture(path, 1, len(FILTERS) + 2) as (_, axes):
        axes[0, 0].imshow(grey[0].numpy(), cmap="gray")
        axes[0, 0].set_title("x")
        for axis, name, one in zip(axes[0, 1:-1], FILTERS, y, strict=True):
            axis.imshow(one.numpy(), cmap="RdBu", vmin=-0.4, vmax=0.4)
            axis.set_title(name)
        axes[0, -1].imshow(y[:2].norm(dim=0).numpy(), cmap="gray_r")
        axes[0, -1].set_title("√(d/dx² + d/dy²)")
        for axis in axes.flat:
            axis.axis("off")


@torch.inference_mode()
def feature_maps(network: Classifier, view: Pixels) -> dict[str, Tensor]:
    """Compute the feature maps (C, H, W) of a view (S, S, 3) at each of DEPTHS."""
    modules, found = dict(network.backbone.named_modules()), {}
    hooks = [
        modules[name].register_forward_hook(lambda _, __, y, name=name: found.update({name: y[0]})) for name in DEPTHS
    ]
    network.features(torch.from_numpy(view)[None].to(network.mean.device))
    for hook in hooks:
        hook.remove()
    return {name: maps.float().cpu() for name, maps in found.items()}


def draw_maps(maps: dict[str, Tensor], path: Path) -> None:
    """Draw the feature maps that vary most, a row for each depth."""
    with picture(path, len(maps), MAPS, width=1.3, height=1.4) as (_, axes):
        for row, (name, of_depth) in zip(axes, maps.items(), strict=True):
            for axis, channel in zip(row, of_depth.flatten(1).std(dim=1).topk(MAPS).indices, strict=True):
                axis.imshow(of_depth[channel].numpy(), cmap="viridis")
                axis.axis("off")
            row[0].set_title(f"{name}: {' × '.join(map(str, of_depth.shape))}", loc="left", fontsize=8)


def run(lesson: Lesson) -> dict[str, Any]:
    """Show what a convolution computes, what it finds, and how few weights it has."""
    photo = load_photo(lesson.options.source, lesson.seed)
    edges(photo, lesson.folder / "edges.png")
    backbone = make_backbone(NETWORK, find_weights(NETWORK), kwargs={}, cache_dir=lesson.folder / "weights")
    preprocessing = preprocessing_of(backbone, image_size=None, crop="squash", short_side=256)
    network = Classifier(backbone, 1, preprocessing).to(lesson.device).eval()
    draw_maps(feature_maps(network, preprocessing.views([photo])[0, 0]), lesson.folder / "maps.png")
    stem, size = dict(backbone.named_modules())["conv_stem"], preprocessing.size
    inputs, outputs = 3 * size**2, stem.out_channels * (size // 2) ** 2
    layers = [module for module in backbone.modules() if isinstance(module, nn.Conv2d)]
    return {
        "largest_difference_from_conv2d": largest_difference(lesson.seed),
        "weights_of_first_convolution": stem.weight.numel(),
        "weights_of_a_dense_layer_in_its_place": inputs * outputs,
        "convolutions_of_the_network": len(layers),
        "weights_of_all_of_them": sum(layer.weight.numel() for layer in layers),
    }
