"""The whole pipeline of what has a time axis, on drawn sources: clips, pieces of videos, long videos, series."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from kagglepipe.config import Config
from kagglepipe.runs.configured import read_data, run_of
from kagglepipe.tools.commands import run_command
from tests.composing import config_of

LONG = ("competition=video_folder_untrimmed", "competition.answers=answers.csv",
        "competition.sample_submission=sample_submission.csv")  # fmt: skip
PIPELINES = {  # name -> fixture with the source, and what to type
    "clips": ("clips", ("competition=video_folder", "model=cnn_lstm")),
    "pieces": ("long_videos", ("competition=video_folder", "model=cnn_lstm", "competition.labels=annotations.csv")),
    "long": ("long_videos", (*LONG, "sequences.motion=true")),
    "both-ways": ("long_videos", (*LONG, "model.temporal.bidirectional=true")),
    "series": ("series", ("competition=video_folder", "competition.kind=series", "model=lstm")),
    "long-series": ("long_series", (*LONG, "competition.kind=series", "model=lstm")),
}
QUICK = (
    "model.name=test_efficientnet", "model.weights=none", "model.image_size=32", "device=cpu", "folds.count=2",
    "sequences.steps=60", "sequences.lr=1e-2", "sequences.members=1", "model.temporal.dropout=0",
    "sequences.speed=1", "sequences.crop=1", "sequences.drop=0",
)  # fmt: skip


def typed(name: str, source: Path, root: Path) -> tuple[str, ...]:
    """What to type for one of PIPELINES."""
    where = (f"competition.source='{source}'", f"competition.slug={name}", f"paths.root='{root}'")
    return (*PIPELINES[name][1], *QUICK, *where)


def pipeline_config(name: str, source: Path, root: Path, *overrides: str) -> Config:
    """The configuration of one of PIPELINES, rooted there."""
    return config_of(*typed(name, source, root), *overrides)


def files_below(folder: Path) -> dict[str, int]:
    """Every file's path and time of change, without locks."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    }


def the_run(config: Config) -> Path:
    """The folder of the run that a configuration means."""
    return run_of(config, read_data(config)).folder


DEADLY = """
import os, signal, sys
from kagglepipe.runs import train_fold
real = train_fold.write_parquet
def deadly(path, frame):
    if path.parent.name == "fold_1": os.kill(os.getpid(), signal.SIGKILL)
    real(path, frame)
train_fold.write_parquet = deadly
from kagglepipe.cli.main import main
sys.argv[0] = "kagglepipe"
main()
"""


def check_resumed(typed: Sequence[str], config: Config, undisturbed: Config) -> None:
    """A run that is killed in fold 1 goes on from there, and ends as the undisturbed one."""
    run_command(undisturbed)
    done = subprocess.run([sys.executable, "-c", DEADLY, *typed], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    run = the_run(config)
    assert (run / "fold_0/metrics.json").exists()
    assert not (run / "fold_1/metrics.json").exists()
    finished = (run / "fold_0/metrics.json").stat().st_mtime_ns
    run_command(config)
    assert (run / "fold_0/metrics.json").stat().st_mtime_ns == finished
    for name in ("oof.parquet", "test.parquet"):
        whole, resumed = (pd.read_parquet(folder / name) for folder in (the_run(undisturbed), run))
        pd.testing.assert_frame_equal(whole, resumed, check_exact=True)
    assert not list(config.root.rglob("*.tmp"))
