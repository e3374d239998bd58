"""Heads of columns are scikit-learn's one-vs-rest and ridge regressions, with a C of its own for each column."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.metrics import cohen_kappa_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, PredefinedSplit

from kagglepipe.predictions.decisions import apply_decision, fit_cut_points
from kagglepipe.training.column_heads import ColumnHeadFitter, fit_logistic_once
from kagglepipe.training.head import ExtraRows

GRID = [0.003, 0.1, 3.0]
NEAR = 2e-3  # in probability
Arrays = tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.int64]]


def problem(count: int = 90, features: int = 6, columns: int = 3, seed: int = 0) -> Arrays:
    """Features (N, F) far from 0 and of unlike scale, linear scores with noise (N, O), three folds (N,)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, features)) * np.geomspace(0.3, 3, features) + 5
    scores = (x - 5) @ rng.normal(size=(features, columns)) + rng.normal(size=(count, columns))
    return x.astype(np.float32), scores, rng.permutation(np.arange(count) % 3)


def tags_of(scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tags that are rarer from column to column."""
    return np.asarray(scores > np.quantile(scores, [0.5, 0.7, 0.9], axis=0).diagonal())


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-logits)))


# --- the fit ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("c", GRID)
@pytest.mark.parametrize("features", [6, 200])  # fewer, and more, than rows
def test_each_tag_has_scikit_learns_regression(c: float, features: int) -> None:
    x, scores, folds = problem(features=features)
    tags, rows = tags_of(scores), folds != 0
    head = ColumnHeadFitter([x], tags, folds, task="multilabel", grid=[c]).fit(0)
    found = head.predict(x)
    for column in range(3):
        reference = LogisticRegression(C=c, max_iter=100_000, tol=1e-9).fit(x[rows].astype(float), tags[rows, column])
        np.testing.assert_allclose(found[:, column], reference.predict_proba(x)[:, 1], atol=NEAR)
    assert head.regularisation == pytest.approx(c)
    assert (head.weight.dtype, head.weight.shape, head.bias.shape) == (np.float32, (3, features), (3,))


@pytest.mark.parametrize("c", GRID)
@pytest.mark.parametrize("features", [6, 200])
def test_numbers_have_scikit_learns_ridge_with_penalty_f_over_c(c: float, features: int) -> None:
    x, scores, folds = problem(features=features)
    rows = folds != 0
    head = ColumnHeadFitter([x], scores, folds, task="regression", grid=[c]).fit(0)
    reference = Ridge(alpha=features / c).fit(x[rows].astype(float), scores[rows])
    np.testing.assert_allclose(head.weight, reference.coef_, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(head.predict(x), reference.predict(x), atol=1e-4)


def steps_of(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Whether a rank of three, unlike in size, is above the first and the second, (N, 2)."""
    return (scores[:, :1] > np.quantile(scores[:, 0], [0.3, 0.7])).astype(np.float64)


def test_steps_that_share_hardly_any_weights_have_scikit_learns_regressions() -> None:
    x, scores, _ = problem()
    steps, free = steps_of(scores), 1e6
    weight, bias = fit_logistic_once(x, steps, np.ones(len(x)), np.full(2, 0.1 / free), deviation=free)
    for step in range(2):
        reference = LogisticRegression(C=0.1, tol=1e-9).fit(x, steps[:, step])
        np.testing.assert_allclose(sigmoid(x @ weight[step] + bias[step]), reference.predict_proba(x)[:, 1], atol=NEAR)


@pytest.mark.parametrize("c", [0.003, 0.1])
def test_steps_without_weights_of_their_own_are_proportional_odds(c: float) -> None:
    """All questions below one another are one logistic regression, with a hardly penalised column for each step."""
    x, scores, _ = problem()
    steps = steps_of(scores)
    weight, bias = fit_logistic_once(x, steps, np.ones(len(x)), np.full(2, c), deviation=1e-3)
    np.testing.assert_allclose(weight[0], weight[1], atol=1e-3)
    asked = np.hstack([np.tile(x - x.mean(axis=0), (2, 1)), np.repeat(100 * np.eye(2), len(x), axis=0)])
    reference = LogisticRegression(C=c, fit_intercept=False, tol=1e-9, max_iter=10_000).fit(asked, steps.T.ravel())
    expected = reference.predict_proba(asked)[:, 1].reshape(2, -1).T
    np.testing.assert_allclose(sigmoid(x @ weight.T + bias), expected, atol=NEAR)


def test_a_step_that_no_row_decides_does_not_move_the_others() -> None:
    """The highest of four classes has no row: its question gets the smoothed share, the others what they get alone."""
    x, scores, folds = problem()
    steps = steps_of(scores)
    alone = ColumnHeadFitter([x], steps, folds, task="ordinal", grid=[0.1]).fit(0)
    beside = ColumnHeadFitter([x], np.column_stack([steps, np.zeros(90)]), folds, task="ordinal", grid=[0.1]).fit(0)
    np.testing.assert_allclose(beside.weight, [*alone.weight, np.zeros(6)], atol=1e-3)
    np.testing.assert_allclose(sigmoid(beside.bias[2]), 1 / 62, rtol=1e-5)


def test_steps_have_one_c() -> None:
    x, scores, folds = problem()
    chosen = ColumnHeadFitter([x], steps_of(scores), folds, task="ordinal", grid=GRID).choose(0)
    assert len(set(chosen.tolist())) == 1


def test_a_tag_that_all_or_no_rows_have_gets_its_smoothed_share() -> None:
    """Sixty rows: 61/62 and 1/62, by Laplace's rule, whatever the features."""
    x, scores, folds = problem()
    tags = tags_of(scores)
    tags[:, 0], tags[:, 2] = True, False
    found = ColumnHeadFitter([x], tags, folds, task="multilabel", grid=GRID).fit(0).predict(x)
    np.testing.assert_allclose(found[:, [0, 2]], np.tile([61 / 62, 1 / 62], (90, 1)), rtol=1e-5)
    assert np.ptp(found[:, 1]) > 0.5


# --- views and further rows ------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_neither_repeated_views_nor_the_order_of_rows_grid_and_folds_change_anything(task: str) -> None:
    x, scores, folds = problem()
    targets = tags_of(scores) if task == "multilabel" else scores
    order = np.random.default_rng(1).permutation(len(x))
    one = ColumnHeadFitter([x], targets, folds, task=task, grid=GRID)
    many = ColumnHeadFitter([x] * 3, targets, folds, task=task, grid=GRID)
    other = ColumnHeadFitter([x[order]], targets[order], 3 * folds[order] + 7, task=task, grid=GRID[::-1])
    assert one.choose(0).tolist() == many.choose(0).tolist() == other.choose(7).tolist()
    for found in (many.fit(0), other.fit(7)):
        np.testing.assert_allclose(found.predict(x), one.fit(0).predict(x), atol=NEAR)


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_extra_rows_are_as_rows_of_a_fold_that_is_never_held_out(task: str) -> None:
    x, scores, folds = problem()
    targets = (tags_of(scores) if task == "multilabel" else scores).astype(np.float32)
    rows = folds < 2
    part = ColumnHeadFitter([x[rows]], targets[rows], folds[rows], task=task, grid=[0.1])
    found = part.fit(0, ExtraRows([x[~rows]], targets[~rows]))
    whole = ColumnHeadFitter([x], targets, folds, task=task, grid=[0.1]).fit(0)
    np.testing.assert_allclose(found.predict(x), whole.predict(x), atol=NEAR)


# --- the choice of C -------------------------------------------------------------------------------------------


def naive_losses(x: NDArray[np.float32], tags: NDArray[np.bool_], folds: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean log loss of each C and column over the rows outside fold 0, by a plain double loop, (G, O)."""
    losses = np.zeros((len(GRID), tags.shape[1]))
    for number, c in enumerate(GRID):
        for other in (1, 2):
            rows, held = folds == 3 - other, folds == other
            for column in range(tags.shape[1]):
                model = LogisticRegression(C=c, max_iter=100_000, tol=1e-9).fit(x[rows], tags[rows, column])
                own = model.predict_proba(x[held])[np.arange(held.sum()), tags[held, column].astype(int)]
                losses[number, column] -= np.log(own).sum()
    return losses / (folds != 0).sum()


def test_each_column_has_the_c_of_least_inner_loss() -> None:
    x, scores, folds = problem()
    scores[:, 1] = np.random.default_rng(9).normal(size=90)  # noise, for which the strongest penalty is best
    tags, expected = tags_of(scores), naive_losses(x, tags_of(scores), folds)
    fitter = ColumnHeadFitter([x], tags, folds, task="multilabel", grid=GRID)
    assert fitter.choose(0).tolist() == expected.argmin(axis=0).tolist()
    assert len(set(fitter.choose(0).tolist())) > 1
    found = [row["inner_loss"] for row in fitter.history(0)]
    np.testing.assert_allclose(found, expected.mean(axis=1), rtol=2e-3)


@pytest.mark.parametrize(("grid", "count"), [(GRID, 2), ([0.5], 3)])
def test_a_choice_that_was_not_made_has_no_loss(grid: list[float], count: int) -> None:
    x, scores, _ = problem()
    fitter = ColumnHeadFitter([x], tags_of(scores), np.arange(90) % count, task="multilabel", grid=grid)
    ((c, loss),) = [row.values() for row in fitter.history(0)]
    assert c == sorted(grid)[len(grid) // 2]
    assert np.isnan(loss)
    assert fitter.choose(0).tolist() == [len(grid) // 2] * 3


def test_labels_of_the_fold_itself_change_neither_choice_nor_fit() -> None:
    x, scores, folds = problem()
    other = scores.copy()
    other[folds == 0] = 1e3
    one, two = (ColumnHeadFitter([x], y, folds, task="regression", grid=GRID) for y in (scores, other))
    assert one.choose(0).tolist() == two.choose(0).tolist()
    np.testing.assert_array_equal(one.fit(0).weight, two.fit(0).weight)


def test_with_two_folds_the_middle_of_the_grid_is_taken() -> None:
    x, scores, folds = problem()
    head = ColumnHeadFitter([x], tags_of(scores), folds % 2, task="multilabel", grid=GRID).fit(0)
    assert head.regularisation == pytest.approx(0.1)


@pytest.mark.parametrize("noise", [0.01, 1.0, 30.0])
def test_a_ridge_finds_penalties_as_wide_apart_as_scikit_learns_search(noise: float) -> None:
    """Whether numbers follow from features exactly or hardly, RidgeCV(np.logspace(-2, 6)) is no better."""
    rng = np.random.default_rng(0)
    x, folds = rng.normal(size=(150, 60)).astype(np.float32), np.arange(150) % 5
    y = x @ rng.normal(size=(60, 1)) + noise * rng.normal(size=(150, 1))
    ours, theirs = np.zeros((150, 1)), np.zeros((150, 1))
    fitter = ColumnHeadFitter([x], y, folds, task="regression", grid=[0.01, 0.1, 1.0, 10.0])
    for fold in range(5):
        held, rows = folds == fold, folds != fold
        ours[held] = fitter.fit(fold).predict(x[held])
        own = RidgeCV(np.logspace(-2, 6), cv=PredefinedSplit(folds[rows])).fit(x[rows], y[rows])
        theirs[held] = own.predict(x[held]).reshape(-1, 1)
    assert np.sqrt(((ours - y) ** 2).mean()) < 1.02 * np.sqrt(((theirs - y) ** 2).mean())


# --- beside scikit-learn, all in all ---------------------------------------------------------------------------


def out_of_fold(x: NDArray[np.float32], targets: NDArray[Any], folds: NDArray[np.int64], task: str) -> NDArray[Any]:
    fitter = ColumnHeadFitter([x], targets, folds, task=task, grid=[0.01, 0.1, 1.0, 10.0])
    found = [fitter.fit(fold).predict(x[folds == fold]) for fold in range(5)]
    return np.concatenate(found)[np.argsort(np.argsort(folds, kind="stable"), kind="stable")]


def test_tags_are_ranked_as_well_as_by_scikit_learns_search() -> None:
    x, scores, _ = problem(count=150, features=30)
    x, tags, folds, theirs = x - 5, tags_of(scores), np.arange(150) % 5, np.zeros((150, 3))
    for fold, column in product(range(5), range(3)):
        rows = folds != fold
        estimator, grid = LogisticRegression(max_iter=1000), {"C": [0.01, 0.1, 1, 10]}
        own = GridSearchCV(estimator, grid, cv=PredefinedSplit(folds[rows]), scoring="neg_log_loss")
        theirs[~rows, column] = own.fit(x[rows], tags[rows, column]).predict_proba(x[~rows])[:, 1]
    ours = out_of_fold(x, tags, folds, "multilabel")
    assert roc_auc_score(tags, ours, average="macro") > roc_auc_score(tags, theirs, average="macro") - 0.003


def test_an_order_is_told_as_well_as_by_scikit_learns_ridge_of_the_rank_with_cut_points() -> None:
    """Four problems of five unequal steps; quadratic weighted kappa with cut points fitted on the other folds."""
    gains = []
    for seed in range(4):
        x, scores, _ = problem(count=200, features=60, columns=1, seed=seed)
        order, folds = np.digitize(scores[:, 0], np.quantile(scores, [0.5, 0.6, 0.85, 0.93])), np.arange(200) % 5
        ranks = np.zeros((200, 1))
        for fold in range(5):
            rows = folds != fold
            ranks[~rows, 0] = RidgeCV(np.logspace(-2, 6)).fit(x[rows], order[rows]).predict(x[~rows])
        theirs = np.maximum(1 - np.abs(np.clip(ranks, 0, 4) - np.arange(5)), 0)  # whose expected class is the rank
        ours = out_of_fold(x, order[:, None] > np.arange(4), folds, "ordinal")
        gains.append(np.subtract(*(kappa_with_cut_points(one, order, folds) for one in (ours, theirs))))
    assert np.mean(gains) > -0.005


def kappa_with_cut_points(found: NDArray[Any], order: NDArray[np.int64], folds: NDArray[np.int64]) -> float:
    answers = np.zeros(len(order), np.int64)
    for fold in range(5):
        rows = folds != fold
        decision = fit_cut_points(found[rows], order[rows], "quadratic_weighted_kappa")
        answers[~rows] = apply_decision(decision, found[~rows]).argmax(axis=1)
    return float(cohen_kappa_score(order, answers, weights="quadratic"))
