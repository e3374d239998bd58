"""Test-time augmentation: means over the clean view and turned ones, kept if the out-of-fold rows gain by them.

A fold of a run with `predict.tta` has oof_tta.parquet and test_tta.parquet beside its plain predictions.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.images.views import TURNS
from kagglepipe.options import AugmentationOptions
from kagglepipe.predictions.blend import with_probabilities
from kagglepipe.predictions.evaluation import EvalRows
from kagglepipe.predictions.frame import average_folds, class_columns, merge_folds, probabilities, read_frame
from kagglepipe.predictions.paired import gains_over, plain_gain
from kagglepipe.predictions.uncertainty import ROUNDING, Gain
from kagglepipe.runs.run import Run

Frames = tuple[pd.DataFrame, pd.DataFrame]  # out of fold, test


def turns_of(asked: Sequence[str], augmentation: AugmentationOptions) -> list[str]:
    """The turned views of `predict.tta`; `auto`: a flip unless a mirror changes the class, all of a dihedral policy."""
    if list(asked) != ["auto"]:
        return list(asked)
    if augmentation.policy == "dihedral" and augmentation.mirror:
        return list(TURNS)
    return ["flip"] if augmentation.mirror else []


def mean_of(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Mean of row-aligned frames of predictions."""
    classes = class_columns(frames[0])
    mean = np.mean([probabilities(frame, classes) for frame in frames], axis=0)
    return with_probabilities(frames[0], classes, mean)


def is_gain(loss: Gain, metric: Gain) -> bool:
    """Whether views are a gain: beyond noise in the metric, or in the loss and without a worse metric.

    The metric is what counts, but one of labels may not tell what the loss of as many rows does.
    """
    return metric.is_beyond_noise or (loss.is_beyond_noise and not metric.value < -ROUNDING)


def choose_tta(
    run: Run, folds: Sequence[int], plain: Frames, dataset: Dataset, metric: str, asked: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """(out-of-fold frame, test frame, entry of metrics.json): the means over views if they are kept, else `plain`.

    They are kept if named, and with `auto` if they are a gain over the clean view alone (`is_gain`).
    """
    first = run.fold(folds[0])
    turns = first.model.get("tta", []) if first.has_model else []
    if not turns:
        return *plain, {}
    oof = merge_folds([read_frame(run.fold(one).tta_files[0]) for one in folds], dataset.train["id"])
    test = average_folds([read_frame(run.fold(one).tta_files[1]) for one in folds])
    train, classes = dataset.train.set_index("id").loc[oof["id"]].reset_index(), dataset.classes
    of_fold, of_group = (np.unique(train[name].to_numpy(), return_inverse=True)[1] for name in ("fold", "group"))
    rows = EvalRows(dataset.labels(train), of_fold, of_group, metric)
    before, after = (
        probabilities(one.set_index("id").loc[oof["id"]].reset_index(), classes) for one in (plain[0], oof)
    )
    (gain,), scored = gains_over([after], before, rows), plain_gain(after, before, rows)
    is_kept = list(asked) != ["auto"] or is_gain(gain, scored)
    gains = {"gain": asdict(gain), "metric_gain": asdict(scored)}
    entry = {"tta": {"views": turns, "is_kept": is_kept, **gains}}
    return (oof, test, entry) if is_kept else (*plain, entry)
