"""Whether a run that has done some of its folds can still beat one that has done them all.

Written for sweeps, and without a word of them: a rival is a JSON file with the score of each of its folds.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kagglepipe.predictions.uncertainty import format_two

LEVEL = 0.01  # of stopping a run that is as good as its rival, all looks together
FEWEST = 3  # folds by which chance is judged


@dataclass(frozen=True)
class Incumbent:
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
    def of(cls, written: Mapping[str, Any]) -> "Incumbent":
        """The rival that a JSON file describes."""
        return cls(**{**written, "folds": {int(fold): value for fold, value in written["folds"].items()}})


def should_prune(
    own: Mapping[int, float], rival: Incumbent, *, row: float = 0.0, rows: Mapping[int, float] | None = None
) -> str | None:
    """Why the run whose folds `own` are done cannot beat the rival within noise; None where it still can.

    row: what one row more makes of a fold's score, one divided by the rows of a fold. rows: the rows of each fold; None
    where the measure is no mean over rows, so that nothing is certain before all is done.

    It stops for one of two reasons:

    1. It is certain: were all its other folds perfect, the mean over all rows would still be worse than the rival's.
    2. It is unlikely: its gains over the rival, fold by fold (both have seen the same rows, so what makes a fold hard
       cancels out), have a mean that by Student's one-sided t test is below zero.

    The test asks for three folds, and is made after each of them but the last; 1 % is shared among these looks, so that
    a run which is as good as its rival is stopped in one race of a hundred at most. The gains' deviation counts as no
    less than `row`: a few equal losses of a photo each would otherwise pass for certainty.

    In a sweep the rival is the best so far, and was lucky. Of trials as good as each of 20 rivals the best of these
    stops 3.5 % with 5 folds and 3.3 % with 10; of those better by half a deviation of a fold 1.4 % and 0.8 %; of those
    worse by three deviations 56 % and 99.6 % (`python benchmarks/racing.py`, normal scores). Such losses are the price
    of the time that is saved. Racing by paired tests: Maron and Moore 1994, "Hoeffding races"; Birattari et al. 2002,
    "A racing algorithm for configuring metaheuristics".

    Folds that the rival lacks, or whose score is no number, do not count.

    >>> rival = Incumbent("r", "score", True, 1.0, {0: 0.9, 1: 0.9, 2: 0.9, 3: 0.9}, "")
    >>> equal = dict.fromkeys(range(4), 50)
    >>> should_prune({0: 0.4}, rival, rows=equal), should_prune({0: 0.6}, rival, rows=equal)
    ('with perfect folds to come its mean would be 0.8500, that of r is 0.9000', None)
    """
    sign = 1 if rival.greater_is_better else -1
    shared = [fold for fold in own if fold in rival.folds]
    gains = [sign * (own[fold] - rival.folds[fold]) for fold in shared]
    if not gains or not all(map(math.isfinite, [*gains, *rival.folds.values()])):
        return None
    left = len(rival.folds) - len(shared)
    if rows is not None:
        total = math.fsum(rows[fold] for fold in rival.folds)
        target = math.fsum(rows[fold] * value for fold, value in rival.folds.items()) / total
        hoped = math.fsum(rows[fold] * own.get(fold, rival.perfect) for fold in rival.folds) / total
        if sign * (hoped - target) < -1e-9:  # a difference of rounding decides nothing
            best, needed = format_two(hoped, target)
            return f"with perfect folds to come its mean would be {best}, that of {rival.run} is {needed}"
    if left and len(gains) >= FEWEST and chance(gains, row) < LEVEL / (len(rival.folds) - FEWEST):
        worse = -math.fsum(gains) / len(gains)
        return f"over {len(gains)} folds it is {worse:.4f} worse than {rival.run}, which is more than noise explains"
    return None


def chance(gains: list[float], row: float) -> float:
    """How often gains have so low a mean where the true one is zero, by Student's t; row: their least deviation."""
    from scipy.special import stdtr  # a training has loaded it; the sweeper need not

    n = len(gains)
    mean = math.fsum(gains) / n
    deviation = max(row, math.sqrt(math.fsum((gain - mean) ** 2 for gain in gains) / (n - 1)), 1e-9)
    return float(stdtr(n - 1, mean / deviation * math.sqrt(n)))
