"""Adversarial validation: how well a model tells rows to classify from training rows. At chance both are alike."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kagglepipe.predictions.evaluation import score_interval
from kagglepipe.predictions.frame import Labels

FOLDS = 5
ALPHA = 400.0  # penalty of the regression: there may be more features than rows


@dataclass(frozen=True)
class Apart:
    """Area under the ROC curve with its 95 % interval, and scores (N,), above 0 for a row that is like the test."""

    auc: float
    low: float
    high: float
    scores: npt.NDArray[np.float64]


def tell_apart(features: npt.NDArray[np.floating], is_test: npt.NDArray[np.bool_], groups: Labels) -> Apart | None:
    """Fit ridge regressions on standardised features (N, F), cross-fitted by groups; None for too few groups.

    groups: codes 0 … G - 1 (N,), near-duplicates together, so that no twin tells the part of its twin. A logistic
    regression orders the rows alike and takes six times as long.
    """
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if min(len(np.unique(groups[is_test == one])) for one in (False, True)) < 2 * FOLDS:
        return None
    scores = np.zeros(len(is_test))
    for fit, own in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(features, is_test, groups):
        model = make_pipeline(StandardScaler(), RidgeClassifier(alpha=ALPHA, class_weight="balanced"))
        scores[own] = model.fit(features[fit], is_test[fit]).decision_function(features[own])
    auc = single_auc(scores, is_test)
    low, high = score_interval("roc_auc", np.column_stack([-scores, scores]), is_test.astype(np.intp), groups)
    return Apart(auc, low, high, scores)


def single_auc(values: npt.ArrayLike, is_test: npt.NDArray[np.bool_]) -> float:
    """Area under the ROC curve of one number (N,): above 0.5 where it is larger in the test.

    >>> single_auc([1, 2, 3, 4], np.array([False, False, True, True]))
    1.0
    """
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(is_test, values))
