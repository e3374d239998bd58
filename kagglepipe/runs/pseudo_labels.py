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

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.predictions.frame import probabilities, scorable
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
    probs = scorable(answers.loc[rows["id"]], dataset.classes)
    targets = np.array(dataset.classes, dtype=object)[probs.argmax(axis=1)]
    is_sure = probs.max(axis=1) >= confidence
    has_twin = rows["group"].isin(train["group"][train["fold"] == fold]).to_numpy()
    found = rows.assign(target=targets)[is_sure & ~has_twin]
    counts = counted(Counter(found["target"])) or "none is sure"
    log.info("train: fold %d: its teacher labels %d of %d rows to classify (%s)", fold, len(found), len(rows), counts)
    return found


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
