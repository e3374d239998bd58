"""A leaderboard of one's own: how far its public half can be believed, and what medals are.

Every run has predicted rows whose answers were hidden. One half of them is shown, as Kaggle does; the other decides.
Drawing either half again and again tells how often the order on the one has chosen a run that loses on the other.

A run is scored by a function of how often each of G groups counts: (D, G) whole numbers -> D scores. What adds up
within a group is summed once, so that thousands of draws take seconds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.predictions.frame import labels, probabilities
from kagglepipe.predictions.metrics import find_metric, row_losses

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Scorer = Callable[[Counts], Floats]  # how often each group counts (D, G) -> scores (D,), NaN where undefined
AT_ONCE = 2_000_000  # numbers that the draws of groups may take in memory


@dataclass(frozen=True)
class ShakeUp:
    """What drawing both halves D times has shown of M runs.

    draws: D, those left out in which the metric is undefined. by_public: how choosing by the public half went, by_cv:
    by the score out of fold. ranks: (M, 2) the private rank of each run, 1 the best, in the middle 95 % of the draws.
    """

    draws: int
    by_public: "SelectionRegret"
    by_cv: "SelectionRegret"
    ranks: npt.NDArray[np.int64]


@dataclass(frozen=True)
class SelectionRegret:
    """wrong: how often, in [0, 1], the chosen run was not the best of the private half. lost: score that this has cost,
    on average over all draws, in the metric's unit.

    Both are at least so much: the halves are drawn from the same hidden groups, whose luck passes for the runs' skill.
    """

    wrong: float
    lost: float


def row_scorer(metric: str, frame: pd.DataFrame, classes: Sequence[str], codes: npt.ArrayLike) -> Scorer:
    """Scores a run by a metric of rows. frame: target and the classes (N rows). codes: the group of each row (N,).

    Accuracy and log loss are sums over groups; every other metric is computed anew for each draw.

    >>> frame = pd.DataFrame({"target": ["cat", "dog"], "cat": [0.9, 0.6], "dog": [0.1, 0.4]})
    >>> row_scorer("accuracy", frame, ["cat", "dog"], [0, 1])(np.array([[1, 1], [3, 1]])).tolist()
    [0.5, 0.75]
    """
    groups, probs, truth = np.asarray(codes, dtype=np.intp), probabilities(frame, classes), labels(frame, classes)
    if metric in ("accuracy", "log_loss"):
        rows = row_losses(probs, truth) if metric == "log_loss" else probs.argmax(axis=1) == truth
        sums, counts = np.bincount(groups, rows), np.bincount(groups)
        return lambda times: (times @ sums) / (times @ counts)
    function, numbers = find_metric(metric).function, np.arange(len(groups))

    def anew(times: Counts) -> Floats:
        drawn = (np.repeat(numbers, each[groups]) for each in times)
        return np.array([function(probs[chosen], truth[chosen]) for chosen in drawn])

    return anew


def shake_up(
    scorers: Sequence[Scorer],
    groups: int,
    cv_scores: Sequence[float],
    *,
    greater_is_better: bool,
    public: float = 0.5,
    draws: int = 2000,
    seed: int = 0,
) -> ShakeUp:
    """How often the wrong one of M runs is chosen when both halves are drawn anew from G hidden groups.

    Whole groups are drawn with replacement, for either half by itself: as if the organisers had drawn others of the
    kind. (Splitting the same rows again would make the halves opponents: what the one has the other lacks, and of two
    equal runs the public order would choose the wrong one more than half of the time.)

    scorers: of the runs (M,), on the same groups. groups: G. cv_scores: the score of each run out of fold (M,).
    greater_is_better: of all these scores. public: share of the groups in the public half.

    Runs that are level in the public half are chosen by lot; runs level in the private half are equally right. Efron
    and Tibshirani 1993, "An introduction to the bootstrap", chapter 8.
    Raises ValueError if a score is undefined in every draw.
    """
    shown = min(max(1, round(public * groups)), groups - 1)
    sizes = (shown, groups - shown) if groups > 1 else (1, 1)
    random = np.random.default_rng(seed)
    halves = [_drawn_scores(scorers, groups, size, random, draws) for size in sizes]
    defined = ~np.isnan(np.concatenate(halves, axis=1)).any(axis=1)
    if not defined.any():
        raise ValueError("the score is undefined in every draw")
    sign = 1.0 if greater_is_better else -1.0
    seen, decisive = (sign * half[defined] for half in halves)
    best_first = np.sort(_ranks(decisive), axis=0)
    at = [int(share * (len(best_first) - 1)) for share in (0.025, 0.975)]
    return ShakeUp(
        draws=int(defined.sum()),
        by_public=_choice(seen, decisive),
        by_cv=_choice(np.broadcast_to(sign * np.asarray(cv_scores, dtype=np.float64), decisive.shape), decisive),
        ranks=best_first[at].T,
    )


def medal_ranks(teams: int) -> tuple[int, int, int]:
    """The last ranks with gold, silver and bronze among so many teams, by Kaggle's table of competition medals.

    Shares are rounded down, but to one at least; how Kaggle rounds is not told. kaggle.com/progression.

    >>> [medal_ranks(teams) for teams in (50, 100, 250, 1000, 2000)]
    [(5, 10, 20), (10, 20, 40), (10, 50, 100), (12, 50, 100), (14, 100, 200)]
    """
    if teams < 100:
        ranks = (teams * 10 // 100, teams * 20 // 100, teams * 40 // 100)
    elif teams < 250:
        ranks = (10, teams * 20 // 100, teams * 40 // 100)
    elif teams < 1000:
        ranks = (10 + teams * 2 // 1000, 50, 100)
    else:
        ranks = (10 + teams * 2 // 1000, teams * 5 // 100, teams * 10 // 100)
    gold, silver, bronze = (max(1, rank) for rank in ranks)
    return gold, silver, bronze


def medal(rank: int, teams: int) -> str:
    """`gold`, `silver`, `bronze`, or "" for a rank from 1 on.

    >>> medal(1, 7), medal(10, 150), medal(11, 150), medal(51, 999), medal(101, 999)
    ('gold', 'gold', 'silver', 'bronze', '')
    """
    names = ("gold", "silver", "bronze")
    return next((name for name, last in zip(names, medal_ranks(teams), strict=True) if rank <= last), "")


def rank_among(rank: int, runs: int, teams: int) -> int:
    """The rank among so many teams of the run that is `rank` of `runs`, if teams are spread as the runs are.

    Each run stands for an equal part of the teams, and is in the middle of it.

    >>> rank_among(1, 1, 1000), rank_among(1, 4, 4), rank_among(2, 20, 1000)
    (500, 1, 75)
    """
    return max(1, -(-(2 * rank - 1) * teams // (2 * runs)))


def _drawn_scores(scorers: Sequence[Scorer], groups: int, size: int, random: np.random.Generator, draws: int) -> Floats:
    """(draws, M) scores of the runs on as many draws of `size` groups with replacement."""
    parts, most = [], max(1, AT_ONCE // groups)
    for done in range(0, draws, most):
        times = random.multinomial(size, np.full(groups, 1 / groups), size=min(most, draws - done))  # (D, groups)
        parts.append(np.stack([scorer(times) for scorer in scorers], axis=1))
    return np.concatenate(parts)


def _choice(seen: Floats, decisive: Floats) -> SelectionRegret:
    """What choosing the best of `seen` (D, M) came to in `decisive` (D, M); more is better in both."""
    best = seen == seen.max(axis=1, keepdims=True)
    chance = best / best.sum(axis=1, keepdims=True)  # by lot where several are level
    lost = decisive.max(axis=1, keepdims=True) - decisive
    return SelectionRegret(
        wrong=float((chance * (lost > 1e-12)).sum(axis=1).mean()), lost=float((chance * lost).sum(axis=1).mean())
    )


def _ranks(scores: Floats) -> npt.NDArray[np.int64]:
    """(D, M) 1 + how many runs are better; more is better, level runs share the better rank."""
    better = scores[:, None, :] > scores[:, :, None] + 1e-12  # (D, M, M)
    return 1 + better.sum(axis=2)
