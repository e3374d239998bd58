"""Scores of a run: computed, in metrics.json, and as lines of text."""

import math
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.files import sha256
from kagglepipe.options import CompetitionOptions
from kagglepipe.predictions.baseline import constant_baseline, metadata_baseline
from kagglepipe.predictions.frame import labels, probabilities
from kagglepipe.predictions.metrics import EvalRows, format_summary, summarise
from kagglepipe.predictions.paired import paired_difference
from kagglepipe.predictions.uncertainty import (
    TOO_FEW,
    format_difference,
    format_interval,
    format_score,
    format_two,
)
from kagglepipe.segments.metrics import (
    frame_average_precision,
    group_intervals,
    segment_scorer,
    segment_scores,
)
from kagglepipe.segments.postprocess import (
    DetectionSettings,
    FrameProbs,
    cross_fit,
    detect_segments,
    settings_grid,
)
from kagglepipe.sequences.grid import frame_labels


def scores_of(
    oof: pd.DataFrame,
    competition: CompetitionOptions,
    classes: list[str],
    groups: "pd.Series[Any]",
    *,
    dataset: Dataset | None = None,
) -> dict[str, Any]:
    """Metrics of out-of-fold predictions; with a dataset of long videos also those of the segments found in them.

    groups: id -> group. Intervals are by group: near-duplicates, or clips of one source, are not independent.
    """
    metric = competition.metric
    scores: dict[str, Any] = {"metric": metric, **summarise(metric, oof, classes, groups)}
    if dataset is not None and competition.finds_segments:
        scores |= detection_scores(competition, dataset, oof)
    return scores


def rows_of(dataset: Dataset, metric: str) -> EvalRows:
    """The labelled rows as integers: class, fold and group, (N,) each."""
    train = dataset.train
    truth = np.asarray(pd.Index(dataset.classes).get_indexer(pd.Index(train["target"])), dtype=np.intp)
    folds, groups = (np.unique(train[name].to_numpy(), return_inverse=True)[1] for name in ("fold", "group"))
    return EvalRows(truth, folds, groups, metric)


def is_scored(metrics: dict[str, Any], competition: CompetitionOptions, dataset: Dataset) -> bool:
    """Whether metrics.json holds the competition's metrics, with intervals by the present groups.

    Versions that did not record the groups count as scored by them.
    """
    chosen_by = metrics["detection"]["chosen_by"] if "detection" in metrics else competition.segment_metric
    if (metrics["metric"], chosen_by) != (competition.metric, competition.segment_metric):
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
    if linear is None:
        return {"baseline": scores_of(metadata_baseline(train, classes), competition, classes, groups)}
    frame, random = linear
    ids = frame["id"]
    ours = oof.set_index("id").loc[ids].reset_index()
    over = paired_difference(is_right(ours, classes), is_right(frame, classes), groups[ids].tolist())
    score = partial(scores_of, competition=competition, classes=classes, groups=groups)
    constant = score(constant_baseline(train, classes), dataset=dataset)
    return {
        "constant": {"class": train["target"].mode()[0], **constant},
        "linear": score(frame, dataset=dataset),
        "linear_random_split": score(random),
        "accuracy_over_linear": {"difference": over.value, "interval": list(over.interval), "p": over.p},
    }


def is_right(frame: pd.DataFrame, classes: list[str]) -> NDArray[np.float64]:
    """1.0 where the most probable class is the target, (N,)."""
    return (probabilities(frame, classes).argmax(axis=1) == labels(frame, classes)).astype(float)


# --- segments --------------------------------------------------------------------------------------------------


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


def true_classes(rows: pd.DataFrame, segments: pd.DataFrame, background: str | None) -> "pd.Series[Any]":
    """True classes, by id, of the frames in `rows`, from the segments of their videos."""
    of_video = dict(iter(segments.groupby("video")))
    found = [
        pd.Series(frame_labels(own["start"].to_numpy(), of_video.get(video, segments[:0]), background), own["id"])
        for video, own in rows.sort_values(["video", "position"]).groupby("video")
    ]
    return pd.concat(found)


def timelines_of(rows: pd.DataFrame, frame: pd.DataFrame, classes: list[str], rate: float) -> dict[str, FrameProbs]:
    """Probabilities (T, C), by video, of its frames, from predictions for `rows` at `rate` frames a second."""
    probs = frame.set_index("id")
    return {
        str(video): FrameProbs(own["start"].to_numpy(), 1 / rate, probs.loc[own["id"], classes].to_numpy(np.float64))
        for video, own in rows.sort_values(["video", "position"]).groupby("video")
    }


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


# --- in words --------------------------------------------------------------------------------------------------


def describe_scores(metrics: dict[str, Any], metric: str) -> list[str]:
    """Scores of a run in lines: out of fold, then baselines, then the test with known answers."""
    what = ", frame by frame" if "detection" in metrics else ""
    lines = [f"out of fold{what}: {summary_line(metrics, metric)}"]
    if "baseline" in metrics:
        baseline = briefly(metrics["baseline"], metric)
        lines.append(f"baseline of image size, format and file length: {baseline}")
    lines += describe_comparisons(metrics, metric)
    if "detection" in metrics:
        lines += describe_detection(metrics["detection"])
    if "over_teacher" in metrics:
        lines.append(describe_pseudo_labels(metrics["over_teacher"]))
    if "test" in metrics:
        lines.append(f"test{what}, by known answers: {briefly(metrics['test'], metric)}")
    if "test_without_twins" in metrics:
        twins = metrics["test"]["rows"] - metrics["test_without_twins"]["rows"]
        score = briefly(metrics["test_without_twins"], metric)
        lines.append(f"test without the {twins} near-duplicates of training images: {score}")
    return lines


def describe_pseudo_labels(gain: dict[str, Any]) -> str:
    """Gain of a run over the teacher of its pseudo-labels, in a line."""
    low, high = map(number, gain["interval"])
    measure = "ROC AUC" if gain["measure"] == "roc_auc" else "log loss"
    if gain["is_kept"]:
        result = "kept"
    elif high < 0:
        result = "significantly worse"
    elif low > 0:
        result = "not robust: no gain with smoothed labels"
    else:
        result = TOO_FEW if math.isnan(low) else "not significant"
    between = "" if math.isnan(low) else f" ({format_interval(low, high, signed=True)})"
    stays = "" if gain["is_kept"] else f"; {gain['teacher']} is submitted"
    return (
        f"gain of pseudo-labels: {number(gain['gain']):+.4f}{between} {measure} over {gain['teacher']}: {result}{stays}"
    )


def describe_comparisons(metrics: dict[str, Any], metric: str) -> list[str]:
    """Baselines of video or series in lines, with the score on random folds."""
    if "linear" not in metrics:
        return []
    linear, random_split, gain = metrics["linear"], metrics["linear_random_split"], metrics["accuracy_over_linear"]
    constant, (low, high) = metrics["constant"], map(number, gain["interval"])
    random, grouped = format_two(number(random_split["score"]), number(linear["score"]), most=4)
    return [
        f"baseline, always {constant['class']}: {briefly(constant, metric)}{of_segments(constant)}",
        f"baseline, linear on mean over time with differences: {briefly(linear, metric)}{of_segments(linear)}; "
        f"this run's accuracy is {format_difference(gain['difference'], low, high, gain['p'])} by group",
        f"the same baseline on random folds, which split groups: {random}"
        + (" too" if random == grouped else f", not {grouped}"),
    ]


def of_segments(metrics: dict[str, Any]) -> str:
    """Scores of segments of a baseline; empty without segments."""
    if "detection" not in metrics:
        return ""
    scores = {key: format_score(number(value), 3) for key, value in metrics["detection"]["scores"].items()}
    return f", segments: F1@50 {scores['f1_50']}, mAP {scores['map_30']} at tIoU 0.3, {scores['map_50']} at 0.5"


def describe_detection(detection: dict[str, Any]) -> list[str]:
    """Scores of segments in lines."""
    scores, intervals = detection["scores"], detection["intervals"]

    def one(name: str, key: str) -> str:
        between = format_interval(*map(number, intervals[key]), digits=3)
        return f"{name} {format_score(number(scores[key]), 3)} ({between})"

    lines = [
        "segments, settings chosen on other folds: "
        + ", ".join(one(f"F1@{n}", f"f1_{n}") for n in (10, 25, 50))
        + f", {one('edit', 'edit')}",
        "segments, mean average precision: "
        + ", ".join(one(f"at tIoU 0.{n}", f"map_{n}0") for n in (3, 5, 7))
        + f", {one('ActivityNet', 'map_activitynet')}; of frames "
        + format_score(number(detection["frame_average_precision"]), 3),
    ]
    if "test" in detection:
        known = {key: format_score(number(value), 3) for key, value in detection["test"].items()}
        lines.append(
            f"segments of the test, by known answers: F1@50 {known['f1_50']}, edit {known['edit']}, "
            f"mAP at tIoU 0.5 {known['map_50']}"
        )
    return lines


def number(value: Any) -> Any:
    """Convert null of JSON to NaN."""
    return float("nan") if value is None else value


def summary_line(summary: dict[str, Any], metric: str) -> str:
    """A summary of metrics.json in one line."""
    numbers = {key: number(value) for key, value in summary.items()}
    numbers["interval"] = tuple(map(number, summary["interval"]))
    return format_summary(numbers, metric)  # type: ignore[arg-type]


def briefly(summary: dict[str, Any], metric: str) -> str:
    """`summary_line` without the scores of folds."""
    return summary_line(summary, metric).split(", folds")[0]
