"""Cross-fitting of blends (docs/ensembles.md): what is fitted or selected is scored on folds that had no part in it.

Fold probabilities are those of all rows by the fit without a fold; the last are by the fit on all rows. Inner
probabilities, for selections, are those of each row outside a block of folds by the fit without both blocks. Maps on
inner probabilities have seen the rows that score them through the weights, which can flatter them in a selection only.

Stone 1974, "Cross-validatory choice and assessment of statistical predictions"; Varma and Simon 2006, "Bias in error
estimation when using cross-validation for model selection".
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import combinations

import numpy as np
import numpy.typing as npt

from kagglepipe.competitions.targets import Truth
from kagglepipe.predictions.blend import POOLS, Map, Stack, apply_map, combine, equal_weights
from kagglepipe.predictions.calibration import CALIBRATIONS
from kagglepipe.predictions.evaluation import EvalRows
from kagglepipe.predictions.frame import Labels, Probs
from kagglepipe.predictions.methods import fit_calibration, fit_weights
from kagglepipe.predictions.weights import FITTED, FoldWeights, LeftOut

MIN_WEIGHT = 1e-3  # members below this share of the largest weight are dropped


@dataclass(frozen=True)
class Candidate:
    """A cross-fitted blend.

    weights: (K + 1, M). fold_probs: K + 1 of (N, C), the same object if nothing is fitted. maps: for each of these the
    calibration maps, in order. find_inner: computes `inner`.
    """

    method: str
    weights: FoldWeights
    fold_probs: list[Probs]
    maps: list[list[Map]]
    find_inner: Callable[[], list[Probs]]

    @cached_property
    def inner(self) -> list[Probs]:
        """Inner probabilities, B of (N, C), computed when a selection asks for them."""
        return self.find_inner()

    def cross_fitted(self, folds: Labels) -> Probs:
        """Probabilities (N, C) of each row by the fit on the other folds."""
        if all(probs is self.in_sample for probs in self.fold_probs):
            return self.in_sample
        probs = self.in_sample.copy()
        for fold, own in enumerate(self.fold_probs[:-1]):
            probs[folds == fold] = own[folds == fold]
        return probs

    @property
    def in_sample(self) -> Probs:
        """Probabilities (N, C) by the fit on all rows."""
        return self.fold_probs[-1]


def make_candidate(stack: Stack, rows: EvalRows, method: str) -> Candidate:
    """Cross-fit a blend of `stack` (M, N, C) by any method."""
    fits = rows.fold_count + 1
    if method not in FITTED:
        weights = equal_weights(len(stack))
        probs, tiled = combine(stack, weights, method, task=rows.task), np.tile(weights, (fits, 1))
        return Candidate(method, tiled, [probs] * fits, [[]] * fits, lambda: [probs] * rows.block_count)
    fitted = _fit(stack, rows, method, [*((fold,) for fold in range(rows.fold_count)), ()])
    fold_probs = [combine(stack, own, method, task=rows.task) for own in fitted]
    return Candidate(method, fitted, fold_probs, [[]] * fits, lambda: _inner(stack, rows, method))


def _fit(stack: Stack, rows: EvalRows, method: str, without: LeftOut) -> FoldWeights:
    """Weights by a fitted method (len(without), M), without members below MIN_WEIGHT."""
    fitted = fit_weights(stack, rows, method, without)
    fitted = np.where(fitted < MIN_WEIGHT * fitted.max(axis=1, keepdims=True), 0.0, fitted)
    return fitted / fitted.sum(axis=1, keepdims=True) if POOLS[method] == "mean" else fitted


def _inner(stack: Stack, rows: EvalRows, method: str) -> list[Probs]:
    """Inner probabilities of a fitted method; one fit serves a pair of blocks."""
    pairs = list(combinations(range(rows.block_count), 2))
    folds = range(rows.fold_count)
    without = [tuple(fold for fold in folds if fold % rows.block_count in pair) for pair in pairs]
    found = [np.full(stack.shape[1:], 1 / stack.shape[2]) for _ in range(rows.block_count)]
    for (one, other), own in zip(pairs, _fit(stack, rows, method, without), strict=True):
        for block, scored in ((one, other), (other, one)):
            some = np.flatnonzero(rows.blocks == scored)
            found[block][some] = combine(stack.take(some, axis=1), own, method, task=rows.task)
    return found


def with_map(candidate: Candidate, rows: EvalRows, fit: Callable[[Probs, Truth, int], Map]) -> Candidate:
    """Add a map to a candidate, for each fold fitted on the rows of the other folds.

    fit: (predictions, truth, number of groups) -> map.
    """

    def fitted(probs: Probs, some: npt.NDArray[np.bool_]) -> Map:
        return fit(probs[some], rows.truth[some], len(np.unique(rows.groups[some])))

    steps = [fitted(probs, rows.folds != fold) for fold, probs in enumerate(candidate.fold_probs)]
    fold_probs = [apply_map(step, probs) for step, probs in zip(steps, candidate.fold_probs, strict=True)]
    maps = [[*before, step] for before, step in zip(candidate.maps, steps, strict=True)]

    def inner() -> list[Probs]:
        found = []
        for block, probs in enumerate(candidate.inner):
            mapped = probs.copy()
            for scored in set(range(rows.block_count)) - {block}:
                own = rows.blocks == scored
                mapped[own] = apply_map(fitted(probs, (rows.blocks != block) & ~own), probs[own])
            found.append(mapped)
        return found

    return replace(candidate, fold_probs=fold_probs, maps=maps, find_inner=inner)


def calibrated(candidate: Candidate, rows: EvalRows, kind: str) -> list[Candidate]:
    """Calibrate a candidate by `kind`, one of CALIBRATIONS, or by each of them for `auto`."""
    kinds = list(CALIBRATIONS) if kind == "auto" else [kind]
    return [with_map(candidate, rows, partial(fit_calibration, name, rows.task)) for name in kinds]
