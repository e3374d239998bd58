"""Whether memory and open files grow with the epochs: 200 short ones of a tiny network, kept for resuming after each.

    python benchmarks/endurance.py [--epochs 200] [--workers 0]

Prints both after some of the epochs. Ends with code 1 if, from the first of these to the last, memory has grown by more
than 3 % or any file has stayed open. Linux alone, whose /proc it reads. --workers: processes that augment.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import make_parser
from photos import make_classifier

from kagglepipe.competitions.source import list_files
from kagglepipe.files import file_sha256
from kagglepipe.images.augment import Transform
from kagglepipe.images.cache import PixelReader, make_cache
from kagglepipe.images.dataset import TrainingImages
from kagglepipe.images.views import Views
from kagglepipe.options import TrainingOptions
from kagglepipe.samples.photos import make_photos
from kagglepipe.training.device import choose_device, choose_precision, describe_device
from kagglepipe.training.image_learner import fit
from kagglepipe.training.loop import FitRuntime

SIZE = 64


def memory() -> float:
    """MB that this process holds."""
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def handles() -> int:
    """How many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def drawn_images(folder: Path) -> TrainingImages:
    """Photos of the built-in sample, cached as in a run."""
    make_photos(folder / "sample", per_class=16, test=0)
    files, _ = list_files(folder / "sample" / "Train")
    digests = [file_sha256(path) for path in files]
    cache = make_cache(folder, dict(zip(digests, files, strict=True)), short_side=SIZE, max_bytes=10**8)
    reader = PixelReader(files, digests, short_side=SIZE, cache=cache)
    labels = np.array([int("smartphone" in path.parent.name.lower()) for path in files])
    return TrainingImages(
        Views(reader, SIZE, ids=[path.name for path in files], transform=Transform("light", SIZE)), labels
    )


def main() -> None:
    parser = make_parser(__doc__, epochs=200, workers=0)
    arguments = parser.parse_args()
    shown = (arguments.epochs // 10, arguments.epochs // 2, arguments.epochs)
    found: list[tuple[float, int]] = []
    device = choose_device()
    print(f"{describe_device(device)}, {arguments.workers} workers\nepoch  memory MB  open files  seconds")
    with tempfile.TemporaryDirectory() as name:
        folder, start = Path(name), time.perf_counter()
        images = drawn_images(folder)
        model = make_classifier("test_efficientnet", "none", image_size=SIZE).to(device)

        def track(epoch: int, _: dict[str, float]) -> None:
            if epoch in shown:
                found.append((memory(), handles()))
                seconds = time.perf_counter() - start
                print(f"{epoch:5d}  {found[-1][0]:9.1f}  {found[-1][1]:10d}  {seconds:7.0f}", flush=True)

        rows = np.arange(len(images.labels))
        recipe = TrainingOptions(epochs=arguments.epochs, batch_size=8, patience=arguments.epochs)
        fit(
            model, images, train=rows[rows % 4 > 0], valid=rows[rows % 4 == 0], options=recipe, seed=0,
            precision=choose_precision(device, training=True), workers=arguments.workers, name="endurance",
            runtime=FitRuntime(folder / "resume.safetensors", track=track),
        )  # fmt: skip
    if found[-1][0] > 1.03 * found[0][0] or found[-1][1] > found[0][1]:
        sys.exit("something grows")


if __name__ == "__main__":
    main()
