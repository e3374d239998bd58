"""The table of metrics, and all that is known of each: direction, range, what it needs.

Arguments of every function: probs (N, C), the probabilities; truth (N,), indices of the true classes. Whoever must
know of a metric asks `find_metric`. To add a metric is a function and its line in METRICS. In numpy, since importing
scikit-learn takes a second; the tests hold every metric equal to scikit-learn's.
"""

import difflib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kagglepipe.competitions.targets import Truth
from kagglepipe.errors import UserError
from kagglepipe.options import LOG_LOSS_CLIP, is_own_metric
from kagglepipe.predictions.frame import Labels, Probs
from kagglepipe.predictions.number_metrics import absolute_errors, kl_divergence, kl_divergences, mae, r2, rmse, rmsle
from kagglepipe.predictions.pooled_metrics import (
    CountScore,
    average_precision,
    average_precision_without,
    balanced_accuracy,
    count_rows,
    counts_without,
    f1_binary,
    f1_macro,
    f1_micro,
    matthews,
    roc_auc,
    roc_auc_without,
)
from kagglepipe.predictions.rank_metrics import (
    mean_average_precision,
    probabilistic_f1,
    quadratic_weighted_kappa,
    reciprocal_ranks,
)
from kagglepipe.predictions.tag_metrics import (
    columnwise_log_losses,
    fbeta_rows,
    fbeta_samples,
    mean_columnwise_log_loss,
)
from kagglepipe.predictions.top_classes import FULL_CLASSES, KEPT, TopClasses
from kagglepipe.predictions.uncertainty import leave_out

ROUNDED = 1e-7  # probabilities are stored as float32, whose last step below 1 is 6e-8

Score = Callable[[Probs, Truth], float]  # (predictions (N, C), truth) -> score
Rows = npt.NDArray[np.float64]  # (N,)


OF_CLASSES = ("multiclass", "ordinal", "ranking")  # tasks whose answers are probabilities of classes
OF_COLUMNS = (*OF_CLASSES, "multilabel")


@dataclass(frozen=True)
class Needs:
    """What a metric is computed from.

    answers: `labels` if of a row only the most probable class counts; `order` if only the order of the rows by a
    probability; `probabilities`; `any` of these for a metric of the user's own. classes: the least and the largest
    number of classes. tasks: of `competition.task`. positive: whether of two classes the second is the positive one, so
    that the score changes where they are swapped. least: of the numbers to learn. ranks: how many of the most probable
    classes of a row count, in their order; None: not these alone.
    """

    answers: str
    classes: tuple[int, float] = (2, math.inf)
    tasks: tuple[str, ...] = OF_CLASSES
    positive: bool = False
    least: float = -math.inf
    ranks: int | None = None


@dataclass(frozen=True)
class Metric:
    """A metric; NaN where it is undefined, as ROC AUC of a single class.

    limits: its least and largest value. rows: a number for each row, of which the score is the mean, if it is one.
    without: (probs, truth, blocks 0 … U - 1 (N,)) -> the score without each block, (U,), if it is faster than by one
    block after the other. file: of a metric of the user's own.
    """

    function: Score
    needs: Needs
    greater_is_better: bool = True
    limits: tuple[float, float] = (0.0, 1.0)
    rows: Callable[[Probs, Truth], Rows] | None = None
    without: Callable[[Probs, Truth, Labels], Rows] | None = None
    file: Path | None = None

    @property
    def sign(self) -> int:
        """1 if greater is better, else -1."""
        return 1 if self.greater_is_better else -1

    @property
    def is_of_labels(self) -> bool:
        """Whether of a row only the most probable class counts, so that thresholds can be tuned."""
        return self.needs.answers == "labels"

    @property
    def is_of_order(self) -> bool:
        """Whether only the order of the rows counts: then gains are measured by the metric itself, not log loss."""
        return self.needs.answers == "order"

    @property
    def perfect(self) -> float | None:
        """The best possible score; None if there is none."""
        best = self.limits[self.greater_is_better]
        return best if math.isfinite(best) else None

    def scores_without(self, probs: Probs, truth: Truth, blocks: Labels) -> Rows:
        """Score of the rows without each block 0 … U - 1 (N,) of them, (U,)."""
        if self.without is not None:
            return self.without(probs, truth, blocks)
        return leave_out(lambda rows: self.function(probs[rows], truth[rows]), blocks)


# --- metrics that are means over the rows --------------------------------------------------------------------------


def accuracy(probs: Probs, truth: Labels) -> float:
    """Share of rows whose most probable class is the true one.

    >>> accuracy(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1]))
    0.5
    """
    return float(row_hits(probs, truth).mean())


def log_loss(probs: Probs, truth: Labels, clip: float = LOG_LOSS_CLIP) -> float:
    """Mean negative log probability of the true class, in nats; `clip`: see `row_losses`."""
    return float(row_losses(probs, truth, clip).mean())


def top_k_accuracy(probs: Probs, truth: Labels, k: int) -> float:
    """Share of rows whose true class is among the k most probable ones."""
    return float(row_hits_in_top(probs, truth, k).mean())


# --- a number for each row, of which a metric is the mean ----------------------------------------------------------


def row_hits(probs: Probs, truth: Labels) -> Rows:
    """1.0 for each row whose most probable class is the true one, (N,)."""
    return (probs.argmax(axis=1) == truth).astype(np.float64)


def row_hits_in_top(probs: Probs, truth: Labels, k: int) -> Rows:
    """1.0 for each row whose true class is among the k most probable, (N,); of ties the last classes, as scikit-learn.

    >>> row_hits_in_top(np.array([[0.4, 0.3, 0.3]] * 2), np.array([1, 2]), 2)
    array([0., 1.])
    """
    if isinstance(probs, TopClasses):
        return probs.hits_in_top(truth, k).astype(np.float64)
    own = probs[np.arange(len(truth)), truth][:, None]
    ahead = (probs > own) | ((probs == own) & (np.arange(probs.shape[1]) > truth[:, None]))
    return (ahead.sum(axis=1) < k).astype(np.float64)


def row_losses(probs: Probs, truth: Labels, clip: float = LOG_LOSS_CLIP) -> Rows:
    """Negative log probability of the true class of each row, (N,), of which `log_loss` is the mean.

    clip: probabilities are moved at least so far from 0 and 1.

    >>> row_losses(np.array([[0.5, 0.5]]), np.array([0])).round(4)
    array([0.6931])
    """
    given = probs[np.arange(len(truth)), truth].astype(np.float64)
    losses: Rows = -np.log(np.clip(given, clip, 1 - clip))
    return losses


# --- the table -----------------------------------------------------------------------------------------------------

LABELS = Needs("labels")
COLUMNS = Needs("labels", tasks=OF_COLUMNS)
TAGS = Needs("labels", tasks=("multilabel",))
NUMBERS = Needs("numbers", (1, math.inf), tasks=("regression",))
error_of = partial(Metric, greater_is_better=False, limits=(0.0, math.inf))


def metric_of_counts(value: CountScore, needs: Needs = LABELS, limits: tuple[float, float] = (0.0, 1.0)) -> Metric:
    """Make a metric of the most probable class from a function of the classes' numbers of rows."""
    return Metric(
        lambda probs, truth: value(count_rows(probs, truth)), needs, limits=limits,
        without=partial(counts_without, value),
    )  # fmt: skip


def metric_at(k: int, score: Callable[..., float], rows: Callable[..., Rows]) -> Metric:
    """Make a metric of the k most probable classes; above FULL_CLASSES only the first KEPT of a row are known."""
    classes = (k + 1, math.inf if k < KEPT else max(k + 1, FULL_CLASSES))
    return Metric(partial(score, k=k), Needs("probabilities", classes, ranks=k), rows=partial(rows, k=k))


METRICS: dict[str, Metric] = {
    "accuracy": Metric(accuracy, LABELS, rows=row_hits),
    "balanced_accuracy": metric_of_counts(balanced_accuracy),
    "log_loss": Metric(
        log_loss, Needs("probabilities"), greater_is_better=False, limits=(0.0, math.inf), rows=row_losses
    ),
    "roc_auc": Metric(roc_auc, Needs("order", (2, FULL_CLASSES), OF_COLUMNS), without=roc_auc_without),
    "average_precision": Metric(
        average_precision,
        Needs("order", (2, FULL_CLASSES), OF_COLUMNS, positive=True),
        without=average_precision_without,
    ),
    "f1_binary": metric_of_counts(f1_binary, Needs("labels", (2, 2), positive=True)),
    "f1_micro": metric_of_counts(f1_micro, COLUMNS),  # the accuracy where each row has one class
    "f1_macro": metric_of_counts(f1_macro, COLUMNS),
    "f1_samples": Metric(partial(fbeta_samples, beta=1.0), TAGS, rows=partial(fbeta_rows, beta=1.0)),
    "f2_samples": Metric(partial(fbeta_samples, beta=2.0), TAGS, rows=partial(fbeta_rows, beta=2.0)),
    "mean_columnwise_log_loss": error_of(
        mean_columnwise_log_loss, Needs("probabilities", tasks=("multilabel",)), rows=columnwise_log_losses
    ),
    "quadratic_weighted_kappa": Metric(
        quadratic_weighted_kappa, Needs("labels", tasks=("ordinal",)), limits=(-1.0, 1.0)
    ),
    "pf1": Metric(probabilistic_f1, Needs("probabilities", (2, 2), positive=True)),
    "rmse": error_of(rmse, NUMBERS),
    "rmsle": error_of(rmsle, replace(NUMBERS, least=0.0)),
    "mae": error_of(mae, NUMBERS, rows=absolute_errors),
    "r2": Metric(r2, NUMBERS, limits=(-math.inf, 1.0)),
    "kl_divergence": error_of(
        kl_divergence, Needs("numbers", (2, math.inf), tasks=("regression",), least=0.0), rows=kl_divergences
    ),
    "matthews": metric_of_counts(matthews, limits=(-1.0, 1.0)),
    **{f"top_{k}_accuracy": metric_at(k, top_k_accuracy, row_hits_in_top) for k in (3, 5)},
}
AT_K: dict[str, Callable[[int], Metric]] = {  # pattern of names with any k -> the metric
    r"map_([1-9]\d*)": partial(metric_at, score=mean_average_precision, rows=reciprocal_ranks),
    r"top_([1-9]\d*)_accuracy": partial(metric_at, score=top_k_accuracy, rows=row_hits_in_top),
}
WITHOUT_K = {"top_k_accuracy": "top_2_accuracy", "map_k": "map_5"}  # what is typed instead, for example
OWN_METRICS: dict[str, Metric] = {}  # of the files that this command names, by `own_metric.name_metric` alone


def find_metric(name: str) -> Metric:
    """Look up a metric, as METRICS or `own_metric.name_metric` names it, or `log_loss#CLIP`.

    Raises UserError, with the known names and the nearest one, for any other; never reads a file.

    >>> find_metric("log_loss").greater_is_better
    False
    """
    if known := METRICS.get(name) or OWN_METRICS.get(name):
        return known
    plain, _, clip = name.partition("#")
    if plain == "log_loss" and _is_clip(clip):
        loss, rows = partial(log_loss, clip=float(clip)), partial(row_losses, clip=float(clip))
        return Metric(loss, METRICS[plain].needs, greater_is_better=False, limits=(0.0, math.inf), rows=rows)
    for pattern, make in AT_K.items():
        if match := re.fullmatch(pattern, name):
            return make(int(match[1]))
    if example := WITHOUT_K.get(name):
        raise UserError(f"competition.metric={name} needs a number for k: type it as competition.metric={example}")
    if is_own_metric(name):
        hashed = f", of SHA-256 {name.partition('#')[2]}…" if "#" in name else ""
        raise UserError(
            f"competition.metric={name} needs its file{hashed}: type its path, as competition.metric=FOLDER/"
            f"{Path(plain).name}, or a metric that needs none, as competition.metric=accuracy"
        )
    near = difflib.get_close_matches(name, (*METRICS, *WITHOUT_K.values()), n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UserError(
        f"competition.metric={name} is unknown; {hint}choose one of: {', '.join((*METRICS, *WITHOUT_K))} with a "
        "number for k; or type FILE.py:FUNCTION"
    )


# --- which fit -----------------------------------------------------------------------------------------------------


def class_fault(name: str, classes: int, task: str = "multiclass") -> str | None:
    """Why a metric does not fit this many classes, with what to type; None if it does.

    >>> class_fault("f1_binary", 3)
    'competition.metric=f1_binary needs 2 classes, there are 3: type competition.metric=f1_micro or f1_macro'
    """
    least, largest = find_metric(name).needs.classes
    if least <= classes <= largest:
        return None
    needed = f"{least}" if least == largest else f"{least} or more" if math.isinf(largest) else f"{least} to {largest}"
    others = other_metrics(task, classes, name)
    noun = "numbers an item" if task == "regression" else "classes"
    return f"competition.metric={name} needs {needed} {noun}, there are {classes}: {others}"


def fitting_metrics(task: str = "multiclass", classes: int | None = None) -> list[str]:
    """Names in METRICS of the metrics of a task; classes: how many there are, None for any number.

    >>> sorted(set(fitting_metrics()) - set(fitting_metrics(classes=4)))
    ['f1_binary', 'pf1', 'top_5_accuracy']
    """
    needs = {name: metric.needs for name, metric in METRICS.items() if task in metric.needs.tasks}
    return [name for name, one in needs.items() if classes is None or one.classes[0] <= classes <= one.classes[1]]


def other_metrics(task: str, classes: int | None = None, name: str = "") -> str:
    """Say what to type instead: metrics that fit, those of the same family if there are any."""
    if name.startswith("map_") and classes is not None and classes > 1:
        return f"type competition.metric=map_{min(5, classes - 1)}"
    fitting = fitting_metrics(task, classes)
    near = [one for one in fitting if one.startswith(f"{name.partition('_')[0]}_")]
    return f"type competition.metric={' or '.join(near or fitting[:3])}"


# --- parts ---------------------------------------------------------------------------------------------------------


def _is_clip(text: str) -> bool:
    try:
        return 0 < float(text) < 0.5
    except ValueError:
        return False
