"""History of a training: the result of each epoch, and which epoch is the best."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kagglepipe.predictions.metrics import find_metric

LR_SHORTENED = "hurried"  # column of Epoch.lr_shortened in files


@dataclass(frozen=True)
class Epoch:
    """Result of one epoch; losses are mean log losses, `rate` is training images per second.

    valid_score: by the metric that chooses the epoch; NaN where undefined, and in files of versions that always chose
    by accuracy. ended_by: `patience` or `budget` if training ended early with this epoch. lr_shortened: whether a
    budget has shortened the schedule.
    """

    epoch: int
    train_loss: float
    valid_loss: float
    valid_accuracy: float
    lr: float
    rate: float
    ended_by: str = ""
    lr_shortened: bool = False
    valid_score: float = math.nan

    def row(self) -> dict[str, Any]:
        """Values by column, as resume files and log.csv hold them."""
        return {LR_SHORTENED if name == "lr_shortened" else name: value for name, value in asdict(self).items()}

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> "Epoch":
        """The inverse of `row`. Raises TypeError for other columns."""
        return cls(**{"lr_shortened" if name == LR_SHORTENED else name: value for name, value in row.items()})


def best_epoch(history: Sequence[Epoch], metric: str = "accuracy") -> int:
    """Number of the best epoch by the metric; ties go to the lower log loss, then to the earlier epoch.

    An undefined score, as ROC AUC of a single class, is below all others.
    """
    sign = 1.0 if find_metric(metric).greater_is_better else -1.0

    def worth(epoch: Epoch) -> tuple[float, float]:
        known = {"accuracy": epoch.valid_accuracy, "log_loss": epoch.valid_loss}
        score = sign * known.get(metric, epoch.valid_score)
        return -math.inf if math.isnan(score) else score, -epoch.valid_loss

    return max(history, key=worth).epoch
