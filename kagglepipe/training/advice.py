"""Log lines and warnings about how a run is set up, and about a fold that has learnt nothing."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.competitions.mirrored import mirrored_classes
from kagglepipe.competitions.targets import parse_targets
from kagglepipe.distributed import world_size
from kagglepipe.images.policy_file import is_policy_file
from kagglepipe.predictions.decisions import plain_answers
from kagglepipe.predictions.metrics import find_metric
from kagglepipe.predictions.tasks import task_of_truth
from kagglepipe.training.device import describe_device

if TYPE_CHECKING:  # torch is not waited for by stages that do not train
    from kagglepipe.training.learner import Learner, LearnerOptions

log = logging.getLogger(__name__)
NOUNS = {"image": "images", "video": "clips", "series": "series", "audio": "sounds"}
READERS = {  # of the options that training=head does not read
    "image": "while only a head is fitted: add training=finetune",
    "video": "while only the temporal model is fitted: that reads sequences.*, or add training=finetune",
    "series": "of a series: its temporal model reads sequences.*",
    "audio": "of sounds: their temporal model reads sequences.*",
}


def log_setup(
    name: str,
    dataset: Dataset,
    learner: "Learner",
    *,
    mode: str,
    only: Sequence[int] = (),
    idle: Sequence[str] = (),
    needed_side: int | None = None,
) -> None:
    """Log device, precision, mode, rows and folds of a run, and warn of options that are of no use.

    mode: `training.mode` as typed. only: the folds to train, empty for all. idle: options that this mode does not read.
    needed_side: pixels that the network takes, if `cache.short_side` was typed and decides results.
    """
    options, runtime = learner.options, learner.runtime
    training, device, kind = options.training, runtime.device, options.competition.kind
    if world_size() > 1:
        work = f"share each batch of {training.batch_size}" if learner.is_distributed else "wait for the first"
        log.info("train: %d processes %s", world_size(), work)
    precision = runtime.training_precision if options.is_finetuned else learner.precision
    log.info(
        "train: %s on %s, %s: %s; %s%s", name, describe_device(device), precision.name, precision.reason,
        training.mode, f" (training=auto on {device.type})" if mode == "auto" else "",
    )  # fmt: skip
    train, test = dataset.train, dataset.test
    sizes = train["fold"].value_counts().sort_index()
    log.info(
        "train: %d %s %s in folds of %s; %d to %s",
        len(train), "frames" if options.competition.finds_segments else NOUNS[kind],
        targets_text(dataset.task, len(dataset.classes)), ", ".join(map(str, sizes)), len(test),
        "predict" if dataset.task == "regression" else "classify",
    )  # fmt: skip
    if needed_side and needed_side > options.short_side:
        log.warning(
            "train: cache.short_side=%d is less than the %d pixels that %s takes: images are enlarged again; type "
            "cache.short_side=%d, or leave it away",
            options.short_side, needed_side, options.model.name, needed_side,
        )  # fmt: skip
    if options.is_finetuned and device.type == "cpu" and training.budget is None:
        log.info(
            "train: %d epochs of the whole network, %d times, take minutes or hours on a processor: "
            "training.budget=20m ends in time, training=head takes seconds",
            training.epochs, len(only) or len(sizes),
        )  # fmt: skip
    if idle:
        task = options.competition.task
        where = f"in fine-tuning of {NOUNS[kind]} with task={task}" if options.is_finetuned else READERS[kind]
        log.warning("train: %s changes nothing %s", ", ".join(idle), where)
    if is_mirrored(options) and (hint := mirror_hint(dataset.classes)):
        log.warning("train: %s", hint)


def targets_text(task: str, count: int) -> str:
    """What rows are labelled with, in words.

    >>> targets_text("ordinal", 5), targets_text("multilabel", 3), targets_text("regression", 1)
    ('of 5 ordered classes', 'with 3 tags', 'with a number each')
    """
    if task == "regression":
        return "with a number each" if count == 1 else f"with {count} numbers each"
    return {"multilabel": f"with {count} tags", "ordinal": f"of {count} ordered classes"}.get(
        task, f"of {count} classes"
    )


def is_mirrored(options: "LearnerOptions") -> bool:
    """Whether some of the training views are flipped horizontally."""
    views = {"image": options.training.views, "video": options.sequences.views}
    is_augmented = options.is_finetuned or views.get(options.competition.kind, 0) > 0
    return is_augmented and options.augmentation.mirror and is_mirroring(options.augmentation.policy)


def is_mirroring(policy: str) -> bool:
    """Whether a policy flips images horizontally unless told otherwise; a file of the user's own says what it does."""
    return policy not in ("none", "elastic") and not is_policy_file(policy)


def what_to_change(options: "LearnerOptions") -> str:
    """Name the options by which a network that has learnt nothing may learn."""
    kind = options.competition.kind
    if options.is_finetuned:
        return "more training.epochs, another training.lr"
    if kind != "image" and options.model.temporal.cell not in ("auto", "mean"):
        return "more sequences.steps, another sequences.lr"
    return "another model, training=finetune" if options.competition.has_encoder else "model=lstm"


def warn_of_constant(
    fold: int, train: pd.DataFrame, metrics: dict[str, Any], classes: list[str], options: "LearnerOptions"
) -> None:
    """Warn of a fold whose network is no better, by the metric, than the class shares of the other folds.

    train: the labelled rows with `fold` and `target`. metrics: of the fold.
    """
    is_held = train["fold"] == fold
    truth = parse_targets(train["target"], classes, options.competition.task)
    held_out, others = (truth[rows.to_numpy()] for rows in (is_held, ~is_held))
    if len(np.unique(held_out, axis=0)) < 2:
        return
    metric, shares = metrics["metric"], task_of_truth(truth).constant(others, len(classes))
    scored = find_metric(metric)
    answers = plain_answers(np.tile(shares, (len(held_out), 1)), others, metric, options.competition.task)
    constant = scored.function(answers, held_out)
    if not scored.sign * (metrics["score"] - constant) <= 0:  # also where one of them is undefined
        return
    answer = "with the shares of the classes" if not scored.is_of_labels else classes[int(shares.argmax())]
    if not task_of_truth(truth).hits:
        answer = "with the mean"
    count = len(held_out)
    reached = f"{round(constant * count)} of {count}" if metric == "accuracy" else f"{metric} {constant:z.4f}"
    log.warning(
        "train: fold %d is no better than always answering %s (%s): %s, or are the labels right?",
        fold, answer, reached, what_to_change(options),
    )  # fmt: skip


# --- flips that swap classes ---------------------------------------------------------------------------------------


def mirror_hint(classes: Sequence[str]) -> str | None:
    """One line with the option to type, where the names of two classes hint that a mirror swaps them; else None."""
    if pair := mirrored_classes(classes):
        return f"views are mirrored, which may turn {pair[0]} into {pair[1]}: add augmentation.mirror=false"
    return None
