"""What the candidates of an ensemble are worth, in numbers for metrics.json and in lines for people."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kagglepipe.predictions.crossfit import Candidate, Rows, score_of
from kagglepipe.predictions.frame import Probs
from kagglepipe.predictions.gains import Gain, mean_gains, metric_interval
from kagglepipe.predictions.metrics import find_metric, wilson
from kagglepipe.predictions.paired import mcnemar, row_losses
from kagglepipe.predictions.segment_metrics import paired_group_test

Floats = npt.NDArray[np.float64]


def best_member(singles: Sequence[Candidate], rows: Rows) -> int:
    """Which member is the best by the metric, of equal ones by log loss. Chosen by the rows that then score it."""
    sign = 1 if find_metric(rows.metric).greater_is_better else -1

    def worth(number: int) -> tuple[float, float]:
        losses = row_losses(singles[number].in_sample, rows.truth)
        return sign * score_of(singles[number], rows), -float(losses.mean())

    return max(range(len(singles)), key=worth)


def compare(
    candidates: Sequence[Candidate], equal: Candidate, best: Candidate, rows: Rows, *, by_group: bool
) -> list[dict[str, Any]]:
    """A row for each candidate: in-sample and cross-fitted score and log loss, and what it gains over two others.

    equal: the blend with equal weights. best: the best member. by_group: whether p-values draw whole groups too.
    """
    losses = [row_losses(one.cross_fitted(rows.folds), rows.truth) for one in candidates]
    against = [row_losses(one.cross_fitted(rows.folds), rows.truth) for one in (equal, best)]
    gaps = [other - own for own in losses for other in against]
    gains = mean_gains(np.stack(gaps, axis=1), rows.groups)
    return [
        {
            "method": one.method,
            "in_sample": _scores(one.in_sample, rows),
            "cross_fitted": {
                **_scores(one.cross_fitted(rows.folds), rows),
                "interval": list(interval(one.cross_fitted(rows.folds), rows, by_group=by_group)),
            },
            "over_equal_weights": _difference(one, equal, gains[2 * number], rows, by_group=by_group),
            "over_best_run": _difference(one, best, gains[2 * number + 1], rows, by_group=by_group),
        }
        for number, one in enumerate(candidates)
    ]


def interval(probs: Probs, rows: Rows, *, by_group: bool) -> tuple[float, float]:
    """The 95 % interval of the metric: Wilson's for accuracy by rows, else by drawing groups."""
    right = probs.argmax(axis=1) == rows.truth
    if rows.metric == "accuracy" and not by_group:
        return wilson(int(right.sum()), len(right))
    if rows.metric in ("accuracy", "log_loss"):
        values = right.astype(float) if rows.metric == "accuracy" else row_losses(probs, rows.truth)
        found = mean_gains(values[:, None], rows.groups)[0]
        return found.low, found.high
    return metric_interval(rows.metric, probs, rows.truth, rows.groups)


def _scores(probs: Probs, rows: Rows) -> dict[str, float]:
    losses = row_losses(probs, rows.truth)
    return {"score": find_metric(rows.metric).function(probs, rows.truth), "log_loss": float(losses.mean())}


def _difference(one: Candidate, other: Candidate, gain: Gain, rows: Rows, *, by_group: bool) -> dict[str, Any]:
    """The gain in log loss, and in how many rows each is right where the other is wrong."""
    first, second = (each.cross_fitted(rows.folds).argmax(axis=1) == rows.truth for each in (one, other))
    right = mcnemar(first, second)
    p = right.p
    if by_group:
        p = paired_group_test(first.astype(float), second.astype(float), rows.groups.tolist())[2]
    log_loss = {"gain": gain.value, "interval": [gain.low, gain.high]}
    return {"log_loss": log_loss, "right": {"only_this": right.only_a, "only_other": right.only_b, "p": p}}


def describe(table: Sequence[dict[str, Any]], metric: str) -> list[str]:
    """The table in lines: a candidate each, under a line that names the columns."""
    header = (
        "method", "in sample", "cross-fitted", "95 % interval", "log loss", "gain on equal weights", "p",
        "gain on best run", "p",
    )  # fmt: skip
    lines = [header]
    for row in table:
        inside, out = row["in_sample"], row["cross_fitted"]
        low, high = out["interval"]
        lines.append(
            (
                row["method"],
                f"{inside['score']:.4f}, {inside['log_loss']:.4f}",
                f"{out['score']:.4f}",
                f"{low:.4f}-{high:.4f}",
                f"{out['log_loss']:.4f}",
                *_told(row["over_equal_weights"]),
                *_told(row["over_best_run"]),
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    told = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return [f"{metric} and log loss; gains are of log loss, cross-fitted; p: of the answers that differ", *told]


def _told(difference: dict[str, Any]) -> tuple[str, str]:
    """A difference in two cells; nothing where a candidate is held against itself."""
    gain, right = difference["log_loss"], difference["right"]
    low, high = gain["interval"]
    if gain["gain"] == low == high == 0:
        return "", ""
    return f"{gain['gain']:+.4f} ({low:+.4f} to {high:+.4f})", f"{right['p']:.2g}"
