"""Frames of many classes, which keep 100 of each row, score as those with all classes do."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kagglepipe.errors import UserError
from kagglepipe.files import write_parquet
from kagglepipe.predictions import frame as frames
from kagglepipe.predictions import metrics, own_metric
from kagglepipe.predictions.evaluation import summarise
from kagglepipe.predictions.metrics import METRICS, fitting_metrics
from kagglepipe.predictions.submission import build_submission
from kagglepipe.predictions.top_classes import KEPT, TopClasses, has_top_classes, keep_top

COUNT, ROWS = 600, 400
CLASSES = [f"class {number}" for number in range(COUNT)]
IDS = [f"{number:04}.jpg" for number in range(ROWS)]


@pytest.fixture(scope="module")
def probs() -> np.ndarray:
    """Skewed rows (N, C), some with ties of the greatest and of the kept ones, one of equal probabilities."""
    random = np.random.default_rng(0)
    logits = 3 * random.standard_normal((ROWS, COUNT))
    logits[:50] = logits[:50].round()
    logits[7] = 0
    values = np.exp(logits)
    return values / values.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def truth(probs: np.ndarray) -> np.ndarray:
    """Often among the first few, else any class."""
    random = np.random.default_rng(1)
    likely = np.argsort(-probs, axis=1)[np.arange(ROWS), random.geometric(0.3, ROWS)]
    return np.where(random.random(ROWS) < 0.7, likely, random.integers(0, COUNT, ROWS))


@pytest.fixture(scope="module")
def oof(probs: np.ndarray, truth: np.ndarray) -> pd.DataFrame:
    return frames.oof_frame(IDS, np.arange(ROWS) % 2, [CLASSES[k] for k in truth], probs, CLASSES)


OF_CLASSES = {name: METRICS[name] for name in fitting_metrics()}
NOT_BY_COLUMN = [name for name, one in OF_CLASSES.items() if one.needs.answers != "order" and one.needs.classes[1] > 2]


@pytest.mark.parametrize("name", NOT_BY_COLUMN)
def test_scores_and_intervals_equal_those_of_all_classes(
    name: str, oof: pd.DataFrame, probs: np.ndarray, truth: np.ndarray
) -> None:
    full = pd.concat([oof[["id", "fold", "target"]], pd.DataFrame(probs, columns=CLASSES)], axis=1)
    assert has_top_classes(oof)
    assert not has_top_classes(full)
    assert summarise(name, oof, CLASSES, None) == summarise(name, full, CLASSES, None)


def test_metrics_of_the_order_within_a_class_are_refused(oof: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="roc_auc needs 2 to 500 classes, there are 600"):
        summarise("roc_auc", oof, CLASSES, None)


def test_a_metric_of_a_file_gets_all_classes_of_each_row(
    tmp_path: Path, oof: pd.DataFrame, truth: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_metric, "OWN_METRICS", {})
    text = "def brier(truth, probabilities):\n    return ((probabilities.sum(axis=1) - 1) ** 2).mean() + truth.mean()"
    (tmp_path / "mine.py").write_text(text)
    monkeypatch.setattr(metrics, "OWN_METRICS", own_metric.OWN_METRICS)
    name = own_metric.name_metric(f"{tmp_path / 'mine.py'}:brier")
    found = summarise(name, oof, CLASSES, None)
    assert found["score"] == pytest.approx(truth.mean())
    assert found["interval"][0] < found["score"] < found["interval"][1]
    monkeypatch.setattr(frames, "MAX_CELLS", ROWS * COUNT - 1)
    with pytest.raises(UserError, match="400 rows of 600 classes are too many"):
        summarise(name, oof, CLASSES, None)


def test_a_row_keeps_the_most_probable_classes_the_first_of_ties_and_the_true_one(
    probs: np.ndarray, truth: np.ndarray
) -> None:
    for given in (None, truth):
        top = keep_top(probs, given)
        order = np.argsort(-probs, axis=1, kind="stable")[:, :KEPT]
        lost = np.zeros(ROWS, bool) if given is None else (order != truth[:, None]).all(axis=1)
        order[lost, -1] = truth[lost]
        np.testing.assert_array_equal(top.columns, order)
        np.testing.assert_array_equal(top.values, np.take_along_axis(probs, order, axis=1))
        np.testing.assert_allclose(np.asarray(top).sum(axis=1), 1)


def test_rows_and_cells_are_those_of_the_array() -> None:
    random = np.random.default_rng(0)
    top = TopClasses(np.array([[4, 1], [0, 2], [3, 4]]), np.array([[0.6, 0.1], [0.5, 0.5], [0.4, 0.3]]), 5)
    full = np.asarray(top)
    np.testing.assert_allclose(full[0], [0.1, 0.1, 0.1, 0.1, 0.6])
    rows, columns = random.integers(0, 3, 40), random.integers(0, 5, 40)
    np.testing.assert_array_equal(top[rows, columns], full[rows, columns])
    np.testing.assert_array_equal(np.asarray(top[rows]), full[rows])
    np.testing.assert_array_equal(top.argmax(axis=1), full.argmax(axis=1))
    np.testing.assert_array_equal(top.max(axis=1), full.max(axis=1))
    assert top.shape == full.shape


def test_a_frame_comes_back_from_its_file_in_any_order_of_classes(tmp_path: Path, oof: pd.DataFrame) -> None:
    write_parquet(tmp_path / "oof.parquet", oof)
    back = frames.read_frame(tmp_path / "oof.parquet")
    pd.testing.assert_frame_equal(back, oof)
    assert frames.class_columns(back) == CLASSES
    np.testing.assert_array_equal(
        frames.probabilities(back, CLASSES[::-1]), frames.probabilities(oof, CLASSES)[:, ::-1]
    )
    oof.assign(probability_1=0.9).to_parquet(tmp_path / "wrong.parquet")
    with pytest.raises(UserError, match="do not sum to 1"):
        frames.read_frame(tmp_path / "wrong.parquet")


def test_folds_are_merged_and_test_frames_averaged(oof: pd.DataFrame, probs: np.ndarray) -> None:
    merged = frames.merge_folds([oof[oof["fold"] == 1], oof[oof["fold"] == 0]], IDS)
    pd.testing.assert_frame_equal(merged, oof)
    one, other = (frames.test_frame(IDS, rows, CLASSES) for rows in (probs, np.roll(probs, 3, axis=1)))
    mean = frames.average_folds([one, other[::-1].reset_index(drop=True)])
    expected = (frames.probabilities(one, CLASSES) + frames.probabilities(other, CLASSES)) / 2
    np.testing.assert_array_equal(frames.scorable(mean, CLASSES).argmax(axis=1), expected.argmax(axis=1))
    np.testing.assert_allclose(frames.scorable(mean, CLASSES).max(axis=1), expected.max(axis=1))


@pytest.mark.parametrize("form", ["index", "name", "probabilities"])
def test_submissions_are_built(form: str, oof: pd.DataFrame, probs: np.ndarray) -> None:
    made = build_submission(
        oof.drop(columns=["fold", "target"]), form=form, classes=CLASSES, id_column="id", target_column="label", ids=IDS
    )
    if form == "probabilities":
        found = made[CLASSES].to_numpy()
        np.testing.assert_array_equal(found.max(axis=1), probs.max(axis=1))
        np.testing.assert_allclose(found.sum(axis=1), 1)
    else:
        best = probs.argmax(axis=1)
        assert made["label"].tolist() == (best.tolist() if form == "index" else [CLASSES[k] for k in best])


def test_too_many_cells_are_refused_in_one_line(oof: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_CELLS", ROWS * COUNT - 1)
    with pytest.raises(UserError, match="400 rows of 600 classes are too many to be blended"):
        frames.probabilities(oof, CLASSES)
    assert frames.scorable(oof, CLASSES).max(axis=1).min() > 0
