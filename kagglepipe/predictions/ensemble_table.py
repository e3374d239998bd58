"""The table of an ensemble's candidates, as numbers for metrics.json and as text."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kagglepipe.predictions.crossfit import Candidate
from kagglepipe.predictions.decisions import plain_out_of_fold
from kagglepipe.predictions.evaluation import EvalRows, score_interval
from kagglepipe.predictions.frame import Probs
from kagglepipe.predictions.metrics import find_metric
from kagglepipe.predictions.paired import mcnemar
from kagglepipe.predictions.selection import score_of
from kagglepipe.predictions.tasks import row_losses
from kagglepipe.predictions.uncertainty import TOO_FEW, format_interval, format_score, mean_gains, sign_flip_p


def header(loss: str) -> tuple[str, ...]:
    """Titles of the columns of `table_cells`. loss: of the task."""
    gains = ("over equal weights", "p", "over best run", "p")
    return ("method", "in sample", "cross-fitted", "95 % interval", loss, *gains)


def best_member(singles: Sequence[Candidate], rows: EvalRows) -> int:
    """Number of the member with the best metric, of equal ones the least log loss, on the rows that then score it."""
    sign = find_metric(rows.metric).sign

    def worth(number: int) -> tuple[float, float]:
        losses = row_losses(singles[number].in_sample, rows.truth)
        return sign * score_of(singles[number], rows), -float(losses.mean())

    return max(range(len(singles)), key=worth)


def ensemble_table(
    candidates: Sequence[Candidate], equal: Candidate, best: Candidate, rows: EvalRows
) -> list[dict[str, Any]]:
    """Scores of each candidate, in-sample and cross-fitted, and gains over `equal` weights and the `best` run."""
    over_equal, over_best = (one.cross_fitted(rows.folds) for one in (equal, best))
    table = []
    for one in candidates:
        own = one.cross_fitted(rows.folds)
        answers = plain_out_of_fold(own, rows)
        interval = list(score_interval(rows.metric, answers, rows.truth, rows.groups))
        table.append(
            {
                "method": one.method,
                "in_sample": _scores(one.in_sample, rows),
                "cross_fitted": {**_scores(own, rows), "interval": interval},
                "over_equal_weights": _difference(own, over_equal, rows),
                "over_best_run": _difference(own, over_best, rows),
            }
        )
    return table


def _scores(probs: Probs, rows: EvalRows) -> dict[str, float]:
    losses, answers = row_losses(probs, rows.truth), plain_out_of_fold(probs, rows)
    return {"score": find_metric(rows.metric).function(answers, rows.truth), "log_loss": float(losses.mean())}


def _difference(one: Probs, other: Probs, rows: EvalRows) -> dict[str, Any]:
    """Gain in the loss of the task; of classes and tags also rows that only one has right.

    p: of these by McNemar or, by groups, of sign flips; of numbers of the squared errors.
    """
    gaps = row_losses(other, rows.truth) - row_losses(one, rows.truth)
    gain, hits = mean_gains(gaps[:, None], rows.groups)[0], rows.task.hits
    log_loss = {"gain": gain.value, "interval": [gain.low, gain.high]}
    if hits is None:
        return {"log_loss": {**log_loss, "p": sign_flip_p(np.bincount(rows.groups, gaps))}, "right": None}
    first, second = (hits(each, rows.truth) == 1 for each in (one, other))
    right = mcnemar(first, second)
    p = right.p
    if int(rows.groups.max()) + 1 < len(rows.groups):
        p = sign_flip_p(np.bincount(rows.groups, first.astype(float) - second))
    return {"log_loss": log_loss, "right": {"only_this": right.only_a, "only_other": right.only_b, "p": p}}


def table_cells(table: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Cells under `header` for each row of `ensemble_table`; gains are cross-fitted intervals of the loss."""
    lines: list[tuple[str, ...]] = []
    for row in table:
        out = row["cross_fitted"]
        scores = *map(format_score, (row["in_sample"]["score"], out["score"])), format_interval(*out["interval"])
        gains = *_gain_cells(row["over_equal_weights"]), *_gain_cells(row["over_best_run"])
        lines.append((row["method"], *scores, f"{out['log_loss']:z.4f}", *gains))
    return lines


def _gain_cells(difference: dict[str, Any]) -> tuple[str, str]:
    """Interval of the gain, and p; empty where a candidate is compared with itself."""
    gain = difference["log_loss"]
    p = (difference["right"] or gain)["p"]
    low, high = gain["interval"]
    if gain["gain"] == low == high == 0:
        return "", ""
    shown = f"{gain['gain']:+z.4f}, {TOO_FEW}" if math.isnan(low) else format_interval(low, high, signed=True)
    return shown, f"{p:.2g}"
