"""The decision of a fold, which is fitted on nothing, and what its line says of it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.files import write_json, write_parquet
from kagglepipe.options import CompetitionOptions
from kagglepipe.predictions.decisions import plain_out_of_fold
from kagglepipe.predictions.frame import oof_frame, test_frame
from kagglepipe.runs import scores as module
from kagglepipe.runs.decision import decide, decide_plainly, readable_answers
from kagglepipe.runs.describe import describe_plain
from kagglepipe.runs.run import Run
from kagglepipe.runs.scores import rows_of, scores_of

CASES = {  # task -> classes, metric, targets, predictions, decided predictions, what the line says
    "multilabel": (
        ["rust", "scab"], "f1_samples", ["rust", "rust|scab"], [[0.3, 0.2], [0.4, 0.9]], [[0.5, 0.2], [0.4, 0.9]],
        ", by thresholds of 0.5",
    ),
    "ordinal": (
        ["0", "1", "2"], "quadratic_weighted_kappa", ["0", "2"], [[0.6, 0.4, 0], [0.4, 0.2, 0.4]],
        [[1, 0, 0], [0, 1, 0]], ", by the class nearest to the expected one",
    ),
    "regression": (["value"], "rmse", ["1", "3"], [[-2.0], [7.0]], [[0.0], [7.0]], ", by numbers as they are"),
}  # fmt: skip


@pytest.mark.parametrize("task", CASES)
def test_a_fold_is_scored_by_the_plain_decision_and_says_so(task: str) -> None:
    """Each row has a tag where all others have, and no number is below 0 where none is, as before a fit of the run."""
    classes, metric, targets, given, decided, said = CASES[task]
    ids, of_fold = ["a", "b", "c", "d"], [0, 0, 1, 1]
    table = pd.DataFrame({"id": ids, "split": "train", "target": [*targets, *targets], "group": ids})
    folds = pd.DataFrame({"id": ids, "fold": of_fold})
    dataset = Dataset(table, folds, classes, Path(), "", "", task=task)
    competition = CompetitionOptions(task=task, metric=metric)
    frame = oof_frame(["a", "b"], 0, targets, np.array(given), classes, task)
    answers, decision = decide_plainly(competition, dataset, frame)
    np.testing.assert_allclose(answers[classes], decided)
    scores = scores_of(frame, competition, classes, table.set_index("id")["group"], decided=(answers, decision))
    assert describe_plain(scores) == said
    assert scores["log_loss"] == scores_of(frame, competition, classes, table.set_index("id")["group"])["log_loss"]


def test_the_log_loss_of_the_test_is_of_the_predictions_as_that_out_of_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    """The score is of the answers, which have the probability 1 of a class."""
    ids, classes, probs = (
        ["e", "f", "g"],
        ["0", "1", "2"],
        np.array([[0.6, 0.3, 0.1], [0.3, 0.2, 0.5], [0.1, 0.1, 0.8]]),
    )
    table = pd.DataFrame({"id": ids, "split": "test", "target": None, "group": ids})
    dataset = Dataset(table, pd.DataFrame({"id": ids, "fold": -1}), classes, Path(), "", "", task="ordinal")
    monkeypatch.setattr(module, "read_answers", lambda *_: dict(zip(ids, ["0", "2", "2"], strict=True)))
    competition = CompetitionOptions(task="ordinal", metric="quadratic_weighted_kappa")
    decided = {"decision": {"map": {"kind": "rounded"}, "is_fitted": False}}
    found = module.row_test_scores(decided, competition, dataset, test_frame(ids, probs, classes, "ordinal"))["test"]
    assert found["log_loss"] == pytest.approx(sklearn.metrics.log_loss([0, 2, 2], probs, labels=[0, 1, 2]))
    kappa = sklearn.metrics.cohen_kappa_score([0, 2, 2], [0, 1, 2], weights="quadratic")
    assert (found["correct"], found["score"]) == (2, pytest.approx(kappa))


@pytest.mark.parametrize(
    ("task", "metric", "classes", "own", "others", "given", "decided"),
    [
        ("multilabel", "f1_samples", ["a", "b"], ["", ""], ["a", "b"], [0.2, 0.3], [0.2, 0.5]),
        ("multilabel", "f1_samples", ["a", "b"], ["a", "b"], ["", "b"], [0.2, 0.3], [0.2, 0.3]),
        ("regression", "rmse", ["value"], ["-1", "2"], ["1", "3"], [-2.0], [0.0]),
        ("regression", "rmse", ["value"], ["1", "2"], ["-1", "3"], [-2.0], [-2.0]),
    ],
)
@pytest.mark.parametrize("alone", [True, False])
def test_a_row_is_decided_by_the_truth_of_other_folds_alone(
    task: str, metric: str, classes: list[str], own: list[str], others: list[str], given: list[float],
    decided: list[float], alone: bool,
) -> None:  # fmt: skip
    """Of two folds, both the rows of one and the frame of one fold; the map for the test knows all rows."""
    ids, of_fold, targets = ["a", "b", "c", "d"], [0, 0, 1, 1], [*own, *others]
    table = pd.DataFrame({"id": ids, "split": "train", "target": targets, "group": ids})
    dataset = Dataset(table, pd.DataFrame({"id": ids, "fold": of_fold}), classes, Path(), "", "", task=task)
    competition = CompetitionOptions(task=task, metric=metric)
    frame = oof_frame(ids, of_fold, targets, np.array([given] * 4), classes, task)
    answers, entry = (decide_plainly if alone else decide)(competition, dataset, frame[:2] if alone else frame)
    np.testing.assert_allclose(answers[classes][:2], [decided] * 2)
    if not alone:
        rows = rows_of(dataset, metric)
        np.testing.assert_allclose(plain_out_of_fold(np.array([given] * 4), rows)[:2], [decided] * 2)
        assert entry is not None
        assert not entry["map"].get("needs_tag")
        assert entry["map"].get("low") in (None, [None]) or entry["is_fitted"]


@pytest.mark.parametrize(("targets", "expected"), [(["rust", "scab"], [0.3, 0.5]), (["rust", ""], [0.3, 0.4])])
def test_readers_get_a_tag_for_each_row_where_all_rows_to_train_on_have_one(
    targets: list[str], expected: list[float], tmp_path: Path
) -> None:
    run, classes = Run(tmp_path), ["rust", "scab"]
    write_parquet(run.oof_file, oof_frame(["a", "b"], 0, targets, np.eye(2), classes, "multilabel"))
    write_json(tmp_path / "fold_0/model.json", {"task": "multilabel"})
    run.save_metrics({"metric": "roc_auc"})
    frame = pd.DataFrame([[0.3, 0.4]], columns=classes).assign(id="new")
    np.testing.assert_allclose(readable_answers(run, frame)[classes], [expected])


def test_what_is_not_decided_says_nothing() -> None:
    table = pd.DataFrame({"id": ["a"], "split": "train", "target": ["x"], "group": ["a"]})
    dataset = Dataset(table, pd.DataFrame({"id": ["a"], "fold": [0]}), ["x", "y"], Path(), "", "")
    frame = oof_frame(["a"], 0, ["x"], np.array([[0.7, 0.3]]), ["x", "y"])
    answers, decision = decide_plainly(CompetitionOptions(metric="f1_macro"), dataset, frame)
    assert answers is frame
    assert decision is None
    assert describe_plain({}) == ""
