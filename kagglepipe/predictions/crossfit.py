"""Which blend to believe: everything fitted is judged on folds that it was not fitted on.

For each fold there is a *view*: the probabilities of all rows by weights (and maps) fitted on the other folds. A
fold's cross-fitted rows are those of its own view; what comes next, a calibration say, is fitted on the other rows of
the same view. So no label of a fold has a part in what that fold scores, however many steps there are. The last view
is fitted on all rows: its score is the in-sample one, and it is what the test gets.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from kagglepipe.predictions.blend import POOLS, SMALLEST, Stack, Weights, equal_weights, pool
from kagglepipe.predictions.calibration import ARGMAX_METRICS, CALIBRATIONS, Map, apply_map, fit_thresholds
from kagglepipe.predictions.frame import Labels, Probs
from kagglepipe.predictions.gains import Gain, doubt, doubted_losses, mean_gains, metric_gain
from kagglepipe.predictions.metrics import find_metric
from kagglepipe.predictions.paired import row_losses
from kagglepipe.predictions.softmax_fit import softmax
from kagglepipe.predictions.weights import FITTED, FoldWeights

LEVEL = 0.95
LOOKED_AT = 20_000  # rows by which it is judged who may go
NOTHING = 1e-3  # of the largest weight: whoever counts less has no say


@dataclass(frozen=True)
class Rows:
    """What is known of the rows (N,): class indices, folds from 0 on, groups from 0 on; and the metric they serve."""

    truth: Labels
    folds: Labels
    groups: Labels
    metric: str

    @property
    def fold_count(self) -> int:
        """K: folds are 0 … K - 1."""
        return int(self.folds.max()) + 1


@dataclass(frozen=True)
class Candidate:
    """A blend and its views, (N, C) each, one for each fold and the one of all rows; unfitted ones are all the same.

    weights: (K + 1, M). maps: what was done to the pooled probabilities, a list of K + 1 maps for each step.
    """

    method: str
    weights: FoldWeights
    views: list[Probs]
    maps: list[list[Map]] = field(default_factory=list)

    def cross_fitted(self, folds: Labels) -> Probs:
        """Each row by what was fitted on the other folds, (N, C)."""
        if all(view is self.views[-1] for view in self.views):  # nothing is fitted
            return self.views[-1]
        probs = self.views[-1].copy()
        for fold, view in enumerate(self.views[:-1]):
            probs[folds == fold] = view[folds == fold]
        return probs

    @property
    def in_sample(self) -> Probs:
        """Each row by what was fitted on all, itself included, (N, C)."""
        return self.views[-1]

    @property
    def is_fitted(self) -> bool:
        """Whether anything of it was fitted, so that in-sample scores flatter it."""
        return self.method in FITTED or bool(self.maps)


def make_candidate(stack: Stack, rows: Rows, method: str, power: float = 2.0) -> Candidate:
    """The blend of `stack` (M, N, C) by any method, fitted a fold at a time where it is fitted."""
    if method not in FITTED:
        weights = equal_weights(len(stack))
        view = pool(stack, weights, method, power)
        return Candidate(method, np.tile(weights, (rows.fold_count + 1, 1)), [view] * (rows.fold_count + 1))
    weights = FITTED[method](stack, rows.truth, rows.folds)
    return Candidate(method, weights, [combine(stack, own, method) for own in weights])


def combine(stack: Stack, weights: Weights, method: str, power: float = 2.0, maps: Sequence[Map] = ()) -> Probs:
    """The probabilities (N, C) that fitted weights and maps make of the members' (M, N, C).

    >>> combine(np.array([[[0.9, 0.1]], [[0.5, 0.5]]]), np.array([0.0, 1.0]), "nnls")
    array([[0.5, 0.5]])
    """
    if not weights.any():  # a log-linear pool may find all members worthless
        probs: Probs = np.full(stack.shape[1:], 1 / stack.shape[2])
    else:
        probs = pool(stack, weights, method, power)
    for step in maps:
        probs = apply_map(step, probs)
    return probs


def gain_over(one: Candidate, other: Candidate, rows: Rows, *, level: float = LEVEL) -> Gain:
    """How much better the one is than the other, cross-fitted, in log loss, or in ROC AUC where that is the metric."""
    return gains_over([one], other, rows, level=level)[0]


def gains_over(ones: Sequence[Candidate], other: Candidate, rows: Rows, *, level: float = LEVEL) -> list[Gain]:
    """`gain_over` of each of several, which share their draws."""
    second, firsts = other.cross_fitted(rows.folds), (one.cross_fitted(rows.folds) for one in ones)
    if rows.metric == "roc_auc":
        return [metric_gain("roc_auc", first, second, rows.truth, rows.groups, level=level) for first in firsts]
    if not ones:
        return []
    losses = row_losses(second, rows.truth)
    gaps = np.stack([losses - row_losses(first, rows.truth) for first in firsts], axis=1)  # (N, K)
    return mean_gains(gaps, rows.groups, level=level)


def score_of(candidate: Candidate, rows: Rows) -> float:
    """The metric of the cross-fitted rows."""
    return find_metric(rows.metric).function(candidate.cross_fitted(rows.folds), rows.truth)


def score_gain(one: Candidate, other: Candidate, rows: Rows) -> Gain:
    """How much better the one's cross-fitted metric is than the other's."""
    first, second = one.cross_fitted(rows.folds), other.cross_fitted(rows.folds)
    if rows.metric == "accuracy":
        right, others = (probs.argmax(axis=1) == rows.truth for probs in (first, second))
        return mean_gains((right.astype(float) - others)[:, None], rows.groups)[0]
    if rows.metric == "log_loss":
        return gain_over(one, other, rows)
    return metric_gain(rows.metric, first, second, rows.truth, rows.groups)


def choose(candidates: Sequence[Candidate], rows: Rows) -> Candidate:
    """The first of the candidates unless another is better than it beyond noise; then the one with the largest gain.

    Log loss decides (ROC AUC where that is the metric), since it hears more of every row than accuracy does; the
    metric may not be worse beyond noise. Where several are tried the best of them is lucky, so each has to be beyond
    a stricter noise: 5 % shared among them (Bonferroni). An interval that is not known, as with one group, is all
    noise. And no interval knows of errors that have not happened yet: where every row is right, more certainty is a
    gain in each draw, until the first new row goes wrong. So the gain has to be there with labels doubted, too.
    """
    first, *others = candidates
    level = 1 - (1 - LEVEL) / max(1, len(others))
    gains = zip(others, gains_over(others, first, rows, level=level), strict=True)
    better = [(gain.value, one) for one, gain in gains if gain.is_beyond_noise and _is_safe(one, first, rows)]
    return max(better, key=lambda one: one[0])[1] if better else first


def _is_safe(one: Candidate, other: Candidate, rows: Rows) -> bool:
    """Whether the one still gains with labels doubted, and costs nothing of the metric that is beyond noise."""
    if rows.metric != "roc_auc" and _doubted(one, rows) >= _doubted(other, rows):
        return False
    return not score_gain(one, other, rows).high < 0


def _doubted(candidate: Candidate, rows: Rows) -> float:
    """The mean log loss of the cross-fitted rows if the next group were the first to go wrong."""
    share = doubt(int(rows.groups.max()) + 1)
    return float(doubted_losses(candidate.cross_fitted(rows.folds), rows.truth, share).mean())


# --- members -----------------------------------------------------------------------------------------------------


def prune(stack: Stack, rows: Rows, candidate: Candidate) -> tuple[Candidate, list[int]]:
    """(the fitted blend of fewer members, which of them it has): members whose gain is within noise are dropped.

    A member's gain is what the blend loses when it is left out and the others keep their weights. The weaker half of
    those within noise go at once, and weights are fitted anew: of two members that say the same either alone may
    go, not both. It ends before the blend is worse, beyond noise, than with all members.
    """
    final = candidate.weights[-1]
    kept = [int(m) for m in np.flatnonzero(final > NOTHING * final.max())] or [0]
    now = candidate if len(kept) == len(stack) else make_candidate(stack[kept], rows, candidate.method)
    if len(kept) < len(stack) and gain_over(candidate, now, rows).is_beyond_noise:
        return candidate, list(range(len(stack)))
    while len(kept) > 1:
        weak = _within_noise(stack[kept], rows, now)
        going = weak[: -(-len(weak) // 2)]
        fewer = [m for place, m in enumerate(kept) if place not in going]
        if not going or not fewer:
            break
        then = make_candidate(stack[fewer], rows, candidate.method)
        if gain_over(candidate, then, rows).is_beyond_noise:
            break
        kept, now = fewer, then
    return now, kept


def _within_noise(stack: Stack, rows: Rows, candidate: Candidate) -> list[int]:
    """The members without which the blend is not worse beyond noise, the least useful first.

    Of very many rows a part is looked at, whole groups of it, and the noise is taken for as much less as all have.
    """
    some = np.flatnonzero(rows.groups % -(-len(rows.truth) // LOOKED_AT) == 0)
    part = Rows(rows.truth[some], rows.folds[some], np.unique(rows.groups[some], return_inverse=True)[1], rows.metric)
    losses = row_losses(candidate.cross_fitted(rows.folds)[some], part.truth)
    without = _losses_without(stack.take(some, axis=1), part, candidate)
    gains = mean_gains(np.stack([own - losses for own in without], axis=1), part.groups)
    share = (len(some) / len(rows.truth)) ** 0.5
    noises = [replace(gain, low=gain.value - share * (gain.value - gain.low)) for gain in gains]
    weak = [member for member, gain in enumerate(noises) if not gain.is_beyond_noise]
    return sorted(weak, key=lambda member: gains[member].value)


def _losses_without(stack: Stack, rows: Rows, candidate: Candidate) -> Iterator[npt.NDArray[np.float64]]:
    """For each member the cross-fitted losses (N,) when it is left out, its weight shared among the others."""
    is_mean = POOLS[candidate.method] == "mean"

    def part(member: int) -> Probs:
        return stack[member] if is_mean else np.log(np.maximum(stack[member], SMALLEST))

    weights = candidate.weights[rows.folds]  # (N, M)
    everyone = sum(weights[:, m, None] * part(m) for m in range(len(stack)))  # (N, C)
    total = weights.sum(axis=1)
    for member in range(len(stack)):
        rest = total - weights[:, member]
        scale = np.divide(total, rest, out=np.zeros_like(total), where=rest > 1e-12)
        others = (everyone - weights[:, member, None] * part(member)) * scale[:, None]
        if is_mean:
            others[scale == 0] = 1 / stack.shape[2]
        yield row_losses(others if is_mean else softmax(others), rows.truth)


# --- maps --------------------------------------------------------------------------------------------------------


def with_map(candidate: Candidate, rows: Rows, fit: Callable[[Probs, Labels], Map]) -> Candidate:
    """The candidate with one more step, fitted in each view on the rows of the other folds, in the last on all."""
    maps, views = [], []
    for fold, view in enumerate(candidate.views):
        others = rows.folds != fold
        maps.append(fit(view[others], rows.truth[others]))
        views.append(apply_map(maps[-1], view))
    return replace(candidate, views=views, maps=[*candidate.maps, maps])


def calibrated(candidate: Candidate, rows: Rows, kind: str) -> list[Candidate]:
    """The candidate by each calibration that `kind` (`auto` or one of them) asks for."""
    kinds = list(CALIBRATIONS) if kind == "auto" else [kind]
    return [with_map(candidate, rows, CALIBRATIONS[name]) for name in kinds]


def adjusted(candidate: Candidate, rows: Rows) -> Candidate | None:
    """The candidate with thresholds for the metric, if they make it better beyond noise; None where they do not."""
    if rows.metric not in ARGMAX_METRICS:
        return None
    other = with_map(candidate, rows, lambda probs, truth: fit_thresholds(probs, truth, rows.metric))
    return other if score_gain(other, candidate, rows).is_beyond_noise else None
