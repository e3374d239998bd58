"""Many classes: time, memory and scores of folds, head, out-of-fold frame, metric and submission, on drawn features.

    python benchmarks/classes.py [--rows 100000] [--classes 5000] [--features 1280] [--test-rows 20000]
    python benchmarks/classes.py --compare 500

The features of a class are scattered about a mean of its own, in directions of unequal variance. Half of the classes
have one row, sizes of the others fall off as 1 / rank. --compare: classes of drawn pictures instead, whose features are
those of the pretrained network: log loss and accuracy of the head for many classes and of logistic regression.
"""

import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from measure import make_parser

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.competitions.folds import make_folds
from kagglepipe.files import write_bytes, write_parquet
from kagglepipe.options import CompetitionOptions, TrainingOptions
from kagglepipe.predictions.baseline import metadata_baseline
from kagglepipe.predictions.evaluation import summarise
from kagglepipe.predictions.frame import average_folds, merge_folds, read_frame
from kagglepipe.predictions.submission import build_submission, submission_csv
from kagglepipe.runs.scores import scores_of
from kagglepipe.runs.train_fold import predicted
from kagglepipe.training.discriminant import DiscriminantFitter
from kagglepipe.training.head import Head, HeadFitter
from kagglepipe.training.learner import FoldResult

GRID, SIDE = TrainingOptions().regularisation, 96


@contextmanager
def step(name: str) -> Iterator[None]:
    """Print the time of a step, the seconds of all cores that it used, and the peak memory so far."""
    start, used = time.perf_counter(), time.process_time()
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    took, cores = time.perf_counter() - start, time.process_time() - used
    print(f"{name:<44} {took:8.1f} s   {cores:8.1f} s of cores   peak so far {peak:.2f} GB", flush=True)


def draw_labels(random: np.random.Generator, rows: int, classes: int) -> np.ndarray:
    """Labels (N,): each class once, and more of the first half by 1 / rank."""
    shares = 1 / np.arange(1, classes // 2 + 1)
    return np.concatenate([np.arange(classes), random.choice(classes // 2, rows - classes, p=shares / shares.sum())])


class DrawnLearner:
    """Predicts rows of the drawn table by a head, as `ImageLearner` does from stored features."""

    def __init__(self, features: np.ndarray) -> None:
        self.features = features

    def predict(self, result: FoldResult, folder: Path, rows: pd.DataFrame, view: int = 0) -> np.ndarray:
        """Probabilities (len(rows), C)."""
        head: Head = result.network
        return head.predict(self.features[rows["row"].to_numpy()])


def whole_way(options: Any) -> None:
    """From labels to the bytes of a submission."""
    random, classes = np.random.default_rng(0), [f"class {number:05}" for number in range(options.classes)]
    labels = draw_labels(random, options.rows, options.classes)
    count = options.rows + options.test_rows
    hidden = random.choice(labels, options.test_rows)
    means = random.standard_normal((options.classes, options.features), np.float32)
    scale = (2.5 / np.sqrt(1 + np.arange(options.features) / 40)).astype(np.float32)[
        random.permutation(options.features)
    ]
    features = np.empty((count, options.features), np.float32)
    for start in range(0, count, 8192):
        part = np.concatenate([labels, hidden])[start : start + 8192]
        noise = random.standard_normal((len(part), options.features), np.float32)
        features[start : start + 8192] = 0.3 * means[part] + noise * scale
    names = np.array(classes)
    table = pd.DataFrame({"id": [f"{row:07}.jpg" for row in range(count)], "row": np.arange(count)})
    table["split"] = np.where(table["row"] < options.rows, "train", "test")
    for name, one in (("width", 300), ("height", 200), ("bytes", 40_000)):
        table[name] = random.integers(one, 2 * one, count)
    train, test = (table[table["split"] == name].reset_index(drop=True) for name in ("train", "test"))
    train = train.assign(target=names[labels], format="JPEG", mode="RGB", group=train["id"])
    sizes = np.bincount(labels)
    print(f"{options.rows:,} rows of {options.classes:,} classes, {(sizes == 1).sum():,} of them with one row")
    with tempfile.TemporaryDirectory() as place:
        with step("folds"):
            columns = (train[name].tolist() for name in ("id", "target", "group"))
            train = train.merge(make_folds(*columns, count=5, seed=0), on="id")
        folds, dataset = train["fold"].to_numpy(), Dataset(table, train, classes, Path(place), "", "")
        with step("sums of the features of five folds"):
            fitter = DiscriminantFitter([features[: options.rows]], labels, folds, grid=GRID, classes=options.classes)
            for fold in range(5):
                fitter.sums_of_fold(fold)
        oofs, tests = [], []
        for fold in range(5):
            with step(f"fold {fold}: head, predictions, files"):
                result, learner = FoldResult([], fitter.fit(fold)), DrawnLearner(features)
                for name, rows, found in (("oof", train[folds == fold], oofs), ("test", test, tests)):
                    found.append(Path(place) / f"{name}-{fold}.parquet")
                    write_parquet(found[-1], predicted(learner, result, Path(place), rows, dataset))
        with step("oof.parquet and test.parquet merged"):
            oof = merge_folds([read_frame(file) for file in oofs], train["id"])
            write_parquet(Path(place) / "oof.parquet", oof)
            mean = average_folds([read_frame(file) for file in tests])
            write_parquet(Path(place) / "test.parquet", mean)
        print(
            f"oof.parquet {(Path(place) / 'oof.parquet').stat().st_size / 1e6:.0f} MB; all classes would take "
            f"{options.rows * options.classes * 4 / 1e6:,.0f} MB"
        )
        groups = train.set_index("id")["group"]
        with step("scores: accuracy, top-5, balanced accuracy"):
            found = {
                name: summarise(name, oof, classes, groups)
                for name in ("accuracy", "top_5_accuracy", "balanced_accuracy")
            }
        with step("baseline of image size"):
            scores_of(metadata_baseline(train, classes), CompetitionOptions(metric="accuracy"), classes, groups)
        with step("submission of names"):
            form = {"form": "name", "classes": classes, "id_column": "id", "target_column": "label"}
            made = build_submission(mean, **form, ids=test["id"].tolist())
            write_bytes(Path(place) / "submission.csv", submission_csv(made))
        print(
            ", ".join(f"{name} {one['score']:.4f}" for name, one in found.items()),
            f"log loss {found['accuracy']['log_loss']:.4f}",
        )
        print(f"accuracy of the submission {(made['label'] == names[hidden]).mean():.4f}")


# --- against logistic regression -----------------------------------------------------------------------------------


def draw_picture(number: int, random: np.random.Generator) -> np.ndarray:
    """A picture (SIDE, SIDE, 3) of class `number`: three shapes of its own, moved, turned and lit at random."""
    own = np.random.default_rng(number)
    image = np.full((SIDE, SIDE, 3), random.integers(60, 200, 3), np.uint8)
    turn, move, light = random.uniform(-0.5, 0.5), random.uniform(-9, 9, 2), random.uniform(0.6, 1.3)
    for _ in range(3):
        colour = (own.integers(0, 256, 3) * light).clip(0, 255).tolist()
        corners = own.uniform(-28, 28, (own.integers(3, 7), 2)) + own.uniform(-16, 16, 2)
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        corners = corners @ rotation.T * random.uniform(0.8, 1.2) + SIDE / 2 + move
        cv2.fillPoly(image, [corners.round().astype(np.int32)], colour)
    return (image + random.normal(0, 25, image.shape)).clip(0, 255).astype(np.uint8)


def network_features(pictures: list[np.ndarray]) -> np.ndarray:
    """Features (N, F) of the pretrained network."""
    from photos import make_classifier

    from kagglepipe.training.backends import InferenceBackend
    from kagglepipe.training.device import choose_device, choose_precision
    from kagglepipe.training.features import compute_features

    device = choose_device()
    model = make_classifier("tf_efficientnet_lite0", "auto").to(device)
    views, backend = model.preprocessing.views(pictures), InferenceBackend(device, choose_precision(device))
    return compute_features(model, views, range(len(pictures)), backend=backend, progress="features")


def compare(count: int, rows: int) -> None:
    """Both heads on `count` classes of drawn pictures; the sizes of classes fall off as 1 / rank."""
    random = np.random.default_rng(0)
    labels = random.permutation(draw_labels(random, rows, count))
    with step("features"):
        features = network_features([draw_picture(int(number), random) for number in labels])
    ids = [str(row) for row in range(rows)]
    folds = make_folds(ids, labels.tolist(), ids, count=5, seed=0).set_index("id").loc[ids, "fold"].to_numpy()
    for make in (DiscriminantFitter, HeadFitter):
        fitter = make([features], labels, folds, grid=GRID, classes=count)
        scores = np.zeros((3, rows))
        with step(make.__name__):
            for fold in range(5):
                own, head = folds == fold, fitter.fit(fold)
                probs, truth = head.predict(features[own]).astype(np.float64), labels[own]
                given = probs[np.arange(len(truth)), truth]
                scores[0, own] = -np.log(np.clip(given, 1e-15, 1))
                scores[1, own] = probs.argmax(axis=1) == truth
                scores[2, own] = (probs > given[:, None]).sum(axis=1) < 5
        seen = np.bincount(labels, minlength=count)[labels] > 1
        loss, right, top = scores[:, seen].mean(axis=1)
        print(f"  log loss {loss:.4f}, accuracy {right:.4f}, top-5 {top:.4f} of {seen.sum()} rows")


if __name__ == "__main__":
    parser = make_parser(__doc__, rows=100_000, classes=5_000, features=1_280, test_rows=20_000, compare=0)
    options = parser.parse_args()
    compare(options.compare, 12 * options.compare) if options.compare else whole_way(options)
