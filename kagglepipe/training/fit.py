"""The one training loop: fine-tunes a network from a head that already knows the classes."""

import logging
import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from kagglepipe.errors import UserError
from kagglepipe.images.dataset import EpochBatches, TrainingImages, training_loader
from kagglepipe.models.classifier import Classifier
from kagglepipe.training.device import Precision
from kagglepipe.training.head import log_softmax
from kagglepipe.training.optimise import freeze_statistics, make_optimiser, make_schedule

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """How the network is trained; the fields are those of `training.*` in the configuration."""

    epochs: int
    lr: float
    batch_size: int
    layer_decay: float
    frozen_below: float
    weight_decay: float
    warmup: float
    schedule: str
    clip: float
    label_smoothing: float
    patience: int


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to; losses are mean log losses, `rate` images a second of training."""

    epoch: int
    train_loss: float
    valid_loss: float
    valid_accuracy: float
    lr: float
    rate: float


def fit(
    model: Classifier,
    images: TrainingImages,
    *,
    train: NDArray[np.int64],
    valid: NDArray[np.int64],
    recipe: Recipe,
    seed: int,
    precision: Precision,
    workers: int,
    name: str,
) -> list[Epoch]:
    """Trains `model` in place on the rows `train` and leaves it with the weights of the best epoch on `valid`.

    Best is the highest accuracy and, among equals, the least log loss. Stops early after `recipe.patience`
    epochs without a better one. name: what the progress bar and the log lines are headed with.
    """
    device = model.head.weight.device
    batches = EpochBatches(train, batch_size=recipe.batch_size, seed=seed)
    loader = training_loader(images, batches, workers=workers, pinned=device.type == "cuda")
    optimiser = make_optimiser(
        model,
        lr=recipe.lr,
        layer_decay=recipe.layer_decay,
        weight_decay=recipe.weight_decay,
        frozen_below=recipe.frozen_below,
    )
    schedule = make_schedule(optimiser, recipe.schedule, steps=recipe.epochs * len(batches), warmup=recipe.warmup)
    scaler = torch.amp.GradScaler(device.type, enabled=precision.scaled)
    model.to(memory_format=torch.channels_last)
    history: list[Epoch] = []
    best: tuple[float, float] | None = None
    kept: dict[str, Tensor] = {}
    for epoch in range(1, recipe.epochs + 1):
        batches.epoch = epoch
        torch.manual_seed(int(np.random.default_rng([seed, epoch]).integers(2**63)))  # what drops units
        freeze_statistics(model)
        start, loss_sum = time.perf_counter(), 0.0
        with tqdm(total=len(train), desc=f"{name} epoch {epoch}", unit="image", leave=False, disable=None) as bar:
            for pixels, labels in loader:
                loss, right = step(model, pixels, labels, optimiser, scaler, recipe, precision)
                if not math.isfinite(loss):
                    raise UserError(f"{name}: the loss became {loss} in epoch {epoch}: lower training.lr={recipe.lr}")
                schedule.step()
                loss_sum += loss * len(labels)
                bar.set_postfix(loss=f"{loss:.3f}", accuracy=f"{right / len(labels):.2f}")
                bar.update(len(labels))
        rate = len(train) / (time.perf_counter() - start)
        valid_loss, accuracy = evaluate(model, images, valid, precision, batch_size=recipe.batch_size)
        history.append(
            Epoch(epoch, loss_sum / len(train), valid_loss, accuracy, optimiser.param_groups[-1]["lr"], rate)
        )
        log.info(
            "%s epoch %d/%d: train loss %.4f, valid loss %.4f, valid accuracy %.4f, %.0f images/s",
            name, epoch, recipe.epochs, loss_sum / len(train), valid_loss, accuracy, rate,
        )  # fmt: skip
        if best is None or (accuracy, -valid_loss) > best:
            best, kept = (accuracy, -valid_loss), snapshot(model)
        elif epoch - best_epoch(history) >= recipe.patience:
            log.info("%s stops early: no better epoch in %d", name, recipe.patience)
            break
    model.load_state_dict(kept)
    return history


def step(
    model: Classifier,
    pixels: Tensor,
    labels: Tensor,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    recipe: Recipe,
    precision: Precision,
) -> tuple[float, int]:
    """One batch forward, backward and into the weights: (its loss, how many it had right)."""
    device = model.head.weight.device
    pixels, labels = pixels.to(device, non_blocking=True), labels.to(device, non_blocking=True)
    optimiser.zero_grad(set_to_none=True)
    with autocast(device, precision):
        logits = model(pixels)
    loss = F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
    scaler.scale(loss).backward()
    scaler.unscale_(optimiser)
    torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
    scaler.step(optimiser)
    scaler.update()
    return float(loss.detach()), int((logits.detach().argmax(dim=1) == labels).sum())


@torch.inference_mode()
def evaluate(
    model: Classifier,
    images: TrainingImages,
    rows: NDArray[np.int64],
    precision: Precision,
    *,
    batch_size: int,
) -> tuple[float, float]:
    """(log loss, accuracy) on the clean views of `rows`."""
    device = model.head.weight.device
    model.eval()
    found = []
    for start in range(0, len(rows), batch_size):
        views = [images.transform.clean(images.reader[row]) for row in rows[start : start + batch_size]]
        with autocast(device, precision):
            found.append(model(torch.from_numpy(np.stack(views)).to(device)).float().cpu().numpy())
    logits, labels = np.concatenate(found).astype(np.float64), images.labels[rows]
    loss = -log_softmax(logits)[np.arange(len(rows)), labels].mean()
    return float(loss), float((logits.argmax(axis=1) == labels).mean())


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Mixed precision: the weights stay float32, products are taken in `precision`."""
    return torch.autocast(device.type, precision.dtype, enabled=precision.dtype != torch.float32)


def snapshot(model: Classifier) -> dict[str, Tensor]:
    """A copy of the weights that later steps leave alone."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def best_epoch(history: list[Epoch]) -> int:
    """The epoch whose weights are kept."""
    return max(history, key=lambda e: (e.valid_accuracy, -e.valid_loss)).epoch
