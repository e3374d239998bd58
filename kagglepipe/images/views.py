"""The only way from decoded images to the squares that a network sees: features, training, validation, prediction."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from kagglepipe.images.decode import Pixels
from kagglepipe.images.depth import resized

if TYPE_CHECKING:
    from kagglepipe.images.augment import Transform


class Images(Protocol):
    """Decoded images by row: (H, W, C) uint8 or uint16, such as a `PixelReader` or a list."""

    def __getitem__(self, row: int, /) -> Pixels: ...


TURNS: dict[str, Callable[[Pixels], Pixels]] = {  # of the clean view, for test-time augmentation
    "flip": lambda view: view[:, ::-1],
    "vertical": lambda view: view[::-1],
    "transpose": lambda view: view.swapaxes(0, 1),
}


def turned_view(name: str) -> int:
    """Number of the view that is the clean one turned by TURNS[name].

    >>> turned_view("flip")
    -1
    """
    return -1 - list(TURNS).index(name)


@dataclass(frozen=True)
class Views:
    """Square views of images: `views[row, view]` is (size, size, C), of the type of the images.

    View 0 is clean, those below it are the clean one turned (TURNS); view n > 0 is augmented, drawn only by (seed, n,
    id). Without a transform every view is clean.
    size, crop, crop_pct: as in `clean_view`. ids: of the rows, needed by augmented views.
    """

    images: Images
    size: int
    crop: str = "squash"
    crop_pct: float = 1.0
    ids: Sequence[str] = ()
    transform: "Transform | None" = None
    seed: int = 0

    def __getitem__(self, key: tuple[int, int]) -> Pixels:
        row, view = key
        return self.apply(self.images[row], view, self.ids[row] if self.ids else "")

    def apply(self, image: Pixels, view: int = 0, id: str = "") -> Pixels:
        """Make view number `view` (size, size, C) of an image (H, W, C), such as a frame of a video."""
        if view < 0:
            return np.ascontiguousarray(list(TURNS.values())[-1 - view](self.apply(image)))
        if view == 0 or self.transform is None or self.transform.policy == "none":
            return clean_view(image, self.size, crop=self.crop, crop_pct=self.crop_pct)
        return self.transform(image, self.seed, view, id)


def draw_seed(seed: int, epoch: int, id: str) -> int:
    """Derive the 64-bit seed of the random draws for `id` in `epoch`."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{epoch}/{id}".encode()).digest()[:8], "little")


def clean_view(image: Pixels, size: int, *, crop: str = "squash", crop_pct: float = 1.0) -> Pixels:
    """Make the clean view (size, size, C) of an image (H, W, C).

    crop: `squash` shows the whole image, its aspect given up; `center` scales the short side to size / crop_pct
        and cuts the middle; `border` scales the long side to `size` and fills the rest with grey.
    """
    if crop == "squash":
        return resize(image, size, size)
    height, width = image.shape[:2]
    if crop == "center":
        image = middle(image, min(height, width))  # before resizing: a long strip would grow too large
        scaled = max(size, round(size / crop_pct))
        return middle(resize(image, scaled, scaled), size)
    scale = size / max(height, width)
    image = resize(image, max(1, round(width * scale)), max(1, round(height * scale)))
    top, left = (size - image.shape[0]) // 2, (size - image.shape[1]) // 2
    square = np.full((size, size, image.shape[2]), np.iinfo(image.dtype).max // 2, image.dtype)  # grey
    square[top : top + image.shape[0], left : left + image.shape[1]] = image
    return square


def middle(image: Pixels, side: int) -> Pixels:
    """Crop the middle square (side, side, C) of an image (H, W, C)."""
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]


def resize(image: Pixels, width: int, height: int) -> Pixels:
    """Resize to (height, width, C): INTER_AREA where it shrinks, then bicubic where it grows, each side on its own."""
    small_width, small_height = min(width, image.shape[1]), min(height, image.shape[0])
    if (small_width, small_height) != (image.shape[1], image.shape[0]):
        image = resized(image, (small_width, small_height), cv2.INTER_AREA)
    if (width, height) != (small_width, small_height):
        image = resized(image, (width, height), cv2.INTER_CUBIC)
    return image
