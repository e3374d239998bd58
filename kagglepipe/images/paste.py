"""Copy-paste augmentation: the object of a photo on another photo, so that backgrounds do not separate classes.

Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation" (2021). There are no
masks here: an object before an even background is cut out, any other photo is pasted whole.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from kagglepipe.images.cache import PixelReader
from kagglepipe.images.decode import Pixels

PASTE = "paste-1"  # version: raise it when the same draw gives other pixels, since feature stores are named by it
SHARE = 0.8  # of the views that are pasted
EVEN = 24  # largest difference of an even background from its median, in any channel
MAX_UNEVEN = 0.25  # share of the border that may differ, where an object reaches it
OBJECT = (0.08, 0.8)  # share of a photo that an object covers; otherwise the cut is not clean
LARGE = (0.55, 0.98)  # size relative to the background
TURN = 30.0  # degrees of rotation to either side
LIGHT = (0.7, 1.15)  # factor of brightness
SHAPE = (0.7, 1.4)  # aspect ratio, width / height, of the background
SIDE = 300  # pixels of the background's long side, at least

Mask = NDArray[np.uint8]  # (H, W), 1 where the object is


@dataclass(frozen=True)
class Backgrounds:
    """Backgrounds for photo `id`: photos of its own fold, so that no fold sees those of another.

    reader: row -> photo (H, W, 3). ids, folds: (N,) of its rows.
    """

    reader: PixelReader
    ids: Sequence[str]
    folds: NDArray[np.int64]

    def __post_init__(self) -> None:
        rows = {int(fold): np.flatnonzero(self.folds == fold) for fold in np.unique(self.folds)}
        object.__setattr__(self, "_rows", {id: rows[int(f)] for id, f in zip(self.ids, self.folds, strict=True)})

    def __call__(self, id: str, number: int) -> Pixels:
        """Background (H, W, 3) for photo `id`; number: any draw of 0, 1, 2, …"""
        rows: NDArray[np.int64] = self._rows[id]  # type: ignore[attr-defined]
        return self.reader[int(rows[number % len(rows)])]


def cut_out(image: Pixels) -> Mask | None:
    """Segment the object of a photo (H, W, 3) whose background is even: mask (H, W), or None."""
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]]).astype(np.int16)
    ground = np.median(border, axis=0)
    if (abs(border - ground).max(axis=1) > EVEN).mean() > MAX_UNEVEN:
        return None
    alike = cv2.inRange(image, np.ceil(ground - EVEN), np.floor(ground + EVEN))
    count, pieces = cv2.connectedComponents(alike)
    is_object = np.ones(count, np.uint8)
    is_object[np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]])] = 0
    is_object[0] = 1  # what is not alike, at the border too
    mask = is_object[pieces]
    square = np.ones((3, 3), np.uint8)
    mask = cv2.erode(cv2.morphologyEx(mask, cv2.MORPH_OPEN, square), square)  # without the seam of the background
    return mask if OBJECT[0] < cv2.countNonZero(mask) / mask.size < OBJECT[1] else None


def pasted(
    image: Pixels, background: Pixels, rng: np.random.Generator, side: int = SIDE, *, mirror: bool = True
) -> Pixels:
    """Paste the object of `image`, or all of it, on `background`, both (H, W, 3) of any size; `side` pixels long.

    Position, size, rotation and brightness are random. mirror: flip half of the objects.
    """
    ground = framed(background, rng.uniform(*SHAPE), side)
    mask = cut_out(image)
    mask = np.ones(image.shape[:2], np.uint8) if mask is None else mask
    height, width = ground.shape[:2]
    thing, mask = turned(
        *trimmed(image, mask), angle=rng.uniform(-TURN, TURN), mirrored=bool(rng.random() < 0.5) and mirror
    )
    scale = rng.uniform(*LARGE) * min(width / thing.shape[1], height / thing.shape[0])
    size = max(1, round(thing.shape[1] * scale)), max(1, round(thing.shape[0] * scale))
    thing = cv2.resize(thing, size, interpolation=cv2.INTER_AREA).astype(np.float32) * rng.uniform(*LIGHT)
    cover = cv2.GaussianBlur(cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA), (3, 3), 0)
    top, left = rng.integers(0, height - size[1] + 1), rng.integers(0, width - size[0] + 1)
    whole = ground.astype(np.float32)
    part = whole[top : top + size[1], left : left + size[0]]
    part += (np.minimum(thing, 255) - part) * cv2.merge([cover] * 3)  # numpy would loop over three channels at a time
    return whole.round().astype(np.uint8)


def framed(image: Pixels, shape: float, side: int = SIDE) -> Pixels:
    """Crop the middle of a photo (H, W, 3) to aspect ratio `shape` and resize its long side to `side` pixels."""
    height, width = image.shape[:2]
    cut_width, cut_height = max(1, min(width, round(height * shape))), max(1, min(height, round(width / shape)))
    left, top = (width - cut_width) // 2, (height - cut_height) // 2
    middle = image[top : top + cut_height, left : left + cut_width]
    scale = side / max(middle.shape[:2])
    size = max(1, round(cut_width * scale)), max(1, round(cut_height * scale))
    return np.asarray(cv2.resize(middle, size, interpolation=cv2.INTER_AREA), np.uint8)


def trimmed(image: Pixels, mask: Mask) -> tuple[Pixels, Mask]:
    """Crop image (H, W, 3) and mask (H, W) to the bounding box of the mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return image[box], mask[box]


def turned(image: Pixels, mask: Mask, *, angle: float, mirrored: bool) -> tuple[Pixels, Mask]:
    """Flip and rotate image (H, W, 3) and mask (H, W), enlarged so that nothing is cut off."""
    height, width = image.shape[:2]
    c, s = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    size = max(1, round(height * s + width * c)), max(1, round(height * c + width * s))
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    matrix[:, 2] += size[0] / 2 - width / 2, size[1] / 2 - height / 2
    flip = slice(None, None, -1 if mirrored else 1)
    image, mask = (cv2.warpAffine(np.ascontiguousarray(one[:, flip]), matrix, size) for one in (image, mask))
    return image, mask
