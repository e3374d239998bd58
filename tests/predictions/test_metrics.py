"""Metrics against scikit-learn, intervals against numbers worked by hand.

Run with `python -m pytest tests/predictions`.
"""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from kagglepipe.errors import UserError
from kagglepipe.predictions import metrics, uncertainty
from kagglepipe.predictions.frame import oof_frame

CLASSES = ["cat", "dog", "eel", "fox"]


@st.composite
def predictions(draw: st.DrawFn, *, every_class: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, C) on a coarse grid, so that ties abound, and labels (N,)."""
    count = draw(st.integers(2, 4))
    rows = draw(st.integers(count, 25))
    cells = st.lists(st.integers(0, 3), min_size=count, max_size=count).filter(any)
    weights = np.array(draw(st.lists(cells, min_size=rows, max_size=rows)), dtype=float)
    truth = draw(st.lists(st.integers(0, count - 1), min_size=rows, max_size=rows))
    if every_class:
        truth[:count] = range(count)
    return weights / weights.sum(axis=1, keepdims=True), np.array(truth)


def make_frame(probs: np.ndarray, truth: np.ndarray, *, folds: int = 2) -> pd.DataFrame:
    """An out-of-fold frame of these rows, with ids r0, r1 … and folds in turn."""
    classes = CLASSES[: probs.shape[1]]
    names = [f"r{row}" for row in range(len(truth))]
    return oof_frame(names, np.arange(len(truth)) % folds, [classes[k] for k in truth], probs, classes)


def score(name: str, probs: np.ndarray, truth: np.ndarray) -> float:
    return metrics.score(name, make_frame(probs, truth), CLASSES[: probs.shape[1]])


ON_LABELS: dict[str, Callable[..., float]] = {
    "accuracy": sklearn.metrics.accuracy_score,
    "f1_macro": lambda truth, predicted: sklearn.metrics.f1_score(truth, predicted, average="macro"),
}


@given(rows=predictions())
@pytest.mark.parametrize("name", ON_LABELS)
def test_metrics_of_labels_equal_those_of_sklearn(name: str, rows: tuple[np.ndarray, np.ndarray]) -> None:
    probs, truth = rows
    assert score(name, probs, truth) == pytest.approx(ON_LABELS[name](truth, probs.argmax(axis=1)), abs=1e-12)


@given(rows=predictions(every_class=True))
def test_metrics_that_need_every_class_equal_those_of_sklearn(rows: tuple[np.ndarray, np.ndarray]) -> None:
    probs, truth = rows
    column = probs[:, 1] if probs.shape[1] == 2 else probs
    area = sklearn.metrics.roc_auc_score(truth, column, multi_class="ovr", average="macro")
    balanced = sklearn.metrics.balanced_accuracy_score(truth, probs.argmax(axis=1))
    clipped = np.clip(probs[np.arange(len(truth)), truth], 1e-15, 1 - 1e-15)
    assert score("roc_auc", probs, truth) == pytest.approx(area, abs=1e-12)
    assert score("balanced_accuracy", probs, truth) == pytest.approx(balanced, abs=1e-12)
    assert score("log_loss", probs, truth) == pytest.approx(-np.log(clipped).mean(), abs=1e-12)


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), count=st.integers(2, 4))
def test_log_loss_equals_that_of_sklearn_where_nothing_is_clipped(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    probs, truth = random.dirichlet(np.full(count, 5.0), 20), random.integers(count, size=20)
    expected = sklearn.metrics.log_loss(truth, probs, labels=range(count))
    assert score("log_loss", probs, truth) == pytest.approx(expected, abs=1e-12)


def test_log_loss_of_a_row_that_is_surely_wrong_is_finite_in_float32_too() -> None:
    probs = np.array([[1, 0], [1, 0]], dtype=np.float32)
    for log_loss in (metrics.log_loss, lambda *rows: score("log_loss", *rows)):
        assert log_loss(probs, np.array([1, 1])) == pytest.approx(-math.log(1e-15))  # what Kaggle charges
        assert log_loss(probs, np.array([0, 0])) == pytest.approx(0, abs=1e-12)


def test_classes_without_rows_do_not_count() -> None:
    probs = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.8, 0.1, 0.1]])
    truth = np.array([0, 1, 1])
    assert score("balanced_accuracy", probs, truth) == pytest.approx((1 + 1 / 2) / 2)
    assert score("f1_macro", probs, truth) == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert score("roc_auc", probs, truth) == pytest.approx((3 / 4 + 3 / 4) / 2)


def test_roc_auc_of_one_class_is_undefined() -> None:
    assert math.isnan(score("roc_auc", np.array([[0.2, 0.8], [0.3, 0.7]]), np.array([1, 1])))


def test_directions() -> None:
    lower_is_better = [name for name, metric in metrics.METRICS.items() if not metric.greater_is_better]
    assert lower_is_better == ["log_loss"]


def test_an_unknown_metric_is_answered_with_the_nearest_and_with_all() -> None:
    frame = make_frame(np.array([[0.5, 0.5]]), np.array([0]))
    with pytest.raises(UserError, match=r"did you mean competition.metric=accuracy\?.*f1_macro, log_loss, roc_auc$"):
        metrics.score("acuracy", frame, CLASSES[:2])
    with pytest.raises(UserError, match="=zzz is unknown; known are: accuracy"):
        metrics.find_metric("zzz")


def test_an_empty_frame_has_no_score() -> None:
    with pytest.raises(ValueError, match="without rows"):
        metrics.score("accuracy", make_frame(np.array([[0.5, 0.5]]), np.array([0]))[:0], CLASSES[:2])


def noisy(rows: int) -> pd.DataFrame:
    """A two-class frame whose predictions are right about four times in five."""
    random = np.random.default_rng(3)
    truth = random.integers(2, size=rows)
    second = np.clip(0.5 + (truth - 0.5) * 0.6 + random.normal(0, 0.35, rows), 0.01, 0.99)
    return make_frame(np.column_stack([1 - second, second]), truth)


def test_groups_that_share_their_luck_widen_the_interval() -> None:
    frame = noisy(40)
    copies = pd.concat([frame.assign(id=frame["id"] + f"_{k}") for k in range(9)], ignore_index=True)
    group = {name: name.split("_")[0] for name in copies["id"]}
    for name in metrics.METRICS:
        alone = metrics.summarise(name, frame, CLASSES[:2], None)["interval"]
        by_group = metrics.summarise(name, copies, CLASSES[:2], group)["interval"]
        assert by_group == pytest.approx(alone, abs=0.02 if name == "accuracy" else 1e-9)  # Wilson's own quantile
        low, high = metrics.summarise(name, copies, CLASSES[:2], None)["interval"]
        assert high - low < (alone[1] - alone[0]) / 2


def test_groups_are_found_by_id_never_by_position() -> None:
    frame = noisy(60)
    groups = pd.Series({f"r{row}": row // 6 for row in range(60)})

    def interval(groups: pd.Series) -> tuple[float, float]:
        return metrics.summarise("roc_auc", frame, CLASSES[:2], groups)["interval"]

    assert interval(groups.sample(frac=1, random_state=0)) == interval(groups)
    with pytest.raises(ValueError, match="no group for id 'r0', 'r1', 'r10' and 57 more"):
        interval(groups.reset_index(drop=True))


@pytest.mark.parametrize("name", metrics.METRICS)
def test_two_groups_and_one_class_are_too_few_to_tell(name: str) -> None:
    frame = noisy(20)
    two = metrics.summarise(name, frame, CLASSES[:2], {f"r{row}": row % 2 for row in range(20)})
    assert "95 % interval too few groups to tell" in metrics.format_summary(two, name)


def test_what_is_undefined_is_never_shown_as_a_number() -> None:
    summary = metrics.summarise("roc_auc", noisy(20).assign(target="dog"), CLASSES[:2], None)
    told = metrics.format_summary(summary, "roc_auc")
    assert told.startswith("roc_auc undefined (")
    assert "95 % interval too few groups to tell" in told
    assert told.endswith("folds undefined ± undefined")
    assert "nan" not in told


def test_a_summary_worked_by_hand() -> None:
    probs = np.array([[0.8, 0.2], [0.8, 0.2], [0.4, 0.6], [0.4, 0.6]])
    summary = metrics.summarise("accuracy", make_frame(probs, np.array([0, 1, 1, 1])), CLASSES[:2], None)
    assert summary["score"] == 0.75
    assert (summary["correct"], summary["rows"]) == (3, 4)
    assert summary["interval"] == pytest.approx(uncertainty.wilson(3, 4))
    assert summary["log_loss"] == pytest.approx(-np.log([0.8, 0.2, 0.6, 0.6]).mean())
    assert summary["fold_scores"] == {0: 1.0, 1: 0.5}  # rows 0 and 2, rows 1 and 3
    assert (summary["fold_mean"], summary["fold_sd"]) == (0.75, pytest.approx(math.sqrt(1 / 8)))
    assert metrics.format_summary(summary, "accuracy") == (
        "accuracy 0.7500 (3/4), 95 % interval 0.3006-0.9544, log loss 0.7136, folds 0.7500 ± 0.3536"
    )


def test_other_metrics_are_summarised_with_the_jackknife_over_groups() -> None:
    frame = noisy(60)
    summary = metrics.summarise("roc_auc", frame, CLASSES[:2], {f"r{row}": row // 6 for row in range(60)})
    whole = metrics.score("roc_auc", frame, CLASSES[:2])
    without = [metrics.score("roc_auc", frame.drop(range(6 * k, 6 * k + 6)), CLASSES[:2]) for k in range(10)]
    error = math.sqrt(9 / 10 * sum((value - np.mean(without)) ** 2 for value in without))
    assert summary["interval"] == pytest.approx(uncertainty.share_interval(whole, error, 10))
    assert summary["interval"][0] < whole < summary["interval"][1]
    assert "/60 correct)" in metrics.format_summary(summary, "roc_auc")


def test_one_fold_has_no_deviation() -> None:
    frame = make_frame(np.array([[0.8, 0.2], [0.8, 0.2]]), np.array([0, 1]), folds=1)
    summary = metrics.summarise("accuracy", frame, CLASSES[:2], None)
    assert (summary["fold_mean"], summary["fold_sd"]) == (0.5, 0.0)
