"""Pages of every task on drawn pictures, of an ensemble, and of a run whose network is gone."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from kagglepipe.config import Config
from kagglepipe.runs.configured import store_of
from kagglepipe.tools.commands import run_command
from kagglepipe.tools.report import find_run, write_report
from tests.composing import changed, config_of
from tests.conftest import TINY

LABELS = {  # form, metric, what the page has, label by the first letter of blue, green and red
    "ordinal": ("index", "quadratic_weighted_kappa", "Confusion matrix", {"b": "0", "g": "1", "r": "2"}),
    "ranking": ("ranking", "accuracy", "Confusion matrix", {"b": "blue", "g": "green", "r": "red"}),
    "multilabel": ("tags", "f1_samples", "Threshold", {"b": "cold", "g": "cold leafy", "r": "warm"}),
    "regression": ("numbers", "rmse", "R²", {"b": "1.5", "g": "3.5", "r": "9"}),
}


def trained(task: str, colours: Path, folder: Path) -> Config:
    """A trained run on the pictures of `make_toy`, with labels of a task."""
    form, metric, _, names = LABELS[task]
    source = folder / "photos"
    shutil.copytree(colours, source, ignore=shutil.ignore_patterns("test"))
    files = sorted(path.relative_to(source).as_posix() for path in source.rglob("*.png"))
    table = pd.DataFrame({"file": files, "label": [names[file[0]] for file in files]})
    table.to_csv(source / "labels.csv", index=False)
    config = config_of(
        *TINY, "stage=train", "competition=image_folder", f"competition.source='{source}'", "device=cpu",
        "competition.labels=labels.csv", f"competition.task={task}", f"competition.form={form}",
        f"competition.metric={metric}",        f"paths.root='{folder}'", "competition.id=path",
    )  # fmt: skip
    run_command(config)
    return changed(config, "stage=report")


@pytest.mark.parametrize("task", LABELS)
def test_every_task_has_a_page_with_maps(task: str, colours: Path, tmp_path: Path) -> None:
    config = trained(task, colours, tmp_path)
    page = write_report(config, find_run(config)).read_text("utf-8")
    assert page.count('<image id="m') >= 10
    assert "class activation maps, Zhou" in page or "Grad-CAM" in page
    expected = {
        "ordinal": "Confusion matrix",
        "ranking": "Confusion matrix",
        "multilabel": "Threshold",
        "regression": "R²",
    }
    assert expected[task] in page


def test_the_maps_of_an_ensemble_are_its_heaviest_members_and_of_a_lost_network_there_are_none(
    colours: Path, tmp_path: Path
) -> None:
    plain = config_of(*TINY, "stage=train", "competition=image_folder", f"competition.source='{colours}'",
                      f"paths.root='{tmp_path}'", "device=cpu")  # fmt: skip
    run_command(plain)
    run_command(changed(plain, "seed=1"))
    names = [run.name for run in store_of(plain).finished()]
    run_command(changed(plain, "stage=ensemble", f"ensemble.runs=[{','.join(names)}]"))
    blend = next(run for run in store_of(plain).finished() if run.is_ensemble)
    config = changed(plain, "stage=report", f"run={blend.name}")
    page = write_report(config, blend).read_text("utf-8")
    assert any(f"as {name} sees them" in page for name in names)
    assert "An ensemble has no folds of its own" in page
    for file in (tmp_path / "outputs").rglob("*.safetensors"):
        file.unlink()
    assert "There are no maps:" in write_report(config, blend).read_text("utf-8")
