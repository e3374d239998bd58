"""Write the source files of the guards: small images, clips, long videos and series, in tests/guards/sources.

They are committed, since another version of an encoder would write other bytes:

    python -m tests.guards.sources
"""

import shutil
from pathlib import Path

import cv2
import numpy as np

from tests import conftest
from tests.guards.reference import SOURCES


def write_images(folder: Path) -> None:
    """Class folders of 10 JPEGs of 40 × 32 pixels each, red, green and blue noise, and 6 in `test`."""
    rng = np.random.default_rng(0)
    for channel, name in enumerate(("blue", "green", "red")):
        for number in range(12):
            image = rng.integers(0, 120, (32, 40, 3)).astype(np.uint8)
            image[..., channel] += rng.integers(20, 100, dtype=np.uint8)
            path = folder / (name if number < 10 else "test") / f"{name}{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 80])


def main() -> None:
    shutil.rmtree(SOURCES, ignore_errors=True)
    write_images(SOURCES / "images")
    conftest.make_clips(SOURCES / "clips", per_class=4, test=4)
    conftest.make_long_videos(SOURCES / "long", train=4, test=2)
    conftest.make_series(SOURCES / "series", per_class=4, test=4)


if __name__ == "__main__":
    main()
