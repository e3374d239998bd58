"""The head is scikit-learn's logistic regression, and how strongly it is regularised is chosen without cheating."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from kagglepipe.training.head import ExtraRows, HeadFitter

GRID = [0.003, 0.1, 3.0]
NEAR = 0.01  # in probability; the head's solver stops when the gradient is small, not when it is nought
Arrays = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]


def problem(classes: int = 2, count: int = 90, features: int = 6, folds: int = 3, seed: int = 0) -> Arrays:
    """Overlapping clusters: features (N, F), labels (N,), folds (N,)."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    centres = rng.normal(size=(classes, features))
    x = (centres[labels] + rng.normal(size=(count, features))).astype(np.float32)
    return x, labels, rng.permutation(np.arange(count) % folds)


def fitter(
    x: NDArray[np.float32] | Sequence[NDArray[np.float32]],
    labels: NDArray[np.int64],
    folds: NDArray[np.int64],
    grid: Sequence[float] = GRID,
    classes: int | None = None,
) -> HeadFitter:
    """A fitter of one or more views."""
    views = [x] if isinstance(x, np.ndarray) else x
    return HeadFitter(views, labels, folds, grid=grid, classes=classes or int(labels.max()) + 1)


def solution(x: NDArray[np.float32], labels: NDArray[np.int64], c: float) -> LogisticRegression:
    """scikit-learn's, as exact as it goes."""
    return LogisticRegression(C=c, max_iter=100_000, tol=1e-9).fit(x.astype(np.float64), labels)


def naive_losses(x: NDArray[np.float32], labels: NDArray[np.int64], folds: NDArray[np.int64], fold: int) -> list[float]:
    """The mean log loss of each C over the rows outside `fold`, by a plain double loop."""
    means = []
    for c in GRID:
        losses = []
        for other in sorted(set(folds.tolist()) - {fold}):
            rows, held = (folds != fold) & (folds != other), folds == other
            model = solution(x[rows], labels[rows], c)
            losses += (-np.log(model.predict_proba(x[held])[np.arange(held.sum()), labels[held]])).tolist()
        means.append(float(np.mean(losses)))
    return means


# --- the fit ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("classes", "c"), [(2, 0.003), (4, 0.1), (2, 3.0), (4, 3.0)])
def test_probabilities_equal_scikit_learns(classes: int, c: float) -> None:
    x, labels, folds = problem(classes)
    head = fitter(x, labels, folds, [c]).fit(0)
    reference = solution(x[folds != 0], labels[folds != 0], c)
    np.testing.assert_allclose(head.predict(x), reference.predict_proba(x), atol=NEAR)
    assert head.regularisation == c
    assert (head.weight.shape, head.bias.shape) == ((classes, 6), (classes,))
    assert head.weight.dtype == head.bias.dtype == np.float32
    assert (head.logits(x).shape, head.logits(x).dtype) == ((90, classes), np.float64)
    if classes == 2:  # which share their logit
        np.testing.assert_array_equal(np.column_stack([head.weight, head.bias]).sum(axis=0), 0)


@pytest.mark.parametrize("absent", [[2], [2, 3]])
def test_classes_without_training_rows_get_no_probability(absent: list[int]) -> None:
    x, labels, folds = problem(4)
    folds = np.where(np.isin(labels, absent), 0, 1 + folds % 2)  # all of them are held out with fold 0
    probabilities, rows = fitter(x, labels, folds, [1.0]).fit(0).predict(x), folds != 0
    assert probabilities[:, absent].max() == 0
    expected = solution(x[rows], labels[rows], 1.0).predict_proba(x)
    np.testing.assert_allclose(np.delete(probabilities, absent, axis=1), expected, atol=NEAR)


def test_where_one_class_is_left_it_has_all_probability() -> None:
    """As without the two folds that hold the other one, by which C is chosen."""
    x, labels, folds = problem(2, folds=4)
    labels = np.where(folds < 2, labels, 0)
    assert np.isfinite(fitter(x, labels, folds).fit(0).weight).all()
    losses = dict(fitter(x, labels, folds).inner_log_loss(0))
    assert all(np.isfinite(loss) for loss in losses.values())
    alone = fitter(x, np.where(folds == 0, labels, 0), folds, classes=2).fit(0)
    assert alone.predict(x).tolist() == [[1, 0]] * len(x)


# --- views -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("classes", "copies"), [(2, 2), (4, 5)])
def test_neither_repeated_views_nor_the_order_of_rows_grid_and_folds_change_anything(classes: int, copies: int) -> None:
    """C counts images, not views of them."""
    x, labels, folds = problem(classes)
    order = np.random.default_rng(1).permutation(len(x))
    one, many = fitter(x, labels, folds), fitter([x] * copies, labels, folds)
    other = fitter(x[order], labels[order], 3 * folds[order] + 7, GRID[::-1])
    assert one.choose(0) == many.choose(0) == other.choose(7)
    for found in (many.fit(0), other.fit(7)):
        np.testing.assert_allclose(one.fit(0).predict(x), found.predict(x), atol=NEAR)


def test_a_view_weighs_as_much_as_that_many_copies() -> None:
    x, labels, folds = problem()
    other = x + np.random.default_rng(1).normal(0, 0.3, x.shape).astype(np.float32)
    weighed = HeadFitter([x, other], labels, folds, grid=GRID, classes=2, clean=3.0)
    copied = HeadFitter([x, x, x, other], labels, folds, grid=GRID, classes=2)
    rows = folds != 0
    one, many = (one.solver(rows, 0.1, None, False) for one in (weighed, copied))
    np.testing.assert_allclose(one.weight, many.weight, atol=1e-3)
    np.testing.assert_allclose(one.bias, many.bias, atol=1e-3)


def test_the_choice_is_by_all_views_of_held_out_rows() -> None:
    """Each row counts once: by the mean over its views."""
    x, labels, folds = problem()
    other = x + np.random.default_rng(1).normal(0, 0.3, x.shape).astype(np.float32)
    both = fitter([x, other], labels, folds)
    losses = both._inner_losses(0, 1)
    heads = [both.solver((folds != 0) & (folds != 1), c, None, True) for c in GRID]
    for fold in (0, 1):
        own = folds == fold
        rows = np.arange(own.sum()), labels[own]
        expected = [
            -np.mean([log_softmax(head.logits(view[own]), axis=-1)[rows] for view in (x, other)], axis=0).sum()
            for head in heads
        ]
        np.testing.assert_allclose(losses[fold], expected)


# --- the choice ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 4])
def test_shared_inner_fits_give_the_losses_of_a_plain_double_loop(classes: int) -> None:
    x, labels, folds = problem(classes, folds=4)
    shared = fitter(x, labels, folds)
    for fold in range(4):
        grid, losses = zip(*shared.inner_log_loss(fold), strict=True)
        assert list(grid) == GRID
        np.testing.assert_allclose(losses, naive_losses(x, labels, folds, fold), rtol=0.005)
        assert shared.choose(fold) == shared.fit(fold).regularisation == GRID[int(np.argmin(losses))]


def test_a_fit_without_two_folds_serves_both() -> None:
    """Five folds have ten pairs; each is fitted once for each C, and each fold once more in the end."""
    x, labels, folds = problem(folds=5)
    counted = fitter(x, labels, folds)
    fits: list[tuple[int, float]] = []
    fit = counted.solver
    counted.solver = lambda rows, c, *more: fits.append((int(rows.sum()), c)) or fit(rows, c, *more)
    for fold in range(5):
        counted.fit(fold)
    assert len(fits) == 10 * len(GRID) + 5


def test_more_rows_are_fitted_on_and_choose_nothing() -> None:
    x, labels, folds = problem(seed=4)
    both, more = [x, x + np.float32(0.1)], ExtraRows([x[:20] * 2, x[:20] * 3], 1 - labels[:20])
    own = fitter(both, labels, folds)
    head, chosen = own.fit(1, more), own.choose(1)
    rows = folds != 1
    views = [np.concatenate([view[rows], added]) for view, added in zip(both, more.views, strict=True)]
    y = np.concatenate([labels[rows], more.labels])
    expected = solution(np.concatenate(views), np.tile(y, 2), chosen / 2)
    assert head.regularisation == chosen == fitter(both, labels, folds).choose(1)
    np.testing.assert_allclose(head.predict(x), expected.predict_proba(x.astype(np.float64)), atol=NEAR)


@pytest.mark.parametrize("spoil", ["labels", "features"])
def test_the_held_out_fold_has_no_say(spoil: str) -> None:
    x, labels, folds = problem(3)
    held = folds == 1
    other_x, other_labels = x.copy(), labels.copy()
    if spoil == "labels":
        other_labels[held] = (labels[held] + 1) % 3
    else:
        other_x[held] = np.random.default_rng(5).normal(size=(held.sum(), x.shape[1])) * 100
    one, other = fitter(x, labels, folds).fit(1), fitter(other_x, other_labels, folds).fit(1)
    assert one.regularisation == other.regularisation
    np.testing.assert_array_equal(one.weight, other.weight)
    np.testing.assert_array_equal(one.bias, other.bias)


def test_inner_folds_are_the_outer_ones_so_that_groups_stay_together() -> None:
    """Each pair of twins has features of its own and a label drawn by lot, so that there is nothing to learn.

    With twins in one fold the choice says so; with twins apart, knowing each by heart would seem to pay.
    """
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(40, 60)), 2, axis=0).astype(np.float32)
    labels = np.repeat(rng.permutation(np.arange(40) % 2), 2)
    together = np.repeat(np.arange(40) % 4, 2)
    apart = np.array([[0, 0], [1, 2], [2, 3], [3, 1]])[np.arange(40) % 4].ravel()
    assert fitter(x, labels, together, [1e-4, 1e4]).choose(0) == 1e-4
    assert fitter(x, labels, apart, [1e-4, 1e4]).choose(0) == 1e4


def test_two_folds_leave_nothing_to_choose_by() -> None:
    x, labels, folds = problem(folds=2)
    one = fitter(x, labels, folds)
    assert one.choose(0) == one.choose(1) == GRID[1]
    assert np.isnan(one.inner_log_loss(0)[0][1])
    assert one.fit(0).regularisation == GRID[1]
