"""Many small files: what `prepare` costs beside bare decoding, and its peak memory.

    python benchmarks/small_files.py [--files 220000] [--pictures 20000] [--few 200] [--rounds 1]

Draws TIFF files of 96 × 96 pixels, as of tissue: `--pictures` different ones, and the same ones shifted. Bare decoding
is Pillow's to an RGB array, and the function that `prepare` calls, of the same files with as many threads, in the same
run, before and after. The program's start is what `--few` files take, and is taken off. Seconds of the processor are
less disturbed by other work than those of the clock.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from measure import Usage, make_parser, run_process
from PIL import Image

from kagglepipe.images.decode import decode
from kagglepipe.images.pixel_table import read_image_bytes
from kagglepipe.parallel import parallel_map

SIDE, PER_FOLDER = 96, 5000


def draw_files(folder: Path, files: int, pictures: int) -> None:
    """Draw pictures of two classes, `files` in all."""
    for picture in range(min(files, pictures)):
        random = np.random.default_rng(picture)
        coarse = random.integers(60, 256, (8, 8, 3), np.uint8)
        image = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        for _ in range(12):
            centre = random.integers(0, SIDE, 2).tolist()
            cv2.circle(image, centre, int(random.integers(2, 8)), random.integers(0, 160, 3).tolist(), -1)
        for shift, number in enumerate(range(picture, files, pictures)):
            path = folder / str(number % 2) / f"{number:06}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.roll(image, shift * 17, axis=(0, 1)))


def by_pillow(file: Path) -> np.ndarray:
    """Decode a file as loaders of photos do."""
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def by_opencv(file: Path) -> np.ndarray:
    """Decode a file as `prepare` does, with its checks."""
    return decode(read_image_bytes(file))


def decode_all(files: Sequence[Path], decoder: Callable[[Path], np.ndarray]) -> Usage:
    """Decode files with a thread a core."""
    start, processor = time.perf_counter(), time.process_time()
    for _ in parallel_map(decoder, files):
        pass
    return Usage(time.perf_counter() - start, 0, time.process_time() - processor)


DECODERS = (by_pillow, by_opencv)


def prepare(source: Path, root: Path) -> Usage:
    """Prepare the files in `source` by a command, and remove what it wrote."""
    used = run_process([
        sys.executable, "-m", "kagglepipe", "stage=prepare", "competition=image_folder",
        f"competition.source={source}", f"paths.root={root}",
    ])  # fmt: skip
    shutil.rmtree(root)
    return used


def main() -> None:
    """Print rates and memory."""
    options = make_parser(__doc__, files=220_000, pictures=20_000, few=200, rounds=1).parse_args()
    with tempfile.TemporaryDirectory() as place:
        source, few, root = (Path(place) / name for name in ("source", "few", "root"))
        draw_files(source, options.files, options.pictures)
        draw_files(few, options.few, options.few)
        files = sorted(source.rglob("*.tif"))
        for _ in range(options.rounds):
            start = prepare(few, root)
            before = [decode_all(files, decoder) for decoder in DECODERS]
            used = prepare(source, root)
            after = [decode_all(files, decoder) for decoder in DECODERS]
            print(f"{options.files} files: prepare {used.seconds:.0f} s, peak {used.memory:.2f} GB")
            for name in ("seconds", "processor"):
                whole, begun = getattr(used, name), getattr(start, name)
                print(f"{name}: prepare {whole:.1f}, of which the start {begun:.1f}")
                for decoder, *times in zip(DECODERS, before, after, strict=True):
                    bare = sum(getattr(one, name) for one in times) / 2
                    print(f"  decoding {decoder.__name__} {bare:.1f}, ratio {bare / (whole - begun):.2f}", flush=True)


if __name__ == "__main__":
    main()
