"""Photos and networks for benchmarks: archives in Kaggle's layout (Train/<class>/<file>), and the built-in sample."""

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedKFold

from kagglepipe.competitions.source import list_files
from kagglepipe.images.decode import ImageError, Pixels, decode
from kagglepipe.models.classifier import Classifier, make_backbone, preprocessing_of
from kagglepipe.models.weights import find_weights
from kagglepipe.samples.photos import make_photos

TEMPORARY = Path(tempfile.gettempdir())
C_GRID = (0.01, 0.1, 1.0, 10.0)  # regularisation of a linear head


@dataclass(frozen=True)
class Photos:
    """N labelled photos: images (H, W, 3), labels (N,) as class numbers, file names, names of the classes."""

    images: list[Pixels]
    labels: np.ndarray
    ids: list[str]
    classes: list[str]


@contextmanager
def unpacked(archive: Path) -> Iterator[Path]:
    """Temporary folder with the files of a ZIP."""
    with tempfile.TemporaryDirectory() as place, zipfile.ZipFile(archive) as zipped:
        zipped.extractall(place)
        yield Path(place)


def read_photo(path: Path) -> Pixels:
    """Decoded photo with a short side of 256 pixels."""
    return decode(path.read_bytes(), short_side=256, max_side=20_000)


class PhotoFiles:
    """row -> photo, decoded each time."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __getitem__(self, row: int) -> Pixels:
        return read_photo(self.files[row])


def training_photos(folder: Path) -> Photos:
    """All readable photos below folders named Train; their folders, in lower case, are the classes."""
    found = []
    for path in sorted(path for path in list_files(folder)[0] if path.parent.parent.name == "Train"):
        try:
            found.append((path, read_photo(path)))
        except ImageError:  # the sample has a broken file on purpose
            continue
    classes = sorted({path.parent.name.lower() for path, _ in found})
    labels = np.array([classes.index(path.parent.name.lower()) for path, _ in found])
    return Photos([image for _, image in found], labels, [path.name for path, _ in found], classes)


def sample_files(folder: Path, count: int) -> list[Path]:
    """Files of the built-in sample, drawn into `folder`, half of each class."""
    make_photos(folder / "sample", per_class=count // 2, test=2)
    return sorted((folder / "sample" / "Train").rglob("*.*g"))[:count]


def make_classifier(
    name: str, weights: str = "bundled", *, classes: int = 2, image_size: int | None = None, **kwargs: float
) -> Classifier:
    """Classifier of a timm backbone; kwargs: of the backbone."""
    backbone = make_backbone(name, find_weights(name, weights), kwargs=kwargs, cache_dir=TEMPORARY)
    preprocessing = preprocessing_of(backbone, image_size=image_size, crop="squash", short_side=image_size or 256)
    return Classifier(backbone, classes, preprocessing)


def assign_folds(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Stratified fold (N,) of each row, 0 to 4."""
    folds = np.zeros(len(labels), np.int64)
    for fold, (_, valid) in enumerate(StratifiedKFold(5, shuffle=True, random_state=seed).split(labels, labels)):
        folds[valid] = fold
    return folds
