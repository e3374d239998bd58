"""Elastic distortions of drawn characters: turned, scaled, sheared, shifted and bent in one resampling.

Simard, Steinkraus & Platt 2003, "Best practices for convolutional neural networks applied to visual document analysis".
"""

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from kagglepipe.images.decode import Pixels
from kagglepipe.images.depth import GROUP
from kagglepipe.images.views import resize

TURN = np.deg2rad(12)  # largest angle
SHEAR = 0.17  # largest shift of a row, as a share of its distance from the middle
SCALE = 0.12  # largest logarithm of the factor of either side
SHIFT = 0.07  # largest shift, as a share of the side
BEND = 0.02  # standard deviation of the shift of each knot, as a share of the side
KNOTS = 6  # a side, between which shifts are interpolated


def distorted(image: Pixels, size: int, rng: np.random.Generator) -> Pixels:
    """Resize an image (H, W, C) and distort it -> (size, size, C); what comes in from outside repeats the border.

    The point that is shown at p, from the middle, is A·p + shift + bend(p), with A = turn · shear · scale.
    """
    angle, shear, wide, high, right, down = rng.uniform(-1, 1, 6)
    cosine, sine, slant = np.cos(angle * TURN), np.sin(angle * TURN), shear * SHEAR
    transposed = [[cosine, sine], [slant * cosine - sine, slant * sine + cosine]]
    affine = (np.exp([[wide * SCALE], [high * SCALE]]) * transposed).astype(np.float32)
    bend = rng.standard_normal((KNOTS, KNOTS, 2), np.float32) * np.float32(BEND * size)
    field = cv2.resize(bend, (size, size), interpolation=cv2.INTER_CUBIC)
    field += from_middle(size) @ affine
    field += np.float32((size - 1) / 2) + np.array([right, down], np.float32) * np.float32(SHIFT * size)
    return resampled(resize(image, size, size), field)


@cache
def from_middle(size: int) -> NDArray[np.float32]:
    """Positions (size, size, 2) of pixels as (x, y) from the middle.

    >>> from_middle(2)[0].tolist()
    [[-0.5, -0.5], [0.5, -0.5]]
    """
    at = np.arange(size, dtype=np.float32) - (size - 1) / 2
    return np.stack(np.meshgrid(at, at), axis=-1)


def resampled(image: Pixels, at: NDArray[np.float32]) -> Pixels:
    """Read an image (H, W, C) at positions (h, w, 2) as (x, y), linearly between pixels -> (h, w, C)."""
    groups = (np.ascontiguousarray(image[..., n : n + GROUP]) for n in range(0, image.shape[2], GROUP))
    parts = [cv2.remap(one, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for one in groups]
    parts = [part.reshape(*at.shape[:2], -1) for part in parts]
    return np.concatenate(parts, axis=2) if len(parts) > 1 else parts[0]
