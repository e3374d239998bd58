"""Class weights, focal loss, mixup, CutMix, averaged weights, balanced sampling, Huber: each beside fine-tuning.

    python benchmarks/extras.py [--seeds 5] [--train 64] [--test 24] [--epochs 3] [--out FILE] [--numbers]

Two drawn problems with classes of unequal size: *shapes*, five kinds of shapes on noise, 16:8:4:2:1; *sample*, the
drawings of the built-in sample, four pistols to a smartphone. Each seed draws its own pictures; a head is fitted on the
frozen Lite0, then the network is trained for a number of epochs that nothing chooses. The test has as many pictures of
each class: accuracy is balanced; log loss counts each class by its share of the training rows, as drawn. Differences
to the base are of the same seeds, ± their standard error. What is in --out already is not done again.

--numbers: Huber's loss alone, on the share of a picture that shapes cover: *areas*, and *areas with outliers*, where a
tenth of the training rows have another one's number times ten. The test has five times --test pictures, all right.
"""

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import make_parser
from photos import C_GRID, assign_folds, make_classifier, training_photos
from scipy.special import log_softmax
from tasks import shape

from kagglepipe.images.augment import Transform
from kagglepipe.images.dataset import ImageBatches, TrainingImages
from kagglepipe.options import TrainingOptions
from kagglepipe.samples.photos import make_photos
from kagglepipe.training.backends import InferenceBackend
from kagglepipe.training.column_heads import ColumnHeadFitter
from kagglepipe.training.device import choose_device, choose_precision
from kagglepipe.training.features import compute_features
from kagglepipe.training.head import HeadFitter
from kagglepipe.training.image_learner import clean_logits, set_head
from kagglepipe.training.loop import train_epochs
from kagglepipe.training.mixing import mixing_of
from kagglepipe.training.optimise import make_optimiser
from kagglepipe.training.sampling import order_of
from kagglepipe.training.target_scale import scale_of
from kagglepipe.training.weighted_losses import loss_of_options

SIDE = 96
TRIES: dict[str, dict[str, Any]] = {
    "base": {},
    "`class_weights=balanced`": {"class_weights": "balanced"},
    "`sampling=balanced`": {"sampling": "balanced"},
    "`focal=2`": {"focal": 2.0},
    "`mixup=0.2`": {"mixup": 0.2},
    "`cutmix=1`": {"cutmix": 1.0},
    "`ema=0.9`": {"ema": 0.9},
}
NUMBER_TRIES: dict[str, dict[str, Any]] = {"base": {}, "`huber=1`": {"huber": 1.0}}
OUTLIERS = {"areas": 0.0, "areas with outliers": 0.1}  # share of the training rows
Problem = tuple[np.ndarray, np.ndarray, np.ndarray]  # images, labels, is a training row
SHARES = {"shapes": [16, 8, 4, 2, 1], "sample": [4, 1]}


def counts_of(problem: str, rows: int) -> list[int]:
    """Training rows of each class."""
    shares = np.array(SHARES[problem])
    return np.maximum(np.round(rows * shares / shares.sum()), 2).astype(int).tolist()


def shapes(seed: int, counts: list[int], test: int) -> Problem:
    """A shape of a class's kind on noise, and one of a kind that is no class in half of the pictures."""
    rng, images, labels, is_train = np.random.default_rng(seed), [], [], []
    for label, count in enumerate(counts):
        for number in range(count + test):
            image = rng.integers(0, 170, (SIDE, SIDE, 3), dtype=np.uint8)
            for kind in (5, label)[int(rng.integers(2)) :]:
                image[shape(kind, rng, SIDE) > 0] = rng.integers(70, 256, 3)
            images.append(image)
            labels.append(label)
            is_train.append(number < count)
    return np.stack(images), np.array(labels), np.array(is_train)


@cache
def drawings() -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of 200 drawings of each class of the built-in sample."""
    import cv2

    with tempfile.TemporaryDirectory() as folder:
        make_photos(Path(folder), per_class=200, test=2)
        found = training_photos(Path(folder))
    return np.stack(
        [cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for image in found.images]
    ), found.labels


def sample(seed: int, counts: list[int], test: int) -> Problem:
    """Drawings of the built-in sample."""
    images, labels = drawings()
    rng = np.random.default_rng(seed)
    parts = [rng.permutation(np.flatnonzero(labels == label))[: count + test] for label, count in enumerate(counts)]
    is_train = np.concatenate([np.arange(len(part)) < count for part, count in zip(parts, counts, strict=True)])
    rows = np.concatenate(parts)
    return images[rows], labels[rows], is_train


PROBLEMS: dict[str, Callable[[int, list[int], int], Problem]] = {"shapes": shapes, "sample": sample}


def scored(problem: Problem, seed: int, epochs: int, tries: list[str]) -> dict[str, dict[str, float]]:
    """Balanced accuracy and log loss of each try."""
    images, labels, is_train = problem
    train, test, classes = np.flatnonzero(is_train), np.flatnonzero(~is_train), int(labels.max()) + 1
    device = choose_device()
    model = make_classifier("tf_efficientnet_lite0", classes=classes, image_size=SIDE).to(device)
    ids = [str(row) for row in range(len(images))]
    views = model.preprocessing.views(images, ids=ids, transform=Transform("light", SIDE), seed=seed)
    backend = InferenceBackend(device, choose_precision(device), "torch")
    features = [compute_features(model, views, train, view=view, backend=backend) for view in (0, 1)]
    folds = assign_folds(labels[train], seed) if min(np.bincount(labels[train])) >= 5 else np.arange(len(train)) % 5
    head = HeadFitter(features, labels[train], folds, grid=C_GRID, classes=classes).fit(-1)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    found = {}
    for name in tries:
        model.load_state_dict(start)
        set_head(model, head.weight, head.bias)
        options = replace(TrainingOptions(mode="finetune", epochs=epochs), **TRIES[name])
        batches = ImageBatches(
            TrainingImages(views, labels), train, batch_size=options.batch_size, seed=seed, workers=0, pinned=False,
            draw=order_of(train, labels[train], "multiclass", options),
        )  # fmt: skip
        precision = choose_precision(device, training=True)
        train_epochs(
            model, batches, make_optimiser(model, options), options=options, seed=seed, precision=precision, name=name,
            unit="image", evaluate=None, loss=loss_of_options("multiclass", labels[train], classes, options),
            mixing=mixing_of(options, seed),
        )  # fmt: skip
        log_probs = log_softmax(clean_logits(model, TrainingImages(views, labels), precision, 32, test), axis=1)
        right, losses = log_probs.argmax(axis=1) == labels[test], -log_probs[np.arange(len(test)), labels[test]]
        of_class = [labels[test] == label for label in range(classes)]
        shares = np.bincount(labels[train]) / len(train)
        found[name] = {
            "accuracy": float(np.mean([right[own].mean() for own in of_class])),
            "log loss": float(sum(s * losses[own].mean() for s, own in zip(shares, of_class, strict=True))),
        }
    return found


def areas(seed: int, train: int, test: int, outliers: float) -> tuple[np.ndarray, np.ndarray]:
    """Images of none to five shapes on noise, and the percentage that they cover (N, 1), the training rows first."""
    rng, images, covered = np.random.default_rng(seed), [], []
    for _ in range(train + test):
        image, mask = rng.integers(0, 170, (SIDE, SIDE, 3), dtype=np.uint8), np.zeros((SIDE, SIDE), np.uint8)
        for kind in rng.integers(0, 6, rng.integers(6)):
            own = shape(int(kind), rng, SIDE)
            image[own > 0] = rng.integers(70, 256, 3)
            mask |= own
        images.append(image)
        covered.append(100 * (mask > 0).mean())
    numbers = np.array(covered)[:, None]
    wrong = rng.permutation(train)[: round(outliers * train)]
    numbers[wrong] = 10 * numbers[rng.permutation(train)[: len(wrong)]]
    return np.stack(images), numbers


def scored_numbers(problem: str, seed: int, train: int, test: int, epochs: int) -> dict[str, dict[str, float]]:
    """Mean absolute and root mean squared error of each of NUMBER_TRIES."""
    images, numbers = areas(seed, train, 5 * test, OUTLIERS[problem])
    own, held, device = np.arange(train), np.arange(train, len(images)), choose_device()
    model = make_classifier("tf_efficientnet_lite0", classes=1, image_size=SIDE).to(device)
    ids = [str(row) for row in range(len(images))]
    views = model.preprocessing.views(images, ids=ids, transform=Transform("light", SIDE), seed=seed)
    backend = InferenceBackend(device, choose_precision(device), "torch")
    features = [compute_features(model, views, own, view=view, backend=backend) for view in (0, 1)]
    head = ColumnHeadFitter(features, numbers[own], own % 5, task="regression", grid=C_GRID).fit(-1)
    start, unit = {name: value.clone() for name, value in model.state_dict().items()}, scale_of(numbers[own])
    targets = unit.transform(numbers).astype(np.float32)
    found = {}
    for name, given in NUMBER_TRIES.items():
        model.load_state_dict(start)
        set_head(model, head.weight, head.bias)
        unit.from_unit(model.head)
        options, examples = (
            replace(TrainingOptions(mode="finetune", epochs=epochs), **given),
            TrainingImages(views, targets),
        )
        precision = choose_precision(device, training=True)
        train_epochs(
            model, ImageBatches(examples, own, batch_size=options.batch_size, seed=seed, workers=0, pinned=False),
            make_optimiser(model, options), options=options, seed=seed, precision=precision, name=name, unit="image",
            evaluate=None, loss=loss_of_options("regression", targets[own], 1, options),
        )  # fmt: skip
        errors = unit.inverse(clean_logits(model, examples, precision, 32, held)) - numbers[held]
        found[name] = {"MAE": float(np.abs(errors).mean()), "RMSE": float(np.sqrt((errors**2).mean()))}
    return found


def show(results: list[dict[str, Any]], problems: list[str], tries: list[str], scores: dict[str, str]) -> None:
    """Prints a markdown table. scores: keys of the results -> titles."""
    titles = " | ".join(f"{title} | to base" for title in scores.values())
    print(f"| problem | | seeds | {titles} |\n|---|---|---|---|---|---|---|")
    for problem in problems:
        own = [one["scores"] for one in results if one["problem"] == problem]
        for name in tries:
            cells = []
            for score in scores:
                values, base = (np.array([one[key][score] for one in own]) for key in (name, "base"))
                error = np.std(values - base, ddof=1) / np.sqrt(len(own)) if len(own) > 1 else np.nan
                apart = "" if name == "base" else f"{np.mean(values - base):+.4f} ± {error:.4f}"
                cells += [f"{values.mean():.4f}", apart]
            print(f"| {problem} | {name} | {len(own)} | {' | '.join(cells)} |")


def main(seeds: int, train: int, test: int, epochs: int, out: Path, *, numbers: bool) -> None:
    """Does what is not done, then prints all."""
    for problem in OUTLIERS if numbers else PROBLEMS:
        for seed in range(seeds):
            key = {"problem": problem, "seed": seed, "train": train, "test": test, "epochs": epochs}
            known = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
            if not any(key.items() <= one.items() for one in known):
                torch.manual_seed(seed)
                if numbers:
                    found = scored_numbers(problem, seed, train, test, epochs)
                else:
                    made = PROBLEMS[problem](seed, counts_of(problem, train), test)
                    found = scored(made, seed, epochs, list(TRIES))
                with out.open("a") as file:
                    file.write(json.dumps({**key, "scores": found}) + "\n")
    size = {"train": train, "test": test, "epochs": epochs}.items()
    results = [one for one in map(json.loads, out.read_text().splitlines()) if size <= one.items()]
    if numbers:
        show(results, list(OUTLIERS), list(NUMBER_TRIES), {"MAE": "MAE", "RMSE": "RMSE"})
    else:
        show(results, list(PROBLEMS), list(TRIES), {"accuracy": "balanced accuracy", "log loss": "log loss"})


if __name__ == "__main__":
    parser = make_parser(__doc__, seeds=5, train=64, test=24, epochs=3)
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "extras.jsonl")
    parser.add_argument("--numbers", action="store_true")
    options = parser.parse_args()
    main(options.seeds, options.train, options.test, options.epochs, options.out, numbers=options.numbers)
