"""The whole command in two processes that `torchrun` starts: the result of one, one writer, and always an end."""

import os
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pandas as pd
import pytest

from kagglepipe.predictions.frame import read_frame
from tests.conftest import Outcome
from tests.processes import LOOPBACK, Typed, files_below, the_run, type_together

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "kagglepipe"]


@pytest.mark.slow
def test_two_processes_make_the_run_of_one(finetuned: tuple[tuple[str, ...], Path], tmp_path: Path) -> None:
    """Probabilities to 0.0001, the same files, everything said once. The last batch has one row for the two of them."""
    arguments, alone = finetuned
    said = subprocess.run(
        [*TORCHRUN, *arguments, "device=cpu"], cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env={**os.environ, **LOOPBACK},
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert "2 processes share each batch of 17" in said.stdout
    assert said.stdout.count("train: out of fold:") == said.stdout.count("submit: ") == 1
    run = the_run(tmp_path)
    assert run.name == alone.name
    assert files_below(tmp_path) == [name for name in files_below(alone.parents[2]) if not name.startswith("said/")]
    for name in ("oof.parquet", "test.parquet"):
        found, expected = (read_frame(folder / name) for folder in (run, alone))
        pd.testing.assert_frame_equal(found, expected, check_exact=False, rtol=0, atol=1e-4)
    for fold in ("fold_0", "fold_1"):
        found, expected = (pd.read_csv(folder / fold / "log.csv").drop(columns="rate") for folder in (run, alone))
        pd.testing.assert_frame_equal(found, expected, check_exact=False, rtol=1e-2, atol=1e-3)  # rounding grows


WORK_OF_ONE = {
    "a head": ("colours", ("competition=image_folder", "experiment=quick")),
    "a model of time": ("series", (
        "competition=video_folder", "competition.kind=series", "model=lstm", "device=cpu", "folds.count=2",
        "sequences.steps=20", "sequences.members=1",
    )),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("work", WORK_OF_ONE)
def test_what_is_not_shared_is_done_by_the_first_while_the_other_waits(
    work: str, processes: ForkServerContext, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source, options = WORK_OF_ONE[work]
    arguments = ("stage=train", f"competition.source={request.getfixturevalue(source)}", *options)
    first, second = type_together(processes, Typed(tmp_path, arguments), tmp_path / "said")
    assert (first.code, second.code) == (0, 0), (first.err, second.err)
    assert "2 processes wait for the first" in first.out
    assert (second.out, second.err) == ("", "")
    assert "before a renaming" not in second.moments  # it has written nothing
    again = type_together(processes, Typed(tmp_path, arguments), tmp_path / "again")
    assert [said.code for said in again] == [0, 0]
    assert "is finished already" in again[0].out


@pytest.mark.slow
def test_an_error_of_the_first_process_ends_both_each_with_one_line(
    processes: ForkServerContext, colours: Path, tmp_path: Path
) -> None:
    """In preparing, where the other one waits for it: also if nobody is there to end it, as torchrun would."""
    arguments = ("stage=train", "experiment=quick", "competition=image_folder", f"competition.source={colours}")
    first, second = type_together(processes, Typed(tmp_path, (*arguments, "folds.count=1000")), tmp_path / "said")
    assert (first.code, second.code) == (2, 2)
    assert first.err.startswith("kagglepipe: all images are in 36 groups, folds.count=1000 needs at least 1000")
    assert first.err.count("\n") == 1
    told = "kagglepipe (process 1): another of the 2 processes has ended; its output has the error\n"
    assert second.err == told


def test_a_sweep_is_refused(command: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    """By each of the processes, since whichever ends first ends the others: it says who it is."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, name in (("0", "kagglepipe"), ("1", "kagglepipe (process 1)")):
        monkeypatch.setenv("RANK", rank)
        said = command("-m", "stage=train", "seed=0,1")
        assert said.code == 2
        assert said.err == [
            f"{name}: -m starts jobs of its own and cannot be one of 2 processes: leave torchrun out (parallel "
            "jobs: hydra/launcher=joblib), or leave -m out"
        ]
