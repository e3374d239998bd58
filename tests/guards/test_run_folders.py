"""Runs made by an earlier version are found, scored, blended, submitted and predicted with; see run_folders.py."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open

from tests.conftest import Outcome
from tests.guards.reference import COMMON
from tests.guards.run_folders import COMPETITIONS, INPUT, KEPT, RUNS

FOLDERS = sorted(path.parent for path in KEPT.glob("outputs/*/*/metrics.json"))
TRAINED = [folder for folder in FOLDERS if "ensemble" not in folder.name]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the kept runs and submissions lie, and nothing else."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)  # float32, as the runs were made in
    for part in ("outputs", "submissions"):
        shutil.copytree(KEPT / part, tmp_path / part)
    return tmp_path


def files_of(folder: Path) -> dict[str, bytes]:
    """Each file's bytes, but for pictures, which were not kept, and locks."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".png", ".lock"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def same_table(found: Path, kept: Path) -> None:
    """Asserts equal ids and words, and numbers that differ by roundings of the last digits alone."""
    pd.testing.assert_frame_equal(pd.read_csv(found), pd.read_csv(kept), rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("name", RUNS)
def test_the_command_that_made_a_run_finds_it_finished(name: str, root: Path, command: Callable[..., Outcome]) -> None:
    before = files_of(root / "outputs")
    done = command("stage=submit", f"paths.root='{root}'", *COMMON, *RUNS[name])
    assert done.code == 0, done.err
    assert files_of(root / "outputs") == before
    assert files_of(root / "submissions").items() >= files_of(KEPT / "submissions").items()


def test_an_ensemble_of_the_runs_is_blended_anew_to_the_same(root: Path, command: Callable[..., Outcome]) -> None:
    (kept,) = KEPT.glob("outputs/images/ensemble-*")
    shutil.rmtree(root / "outputs/images" / kept.name)
    (root / "submissions" / f"{kept.name}.csv").unlink()
    done = command("stage=submit", f"paths.root='{root}'", *COMMON, *RUNS["ensemble"])
    assert done.code == 0, done.err
    again = root / "outputs/images" / kept.name
    for file in ("oof.parquet", "test.parquet"):
        pd.testing.assert_frame_equal(pd.read_parquet(again / file), pd.read_parquet(kept / file), rtol=1e-4)
    now, then = (json.loads((folder / "metrics.json").read_text()) for folder in (again, kept))
    assert [now[key] for key in ("score", "members", "weights")] == [
        then[key] for key in ("score", "members", "weights")
    ]
    same_table(root / "submissions" / f"{kept.name}.csv", KEPT / "submissions" / f"{kept.name}.csv")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_run_predicts_what_it_predicted(folder: Path, root: Path, command: Callable[..., Outcome]) -> None:
    slug, file = folder.parent.name, root / "found.csv"
    place = (f"paths.root='{root}'", *COMMON, f"run={folder.name}", f"input='{INPUT[slug]}'")
    done = command("stage=predict", *place, *COMPETITIONS[slug], f"predict.file='{file}'")
    assert done.code == 0, done.err
    same_table(file, KEPT / "predictions" / f"{folder.name}.csv")


@pytest.mark.parametrize("slug", ["images", "clips"])
def test_the_runs_are_listed_with_their_scores(slug: str, root: Path, command: Callable[..., Outcome]) -> None:
    table = root / "table.csv"
    done = command("stage=runs", f"paths.root='{root}'", *COMPETITIONS[slug], f"runs.file='{table}'")
    assert done.code == 0, done.err
    scores = pd.read_csv(table).set_index("run")["score"]
    kept = {f.name: json.loads((f / "metrics.json").read_text())["score"] for f in FOLDERS if f.parent.name == slug}
    assert {name: pytest.approx(score, abs=1e-6) for name, score in scores.items()} == kept


@pytest.mark.parametrize("name", ["head", "finetune", "clips"])
def test_a_fold_trained_now_has_tensors_of_the_same_names_and_shapes(
    name: str, root: Path, command: Callable[..., Outcome]
) -> None:
    """However modules are called in the code, a checkpoint's tensors are called what they were."""
    (folder,) = (f for f in TRAINED if (f.parent.name == "clips", "-finetune-" in f.name)
                 == (name == "clips", name == "finetune"))  # fmt: skip
    shutil.rmtree(root / "outputs" / folder.parent.name / folder.name)
    done = command("stage=train", f"paths.root='{root}'", *COMMON, "folds.only=[0]", *RUNS[name])
    assert done.code == 0, done.err
    again = root / "outputs" / folder.parent.name / folder.name
    for file in sorted(folder.rglob("*.safetensors")):
        relative = file.relative_to(folder)
        if relative.parts[0] != "fold_1":
            assert tensors_of(again / relative) == tensors_of(file), relative
    for file in ("fold_0/model.json", "fold_0/metrics.json"):
        assert json.loads((again / file).read_text()).keys() >= json.loads((folder / file).read_text()).keys(), file
    for file in ("fold_0/oof.parquet", "fold_0/test.parquet"):
        now, then = pd.read_parquet(again / file), pd.read_parquet(folder / file)
        assert list(now.columns) == list(then.columns)
        assert np.array_equal(now["id"], then["id"])


def tensors_of(file: Path) -> dict[str, tuple[str, list[int]]]:
    """Name -> (type, shape) of the tensors in a safetensors file."""
    with safe_open(file, "np") as tensors:
        slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118
        return {name: (one.get_dtype(), one.get_shape()) for name, one in slices.items()}
