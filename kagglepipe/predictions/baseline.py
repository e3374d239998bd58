"""How far one gets without looking at a picture: the score that size, format and file length alone reach.

A competition whose classes came from different places leaks through its metadata. A score is worth what it
stands above this baseline, which is therefore printed beside it.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from kagglepipe.predictions.frame import merge_folds, oof_frame


def metadata_baseline(rows: pd.DataFrame, classes: Sequence[str], *, depth: int = 3) -> pd.DataFrame:
    """The out-of-fold frame of a small decision tree on width, height, bytes, format and mode.

    rows: labelled rows of the table with their `fold`.
    """
    from sklearn.tree import DecisionTreeClassifier

    inputs, labels = metadata(rows), rows["target"].map(list(classes).index).to_numpy()
    frames = []
    for fold in sorted(rows["fold"].unique()):
        held = (rows["fold"] == fold).to_numpy()
        tree = DecisionTreeClassifier(max_depth=depth, min_samples_leaf=5, random_state=0)
        tree.fit(inputs[~held], labels[~held])
        probs = np.zeros((held.sum(), len(classes)))
        probs[:, tree.classes_] = tree.predict_proba(inputs[held])
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
