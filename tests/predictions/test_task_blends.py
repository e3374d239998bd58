"""Blends, calibration and decisions of tags and numbers; `python -m pytest tests/predictions`."""

import json
from dataclasses import replace

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from kagglepipe.errors import UserError
from kagglepipe.options import EnsembleOptions
from kagglepipe.predictions import number_weights
from kagglepipe.predictions.blend import combine
from kagglepipe.predictions.calibration import calibration_error
from kagglepipe.predictions.crossfit import calibrated, make_candidate
from kagglepipe.predictions.decisions import apply_decision, fit_numbers, fit_tags, named_tags, plain_decision
from kagglepipe.predictions.ensemble_table import ensemble_table, table_cells
from kagglepipe.predictions.evaluation import EvalRows
from kagglepipe.predictions.methods import check_methods, methods_of
from kagglepipe.predictions.metrics import find_metric
from kagglepipe.predictions.number_metrics import kl_divergence
from kagglepipe.predictions.paired import significantly_better
from kagglepipe.predictions.questions import as_questions, as_tags
from kagglepipe.predictions.selection import decided, redundant_members, score_of
from kagglepipe.predictions.tasks import CLASSES, NUMBERS, TAGS, row_losses

METRIC = {"multilabel": "f1_samples", "regression": "rmse", "ordinal": "quadratic_weighted_kappa"}
Problem = tuple[np.ndarray, EvalRows]


def tag_problem(seed: int, *, members: int = 3, rows: int = 60, tags: int = 4, skill: float = 1.5) -> Problem:
    """Members whose logits of the tags are right by `skill`, or know nothing at 0."""
    random = np.random.default_rng(seed)
    truth = random.random((rows, tags)) < 0.4
    logits = skill * np.where(truth, 1, -1) + random.normal(size=(members, rows, tags))
    return 1 / (1 + np.exp(-logits)), EvalRows(truth, np.arange(rows) % 5, np.arange(rows), METRIC["multilabel"])


def number_problem(seed: int, *, members: int = 3, rows: int = 60, numbers: int = 2, skill: float = 1.0) -> Problem:
    """Members that add errors of their own to `skill` times the truth, which is around 50."""
    random = np.random.default_rng(seed)
    truth = 50 + 10 * random.normal(size=(rows, numbers))
    found = (
        50 + skill * (truth - 50) + random.uniform(3, 9, (members, 1, 1)) * random.normal(size=(members, *truth.shape))
    )
    return found, EvalRows(truth, np.arange(rows) % 5, np.arange(rows), METRIC["regression"])


PROBLEMS = {"multilabel": tag_problem, "regression": number_problem}
CASES = [
    *(("multilabel", name) for name in ("mean", "geometric_mean", "rank_mean", "hill_climb", "nnls", "logistic")),
    *(("regression", name) for name in ("mean", "median", "hill_climb", "nnls")),
]


def test_the_methods_of_a_task_are_all_tested() -> None:
    assert methods_of(TAGS, "roc_auc") == [name for task, name in CASES if task == "multilabel"]
    assert methods_of(NUMBERS, "rmse") == [name for task, name in CASES if task == "regression"]
    assert "rank_mean" not in methods_of(TAGS, "f1_samples")


@pytest.mark.parametrize(("task", "method"), CASES)
@given(seed=st.integers(0, 1000))
@settings(max_examples=5)
def test_order_of_rows_members_columns_and_folds_changes_no_blend(task: str, method: str, seed: int) -> None:
    stack, rows = PROBLEMS[task](seed)
    random = np.random.default_rng(seed)
    blend = make_candidate(stack, rows, method).cross_fitted(rows.folds)
    order, members, columns = (random.permutation(size) for size in (len(blend), len(stack), blend.shape[1]))
    folds = random.permutation(5)
    moved = EvalRows(rows.truth[order][:, columns], folds[rows.folds][order], rows.groups[order], rows.metric)
    other = make_candidate(stack[members][:, order][:, :, columns], moved, method).cross_fitted(moved.folds)
    tolerance = 0.02 if method in ("hill_climb", "logistic") else 1e-6  # where the fits stop, in float32
    np.testing.assert_allclose(other, blend[order][:, columns], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("task", "method"), CASES)
def test_a_row_is_blended_by_what_its_fold_had_no_part_in(task: str, method: str) -> None:
    stack, rows = PROBLEMS[task](1)
    other = replace(rows, truth=np.where((rows.folds == 0)[:, None], rows.truth[::-1], rows.truth))
    one, two = (make_candidate(stack, each, method).cross_fitted(rows.folds)[rows.folds == 0] for each in (rows, other))
    np.testing.assert_allclose(one, two, rtol=1e-9)


@pytest.mark.parametrize(("task", "method"), CASES)
def test_a_member_alone_or_twice_is_itself(task: str, method: str) -> None:
    stack, _ = PROBLEMS[task](2, members=1)
    kind = {"multilabel": TAGS, "regression": NUMBERS}[task]
    if method == "rank_mean":
        return
    for members in (1, 2):
        found = combine(np.repeat(stack, members, axis=0), np.full(members, 1 / members), method, task=kind)
        np.testing.assert_allclose(found, stack[0], rtol=1e-12)


def test_blends_of_numbers_have_no_limits_and_of_tags_need_not_sum_to_1() -> None:
    stack = np.array([[[-3.0], [250.0]], [[-5.0], [350.0]]])
    assert combine(stack, np.array([0.5, 0.5]), "mean", task=NUMBERS).tolist() == [[-4.0], [300.0]]
    tags = np.array([[[0.9, 0.8]], [[0.7, 0.8]]])
    np.testing.assert_allclose(combine(tags, np.array([0.5, 0.5]), "mean", task=TAGS), [[0.8, 0.8]])
    odds = np.sqrt(0.9 / 0.1 * 0.7 / 0.3)
    geometric = combine(tags, np.array([0.5, 0.5]), "geometric_mean", task=TAGS)
    np.testing.assert_allclose(geometric, [[odds / (1 + odds), 0.8]])
    assert combine(tags, np.zeros(2), "logistic", task=TAGS).tolist() == [[0.5, 0.5]]  # no member has a weight
    assert combine(tags, np.zeros(2), "logistic", task=CLASSES).tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("task", PROBLEMS)
def test_fitted_weights_leave_a_member_of_noise_out(task: str) -> None:
    good, rows = PROBLEMS[task](3, members=1)
    noise, _ = PROBLEMS[task](4, members=1, skill=0.0)
    for method in ("hill_climb", "nnls"):
        weights = make_candidate(np.concatenate([good, noise]), rows, method).weights[-1]
        assert weights[1] < 0.3 < weights[0]
        assert weights.sum() == pytest.approx(1)


@given(seed=st.integers(0, 1000), members=st.integers(1, 4))
@settings(max_examples=10)
def test_weights_of_numbers_are_those_of_least_squares_on_the_simplex(seed: int, members: int) -> None:
    stack, rows = number_problem(seed, members=members)
    found = number_weights.nnls(stack, rows.truth, rows.folds)[-1]
    loss = lambda weights: row_losses(np.tensordot(weights, stack, 1), rows.truth).mean()  # noqa: E731
    best = minimize(
        loss, np.full(members, 1 / members), bounds=[(0, 1)] * members,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
    )  # fmt: skip
    assert loss(found) <= best.fun * (1 + 1e-6)
    climbed = number_weights.hill_climb(stack, rows.truth, rows.folds)[-1]
    assert loss(found) - 1e-9 <= loss(climbed) <= loss(np.full(members, 1 / members)) + 1e-9


@pytest.mark.parametrize("task", PROBLEMS)
def test_the_table_and_redundant_members_of_a_task(task: str) -> None:
    stack, rows = PROBLEMS[task](5)
    noise, _ = PROBLEMS[task](6, members=1, skill=0.0)
    stack = np.concatenate([stack, noise])
    candidates = [make_candidate(stack, rows, method) for method in ("mean", "nnls")]
    comparison = ensemble_table(candidates, candidates[0], make_candidate(stack[:1], rows, "mean"), rows)
    assert [row["cross_fitted"]["score"] for row in comparison] == [score_of(one, rows) for one in candidates]
    assert table_cells(comparison)[0][5:7] == ("", "")  # equal weights are compared with themselves
    assert (comparison[1]["over_equal_weights"]["right"] is None) == (task == "regression")
    assert redundant_members(stack, rows, candidates[1])[0] == 3
    if task == "multilabel":
        assert redundant_members(stack, rows, make_candidate(stack, rows, "logistic"))[0] == 3


def test_a_member_without_weight_is_redundant_and_the_only_one_is_not() -> None:
    stack, rows = number_problem(7, members=2)
    alone = make_candidate(stack[:1], rows, "mean")
    only_first = replace(alone, method="nnls", weights=np.tile([1.0, 0.0], (6, 1)))
    assert redundant_members(stack, rows, only_first) == [1]  # without the first the mean of the truth is left


@pytest.mark.parametrize("kind", ["temperature", "platt", "isotonic"])
def test_calibration_of_tags_lowers_the_error_of_overconfident_ones(kind: str) -> None:
    stack, rows = tag_problem(8, members=1, rows=400)
    sharp = stack**4 / (stack**4 + (1 - stack) ** 4)
    blend = make_candidate(sharp, rows, "mean")
    (found,) = calibrated(blend, rows, kind)
    assert found.maps[-1][0]["kind"] == kind
    before, after = (
        calibration_error(as_questions(each.cross_fitted(rows.folds)), rows.truth.reshape(-1).astype(int))
        for each in (blend, found)
    )
    assert after < before
    losses = [
        sklearn.metrics.log_loss(rows.truth.ravel(), one.cross_fitted(rows.folds).ravel()) for one in (found, blend)
    ]
    assert losses[0] < losses[1]


def test_tags_as_questions_and_back() -> None:
    probs = np.random.default_rng(0).random((5, 3))
    np.testing.assert_array_equal(as_tags(as_questions(probs), 3), probs)


@pytest.mark.parametrize("task", PROBLEMS)
def test_members_that_are_alike_are_taken_for_better_one_time_in_twenty_at_most(task: str) -> None:
    taken = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        stack, rows = PROBLEMS[task](seed, members=1)
        noise = 0.05 if task == "multilabel" else 3
        alike = stack[0] + noise * random.normal(size=(2, *stack[0].shape))
        taken += significantly_better(list(np.clip(alike, 0.01, 0.99) if noise < 1 else alike), rows) == 1
    assert taken <= 60 / 20


def with_noise(task: str, seed: int) -> tuple[np.ndarray, EvalRows]:
    """One member that knows something and three that know nothing, for 30 rows in five folds."""
    random, skill = np.random.default_rng(seed), np.array([1.0, 0, 0, 0])[:, None, None]
    folds, groups = np.arange(30) % 5, np.arange(30)
    if task == "regression":
        truth = 50 + 10 * random.normal(size=(30, 1))
        found = 50 + skill * (truth - 50) + 6 * random.normal(size=(4, 30, 1))
        return found, EvalRows(truth, folds, groups, METRIC[task])
    tags = random.random((30, 3)) < 0.4
    logits = 1.5 * skill * np.where(tags, 1, -1) + random.normal(size=(4, 30, 3))
    return 1 / (1 + np.exp(-logits)), EvalRows(tags, folds, groups, METRIC[task])


@pytest.mark.slow
@pytest.mark.parametrize(("task", "method"), [case for case in CASES if case[1] in ("hill_climb", "nnls", "logistic")])
def test_weights_fitted_beside_noise_are_no_better_than_they_are_on_new_rows_in_200_draws(
    task: str, method: str
) -> None:
    excess, alone = [], []
    for seed in range(200):
        stack, rows = with_noise(task, seed)
        fresh, others = with_noise(task, seed + 1000)
        fitted = make_candidate(stack, rows, method)
        reported = row_losses(fitted.cross_fitted(rows.folds), rows.truth).mean()
        new = combine(fresh, fitted.weights[-1], method, task=rows.task)
        excess.append(row_losses(new, others.truth).mean() - reported)
        only = make_candidate(stack[:1], rows, method).cross_fitted(rows.folds)
        alone.append(row_losses(only, rows.truth).mean() - reported)
    assert np.mean(excess) <= 3 * np.std(excess, ddof=1) / np.sqrt(200)
    if task == "multilabel":  # of numbers, a little of what is near the mean does shrink errors
        assert np.mean(alone) <= 3 * np.std(alone, ddof=1) / np.sqrt(200)


def noise(task: str, seed: int, folds: int) -> tuple[np.ndarray, EvalRows]:
    """Predictions that know nothing of the truth, for 24 rows."""
    random, of_row = np.random.default_rng(seed), np.arange(24) % folds
    if task == "ordinal":
        truth = random.integers(3, size=24)
        return random.dirichlet([1.0] * 3, 24), EvalRows(truth, of_row, np.arange(24), METRIC[task])
    stack, rows = PROBLEMS[task](seed, members=1, rows=24, skill=0.0)
    return stack[0], replace(rows, folds=of_row)


@pytest.mark.parametrize("folds", [2, 3])
@pytest.mark.parametrize("task", [pytest.param("multilabel", marks=pytest.mark.slow), "regression", "ordinal"])
def test_decisions_on_noise_are_no_better_than_they_are_on_new_rows_in_200_draws(task: str, folds: int) -> None:
    """To name more tags, or to clip numbers, helps on noise too; what is reported must not be more than that."""
    excess, gains = [], []
    for seed in range(200):
        probs, rows = noise(task, seed, folds)
        fresh, others = noise(task, seed + 1000, folds)
        choice, _ = decided(probs, rows, task)
        metric, plain = find_metric(rows.metric), plain_decision(rows.truth, task, rows.metric)
        reported, without, new, new_without = (
            metric.sign * metric.function(answers, truth)
            for answers, truth in (
                (choice.candidate.cross_fitted(rows.folds), rows.truth),
                (apply_decision(plain, probs), rows.truth),
                (apply_decision(choice.candidate.maps[-1][0], fresh), others.truth),
                (apply_decision(plain, fresh), others.truth),
            )
        )
        gains.append(reported - without)
        excess.append(reported - without - (new - new_without))
    assert np.mean(excess) <= 3 * np.std(excess, ddof=1) / np.sqrt(200)
    if task == "ordinal":  # the kappa of noise is 0, whatever is decided
        assert np.mean(gains) <= 3 * np.std(gains, ddof=1) / np.sqrt(200)


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_a_decision_is_fitted_where_it_gains_beyond_noise_with_two_folds_for_the_test_alone(folds: int) -> None:
    """Tags whose probabilities are half of what they should be. Of two folds none is left to choose by."""
    random = np.random.default_rng(0)
    probs = random.random((120, 3))
    truth = random.random((120, 3)) < probs
    rows = EvalRows(truth, np.arange(120) % folds, np.arange(120), "f2_samples")
    choice, gain = decided(probs / 2, rows, "multilabel")
    assert gain.is_beyond_noise
    assert choice.picks == [int(folds > 2)] * folds + [1]
    assert max(choice.candidate.maps[-1][0]["thresholds"]) < 0.4
    same, luck = decided(np.where(truth, 0.9, 0.1), rows, "multilabel")
    assert (same.picks_first, luck.value) == (True, 0)


@pytest.mark.parametrize(
    ("options", "task", "words"),
    [
        ({"method": "logistic"}, "regression", "blends probabilities, not for competition.task=regression: type"),
        ({"method": "median"}, "multilabel", "blends numbers, not for competition.task=multilabel: type"),
        ({"calibrate": "platt"}, "regression", "calibrates probabilities, which numbers are not: leave it out"),
        ({"threshold": "auto"}, "ordinal", "is for classes, not for competition.task=ordinal"),
        ({"threshold": "auto"}, "multilabel", "whose decision each run chooses out of fold by itself"),
    ],
)
def test_what_a_task_does_not_have_is_refused_in_a_line(options: dict[str, str], task: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        check_methods(EnsembleOptions(**options), task)
    assert "\n" not in str(error.value)


def test_shares_that_are_too_near_0_get_a_floor_and_good_ones_none() -> None:
    """Ten votes a row, none or two for the second class, which half of the predictions deny."""
    votes = np.array([[10.0, 0.0], [8.0, 2.0], [10.0, 0.0], [8.0, 2.0]] * 10)
    bad = np.where(np.arange(40)[:, None] % 4 < 2, [[10.5, -0.5]], votes)
    floor, same = fit_numbers(bad, votes, "kl_divergence")["low"]
    assert floor == same
    shares = [0.001, 0.003, 0.01, 0.03, 0.1]
    assert floor == 10 * min(shares, key=lambda one: kl_divergence(np.maximum(bad, 10 * one), votes))
    assert fit_numbers(votes, votes, "kl_divergence")["low"] == [0, 0]
    assert fit_numbers(bad, votes, "rmse")["low"] == [8, 0]  # the least of the truth


def test_numbers_are_clipped_and_rounded_by_column() -> None:
    """A share, a number with a sign, and a count: only the last is whole, and the second may be below 0."""
    truth = np.array([[0.0, -1000.5, 1.0], [0.5, 0.0, 2.0], [1.0, 1000.0, 4.0]])
    values = np.array([[-0.2, -1200.0, 1.2], [0.5, 0.0, 2.4], [1.3, 1200.0, 3.8]])
    plain = plain_decision(truth, "regression", "rmse")
    assert apply_decision(plain, values).tolist() == [[0.0, -1200.0, 1.2], [0.5, 0.0, 2.4], [1.3, 1200.0, 3.8]]
    fitted = fit_numbers(values, truth, "rmse")
    assert apply_decision(json.loads(json.dumps(fitted)), values).tolist() == truth.tolist()
    assert (fitted["low"], fitted["high"]) == ([0, -1000.5, 1], [1, 1000, 4])
    assert fitted["round"] == [False, False, True]


def test_a_decision_of_an_older_run_has_one_range_for_all_numbers() -> None:
    values = np.array([[-1.0, 7.6], [3.5, 0.2]])
    older = {"kind": "numbers", "low": 0.0, "high": None, "round": False}
    assert apply_decision(older, values).tolist() == [[0, 7.6], [3.5, 0.2]]
    assert apply_decision({**older, "low": None}, values).tolist() == values.tolist()
    assert apply_decision({**older, "high": 5.0, "round": True}, values).tolist() == [[0, 5], [4, 0]]


def rare_tags(seed: int, rows: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated probabilities of two tags of 1 % and one of 30 %, for whose F1 a rare one is named far below 0.05."""
    random = np.random.default_rng(seed)
    logits = np.log(np.array([0.01, 0.01, 0.3])) + random.normal(size=(rows, 3)) - 0.5
    probs = 1 / (1 + np.exp(-logits))
    return probs, random.random((rows, 3)) < probs


def test_thresholds_of_rare_tags_are_as_low_as_they_need_be_and_gain_on_new_rows() -> None:
    probs, truth = rare_tags(0)
    decision = fit_tags(probs, truth, "f1_macro")
    assert max(decision["thresholds"][:2]) < 0.1 < decision["thresholds"][2]
    new, others = rare_tags(1)
    common = {**decision, "thresholds": [decision["thresholds"][2]] * 3}
    reached, without = (
        find_metric("f1_macro").function(apply_decision(one, new), others) for one in (decision, common)
    )
    assert reached > without + 0.03
    assert max(fit_tags(probs / 100, truth, "f1_macro")["thresholds"]) < 0.01


def test_a_tag_of_few_rows_has_nearly_the_threshold_of_all_and_one_of_none_has_it() -> None:
    random = np.random.default_rng(0)
    probs = random.random((400, 4))
    truth = random.random((400, 4)) < probs
    truth[:, 2:] = False
    truth[:2, 2] = True  # two rows, whose probabilities say nothing
    one, other, _, none = fit_tags(probs, truth, "f1_macro")["thresholds"]
    probs[:2, 2] = 0.999  # its own threshold would be just below
    moved = fit_tags(probs, truth, "f1_macro")["thresholds"][2]
    assert none == pytest.approx(min(one, other), abs=0.15)
    assert abs(moved - none) < 0.2 < 0.999 - none


@given(seed=st.integers(0, 1000))
@settings(max_examples=5)
@example(seed=38)  # in which two common thresholds have scores of f1_samples that differ by rounding alone
@example(seed=8)  # in which rows without a tag have equal probabilities
@pytest.mark.parametrize("metric", ["f1_macro", "f1_micro", "f1_samples", "f2_samples"])
def test_order_of_rows_and_tags_changes_no_threshold(metric: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    probs = random.random((60, 4)).round(2) + 1e-4 * np.arange(4)  # of equal ones in a row the first tag is named
    truth = random.random((60, 4)) < probs
    rows, tags = random.permutation(60), random.permutation(4)
    expected = np.array(fit_tags(probs, truth, metric)["thresholds"])
    found = fit_tags(probs[rows][:, tags], truth[rows][:, tags], metric)["thresholds"]
    np.testing.assert_allclose(found, expected[tags])


@given(seed=st.integers(0, 1000), needs_tag=st.booleans())
@settings(max_examples=20)
def test_tags_that_a_fit_counts_are_those_that_its_decision_names(seed: int, needs_tag: bool) -> None:
    random = np.random.default_rng(seed)
    probs, thresholds = random.random((40, 3)) ** 4, random.uniform(0.001, 0.999, 3)
    decision = {"kind": "tags", "thresholds": thresholds.tolist(), "needs_tag": needs_tag}
    answers, named = apply_decision(decision, probs), named_tags(thresholds, probs, needs_tag=needs_tag)
    np.testing.assert_array_equal(answers >= 0.5, named)
    assert named.any(axis=1).all() or not needs_tag
