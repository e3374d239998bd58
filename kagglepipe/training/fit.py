"""The one training loop, for whatever has batches: photos, clips, or features to fit a model of time on."""

import logging
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax
from torch import Tensor, nn
from tqdm import tqdm

from kagglepipe import console, distributed
from kagglepipe.errors import UserError
from kagglepipe.images.dataset import EpochBatches, TrainingImages, training_loader
from kagglepipe.models.classifier import Classifier
from kagglepipe.models.temporal import load_stored
from kagglepipe.predictions.metrics import find_metric
from kagglepipe.predictions.uncertainty import format_score
from kagglepipe.training.budget import Budget
from kagglepipe.training.device import Precision
from kagglepipe.training.optimise import freeze_statistics, make_optimiser, make_schedule
from kagglepipe.training.resume import Progress, capture, load_progress, part, restore, save_progress
from kagglepipe.training.step import autocast, gradients, is_out_of_memory, update

log = logging.getLogger(__name__)
CAUTION = 0.1  # what the rate is multiplied with after a loss that was no number
PRELUDE = 0.1  # of a budget, in which nothing hurries: kernels are chosen, a network is compiled
MOST_NAMED = 16  # files of a batch that an error names


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
    """What one epoch came to; losses are mean log losses, `rate` images a second of training.

    valid_score: of what is held out, by the metric that chooses the epoch; NaN where it is undefined, and in histories
    of versions that always chose by accuracy.
    ended_by: `patience` or `budget` where training ended with it before its time. hurried: whether a budget has made
    its rates fall sooner.
    """

    epoch: int
    train_loss: float
    valid_loss: float
    valid_accuracy: float
    lr: float
    rate: float
    ended_by: str = ""
    hurried: bool = False
    valid_score: float = math.nan


@dataclass(frozen=True)
class Conduct:
    """How a fit goes about its work, which decides nothing of what comes out as long as no budget is too short.

    resume: file that holds where it stands after each epoch; None keeps none. budget: its share of time; None: all it
    takes. afterwards: images that will be looked at in that time when training is done. micro_batch: how much of a
    batch goes through the network at a time; None: all of it, or what the memory holds. contents: (epoch, number of
    a batch) -> what is in it, for people. track: is told (epoch, figures) after every epoch. compile: whether torch
    compiles the network. classes: what the outputs stand for, in order; the file of another order is of no use.
    usual_classes: what a file of an older version is taken to be of, which does not tell.
    """

    resume: Path | None = None
    budget: Budget | None = None
    afterwards: int = 0
    micro_batch: int | None = None
    contents: Callable[[int, int], Sequence[str]] | None = None
    track: Callable[[int, dict[str, float]], None] | None = None
    compile: bool = False
    classes: Sequence[str] = ()
    usual_classes: Sequence[str] = ()


class BadLoss(Exception):  # noqa: N818  # it never leaves this file
    """A loss or gradient that is no finite number, of which nothing went into the weights.

    number: of the batch; None if it is what is held out that shows it.
    """

    def __init__(self, number: int | None, loss: float) -> None:
        self.number, self.loss = number, loss


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
    conduct: Conduct = Conduct(),
    metric: str = "accuracy",
) -> list[Epoch]:
    """Trains `model` in place on the rows `train` and leaves it with the weights of the best epoch on `valid`.

    Best is the best score by `metric`, one of `predictions.metrics.METRICS`, and, among equals, the least log loss.
    Stops early after `recipe.patience` epochs without a better one. name: what the progress bar and the log lines are
    headed with. Where several processes train, each sees its part of every batch, and all leave with the same weights.
    """
    device = model.head.weight.device
    batches = EpochBatches(
        train, batch_size=recipe.batch_size, seed=seed,
        rank=distributed.rank(), ranks=distributed.world_size(),
    )  # fmt: skip
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
    with lost_workers(workers):  # torch tells it anywhere: it interrupts whatever is being done
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
            evaluate=lambda rows: evaluate(model, images, valid, precision, batch_size=rows, metric=metric),
            metric=metric,
            conduct=replace(
                conduct,
                afterwards=conduct.afterwards + len(valid),
                contents=lambda epoch, number: [images.views.ids[row] for row in batches.rows_of(epoch, number)],
            ),
        )


@contextmanager
def lost_workers(workers: int) -> Iterator[None]:
    """Names a process that augments images and was killed, which torch tells in a RuntimeError."""
    try:
        yield
    except RuntimeError as error:
        if not (found := re.search(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) ([^.]+)", str(error))):
            raise
        raise UserError(
            f"the process {found[1]} that reads images {found[2]}: the system does that when memory runs out; type "
            f"workers={max(1, workers // 2)}, and the same command goes on where it was"
        ) from error


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
    evaluate: Callable[[int], tuple[float, float, float]] | None,
    option: str = "training.lr",
    conduct: Conduct = Conduct(),
    metric: str = "accuracy",
) -> list[Epoch]:
    """Trains `model` in place for `recipe.epochs`, or goes on where `conduct.resume` says that an earlier call was.

    batches: epoch -> its batches, each the model's inputs and, last, its labels; `steps` of them an epoch.
    evaluate: rows at a time -> (log loss, accuracy, score by `metric`) on what is held out, by which the best epoch is
    kept and training may end early; None trusts the last epoch, so that nothing is chosen by what is held out.
    option: where the learning rate is set, for the error of a loss that blows up.

    A loss or gradient that is no finite number undoes the epoch and repeats it at a tenth of the rate, once; the next
    one raises UserError.
    """
    loop = Loop(model, optimiser, recipe, precision, steps, seed, name, unit, conduct, metric)
    progress = loop.begin()
    while progress.epoch < recipe.epochs and not ended(progress.history):
        try:
            epoch = loop.epoch(progress.epoch + 1, batches, progress.caution)
            if evaluate is not None:
                epoch = loop.judge(epoch, evaluate, progress)
        except BadLoss as error:
            loop.undo(progress, error, option)
            continue
        loop.keep(progress, loop.in_time(epoch))
    if progress.best:
        load_stored(model, progress.best)
    return [Epoch(**epoch) for epoch in progress.history]


def ended(history: Sequence[dict[str, Any]]) -> bool:
    """Whether training came to its end before its last epoch."""
    return bool(history and history[-1]["ended_by"])


@dataclass
class Loop:
    """What the epochs of one training share."""

    model: nn.Module
    optimiser: torch.optim.Optimizer
    recipe: Recipe
    precision: Precision
    steps: int
    seed: int
    name: str
    unit: str
    conduct: Conduct
    metric: str = "accuracy"

    def __post_init__(self) -> None:
        self.model.to(memory_format=torch.channels_last)
        self.device = next(self.model.parameters()).device
        self.scaler = self.new_scaler()
        self.set_rates = make_schedule(self.optimiser, self.recipe.schedule, warmup=self.recipe.warmup)
        self.whole_batch = -(-self.recipe.batch_size // distributed.world_size())  # this process' part of it
        self.micro_batch = self.conduct.micro_batch or self.whole_batch
        self.budget = self.conduct.budget and self.conduct.budget.share(1)  # which begins now
        self.warm = False
        self.rows, self.seconds = 0, 0.0  # of all steps but the first, which is slow for reasons of its own
        self.took = 0.0  # seconds of the last epoch
        network = torch.compile(self.model) if self.conduct.compile else self.model
        self.network = distributed.wrap_ddp(network)

    def new_scaler(self) -> torch.amp.GradScaler:
        """What keeps float16 gradients from vanishing; of no effect in other precisions."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision.scaled)

    def load_scale(self, state: dict[str, Any]) -> None:
        """Puts back the state of the loss scale; there is none if training began in a precision without one."""
        if state:
            self.scaler.load_state_dict(state)

    def begin(self) -> Progress:
        """Where an earlier call stood at the end of its last epoch, or the beginning."""
        classes = list(self.conduct.classes)
        fresh = Progress(0, capture(self.model, self.optimiser), scale=self.scaler.state_dict(), classes=classes)
        file = self.conduct.resume if distributed.is_rank_zero() else None
        known = distributed.broadcast_object(load_progress(file) if file else None)
        if known is None or (self.budget is None and any(epoch.get("hurried") for epoch in known.history)):
            return fresh  # what a budget has hurried along is not what comes out without one
        known.classes = list(self.conduct.usual_classes) if known.classes is None else known.classes
        if known.classes != classes:
            log.warning(
                "%s: %s has the classes %s, not %s: starting from the beginning",
                self.name, self.conduct.resume, ", ".join(known.classes), ", ".join(classes),
            )  # fmt: skip
            return fresh
        try:
            history = [Epoch(**epoch) for epoch in known.history]
            restore(known.tensors, self.model, self.optimiser)
        except (RuntimeError, ValueError, LookupError, TypeError) as error:
            log.warning("%s: %s is of another network: starting from the beginning", self.name, self.conduct.resume)
            log.debug("%s", error)
            restore(fresh.tensors, self.model, self.optimiser)
            return fresh
        if self.metric != "accuracy" and known.best and all(math.isnan(epoch.valid_score) for epoch in history):
            log.warning("%s: %s kept the best epoch by accuracy: starting from the beginning", self.name, file)
            restore(fresh.tensors, self.model, self.optimiser)
            return fresh
        self.load_scale(known.scale)
        self.micro_batch = min(self.micro_batch, known.micro_batch or self.micro_batch)
        log.info("%s goes on after epoch %d/%d", self.name, known.epoch, self.recipe.epochs)
        return known

    def epoch(self, epoch: int, batches: Callable[[int], Iterable[Sequence[Tensor]]], caution: float) -> Epoch:
        """One epoch of steps. Raises BadLoss."""
        own = [rank] if (rank := distributed.rank()) else []
        torch.manual_seed(int(np.random.default_rng([self.seed, epoch, *own]).integers(2**63)))  # what drops units
        freeze_statistics(self.model)
        start, loss_sum, seen, ended_by, hurried = time.perf_counter(), 0.0, 0, "", False
        before = start
        whole, done = self.recipe.epochs * self.steps, (epoch - 1) * self.steps
        name = f"{self.name} epoch {epoch}/{self.recipe.epochs}"
        bar: console.Progress[Any] = console.Progress(name, total=whole, done=done, unit="batch")
        with bar:
            for number, (*inputs, labels) in enumerate(batches(epoch)):
                used = self.used()
                if seen and used >= 1:
                    ended_by = "budget"
                    break
                by_steps = (done + number + 1) / (whole + 1)  # the first step must not be spent at rate 0
                by_time = min((used - PRELUDE) / (1 - PRELUDE), whole / (whole + 1))
                hurried |= by_time > by_steps
                self.set_rates(max(by_steps, by_time), caution)
                loss, right, count = self.step(inputs, labels)
                if not math.isfinite(loss):
                    raise BadLoss(number, loss)
                loss_sum, seen = loss_sum + loss * count, seen + count
                now = time.perf_counter()
                if self.warm:
                    self.rows, self.seconds = self.rows + count, self.seconds + now - before
                self.warm, before = True, now
                left = f", budget={tqdm.format_interval(self.budget.left)}" if self.budget else ""
                bar.note = f"loss={loss:.3f}, accuracy={right / max(count, 1):.2f}{left}"
                bar.update()
        self.took = time.perf_counter() - start
        lr, rate = self.optimiser.param_groups[-1]["lr"], seen / max(self.took, 1e-9)
        return Epoch(epoch, loss_sum / max(seen, 1), math.nan, math.nan, lr, rate, ended_by, hurried)

    def used(self) -> float:
        """The part that is gone of the budget's time for training; the same in all processes.

        What has to be looked at afterwards, at thrice the speed of training, takes its time from the budget too. The
        first step says nothing of that speed: kernels are chosen in it, and a network is compiled.
        """
        if self.budget is None:
            return 0.0
        used = self.budget.used(kept_back=self.conduct.afterwards * self.seconds / (3 * max(self.rows, 1)))
        return distributed.all_reduce_sum([used], self.device)[0] / distributed.world_size()

    def in_time(self, epoch: Epoch) -> Epoch:
        """The epoch, as the last one if the budget has no time for another."""
        if epoch.epoch == self.recipe.epochs or epoch.ended_by or self.used() < 1:
            return epoch
        return replace(epoch, ended_by="budget")

    def step(self, inputs: Sequence[Tensor], labels: Tensor) -> tuple[float, int, int]:
        """`gradients` and `update`, in halves if the memory is too small for the whole."""
        while True:
            try:
                loss, right, count = gradients(
                    self.network, inputs, labels, self.scaler, self.precision,
                    label_smoothing=self.recipe.label_smoothing, micro_batch=self.micro_batch,
                )  # fmt: skip
                break
            except RuntimeError as error:  # torch.OutOfMemoryError is one
                rows = min(self.micro_batch, len(labels))
                self.demand_halvable(error, rows)
            self.micro_batch = -(-rows // 2)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            log.warning(
                "%s: out of memory; %d %ss at a time go through the network from now on, batches stay as large",
                self.name, self.micro_batch, self.unit,
            )  # fmt: skip
        return update(self.model, loss, self.optimiser, self.scaler, clip=self.recipe.clip), right, count

    def demand_halvable(self, error: RuntimeError, rows: int) -> None:
        """Raises the error unless memory is short; UserError where `rows` cannot be halved."""
        if not is_out_of_memory(error):
            raise error
        if rows == 1:
            raise UserError(
                f"{self.name}: no memory for a single {self.unit}: type a smaller model.image_size or another model"
            ) from error
        if distributed.world_size() > 1:  # the other processes may be in the middle of the step
            raise UserError(f"{self.name}: out of memory: type training.micro_batch={rows // 2}") from error

    def undo(self, progress: Progress, error: BadLoss, option: str) -> None:
        """Goes back to the end of the last epoch, at a lower rate. Raises UserError the second time."""
        where = f"{self.name}: the loss became {error.loss} in epoch {progress.epoch + 1}"
        if progress.caution < 1:
            contents, number = self.conduct.contents, error.number
            names = contents(progress.epoch + 1, number)[:MOST_NAMED] if contents and number is not None else []
            among, files = (f" at the batch of {', '.join(names)}", ", or look at these files") if names else ("", "")
            raise UserError(f"{where}{among}, again: lower {option}={self.recipe.lr}{files}")
        progress.caution = CAUTION
        restore(progress.tensors, self.model, self.optimiser)
        self.scaler = self.new_scaler()  # the old one is in the middle of a step
        self.load_scale(progress.scale)
        log.warning("%s; going on from the weights before it, at %g of the rate", where, CAUTION)

    def judge(self, epoch: Epoch, evaluate: Callable[[int], tuple[float, float, float]], progress: Progress) -> Epoch:
        """The epoch with its scores, and with the reason if nothing gets better any more. Raises BadLoss."""
        start = time.perf_counter()
        with console.working(f"{self.name} epoch {epoch.epoch}/{self.recipe.epochs}, on the held-out rows"):
            loss, accuracy, score = evaluate(self.micro_batch)
        self.took += time.perf_counter() - start
        if not math.isfinite(loss):
            raise BadLoss(None, loss)
        epoch = replace(epoch, valid_loss=loss, valid_accuracy=accuracy, valid_score=score)
        more = "" if self.metric in ("accuracy", "log_loss") else f", valid {self.metric} {format_score(score)}"
        left = (self.recipe.epochs - epoch.epoch) * self.took
        left = min(left, self.budget.left) if self.budget else left
        log.info(
            "%s epoch %d/%d: train loss %.4f, valid loss %.4f, valid accuracy %.4f%s, %.0f %ss/s%s",
            self.name, epoch.epoch, self.recipe.epochs, epoch.train_loss, loss, accuracy, more, epoch.rate, self.unit,
            f"; {left / 60:.0f} min left" if left > 60 else "",
        )  # fmt: skip
        best = best_epoch([*(Epoch(**known) for known in progress.history), epoch], self.metric)
        if epoch.epoch - best >= self.recipe.patience and not epoch.ended_by:
            log.info("%s stops early: no better epoch in %d", self.name, self.recipe.patience)
            return replace(epoch, ended_by="patience")
        return epoch

    def keep(self, progress: Progress, epoch: Epoch) -> None:
        """Moves `progress` on by an epoch, on the disk too, unless a budget has cut that epoch short."""
        tensors = capture(self.model, self.optimiser)
        progress.history.append(asdict(epoch))
        judged = [Epoch(**known) for known in progress.history]
        if not math.isnan(epoch.valid_loss) and best_epoch(judged, self.metric) == epoch.epoch:
            progress.best = {name: value.clone() for name, value in part(tensors, "model").items()}
        if epoch.ended_by == "budget":
            log.info("%s ends in epoch %d/%d: its budget is used", self.name, epoch.epoch, self.recipe.epochs)
        else:
            self.save(progress, epoch, tensors)
        if self.conduct.track and distributed.is_rank_zero():
            figures = {name: value for name, value in asdict(epoch).items() if isinstance(value, float)}
            self.conduct.track(epoch.epoch, {name: value for name, value in figures.items() if math.isfinite(value)})

    def save(self, progress: Progress, epoch: Epoch, tensors: dict[str, Tensor]) -> None:
        """Moves `progress`, and its file, to the end of a whole epoch."""
        progress.epoch, progress.tensors, progress.scale = epoch.epoch, tensors, self.scaler.state_dict()
        if self.micro_batch < (self.conduct.micro_batch or self.whole_batch):
            progress.micro_batch = self.micro_batch
        if self.conduct.resume and distributed.is_rank_zero():
            save_progress(self.conduct.resume, progress)


@torch.inference_mode()
def evaluate(
    model: Classifier,
    images: TrainingImages,
    rows: NDArray[np.int64],
    precision: Precision,
    *,
    batch_size: int,
    metric: str = "accuracy",
) -> tuple[float, float, float]:
    """(log loss, accuracy, score by `metric`) on the clean views of `rows`."""
    device = model.head.weight.device
    model.eval()

    def logits_of(own: Sequence[int]) -> NDArray[np.float32]:
        found = []
        for start in range(0, len(own), batch_size):
            views = [images.views[row, 0] for row in own[start : start + batch_size]]
            with autocast(device, precision):
                found.append(model(torch.from_numpy(np.stack(views)).to(device)).float().cpu().numpy())
        return np.concatenate(found)

    logits, labels = distributed.map_and_gather(logits_of, rows.tolist()).astype(np.float64), images.labels[rows]
    logarithms = log_softmax(logits, axis=-1)
    loss = -logarithms[np.arange(len(rows)), labels].mean()
    accuracy = float((logits.argmax(axis=1) == labels).mean())
    return float(loss), accuracy, find_metric(metric).function(np.exp(logarithms), labels)


def best_epoch(history: list[Epoch], metric: str = "accuracy") -> int:
    """The epoch whose weights are kept: the best by the metric, of equal ones that of the least log loss, the earlier.

    An epoch whose score is undefined, as ROC AUC of a single class is, is below all others.
    """
    sign = 1.0 if find_metric(metric).greater_is_better else -1.0

    def worth(epoch: Epoch) -> tuple[float, float]:
        known = {"accuracy": epoch.valid_accuracy, "log_loss": epoch.valid_loss}
        score = sign * known.get(metric, epoch.valid_score)
        return -math.inf if math.isnan(score) else score, -epoch.valid_loss

    return max(history, key=worth).epoch
