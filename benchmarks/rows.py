"""Many rows without a pixel, on drawn thumbnails and features: near-duplicates, folds, frames, scores and submission.

    python benchmarks/rows.py [--rows 1000000] [--copies 1000]

Thumbnails are noise, as different from one another as photos are; --copies of them are there twice, with a little more
noise, and are to be found. All else is `classes.py` with ten classes and eight features; a tenth of the rows is to be
classified.
"""

from argparse import Namespace

import cv2
import numpy as np
from classes import step, whole_way
from measure import make_parser

from kagglepipe.competitions.duplicates import THUMBNAIL_SIDE, near_pairs, thumbnail_hashes

BLURRED_AT_ONCE = 10_000


def draw_thumbnails(rows: int, copies: int) -> np.ndarray:
    """(N, 32, 32) blurred noise, the last `copies` being the first ones once more, not quite the same."""
    random, found = np.random.default_rng(0), np.empty((rows, THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.uint8)
    for start in range(0, rows, BLURRED_AT_ONCE):
        noise = random.standard_normal((min(BLURRED_AT_ONCE, rows - start), THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.float32)
        smooth = np.stack([cv2.GaussianBlur(one, (0, 0), 1.5) for one in noise])
        found[start : start + len(smooth)] = (128 + 200 * smooth).clip(0, 255)
    shift = random.integers(-3, 4, (copies, THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    found[rows - copies :] = (found[:copies].astype(np.int64) + shift).clip(0, 255)
    return found


def main(rows: int, copies: int) -> None:
    """Print the time and memory of each step."""
    thumbnails = draw_thumbnails(rows, copies)
    with step("perceptual hashes"):
        hashes = thumbnail_hashes(thumbnails)
    with step("near-duplicates"):
        pairs = near_pairs(hashes, thumbnails)
    known = pairs[pairs["j"] - pairs["i"] == rows - copies]
    print(f"{len(known)} of {copies} copies found, {len(pairs) - len(known)} other pairs")
    del thumbnails, hashes
    whole_way(Namespace(rows=rows, classes=10, features=8, test_rows=rows // 10))


if __name__ == "__main__":
    options = make_parser(__doc__, rows=1_000_000, copies=1_000).parse_args()
    main(options.rows, options.copies)
