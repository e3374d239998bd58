"""Pseudo-labels: a finished run, the teacher, labels the rows to classify, and another run is fitted on them too.

Lee, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural Networks" (2013). What a
blend of all folds says of a row is of no use here, since most of its networks have seen the fold that is to be scored,
and would whisper its labels. So each fold learns from the teacher's network of the same fold, which has not.
"""

import logging
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.config import Config
from kagglepipe.predictions.frame import probabilities, read_frame
from kagglepipe.predictions.selection import gains_over, significantly_better
from kagglepipe.stages.places import find_teacher
from kagglepipe.stages.scores import rows_of
from kagglepipe.text import counted

log = logging.getLogger(__name__)


def pseudo_labelled(config: Config, prepared: Dataset, fold: int) -> pd.DataFrame:
    """The rows to classify of which the teacher's network of a fold is sure, with its answers as `target`.

    Rows with a near-twin in the fold are left out, as they are of the other folds.
    """
    answers = read_frame(find_teacher(config, prepared) / f"fold_{fold}" / "test.parquet").set_index("id")
    rows, train = prepared.test, prepared.train
    probs = probabilities(answers.loc[rows["id"]], prepared.classes)
    targets = np.array(prepared.classes, dtype=object)[probs.argmax(axis=1)]
    is_sure = probs.max(axis=1) >= config.training.confidence
    has_twin = rows["group"].isin(train["group"][train["fold"] == fold]).to_numpy()
    found = rows.assign(target=targets)[is_sure & ~has_twin]
    counts = counted(Counter(found["target"])) or "none is sure"
    log.info("train: fold %d: its teacher labels %d of %d rows to classify (%s)", fold, len(found), len(rows), counts)
    return found


def over_teacher(config: Config, prepared: Dataset, oof: pd.DataFrame) -> dict[str, Any]:
    """What the pseudo-labels have gained out of fold, and whether it is beyond noise: only then are they kept."""
    teacher = find_teacher(config, prepared)
    rows = rows_of(prepared, config.competition.metric)
    frames = (frame.set_index("id").loc[prepared.train["id"]] for frame in (read_frame(teacher / "oof.parquet"), oof))
    before, after = (probabilities(frame, prepared.classes) for frame in frames)
    (gain,) = gains_over([after], before, rows)
    return {
        "teacher": teacher.name,
        "measure": "roc_auc" if rows.metric == "roc_auc" else "log_loss",
        "gain": gain.value,
        "interval": [gain.low, gain.high],
        "is_kept": significantly_better([before, after], rows) == 1,
    }
