"""How far one gets without looking at a picture: the score that size, format and file length alone reach.

A competition whose classes came from different places leaks through its metadata. A score is worth what it
stands above this baseline, which is therefore printed beside it.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from kagglepipe.predictions.frame import Labels, Probs, merge_folds, oof_frame


def class_shares(labels: Labels, classes: int) -> Probs:
    """(classes,) the share of each class, as if each had one row more: none is 0, which log loss could not bear.

    Laplace's rule of succession.

    >>> class_shares(np.array([0, 0, 1]), 3)
    array([0.5       , 0.33333333, 0.16666667])
    """
    counts = np.bincount(labels, minlength=classes) + 1.0
    shares: Probs = counts / counts.sum()
    return shares


def constant_baseline(rows: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """The out-of-fold frame of one answer to all rows of a fold: the shares of the classes in the other folds.

    rows: labelled rows of the table with their `fold`.
    """
    labels = rows["target"].map(list(classes).index).to_numpy()
    frames = []
    for fold in sorted(rows["fold"].unique()):
        held = (rows["fold"] == fold).to_numpy()
        probs = np.tile(class_shares(labels[~held], len(classes)), (int(held.sum()), 1))
        frames.append(oof_frame(rows["id"][held].tolist(), int(fold), rows["target"][held].tolist(), probs, classes))
    return merge_folds(frames, rows["id"])


def metadata_baseline(rows: pd.DataFrame, classes: Sequence[str], *, depth: int = 3) -> pd.DataFrame:
    """The out-of-fold frame of a small decision tree on width, height, bytes, format and mode.

    A leaf answers with the shares of its rows and one row more, which has the shares of all classes: a leaf of few rows
    is not sure.
    rows: labelled rows of the table with their `fold`.
    """
    from sklearn.tree import DecisionTreeClassifier

    inputs, labels = metadata(rows), rows["target"].map(list(classes).index).to_numpy()
    frames = []
    for fold in sorted(rows["fold"].unique()):
        held = (rows["fold"] == fold).to_numpy()
        tree = DecisionTreeClassifier(max_depth=depth, min_samples_leaf=5, random_state=0)
        tree.fit(inputs[~held], labels[~held])
        found = np.zeros((held.sum(), len(classes)))
        found[:, tree.classes_] = tree.predict_proba(inputs[held])
        size = tree.tree_.n_node_samples[tree.apply(inputs[held])][:, None]
        probs = (found * size + class_shares(labels[~held], len(classes))) / (size + 1)
        frames.append(oof_frame(rows["id"][held].tolist(), int(fold), rows["target"][held].tolist(), probs, classes))
    return merge_folds(frames, rows["id"])


def metadata(rows: pd.DataFrame) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """(N, 7): logarithms of width, height, aspect, bytes and bytes a pixel; codes of format and mode."""
    width, height, size = (rows[name].to_numpy(np.float64) for name in ("width", "height", "bytes"))
    codes = [rows[name].astype("category").cat.codes.to_numpy(np.float64) for name in ("format", "mode")]
    with np.errstate(divide="ignore"):
        return np.stack(
            [
                np.log(width),
                np.log(height),
                np.log(width / height),
                np.log(size),
                np.log(size / (width * height)),
                *codes,
            ],
            axis=1,
        )
