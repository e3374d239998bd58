"""Whether a run that has done some of its folds can still beat one that has done them all.

Written for sweeps, and without a word of them: a rival is a JSON file with the score of each of its folds.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Student's t, one-sided 5 %, by degrees of freedom from 1 on; scipy would take half a second to say the same
# fmt: off
T_95 = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812, 1.796, 1.782, 1.771, 1.761, 1.753,
        1.746, 1.740, 1.734, 1.729, 1.725, 1.721, 1.717, 1.714, 1.711, 1.708, 1.706, 1.703, 1.701, 1.699, 1.697)
# fmt: on


@dataclass(frozen=True)
class Rival:
    """What has to be beaten: run, measure (`score` or `log_loss`) and its value on each fold.

    greater_is_better: of the measure. perfect: its best possible value. folds_hash: of the folds these are.
    """

    run: str
    measure: str
    greater_is_better: bool
    perfect: float
    folds: dict[int, float]
    folds_hash: str

    @classmethod
    def of(cls, written: Mapping[str, Any]) -> "Rival":
        """The rival that a JSON file describes."""
        return cls(**{**written, "folds": {int(fold): value for fold, value in written["folds"].items()}})


def is_beaten(own: Mapping[int, float], rival: Rival) -> str | None:
    """Why the run whose folds `own` are done cannot beat the rival within noise; None where it still can.

    It stops for one of two reasons:

    1. It is certain: were all its other folds perfect, their mean would still be worse than the rival's.
    2. It is unlikely: take its gain over the rival fold by fold (both have seen the same rows, so what makes a fold
       hard cancels out), and imagine one more fold on which both are equal. If even the upper end of the one-sided 95 %
       interval of the mean gain, by Student's t, lies below zero, it stops.

    The imagined fold stands for what is not known. With it, one fold alone never decides by the second rule, and
    neither do two with the very same loss, whose deviation of zero would otherwise pass for certainty; three do. It has
    no scale, so the rule is the same for every metric. A run that is in truth as good may be stopped; nothing is lost
    by that, as it would not have been better. Racing by paired tests: Maron and Moore 1994, "Hoeffding races";
    Birattari et al. 2002, "A racing algorithm for configuring metaheuristics".

    Folds that the rival lacks, or whose score is no number, do not count.

    >>> rival = Rival("r", "score", True, 1.0, {0: 0.9, 1: 0.9, 2: 0.9, 3: 0.9}, "")
    >>> is_beaten({0: 0.4}, rival), is_beaten({0: 0.6}, rival)
    ('with perfect folds to come its mean would be 0.8500, that of r is 0.9000', None)
    """
    sign = 1 if rival.greater_is_better else -1
    shared = [fold for fold in own if fold in rival.folds]
    gains = [sign * (own[fold] - rival.folds[fold]) for fold in shared]
    if not gains or not all(map(math.isfinite, [*gains, *rival.folds.values()])):
        return None
    target = math.fsum(rival.folds.values()) / len(rival.folds)
    left = len(rival.folds) - len(shared)
    hoped = (math.fsum(own[fold] for fold in shared) + left * rival.perfect) / len(rival.folds)
    if sign * (hoped - target) < -1e-9:  # a difference of rounding decides nothing
        return f"with perfect folds to come its mean would be {hoped:.4f}, that of {rival.run} is {target:.4f}"
    if left and upper_end([0.0, *gains]) < 0:
        worse = -math.fsum(gains) / len(gains)
        return f"over {len(gains)} folds it is {worse:.4f} worse than {rival.run}, which is more than noise explains"
    return None


def upper_end(values: list[float]) -> float:
    """The upper end of the one-sided 95 % interval of the mean of two or more values."""
    n = len(values)
    mean = math.fsum(values) / n
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    return mean + T_95[min(n - 1, len(T_95)) - 1] * deviation / math.sqrt(n)
