"""What a step of fine-tuning costs on a GPU, at first and later, beside bare torch; and how long it waits for images.

    python benchmarks/gpu.py [--batch 16] [--images 740] [--workers 16,4] [--model NAME] [--try-kernels]

step: `kagglepipe` is the training loop's own step on a batch in memory; `bare` computes the same, loss, clipping and
AdamW, on a batch that is on the device, and reads nothing back. fit: whole fits of noise from memory, three epochs and
their evaluation, augmented by worker processes; the first is not shown. --try-kernels: cuDNN tries which is fastest.
"""

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np
import torch
from measure import make_parser, seconds
from photos import make_classifier
from torch import Tensor

from kagglepipe.images import dataset as image_batches
from kagglepipe.images.augment import Transform
from kagglepipe.images.dataset import TrainingImages
from kagglepipe.options import TrainingOptions
from kagglepipe.training.backends import torch_encoder
from kagglepipe.training.device import autocast, choose_device, choose_precision, describe_device, use_fast_kernels
from kagglepipe.training.image_learner import fit
from kagglepipe.training.loop import FitRuntime, Loop
from kagglepipe.training.optimise import freeze_statistics, make_optimiser

DEVICE = choose_device()
PRECISION = choose_precision(DEVICE, training=True)


def timed(work: Callable[[], object], times: int = 1) -> float:
    """Mean seconds of one call, the GPU's work included."""
    return seconds(work, times, torch.cuda.synchronize if DEVICE.type == "cuda" else None)


def steady(work: Callable[[], object], times: int) -> float:
    """Median seconds of four rounds, after two calls that warm up."""
    work(), work()
    return median(timed(work, times) for _ in range(4))


def tell(what: str, taken: float, count: int) -> None:
    print(f"{what:<44}{1000 * taken:9.2f} ms{count / taken:9.0f} images/s", flush=True)


def steps(name: str, recipe: TrainingOptions, times: int) -> None:
    """One batch: ours at first and later, of another number of rows, and bare."""
    model, rows = make_classifier(name, "none").to(DEVICE), recipe.batch_size
    optimiser = make_optimiser(model, recipe)
    loop = Loop(model, [], optimiser, recipe, PRECISION, 0, "step", "image")
    freeze_statistics(model)
    size = model.preprocessing.size
    images = torch.randint(0, 256, (rows, size, size, 3), dtype=torch.uint8)
    labels = torch.arange(rows) % 2
    if DEVICE.type == "cuda":
        images, labels = images.pin_memory(), labels.pin_memory()
    here, truth = images.to(DEVICE), labels.to(DEVICE)

    def bare() -> None:
        optimiser.zero_grad(set_to_none=True)
        with autocast(DEVICE, PRECISION):
            logits: Tensor = model(here)
        torch.nn.functional.cross_entropy(logits.float(), truth).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimiser.step()

    tell("step: kagglepipe, the first", timed(lambda: loop.step([images], labels, loop.loss)), rows)
    tell("step: kagglepipe", steady(lambda: loop.step([images], labels, loop.loss), times), rows)
    less = max(1, rows // 2 - 1)
    tell(
        "step: kagglepipe, the first of fewer rows",
        timed(lambda: loop.step([images[:less]], labels[:less], loop.loss)),
        less,
    )
    tell("step: bare", steady(bare, times), rows)
    if DEVICE.type == "cuda":
        print(f"{'peak of GPU memory':<44}{torch.cuda.max_memory_allocated() / 1e9:9.2f} GB", flush=True)
    encode, many = torch_encoder(model, choose_precision(DEVICE).dtype), np.resize(images.numpy(), (128, size, size, 3))
    tell("features, 128 at a time", steady(lambda: encode(many), times), 128)


class Waiting:
    """A loader, and the seconds that were waited for it."""

    def __init__(self, loader: Any) -> None:
        self.loader, self.seconds = loader, 0.0

    def __iter__(self) -> Iterator[Any]:
        start = time.perf_counter()
        for batch in self.loader:
            self.seconds += time.perf_counter() - start
            yield batch
            start = time.perf_counter()
        self.seconds += time.perf_counter() - start


class Noise:
    """The same few images again and again."""

    images = np.random.default_rng(0).integers(0, 256, (64, 256, 256, 3), np.uint8)

    def __getitem__(self, row: int) -> np.ndarray:
        return self.images[row % len(self.images)]


def fits(name: str, recipe: TrainingOptions, count: int, workers: list[int]) -> None:
    """Whole fits on four fifths of the images, judged on the rest."""
    rows, loaders, make, reader = np.arange(count), [], image_batches.training_loader, Noise()
    image_batches.training_loader = lambda *a, **o: loaders.append(Waiting(make(*a, **o))) or loaders[-1]
    for number, some in enumerate([workers[0], *workers]):
        model = make_classifier(name, "none").to(DEVICE)
        transform = Transform("light", model.preprocessing.size)
        images = TrainingImages(
            model.preprocessing.views(reader, ids=[str(row) for row in rows], transform=transform), rows % 2
        )
        start = time.perf_counter()
        history = fit(
            model, images, train=rows[: count * 4 // 5], valid=rows[count * 4 // 5 :], options=recipe, seed=0,
            precision=PRECISION, workers=some, name="fit", runtime=FitRuntime(),
        )  # fmt: skip
        taken, waited = time.perf_counter() - start, loaders[-1].seconds
        if number:
            rates = ", ".join(f"{epoch.rate:.0f}" for epoch in history)
            print(f"fit: {some:>2} workers: {taken:.2f} s, {waited:.2f} s for the loader; epochs at {rates} images/s")


def main() -> None:
    parser = make_parser(__doc__, batch=16, images=740, times=20)
    parser.add_argument("--workers", default="16,4")
    parser.add_argument("--model", default="tf_efficientnet_lite0")
    parser.add_argument("--try-kernels", action="store_true")
    options = parser.parse_args()
    use_fast_kernels()
    torch.backends.cudnn.benchmark = options.try_kernels
    recipe = TrainingOptions(batch_size=options.batch)
    print(f"{describe_device(DEVICE)}, {PRECISION.name}, torch {torch.__version__}, batches of {options.batch}")
    steps(options.model, recipe, options.times)
    fits(options.model, recipe, options.images, [int(count) for count in options.workers.split(",")])


if __name__ == "__main__":
    main()
