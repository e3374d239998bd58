"""Augmentation policies and the transform that applies them; the only file that imports albumentations.

A draw depends only on (seed, epoch, id), so that resuming, workers and processes cannot change it.
"""

import os
import random
from collections.abc import Callable
from functools import cache
from threading import get_ident
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network on import

import albumentations as A
import cv2
import numpy as np

from kagglepipe.errors import UserError
from kagglepipe.images.decode import Pixels
from kagglepipe.images.paste import SHARE, SIDE, Backgrounds, pasted
from kagglepipe.images.views import draw_seed

Steps = list[A.BasicTransform | A.BaseCompose]


def none(size: int) -> Steps:
    """No augmentation."""
    return []


def light(size: int) -> Steps:
    """Random crops and flips, a little colour: for fine-tuning at a small learning rate."""
    return [
        A.RandomResizedCrop((size, size), scale=(0.6, 1.0), ratio=(3 / 4, 4 / 3), interpolation=cv2.INTER_LINEAR),
        A.HorizontalFlip(p=0.5),
        A.ColorJitter(brightness=0.15, contrast=0.15, saturation=0.15, hue=0.02, p=0.5),
    ]


def strong(size: int) -> Steps:
    """Tight crops, rotation, colour, blur, noise and holes."""
    return [
        A.RandomResizedCrop((size, size), scale=(0.35, 1.0), ratio=(2 / 3, 3 / 2), interpolation=cv2.INTER_LINEAR),
        A.HorizontalFlip(p=0.5),
        A.Affine(rotate=(-25, 25), shear=(-8, 8), border_mode=cv2.BORDER_REFLECT_101, p=0.5),
        A.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.05, p=0.8),
        A.OneOf([A.GaussianBlur(blur_limit=(3, 7)), A.GaussNoise(std_range=(0.02, 0.1))], p=0.3),
        A.ToGray(p=0.1),
        A.CoarseDropout(num_holes_range=(1, 4), hole_height_range=(0.05, 0.2), hole_width_range=(0.05, 0.2), p=0.3),
    ]


def resolution(size: int) -> Steps:
    """Light, then random downscaling and compression, so that neither sharpness nor JPEG quality separates classes.

    They follow the crop, when all images have one size: before it, small images would stay recognisable by their blur.
    """
    return [
        *light(size),
        A.Downscale(
            scale_range=(0.25, 1.0),
            interpolation_pair={"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_LINEAR},
            p=0.8,
        ),
        A.ImageCompression(quality_range=(30, 95), p=0.8),
    ]


POLICIES: dict[str, Callable[[int], Steps]] = {
    "none": none,
    "light": light,
    "strong": strong,
    "resolution": resolution,
    "paste": strong,  # after `Transform` has pasted the photo's object on another photo (images.paste)
}


def make_steps(policy: str, size: int, *, mirror: bool = True) -> Steps:
    """Make the transforms of a policy; without `mirror`, no horizontal flips."""
    return [step for step in POLICIES[policy](size) if mirror or not isinstance(step, A.HorizontalFlip)]


class Transform:
    """A policy at one size: `transform(image, seed, epoch, id)` -> (size, size, 3) uint8.

    policy: a name in POLICIES; raises UserError otherwise. mirror: as in `make_steps`.
    backgrounds: photos on which `paste` pastes objects; None pastes nothing.
    """

    def __init__(self, policy: str, size: int, *, mirror: bool = True, backgrounds: Backgrounds | None = None) -> None:
        if policy not in POLICIES:
            raise UserError(f"augmentation.policy={policy} is unknown; choose one of: {', '.join(POLICIES)}")
        self.policy, self.size, self.mirror = policy, size, mirror
        self.backgrounds = backgrounds if policy == "paste" else None

    def __call__(self, image: Pixels, seed: int, epoch: int, id: str) -> Pixels:
        """Augment an image (H, W, 3); the result depends only on (seed, epoch, id)."""
        number = draw_seed(seed, epoch, id)
        if self.backgrounds is not None:
            rng = np.random.default_rng(number)
            if rng.random() < SHARE:
                side = max(SIDE, self.size)  # a larger network needs larger pictures
                background = self.backgrounds(id, int(rng.integers(2**31)))
                image = pasted(image, background, rng, side, mirror=self.mirror)
        compose = composed(self.policy, self.size, self.mirror, get_ident())
        compose.set_random_state(np.random.default_rng(number), random.Random(number))
        view: Pixels = compose(image=self._bounded(image))["image"]
        return view

    def serialised(self) -> dict[str, Any]:
        """Serialise the policy for `A.from_dict`."""
        serialised: dict[str, Any] = A.to_dict(A.Compose(make_steps(self.policy, self.size, mirror=self.mirror)))
        return serialised

    def _bounded(self, image: Pixels) -> Pixels:
        # colour and compression of a 4,000-pixel strip would cost more than the network
        height, width = image.shape[:2]
        longest = 2 * self.size
        if max(height, width) <= longest:
            return np.ascontiguousarray(image)
        scale = longest / max(height, width)
        shape = (max(1, round(width * scale)), max(1, round(height * scale)))
        return cv2.resize(image, shape, interpolation=cv2.INTER_AREA)


@cache
def composed(policy: str, size: int, mirror: bool, thread: int) -> A.Compose:
    """Compose the policy once a thread: seeding and transforming are two steps that must not interleave."""
    return A.Compose(make_steps(policy, size, mirror=mirror))
