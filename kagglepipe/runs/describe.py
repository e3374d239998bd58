"""Scores of a run in words, from its metrics.json."""

import logging
import math
from collections.abc import Mapping
from typing import Any

from kagglepipe.predictions.evaluation import format_summary
from kagglepipe.predictions.uncertainty import TOO_FEW, format_difference, format_interval, format_score, format_two
from kagglepipe.runs.run import Metrics

log = logging.getLogger(__name__)


def log_scores(stage: str, metrics: Metrics) -> None:
    """Log the scores of a run by its own metric, each line after the name of the stage."""
    for line in describe_scores(metrics, metrics["metric"]):
        log.info("%s: %s", stage, line)


def describe_scores(metrics: Metrics, metric: str) -> list[str]:
    """Scores of a run in lines: out of fold, then baselines, then the test with known answers."""
    what = ", frame by frame" if "detection" in metrics else ""
    lines = [f"out of fold{what}: {summary_line(metrics, metric)}"]
    if "choices" in metrics:
        lines.append(describe_choices(metrics["choices"]))
    if "tta" in metrics:
        tta = metrics["tta"]
        gains = [tta[key] for key in ("gain", "metric_gain") if key in tta]
        shown = f", of {metric} ".join(format_difference(*map(or_nan, gain.values())) for gain in gains)
        lines.append(f"mean with {', '.join(tta['views'])}: gain {shown}: {'kept' if tta['is_kept'] else 'not kept'}")
    if "decision" in metrics:
        lines.append(describe_decision(metrics["decision"], metric))
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


def describe_choices(choices: Mapping[str, str]) -> str:
    """Which temporal model was chosen for which folds, in a line. choices: fold -> model.

    >>> describe_choices({"0": "linear mean", "1": "LSTM", "2": "linear mean"})
    'model=auto, chosen for each fold inside its training rows: linear mean (folds 0, 2), LSTM (fold 1)'
    """
    of_model: dict[str, list[str]] = {}
    for fold, name in choices.items():
        of_model.setdefault(name, []).append(fold)
    shown = [f"{name} (fold{'s' * (len(of) > 1)} {', '.join(of)})" for name, of in of_model.items()]
    return f"model=auto, chosen for each fold inside its training rows: {', '.join(shown)}"


DECIDED = {  # kind of the map -> what was fitted
    "tags": "thresholds of the tags",
    "cut_points": "cut points",
    "classes": "cut points",
    "rounded": "cut points",
    "numbers": "range and rounding",
}


def describe_decision(decision: Mapping[str, Any], metric: str) -> str:
    """Gain of a fitted decision over the plain one, in a line."""
    what, gain = DECIDED[decision["map"]["kind"]], {name: or_nan(value) for name, value in decision["gain"].items()}
    shown = format_difference(gain["value"], gain["low"], gain["high"])
    return f"{what} fitted on other folds: gain {shown} of {metric}: {'kept' if decision['is_fitted'] else 'not kept'}"


PLAIN = {
    "tags": "thresholds of 0.5",
    "classes": "the most probable class",
    "rounded": "the class nearest to the expected one",
    "numbers": "numbers as they are",
}


def describe_plain(metrics: Mapping[str, Any]) -> str:
    """What the score of a fold is of, where that of the run may be of a decision fitted on other folds; else empty."""
    return f", by {PLAIN[metrics['decision']['map']['kind']]}" if "decision" in metrics else ""


def describe_pseudo_labels(gain: dict[str, Any]) -> str:
    """Gain of a run over the teacher of its pseudo-labels, in a line."""
    low, high = map(or_nan, gain["interval"])
    measure = "log loss" if gain["measure"] == "log_loss" else gain["measure"]
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
    value = f"{or_nan(gain['gain']):+z.4f}{between} {measure}"
    return f"gain of pseudo-labels: {value} over {gain['teacher']}: {result}{stays}"


def describe_comparisons(metrics: Metrics, metric: str) -> list[str]:
    """Baselines of video or series in lines, with the score on random folds."""
    if "linear" not in metrics:
        return []
    linear, random_split, constant = metrics["linear"], metrics["linear_random_split"], metrics["constant"]
    random, grouped = format_two(or_nan(random_split["score"]), or_nan(linear["score"]), most=4)
    return [
        f"baseline, always {constant['class']}: {briefly(constant, metric)}{of_segments(constant)}",
        f"baseline, linear on mean over time with differences: {briefly(linear, metric)}{of_segments(linear)}; "
        f"{describe_gain(metrics)} by group",
        f"the same baseline on random folds, which split groups: {random}"
        + (" too" if random == grouped else f", not {grouped}"),
    ]


def describe_gain(metrics: Metrics) -> str:
    """Gain of a run over the linear baseline: in accuracy or, of tags and numbers, in mean loss."""
    if "loss_under_linear" in metrics:
        gain = metrics["loss_under_linear"]
        what = f"this run's mean {gain['loss']} is less by"
    else:
        gain, what = metrics["accuracy_over_linear"], "this run's accuracy is"
    low, high = map(or_nan, gain["interval"])
    return f"{what} {format_difference(or_nan(gain['difference']), low, high, gain['p'])}"


def of_segments(metrics: Mapping[str, Any]) -> str:
    """Scores of segments of a baseline; empty without segments."""
    if "detection" not in metrics:
        return ""
    scores = {key: format_score(or_nan(value), 3) for key, value in metrics["detection"]["scores"].items()}
    if "event_ap" in scores:
        return f", events: average precision {scores['event_ap']}"
    return f", segments: F1@50 {scores['f1_50']}, mAP {scores['map_30']} at tIoU 0.3, {scores['map_50']} at 0.5"


def describe_detection(detection: dict[str, Any]) -> list[str]:
    """Scores of segments or events in lines."""
    if "event_ap" in detection["scores"]:
        return describe_events(detection)
    scores, intervals = detection["scores"], detection["intervals"]

    def one(name: str, key: str) -> str:
        between = format_interval(*map(or_nan, intervals[key]), digits=3)
        return f"{name} {format_score(or_nan(scores[key]), 3)} ({between})"

    lines = [
        "segments, settings chosen on other folds: "
        + ", ".join(one(f"F1@{n}", f"f1_{n}") for n in (10, 25, 50))
        + f", {one('edit', 'edit')}",
        "segments, mean average precision: "
        + ", ".join(one(f"at tIoU 0.{n}", f"map_{n}0") for n in (3, 5, 7))
        + f", {one('ActivityNet', 'map_activitynet')}; of frames "
        + format_score(or_nan(detection["frame_average_precision"]), 3),
    ]
    if "test" in detection:
        known = {key: format_score(or_nan(value), 3) for key, value in detection["test"].items()}
        lines.append(
            f"segments of the test, by known answers: F1@50 {known['f1_50']}, edit {known['edit']}, "
            f"mAP at tIoU 0.5 {known['map_50']}"
        )
    return lines


def describe_events(detection: dict[str, Any]) -> list[str]:
    """Scores of events in lines."""
    scores, between = detection["scores"], format_interval(*map(or_nan, detection["intervals"]["event_ap"]), digits=3)
    each = ", ".join(
        f"{format_score(or_nan(value), 3)} within {name.removeprefix('event_ap_')}"
        for name, value in scores.items()
        if name != "event_ap"
    )
    lines = [
        "events, settings chosen on other folds: average precision "
        f"{format_score(or_nan(scores['event_ap']), 3)} ({between}): {each}; of frames "
        + format_score(or_nan(detection["frame_average_precision"]), 3)
    ]
    if "test" in detection:
        known = format_score(or_nan(detection["test"]["event_ap"]), 3)
        lines.append(f"events of the test, by known answers: average precision {known}")
    return lines


def or_nan(value: Any) -> Any:
    """Convert null of JSON to NaN."""
    return float("nan") if value is None else value


def summary_line(summary: Mapping[str, Any], metric: str) -> str:
    """Format a summary of metrics.json in one line."""
    numbers = {key: or_nan(value) for key, value in summary.items()}
    numbers["interval"] = tuple(map(or_nan, summary["interval"]))
    return format_summary(numbers, metric)  # type: ignore[arg-type]


def briefly(summary: Mapping[str, Any], metric: str) -> str:
    """`summary_line` without the scores of folds."""
    return summary_line(summary, metric).split(", folds")[0]
