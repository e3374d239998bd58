"""Answers of readers, pseudo-labels and comparisons of tags and numbers."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kagglepipe.competitions.tag_folds import hidden_rows
from kagglepipe.predictions.answer_text import answer_texts
from kagglepipe.predictions.frame import oof_frame
from kagglepipe.predictions.metrics import find_metric
from kagglepipe.predictions.paired import compare
from kagglepipe.predictions.tasks import NUMBERS, TAGS
from kagglepipe.runs.pseudo_labels import sure_tags
from kagglepipe.tools.runs import describe_comparison

IDS = [f"item {number:02}" for number in range(30)]
FOLDS = np.arange(30) % 5


def test_answers_of_tags_and_numbers_as_text() -> None:
    decided = np.array([[0.5, 0.49], [0.9, 0.6], [0.1, 0.2]])
    assert answer_texts(decided, ["rust", "scab"], TAGS, " ") == ["rust", "rust scab", ""]
    assert answer_texts(np.array([[12.5], [-3.0]]), ["age"], NUMBERS) == ["12.5", "-3"]
    assert answer_texts(np.array([[12.5, 1]]), ["x", "y"], NUMBERS, " ") == ["12.5|1"]  # a separator is of tags


def test_two_runs_of_numbers_differ_in_squared_error_and_metric() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(50, 10, 30)
    targets = [repr(float(value)) for value in truth]
    near, far = (
        oof_frame(IDS, FOLDS, targets, (truth + sigma * random.normal(size=30))[:, None], ["age"], "regression")
        for sigma in (1, 10)
    )
    found = compare(near.sample(frac=1, random_state=0), far, metric="rmse")
    errors = [(frame["age"].to_numpy() - truth) ** 2 for frame in (near, far)]
    assert found.log_loss.value == pytest.approx(errors[0].mean() - errors[1].mean())
    assert found.score is not None
    assert found.score.value == pytest.approx(np.sqrt(errors[1].mean()) - np.sqrt(errors[0].mean()))
    assert (found.right, found.accuracy, found.differing) == (None, None, None)
    back = compare(far, near, metric="rmse")
    assert (back.log_loss.value, back.log_loss.p) == pytest.approx((-found.log_loss.value, found.log_loss.p))
    lines = describe_comparison(found, "rmse")
    assert lines[0].startswith("gain of a over b in rmse, before decisions are fitted: +")
    assert lines[1].startswith("difference in squared error (a - b): -")
    assert lines[2] == "significant: squared error, unless these two were selected from many"


def test_two_runs_of_tags_differ_in_log_loss_and_metric() -> None:
    random = np.random.default_rng(1)
    truth = random.random((30, 2)) < 0.5
    targets = ["|".join(np.array(["rust", "scab"])[row]) for row in truth]
    right = np.where(truth, 0.9, 0.1)
    one, other = (oof_frame(IDS, FOLDS, targets, probs, ["rust", "scab"], "multilabel") for probs in (right, 1 - right))
    found = compare(one, other, metric="f1_samples")
    assert found.log_loss.value == pytest.approx(-np.log(0.9) + np.log(0.1))
    assert found.score is not None
    scores = [find_metric("f1_samples").function(probs, truth) for probs in (right, 1 - right)]  # some rows lack tags
    assert found.score.value == pytest.approx(scores[0] - scores[1])
    assert found.right is None
    assert compare(one, one).log_loss.p == 1


@pytest.mark.parametrize(
    ("targets", "sure"), [(["rust", "rust|scab"], [True, False, False]), (["rust", ""], [True, False, True])]
)
def test_pseudo_labels_are_tags_of_which_all_are_sure(targets: list[str], sure: list[bool]) -> None:
    """A row without a tag is labelled only where some labelled rows have none."""
    dataset: Any = SimpleNamespace(classes=["rust", "scab"], train=pd.DataFrame({"target": targets}))
    probs = np.array([[0.95, 0.97], [0.95, 0.6], [0.01, 0.02]])
    names, is_sure = sure_tags(probs, dataset, 0.9)
    assert names.tolist() == ["rust|scab", "rust|scab", ""]
    assert is_sure.tolist() == sure


def test_hidden_rows_of_numbers_and_tags_are_spread_and_whole_groups() -> None:
    targets = [f"{number}.0" for number in range(30)]
    hidden = hidden_rows(IDS, targets, [number // 2 for number in range(30)], task="regression", share=0.5, seed=0)
    assert {id in hidden for id in IDS[::2]} == {True, False}
    assert [id in hidden for id in IDS[::2]] == [id in hidden for id in IDS[1::2]]
    chosen = [float(target) for id, target in zip(IDS, targets, strict=True) if id in hidden]
    assert 10 < np.mean(chosen) < 20
    tags = ["rust", "scab", "rust|scab", "", "scab", "rust"] * 5
    hidden = hidden_rows(IDS, tags, IDS, task="multilabel", share=0.5, seed=0)
    assert len(hidden) == 15
    assert sum("rust" in tag for id, tag in zip(IDS, tags, strict=True) if id in hidden) in (7, 8)
