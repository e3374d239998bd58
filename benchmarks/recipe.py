"""Fine-tuning on few labels: what each part of a recipe is worth, one at a time, beside the same base.

    python benchmarks/recipe.py ARCHIVE.zip [--per-class 25] [--seeds 0,1,…] [--tries base,mixup,…] [--out FILE]

Each seed draws so many training photos a class; a head is fitted on them, then the network is tuned for a fixed number
of steps, so that nothing is chosen by what is held out. All other training photos are the test, and the built-in
drawings are photos from elsewhere. Prints means over seeds, and what each try brings beside the base of the same
seeds. What is in --out already is not done again; two processes may share it, with other seeds each.
"""

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from measure import make_parser
from photos import C_GRID, assign_folds, make_classifier, training_photos, unpacked
from scipy.special import softmax
from sklearn.metrics import balanced_accuracy_score, log_loss
from torch import Tensor
from torch.nn import functional as F

from kagglepipe.images.augment import Transform
from kagglepipe.images.dataset import EpochBatches, TrainingImages
from kagglepipe.images.paste import Backgrounds
from kagglepipe.models.classifier import Classifier
from kagglepipe.options import TrainingOptions
from kagglepipe.samples.photos import make_photos
from kagglepipe.training.backends import InferenceBackend, has_openvino
from kagglepipe.training.device import autocast, choose_device, choose_precision
from kagglepipe.training.features import compute_features
from kagglepipe.training.head import Head, HeadFitter
from kagglepipe.training.image_learner import WEIGHT_BESIDE_PASTED
from kagglepipe.training.optimise import freeze_statistics, make_optimiser, make_schedule

NAME = "tf_efficientnet_lite0"
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Try:
    """A recipe. mix: `mixup` or `cutmix`. pull: weight of L2 towards the start. drop_path: stochastic depth. few: of
    this many photos of the second class, for 4:1. balance: `weights` in the loss or `sampling`. networks: whose
    probabilities are averaged. also: other weights of the same training, and flipped views, to be tested too."""

    policy: str = "strong"
    steps: int = 32
    lr: float = 1e-4
    batch_size: int = 16
    layer_decay: float = 0.8
    frozen_below: float = 0.1
    head_first: bool = True
    mix: str = ""
    smoothing: float = 0.0
    drop_path: float = 0.0
    pull: float = 0.0
    unequal: bool = False
    balance: str = ""
    networks: int = 1
    also: bool = False


BASE = Try(also=True)
ONE = replace(BASE, also=False)
TRIES = {
    "base": BASE,
    "light": replace(ONE, policy="light"),
    "paste": replace(ONE, policy="paste"),
    "lr 3e-4": replace(ONE, lr=3e-4),
    "lr 3e-5": replace(ONE, lr=3e-5),
    "no head first": replace(ONE, head_first=False),
    "mixup": replace(ONE, mix="mixup"),
    "cutmix": replace(ONE, mix="cutmix"),
    "label smoothing 0.1": replace(ONE, smoothing=0.1),
    "stochastic depth 0.1": replace(ONE, drop_path=0.1),
    "L2 to the start 0.1": replace(ONE, pull=0.1),
    "all layers": replace(ONE, frozen_below=0.0),
    "three seeds": replace(ONE, networks=3),
    "4:1": replace(ONE, unequal=True),
    "4:1, class weights": replace(ONE, unequal=True, balance="weights"),
    "4:1, balanced sampling": replace(ONE, unequal=True, balance="sampling"),
}


def mixed(images: Tensor, targets: Tensor, how: str, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Mixup (Zhang et al. 2018, alpha 0.2) or CutMix (Yun et al. 2019, alpha 1) of a batch with itself, turned."""
    alpha = 0.2 if how == "mixup" else 1.0
    others = torch.from_numpy(rng.permutation(len(images)))
    share = float(rng.beta(alpha, alpha))
    if how == "mixup":
        images = share * images.float() + (1 - share) * images[others].float()
    else:
        size = images.shape[1]
        side = round(size * np.sqrt(1 - share))
        top, left = rng.integers(0, size - side + 1, 2)
        images = images.clone()
        images[:, top : top + side, left : left + side] = images[others, top : top + side, left : left + side]
        share = 1 - side**2 / size**2
    return images, share * targets + (1 - share) * targets[others]


def tune(model: Classifier, images: TrainingImages, rows: np.ndarray, recipe: Try, seed: int) -> dict[str, Weights]:
    """Trains in place. Returns the weights at the `end`, their `moving average` and the mean of `late epochs`."""
    torch.manual_seed(seed)
    rng, labels = np.random.default_rng([7, seed]), images.labels
    counts = np.bincount(labels[rows])
    weights = torch.from_numpy(counts.mean() / counts).float() if recipe.balance == "weights" else None
    if recipe.balance == "sampling":
        rows = np.concatenate(
            [rows, *(np.resize(rows[labels[rows] == c], counts.max() - n) for c, n in enumerate(counts))]
        )
    batches = EpochBatches(rows, batch_size=recipe.batch_size, seed=seed)
    optimiser = make_optimiser(
        model, TrainingOptions(lr=recipe.lr, layer_decay=recipe.layer_decay, frozen_below=recipe.frozen_below)
    )
    set_rates, epochs, done = make_schedule(optimiser, "cosine", warmup=0.1), max(1, recipe.steps // len(batches)), 0
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    start = {name: p.detach().clone() for name, p in trained.items()}
    average, late, device = {n: w.clone() for n, w in start.items()}, [], model.head.weight.device
    precision = choose_precision(device, training=True)
    for epoch in range(1, epochs + 1):
        freeze_statistics(model)
        batches.epoch = epoch
        for keys in batches:
            done += 1
            set_rates(done / (epochs * len(batches) + 1), 1.0)
            views, truth = zip(*(images[key] for key in keys), strict=True)
            batch, targets = torch.from_numpy(np.stack(views)), F.one_hot(torch.tensor(truth), len(counts)).float()
            if recipe.mix:
                batch, targets = mixed(batch, targets, recipe.mix, rng)
            with autocast(device, precision):
                logits = model(batch.to(device))
            loss = F.cross_entropy(logits.float(), targets.to(device), weight=weights, label_smoothing=recipe.smoothing)
            model.zero_grad()
            loss.backward()
            for name, p in trained.items():
                p.grad += recipe.pull * (p.detach() - start[name])
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            keep = min(0.99, (1 + done) / (10 + done))  # a moving average that forgets the start soon
            for name, p in trained.items():
                average[name].lerp_(p.detach(), 1 - keep)
        if 2 * epoch > epochs:
            late.append({name: p.detach().clone() for name, p in trained.items()})
    soup = {name: torch.stack([weights[name] for weights in late]).mean(dim=0) for name in trained}
    half = {name: (start[name] + late[-1][name]) / 2 for name in trained}
    return {
        "": late[-1],
        "moving average": average,
        "late epochs": soup,
        "half way from the head": half,
        "head alone": start,
    }


class Bench:
    """The photos, the network as it came, and what looks through it."""

    def __init__(self, archive: Path, size: int) -> None:
        with unpacked(archive) as real, tempfile.TemporaryDirectory() as drawn:
            make_photos(Path(drawn), per_class=80, test=2)
            self.data, self.drawn = training_photos(real), training_photos(Path(drawn))
        self.size, self.device = size, choose_device()
        fast = "openvino" if has_openvino() and self.device.type == "cpu" else "torch"
        self.backend = InferenceBackend(self.device, choose_precision(self.device), fast)
        self.model = self.network(0.0)
        self.p = self.model.preprocessing

    def network(self, drop_path: float) -> Classifier:
        return make_classifier(NAME, drop_path_rate=drop_path).to(self.device, memory_format=torch.channels_last)

    def probabilities(self, model: Classifier, *, flipped: bool = False) -> list[np.ndarray]:
        """(N, 2) for the clean views of the competition's photos, and of the drawings."""
        head = [part.detach().cpu().numpy().astype(np.float64) for part in (model.head.weight, model.head.bias)]
        found = []
        for photos in (self.data.images, self.drawn.images):
            shown = [np.ascontiguousarray(photo[:, ::-1]) for photo in photos] if flipped else photos
            features = compute_features(model, self.p.views(shown), range(len(photos)), backend=self.backend)
            found.append(softmax(features.astype(np.float64) @ head[0].T + head[1], axis=-1))
        return found

    def draw(self, recipe: Try, seed: int) -> np.ndarray:
        """The rows that are labelled."""
        rng = np.random.default_rng(seed)
        sizes = (round(1.6 * self.size), round(0.4 * self.size)) if recipe.unequal else (self.size, self.size)
        labels = self.data.labels
        return np.concatenate([rng.choice(np.flatnonzero(labels == c), n, replace=False) for c, n in enumerate(sizes)])

    def head(self, rows: np.ndarray, transform: Transform, seed: int) -> Head:
        """A linear head on the clean and one augmented view of the rows, as `training=head` fits it."""
        data, labels = self.data, self.data.labels[rows]
        looks = self.p.views(data.images, ids=data.ids, transform=transform, seed=seed)
        chosen = rows.tolist()
        views = [compute_features(self.model, looks, chosen, view=view, backend=self.backend) for view in (0, 1)]
        clean = 1.0 if transform.backgrounds is None else WEIGHT_BESIDE_PASTED
        return HeadFitter(views, labels, assign_folds(labels, seed % 100), grid=C_GRID, classes=2, clean=clean).fit(-1)

    def run(self, name: str, seed: int) -> list[dict[str, float | str | int]]:
        """Trains and tests one try, and other weights of it where it says so."""
        recipe, data = TRIES[name], self.data
        rows = self.draw(recipe, seed)
        backgrounds = Backgrounds(
            [data.images[n] for n in rows], [data.ids[n] for n in rows], np.zeros(len(rows), np.int64)
        )
        transform = Transform(recipe.policy, self.p.size, backgrounds=backgrounds)
        looks: dict[str, list[list[np.ndarray]]] = {}  # kind of weights -> what each network says
        for own in range(seed, seed + 100 * recipe.networks, 100):
            model = self.network(recipe.drop_path)
            torch.nn.init.zeros_(model.head.weight)
            torch.nn.init.zeros_(model.head.bias)
            if recipe.head_first:
                head = self.head(rows, transform, own)
                model.head.weight.data = torch.from_numpy(head.weight).to(self.device)
                model.head.bias.data = torch.from_numpy(head.bias).to(self.device)
            views = self.p.views(data.images, ids=data.ids, transform=transform, seed=own)
            images = TrainingImages(views, data.labels)
            found = tune(model, images, rows, recipe, own)
            for kind, weights in found.items() if recipe.also else [("", found[""])]:
                model.load_state_dict(weights, strict=False)
                looks.setdefault(kind, []).append(self.probabilities(model))
            if recipe.also:
                model.load_state_dict(found[""], strict=False)
                looks["flips too"] = [looks[""][0], self.probabilities(model, flipped=True)]
        return [self.scored(f"{name}: {kind}" if kind else name, seed, rows, said) for kind, said in looks.items()]

    def scored(self, name: str, seed: int, rows: np.ndarray, said: list[list[np.ndarray]]) -> dict[str, float | str]:
        """What the mean of several probabilities reaches on all photos but the labelled ones, and on the drawings."""
        data, test = self.data, np.setdiff1d(np.arange(len(self.data.labels)), rows)
        own, other = (np.mean([one[n] for one in said], axis=0) for n in (0, 1))
        return {
            "try": name, "per_class": self.size, "seed": seed,
            "accuracy": float(balanced_accuracy_score(data.labels[test], own[test].argmax(axis=1))),
            "log_loss": float(log_loss(data.labels[test], own[test])),
            "drawn": float(balanced_accuracy_score(self.drawn.labels, other.argmax(axis=1))),
        }  # fmt: skip


def show(results: list[dict[str, float | str | int]], base: str) -> None:
    """Prints means over seeds, and the difference to the base of the same seeds with its deviation."""
    print(f"{'':<32}{'seeds':>5}{'accuracy':>10}{'log loss':>10}{'drawn':>8}   against base: accuracy, log loss")
    names = dict.fromkeys(result["try"] for result in results)
    by = {name: {result["seed"]: result for result in results if result["try"] == name} for name in names}
    for name, found in by.items():
        means = [np.mean([one[key] for one in found.values()]) for key in ("accuracy", "log_loss", "drawn")]
        both, gains = [seed for seed in found if seed in by.get(base, {})], ["", ""]
        if len(both) > 1 and name != base:
            for n, key in enumerate(("accuracy", "log_loss")):
                apart = [found[seed][key] - by[base][seed][key] for seed in both]
                gains[n] = f"{np.mean(apart):+.4f} ± {np.std(apart, ddof=1):.4f}"
        row = f"{name:<32}{len(found):>5}{means[0]:>10.4f}{means[1]:>10.4f}{means[2]:>8.3f}"
        print(f"{row}   {gains[0]:>17} {gains[1]:>17}")


def main(archive: Path, size: int, seeds: list[int], tries: list[str], out: Path) -> None:
    """Does what is not done, then prints all."""
    bench = Bench(archive, size)
    for seed in seeds:
        for name in tries:
            known = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
            if not any((r["try"], r["seed"], r["per_class"]) == (name, seed, size) for r in known):
                with out.open("a") as file:
                    file.writelines(json.dumps(result) + "\n" for result in bench.run(name, seed))
    results = [json.loads(line) for line in out.read_text().splitlines()]
    show([r for r in results if r["per_class"] == size], tries[0])


if __name__ == "__main__":
    parser = make_parser(__doc__, per_class=25)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--tries", default=",".join(TRIES))
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "recipe.jsonl")
    options = parser.parse_args()
    main(
        options.archive,
        options.per_class,
        [int(s) for s in options.seeds.split(",")],
        options.tries.split(","),
        options.out,
    )
