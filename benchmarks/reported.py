"""Compare scores that stage=ensemble reports with fresh rows; count choices of `auto` where no member is better.

    python benchmarks/reported.py [--worlds 60]

First twenty equally good members on 300 drawn rows: the cross-fitted log loss, and that on 20,000 fresh rows. Then how
often `auto` leaves equal weights when each of four equal members has luck with each of a few groups. Prints two tables.
"""

import numpy as np
from measure import make_parser

from kagglepipe.predictions.blend import combine
from kagglepipe.predictions.crossfit import Candidate, make_candidate
from kagglepipe.predictions.evaluation import EvalRows
from kagglepipe.predictions.metrics import log_loss
from kagglepipe.predictions.selection import choose

FITTED = ("hill_climb", "nnls", "logistic")
FRESH = 20_000


def drawn(random: np.random.Generator, members: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """(probabilities (M, N, 2), classes (N,)) of members that share half of what they do not know."""
    truth = random.integers(2, size=rows)
    shared = 1.5 * np.eye(2)[truth] + random.normal(size=(rows, 2))
    scores = np.exp(shared + random.normal(size=(members, rows, 2)))
    return scores / scores.sum(axis=2, keepdims=True), truth


def reported_and_fresh(worlds: int) -> None:
    """The first table."""
    print("| 20 equal members, 300 rows | reported | on fresh rows |\n|---|---|---|")
    for method in ("mean", *FITTED):
        reported, fresh = [], []
        for seed in range(worlds):
            random = np.random.default_rng(seed)
            (stack, truth), (others, answers) = drawn(random, 20, 300), drawn(random, 20, FRESH)
            rows = EvalRows(truth, np.arange(300) % 5, np.arange(300), "accuracy")
            blend = make_candidate(stack, rows, method)
            reported.append(log_loss(blend.cross_fitted(rows.folds), truth))
            fresh.append(log_loss(combine(others, blend.weights[-1], method), answers))
        print(f"| {method} | {np.mean(reported):.4f} | {np.mean(fresh):.4f} |", flush=True)


def left_by_luck(groups: int, worlds: int) -> float:
    """The share of worlds in which `auto` takes something else than equal weights, which it never should."""
    taken = 0
    for seed in range(worlds):
        random, group = np.random.default_rng(seed), np.repeat(np.arange(groups), 40)
        truth = random.integers(3, size=len(group))
        known = np.eye(3)[truth]
        luck = 0.6 * random.normal(size=(4, groups))[:, group, None] * known
        scores = np.exp(random.normal(size=known.shape) + known + 0.3 * random.normal(size=(4, *known.shape)) + luck)
        stack, rows = scores / scores.sum(axis=2, keepdims=True), EvalRows(truth, group % 5, group, "accuracy")
        candidates: list[Candidate] = [
            make_candidate(stack, rows, method) for method in ("mean", "geometric_mean", *FITTED)
        ]
        taken += not choose(candidates, rows).picks_first
    return taken / worlds


def main() -> None:
    """Prints both tables."""
    parser = make_parser(__doc__, worlds=60)
    worlds = parser.parse_args().worlds
    reported_and_fresh(worlds)
    print("\n| groups | `auto` leaves equal weights for luck |\n|---|---|")
    for groups in (3, 4, 5, 10, 20):
        print(f"| {groups} | {left_by_luck(groups, worlds):.3f} |", flush=True)


if __name__ == "__main__":
    main()
