"""Does fine-tuning forget what the frozen network knew of photos from elsewhere, and what keeps it?

    python benchmarks/forgetting.py ARCHIVE.zip [--scenes FOLDER] [--folds 0,1,2,3,4] [--out FOLDER]

For each fold a head is fitted, on clean views and those of a policy, and the network is tuned from it for three epochs
with that policy, each as the package does. Weights between the two (WiSE-FT, Wortsman et al. 2022), and means of their
probabilities, cost no further training. All are chosen by the stand-ins of `elsewhere.py`, made of photos of the fold,
and told by the 163 labelled drawings of the built-in sample, which nothing was chosen by. Probabilities are kept in
--out, by fold and policy, and not computed again.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from elsewhere import first_frames, stand_ins
from measure import make_parser
from photos import C_GRID, TEMPORARY, assign_folds, make_classifier, training_photos, unpacked
from recipe import ONE, tune
from scipy.special import softmax
from sklearn.metrics import balanced_accuracy_score, log_loss

from kagglepipe.images.augment import Transform
from kagglepipe.images.dataset import TrainingImages
from kagglepipe.images.decode import Pixels
from kagglepipe.images.paste import Backgrounds
from kagglepipe.models.classifier import Classifier
from kagglepipe.samples.photos import make_photos
from kagglepipe.training.backends import InferenceBackend
from kagglepipe.training.device import choose_device, choose_precision
from kagglepipe.training.features import compute_features
from kagglepipe.training.head import HeadFitter
from kagglepipe.training.image_learner import WEIGHT_BESIDE_PASTED, set_head

POLICIES = ("light", "paste")
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the tuned weights, the rest are those with the head alone
EPOCHS, BATCH = 3, 16
SETS = ("own", "equal", "hands", "scenes", "drawn")


class Bench:
    """The photos, their stand-ins, the drawings and the network as it came."""

    def __init__(self, archive: Path, scenes: Path | None) -> None:
        with unpacked(archive) as real, tempfile.TemporaryDirectory() as drawn:
            make_photos(Path(drawn), per_class=80, test=2)
            self.data, other = training_photos(real), training_photos(Path(drawn))
        self.folds, self.device = assign_folds(self.data.labels), choose_device()
        self.backend = InferenceBackend(self.device, choose_precision(self.device), "auto", TEMPORARY)
        self.model = make_classifier("tf_efficientnet_lite0").to(self.device, memory_format=torch.channels_last)
        own = [(image, int(self.data.labels[row]), row) for row, image in enumerate(self.data.images)]
        made = stand_ins(self.data.images, self.data.labels, self.folds, first_frames(scenes))
        self.sets = {
            "own": own,
            **made,
            "drawn": list(zip(other.images, other.labels, [-1] * len(other.labels), strict=True)),
        }

    def rows(self, kind: str, fold: int) -> tuple[list[Pixels], np.ndarray]:
        """(images, labels) of one kind that a fold may be asked about."""
        found = [(image, label) for image, label, row in self.sets[kind] if row < 0 or self.folds[row] == fold]
        return [image for image, _ in found], np.array([label for _, label in found])

    def logits(self, model: Classifier, images: list[Pixels]) -> np.ndarray:
        """(N, 2)"""
        backend = InferenceBackend(self.backend.device, self.backend.precision, self.backend.name, None)
        features = compute_features(model, model.preprocessing.views(images), range(len(images)), backend=backend)
        head = [part.detach().numpy().astype(np.float64) for part in (model.head.weight, model.head.bias)]
        return np.asarray(features.astype(np.float64) @ head[0].T + head[1])

    def fit(self, fold: int, policy: str) -> dict[str, np.ndarray]:
        """`SHARE SET` -> logits (N, 2)."""
        data, p = self.data, self.model.preprocessing
        transform = Transform(policy, p.size, backgrounds=Backgrounds(data.images, data.ids, self.folds))
        views = p.views(data.images, ids=data.ids, transform=transform, seed=0)
        rows = range(len(data.images))
        looks = [compute_features(self.model, views, rows, view=view, backend=self.backend) for view in (0, 1)]
        clean = WEIGHT_BESIDE_PASTED if policy == "paste" else 1.0
        head = HeadFitter(looks, data.labels, self.folds, grid=C_GRID, classes=2, clean=clean).fit(fold)
        model = make_classifier("tf_efficientnet_lite0").to(memory_format=torch.channels_last)
        set_head(model, head.weight, head.bias)
        chosen = np.flatnonzero(self.folds != fold)
        recipe = ONE.__class__(policy=policy, steps=EPOCHS * -(-len(chosen) // BATCH))
        found = tune(model, TrainingImages(views, data.labels), chosen, recipe, seed=fold)
        start, end, said = found["head alone"], found[""], {}
        for share in SHARES:
            model.load_state_dict({name: start[name].lerp(end[name], share) for name in end}, strict=False)
            for kind in SETS:
                said[f"{share} {kind}"] = self.logits(model, self.rows(kind, fold)[0])
        return said


def main(archive: Path, scenes: Path | None, folds: list[int], out: Path) -> None:
    """Trains what is not in `out`, then prints all."""
    out.mkdir(parents=True, exist_ok=True)
    bench = Bench(archive, scenes)
    said = {}
    for fold in folds:
        for policy in POLICIES:
            file = out / f"{policy}-{fold}.npz"
            if not file.exists():
                np.savez(file, **bench.fit(fold, policy))
            said[policy, fold] = dict(np.load(file))
    print(f"{'':<38}{'errors':>8}{'log loss':>10}" + "".join(f"{kind:>8}" for kind in SETS[1:]))
    ways = {f"{policy}, {share:g} tuned": [(policy, share)] for policy in POLICIES for share in SHARES}
    ways |= {f"mean of {a} tuned and {b} head": [(a, 1.0), (b, 0.0)] for a in POLICIES for b in POLICIES}
    for name, parts in ways.items():
        scores = []
        for kind in SETS:
            truth = np.concatenate([bench.rows(kind, fold)[1] for fold in folds])
            probs = np.concatenate(
                [np.mean([softmax(said[p, fold][f"{s} {kind}"], axis=1) for p, s in parts], axis=0) for fold in folds]
            )
            scores += [int((probs.argmax(axis=1) != truth).sum()), log_loss(truth, probs)] if kind == "own" else []
            scores += [balanced_accuracy_score(truth, probs.argmax(axis=1))] if kind != "own" else []
        print(f"{name:<38}{scores[0]:>8}{scores[1]:>10.4f}" + "".join(f"{one:>8.3f}" for one in scores[2:]), flush=True)


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--scenes", type=Path)
    parser.add_argument("--folds", default="0,1,2,3,4")
    parser.add_argument("--out", type=Path, default=TEMPORARY / "forgetting")
    options = parser.parse_args()
    main(options.archive, options.scenes, [int(one) for one in options.folds.split(",")], options.out)
