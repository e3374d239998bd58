"""Intervals of metrics that are no mean over the rows: from numbers that add up, and by one block after the other.

    python benchmarks/intervals.py [--rows 20000] [--classes 300]

Half of the classes have one row. The second figure is 200 / 3 of the time for three of the 200 blocks.
"""

import time

import numpy as np
from classes import draw_labels
from measure import make_parser

from kagglepipe.predictions.metrics import METRICS
from kagglepipe.predictions.uncertainty import BLOCKS

PLAIN = 3  # blocks that are left out one after the other


def compare(name: str, probs: np.ndarray, truth: np.ndarray, blocks: np.ndarray) -> None:
    """Print the seconds of the cores for all blocks, either way, and the largest difference."""
    metric, start = METRICS[name], time.process_time()
    found = metric.scores_without(probs, truth, blocks)
    between = time.process_time()
    kept = [blocks != block for block in range(PLAIN)]
    plain = np.array([metric.function(probs[rows], truth[rows]) for rows in kept])
    taken = (time.process_time() - between) * BLOCKS / PLAIN
    differ = np.abs(found[:PLAIN] - plain).max()
    print(
        f"{name:<18} {between - start:7.2f} s of cores, {taken:7.1f} s one by one; differ by {differ:.0e}", flush=True
    )


if __name__ == "__main__":
    options = make_parser(__doc__, rows=20_000, classes=300).parse_args()
    random = np.random.default_rng(0)
    truth = draw_labels(random, options.rows, options.classes)
    probs = random.random((options.rows, options.classes))
    probs[np.arange(options.rows), truth] += 0.5
    probs /= probs.sum(axis=1, keepdims=True)
    blocks = random.permutation(options.rows) % BLOCKS
    for name in ("balanced_accuracy", "f1_macro", "matthews", "roc_auc", "average_precision"):
        compare(name, probs, truth, blocks)
