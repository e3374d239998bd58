"""Simulated leaderboards: shake-up between a public and a private part of hidden rows, and Kaggle's medals.

The bootstrap over groups of hidden rows estimates how often the best run of the public part is not that of the private
one. A run is scored by a function of counts of G groups, (D, G) -> (D,), which sums within groups only once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.predictions.frame import labels, probabilities
from kagglepipe.predictions.metrics import find_metric

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Scorer = Callable[[Counts], Floats]  # counts of groups (D, G) -> scores (D,), NaN where undefined
COUNTS_AT_ONCE = 2_000_000  # in memory


@dataclass(frozen=True)
class ShakeUp:
    """Result of D draws of both parts for M runs.

    draws: D, without draws of undefined scores. by_public, by_cv: of selection by the public score, or out of fold.
    ranks: (M, 2) 95 % interval of the private rank of each run, from 1.
    """

    draws: int
    by_public: "SelectionRegret"
    by_cv: "SelectionRegret"
    ranks: npt.NDArray[np.int64]


@dataclass(frozen=True)
class SelectionRegret:
    """wrong: share of draws, in [0, 1], in which the selected run is not the best in private. lost: mean regret.

    Both are lower bounds, since both parts are drawn from the same hidden groups.
    """

    wrong: float
    lost: float


def row_scorer(metric: str, frame: pd.DataFrame, classes: Sequence[str], codes: npt.ArrayLike) -> Scorer:
    """Scorer of a run by a metric of rows. frame: target and the classes (N rows). codes: group of each row (N,).

    A mean over rows is a sum over groups; every other metric is computed for each draw.

    >>> frame = pd.DataFrame({"target": ["cat", "dog"], "cat": [0.9, 0.6], "dog": [0.1, 0.4]})
    >>> row_scorer("accuracy", frame, ["cat", "dog"], [0, 1])(np.array([[1, 1], [3, 1]])).tolist()
    [0.5, 0.75]
    """
    groups, probs, truth = np.asarray(codes, dtype=np.intp), probabilities(frame, classes), labels(frame, classes)
    scored, numbers = find_metric(metric), np.arange(len(groups))
    if scored.rows is not None:
        sums, counts = np.bincount(groups, scored.rows(probs, truth)), np.bincount(groups)
        return lambda times: (times @ sums) / (times @ counts)

    def anew(times: Counts) -> Floats:
        drawn = (np.repeat(numbers, each[groups]) for each in times)
        return np.array([scored.function(probs[chosen], truth[chosen]) for chosen in drawn])

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
    """Bootstrap the public and the private part from G hidden groups, and select among M runs by the public score.

    Groups are drawn with replacement, independently for each part. (Splitting the same rows would make the parts
    negatively dependent: of two equal runs the public order would be wrong more than half of the time.)
    Ties in public are broken at random, ties in private are equally right. Efron and Tibshirani 1993, "An introduction
    to the bootstrap", chapter 8.

    scorers: of M runs, on the same groups. groups: G. cv_scores: out of fold, (M,). public: share of the groups.
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
    better = decisive[:, None, :] > decisive[:, :, None] + 1e-12  # (D, M, M); ties share the better rank
    return ShakeUp(
        draws=int(defined.sum()),
        by_public=_regret(seen, decisive),
        by_cv=_regret(np.broadcast_to(sign * np.asarray(cv_scores, dtype=np.float64), decisive.shape), decisive),
        ranks=np.quantile(1 + better.sum(axis=2), (0.025, 0.975), axis=0, method="lower").T,
    )


def medal_ranks(teams: int) -> tuple[int, int, int]:
    """Last ranks with gold, silver and bronze among so many teams, by Kaggle's table (kaggle.com/progression).

    Shares are rounded down, to one at least.

    >>> [medal_ranks(teams) for teams in (50, 100, 250, 1000, 2000)]
    [(5, 10, 20), (10, 20, 40), (10, 50, 100), (12, 50, 100), (14, 100, 200)]
    """
    gold = teams // 10 if teams < 100 else 10 if teams < 250 else 10 + teams // 500
    if teams < 250:
        return max(1, gold), max(1, teams // 5), max(1, teams * 2 // 5)
    return (gold, 50, 100) if teams < 1000 else (gold, teams // 20, teams // 10)


def medal(rank: int, teams: int) -> str:
    """`gold`, `silver`, `bronze`, or "" for a rank from 1 on.

    >>> medal(1, 7), medal(10, 150), medal(11, 150), medal(51, 999), medal(101, 999)
    ('gold', 'gold', 'silver', 'bronze', '')
    """
    names = ("gold", "silver", "bronze")
    return next((name for name, last in zip(names, medal_ranks(teams), strict=True) if rank <= last), "")


def rank_among(rank: int, runs: int, teams: int) -> int:
    """Rank among so many teams of the run that is `rank` of `runs`: the middle of an equal part of the teams.

    >>> rank_among(1, 1, 1000), rank_among(1, 4, 4), rank_among(2, 20, 1000)
    (500, 1, 75)
    """
    return max(1, -(-(2 * rank - 1) * teams // (2 * runs)))


def _drawn_scores(scorers: Sequence[Scorer], groups: int, size: int, random: np.random.Generator, draws: int) -> Floats:
    """Scores of the runs on draws of `size` groups with replacement, (draws, M)."""
    parts, most = [], max(1, COUNTS_AT_ONCE // groups)
    for done in range(0, draws, most):
        times = random.multinomial(size, np.full(groups, 1 / groups), size=min(most, draws - done))  # (D, groups)
        parts.append(np.stack([scorer(times) for scorer in scorers], axis=1))
    return np.concatenate(parts)


def _regret(seen: Floats, decisive: Floats) -> SelectionRegret:
    """Regret in `decisive` (D, M) of selecting the best of `seen` (D, M); more is better in both."""
    best = seen == seen.max(axis=1, keepdims=True)
    chance = best / best.sum(axis=1, keepdims=True)  # ties at random
    lost = decisive.max(axis=1, keepdims=True) - decisive
    return SelectionRegret(
        wrong=float((chance * (lost > 1e-12)).sum(axis=1).mean()), lost=float((chance * lost).sum(axis=1).mean())
    )
