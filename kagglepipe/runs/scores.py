"""Scores of a run, as metrics.json has them: out of fold, of baselines, of segments, of the test by known answers."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.files import sha256
from kagglepipe.options import CompetitionOptions, is_own_metric
from kagglepipe.predictions.baseline import constant_baseline, metadata_baseline
from kagglepipe.predictions.evaluation import EvalRows, Groups, Summary, summarise
from kagglepipe.predictions.frame import class_columns, labels, probabilities, scorable
from kagglepipe.predictions.metrics import find_metric
from kagglepipe.predictions.own_metric import same_metric
from kagglepipe.predictions.paired import paired_difference
from kagglepipe.predictions.tasks import task_of_truth
from kagglepipe.runs.answers import answers_hash, by_answer, read_answers, read_segment_answers, true_classes
from kagglepipe.runs.decision import decide, with_decision
from kagglepipe.runs.event_scores import event_scores, event_test_scores
from kagglepipe.runs.run import Metrics, Run
from kagglepipe.runs.timelines import timelines_of
from kagglepipe.segments.metrics import frame_average_precision, group_intervals, segment_scorer, segment_scores
from kagglepipe.segments.postprocess import DetectionSettings, cross_fit, detect_segments, settings_grid

TEST_SCORES = ("test", "test_without_twins", "answers_sha256")  # keys of metrics.json


def scores_of(
    oof: pd.DataFrame,
    competition: CompetitionOptions,
    classes: list[str],
    groups: "pd.Series[Any]",
    *,
    dataset: Dataset | None = None,
    decided: tuple[pd.DataFrame, dict[str, Any] | None] | None = None,
) -> dict[str, Any]:
    """Metrics of out-of-fold predictions; with a dataset of long videos also those of the segments found in them.

    groups: id -> group. Intervals are by group: near-duplicates, or clips of one source, are not independent. decided:
    result of `decision.decide`; None: it is chosen here.
    """
    metric = competition.metric
    if decided is None:
        decided = (oof, None) if dataset is None else decide(competition, dataset, oof)
    answers, decision = decided
    scores: dict[str, Any] = {"metric": metric, **_summary(metric, oof, answers, classes, groups)}
    scores |= {} if decision is None else {"decision": decision}
    if is_own_metric(metric):
        scores["greater_is_better"] = find_metric(metric).greater_is_better  # for when its file is not at hand
    if dataset is not None and competition.finds_segments:
        find = event_scores if competition.finds_events else detection_scores
        scores |= find(competition, dataset, oof)
    return scores


def _summary(metric: str, frame: pd.DataFrame, answers: pd.DataFrame, classes: list[str], groups: Groups) -> Summary:
    """`summarise` answers that may be decided; their log loss is that of the predictions, in `frame`."""
    summary = summarise(metric, answers, classes, groups)
    if answers is not frame:
        summary["log_loss"] = summarise(metric, frame, classes, groups)["log_loss"]
    return summary


def rows_of(dataset: Dataset, metric: str) -> EvalRows:
    """Encode the labelled rows as integers: class, fold and group, (N,) each."""
    train = dataset.train
    truth = dataset.labels(train)
    folds, groups = (np.unique(train[name].to_numpy(), return_inverse=True)[1] for name in ("fold", "group"))
    return EvalRows(truth, folds, groups, metric)


def is_scored(metrics: Metrics, competition: CompetitionOptions, dataset: Dataset) -> bool:
    """Whether metrics.json holds the competition's metrics, with intervals by the present groups.

    Versions that did not record the groups count as scored by them.
    """
    chosen_by = metrics["detection"]["chosen_by"] if "detection" in metrics else competition.detection_choice
    if not same_metric(metrics["metric"], competition.metric) or chosen_by != competition.detection_choice:
        return False
    return "groups_sha256" not in metrics or bool(metrics["groups_sha256"] == groups_hash(dataset))


def groups_hash(dataset: Dataset) -> str:
    """Hash of the groups of labelled images, or videos."""
    name = "id" if dataset.items is None else "video"
    rows = dataset.train[[name, "group"]].drop_duplicates().astype(str).sort_values([name, "group"])
    return sha256(*("\0".join(row) for row in rows.itertuples(index=False)))


def baseline_scores(
    competition: CompetitionOptions,
    dataset: Dataset,
    oof: pd.DataFrame,
    linear: tuple[pd.DataFrame, pd.DataFrame] | None,
) -> dict[str, Any]:
    """Scores of baselines on the same rows, by name.

    linear: out-of-fold frames of a linear model on the folds of the dataset and on random ones; None for images.
    """
    train, classes = dataset.train, dataset.classes
    groups = train.set_index("id")["group"]
    score = partial(scores_of, competition=competition, classes=classes, groups=groups)
    if linear is None:  # with a decision of its own, as the run has
        return {"baseline": score(metadata_baseline(train, classes, dataset.task), dataset=dataset)}
    frame, random = linear
    constant = score(constant_baseline(train, classes, dataset.task), dataset=dataset)
    return {
        "constant": {"class": CONSTANT.get(dataset.task) or train["target"].mode()[0], **constant},
        "linear": score(frame, dataset=dataset),
        "linear_random_split": score(random, dataset=None if competition.finds_segments else dataset),
        **over_linear(oof, frame, classes, groups),
    }


CONSTANT = {"multilabel": "the share of each tag", "regression": "the mean"}  # instead of a class


def over_linear(
    oof: pd.DataFrame, linear: pd.DataFrame, classes: list[str], groups: "pd.Series[Any]"
) -> dict[str, Any]:
    """Gain of a run over a linear model with a paired test by group: in accuracy, of tags and numbers in mean loss."""
    ids = linear["id"]
    ours, truth = oof.set_index("id").loc[ids].reset_index(), labels(linear, classes)
    task = task_of_truth(truth)
    own, other = (scorable(frame, classes) for frame in (ours, linear))
    if truth.ndim == 1 and task.hits is not None:
        name, one, two = "accuracy_over_linear", task.hits(own, truth), task.hits(other, truth)
    else:
        name, one, two = "loss_under_linear", task.row_losses(other, truth), task.row_losses(own, truth)
    over = paired_difference(one, two, groups[ids].tolist())
    loss = {"loss": task.loss} if name == "loss_under_linear" else {}
    return {name: {**loss, "difference": over.value, "interval": list(over.interval), "p": over.p}}


# --- segments ----------------------------------------------------------------------------------------------------


def detection_scores(competition: CompetitionOptions, dataset: Dataset, oof: pd.DataFrame) -> dict[str, Any]:
    """Metrics of the segments found from out-of-fold probabilities of frames.

    The post-processing of a video is chosen on the videos of other folds; `settings` are those chosen on all videos,
    for unlabelled ones.
    """
    classes = dataset.classes
    assert dataset.annotations is not None
    assert dataset.rate is not None
    truth = dataset.annotations[dataset.annotations["label"] != competition.background]
    timelines = timelines_of(dataset.train, oof, classes, dataset.rate)
    by_video = dataset.train.drop_duplicates("video")
    grid = settings_grid(1 / dataset.rate, float((truth["end"] - truth["start"]).median()))
    fold_of, group_of = (dict(zip(by_video["video"], by_video[name], strict=True)) for name in ("fold", "group"))
    found = cross_fit(timelines, fold_of, truth, classes, competition.background, grid, competition.segment_metric)
    scores = segment_scores(found.segments, truth, background=competition.background)
    scorer = segment_scorer(found.segments, truth, background=competition.background)
    intervals = group_intervals(scorer, group_of)
    background = classes.index(str(competition.background))
    precision = frame_average_precision(probabilities(oof, classes), labels(oof, classes), background=background)
    detection = {
        "chosen_by": competition.segment_metric,
        "settings": asdict(found.final),
        "scores": scores,
        "intervals": {name: list(interval) for name, interval in intervals.items()},
        "frame_average_precision": precision,
    }
    return {"detection": detection}


def segments_of(
    dataset: Dataset, frame: pd.DataFrame, background: str | None, settings: DetectionSettings
) -> pd.DataFrame:
    """Segments in all test videos, from predictions of their frames."""
    assert dataset.rate is not None
    found = [
        detect_segments(video, line.times, line.step, line.probs, dataset.classes, background, settings)
        for video, line in timelines_of(dataset.test, frame, dataset.classes, dataset.rate).items()
    ]
    return pd.concat(found, ignore_index=True)


# --- the test, by known answers --------------------------------------------------------------------------------


def with_test_scores(
    scores: Mapping[str, Any], competition: CompetitionOptions, dataset: Dataset, test: pd.DataFrame
) -> dict[str, Any]:
    """Add the scores of the test frame by the present answers to the metrics of a run.

    Its `answers_sha256` is their hash; without answers there are neither scores nor hash.
    """
    scores = {name: value for name, value in scores.items() if name not in TEST_SCORES}
    if "detection" in scores:
        scores["detection"] = {name: value for name, value in scores["detection"].items() if name != "test"}
    known = answers_hash(competition, dataset)
    if known is None or test.empty:
        return scores
    add_scores = segment_test_scores if competition.finds_segments else row_test_scores
    if competition.finds_events:
        add_scores = event_test_scores
    return {**add_scores(scores, competition, dataset, test), "answers_sha256": known}


def row_test_scores(
    scores: dict[str, Any], competition: CompetitionOptions, dataset: Dataset, test: pd.DataFrame
) -> dict[str, Any]:
    """`with_test_scores` for items with one answer each."""
    metric, classes = competition.metric, dataset.classes
    answers = read_answers(competition, dataset)
    assert answers is not None
    test = by_answer(dataset, test)
    graded = test.assign(fold=0, target=test["id"].map(answers)).dropna(subset=["target"])
    if graded.empty:  # all answers are of unreadable files
        return scores
    id = "answer_id" if "answer_id" in dataset.test else "id"
    group = dataset.test.drop_duplicates(id).set_index(id)["group"]  # ids of rows to train on may be the same
    without_twins = graded[~graded["id"].map(group).isin(dataset.train["group"])]
    found = {"test": graded} | ({"test_without_twins": without_twins} if 0 < len(without_twins) < len(graded) else {})
    return scores | {
        name: _summary(metric, rows, with_decision(scores, rows), classes, group) for name, rows in found.items()
    }


def segment_test_scores(
    scores: dict[str, Any], competition: CompetitionOptions, dataset: Dataset, test: pd.DataFrame
) -> dict[str, Any]:
    """`with_test_scores` for segments, with the post-processing that was chosen out of fold."""
    classes, background = dataset.classes, competition.background
    answers = read_segment_answers(competition, dataset)
    assert answers is not None
    answers = answers[answers["video"].isin(dataset.test["video"])]
    settings = DetectionSettings(**scores["detection"]["settings"])
    segments = segments_of(dataset, test, background, settings)
    truth = true_classes(dataset.test, answers, background)
    graded = test.assign(fold=0, target=test["id"].map(truth))
    groups = dataset.test.set_index("id")["group"]
    found = segment_scores(segments, answers, background=background)
    return {
        **scores,
        "detection": {**scores["detection"], "test": found},
        "test": summarise(competition.metric, graded, classes, groups),
    }


def score_test_again(competition: CompetitionOptions, dataset: Dataset, run: Run) -> bool:
    """Update the test scores in metrics.json if the known answers have changed.

    Returns whether they had. A run of other files or classes keeps its scores. The file keeps its time.
    """
    metrics = run.metrics
    known = answers_hash(competition, dataset)
    if metrics.get("answers_sha256") == known and (known is not None or "test" not in metrics):
        return False
    if not run.tables <= {dataset.table_hash} or not run.test_file.exists():
        return False
    test = run.test()
    if set(class_columns(test)) != set(dataset.classes) or set(test["id"]) != set(dataset.test["id"]):
        return False
    scores = with_test_scores(metrics, competition, dataset, test)
    made = run.metrics_file.stat()
    run.save_metrics(scores)
    os.utime(run.metrics_file, ns=(made.st_atime_ns, made.st_mtime_ns))
    return scores != metrics
