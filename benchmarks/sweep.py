"""A sweep of head trials under joblib workers that is killed with SIGKILL again and again, and what is left of it.

    python benchmarks/sweep.py [--trials 20] [--workers 2] [--kills 3] [-- OPTION=VALUE …]

Starts `python -m kagglepipe -m sweep=own …` on the built-in sample, with a tiny network if no options are given, in a
temporary folder. It kills the command, and not its workers, which end by themselves, each time another part of the
trials is done, types it again at once, and in the end demands: as many finished trials as asked for, no two alike,
those from before a kill untouched.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import make_parser

USUAL = (
    "competition=pistols_vs_smartphones_sample",
    "experiment=quick",
    "folds.count=5",
    "augmentation=light,strong",
    "model.crop=squash,center,border",
    "training.views=range(0,3)",
    "seed=range(0,20)",
)
COMPLETE = 1  # optuna.trial.TrialState.COMPLETE


def main() -> None:
    """Kills, types again, and prints a line for each time."""
    parser = make_parser(__doc__, trials=20, workers=2, kills=3)
    parser.add_argument("options", nargs="*", default=USUAL)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "kagglepipe", "-m", "sweep=own", f"sweep.trials={asked.trials}", "sweep.race=false",
            "hydra/launcher=joblib", f"hydra.launcher.n_jobs={asked.workers}", f"paths.root={folder}", *asked.options,
        ]  # fmt: skip
        before: list[dict[str, Any]] = []
        start = time.perf_counter()
        for kill in range(1, asked.kills + 1):
            run_until(command, Path(folder), asked.trials * kill // (asked.kills + 1))
            print(f"kill {kill} after {time.perf_counter() - start:6.1f} s: {progress(Path(folder), before)}")
            before = finished(Path(folder))
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        print(f"the end after {time.perf_counter() - start:5.1f} s: {progress(Path(folder), before)}")
        demand_whole(Path(folder), before, asked.trials)


def run_until(command: list[str], folder: Path, count: int) -> None:
    """Types the command, and kills it once so many trials are finished."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(finished(folder)) < count:
        time.sleep(0.05)
    assert process.poll() is None, "it ended before it could be killed"
    time.sleep(0.7)  # into the trials that follow
    process.kill()
    process.wait()


def lines(folder: Path) -> list[dict[str, Any]]:
    """The whole lines of the study's journal, which another process may be writing."""
    text = "".join(path.read_text() for path in folder.glob("outputs/*/sweeps/*/study.journal"))
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def finished(folder: Path) -> list[dict[str, Any]]:
    """What says of a trial that it is complete."""
    return [line for line in lines(folder) if line.get("state") == COMPLETE]


def progress(folder: Path, before: list[dict[str, Any]]) -> str:
    """How many trials are finished, and how many of them were before the last kill."""
    now = finished(folder)
    assert now[: len(before)] == before, "what was finished has changed"
    return f"{len(now)} trials finished, {len(before)} of them before the last kill"


def demand_whole(folder: Path, before: list[dict[str, Any]], trials: int) -> None:
    """Fails unless as many different trials as asked for are finished, each once, some from before the last kill."""
    parameters: dict[int, dict[str, Any]] = {}
    for line in lines(folder):
        if "param_name" in line:
            parameters.setdefault(line["trial_id"], {})[line["param_name"]] = line["param_value_internal"]
    done = [line["trial_id"] for line in finished(folder)]
    different = {tuple(sorted(parameters[trial].items())) for trial in done}
    runs = list(folder.glob("outputs/*/*/metrics.json"))
    print(f"{len(done)} finished trials, {len(different)} different ones, {len(runs)} runs, {len(before)} from before")
    assert len(done) == len(set(done)) == len(different) == len(runs) == trials
    assert before


if __name__ == "__main__":
    main()
