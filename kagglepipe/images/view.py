"""The clean view: how an image becomes the square that a network sees when nothing is augmented.

The model's checkpoint says which size and crop. Validation, test and prediction all use it.
"""

import cv2

from kagglepipe.images.decode import Pixels

CROPS = ("squash", "center", "border")


def clean_view(image: Pixels, size: int, *, crop: str = "squash", crop_pct: float = 1.0) -> Pixels:
    """The image as (size, size, 3).

    crop: `squash` shows the whole image, its aspect given up; `center` scales the short side to size / crop_pct
        and cuts the middle; `border` scales the long side to `size` and fills the rest with grey.
    """
    if crop == "squash":
        return resize(image, size, size)
    height, width = image.shape[:2]
    if crop == "center":
        image = middle(image, min(height, width))  # first, since a strip would grow beyond all bounds
        scaled = max(size, round(size / crop_pct))
        return middle(resize(image, scaled, scaled), size)
    scale = size / max(height, width)
    image = resize(image, max(1, round(width * scale)), max(1, round(height * scale)))
    down, right = size - image.shape[0], size - image.shape[1]
    grey = (127, 127, 127)
    return cv2.copyMakeBorder(
        image, down // 2, down - down // 2, right // 2, right - right // 2, cv2.BORDER_CONSTANT, value=grey
    )


def middle(image: Pixels, side: int) -> Pixels:
    """The square of `side` pixels in the middle."""
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]


def resize(image: Pixels, width: int, height: int) -> Pixels:
    """The image as (height, width, 3): averaged over areas where it shrinks, bicubic where it grows.

    One side may shrink while the other grows, as in a strip, so that the two are done one after the other.
    """
    small_width, small_height = min(width, image.shape[1]), min(height, image.shape[0])
    if (small_width, small_height) != (image.shape[1], image.shape[0]):
        image = cv2.resize(image, (small_width, small_height), interpolation=cv2.INTER_AREA)
    if (width, height) != (small_width, small_height):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
    return image
