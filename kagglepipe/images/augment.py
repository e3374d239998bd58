"""Augmentation policies, and the one transform object that trains, previews and caches views.

Randomness has no state: a draw is a function of (seed, epoch, id), so resuming, worker counts and processes
cannot change it. Only this file knows albumentations.
"""

import hashlib
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
from kagglepipe.images.paste import SHARE, SIDE, Backdrops, pasted
from kagglepipe.images.view import clean_view

Steps = list[A.BasicTransform | A.BaseCompose]


def none(size: int) -> Steps:
    """No augmentation: the clean view."""
    return []


def light(size: int) -> Steps:
    """Random framing and mirror, a little colour: what fine-tuning at a small rate bears well."""
    return [
        A.RandomResizedCrop((size, size), scale=(0.6, 1.0), ratio=(3 / 4, 4 / 3), interpolation=cv2.INTER_LINEAR),
        A.HorizontalFlip(p=0.5),
        A.ColorJitter(brightness=0.15, contrast=0.15, saturation=0.15, hue=0.02, p=0.5),
    ]


def strong(size: int) -> Steps:
    """Hard framing, rotation, colour, blur, noise and holes."""
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
    """Light, then a random loss of detail: neither sharpness nor compression may tell the classes apart.

    The loss comes after the framing, when every image has the same size: before it, an image that was small to
    begin with would stay recognisable by its blur.
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


def paste(size: int) -> Steps:
    """Strong, on the photo's object put before another photo (images.paste), which `Transform` does first."""
    return strong(size)


POLICIES: dict[str, Callable[[int], Steps]] = {
    "none": none,
    "light": light,
    "strong": strong,
    "resolution": resolution,
    "paste": paste,
}


def make_steps(policy: str, size: int, *, mirror: bool = True) -> Steps:
    """The transforms of a policy; mirror: whether to mirror half of the views, where the policy does."""
    return [step for step in POLICIES[policy](size) if mirror or not isinstance(step, A.HorizontalFlip)]


class Transform:
    """A policy at one size: `transform(image, seed, epoch, id)` -> (size, size, 3) uint8.

    policy: a name in POLICIES; raises UserError otherwise. mirror: as in `make_steps`.
    size, crop, crop_pct: the clean view, which `none` gives and `clean` returns.
    backdrops: what `paste` puts photos before; without them it pastes nothing.
    """

    def __init__(
        self,
        policy: str,
        size: int,
        *,
        mirror: bool = True,
        crop: str = "squash",
        crop_pct: float = 1.0,
        backdrops: Backdrops | None = None,
    ) -> None:
        if policy not in POLICIES:
            raise UserError(f"augmentation.policy={policy} is unknown; choose one of: {', '.join(POLICIES)}")
        self.policy, self.size, self.mirror, self.crop, self.crop_pct = policy, size, mirror, crop, crop_pct
        self.backdrops = backdrops if policy == "paste" else None

    def __call__(self, image: Pixels, seed: int, epoch: int, id: str) -> Pixels:
        """The augmented view that belongs to (seed, epoch, id): always the same one."""
        if self.policy == "none":
            return self.clean(image)
        number = draw(seed, epoch, id)
        if self.backdrops is not None:
            rng = np.random.default_rng(number)
            if rng.random() < SHARE:
                side = max(SIDE, self.size)  # a network that sees more pixels is to see them here too
                backdrop = self.backdrops(id, int(rng.integers(2**31)))
                image = pasted(image, backdrop, rng, side, mirror=self.mirror)
        compose = composed(self.policy, self.size, self.mirror, get_ident())
        compose.set_random_state(np.random.default_rng(number), random.Random(number))
        view: Pixels = compose(image=self._bounded(image))["image"]
        return view

    def clean(self, image: Pixels) -> Pixels:
        """The view without augmentation."""
        return clean_view(image, self.size, crop=self.crop, crop_pct=self.crop_pct)

    def serialised(self) -> dict[str, Any]:
        """The policy in albumentations' own form, which `A.from_dict` reads."""
        serialised: dict[str, Any] = A.to_dict(A.Compose(make_steps(self.policy, self.size, mirror=self.mirror)))
        return serialised

    def _bounded(self, image: Pixels) -> Pixels:
        # colour and compression of a 4,000-pixel strip would cost more than the network; the view has `size` pixels
        height, width = image.shape[:2]
        longest = 2 * self.size
        if max(height, width) <= longest:
            return np.ascontiguousarray(image)
        scale = longest / max(height, width)
        shape = (max(1, round(width * scale)), max(1, round(height * scale)))
        return cv2.resize(image, shape, interpolation=cv2.INTER_AREA)


@cache
def composed(policy: str, size: int, mirror: bool, thread: int) -> A.Compose:
    """The policy's transforms, one set a thread: a draw is set and used in two steps that must not interleave."""
    return A.Compose(make_steps(policy, size, mirror=mirror))


def draw(seed: int, epoch: int, id: str) -> int:
    """The number that seeds the augmentation of `id` in `epoch`."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{epoch}/{id}".encode()).digest()[:8], "little")
