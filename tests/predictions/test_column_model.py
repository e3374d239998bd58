"""Models of columns beside predictions; `python -m pytest tests/predictions`."""

from dataclasses import replace

import numpy as np
import pytest

from kagglepipe.predictions.column_model import MODELS, choose_model, cross_predict, logits_of
from kagglepipe.predictions.evaluation import EvalRows
from kagglepipe.predictions.paired import significantly_better


def rows_of(truth: np.ndarray) -> EvalRows:
    return EvalRows(truth, np.arange(len(truth)) % 4, np.arange(len(truth)), "accuracy")


def problem(rows: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Logits that say nothing, a number that says all, with gaps, and a category that says nothing."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, rows)
    number = truth + random.normal(0, 0.2, rows)
    number[::17] = np.nan
    return np.stack([random.normal(size=rows), number, random.integers(0, 3, rows)], axis=1), truth


@pytest.mark.parametrize("name", MODELS)
def test_a_column_that_says_it_is_learned_despite_gaps(name: str) -> None:
    x, truth = problem()
    oof, test = cross_predict(name, x, rows_of(truth), x[:5], [False, False, True], 2)
    assert (oof.argmax(axis=1) == truth).mean() > 0.9
    np.testing.assert_allclose(oof.sum(axis=1), 1)
    assert test.shape == (5, 2)


@pytest.mark.parametrize("name", MODELS)
def test_a_row_is_predicted_by_models_of_other_folds(name: str) -> None:
    x, truth = problem(80)
    rows = rows_of(truth)
    before, _ = cross_predict(name, x, rows, x[:0], [False, False, True], 2)
    other = truth.copy()
    other[rows.folds == 0] = 1 - other[rows.folds == 0]
    after, _ = cross_predict(name, x, rows_of(other), x[:0], [False, False, True], 2)
    np.testing.assert_array_equal(before[rows.folds == 0], after[rows.folds == 0])
    assert not np.array_equal(before[rows.folds == 1], after[rows.folds == 1])


@pytest.mark.parametrize("name", MODELS)
def test_numbers_tags_and_classes_without_a_row(name: str) -> None:
    x, truth = problem(120)
    numbers = np.stack([truth * 3.0, np.full(120, 2.0)], axis=1)
    oof, _ = cross_predict(name, x, rows_of(numbers), x[:0], [False, False, True], 2)
    assert np.abs(oof[:, 0] - numbers[:, 0]).mean() < 1
    np.testing.assert_array_equal(oof[:, 1], 2)
    tags = np.stack([truth > 0, truth > 5], axis=1)
    oof, _ = cross_predict(name, x, rows_of(tags), x[:0], [False, False, True], 2)
    assert ((oof[:, 0] > 0.5) == tags[:, 0]).mean() > 0.9
    np.testing.assert_allclose(oof[:, 1], 1 / 92)  # Laplace's rule for none of 90 rows
    oof, of_test = cross_predict(name, x, rows_of(~tags), x[:2], [False, False, True], 2)
    np.testing.assert_allclose([*oof[:, 1], *of_test[:, 1]], 91 / 92)
    oof, _ = cross_predict(name, x, rows_of(truth), x[:0], [False, False, True], 3)
    np.testing.assert_array_equal(oof[:, 2], 0)


@pytest.mark.parametrize("name", MODELS)
def test_the_order_of_rows_and_folds_changes_nothing(name: str) -> None:
    x, truth = problem(80)
    rows, order = rows_of(truth), np.random.default_rng(2).permutation(80)
    before, of_test = cross_predict(name, x, rows, x[:9], [False, False, True], 2)
    moved = EvalRows(truth[order], 3 - rows.folds[order], rows.groups[order], rows.metric)
    after, of_other = cross_predict(name, x[order], moved, x[:9], [False, False, True], 2)
    np.testing.assert_allclose(after, before[order], atol=1e-6)
    np.testing.assert_allclose(of_other, of_test, atol=1e-6)


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "regression"])
def test_columns_of_noise_are_kept_one_time_in_twenty_at_most_in_200_draws(task: str) -> None:
    """Beside logits, or numbers, that are as good as they can be."""
    kept = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        logits, columns = 2 * random.normal(size=40), random.normal(size=(40, 2))
        share, truth = 1 / (1 + np.exp(-logits)), random.random(40) < 1 / (1 + np.exp(-logits))
        if task == "regression":
            before, own = logits[:, None], (logits + random.normal(size=40))[:, None]
        else:
            before = np.stack([1 - share, share], axis=1) if task == "multiclass" else share[:, None]
            own = truth.astype(int) if task == "multiclass" else truth[:, None]
        rows = replace(rows_of(own), metric={"multilabel": "f1_samples", "regression": "rmse"}.get(task, "accuracy"))
        x = np.concatenate([logits_of(before, own), columns], axis=1)
        after, _ = cross_predict("linear", x, rows, x[:0], [False] * 3, before.shape[1])
        kept += significantly_better([before, after], rows)
    assert kept <= 200 / 20


def test_the_model_of_least_loss_is_chosen() -> None:
    random = np.random.default_rng(1)
    x = random.normal(size=(300, 2))
    xor = ((x[:, 0] > 0) != (x[:, 1] > 0)).astype(int)
    assert choose_model(x, rows_of(xor), [False, False], 2) == "boosting"
    line = (x[:, 0] + x[:, 1] > 0).astype(int)
    assert choose_model(x, rows_of(line), [False, False], 2) == "linear"


def test_logits() -> None:
    two = logits_of(np.array([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 1]))
    np.testing.assert_allclose(two, [[0], [np.log(3)]])
    tags = logits_of(np.array([[0.75, 1.0]]), np.array([[True, False]]))
    np.testing.assert_allclose(tags, [[np.log(3), np.log(1e6 - 1)]])
    assert logits_of(np.array([[7.0]]), np.array([[1.5]])).tolist() == [[7.0]]


@pytest.mark.parametrize("name", MODELS)
def test_a_column_without_a_cell_in_the_training_folds_says_nothing_there(name: str) -> None:
    x, truth = problem(80)
    rows = rows_of(truth)
    of_one_fold = np.where(rows.folds == 0, np.arange(80.0), np.nan)[:, None]
    found, _ = cross_predict(
        name, np.hstack([x, of_one_fold]), rows, x[:0, [0, 1, 2, 2]], [False, False, True, False], 2
    )
    without, _ = cross_predict(name, x, rows, x[:0], [False, False, True], 2)
    np.testing.assert_array_equal(found[rows.folds == 0], without[rows.folds == 0])
