"""A leaderboard of one's own: how far its public half can be believed, and what medals are.

Every run has predicted rows whose answers were hidden. One half of them is shown, as Kaggle does; the other decides.
Drawing either half again and again tells how often the order on the one has chosen a run that loses on the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from kagglepipe.predictions.frame import Labels, Probs, labels, probabilities
from kagglepipe.predictions.metrics import find_metric, row_losses

Floats = npt.NDArray[np.float64]
AT_ONCE = 2_000_000  # numbers that the draws of groups may take in memory


@dataclass(frozen=True)
class Shake:
    """What drawing both halves D times has shown of M runs.

    draws: D, those left out in which the metric is undefined. by_public: how choosing by the public half went, by_cv:
    by the score out of fold. ranks: (M, 2) the private rank of each run, 1 the best, in the middle 95 % of the draws.
    """

    draws: int
    by_public: "Choice"
    by_cv: "Choice"
    ranks: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Choice:
    """wrong: how often, in [0, 1], the chosen run was not the best of the private half. lost: score that this has cost,
    on average over all draws, in the metric's unit.
    """

    wrong: float
    lost: float


def shake_up(
    metric: str,
    frames: Sequence[pd.DataFrame],
    classes: Sequence[str],
    groups: Sequence[object],
    cv_scores: Sequence[float],
    *,
    public: float = 0.5,
    draws: int = 2000,
    seed: int = 0,
) -> Shake:
    """How often the wrong one of M runs is chosen when both halves are drawn anew from the hidden rows.

    Whole groups are drawn with replacement, for either half by itself: as if the organisers had drawn others of the
    kind. (Splitting the same rows again would make the halves opponents: what the one has the other lacks, and of two
    equal runs the public order would choose the wrong one more than half of the time.)

    frames: with id, target and the classes, of the same rows in the same order. groups: the group of each row (N,).
    cv_scores: the score of each run out of fold (M,). public: share of the groups in the public half.

    Runs that are level in the public half are chosen by lot; runs level in the private half are equally right. Efron
    and Tibshirani 1993, "An introduction to the bootstrap", chapter 8.
    Raises ValueError if frames do not hold the same rows, or the metric is undefined in every draw.
    """
    ids = frames[0]["id"].tolist()
    if any(frame["id"].tolist() != ids for frame in frames) or len(groups) != len(ids):
        raise ValueError("runs have to answer the same rows, in the same order, each with a group")
    codes = pd.factorize(pd.Series(list(groups), dtype=object))[0]
    truth, probs = labels(frames[0], classes), [probabilities(frame, classes) for frame in frames]
    shown = min(max(1, round(public * (codes.max() + 1))), codes.max())
    sizes = (int(shown), int(codes.max() + 1 - shown)) if codes.max() else (1, 1)
    random = np.random.default_rng(seed)
    halves = [_drawn_scores(metric, probs, truth, codes, size, random, draws) for size in sizes]
    defined = ~np.isnan(np.concatenate(halves, axis=1)).any(axis=1)
    if not defined.any():
        raise ValueError(f"{metric} is undefined in every draw")
    sign = 1.0 if find_metric(metric).greater_is_better else -1.0
    seen, decisive = (sign * half[defined] for half in halves)
    best_first = np.sort(_ranks(decisive), axis=0)
    at = [int(share * (len(best_first) - 1)) for share in (0.025, 0.975)]
    return Shake(
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


def _drawn_scores(
    metric: str,
    probs: Sequence[Probs],
    truth: Labels,
    codes: Labels,
    size: int,
    random: np.random.Generator,
    draws: int,
) -> Floats:
    """(draws, M) scores of the runs on as many draws of `size` groups with replacement."""
    count = int(codes.max()) + 1
    parts, most = [], max(1, AT_ONCE // count)
    for done in range(0, draws, most):
        times = random.multinomial(size, np.full(count, 1 / count), size=min(most, draws - done))  # (D, groups)
        parts.append(_scores(metric, probs, truth, codes, times))
    return np.concatenate(parts)


def _scores(metric: str, probs: Sequence[Probs], truth: Labels, codes: Labels, times: npt.NDArray[np.int64]) -> Floats:
    """(D, M) scores when each group counts as often as `times` (D, groups) says."""
    if metric in ("accuracy", "log_loss"):  # means over rows: sums of groups will do, at once for all draws
        rows = [row_losses(p, truth) if metric == "log_loss" else p.argmax(axis=1) == truth for p in probs]
        sums = np.stack([np.bincount(codes, row) for row in rows])  # (M, groups)
        means: Floats = (times @ sums.T) / (times @ np.bincount(codes))[:, None]
        return means
    function, numbers = find_metric(metric).function, np.arange(len(codes))
    drawn = [np.repeat(numbers, each[codes]) for each in times]
    return np.array([[function(p[rows], truth[rows]) for p in probs] for rows in drawn])


def _choice(seen: Floats, decisive: Floats) -> Choice:
    """What choosing the best of `seen` (D, M) came to in `decisive` (D, M); more is better in both."""
    best = seen == seen.max(axis=1, keepdims=True)
    chance = best / best.sum(axis=1, keepdims=True)  # by lot where several are level
    lost = decisive.max(axis=1, keepdims=True) - decisive
    return Choice(
        wrong=float((chance * (lost > 1e-12)).sum(axis=1).mean()), lost=float((chance * lost).sum(axis=1).mean())
    )


def _ranks(scores: Floats) -> npt.NDArray[np.int64]:
    """(D, M) 1 + how many runs are better; more is better, level runs share the better rank."""
    better = scores[:, None, :] > scores[:, :, None] + 1e-12  # (D, M, M)
    return 1 + better.sum(axis=2)
