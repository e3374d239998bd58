"""Fine-tuning of an image classifier on augmented images, validated on clean ones."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax
from torch import Tensor

from kagglepipe import distributed
from kagglepipe.errors import UserError
from kagglepipe.images.dataset import EpochBatches, TrainingImages, training_loader
from kagglepipe.models.classifier import Classifier
from kagglepipe.options import TrainingOptions
from kagglepipe.predictions.metrics import find_metric
from kagglepipe.training.device import Precision
from kagglepipe.training.loop import FitRuntime, train_epochs
from kagglepipe.training.optimise import make_optimiser
from kagglepipe.training.resume import Epoch
from kagglepipe.training.step import autocast


def fit(
    model: Classifier,
    images: TrainingImages,
    *,
    train: NDArray[np.int64],
    valid: NDArray[np.int64],
    options: TrainingOptions,
    seed: int,
    precision: Precision,
    workers: int,
    name: str,
    runtime: FitRuntime = FitRuntime(),
    metric: str = "accuracy",
) -> list[Epoch]:
    """Fine-tune `model` in place on the rows `train`, keep the best epoch's weights, and return its history.

    train, valid: (N,) and (M,) rows of `images`. The best epoch is that of the best score on `valid` by `metric`, see
    `resume.best_epoch`. workers: processes of the data loader. name: prefix of log lines. With several processes, each
    trains on its shard of every batch, and all end with the same weights.
    """
    on_gpu = model.head.weight.device.type == "cuda"
    batches = ImageBatches(images, train, batch_size=options.batch_size, seed=seed, workers=workers, pinned=on_gpu)
    with lost_workers(workers):  # torch raises the error in whatever is running
        return train_epochs(
            model,
            batches,
            make_optimiser(model, options),
            options=options,
            seed=seed,
            precision=precision,
            name=name,
            unit="image",
            evaluate=lambda rows: evaluate(model, images, valid, precision, batch_size=rows, metric=metric),
            runtime=replace(runtime, rows_after=runtime.rows_after + len(valid)),
            metric=metric,
        )


class ImageBatches:
    """Batches of augmented images (B, S, S, 3) uint8 and labels (B,), this rank's shard of each batch."""

    def __init__(
        self, images: TrainingImages, rows: NDArray[np.int64], *, batch_size: int, seed: int, workers: int, pinned: bool
    ) -> None:
        self.images = images
        rank, ranks = distributed.rank(), distributed.world_size()
        self.keys = EpochBatches(rows, batch_size=batch_size, seed=seed, rank=rank, ranks=ranks)
        self.loader = training_loader(images, self.keys, workers=workers, pinned=pinned)

    def __len__(self) -> int:
        return len(self.keys)

    def __call__(self, epoch: int) -> Iterable[Sequence[Tensor]]:
        self.keys.epoch = epoch
        return self.loader

    def contents(self, epoch: int, number: int) -> Sequence[str]:
        """Ids of the images of one batch, of all ranks together."""
        return [self.images.views.ids[row] for row in self.keys.rows_of(epoch, number)]


@contextmanager
def lost_workers(workers: int) -> Iterator[None]:
    """Turn torch's RuntimeError of a killed data loader worker into a UserError."""
    try:
        yield
    except RuntimeError as error:
        if not (found := re.search(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) ([^.]+)", str(error))):
            raise
        raise UserError(
            f"the process {found[1]} that reads images {found[2]}: the system does that when memory runs out; type "
            f"workers={max(1, workers // 2)}, and the same command goes on where it was"
        ) from error


def evaluate(
    model: Classifier,
    images: TrainingImages,
    rows: NDArray[np.int64],
    precision: Precision,
    *,
    batch_size: int,
    metric: str = "accuracy",
) -> tuple[float, float, float]:
    """(log loss, accuracy, score by `metric`) on the clean views of `rows` (N,)."""
    compute = partial(clean_logits, model, images, precision, batch_size)
    logits, labels = distributed.map_and_gather(compute, rows.tolist()).astype(np.float64), images.labels[rows]
    log_probs = log_softmax(logits, axis=-1)
    loss = -log_probs[np.arange(len(rows)), labels].mean()
    accuracy = float((logits.argmax(axis=1) == labels).mean())
    return float(loss), accuracy, find_metric(metric).function(np.exp(log_probs), labels)


@torch.inference_mode()
def clean_logits(
    model: Classifier, images: TrainingImages, precision: Precision, batch_size: int, rows: Sequence[int]
) -> NDArray[np.float32]:
    """Logits (N, C) of the clean views of `rows`."""
    device = model.head.weight.device
    model.eval()
    logits = []
    for start in range(0, len(rows), batch_size):
        views = [images.views[row, 0] for row in rows[start : start + batch_size]]
        with autocast(device, precision):
            logits.append(model(torch.from_numpy(np.stack(views)).to(device)).float().cpu().numpy())
    return np.concatenate(logits)
