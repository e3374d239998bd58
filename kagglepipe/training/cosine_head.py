"""Linear head for ranked classes of few images: cosine similarity to the mean of each class, closed but for a scale."""

import logging
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.sparse import csr_array

from kagglepipe.training.discriminant import log_loss_of
from kagglepipe.training.features import Features
from kagglepipe.training.head import UNSEEN_BIAS, ExtraRows, Head, Labels, training_rows

log = logging.getLogger(__name__)
FEW_ROWS = 5  # a class, on average, below which this head ranks them
SCALES = (0.0, 7.0)  # binary logarithms of the factor of the cosines
USUAL_SCALE = 16.0  # where no class has rows in two folds
CHECKED_ROWS = 2000  # that choose the scale
EPSILON = 1e-12


class CosineFitter:
    """Fits one head per fold on features that all folds share. Arguments and methods as of `HeadFitter`.

    Logits are scale · |x - centre| · cos(x - centre, mean of the class - centre), where |x - centre| is relative to its
    root mean square: features are divided by their norm before, so it hardly differs, and no rank depends on it. The
    scale has the least log loss on rows of the next fold, by means of the rows of neither. Snell, Swersky and Zemel
    2017, "Prototypical networks for few-shot learning".

    A class all of whose rows are held out has probability 0 there, as in other heads: each row is scored against the
    classes that its head has seen.
    """

    def __init__(
        self, views: Sequence[Features], labels: Labels, folds: Labels, *, classes: int, clean: float = 1.0
    ) -> None:
        self.views, self.labels, self.folds, self.classes = list(views), labels, folds, classes
        weights = np.array([clean, *[1.0] * (len(self.views) - 1)])
        self.weights = weights / weights.sum()
        self.scale = cache(self._scale)
        known, of_row = np.unique(labels, return_inverse=True)
        pairs = np.unique(np.column_stack([of_row, folds]), axis=0)
        lone = np.flatnonzero(np.bincount(pairs[:, 0], minlength=len(known)) == 1)
        log.info(
            "train: %d of %d rows have one of the %d classes with rows in a single fold: out of fold they count as "
            "answers without their class", np.isin(of_row, lone).sum(), len(labels), len(lone),
        )  # fmt: skip

    def fit(self, fold: int, extra: ExtraRows | None = None) -> Head:
        """Fit the head for `fold` on all other folds and the extra rows."""
        views, labels = training_rows(self.views, self.labels, self.folds != fold, extra)
        return self._head(views, labels, self.scale(fold)[0])

    def history(self, fold: int) -> list[dict[str, float]]:
        """Scale and its inner log loss, as the row of log.csv."""
        scale, loss = self.scale(fold)
        return [{"scale": scale, "inner_log_loss": loss}]

    def _scale(self, fold: int) -> tuple[float, float]:
        """(scale, log loss) of least log loss on inner rows; NaN without any whose class is elsewhere too."""
        others = [int(one) for one in np.unique(self.folds) if one != fold]
        if len(others) > 1:
            held = self.folds == next((one for one in others if one > fold), others[0])
        else:  # two folds: every fifth row of the other one
            held = (self.folds != fold) & (np.cumsum(self.folds != fold) % 5 == 0)
        fitted = (self.folds != fold) & ~held
        rows = np.flatnonzero(held & np.isin(self.labels, self.labels[fitted]))
        if not len(rows):
            return USUAL_SCALE, float("nan")
        rows = rows[:: -(-len(rows) // CHECKED_ROWS)]
        head = self._head([view[fitted] for view in self.views], self.labels[fitted], 1.0)
        unseen = np.where(head.bias == UNSEEN_BIAS, np.float32(UNSEEN_BIAS), np.float32(0))
        bias = np.where(head.bias == UNSEEN_BIAS, np.float32(0), head.bias)
        scores = [view[rows].astype(np.float32) @ head.weight.T + bias for view in self.views]

        def loss(power: float) -> float:
            return float(np.mean([log_loss_of(one, 2.0**power, unseen, self.labels[rows]) for one in scores]))

        best = minimize_scalar(loss, bounds=SCALES, method="bounded", options={"xatol": 0.02})
        return float(2.0**best.x), float(best.fun)

    def _head(self, views: Sequence[Features], labels: Labels, scale: float) -> Head:
        """Head of the means of the classes among `labels` (N,), of features of each view (V, N, F)."""
        seen, of_row = np.unique(labels, return_inverse=True)
        members = csr_array((np.ones(len(labels)), (of_row, np.arange(len(labels)))))
        total = sum(weight * (members @ view) for weight, view in zip(self.weights, views, strict=True))
        away = total / np.bincount(of_row)[:, None]
        centre = np.asarray(total).sum(axis=0) / len(labels)
        away = away - centre
        norms = [((view - centre.astype(np.float32)) ** 2).sum(axis=1, dtype=np.float64).mean() for view in views]
        size = np.sqrt(self.weights @ np.array(norms)) + EPSILON
        unit = away / (np.linalg.norm(away, axis=1, keepdims=True) + EPSILON) * (scale / size)
        weight: NDArray[np.float32] = np.zeros((self.classes, views[0].shape[1]), np.float32)
        bias = np.full(self.classes, UNSEEN_BIAS, np.float32)
        weight[seen], bias[seen] = unit, -unit @ centre
        return Head(weight, bias, scale)
