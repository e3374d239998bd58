"""Early pruning of runs by paired comparison of folds with an incumbent."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kagglepipe.predictions.uncertainty import format_two

LEVEL = 0.01  # probability of pruning an equally good run, over all looks
MIN_FOLDS = 3  # for the t test


@dataclass(frozen=True)
class Incumbent:
    """The run to beat, as in a JSON file: measure (`score` or `log_loss`) and its value on each fold.

    perfect: best possible value of the measure. folds_hash: identifies the folds.
    """

    run: str
    measure: str
    greater_is_better: bool
    perfect: float
    folds: dict[int, float]
    folds_hash: str

    @classmethod
    def of(cls, written: Mapping[str, Any]) -> "Incumbent":
        """Parse the contents of the JSON file. Raises KeyError, TypeError, ValueError or AttributeError for others."""
        if written["measure"] not in ("score", "log_loss"):
            raise ValueError(f"measure {written['measure']}")
        folds = {int(fold): float(value) for fold, value in written["folds"].items()}
        return cls(**{**written, "perfect": float(written["perfect"]), "folds": folds})


def should_prune(
    own: Mapping[int, float], incumbent: Incumbent, *, row: float = 0.0, rows: Mapping[int, float] | None = None
) -> str | None:
    """Reason to prune a run with the finished folds `own`; None to go on.

    row: change of a fold's score by one row, at least, 1 / rows of a fold. rows: of each fold; None where the measure
    is no mean over rows.

    A run is pruned if with perfect remaining folds its mean over rows would be worse than the incumbent's, or if a
    one-sided paired t test over three folds or more, made after each fold but the last, finds it worse; the looks share
    LEVEL. The standard deviation of gains is at least `row`: equal losses of a single row would pass for certainty.

    The best of 20 earlier trials, as in a sweep, scores too well by selection: it prunes 3.5 % of equally good runs
    with 5 folds and 3.3 % with 10; of those better by half a standard deviation of a fold 1.4 % and 0.8 %; of those
    worse by three 56 % and 99.6 % (`python benchmarks/racing.py`, normal scores). Maron and Moore 1994, "Hoeffding
    races"; Birattari et al. 2002, "A racing algorithm for configuring metaheuristics".

    Folds that the incumbent lacks, and scores that are NaN, prune nothing.

    >>> best = Incumbent("r", "score", True, 1.0, {0: 0.9, 1: 0.9, 2: 0.9, 3: 0.9}, "")
    >>> equal = dict.fromkeys(range(4), 50)
    >>> should_prune({0: 0.4}, best, rows=equal), should_prune({0: 0.6}, best, rows=equal)
    ('with perfect folds to come its mean would be 0.8500, that of r is 0.9000', None)
    """
    sign = 1 if incumbent.greater_is_better else -1
    shared = [fold for fold in own if fold in incumbent.folds]
    gains = [sign * (own[fold] - incumbent.folds[fold]) for fold in shared]
    if not gains or not all(map(math.isfinite, [*gains, *incumbent.folds.values()])):
        return None
    left = len(incumbent.folds) - len(shared)
    if rows is not None:
        total = math.fsum(rows[fold] for fold in incumbent.folds)
        target = math.fsum(rows[fold] * value for fold, value in incumbent.folds.items()) / total
        hoped = math.fsum(rows[fold] * own.get(fold, incumbent.perfect) for fold in incumbent.folds) / total
        if sign * (hoped - target) < -1e-9:  # a difference of rounding decides nothing
            best, needed = format_two(hoped, target)
            return f"with perfect folds to come its mean would be {best}, that of {incumbent.run} is {needed}"
    if left and len(gains) >= MIN_FOLDS and chance(gains, row) < LEVEL / (len(incumbent.folds) - MIN_FOLDS):
        worse = -math.fsum(gains) / len(gains)
        return f"over {len(gains)} folds it is {worse:.4f} worse than {incumbent.run}, which is significant"
    return None


def chance(gains: list[float], row: float) -> float:
    """One-sided p of a t test that the mean gain is below 0; row: minimum standard deviation."""
    from scipy.special import stdtr  # slow to import

    n = len(gains)
    mean = math.fsum(gains) / n
    deviation = max(row, math.sqrt(math.fsum((gain - mean) ** 2 for gain in gains) / (n - 1)), 1e-9)
    return float(stdtr(n - 1, mean / deviation * math.sqrt(n)))
