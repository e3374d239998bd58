"""What each step costs for an image on this machine, and what that comes to for a thousand, 100,000 and ten million.

    python benchmarks/scale.py [--images 256] [--model tf_efficientnet_lite0] [--price 0]

Costs are measured on drawn photos of the built-in sample; the table multiplies them. --price: money an hour for a
machine like this one, 0 leaves money out. Nothing is measured beyond what is printed as measured.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from measure import make_parser, seconds
from photos import make_classifier, read_photo, sample_files

from kagglepipe.competitions.duplicates import near_pairs, perceptual_hash, thumbnail
from kagglepipe.files import file_sha256
from kagglepipe.images.augment import Transform
from kagglepipe.images.cache import PixelReader
from kagglepipe.images.dataset import TrainingImages
from kagglepipe.models.classifier import Classifier
from kagglepipe.options import TrainingOptions
from kagglepipe.training.backends import InferenceBackend
from kagglepipe.training.device import choose_device, choose_precision
from kagglepipe.training.features import compute_features
from kagglepipe.training.image_learner import fit

SIZES = (1_000, 100_000, 10_000_000)
SHORT_SIDE, FOLDS, EPOCHS = 256, 5, 3


def measure(files: list[Path], folder: Path, name: str) -> dict[str, float]:
    """Step -> seconds an image (of `near-duplicates`: a pair)."""
    labels = np.array([int("smartphone" in file.name) for file in files])
    device, count = choose_device(), len(files)
    pixels = [read_photo(file) for file in files]
    costs = {"decode": seconds(lambda: [read_photo(file) for file in files])}
    costs["hash"] = seconds(lambda: [(perceptual_hash(image), thumbnail(image)) for image in pixels])
    model, precision = make_classifier(name, "auto").to(device), choose_precision(device)
    p = model.preprocessing

    def features() -> None:
        compute_features(model, p.views(pixels), range(count), backend=InferenceBackend(device, precision), progress="")

    augment = Transform("light", p.size)
    costs["augment"] = seconds(lambda: [augment(image, 0, 1, str(n)) for n, image in enumerate(pixels)])
    features()  # the first pass warms up
    costs["features"] = seconds(features)
    cached = PixelReader(files, [file_sha256(file) for file in files], short_side=SHORT_SIDE)
    images = TrainingImages(p.views(cached, ids=[f.stem for f in files], transform=augment), labels)
    recipe = TrainingOptions(epochs=1)
    costs["train an epoch"] = fit_seconds(model, images, recipe) if count > 32 else float("nan")
    costs = {step: cost / count for step, cost in costs.items()}
    rng = np.random.default_rng(0)
    many = 1 << 16
    hashes, thumbnails = rng.integers(0, 256, (many, 16), np.uint8), rng.integers(0, 256, (many, 32, 32), np.uint8)
    costs["near-duplicates"] = seconds(lambda: near_pairs(hashes, thumbnails)) / (many * (many - 1) / 2)
    return costs


def fit_seconds(model: Classifier, images: TrainingImages, recipe: TrainingOptions) -> float:
    """Seconds of an epoch on all images, by the rate of one."""
    rows = np.arange(len(images.labels))
    device = model.head.weight.device
    (epoch,) = fit(
        model, images, train=rows, valid=rows[:16], options=recipe, seed=0,
        precision=choose_precision(device, training=True), workers=0 if device.type == "cpu" else 8, name="bench",
    )  # fmt: skip
    return len(rows) / epoch.rate


def human(value: float) -> str:
    """Seconds as people say them."""
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if value >= length:
            return f"{value / length:.1f} {unit}"
    return f"{value:.1f} s"


def table(costs: dict[str, float], price: float) -> None:
    """Prints the costs, and what they come to."""
    print("measured, an image:")
    for step, cost in costs.items():
        unit = "pairs/s" if step == "near-duplicates" else "images/s"
        print(f"  {step:<16} {1 / cost:14,.0f} {unit}")
    prepare, pair = costs["decode"] + costs["hash"], costs["near-duplicates"]
    plans = {
        "prepare: decode, hash": lambda n: n * prepare,
        "prepare: near-duplicates (n²)": lambda n: n * n / 2 * pair,
        "training=head: features, two views": lambda n: n * 2 * costs["features"],
        f"training=finetune: {FOLDS} folds, {EPOCHS} epochs": lambda n: (
            # a head first, the epochs, a look at what is held out after each, and the predictions for as many again
            n * (2 * costs["features"] + (FOLDS - 1) * EPOCHS * costs["train an epoch"])
            + n * (EPOCHS + 1 + FOLDS) * costs["features"]
        ),
    }
    print(f"\ncomputed: {'':<36}" + "".join(f"{n:>16,}" for n in SIZES))
    for step, cost in plans.items():
        print(f"  {step:<44}" + "".join(f"{human(cost(n)):>16}" for n in SIZES))
        if price:
            print(f"  {'':<44}" + "".join(f"{cost(n) / 3600 * price:>16,.2f}" for n in SIZES))


if __name__ == "__main__":
    parser = make_parser(__doc__, images=256)
    parser.add_argument("--model", default="tf_efficientnet_lite0")
    parser.add_argument("--price", type=float, default=0.0)
    options = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as place:
        table(measure(sample_files(Path(place), options.images), Path(place), options.model), options.price)
