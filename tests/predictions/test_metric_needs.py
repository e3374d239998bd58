"""A metric that does not fit the competition is refused with what to type.

Run with `python -m pytest tests/predictions/test_metric_needs.py`.
"""

import logging
from dataclasses import replace
from typing import Any

import pytest

from kagglepipe.errors import UserError
from kagglepipe.options import CompetitionOptions
from kagglepipe.predictions.evaluation import score
from kagglepipe.predictions.frame import oof_frame
from kagglepipe.predictions.metric_needs import check_metric, check_numbers, form_fault
from kagglepipe.predictions.metrics import METRICS, Metric, Needs
from kagglepipe.runs.expected import log_positive_of_metric


@pytest.mark.parametrize(
    ("metric", "classes", "told"),
    [
        ("f1_binary", 3, "needs 2 classes, there are 3: type competition.metric=f1_micro or f1_macro"),
        ("top_5_accuracy", 5, "needs 6 or more classes, there are 5: type competition.metric=top_3_accuracy"),
        ("top_3_accuracy", 2, "needs 4 or more classes, there are 2: type competition.metric=accuracy or "),
    ],
)
def test_a_metric_of_another_number_of_classes_is_refused(metric: str, classes: int, told: str) -> None:
    options, names = CompetitionOptions(metric=metric), [f"c{k}" for k in range(classes)]
    check_metric(options, None)
    with pytest.raises(UserError, match=f"^competition.metric={metric} {told}"):
        check_metric(options, classes)
    frame = oof_frame(["a"], 0, names[:1], [[1 / classes] * classes], names)
    with pytest.raises(UserError, match=told):
        score(metric, frame, names)


def test_a_metric_of_another_task_is_refused_with_those_of_this(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "rmse", Metric(lambda values, truth: 0.0, Needs("any", tasks=("regression",))))
    told = "rmse is for competition.task=regression, not multiclass: type competition.metric=accuracy or "
    with pytest.raises(UserError, match=told):
        check_metric(CompetitionOptions(metric="rmse"), 2)


@pytest.mark.parametrize(
    ("metric", "ranks", "typed"),
    [
        ("map_5", 2, "competition.ranks=5, or competition.metric=map_2"),
        ("map_10", 5, "competition.ranks=10, or competition.metric=map_5"),
        ("top_5_accuracy", 3, "competition.ranks=5, or competition.metric=top_3_accuracy"),
        ("top_3_accuracy", 1, "competition.ranks=3, or competition.metric=accuracy"),
        ("map_5", 5, None),
        ("map_3", 5, None),
        ("accuracy", 1, None),
    ],
)
@pytest.mark.parametrize("task", ["ranking", "multiclass"])
def test_a_metric_of_more_classes_than_are_submitted_is_refused(
    metric: str, ranks: int, typed: str | None, task: str
) -> None:
    options = CompetitionOptions(task=task, form="ranking", metric=metric, ranks=ranks)
    if typed is None:
        check_metric(options, 20)
        return
    with pytest.raises(UserError, match=f"competition.ranks={ranks} submits fewer: type {typed}$"):
        check_metric(options, 20)
    check_metric(replace(options, form="probabilities"), 20)


def test_votes_that_are_all_0_are_refused_for_kl_divergence_alone() -> None:
    """No shares follow from them."""
    votes = {"a": "3.0|1.0", "b": "0.0|0.0", "c": "0.0|2.0", "d": "0.0|0.0"}
    options = CompetitionOptions(task="regression", form="numbers", metric="kl_divergence")
    with pytest.raises(UserError, match="is of shares, and all numbers of 'b', 'd' are 0: leave such rows out"):
        check_numbers(options, votes, ["seizure", "other"])
    check_numbers(options, {id: votes[id] for id in "ac"}, ["seizure", "other"])
    check_numbers(replace(options, metric="rmse"), votes, ["seizure", "other"])


@pytest.mark.parametrize(
    ("metric", "form", "classes", "typed"),
    [
        ("log_loss", "name", [], "probabilities (of two classes also probability)"),
        ("log_loss#0.01", "index", ["a", "b"], "probability"),
        ("average_precision", "name", ["a", "b", "c"], "probabilities (of two classes also probability)"),
        ("top_3_accuracy", "index", [], "probabilities (of two classes also probability)"),
        ("roc_auc", "probability", [], None),
        ("accuracy", "name", [], None),
        ("mine.py:f#12345678", "name", [], None),
        ("log_loss", "segments", ["a", "b"], None),
        ("log_loss", "ranking", [], "probabilities (of two classes also probability)"),
        ("map_5", "ranking", [], None),
        ("top_3_accuracy", "ranking", [], None),
        ("roc_auc", "tags", ["a", "b"], "probabilities"),
        ("f1_macro", "tags", ["a", "b"], None),
    ],
)
def test_labels_do_not_suit_a_metric_of_probabilities(
    metric: str, form: str, classes: list[str], typed: str | None
) -> None:
    kind = {"kind": "video", "background": "a"} if form == "segments" else {}
    task = "multilabel" if form == "tags" else "multiclass"
    found = form_fault(CompetitionOptions(task=task, metric=metric, form=form, classes=classes, **kind))
    assert found is None if typed is None else f": type competition.form={typed}, or a metric of labels" in str(found)


@pytest.mark.parametrize(
    ("options", "positive", "told"),
    [
        ({"form": "name"}, 1, ["INFO f1_binary is of dog, the second class: competition.classes=[dog,cat] turns it"]),
        (
            {"form": "probability"},
            0,
            ["WARNING f1_binary is of dog, the second class, column cat of cat: competition.classes=[dog,cat] makes"],
        ),
        ({"form": "probability", "classes": ["cat", "dog"]}, 1, []),
        ({"metric": "roc_auc", "form": "probability"}, 0, []),
    ],
)
def test_the_positive_class_of_a_metric_is_told(
    options: dict[str, Any], positive: int, told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    competition = CompetitionOptions(**{"metric": "f1_binary", **options})
    with caplog.at_level(logging.INFO):
        log_positive_of_metric(competition, ["cat", "dog"], {"positive": positive, "target_column": "cat"})
    found = [
        f"{one.levelname} {one.getMessage().removeprefix('prepare: competition.metric=')}" for one in caplog.records
    ]
    assert [line[: len(start)] for line, start in zip(found, told, strict=True)] == told
