"""Seconds and memory of stage=ensemble on many runs, made out of thin air, everything that `auto` tries included.

    python benchmarks/ensemble.py [--runs 50] [--rows 100000] [--classes 10] [--method auto]

The runs are written first, which is not measured; then the stage runs in a process of its own.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from measure import make_parser, run_process
from scipy.special import softmax

from kagglepipe.files import write_json, write_parquet
from kagglepipe.predictions.frame import oof_frame, test_frame

STAGE = """
import logging, sys
from pathlib import Path
import numpy as np, pandas as pd
from kagglepipe.competitions.dataset import Dataset
from kagglepipe.config import Config
from kagglepipe.files import read_json
from kagglepipe.options import CompetitionOptions, EnsembleOptions, PathsOptions
from kagglepipe.stages import ensemble
from kagglepipe.runs.configured import ensemble_run, find_members
logging.basicConfig(level=logging.INFO, format="%(message)s")
root, method = Path(sys.argv[1]), sys.argv[2]
table = pd.read_parquet(root / "table.parquet")
classes = read_json(root / "classes.json")
config = Config(
    paths=PathsOptions(str(root)),
    competition=CompetitionOptions(slug="many"),
    ensemble=EnsembleOptions(runs=["run*"], method=method),
)
folds = table.loc[table.split == "train", ["id", "fold"]]
prepared = Dataset(table.drop(columns="fold"), folds, classes, root, "table", "folds")
members = find_members(config, prepared)
ensemble.make_ensemble(config, prepared, members, ensemble_run(config, prepared, members))
"""


def make_runs(root: Path, runs: int, rows: int, classes: int) -> None:
    """Runs that share most of what they know, each with noise of its own, on a table with twins and 5 folds."""
    random = np.random.default_rng(0)
    names = [f"class{number}" for number in range(classes)]
    truth, shared = random.integers(classes, size=rows), random.normal(size=(2, rows, classes)).astype(np.float32)
    shared[0, np.arange(rows), truth] += 2
    ids = [f"image{row:07d}.jpg" for row in range(rows)]
    target, fold = [names[label] for label in truth], np.arange(rows) // 2 % 5
    known = pd.DataFrame({"id": ids, "split": "train", "target": target, "fold": fold, "group": np.arange(rows) // 2})
    known = known.assign(width=random.integers(50, 500, rows), height=200, format="JPEG", mode="RGB")
    asked = known.assign(id="t" + known["id"], split="test", target=None)
    write_parquet(root / "table.parquet", pd.concat([known, asked], ignore_index=True))
    write_json(root / "classes.json", names)
    for run in range(runs):
        folder, noise = root / f"outputs/many/run{run:02d}", 0.6 + 0.8 * run / runs
        first, second = (
            softmax(part + noise * random.normal(size=part.shape), axis=1).astype(np.float32) for part in shared
        )
        write_parquet(folder / "oof.parquet", oof_frame(ids, fold, target, first, names))
        write_parquet(folder / "test.parquet", test_frame(asked["id"].tolist(), second, names))
        identity = {"table": "table", "folds": "folds"}
        write_json(folder / "metrics.json", {"metric": "accuracy", "score": 0.5, "log_loss": 1.0, "identity": identity})


def main() -> None:
    """Makes the runs, blends them and tells what it cost."""
    parser = make_parser(__doc__, runs=50, rows=100_000, classes=10)
    parser.add_argument("--method", default="auto")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_runs(root, options.runs, options.rows, options.classes)
        usage = run_process([sys.executable, "-c", STAGE, str(root), options.method], quiet=False)
    print(
        f"{options.runs} runs, {options.rows} rows to learn from and as many to classify, {options.classes} classes: "
        f"{usage.seconds:.1f} s ({usage.processor:.1f} s of processor), {usage.memory:.2f} GB"
    )


if __name__ == "__main__":
    main()
