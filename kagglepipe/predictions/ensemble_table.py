"""What the candidates of an ensemble are worth, in numbers for metrics.json and in lines for people."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kagglepipe.predictions.crossfit import Candidate, EvalRows, score_of
from kagglepipe.predictions.frame import Probs
from kagglepipe.predictions.metrics import find_metric, row_losses, score_interval
from kagglepipe.predictions.paired import mcnemar
from kagglepipe.predictions.uncertainty import TOO_FEW, format_interval, format_score, mean_gains, sign_flip_p


def best_member(singles: Sequence[Candidate], rows: EvalRows) -> int:
    """Which member is the best by the metric, of equal ones by log loss. Chosen by the rows that then score it."""
    sign = 1 if find_metric(rows.metric).greater_is_better else -1

    def worth(number: int) -> tuple[float, float]:
        losses = row_losses(singles[number].in_sample, rows.truth)
        return sign * score_of(singles[number], rows), -float(losses.mean())

    return max(range(len(singles)), key=worth)


def compare(candidates: Sequence[Candidate], equal: Candidate, best: Candidate, rows: EvalRows) -> list[dict[str, Any]]:
    """A row for each candidate: in-sample and cross-fitted score and log loss, and what it gains over two others.

    equal: the blend with equal weights. best: the best member.
    """
    probs = [one.cross_fitted(rows.folds) for one in candidates]
    against = [one.cross_fitted(rows.folds) for one in (equal, best)]

    def interval(own: Probs) -> list[float]:
        return list(score_interval(rows.metric, own, rows.truth, rows.groups))

    return [
        {
            "method": one.method,
            "in_sample": _scores(one.in_sample, rows),
            "cross_fitted": {**_scores(own, rows), "interval": interval(own)},
            "over_equal_weights": _difference(own, against[0], rows),
            "over_best_run": _difference(own, against[1], rows),
        }
        for one, own in zip(candidates, probs, strict=True)
    ]


def _scores(probs: Probs, rows: EvalRows) -> dict[str, float]:
    losses = row_losses(probs, rows.truth)
    return {"score": find_metric(rows.metric).function(probs, rows.truth), "log_loss": float(losses.mean())}


def _difference(one: Probs, other: Probs, rows: EvalRows) -> dict[str, Any]:
    """The gain in log loss, and in how many rows each is right where the other is wrong; p by changing whole groups.

    Where each row is a group of its own, that is McNemar's exact test.
    """
    gain = mean_gains((row_losses(other, rows.truth) - row_losses(one, rows.truth))[:, None], rows.groups)[0]
    first, second = (each.argmax(axis=1) == rows.truth for each in (one, other))
    right = mcnemar(first, second)
    p = right.p
    if int(rows.groups.max()) + 1 < len(rows.groups):
        p = sign_flip_p(np.bincount(rows.groups, first.astype(float) - second))
    log_loss = {"gain": gain.value, "interval": [gain.low, gain.high]}
    return {"log_loss": log_loss, "right": {"only_this": right.only_a, "only_other": right.only_b, "p": p}}


HEADER = (
    "method", "in sample", "cross-fitted", "95 % interval", "log loss", "over equal weights", "p", "over best run", "p",
)  # fmt: skip


def cells(table: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """What stands under HEADER, a line for each row of `compare`; gains are intervals of log loss, cross-fitted."""
    lines: list[tuple[str, ...]] = []
    for row in table:
        out = row["cross_fitted"]
        scores = *map(format_score, (row["in_sample"]["score"], out["score"])), format_interval(*out["interval"])
        gains = *_told(row["over_equal_weights"]), *_told(row["over_best_run"])
        lines.append((row["method"], *scores, f"{out['log_loss']:.4f}", *gains))
    return lines


def _told(difference: dict[str, Any]) -> tuple[str, str]:
    """A difference in two cells; nothing where a candidate is held against itself."""
    gain, right = difference["log_loss"], difference["right"]
    low, high = gain["interval"]
    if gain["gain"] == low == high == 0:
        return "", ""
    told = f"{gain['gain']:+.4f}, {TOO_FEW}" if math.isnan(low) else format_interval(low, high, signed=True)
    return told, f"{right['p']:.2g}"
