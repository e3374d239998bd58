"""How fast digits are trained on beside plain PyTorch, in one run, by processor time so that other work does not count.

    python benchmarks/digits.py [--images 2048] [--rounds 3]

Drawn digits of 28 pixels and `digits_cnn`, in batches of 64: *bare* has the same images as tensors in memory, without
augmentation; *kagglepipe* reads them from its cache, distorts each (`augmentation=elastic`), and goes by its loop.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import nn

from kagglepipe.images.augment import Transform
from kagglepipe.images.cache import PixelCache, PixelReader, cache_writer
from kagglepipe.images.dataset import TrainingImages
from kagglepipe.images.depth import PixelFormat
from kagglepipe.images.views import Views
from kagglepipe.models.classifier import Classifier, Preprocessing, untrained_backbone
from kagglepipe.options import TrainingOptions
from kagglepipe.training.device import autocast, choose_precision
from kagglepipe.training.image_learner import fit
from kagglepipe.training.loop import FitRuntime

GREY, BATCH, CPU = PixelFormat(1), 64, torch.device("cpu")


def make_images(folder: Path, count: int) -> TrainingImages:
    """Noise of the size of digits, in a cache."""
    digests = [f"{n:064}" for n in range(count)]
    with cache_writer(folder, short_side=256, max_bytes=10**9, form=GREY) as writer:
        for n, digest in enumerate(digests):
            writer.add(digest, np.random.default_rng(n).integers(0, 256, (28, 28, 1), dtype=np.uint8))
    cache = PixelCache.open(folder, 256, form=GREY)
    reader = PixelReader([Path(digest) for digest in digests], digests, short_side=256, cache=cache, form=GREY)
    transform = Transform("elastic", 28, form=GREY)
    return TrainingImages(Views(reader, 28, ids=digests, transform=transform), np.arange(count) % 10)


def network() -> Classifier:
    """The untrained network."""
    torch.manual_seed(0)
    return Classifier(
        untrained_backbone("digits_cnn", {}, 1), 10, Preprocessing(28, "squash", 1.0, (0.1,), (0.3,), 256)
    )


def bare(images: TrainingImages, count: int) -> None:
    """One epoch in plain PyTorch."""
    model = network().to(memory_format=torch.channels_last)
    pixels = torch.from_numpy(np.stack([images.views[row, 0] for row in range(count)]))
    labels, precision = torch.from_numpy(images.labels), choose_precision(CPU, training=True)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    for rows in torch.randperm(count).split(BATCH):
        optimiser.zero_grad(set_to_none=True)
        with autocast(CPU, precision):
            logits = model(pixels[rows])
        nn.functional.cross_entropy(logits.float(), labels[rows]).backward()
        optimiser.step()


def ours(images: TrainingImages, count: int) -> None:
    """One epoch by the loop of the competitions."""
    fit(
        network(), images, train=np.arange(count), valid=np.arange(BATCH), seed=0, workers=0, name="digits",
        options=TrainingOptions(epochs=1, batch_size=BATCH, from_scratch=True), runtime=FitRuntime(micro_batch=BATCH),
        precision=choose_precision(CPU, training=True),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        images = make_images(Path(folder), given.images)
        bare(images, BATCH)  # chooses kernels
        rates: dict[str, list[float]] = {"bare": [], "kagglepipe": []}
        for _ in range(given.rounds):
            for name, work in (("bare", bare), ("kagglepipe", ours)):
                start = time.process_time()
                work(images, given.images)
                rates[name].append(given.images / (time.process_time() - start))
    for name, values in rates.items():
        print(f"{name:12}{median(values):8.0f} images/s{median(values) / median(rates['bare']):8.2f} of bare")


if __name__ == "__main__":
    main()
