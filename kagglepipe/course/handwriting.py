"""Handwritten digits for the lessons, of a CSV with a column a pixel or those of scikit-learn, and their batches."""

import logging
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kagglepipe.competitions.item_tables import pixel_columns, read_columns, read_header
from kagglepipe.errors import UserError
from kagglepipe.files import absolute
from kagglepipe.images.dataset import Unnamed
from kagglepipe.images.elastic import distorted
from kagglepipe.images.pixel_table import read_pixels
from kagglepipe.images.views import resize

log = logging.getLogger(__name__)
SIDE = 28
FILES = ("train.csv", "train.csv.gz", "train.csv.zip")  # of a folder
HELD_OUT = (0.2, 2000)  # share of the digits, and most of them, that are not trained on
FEWEST = 15  # of each digit
DARK = 128  # images without a brighter pixel have another white than 255
MEAN, DEVIATION = 0.13, 0.31  # of pixels between 0 and 1, of MNIST

Prepare = Callable[[Tensor], Tensor]  # images (B, 28, 28) with mean 0 and deviation 1 -> inputs of a network


class Digits(NamedTuple):
    """Images (N, 28, 28) of uint8, white on black, and which digits they are (N,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def rows(self, rows: NDArray[np.int64]) -> "Digits":
        """Those of `rows` (M,)."""
        return Digits(self.images[rows], self.labels[rows])


def read_digits(source: str | None, *, fewest: int = FEWEST, option: str = "source") -> Digits:
    """Read a CSV, or the training CSV of a folder; None: the 1,797 digits of 8×8 pixels that scikit-learn brings.

    Images of another size than 28×28 are resized, dark ones brightened. option: of `course`, that names the source.
    Raises UserError for colours, deeper pixels, labels that are no digits, and fewer than `fewest` images of a digit.
    """
    if source is None:
        from sklearn.datasets import load_digits

        found = load_digits()
        framed = [resize((image * 255 / 16).astype(np.uint8)[..., None], 20, 20)[..., 0] for image in found.images]
        return Digits(np.pad(framed, [(0, 0), (4, 4), (4, 4)]), found.target.astype(np.int64))  # as in MNIST
    path = absolute(source)
    if path.is_dir():
        path = next((path / name for name in FILES if (path / name).is_file()), path / FILES[0])
    if not path.is_file():
        raise UserError(f"course.{option}={source} has no {FILES[0]}: give a CSV with label and pixel0 to pixel783")
    header = read_header(path)[1]
    others = [name for name in header if name not in pixel_columns(header)]
    column = next((name for name in others if name.strip().casefold() == "label"), others[0] if others else "label")
    cells = read_columns(path, [column], mend="give the digits of the images")[column].str.strip()
    cells = cells.str.removesuffix(".0")  # as pandas writes a column that had an empty cell
    if odd := [f"{cell!r} in line {row + 2}" for row, cell in enumerate(cells) if cell not in set("0123456789")]:
        raise UserError(f"{path}, column {column}, has {odd[0]}: needed are the digits 0 to 9")
    found, labels = read_pixels(path), cells.to_numpy(str).astype(np.int64)
    if found.shape[3] != 1 or found.dtype != np.uint8:
        raise UserError(f"{path} has pixels of {found.shape[3]} × {found.dtype}: needed are 8 bits of grey, 1 × uint8")
    if (few := np.bincount(labels, minlength=10)).min() < fewest:
        raise UserError(f"{path} has {few.min()} images of the digit {few.argmin()}: {fewest} are needed of each")
    images = found.astype(np.uint8, copy=False)
    if (white := int(images.max())) < DARK:  # as 16 in the 8×8 pixels of scikit-learn
        log.info("course: the brightest pixel of %s, %d, is taken for white", path, white)
        images = (images.astype(np.int64) * 255 // max(1, white)).astype(np.uint8)
    if (side := images.shape[1]) != SIDE:
        log.info("course: the images of %s, %d x %d, are resized to %d x %d", path, side, side, SIDE, SIDE)
        return Digits(np.stack([resize(image, SIDE, SIDE)[..., 0] for image in images]), labels)
    return Digits(images[..., 0], labels)


def split(digits: Digits, heldout: str | None, seed: int) -> tuple[Digits, Digits]:
    """Split into digits to learn and digits to be tested on: those of another CSV, or a fifth, at most 2,000.

    Those to learn are in an order by which their first rows have as many of each digit, as far as there are.
    """
    order = np.random.default_rng(seed).permutation(len(digits.labels))
    count = 0 if heldout else min(int(HELD_OUT[0] * len(order)), HELD_OUT[1])
    test, rest = digits.rows(order[:count]), digits.rows(order[count:])
    turn = np.zeros(len(rest.labels), np.int64)
    for digit in range(10):
        turn[rest.labels == digit] = np.arange((rest.labels == digit).sum())
    learnt = rest.rows(np.argsort(turn, kind="stable"))
    return learnt, read_digits(heldout, fewest=0, option="heldout") if heldout else test


def as_tensor(images: NDArray[np.uint8]) -> Tensor:
    """Images (N, 28, 28) as float32 of mean 0 and deviation 1, about."""
    return (torch.from_numpy(images).float() / 255 - MEAN) / DEVIATION


class DigitBatches(Unnamed):
    """Shuffled batches of digits, distorted anew in each epoch (`images.elastic`) with `augmented`."""

    def __init__(self, digits: Digits, prepare: Prepare, *, batch_size: int, augmented: bool, seed: int) -> None:
        self.digits, self.prepare, self.batch_size = digits, prepare, batch_size
        self.augmented, self.seed = augmented, seed

    def __len__(self) -> int:
        return -(-len(self.digits.labels) // self.batch_size)

    def __call__(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.digits.labels))
        for start in range(0, len(order), self.batch_size):
            images, labels = self.digits.rows(order[start : start + self.batch_size])
            if self.augmented:
                images = np.stack([distorted(image[..., None], SIDE, rng)[..., 0] for image in images])
            yield self.prepare(as_tensor(images)), torch.from_numpy(labels)


@torch.inference_mode()
def probabilities(network: nn.Module, digits: Digits, prepare: Prepare, device: torch.device) -> NDArray[np.float64]:
    """Probabilities (N, 10) of the digits, 256 at a time."""
    network.eval()
    parts = as_tensor(digits.images).split(256)
    return torch.cat([network(prepare(part).to(device)).double().softmax(dim=1).cpu() for part in parts]).numpy()
