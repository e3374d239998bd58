"""Scores of the events that a run finds, as metrics.json has them, and the events of its test."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.competitions.event_labels import UNANNOTATED, are_outside, labelled_spans
from kagglepipe.options import CompetitionOptions
from kagglepipe.predictions.evaluation import summarise
from kagglepipe.predictions.frame import labels, probabilities
from kagglepipe.runs.answers import read_segment_answers, true_classes
from kagglepipe.runs.timelines import timelines_of
from kagglepipe.segments.event_metrics import event_scorer
from kagglepipe.segments.events import EventSettings, cross_fit_events, event_grid, pick_events
from kagglepipe.segments.metrics import frame_average_precision, group_intervals


def event_scores(competition: CompetitionOptions, dataset: Dataset, oof: pd.DataFrame) -> dict[str, Any]:
    """Average precision of the events found from out-of-fold probabilities of frames, as `detection_scores`."""
    assert dataset.annotations is not None
    assert dataset.rate is not None
    classes, tolerances = dataset.classes, competition.event_tolerances
    truth = as_events(dataset.annotations)
    timelines = timelines_of(dataset.train, oof, classes, dataset.rate)
    by_video = dataset.train.drop_duplicates("video")
    fold_of, group_of = (dict(zip(by_video["video"], by_video[name], strict=True)) for name in ("fold", "group"))
    grid = event_grid(competition.event_width)
    found = cross_fit_events(timelines, fold_of, truth, classes, competition.background, grid, tolerances)
    scorer = event_scorer(found.events, truth[truth["video"].isin(list(timelines))], tolerances)
    whole = scorer(pd.DataFrame(np.ones((1, len(timelines))), columns=list(timelines)))
    intervals = group_intervals(scorer, group_of)
    precision = frame_average_precision(
        probabilities(oof, classes), labels(oof, classes), background=classes.index(str(competition.background))
    )
    detection = {
        "chosen_by": competition.detection_choice,
        "settings": asdict(found.final),
        "scores": {name: float(values[0]) for name, values in whole.items()},
        "intervals": {name: list(interval) for name, interval in intervals.items()},
        "frame_average_precision": precision,
    }
    return {"detection": detection}


def as_events(annotations: pd.DataFrame) -> pd.DataFrame:
    """Events frame of the labels of `annotations.csv`."""
    labelled = annotations[annotations["label"] != UNANNOTATED]
    return labelled.rename(columns={"start": "time"})[["video", "time", "label"]]


def events_of(dataset: Dataset, frame: pd.DataFrame, background: str | None, settings: EventSettings) -> pd.DataFrame:
    """Events in all test videos, from predictions of their frames."""
    assert dataset.rate is not None
    timelines = timelines_of(dataset.test, frame, dataset.classes, dataset.rate)
    return pick_events(timelines, dataset.classes, background, settings)


def event_test_scores(
    scores: dict[str, Any], competition: CompetitionOptions, dataset: Dataset, test: pd.DataFrame
) -> dict[str, Any]:
    """Add the scores of the test by known answers, with the settings that were chosen out of fold."""
    answers = read_segment_answers(competition, dataset)
    assert answers is not None
    answers = answers[answers["video"].isin(dataset.test["video"])]
    settings = EventSettings(**scores["detection"]["settings"])
    found = events_of(dataset, test, competition.background, settings)
    found = found[~are_outside(found, answers[answers["label"] == UNANNOTATED])]
    videos = dataset.test["video"].unique()
    scored = event_scorer(found, as_events(answers), competition.event_tolerances)
    whole = scored(pd.DataFrame(np.ones((1, len(videos))), columns=videos))
    truth = true_classes(dataset.test, labelled_spans(answers, competition), competition.background)
    graded = test.assign(fold=0, target=test["id"].map(truth))
    graded = graded[graded["target"] != UNANNOTATED]
    return {
        **scores,
        "detection": {**scores["detection"], "test": {name: float(values[0]) for name, values in whole.items()}},
        "test": summarise(competition.metric, graded, dataset.classes, dataset.test.set_index("id")["group"]),
    }
