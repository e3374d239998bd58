"""What a submission must contain, checked by `prepare`."""

import pytest

from kagglepipe.errors import UserError
from kagglepipe.options import CompetitionOptions
from kagglepipe.runs.expected import check_separator


@pytest.mark.parametrize(
    ("options", "classes", "words"),
    [
        ({"task": "multilabel"}, ["Swan Ganz", "ETT"], "'Swan Ganz': type 'competition.label_separator=,', or rename"),
        ({"form": "ranking"}, ["a, b", "c"], "'a, b': type 'competition.label_separator=;', or rename"),
        ({"task": "multilabel", "label_separator": "a"}, ["a,;|"], r"'a,;\|': rename them, or type competition\.form="),
    ],
)
def test_names_that_hold_the_separator_are_refused_before_training(
    options: dict[str, str], classes: list[str], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        check_separator(CompetitionOptions(**options), classes)


def test_names_of_a_column_each_may_hold_anything() -> None:
    check_separator(CompetitionOptions(task="multilabel", form="probabilities"), ["Swan Ganz", "ETT"])
    check_separator(CompetitionOptions(task="multilabel", label_separator=","), ["Swan Ganz", "ETT"])
    check_separator(CompetitionOptions(form="name"), ["Swan Ganz", "ETT"])
