"""Selection among cross-fitted candidates, and redundant members of a blend."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kagglepipe.predictions.blend import POOLS, Stack, log_probabilities
from kagglepipe.predictions.calibration import fit_thresholds
from kagglepipe.predictions.crossfit import Candidate, with_map
from kagglepipe.predictions.decisions import FITS, plain_decision, plain_out_of_fold
from kagglepipe.predictions.evaluation import EvalRows
from kagglepipe.predictions.frame import Probs
from kagglepipe.predictions.metrics import find_metric
from kagglepipe.predictions.paired import gains_over, score_gain, significantly_better
from kagglepipe.predictions.tasks import row_losses
from kagglepipe.predictions.uncertainty import Gain, mean_gains

MAX_ROWS = 20_000  # by which redundant members are found


@dataclass(frozen=True)
class Selection:
    """candidate: joined from the candidates selected for each fold. picks: their numbers, K + 1, the last for all."""

    candidate: Candidate
    picks: list[int]

    @property
    def picks_first(self) -> bool:
        """Whether the test gets the first of the candidates."""
        return self.picks[-1] == 0


Selector = Callable[[Sequence[Probs], EvalRows], int]  # (probabilities of each candidate, their rows) -> number


def choose(
    candidates: Sequence[Candidate], rows: EvalRows, selector: Selector = significantly_better, *, of_two: bool = False
) -> Selection:
    """Select a candidate for each fold by the inner probabilities of the other blocks, and for all rows.

    With two blocks there are no inner probabilities: the first is taken, with `of_two` for the folds only.
    """
    count = rows.block_count
    if (count < 3 and not of_two) or len(candidates) == 1:
        return Selection(candidates[0], [0] * (rows.fold_count + 1))
    of_block = [0] * count
    for block in range(count if count > 2 else 0):
        others = rows.blocks != block
        of_block[block] = selector([one.inner[block][others] for one in candidates], rows.part(others))
    picks = [of_block[fold % count] for fold in range(rows.fold_count)]
    picks.append(selector([one.cross_fitted(rows.folds) for one in candidates], rows))
    if len(set(picks)) == 1:
        return Selection(candidates[picks[0]], picks)
    taken = [candidates[pick] for pick in picks]
    joined = Candidate(
        taken[-1].method,
        np.stack([one.weights[fit] for fit, one in enumerate(taken)]),
        [one.fold_probs[fit] for fit, one in enumerate(taken)],
        [one.maps[fit] for fit, one in enumerate(taken)],
        lambda: [candidates[pick].inner[block] for block, pick in enumerate(of_block)],
    )
    return Selection(joined, picks)


def gain_over(one: Candidate, other: Candidate, rows: EvalRows) -> Gain:
    """Cross-fitted gain of one candidate over another."""
    return gains_over([one.cross_fitted(rows.folds)], other.cross_fitted(rows.folds), rows)[0]


def score_of(candidate: Candidate, rows: EvalRows) -> float:
    """Cross-fitted metric, with the plain decision."""
    own = plain_out_of_fold(candidate.cross_fitted(rows.folds), rows)
    return find_metric(rows.metric).function(own, rows.truth)


def adjusted(candidate: Candidate, rows: EvalRows) -> Selection:
    """Add thresholds for the metric, one of labels, where it gets significantly better."""
    moved = with_map(candidate, rows, lambda probs, truth, _: fit_thresholds(probs, truth, rows.metric))
    return choose([candidate, moved], rows, _second_if_beyond_noise)


def _second_if_beyond_noise(both: Sequence[Probs], rows: EvalRows) -> int:
    return int(score_gain(both[1], both[0], rows).is_beyond_noise)


def decided(predictions: Probs, rows: EvalRows, task: str) -> tuple[Selection, Gain]:
    """(the plain decision or, where it is significantly better, a fitted one; the cross-fitted gain of fitting).

    With two folds no third is left to choose by: rows out of fold keep the plain one, whatever the test gets.
    predictions: (N, C), out of fold. task: of `decisions.FITS`.
    """
    fits = rows.fold_count + 1
    weights, same = np.ones((fits, 1)), [predictions] * fits
    candidate = Candidate("mean", weights, same, [[]] * fits, lambda: [predictions] * rows.block_count)
    plain = with_map(candidate, rows, lambda probs, truth, _: plain_decision(truth, task, rows.metric))
    fitted = with_map(candidate, rows, lambda probs, truth, _: FITS[task](probs, truth, rows.metric))
    choice = choose([plain, fitted], rows, _second_if_beyond_noise, of_two=True)
    return choice, score_gain(fitted.cross_fitted(rows.folds), plain.cross_fitted(rows.folds), rows)


def redundant_members(stack: Stack, rows: EvalRows, candidate: Candidate) -> list[int]:
    """Members of `stack` (M, N, C) without any one of which a fitted blend is not significantly worse, weakest first.

    Above MAX_ROWS whole groups are sampled.
    """
    count = int(rows.groups.max()) + 1
    sampled = np.random.default_rng(0).permutation(count) * len(rows.truth) < MAX_ROWS * count
    some = sampled[rows.groups]
    part, own = rows.part(some), candidate.cross_fitted(rows.folds)[some]
    losses = row_losses(own, part.truth)
    without = _losses_without(stack.compress(some, axis=1), part, candidate)
    gains = mean_gains(np.stack([each - losses for each in without], axis=1), part.groups)
    weak = [member for member, gain in enumerate(gains) if not gain.is_beyond_noise]
    return sorted(weak, key=lambda member: gains[member].value)


def _losses_without(stack: Stack, rows: EvalRows, candidate: Candidate) -> Iterator[npt.NDArray[np.float64]]:
    """For each member the cross-fitted losses (N,) without it, its weight shared among the others."""
    from scipy.special import softmax

    task, columns, is_mean = rows.task, stack.shape[2], POOLS[candidate.method] == "mean"

    def part(member: int) -> Probs:
        return stack[member] if is_mean else log_probabilities(task.view.open(stack[member]))

    def of_rows(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return (values if is_mean else task.view.rows(values, columns))[:, None]

    weights = candidate.weights[rows.folds]  # (N, M)
    everyone = sum(of_rows(weights[:, m]) * part(m) for m in range(len(stack)))
    total, alone = weights.sum(axis=1), task.constant(rows.truth, columns)
    for member in range(len(stack)):
        rest = total - weights[:, member]
        scale = np.divide(total, rest, out=np.zeros_like(total), where=rest > 1e-12)
        others = (everyone - of_rows(weights[:, member]) * part(member)) * of_rows(scale)
        predictions = others if is_mean else task.view.close(softmax(others, axis=1), columns)
        predictions[scale == 0] = alone
        yield row_losses(predictions, rows.truth)
