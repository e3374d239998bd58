"""model=auto: each fold's temporal model, chosen between a linear mean, one with differences and an LSTM.

The choice for a fold is made on the rows outside its block of folds alone. A fit without two blocks predicts both and
serves two choices; groups stay together, since folds keep them. A step to a more complex model is taken where it gains
beyond noise. So the score out of fold is that of choosing and fitting together, and each fold's network is the one that
was chosen for it. Varma and Simon 2006, "Bias in error estimation when using cross-validation for model selection".
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.predictions.decisions import plain_out_of_fold
from kagglepipe.predictions.evaluation import EvalRows
from kagglepipe.predictions.metrics import find_metric
from kagglepipe.predictions.paired import plain_gain, score_gain, significantly_better
from kagglepipe.predictions.uncertainty import format_score
from kagglepipe.training.learner import FoldResult, LearnerOptions, Probs, Runtime
from kagglepipe.training.loop import FitRuntime
from kagglepipe.training.sequence_learner import SequenceLearner

log = logging.getLogger(__name__)
MEAN: dict[str, Any] = {"cell": "mean", "pooling": "mean", "shuffled": False}
LADDER: dict[str, dict[str, Any]] = {  # from simple to complex: what each sets of model.temporal
    "linear mean": {**MEAN, "differences": False},
    "linear mean with differences": {**MEAN, "differences": True},
    "LSTM": {"cell": "lstm"},
}
NO_FOLD = -1  # fitted without it, a learner takes all of its rows


@dataclass(frozen=True)
class Choice:
    """A model chosen for a fold. name: in LADDER. why: in words. scores: in the metric, of each that was tried, on rows
    that are not of the fold; empty where none could be.
    """

    name: str
    why: str
    scores: dict[str, float]


class ChoosingLearner(SequenceLearner):
    """A `SequenceLearner` that chooses the temporal model of each fold inside its training rows."""

    def __init__(self, dataset: Dataset, options: LearnerOptions, runtime: Runtime) -> None:
        super().__init__(dataset, options, runtime)
        fold, group = (np.unique(self.train[key].to_numpy(), return_inverse=True)[1] for key in ("fold", "group"))
        self.rows = EvalRows(dataset.labels(self.train), fold, group, options.competition.metric)
        self.choices: dict[int, Choice] = {}  # of blocks of folds
        self._whole: dict[str, SequenceLearner] = {}
        self._inner: dict[tuple[str, int, int], Probs] = {}

    def fit_fold(self, fold: int, extra: pd.DataFrame, runtime: FitRuntime) -> FoldResult:
        """Choose a model without the rows of the fold, then fit it as `SequenceLearner` does."""
        choice = self.choice(fold)
        log.info("train: fold %d: model=auto takes the %s: %s", fold, choice.name, choice.why)
        if choice.name not in self._whole:
            self._whole[choice.name] = self.learner_of(choice.name, self.dataset, self.options)
        return self._whole[choice.name].fit_fold(fold, extra, runtime)

    def save_fold(self, result: FoldResult, folder: Path, meta: dict[str, Any]) -> None:
        """Save the chosen model, with the choice in model.json."""
        super().save_fold(result, folder, {**meta, "choice": asdict(self.choice(meta["fold"]))})

    def choice(self, fold: int) -> Choice:
        """The choice for a fold."""
        block = int(self.rows.blocks[self.folds == fold][0])
        if block not in self.choices:
            self.choices[block] = self.choose(block)
        return self.choices[block]

    def choose(self, block: int) -> Choice:
        """Choose a model on the rows outside a block of folds."""
        outside = self.rows.blocks != block
        rows, (first, *others) = self.rows.part(outside), LADDER
        if self.rows.block_count < 3:
            return Choice(first, "two folds leave no third to choose by: folds.count=5 does", {})
        found, chosen, more = {first: self.predictions(first, block)[outside]}, first, ""
        for name in others:
            if LADDER[name]["cell"] != "mean" and not could_be_better(found[chosen], rows):
                more = f"; so few errors or groups could show no gain by {name}, which is not tried"
                break
            found[name] = self.predictions(name, block)[outside]
            if is_better(found[name], found[chosen], rows):
                chosen = name
        scores = {name: score_of(probs, rows) for name, probs in found.items()}
        return Choice(chosen, in_words(chosen, scores, rows) + more, scores)

    def predictions(self, name: str, block: int) -> Probs:
        """Predictions (N, C) of each row outside a block, by a model fitted without its block and this one."""
        found = np.full((len(self.train), len(self.classes)), np.nan)
        for other in set(range(self.rows.block_count)) - {block}:
            a, b = sorted((block, other))
            if (name, a, b) not in self._inner:
                self._inner[name, a, b] = self.predictions_without(name, a, b)
            mine = self.rows.blocks == other
            found[mine] = self._inner[name, a, b][mine]
        return found

    def predictions_without(self, name: str, a: int, b: int) -> Probs:
        """Predictions (N, C) of the rows of two blocks by one network, on frozen features, fitted on all others."""
        held = np.isin(self.rows.blocks, (a, b))
        left_out, table = set(self.train["id"][held]), self.dataset.table
        dataset = replace(self.dataset, table=table[~table["id"].isin(left_out)])
        options = replace(
            self.options, training=replace(self.options.training, mode="head"),
            sequences=replace(self.options.sequences, members=1),
        )  # fmt: skip
        learner = self.learner_of(name, dataset, options)
        learner.fit_name = "train: a fit to choose the model by"
        result = learner.fit_fold(NO_FOLD, self.train[:0], FitRuntime())
        found = np.full((len(self.train), len(self.classes)), np.nan)
        found[held] = learner.predict(result, Path(), self.train[held])
        return found

    def learner_of(self, name: str, dataset: Dataset, options: LearnerOptions) -> SequenceLearner:
        """A learner of one model of LADDER, with the features of this one."""
        temporal = replace(options.model.temporal, **LADDER[name])
        return self.with_features_of_this(dataset, replace(options, model=replace(options.model, temporal=temporal)))


def is_better(one: Probs, other: Probs, rows: EvalRows) -> bool:
    """Whether `one` gains over `other` beyond noise in its loss, and is better in the metric too."""
    if significantly_better([other, one], rows) == 0:
        return False
    return plain_gain(one, other, rows).value > 0


def could_be_better(probs: Probs, rows: EvalRows) -> bool:
    """Whether predictions without an error would gain over these beyond noise in the metric."""
    truth = rows.truth
    right = np.eye(probs.shape[1])[truth] if truth.ndim == 1 else truth.astype(np.float64)
    return score_gain(right, plain_out_of_fold(probs, rows), rows).is_beyond_noise


def score_of(probs: Probs, rows: EvalRows) -> float:
    """The metric of predictions (N, C), with the plain decision."""
    return float(find_metric(rows.metric).function(plain_out_of_fold(probs, rows), rows.truth))


def in_words(chosen: str, scores: Mapping[str, float], rows: EvalRows) -> str:
    """Why a model is chosen: the score of each that was tried, from the simplest on.

    >>> rows = EvalRows(np.array([0, 1]), np.array([0, 1]), np.array([0, 1]), "accuracy")
    >>> in_words("linear mean", {"linear mean": 0.5, "LSTM": 0.75}, rows)
    'inside its training rows (2 in 2 groups) accuracy 0.5000; no gain beyond noise by LSTM 0.7500'
    """
    names, at = [f"{name} {format_score(score)}" for name, score in scores.items()], list(scores).index(chosen)
    said = f"inside its training rows ({len(rows.folds)} in {int(rows.groups.max()) + 1} groups) {rows.metric} "
    said += format_score(scores[chosen])
    said += f", a gain beyond noise over {', '.join(names[:at])}" if at else ""
    return said + (f"; no gain beyond noise by {', '.join(names[at + 1 :])}" if names[at + 1 :] else "")
