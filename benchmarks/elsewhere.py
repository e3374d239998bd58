"""Which augmentation of a head holds on photos from elsewhere? Asked of stand-ins made of the training photos alone.

    python benchmarks/elsewhere.py ARCHIVE.zip [--scenes FOLDER] [--sheets FOLDER] [--policies none,strong,paste]

Every stand-in is of one size, blur and compression for both classes. `equal`: the photo. `hands`: the first class cut
out and put before photos of the second (whose hands and tables it gets), the second as it is. `scenes`: both before
frames of videos in --scenes, or before even grounds without it. A photo is judged by the head whose fold did not hold
it, and is put before photos of its own fold. Prints, for each policy, errors and log loss out of fold, and the balanced
accuracy on the stand-ins. --sheets: keeps a picture of each kind.
"""

from pathlib import Path

import cv2
import numpy as np
from measure import make_parser
from photos import C_GRID, TEMPORARY, assign_folds, make_classifier, training_photos, unpacked
from scipy.special import log_softmax
from sklearn.metrics import balanced_accuracy_score

from kagglepipe.images.augment import Transform
from kagglepipe.images.decode import Pixels, decode
from kagglepipe.images.paste import Backgrounds, cut_out, framed, pasted
from kagglepipe.reports.plots import Tile, draw_sheet
from kagglepipe.sequences.video import sample_frames
from kagglepipe.training.backends import InferenceBackend
from kagglepipe.training.device import choose_device, choose_precision
from kagglepipe.training.features import Features, compute_features
from kagglepipe.training.head import HeadFitter
from kagglepipe.training.image_learner import WEIGHT_BESIDE_PASTED

Made = tuple[Pixels, int, int]  # a stand-in, its class, the row of the photo in it


def finished(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Of a size, blur and compression that know nothing of the class."""
    scale = rng.integers(140, 320) / max(image.shape[:2])
    size = max(24, round(image.shape[1] * scale)), max(24, round(image.shape[0] * scale))
    image = cv2.GaussianBlur(cv2.resize(image, size, interpolation=cv2.INTER_AREA), (0, 0), rng.uniform(0.3, 1.0))
    coded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 90))])[1]
    return decode(coded.tobytes(), short_side=256, max_side=1000)


def stand_ins(
    photos: list[Pixels], labels: np.ndarray, folds: np.ndarray, scenes: list[Pixels]
) -> dict[str, list[Made]]:
    """Of every kind, drawn with a seed of their own."""
    rng, found = np.random.default_rng(7), {"equal": [], "hands": [], "scenes": []}
    for row, photo in enumerate(photos):
        label = int(labels[row])
        shaped = framed(photo, rng.uniform(0.7, 1.4))
        found["equal"].append((finished(shaped, rng), label, row))
        if label == 1:
            found["hands"].append((finished(framed(photo, rng.uniform(0.7, 1.4)), rng), label, row))
        if cut_out(photo) is None:
            continue
        if label == 0:
            behind = photos[rng.choice(np.flatnonzero((labels == 1) & (folds == folds[row])))]
            found["hands"].append((finished(pasted(photo, behind, rng), rng), label, row))
        behind = scenes[rng.integers(len(scenes))]
        found["scenes"].append((finished(pasted(photo, behind, rng), rng), label, row))
    return found


def first_frames(folder: Path | None) -> list[Pixels]:
    """The first frame of every other video; even grounds where there is none."""
    if folder is None:
        return [np.full((240, 320, 3), grey, np.uint8) for grey in range(0, 256, 16)]
    files = sorted(folder.rglob("*.mp4"))[::2]
    return [next(iter(sample_frames(file, rate=1, resize=240)))[1] for file in files]


def judged(fitter: HeadFitter, made: dict[str, tuple[Features, list[Made]]]) -> list[float]:
    """[errors and log loss out of fold, balanced accuracy on each kind of stand-in]."""
    clean, labels, folds = fitter.views[0], fitter.labels, fitter.folds
    heads = {int(fold): fitter.fit(int(fold)) for fold in np.unique(folds)}
    logits = np.concatenate([heads[int(f)].logits(clean[[n]]) for n, f in enumerate(folds)])
    loss = -log_softmax(logits, axis=-1)[np.arange(len(labels)), labels].mean()
    scores = [float((logits.argmax(axis=1) != labels).sum()), float(loss)]
    for features, kind in made.values():
        said = [heads[int(folds[row])].logits(features[[n]]).argmax() for n, (_, _, row) in enumerate(kind)]
        scores.append(float(balanced_accuracy_score([label for _, label, _ in kind], said)))
    return scores


def main(archive: Path, scenes: Path | None, sheets: Path | None, policies: list[str], seeds: int) -> None:
    """Makes, judges, prints."""
    with unpacked(archive) as folder:
        data = training_photos(folder)
    photos, labels, ids, names = data.images, data.labels, data.ids, data.classes
    folds, model, device = assign_folds(labels), make_classifier("tf_efficientnet_lite0"), choose_device()
    p, backend = model.preprocessing, InferenceBackend(device, choose_precision(device), "auto", TEMPORARY)

    def seen(images: list[Pixels], name: str) -> Features:
        return compute_features(model, p.views(images), range(len(images)), backend=backend, progress=name)

    made = stand_ins(photos, labels, folds, first_frames(scenes))
    looks = {kind: (seen([image for image, _, _ in items], kind), items) for kind, items in made.items()}
    if sheets:
        for kind, items in made.items():
            shown = np.random.default_rng(0).choice(len(items), 40, replace=False)
            draw_sheet(
                sheets / f"{kind}.png", [Tile(items[n][0], names[items[n][1]]) for n in shown], columns=10, title=kind
            )
    print("stand-ins:", ", ".join(f"{len(items)} {kind}" for kind, items in made.items()))
    print(
        f"{'augmentation':<14}{'errors':>8}{'log loss':>10}" + "".join(f"{kind:>9}" for kind in made) + f"{'mean':>9}"
    )
    clean = seen(photos, "clean")
    for policy in policies:
        for seed in range(seeds if policy != "none" else 1):
            transform = Transform(policy, p.size, backgrounds=Backgrounds(photos, ids, folds))
            views = [clean]
            if policy != "none":
                augmented = p.views(photos, ids=ids, transform=transform, seed=seed)
                rows = range(len(photos))
                views.append(compute_features(model, augmented, rows, view=1, backend=backend, progress=policy))
            weight = WEIGHT_BESIDE_PASTED if policy == "paste" else 1.0
            fitter = HeadFitter(views, labels, folds, grid=C_GRID, classes=2, clean=weight)
            errors, loss, *scores = judged(fitter, looks)
            row = "".join(f"{score:9.3f}" for score in (*scores, float(np.mean(scores))))
            print(f"{policy:<10}{seed:>4}{errors:>8.0f}{loss:>10.4f}{row}", flush=True)


if __name__ == "__main__":
    parser = make_parser(__doc__, seeds=2)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--scenes", type=Path)
    parser.add_argument("--sheets", type=Path)
    parser.add_argument("--policies", default="none,light,strong,resolution,paste")
    options = parser.parse_args()
    main(options.archive, options.scenes, options.sheets, options.policies.split(","), options.seeds)
