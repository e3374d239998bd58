"""When a run stops after some of its folds: known answers, and what no such rule may depend on."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagglepipe.runs.trial import LEVEL, MIN_FOLDS, Incumbent, chance
from kagglepipe.runs.trial import should_prune as should_prune_on

SCORES = st.lists(st.floats(0, 1), min_size=5, max_size=5)


def should_prune(own: Mapping[int, float], best: Incumbent, *, row: float = 0.0) -> str | None:
    """Of folds of as many rows each."""
    return should_prune_on(own, best, row=row, rows=dict.fromkeys(best.folds, 10))


def rival(*scores: float, greater: bool = True) -> Incumbent:
    """What has those scores on folds 0, 1, …"""
    return Incumbent("best", "score", greater, 1.0 if greater else 0.0, dict(enumerate(scores)), "")


def test_chance_is_that_of_the_t_test() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = [0.01, -0.02, -0.05, 0.01]
    assert chance(values, 0.0) == pytest.approx(stats.ttest_1samp(values, 0, alternative="less").pvalue)


FIVE = (0.8, 0.7, 0.9, 0.8, 0.7)
PERFECT = "with perfect folds to come its mean would be {}, that of best is {}"


@pytest.mark.parametrize(
    ("best", "own", "row", "words"),
    [
        ([0.98] * 5, [0.89], 0.0, PERFECT.format("0.9780", "0.9800")),
        ([0.98] * 5, [0.91], 0.0, None),
        ([1.0] * 3, [1.0, 1.0], 0.0, None),  # a draw goes on
        ([1.0] * 3, [1.0, 0.99], 0.0, PERFECT.format("0.9967", "1.0000")),
        (FIVE, [0.7, 0.6, 0.8], 1 / 150, "over 3 folds it is 0.1000 worse than best, which is significant"),
        (FIVE, [0.75, 0.72, 0.88, 0.79], 0.0, None),
    ],
)
def test_pruning_worked_by_hand(best: list[float], own: list[float], row: float, words: str | None) -> None:
    assert should_prune(dict(enumerate(own)), rival(*best), row=row) == words


def test_what_is_certain_is_certain_of_all_rows() -> None:
    """Five rows that are all wrong, and four thousand to come."""
    best = rival(*[0.9] * 5)
    rows = {0: 5, **dict.fromkeys(range(1, 5), 1000)}
    assert should_prune({0: 0.0}, best) is not None
    assert should_prune_on({0: 0.0}, best, rows=rows) is None
    assert "would be 0.8002" in (should_prune_on({1: 0.2}, best, rows=rows) or "")
    assert should_prune_on({0: 0.0, 1: 0.0}, best) is None  # of what is no mean over rows


@pytest.mark.parametrize(("rows", "folds"), [(1, 0), (2, 0), (3, 4), (9, 3)])
def test_equal_losses_are_believed_when_they_are_more_than_single_rows(rows: int, folds: int) -> None:
    best = rival(0.8, 0.7, 0.9, 0.8, 0.7)
    own = {fold: score - rows / 150 for fold, score in best.folds.items()}
    done = range(1, 5)
    stopped = [n for n in done if should_prune({fold: own[fold] for fold in range(n)}, best, row=1 / 150)]
    assert stopped[:1] == [folds] * bool(folds)


def test_less_is_better_where_it_is() -> None:
    best = rival(0.2, 0.3, 0.2, 0.3, 0.2, greater=False)
    assert should_prune({0: 1.3}, best) == "with perfect folds to come its mean would be 0.2600, that of best is 0.2400"
    assert should_prune({0: 0.3, 1: 0.4, 2: 0.3}, best) is not None
    assert should_prune({0: 0.1, 1: 0.2, 2: 0.1}, best) is None


@pytest.mark.parametrize("own", [{}, {7: 0.0}, {0: math.nan}, {0: 0.0, 1: math.nan}])
def test_what_is_not_known_stops_nothing(own: dict[int, float]) -> None:
    assert should_prune(own, rival(0.9, 0.9)) is None
    assert should_prune({0: 0.0}, rival(0.9, math.nan)) is None


@given(SCORES, st.integers(1, 5))
def test_a_run_never_loses_against_itself(scores: list[float], done: int) -> None:
    assert should_prune(dict(enumerate(scores[:done])), rival(*scores)) is None


@given(SCORES, SCORES, st.integers(1, 5))
def test_the_order_of_the_folds_changes_nothing(own: list[float], best: list[float], done: int) -> None:
    part = dict(enumerate(own[:done]))
    turned = Incumbent("best", "score", True, 1.0, dict(reversed(list(enumerate(best)))), "")
    assert should_prune(part, rival(*best)) == should_prune(dict(reversed(part.items())), turned)


@given(SCORES, SCORES, st.integers(1, 4))
def test_the_same_in_the_mirror_is_the_same(own: list[float], best: list[float], done: int) -> None:
    mirrored = rival(*(1 - score for score in best), greater=False)
    straight = should_prune(dict(enumerate(own[:done])), rival(*best))
    assert (straight is None) == (
        should_prune({k: 1 - own[k] for k in range(done)}, mirrored) is None
    ) or near_the_edge(own[:done], best)


def near_the_edge(own: list[float], best: list[float]) -> bool:
    """Whether rounding decides: 1 - (1 - x) is not x to the last bit."""
    gains = [mine - theirs for mine, theirs in zip(own, best, strict=False)]
    hoped = math.fsum([*own, len(best) - len(own)]) - math.fsum(best)
    is_near = len(gains) >= MIN_FOLDS and abs(chance(gains, 0.0) / (LEVEL / (len(best) - MIN_FOLDS)) - 1) < 1e-6
    return is_near or max(map(abs, gains)) < 1e-9 or abs(hoped) < 1e-7


def test_of_runs_as_good_as_the_best_of_twenty_few_are_stopped_and_of_much_worse_ones_most() -> None:
    rng = np.random.default_rng(0)

    def share_stopped(better: float) -> float:
        found = []
        for _ in range(400):
            runs = rng.normal(0.5, 0.002, (20, 10))
            best, own = rival(*runs[runs.mean(axis=1).argmax()]), rng.normal(0.5 + better, 0.002, 10)
            found.append(any(should_prune(dict(enumerate(own[:n])), best) for n in range(1, 10)))
        return float(np.mean(found))

    assert share_stopped(0.0) < 0.06
    assert share_stopped(0.001) < 0.03
    assert share_stopped(-0.004) > 0.8
