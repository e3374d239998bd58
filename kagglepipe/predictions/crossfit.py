"""Which blend to believe: everything fitted, and every choice, is judged on folds that had no part in it.

For each fold there is a *view*: the probabilities of all rows by what was fitted on the other folds. A fold's
cross-fitted rows are those of its own view; what comes next, a calibration say, is fitted on the other rows of the same
view. The last view is fitted on all rows: its score is the in-sample one, and it is what the test gets.

Choosing is fitting, too. For each block of folds there are *inner* probabilities: each row outside the block by what
was fitted without the block and without the row's own block. By these a block's view is chosen among candidates, so
that no label of a fold has a part in what that fold scores, however many steps and choices there are. (A map is fitted
on inner probabilities of rows whose weights have seen the judging rows, as in all stacking: that may flatter a map in a
choice, and never the fold that is scored.)

Stone 1974, "Cross-validatory choice and assessment of statistical predictions"; Varma and Simon 2006, "Bias in error
estimation when using cross-validation for model selection".
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np
import numpy.typing as npt

from kagglepipe.predictions.blend import POOLS, SMALLEST, Stack, Weights, equal_weights, pool
from kagglepipe.predictions.calibration import ARGMAX_METRICS, CALIBRATIONS, Map, apply_map, fit_thresholds
from kagglepipe.predictions.frame import Labels, Probs
from kagglepipe.predictions.gains import laplace_error, metric_gain, smoothed_losses
from kagglepipe.predictions.metrics import find_metric, row_losses
from kagglepipe.predictions.softmax_fit import softmax
from kagglepipe.predictions.uncertainty import LEVEL, Gain, mean_gains
from kagglepipe.predictions.weights import FITTED, FoldWeights, LeftOut

LOOKED_AT = 20_000  # rows by which it is judged who could go
MIN_WEIGHT = 1e-3  # of the largest weight: whoever would count less does not count
BLOCKS = 5  # of folds, for choices: of many folds each pair would be a fit


@dataclass(frozen=True)
class EvalRows:
    """What is known of the rows (N,): class indices, folds from 0 on, groups from 0 on; and the metric they serve."""

    truth: Labels
    folds: Labels
    groups: Labels
    metric: str

    @property
    def fold_count(self) -> int:
        """K: folds are 0 … K - 1."""
        return int(self.folds.max()) + 1

    @property
    def block_count(self) -> int:
        """B: folds are dealt to so many blocks, one each where they are few."""
        return min(BLOCKS, self.fold_count)

    @cached_property
    def blocks(self) -> Labels:
        """The block of each row."""
        return self.folds % self.block_count

    def part(self, some: npt.NDArray[np.bool_]) -> "EvalRows":
        """Some of the rows."""
        groups = np.unique(self.groups[some], return_inverse=True)[1]
        return EvalRows(self.truth[some], self.folds[some], groups, self.metric)

    def folds_of(self, *blocks: int) -> tuple[int, ...]:
        """The folds of some blocks."""
        return tuple(fold for fold in range(self.fold_count) if fold % self.block_count in blocks)


@dataclass(frozen=True)
class Candidate:
    """A blend: its views, one for each fold and the one of all rows, and where its inner probabilities come from.

    views: K + 1 of (N, C), all the same if nothing is fitted. weights: (K + 1, M). maps: for each view what was done to
    the pooled probabilities, step by step.
    """

    method: str
    weights: FoldWeights
    views: list[Probs]
    maps: list[list[Map]]
    find_inner: Callable[[], list[Probs]]

    @cached_property
    def inner(self) -> list[Probs]:
        """For each block (N, C), in which the block's own rows say nothing; fitted if a choice asks for them."""
        return self.find_inner()

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


def make_candidate(stack: Stack, rows: EvalRows, method: str, power: float = 2.0) -> Candidate:
    """The blend of `stack` (M, N, C) by any method, fitted a fold at a time where it is fitted."""
    views = rows.fold_count + 1
    if method not in FITTED:
        weights = equal_weights(len(stack))
        probs = pool(stack, weights, method, power)
        shares = np.tile(weights, (views, 1))
        return Candidate(method, shares, [probs] * views, [[]] * views, lambda: [probs] * rows.block_count)
    without = [*((fold,) for fold in range(rows.fold_count)), ()]
    fitted = _fit(stack, rows, method, without)
    return Candidate(
        method, fitted, [combine(stack, own, method) for own in fitted], [[]] * views,
        lambda: _inner(stack, rows, method),
    )  # fmt: skip


def _fit(stack: Stack, rows: EvalRows, method: str, without: LeftOut) -> FoldWeights:
    """Weights by a fitted method, a row for each set of folds left out; who would count next to nothing does not."""
    fitted = FITTED[method](stack, rows.truth, rows.folds, without, rows.groups)
    fitted = np.where(fitted < MIN_WEIGHT * fitted.max(axis=1, keepdims=True), 0.0, fitted)
    return fitted / fitted.sum(axis=1, keepdims=True) if POOLS[method] == "mean" else fitted


def _inner(stack: Stack, rows: EvalRows, method: str) -> list[Probs]:
    """For each block the rows of every other block by a fit without both: one fit serves a pair of blocks."""
    pairs = list(combinations(range(rows.block_count), 2))
    fitted = _fit(stack, rows, method, [rows.folds_of(*pair) for pair in pairs])
    found = [np.full(stack.shape[1:], 1 / stack.shape[2]) for _ in range(rows.block_count)]
    for (one, other), own in zip(pairs, fitted, strict=True):
        for block, seen in ((one, other), (other, one)):
            some = np.flatnonzero(rows.blocks == seen)
            found[block][some] = combine(stack.take(some, axis=1), own, method)
    return found


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


# --- choices -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Selection:
    """What was chosen: the candidate that is made of the candidates' views, and which one is in each (K + 1,)."""

    candidate: Candidate
    picks: list[int]

    @property
    def is_first(self) -> bool:
        """Whether the test gets the first of the candidates."""
        return self.picks[-1] == 0


Judge = Callable[[Sequence[Probs], EvalRows], int]


def choose(candidates: Sequence[Candidate], rows: EvalRows, judge: Judge | None = None) -> Selection:
    """The first of the candidates unless `judge` finds another surely better; a choice for each view.

    judge: (probabilities of the candidates, rows that they are of) -> which; None: `significantly_better`. Each block
    of folds is chosen for by the inner probabilities of the others. With two folds there are none: the first is taken.
    """
    judge, count = judge or significantly_better, rows.block_count
    if count < 3 or len(candidates) == 1:
        picks = [0] * (rows.fold_count + 1)
        return Selection(candidates[0], picks)
    of_block = []
    for block in range(count):
        others = rows.blocks != block
        of_block.append(judge([one.inner[block][others] for one in candidates], rows.part(others)))
    picks = [of_block[fold % count] for fold in range(rows.fold_count)]
    picks.append(judge([one.cross_fitted(rows.folds) for one in candidates], rows))
    if len(set(picks)) == 1:
        return Selection(candidates[picks[0]], picks)
    taken = [candidates[pick] for pick in picks]
    chosen = Candidate(
        taken[-1].method,
        np.stack([one.weights[view] for view, one in enumerate(taken)]),
        [one.views[view] for view, one in enumerate(taken)],
        [one.maps[view] for view, one in enumerate(taken)],
        lambda: [candidates[pick].inner[block] for block, pick in enumerate(of_block)],
    )
    return Selection(chosen, picks)


def significantly_better(options: Sequence[Probs], rows: EvalRows) -> int:
    """The one of the options with the largest gain over the first that is beyond noise; 0 if there is none.

    Log loss decides (ROC AUC where that is the metric), since it hears more of every row than accuracy does; the
    metric may not be worse beyond noise. Where several are tried the best of them is lucky, so each has to be beyond
    a stricter noise: 5 % shared among them (Bonferroni). An interval that is not known, as with few groups, is all
    noise. And no interval knows of errors that have not happened yet: where every row is right, more certainty is a
    gain in each draw, until the first new row goes wrong. So the gain has to be there with labels smoothed, too.
    """
    first, *others = options
    gains = gains_over(others, first, rows, level=1 - (1 - LEVEL) / max(1, len(others)))
    for number in sorted(range(len(others)), key=lambda n: -gains[n].value):
        if gains[number].is_beyond_noise and _is_safe(others[number], first, rows):
            return number + 1
    return 0


def better_score(options: Sequence[Probs], rows: EvalRows) -> int:
    """1 if the second of two options has the better metric beyond noise, else 0."""
    first, second = options
    return int(score_gain(second, first, rows).is_beyond_noise)


def gains_over(ones: Sequence[Probs], other: Probs, rows: EvalRows, *, level: float = LEVEL) -> list[Gain]:
    """How much better each is than the other, in log loss, or in ROC AUC where that is the metric."""
    if rows.metric == "roc_auc":
        return [metric_gain("roc_auc", one, other, rows.truth, rows.groups, level=level) for one in ones]
    if not ones:
        return []
    losses = row_losses(other, rows.truth)
    gaps = np.stack([losses - row_losses(one, rows.truth) for one in ones], axis=1)  # (N, K)
    return mean_gains(gaps, rows.groups, level=level)


def gain_over(one: Candidate, other: Candidate, rows: EvalRows) -> Gain:
    """How much better the one is than the other, cross-fitted, as `gains_over`."""
    return gains_over([one.cross_fitted(rows.folds)], other.cross_fitted(rows.folds), rows)[0]


def score_of(candidate: Candidate, rows: EvalRows) -> float:
    """The metric of the cross-fitted rows."""
    return find_metric(rows.metric).function(candidate.cross_fitted(rows.folds), rows.truth)


def score_gain(one: Probs, other: Probs, rows: EvalRows) -> Gain:
    """How much better the metric of the one is than the other's."""
    if rows.metric == "accuracy":
        right, others = (probs.argmax(axis=1) == rows.truth for probs in (one, other))
        return mean_gains((right.astype(float) - others)[:, None], rows.groups)[0]
    if rows.metric == "log_loss":
        return gains_over([one], other, rows)[0]
    return metric_gain(rows.metric, one, other, rows.truth, rows.groups)


def _is_safe(one: Probs, other: Probs, rows: EvalRows) -> bool:
    """Whether the one still gains with labels smoothed, and costs nothing of the metric that is beyond noise."""
    if rows.metric != "roc_auc" and _smoothed_loss(one, rows) >= _smoothed_loss(other, rows):
        return False
    return not score_gain(one, other, rows).high < 0


def _smoothed_loss(probs: Probs, rows: EvalRows) -> float:
    """The mean log loss if the next group were the first to go wrong."""
    return float(smoothed_losses(probs, rows.truth, laplace_error(int(rows.groups.max()) + 1)).mean())


# --- members -----------------------------------------------------------------------------------------------------


def redundant_members(stack: Stack, rows: EvalRows, candidate: Candidate) -> list[int]:
    """The members without any one of which a fitted blend would not be worse beyond noise, the least useful first.

    They are not in excess for that: of many good members none is missed alone. Of very many rows a part is looked at,
    whole groups of it.
    """
    count = int(rows.groups.max()) + 1
    kept = np.random.default_rng(0).permutation(count) * len(rows.truth) < LOOKED_AT * count
    some = kept[rows.groups]
    part, own = rows.part(some), candidate.cross_fitted(rows.folds)[some]
    losses = row_losses(own, part.truth)
    without = _losses_without(stack.compress(some, axis=1), part, candidate)
    gains = mean_gains(np.stack([each - losses for each in without], axis=1), part.groups)
    weak = [member for member, gain in enumerate(gains) if not gain.is_beyond_noise]
    return sorted(weak, key=lambda member: gains[member].value)


def _losses_without(stack: Stack, rows: EvalRows, candidate: Candidate) -> Iterator[npt.NDArray[np.float64]]:
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


def with_map(candidate: Candidate, rows: EvalRows, fit: Callable[[Probs, Labels, int], Map]) -> Candidate:
    """The candidate with one more step, fitted in each view on the rows of the other folds, in the last on all.

    fit: (probabilities, class indices, number of groups) -> map.
    """

    def fitted(probs: Probs, some: npt.NDArray[np.bool_]) -> Map:
        return fit(probs[some], rows.truth[some], len(np.unique(rows.groups[some])))

    steps = [fitted(view, rows.folds != fold) for fold, view in enumerate(candidate.views)]
    views = [apply_map(step, view) for step, view in zip(steps, candidate.views, strict=True)]
    maps = [[*before, step] for before, step in zip(candidate.maps, steps, strict=True)]

    def inner() -> list[Probs]:
        found = []
        for block, probs in enumerate(candidate.inner):
            mapped = probs.copy()
            for seen in set(range(rows.block_count)) - {block}:
                own = rows.blocks == seen
                mapped[own] = apply_map(fitted(probs, (rows.blocks != block) & ~own), probs[own])
            found.append(mapped)
        return found

    return replace(candidate, views=views, maps=maps, find_inner=inner)


def calibrated(candidate: Candidate, rows: EvalRows, kind: str) -> list[Candidate]:
    """The candidate by each calibration that `kind` (`auto` or one of them) asks for."""
    kinds = list(CALIBRATIONS) if kind == "auto" else [kind]
    return [with_map(candidate, rows, CALIBRATIONS[name]) for name in kinds]


def adjusted(candidate: Candidate, rows: EvalRows) -> Selection:
    """The candidate with thresholds for the metric where they make it better beyond noise.

    Raises ValueError for a metric on which the most probable class has no bearing.
    """
    if rows.metric not in ARGMAX_METRICS:
        raise ValueError(f"{rows.metric} does not depend on the most probable class")
    moved = with_map(candidate, rows, lambda probs, truth, _: fit_thresholds(probs, truth, rows.metric))
    return choose([candidate, moved], rows, better_score)
