"""Known answers of each task, in each form that submissions and tables of labels have."""

import io
from pathlib import Path

import pandas as pd
import pytest

from kagglepipe.errors import UserError
from kagglepipe.options import CompetitionOptions
from kagglepipe.predictions.metric_needs import check_numbers
from kagglepipe.runs.answered_targets import answered_targets, as_classes

CLASSES = {
    "multiclass": ["cat", "dog"],
    "ranking": ["cat", "dog"],
    "ordinal": ["0", "1", "2"],
    "multilabel": ["big cat", "dog"],
    "regression": ["x", "y"],
}


def read(task: str, text: str, **options: str) -> dict[str, str]:
    cells = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False, index_col=0)
    competition = CompetitionOptions(
        task=task, form="name" if task in ("multiclass", "ordinal") else "index", **options
    )
    classes = CLASSES[task] if "," in text.split("\n")[0].removeprefix("id,") or task != "regression" else ["x"]
    found = answered_targets(cells, competition, classes, Path("answers.csv"), may_be_empty=True)
    return {str(id): target for id, target in found.items()}


@pytest.mark.parametrize(
    ("task", "text", "expected"),
    [
        ("multiclass", "id,label\na,dog\nb,\n", {"a": "dog"}),
        ("multiclass", "id,dog,cat\na,1,0\nb,0,1\nc,,\n", {"a": "dog", "b": "cat"}),
        ("multiclass", "id,Usage,label\na,Public,dog\n", {"a": "dog"}),
        ("ranking", "id,label\na,dog\n", {"a": "dog"}),
        ("ordinal", "id,grade\na,2\n", {"a": "2"}),
        ("multilabel", "id,label\na,dog;big cat\nb,\nc,dog\n", {"a": "big cat|dog", "b": "", "c": "dog"}),
        ("multilabel", "id,dog,Big_cat\na,1,1\nb,0.0,0\nc,,\n", {"a": "big cat|dog", "b": ""}),
        ("regression", "id,age\na,12.50\nb,\nc,-3\n", {"a": "12.5", "c": "-3.0"}),
        ("regression", "id,y,x\na,2,1.5\n", {"a": "1.5|2.0"}),
    ],
)
def test_answers_are_read_by_task_and_column(task: str, text: str, expected: dict[str, str]) -> None:
    assert read(task, text, label_separator=";") == expected


def test_answers_in_one_column_go_with_labels_in_several() -> None:
    columns = {"labels": ["big cat", "dog"]}
    competition = CompetitionOptions(task="multilabel", columns=columns, label_separator=",")
    cells = pd.DataFrame({"label": ["dog,big cat"]}, index=["a"], dtype=str)
    found = answered_targets(cells, competition, columns["labels"], Path("answers.csv"), may_be_empty=False)
    assert found.to_dict() == {"a": "big cat|dog"}


@pytest.mark.parametrize(
    ("task", "text", "words"),
    [
        ("multiclass", "id,label\na,cow\n", "has the label cow, which is none of cat, dog"),
        ("multiclass", "id,dog,cat\na,1,1\n", "has 1, 1 in its columns of classes, needs one 1 beside 0"),
        ("multilabel", "id,label\na,cow;dog\n", "column label has the tag cow, which is none of big cat, dog"),
        ("multilabel", "id,dog,big cat\na,1,2\n", "row a, has big cat '2'|row a, has dog '2'|big cat '2'"),
        ("regression", "id,age\na,old\n", "has 'old', competition.task=regression needs a finite number"),
        ("regression", "id,x,z\na,1,2\n", "has one number an item, needed are columns x, y"),
    ],
)
def test_answers_of_another_kind_are_refused_in_one_line(task: str, text: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        read(task, text, label_separator=";")
    assert "\n" not in str(error.value)


def test_answers_of_positions_count_from_the_first_index() -> None:
    for first, cells in ((0, ["0", "1"]), (1, ["1", "2"]), (1, ["cat", "dog"])):
        labels = pd.Series(cells, name="label")
        found = as_classes(labels, CompetitionOptions(form="index", first_index=first), ["cat", "dog"], Path("a.csv"))
        assert found.tolist() == ["cat", "dog"]


def test_answers_that_the_metric_does_not_take_are_refused() -> None:
    words = r"metric=rmsle is of numbers from 0, and there are -2 of b: .*competition\.answers=null goes on"
    with pytest.raises(UserError, match=words):
        read("regression", "id,x,y\na,1,2\nb,1,-2\n", metric="rmsle")


@pytest.mark.parametrize("metric", ["rmsle", "kl_divergence"])
def test_numbers_below_zero_have_no_logarithm(metric: str) -> None:
    competition = CompetitionOptions(task="regression", metric=metric)
    check_numbers(competition, {"a": "0.0|2.0"}, ["x", "y"])
    with pytest.raises(UserError, match=f"{metric} is of numbers from 0, and there are -2 of b: mend them, or type"):
        check_numbers(competition, {"a": "0.0|2.0", "b": "1.0|-2.0"}, ["x", "y"])
    check_numbers(CompetitionOptions(task="regression", metric="rmse"), {"b": "-2.0"}, ["x"])
