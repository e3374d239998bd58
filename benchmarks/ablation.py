"""Few labels: what augmented views are worth to a linear head on frozen features.

    python benchmarks/ablation.py ARCHIVE.zip [--per-class 10,25,50] [--seeds 5]

Draws so many training photos a class, fits a head as `training=head` does (regularisation chosen inside, on five folds
of them), and tests it on all other training photos. Prints accuracy and log loss, means over seeds and a deviation.
"""

import argparse
from pathlib import Path

import numpy as np
from photos import C_GRID, TEMPORARY, assign_folds, make_classifier, training_photos, unpacked
from scipy.special import log_softmax

from kagglepipe.images.augment import Transform
from kagglepipe.images.paste import Backgrounds
from kagglepipe.training.backends import InferenceBackend
from kagglepipe.training.device import choose_device, choose_precision
from kagglepipe.training.features import compute_features
from kagglepipe.training.head import HeadFitter
from kagglepipe.training.image_learner import WEIGHT_BESIDE_PASTED

NAME = "tf_efficientnet_lite0"
RECIPES = {
    "clean": [], "light": [("light", 1)], "resolution": [("resolution", 1)], "strong": [("strong", 1)],
    "strong × 3": [("strong", 1), ("strong", 2), ("strong", 3)], "paste": [("paste", 1)],
    "paste, strong": [("paste", 1), ("strong", 1)],
}  # fmt: skip


def main(archive: Path, sizes: list[int], seeds: int) -> None:
    """Computes all features once, then fits and prints."""
    with unpacked(archive) as folder:
        data = training_photos(folder)
    photos, labels, ids, names = data.images, data.labels, data.ids, data.classes
    model, device = make_classifier(NAME, classes=len(names)), choose_device()
    p, backend = model.preprocessing, InferenceBackend(device, choose_precision(device), "auto", TEMPORARY)
    clean = compute_features(model, p.views(photos), range(len(photos)), backend=backend, progress="clean")

    def look(policy: str, view: int, rows: np.ndarray) -> np.ndarray:
        """Features of an augmented view of the rows; what is pasted on comes from among them."""
        some, names = [photos[row] for row in rows], [ids[row] for row in rows]
        backgrounds = Backgrounds(some, names, np.zeros(len(rows), np.int64))
        transform = Transform(policy, p.size, backgrounds=backgrounds)
        views = p.views(some, ids=names, transform=transform)
        return compute_features(model, views, range(len(rows)), view=view, backend=backend, progress=policy)

    print(f"{'views beside clean':<20}" + "".join(f"{size:>4} a class: accuracy, log loss   " for size in sizes))
    for recipe, looks in RECIPES.items():
        cells = []
        for size in sizes:
            found = []
            for seed in range(seeds):
                rng = np.random.default_rng(seed)
                chosen = [rng.choice(np.flatnonzero(labels == c), size, replace=False) for c in range(len(names))]
                rows = np.concatenate(chosen)
                test = np.setdiff1d(np.arange(len(labels)), rows)
                folds = assign_folds(labels[rows], seed)
                weight = WEIGHT_BESIDE_PASTED if ("paste", 1) in looks else 1.0
                views = [clean[rows], *(look(policy, view, rows) for policy, view in looks)]
                fitter = HeadFitter(views, labels[rows], folds, grid=C_GRID, classes=len(names), clean=weight)
                logits = fitter.fit(-1).logits(clean[test])  # no fold has this number: fitted on all rows
                loss = -log_softmax(logits, axis=-1)[np.arange(len(test)), labels[test]].mean()
                found.append(((logits.argmax(axis=1) == labels[test]).mean(), loss))
            (accuracy, loss), deviation = np.mean(found, axis=0), np.std(found, axis=0, ddof=1)[0]
            cells.append(f"{accuracy:8.4f} ± {deviation:.4f}, {loss:.4f}      ")
        print(f"{recipe:<20}" + "".join(cells), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--per-class", default="10,25,50")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    main(options.archive, [int(size) for size in options.per_class.split(",")], options.seeds)
