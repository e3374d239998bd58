"""The training loop: epochs, validation, early stopping, roll-back, time budget, halving of micro-batches."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from kagglepipe import console, distributed
from kagglepipe.errors import UserError
from kagglepipe.models.temporal import load_stored
from kagglepipe.options import TrainingOptions
from kagglepipe.predictions.uncertainty import format_score
from kagglepipe.training.averaging import averaged_model, averaged_weights, exchange
from kagglepipe.training.device import Precision, is_out_of_memory
from kagglepipe.training.losses import CROSS_ENTROPY, Loss
from kagglepipe.training.mixing import Mixing
from kagglepipe.training.optimise import freeze_statistics, gradients, make_schedule, update
from kagglepipe.training.resume import (
    AVERAGE,
    Epoch,
    Progress,
    best_epoch,
    capture,
    part,
    restore,
    resume,
    save_progress,
)

log = logging.getLogger(__name__)
NAN_LR_FACTOR = 0.1  # on the learning rate, after a loss that is not finite
BUDGET_WARMUP = 0.1  # share of a budget that does not shorten the schedule: kernels are chosen, a network is compiled
MAX_IDS = 16  # of a batch, in an error
Evaluate = Callable[[int], tuple[float, float, float]]  # rows per forward pass -> (log loss, accuracy, score)


class Batches(Protocol):
    """Batches of each epoch, the same number every time."""

    def __len__(self) -> int: ...

    def __call__(self, epoch: int) -> Iterable[Sequence[Tensor]]:
        """Yield the batches of an epoch, 1 the first: the model's inputs and, last, its labels."""

    def contents(self, epoch: int, number: int) -> Sequence[str]:
        """Ids of the items of one batch."""


@dataclass
class Budget:
    """Time limit: a number of seconds from now. clock: monotonic time in seconds."""

    seconds: float
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._start = self.clock()

    def used(self, kept_back: float = 0.0) -> float:
        """Fraction of the time used, 0 and more, with `kept_back` seconds reserved, at most half of all."""
        seconds = self.seconds - min(kept_back, self.seconds / 2)  # an estimate must not end what has just begun
        return (self.clock() - self._start) / seconds if seconds > 0 else 1.0

    @property
    def left(self) -> float:
        """Seconds left, 0 or more."""
        return max(0.0, self.seconds - (self.clock() - self._start))

    def split(self, parts: int) -> "Budget":
        """Make a budget of 1 / parts of the time left, starting now."""
        return Budget(self.left / parts, self.clock)


@dataclass(frozen=True)
class FitRuntime:
    """Runtime options of a fit; they change no result unless the budget runs out.

    resume: file for the progress after each epoch. rows_after: rows to predict within the budget after training.
    micro_batch: rows per forward pass; None: the batch, or what fits the memory. track: called with (epoch, figures)
    after each epoch. compile: use torch.compile. classes: names of the outputs, in order; a resume file of another
    order is not used. default_classes: those of a file of an older version, which names none.
    """

    resume: Path | None = None
    budget: Budget | None = None
    rows_after: int = 0
    micro_batch: int | None = None
    track: Callable[[int, dict[str, float]], None] | None = None
    compile: bool = False
    classes: Sequence[str] = ()
    default_classes: Sequence[str] = ()


class NonFiniteLoss(Exception):  # noqa: N818  # it never leaves this file
    """A loss or gradient that is not finite. batch: its number; None in validation."""

    def __init__(self, loss: float, batch: int | None = None) -> None:
        self.loss, self.batch = loss, batch


def train_epochs(
    model: nn.Module,
    batches: Batches,
    optimiser: torch.optim.Optimizer,
    *,
    options: TrainingOptions,
    seed: int,
    precision: Precision,
    name: str,
    unit: str,
    evaluate: Evaluate | None,
    lr_option: str = "training.lr",
    runtime: FitRuntime = FitRuntime(),
    metric: str = "accuracy",
    loss: Loss = CROSS_ENTROPY,
    mixing: Mixing | None = None,
) -> list[Epoch]:
    """Train `model` in place for `options.epochs`, or resume an interrupted training, and return its history.

    evaluate: on validation rows, score by `metric`; the weights of the best epoch are restored at the end, and training
    stops after `options.patience` epochs without a better one. None: the weights of the last epoch. With `options.ema`
    these are averaged weights. name: prefix of log lines. unit: noun for a row. mixing: of each batch; None: of none.
    An epoch whose loss or gradient is not finite is repeated at a tenth of the learning rate; the second time is a
    UserError, which names `lr_option`.
    """
    loop = Loop(model, batches, optimiser, options, precision, seed, name, unit, runtime, metric, loss, mixing)
    progress = loop.begin()
    while progress.epoch < options.epochs and not progress.has_ended:
        try:
            epoch = loop.train_epoch(progress.epoch + 1, progress.lr_factor)
            if evaluate is not None:
                epoch = loop.validate(epoch, evaluate, progress)
        except NonFiniteLoss as error:
            loop.rollback(progress, error, lr_option)
        else:
            loop.commit_epoch(progress, epoch)
    if progress.best:
        load_stored(model, progress.best)
    elif loop.average is not None:
        exchange(model, loop.average)
    return progress.history


@dataclass
class Loop:
    """State and methods of one training; `train_epochs` is the sequence of calls."""

    model: nn.Module
    batches: Batches
    optimiser: torch.optim.Optimizer
    options: TrainingOptions
    precision: Precision
    seed: int
    name: str
    unit: str
    runtime: FitRuntime = FitRuntime()
    metric: str = "accuracy"
    loss: Loss = CROSS_ENTROPY
    mixing: Mixing | None = None

    def __post_init__(self) -> None:
        self.model.to(memory_format=torch.channels_last)
        self.device = next(self.model.parameters()).device
        self.scaler = self.new_scaler()
        self.average = None if self.options.ema is None else averaged_model(self.model, self.options.ema)
        self.set_rates = make_schedule(self.optimiser, self.options.schedule, warmup=self.options.warmup)
        rank_rows = -(-self.options.batch_size // distributed.world_size())
        self.micro_batch = self.max_micro_batch = self.runtime.micro_batch or rank_rows
        self.budget = self.runtime.budget and self.runtime.budget.split(1)  # its clock starts now
        self.is_warm, self.took = False, 0.0  # took: seconds of the last epoch
        self.rows, self.seconds = 0, 0.0  # of all steps but the first, which chooses kernels and compiles
        self.network = distributed.wrap_ddp(torch.compile(self.model) if self.runtime.compile else self.model)

    def new_scaler(self) -> torch.amp.GradScaler:
        """Make the loss scaler of float16, disabled in other precisions."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision.scaled)

    def begin(self) -> Progress:
        """Resume an interrupted training, or start from the beginning."""
        at = self.runtime
        progress = resume(
            at.resume, self.model, self.optimiser, self.average, classes=at.classes, default_classes=at.default_classes,
            metric=self.metric, has_budget=self.budget is not None, name=self.name,
        )  # fmt: skip
        if progress.scale:  # empty if training began in a precision without one
            self.scaler.load_state_dict(progress.scale)
        self.micro_batch = min(self.micro_batch, progress.micro_batch or self.micro_batch)
        if progress.epoch:
            log.info("%s goes on after epoch %d/%d", self.name, progress.epoch, self.options.epochs)
        return progress

    def train_epoch(self, epoch: int, lr_factor: float) -> Epoch:
        """Train one epoch. Raises NonFiniteLoss."""
        ranks = [rank] if (rank := distributed.rank()) else []
        torch.manual_seed(int(np.random.default_rng([self.seed, epoch, *ranks]).integers(2**63)))  # of dropout
        self.model.train() if self.options.from_scratch else freeze_statistics(self.model)
        total, done = self.options.epochs * len(self.batches), (epoch - 1) * len(self.batches)
        name = f"{self.name} epoch {epoch}/{self.options.epochs}"
        loss_sum, seen, ended_by, lr_shortened = 0.0, 0, "", False
        start = before = time.perf_counter()
        limit = self.budget.left if self.budget else None
        bar: console.Progress[Any]
        with console.Progress(name, total=total, done=done, unit="batch", limit=limit) as bar:
            for number, (*inputs, labels) in enumerate(self.batches(epoch)):
                used = self.budget_used()
                if seen and used >= 1:
                    ended_by = "budget"
                    break
                by_steps = (done + number + 1) / (total + 1)  # the first step must not have rate 0
                by_time = min((used - BUDGET_WARMUP) / (1 - BUDGET_WARMUP), total / (total + 1))
                lr_shortened |= by_time > by_steps
                self.set_rates(max(by_steps, by_time), lr_factor)
                batch = inputs, labels, self.loss
                loss, right, count = self.step(*(self.mixing(*batch, epoch, number) if self.mixing else batch))
                if not math.isfinite(loss):
                    raise NonFiniteLoss(loss, number)
                loss_sum, seen = loss_sum + loss * count, seen + count
                now = time.perf_counter()
                if self.is_warm:
                    self.rows, self.seconds = self.rows + count, self.seconds + now - before
                self.is_warm, before = True, now
                bar.note = f"loss={loss:.3f}, accuracy={right / max(count, 1):.2f}"
                bar.update()
        if self.options.from_scratch:
            distributed.broadcast_buffers(self.model)
        self.took = time.perf_counter() - start
        lr, rate = self.optimiser.param_groups[-1]["lr"], seen / max(self.took, 1e-9)
        return Epoch(epoch, loss_sum / max(seen, 1), math.nan, math.nan, lr, rate, ended_by, lr_shortened)

    def budget_used(self) -> float:
        """Fraction of the budget used, averaged over ranks so that all end at the same step; 0 without a budget."""
        if self.budget is None:
            return 0.0
        # time is reserved for prediction after training, at three times the speed of training
        used = self.budget.used(kept_back=self.runtime.rows_after * self.seconds / (3 * max(self.rows, 1)))
        return distributed.all_reduce_sum([used], self.device)[0] / distributed.world_size()

    def step(self, inputs: Sequence[Tensor], labels: Tensor, loss_of: Loss) -> tuple[float, int, int]:
        """Make one step, halving the micro-batch until it fits the memory: (loss, correct labels, labels)."""
        while True:
            try:
                loss, right, count = gradients(
                    self.network, inputs, labels, self.scaler, self.precision,
                    label_smoothing=self.options.label_smoothing, micro_batch=self.micro_batch, loss_of=loss_of,
                )  # fmt: skip
                break
            except RuntimeError as error:  # torch.OutOfMemoryError is one
                if not is_out_of_memory(error):
                    raise
                if (rows := min(self.micro_batch, len(labels))) == 1:
                    advice = "type a smaller model.image_size or another model"
                    raise UserError(f"{self.name}: no memory for a single {self.unit}: {advice}") from error
                if distributed.world_size() > 1:  # other ranks may be in the middle of the step
                    raise UserError(f"{self.name}: out of memory: type training.micro_batch={rows // 2}") from error
            self.micro_batch = half = -(-rows // 2)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            log.warning("%s: out of memory: micro-batch reduced to %d, batch size unchanged", self.name, half)
        loss = update(self.model, loss, self.optimiser, self.scaler, clip=self.options.clip)
        if self.average is not None:
            self.average.update_parameters(self.model)
        return loss, right, count

    def rollback(self, progress: Progress, error: NonFiniteLoss, lr_option: str) -> None:
        """Restore the end of the last epoch, to go on at a lower rate. Raises UserError the second time."""
        where = f"{self.name}: the loss became {error.loss} in epoch {progress.epoch + 1}"
        if progress.lr_factor < 1:
            ids = [] if error.batch is None else self.batches.contents(progress.epoch + 1, error.batch)[:MAX_IDS]
            among, files = (f" at the batch of {', '.join(ids)}", ", or look at these files") if ids else ("", "")
            raise UserError(f"{where}{among}, again: lower {lr_option}={self.options.lr}{files}")
        progress.lr_factor = NAN_LR_FACTOR
        restore(progress.tensors, self.model, self.optimiser, self.average)
        self.scaler = self.new_scaler()  # the old one is in the middle of a step
        if progress.scale:
            self.scaler.load_state_dict(progress.scale)
        log.warning("%s; going on from the weights before it, at %g of the rate", where, NAN_LR_FACTOR)

    def validate(self, epoch: Epoch, evaluate: Evaluate, progress: Progress) -> Epoch:
        """Add the held-out scores, and `ended_by` if patience is over. Raises NonFiniteLoss."""
        start = time.perf_counter()
        where = f"{self.name} epoch {epoch.epoch}/{self.options.epochs}, on the held-out rows"
        with console.working(where), averaged_weights(self.model, self.average):
            loss, accuracy, score = evaluate(self.micro_batch)
        self.took += time.perf_counter() - start
        if not math.isfinite(loss):
            raise NonFiniteLoss(loss)
        epoch = replace(epoch, valid_loss=loss, valid_accuracy=accuracy, valid_score=score)
        more = "" if self.metric in ("accuracy", "log_loss") else f", valid {self.metric} {format_score(score)}"
        left = min((self.options.epochs - epoch.epoch) * self.took, self.budget.left if self.budget else math.inf)
        log.info(
            "%s epoch %d/%d: train loss %s, valid loss %s, valid accuracy %.4f%s, %.0f %ss/s%s",
            self.name, epoch.epoch, self.options.epochs, *map(format_score, (epoch.train_loss, loss)), accuracy, more,
            epoch.rate, self.unit,
            f"; {left / 60:.0f} min left" if left > 60 else "",
        )  # fmt: skip
        best = best_epoch([*progress.history, epoch], self.metric)
        if epoch.epoch - best >= self.options.patience and not epoch.ended_by:
            log.info("%s stops early: no better epoch in %d", self.name, self.options.patience)
            return replace(epoch, ended_by="patience")
        return epoch

    def commit_epoch(self, progress: Progress, epoch: Epoch) -> None:
        """Append the epoch to the progress, and save it unless the budget cut the epoch short."""
        if epoch.epoch < self.options.epochs and not epoch.ended_by and self.budget_used() >= 1:
            epoch = replace(epoch, ended_by="budget")  # no time for another
        tensors = capture(self.model, self.optimiser, self.average)
        progress.history.append(epoch)
        if best_epoch(progress.history, self.metric) == epoch.epoch and not math.isnan(epoch.valid_loss):
            kept = part(tensors, "model" if self.average is None else f"{AVERAGE}.module")
            progress.best = {name: value.clone() for name, value in kept.items()}
        if epoch.ended_by == "budget":
            log.info("%s ends in epoch %d/%d: its budget is used", self.name, epoch.epoch, self.options.epochs)
        else:
            progress.epoch, progress.tensors, progress.scale = epoch.epoch, tensors, self.scaler.state_dict()
            progress.micro_batch = self.micro_batch if self.micro_batch < self.max_micro_batch else progress.micro_batch
            if self.runtime.resume and distributed.is_rank_zero():
                save_progress(self.runtime.resume, progress)
        if self.runtime.track and distributed.is_rank_zero():
            figures = {name: value for name, value in asdict(epoch).items() if isinstance(value, float)}
            self.runtime.track(epoch.epoch, {name: value for name, value in figures.items() if math.isfinite(value)})
