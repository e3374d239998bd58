"""Training of one fold of a run: fitting, predictions, and the files of its folder, metrics last."""

import logging
import time
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from kagglepipe import distributed
from kagglepipe.competitions.dataset import Dataset
from kagglepipe.distributed import is_rank_zero, single_process
from kagglepipe.files import absolute, exclusive_lock, write_bytes, write_parquet
from kagglepipe.images.views import turned_view
from kagglepipe.options import seconds_of
from kagglepipe.predictions.frame import MAX_CELLS, oof_frame, test_frame
from kagglepipe.predictions.top_classes import FULL_CLASSES
from kagglepipe.runs.decision import decide_plainly
from kagglepipe.runs.describe import briefly, describe_plain
from kagglepipe.runs.pseudo_labels import pseudo_labelled
from kagglepipe.runs.run import Fold, Outputs, Run
from kagglepipe.runs.scores import scores_of
from kagglepipe.runs.trial import reason_to_prune
from kagglepipe.runs.tta import mean_of

if TYPE_CHECKING:
    from kagglepipe.training.learner import FoldResult, Learner
    from kagglepipe.training.loop import Budget
    from kagglepipe.training.trackers import Track

log = logging.getLogger(__name__)
RESUME = "resume.safetensors"  # progress of a fold in training


@dataclass(frozen=True)
class Training:
    """What all folds of a run share.

    default_classes: order of classes of older versions. meta: the part of model.json about the run. stage: of the
    command.
    """

    dataset: Dataset
    run: Run
    learner: "Learner"
    teacher: Run | None
    default_classes: list[str]
    meta: dict[str, Any]
    stage: str


def is_complete(done: Outputs, budget: str | None, stage: str) -> bool:
    """Whether a run or fold is finished, and was not cut short by a smaller `training.budget` than that of now.

    Stages that only use a run take it as it is.
    """
    if not done.is_finished:
        return False
    cut = done.cut_by_budget
    if not cut or stage not in ("all", "train"):
        return True
    return budget is not None and seconds_of("training.budget", budget) <= seconds_of("training.budget", cut)


def is_pruned(training: Training, incumbent: str) -> bool:
    """Whether the finished folds show that the run cannot beat `training.prune_against`; logs the reason."""
    competition = training.learner.options.competition
    why = reason_to_prune(training.run, training.dataset, absolute(incumbent), competition.metric)
    if why:
        log.info("train: stopped, since %s; without training.prune_against it goes on", why)
    return why is not None


def train_fold(training: Training, fold: int, budget: "Budget | None", track: "Track | None") -> None:
    """Train a fold, unless another command trains it: then wait for that."""
    run, learner, own = training.run, training.learner, training.run.fold(fold)
    with exclusive_lock(own.folder, f"train: fold {fold} of {run.name}") if is_rank_zero() else nullcontext():
        if distributed.broadcast_object(is_complete(own, learner.options.training.budget, training.stage)):
            return
        if is_rank_zero():
            for left in own.folder.glob(".*.tmp"):  # by writes that were killed
                if not left.name.startswith(f".{RESUME}"):
                    left.unlink(missing_ok=True)
        if is_rank_zero() or learner.is_distributed:
            with nullcontext() if learner.is_distributed else single_process():
                fit_and_save(training, fold, budget, track)


def fit_and_save(training: Training, fold: int, budget: "Budget | None", track: "Track | None") -> None:
    """Fit a fold and write its folder, metrics last; rank 0 writes."""
    from kagglepipe.training.loop import FitRuntime

    start, run, learner, dataset = time.perf_counter(), training.run, training.learner, training.dataset
    own, train = run.fold(fold), dataset.train
    extra = train[:0]
    if training.teacher is not None:
        extra = pseudo_labelled(training.teacher, dataset, fold, learner.options.training.confidence)
    fitting = FitRuntime(
        resume=own.folder / RESUME, budget=budget, default_classes=training.default_classes,
        track=None if track is None else partial(track, own.name),
    )  # fmt: skip
    result = learner.fit_fold(fold, extra, fitting)
    if is_rank_zero():
        learner.save_backbone(run.folder)
        run.invalidate()  # neither is finished until all files are of the new network
        own.invalidate()
        learner.save_fold(result, own.folder, {"fold": fold, **training.meta})
    distributed.barrier()  # the other ranks read the saved files
    valid = train[train["fold"] == fold]
    oof, test = (predicted(learner, result, own.folder, rows, dataset) for rows in (valid, dataset.test))
    turned = [
        (
            frame,
            [predicted(learner, result, own.folder, rows, dataset, turned_view(name)) for name in learner.options.tta],
        )
        for frame, rows in ((oof, valid), (test, dataset.test))
    ]
    if is_rank_zero():
        for file, (frame, others) in zip(own.tta_files, turned, strict=True):
            if others:
                write_parquet(file, mean_of([frame, *others]))
        metrics = save_fold(training, own, result, oof, test, time.perf_counter() - start)
        if track is not None:
            track(own.name, 0, {"score": metrics["score"], "log_loss": metrics["log_loss"]})


def predicted(
    learner: "Learner", result: "FoldResult", folder: Path, rows: pd.DataFrame, dataset: Dataset, view: int = 0
) -> pd.DataFrame:
    """Frame of predictions of training rows, which have a fold, or test rows, of few enough at a time."""
    classes, task = dataset.classes, dataset.task
    at_once = max(1, MAX_CELLS // (2 * len(classes))) if len(classes) > FULL_CLASSES else len(rows)
    frames = []
    for start in range(0, max(1, len(rows)), max(1, at_once)):
        part = rows[start : start + at_once]
        probs, ids = learner.predict(result, folder, part, view), part["id"].tolist()
        if (rows["split"] == "test").all():
            frames.append(test_frame(ids, probs, classes, task))
        else:
            frames.append(oof_frame(ids, part["fold"].to_numpy(), part["target"].tolist(), probs, classes, task))
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def save_fold(
    training: Training, fold: Fold, result: "FoldResult", oof: pd.DataFrame, test: pd.DataFrame, seconds: float
) -> dict[str, Any]:
    """Write log, predictions and, last, the metrics of a fold; log and return them."""
    from kagglepipe.training.advice import warn_of_constant
    from kagglepipe.training.resume import LR_SHORTENED, forget_progress

    dataset, options = training.dataset, training.learner.options
    classes, train = dataset.classes, dataset.train
    log_csv = pd.DataFrame(result.log).to_csv(index=False, lineterminator="\n")
    write_bytes(fold.folder / "log.csv", log_csv.encode())
    write_parquet(fold.oof_file, oof)
    write_parquet(fold.test_file, test)
    decided = decide_plainly(options.competition, dataset, oof)
    metrics = scores_of(oof, options.competition, classes, train.set_index("id")["group"], decided=decided)
    cut = any(row.get("ended_by") == "budget" or row.get(LR_SHORTENED) for row in result.log)
    limit = options.training.budget if cut else None
    fold.save_metrics({**metrics, "classes": classes, "seconds": round(seconds, 2), "cut_by_budget": limit})
    forget_progress(fold.folder / RESUME)
    score = briefly(metrics, options.competition.metric)
    log.info("train: fold %d: %s%s", fold.number, score, describe_plain(metrics))
    warn_of_constant(fold.number, train, metrics, classes, options)
    return metrics
