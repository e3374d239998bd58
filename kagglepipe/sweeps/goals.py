"""What a sweep is after: which numbers of a trial, and whether more or less of them is better."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kagglepipe.predictions.metrics import find_metric


@dataclass(frozen=True)
class Goal:
    """measure: which number of a trial's outcome. label: as it is told. greater_is_better: of it.

    perfect: its best possible value; None where it has none that says anything.
    """

    measure: str
    label: str
    greater_is_better: bool
    perfect: float | None = None

    @property
    def sign(self) -> int:
        """What makes more of it better."""
        return 1 if self.greater_is_better else -1

    def of(self, outcome: Mapping[str, Any]) -> float:
        """Its value in a trial's outcome."""
        return float(outcome[self.measure])


def goal_of(measure: str, metric: str) -> Goal:
    """The goal behind a name of `sweep.objectives`; metric: the competition's. Raises UserError for an unknown metric.

    >>> goal_of("score", "log_loss")
    Goal(measure='score', label='log_loss', greater_is_better=False, perfect=0.0)
    """
    if measure == "score":
        greater = find_metric(metric).greater_is_better
        return Goal(measure, metric, greater, 1.0 if greater else 0.0)  # every metric that is to grow ends at 1
    return MEASURES[measure]


MEASURES = {
    "log_loss": Goal("log_loss", "log loss", False, 0.0),
    "seconds": Goal("seconds", "seconds", False),
    "latency": Goal("latency", "ms an image", False),
}
