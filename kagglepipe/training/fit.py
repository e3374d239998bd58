"""The one training loop, for whatever has batches: photos, clips, or features to fit a model of time on."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
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

    def of_epoch(epoch: int) -> Iterable[Sequence[Tensor]]:
        batches.epoch = epoch
        return loader

    optimiser = make_optimiser(
        model,
        lr=recipe.lr,
        layer_decay=recipe.layer_decay,
        weight_decay=recipe.weight_decay,
        frozen_below=recipe.frozen_below,
    )
    return train_epochs(
        model,
        of_epoch,
        optimiser,
        steps=len(batches),
        recipe=recipe,
        seed=seed,
        precision=precision,
        name=name,
        unit="image",
        evaluate=lambda: evaluate(model, images, valid, precision, batch_size=recipe.batch_size),
    )


def train_epochs(
    model: nn.Module,
    batches: Callable[[int], Iterable[Sequence[Tensor]]],
    optimiser: torch.optim.Optimizer,
    *,
    steps: int,
    recipe: Recipe,
    seed: int,
    precision: Precision,
    name: str,
    unit: str,
    evaluate: Callable[[], tuple[float, float]] | None,
    option: str = "training.lr",
) -> list[Epoch]:
    """Trains `model` in place for `recipe.epochs`.

    batches: epoch -> its batches, each the model's inputs and, last, its labels; `steps` of them an epoch.
    evaluate: gives (log loss, accuracy) on what is held out, by which the best epoch is kept and training may end
    early; None trusts the last epoch, so that nothing is chosen by what is held out.
    option: where the learning rate is set, for the error of a loss that blows up.
    """
    schedule = make_schedule(optimiser, recipe.schedule, steps=recipe.epochs * steps, warmup=recipe.warmup)
    device = next(model.parameters()).device
    scaler = torch.amp.GradScaler(device.type, enabled=precision.scaled)
    model.to(memory_format=torch.channels_last)
    history: list[Epoch] = []
    best: tuple[float, float] | None = None
    kept: dict[str, Tensor] = {}
    for epoch in range(1, recipe.epochs + 1):
        torch.manual_seed(int(np.random.default_rng([seed, epoch]).integers(2**63)))  # what drops units
        freeze_statistics(model)
        start, loss_sum, seen = time.perf_counter(), 0.0, 0
        with tqdm(total=steps, desc=f"{name} epoch {epoch}", unit="batch", leave=False, disable=None) as bar:
            for *inputs, labels in batches(epoch):
                loss, right, count = step(model, inputs, labels, optimiser, scaler, recipe, precision)
                if not math.isfinite(loss):
                    raise UserError(f"{name}: the loss became {loss} in epoch {epoch}: lower {option}={recipe.lr}")
                schedule.step()
                loss_sum, seen = loss_sum + loss * count, seen + count
                bar.set_postfix(loss=f"{loss:.3f}", accuracy=f"{right / max(count, 1):.2f}")
                bar.update()
        rate, train_loss = seen / (time.perf_counter() - start), loss_sum / max(seen, 1)
        last_lr = optimiser.param_groups[-1]["lr"]
        if evaluate is None:
            history.append(Epoch(epoch, train_loss, math.nan, math.nan, last_lr, rate))
            continue
        valid_loss, accuracy = evaluate()
        history.append(Epoch(epoch, train_loss, valid_loss, accuracy, last_lr, rate))
        log.info(
            "%s epoch %d/%d: train loss %.4f, valid loss %.4f, valid accuracy %.4f, %.0f %ss/s",
            name, epoch, recipe.epochs, train_loss, valid_loss, accuracy, rate, unit,
        )  # fmt: skip
        if best is None or (accuracy, -valid_loss) > best:
            best, kept = (accuracy, -valid_loss), snapshot(model)
        elif epoch - best_epoch(history) >= recipe.patience:
            log.info("%s stops early: no better epoch in %d", name, recipe.patience)
            break
    if kept:
        model.load_state_dict(kept)
    return history


def step(
    model: nn.Module,
    inputs: Sequence[Tensor],
    labels: Tensor,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    recipe: Recipe,
    precision: Precision,
) -> tuple[float, int, int]:
    """One batch forward, backward and into the weights: (its mean loss, how many labels it had right, of how many).

    Logits are (B, C) or (B, T, C), labels (B,) or (B, T); labels below 0 stand for padding and do not count.
    """
    device = next(model.parameters()).device
    inputs = [tensor.to(device, non_blocking=True) for tensor in inputs]
    labels = labels.to(device, non_blocking=True).flatten()
    optimiser.zero_grad(set_to_none=True)
    with autocast(device, precision):
        logits = model(*inputs).flatten(0, -2)
    loss = F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
    scaler.scale(loss).backward()
    scaler.unscale_(optimiser)
    torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
    scaler.step(optimiser)
    scaler.update()
    right = int((logits.detach().argmax(dim=1) == labels).sum())
    return float(loss.detach()), right, int((labels >= 0).sum())


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


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the weights that later steps leave alone."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def best_epoch(history: list[Epoch]) -> int:
    """The epoch whose weights are kept."""
    return max(history, key=lambda e: (e.valid_accuracy, -e.valid_loss)).epoch
