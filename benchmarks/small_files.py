"""Many small files: what `prepare` costs beside bare decoding, and its peak memory.

    python benchmarks/small_files.py [--files 220000] [--pictures 20000] [--rounds 1]

Draws TIFF files of 96 × 96 pixels, as of tissue: `--pictures` different ones, and the same ones shifted. Bare decoding
is the same function on the same files with as many threads, in the same run, before and after.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from measure import make_parser, run_process, seconds

from kagglepipe.images.decode import decode
from kagglepipe.images.pixel_table import read_image_bytes
from kagglepipe.parallel import parallel_map

SIDE, PER_FOLDER = 96, 5000


def draw_files(folder: Path, files: int, pictures: int) -> None:
    """Draw pictures of two classes, `files` in all."""
    for number in range(files):
        random = np.random.default_rng(number % pictures)
        coarse = random.integers(60, 256, (8, 8, 3), np.uint8)
        image = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        for _ in range(12):
            centre = random.integers(0, SIDE, 2).tolist()
            cv2.circle(image, centre, int(random.integers(2, 8)), random.integers(0, 160, 3).tolist(), -1)
        image = np.roll(image, number // pictures * 17, axis=(0, 1))
        path = folder / str(number % 2) / f"{number:06}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)


def main() -> None:
    """Print rates and memory."""
    parser = make_parser(__doc__, files=220_000, pictures=20_000, rounds=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        source, root = Path(place) / "source", Path(place) / "root"
        draw_files(source, options.files, options.pictures)
        files = sorted(source.rglob("*.tif"))

        def decode_all() -> None:
            for _ in parallel_map(lambda file: decode(read_image_bytes(file)), files):
                pass

        command = [
            sys.executable, "-m", "kagglepipe", "stage=prepare", "competition=image_folder",
            f"competition.source={source}", f"paths.root={root}",
        ]  # fmt: skip
        for _ in range(options.rounds):
            before = seconds(decode_all)
            used = run_process(command)
            after = seconds(decode_all)
            shutil.rmtree(root)
            bare = (before + after) / 2
            print(
                f"{options.files} files: prepare {used.seconds:.0f} s, peak {used.memory:.2f} GB; "
                f"bare decoding {bare:.0f} s; ratio {bare / used.seconds:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
