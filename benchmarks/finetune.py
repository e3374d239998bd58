"""What `training=finetune` costs a fold, and what it reaches.

    python benchmarks/finetune.py ARCHIVE.zip [--folds 0 1]

Prepares, fits the head (both untimed), then fine-tunes the folds one by one, each as a process of its own.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import make_parser


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("--folds", nargs="*", type=int, default=[0])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = [sys.executable, "-m", "kagglepipe", "stage=train", f"competition.source={arguments.source.resolve()}"]
        subprocess.run([*base, "training=head"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        for fold in arguments.folds:
            start = time.perf_counter()
            command = [*base, "training=finetune", f"folds.only=[{fold}]"]
            done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
            lines = [line for line in done.stdout.splitlines() if f"fold {fold}: " in line]
            print(f"{time.perf_counter() - start:6.1f} s  {lines[-1]}", flush=True)


if __name__ == "__main__":
    main()
