"""What looks through a frozen network, and how fast: torch as it comes, torch as kagglepipe has it, OpenVINO.

    python benchmarks/backends.py [--archive ARCHIVE.zip] [--images 256] [--models tf_efficientnet_lite0,…]

Prints images a second on tensors in memory (the best of three passes in turn, so that a busy moment hits all), the
ratio to torch as it comes, and what kagglepipe reaches from files, decoding included. With --archive also if a head
trained on torch's features says the same of OpenVINO's: the largest difference of a probability, and changed labels.
"""

import argparse
import tempfile
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from kagglepipe.competitions.source import list_files
from kagglepipe.images.decode import decode
from kagglepipe.images.view import clean_view
from kagglepipe.models.classifier import Classifier, make_backbone, preprocessing_of
from kagglepipe.models.weights import BUNDLED, find_weights
from kagglepipe.samples.photos import make_photos
from kagglepipe.training.backends import Encoder, InferenceBackend
from kagglepipe.training.device import choose_precision
from kagglepipe.training.features import compute_features
from kagglepipe.training.head import HeadFitter

CPU = torch.device("cpu")


def network(name: str) -> Classifier:
    """With its bundled weights, or untrained where there are none, which takes as long."""
    weights = find_weights(name, "bundled" if name in BUNDLED else "none")
    backbone = make_backbone(name, weights, kwargs={}, cache_dir=Path(tempfile.gettempdir()))
    return Classifier(backbone, 2, preprocessing_of(backbone, image_size=None, crop="squash", short_side=256)).eval()


class Files:
    """row -> the decoded photo."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __getitem__(self, row: int) -> np.ndarray:
        return decode(self.files[row].read_bytes(), short_side=256, max_side=20_000)


def bare(model: Classifier) -> Encoder:
    """What anybody would write."""

    @torch.inference_mode()
    def encode(images: np.ndarray) -> np.ndarray:
        return model.features(torch.from_numpy(images)).numpy()

    return encode


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def table(name: str, files: list[Path]) -> None:
    """Prints the rows of one network."""
    model, precision = network(name), choose_precision(CPU)
    p = model.preprocessing
    views = np.stack([clean_view(decode(f.read_bytes(), short_side=256, max_side=20_000), p.size) for f in files])
    with tempfile.TemporaryDirectory() as place:
        engines = {wanted: InferenceBackend(CPU, precision, wanted, Path(place)) for wanted in ("torch", "openvino")}
        ways = {"torch, as it comes": bare(model), **{f"kagglepipe, {n}": e.encoder(model) for n, e in engines.items()}}
        taken: dict[str, list[float]] = {way: [] for way in ways}
        for encode in ways.values():
            encode(views[:16])
        for _ in range(3):
            for way, encode in ways.items():
                batches = [views[at : at + 16] for at in range(0, len(views), 16)]
                taken[way].append(seconds(lambda: [encode(batch) for batch in batches]))  # noqa: B023
        usual = len(files) / min(taken["torch, as it comes"])
        for way, times in taken.items():
            rate = len(files) / min(times)
            print(f"{name:<24}{way + ', on tensors':<36}{rate:7.1f} images/s   ratio {rate / usual:.2f}")

        for wanted, backend in engines.items():
            work = partial(compute_features, model, p.views(Files(files)), range(len(files)), backend=backend)
            rate = len(files) / min(seconds(work) for _ in range(2))
            best = len(files) / min(taken[f"kagglepipe, {wanted}"])
            print(f"{name:<24}{f'kagglepipe, {wanted}, from files':<36}{rate:7.1f} images/s   "
                  f"ratio {rate / usual:.2f}, to its tensors {rate / best:.2f}")  # fmt: skip


def agreement(archive: Path, name: str) -> None:
    """Prints how far the answers of a head differ between engines, on all photos of an archive in Kaggle's layout."""
    with tempfile.TemporaryDirectory() as place, zipfile.ZipFile(archive) as zipped:
        zipped.extractall(place)
        files = list_files(Path(place))[0]
        model, precision = network(name), choose_precision(CPU)

        views = model.preprocessing.views(Files(files))
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
    probs = {wanted: head.probabilities(features) for wanted, features in found.items()}
    apart = abs(probs["torch"] - probs["openvino"]).max()
    changed = (probs["torch"].argmax(axis=1) != probs["openvino"].argmax(axis=1)).sum()
    print(f"{name}: {len(files)} photos, largest difference of a probability {apart:.1e}, labels changed: {changed}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--models", default=",".join(BUNDLED))
    options = parser.parse_args()
    torch.manual_seed(0)
    print(f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads, {choose_precision(CPU).name}")
    with tempfile.TemporaryDirectory() as folder:
        make_photos(Path(folder) / "sample", per_class=options.images // 2, test=2)
        photos = sorted((Path(folder) / "sample" / "Train").rglob("*.*g"))[: options.images]
        for model_name in options.models.split(","):
            table(model_name, photos)
    if options.archive:
        agreement(options.archive, options.models.split(",")[0])
