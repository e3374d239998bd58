"""The decision of a run: thresholds of tags, cut points of an order, range of numbers, chosen out of fold."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.options import CompetitionOptions
from kagglepipe.predictions.blend import apply_map, with_probabilities
from kagglepipe.predictions.decisions import apply_decision, is_decided, plain_decision
from kagglepipe.predictions.evaluation import EvalRows
from kagglepipe.predictions.frame import class_columns, labels, probabilities
from kagglepipe.predictions.own_metric import is_out_of_reach
from kagglepipe.predictions.selection import decided
from kagglepipe.predictions.tasks import TAGS
from kagglepipe.runs.run import Run


def decide(
    competition: CompetitionOptions, dataset: Dataset, oof: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, Any] | None]:
    """(the frame with cross-fitted decisions, entry of metrics.json); the frame itself and None where there are none.

    oof: a row for each labelled row of the dataset. The entry holds the decision for unlabelled rows, whether it was
    fitted, and the cross-fitted gain of fitting over the plain decision, in the metric.
    """
    metric, task = competition.metric, competition.task
    if not has_decision(competition):
        return oof, None
    train = dataset.train.set_index("id").loc[oof["id"]].reset_index()
    folds, groups = (np.unique(train[name].to_numpy(), return_inverse=True)[1] for name in ("fold", "group"))
    rows = EvalRows(dataset.labels(train), folds, groups, metric)
    classes = class_columns(oof)
    choice, gain = decided(probabilities(oof, classes), rows, task)
    answers = with_probabilities(oof, classes, choice.candidate.cross_fitted(folds))
    entry = {"map": choice.candidate.maps[-1][0], "is_fitted": not choice.picks_first, "gain": asdict(gain)}
    return answers, entry


def decide_plainly(
    competition: CompetitionOptions, dataset: Dataset, oof: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, Any] | None]:
    """`decide` without a fit, for a single fold, by the truth of the others, which may not be trained yet."""
    if not has_decision(competition):
        return oof, None
    train, classes = dataset.train, class_columns(oof)
    others = dataset.labels(train[~train["id"].isin(oof["id"])])
    decision = plain_decision(others, competition.task, competition.metric)
    answers = with_probabilities(oof, classes, apply_decision(decision, probabilities(oof, classes)))
    return answers, {"map": decision, "is_fitted": False}


def readable_answers(run: Run, frame: pd.DataFrame) -> pd.DataFrame:
    """`with_decision` for readers: where the metric needs none each row has a tag if all rows to train on have one."""
    if "decision" in run.metrics or run.task is not TAGS or not run.oof_file.exists():
        return with_decision(run.metrics, frame)
    classes, oof = class_columns(frame), run.oof()
    decision = plain_decision(labels(oof, class_columns(oof)), "multilabel", run.metrics["metric"])
    return with_probabilities(frame, classes, apply_map(decision, probabilities(frame, classes)))


def has_decision(competition: CompetitionOptions) -> bool:
    """Whether answers are decided: not where segments are found, nor by a metric whose file is not at hand."""
    metric = competition.metric
    return not (is_out_of_reach(metric) or competition.finds_segments) and is_decided(metric, competition.task)


def with_decision(metrics: Any, frame: pd.DataFrame) -> pd.DataFrame:
    """Apply the decision of a run, from its metrics.json, to a frame of its predictions; without one it stays."""
    decision = metrics.get("decision")
    if decision is None:
        return frame
    classes = class_columns(frame)
    return with_probabilities(frame, classes, apply_map(decision["map"], probabilities(frame, classes)))
