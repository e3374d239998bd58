"""Objectives of a sweep: which number of a trial's outcome, and whether more or less of it is better."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kagglepipe.predictions.metrics import find_metric


@dataclass(frozen=True)
class Objective:
    """measure: key in a trial's outcome. label: its name in logs and tables.

    perfect: best possible value; None if unbounded.
    """

    measure: str
    label: str
    greater_is_better: bool
    perfect: float | None = None

    @property
    def sign(self) -> int:
        """1 if greater is better, else -1."""
        return 1 if self.greater_is_better else -1

    def value(self, outcome: Mapping[str, Any]) -> float:
        """Value in a trial's outcome."""
        return float(outcome[self.measure])


def make_objective(measure: str, metric: str, loss: str = "log loss") -> Objective:
    """Objective for a name in `sweep.objectives`; metric: the competition's. Raises UserError for an unknown metric.

    loss: what `log_loss` is called, which is the squared error of numbers.

    >>> make_objective("score", "log_loss")
    Objective(measure='score', label='log_loss', greater_is_better=False, perfect=0.0)
    """
    if measure == "score":
        found = find_metric(metric)
        return Objective(measure, metric, found.greater_is_better, found.perfect)
    return replace(MEASURES[measure], label=loss) if measure == "log_loss" else MEASURES[measure]


MEASURES = {
    "log_loss": Objective("log_loss", "log loss", False, 0.0),
    "seconds": Objective("seconds", "seconds", False),
    "latency": Objective("latency", "ms an image", False),
}
