"""The scores of a run, as metrics.json keeps them and as they are told."""

from pathlib import Path
from typing import Any

import pandas as pd

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.predictions.metrics import format_summary, summarise
from kagglepipe.stages.places import Prepared


def scores_of(
    oof: pd.DataFrame,
    metric: str,
    classes: list[str],
    groups: "pd.Series[Any]",
    *,
    test: pd.DataFrame | None = None,
    config: Config | None = None,
    prepared: Prepared | None = None,
) -> dict[str, Any]:
    """The summary of an out-of-fold frame; with a test frame whose answers are known, that of the test too."""
    scores: dict[str, Any] = {"metric": metric, **summarise(metric, oof, classes, groups)}
    if test is None or config is None or prepared is None:
        return scores
    answers = read_answers(config, prepared)
    if answers is not None:
        graded = test.assign(fold=0, target=test["id"].map(answers)).dropna(subset=["target"])
        in_train = set(prepared.table.loc[prepared.table.split == "train", "group"])
        group = prepared.table.set_index("id")["group"]
        apart = graded[~graded["id"].map(group).isin(in_train)]
        scores["test"] = summarise(metric, graded, classes, group)
        if 0 < len(apart) < len(graded):
            scores["test_without_twins"] = summarise(metric, apart, classes, group)
    return scores


def read_answers(config: Config, prepared: Prepared) -> "pd.Series[Any] | None":
    """id -> true class of the images to classify, where the competition or `per_class` knows them; else None.

    For scoring only: nothing that is fitted or chosen ever sees them.
    """
    competition = config.competition
    if competition.per_class is not None:
        answers = pd.read_csv(config.data_dir / "answers.csv", dtype=str, keep_default_na=False)
    elif competition.answers is not None:
        path = prepared.images_root / Path(competition.answers).expanduser()
        if not path.exists():
            raise UserError(f"{path} is not there: competition.answers=null goes on without known answers")
        answers = pd.read_csv(path, dtype=str, keep_default_na=False)
        if competition.form == "index":
            answers.iloc[:, 1] = [prepared.classes[int(index)] for index in answers.iloc[:, 1]]
    else:
        return None
    return answers.set_index(answers.columns[0])[answers.columns[1]]


def describe_scores(metrics: dict[str, Any], metric: str) -> list[str]:
    """Lines that tell a run's scores: out of fold, then what metadata alone reaches, then the known test."""
    lines = [f"out of fold: {told(metrics, metric)}"]
    if "baseline" in metrics:
        alone = briefly(metrics["baseline"], metric)
        lines.append(f"for comparison, image size, format and file length alone: {alone}")
    if "test" in metrics:
        lines.append(f"test, answers known: {briefly(metrics['test'], metric)}")
    if "test_without_twins" in metrics:
        twins = metrics["test"]["rows"] - metrics["test_without_twins"]["rows"]
        alone = briefly(metrics["test_without_twins"], metric)
        lines.append(f"test without the {twins} that have a near twin in training: {alone}")
    return lines


def told(summary: dict[str, Any], metric: str) -> str:
    """A summary, as metrics.json keeps it, in one line; what JSON had to write as null was not a number."""
    numbers = {key: float("nan") if value is None else value for key, value in summary.items()}
    numbers["interval"] = tuple(float("nan") if end is None else end for end in summary["interval"])
    return format_summary(numbers, metric)  # type: ignore[arg-type]


def briefly(summary: dict[str, Any], metric: str) -> str:
    """`told` without the folds."""
    return told(summary, metric).split(", folds")[0]
