"""The only way from decoded images to the squares that a network sees: features, training, validation, prediction."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from kagglepipe.images.decode import Pixels
from kagglepipe.images.view import clean_view

if TYPE_CHECKING:
    from kagglepipe.images.augment import Transform


class Images(Protocol):
    """Decoded images by row: (H, W, 3) uint8, such as a `PixelReader` or a list."""

    def __getitem__(self, row: int, /) -> Pixels: ...


@dataclass(frozen=True)
class Views:
    """Square views of images: `views[row, view]` is (size, size, 3) uint8.

    View 0 is clean; view n > 0 is augmented, drawn by (seed, n, id) alone. Without a transform every view is clean.
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
        """Make view number `view` (size, size, 3) of an image (H, W, 3), such as a frame of a video."""
        if view == 0 or self.transform is None or self.transform.policy == "none":
            return clean_view(image, self.size, crop=self.crop, crop_pct=self.crop_pct)
        return self.transform(image, self.seed, view, id)


def draw_seed(seed: int, epoch: int, id: str) -> int:
    """Derive the 64-bit seed of what is random about `id` in `epoch`."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{epoch}/{id}".encode()).digest()[:8], "little")
