"""How often a race (kagglepipe.runs.trial) stops trials of which the truth is known.

    python benchmarks/racing.py [--races 10000]

A fold's score is the trial's true one, in deviations of a fold, and normal noise. The rival is the best mean of 1 or of
20 runs that are all equally good, as the best of a sweep is. Prints the share of trials that are stopped before their
last fold, by how much better they truly are than each rival.
"""

import numpy as np
from measure import make_parser

from kagglepipe.runs.trial import Incumbent, should_prune

BETTER = (0.5, 0.0, -1.0, -2.0, -3.0, -4.0)


def main() -> None:
    """Prints a line for each number of folds and of rivals."""
    parser = make_parser(__doc__, races=10_000)
    races = parser.parse_args().races
    print("folds rivals " + " ".join(f"{better:+6.1f}" for better in BETTER))
    for folds in (5, 10):
        for rivals in (1, 20):
            shares = [stopped(folds, rivals, better, races) for better in BETTER]
            print(f"{folds:5} {rivals:6} " + " ".join(f"{share:6.3f}" for share in shares))


def stopped(folds: int, rivals: int, better: float, races: int) -> float:
    """The share of trials that are stopped."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(races):
        scores = rng.normal(size=(rivals, folds))
        best = scores[scores.mean(axis=1).argmax()]
        rival = Incumbent("best", "score", True, 1e9, dict(enumerate(best.tolist())), "")
        own = rng.normal(better, 1, folds).tolist()
        alike = dict.fromkeys(range(folds), 1.0)
        found.append(any(should_prune(dict(enumerate(own[:done])), rival, rows=alike) for done in range(1, folds)))
    return float(np.mean(found))


if __name__ == "__main__":
    main()
