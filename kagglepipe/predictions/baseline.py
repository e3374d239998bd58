"""Baselines without pixels: class shares, and a decision tree on metadata, which finds leaks."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.competitions.targets import IN_COLUMNS, Truth, parse_targets
from kagglepipe.predictions.frame import Labels, Probs, merge_folds, oof_frame
from kagglepipe.predictions.top_classes import FULL_CLASSES, row_blocks


def class_shares(labels: Labels, classes: int) -> Probs:
    """Share of each class with Laplace smoothing, (N,) -> (C,): none is 0."""
    counts = np.bincount(labels, minlength=classes) + 1.0
    return np.asarray(counts / counts.sum())


def tag_shares(truth: Truth, classes: int) -> Probs:
    """Share of rows with each tag, with Laplace smoothing: (N, C) -> (C,)."""
    return np.asarray((truth.sum(axis=0) + 1.0) / (len(truth) + 2.0))


def means(truth: Truth, classes: int) -> Probs:
    """Mean of each number: (N, C) -> (C,)."""
    return np.asarray(truth.mean(axis=0), np.float64)


CONSTANTS = {"multilabel": tag_shares, "regression": means}


def constant_baseline(rows: pd.DataFrame, classes: Sequence[str], task: str = "multiclass") -> pd.DataFrame:
    """Out-of-fold frame of the class shares of the other folds, of numbers their means. rows: labelled, with `fold`."""
    if task in CONSTANTS:
        constant = CONSTANTS[task]

        def repeat(truth: Truth, train: npt.NDArray[np.bool_]) -> Probs:
            return np.tile(constant(truth[train], len(classes)), ((~train).sum(), 1))

        return _cross_predict_columns(rows, classes, task, repeat)
    return _cross_predict(
        rows,
        classes,
        lambda labels, train: (class_shares(labels[train], len(classes))[None], np.zeros((~train).sum(), int)),
    )


def metadata_baseline(rows: pd.DataFrame, classes: Sequence[str], task: str = "multiclass") -> pd.DataFrame:
    """Out-of-fold frame of a decision tree on width, height, bytes, format and mode. rows: labelled rows with `fold`.

    A leaf predicts the shares of its rows, smoothed by one row with the shares of all classes; of tags and numbers
    their means.
    """
    if task in IN_COLUMNS:
        return _metadata_means(rows, classes, task)
    from sklearn.tree import DecisionTreeClassifier

    inputs = metadata(rows)

    def predict(labels: Labels, train: npt.NDArray[np.bool_]) -> tuple[Probs, Labels]:
        tree = DecisionTreeClassifier(max_depth=3, min_samples_leaf=5, random_state=0)
        tree.fit(inputs[train], labels[train])
        leaves, first, leaf = np.unique(tree.apply(inputs[~train]), return_index=True, return_inverse=True)
        found = np.zeros((len(leaves), len(classes)))
        found[:, tree.classes_] = tree.predict_proba(inputs[~train][first])
        size = tree.tree_.n_node_samples[leaves][:, None]
        return np.asarray((found * size + class_shares(labels[train], len(classes))) / (size + 1)), leaf

    return _cross_predict(rows, classes, predict)


def _metadata_means(rows: pd.DataFrame, classes: Sequence[str], task: str) -> pd.DataFrame:
    """`metadata_baseline` of tags or numbers."""
    from sklearn.tree import DecisionTreeRegressor

    inputs = metadata(rows)

    def predict(truth: Truth, train: npt.NDArray[np.bool_]) -> Probs:
        tree = DecisionTreeRegressor(max_depth=3, min_samples_leaf=5, random_state=0)
        tree.fit(inputs[train], truth[train].astype(np.float64))
        return np.asarray(tree.predict(inputs[~train]).reshape(-1, len(classes)))

    return _cross_predict_columns(rows, classes, task, predict)


def _cross_predict_columns(
    rows: pd.DataFrame, classes: Sequence[str], task: str, predict: Callable[[Truth, npt.NDArray[np.bool_]], Probs]
) -> pd.DataFrame:
    """Out-of-fold frame of `predict`: (truth (N, C), mask of training rows (N,)) -> predictions of others (M, C)."""
    frames, truth = [], parse_targets(rows["target"], classes, task)
    for fold in sorted(rows["fold"].unique()):
        train = (rows["fold"] != fold).to_numpy()
        found, own = predict(truth, train), rows[~train]
        frames.append(oof_frame(own["id"].tolist(), int(fold), own["target"].tolist(), found, classes, task))
    return merge_folds(frames, rows["id"])


def _cross_predict(
    rows: pd.DataFrame, classes: Sequence[str], predict: Callable[[Labels, npt.NDArray[np.bool_]], tuple[Probs, Labels]]
) -> pd.DataFrame:
    """Out-of-fold frame of `predict`.

    predict: (class indices (N,), mask of training rows (N,)) -> (a few rows of probabilities (L, C), which of them each
    of the M other rows has (M,)).
    """
    labels = pd.Index(classes).get_indexer(pd.Index(rows["target"]))
    frames = []
    for fold in sorted(rows["fold"].unique()):
        train = (rows["fold"] != fold).to_numpy()
        own, (probs, leaf) = rows[~train], predict(labels, train)
        for part in row_blocks(len(own)) if len(classes) > FULL_CLASSES else [slice(None)]:
            one = own[part]
            frames.append(oof_frame(one["id"].tolist(), int(fold), one["target"].tolist(), probs[leaf[part]], classes))
    return merge_folds(frames, rows["id"])


def metadata(rows: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Features (N, 7): logarithms of width, height, aspect, bytes and bytes a pixel; codes of format and mode."""
    width, height, size = (rows[name].to_numpy(np.float64) for name in ("width", "height", "bytes"))
    codes = [rows[name].astype("category").cat.codes.to_numpy(np.float64) for name in ("format", "mode")]
    with np.errstate(divide="ignore"):
        logs = [np.log(column) for column in (width, height, width / height, size, size / (width * height))]
    return np.stack([*logs, *codes], axis=1)
