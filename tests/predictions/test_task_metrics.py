"""Metrics of tags, numbers, order and ranks against scikit-learn; `python -m pytest tests/predictions`."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from kagglepipe.errors import UserError
from kagglepipe.predictions.metrics import METRICS, class_fault, find_metric, fitting_metrics
from kagglepipe.predictions.number_metrics import kl_divergences


def tags_of(seed: int, rows: int = 30, tags: int = 4) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = random.random((rows, tags)) < 0.4
    truth[:2] = [[True] * tags, [False] * tags]  # each tag has both
    return random.random((rows, tags)).round(1), truth


OF_TAGS: dict[str, Callable[..., float]] = {
    "roc_auc": sklearn.metrics.roc_auc_score,
    "average_precision": sklearn.metrics.average_precision_score,
    "f1_micro": lambda truth, probs: sklearn.metrics.f1_score(truth, probs >= 0.5, average="micro", zero_division=0),
    "f1_macro": lambda truth, probs: sklearn.metrics.f1_score(truth, probs >= 0.5, average="macro", zero_division=0),
    "f1_samples": lambda truth, probs: sklearn.metrics.f1_score(
        truth, probs >= 0.5, average="samples", zero_division=1
    ),
    "f2_samples": lambda truth, probs: sklearn.metrics.fbeta_score(
        truth, probs >= 0.5, beta=2, average="samples", zero_division=1
    ),
    "mean_columnwise_log_loss": lambda truth, probs: np.mean(
        [-np.log(np.where(truth, probs, 1 - probs).clip(1e-15, 1))]
    ),
}
OF_NUMBERS: dict[str, Callable[..., float]] = {
    "rmse": sklearn.metrics.root_mean_squared_error,
    "rmsle": sklearn.metrics.root_mean_squared_log_error,
    "mae": sklearn.metrics.mean_absolute_error,
    "r2": sklearn.metrics.r2_score,
}


def test_every_metric_of_a_task_is_held_against_another() -> None:
    assert set(fitting_metrics("multilabel")) == set(OF_TAGS)
    assert set(fitting_metrics("regression")) == {*OF_NUMBERS, "kl_divergence"}
    assert set(fitting_metrics("ordinal")) - set(fitting_metrics()) == {"quadratic_weighted_kappa"}


@pytest.mark.parametrize("name", OF_TAGS)
@given(seed=st.integers(0, 10_000))
def test_metrics_of_tags(name: str, seed: int) -> None:
    probs, truth = tags_of(seed)
    assert METRICS[name].function(probs, truth) == pytest.approx(OF_TAGS[name](truth, probs))
    if METRICS[name].rows is not None:
        assert METRICS[name].rows(probs, truth).mean() == pytest.approx(METRICS[name].function(probs, truth))


@pytest.mark.parametrize("name", [name for name in OF_TAGS if METRICS[name].rows is None])
@given(seed=st.integers(0, 10_000))
def test_scores_of_tags_without_each_block_are_those_of_the_rows_that_are_left(name: str, seed: int) -> None:
    probs, truth = tags_of(seed)
    blocks = np.arange(len(truth)) % 3
    expected = [METRICS[name].function(probs[blocks != one], truth[blocks != one]) for one in range(3)]
    np.testing.assert_allclose(METRICS[name].scores_without(probs, truth, blocks), expected)


@pytest.mark.parametrize("name", OF_NUMBERS)
@pytest.mark.parametrize("columns", [1, 3])
def test_metrics_of_numbers(name: str, columns: int) -> None:
    random = np.random.default_rng(columns)
    truth, values = random.random((40, columns)) * 9, random.random((40, columns)) * 9
    assert METRICS[name].function(values, truth) == pytest.approx(OF_NUMBERS[name](truth, values))


@given(seed=st.integers(0, 10_000))
def test_quadratic_weighted_kappa(seed: int) -> None:
    random = np.random.default_rng(seed)
    probs, truth = random.dirichlet(np.ones(5), 40), random.integers(0, 5, 40)
    expected = sklearn.metrics.cohen_kappa_score(truth, probs.argmax(axis=1), weights="quadratic", labels=range(5))
    assert METRICS["quadratic_weighted_kappa"].function(probs, truth) == pytest.approx(expected)


def test_mean_average_precision_at_k_is_label_ranking_average_precision_where_all_ranks_count() -> None:
    random = np.random.default_rng(0)
    probs, truth = random.dirichlet(np.ones(6), 50), random.integers(0, 6, 50)
    whole = sklearn.metrics.label_ranking_average_precision_score(np.eye(6, dtype=bool)[truth], probs)
    ranks = (probs > probs[np.arange(50), truth][:, None]).sum(axis=1) + 1
    assert find_metric("map_5").function(probs, truth) == pytest.approx(np.where(ranks <= 5, 1 / ranks, 0).mean())
    assert find_metric("map_6").function(probs, truth) == pytest.approx(whole)
    assert find_metric("map_5").needs.classes[0] == 6
    assert find_metric("map_10").function(probs, truth) == pytest.approx(whole)  # of images; segments have another
    assert class_fault("map_10", 6) == (
        "competition.metric=map_10 needs 11 or more classes, there are 6: type competition.metric=map_5"
    )
    assert str(class_fault("map_5", 3)).endswith("there are 3: type competition.metric=map_2")
    assert "needs 2 or more numbers an item, there are 1" in str(class_fault("kl_divergence", 1, "regression"))
    for name in ("map_0", "map_05", "map_"):
        with pytest.raises(UserError, match=f"competition.metric={name} is unknown"):
            find_metric(name)


@pytest.mark.parametrize("k", [1, 2, 4, 10])
def test_top_k_accuracy_of_any_k_equals_that_of_scikit_learn(k: int) -> None:
    random = np.random.default_rng(k)
    probs, truth = random.dirichlet(np.ones(12), 60), random.integers(0, 12, 60)
    metric = find_metric(f"top_{k}_accuracy")
    expected = sklearn.metrics.top_k_accuracy_score(truth, probs, k=k, labels=range(12))
    assert metric.function(probs, truth) == pytest.approx(expected)
    assert metric.rows is not None
    assert metric.rows(probs, truth).mean() == pytest.approx(expected)
    assert metric.needs.classes == (k + 1, math.inf)


@pytest.mark.parametrize("name", ["map_{}", "top_{}_accuracy"])
def test_of_many_classes_no_metric_counts_more_than_the_kept_ones(name: str) -> None:
    """Out of fold the last kept class is the true one, wherever it ranks, so that the 100th may be the 5,000th."""
    assert find_metric(name.format(99)).needs.classes == (100, math.inf)
    assert find_metric(name.format(100)).needs.classes == (101, 500)
    told = str(class_fault(name.format(100), 501))
    assert told.startswith(f"competition.metric={name.format(100)} needs 101 to 500 classes, there are 501: type ")


@pytest.mark.parametrize(("name", "typed"), [("top_k_accuracy", "top_2_accuracy"), ("map_k", "map_5")])
def test_a_metric_without_its_k_is_refused_with_how_to_write_it(name: str, typed: str) -> None:
    told = f"competition.metric={name} needs a number for k: type it as competition.metric={typed}$"
    with pytest.raises(UserError, match=told):
        find_metric(name)
    with pytest.raises(UserError, match=r"top_0_accuracy is unknown; did you mean top_"):
        find_metric("top_0_accuracy")


def test_kl_divergence_is_the_cross_entropy_less_the_entropy_of_shares() -> None:
    votes, values = np.array([[3.0, 1.0], [0.0, 5.0]]), np.array([[1.0, 1.0], [0.5, 1.5]])
    expected = [0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5), np.log(1 / 0.75)]
    np.testing.assert_allclose(kl_divergences(values, votes), expected)
    (costly,) = kl_divergences(np.array([[-1.0, 2.0]]), votes[:1])  # a share of 0 counts as 1.2e-7
    assert costly == pytest.approx(0.75 * np.log(0.75 / 1.19e-7) + 0.25 * np.log(0.25), rel=1e-3)
