"""Pseudo-labels: test rows with labels by another run, the teacher, are added to the training rows.

Lee, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural Networks" (2013). Each fold
learns from the teacher's network of the same fold: the other networks have seen the rows that the fold is scored on,
and a blend of them would leak their labels.
"""

import logging
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.competitions.targets import SEPARATOR, names_in
from kagglepipe.errors import UserError
from kagglepipe.predictions.frame import Probs, probabilities, scorable
from kagglepipe.predictions.metrics import find_metric
from kagglepipe.predictions.paired import gains_over, significantly_better
from kagglepipe.runs.run import Run
from kagglepipe.runs.scores import rows_of
from kagglepipe.text import counted

log = logging.getLogger(__name__)


def pseudo_labelled(teacher: Run, dataset: Dataset, fold: int, confidence: float) -> pd.DataFrame:
    """Test rows with a probability of `confidence` or more by the teacher's network of a fold, with `target`.

    Near-duplicates of the fold's rows are left out, as they are from the other folds.
    """
    answers = teacher.fold(fold).test().set_index("id")
    rows, train = dataset.test, dataset.train
    predicted = scorable(answers.loc[rows["id"]], dataset.classes)
    if dataset.task == "multilabel":
        targets, is_sure = sure_tags(predicted, dataset, confidence)
    else:
        targets = np.array(dataset.classes, dtype=object)[predicted.argmax(axis=1)]
        is_sure = predicted.max(axis=1) >= confidence
    has_twin = rows["group"].isin(train["group"][train["fold"] == fold]).to_numpy()
    found = rows.assign(target=targets)[is_sure & ~has_twin]
    counts = counted(Counter(names_in(found["target"], dataset.task))) or "none is sure"
    log.info("train: fold %d: its teacher labels %d of %d rows to classify (%s)", fold, len(found), len(rows), counts)
    return found


def sure_tags(probs: Probs, dataset: Dataset, confidence: float) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """(text of the tags of each row (N,), whether the teacher is sure of each tag and its absence (N,)).

    Rows without a tag count only if some labelled rows have none.
    """
    names, named = np.array(dataset.classes, dtype=object), probs >= 0.5
    is_sure: NDArray[np.bool_] = np.asarray((np.where(named, probs, 1 - probs) >= confidence).all(axis=1))
    if not (dataset.train["target"] == "").any():
        is_sure &= named.any(axis=1)
    return np.array([SEPARATOR.join(names[row]) for row in named], dtype=object), is_sure


def check_teacher(task: str) -> None:
    """Raises UserError for a task whose predictions are no labels."""
    if task == "regression":
        raise UserError(
            "training.teacher makes labels of predictions that are sure, and numbers have no probability that says so: "
            "leave it out; ensemble.runs=[best:8] gains from several runs of numbers"
        )


def gain_over_teacher(teacher: Run, dataset: Dataset, oof: pd.DataFrame, metric: str) -> dict[str, Any]:
    """Out-of-fold gain over the teacher with its interval; `is_kept`: whether it is significant."""
    rows = rows_of(dataset, metric)
    frames = (frame.set_index("id").loc[dataset.train["id"]] for frame in (teacher.oof(), oof))
    before, after = (probabilities(frame, dataset.classes) for frame in frames)
    (gain,) = gains_over([after], before, rows)
    return {
        "teacher": teacher.name,
        "measure": metric if find_metric(metric).is_of_order else "log_loss",
        "gain": gain.value,
        "interval": [gain.low, gain.high],
        "is_kept": significantly_better([before, after], rows) == 1,
    }
