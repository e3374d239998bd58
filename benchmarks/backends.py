"""Speed of a frozen network: torch as it comes, torch as kagglepipe uses it, OpenVINO.

    python benchmarks/backends.py [--archive ARCHIVE.zip] [--images 256] [--models tf_efficientnet_lite0,…]

Prints images a second on tensors in memory (the best of three passes in turn, so that a busy moment hits all), the
ratio to torch as it comes, and what kagglepipe reaches from files, decoding included; freed memory is kept for all
(kagglepipe/memory.py). With --archive also if a head trained on torch's features says the same of OpenVINO's: the
largest difference of a probability, and changed labels.
"""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from measure import make_parser, seconds
from photos import PhotoFiles, make_classifier, sample_files, unpacked

from kagglepipe.competitions.source import list_files
from kagglepipe.memory import keep_freed_memory
from kagglepipe.models.classifier import Classifier
from kagglepipe.models.weights import BUNDLED
from kagglepipe.training.backends import Encoder, InferenceBackend
from kagglepipe.training.device import choose_precision
from kagglepipe.training.features import compute_features
from kagglepipe.training.head import HeadFitter

CPU = torch.device("cpu")


def weights_of(name: str) -> str:
    """Bundled weights, or none (which take as long) where there are no bundled ones."""
    return "bundled" if name in BUNDLED else "none"


def bare(model: Classifier) -> Encoder:
    """Plain torch."""

    @torch.inference_mode()
    def encode(images: np.ndarray) -> np.ndarray:
        return model.features(torch.from_numpy(images)).numpy()

    return encode


def table(name: str, files: list[Path]) -> None:
    """Prints the rows of one network."""
    model, precision = make_classifier(name, weights_of(name)).eval(), choose_precision(CPU)
    views = model.preprocessing.views(PhotoFiles(files))
    tensors = np.stack([views[row, 0] for row in range(len(files))])
    with tempfile.TemporaryDirectory() as place:
        engines = {wanted: InferenceBackend(CPU, precision, wanted, Path(place)) for wanted in ("torch", "openvino")}
        ways = {"torch, as it comes": bare(model), **{f"kagglepipe, {n}": e.encoder(model) for n, e in engines.items()}}
        taken: dict[str, list[float]] = {way: [] for way in ways}
        for encode in ways.values():
            encode(tensors[:16])
        for _ in range(3):
            for way, encode in ways.items():
                batches = [tensors[at : at + 16] for at in range(0, len(tensors), 16)]
                taken[way].append(seconds(lambda: [encode(batch) for batch in batches]))  # noqa: B023
        usual = len(files) / min(taken["torch, as it comes"])
        for way, times in taken.items():
            rate = len(files) / min(times)
            print(f"{name:<24}{way + ', on tensors':<36}{rate:7.1f} images/s   ratio {rate / usual:.2f}")

        for wanted, backend in engines.items():
            work = partial(compute_features, model, views, range(len(files)), backend=backend)
            rate = len(files) / min(seconds(work) for _ in range(2))
            best = len(files) / min(taken[f"kagglepipe, {wanted}"])
            print(f"{name:<24}{f'kagglepipe, {wanted}, from files':<36}{rate:7.1f} images/s   "
                  f"ratio {rate / usual:.2f}, to its tensors {rate / best:.2f}")  # fmt: skip


def agreement(archive: Path, name: str) -> None:
    """Prints how far the answers of a head differ between engines, on all photos of an archive in Kaggle's layout."""
    with unpacked(archive) as place:
        files = list_files(place)[0]
        model, precision = make_classifier(name, weights_of(name)).eval(), choose_precision(CPU)
        views = model.preprocessing.views(PhotoFiles(files))
        found = {
            wanted: compute_features(
                model, views, range(len(files)), backend=InferenceBackend(CPU, precision, wanted), progress=wanted
            )
            for wanted in ("torch", "openvino")
        }
    train = np.array([file.parent.parent.name == "Train" for file in files])
    labels = np.array([file.parent.name == files[int(train.argmax())].parent.name for file in files], np.int64)
    folds = np.arange(train.sum()) % 2
    head = HeadFitter([found["torch"][train]], labels[train], folds, grid=[1.0], classes=2).fit(2)
    probs = {wanted: head.predict(features) for wanted, features in found.items()}
    apart = abs(probs["torch"] - probs["openvino"]).max()
    changed = (probs["torch"].argmax(axis=1) != probs["openvino"].argmax(axis=1)).sum()
    print(f"{name}: {len(files)} photos, largest difference of a probability {apart:.1e}, labels changed: {changed}")


if __name__ == "__main__":
    parser = make_parser(__doc__, images=256)
    parser.add_argument("--archive", type=Path)
    parser.add_argument("--models", default=",".join(BUNDLED))
    options = parser.parse_args()
    torch.manual_seed(0)
    keep_freed_memory()
    print(f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads, {choose_precision(CPU).name}")
    with tempfile.TemporaryDirectory() as folder:
        photos = sample_files(Path(folder), options.images)
        for model_name in options.models.split(","):
            table(model_name, photos)
    if options.archive:
        agreement(options.archive, options.models.split(",")[0])
