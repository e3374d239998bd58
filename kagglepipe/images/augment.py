"""Augmentation policies and the transform that applies them; the only file that imports albumentations.

A draw depends only on (seed, epoch, id), so that resuming, workers and processes cannot change it.
"""

import json
import logging
import os
import random
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from threading import get_ident
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network on import

import albumentations as A
import cv2
import numpy as np

from kagglepipe.errors import UserError
from kagglepipe.images.decode import Pixels
from kagglepipe.images.depth import RGB, PixelFormat, resized
from kagglepipe.images.elastic import distorted
from kagglepipe.images.paste import SHARE, SIDE, Backgrounds, pasted
from kagglepipe.images.policy_file import is_policy_file, read_policy
from kagglepipe.images.views import draw_seed, resize

log = logging.getLogger(__name__)
Steps = list[A.BasicTransform | A.BaseCompose]
FOREIGN = ("Lambda", "TextImage")  # need code, or read other files
OF_RGB = (A.ColorJitter, A.ToGray, A.ImageCompression, A.Downscale, A.GaussNoise)  # or up to four channels of 8 bits
TRIALS = 8  # draws by which a policy of the user's own is tried


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


def dihedral(size: int) -> Steps:
    """The eight flips and rotations of a square, as likely each: for microscopes and satellites, which have no up."""
    return [
        A.RandomRotate90(p=1.0),
        A.HorizontalFlip(p=0.5),
        A.Resize(size, size, interpolation=cv2.INTER_CUBIC, area_for_downscale="image"),
    ]


class Elastic(A.ImageOnlyTransform):
    """`elastic.distorted` as a transform of albumentations."""

    def __init__(self, size: int, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.size = size

    def apply(self, img: Pixels, **params: Any) -> Pixels:
        """Distort an image (H, W, C) -> (size, size, C)."""
        return distorted(img, self.size, self.random_generator)


def elastic(size: int) -> Steps:
    """Small turns, scales, shears, shifts and bends: for drawn characters, in a tenth of a millisecond at 28 pixels."""
    return [Elastic(size)]


POLICIES: dict[str, Callable[[int], Steps]] = {
    "none": none,
    "light": light,
    "strong": strong,
    "resolution": resolution,
    "dihedral": dihedral,
    "elastic": elastic,
    "paste": strong,  # after `Transform` has pasted the photo's object on another photo (images.paste)
}


def make_steps(policy: str, size: int, *, mirror: bool = True, form: PixelFormat = RGB) -> Steps:
    """Make the transforms of a policy that images of `form` can have; without `mirror`, no horizontal flips."""
    steps = [step for step in POLICIES[policy](size) if mirror or not isinstance(step, A.HorizontalFlip)]
    if form == RGB:
        return steps
    fitting = [with_fitting(step, form) if isinstance(step, A.OneOf) else step for step in steps]
    return [step for step in fitting if not is_unfit(step, form)]


def with_fitting(step: A.OneOf, form: PixelFormat) -> A.OneOf:
    """The choice among those of its transforms that images of `form` can have."""
    return A.OneOf([one for one in step.transforms if not is_unfit(one, form)], p=step.p)


def is_unfit(step: A.BasicTransform | A.BaseCompose, form: PixelFormat) -> bool:
    """Whether a transform of ours cannot be made of images of `form`: grey has no hue, and others are not photos."""
    return form != RGB and isinstance(step, A.ToGray if form == PixelFormat(1) else OF_RGB)


def flat(steps: Steps) -> Iterator[A.BasicTransform]:
    """Iterate over transforms and those in them."""
    for step in steps:
        yield from flat(step.transforms) if isinstance(step, A.BaseCompose) else (step,)


class Transform:
    """A policy at one size: `transform(image, seed, epoch, id)` -> (size, size, C).

    policy: a name in POLICIES, or a file as `policy_file` reads it, which is read here, once. mirror: as in
    `make_steps`. backgrounds: photos on which `paste` pastes objects; None pastes nothing. form: of the images.
    Raises UserError for an unknown policy, and for a file as `own_policy`, or if it
    fails at this size and form, or gives images of another.
    """

    def __init__(
        self,
        policy: str,
        size: int,
        *,
        mirror: bool = True,
        backgrounds: Backgrounds | None = None,
        form: PixelFormat = RGB,
    ) -> None:
        own = own_policy(policy, mirror=mirror) if is_policy_file(policy) else None
        if own is None and policy not in POLICIES:
            raise UserError(f"augmentation.policy={policy} is unknown; choose one of: {', '.join(POLICIES)}")
        self.policy, self.size, self.mirror, self.form = policy, size, mirror, form
        self.own = None if own is None else json.dumps(own, sort_keys=True)  # text, since `composed` is cached
        self.backgrounds = backgrounds if policy == "paste" else None
        if self.own is not None:
            self._try()
        elif left := sorted({type(step).__name__ for step in flat(POLICIES[policy](size)) if is_unfit(step, form)}):
            log.info("augmentation=%s: without %s, which need RGB of 8 bits", policy, ", ".join(left))

    def __call__(self, image: Pixels, seed: int, epoch: int, id: str) -> Pixels:
        """Augment an image (H, W, C); the result depends only on (seed, epoch, id)."""
        number = draw_seed(seed, epoch, id)
        if self.backgrounds is not None:
            rng = np.random.default_rng(number)
            if rng.random() < SHARE:
                side = max(SIDE, self.size)  # a larger network needs larger pictures
                background = self.backgrounds(id, int(rng.integers(2**31)))
                image = pasted(image, background, rng, side, mirror=self.mirror)
        if self.own is None:
            compose = composed(self.policy, self.size, self.mirror, self.form, get_ident())
        else:
            compose = composed_own(self.own, get_ident())
        compose.set_random_state(np.random.default_rng(number), random.Random(number))
        bounded = self._bounded(image)
        view: Pixels = compose(image=bounded)["image"]
        return view if self.own is None else squared(view, bounded, self.size, self.policy)

    def serialised(self) -> dict[str, Any]:
        """Serialise the policy for `A.from_dict`."""
        if self.own is not None:
            own: dict[str, Any] = json.loads(self.own)
            return own
        serialised: dict[str, Any] = A.to_dict(
            A.Compose(make_steps(self.policy, self.size, mirror=self.mirror, form=self.form))
        )
        return serialised

    def _try(self) -> None:
        """Draw a policy of the user's own on a square and on a rectangle."""
        form = self.form
        for width in (self.size, 2 * self.size):
            shape = (self.size, width, form.channels)
            image = np.random.default_rng(0).integers(0, 2**form.bits, shape, form.dtype)
            for number in range(TRIALS):
                try:
                    self(image, number, 1, "")
                except UserError:
                    raise
                except Exception as error:  # of any transform
                    size, why = f"{width} x {self.size}", in_one_line(error)
                    raise UserError(f"augmentation.policy={self.policy} fails on a picture of {size}: {why}") from error

    def _bounded(self, image: Pixels) -> Pixels:
        # colour and compression of a 4,000-pixel strip would cost more than the network
        height, width = image.shape[:2]
        longest = 2 * self.size
        if max(height, width) <= longest:
            return np.ascontiguousarray(image)
        scale = longest / max(height, width)
        shape = (max(1, round(width * scale)), max(1, round(height * scale)))
        return resized(image, shape, cv2.INTER_AREA)


@cache
def composed(policy: str, size: int, mirror: bool, form: PixelFormat, thread: int) -> A.Compose:
    """Compose the policy once a thread: seeding and transforming are two steps that must not interleave."""
    return A.Compose(make_steps(policy, size, mirror=mirror, form=form))


# --- a policy of the user's own --------------------------------------------------------------------------------------


@cache
def composed_own(policy: str, thread: int) -> A.Compose:
    """Compose a serialised policy, as JSON, once a thread."""
    made = A.from_dict(json.loads(policy))
    return made if isinstance(made, A.Compose) else A.Compose([made])


def own_policy(policy: str, *, mirror: bool = True) -> dict[str, Any]:
    """Read a policy of the user's own.

    Raises UserError, in one line, for a name that is no transform of albumentations, arguments that it does not take,
    and a policy that changes no images.
    """
    values, name = read_policy(policy), f"augmentation.policy={policy}"
    if not mirror:
        raise UserError(f"augmentation.mirror=false is of the package's policies: leave flips out of {policy} instead")
    for one in transforms_of(values["transform"], name):
        kind = one["__class_fullname__"].rpartition(".")[2]
        found = getattr(A, kind, None)
        if kind in FOREIGN or not (isinstance(found, type) and issubclass(found, A.BasicTransform | A.BaseCompose)):
            raise UserError(f"{name} names {one['__class_fullname__']}, which is no transform that a file can describe")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # such as an argument that is not known, which would be left out
            compose = composed_own(json.dumps(values, sort_keys=True), get_ident())
    except Exception as error:  # of albumentations and pydantic, of any type
        raise UserError(f"{name} cannot be made: {in_one_line(error)}") from error
    if not any(has_image_target(step) for step in compose.transforms):
        raise UserError(f"{name} changes no image: none of its transforms has the target `image`")
    return values


def transforms_of(value: Any, name: str) -> Iterator[dict[str, Any]]:
    """Iterate over a serialised transform and those in it. Raises UserError for what is none; name: of the policy."""
    if not isinstance(value, dict) or not isinstance(value.get("__class_fullname__"), str):
        raise UserError(f"{name} has {str(value)[:60]!r} where a transform needs `__class_fullname__:`")
    yield value
    for inner in value.get("transforms") or ():
        yield from transforms_of(inner, name)


def has_image_target(step: Any) -> bool:
    """Whether a transform, or one in it, changes images."""
    if isinstance(step, A.BaseCompose):
        return any(has_image_target(one) for one in step.transforms)
    return "image" in step.targets and not isinstance(step, A.NoOp)


def squared(view: Any, image: Pixels, size: int, policy: str) -> Pixels:
    """The view (size, size, C) that a policy of the user's own has made of `image`.

    A policy that leaves the size of pictures alone, or turns them, is followed by a resize. Raises UserError for any
    other size, and for what is no picture.
    """
    if (
        not isinstance(view, np.ndarray)
        or view.dtype != image.dtype
        or view.ndim != 3
        or view.shape[2] != image.shape[2]
    ):
        kind = f"{view.dtype} of shape {view.shape}" if isinstance(view, np.ndarray) else type(view).__name__
        raise UserError(
            f"augmentation.policy={policy} gives {kind}, the network needs {image.dtype} of shape "
            f"{(size, size, image.shape[2])}: leave out what normalises or makes tensors"
        )
    if view.shape[:2] == (size, size):
        return view
    if view.shape[:2] in (image.shape[:2], image.shape[1::-1]):
        return resize(view, size, size)
    raise UserError(
        f"augmentation.policy={policy} gives pictures of {view.shape[1]} x {view.shape[0]}, the network sees {size} x "
        f"{size}: write that size in the file, or type model.image_size={view.shape[0]}"
    )


def in_one_line(error: Exception) -> str:
    """The first 200 characters of an error's text, or its type."""
    return " ".join(str(error).split())[:200] or type(error).__name__
