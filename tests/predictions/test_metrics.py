"""Metrics against scikit-learn, intervals against numbers worked by hand.

Run with `python -m pytest tests/predictions`.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from kagglepipe.errors import UserError
from kagglepipe.options import CompetitionOptions
from kagglepipe.predictions import evaluation, metrics, pooled_metrics, uncertainty
from kagglepipe.predictions.frame import oof_frame
from kagglepipe.predictions.metrics import fitting_metrics

CLASSES = ["cat", "dog", "eel", "fox", "gnu", "hen", "ibis"]


@st.composite
def predictions(draw: st.DrawFn, least: int = 2, largest: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, C) on a coarse grid, so that ties abound, and labels (N,): of one row and one class, too."""
    count = draw(st.integers(least, largest))
    rows = draw(st.integers(1, 25))
    cells = st.lists(st.integers(0, 3), min_size=count, max_size=count).filter(any)
    weights = np.array(draw(st.lists(cells, min_size=rows, max_size=rows)), dtype=float)
    truth = draw(st.lists(st.integers(0, count - 1), min_size=rows, max_size=rows))
    return weights / weights.sum(axis=1, keepdims=True), np.array(truth)


def make_frame(probs: np.ndarray, truth: np.ndarray, *, folds: int = 2) -> pd.DataFrame:
    """An out-of-fold frame of these rows, with ids r0, r1 … and folds in turn."""
    classes = CLASSES[: probs.shape[1]]
    names = [f"r{row}" for row in range(len(truth))]
    return oof_frame(names, np.arange(len(truth)) % folds, [classes[k] for k in truth], probs, classes)


def score(name: str, probs: np.ndarray, truth: np.ndarray) -> float:
    return evaluation.score(name, make_frame(probs, truth), CLASSES[: probs.shape[1]])


def mean_of_columns(of_column: Callable[..., float], *, needs_both: bool) -> Callable[..., float]:
    """scikit-learn's metric of one column, over the classes with positive (and negative) rows; NaN without any."""

    def expected(truth: np.ndarray, probs: np.ndarray) -> float:
        columns = [1] if probs.shape[1] == 2 else range(probs.shape[1])
        used = [k for k in columns if (truth == k).any() and not (needs_both and (truth == k).all())]
        return float(np.mean([of_column(truth == k, probs[:, k]) for k in used])) if used else math.nan

    return expected


def top_k(k: int) -> Callable[..., float]:
    """scikit-learn's top-k accuracy; of the classes' order in ties it says the same as we do."""
    return lambda truth, probs: sklearn.metrics.top_k_accuracy_score(
        truth, probs, k=k, labels=range(probs.shape[1]))  # fmt: skip


def of_labels(of: Callable[..., float], **options: object) -> Callable[..., float]:
    """scikit-learn's metric of the most probable class."""
    return lambda truth, probs: of(truth, probs.argmax(axis=1), **options)


def clipped_loss(truth: np.ndarray, probs: np.ndarray) -> float:
    """As Kaggle's graders compute it; scikit-learn's own clip is another."""
    return float(-np.log(np.clip(probs[np.arange(len(truth)), truth], 1e-15, 1 - 1e-15)).mean())


SKLEARN: dict[str, Callable[..., float]] = {
    "accuracy": of_labels(sklearn.metrics.accuracy_score),
    "balanced_accuracy": of_labels(sklearn.metrics.balanced_accuracy_score),
    "log_loss": clipped_loss,
    "roc_auc": mean_of_columns(sklearn.metrics.roc_auc_score, needs_both=True),
    "average_precision": mean_of_columns(sklearn.metrics.average_precision_score, needs_both=False),
    "f1_binary": of_labels(sklearn.metrics.f1_score, average="binary"),
    "f1_micro": of_labels(sklearn.metrics.f1_score, average="micro"),
    "f1_macro": of_labels(sklearn.metrics.f1_score, average="macro"),
    "matthews": of_labels(sklearn.metrics.matthews_corrcoef),
    "top_3_accuracy": top_k(3),
    "top_5_accuracy": top_k(5),
    "pf1": lambda truth, probs: 2 * (truth * probs[:, 1]).sum() / ((truth + probs[:, 1]).sum() or 1),  # no other has it
}


OF_TWO, OF_CLASSES = fitting_metrics(classes=2), fitting_metrics()


def test_every_metric_is_held_against_scikit_learn() -> None:
    assert set(SKLEARN) == set(OF_CLASSES)


@given(data=st.data())
@pytest.mark.filterwarnings("ignore")  # scikit-learn's, of classes without rows
@pytest.mark.parametrize("name", SKLEARN)
def test_metrics_equal_those_of_scikit_learn(name: str, data: st.DataObject) -> None:
    least, largest = metrics.METRICS[name].needs.classes
    probs, truth = data.draw(predictions(least, int(min(largest, 7))))
    assert score(name, probs, truth) == pytest.approx(SKLEARN[name](truth, probs), abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("name", OF_TWO)
def test_of_two_classes_the_second_is_the_positive_one(name: str) -> None:
    probs, truth = np.array([[0.9, 0.1], [0.6, 0.4], [0.45, 0.55], [0.2, 0.8], [0.7, 0.3]]), np.array([0, 0, 0, 1, 1])
    expected = {"f1_binary": 0.5, "roc_auc": 4 / 6, "average_precision": (1 / 1 + 2 / 4) / 2, "log_loss": 0.56836}
    hand = expected.get(name, SKLEARN[name](truth, probs))
    assert score(name, probs, truth) == pytest.approx(hand, abs=5e-5)


@pytest.mark.parametrize("name", OF_TWO)
def test_a_metric_with_a_positive_class_is_one_whose_score_changes_where_classes_are_swapped(name: str) -> None:
    probs, truth = np.array([[0.9, 0.1], [0.6, 0.4], [0.45, 0.55], [0.2, 0.8], [0.7, 0.3]]), np.array([0, 0, 0, 1, 1])
    swapped = score(name, probs[:, ::-1], 1 - truth)
    assert (swapped != pytest.approx(score(name, probs, truth))) == metrics.METRICS[name].needs.positive


@given(rows=predictions())
@pytest.mark.parametrize("name", [name for name in OF_CLASSES if metrics.METRICS[name].rows])
def test_what_is_a_mean_over_rows_is_one(name: str, rows: tuple[np.ndarray, np.ndarray]) -> None:
    metric = metrics.METRICS[name]
    assert metric.rows is not None
    assert metric.rows(*rows).mean() == pytest.approx(metric.function(*rows), abs=1e-12)


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


def test_the_clip_of_log_loss_is_part_of_its_name() -> None:
    probs, truth = np.array([[1.0, 0.0], [0.3, 0.7]]), np.array([1, 1])
    options = CompetitionOptions(metric="log_loss", log_loss_clip=1e-3)
    assert options.metric == replace(options, title="same").metric == "log_loss#0.001"
    expected = sklearn.metrics.log_loss(truth, np.clip(probs, 1e-3, 1 - 1e-3), labels=[0, 1])
    assert score("log_loss#0.001", probs, truth) == pytest.approx(expected)
    assert CompetitionOptions(metric="log_loss").metric == "log_loss"
    for name in ("log_loss#", "log_loss#0", "log_loss#0.7", "accuracy#0.1"):
        with pytest.raises(UserError, match="is unknown"):
            metrics.find_metric(name)


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
    assert lower_is_better == ["log_loss", "mean_columnwise_log_loss", "rmse", "rmsle", "mae", "kl_divergence"]
    assert [metrics.find_metric(name).perfect for name in ("matthews", "log_loss", "log_loss#0.01")] == [1, 0, 0]


def test_an_unknown_metric_is_answered_with_the_nearest_and_with_all() -> None:
    frame = make_frame(np.array([[0.5, 0.5]]), np.array([0]))
    with pytest.raises(UserError, match=r"did you mean accuracy\? choose one of: accuracy, .*; or type FILE.py:FUNC"):
        evaluation.score("acuracy", frame, CLASSES[:2])
    with pytest.raises(UserError, match="=zzz is unknown; choose one of: accuracy"):
        metrics.find_metric("zzz")


def test_an_empty_frame_has_no_score() -> None:
    with pytest.raises(ValueError, match="without rows"):
        evaluation.score("accuracy", make_frame(np.array([[0.5, 0.5]]), np.array([0]))[:0], CLASSES[:2])


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
    for name in OF_TWO:
        alone = evaluation.summarise(name, frame, CLASSES[:2], None)["interval"]
        by_group = evaluation.summarise(name, copies, CLASSES[:2], group)["interval"]
        assert by_group == pytest.approx(
            alone, abs=0.02 if name in ("accuracy", "f1_micro") else 1e-9
        )  # Wilson's own quantile
        low, high = evaluation.summarise(name, copies, CLASSES[:2], None)["interval"]
        assert high - low < (alone[1] - alone[0]) / 2


def test_groups_are_found_by_id_never_by_position() -> None:
    frame = noisy(60)
    groups = pd.Series({f"r{row}": row // 6 for row in range(60)})

    def interval(groups: pd.Series) -> tuple[float, float]:
        return evaluation.summarise("roc_auc", frame, CLASSES[:2], groups)["interval"]

    assert interval(groups.sample(frac=1, random_state=0)) == interval(groups)
    with pytest.raises(ValueError, match="no group for id 'r0', 'r1', 'r10' and 57 more"):
        interval(groups.reset_index(drop=True))


@pytest.mark.parametrize("name", OF_TWO)
def test_two_groups_and_one_class_are_too_few_to_tell(name: str) -> None:
    frame = noisy(20)
    two = evaluation.summarise(name, frame, CLASSES[:2], {f"r{row}": row % 2 for row in range(20)})
    assert "95 % interval too few groups to tell" in evaluation.format_summary(two, name)


def test_what_is_undefined_is_never_shown_as_a_number() -> None:
    summary = evaluation.summarise("roc_auc", noisy(20).assign(target="dog"), CLASSES[:2], None)
    told = evaluation.format_summary(summary, "roc_auc")
    assert told.startswith("roc_auc undefined (")
    assert "95 % interval too few groups to tell" in told
    assert told.endswith("folds undefined ± undefined")
    assert "nan" not in told


def test_a_summary_worked_by_hand() -> None:
    probs = np.array([[0.8, 0.2], [0.8, 0.2], [0.4, 0.6], [0.4, 0.6]])
    summary = evaluation.summarise("accuracy", make_frame(probs, np.array([0, 1, 1, 1])), CLASSES[:2], None)
    assert summary["score"] == 0.75
    assert (summary["correct"], summary["rows"]) == (3, 4)
    assert summary["interval"] == pytest.approx(uncertainty.wilson(3, 4))
    assert summary["log_loss"] == pytest.approx(-np.log([0.8, 0.2, 0.6, 0.6]).mean())
    assert summary["fold_scores"] == {0: 1.0, 1: 0.5}  # rows 0 and 2, rows 1 and 3
    assert (summary["fold_mean"], summary["fold_sd"]) == (0.75, pytest.approx(math.sqrt(1 / 8)))
    assert evaluation.format_summary(summary, "accuracy") == (
        "accuracy 0.7500 (3/4), 95 % interval 0.3006-0.9544, log loss 0.7136, folds 0.7500 ± 0.3536"
    )


def test_other_metrics_are_summarised_with_the_jackknife_over_groups() -> None:
    frame = noisy(60)
    summary = evaluation.summarise("roc_auc", frame, CLASSES[:2], {f"r{row}": row // 6 for row in range(60)})
    whole = evaluation.score("roc_auc", frame, CLASSES[:2])
    without = [evaluation.score("roc_auc", frame.drop(range(6 * k, 6 * k + 6)), CLASSES[:2]) for k in range(10)]
    error = math.sqrt(9 / 10 * sum((value - np.mean(without)) ** 2 for value in without))
    assert summary["interval"] == pytest.approx(uncertainty.share_interval(whole, error, 10))
    assert summary["interval"][0] < whole < summary["interval"][1]
    assert "/60 correct)" in evaluation.format_summary(summary, "roc_auc")


def test_one_fold_has_no_deviation() -> None:
    frame = make_frame(np.array([[0.8, 0.2], [0.8, 0.2]]), np.array([0, 1]), folds=1)
    summary = evaluation.summarise("accuracy", frame, CLASSES[:2], None)
    assert (summary["fold_mean"], summary["fold_sd"]) == (0.5, 0.0)


# --- without each block --------------------------------------------------------------------------------------------

NOT_MEANS = [name for name in OF_CLASSES if metrics.METRICS[name].rows is None]


def one_after_the_other(name: str, probs: np.ndarray, truth: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """The plain jackknife: the metric of the rows that are left, block by block."""
    metric = metrics.METRICS[name]
    return uncertainty.leave_out(lambda rows: metric.function(probs[rows], truth[rows]), blocks)


@pytest.mark.filterwarnings("error")
@given(data=st.data())
@pytest.mark.parametrize("name", NOT_MEANS)
def test_scores_without_each_block_are_those_of_the_rows_that_are_left(name: str, data: st.DataObject) -> None:
    probs, truth = data.draw(predictions(2, int(min(metrics.METRICS[name].needs.classes[1], 7))))
    blocks = np.arange(len(truth)) % data.draw(st.integers(2, 6))
    if blocks.max() > 0:
        found = metrics.METRICS[name].scores_without(probs, truth, blocks)
        np.testing.assert_allclose(found, one_after_the_other(name, probs, truth, blocks), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NOT_MEANS)
def test_scores_without_each_block_do_not_depend_on_how_many_are_taken_at_a_time(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    classes = int(min(metrics.METRICS[name].needs.classes[1], 12))
    probs, truth = random.dirichlet(np.ones(classes), 150), random.integers(classes, size=150)
    blocks = random.permutation(150) % 40
    expected = one_after_the_other(name, probs, truth, blocks)
    for cells in (1, 300, 2**20):
        monkeypatch.setattr(pooled_metrics, "CELLS_AT_ONCE", cells)
        found = metrics.METRICS[name].scores_without(probs, truth, blocks)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", sorted({*NOT_MEANS} - {"pf1"}))
def test_metrics_that_are_no_mean_look_at_all_rows_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 slices of 100,000 rows of 500 classes would take minutes."""
    monkeypatch.setattr(metrics, "leave_out", None)
    frame = noisy(60)
    low, high = evaluation.summarise(name, frame, CLASSES[:2], None)["interval"]
    assert low < evaluation.score(name, frame, CLASSES[:2]) < high
