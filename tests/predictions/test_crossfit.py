"""What is said to be better is better on rows that had no part in it: leaks, noise, members, choices."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kagglepipe.predictions import selection
from kagglepipe.predictions.calibration import fit_thresholds
from kagglepipe.predictions.crossfit import Candidate, calibrated, make_candidate, with_map
from kagglepipe.predictions.ensemble_table import best_member, ensemble_table, table_cells
from kagglepipe.predictions.evaluation import EvalRows
from kagglepipe.predictions.metrics import log_loss
from kagglepipe.predictions.selection import adjusted, choose, gain_over, redundant_members, score_of
from kagglepipe.predictions.weights import FITTED
from tests.predictions.test_weights import METHODS, problem


def rows_of(truth: np.ndarray, folds: np.ndarray, metric: str = "accuracy") -> EvalRows:
    return EvalRows(truth, folds, np.arange(len(truth)), metric)


def noise(seed: int, *, members: int = 4, rows: int = 60, classes: int = 3) -> tuple[np.ndarray, EvalRows]:
    """Members that know nothing of the labels."""
    random = np.random.default_rng(seed)
    scores = 0.7 * random.normal(size=(members, rows, classes))
    truth = random.integers(classes, size=rows)
    return softmax(scores), rows_of(truth, np.arange(rows) % 5)


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)


def mean_and_error(values: list[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))


Fit = Callable[[np.ndarray, EvalRows], Candidate]


def by_method(method: str) -> Fit:
    return lambda stack, rows: make_candidate(stack, rows, method)


def by_calibration(kind: str) -> Fit:
    return lambda stack, rows: calibrated(make_candidate(stack[:1], rows, "mean"), rows, kind)[0]


def by_all_decisions(stack: np.ndarray, rows: EvalRows) -> Candidate:
    chosen = choose([make_candidate(stack, rows, method) for method in ("mean", "nnls", "logistic")], rows)
    return adjusted(chosen.candidate, rows).candidate


@pytest.mark.slow
@pytest.mark.parametrize(
    "fit",
    [*map(by_method, METHODS), *map(by_calibration, ("temperature", "platt", "isotonic")), by_all_decisions],
    ids=[*METHODS, "temperature", "platt", "isotonic", "all decisions"],
)
def test_noise_gains_nothing_in_200_draws(fit: Fit) -> None:
    out, inside, right = [], [], []
    for seed in range(200):
        stack, rows = noise(seed)
        rows = replace(rows, folds=np.arange(60) % 3) if fit is by_all_decisions else rows
        one = fit(stack, rows)
        out.append(log_loss(one.cross_fitted(rows.folds), rows.truth))
        inside.append(log_loss(one.in_sample, rows.truth))
        right.append(score_of(one, rows))
    # nobody who knows nothing of the labels has less than log(3) or more than a third right: save by luck, or a leak
    loss, error = mean_and_error(out)
    assert loss > np.log(3) - 2 * error
    score, error = mean_and_error(right)
    assert score < 1 / 3 + 3 * error
    assert np.mean(inside) < loss  # what a leak would have looked like


def test_thresholds_on_noise_gain_nothing_either() -> None:
    out, inside = [], []
    for seed in range(200):
        stack, rows = noise(seed, members=1, classes=2)
        blend = make_candidate(stack, rows, "mean")
        one = with_map(blend, rows, lambda probs, truth, _: fit_thresholds(probs, truth, "accuracy"))
        out.append(score_of(one, rows))
        inside.append(float((one.in_sample.argmax(axis=1) == rows.truth).mean()))
    score, error = mean_and_error(out)
    assert score < 1 / 2 + 3 * error
    assert np.mean(inside) > score + 0.02


def test_auto_takes_noise_for_better_than_equal_weights_one_time_in_twenty_at_most() -> None:
    taken = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        base = random.normal(size=(100, 3))
        truth = random.integers(3, size=100)
        base[np.arange(100), truth] += 2
        scores = base + 0.3 * random.normal(size=(4, 100, 3))  # all members alike: nothing to weigh
        stack, rows = softmax(scores), rows_of(truth, np.arange(100) % 5)
        candidates = [make_candidate(stack, rows, method) for method in ("mean", "hill_climb", "nnls")]
        taken += not choose(candidates, rows).picks_first
    assert taken <= 60 / 20


@pytest.mark.parametrize("method", METHODS)
def test_a_row_is_scored_by_what_its_fold_had_no_part_in(method: str) -> None:
    stack, truth, folds = problem(3, 90, seed=1)
    other = np.where(folds == 0, (truth + 1) % 3, truth)
    views = []
    for labels in (truth, other):
        rows = rows_of(labels, folds)
        (one,) = calibrated(make_candidate(stack, rows, method), rows, "platt")
        views.append(one.cross_fitted(folds)[folds == 0])
    np.testing.assert_allclose(*views, rtol=1e-9)  # sums less a part of them round otherwise


@settings(max_examples=10)
@given(seed=st.integers(0, 1000))
@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_rows_and_folds_changes_no_probability(method: str, seed: int) -> None:
    stack, truth, folds = problem(3, 90, seed=seed)
    order = np.random.default_rng(seed).permutation(90)
    one = make_candidate(stack, rows_of(truth, folds), method).cross_fitted(folds)
    moved = (folds[order] + 1) % 3
    two = make_candidate(stack[:, order], rows_of(truth[order], moved), method).cross_fitted(moved)
    np.testing.assert_allclose(one[order], two, atol=2e-2)
    assert log_loss(one, truth) == pytest.approx(log_loss(two, truth[order]), abs=1e-3)


@pytest.mark.parametrize("method", ["mean", "geometric_mean"])
def test_equal_weights_are_the_same_in_sample_and_out(method: str) -> None:
    stack, truth, folds = problem(3, 60, seed=0)
    one = make_candidate(stack, rows_of(truth, folds), method)
    np.testing.assert_array_equal(one.cross_fitted(folds), one.in_sample)


def test_a_useless_member_is_missed_by_nobody_and_useful_ones_are() -> None:
    random = np.random.default_rng(0)
    truth, scores = random.integers(3, size=600), random.normal(size=(2, 600, 3))
    scores[:, np.arange(600), truth] += 1.5  # either knows as much, each in its own way
    stack = np.concatenate([softmax(scores), noise(3, members=2, rows=600)[0]])
    rows = rows_of(truth, np.arange(600) % 5)
    for method in METHODS:
        assert set(redundant_members(stack, rows, make_candidate(stack, rows, method))) == {2, 3}, method


def test_of_many_rows_whole_groups_are_looked_at_and_not_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "MAX_ROWS", 300)
    stack, truth, folds = problem(1, 3000, seed=0)
    stack = np.concatenate([stack, noise(3, members=1, rows=3000)[0]])
    rows = EvalRows(truth, folds, np.arange(3000) // 5, "accuracy")
    assert redundant_members(stack, rows, make_candidate(stack, rows, "logistic")) == [1]


def test_good_members_stay_though_none_is_missed_alone() -> None:
    """Twenty alike: leaving out those within noise, one after another, would leave one of them, which is far worse."""
    truth, random = np.arange(200) % 2, np.random.default_rng(0)
    shared = random.normal(size=(200, 2))
    shared[np.arange(200), truth] += 1.5
    scores = shared + random.normal(size=(20, 200, 2))
    stack, rows = softmax(scores), rows_of(truth, np.arange(200) // 2 % 5)
    blend = make_candidate(stack, rows, "logistic")
    assert len(redundant_members(stack, rows, blend)) > 15
    assert (blend.weights[-1] > 0).sum() > 5


def whole(stack: np.ndarray, rows: EvalRows) -> Candidate:
    """All that the stage decides: the method, a calibration, thresholds."""
    chosen = choose([make_candidate(stack, rows, method) for method in ("mean", "geometric_mean", *FITTED)], rows)
    mapped = choose([chosen.candidate, *calibrated(chosen.candidate, rows, "auto")], rows)
    return adjusted(mapped.candidate, rows).candidate


def test_no_label_of_a_fold_has_a_part_in_what_is_chosen_for_it() -> None:
    """Members so unlike that methods, maps and thresholds do change sides: by the labels of the other folds alone."""
    random, changed = np.random.default_rng(3), 0
    for _ in range(4):
        truth, scores = random.integers(2, size=90), random.normal(size=(5, 90, 2))
        scores[:, np.arange(90), truth] += np.array([2.5, 1, 0, 0, 0])[:, None]
        stack = softmax(2 * scores)
        rows = EvalRows(truth, np.arange(90) % 3, np.arange(90) // 3 * 3 + np.arange(90) % 3, "accuracy")
        before = whole(stack, rows)
        for fold in range(3):
            own = rows.folds == fold
            other = replace(rows, truth=np.where(own, 1 - truth, truth))
            after = whole(stack, other)
            np.testing.assert_allclose(
                before.cross_fitted(rows.folds)[own], after.cross_fitted(rows.folds)[own], rtol=1e-9, atol=1e-12
            )
            changed += not np.allclose(before.in_sample, after.in_sample, atol=1e-3)
    assert changed > 8  # what the test gets has seen all labels


def test_inner_probabilities_are_those_of_fits_without_either_block() -> None:
    stack, truth, _ = problem(3, 210, seed=5)
    rows = rows_of(truth, np.arange(210) % 7)  # of seven folds, five blocks: the first two of two folds
    blend = make_candidate(stack, rows, "nnls")
    some = np.isin(rows.folds, [2, 3, 4])  # without the blocks 0 and 1
    (own,) = FITTED["nnls"](stack[:, some], truth[some], np.zeros(some.sum(), int), [()])
    expected = np.tensordot(own, stack, axes=1)
    for block, seen in ((0, 1), (1, 0)):
        at = rows.blocks == seen
        np.testing.assert_allclose(blend.inner[block][at], expected[at], atol=2e-3)  # who counts a thousandth does not


def test_few_groups_never_make_auto_weigh() -> None:
    for seed in range(20):
        random = np.random.default_rng(seed)
        groups, truth = np.repeat(np.arange(4), 40), random.integers(3, size=160)
        base = random.normal(size=(160, 3)) + 1.0 * np.eye(3)[truth]
        luck = 0.6 * random.normal(size=(4, 4))  # of each member with each group
        scores = base + luck[:, groups, None] * np.eye(3)[truth]
        stack, rows = softmax(scores), EvalRows(truth, groups, groups, "accuracy")
        assert choose([make_candidate(stack, rows, method) for method in ("mean", *FITTED)], rows).picks_first


@pytest.mark.parametrize(("fold_count", "is_known"), [(2, False), (3, True)])  # two folds leave none to choose by
def test_a_member_that_is_much_worse_makes_auto_weigh(fold_count: int, is_known: bool) -> None:
    stack, truth, folds = problem(1, 600, seed=0)
    stack = np.concatenate([stack, noise(3, members=3, rows=600)[0]])
    rows = rows_of(truth, folds % fold_count)
    candidates = [make_candidate(stack, rows, method) for method in ("mean", *FITTED)]
    chosen = choose(candidates, rows).candidate
    assert (chosen.method in FITTED) == is_known
    assert gain_over(chosen, candidates[0], rows).is_beyond_noise == is_known


def test_equal_weights_win_ties() -> None:
    stack, truth, folds = problem(1, 300, seed=0)
    rows = rows_of(truth, folds)
    candidates = [
        make_candidate(np.concatenate([stack] * 3), rows, method) for method in ("mean", "hill_climb", "nnls")
    ]
    assert choose(candidates, rows).candidate is candidates[0]


def test_where_every_row_is_right_more_certainty_is_no_gain() -> None:
    truth, folds = np.arange(50) % 2, np.arange(50) % 5
    sure = np.where(np.eye(2)[truth] > 0, 0.996, 0.004) + np.random.default_rng(0).normal(0, 1e-4, (50, 1)) * [1, -1]
    rows = rows_of(truth, folds)
    equal = make_candidate(sure[None], rows, "mean")
    surer = with_map(equal, rows, lambda *_: {"kind": "temperature", "slope": 3.0})
    assert gain_over(surer, equal, rows).is_beyond_noise  # as no interval knows of errors that have not happened
    assert choose([equal, surer, *calibrated(equal, rows, "auto")], rows).candidate is equal


def test_thresholds_are_moved_for_balanced_accuracy_of_rare_classes_and_left_alone_otherwise() -> None:
    random = np.random.default_rng(0)
    truth = (random.uniform(size=2000) < 0.1).astype(int)
    logit = np.log(0.1 / 0.9) + random.normal(1.2 * (2 * truth - 1), 1.2)
    second = 1 / (1 + np.exp(-logit))
    stack = np.stack([1 - second, second], axis=1)[None]
    folds = np.arange(2000) % 5
    rare = rows_of(truth, folds, "balanced_accuracy")
    one = make_candidate(stack, rare, "mean")
    moved = adjusted(one, rare)
    assert not moved.picks_first
    assert score_of(moved.candidate, rare) > score_of(one, rare) + 0.05
    assert adjusted(make_candidate(stack, rows_of(truth, folds), "mean"), rows_of(truth, folds)).picks_first
    with pytest.raises(ValueError, match="log_loss does not depend"):
        adjusted(one, rows_of(truth, folds, "log_loss"))


@pytest.mark.parametrize("metric", ["accuracy", "log_loss", "roc_auc", "f1_macro"])
def test_the_table_says_what_was_computed(metric: str) -> None:
    stack, truth, folds = problem(3, 120, seed=4)
    rows = rows_of(truth, folds, metric)
    singles = [make_candidate(stack[[m]], rows, "mean") for m in range(3)]
    equal, fitted = make_candidate(stack, rows, "mean"), make_candidate(stack, rows, "nnls")
    assert best_member(singles, rows) == 0
    first, second = ensemble_table([equal, fitted], equal, singles[0], rows)
    assert first["over_equal_weights"]["log_loss"] == {"gain": 0.0, "interval": [0.0, 0.0]}
    assert second["cross_fitted"]["score"] == score_of(fitted, rows)
    losses = [log_loss(one.cross_fitted(folds), truth) for one in (equal, fitted)]
    assert second["over_equal_weights"]["log_loss"]["gain"] == pytest.approx(losses[0] - losses[1])
    low, high = second["cross_fitted"]["interval"]
    assert low <= second["cross_fitted"]["score"] <= high
    one, other = table_cells([first, second])
    assert (one[0], other[0]) == ("mean", "nnls")
    assert f"{losses[1]:.4f}" in other
